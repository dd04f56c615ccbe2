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
    task,
)
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.question import Names, band_question
from skytutor.chapters.translation.scores import on_device, score_limits, score_translator
from skytutor.data.bands import SceneSimulator
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
    assert isinstance(model, BandTranslator)
    given = torch.tensor([name in bands for name in model.bands]).expand(len(images), -1)
    rows = [model.bands.index(name) for name in targets]
    place = model.softening.device
    parts = []
    for part in torch.arange(len(images)).split(_ROWS):
        shown = (images[part].to(place), ivar[part].to(place), given[part].to(place))
        parts.append(model.predict(*shown, targets=rows).cpu())
    return torch.cat(parts), None


_MEDIAN = "median of what is possible, without noise, stretched as the network was trained"
_LIGHT = "median of what is possible, without noise, with the light of each source as it should be"

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
    pair_task.make_pix2pix_recipe(),
    pair_task.make_gan_recipe(),
    bridge_task.make_flow_recipe(),
    gaussian.make_recipe(),
)
