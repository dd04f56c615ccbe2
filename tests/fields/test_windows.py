"""skytutor.fields.windows: beams against healpy, pixel windows against finer pixels, bad input."""

import math

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


# Of T and of E and B, from HEALPix's files as healpy 1.12.9 holds them, at a few l.
FILES = {
    2: [(2, 0.9331070169564226, 0.9775174271098435), (5, 0.6990521514275387, 0.7347170401440402)],
    4: [(6, 0.8844030869086636, 0.8949406088083163), (11, 0.6722005065651119, 0.6806990410222555)],
    16: [
        (2, 0.9989095511489218, 0.9996364701121632),
        (24, 0.8956956165071981, 0.8963601856825825),
        (47, 0.6526493371185118, 0.6531650080883946),
    ],
    64: [
        (2, 0.99993174405345, 0.9999772478343357),
        (100, 0.8904251957594245, 0.8904665457095634),
        (191, 0.647903891933121, 0.64793591880989),
    ],
    128: [
        (200, 0.8909312698829268, 0.8909416128488412),
        (383, 0.6471216559266572, 0.6471296546700241),
    ],
}


@pytest.mark.parametrize("nside", FILES)
def test_pixel_windows_are_those_of_healpixs_files(nside):
    assert pixel_window(nside, 4, spin=2)[:2].tolist() == [0.0, 0.0]
    for l, *wanted in FILES[nside]:
        found = [float(pixel_window(nside, 3 * nside - 1, spin=spin)[l]) for spin in (0, 2)]
        assert found == pytest.approx(wanted, rel=1.5e-7 if nside > 8 else 1e-10)


def test_pixel_windows_at_high_resolution():
    """Above nside 64 extrapolated: against the same quadrature over every pixel.

    At nside 256 and 512, where that took minutes, its results stand here. HEALPix's files hold
    0.6467381824 and 0.6465464196 instead.
    """
    low = pixel_window(64, 191)
    wanted = windows._window_of_moments(windows._all_moments(128, 0), 128, 383)
    assert float((pixel_window(128, 383) / wanted - 1).abs().max()) < 5e-8
    for nside, spin, exact in (
        (256, 0, {256: 0.9541114168366814, 512: 0.8270395923159051, 767: 0.64673176911346}),
        (512, 0, {512: 0.9541979109801889, 1024: 0.8271924717550663, 1535: 0.6465371647104966}),
        (256, 2, {256: 0.9541141527424067, 512: 0.8270420257662944, 767: 0.6467337678157324}),
    ):
        found = pixel_window(nside, 3 * nside - 1, spin=spin)
        errors = [abs(float(found[l]) / value - 1) for l, value in exact.items()]
        print(nside, spin, [f"{error:.1e}" for error in errors])
        assert max(errors) < (5e-7 if spin else 1e-7)
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
        (lambda: smooth(ALMS, ["a"] * 5, lmax=4), TypeError, "window"),
        (lambda: smooth(ALMS, ONE * torch.nan, lmax=4), ValueError, "window.*NaN"),
        (lambda: smooth(ALMS, ONE, lmax=3), ValueError, "alms"),
        (lambda: pixel_window(3, 4), ValueError, "nside.*3"),
        (lambda: pixel_window(4, 4, spin=1), ValueError, "spin must be 0 or 2, got 1"),
        (lambda: pixel_window(4, 17), ValueError, r"lmax.*0\.\.16.*17"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
