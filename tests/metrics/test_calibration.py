"""Coverage, TARP and sharpness of posteriors that are right, too narrow, too wide or shifted."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from skytutor.metrics.calibration import (
    coverage_in_groups,
    interval_coverage,
    pit_histogram,
    sharpness,
    tarp,
)
from skytutor.metrics.posterior import draw_samples, probability_below


def problem(n, *, width=1.0, shift=0.0, quantities=3, seed=0, dtype=torch.float64):
    """Draw Gaussian posteriors of many widths and correlations, and truths that they may miss.

    The true posterior has another mean and another Cholesky factor in each row.
    """
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(n, quantities, generator=generator, dtype=dtype)
    factor = torch.randn(n, quantities, quantities, generator=generator, dtype=dtype).tril(-1) * 0.3
    size = 0.2 + 0.6 * torch.rand(n, quantities, generator=generator, dtype=dtype)
    factor = factor + torch.diag_embed(size)
    white = torch.randn(n, quantities, 1, generator=generator, dtype=dtype)
    truth = mean + (factor @ white)[..., 0]
    std = factor.square().sum(-1).sqrt()
    return MultivariateNormal(mean + shift * std, scale_tril=width * factor), truth


def rng(seed=7):
    return torch.Generator().manual_seed(seed)


def both(n, **arguments):
    """Return a posterior as a Gaussian and as samples of it, and the truth."""
    posterior, truth = problem(n, **arguments)
    return [posterior, draw_samples(posterior, 99, generator=rng())], truth


def test_a_calibrated_posterior_covers_with_the_noise_of_counting():
    posteriors, truth = both(4000)
    for posterior in posteriors:
        for level in (0.5, 0.68, 0.95):
            found = interval_coverage(posterior, truth, level=level)
            assert ((found.fraction - level).abs() < 4 * found.error).all()
            assert abs(found.overall - level) < 4 * found.overall_error
            assert found.error[0] == pytest.approx(math.sqrt(level * (1 - level) / 4000))


def test_the_noise_of_counting_is_what_repeated_draws_show():
    fractions = [interval_coverage(*problem(300, seed=k)) for k in range(200)]
    each = torch.stack([found.fraction for found in fractions])
    # The standard deviation of 200 x 3 draws is known to 3 %.
    assert each.std() == pytest.approx(float(fractions[0].error[0]), rel=0.12)
    overall = torch.tensor([found.overall for found in fractions])
    mean_error = sum(found.overall_error for found in fractions) / 200
    assert overall.std() == pytest.approx(mean_error, rel=0.2)
    assert overall.mean() == pytest.approx(0.68, abs=4 * mean_error / math.sqrt(200))


@pytest.mark.parametrize(
    ("fault", "covered"),
    [
        # Phi(0.7 z) and Phi(z - 0.5) of the ends of the interval, z = 0.9945.
        ({"width": 0.7}, 0.5137),
        ({"width": 1.4}, 0.8362),
        ({"shift": 0.5}, 0.6219),
    ],
)
def test_a_wrong_posterior_fails_by_as_much_as_theory_says(fault, covered):
    posteriors, truth = both(4000, **fault)
    for posterior in posteriors:
        found = interval_coverage(posterior, truth)
        assert ((found.fraction - 0.68).abs() > 5 * found.error).all()
        assert found.overall == pytest.approx(covered, abs=4 * found.overall_error + 0.004)


def test_few_samples_make_no_bias():
    """With 7 samples the central 68 % begins inside the second of eight ranks."""
    posterior, truth = problem(20_000, quantities=1)
    samples = draw_samples(posterior, 7, generator=rng())
    found = interval_coverage(samples, truth)
    assert found.overall == pytest.approx(0.68, abs=4 * found.overall_error)


def test_quantities_that_go_together_widen_the_error_of_their_mean():
    posterior, truth = problem(1000, quantities=1)
    mean = posterior.loc.expand(-1, 4)
    apart = posterior.scale_tril[:, 0].expand(-1, 4)
    four = MultivariateNormal(mean, scale_tril=torch.diag_embed(apart))
    one = interval_coverage(posterior, truth)
    found = interval_coverage(four, truth.expand(-1, 4))
    assert found.overall_error == pytest.approx(one.overall_error, rel=1e-9)


def test_groups_show_what_the_whole_hides():
    """Too wide where `by` is small and too narrow where it is large: right on the whole."""
    posterior, truth = problem(6000)
    by = torch.linspace(14, 18, 6000, dtype=torch.float64)[torch.randperm(6000, generator=rng())]
    width = torch.where(by < 16, 1.55, 0.67)[:, None, None]
    uneven = MultivariateNormal(posterior.loc, scale_tril=width * posterior.scale_tril)
    assert interval_coverage(uneven, truth).overall == pytest.approx(0.68, abs=0.02)
    bright, middle, faint = coverage_in_groups(uneven, truth, by)
    assert bright.overall > 0.83 and faint.overall < 0.56
    assert bright.n == middle.n == faint.n == 2000
    assert bright.low == 14 and bright.high < middle.low < middle.high < faint.low
    assert faint.high == 18
    for group in coverage_in_groups(posterior, truth, by, groups=5):
        assert group.overall == pytest.approx(0.68, abs=4 * group.overall_error)


def test_the_histogram_is_flat_then_a_u_a_hump_and_a_slope():
    noise = math.sqrt(10 / 4000)
    for kind in range(2):
        posteriors, truth = both(4000)
        flat = pit_histogram(posteriors[kind], truth)
        assert ((flat - 1).abs() < 4.5 * noise).all()
        assert flat.mean(1) == pytest.approx(torch.ones(3), abs=1e-12)
        posteriors, truth = both(4000, width=0.7)
        narrow = pit_histogram(posteriors[kind], truth)
        assert (narrow[:, [0, -1]] > 1.3).all() and (narrow[:, 4:6] < 0.85).all()
        posteriors, truth = both(4000, width=1.4)
        wide = pit_histogram(posteriors[kind], truth)
        assert (wide[:, [0, -1]] < 0.8).all() and (wide[:, 4:6] > 1.2).all()
        posteriors, truth = both(4000, shift=0.5)
        shifted = pit_histogram(posteriors[kind], truth)
        assert (shifted[:, 0] > 1.5).all() and (shifted[:, -1] < 0.6).all()


def test_a_truth_that_is_far_off_stays_in_the_histogram():
    normal = MultivariateNormal(torch.zeros(2, 1), scale_tril=torch.ones(2, 1, 1))
    far = torch.tensor([[-1e6], [1e6]])
    assert pit_histogram(normal, far, bins=4).tolist() == [[2, 0, 0, 2]]


def test_a_rank_stands_for_an_interval_of_probability():
    samples = torch.tensor([[[1.0], [2.0], [3.0]]])
    (below,) = probability_below(samples, torch.tensor([[2.5]]), 0.6)
    assert float(below) == pytest.approx(0.4)  # rank 2 of 3: from 0.5 to 0.75


def test_sharpness_is_the_half_width():
    posterior, _ = problem(500)
    want = posterior.stddev.mean(0)
    found = sharpness(posterior)
    assert torch.allclose(found, 0.99446 * want, rtol=1e-4)
    samples = draw_samples(posterior, 2000, generator=rng())
    assert torch.allclose(sharpness(samples), found, rtol=0.01)
    narrow, _ = problem(500, width=0.5)
    assert torch.allclose(sharpness(narrow), found / 2)


@pytest.mark.parametrize("references", ["uniform", "truths"])
def test_tarp_of_a_calibrated_posterior_is_the_diagonal(references):
    posterior, truth = problem(2000, quantities=6, dtype=torch.float32)
    found = tarp(posterior, truth, references=references, generator=rng())
    assert found.deviation <= 0.03
    assert found.level[0] == found.coverage[0] == 0 and found.coverage[-1] == 1
    assert found.deviation == float((found.level - found.coverage).abs().max())


@pytest.mark.parametrize("fault", [{"width": 0.7}, {"width": 1.4}, {"shift": 1.0}])
@pytest.mark.parametrize("quantities", [1, 6])
def test_tarp_of_a_wrong_posterior_leaves_the_diagonal(fault, quantities):
    posterior, truth = problem(2000, quantities=quantities, dtype=torch.float32, **fault)
    assert tarp(posterior, truth, generator=rng(), n_samples=200).deviation > 0.04


def test_tarp_with_points_on_one_side_sees_a_small_shift():
    """Points on both sides of the truth see it in opposite directions, which nearly cancels."""
    posterior, truth = problem(2000, shift=0.3)
    beyond = torch.full((1, *truth.shape), 5.0, dtype=truth.dtype)
    assert tarp(posterior, truth, generator=rng()).deviation < 0.03
    assert tarp(posterior, truth, generator=rng(), references=beyond).deviation > 0.08


def test_tarp_sees_correlations_that_each_quantity_alone_hides():
    """The marginals are right, the correlation has the wrong sign."""
    n = 2000
    factor = torch.tensor([[1.0, 0.0], [0.9, math.sqrt(1 - 0.81)]])
    truth = torch.randn(n, 2, generator=rng(1)) @ factor.T
    flipped = torch.tensor([[1.0, -0.9], [-0.9, 1.0]]).expand(n, 2, 2)
    posterior = MultivariateNormal(torch.zeros(n, 2), covariance_matrix=flipped)
    coverage = interval_coverage(posterior, truth)
    assert ((coverage.fraction - 0.68).abs() < 4 * coverage.error).all()
    corner = torch.full((1, n, 2), 3.0)
    assert tarp(posterior, truth, references=corner, generator=rng()).deviation > 0.1


def test_tarp_averages_out_the_noise_of_its_points():
    def deviations(repeats):
        found = []
        for seed in range(12):
            posterior, truth = problem(400, quantities=4, seed=seed, dtype=torch.float32)
            curve = tarp(posterior, truth, repeats=repeats, generator=rng(), n_samples=100)
            found.append(curve.deviation)
        return sum(found) / len(found)

    single = deviations(1)
    # The mean of Kolmogorov's distribution is 0.87.
    assert single == pytest.approx(0.87 / math.sqrt(400), rel=0.3)
    assert deviations(8) < 0.85 * single


def test_the_same_seed_gives_the_same_curve():
    posterior, truth = problem(50)
    one, two = (tarp(posterior, truth, generator=rng(3)) for _ in range(2))
    assert torch.equal(one.coverage, two.coverage)


def test_samples_are_handed_back_and_a_gaussian_has_its_covariance():
    posterior, _ = problem(2)
    samples = draw_samples(posterior, 40_000, generator=rng())
    assert draw_samples(samples, 5, generator=rng()) is samples
    for k in range(2):
        found = torch.cov(samples[k].T)
        assert torch.allclose(found, posterior.covariance_matrix[k], atol=0.02)


@pytest.mark.parametrize("function", [interval_coverage, pit_histogram])
def test_bad_input_is_named(function):
    truth = torch.zeros(4, 2)
    normal = MultivariateNormal(torch.zeros(4, 2), scale_tril=torch.eye(2).expand(4, 2, 2))
    with pytest.raises(ValueError, match=r"truth \(B, D\).*samples of shape \(4, 9, 3\)"):
        function(torch.zeros(4, 9, 3), truth)
    with pytest.raises(ValueError, match=r"means of shape \(4, 2\).*\(3, 2\)"):
        function(normal, truth[:3])
    with pytest.raises(ValueError, match="not empty"):
        function(torch.zeros(0, 9, 2), truth[:0])
    with pytest.raises(ValueError, match="truth holds NaN"):
        function(normal, truth.log() - truth.log())
    with pytest.raises(ValueError, match="posterior holds NaN"):
        function(torch.full((4, 9, 2), math.nan), truth)


def test_bad_levels_groups_bins_and_points_are_named():
    truth = torch.zeros(4, 2)
    samples = torch.zeros(4, 9, 2)
    for level in (0, 1, math.nan):
        with pytest.raises(ValueError, match="level must lie between 0 and 1"):
            interval_coverage(samples, truth, level=level)
        with pytest.raises(ValueError, match="level must lie between 0 and 1"):
            sharpness(samples, level=level)
    with pytest.raises(ValueError, match=r"by must be finite, one for each of 4 rows"):
        coverage_in_groups(samples, truth, torch.zeros(3))
    with pytest.raises(ValueError, match=r"by must be finite"):
        coverage_in_groups(samples, truth, torch.full((4,), math.nan))
    with pytest.raises(ValueError, match=r"groups must be 1..4"):
        coverage_in_groups(samples, truth, torch.zeros(4), groups=5)
    with pytest.raises(ValueError, match="bins must be a positive integer, got 0"):
        pit_histogram(samples, truth, bins=0)
    with pytest.raises(ValueError, match="references must be 'uniform', 'truths'"):
        tarp(samples, truth, references="prior", generator=rng())
    with pytest.raises(ValueError, match=r"references must be \(R, B, D\)"):
        tarp(samples, truth, references=truth, generator=rng())
    with pytest.raises(ValueError, match="repeats must be a positive integer"):
        tarp(samples, truth, repeats=0, generator=rng())
