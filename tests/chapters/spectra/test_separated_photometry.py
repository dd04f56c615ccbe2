"""Fluxes, errors and fibre fractions of components: exact where the cut is true."""

import pytest
import torch

from skytutor.chapters.spectra.measurement import SeparatedPhotometry
from skytutor.chapters.spectra.separation import RED, Separation
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


def true_cut(light):
    return Separation(fractions_of(light), light.clamp(min=0).sum(1))


def test_a_true_cut_gives_the_true_fluxes(scene):
    images, light, flux, _ = scene
    photometry = SeparatedPhotometry()
    found, _, _ = photometry.fluxes(images, true_cut(light).components)
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
    truth = true_cut(light).components
    swapped = truth[:, [1, 0, 2]]
    right, _, _ = SeparatedPhotometry().fluxes(images, truth)
    wrong, _, _ = SeparatedPhotometry().fluxes(images, swapped)
    assert torch.allclose(wrong[..., [1, 0, 2]], right, rtol=1e-3, atol=1e-2)


def test_the_light_of_a_cut_makes_the_templates_and_the_image_the_fluxes(scene):
    """Half the light gives the same templates, for they have unit flux; half the image half."""
    images, light, _, _ = scene
    photometry = SeparatedPhotometry()
    components = true_cut(light).components
    whole, factor, fibre = photometry.fluxes(images, components)
    same, same_factor, same_fibre = photometry.fluxes(images, components / 2)
    bright = components.sum((2, 3)).min(1).values > 0.1
    assert bright.sum() > 10
    assert torch.allclose(same[bright], whole[bright], rtol=1e-3, atol=1e-3)
    assert torch.allclose(same_factor[bright], factor[bright], rtol=1e-3, atol=1e-4)
    assert torch.allclose(same_fibre[bright], fibre[bright], atol=1e-4)
    half, _, _ = photometry.fluxes(images / 2, components)
    assert torch.allclose(half, whole / 2, rtol=1e-4, atol=1e-4)


def test_the_covariance_is_that_of_the_noise(scene):
    images, light, _, _ = scene
    photometry = SeparatedPhotometry()
    row = slice(0, 1)
    # Templates without noise: what is tested is the least squares.
    truth = true_cut(light).components[row]
    noise = torch.tensor(SKY_NOISE)[:, None, None]
    clean, factor, _ = photometry.fluxes(images[row], truth)
    found = []
    for k in range(300):
        noisy = images[row] + noise * torch.randn(images[row].shape, generator=rng(k))
        found.append(photometry.fluxes(noisy, truth)[0])
    away = torch.cat(found) - clean  # (300, 5, 3)
    white = torch.linalg.solve_triangular(factor[0], away.permute(1, 2, 0), upper=False)
    assert torch.allclose(white.std(2), torch.ones(5, 3), atol=0.15)


def test_fibre_fractions_are_those_of_the_oracle(scene):
    images, light, flux, fibre = scene
    _, _, found = SeparatedPhotometry().fluxes(images, true_cut(light).components)
    bright = (flux[..., RED] / flux[..., RED].sum(1, keepdim=True)) > 0.2
    inside = light.sum((2, 3)) / flux[..., RED]
    assert (found * inside - fibre)[bright].abs().max() < 0.02


def test_numbers_are_of_order_one_and_finite_even_for_an_empty_picture(scene):
    images, light, flux, _ = scene
    photometry = SeparatedPhotometry()
    total = flux.sum(1)
    table = photometry(images, true_cut(light), total)
    assert table.shape == (40, photometry.n_features)
    assert table.isfinite().all() and table.abs().max() < 40
    nothing = Separation(torch.full((1, 3, 64, 64), 1 / 3), torch.zeros(1, 64, 64))
    empty = photometry(torch.zeros(1, 5, 64, 64), nothing, total[:1])
    assert empty.isfinite().all()
