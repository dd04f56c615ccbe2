"""Scores against cases whose answer is known: the oracle itself, a constant, a cheat."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import MultivariateNormal

from skytutor.chapters.spectra import scores
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import KNOWLEDGE, LimitNetworks
from skytutor.chapters.spectra.scores import TestSet, draw_test, gaussian, scores_of
from skytutor.chapters.spectra.targets import N_LATENTS, N_TARGETS
from skytutor.data.galaxies import GalaxySimulator
from skytutor.files import strict_json

# Variance of the targets that each kind of knowledge leaves; the prior's is 1.
LEFT = {"colours": 0.64, "catalogue": 0.49, "oracle": 0.25, "noiseless": 0.16}


def normal(mean, variance):
    factor = math.sqrt(variance) * torch.eye(N_TARGETS).expand(len(mean), -1, -1)
    return MultivariateNormal(mean, scale_tril=factor)


def nested(n=4000, seed=0, left=LEFT):
    """Return a test set in which each kind of knowledge adds independent parts to the last."""
    rng = torch.Generator().manual_seed(seed)
    mean = torch.zeros(n, N_TARGETS)
    limits = {}
    before = 1.0
    for name, variance in left.items():
        part = torch.randn(n, N_TARGETS, generator=rng)
        mean = mean + math.sqrt(before - variance) * part
        before = variance
        limits[name] = (mean, normal(mean, variance).scale_tril)
    targets = mean + math.sqrt(before) * torch.randn(n, N_TARGETS, generator=rng)
    best = limits["oracle"][0]
    return TestSet(
        targets=targets,
        mean=best,
        posterior=normal(best, left["oracle"]),
        limits=limits,
        magnitude=torch.rand(n, generator=rng),
        redshift=torch.rand(n, generator=rng),
    )


def test_the_oracle_closes_the_gap_and_is_calibrated():
    found = scores_of(nested())
    assert found["gap_closed"] == 1
    assert found["gap_closed_h_alpha"] == found["gap_closed_oiii"] == 1
    assert found["above_oracle"] == found["above_oracle_error"] == 0
    assert found["crps_over_oracle"] == pytest.approx(1)
    assert found["rmse"] == pytest.approx(0.5, rel=0.02)
    assert found["coverage_68"] == pytest.approx(0.68, abs=0.01)
    assert found["tarp"] < 0.03
    for name in ("coverage_by_magnitude", "coverage_by_redshift"):
        assert len(found[name]) == 3
        assert found[name] == pytest.approx([0.68] * 3, abs=0.02)
    assert found["sigma_nmad"] == found["sigma_nmad_oracle"] < found["sigma_nmad_catalogue"]


def test_samples_are_scored_as_the_gaussian_they_come_from():
    test = nested(n=1000)
    samples = test.posterior.sample((400,)).movedim(0, 1)
    drawn = scores_of(replace(test, posterior=samples))
    closed = scores_of(test)
    assert drawn["crps_over_oracle"] == pytest.approx(closed["crps_over_oracle"], rel=0.01)
    assert drawn["coverage_68"] == pytest.approx(closed["coverage_68"], abs=0.01)


def test_the_catalogue_closes_nothing():
    test = nested()
    mean = test.limits["catalogue"][0]
    found = scores_of(replace(test, mean=mean, posterior=normal(mean, LEFT["catalogue"])))
    assert found["gap_closed"] == found["below_catalogue"] == found["gap_closed_oiii"] == 0
    # Errors of 0.7 and 0.5 whose squares scatter independently but for the oracle's part.
    assert found["above_oracle"] == pytest.approx(0.2, abs=0.01)
    assert found["above_oracle"] > 10 * found["above_oracle_error"]
    assert found["crps_over_oracle"] == pytest.approx(0.7 / 0.5, rel=0.02)


def test_a_constant_scores_as_the_constant():
    test = nested()
    mean = torch.zeros_like(test.mean)
    found = scores_of(replace(test, mean=mean, posterior=normal(mean, 1.0)))
    assert found["rmse"] == found["rmse_constant"] == pytest.approx(1, rel=0.02)
    assert found["gap_closed"] == pytest.approx((0.7 - 1) / (0.7 - 0.5), rel=0.05)
    assert found["coverage_68"] == pytest.approx(0.68, abs=0.01)  # wide, and honest


def test_half_of_the_way_is_half_of_the_gap():
    """An error of 0.6 lies in the middle between 0.7 and 0.5."""
    test = nested()
    start = test.limits["catalogue"][0] - test.targets
    own = start * (0.6 / float(start[:, :N_LATENTS].square().mean().sqrt()))
    found = scores_of(replace(test, mean=test.targets + own))
    wanted = (found["rmse_catalogue"] - 0.6) / (found["rmse_catalogue"] - found["rmse_oracle"])
    assert found["gap_closed"] == pytest.approx(wanted, rel=1e-4) == pytest.approx(0.5, abs=0.05)
    assert found["below_catalogue"] == pytest.approx(1 - 0.6 / found["rmse_catalogue"], rel=1e-4)


def test_what_is_better_than_the_oracle_stands_out():
    """A network that saw the noiseless image has seen what no image tells."""
    test = nested()
    found = scores_of(replace(test, mean=test.limits["noiseless"][0]))
    assert found["gap_closed"] > 1
    assert found["above_oracle"] < -5 * found["above_oracle_error"]


def test_the_error_of_a_difference_is_that_of_pairs():
    """Over 200 test sets the difference scatters by what one set says of it."""
    differences = []
    errors = []
    for seed in range(200):
        test = nested(n=200, seed=seed)
        rng = torch.Generator().manual_seed(1000 + seed)
        worse = test.mean + 0.1 * torch.randn(test.mean.shape, generator=rng)
        found = scores._accuracy(replace(test, mean=worse))
        differences.append(found["above_oracle"])
        errors.append(found["above_oracle_error"])
    spread = torch.tensor(differences).std()
    assert float(torch.tensor(errors).mean()) == pytest.approx(float(spread), rel=0.15)
    # Unpaired it would be several times as large.
    assert float(spread) < 0.5 / math.sqrt(2 * 200 * N_LATENTS)


def test_an_overconfident_posterior_is_found():
    test = nested()
    found = scores_of(replace(test, posterior=normal(test.mean, LEFT["oracle"] / 4)))
    assert found["coverage_68"] < 0.5
    assert found["tarp"] > 0.03
    assert found["crps_over_oracle"] > 1.05


def test_in_a_null_universe_the_image_adds_nothing():
    """Oracle and catalogue know the same: a network at the oracle gains 0 over the catalogue."""
    left = {**LEFT, "oracle": 0.49 - 1e-6, "noiseless": 0.40}
    found = scores_of(nested(left=left))
    assert found["below_catalogue"] == pytest.approx(0, abs=1e-3)
    assert found["rmse_oracle"] == pytest.approx(found["rmse_catalogue"], rel=1e-3)
    # There is no gap to close, and a card says so in strict JSON.
    assert found["gap_closed"] is found["gap_closed_h_alpha"] is found["gap_closed_oiii"] is None
    assert json.loads(strict_json(found, what="scores"))["gap_closed"] is None


@pytest.mark.parametrize(("start", "limit"), [(0.5, 0.5), (0.5, 0.4995), (0.5, 0.51), (0.0, 0.0)])
def test_no_part_is_closed_of_a_gap_that_is_none(start, limit):
    assert scores._gap(0.45, start, limit) is None


def test_a_gap_is_closed_in_part():
    assert scores._gap(0.45, 0.5, 0.4) == pytest.approx(0.5)
    assert scores._gap(0.55, 0.5, 0.4) == pytest.approx(-0.5)


@pytest.fixture
def stand_ins(monkeypatch):
    """Put untrained networks where the package's own would be loaded."""
    torch.manual_seed(0)
    autoencoder = SpectrumAutoencoder().eval()
    limits = LimitNetworks().eval()
    monkeypatch.setattr(scores, "pretrained_autoencoder", lambda device: autoencoder)
    monkeypatch.setattr(scores, "pretrained_limits", lambda: limits)


