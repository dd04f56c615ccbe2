"""skytutor.fields.windows: beams against healpy, pixel windows against finer pixels, bad input."""

import math
import time

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor.fields import windows
from skytutor.fields.windows import gaussian_beam, pixel_window, smooth
from skytutor.sht import (
    alm_size,
)

LMAX = 40


@pytest.mark.parametrize("degrees_wide", [0.0, 1.0, 10.0])
def test_beams_are_healpys(degrees_wide):
    wanted = hp.gauss_beam(math.radians(degrees_wide), lmax=64, pol=True)
    for spin, column in ((0, 0), (2, 1), (2, 2)):
        found = gaussian_beam(math.radians(degrees_wide), 64, spin=spin).numpy()
        np.testing.assert_allclose(found, wanted[:, column], rtol=1e-12)
    g = torch.Generator().manual_seed(0)
    a = torch.randn(2, alm_size(LMAX), generator=g, dtype=torch.complex128)
    wanted = hp.almxfl(a[1].numpy(), hp.gauss_beam(math.radians(degrees_wide), lmax=LMAX))
    found = smooth(a, gaussian_beam(math.radians(degrees_wide), 50), lmax=LMAX)
    np.testing.assert_allclose(found[1].numpy(), wanted, rtol=1e-13)
    assert (
        smooth(a.to(torch.complex64), torch.ones(41, dtype=torch.float64), lmax=LMAX).dtype
        == torch.complex64
    )


def window_by_force(nside, lmax, cuts, sample=1):
    """Return w_l**2 from healpy's children of every pixel, and P_l by recurrence.

    healpy.pixwin wants to download its file.
    """
    total = np.zeros(lmax + 1)
    weights = 0
    for face, weight in ((0, 2), (4, 1)):
        for pixel in range(face * nside**2, (face + 1) * nside**2, sample):
            inside = np.arange(pixel * cuts**2, (pixel + 1) * cuts**2)
            v = np.array(hp.pix2vec(nside * cuts, inside, nest=True))
            cos = v.T @ v
            weights = weights + weight
            previous = np.ones_like(cos)
            current = cos
            for l in range(lmax + 1):
                total[l] += previous.mean() * weight
                following = ((2 * l + 3) * cos * current - (l + 1) * previous) / (l + 2)
                previous = current
                current = following
    return total / weights


@pytest.mark.parametrize(("nside", "cuts"), [(1, 32), (2, 32), (4, 16), (16, 8)])
def test_pixel_windows_are_those_of_finer_and_finer_pixels(nside, cuts):
    """The error of C x C points is a series in C**-2: two extrapolations leave C**-6."""
    lmax = 3 * nside - 1
    a, b, c = (window_by_force(nside, lmax, cuts // part) for part in (4, 2, 1))
    wanted = np.sqrt((16 * (4 * c - b) / 3 - (4 * b - a) / 3) / 15)
    error = np.abs(pixel_window(nside, lmax).numpy() / wanted - 1).max()
    print(f"nside {nside}: {error:.1e}")
    assert error < (5e-5 if nside == 16 else 2e-6)


def test_pixel_windows_at_high_resolution():
    """Above nside 64 extrapolated: against all pixels of nside 128, and quick at nside 64."""
    start = time.perf_counter()
    low = pixel_window(64, 191)
    assert time.perf_counter() - start < 5, "half a second on an idle core"
    windows._all_moments.cache_clear()
    wanted = windows._window_of_moments(windows._all_moments(128), 128, 383)
    error = float((pixel_window(128, 383) / wanted - 1).abs().max())
    print(f"nside 128: {error:.1e}")
    assert error < 1e-5
    assert float((pixel_window(2**20, 100) - 1).abs().max()) < 1e-8, "pixels too small to matter"
    low[0] = 7
    assert float(pixel_window(64, 191)[0]) == 1, "a kept window must not be the caller's to change"


ONE = torch.ones(5)
ALMS = torch.zeros(15, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: gaussian_beam(10.0, 8), ValueError, "fwhm.*radians.*10.0"),
        (lambda: gaussian_beam(math.nan, 8), ValueError, "fwhm.*nan"),
        (lambda: gaussian_beam(0.1, 8, spin=1), ValueError, "spin.*1"),
        (lambda: gaussian_beam(0.1, 2.5), TypeError, "lmax.*2.5"),
        (lambda: smooth(ALMS, ONE[:4], lmax=4), ValueError, r"window.*5 .*\(4,\)"),
        (lambda: smooth(ALMS, [1.0] * 5, lmax=4), TypeError, "window.*list"),
        (lambda: smooth(ALMS, ONE * torch.nan, lmax=4), ValueError, "window.*NaN"),
        (lambda: smooth(ALMS, ONE, lmax=3), ValueError, "alms"),
        (lambda: pixel_window(3, 4), ValueError, "nside.*3"),
        (lambda: pixel_window(4, 17), ValueError, r"lmax.*0\.\.16.*17"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
