"""Coefficients of a cut sky by least squares, against dense solutions of healpy's harmonics."""

import math
from functools import lru_cache

import healpy
import numpy as np
import pytest
import torch

from skytutor.healpix import UNSEEN
from skytutor.sht import Harmonics, alm_lm, alm_size, least_squares, map2alm
from skytutor.sht.solvers import ConvergenceError

NSIDE = 8
LMAX = 12
PIXELS = 12 * NSIDE**2
each_spin = pytest.mark.parametrize("spin", [0, 2])


@pytest.fixture(params=["factorised", "steps"])
def way(request, monkeypatch):
    """Solve with the factor of the whole matrix, and as where that would be too large."""
    if request.param == "steps":
        monkeypatch.setattr("skytutor.sht.inverse._MAX_DENSE", 0)
    return request.param


@lru_cache
def design(spin, nside=NSIDE, lmax=LMAX):
    """Return maps of unit coefficients by healpy, ``(n, [2] P)``, and those coefficients."""
    l, m = healpy.Alm.getlm(lmax)
    fields = 2 if spin else 1
    rows = []
    units = []
    for field in range(fields):
        for index in np.flatnonzero(l >= spin):
            for phase in (1.0, 1j) if m[index] else (1.0,):
                alms = np.zeros((fields, len(l)), dtype=complex)
                alms[field, index] = phase
                if spin:
                    maps = np.concatenate(healpy.alm2map_spin(list(alms), nside, spin, lmax))
                else:
                    maps = healpy.alm2map(alms[0], nside, lmax=lmax)
                rows.append(maps)
                units.append(alms if spin else alms[0])
    return np.stack(rows), np.stack(units)


def band(cut, nside=NSIDE):
    """Return a mask that hides the belt ``|z| < cut``."""
    return torch.from_numpy(np.abs(healpy.pix2vec(nside, np.arange(12 * nside**2))[2]) >= cut)


def weights_of(kind):
    mask = band(0.1)
    rng = np.random.default_rng(2)
    soft = torch.from_numpy(rng.uniform(0.2, 3, PIXELS))
    return {"bool": mask, "int": mask.long(), "soft": mask * soft}[kind]


def dense(maps, mask, spin):
    """Return the weighted least-squares solution of numpy."""
    rows, units = design(spin)
    root = np.sqrt(np.tile(mask.double().numpy(), 2 if spin else 1))
    data = np.where(root > 0, maps.flatten().numpy(), 0)
    solved = np.linalg.lstsq((rows * root).T, root * data, rcond=None)[0]
    return np.tensordot(solved, units, 1)


def band_limited(spin, seed=0, nside=NSIDE):
    """Return coefficients and their map by healpy."""
    rows, units = design(spin, nside)
    values = np.random.default_rng(seed).normal(size=len(rows))
    maps = values @ rows
    maps = maps.reshape(2, -1) if spin else maps
    return torch.from_numpy(np.tensordot(values, units, 1)), torch.from_numpy(maps)


def error_of(found, wanted):
    return float(np.abs(np.asarray(found) - np.asarray(wanted)).max() / np.abs(wanted).max())


