"""The chapter's network: what its fixed windows measure, and what its answers must obey."""

import math

import pytest
import torch

from skytutor.chapters.spectra.networks import ApertureFluxes, ScaledImages, SpectrumNetwork
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    simulator = GalaxySimulator()
    return simulator.images(simulator.draw(12, generator=rng()), generator=rng(1))


@pytest.fixture
def network():
    return SpectrumNetwork(channels=(4, 4, 8, 8), hidden=16).eval()


def profile(flux=100.0):
    """Return an image with the same Gaussian profile in every band, 1.5 arcsec wide."""
    place = (torch.arange(64) - 31.5) * 0.25
    shape = torch.exp(-(place**2 + place[:, None] ** 2) / 2 / 1.5**2)
    return (flux * shape / shape.sum()).expand(1, 5, -1, -1).clone()


def test_windows_are_circles_of_the_radii_they_stand_for():
    fluxes = ApertureFluxes()
    areas = fluxes.windows.sum((1, 2)) * 0.25**2
    for area, radius in zip(areas.tolist(), (0.5, 0.8, 1.1, 1.5, 2.0), strict=False):
        assert area == pytest.approx(math.pi * radius**2, rel=0.03)
    assert (fluxes.windows.diff(dim=0) >= 0).all()


def test_total_flux_and_r_magnitude_are_those_of_the_image():
    found, total = ApertureFluxes()(profile(100.0))
    assert total[0].tolist() == pytest.approx([100.0] * 5, rel=1e-3)
    # 22.5 - 2.5 log10(100), without the zero point of 22.5.
    assert float(found[0, 0]) == pytest.approx(-5, abs=2e-3)


def test_a_brighter_galaxy_has_another_magnitude_and_the_same_colours():
    fluxes = ApertureFluxes()
    bright = profile(1000.0) * torch.tensor([0.4, 1, 1.5, 1.8, 2.0])[:, None, None]
    before, _ = fluxes(bright)
    after, _ = fluxes(bright * 10**0.4)
    assert float(after[0, 0] - before[0, 0]) == pytest.approx(-1, abs=1e-4)
    assert torch.allclose(after[0, 1:], before[0, 1:], atol=2e-3)
    # g - r of a galaxy with 0.4 of r's light in g
    assert float(before[0, 1]) == pytest.approx(-2.5 * math.log10(0.4), abs=2e-3)


def test_what_is_measured_does_not_depend_on_how_the_galaxy_lies(images):
    fluxes = ApertureFluxes()
    found, _ = fluxes(images)
    for turned in (images.rot90(1, (2, 3)), images.flip(3), images.mT):
        assert torch.allclose(fluxes(turned)[0], found, atol=1e-3)


def test_faint_and_negative_light_has_finite_magnitudes():
    fluxes = ApertureFluxes()
    for flux in (0.0, -5.0, 1e-6, 1e6):
        found, _ = fluxes(profile(flux))
        assert bool(found.isfinite().all())


def test_channels_of_change_are_zero_where_all_bands_share_a_profile():
    same = profile(100.0) * torch.tensor([0.4, 1, 1.5, 1.8, 2.0])[:, None, None]
    _, total = ApertureFluxes()(same)
    channels = ScaledImages()(same, total)
    assert channels.shape[1] == 10
    assert channels[:, 5:9].abs().max() < 1e-3
    other = same.clone()
    other[:, 0, 40, 40] += 20 * SKY_NOISE[0]
    changed = ScaledImages()(other, ApertureFluxes()(other)[1])
    assert changed[0, 5, 40, 40] > 1 and changed[:, 6:9].abs().max() < 1e-3


def test_an_untrained_network_answers_with_the_prior(images, network):
    _, factor = network(images)
    # About standardised targets nothing is known: standard deviations of 1, no correlations.
    assert torch.allclose(factor, torch.eye(9).expand_as(factor), atol=1e-5)


def test_each_galaxy_is_answered_by_itself(images, network):
    mean, factor = network(images)
    alone, _ = network(images[3:4])
    assert torch.allclose(mean[3:4], alone, atol=1e-5)
    other, _ = network(images.flip(0))
    assert torch.allclose(other.flip(0), mean, atol=1e-5)
    assert torch.equal(factor, factor.tril()) and (factor.diagonal(dim1=1, dim2=2) > 0).all()


def test_every_weight_learns(images, network):
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    # Residual branches, attention and covariance start at zero: what lies below waits for a step.
    for _ in range(3):
        optimiser.zero_grad()
        mean, factor = network(images)
        (mean.square().mean() + (factor - 0.5).square().mean()).backward()
        optimiser.step()
    assert [name for name, p in network.named_parameters() if not bool(p.grad.any())] == []


def test_extreme_images_have_finite_answers(network):
    for flux in (0.0, -100.0, 1e7):
        mean, factor = network(profile(flux))
        assert bool(mean.isfinite().all()) and bool(factor.isfinite().all())


def test_half_precision_leaves_the_measured_fluxes_alone(images, network):
    with torch.no_grad():
        full, _ = network(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, factor = network(images)
    assert half.dtype == torch.float32 and factor.dtype == torch.float32
    assert (half - full).abs().max() < 0.05 * max(1.0, float(full.abs().max()))


@pytest.mark.parametrize("shape", [(2, 4, 64, 64), (2, 5, 62, 62), (2, 5, 64, 62), (5, 64, 64)])
def test_images_of_another_shape_are_refused(network, shape):
    with pytest.raises(ValueError, match=r"images must be \('B', 5, 64, 64\), got"):
        network(torch.zeros(shape))


def test_no_measured_number_rules_the_answer(network):
    """However far out an image lies, what it measures enters as six deviations at most."""
    seen = []
    network.join.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    n = network.fluxes.n_features
    # Of colours alone: 15 magnitudes between bands
    network(profile(1e8) * torch.tensor([1e-6, 1, 1, 1, 1])[:, None, None])
    network(profile(100.0))
    assert seen[0][0, :n].abs().max() == 6
    ordinary = seen[1][0, :n].abs().max()
    assert 1 < ordinary < 6
