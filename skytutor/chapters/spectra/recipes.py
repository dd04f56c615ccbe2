"""What chapter 4 trains, and the figures beside it."""

import copy

from torch import Tensor, nn

from skytutor.chapters.question import Answer
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra import (
    autoencoder_task,
    flow_task,
    limits_task,
    published_task,
    separation_task,
)
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.predictions import predict
from skytutor.chapters.spectra.question import galaxy_question, posterior_answer, target_outputs
from skytutor.chapters.spectra.scores import gaussian, pretrained_limits, score_posterior
from skytutor.chapters.spectra.task import SCHEDULES, SpectrumTask, spectrum_sizes
from skytutor.chapters.weights import load_needed
from skytutor.data.galaxies import GalaxySimulator
from skytutor.training.profile import Profile

__all__ = ["RECIPES", "make_recipe"]


def _task(profile: Profile) -> SpectrumTask:
    limits = copy.deepcopy(pretrained_limits())  # moved to the device of the training
    measurement = load_needed(separation_task.NAME, needed_for="the recipe spectra")
    assert isinstance(measurement, MeasurementNetwork)
    size, n_validation = spectrum_sizes(profile)
    return SpectrumTask(
        GalaxySimulator(device=profile.device),
        measurement,
        limits,
        size=size,
        n_validation=n_validation,
    )


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Galaxies are drawn: there is no source to choose.
    return score_posterior(gaussian(model), seed=seed, size=size)


def _ask(model: nn.Module, images: Tensor) -> Answer:
    assert isinstance(model, SpectrumNetwork)
    found = predict(model, images)
    deviation = found.scale_tril.square().sum(2).sqrt()
    return posterior_answer(found.mean, deviation)


def make_recipe() -> Recipe:
    """Return the recipe of ours: components cut out, measured by least squares, then inferred."""
    return Recipe(
        name="spectra",
        build=SpectrumNetwork,
        task=_task,
        schedules=SCHEDULES,
        seeds=SEEDS,
        score=_score,
        published={"rmse of the best published network, on real galaxies": 0.688},
        float32_below=("inference.",),  # as of the limits
        question=galaxy_question(
            _ask,
            outputs=target_outputs("standard deviations of a Gaussian posterior"),
        ),
    )


RECIPES = (
    autoencoder_task.make_recipe(),
    *published_task.make_recipes(),
    limits_task.make_recipe(),
    separation_task.make_recipe(),
    make_recipe(),
    flow_task.make_recipe(),
)