def model(images):
    mean = images.mean((1, 2, 3))[:, None].expand(-1, N_TARGETS)
    return mean, torch.eye(N_TARGETS).expand(len(images), -1, -1)


def test_a_test_set_is_drawn_in_parts_that_fit_together(stand_ins):
    test = draw_test(gaussian(model), seed=1, size=260)  # more than one part
    assert test.targets.shape == test.mean.shape == (260, N_TARGETS)
    assert isinstance(test.posterior, MultivariateNormal)
    assert torch.equal(test.posterior.loc, test.mean)
    assert set(test.limits) == set(KNOWLEDGE)
    again = draw_test(gaussian(model), seed=1, size=260)
    assert torch.equal(test.targets, again.targets)
    # The brightest images are those of the brightest galaxies.
    assert torch.corrcoef(torch.stack([test.mean[:, 0], test.magnitude]))[0, 1] < -0.5


def test_samples_are_joined_too(stand_ins):
    def predict(images):
        mean, _ = model(images)
        return mean, mean[:, None].expand(-1, 7, -1)

    test = draw_test(predict, seed=1, size=260)
    assert test.posterior.shape == (260, 7, N_TARGETS)


def test_a_score_names_its_limit(stand_ins):
    found = scores.score_posterior(gaussian(model), seed=0, size=60)
    assert found.size == 60
    assert found.limit["rmse"] == found.scores["rmse_oracle"]
    assert found.constant["rmse"] == found.scores["rmse_constant"]


