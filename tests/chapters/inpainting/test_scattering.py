"""skytutor.chapters.inpainting.scattering: stable features, against closed forms."""

import math

import pytest
import torch

from skytutor.chapters.inpainting.scattering import (
    Scattering,
    gaussian_response,
    morlet_response,
)

SIZE = 32


def skies(n=8, *, seed=0, smoothing=1.5):
    """Return Gaussian pictures of one spectrum, rms about 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, SIZE, SIZE, generator=generator)
    response = gaussian_response(SIZE, width=smoothing).float()
    maps = torch.fft.ifft2(torch.fft.fft2(noise) * response).real
    return maps / maps.square().mean().sqrt()


def distance(one, two):
    return float((one - two).square().sum().sqrt())


@pytest.mark.parametrize("width", [1.0, 2.0, 4.0])
def test_the_low_pass_is_a_gaussian_on_the_pixels(width):
    pixels = torch.fft.ifft2(gaussian_response(64, width=width)).real
    x = torch.fft.fftfreq(64, 1 / 64, dtype=torch.float64)
    expected = (-0.5 * (x / width) ** 2).exp()
    expected = expected / expected.sum()
    torch.testing.assert_close(pixels, expected[:, None] * expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2])
def test_a_wavelet_is_a_plane_wave_under_a_gaussian(angle):
    width, frequency = 3.0, 0.8
    response = morlet_response(64, width=width, frequency=frequency, angle=angle)
    assert abs(float(response[0, 0])) < 1e-15
    x = torch.fft.fftfreq(64, 1 / 64, dtype=torch.float64)
    y, x = torch.meshgrid(x, x, indexing="ij")
    phase = frequency * (math.cos(angle) * x + math.sin(angle) * y)
    envelope = (-0.5 * (x**2 + y**2) / width**2).exp() / (2 * math.pi * width**2)
    mean = math.exp(-0.5 * (width * frequency) ** 2)
    expected = (torch.exp(1j * phase) - mean) * envelope
    torch.testing.assert_close(torch.fft.ifft2(response + 0j), expected, rtol=0, atol=1e-8)


def test_a_constant_is_seen_by_the_low_pass_alone():
    scattering = Scattering(SIZE, scales=2)
    out = scattering(torch.full((1, SIZE, SIZE), 3.0))
    first = float(out[0, 0, 0, 0])
    assert first == pytest.approx(3.0 * float(scattering.low_pass[0, 0]), rel=1e-5)
    assert first > 2.4
    assert out[:, 1:].abs().max() < 1e-5


def test_a_plane_wave_excites_its_own_scale_and_direction():
    scattering = Scattering(64, scales=3, orientations=4)
    x = torch.arange(64.0)
    # 12 waves across: 1.18 radians a pixel, the frequency of the second width
    wave = torch.cos(2 * math.pi * 12 * x / 64).expand(64, 64)
    for maps, direction in ((wave, 0), (wave.T, 2)):
        first = scattering(maps[None])[0, 1:13].mean((1, 2)).reshape(3, 4)
        assert divmod(int(first.argmax()), 4) == (1, direction)


@pytest.mark.parametrize("shift", [(4, 8), (16, -4)])
def test_a_shift_by_whole_samples_shifts_the_features(shift):
    scattering = Scattering(SIZE, scales=2)
    maps = skies()
    moved = scattering(maps.roll(shift, (1, 2)))
    expected = scattering(maps).roll([s // 4 for s in shift], (2, 3))
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


def test_their_mean_over_the_picture_hardly_depends_on_any_shift():
    scattering = Scattering(SIZE, scales=3)
    maps = skies()
    features = scattering(maps).mean((2, 3))
    for shift in ((1, 0), (3, 5), (2, 7)):
        moved = scattering(maps.roll(shift, (1, 2))).mean((2, 3))
        # 0.04 of the low-pass is left at the frequency that looks constant on every 8th pixel
        assert distance(moved, features) < 0.04 * float(features.norm())
        # the picture itself is another one
        assert distance(maps.roll(shift, (1, 2)), maps) > 0.3 * float(maps.norm())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scales", [1, 2, 3])
def test_a_difference_never_grows(scales, seed):
    scattering = Scattering(SIZE, scales=scales)
    one = skies(seed=2 * seed)
    for two in (skies(seed=2 * seed + 1), 1.1 * one, one + 0.1 * torch.randn(one.shape)):
        assert distance(scattering(one), scattering(two)) <= distance(one, two)


def test_a_small_deformation_changes_little():
    """Stretch by 5 %: pixels of fine waves change outright, features by the deformation's size."""
    scattering = Scattering(64, scales=3)
    x = torch.arange(64.0)
    bent = x + 1.0 * torch.sin(2 * math.pi * x / 64)
    wave = torch.cos(2 * math.pi * 20 * x / 64).expand(1, 64, 64).clone()
    other = torch.cos(2 * math.pi * 20 * bent / 64).expand(1, 64, 64).clone()
    pixels = distance(wave, other) / float(wave.norm())
    one, two = scattering(wave), scattering(other)
    features = distance(one, two) / float(one.norm())
    assert pixels > 0.8
    assert features < 0.3


def test_orders_tell_textures_of_one_spectrum_apart():
    """The spectrum does not see whether power is spread out or gathered in one place."""
    scattering = Scattering(SIZE, scales=3, orientations=4)
    gaussian = skies(64)
    # the same modulus in Fourier space, all phases 0: one spike
    modulus = torch.fft.fft2(gaussian).abs().square().mean(0).sqrt()
    spike = torch.fft.ifft2(modulus).real[None]
    spectra = [torch.fft.fft2(maps).abs().square().mean(0) for maps in (gaussian, spike)]
    torch.testing.assert_close(spectra[0], spectra[1], rtol=1e-3, atol=1e-2)
    ratios = []
    for maps in (gaussian, spike):
        features = scattering(maps).mean((0, 2, 3))
        ratios.append(float(features[13:].sum() / features[1:13].sum()))
    assert ratios[1] > 1.2 * ratios[0]


def test_gradients_reach_the_picture():
    scattering = Scattering(8, scales=1, orientations=2).double()
    maps = torch.randn(2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(scattering, maps.requires_grad_())


def test_shapes_and_bad_sizes():
    scattering = Scattering(SIZE, scales=3, orientations=3)
    assert scattering(torch.zeros(2, SIZE, SIZE)).shape == (2, scattering.features, 4, 4)
    assert scattering.features == 1 + 9 + 27
    with pytest.raises(ValueError, match="size must be a multiple of 2\\*\\*scales = 8, got 20"):
        Scattering(20, scales=3)
    with pytest.raises(ValueError, match="scales must be a positive integer, got 0"):
        Scattering(16, scales=0)
    with pytest.raises(ValueError, match=r"maps must be \(B, 32, 32\), got \(2, 1, 32, 32\)"):
        scattering(torch.zeros(2, 1, SIZE, SIZE))
