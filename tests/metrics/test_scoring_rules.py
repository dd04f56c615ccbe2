"""Scoring rules: closed form against samples and quadrature, and the true posterior wins."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from skytutor.metrics.scoring_rules import crps_gaussian, crps_samples, energy_score


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("mean", "std", "truth"), [(0, 1, 0), (1, 0.3, -0.4), (-2, 2, 5)])
def test_the_closed_form_is_the_integral_that_defines_it(mean, std, truth):
    """The integral over x of (F(x) - [x > truth])^2."""
    below = quad(lambda x: norm.cdf(x, mean, std) ** 2, mean - 12 * std, truth)[0]
    above = quad(lambda x: norm.sf(x, mean, std) ** 2, truth, mean + 12 * std)[0]
    numbers = [torch.tensor(float(v), dtype=torch.float64) for v in (mean, std, truth)]
    assert float(crps_gaussian(*numbers)) == pytest.approx(below + above, rel=1e-6)


def test_samples_approach_the_closed_form():
    mean = normal(50, 3, seed=1)
    std = 0.2 + normal(50, 3, seed=2).abs()
    truth = mean + std * normal(50, 3, seed=3)
    samples = mean[:, None] + std[:, None] * normal(50, 4000, 3, seed=4)
    difference = crps_samples(samples, truth) - crps_gaussian(mean, std, truth)
    # The scatter of a mean over 4,000 samples is 1.6 % of the width.
    assert (difference.abs() < 0.1 * std).all()
    assert float((difference / std).mean()) == pytest.approx(0, abs=0.005)


def test_few_samples_make_no_bias():
    samples = normal(100_000, 2, 1)
    truth = torch.full((100_000, 1), 0.3, dtype=torch.float64)
    scores = crps_samples(samples, truth)
    one = torch.ones(1, dtype=torch.float64)
    want = float(crps_gaussian(0 * one, one, 0.3 * one))
    assert float(scores.mean()) == pytest.approx(want, abs=4 * float(scores.std()) / 316)


def test_the_sum_over_sorted_samples_is_the_sum_over_pairs():
    samples = normal(4, 7, 2)
    truth = normal(4, 2, seed=1)
    pairs = (samples[:, :, None] - samples[:, None]).abs().sum((1, 2)) / (7 * 6)
    want = (samples - truth[:, None]).abs().mean(1) - pairs / 2
    assert torch.allclose(crps_samples(samples, truth), want, rtol=1e-12, atol=1e-14)


def test_of_one_quantity_the_energy_score_is_the_crps():
    samples = normal(9, 40, 1)
    truth = normal(9, 1, seed=1)
    assert torch.allclose(energy_score(samples, truth), crps_samples(samples, truth)[:, 0])


@pytest.mark.parametrize("wrong", [(0.7, 0.0), (1.4, 0.0), (1.0, 0.4)])
def test_the_true_posterior_has_the_smallest_score(wrong):
    width, shift = wrong
    white = normal(4000, 60, 3)
    truth = normal(4000, 3, seed=1)
    right = crps_gaussian(torch.zeros_like(truth), torch.ones_like(truth), truth).mean()
    other = crps_gaussian(torch.full_like(truth, shift), torch.full_like(truth, width), truth)
    assert other.mean() > 1.02 * right
    bad = shift + width * white
    assert crps_samples(bad, truth).mean() > 1.02 * crps_samples(white, truth).mean()
    assert energy_score(bad, truth).mean() > 1.02 * energy_score(white, truth).mean()


def test_the_energy_score_sees_correlations():
    factor = torch.tensor([[1.0, 0.0], [0.95, math.sqrt(1 - 0.95**2)]], dtype=torch.float64)
    truth = normal(4000, 2) @ factor.T
    right = normal(4000, 50, 2, seed=1) @ factor.T
    flipped = right * torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert energy_score(flipped, truth).mean() > 1.03 * energy_score(right, truth).mean()
    same = crps_samples(flipped, truth).mean() / crps_samples(right, truth).mean()
    assert float(same) == pytest.approx(1, abs=0.02)


def test_a_gradient_flows():
    mean = normal(5).requires_grad_()
    std = (0.5 + normal(5, seed=1).abs()).requires_grad_()
    assert torch.autograd.gradcheck(crps_gaussian, (mean, std, normal(5, seed=2)))


@pytest.mark.parametrize("function", [crps_samples, energy_score])
def test_bad_input_is_named(function):
    truth = torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"samples must be \(B, S, D\).*\(4, 9, 3\)"):
        function(torch.zeros(4, 9, 3), truth)
    with pytest.raises(ValueError, match="two or more of each row, got 1"):
        function(torch.zeros(4, 1, 2), truth)
    with pytest.raises(ValueError, match="truth holds NaN"):
        function(torch.zeros(4, 9, 2), truth.log() - truth.log())
    with pytest.raises(ValueError, match="not empty"):
        function(torch.zeros(0, 9, 2), truth[:0])


def test_a_width_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"std must be positive, got 0\.0"):
        crps_gaussian(torch.zeros(2), torch.tensor([1.0, 0.0]), torch.zeros(2))


def test_quantities_far_from_zero_score_as_near_it():
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(3, 40, 2, generator=generator, dtype=torch.float64)
    truth = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    moved = energy_score(samples + 1e7, truth + 1e7)
    assert float((moved - energy_score(samples, truth)).abs().max()) < 1e-6