def test_another_universe_brings_its_own_limits(stand_ins):
    torch.manual_seed(1)
    simulator = GalaxySimulator(null=True)
    test = draw_test(
        gaussian(model), seed=1, size=20, simulator=simulator, limits=LimitNetworks().eval()
    )
    other = draw_test(gaussian(model), seed=1, size=20)
    assert not torch.equal(test.targets, other.targets)
    assert not torch.equal(test.limits["oracle"][0], other.limits["oracle"][0])


def test_the_error_of_a_gain_is_its_scatter_over_test_sets():
    """Hard galaxies are hard for both: their weight must not count as an error of the gain."""
    gains, errors = [], []
    for seed in range(300):
        rng = torch.Generator().manual_seed(seed)
        hard = torch.rand(300, 1, generator=rng).add(0.1)
        other = hard * torch.randn(300, 9, generator=rng)
        own = 0.8 * other + 0.2 * hard * torch.randn(300, 9, generator=rng)
        found, error = scores.gain(own, other)
        gains.append(found)
        errors.append(error)
    assert sum(gains) / 300 == pytest.approx(1 - math.hypot(0.8, 0.2), abs=0.003)
    assert sum(errors) / 300 == pytest.approx(float(torch.tensor(gains).std()), rel=0.15)


def test_a_gain_counts_the_latents_alone_and_is_negative_for_a_loss():
    other = torch.randn(50, 9, generator=torch.Generator().manual_seed(1))
    own = other.clone()
    own[:, N_LATENTS:] = 100
    assert scores.gain(own, other) == (0, 0)
    assert scores.gain(2 * other, other)[0] == pytest.approx(-1)
    assert scores.gain(other / 2, other)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(("own", "other"), [((5, 9), (4, 9)), ((1, 9), (1, 9)), ((5, 6), (5, 9))])
def test_a_gain_needs_pairs(own, other):
    with pytest.raises(ValueError, match="own and other must be errors"):
        scores.gain(torch.ones(own), torch.ones(other))
