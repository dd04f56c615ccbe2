"""Training of `UNetFill` on Gaussian skies behind masks of all sizes, and its recipe."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.question import patch_question
from skytutor.chapters.inpainting.scores import score_radii
from skytutor.chapters.inpainting.skies import check_size
from skytutor.chapters.inpainting.unet import UNetFill, biharmonic_fill
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import INPAINTING as SEEDS
from skytutor.data.masks import size_between
from skytutor.data.patches import disc_mask, discs_mask, flat_sky, mixed_mask
from skytutor.fields.fills import hole_labels
from skytutor.fields.flat import FlatSky
from skytutor.fields.holes import DenseHole
from skytutor.training.profile import Profile
from skytutor.training.run import seeded_generator
from skytutor.training.schedule import Schedule, Task

__all__ = ["UNetTask", "hole_weights", "make_recipe", "training_mask"]

# Ranges of radii, in arcmin, that share the masks of training with `mixed_mask`.
_RANGES = ((5.0, 12.0), (10.0, 25.0), (20.0, 45.0), (45.0, 90.0), (120.0, 200.0))
# A disc of the last range covers half of a patch of 64 pixels: one is drawn and no more.
_SINGLE = 100.0


def training_mask(number: int, sky: FlatSky, *, generator: torch.Generator) -> Tensor:
    """Draw mask `number` of a training set: every size of hole gets its part.

    Arguments:
        number: three of eight are of `mixed_mask`, the others discs from five ranges of radii.
        sky: whose patch it is for.
        generator: of the random numbers.

    Returns:
        bool ``(H, H)``, True where seen.
    """
    pixel = sky.pixel_arcmin
    kind = number % 8
    if kind < 3:
        return mixed_mask(sky.size, pixel_arcmin=pixel, generator=generator)
    part, hidden = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    radius = size_between(part, _RANGES[kind - 3])
    # On a patch that is smaller than the full study's no disc may meet itself.
    radius = min(radius, 0.45 * sky.size * pixel)
    if radius > _SINGLE:
        return disc_mask(sky.size, radius, pixel_arcmin=pixel)
    fraction = 0.05 + 0.2 * hidden
    return discs_mask(sky.size, radius, pixel_arcmin=pixel, hidden=fraction, generator=generator)


def hole_weights(mask: Tensor, variance: Tensor) -> Tensor:
    """Return weights that count errors in units of what no fill can avoid.

    A squared error is divided by the mean posterior variance of its hole, for else the widest holes
    would make up all of the loss, and by the number of hidden pixels.

    Arguments:
        mask: ``(H, H)``, True where seen.
        variance: of the hidden pixels given the seen ones, ``(n,)``, as of `DenseHole`.

    Returns:
        ``(H, H)``; 0 where seen. The weighted squared error of the exact fill has the mean 1.

    Example:
        >>> mask = torch.tensor([[True, False], [True, True]])
        >>> hole_weights(mask, torch.tensor([4.0]))
        tensor([[0.0000, 0.2500],
                [0.0000, 0.0000]])
    """
    hole = hole_labels(mask)[~mask]  # (n,) numbers from 1
    zeros = torch.zeros(int(hole.max()) + 1, dtype=variance.dtype)
    total = zeros.index_add(0, hole, variance)
    pixels = zeros.index_add(0, hole, torch.ones_like(variance))
    weights = torch.zeros(mask.shape, dtype=variance.dtype)
    weights[~mask] = (pixels / total)[hole] / len(hole)
    return weights


class UNetTask(Task):
    """Skies behind a bank of masks, their biharmonic fills made once.

    Each sample is a new sky: two skies of one mask, mixed by the cosine and the sine of an angle,
    are another Gaussian sky, and both its data and its fill are mixed likewise. It is then shifted,
    mirrored and turned together with its mask.

    Arguments:
        sky: to draw from.
        masks: M in the bank.
        skies: S of each mask.
        size: samples in an epoch.
        n_validation: masks to validate on, with S skies each.
        seed: of masks and skies of training.
    """

    score = "minus_error"

    def __init__(
        self,
        sky: FlatSky,
        *,
        masks: int,
        skies: int,
        size: int,
        n_validation: int = 16,
        seed: int = 0,
    ):
        self.sky = sky
        self.size = size
        rng = seeded_generator(seed, "masks", 0)
        self.training_set = self._draw_set(masks, skies, generator=rng)
        rng = torch.Generator().manual_seed(SEEDS.validation[0])
        self.validation_set = self._draw_set(n_validation, skies, generator=rng)

    def _draw_set(
        self, n: int, skies: int, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return masks and weights ``(n, H, H)``, signals and fills ``(n, S, H, H)``."""
        masks = [training_mask(i, self.sky, generator=generator) for i in range(n)]
        weights = []
        signals = []
        starts = []
        for mask in masks:
            signal, data = self.sky.draw(skies, generator=generator)
            # What the noise of hidden pixels adds to the variance is no error of a fill.
            variance = DenseHole(self.sky.precision, mask).variance - self.sky.noise**2
            weights.append(hole_weights(mask, variance).float())
            signals.append(signal.float())
            starts.append(biharmonic_fill(data, mask).float())
        return torch.stack(masks), torch.stack(weights), torch.stack(signals), torch.stack(starts)

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw which skies are mixed and how, and how they are moved: ``(n, 6)`` of 0 to 1.

        Arguments:
            n: samples in the batch.
            generator: of the random numbers.
        """
        return [torch.rand(n, 6, generator=generator, dtype=torch.float64)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return masks, weights, signals and biharmonic fills, ``(B, H, H)`` each.

        Arguments:
            indices: ``(B,)``; sample i has mask i modulo M.
            draws: what `draw` gave.
        """
        made = []
        for index, row in zip(indices.tolist(), draws[0].tolist(), strict=True):
            made.append(self._sample(index % len(self.training_set[0]), row))
        mask, weight, signal, start = torch.stack(made, 1)
        return mask > 0.5, weight, signal, start

    def _sample(self, number: int, row: Sequence[float]) -> Tensor:
        """Return mask, weight, signal and fill of one sample, ``(4, H, H)``."""
        masks, weights, signals, starts = (part[number] for part in self.training_set)
        skies = len(signals)
        first = int(row[0] * skies)
        second = (first + 1 + int(row[1] * (skies - 1))) % skies
        angle = 2 * math.pi * row[2]
        mixed = [
            math.cos(angle) * s[first] + math.sin(angle) * s[second] for s in (signals, starts)
        ]
        maps = torch.stack([masks.float(), weights, *mixed])
        return move(maps, row[3:])

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the mean RMSE of a map in units of what no fill can avoid; the exact fill has 1.

        The root of each map's mean square, before the mean over maps, has its minimum at the same
        fill, for the truth lies symmetrically about it; and one bad map cannot throw the weights
        far off, as its square would.

        Arguments:
            model: a `UNetFill`.
            batch: what `batch` gave.
        """
        mask, weight, signal, start = batch
        return (weight * (model(start, mask) - signal).square()).sum((-2, -1)).sqrt().mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the mean squared error on the validation skies in the same units, sign changed.

        Arguments:
            model: in evaluation mode.
        """
        device = next(model.parameters()).device
        total = 0.0
        for row in zip(*self.validation_set, strict=True):
            mask, weight, signal, start = (part.to(device) for part in row)
            error = model(start, mask) - signal
            total += float((weight * error.square()).sum((-2, -1)).mean())
        return {"minus_error": -total / len(self.validation_set[0])}


