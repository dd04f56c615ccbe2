"""Scores of samples against closed forms, and for real, noisy, blurred and copied data."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from skytutor.data import digits
from skytutor.metrics.samples import frechet_distance, manifold_scores, nearest_distances


def draw(n, d, seed, mean=0.0, root=None):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if root is not None:
        x = x @ root
    return x + mean


def test_frechet_is_that_of_two_gaussians():
    """Against scipy's matrix root, for the moments of the rows."""
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a = draw(300, 6, 2)
    b = draw(400, 6, 3, mean=0.5, root=root)
    ca = np.cov(a.numpy().T)
    cb = np.cov(b.numpy().T)
    apart = float((a.mean(0) - b.mean(0)).square().sum())
    want = apart + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert frechet_distance(a, b) == pytest.approx(want, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(want, rel=1e-9)


def test_frechet_of_equal_moments_is_nothing_and_a_turn_changes_nothing():
    a = draw(200, 5, 1)
    b = draw(200, 5, 2, mean=1.0)
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-12)
    turn = torch.linalg.qr(draw(5, 5, 3))[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert frechet_distance(torch.ones(9, 3), torch.zeros(9, 3)) == pytest.approx(3)


def test_one_distribution_scores_as_theory_says():
    """Density 1 and coverage 1 - 2**-k for large sets, whatever the dimension."""
    for d in (2, 10):
        found = manifold_scores(draw(3000, d, 1), draw(3000, d, 2), k=3)
        assert found["density"] == pytest.approx(1, abs=0.06)
        assert found["coverage"] == pytest.approx(1 - 2**-3, abs=0.03)
        assert found["precision"] == pytest.approx(found["recall"], abs=0.04)


def test_collapse_costs_recall_and_outliers_cost_precision():
    real = torch.cat([draw(400, 4, k, mean=20.0 * k) for k in range(5)])
    collapsed = draw(2000, 4, 9)
    found = manifold_scores(real, collapsed)
    assert found["precision"] > 0.8 and found["recall"] < 0.25 and found["coverage"] < 0.25
    noisy = torch.cat([real[::2] + 0.01 * draw(1000, 4, 8), draw(1000, 4, 7, mean=-500.0)])
    found = manifold_scores(real, noisy)
    assert 0.45 < found["precision"] < 0.55 and found["recall"] > 0.9


def test_digits_against_themselves_noise_and_blur():
    """Real halves are near; noise is far; blur lies between, and its loss is seen by recall."""
    images = digits.load(source="embedded").images.double()
    first = images[::2].flatten(1)
    second = images[1::2].flatten(1)
    noise = torch.rand(first.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    blur = torch.nn.functional.avg_pool2d(images[1::2, None], 5, stride=1, padding=2).flatten(1)
    # A few directions of large variance: with all pixels of 900 digits the covariance would lack
    # full rank.
    torch.manual_seed(0)
    axes = torch.pca_lowrank(first, q=12, niter=4)[2].double()
    one, two, three = (frechet_distance(first @ axes, x @ axes) for x in (second, blur, noise))
    assert one < 0.1 * two and two < three
    of_real, of_blur, of_noise = (
        manifold_scores(first @ axes, x @ axes) for x in (second, blur, noise)
    )
    assert of_real["recall"] > 0.8 > of_blur["recall"] > of_noise["recall"] - 1e-9
    assert of_noise["coverage"] < 0.05 < 0.8 < of_real["coverage"]


def test_copies_are_found():
    train = draw(500, 6, 1)
    others = draw(300, 6, 2)
    apart = nearest_distances(others, train)
    assert apart.shape == (300,) and float(apart.min()) > 0
    threshold = apart.quantile(0.01)
    copies = train[:300] + 1e-3 * draw(300, 6, 3)
    assert (nearest_distances(copies, train) < threshold).double().mean() > 0.95
    by_hand = (others[7] - train).norm(dim=1).min()
    assert float(apart[7]) == pytest.approx(float(by_hand))


BAD = {
    "one row": (
        lambda: frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3)),
        r"a must be \(N, D\) with at least 2 rows",
    ),
    "columns": (
        lambda: frechet_distance(torch.zeros(4, 3), torch.zeros(4, 2)),
        "equally many columns, got 3 and 2",
    ),
    "NaN": (
        lambda: manifold_scores(torch.zeros(9, 2), torch.full((9, 2), torch.nan)),
        "fake holds NaN",
    ),
    "few rows": (
        lambda: manifold_scores(torch.zeros(5, 2), torch.zeros(9, 2)),
        "real must be .* at least 6 rows",
    ),
    "no rows": (lambda: nearest_distances(torch.zeros(0, 2), torch.zeros(9, 2)), "x must be"),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("shift", [1e6, -1e8])
def test_features_far_from_zero_score_as_near_it(shift):
    """Squares of 1e8 leave no digit for distances of 1 in double precision."""
    real = draw(300, 8, 1)
    fake = draw(250, 8, 2) * 1.2
    moved = (real + shift, fake + shift)
    assert frechet_distance(*moved) == pytest.approx(frechet_distance(real, fake), rel=1e-6)
    assert manifold_scores(*moved) == manifold_scores(real, fake)
    wanted = torch.linalg.vector_norm(real[:, None] - fake, dim=-1).amin(1)
    assert float((nearest_distances(*moved) - wanted).abs().max()) < 1e-6
    assert float((nearest_distances(real, fake) - wanted).abs().max()) < 1e-14
    assert float(nearest_distances(moved[0], moved[0]).max()) == 0
