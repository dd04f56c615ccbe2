"""Scores of redshifts: scatter of a normal, bias, outliers that do not move the scatter."""

import math

import pytest
import torch

from skytutor.metrics.redshifts import outlier_fraction, redshift_bias, sigma_nmad


def draw(n=40_000, sigma=0.013, bias=0.0):
    generator = torch.Generator().manual_seed(0)
    truth = 0.3 * torch.rand(n, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    return truth + (1 + truth) * (bias + sigma * noise), truth


def test_the_scatter_of_a_normal_is_its_sigma():
    predicted, truth = draw()
    # The standard error of a median absolute deviation is 1.17 sigma / sqrt(N).
    assert sigma_nmad(predicted, truth) == pytest.approx(0.013, rel=4 * 1.17 / 200)
    assert redshift_bias(predicted, truth) == pytest.approx(0, abs=4 * 1.26 * 0.013 / 200)


def test_a_shift_is_bias_and_no_scatter():
    predicted, truth = draw(bias=0.02)
    assert redshift_bias(predicted, truth) == pytest.approx(0.02, abs=4e-4)
    assert sigma_nmad(predicted, truth) == pytest.approx(0.013, rel=0.03)


def test_outliers_are_counted_and_do_not_widen_the_scatter():
    predicted, truth = draw()
    before = sigma_nmad(predicted, truth)
    predicted[:400] = 3.0
    assert outlier_fraction(predicted, truth) == pytest.approx(0.01, abs=0.001)
    assert outlier_fraction(predicted, truth, beyond=0.15) == 0.01
    assert sigma_nmad(predicted, truth) < 1.03 * before


def test_an_even_number_has_its_median_in_the_middle():
    truth = torch.zeros(4)
    assert redshift_bias(torch.tensor([0.0, 1.0, 2.0, 4.0]), truth) == 1.5


@pytest.mark.parametrize("function", [sigma_nmad, redshift_bias, outlier_fraction])
def test_bad_input_is_named(function):
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2,\)"):
        function(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="not empty"):
        function(torch.zeros(0), torch.zeros(0))
    with pytest.raises(ValueError, match="predicted holds NaN"):
        function(torch.full((2,), math.nan), torch.zeros(2))
    with pytest.raises(ValueError, match=r"truth must be above -1, got -1\.0"):
        function(torch.zeros(2), torch.tensor([0.1, -1.0]))