def move(maps: Tensor, row: Sequence[float]) -> Tensor:
    """Shift periodic maps of a scalar, mirror and turn them.

    Of Q and U a mirror and a quarter turn would change signs, which this does not do.

    Arguments:
        maps: ``(..., H, H)``, all moved in the same way.
        row: two shifts and one of the eight symmetries of a square, each from 0 to 1.

    Returns:
        ``(..., H, H)``.
    """
    size = maps.shape[-1]
    maps = maps.roll((int(row[0] * size), int(row[1] * size)), (-2, -1))
    symmetry = int(row[2] * 8)
    if symmetry & 1:
        maps = maps.flip(-1)
    if symmetry & 2:
        maps = maps.flip(-2)
    if symmetry & 4:
        maps = maps.transpose(-1, -2)
    return maps


def _task(profile: Profile) -> UNetTask:
    return UNetTask(
        flat_sky("B", 64),
        masks=profile.pick(smoke=8, cpu=48, gpu=160),
        skies=profile.pick(smoke=4, cpu=16, gpu=24),
        size=profile.pick(smoke=64, cpu=800, gpu=1600),
        n_validation=profile.pick(smoke=8, cpu=16, gpu=16),
        seed=profile.seed,
    )


def _score(model: nn.Module, *, seed: int, size: int | None, source: str | None = None) -> Scores:
    # Skies are drawn: there is no source to choose.
    return score_unet(model, seed=SEEDS.test_seed(seed), size=size)


@torch.no_grad()
def score_unet(model: nn.Module, *, seed: int, size: int | None = None) -> Scores:
    """Score the network behind one disc and behind many; patches of 64 pixels, 128 for 3 degrees.

    Arguments:
        model: a `UNetFill`, in evaluation mode.
        seed: of the test skies.
        size: skies of each radius; None for 512.
    """
    assert isinstance(model, UNetFill)
    size = check_size(size)
    by_radius = score_radii(model.fill, seed=seed, size=size)
    crowded = score_radii(model.fill, seed=seed, size=size, crowded=True)
    return Scores(
        scores={"by_radius": by_radius, "crowded": crowded},
        constant={radius: row["zero_ratio"] for radius, row in by_radius.items()},
        size=size,
        data="Gaussian skies of set-up B, drawn",
        limit={radius: row["wiener_rmse"] for radius, row in by_radius.items()},
    )


def _fill(model: nn.Module, data: Tensor, mask: Tensor) -> tuple[Tensor, None]:
    assert isinstance(model, UNetFill)
    return model.fill(data, mask), None


def _draw_mask(generator: torch.Generator) -> Tensor:
    number = int(torch.randint(8, (1,), generator=generator))
    return training_mask(number, flat_sky("B", 64), generator=generator)


def make_recipe() -> Recipe:
    """Return the recipe of the feed-forward U-Net."""
    full = Schedule(epochs=14, batch_size=16, lr=3e-3, weight_decay=1e-4, average=0.99)
    return Recipe(
        name="inpaint-unet",
        build=UNetFill,
        task=_task,
        schedules={
            "smoke": replace(full, epochs=1, batch_size=8, average=0.9),
            "cpu": replace(full, epochs=4),
            "gpu": full,
        },
        seeds=SEEDS,
        score=_score,
        published={},
        float16=False,
        question=patch_question(
            _fill, draw_mask=_draw_mask, hidden=0.65, mask="discs of 5 to 200 arcmin, and blobs"
        ),
    )
