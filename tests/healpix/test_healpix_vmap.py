"""Pixel numbers and directions under `torch.func.vmap`: what a loop gives, and what it refuses."""

import pytest
import torch

from skytutor import healpix
from skytutor.healpix.interpolation import interpolation_weights
from skytutor.healpix.tangent import patch_vectors

SIZES = {"nside": 4, "order": "nested"}
RNG = torch.Generator().manual_seed(0)
THETA = torch.rand(3, 5, generator=RNG, dtype=torch.float64) * 3
PHI = torch.rand(3, 5, generator=RNG, dtype=torch.float64) * 7
PIXELS = torch.randint(192, (3, 5), generator=RNG)
MAPS = torch.randn(3, 192, generator=RNG, dtype=torch.float64)
FUNCTIONS = {
    "angle_to_pixel": (lambda t, p: healpix.angle_to_pixel(t, p, **SIZES), (THETA, PHI)),
    "vector_to_pixel": (
        lambda t, p: healpix.vector_to_pixel(torch.stack([t, p, t - p], -1), **SIZES),
        (THETA, PHI),
    ),
    "pixel_to_vector": (lambda pix: healpix.pixel_to_vector(pix, **SIZES), (PIXELS,)),
    "neighbours": (lambda pix: healpix.neighbours(pix, **SIZES), (PIXELS,)),
    "nested_to_ring": (lambda pix: healpix.nested_to_ring(pix, nside=4), (PIXELS,)),
    "ring_to_nested": (lambda pix: healpix.ring_to_nested(pix, nside=4), (PIXELS,)),
    "interpolation_weights": (lambda t, p: interpolation_weights(t, p, **SIZES)[1], (THETA, PHI)),
    "interpolate": (
        lambda m, t, p: healpix.interpolate(m, theta=t, phi=p, **SIZES),
        (MAPS, THETA, PHI),
    ),
    "patch_vectors": (
        lambda t, p: patch_vectors(3, pixel_arcmin=60.0, lon_deg=p, lat_deg=t),
        (THETA, PHI),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_batch_is_a_loop(name):
    function, inputs = FUNCTIONS[name]
    found = torch.func.vmap(function)(*inputs)
    assert torch.equal(found, torch.stack([function(*one) for one in zip(*inputs, strict=True)]))


@pytest.mark.parametrize(
    ("name", "place", "bad", "message"),
    [
        ("angle_to_pixel", 0, 4.0, "theta must lie in"),
        ("angle_to_pixel", 1, torch.nan, "theta and phi must be finite"),
        ("pixel_to_vector", 0, 192, r"pix must lie in 0\.\.191"),
        ("interpolate", 1, -0.1, "theta must lie in"),
        ("patch_vectors", 0, 91.0, "lat_deg must lie in"),
    ],
)
def test_one_bad_value_of_a_batch_is_refused(name, place, bad, message):
    function, inputs = FUNCTIONS[name]
    inputs = [values.clone() for values in inputs]
    inputs[place][1, 2] = bad
    with pytest.raises(ValueError, match=message):
        torch.func.vmap(function)(*inputs)
