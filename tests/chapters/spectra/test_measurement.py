"""What is measured in a picture: in fixed circles, and by the trained network that cuts it."""

import math

import pytest
import torch

from skytutor.chapters.pretrained import load_pretrained
from skytutor.chapters.spectra.measurement import ApertureFluxes, MeasurementNetwork, ScaledImages
from skytutor.chapters.spectra.separation import RED, light_loss, separation_loss
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def scene():
    """Return 20 galaxies: images with noise and r-band components without."""
    simulator = GalaxySimulator()
    galaxies = simulator.draw(20, generator=rng(5))
    planes = simulator.renderer.planes(galaxies.shapes)
    red = simulator.fluxes(galaxies)[..., RED, None, None]
    light = simulator.renderer.component_images(planes, band=RED) * red
    return simulator.images(galaxies, planes=planes, generator=rng(6)), light


@pytest.fixture(scope="module")
def images(scene):
    return scene[0]


@pytest.fixture(scope="module")
def trained():
    return load_pretrained("spectra-separation")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MeasurementNetwork(channels=(4, 4, 8, 8)).eval()


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


def test_the_trained_network_takes_the_noise_away(scene, trained):
    images, light = scene
    with torch.no_grad():
        cut = trained.separate(images)
    # The picture as it is is wrong by the noise of its sky.
    assert float(light_loss(images[:, RED], light).mean()) == pytest.approx(1, abs=0.05)
    assert light_loss(cut.light, light).max() < 0.1
    # By ten times and more in the units of the picture, not only where nothing shines.
    bright = light.sum(1) > 3 * SKY_NOISE[RED]
    wrong = (cut.light - light.sum(1))[bright].square().mean()
    assert wrong < 0.15 * (images[:, RED] - light.sum(1))[bright].square().mean()


def test_the_trained_network_knows_the_components_apart(scene, trained):
    images, light = scene
    with torch.no_grad():
        cut = trained.separate(images)
    constant = torch.full_like(cut.fractions, 1 / 3)
    assert separation_loss(cut.fractions, light).max() < 0.1
    assert separation_loss(cut.fractions, light).mean() < 0.05 * float(
        separation_loss(constant, light).mean()
    )
    # Its components hold the light that they should, to a few hundredths of the galaxy's.
    found = cut.components.sum((2, 3))
    true = light.sum((2, 3))
    away = (found - true).abs() / true.sum(1, keepdim=True)
    assert away.median() < 0.02 and away.mean() < 0.05


def test_what_the_trained_network_measures_is_of_order_one(images, trained):
    with torch.no_grad():
        table = trained(images)
    assert table.shape == (20, trained.n_features) and table.isfinite().all()
    assert 0.5 < table.abs().mean() < 5 and table.abs().max() < 15
    # Each number tells galaxies apart, and none of them by far more than the others.
    assert table.std(0).min() > 1e-3 and table.std(0).max() < 10


@pytest.mark.parametrize("which", ["network", "trained"])
def test_the_cut_adds_up_to_the_light(which, images, request):
    model = request.getfixturevalue(which)
    with torch.no_grad():
        cut = model.separate(images)
    assert (cut.fractions >= 0).all()
    assert torch.allclose(cut.fractions.sum(1), torch.ones(20, 64, 64), atol=1e-5)
    assert torch.allclose(cut.components.sum(1), cut.light, atol=1e-4)


def test_the_cut_alone_is_that_of_separate(images, network):
    with torch.no_grad():
        fractions, light = network(images, cut_only=True)
        cut = network.separate(images)
    assert torch.equal(fractions, cut.fractions) and torch.equal(light, cut.light)


def test_the_table_is_of_circles_and_of_the_cut(images, network):
    with torch.no_grad():
        table = network(images)
        circles, total = network.fluxes(images)
        measured = network.photometry(images, network.separate(images), total)
    assert torch.equal(table, torch.cat([circles, measured], dim=1).clamp(-30, 30))
    assert table.shape[1] == network.n_features


def test_each_galaxy_is_measured_by_itself(images, network):
    with torch.no_grad():
        table = network(images)
        alone = network(images[3:4])
        turned = network(images.flip(0)).flip(0)
    assert torch.allclose(table[3:4], alone, atol=1e-3)
    assert torch.allclose(table, turned, atol=1e-3)


def test_every_weight_of_the_cut_learns(images, network):
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    # Residual branches start at zero: what lies below waits for a step.
    for _ in range(3):
        optimiser.zero_grad()
        fractions, light = network(images, cut_only=True)
        (fractions.square().mean() + light.square().mean()).backward()
        optimiser.step()
    assert [name for name, p in network.named_parameters() if not bool(p.grad.any())] == []


def test_extreme_images_are_measured_in_finite_numbers(network):
    for flux in (0.0, -100.0, 1e7):
        with torch.no_grad():
            table = network(profile(flux))
        assert table.isfinite().all() and table.abs().max() <= 30


def test_half_precision_leaves_the_circles_alone_and_the_cut_nearly_so(images, trained):
    n = trained.fluxes.n_features
    with torch.no_grad():
        full = trained(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = trained(images)
    assert half.dtype == torch.float32
    assert torch.equal(half[:, :n], full[:, :n])
    assert (half - full).abs().median() < 0.02


@pytest.mark.parametrize("shape", [(2, 4, 64, 64), (2, 5, 62, 62), (2, 5, 64, 62), (5, 64, 64)])
def test_images_of_another_shape_are_refused(network, shape):
    with pytest.raises(ValueError, match=r"images must be \(B, 5, 64, 64\), got"):
        network(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"images must be \(B, 5, 64, 64\), got"):
        network.separate(torch.zeros(shape))


@pytest.mark.parametrize("size", [0, 60, -8])
def test_a_size_that_cannot_be_halved_three_times_is_refused(size):
    with pytest.raises(ValueError, match="size must be"):
        MeasurementNetwork(size=size)


def test_many_images_at_once_are_measured_as_a_few_are():
    """Without gradients they are taken in parts, for the memory's sake."""
    torch.manual_seed(0)
    network = MeasurementNetwork(channels=(4, 4, 4, 4)).eval()
    simulator = GalaxySimulator()
    images = simulator.images(simulator.draw(70, generator=rng()), generator=rng(1))
    with torch.no_grad():
        parts = network(images)
    whole = network(images).detach()
    assert torch.allclose(parts, whole, atol=1e-4)
