"""Turning maps by any rotation, and the frame that turns with the sky."""

import math

import healpy
import numpy as np
import pytest
import torch

from skytutor import healpix
from skytutor.data import digits, projection
from skytutor.layers.rotate import Rotate, principal_frame


def about_z(degrees):
    c = math.cos(math.radians(degrees))
    s = math.sin(math.radians(degrees))
    return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)


def smooth_maps(nside, order, count=3, seed=0):
    """Low polynomials of the direction: smooth, and known at every point of the sphere."""
    v = healpix.pixel_to_vector(torch.arange(12 * nside**2), nside=nside, order=order)
    w = torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.einsum("pi,kij,pj->kp", v, w, v).unsqueeze(1).float(), v, w


@pytest.mark.parametrize("order", ["ring", "nested"])
@pytest.mark.parametrize("nside", [16, 32])
def test_a_smooth_map_lands_where_the_rotation_says(nside, order):
    maps, v, w = smooth_maps(nside, order)
    rotations = projection.random_rotations(3, generator=torch.Generator().manual_seed(1))
    turned = Rotate(nside, order=order)(maps, rotations).squeeze(1)
    back = torch.einsum("pi,bij->bpj", v, rotations)  # R^-1 v
    expected = torch.einsum("bpi,bij,bpj->bp", back, w, back).float()
    # Nine points around a place that is not their centre: off by less than a tenth of what the map
    # changes in a pixel.
    steepest = (w + w.mT).flatten(1).norm(dim=1)
    assert ((turned - expected).abs().amax(1) < 0.1 * healpix.resolution(nside) * steepest).all()


def test_a_quarter_turn_about_the_poles_keeps_what_a_smoothing_keeps():
    maps, _, _ = smooth_maps(8, "nested")
    same, quarter = (Rotate(8, order="nested")(maps, about_z(a).expand(3, 3, 3)) for a in (0, 90))
    faces = same.unflatten(2, (3, 4, 64)).roll(1, 3).flatten(2)
    assert float((quarter - faces).abs().max()) < 1e-5


@pytest.mark.parametrize("to_nside", [2, 8, 16])
def test_constants_stay_and_no_value_leaves_the_range(to_nside):
    layer = Rotate(8, to_nside=to_nside, order="nested")
    rotations = projection.random_rotations(2, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(layer(torch.full((2, 1, 768), 3.0), rotations), torch.tensor(3.0))
    noise = torch.rand(2, 4, 768)
    out = layer(noise, rotations)
    assert out.shape == (2, 4, 12 * to_nside**2)
    assert float(noise.min()) <= float(out.min()) and float(out.max()) <= float(noise.max())


def test_the_centre_agrees_with_healpys_dipole():
    maps = torch.rand(2, 1, 768) ** 4
    frames = principal_frame(maps, nside=8, order="ring")
    for k in range(2):
        weighted = np.array(healpy.pix2vec(8, np.arange(768))) @ maps[k, 0].double().numpy()
        assert np.allclose(frames[k, 0], weighted / np.linalg.norm(weighted), atol=1e-10)


def test_frames_are_rotations_and_turn_with_the_sky():
    images = digits.load("embedded").images[:20]
    generator = torch.Generator().manual_seed(3)
    first, second = (projection.random_rotations(20, generator=generator) for _ in range(2))
    one, two = (
        projection.project(images, nside=32, size_deg=150, rotations=r, order="nested")
        for r in (first, second)
    )
    f = principal_frame(one, nside=32, order="nested")
    g = principal_frame(two, nside=32, order="nested")
    for frame in (f, g):
        assert torch.allclose(frame @ frame.mT, torch.eye(3, dtype=torch.float64), atol=1e-10)
        assert torch.allclose(torch.linalg.det(frame), torch.ones(20, dtype=torch.float64))
    # F(R sky) R = F(sky), up to the half turn that is left open.
    back = f @ first
    forth = g @ second
    half = torch.diag(torch.tensor([1.0, -1.0, -1.0])).double()
    apart = torch.minimum(
        (back - forth).abs().amax((1, 2)), (back - half @ forth).abs().amax((1, 2))
    )
    assert float(apart.median()) < 0.01 and float(apart.quantile(0.9)) < 0.1


def test_directions_keep_their_precision_under_autocast():
    """A rounding to bfloat16 would move the places by up to a fifth of a degree."""
    maps, _, _ = smooth_maps(32, "nested")
    rotations = projection.random_rotations(3, generator=torch.Generator().manual_seed(1))
    layer = Rotate(32, order="nested")
    with torch.autocast("cpu", torch.bfloat16):
        under = layer(maps, rotations)
    assert torch.equal(under, layer(maps, rotations))


def test_bad_input_is_named():
    layer = Rotate(8, order="nested")
    with pytest.raises(ValueError, match=r"rotations must be \(2, 3, 3\), got \(1, 3, 3\)"):
        layer(torch.rand(2, 1, 768), torch.eye(3).unsqueeze(0))
    with pytest.raises(ValueError, match="order must be one of 'ring', 'nested', got 'nest'"):
        Rotate(8, order="nest")
    with pytest.raises(ValueError, match="maps must have a centre of mass"):
        principal_frame(torch.zeros(1, 1, 768), nside=8, order="nested")
    with pytest.raises(ValueError, match="must not be negative"):
        principal_frame(-torch.rand(1, 1, 768), nside=8, order="nested")
    with pytest.raises(ValueError, match="NaN or infinite"):
        principal_frame(torch.full((1, 1, 768), torch.nan), nside=8, order="nested")
