"""skytutor.fields.gnomonic: directions, covariance, and fills against the flat sky and draws."""

import math

import numpy as np
import pytest
import scipy.special
import torch
from astropy.wcs import WCS

from skytutor.fields.flat import FlatSky
from skytutor.fields.gnomonic import PatchCovariance, angular_covariance
from skytutor.fields.holes import DenseHole
from skytutor.fields.windows import gaussian_beam
from skytutor.healpix.tangent import patch_vectors

ARCMIN = math.pi / 180 / 60


def spectrum(lmax=2000):
    l = torch.arange(lmax + 1, dtype=torch.float64).clamp(min=2)
    return 5500 * 2 * math.pi / (l * (l + 1)) * torch.exp(-((l / 900) ** 2))


def hole_mask(size, radius=2.1):
    i = torch.arange(size) - size // 2
    return (i[:, None] ** 2 + i[None] ** 2).sqrt() > radius


def covariance(size=17, **options):
    options = {"pixel_arcmin": 10.0, "cl": spectrum(), "beam_arcmin": 15.0, "noise": 2.0} | options
    return PatchCovariance(size, **options)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("size", "lon", "lat"), [(8, 30.0, -45.0), (9, 200.0, 89.0), (5, 0, 0)])
def test_directions_are_those_of_astropy(size, lon, lat):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.crval = [lon, lat]
    wcs.wcs.crpix = [size // 2 + 1] * 2
    wcs.wcs.cdelt = [-0.5, 0.5]
    y, x = np.mgrid[:size, :size]
    theirs = np.radians(wcs.pixel_to_world_values(x, y))
    flat = np.cos(theirs[1])
    theirs = np.stack([flat * np.cos(theirs[0]), flat * np.sin(theirs[0]), np.sin(theirs[1])], -1)
    ours = patch_vectors(size, pixel_arcmin=30.0, lon_deg=lon, lat_deg=lat)
    assert np.abs(ours.numpy() - theirs).max() < 2e-15


def test_many_patches_are_each_by_itself():
    lon = torch.tensor([10.0, 250.0])
    lat = torch.tensor([-80.0, 20.0])
    both = patch_vectors(6, pixel_arcmin=20.0, lon_deg=lon, lat_deg=lat)
    for k in range(2):
        alone = patch_vectors(6, pixel_arcmin=20.0, lon_deg=float(lon[k]), lat_deg=float(lat[k]))
        assert torch.allclose(both[k], alone, rtol=0, atol=1e-15)


def test_covariance_is_a_sum_of_legendre_polynomials():
    cl = spectrum(60)
    theta = torch.linspace(0, math.pi, 13, dtype=torch.float64)
    x = theta.cos().numpy()
    wanted = sum(
        (2 * l + 1) * float(cl[l]) / (4 * math.pi) * scipy.special.eval_legendre(l, x)
        for l in range(61)
    )
    found = angular_covariance(cl, theta)
    assert float((found - torch.from_numpy(wanted)).abs().max()) < 1e-11 * float(found[0])


def test_matrix_holds_the_covariance_of_each_separation():
    patch = covariance()
    vectors = patch_vectors(17, pixel_arcmin=10.0).reshape(-1, 3)
    pairs = torch.randint(17**2, (40, 2), generator=rng())
    a, b = vectors[pairs[:, 0]], vectors[pairs[:, 1]]
    theta = torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))
    cl = spectrum()
    cl[:2] = cl[2]
    beamed = cl * gaussian_beam(fwhm=15 * ARCMIN, lmax=2000).square()
    wanted = angular_covariance(beamed, theta)
    found = patch.signal[pairs[:, 0], pairs[:, 1]]
    assert float((found - wanted).abs().max()) < 1e-7 * float(patch.signal[0, 0])


def test_near_the_centre_the_fill_is_that_of_the_flat_sky():
    # A beam of two pixels leaves nothing beyond the modes of the flat patch.
    options = {"pixel_arcmin": 10.0, "cl": spectrum(), "beam_arcmin": 25.0, "noise": 2.0}
    flat = FlatSky(96, **options)
    curved = PatchCovariance(21, **options)
    wide = torch.ones(96, 96, dtype=torch.bool)
    wide[38:59, 38:59] = hole_mask(21)
    flat_hole = DenseHole(flat.precision, wide)
    hole = curved.hole(hole_mask(21))
    assert torch.allclose(hole.variance, flat_hole.variance, rtol=0.01)
    _, data = flat.draw(200, generator=rng())
    ours = hole.fill(data[:, 38:59, 38:59]).flatten(1)[:, hole.index]
    exact = flat_hole.fill(data).flatten(1)[:, flat_hole.index]
    truth = data.flatten(1)[:, flat_hole.index]
    lost = (ours - exact).square().mean() / (exact - truth).square().mean()
    assert float(lost) < 0.01


