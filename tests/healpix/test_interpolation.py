"""skytutor.healpix.interpolation against healpy, at all latitudes and on the poles."""

import math

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor.healpix import nside_to_npix, pixel_to_angle
from skytutor.healpix.interpolation import interpolate, interpolation_weights


def directions(nside, n=4000):
    """Directions all over the sphere, many of them beyond the last rings, and the poles."""
    rng = torch.Generator().manual_seed(nside)
    u = torch.rand(n, 2, generator=rng, dtype=torch.float64)
    theta = (2 * u[:, 0] - 1).acos()
    theta[: n // 8] = u[: n // 8, 0] * 0.7 / nside
    theta[n // 8 : n // 4] = math.pi - theta[: n // 8]
    theta[:2] = torch.tensor([0.0, math.pi], dtype=torch.float64)
    return theta, 12.6 * u[:, 1] - 6.3  # longitudes of more than a turn, and negative ones


@pytest.mark.parametrize("nside", [1, 2, 4, 64])
@pytest.mark.parametrize("order", ["ring", "nested"])
def test_values_are_healpys(nside, order):
    theta, phi = directions(nside)
    maps = torch.randn(nside_to_npix(nside), dtype=torch.float64)
    ours = interpolate(maps, theta=theta, phi=phi, nside=nside, order=order)
    theirs = hp.get_interp_val(maps.numpy(), theta.numpy(), phi.numpy(), nest=order == "nested")
    # A longitude near the edge of a pixel loses digits in proportion to the pixels of a ring.
    assert np.abs(ours.numpy() - theirs).max() < 1e-12


def given(pixels, weights, asked):
    """Return the weight that the pixels asked for, ``(n, k)``, get in each list."""
    same = asked[:, :, None] == pixels[:, None, :]
    return (same * weights[:, None, :]).sum(-1)


@pytest.mark.parametrize("nside", [1, 4, 64])
@pytest.mark.parametrize("order", ["ring", "nested"])
def test_weights_are_healpys(nside, order):
    """A pixel may stand twice in a list, in any place: compare what each pixel gets."""
    theta, phi = directions(nside)
    ours = interpolation_weights(theta, phi, nside=nside, order=order)
    theirs = hp.get_interp_weights(nside, theta.numpy(), phi.numpy(), nest=order == "nested")
    theirs = [torch.from_numpy(part.T) for part in theirs]
    for pixels in (ours[0], theirs[0]):
        assert float((given(*ours, pixels) - given(*theirs, pixels)).abs().max()) < 1e-11


def test_weights_are_a_mean():
    theta, phi = directions(8)
    pixels, weights = interpolation_weights(theta, phi, nside=8, order="nested")
    assert float(weights.min()) > -1e-13
    assert float((weights.sum(-1) - 1).abs().max()) < 1e-14
    assert int(pixels.min()) >= 0 and int(pixels.max()) < nside_to_npix(8)


def test_at_a_pixel_centre_stands_the_pixel():
    npix = nside_to_npix(16)
    theta, phi = pixel_to_angle(torch.arange(npix), nside=16, order="nested")
    maps = torch.randn(3, npix, dtype=torch.float64)
    found = interpolate(maps, theta=theta, phi=phi, nside=16, order="nested")
    assert float((found - maps).abs().max()) < 1e-11


def test_nan_spreads_to_its_neighbours_alone():
    maps = torch.zeros(nside_to_npix(8))
    maps[300] = torch.nan
    theta, phi = directions(8)
    pixels, _ = interpolation_weights(theta, phi, nside=8, order="ring")
    found = interpolate(maps, theta=theta, phi=phi, nside=8, order="ring")
    assert torch.equal(found.isnan(), (pixels == 300).any(-1)) and bool(found.isnan().any())


@pytest.mark.parametrize(
    ("theta", "phi", "words"),
    [
        (torch.tensor([4.0]), torch.tensor([0.0]), "theta must lie in 0..pi"),
        (torch.tensor([1.0]), torch.tensor([torch.nan]), "phi holds NaN"),
        (torch.tensor([1.0]), torch.zeros(2), "one shape"),
    ],
)
def test_bad_directions(theta, phi, words):
    with pytest.raises(ValueError, match=words):
        interpolation_weights(theta, phi, nside=4, order="ring")


def test_bad_maps():
    with pytest.raises(ValueError, match="48 pixels for nside 2"):
        interpolate(torch.ones(47), theta=torch.ones(1), phi=torch.ones(1), nside=2, order="ring")
    with pytest.raises(ValueError, match="order must be one of"):
        interpolate(torch.ones(48), theta=torch.ones(1), phi=torch.ones(1), nside=2, order="face")