@each_spin
@pytest.mark.parametrize("cut", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("backend", ["ducc0", "torch"])
def test_band_limited_data_come_back_from_behind_a_cut(spin, cut, backend, way):
    truth, maps = band_limited(spin)
    sky = Harmonics(NSIDE, LMAX, spin=spin, order="ring", dtype=torch.float64, backend=backend)
    found = least_squares(maps, sky, mask=band(cut))
    error = error_of(found.alms, truth.numpy())
    print(f"spin {spin}, |z| < {cut}: {found.steps} steps, {error:.1e}, said {found.error:.1e}")
    assert error <= 1e-9 and found.error <= 1e-9
    assert found.steps <= (10 if way == "factorised" else 100)
    # What is said is the error of other coefficients through the same mask.
    assert error <= 100 * found.error + 1e-11
    # Quadrature of the same pixels is far off.
    assert error_of(sky.map2alm(maps * band(cut), iterations=3), truth.numpy()) > 1e-2


@each_spin
@pytest.mark.parametrize("kind", ["bool", "int", "soft"])
def test_noise_is_fitted_as_a_dense_solution_fits_it(spin, kind, way):
    """And of what stands in hidden pixels nothing is seen, be it UNSEEN or NaN."""
    mask = weights_of(kind)
    _, maps = band_limited(spin)
    maps = maps + torch.from_numpy(np.random.default_rng(1).normal(size=maps.shape))
    wanted = dense(maps, mask, spin)
    maps[..., mask == 0] = UNSEEN
    maps[..., int((mask == 0).nonzero()[0])] = math.nan
    found = map2alm(maps, nside=NSIDE, lmax=LMAX, spin=spin, order="ring", method="lsq", mask=mask)
    error = error_of(found, wanted)
    print(f"spin {spin}, {kind}: off by {error:.1e}")
    assert error <= 1e-8


@each_spin
def test_orders_batches_and_scales_of_the_weights(spin):
    truth, maps = band_limited(spin)
    other, more = band_limited(spin, seed=3)
    both = torch.stack([maps, more])[:, None]  # (2, 1, [2,] P)
    nested = torch.from_numpy(healpy.nest2ring(NSIDE, np.arange(PIXELS)))
    mask = 1e-12 * band(0.1).double()
    sky = Harmonics(NSIDE, LMAX, spin=spin, order="nested", dtype=torch.float64)
    found = least_squares(both[..., nested], sky, mask=mask[nested]).alms
    wanted = torch.stack([truth, other])[:, None]
    assert found.shape == wanted.shape
    assert error_of(found, wanted.numpy()) <= 1e-9


def test_single_precision(way):
    truth, maps = band_limited(0)
    sky = Harmonics(NSIDE, LMAX, order="ring")
    found = least_squares(maps.float(), sky, mask=band(0.1))
    assert found.alms.dtype == torch.complex64
    assert error_of(found.alms, truth.numpy()) <= 1e-4


@each_spin
def test_gradients_of_a_cut_sky(spin, way):
    sky = Harmonics(2, 3, spin=spin, order="ring", dtype=torch.float64)
    maps = torch.randn(
        *((2,) if spin else ()), 48, generator=torch.Generator().manual_seed(0)
    ).double()
    mask = band(0.1, nside=2)
    maps.requires_grad_()

    def run(maps):
        return least_squares(maps, sky, mask=mask).alms

    assert torch.autograd.gradcheck(run, (maps,), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (maps,), fast_mode=True)
    hidden = torch.where(mask, maps.detach(), math.nan).requires_grad_()
    run(hidden).abs().square().sum().backward()
    assert bool(torch.isfinite(hidden.grad).all()) and not bool(hidden.grad[..., ~mask].any())


def test_a_wide_cut_of_which_one_small_residual_says_nothing():
    """The condition is 1.5e6; after one step of the factor the coefficients are off by 1e-3."""
    nside = 16
    lmax = 32
    rows, units = design(0, nside, lmax)
    mask = band(0.4, nside)
    values = np.random.default_rng(0).normal(size=len(rows))
    noisy = values @ rows + np.random.default_rng(1).normal(size=rows.shape[1])
    sky = Harmonics(nside, lmax, order="ring", dtype=torch.float64)
    seen = mask.numpy()
    solved = np.linalg.lstsq(rows[:, seen].T, noisy[seen], rcond=None)[0]
    for maps, wanted, bar in ((values @ rows, values, 1e-6), (noisy, solved, 1e-8)):
        found = least_squares(torch.from_numpy(maps), sky, mask=mask)
        error = error_of(found.alms, np.tensordot(wanted, units, 1))
        print(f"{found.steps} steps, off by {error:.1e}, said {found.error:.1e}")
        assert error <= bar


@each_spin
def test_what_is_not_determined_is_not_handed_out(spin, way):
    """More pixels are seen than there are coefficients, but all in one cap."""
    _, maps = band_limited(spin)
    sky = Harmonics(NSIDE, LMAX, spin=spin, order="ring", dtype=torch.float64)
    cap = torch.arange(PIXELS) < 250
    with pytest.raises(ConvergenceError, match="known map come back with a relative error"):
        least_squares(maps, sky, mask=cap, max_iter=300)


@pytest.mark.parametrize(
    ("mask", "error", "says"),
    [
        (torch.arange(PIXELS) < 168, ValueError, "at least 169 pixels.*got 168"),
        (torch.zeros(PIXELS), ValueError, "at least 169 pixels.*got 0"),
        (torch.ones(48), ValueError, r"mask must be \(768,\)"),
        (torch.full((PIXELS,), -1.0), ValueError, "none negative"),
        (torch.full((PIXELS,), math.nan), ValueError, "finite"),
        (torch.full((PIXELS,), math.inf), ValueError, "finite"),
        (torch.ones(PIXELS, requires_grad=True), ValueError, "mask must have no gradient"),
        (["a"] * PIXELS, TypeError, "mask"),
        (torch.ones(PIXELS, dtype=torch.complex64), TypeError, "mask.*complex64"),
    ],
)
def test_bad_masks(mask, error, says):
    with pytest.raises(error, match=says):
        least_squares(torch.zeros(PIXELS), Harmonics(NSIDE, LMAX, order="ring"), mask=mask)


def test_bad_maps_and_methods():
    given = {"nside": NSIDE, "lmax": LMAX, "order": "ring", "mask": torch.ones(PIXELS)}
    with pytest.raises(ValueError, match="mask is for method='lsq'"):
        map2alm(torch.zeros(PIXELS), **given)
    maps = torch.zeros(PIXELS)
    maps[3] = UNSEEN
    with pytest.raises(ValueError, match="UNSEEN"):
        map2alm(maps, method="lsq", **given)
    with pytest.raises(ValueError, match="768"):
        map2alm(maps[:48], method="lsq", **given)


def test_the_packing_is_healpys():
    l, m = alm_lm(LMAX)
    assert np.array_equal(np.stack([l, m]), healpy.Alm.getlm(LMAX)) and alm_size(LMAX) == len(l)
