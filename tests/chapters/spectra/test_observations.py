"""Images of galaxies and what belongs to them: the same galaxies, the survey's noise, one seed."""

import pytest
import torch

from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.observations import (
    draw_components,
    draw_images,
    draw_measurements,
)
from skytutor.chapters.spectra.separation import RED
from skytutor.chapters.spectra.targets import make_targets, natural
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def simulator():
    return GalaxySimulator()


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return SpectrumAutoencoder()


def test_images_and_targets_are_of_the_same_galaxies(simulator, autoencoder):
    images, targets = draw_images(simulator, 200, autoencoder=autoencoder, generator=rng())
    assert len(images) == len(targets) == 200
    # Redshift in the targets goes with colour in the images, as for no other galaxy.
    inside = images[..., 24:40, 24:40].sum((2, 3))
    colour = (inside[:, 0] / inside[:, 1]).log()
    redshift = natural(targets)[:, 2]
    assert (redshift >= 0.0099).all() and (redshift <= 0.3601).all()
    seen = torch.stack([colour, redshift])
    assert torch.corrcoef(seen)[0, 1] < -0.4
    assert abs(torch.corrcoef(torch.stack([colour.roll(1), redshift]))[0, 1]) < 0.3


def test_images_hold_the_survey_noise(simulator, autoencoder):
    images, _ = draw_images(simulator, 30, autoencoder=autoencoder, generator=rng())
    corner = images[..., :6, :6]
    # Of faint outskirts little reaches the corner: the median galaxy shows the sky alone.
    spread = corner.flatten(2).std(2).median(0).values
    assert torch.allclose(spread, torch.tensor(SKY_NOISE), rtol=0.1)


def test_one_generator_one_set(simulator, autoencoder):
    options = {"autoencoder": autoencoder}
    one, first = draw_images(simulator, 3, generator=rng(1), **options)
    same, again = draw_images(simulator, 3, generator=rng(1), **options)
    other, _ = draw_images(simulator, 3, generator=rng(2), **options)
    assert torch.equal(one, same) and torch.equal(first, again)
    assert not torch.equal(one, other)


def test_components_are_the_r_band_without_its_noise(simulator, autoencoder):
    options = {"autoencoder": autoencoder}
    images, targets, components = draw_components(simulator, 130, generator=rng(), **options)
    assert len(images) == len(targets) == len(components) == 130  # more than one part
    away = (images[:, RED] - components.sum(1)) / SKY_NOISE[RED]
    assert float(away.mean()) == pytest.approx(0, abs=0.01)
    assert torch.allclose(away.flatten(1).std(1), torch.ones(130), atol=0.06)
    # The same galaxies, seen by the other function.
    others, wanted = draw_images(simulator, 130, generator=rng(), **options)
    assert torch.equal(others, images) and torch.equal(wanted, targets)


def test_measurements_are_those_of_the_images_of_the_same_galaxies(simulator, autoencoder):
    torch.manual_seed(1)
    measurement = MeasurementNetwork(channels=(4, 4, 4, 4)).eval()
    options = {"autoencoder": autoencoder}
    found = draw_measurements(simulator, 130, measurement=measurement, generator=rng(), **options)
    images, wanted = draw_images(simulator, 130, generator=rng(), **options)
    table = found["table"]
    assert table.shape == (130, measurement.n_features) and not table.requires_grad
    assert torch.equal(found["targets"], wanted)
    with torch.no_grad():
        assert torch.allclose(table, measurement(images), atol=1e-3)


def test_the_oracle_sees_the_noise_of_the_same_images(simulator, autoencoder):
    """Its fluxes and those in a wide circle of the image err alike, not just as much."""
    options = {"autoencoder": autoencoder, "measurement": MeasurementNetwork().eval()}
    found = draw_measurements(simulator, 100, generator=rng(5), **options)
    images, _ = draw_images(simulator, 100, autoencoder=autoencoder, generator=rng(5))
    quiet = simulator.draw(100, generator=rng(5))
    truth = simulator.fluxes(quiet).sum(1)
    # The first of the oracle's numbers is the catalogue's total r magnitude.
    magnitude = 22.5 - 2.5 * truth[:, RED].log10()
    known = found["oracle"][:, 0] - magnitude
    windows = options["measurement"].fluxes.windows
    wide = (images - simulator.images(quiet))[:, RED] * windows[8]
    seen = -wide.sum((1, 2)) / truth[:, RED]
    faint = magnitude > magnitude.median()
    assert torch.corrcoef(torch.stack([known[faint], seen[faint]]))[0, 1] > 0.5


def test_targets_of_the_last_three_go_back_to_their_units(simulator, autoencoder):
    galaxies = simulator.draw(20, generator=rng())
    fibre = simulator.renderer.fibre(simulator.renderer.planes(galaxies.shapes))
    spectra = simulator.spectra(galaxies, fibre, generator=rng(1))
    back = natural(make_targets(autoencoder, spectra, galaxies.redshift))
    assert torch.allclose(back[:, 2], galaxies.redshift, atol=1e-6)
    assert torch.allclose(back[:, :2], spectra.log_widths, atol=1e-5)


@pytest.mark.parametrize("draw", [draw_images, draw_components])
def test_no_galaxies_are_refused(simulator, autoencoder, draw):
    with pytest.raises(ValueError, match="n must be a positive integer, got 0"):
        draw(simulator, 0, autoencoder=autoencoder, generator=rng())
