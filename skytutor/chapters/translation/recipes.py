"""What chapter 5 trains, and the figures beside it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation import (
    bridge_task,
    flux_task,
    gaussian,
    oracle_task,
    pair_task,
    source_task,
    task,
)
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.question import Names, band_question
from skytutor.chapters.translation.scores import on_device, score_limits, score_translator
from skytutor.chapters.translation.source_network import SourceTranslator
from skytutor.chapters.translation.subsets import TARGETS
from skytutor.data.bands import SceneSimulator
from skytutor.data.surveys import BANDS
from skytutor.training.profile import Profile

__all__ = ["RECIPES"]

_ROWS = 25  # scenes at a time, for the memory's sake


def _scenes(kind: type[task.BandsTask]) -> Callable[[Profile], task.BandsTask]:
    """Return what draws the scenes of a training that minimises one kind of error."""

    def make(profile: Profile) -> task.BandsTask:
        size, n_validation = task.scene_sizes(profile)
        simulator = SceneSimulator(device=profile.device)
        return kind(simulator, size=size, n_validation=n_validation)

    return make


def _limits_task(profile: Profile) -> oracle_task.OracleTask:
    size, n_validation = oracle_task.oracle_sizes(profile)
    simulator = SceneSimulator(device=profile.device)
    return oracle_task.OracleTask(simulator, size=size, n_validation=n_validation)


def _sources_task(profile: Profile) -> source_task.SourcesTask:
    size, n_validation = source_task.source_sizes(profile)
    simulator = SceneSimulator(device=profile.device)
    network = source_task.build_sources()
    return source_task.SourcesTask(simulator, network, size=size, n_validation=n_validation)


def _score_bands(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Scenes are drawn: there is no source to choose.
    with on_device(model) as own:
        return score_translator(own, seed=SEEDS.test_seed(seed), size=size)


def _score_limits(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    with on_device(model) as own:
        return score_limits(own, seed=SEEDS.test_seed(seed), size=size)


def _translate(
    model: nn.Module, images: Tensor, ivar: Tensor, bands: Names, targets: Names
) -> tuple[Tensor, None]:
    assert isinstance(model, BandTranslator | SourceTranslator)
    given = torch.tensor([name in bands for name in model.bands]).expand(len(images), -1)
    rows = [model.bands.index(name) for name in targets]
    place = model.softening.device
    parts = []
    for part in torch.arange(len(images)).split(_ROWS):
        shown, weights = images[part].to(place), ivar[part].to(place)
        if isinstance(model, SourceTranslator):
            # Which pixels were measured is all that is said here, and photometry asks for more.
            weights = torch.where(weights > 0, model.survey_ivar(shown), 0)
        parts.append(model.predict(shown, weights, given[part].to(place), targets=rows).cpu())
    return torch.cat(parts), None


_MEDIAN = "median of what is possible, without noise, stretched as the network was trained"
_LIGHT = "median of what is possible, without noise, with the light of each source as it should be"
_PUT_RIGHT = "as of bands-flux, with the light of each source as it was measured in the given bands"
# What is asked for is none of what is given.
_GIVEN = tuple(name for name in BANDS if name not in TARGETS)

RECIPES = (
    Recipe(
        name="bands-limits",
        build=oracle_task.build_oracle,
        task=_limits_task,
        schedules=oracle_task.SCHEDULES,
        seeds=SEEDS,
        score=_score_limits,
        published={},
        float16=False,
    ),
    Recipe(
        name="bands",
        build=BandTranslator,
        task=_scenes(task.BandsTask),
        schedules=task.SCHEDULES,
        seeds=SEEDS,
        score=_score_bands,
        published={},
        question=band_question(_translate, values=_MEDIAN),
    ),
    Recipe(
        name="bands-flux",
        build=flux_task.build_flux,
        task=_scenes(flux_task.FluxTask),
        schedules=flux_task.SCHEDULES,
        seeds=SEEDS,
        score=_score_bands,
        published={},
        question=band_question(_translate, values=_LIGHT),
    ),
    Recipe(
        name="bands-sources",
        build=source_task.build_sources,
        task=_sources_task,
        schedules=source_task.SCHEDULES,
        seeds=SEEDS,
        score=_score_bands,
        published={},
        # Fluxes to a per cent: the translator's weights alone are rounded.
        float32_below=("body.", "answers.", "centre", "scale"),
        question=band_question(_translate, bands=_GIVEN, targets=TARGETS, values=_PUT_RIGHT),
    ),
    pair_task.make_pix2pix_recipe(),
    pair_task.make_gan_recipe(),
    bridge_task.make_flow_recipe(),
    gaussian.make_recipe(),
)
