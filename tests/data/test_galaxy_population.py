"""skytutor.data.galaxy_population: how light is shared out, and what shapes say of spectra."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from complaints import complaint
from scipy import stats
from torch_modes import default_dtype

from skytutor.data.galaxies import GalaxySimulator
from skytutor.data.galaxy_population import Population
from skytutor.data.galaxy_table import real_galaxies
from skytutor.data.spectral_templates import LINES

N = 4000


def draw(seed=0, n=N, **arguments):
    return Population(**arguments).draw(n, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def galaxies():
    return draw()


def old_fraction(galaxies):
    total = galaxies.coefficients.sum(1)
    return total[:, 3] / total.sum(1)


def bulge_fraction(galaxies):
    light = galaxies.coefficients.sum(2)
    return light[:, 0] / light.sum(1)


def rank_correlation(a, b):
    return float(stats.spearmanr(a.numpy(), b.numpy()).statistic)


def test_redshifts_and_mixtures_are_those_of_the_real_half(galaxies):
    real = real_galaxies().split("drawn")
    ours = galaxies.redshift.double().numpy()
    assert ours.min() >= 0.01
    assert ours.max() <= 0.36 + 1e-6
    assert stats.ks_2samp(ours, real.redshift).statistic < 0.03
    fraction = real.coefficients[:, 3] / real.coefficients.sum(1)
    assert stats.ks_2samp(old_fraction(galaxies).numpy(), fraction).statistic < 0.06


def test_no_galaxy_comes_twice(galaxies):
    assert len(galaxies.redshift.unique()) > 0.99 * N


@pytest.mark.parametrize("gradient", [0.0, 0.3, 1.0])
def test_the_knob_moves_light_between_spectra_not_between_components(galaxies, gradient):
    """The galaxy's mixture and each component's red light stay; only the mixtures differ."""
    found = draw(gradient=gradient)
    whole = galaxies.coefficients.sum(1)
    assert torch.allclose(found.coefficients.sum(1), whole, rtol=1e-4, atol=1e-5)
    light = galaxies.coefficients.sum(2)
    assert torch.allclose(found.coefficients.sum(2), light, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.redshift, galaxies.redshift)
    for entry in fields(galaxies.shapes):
        name = entry.name
        assert torch.equal(getattr(found.shapes, name), getattr(galaxies.shapes, name))
    assert (found.coefficients >= 0).all()


@pytest.mark.parametrize("arguments", [{"gradient": 0.0}, {"null": True}])
def test_components_are_all_alike_at_gradient_zero_and_in_the_null_universe(arguments):
    found = draw(**arguments)
    mixture = found.coefficients / found.coefficients.sum(2, keepdim=True)
    assert torch.allclose(mixture, mixture[:, :1].expand_as(mixture), atol=1e-5)
    assert torch.equal(found.a_v, found.a_v[:, :1].expand_as(found.a_v))
    # Lines over the light of the component.
    lines = found.lines / found.coefficients.sum(2, keepdim=True)
    assert torch.allclose(lines, lines[:, :1].expand_as(lines), rtol=1e-3)


def test_components_differ_as_galaxies_do(galaxies):
    mixture = galaxies.coefficients / galaxies.coefficients.sum(2, keepdim=True)
    bulge, disc, clumps = mixture.unbind(1)
    mixed = (old_fraction(galaxies) > 0.2) & (old_fraction(galaxies) < 0.8)
    assert (bulge[mixed, 3] > disc[mixed, 3]).all()
    assert (clumps[mixed, 3] < disc[mixed, 3]).all()
    young = mixed & (mixture.mean(1)[:, 1:3].sum(1) > 0.01)
    assert (clumps[young, 1:3].sum(1) > disc[young, 1:3].sum(1)).all()


def test_red_galaxies_have_bulges_and_active_ones_shine_in_lines(galaxies):
    assert rank_correlation(bulge_fraction(galaxies), old_fraction(galaxies)) > 0.7
    h_alpha = galaxies.lines[..., list(LINES).index("H-alpha")].sum(1)
    strength = h_alpha / galaxies.coefficients.sum((1, 2))
    assert rank_correlation(strength, old_fraction(galaxies)) < -0.7


def test_shapes_of_the_null_universe_say_nothing_of_spectra():
    found = draw(null=True)
    h_alpha = found.lines[..., list(LINES).index("H-alpha")].sum(1)
    shapes = found.shapes
    seen = {
        "bulge fraction": bulge_fraction(found),
        "clump fraction": found.coefficients.sum(2)[:, 2] / found.coefficients.sum((1, 2)),
        "radius": shapes.disc_radius,
        "bulge radius": shapes.bulge_radius,
        "axis ratio": shapes.disc_axis_ratio,
        "clump size": shapes.clump_sigma.mean(1),
    }
    spectra = {
        "old": old_fraction(found),
        "line": h_alpha / found.coefficients.sum((1, 2)),
        "redshift": found.redshift,
        "width": found.dispersion,
    }
    for name, shape in seen.items():
        for other, spectrum in spectra.items():
            # Four standard errors of a rank correlation of 4,000.
            assert abs(rank_correlation(shape, spectrum)) < 4 / N**0.5, f"{name}, {other}"
    assert (found.a_v == 0).all()


def test_discs_are_inclined_at_random(galaxies):
    ratio = galaxies.shapes.disc_axis_ratio.double()
    # An oblate disc of thickness 0.15: q^2 = 0.15^2 + (1 - 0.15^2) cos^2 i
    cosine = ((ratio**2 - 0.15**2) / (1 - 0.15**2)).clamp(min=0).sqrt()
    assert stats.kstest(cosine.numpy(), "uniform").statistic < 1.63 / N**0.5
    angle = galaxies.shapes.disc_angle.double().numpy()
    assert stats.kstest(angle / np.pi, "uniform").statistic < 1.63 / N**0.5
    assert abs(rank_correlation(galaxies.shapes.disc_angle, ratio)) < 4 / N**0.5


def test_edge_on_discs_are_dusty_and_dust_changes_nothing_on_average(galaxies):
    ratio = galaxies.shapes.disc_axis_ratio
    assert rank_correlation(galaxies.a_v[:, 1], ratio) < -0.9
    assert (galaxies.a_v[ratio > 0.9, 1] < 0).all()
    assert float(galaxies.a_v[:, 1].mean().abs()) < 0.01
    assert torch.allclose(galaxies.a_v[:, 0], 0.3 * galaxies.a_v[:, 1])


def test_near_and_bright_galaxies_look_large(galaxies):
    radius = galaxies.shapes.disc_radius
    assert rank_correlation(radius, galaxies.redshift) < -0.3
    assert float(radius.max()) <= 4.5
    assert 1.0 < float(radius.median()) < 4.0


def test_clumps_lie_in_the_plane_of_the_disc():
    found = draw(n=3000)
    shapes = found.shapes
    cosine, sine = shapes.disc_angle.cos()[:, None], shapes.disc_angle.sin()[:, None]
    along = shapes.clump_x * cosine + shapes.clump_y * sine
    across = shapes.clump_y * cosine - shapes.clump_x * sine
    flat = shapes.disc_axis_ratio < 0.3
    # Mean squares across and along are in the ratio q^2 on average.
    ratio = across[flat].square().sum() / along[flat].square().sum()
    expected = shapes.disc_axis_ratio[flat].square().mean()
    assert float(ratio) == pytest.approx(float(expected), rel=0.15)
    deprojected = torch.hypot(along, across / shapes.disc_axis_ratio[:, None])
    radius = deprojected / shapes.disc_radius[:, None]
    # Uniform from 0.4 to 1.6 half-light radii.
    assert float(radius.min()) > 0.399 and float(radius.max()) < 1.601
    assert float(radius.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(radius.std()) == pytest.approx(1.2 / 12**0.5, abs=0.01)
    assert torch.allclose(shapes.clump_weight.sum(1), torch.ones(3000), atol=1e-5)


def test_the_same_seed_draws_the_same_galaxies_and_another_does_not():
    first, second, other = draw(seed=4, n=50), draw(seed=4, n=50), draw(seed=5, n=50)
    for name in ("redshift", "coefficients", "lines", "a_v", "residual", "dispersion"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))
    assert len(first) == 50


def test_galaxies_move_as_a_whole(galaxies):
    moved = galaxies.to("cpu")
    assert torch.equal(moved.lines, galaxies.lines)
    assert torch.equal(moved.shapes.clump_x, galaxies.shapes.clump_x)
    for entry in fields(galaxies):
        assert getattr(moved, entry.name) is not None


@pytest.mark.parametrize(
    ("error", "arguments", "words"),
    [
        (ValueError, {"gradient": 1.5}, ("gradient", "0..1", 1.5)),
        (ValueError, {"gradient": -0.1}, ("gradient", -0.1)),
        (ValueError, {"gradient": float("nan")}, ("gradient", "nan")),
        (TypeError, {"gradient": "all"}, ("gradient", "all")),
        (TypeError, {"gradient": None}, ("gradient", "None")),
        (TypeError, {"null": "no"}, ("null", "True or False", "no")),
        (TypeError, {"null": 1}, ("null", 1)),
    ],
)
def test_unfit_arguments_are_refused(error, arguments, words):
    complaint(error, Population, *words, **arguments)


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-3, ValueError), (2.5, TypeError)])
def test_unfit_numbers_of_galaxies_are_refused(n, error):
    rng = torch.Generator()
    complaint(error, Population().draw, "n must be", n, n=n, generator=rng)


def test_galaxies_do_not_depend_on_the_default_precision():
    def drawn():
        simulator = GalaxySimulator()
        rng = torch.Generator().manual_seed(3)
        galaxies = simulator.draw(5, generator=rng)
        return galaxies, simulator.photometry(galaxies, generator=rng)

    wanted, measured = drawn()
    with default_dtype(torch.float64):
        found, again = drawn()
    for one, other in ((wanted, found), (wanted.shapes, found.shapes)):
        for part in fields(one):
            value = getattr(one, part.name)
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, getattr(other, part.name)), part.name
    torch.testing.assert_close(again.flux.float(), measured.flux)
