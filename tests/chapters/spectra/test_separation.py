"""Cutting a picture into components, and how wrong a cut is."""

import pytest
import torch

from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.separation import (
    RED,
    ComponentSeparation,
    Separation,
    light_loss,
    separation_loss,
)
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def scene():
    """Return 40 galaxies: images without noise, r-band components, true fluxes, fibre fractions."""
    simulator = GalaxySimulator()
    galaxies = simulator.draw(40, generator=rng(3))
    planes = simulator.renderer.planes(galaxies.shapes)
    flux = simulator.fluxes(galaxies)
    light = simulator.renderer.component_images(planes, band=RED) * flux[..., RED, None, None]
    images = simulator.images(galaxies, planes=planes)
    return images, light, flux, simulator.renderer.fibre(planes)


def fractions_of(light):
    light = light.clamp(min=0)
    return light / light.sum(1, keepdim=True).clamp(min=1e-12)


def test_fractions_add_up_to_one_and_are_not_negative(scene):
    torch.manual_seed(0)
    network = MeasurementNetwork(channels=(4, 4, 4, 4)).eval()
    with torch.no_grad():
        found = network.separate(scene[0]).fractions
    assert found.shape == (40, 3, 64, 64)
    assert (found >= 0).all()
    assert torch.allclose(found.sum(1), torch.ones(40, 64, 64), atol=1e-5)


def test_components_are_the_parts_of_the_light(scene):
    _, light, _, _ = scene
    cut = Separation(fractions_of(light), light.clamp(min=0).sum(1))
    assert torch.allclose(cut.components, light.clamp(min=0), atol=1e-4)


def test_the_loss_is_zero_for_the_truth_and_for_nothing_else(scene):
    _, light, _, _ = scene
    truth = fractions_of(light)
    assert separation_loss(truth, light).abs().max() < 1e-4
    other = torch.full_like(truth, 1 / 3)
    assert (separation_loss(other, light) > 0.05).all()
    # The wrong names of the right cut are wrong.
    assert (separation_loss(truth.roll(1, dims=1), light) > 0.5).all()


def test_dark_pixels_do_not_count(scene):
    _, light, _, _ = scene
    dark = light.clone()
    dark[..., :20] = 0
    guess = fractions_of(light)
    guess[..., :20] = 1 / 3
    assert separation_loss(guess, dark).abs().max() < 1e-3


def test_the_loss_of_the_light_counts_in_variances_of_the_sky(scene):
    _, light, _, _ = scene
    truth = light.sum(1)
    assert light_loss(truth, light).abs().max() == 0
    noise = SKY_NOISE[RED] * torch.randn(truth.shape, generator=rng())
    # 4,096 pixels each: a standard deviation of 2 per cent
    assert (light_loss(truth + noise, light) - 1).abs().max() < 0.1
    assert torch.allclose(light_loss(truth + 3 * SKY_NOISE[RED], light), torch.full((40,), 9.0))
    # Names of the components do not matter.
    assert torch.allclose(
        light_loss(truth + noise, light.roll(1, dims=1)), light_loss(truth + noise, light)
    )


@pytest.mark.parametrize("channels", [0, -1, 1.5])
def test_channels_must_be_positive_integers(channels):
    with pytest.raises((TypeError, ValueError), match="in_channels"):
        ComponentSeparation(channels)
