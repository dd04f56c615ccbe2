"""Scores of translations on scenes that nothing was trained on, beside the limits."""

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.recipe import Scores
from skytutor.chapters.translation.answers import Answer, TestSources, Translation, answers_on
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.source_network import SourceTranslator
from skytutor.chapters.translation.source_oracle import SourceOracle
from skytutor.chapters.translation.source_scores import (
    flux_errors,
    temperatures,
)
from skytutor.chapters.translation.stretch import STRETCHED_RANGE
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS
from skytutor.chapters.translation.translations import (
    by_network,
    by_oracle,
    pretrained_oracle,
    simple,
    survey,
    trained_photo_z,
)
from skytutor.data.bands import GALAXY, STAR, SceneSimulator
from skytutor.data.stars import StarTable
from skytutor.data.surveys import BANDS, faint_error
from skytutor.metrics.redshifts import sigma_nmad
from skytutor.training import profile

__all__ = [
    "TEST_SIZE",
    "decibels",
    "on_device",
    "score_limits",
    "score_plates",
    "score_translator",
    "source_scores",
]

TEST_SIZE = 500  # scenes
_PLATES = "plates"  # of the published choices, the one that sources are scored with
_BRIGHT, _FAINT = 20.0, 5.0  # signal-to-noise ratios that part sources


@contextlib.contextmanager
def on_device(model: nn.Module, device: torch.device | None = None) -> Iterator[nn.Module]:
    """Let a copy of a network be scored on a device.

    A GPU computes convolutions in full precision meanwhile, so that its scores are those of a CPU.

    Arguments:
        model: stays where it is.
        device: of the copy; default: that of this machine's profile.
    """
    own = copy.deepcopy(model).to(profile.device() if device is None else device)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield own
    finally:
        torch.backends.cudnn.allow_tf32 = before


def decibels(squares: Tensor) -> float:
    """Return the PSNR of mean squared errors of stretched images, of any shape.

    Arguments:
        squares: of images of one size.

    Example:
        >>> round(decibels(torch.tensor([0.0057772])), 2)
        40.0
    """
    return 10 * math.log10(STRETCHED_RANGE**2 / float(squares.double().mean()))


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
    errors = torch.tensor([faint_error(BANDS[name]) for name in inputs])
    ratio = (sources.flux[:, columns] / errors).amax(1)
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
    redshift = trained_photo_z(tuple(targets)).predict(answer.flux[galaxy])
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
        model: a `BandTranslator` or a `SourceTranslator`, in evaluation mode.
        seed: of the generator that draws the scenes.
        size: scenes; None for `TEST_SIZE`.
        targets: names of the bands that are asked for.
    """
    assert isinstance(model, BandTranslator | SourceTranslator)
    device = model.softening.device
    networks = {name: by_network(model, given, targets) for name, given in PUBLISHED.items()}
    return _scored(networks, seed=seed, size=size, targets=tuple(targets), device=device)


def score_plates(
    translate: Translation,
    *,
    seed: int,
    size: int | None = None,
    targets: Sequence[str] = TARGETS,
    device: torch.device | str = "cpu",
) -> Scores:
    """Score a translation of photographic plates.

    Arguments:
        translate: of scenes, to images in nanomaggies a pixel.
        seed: of the generator that draws the scenes.
        size: scenes; None for `TEST_SIZE`.
        targets: names of the bands that it answers with.
        device: on which it is asked.
    """
    about: dict[str, Any] = {"targets": tuple(targets), "device": torch.device(device)}
    return _scored({_PLATES: translate}, seed=seed, size=size, **about)


def _scored(
    networks: Mapping[str, Translation],
    *,
    seed: int,
    size: int | None,
    targets: tuple[str, ...],
    device: torch.device,
) -> Scores:
    """Score translations of published choices of bands, that of plates among them."""
    n = TEST_SIZE if size is None else size
    simulator = SceneSimulator(device=device)
    oracle = pretrained_oracle().to(device)
    plates = PUBLISHED[_PLATES]
    translations = {**simple(plates, targets), "survey": survey(simulator, targets)}
    for name, translate in networks.items():
        translations[f"network, {name}"] = translate
        translations[f"oracle, {name}"] = by_oracle(simulator, oracle, PUBLISHED[name], targets)
    sources, answers = answers_on(simulator, translations, targets=targets, n=n, seed=seed)
    psnr = {name: decibels(answer.squares) for name, answer in answers.items()}
    subsets = {name: _closed(psnr, name) for name in networks}
    about: dict[str, Any] = {"simulator": simulator, "inputs": plates, "targets": targets}
    network, oracles, surveyed = (
        source_scores(answers[name], sources, **about)
        for name in (f"network, {_PLATES}", f"oracle, {_PLATES}", "survey")
    )
    scores = {
        **subsets[_PLATES],
        **{f"psnr_{name}": psnr[name] for name in ("pixelwise", "nearest", "survey")},
        "subsets": subsets,
        **network,
        "oracle": oracles,
        "survey": surveyed,
    }
    return Scores(
        scores=scores,
        constant={"psnr": psnr["empty"]},
        size=n,
        data="simulated scenes",
        limit={"psnr": subsets[_PLATES]["psnr_oracle"]},
    )


def _closed(psnr: Mapping[str, float], name: str) -> dict[str, float]:
    """Return what a network reaches from a choice of bands, and what the oracle does."""
    own, best = psnr[f"network, {name}"], psnr[f"oracle, {name}"]
    closed = gap_closed(own, psnr["pixelwise"], best)
    return {"psnr": own, "psnr_oracle": best, "gap_closed": closed}


def score_limits(model: nn.Module, *, seed: int, size: int | None = None) -> Scores:
    """Score the oracle with each published choice of bands.

    Arguments:
        model: a `SourceOracle`, in evaluation mode.
        seed: of the generator that draws the scenes.
        size: scenes; None for `TEST_SIZE`.
    """
    assert isinstance(model, SourceOracle)
    n = TEST_SIZE if size is None else size
    simulator = SceneSimulator(device=model.softening.device)
    translations: dict[str, Translation] = {
        name: by_oracle(simulator, model, inputs, TARGETS) for name, inputs in PUBLISHED.items()
    }
    translations["empty"] = lambda batch: torch.zeros_like(batch.seen.truth[:, : len(TARGETS)])
    sources, answers = answers_on(simulator, translations, targets=TARGETS, n=n, seed=seed)
    found = source_scores(
        answers[_PLATES],
        sources,
        simulator=simulator,
        inputs=PUBLISHED[_PLATES],
        targets=TARGETS,
    )
    psnr = {name: decibels(answer.squares) for name, answer in answers.items()}
    return Scores(
        scores={"psnr": {name: psnr[name] for name in PUBLISHED}, **found},
        constant={"psnr": psnr["empty"]},
        size=n,
        data="simulated scenes",
    )
