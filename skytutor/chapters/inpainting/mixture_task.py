"""Training of `SteeredFill` on skies sheared along hidden axes, and its recipe."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.mixture import SteeredFill
from skytutor.chapters.inpainting.mixture_exact import ShearedSky, fill_by_mixture
from skytutor.chapters.inpainting.mixture_scores import score_mixture
from skytutor.chapters.inpainting.question import patch_question
from skytutor.chapters.recipe import Recipe
from skytutor.chapters.seeds import INPAINTING as SEEDS
from skytutor.data.masks import size_between
from skytutor.data.patches import SETUPS, discs_mask
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["SIZE", "MixtureTask", "make_recipe"]

SIZE = 64
# Of the discs that hide a sky, in arcmin; all discs of one mask have the same.
_RADII = (30.0, 60.0)
# Squared errors are counted in units of (100 muK)**2.
_UNIT = 100.0


def _discs(sky: ShearedSky, part: float, *, generator: torch.Generator) -> Tensor:
    """Draw a mask of training; `part` from 0 to 1 says how large its discs are."""
    radius = size_between(part, _RADII)
    return discs_mask(sky.size, radius, pixel_arcmin=sky.flat.pixel_arcmin, generator=generator)


class MixtureTask(Task):
    """Skies sheared along hidden axes, each behind a mask of its own, all drawn anew.

    Arguments:
        sky: to draw from.
        size: samples in an epoch.
        validation_masks: masks of validation, each before eight skies.
    """

    score = "minus_ratio"

    def __init__(self, sky: ShearedSky, *, size: int, validation_masks: int):
        self.sky = sky
        self.size = size
        rng = torch.Generator().manual_seed(SEEDS.validation[0])
        masks = self._draw_masks(validation_masks, generator=rng)
        self.validation_set = []
        for mask in masks:
            signal, data, _ = sky.draw(8, generator=rng)
            exact = fill_by_mixture(data, mask, sky).maps
            self.validation_set.append((data.float(), mask, exact, signal))

    def _draw_masks(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return masks ``(n, H, H)`` of discs; their radii are even in the logarithm."""
        parts = torch.rand(n, generator=generator, dtype=torch.float64).tolist()
        return torch.stack([_discs(self.sky, part, generator=generator) for part in parts])

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw signal, data and masks, ``(n, H, H)`` each. The axes are thrown away.

        Arguments:
            n: samples in the batch.
            generator: of the random numbers.
        """
        signal, data, _ = self.sky.draw(n, generator=generator)
        return [signal.float(), data.float(), self._draw_masks(n, generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return signal, data and masks, ``(B, H, H)`` each.

        Arguments:
            indices: not used: every sample is drawn anew.
            draws: what `draw` gave.
        """
        return tuple(draws)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the mean squared error of the hidden pixels, in (100 muK)**2.

        Arguments:
            model: a `SteeredFill`.
            batch: what `batch` gave.
        """
        signal, data, mask = batch
        error = (model(data, mask) - signal) / _UNIT
        return error[~mask].square().mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return minus the RMSE over that of the exact mixture.

        The exact fill's error is independent of what the network's differs from it, so the ratio
        follows from that difference with little noise: it is never below 1.

        Arguments:
            model: a `SteeredFill`, in evaluation mode.
        """
        device = next(model.parameters()).device
        excess = 0.0
        least = 0.0
        for data, mask, exact, signal in self.validation_set:
            masks = mask.expand(len(data), -1, -1).to(device)
            filled = model(data.to(device), masks).cpu()
            excess += float((filled - exact)[:, ~mask].square().mean())
            least += float((exact - signal)[:, ~mask].square().mean())
        return {"minus_ratio": -((1 + excess / least) ** 0.5)}


def _build() -> SteeredFill:
    return SteeredFill(SIZE, pixel_arcmin=SETUPS["B"].pixel_arcmin)


def _task(profile: Profile) -> MixtureTask:
    return MixtureTask(
        ShearedSky(SIZE),
        size=profile.pick(smoke=64, cpu=480, gpu=960),
        validation_masks=profile.pick(smoke=2, cpu=4, gpu=16),
    )


def _fill(model: nn.Module, data: Tensor, mask: Tensor) -> tuple[Tensor, None]:
    # The network computes in float32.
    return torch.where(mask, data, model(data.float(), mask.expand(data.shape)).double()), None


def _draw_mask(generator: torch.Generator) -> Tensor:
    part = float(torch.rand(1, generator=generator))
    return _discs(ShearedSky(SIZE), part, generator=generator)


def _draw_skies(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    signal, data, _ = ShearedSky(SIZE).draw(n, generator=generator)
    return signal, data


def make_recipe() -> Recipe:
    """Return the recipe ``inpaint-mixture``."""
    full = Schedule(epochs=12, batch_size=32, lr=0.03, warmup=0.1, average=0.9)
    return Recipe(
        name="inpaint-mixture",
        build=_build,
        task=_task,
        schedules={
            "smoke": Schedule(epochs=2, batch_size=8, lr=0.03, warmup=0.1),
            "cpu": Schedule(epochs=4, batch_size=16, lr=0.03, warmup=0.1, average=0.8),
            "gpu": full,
        },
        seeds=SEEDS,
        score=score_mixture,
        published={},
        float16=False,
        question=patch_question(
            _fill,
            draw_mask=_draw_mask,
            draw_skies=_draw_skies,
            hidden=0.2,
            mask="discs of 30 to 60 arcmin",
            spectrum="best fit to Planck's data of 2018, lensed, sheared along an axis of each sky",
        ),
    )
