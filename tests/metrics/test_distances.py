"""Distances of sets against closed forms and scipy; trees tell sets apart only if they differ."""

import math

import pytest
import torch
from scipy.stats import norm, wasserstein_distance

from skytutor.metrics.distances import two_sample_auc, wasserstein


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_wasserstein_is_that_of_scipy():
    a = normal(300)
    b = 1.4 * normal(211, seed=1) - 0.2
    assert wasserstein(a, b) == pytest.approx(wasserstein_distance(a, b), rel=1e-12)
    assert wasserstein(a, b) == pytest.approx(wasserstein(b, a), rel=1e-12)


def test_wasserstein_of_a_shift_is_the_shift_and_of_a_width_is_known():
    a = normal(20_000)
    assert wasserstein(a, a + 0.015) == pytest.approx(0.015, rel=1e-9)
    assert wasserstein(a, a) == 0
    # Of two normals of one mean: the difference of their widths times E|z|.
    assert wasserstein(a, 1.5 * a) == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.03)


def test_trees_do_not_tell_equal_sets_apart():
    areas = []
    for seed in range(3):
        one = normal(2000, 4, seed=seed)
        other = normal(2000, 4, seed=seed + 9)
        areas.append(two_sample_auc(one, other, seed=seed)[0])
    assert sum(areas) / 3 == pytest.approx(0.5, abs=0.02)


def test_trees_reach_the_area_that_a_shift_allows():
    """The best classifier of two normals a shift d apart has an area of Phi(d / sqrt(2))."""
    a = normal(5000, 3)
    b = normal(4000, 3, seed=1)
    b[:, 1] += 0.5
    area, error = two_sample_auc(a, b, seed=0)
    best = norm.cdf(0.5 / math.sqrt(2))
    assert best - 0.03 < area < best + 3 * error
    assert 0.001 < error < 0.02


def test_trees_see_what_no_single_column_shows():
    a = normal(4000, 2)
    b = normal(4000, 2, seed=1)
    b[:, 1] = 0.8 * b[:, 0] + 0.6 * b[:, 1]
    assert wasserstein(a[:, 1], b[:, 1]) < 0.1
    assert two_sample_auc(a, b, seed=0)[0] > 0.65


def test_the_same_seed_gives_the_same_area():
    a = normal(400, 2)
    b = normal(500, 2, seed=1)
    assert two_sample_auc(a, b, seed=3) == two_sample_auc(a, b, seed=3)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="a must hold finite numbers"):
        wasserstein(torch.zeros(0), torch.zeros(3))
    with pytest.raises(ValueError, match="b must hold finite numbers"):
        wasserstein(torch.zeros(3), torch.tensor([math.nan]))
    rows = torch.zeros(20, 3)
    with pytest.raises(ValueError, match=r"b must be \(N, F\) with 10 rows or more.*\(5, 3\)"):
        two_sample_auc(rows, rows[:5], seed=0)
    with pytest.raises(ValueError, match="equally many columns, got 3 and 2"):
        two_sample_auc(rows, rows[:, :2], seed=0)
    with pytest.raises(ValueError, match="a holds NaN"):
        two_sample_auc(rows.log() - rows.log(), rows, seed=0)
    with pytest.raises(ValueError, match="folds must be 2 or more"):
        two_sample_auc(rows, rows, seed=0, folds=1)
