"""skytutor.layers.polar: rings around a map's own centre; a rotation shifts their columns."""

import math

import pytest
import torch
import torch.nn.functional as F

from skytutor import healpix
from skytutor.data import digits, projection
from skytutor.layers.polar import CircularConv2d, PolarResample, ring_directions
from skytutor.layers.rotate import Sample


def about_x(degrees):
    c = math.cos(math.radians(degrees))
    s = math.sin(math.radians(degrees))
    return torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]], dtype=torch.float64)


def test_rings_lie_where_the_docstring_says():
    there = ring_directions(6, 8, reach_deg=60).view(6, 8, 3)
    torch.testing.assert_close(there.norm(dim=2), torch.ones(6, 8, dtype=torch.float64))
    away = torch.rad2deg(there[..., 0].acos())
    torch.testing.assert_close(away, torch.arange(5, 60, 10.0).double()[:, None].expand(6, 8))
    north = there[2, 0]
    east = there[2, 2]
    assert float(north[2]) > 0 and float(north[1].abs()) < 1e-12
    assert float(torch.atan2(east[1], east[0])) > 0 and float(east[2].abs()) < 1e-12


@pytest.mark.parametrize("steps", [1, 5, 16])
def test_a_turn_about_the_centre_shifts_the_columns(steps):
    """Turning by k columns shifts by k, up to interpolation, which changes a smooth map little."""
    v = healpix.pixel_to_vector(torch.arange(12 * 32**2), nside=32, order="nested")
    maps = (v @ torch.tensor([0.3, -0.5, 0.8]).double()).square().view(1, 1, -1).float()
    sample = Sample(ring_directions(12, 32, reach_deg=90), nside=32, order="nested")
    still, turned = (
        sample(maps, about_x(-a).unsqueeze(0)).view(12, 32) for a in (0, 360 / 32 * steps)
    )
    # About x from y to z is from east to north: columns count the other way.
    torch.testing.assert_close(turned.roll(-steps, 1), still, rtol=0, atol=0.01)
    assert float((turned - still).abs().max()) > 0.05, "the map itself is not symmetric"


def test_the_wrapped_convolution_commutes_with_shifts_and_is_conv2d_inside():
    conv = CircularConv2d(3, 5)
    pictures = torch.randn(2, 3, 6, 10)
    out = conv(pictures)
    for shift in (1, 4, 9):
        torch.testing.assert_close(
            conv(pictures.roll(shift, 3)), out.roll(shift, 3), rtol=0, atol=1e-5
        )
    plain = F.conv2d(pictures, conv.conv.weight)
    torch.testing.assert_close(out[:, :, 1:-1, 1:-1], plain, rtol=0, atol=1e-5)


def test_the_wrapped_convolution_has_the_gradient_of_a_padded_one():
    conv = CircularConv2d(2, 3).double()
    pictures = torch.randn(2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, pictures)
    padded = F.pad(pictures, (1, 1, 0, 0), mode="circular")
    plain = F.conv2d(padded, conv.conv.weight, padding=(1, 0))
    torch.testing.assert_close(conv(pictures), plain)
    seed = torch.randn_like(plain)
    ours, theirs = (torch.autograd.grad(out, pictures, seed)[0] for out in (conv(pictures), plain))
    torch.testing.assert_close(ours, theirs)


def test_pictures_of_a_turned_sky_agree_up_to_the_half_turn():
    images = digits.load("embedded").images[:20]
    generator = torch.Generator().manual_seed(3)
    projector = projection.Projector(32, size_deg=150, order="nested")
    resample = PolarResample(32, rings=12, columns=32, order="nested")
    rotations = [projection.random_rotations(20, generator=generator) for _ in range(2)]
    one, two = (resample(projector(images, rotations=r)) for r in rotations)

    def rms(difference):
        return difference.square().mean((1, 2, 3)).sqrt()

    apart = torch.minimum(rms(one - two), rms(one - two.roll(16, 3)))
    unlike = rms(one - two.roll(1, 0))  # pictures of different digits
    assert float(apart.median()) < 0.02 and float(apart.median()) < 0.1 * float(unlike.median())


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"reach_deg must lie in \(0, 180\], got 0"):
        ring_directions(4, 8, reach_deg=0)
    with pytest.raises(ValueError, match="rings must be a positive integer, got 0"):
        ring_directions(0, 8, reach_deg=90)
    with pytest.raises(ValueError, match=r"directions must be a tensor \(Q, 3\), got \(4, 2\)"):
        Sample(torch.zeros(4, 2), nside=8, order="nested")
    with pytest.raises(ValueError, match="NaN or infinite"):
        PolarResample(8, rings=4, columns=8, order="nested")(torch.full((1, 1, 768), torch.nan))
    with pytest.raises(ValueError, match="maps must have a centre of mass"):
        PolarResample(8, rings=4, columns=8, order="nested")(torch.zeros(1, 1, 768))
