"""skytutor.fields.wiener: a dense solution in pixels, the analytic filter, finite differences."""

import math

import pytest
import torch

from skytutor.fields.wiener import WienerFilter
from skytutor.sht import ConvergenceWarning, Harmonics, RealHarmonics, real_degrees

each_spin = pytest.mark.parametrize("spin", [0, 2])
double = {"dtype": torch.float64}


def spectra_of(spin, lmax):
    c = 1 / (torch.arange(lmax + 1, **double) + 2) ** 2
    return {"EE": c, "BB": 0.1 * c} if spin else {"TT": c}


def half_sky(nside):
    mask = torch.ones(12 * nside**2, **double)
    mask[len(mask) // 2 :] = 0
    return mask


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **double)


@each_spin
@pytest.mark.parametrize("order", ["ring", "nested"])
def test_half_a_sky_equals_a_dense_solution_in_pixels(spin, order):
    """``b = C S^T (S C S^T + N)^-1 d`` over the observed pixels: another formula, another space."""
    nside = 8
    lmax = 16
    pixels = 768
    mask = half_sky(nside)
    spectra = spectra_of(spin, lmax)
    variance = 0.01 + 0.02 * torch.rand(
        pixels, generator=torch.Generator().manual_seed(1), **double
    )
    parts = (2,) if spin else ()
    maps = draw(3, *parts, pixels)
    found = WienerFilter(nside, lmax, spin=spin, order=order, **double)(
        maps, spectra, variance=variance, mask=mask
    )
    l = real_degrees(lmax)[0]
    prior = torch.cat([c[l] * (l >= spin) for c in spectra.values()])
    unit = torch.eye(len(prior), **double)
    sky = RealHarmonics(nside, lmax, spin=spin, order=order, **double)
    columns = sky.synthesis(unit.unflatten(1, (2, -1)) if spin else unit).flatten(
        1
    )  # ([2] K, [2] P)
    seen = mask.bool().repeat(2 if spin else 1)
    rows = columns[:, seen]
    covariance = (rows.T * prior) @ rows
    noise = variance.repeat(2 if spin else 1)[seen]
    wanted = prior * (
        torch.linalg.solve(covariance + noise.diag(), maps.flatten(1)[:, seen].T).T @ rows.T
    )
    off = (found.coefs.flatten(1) - wanted).norm() / wanted.norm()
    print(f"spin {spin}, {order}: {found.steps} steps, off by {off:.1e}")
    assert off <= 1e-6 and found.residual <= 1e-10


def test_full_sky_is_signal_over_signal_plus_noise():
    """At nside 64, with noise laid out as the quadrature's weights.

    With equal pixels HEALPix itself is off by 1e-4.
    """
    nside = 64
    lmax = 64
    l = real_degrees(lmax)[0]
    c = spectra_of(0, lmax)["TT"]
    level = c[10]
    weights = Harmonics(nside, lmax, order="ring", **double).pixel_weights()
    sky = RealHarmonics(nside, lmax, order="ring", **double)
    maps = sky.synthesis(c[l].sqrt() * draw(len(l)))
    variance = level * 12 * nside**2 / (4 * math.pi) / weights
    found = WienerFilter(nside, lmax, order="ring", **double)(
        maps, {"TT": c}, variance=variance, mask=torch.ones_like(maps)
    )
    wanted = (c / (c + level))[l] * sky.analysis(maps)
    off = (found.coefs - wanted).norm() / wanted.norm()
    print(f"full sky: {found.steps} steps, off by {off:.1e}")
    assert off <= 1e-6


