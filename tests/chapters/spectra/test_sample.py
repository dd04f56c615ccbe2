"""Samples: what is drawn, in which order, and of how many galaxies at a time."""

import pytest
import torch

from skytutor.chapters.spectra.sample import draw_sample, draw_samples
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def simulator():
    return GalaxySimulator()


def test_the_same_seed_gives_the_same_sample(simulator):
    first = draw_sample(simulator, 5, generator=generator(), images=True)
    second = draw_sample(simulator, 5, generator=generator(), images=True)
    other = draw_sample(simulator, 5, generator=generator(1), images=True)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.spectra.flux, second.spectra.flux)
    assert not torch.equal(first.images, other.images)


def test_images_change_neither_table_nor_spectra(simulator):
    """They are drawn last: a table of an oracle and a training set are of the same galaxies."""
    without = draw_sample(simulator, 5, generator=generator())
    with_images = draw_sample(simulator, 5, generator=generator(), images=True)
    assert without.images is None
    assert torch.equal(without.table.total, with_images.table.total)
    assert torch.equal(without.spectra.flux, with_images.spectra.flux)


def test_image_table_and_photometry_are_of_the_same_galaxies(simulator):
    sample = draw_sample(simulator, 40, generator=generator(), images=True)
    light = sample.photometry.flux.sum(1)
    assert len(sample) == 40
    # The wings of a large galaxy lie outside the frame of 16 arcsec.
    inside = sample.images.sum((2, 3))[:, 1] / light[:, 1]
    assert float(inside.min()) > 0.6
    assert float(inside.max()) < 1.1
    ratio = sample.table.total[:, 1] / light[:, 1]
    assert float((ratio - 1).abs().median()) < 0.02


def test_the_noise_of_an_image_is_that_of_the_survey(simulator):
    sample = draw_sample(simulator, 20, generator=generator(), images=True)
    quiet = simulator.images(sample.galaxies)
    found = (sample.images - quiet).std((0, 2, 3))
    assert torch.allclose(found, torch.tensor(SKY_NOISE), rtol=0.02)


def test_samples_add_up_to_what_was_asked_for(simulator):
    sizes = [len(part) for part in draw_samples(simulator, 7, generator=generator(), batch=3)]
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize(("name", "n", "batch"), [("n", 0, 3), ("batch", 5, 0)])
def test_sizes_must_be_positive(simulator, name, n, batch):
    with pytest.raises(ValueError, match=name):
        next(draw_samples(simulator, n, generator=generator(), batch=batch))
