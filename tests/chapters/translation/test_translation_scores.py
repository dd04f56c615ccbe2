"""Scores of translations, on answers whose scores are known."""

import math

import pytest
import torch

from skytutor.chapters.translation import scores
from skytutor.chapters.translation.answers import answers_on
from skytutor.chapters.translation.baselines import PixelBoosting, nearest_band
from skytutor.chapters.translation.scores import decibels, gap_closed, source_scores
from skytutor.chapters.translation.source_scores import PhotoZ, flux_errors
from skytutor.chapters.translation.stretch import softenings, stretched
from skytutor.chapters.translation.subsets import TARGETS
from skytutor.data.bands import SceneSimulator

N = 25


@pytest.fixture(scope="module")
def answered():
    """Return the sources, and what a perfect answer, a dim one and a blind one make of them."""
    simulator = SceneSimulator()
    rows = [simulator.bands.index(name) for name in TARGETS]
    translations = {
        "perfect": lambda batch: batch.seen.truth[:, rows],
        "dim": lambda batch: 0.8 * batch.seen.truth[:, rows],
        "survey": lambda batch: batch.seen.images[:, rows],
        "empty": lambda batch: torch.zeros_like(batch.seen.truth[:, rows]),
    }
    sources, answers = answers_on(simulator, translations, targets=TARGETS, n=N, seed=3)
    return simulator, sources, answers


def scored(answered, name, monkeypatch):
    simulator, sources, answers = answered
    rng = torch.Generator().manual_seed(0)
    small = PhotoZ().fit(torch.rand(200, 3, generator=rng) + 1, torch.rand(200, generator=rng))
    monkeypatch.setattr(scores, "trained_photo_z", lambda targets: small)
    about = {"simulator": simulator, "inputs": ["blue", "red"], "targets": TARGETS}
    return source_scores(answers[name], sources, **about)


def test_a_perfect_answer_has_no_error_and_loses_nothing(answered, monkeypatch):
    _, _, answers = answered
    assert float(answers["perfect"].squares.max()) == 0
    found = scored(answered, "perfect", monkeypatch)
    for name in TARGETS:
        bright = found["flux"][name]["bright"]
        assert abs(bright["bias"]) < 1e-3 and bright["scatter"] < 2e-3 and bright["n"] > 20
        assert found["invented"][name] == found["lost"][name] == 0
    assert found["temperature_scatter"] < 2e-3


def test_light_that_is_lost_is_a_bias_and_no_change_of_colour(answered, monkeypatch):
    found = scored(answered, "dim", monkeypatch)
    assert found["flux"]["r"]["bright"]["bias"] == pytest.approx(-0.2, abs=2e-3)
    assert found["temperature_scatter"] < 2e-3
    assert found["lost"]["r"] == 0, "four fifths of a source are not lost"


def test_an_empty_image_loses_every_source(answered, monkeypatch):
    _, _, answers = answered
    empty = answers["empty"]
    for name in TARGETS:
        assert len(empty.lost[name]) == len(empty.there[name]) > N
        assert len(empty.invented[name]) == 0


def test_the_survey_itself_scatters_by_its_noise(answered, monkeypatch):
    found = scored(answered, "survey", monkeypatch)
    assert 1e-3 < found["flux"]["r"]["bright"]["scatter"] < 0.05


def test_errors_are_those_of_the_stretched_image(answered):
    simulator, _, answers = answered
    assert answers["dim"].squares.shape == (N, 3)
    batch = next(scores_batches(simulator))
    softening = softenings(TARGETS)
    truth = batch.seen.truth[:, 2:5]
    error = stretched(0.8 * truth, softening) - stretched(truth, softening)
    wanted = error.double().square().mean((-2, -1))
    assert torch.allclose(answers["dim"].squares, wanted)


def scores_batches(simulator):
    from skytutor.chapters.translation.scored_scenes import draw_batches

    return draw_batches(simulator, N, generator=torch.Generator().manual_seed(3))


def test_decibels_and_gap():
    assert decibels(torch.tensor([math.asinh(1000.0) ** 2])) == pytest.approx(0, abs=1e-5)
    assert gap_closed(35.0, 30.0, 50.0) == 0.25


def test_the_nearest_band_is_nearest_in_the_logarithm_of_wavelength():
    assert nearest_band(["FUV", "red", "K"], "r") == "red"
    assert nearest_band(["NUV", "J"], "i") == "J"


def test_trees_learn_colours_and_see_no_neighbours():
    simulator = SceneSimulator(size=16)
    rng = torch.Generator().manual_seed(5)
    seen = simulator.observe(simulator.draw(30, generator=rng), generator=rng)
    trees = PixelBoosting(["r", "i"], ["g"], pixels=5000).fit(seen)
    answer = trees.predict(seen)
    assert answer.shape == (30, 1, 16, 16)
    wanted = stretched(seen.truth[:, 2:3], softenings(["g"]))
    assert float((answer - wanted).square().mean()) < 0.1 * float(wanted.square().mean())
    shuffled = torch.randperm(256, generator=rng)
    for part in (seen.images, seen.ivar):
        part.copy_(part.flatten(2)[..., shuffled].reshape(part.shape))
    moved = trees.predict(seen).flatten(2)
    assert torch.allclose(moved, answer.flatten(2)[..., shuffled])


def test_redshifts_come_back_from_fluxes_that_tell_them():
    rng = torch.Generator().manual_seed(6)
    redshift = torch.rand(500, generator=rng)
    flux = 10 * torch.stack([redshift.exp(), 1 / redshift.exp(), torch.ones(500)], 1)
    found = PhotoZ().fit(flux, redshift).predict(flux)
    assert float((found - redshift).abs().mean()) < 0.02


def test_flux_errors_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="flux and truth must be"):
        flux_errors(torch.ones(3), torch.ones(2))