def test_half_a_sky_at_nside_64_solves_its_equations():
    nside = 64
    lmax = 128
    mask = half_sky(nside)
    spectra = spectra_of(0, lmax)
    maps = draw(2, 12 * nside**2)
    found = WienerFilter(nside, lmax, coarse=16, order="ring", **double)(
        maps, spectra, variance=10.0, mask=mask
    )
    sky = RealHarmonics(nside, lmax, order="ring", **double)
    c = spectra["TT"][real_degrees(lmax)[0]]
    left = found.coefs + c * sky.adjoint(mask / 10 * (sky.synthesis(found.coefs) - maps))
    print(f"nside 64: {found.steps} steps")
    assert left.norm() <= 1e-8 * found.coefs.norm() and found.steps < 60


@each_spin
def test_gradients_of_map_spectra_and_noise(spin):
    nside = 2
    lmax = 4
    parts = (2,) if spin else ()
    maps = draw(1, *parts, 48).requires_grad_()
    variance = (0.5 + torch.rand(48, **double)).requires_grad_()
    values = [c.clone().requires_grad_() for c in spectra_of(spin, lmax).values()]
    names = tuple(spectra_of(spin, lmax))
    sky = WienerFilter(nside, lmax, spin=spin, tolerance=1e-13, coarse=1, order="ring", **double)

    def run(maps, variance, *values):
        return sky(
            maps, dict(zip(names, values, strict=True)), variance=variance, mask=half_sky(nside)
        ).coefs

    assert torch.autograd.gradcheck(run, (maps, variance, *values), atol=1e-6)


def test_a_filter_says_that_it_has_not_converged():
    sky = WienerFilter(8, 16, order="ring", max_iter=2, coarse=0, **double)
    maps = draw(3, 768)
    with pytest.warns(ConvergenceWarning, match="max_iter = 2 steps"):
        found = sky(maps, spectra_of(0, 16), variance=0.1, mask=half_sky(8))
    assert found.steps == 2 and found.residual > 1e-10


def test_what_stands_behind_the_mask_does_not_count():
    mask = half_sky(4)
    sky = WienerFilter(4, 8, order="ring", **double)
    maps = draw(192)
    one, two = (
        sky(m, spectra_of(0, 8), variance=0.1, mask=mask).coefs
        for m in (maps, torch.where(mask > 0, maps, 1e6))
    )
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"spectra": torch.ones(9)}, TypeError, "spectra must be named"),
        ({"spectra": {"EE": torch.ones(9)}}, ValueError, "spectra"),
        ({"spectra": {"TT": torch.ones(8)}}, ValueError, "spectra.*9"),
        ({"spectra": {"TT": -torch.ones(9)}}, ValueError, "negative"),
        ({"spectra": {"TT": torch.full((9,), math.nan)}}, ValueError, "finite"),
        ({"mask": torch.zeros(192)}, ValueError, "mask is zero"),
        ({"mask": torch.full((192,), 2.0)}, ValueError, r"mask.*0\.\.1"),
        ({"mask": torch.full((192,), math.nan)}, ValueError, "mask"),
        ({"mask": torch.ones(48)}, ValueError, "mask.*192"),
        ({"variance": 0.0}, ValueError, "variance.*positive"),
        ({"variance": torch.ones(5)}, ValueError, "variance"),
        ({"maps": torch.full((192,), math.nan)}, ValueError, "maps"),
        ({"maps": torch.full((192,), -1.6375e30)}, ValueError, "UNSEEN"),
        ({"maps": torch.zeros(48)}, ValueError, "192"),
        ({"maps": torch.zeros(192).double()}, TypeError, "maps must be torch.float32"),
    ],
)
def test_bad_input(change, error, says):
    given = {
        "maps": torch.zeros(192),
        "spectra": {"TT": torch.ones(9)},
        "variance": 1.0,
        "mask": torch.ones(192),
    } | change
    with pytest.raises(error, match=says):
        WienerFilter(4, 8, order="ring")(given.pop("maps"), given.pop("spectra"), **given)


@pytest.mark.parametrize("change", [{"coarse": -1}, {"tolerance": 2.0}, {"max_iter": 0}])
def test_bad_limits(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        WienerFilter(4, 8, order="ring", **change)
