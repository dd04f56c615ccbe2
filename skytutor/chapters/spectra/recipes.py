"""What chapter 4 trains, and the figures beside it."""

from torch import nn

from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra import autoencoder_task, flow_task, limits_task, published_task
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.scores import gaussian, pretrained_limits, score_posterior
from skytutor.chapters.spectra.task import SpectrumTask
from skytutor.data.galaxies import GalaxySimulator
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

__all__ = ["RECIPES", "make_recipe"]


def _task(profile: Profile) -> SpectrumTask:
    pretrained_limits()  # what its score stands beside: missed before a training, not after it
    return SpectrumTask(
        GalaxySimulator(device=profile.device),
        size=profile.pick(smoke=64, cpu=2000, gpu=200_000),
        n_validation=profile.pick(smoke=64, cpu=500, gpu=4000),
    )


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Galaxies are drawn: there is no source to choose.
    return score_posterior(gaussian(model), seed=seed, size=size)


def make_recipe() -> Recipe:
    """Return the recipe of ours: components cut out, measured by least squares, then inferred."""
    return Recipe(
        name="spectra",
        build=SpectrumNetwork,
        task=_task,
        schedules={
            "smoke": Schedule(epochs=1, batch_size=32, lr=2e-3),
            "cpu": Schedule(epochs=5, batch_size=64, lr=2e-3),
            "gpu": Schedule(epochs=8, batch_size=500, lr=2e-3, weight_decay=1e-3, autocast=True),
        },
        seeds=SEEDS,
        score=_score,
        published={"rmse of the best published network, on real galaxies": 0.688},
        has_weights=False,  # none in the package: a training takes a GPU
    )


RECIPES = (
    autoencoder_task.make_recipe(),
    *published_task.make_recipes(),
    limits_task.make_recipe(),
    make_recipe(),
    flow_task.make_recipe(),
)
