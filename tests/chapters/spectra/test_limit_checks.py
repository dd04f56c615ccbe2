"""Checks of the limits: analytic posteriors, doubling, and the bound of van Trees."""

import json
import math
from dataclasses import replace

import pytest
import torch

from skytutor.chapters.spectra import limit_checks, targets, van_trees
from skytutor.chapters.spectra.limit_checks import compare_sizes, convergence, make_limits_check
from skytutor.chapters.spectra.limits import KNOWLEDGE, LimitNetworks
from skytutor.chapters.spectra.linear_gaussian import LinearCase, linear_gaussian_check
from skytutor.chapters.spectra.targets import N_LATENTS, N_TARGETS
from skytutor.chapters.spectra.van_trees import van_trees_bound, weighted_bound
from skytutor.data.galaxies import GalaxySimulator
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

SMOKE = Profile("smoke", torch.device("cpu"), 0)
PLAN = Schedule(epochs=3, batch_size=50, lr=3e-3, optimizer="muon")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def case():
    return LinearCase(3)


def test_errors_of_the_analytic_posterior_have_its_covariance(case):
    shape, measured, true = case.draw(20_000, generator=generator(1))
    mean, covariance = case.posterior(shape, measured)
    # Five templates make five independent targets; the other four follow from them.
    lower = torch.linalg.cholesky(covariance[:, :5, :5])
    away = (true - mean)[:, :5, None]
    white = torch.linalg.solve_triangular(lower, away, upper=False)[..., 0]
    found = white.T @ white / len(white)
    assert torch.allclose(found, torch.eye(5, dtype=torch.float64), atol=0.05)


def test_no_linear_regression_on_the_sums_beats_the_analytic_posterior(case):
    shape, measured, true = case.draw(20_000, generator=generator(2))
    one = shape == 0
    table = torch.cat([measured[one].flatten(1), torch.ones(int(one.sum()), 1)], dim=1).double()
    fitted = table @ torch.linalg.lstsq(table, true[one]).solution
    mean, _ = case.posterior(shape, measured)
    analytic = (mean - true)[one].square().mean()
    # The fit has 16 numbers a target and 6,700 galaxies: it is at most 0.5 % too good.
    assert float((fitted - true[one]).square().mean() / analytic) == pytest.approx(1, abs=0.006)


def test_image_and_prior_both_count_in_the_analytic_case(case):
    shape, measured, _ = case.draw(100, generator=generator(3))
    _, covariance = case.posterior(shape, measured)
    left = covariance.diagonal(dim1=1, dim2=2)[:, :N_LATENTS].mean().sqrt()
    assert 0.2 < float(left) < 0.8


def test_the_learned_posterior_reaches_the_analytic_one():
    """Within 1 % after 300 steps, as the full check asks."""
    found = linear_gaussian_check(steps=300, n_shapes=1, size=10_000)
    assert found.rmse_analytic == pytest.approx(found.rmse_expected, rel=0.01)
    assert -3 * found.excess_error < found.excess < 0.01
    assert found.excess == pytest.approx(found.rmse / found.rmse_analytic - 1)


def test_the_linear_check_refuses_no_steps():
    with pytest.raises(ValueError, match="steps"):
        linear_gaussian_check(steps=0)


def test_the_bound_is_the_posterior_variance_where_all_is_linear(case):
    """Targets ``B s t`` and fluxes ``A s t`` of standard normal t: bound and posterior agree."""
    slope = case.projection * case.spread  # (S, 9, 15)
    fluxes = case.design * case.spread  # (5, 3, 15)
    weight = case.gram / case.noise[:, None, None] ** 2
    information = torch.einsum("fip,sfij,fjq->spq", fluxes, weight, fluxes)
    found = weighted_bound(
        slope[:, None].expand(-1, 4, -1, -1), information[:, None].expand(-1, 4, -1, -1)
    )
    _, covariance = case.posterior(torch.arange(3), torch.zeros(3, 5, 3, dtype=torch.float64))
    assert torch.allclose(found, covariance.diagonal(dim1=1, dim2=2), rtol=1e-6)


def test_few_draws_never_make_the_bound_too_large():
    """Slopes that scatter about 0: the plain formula gives 0.125 or more, the bound is 0."""
    slopes = torch.randn(20_000, 4, 1, 1, generator=generator(4), dtype=torch.float64)
    found = weighted_bound(slopes, torch.ones_like(slopes))
    plain = slopes.mean(1).square() / 2
    assert float(plain.mean()) == pytest.approx(0.125, abs=0.01)
    assert float(found.mean()) < 3 * float(found.std()) / math.sqrt(20_000)


