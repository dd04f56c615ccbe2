"""The nine targets: which they are, their units, and what does not touch them."""

from dataclasses import replace

import pytest
import torch

from skytutor.chapters.spectra import targets
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.sample import draw_sample
from skytutor.chapters.spectra.targets import N_LATENTS, N_TARGETS, TARGETS, make_targets, natural
from skytutor.data.galaxies import GalaxySimulator


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return SpectrumAutoencoder().eval()


@pytest.fixture(scope="module")
def sample():
    return draw_sample(GalaxySimulator(), 400, generator=torch.Generator().manual_seed(3))


def test_targets_are_named_in_their_order(autoencoder, sample):
    found = make_targets(autoencoder, sample.spectra, sample.galaxies.redshift)
    assert found.shape == (400, N_TARGETS) == (400, len(TARGETS))
    latents = autoencoder.encode(sample.spectra.flux, sample.spectra.inverse_variance)
    assert torch.equal(found[:, :N_LATENTS], latents[:, :N_LATENTS].detach())
    assert TARGETS[N_LATENTS:] == ("ln EW H-alpha", "ln EW [OIII]", "redshift")
    own = natural(found)
    assert torch.allclose(own[:, :2], sample.spectra.log_widths, atol=1e-5)
    assert torch.allclose(own[:, 2], sample.galaxies.redshift, atol=1e-6)


def test_widths_and_redshift_are_standardised(autoencoder, sample):
    found = make_targets(autoencoder, sample.spectra, sample.galaxies.redshift)[:, N_LATENTS:]
    assert (found.mean(0).abs() < 0.25).all()
    assert ((found.std(0) > 0.7) & (found.std(0) < 1.3)).all()


def test_latents_are_those_of_the_noisy_spectrum_where_it_was_observed(autoencoder, sample):
    spectra = sample.spectra
    redshift = sample.galaxies.redshift
    found = make_targets(autoencoder, spectra, redshift)
    hidden = torch.where(spectra.mask, spectra.flux, torch.tensor(99.0))
    assert torch.equal(make_targets(autoencoder, replace(spectra, flux=hidden), redshift), found)
    quiet = make_targets(autoencoder, replace(spectra, flux=spectra.truth), redshift)
    assert not torch.allclose(quiet, found, atol=1e-4)


def test_targets_carry_no_gradient(autoencoder, sample):
    assert not make_targets(autoencoder, sample.spectra, sample.galaxies.redshift).requires_grad


def test_natural_units_keep_leading_dimensions(autoencoder):
    found = natural(torch.zeros(2, 3, N_TARGETS, dtype=torch.float64))
    assert found.shape == (2, 3, 3)
    assert found.dtype == torch.float64


def test_every_caller_has_an_autoencoder_of_his_own():
    first = targets.pretrained_autoencoder()
    first.mean.fill_(7.0)
    assert not torch.equal(targets.pretrained_autoencoder().mean, first.mean)
