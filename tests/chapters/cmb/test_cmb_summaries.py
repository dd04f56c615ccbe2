"""Chapter 3's summary statistics: spectra of least squares, exact likelihoods on a grid."""

import healpy as hp
import pytest
import torch

from skytutor.chapters.cmb.summaries import (
    LikelihoodGrid,
    LogPowerSpectrum,
    draw_summaries,
    summary_statistics,
)
from skytutor.data.cmb import GaussianSkySimulator, peaked_spectrum
from skytutor.fields.covariance import PixelCovariance
from skytutor.fields.spectra import alm2cl
from skytutor.sht import alm2map, map2alm


def test_studies_that_differ_in_noise_alone_share_one_extractor():
    quiet, loud = (GaussianSkySimulator("T1", nside=4, noise=n) for n in (0.0, 5.0))
    assert summary_statistics(quiet) is summary_statistics(loud)
    other = GaussianSkySimulator("T1", nside=8)
    assert summary_statistics(quiet) is not summary_statistics(other)


@pytest.mark.parametrize("spin", [0, 2])
def test_the_spectrum_is_that_of_least_squares_and_does_not_see_a_rotation(spin):
    nside = 8
    lmax = 23
    simulator = GaussianSkySimulator("T2" if spin else "T1", nside=nside)
    maps = simulator.sample(2, seed=0)[1]
    log_power = LogPowerSpectrum(nside, lmax, spin=spin)
    alms = map2alm(maps.double(), nside=nside, lmax=lmax, spin=spin, method="lsq", order="ring")
    wanted = alm2cl(alms, lmax=lmax)[..., spin:].log().flatten(1)
    torch.testing.assert_close(log_power(maps).double(), wanted, rtol=0, atol=1e-3)
    if not spin:
        turned = alms.numpy().copy()
        for row in turned:
            hp.rotate_alm(row, 0.4, 1.1, -2.3)
        again = alm2map(torch.from_numpy(turned), nside=nside, lmax=lmax, order="ring").float()
        torch.testing.assert_close(log_power(again), log_power(maps), rtol=0, atol=1e-3)


def test_the_grid_holds_exact_likelihoods():
    simulator = GaussianSkySimulator("T2", nside=4, f_sky=0.5)
    covariance = PixelCovariance(4, 11, spin=2, mask=simulator.mask, variance=1e-4)
    low, high = peaked_spectrum(torch.tensor([6.0, 9.0]), lmax=11)
    pairs = [(low, low), (low, high), (high, low), (high, high)]
    powers = torch.stack([torch.stack(pair) for pair in pairs])
    maps = simulator.sample(3, seed=1)[1]
    found = 10 * torch.sinh(LikelihoodGrid(covariance, powers)(maps).double())
    rows = [covariance.log_likelihood(maps, {"EE": e, "BB": b}) for e, b in pairs]
    logs = torch.stack(rows, 1)
    torch.testing.assert_close(found, logs - logs.amax(1, keepdim=True), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("study", ["T1", "T3", "T4"])
def test_every_study_has_a_grid_for_part_of_its_sky(study):
    simulator = GaussianSkySimulator(study, nside=4, noise=0.1, f_sky=0.5)
    _, summaries = draw_summaries(simulator, 20, seed=3)
    assert summaries.shape == (20, 6 ** len(simulator.names))
    assert bool(torch.isfinite(summaries).all())
