"""Baselines against problems whose best answer is known in closed form."""

import math

import pytest
import torch

from skytutor.chapters.spectra.baselines import CatalogueBaseline, ConstantBaseline


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear_gaussian(n, *, seed, inputs=8, targets=3):
    """Return features, targets and the posterior mean: ``t = A x + noise`` of known size."""
    matrix = normal(inputs, targets, seed=100) / math.sqrt(inputs)
    features = normal(n, inputs, seed=seed)
    best = features @ matrix
    noise = torch.tensor([0.3, 0.6, 1.0])[:targets]
    return features, best + noise * normal(n, targets, seed=seed + 1), best


def rmse(found, truth):
    return (found - truth).square().mean(0).sqrt()


@pytest.fixture(scope="module")
def fitted():
    features, targets, _ = linear_gaussian(20_000, seed=1)
    return CatalogueBaseline().fit(features, targets, seed=0)


def test_of_a_linear_gaussian_problem_it_reaches_the_posterior_mean(fitted):
    features, targets, best = linear_gaussian(20_000, seed=11)
    ratio = rmse(fitted.predict(features), targets) / rmse(best, targets)
    assert (ratio < 1.02).all()
    # No estimate is better than the posterior mean; the ratio's noise is far below this.
    assert (ratio > 0.999).all()


def test_the_mixture_is_no_worse_than_its_parts(fitted):
    for part in ("trees", "perceptron"):
        assert (fitted.errors["mixture"] <= fitted.errors[part] * (1 + 1e-6)).all()
    assert ((fitted.tree_weight >= 0) & (fitted.tree_weight <= 1)).all()


def test_what_is_smooth_goes_to_the_perceptron_and_steps_to_the_trees():
    x = 2 * torch.rand(8000, 6, generator=torch.Generator().manual_seed(0)) - 1
    smooth = torch.sin(2 * x[:, 0]) * x[:, 1] + x[:, 2] * x[:, 3]
    steps = (5 * x[:, 4]).floor() * (7 * x[:, 5]).floor().remainder(2)
    targets = torch.stack([smooth, steps], 1)
    fit = CatalogueBaseline().fit(x[:6000], targets[:6000], seed=0)
    assert fit.tree_weight[0] < 0.3 and fit.tree_weight[1] > 0.8
    assert (rmse(fit.predict(x[6000:]), targets[6000:]) < 0.2 * targets.std(0)).all()


def test_features_that_say_nothing_give_the_constant():
    features = normal(3000, 5)
    targets = normal(3000, 2, seed=1)
    new = normal(20_000, 2, seed=2)
    constant = ConstantBaseline().fit(features, targets)
    fit = CatalogueBaseline().fit(features, targets, seed=0)
    unseen = normal(20_000, 5, seed=3)
    ratio = rmse(fit.predict(unseen), new) / rmse(constant.predict(unseen), new)
    assert (ratio < 1.01).all() and (ratio > 0.995).all()


def test_units_of_features_and_targets_do_not_matter():
    features, targets, best = linear_gaussian(2000, seed=5, targets=2)
    scale = torch.logspace(-3, 3, 8)
    other = (features + 7) * scale
    fit = CatalogueBaseline().fit(other, 1e3 * targets - 5e3, seed=0)
    found = (fit.predict(other) + 5e3) / 1e3
    same = CatalogueBaseline().fit(features, targets, seed=0).predict(features)
    # Rounding differs, and with it every step of the training: nearer to each other than to it.
    assert (rmse(found, same) < 0.7 * rmse(same, best)).all()
    assert torch.allclose(rmse(found, best), rmse(same, best), rtol=0.3)


def test_a_galaxy_far_away_is_answered_within_reason(fitted):
    far = torch.full((1, 8), 1e4)
    assert (fitted.predict(far).abs() < 30).all()


def test_a_column_that_never_changes_is_ignored():
    features, targets, _ = linear_gaussian(500, seed=3, targets=1)
    features[:, 4] = 2.0
    fit = CatalogueBaseline().fit(features, targets, seed=0)
    assert bool(fit.predict(features).isfinite().all())


def test_the_same_seed_gives_the_same_fit_and_leaves_torchs_generator_alone():
    features, targets, _ = linear_gaussian(300, seed=1)
    state = torch.get_rng_state()
    one = CatalogueBaseline().fit(features, targets, seed=4).predict(features)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(CatalogueBaseline().fit(features, targets, seed=4).predict(features), one)
    other = CatalogueBaseline().fit(features, targets, seed=5).predict(features)
    assert not torch.equal(other, one)


def test_the_constant_is_the_mean_and_its_error_the_scatter():
    _, targets, _ = linear_gaussian(500, seed=1)
    baseline = ConstantBaseline().fit(targets, targets)
    assert torch.allclose(rmse(baseline.predict(targets), targets), targets.std(0, correction=0))


def test_bad_tables_are_named(fitted):
    table = normal(60, 8)
    with pytest.raises(ValueError, match=r"features must be a table with 50 rows or more.*\(49"):
        CatalogueBaseline().fit(table[:49], table[:49], seed=0)
    with pytest.raises(ValueError, match="equally many rows, got 60 and 59"):
        CatalogueBaseline().fit(table, table[:59], seed=0)
    with pytest.raises(ValueError, match="targets holds NaN"):
        CatalogueBaseline().fit(table, table / 0, seed=0)
    with pytest.raises(ValueError, match="features must be a table"):
        ConstantBaseline().fit(table[:0], table[:0])
    with pytest.raises(ValueError, match=r"features must be \(N, 8\).*got shape \(60, 7\)"):
        fitted.predict(table[:, :7])
    with pytest.raises(ValueError, match="features holds NaN"):
        fitted.predict(table * math.nan)
