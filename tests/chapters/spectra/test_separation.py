"""Cutting a picture into components, and measuring them: exact where the cut is true."""

import pytest
import torch

from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.separation import (
    RED,
    ComponentSeparation,
    SeparatedPhotometry,
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
    network = SpectrumNetwork(channels=(4, 4, 4, 4), hidden=8).eval()
    with torch.no_grad():
        found = network.fractions(scene[0])
    assert found.shape == (40, 3, 64, 64)
    assert (found >= 0).all()
    assert torch.allclose(found.sum(1), torch.ones(40, 64, 64), atol=1e-5)


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


def test_true_fractions_give_the_true_fluxes(scene):
    images, light, flux, _ = scene
    photometry = SeparatedPhotometry()
    found, _, _ = photometry.fluxes(images, fractions_of(light))
    # What lies inside the picture, of each component.
    inside = light.sum((2, 3)) / flux[..., RED]
    bright = (flux[..., RED] / flux[..., RED].sum(1, keepdim=True)) > 0.1
    ratio = found.transpose(1, 2) / (flux * inside[..., None])
    # One part in a hundred of the least and the greatest, where components lie on each other.
    assert (ratio[bright][:, RED] - 1).abs().max() < 0.03
    assert (ratio[bright][:, RED] - 1).abs().median() < 0.003
    # Other bands see another part of the wings, and the PSFs differ.
    assert (ratio[bright] - 1).abs().median() < 0.02
    assert (ratio[bright] - 1).abs().max() < 0.25


def test_a_wrong_cut_gives_wrong_fluxes(scene):
    images, light, _flux, _ = scene
    truth = fractions_of(light)
    swapped = truth[:, [1, 0, 2]]
    right, _, _ = SeparatedPhotometry().fluxes(images, truth)
    wrong, _, _ = SeparatedPhotometry().fluxes(images, swapped)
    assert torch.allclose(wrong[..., [1, 0, 2]], right, rtol=1e-3, atol=1e-2)


def test_the_covariance_is_that_of_the_noise(scene):
    images, light, _, _ = scene
    photometry = SeparatedPhotometry()
    row = slice(0, 1)
    truth = fractions_of(light)[row]
    noise = torch.tensor(SKY_NOISE)[:, None, None]
    clean, factor, _ = photometry.fluxes(images[row], truth)
    found = []
    for k in range(300):
        noisy = images[row] + noise * torch.randn(images[row].shape, generator=rng(k))
        # Templates without noise: what is tested is the least squares.
        noisy[:, RED] = images[row][:, RED]
        found.append(photometry.fluxes(noisy, truth)[0])
    away = torch.cat(found) - clean  # (300, 5, 3)
    white = torch.linalg.solve_triangular(factor[0], away.permute(1, 2, 0), upper=False)
    others = [0, 2, 3, 4]
    assert torch.allclose(white[others].std(2), torch.ones(4, 3), atol=0.15)


def test_fibre_fractions_are_those_of_the_oracle(scene):
    images, light, flux, fibre = scene
    _, _, found = SeparatedPhotometry().fluxes(images, fractions_of(light))
    bright = (flux[..., RED] / flux[..., RED].sum(1, keepdim=True)) > 0.2
    inside = light.sum((2, 3)) / flux[..., RED]
    assert (found * inside - fibre)[bright].abs().max() < 0.02


def test_numbers_are_of_order_one_and_finite_even_for_an_empty_picture(scene):
    images, light, flux, _ = scene
    photometry = SeparatedPhotometry()
    total = flux.sum(1)
    table = photometry(images, fractions_of(light), total)
    assert table.shape == (40, photometry.n_features)
    assert table.isfinite().all() and table.abs().max() < 40
    empty = photometry(torch.zeros(1, 5, 64, 64), torch.full((1, 3, 64, 64), 1 / 3), total[:1])
    assert empty.isfinite().all()


def test_the_inference_has_no_gradient_to_the_cut_in_training(scene):
    torch.manual_seed(0)
    network = SpectrumNetwork(channels=(4, 4, 4, 4), hidden=8)
    mean, _, fractions = network(scene[0], True)
    mean.sum().backward()
    assert all(parameter.grad is None for parameter in network.separation.parameters())
    fractions.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.separation.parameters())


def test_in_use_the_answer_depends_on_every_pixel_through_the_cut_too(scene):
    torch.manual_seed(0)
    network = SpectrumNetwork(channels=(4, 4, 4, 4), hidden=8).eval()
    images = scene[0][:2].clone().requires_grad_()
    network(images)[0].sum().backward()
    assert images.grad.isfinite().all() and (images.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize("channels", [0, -1, 1.5])
def test_channels_must_be_positive_integers(channels):
    with pytest.raises((TypeError, ValueError), match="in_channels"):
        ComponentSeparation(channels)
