"""What a translation is compared with: the nearest band as it is, and pixel by pixel."""

from collections.abc import Sequence

import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from skytutor.chapters.translation.stretch import softenings, stretched
from skytutor.data.bands import Observation
from skytutor.data.surveys import BANDS

__all__ = ["PixelBoosting", "nearest_band"]

_BRIGHT = 0.5  # part of the pixels that are taken from where there is light


def nearest_band(inputs: Sequence[str], target: str) -> str:
    """Return the input band whose wavelength is nearest to the target's.

    Arguments:
        inputs: names of the bands that are given.
        target: name of the band that is asked for.

    Example:
        >>> nearest_band(["blue", "red", "K"], "i")
        'red'
    """
    wanted = BANDS[target].wavelength
    return min(inputs, key=lambda name: abs(BANDS[name].wavelength / wanted - 1))


class PixelBoosting:
    """Predict each pixel from the same pixel of the input bands, by boosted trees.

    What colours alone can tell: trees see no neighbours, hence no PSF and no shapes.

    Arguments:
        inputs: names of the bands that are given.
        targets: names of the T bands that are asked for.
        bands: names of all F bands, in the order of the images.
        pixels: to learn from.
        seed: of which pixels are taken.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        targets: Sequence[str],
        *,
        bands: Sequence[str] = tuple(BANDS),
        pixels: int = 200_000,
        seed: int = 0,
    ):
        self.columns = [list(bands).index(name) for name in inputs]
        self.rows = [list(bands).index(name) for name in targets]
        self.softening = softenings(bands)
        self.pixels = pixels
        self.seed = seed
        self.trees: list[HistGradientBoostingRegressor] = []

    def _numbers(self, seen: Observation) -> Tensor:
        """Return what is seen of each pixel, ``(B H H, I)``; NaN where nothing was measured."""
        values = stretched(seen.images[:, self.columns], self.softening[self.columns])
        values = torch.where(seen.ivar[:, self.columns] > 0, values, torch.nan)
        return values.movedim(1, -1).flatten(0, 2)

    def fit(self, seen: Observation) -> "PixelBoosting":
        """Learn from scenes; half of the pixels are those with the most light.

        Arguments:
            seen: of a simulator, of scenes that nothing is scored on.
        """
        x = self._numbers(seen)
        truth = stretched(seen.truth[:, self.rows], self.softening[self.rows])
        y = truth.movedim(1, -1).flatten(0, 2)
        rng = torch.Generator().manual_seed(self.seed)
        n = min(self.pixels, len(x))
        # Plain weights would be spent on empty sky; each half is weighted by what it stands for.
        bright = y.mean(1).topk(min(len(x), 4 * n)).indices
        some = bright[torch.randperm(len(bright), generator=rng)[: int(_BRIGHT * n)]]
        rest = torch.ones(len(x), dtype=torch.bool)
        rest[bright] = False
        others = rest.nonzero()[:, 0]
        more = others[torch.randperm(len(others), generator=rng)[: n - len(some)]]
        rows = torch.cat([some, more])
        weight = torch.cat(
            [
                torch.full((len(some),), len(bright) / max(len(some), 1)),
                torch.full((len(more),), len(others) / max(len(more), 1)),
            ]
        )
        self.trees = []
        for t in range(len(self.rows)):
            trees = HistGradientBoostingRegressor(max_iter=200, random_state=self.seed)
            trees.fit(x[rows].numpy(), y[rows, t].numpy(), sample_weight=weight.numpy())
            self.trees.append(trees)
        return self

    def predict(self, seen: Observation) -> Tensor:
        """Return stretched images ``(B, T, H, H)``.

        Arguments:
            seen: scenes.
        """
        x = self._numbers(seen).numpy()
        size = seen.images.shape[-1]
        answers = [torch.from_numpy(trees.predict(x)).float() for trees in self.trees]
        return torch.stack(answers, 1).reshape(-1, size, size, len(answers)).movedim(-1, 1)