def test_draws_fills_and_realisations_agree_with_the_prediction():
    patch = covariance()
    hole = patch.hole(hole_mask(17))
    n = len(hole.index)
    _, data = patch.draw(600, generator=rng())
    assert abs(float(patch.chi_square(data).mean()) - 1) < 4 * math.sqrt(2 / 600) / 17
    truth = data.flatten(1)[:, hole.index]
    mean_error = truth - hole.fill(data).flatten(1)[:, hole.index]
    spread = 4 * math.sqrt(2 / n / 600)
    assert abs(float(hole.chi_square(mean_error).mean()) / n - 1) < spread
    drawn = hole.realisation(data, generator=rng(1))
    # A draw and the truth are independent given what is seen: twice the variance.
    difference = truth - drawn.flatten(1)[:, hole.index]
    assert abs(float(hole.chi_square(difference).mean()) / n - 2) < 2 * spread
    assert torch.equal(drawn[:, hole.seen], data[:, hole.seen])


def test_each_window_is_recorded_once():
    window = torch.ones(2001)
    assert covariance(beam_arcmin=0.0).windows == ()
    assert covariance().windows == ("beam of 15 arcmin",)
    both = covariance(pixel_window=window)
    assert both.windows == ("beam of 15 arcmin", "pixel window")
    assert "pixel window" in repr(both)
    assert torch.equal(both.signal, covariance().signal)


def test_a_pixel_window_multiplies_once():
    beam = gaussian_beam(fwhm=15 * ARCMIN, lmax=2000)
    by_window = covariance(beam_arcmin=0.0, pixel_window=beam)
    assert torch.allclose(by_window.signal, covariance().signal, rtol=1e-12)


@pytest.mark.parametrize("beam", [0.0, 15.0 * math.sqrt(2)])
def test_a_beam_twice_or_not_at_all_shows_in_chi_square(beam):
    _, data = covariance().draw(20, generator=rng())
    chi_square = float(covariance(beam_arcmin=beam).chi_square(data).mean())
    assert chi_square > 1.3 if beam else chi_square < 0.7


def test_monopole_and_dipole_are_not_known():
    hole = covariance().hole(hole_mask(17))
    level = torch.full((17, 17), 100.0)
    # A level that is the same all over is filled in as it is, to a few per cent.
    assert float((hole.fill(level) - level).abs().max()) < 5


def test_what_stands_in_the_hole_does_not_count():
    patch = covariance()
    hole = patch.hole(hole_mask(17))
    _, data = patch.draw(1, generator=rng())
    spoiled = torch.where(hole.seen, data, torch.nan)
    assert torch.equal(hole.fill(spoiled), hole.fill(data))
    with pytest.raises(ValueError, match=r"data, where seen, holds \d+ NaN"):
        hole.fill(torch.full((17, 17), torch.nan))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size must be a positive integer"),
        ({"size": 78}, "size must be at most 77"),
        ({"pixel_arcmin": 0.0}, "pixel_arcmin must be finite and positive"),
        ({"noise": -1.0}, "noise must be finite and not negative"),
        ({"beam_arcmin": "8"}, "beam_arcmin must be finite"),
        ({"cl": torch.ones(2)}, "cl must be at least 3"),
        ({"cl": -torch.ones(9)}, "none negative"),
        ({"pixel_window": torch.ones(10)}, "pixel_window must be"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        covariance(**options)


def test_without_noise_there_is_no_inverse_and_the_error_says_so():
    patch = covariance(noise=0.0, beam_arcmin=120.0)
    with pytest.raises(ValueError, match="noise must be larger"):
        patch.hole(hole_mask(17))


def test_masks_of_another_kind():
    patch = covariance(9)
    for mask, words in ((torch.ones(9, 9), "hides no pixel"), (torch.rand(9, 9), "must be hard")):
        with pytest.raises(ValueError, match=words):
            patch.hole(mask)
