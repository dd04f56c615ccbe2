"""Translations that are compared: a network's, the oracle's, those that see no shapes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation.answers import Translation
from skytutor.chapters.translation.baselines import PixelBoosting, nearest_band
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.scored_scenes import SceneBatch, oracle_flux, oracle_images
from skytutor.chapters.translation.source_network import SourceTranslator
from skytutor.chapters.translation.source_oracle import SourceOracle
from skytutor.chapters.translation.source_scores import PhotoZ
from skytutor.chapters.translation.stretch import softenings, unstretched
from skytutor.chapters.translation.subsets import check_request, given_bands
from skytutor.chapters.translation.task import draw_truths
from skytutor.chapters.weights import load_needed
from skytutor.data.bands import GALAXY, SceneSimulator
from skytutor.data.surveys import BANDS
from skytutor.memo import cached_object, cached_table

__all__ = [
    "LIMITS",
    "by_network",
    "by_oracle",
    "pretrained_oracle",
    "simple",
    "survey",
    "trained_photo_z",
]

LIMITS = "bands-limits"  # recipe of the oracle
_FOR_BOOSTING = 300  # scenes that boosted trees and photo-z learn from


@cached_table(maxsize=1)
def pretrained_oracle() -> SourceOracle:
    """Return the trained oracle.

    Raises:
        CheckpointError: the weights are not there; it says what to train.
    """
    oracle = load_needed(LIMITS, needed_for="a score beside the limit")
    assert isinstance(oracle, SourceOracle)
    return oracle


def by_network(
    model: BandTranslator | SourceTranslator, inputs: Sequence[str], targets: Sequence[str]
) -> Translation:
    """Return the translation that a network makes of some bands.

    Arguments:
        model: in evaluation mode.
        inputs: names of the bands that it is given.
        targets: names of the bands that are asked for.

    Raises:
        ValueError: no such bands, or a target among the inputs.
    """
    check_request(inputs, targets)
    given = given_bands(inputs, bands=model.bands)
    rows = [model.bands.index(name) for name in targets]

    def translate(batch: SceneBatch) -> Tensor:
        seen = batch.seen
        rows_given = given.to(seen.images.device).expand(len(batch), -1)
        return model.predict(seen.images, seen.ivar, rows_given, targets=rows)

    return translate


def by_oracle(
    simulator: SceneSimulator, oracle: SourceOracle, inputs: Sequence[str], targets: Sequence[str]
) -> Translation:
    """Return the translation of an oracle that knows the scene.

    Arguments:
        simulator: of the scenes.
        oracle: in evaluation mode.
        inputs: names of the bands that it is given.
        targets: names of the bands that are asked for.

    Raises:
        ValueError: no such bands, or a target among the inputs.
    """
    check_request(inputs, targets)
    given = given_bands(inputs, bands=simulator.bands)
    rows = [simulator.bands.index(name) for name in targets]

    def translate(batch: SceneBatch) -> Tensor:
        shown = given.to(batch.sources.flux.device)
        return oracle_images(simulator, batch, oracle_flux(oracle, batch, shown))[:, rows]

    return translate


@cached_object(maxsize=8)
def _boosted(inputs: tuple[str, ...], targets: tuple[str, ...]) -> PixelBoosting:
    """Return boosted trees, trained on scenes of their own."""
    simulator = SceneSimulator()
    rng = torch.Generator().manual_seed(SEEDS.train[-1])
    seen = simulator.expose(draw_truths(simulator, _FOR_BOOSTING, rng), generator=rng)
    return PixelBoosting(inputs, targets).fit(seen)


@cached_object(maxsize=4)
def trained_photo_z(targets: tuple[str, ...]) -> PhotoZ:
    """Return photometric redshifts from true fluxes, trained on galaxies of their own."""
    simulator = SceneSimulator(targets)
    rng = torch.Generator().manual_seed(SEEDS.train[-2])
    scenes = simulator.draw(20 * _FOR_BOOSTING, generator=rng)
    galaxy = scenes.kind == GALAXY
    return PhotoZ().fit(scenes.source_flux()[galaxy], scenes.redshift[galaxy])


def simple(inputs: tuple[str, ...], targets: tuple[str, ...]) -> dict[str, Translation]:
    """Return the translations that see no shapes: pixel by pixel, and the nearest band."""
    bands = tuple(BANDS)
    trees = _boosted(inputs, targets)
    softening = softenings(targets)
    columns = [bands.index(nearest_band(inputs, target)) for target in targets]

    def pixelwise(batch: SceneBatch) -> Tensor:
        # Trees grow on the CPU alone.
        flux = unstretched(trees.predict(batch.seen.to("cpu")), softening)
        return flux.to(batch.seen.images.device)

    return {
        "pixelwise": pixelwise,
        "nearest": lambda batch: batch.seen.images[:, columns],
        "empty": lambda batch: torch.zeros_like(batch.seen.truth[:, : len(targets)]),
    }


def survey(simulator: SceneSimulator, targets: Sequence[str]) -> Translation:
    """Return the survey's own images of the target bands: what noise alone invents."""
    rows = [simulator.bands.index(name) for name in targets]
    return lambda batch: batch.seen.images[:, rows]