def test_an_odd_number_of_draws_is_refused():
    with pytest.raises(ValueError, match="even number of draws, got 3"):
        weighted_bound(torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1, 1))


@pytest.fixture(scope="module")
def numbers():
    """Return a function that draws the numbers of two galaxies, each twice."""
    return van_trees._draw_numbers(GalaxySimulator(), 2, 2, generator=generator(5))


def moved(numbers, call, by=0.1, column=0):
    """Return galaxies before and after one number of one call has moved."""
    simulator = GalaxySimulator()
    changed = [part.clone() for part in numbers]
    changed[call].view(len(changed[call]), -1)[:, column] += by
    return van_trees._galaxies(simulator, numbers), van_trees._galaxies(simulator, changed)


def test_numbers_that_are_given_are_those_of_the_simulator():
    simulator = GalaxySimulator()
    with van_trees._Recorded() as kept:
        first = simulator.draw(3, generator=generator(6))
    again = van_trees._galaxies(simulator, kept.numbers)
    assert torch.equal(first.lines, again.lines)
    assert torch.equal(first.shapes.clump_x, again.shapes.clump_x)


def test_each_call_draws_what_its_name_says(numbers):
    calls = van_trees._CALLS
    before, after = moved(numbers, calls["redshift"])
    rise = after.redshift / before.redshift - 1
    assert (rise.abs() < 0.0013).all() and (rise > 0.0009).all()
    for name, field in (("templates", "coefficients"), ("brightness", "coefficients")):
        before, after = moved(numbers, calls[name])
        assert not torch.equal(getattr(before, field), getattr(after, field))
        assert torch.equal(before.redshift, after.redshift)
    before, after = moved(numbers, calls["brightness"])
    ratio = after.coefficients.sum((1, 2)) / before.coefficients.sum((1, 2))
    assert torch.allclose(ratio, torch.tensor(math.exp(0.01)), atol=1e-5)
    before, after = moved(numbers, calls["lines"])
    assert (after.lines[..., 9] > before.lines[..., 9]).all()
    assert torch.equal(before.coefficients, after.coefficients)
    before, after = moved(numbers, calls["dispersion"])
    assert torch.allclose(after.dispersion / before.dispersion, torch.tensor(math.exp(0.02)))
    before, after = moved(numbers, calls["bulge"])
    assert (after.coefficients[:, 0].sum(1) > before.coefficients[:, 0].sum(1)).all()
    before, after = moved(numbers, calls["clumpiness"])
    assert (after.coefficients[:, 2].sum(1) > before.coefficients[:, 2].sum(1)).all()


def test_radii_and_clumps_scatter_as_the_bound_says(numbers):
    """Half-light radii before they are compressed, and sizes of clumps."""
    for column, call in enumerate(van_trees._SCATTER[:2]):
        before, after = moved(numbers, call)
        change = van_trees._radii(after.shapes) - van_trees._radii(before.shapes)
        wanted = 0.1 * van_trees._RADIUS_SCATTER
        assert torch.allclose(change[:, column], torch.tensor(wanted).double(), atol=1e-4)
        assert torch.equal(before.lines, after.lines)
    before, after = moved(numbers, van_trees._SCATTER[2])
    ratio = (after.shapes.clump_sigma / before.shapes.clump_sigma)[:, 0].log()
    inside = (after.shapes.clump_sigma < 0.8) & (before.shapes.clump_sigma > 0.05)
    assert torch.allclose(ratio[inside[:, 0]], torch.tensor(0.1 * van_trees._CLUMP_SCATTER))


def test_draws_of_one_galaxy_share_what_is_known(numbers):
    galaxies = van_trees._galaxies(GalaxySimulator(), numbers)
    pairs = galaxies.shapes.disc_axis_ratio.view(2, 2)
    assert torch.equal(pairs[:, 0], pairs[:, 1])
    assert (galaxies.redshift.view(2, 2).diff() != 0).all()
    assert (galaxies.redshift.view(2, 2).diff().abs() < 0.02).all()
    assert torch.equal(galaxies.residual[0], galaxies.residual[1])


