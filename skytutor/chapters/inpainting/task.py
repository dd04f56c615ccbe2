"""Training of the learned preconditioner: drawn skies, drawn masks, and the exact fill of each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skytutor.chapters.seeds import INPAINTING as SEEDS
from skytutor.data.patches import mixed_mask
from skytutor.fields.flat import FlatSky
from skytutor.fields.holes import DenseHole
from skytutor.training.schedule import Task

__all__ = ["FillTask", "draw_masked", "exact_fills", "excess"]

# Errors below this, in units of the posterior variance, count as none: 5e-9 of the RMSE.
_FLOOR = 1e-8


def excess(filled: Tensor, exact: Tensor, *, variance: Tensor) -> Tensor:
    """Return the mean square of ``x - W`` in units of the variance that the exact fill leaves.

    The ratio of the RMSE to the least possible one is ``sqrt(1 + excess)``, for W - s is
    independent of whatever a fill makes of the data.

    Arguments:
        filled: x, ``(..., S, H, H)``, equal to `exact` in seen pixels.
        exact: W, of the same shape.
        variance: posterior variances of a mask's hidden pixels, summed, ``(...)``.

    Returns:
        ``(...)``, the mean over S skies.

    Example:
        >>> excess(torch.zeros(3, 2, 4, 4), torch.ones(3, 2, 4, 4), variance=torch.full((3,), 32.0))
        tensor([0.5000, 0.5000, 0.5000])
    """
    return (filled - exact).square().sum((-2, -1)).mean(-1) / variance


def draw_masked(
    sky: FlatSky, n: int, *, skies: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw masks of training ``(n, H, H)`` bool, and data ``(n, S, H, H)`` behind each.

    Arguments:
        sky: to draw from.
        n: how many masks.
        skies: S.
        generator: of the random numbers.
    """
    masks = []
    for _ in range(n):
        masks.append(mixed_mask(sky.size, pixel_arcmin=sky.pixel_arcmin, generator=generator))
    _, data = sky.draw(n * skies, generator=generator)
    return torch.stack(masks), data.reshape(n, skies, sky.size, sky.size)


def exact_fills(sky: FlatSky, masks: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Return exact fills ``(n, S, H, H)``, and posterior variances summed over each mask ``(n,)``.

    Arguments:
        sky: spectrum and noise of the data.
        masks: ``(n, H, H)`` bool, True where seen.
        data: ``(n, S, H, H)``.
    """
    exact = []
    variance = []
    for mask, maps in zip(masks, data, strict=True):
        hole = DenseHole(sky.precision, mask)
        exact.append(hole.fill(maps))
        # Of the signal: the noise of hidden pixels is nothing that a fill could know.
        variance.append((hole.variance - sky.noise**2).sum())
    return torch.stack(exact), torch.stack(variance)


class FillTask(Task):
    """Training of a `LearnedFill` on skies and masks that are drawn anew for every batch.

    Arguments:
        sky: to draw from.
        size: masks in an epoch.
        n_validation: masks to validate on.
        skies: S, skies behind each mask.
    """

    score = "digits"

    def __init__(self, sky: FlatSky, *, size: int, n_validation: int, skies: int = 4):
        self.sky = sky
        self.size = size
        self.skies = skies
        rng = torch.Generator().manual_seed(SEEDS.validation[0])
        self.validation_set = self.batch(torch.arange(0), self.draw(n_validation, generator=rng))

    def draw(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw masks ``(n, H, H)`` bool and data ``(n, S, H, H)``.

        Arguments:
            n: masks in the batch.
            generator: of the random numbers.
        """
        return draw_masked(self.sky, n, skies=self.skies, generator=generator)

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return data and exact fill ``(B, S, H, H)``, masks ``(B, 1, H, H)``, variances ``(B,)``.

        Arguments:
            indices: not used, for every batch is new.
            draws: what `draw` gave.
        """
        masks, data = draws
        exact, variance = exact_fills(self.sky, masks, data)
        return data, masks[:, None], exact, variance

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the mean logarithm of the excess after every step but the first.

        The logarithm counts a small hole, which is soon filled well, as much as a large one, and
        pays for the last digits too.

        Arguments:
            model: a `LearnedFill`.
            batch: what `batch` gave.
        """
        data, masks, exact, variance = batch
        steps = model(data, masks, every=True)
        return (excess(steps, exact, variance=variance) + _FLOOR).log()[1:].mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the mean ratio of the RMSE to the least one, and how many digits of 1 it has.

        Arguments:
            model: a `LearnedFill`, in evaluation mode.
        """
        device = next(model.parameters()).device
        data, masks, exact, variance = (part.to(device) for part in self.validation_set)
        lost = excess(model(data, masks), exact, variance=variance)
        ratio = (1 + lost).sqrt().mean()
        return {"ratio": float(ratio), "digits": -float((ratio - 1).clamp(min=1e-12).log10())}
