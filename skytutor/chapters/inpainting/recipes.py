"""What chapter 6 trains, and the figures beside it.

Each recipe is made in the file of its task.
"""

from torch import Tensor, nn

from skytutor.chapters.inpainting import (
    decoder_task,
    mixture_task,
    published_task,
    sphere_task,
    unet_task,
)
from skytutor.chapters.inpainting.networks import LearnedFill
from skytutor.chapters.inpainting.question import exact_errors, patch_question
from skytutor.chapters.inpainting.scores import score_learned
from skytutor.chapters.inpainting.task import FillTask
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import INPAINTING as SEEDS
from skytutor.data.patches import flat_sky
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

__all__ = ["RECIPES", "make_recipe"]


def _build() -> LearnedFill:
    return LearnedFill(flat_sky("B", 64))


def _task(profile: Profile) -> FillTask:
    return FillTask(
        flat_sky("B", 64),
        size=profile.pick(smoke=40, cpu=400, gpu=800),
        n_validation=profile.pick(smoke=8, cpu=24, gpu=48),
    )


def _score(model: nn.Module, *, seed: int, size: int | None, source: str | None = None) -> Scores:
    # Skies are drawn: there is no source to choose.
    return score_learned(model, seed=SEEDS.test_seed(seed), size=size)


def _fill(model: nn.Module, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return model(data, mask), exact_errors(mask)


def make_recipe() -> Recipe:
    """Return the recipe of ours: the learned preconditioner in four conjugate-gradient steps."""
    full = Schedule(epochs=8, batch_size=8, lr=1e-2, warmup=0.1)
    return Recipe(
        name="inpaint",
        build=_build,
        task=_task,
        schedules={
            "smoke": Schedule(epochs=2, batch_size=4, lr=1e-2, warmup=0.1),
            "cpu": Schedule(epochs=4, batch_size=8, lr=1e-2, warmup=0.1),
            "gpu": full,
        },
        seeds=SEEDS,
        score=_score,
        published={},
        float16=False,
        question=patch_question(
            _fill,
            errors="standard deviation of the signal given the data, by the spectrum of the "
            "training; the noise where seen",
        ),
    )


RECIPES = (
    published_task.make_recipe(),
    unet_task.make_recipe(),
    make_recipe(),
    decoder_task.make_recipe(),
    sphere_task.make_recipe(),
    mixture_task.make_recipe(),
)