def test_the_bound_stays_below_what_is_possible(untrained_autoencoder):
    """Below the scatter of the targets themselves, and above the spectrograph's noise alone."""
    simulator = GalaxySimulator()
    found = van_trees_bound(simulator, untrained_autoencoder, n=8, draws=4)
    galaxies = simulator.draw(200, generator=generator(7))
    photometry = simulator.photometry(galaxies, generator=generator(7))
    spectra = simulator.spectra(galaxies, photometry.fibre, generator=generator(7))
    scatter = targets.make_targets(untrained_autoencoder, spectra, galaxies.redshift).var(0)
    assert (torch.tensor(found.variances) < scatter).all()
    assert found.noise[N_LATENTS:] == [0, 0, 0]
    assert all(noise > 0 for noise in found.noise[:N_LATENTS])
    # 1 % of a redshift, in units of its scatter.
    assert 0 < found.variances[-1] < (0.01 * 0.36 / 0.058) ** 2
    assert found == van_trees_bound(simulator, untrained_autoencoder, n=8, draws=4)


def test_the_bound_knows_no_null_universe(untrained_autoencoder):
    with pytest.raises(ValueError, match="null universe"):
        van_trees_bound(GalaxySimulator(null=True), untrained_autoencoder, n=1)


def test_doubling_is_compared_in_pairs():
    smaller = 0.25 * torch.rand(1000, generator=generator(8), dtype=torch.float64) + 0.3
    found = compare_sizes({100: smaller, 200: 0.98 * smaller})
    assert found["change"] == pytest.approx(math.sqrt(0.98) - 1)
    assert found["next_change"] == pytest.approx(found["change"] / 2)
    assert found["rmse"]["100"] == pytest.approx(float(smaller.mean().sqrt()))
    assert found["change_error"] < found["standard_error"]["100"] / found["rmse"]["100"] / 20


@pytest.mark.parametrize("sizes", [(100,), (100, 300), (100, 200, 400)])
def test_only_a_doubling_is_a_doubling(sizes):
    with pytest.raises(ValueError, match="sizes n and 2 n"):
        compare_sizes({size: torch.ones(3) for size in sizes})


def test_more_simulations_do_no_harm(untrained_autoencoder):
    plan = replace(PLAN, epochs=20, batch_size=25)  # long enough to learn 50 galaxies by heart
    found = convergence(rows=100, n_test=300, schedule=plan, profile=SMOKE, n_validation=100)
    assert list(found) == list(KNOWLEDGE)
    for entry in found.values():
        assert set(entry["rmse"]) == {"50", "100"}
        # Two trainings of as many steps end apart by about a per cent.
        assert entry["change"] < 0.02
    assert found["oracle"]["change"] < 0


def test_what_is_trained_on_the_whole_table_is_not_trained_again(
    untrained_autoencoder, monkeypatch
):
    trainings = []
    own = limit_checks.study.trained

    def trained(model, task, schedule, *, profile):
        trainings.append((task.size, schedule.epochs))
        return own(model, task, schedule, profile=profile)

    monkeypatch.setattr(limit_checks.study, "trained", trained)
    options = {"rows": 200, "n_test": 50, "schedule": PLAN, "profile": SMOKE, "n_validation": 50}
    convergence(**options)
    # As many steps on half as on all.
    assert trainings == [(100, 2 * PLAN.epochs), (200, PLAN.epochs)]
    torch.manual_seed(0)
    whole = LimitNetworks().eval()
    found = convergence(**options, whole=whole)
    assert trainings[2:] == [(100, 2 * PLAN.epochs)]
    # An untrained network answers with about 0: the error is the scatter of the targets.
    assert found["oracle"]["rmse"]["200"] > found["oracle"]["rmse"]["100"]


def test_half_a_table_must_be_whole():
    with pytest.raises(ValueError, match="rows must be even, got 5"):
        convergence(rows=5, n_test=1, schedule=PLAN, profile=SMOKE)


def test_the_card_holds_all_three_checks(tmp_path, untrained_autoencoder):
    path = make_limits_check(tmp_path, command="a command", profile=SMOKE)
    card = json.loads(path.read_text())
    assert path == tmp_path / f"{limit_checks.CHECK_CARD}.json"
    assert (card["command"], card["profile"]) == ("a command", "smoke")
    assert set(card["convergence"]) == set(KNOWLEDGE)
    assert len(card["van_trees"]["variances"]) == N_TARGETS
    assert card["linear_gaussian"]["excess"] > 0
