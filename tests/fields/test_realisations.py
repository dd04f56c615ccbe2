"""skytutor.fields.realisations: the mean, covariance and chi-square of the dense posterior."""

import math

import pytest
import torch

from skytutor.fields.realisations import constrained_realisation
from skytutor.fields.wiener import WienerFilter
from skytutor.healpix import UNSEEN
from skytutor.sht import RealHarmonics, real_degrees
from skytutor.sht.solvers import ConvergenceError

double = {"dtype": torch.float64}
NSIDE = 4
LMAX = 5
PIXELS = 192


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def sky_of(spin, order="ring", **change):
    return WienerFilter(NSIDE, LMAX, spin=spin, order=order, **double, **change)


def problem(spin, order="ring", soft=False):
    """Return spectra, mask, variance, one map, and mean and covariance of its coefficients."""
    c = 4 / (torch.arange(LMAX + 1, **double) + 1) ** 2
    spectra = {"EE": c, "BB": 0.3 * c} if spin else {"TT": c}
    mask = torch.ones(PIXELS, **double)
    mask[torch.randperm(PIXELS, generator=rng(1))[:60]] = 0
    if soft:
        mask = mask * (0.2 + 0.8 * torch.rand(PIXELS, generator=rng(2), **double))
    variance = 0.05 + 0.1 * torch.rand(PIXELS, generator=rng(3), **double)
    parts = (2,) if spin else ()
    maps = torch.randn(*parts, PIXELS, generator=rng(4), **double)
    l = real_degrees(LMAX)[0]
    prior = torch.cat([values[l] * (l >= spin) for values in spectra.values()])
    unit = torch.eye(len(prior), **double)
    sky = RealHarmonics(NSIDE, LMAX, spin=spin, order=order, **double)
    rows = sky.synthesis(unit.unflatten(1, (2, -1)) if spin else unit).flatten(1)
    used = prior > 0
    rows = rows[used]
    weight = (mask / variance).repeat(2 if spin else 1)
    covariance = torch.linalg.inv((1 / prior[used]).diag() + (rows * weight) @ rows.T)
    mean = covariance @ (rows @ (weight * maps.flatten()))
    return spectra, mask, variance, maps, used, mean, covariance


@pytest.mark.parametrize("order", ["ring", "nested"])
@pytest.mark.parametrize("spin", [0, 2])
@pytest.mark.parametrize(("preconditioner", "soft"), [("hole", False), ("coarse", True)])
def test_draws_have_the_mean_and_the_covariance_of_the_posterior(spin, order, preconditioner, soft):
    size = 4000
    spectra, mask, variance, maps, used, mean, covariance = problem(spin, order, soft)
    drawn = constrained_realisation(
        maps.expand(size, *maps.shape),
        spectra,
        filter=sky_of(spin, order, preconditioner=preconditioner),
        variance=variance,
        mask=mask,
        generator=rng(5),
    )
    coefs = drawn.coefs.flatten(1)
    assert bool((coefs[:, ~used] == 0).all())
    # In units of the posterior every draw is white noise.
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, (coefs[:, used] - mean).T, upper=False)
    n = len(white)
    chi2 = white.square().sum(0)
    off_mean = white.mean(1).square().sum() * size  # chi-square of n degrees of freedom
    sample = white @ white.T / size - torch.eye(n, **double)
    # Off the diagonal the sum of squares over the pairs is a chi-square too, to the first order.
    pairs = sample[torch.triu_indices(n, n, 1).unbind()].square().sum() * size
    count = n * (n - 1) / 2
    print(f"spin {spin}: chi2 / dof {float(chi2.mean()) / n:.4f}, mean {float(off_mean) / n:.2f}")
    assert abs(float(chi2.mean()) - n) <= 4 * math.sqrt(2 * n / size)
    assert abs(float(chi2.var()) - 2 * n) <= 4 * 2 * n * math.sqrt((2 + 12 / n) / size)
    assert abs(float(off_mean) - n) <= 4 * math.sqrt(2 * n)
    assert abs(float(pairs) - count) <= 5 * math.sqrt(2 * count)


@pytest.mark.parametrize("spin", [0, 2])
def test_maps_are_those_of_the_coefficients_and_agree_with_the_data(spin):
    spectra, mask, _, maps, *_ = problem(spin)
    sky = sky_of(spin, preconditioner="hole")
    truth = sky.harmonics.synthesis(torch.zeros_like(sky._root(spectra)) + sky._root(spectra))
    noise = 1e-3
    given = {"filter": sky, "variance": noise**2, "mask": mask}
    drawn = constrained_realisation(truth, spectra, **given, generator=rng(6))
    torch.testing.assert_close(drawn.maps, sky.harmonics.synthesis(drawn.coefs))
    # 36 coefficients (72 with spin 2) from 132 pixels: seen pixels come back within the noise.
    seen = (drawn.maps - truth)[..., mask > 0]
    assert seen.abs().max() <= 5 * noise
    assert drawn.residual <= sky.tolerance and drawn.steps <= 10
    assert drawn.maps.shape == maps.shape


def test_a_seed_gives_its_draw_and_another_another():
    spectra, mask, variance, maps, *_ = problem(0)
    given = {"filter": sky_of(0), "variance": variance, "mask": mask}
    one, again, other = (
        constrained_realisation(maps, spectra, **given, generator=rng(seed)).maps
        for seed in (7, 7, 8)
    )
    assert torch.equal(one, again) and not torch.allclose(one, other)


def test_the_filter_must_converge():
    spectra, mask, variance, maps, *_ = problem(0)
    sky = sky_of(0, max_iter=1, coarse=0)
    with pytest.raises(ConvergenceError):
        constrained_realisation(
            maps, spectra, filter=sky, variance=variance, mask=mask, generator=rng()
        )


def test_maps_in_kelvin_are_seen_though_the_draws_are_not():
    spectra, mask, _, maps, *_ = problem(0)
    with pytest.warns(UserWarning, match="same unit"):
        constrained_realisation(
            1e-6 * maps, spectra, filter=sky_of(0), variance=0.1, mask=mask, generator=rng()
        )


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"filter": None}, TypeError, "filter must be a WienerFilter"),
        ({"generator": 7}, TypeError, "generator must be a torch.Generator"),
        ({"mask": torch.zeros(PIXELS)}, ValueError, "mask is 0 everywhere"),
        ({"mask": torch.ones(PIXELS)}, ValueError, "mask hides no pixel"),
        ({"mask": torch.full((PIXELS,), 0.5)}, ValueError, "mask must be 0 or 1"),
        ({"mask": torch.ones(48)}, ValueError, "mask must be"),
        ({"variance": 0.0}, ValueError, "variance must be positive"),
        ({"maps": torch.full((PIXELS,), math.nan).double()}, ValueError, "maps, where seen,.*NaN"),
        ({"maps": torch.full((PIXELS,), UNSEEN).double()}, ValueError, "maps, where seen,.*UNSEEN"),
        ({"maps": torch.zeros(PIXELS)}, TypeError, "maps must be torch.float64"),
        ({"spectra": {"TT": torch.ones(3)}}, ValueError, "spectra"),
    ],
)
def test_bad_input_is_named(change, error, says):
    spectra, mask, variance, maps, *_ = problem(0)
    given = {
        "maps": maps,
        "spectra": spectra,
        "filter": sky_of(0, preconditioner="hole"),
        "variance": variance,
        "mask": mask,
        "generator": rng(),
    } | change
    with pytest.raises(error, match=says):
        constrained_realisation(given.pop("maps"), given.pop("spectra"), **given)
