"""Scores of translations on scenes that nothing was trained on, beside the limits."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.recipe import Scores
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation.answers import Answer, TestSources, Translation, answers_on
from skytutor.chapters.translation.baselines import PixelBoosting, nearest_band
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.scored_scenes import SceneBatch, oracle_flux, oracle_images
from skytutor.chapters.translation.source_oracle import SourceOracle
from skytutor.chapters.translation.source_scores import (
    PhotoZ,
    faint_errors,
    flux_errors,
    temperatures,
)
from skytutor.chapters.translation.stretch import RANGE, softenings, unstretched
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS, check_request, given_bands
from skytutor.chapters.translation.task import draw_truths
from skytutor.chapters.weights import load_needed
from skytutor.data.bands import GALAXY, STAR, SceneSimulator
from skytutor.data.stars import StarTable
from skytutor.data.surveys import BANDS
from skytutor.metrics.redshifts import sigma_nmad

__all__ = [
    "LIMITS",
    "TEST_SIZE",
    "by_network",
    "by_oracle",
    "decibels",
    "pretrained_oracle",
    "score_limits",
    "score_translator",
    "source_scores",
]

LIMITS = "bands-limits"  # recipe of the oracle
TEST_SIZE = 500  # scenes
_FOR_BOOSTING = 300  # scenes that boosted trees and photo-z learn from
_BRIGHT, _FAINT = 20.0, 5.0  # signal-to-noise ratios that part sources


@lru_cache(maxsize=1)
def pretrained_oracle() -> SourceOracle:
    """Return the trained oracle.

    Raises:
        CheckpointError: the weights are not there; it says what to train.
    """
    oracle = load_needed(LIMITS, needed_for="a score beside the limit")
    assert isinstance(oracle, SourceOracle)
    return oracle


def decibels(squares: Tensor) -> float:
    """Return the PSNR of mean squared errors of stretched images, of any shape.

    Arguments:
        squares: of images of one size.

    Example:
        >>> round(decibels(torch.tensor([0.0057772])), 2)
        40.0
    """
    return 10 * math.log10(math.asinh(RANGE) ** 2 / float(squares.double().mean()))


def by_network(model: BandTranslator, inputs: Sequence[str], targets: Sequence[str]) -> Translation:
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
        rows_given = given.expand(len(batch), -1)
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
        return oracle_images(simulator, batch, oracle_flux(oracle, batch, given))[:, rows]

    return translate


@lru_cache(maxsize=8)
def _boosted(inputs: tuple[str, ...], targets: tuple[str, ...]) -> PixelBoosting:
    """Return boosted trees, trained on scenes of their own."""
    simulator = SceneSimulator()
    rng = torch.Generator().manual_seed(SEEDS.train[-1])
    seen = simulator.expose(draw_truths(simulator, _FOR_BOOSTING, rng), generator=rng)
    return PixelBoosting(inputs, targets).fit(seen)


@lru_cache(maxsize=4)
def _photo_z(targets: tuple[str, ...]) -> PhotoZ:
    """Return photometric redshifts from true fluxes, trained on galaxies of their own."""
    simulator = SceneSimulator(targets)
    rng = torch.Generator().manual_seed(SEEDS.train[-2])
    scenes = simulator.draw(20 * _FOR_BOOSTING, generator=rng)
    galaxy = scenes.kind == GALAXY
    return PhotoZ().fit(scenes.source_flux()[galaxy], scenes.redshift[galaxy])


def _simple(inputs: tuple[str, ...], targets: tuple[str, ...]) -> dict[str, Translation]:
    """Return the translations that see no shapes: pixel by pixel, and the nearest band."""
    bands = tuple(BANDS)
    trees = _boosted(inputs, targets)
    softening = softenings(targets)
    columns = [bands.index(nearest_band(inputs, target)) for target in targets]
    return {
        "pixelwise": lambda batch: unstretched(trees.predict(batch.seen), softening),
        "nearest": lambda batch: batch.seen.images[:, columns],
        "empty": lambda batch: torch.zeros_like(batch.seen.truth[:, : len(targets)]),
    }


def source_scores(
    answer: Answer,
    sources: TestSources,
    *,
    simulator: SceneSimulator,
    inputs: Sequence[str],
    targets: Sequence[str],
) -> dict[str, Any]:
    """Return what a translation makes of sources.

    Arguments:
        answer: of the translation.
        sources: of the same scenes.
        simulator: of the scenes.
        inputs: names of the bands that were given.
        targets: names of the T bands that were asked for.

    Returns:
        ``flux`` by band, for sources seen at more than 20 standard deviations in the best of the
        given bands, and at 5 to 20: ``bias``, ``scatter`` and ``n``; ``temperature_scatter`` of the
        logarithm, of the stars among the former; ``photo_z``, the scatter of redshifts of the
        galaxies among them; ``invented`` and ``lost``, peaks in a thousand of the truth's, by band.
    """
    columns, rows = ([simulator.bands.index(name) for name in names] for names in (inputs, targets))
    ratio = (sources.flux / faint_errors(simulator))[:, columns].amax(1)
    groups = {"bright": ratio > _BRIGHT, "faint": (ratio > _FAINT) & (ratio <= _BRIGHT)}
    truth = sources.flux[:, rows]
    flux: dict[str, Any] = {}
    for t, name in enumerate(targets):
        flux[name] = {
            group: vars(flux_errors(answer.flux[chosen, t], truth[chosen, t]))
            for group, chosen in groups.items()
            if int(chosen.sum()) > 1
        }
    star = groups["bright"] & (sources.kind == STAR)
    table = StarTable([BANDS[name].filter for name in targets])
    warmth = temperatures(answer.flux[star], table) / sources.temperature[star]
    low, high = warmth.log().nanquantile(torch.tensor([0.16, 0.84])).tolist()
    galaxy = groups["bright"] & (sources.kind == GALAXY)
    redshift = _photo_z(tuple(targets)).predict(answer.flux[galaxy])
    peaks = {name: max(len(answer.there[name]), 1) for name in targets}
    return {
        "flux": flux,
        "temperature_scatter": (high - low) / 2,
        "photo_z": sigma_nmad(redshift, sources.redshift[galaxy]),
        "invented": {name: 1000 * len(answer.invented[name]) / peaks[name] for name in targets},
        "lost": {name: 1000 * len(answer.lost[name]) / peaks[name] for name in targets},
    }


def gap_closed(score: float, baseline: float, oracle: float) -> float:
    """Return which part of the way from a baseline to the oracle a score goes, in decibels.

    Arguments:
        score: PSNR.
        baseline: PSNR.
        oracle: PSNR.
    """
    return (score - baseline) / (oracle - baseline)


def score_translator(
    model: nn.Module, *, seed: int, size: int | None = None, targets: Sequence[str] = TARGETS
) -> Scores:
    """Score a network with each published choice of bands.

    Arguments:
        model: a `BandTranslator`, in evaluation mode.
        seed: of the generator that draws the scenes.
        size: scenes; None for `TEST_SIZE`.
        targets: names of the bands that are asked for.
    """
    assert isinstance(model, BandTranslator)
    n = TEST_SIZE if size is None else size
    simulator = SceneSimulator()
    translations = _compared(model, simulator, tuple(targets))
    sources, answers = answers_on(simulator, translations, targets=targets, n=n, seed=seed)
    psnr = {name: decibels(answer.squares) for name, answer in answers.items()}
    subsets = {}
    for name in PUBLISHED:
        own, best = psnr[f"network, {name}"], psnr[f"oracle, {name}"]
        closed = gap_closed(own, psnr["pixelwise"], best)
        subsets[name] = {"psnr": own, "psnr_oracle": best, "gap_closed": closed}
    about: dict[str, Any] = {
        "simulator": simulator,
        "inputs": PUBLISHED["plates"],
        "targets": targets,
    }
    named = {"network": "network, plates", "oracle": "oracle, plates", "survey": "survey"}
    found = {name: source_scores(answers[key], sources, **about) for name, key in named.items()}
    scores = {
        **subsets["plates"],
        **{f"psnr_{name}": psnr[name] for name in ("pixelwise", "nearest", "survey")},
        "subsets": subsets,
        **found["network"],
        "oracle": found["oracle"],
        "survey": found["survey"],
    }
    return Scores(
        scores=scores,
        constant={"psnr": psnr["empty"]},
        size=n,
        data="simulated scenes",
        limit={"psnr": psnr["oracle, plates"]},
    )


def _compared(
    model: BandTranslator, simulator: SceneSimulator, targets: tuple[str, ...]
) -> dict[str, Translation]:
    """Return a network and the oracle with each published choice, and what sees no shapes."""
    oracle = pretrained_oracle()
    translations: dict[str, Translation] = {}
    for name, inputs in PUBLISHED.items():
        translations[f"network, {name}"] = by_network(model, inputs, targets)
        translations[f"oracle, {name}"] = by_oracle(simulator, oracle, inputs, targets)
    translations |= _simple(PUBLISHED["plates"], targets)
    # The survey's own image: what its noise alone invents.
    rows = [simulator.bands.index(name) for name in targets]
    translations["survey"] = lambda batch: batch.seen.images[:, rows]
    return translations


def score_limits(model: nn.Module, *, seed: int, size: int | None = None) -> Scores:
    """Score the oracle with each published choice of bands.

    Arguments:
        model: a `SourceOracle`, in evaluation mode.
        seed: of the generator that draws the scenes.
        size: scenes; None for `TEST_SIZE`.
    """
    assert isinstance(model, SourceOracle)
    n = TEST_SIZE if size is None else size
    simulator = SceneSimulator()
    translations: dict[str, Translation] = {
        name: by_oracle(simulator, model, inputs, TARGETS) for name, inputs in PUBLISHED.items()
    }
    translations["empty"] = lambda batch: torch.zeros_like(batch.seen.truth[:, : len(TARGETS)])
    sources, answers = answers_on(simulator, translations, targets=TARGETS, n=n, seed=seed)
    found = source_scores(
        answers["plates"],
        sources,
        simulator=simulator,
        inputs=PUBLISHED["plates"],
        targets=TARGETS,
    )
    psnr = {name: decibels(answer.squares) for name, answer in answers.items()}
    return Scores(
        scores={"psnr": {name: psnr[name] for name in PUBLISHED}, **found},
        constant={"psnr": psnr["empty"]},
        size=n,
        data="simulated scenes",
    )
