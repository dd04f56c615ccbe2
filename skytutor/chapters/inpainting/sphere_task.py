"""Training of the learned preconditioner on the sphere: drawn skies, drawn masks, exact answers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.sphere import SphereFill
from skytutor.chapters.inpainting.sphere_masks import Masked, draw_mask, excess, masked_skies
from skytutor.chapters.inpainting.sphere_question import sphere_question
from skytutor.chapters.inpainting.sphere_sky import SphereSky
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import INPAINTING as SEEDS
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["SphereTask", "make_recipe"]

NSIDE = 32  # of the maps of training
# Errors below this, in units of the posterior variance, count as none.
_FLOOR = 1e-6


class SphereTask(Task):
    """Training of a `SphereFill` on random masks, each with its skies and their exact fills.

    Arguments:
        size: masks of training, drawn once.
        n_validation: masks of validation.
        skies: S, behind each mask.
        nside: of the maps.
    """

    score = "digits"

    def __init__(self, *, size: int, n_validation: int, skies: int = 2, nside: int = NSIDE):
        self.sky = SphereSky(nside)
        self.size = size
        self.skies = skies
        self.validation_set = self._draw_set(n_validation, SEEDS.validation[1])
        # Neither of these seeds is one of a test.
        self.training_set = self._draw_set(size, SEEDS.validation[2])

    def _draw_set(self, n: int, seed: int) -> Masked:
        rng = torch.Generator().manual_seed(seed)
        masks = torch.stack([draw_mask(self.sky.nside, generator=rng) for _ in range(n)])
        return masked_skies(self.sky, masks, skies=self.skies, generator=rng)

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw an angle for each sample: it mixes two skies into a new one.

        Arguments:
            n: masks in the batch.
            generator: of the random numbers.
        """
        return [2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return data ``(B, 1, P)``, masks, exact fills and variances, as `Masked` has them.

        Arguments:
            indices: ``(B,)``, numbers of the masks.
            draws: what `draw` gave.
        """
        data, mask, exact, variance = (part[indices] for part in self.training_set)
        # cos and sin of one angle: skies add up to a sky of the same spectrum and noise.
        mix = torch.stack([draws[0].cos(), draws[0].sin()], 1)[..., None]
        data = (mix * data[:, :2]).sum(1, keepdim=True)
        exact = (mix * exact[:, :2]).sum(1, keepdim=True)
        return data, mask, exact, variance

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the mean logarithm of the excess after every step but the first.

        Arguments:
            model: a `SphereFill`.
            batch: what `batch` gave.
        """
        data, mask, exact, variance = batch
        steps = model(data, mask, every=True)
        return (excess(steps, exact, variance=variance) + _FLOOR).log()[1:].mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the mean ratio of the RMSE to the least one, and how many digits of 1 it has.

        Arguments:
            model: a `SphereFill`, in evaluation mode.
        """
        data, mask, exact, variance = self.validation_set
        lost = excess(model(data, mask), exact, variance=variance)
        ratio = (1 + lost).sqrt().mean()
        return {"ratio": float(ratio), "digits": -float((ratio - 1).clamp(min=1e-12).log10())}


def _build() -> SphereFill:
    return SphereFill(NSIDE)


def _task(profile: Profile) -> SphereTask:
    return SphereTask(
        size=profile.pick(smoke=8, cpu=64, gpu=192),
        n_validation=profile.pick(smoke=2, cpu=8, gpu=16),
    )


def _score(model: nn.Module, *, seed: int, size: int | None, source: str | None = None) -> Scores:
    # Skies are drawn: there is no source to choose.
    from skytutor.chapters.inpainting.sphere_scores import score_sphere

    return score_sphere(model, seed=SEEDS.test_seed(seed), size=size)


def make_recipe() -> Recipe:
    """Return the recipe of the learned preconditioner on the sphere."""
    full = Schedule(epochs=14, batch_size=4, lr=2e-2, warmup=0.05, beta2=0.99)
    return Recipe(
        name="inpaint-sphere",
        build=_build,
        task=_task,
        schedules={
            "smoke": replace(full, epochs=2),
            "cpu": replace(full, epochs=10),
            "gpu": full,
        },
        seeds=SEEDS,
        score=_score,
        published={},
        float16=False,
        question=sphere_question(NSIDE),
    )
