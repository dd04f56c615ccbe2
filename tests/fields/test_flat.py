"""Flat patches: variances, spectra measured back, the Laplacian, and bad input."""

import math

import pytest
import torch

from skytutor.fields.flat import FlatSky, band_powers, filter_maps, frequencies, laplacian

CL = 1e3 / torch.arange(1, 3001).double() ** 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def full_plane_mean(modes, size):
    """Return the mean over all modes, of which rfft2 leaves out nearly half."""
    twice = torch.full((size // 2 + 1,), 2.0).double()
    twice[0] = 1
    if size % 2 == 0:
        twice[-1] = 1
    return float((modes * twice).sum() / size**2)


@pytest.mark.parametrize("size", [15, 16])
def test_pixel_variance_is_the_mean_over_the_modes(size):
    sky = FlatSky(size, pixel_arcmin=20.0, cl=CL, beam_arcmin=30.0, noise=0.5)
    signal, data = sky.draw(4000, generator=generator())
    assert signal.var() == pytest.approx(full_plane_mean(sky.signal, size), rel=0.03)
    assert (data - signal).var() == pytest.approx(0.25, rel=0.01)
    assert full_plane_mean(sky.total - sky.signal, size) == pytest.approx(0.25)


def test_variance_of_a_large_patch_is_that_of_the_sphere():
    # 30 degrees of a spectrum without large-scale power: sum (2 l + 1) C_l / (4 pi).
    l = torch.arange(3001).double()
    cl = torch.exp(-(((l - 600) / 100) ** 2))
    sky = FlatSky(256, pixel_arcmin=7.0, cl=cl)
    on_sphere = float(((2 * l + 1) * cl).sum() / (4 * math.pi))
    assert full_plane_mean(sky.signal, 256) == pytest.approx(on_sphere, rel=0.01)


def test_spectrum_measured_back():
    sky = FlatSky(64, pixel_arcmin=10.0, cl=CL)
    signal, _ = sky.draw(400, generator=generator(1))
    edges = [200, 400, 700, 1000]
    measured = band_powers(signal, edges, pixel_arcmin=10.0).mean(0)
    for power, low, high in zip(measured, edges[:-1], edges[1:], strict=True):
        inside = (sky.l >= low) & (sky.l < high)
        # The mean of the spectrum over the modes of the band.
        expected = (sky.signal[inside] * (math.radians(1 / 6) ** 2)).mean()
        assert power == pytest.approx(float(expected), rel=0.05)


def test_window_divides_by_its_mean_square():
    sky = FlatSky(64, pixel_arcmin=10.0, cl=CL, noise=3.0)
    noise = torch.randn(300, 64, 64, generator=generator(2), dtype=torch.float64)
    window = torch.zeros(64, 64).double()
    window[10:30, 20:50] = 1
    powers = band_powers(noise, [100, 600, 1000], pixel_arcmin=10.0, window=window).mean(0)
    assert torch.allclose(powers, torch.tensor(math.radians(1 / 6) ** 2).double(), rtol=0.03)
    assert sky.noise == 3.0


def test_constant_mode_has_the_power_of_the_longest_wave():
    cl = torch.arange(500.0).double()
    sky = FlatSky(8, pixel_arcmin=60.0, cl=cl)
    # Eight degrees: a wave of 45 periods around the sky.
    assert sky.signal[0, 0] == pytest.approx(45 / math.radians(1) ** 2)
    assert sky.signal[0, 0] == sky.signal[0, 1]


@pytest.mark.parametrize("size", [7, 8])
def test_laplacian_is_the_stencil(size):
    maps = torch.randn(size, size, generator=generator(3), dtype=torch.float64)
    shifted = sum(maps.roll(step, axis) for axis in (0, 1) for step in (-1, 1))
    stencil = 4 * maps - shifted
    assert torch.allclose(filter_maps(maps, laplacian(size)), stencil)
    twice = 4 * stencil - sum(stencil.roll(s, axis) for axis in (0, 1) for s in (-1, 1))
    assert torch.allclose(filter_maps(maps, laplacian(size, 2)), twice)


def test_a_wave_has_the_multipole_of_its_mode():
    size, pixel = 32, 12.0
    x = torch.arange(size).double()
    wave = torch.cos(2 * math.pi * 5 * x / size).expand(size, size)
    modes = torch.fft.rfft2(wave).abs()
    ky, kx = frequencies(size, pixel_arcmin=pixel)
    row, column = divmod(int(modes.argmax()), size // 2 + 1)
    # Five waves over the patch.
    wanted = 5 * 360 / (size * pixel / 60)
    assert math.hypot(float(ky[row, 0]), float(kx[0, column])) == pytest.approx(wanted)


def test_filter_keeps_precision_and_gradient():
    maps = torch.randn(2, 8, 8, requires_grad=True)
    response = laplacian(8)
    out = filter_maps(maps, response)
    assert out.dtype == torch.float32
    out.square().sum().backward()
    # A symmetric filter is its own transpose.
    expected = 2 * filter_maps(filter_maps(maps.detach(), response), response)
    assert torch.allclose(maps.grad, expected, rtol=1e-4, atol=1e-4)


BAD = {
    "one pixel": (lambda: FlatSky(1, pixel_arcmin=1.0, cl=CL), "size must be at least 2"),
    "text as size": (lambda: FlatSky("8", pixel_arcmin=1.0, cl=CL), "size must be an integer"),
    "no pixel": (lambda: FlatSky(8, pixel_arcmin=0.0, cl=CL), "pixel_arcmin must be finite and p"),
    "negative beam": (
        lambda: FlatSky(8, pixel_arcmin=1.0, cl=CL, beam_arcmin=-1.0),
        "beam_arcmin must be finite and not negative, got -1",
    ),
    "NaN noise": (
        lambda: FlatSky(8, pixel_arcmin=1.0, cl=CL, noise=math.nan),
        "noise must be finite and not negative, got nan",
    ),
    "negative spectrum": (lambda: FlatSky(8, pixel_arcmin=1.0, cl=-CL), "cl must be at least 3"),
    "short spectrum": (lambda: FlatSky(8, pixel_arcmin=1.0, cl=CL[:2]), r"got shape \(2,\)"),
    "no noise": (
        lambda: FlatSky(64, pixel_arcmin=3.0, cl=CL[:100]).precision,
        "noise must be larger, got 0",
    ),
    "edges that fall": (
        lambda: band_powers(torch.zeros(8, 8), [300, 200], pixel_arcmin=1.0),
        "two increasing multipoles, got \\[300.0, 200.0\\]",
    ),
    "empty band": (
        lambda: band_powers(torch.zeros(8, 8), [1, 2], pixel_arcmin=1.0),
        "no mode of a 8 x 8 patch lies in 1..2",
    ),
    "power 0": (lambda: laplacian(8, 0), "power must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    attempt, message = BAD[case]
    with pytest.raises((TypeError, ValueError), match=message):
        attempt()


def test_a_response_of_another_size_or_maps_of_whole_numbers():
    with pytest.raises(ValueError, match=r"response \(..., H, H // 2 \+ 1\), got shapes"):
        filter_maps(torch.ones(8, 8), torch.ones(8, 8))
    # The response, below 1, would become 0.
    with pytest.raises(TypeError, match=r"maps must be real .* numbers, got torch\.int64"):
        filter_maps(torch.ones(8, 8, dtype=torch.int64), torch.full((8, 5), 0.5))


def test_band_powers_of_what_cannot_be_measured():
    maps = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    given = {"edges": [0, 1000], "pixel_arcmin": 7.0}
    with pytest.raises(ValueError, match="window is 0 everywhere"):
        band_powers(maps, window=torch.zeros(16, 16), **given)
    with pytest.raises(ValueError, match=r"window must be \(..., 16, 16\)"):
        band_powers(maps, window=torch.ones(8, 8), **given)
    with pytest.raises(ValueError, match=r"maps holds \d+ NaN"):
        band_powers(maps * torch.nan, **given)
    with pytest.raises(ValueError, match="window holds"):
        band_powers(maps, window=torch.full((16, 16), torch.nan), **given)
    window = torch.ones(16, 16, dtype=torch.bool)
    window[:4] = False
    spoiled = torch.where(window, maps, torch.nan)
    assert torch.equal(
        band_powers(spoiled, window=window, **given), band_powers(maps, window=window, **given)
    )
    spoiled[5, 2] = -1.6375e27
    with pytest.raises(ValueError, match=r"maps holds 1 UNSEEN.*pixel \(5, 2\)"):
        band_powers(spoiled, window=window, **given)
    hard = band_powers(maps, window=window, **given)
    assert torch.equal(hard, band_powers(maps, window=window.float(), **given))


def test_modes_below_the_rounding_of_the_others_have_no_precision():
    # Under a beam of nine pixels and without noise, not 0 but of no use.
    sky = FlatSky(16, pixel_arcmin=7.0, cl=torch.ones(3000), beam_arcmin=60.0)
    assert float(sky.total.min()) > 0
    with pytest.raises(ValueError, match="noise must be larger, got 0"):
        _ = sky.precision
