"""Bad input to chapter 3's simulator, covariances, limits and networks: the message says what."""

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.cmb import limits
from skytutor.chapters.cmb.networks import Estimator
from skytutor.chapters.cmb.published import PublishedPixelNet, PublishedSpectralCNN
from skytutor.chapters.cmb.scores import estimate
from skytutor.chapters.cmb.summaries import LogPowerSpectrum, draw_summaries
from skytutor.chapters.cmb.task import CmbTask
from skytutor.chapters.seeds import CMB as SEEDS
from skytutor.data.cmb import GaussianSkySimulator, cap_mask, peaked_spectrum
from skytutor.fields.covariance import PixelCovariance
from skytutor.healpix import UNSEEN

SEEN = torch.arange(48) < 24
COVARIANCE = PixelCovariance(2, 5, spin=2, mask=SEEN, variance=0.1)
FLAT = {"EE": torch.ones(6), "BB": torch.ones(6)}
MAPS = torch.zeros(3, 2, 48).double()
SMALL = GaussianSkySimulator("T2", nside=2)


def holed(value):
    maps = MAPS.clone()
    maps[0, 0, 0] = value
    return maps


BAD = {
    "UNSEEN in a seen pixel": (
        lambda: COVARIANCE.log_likelihood(holed(UNSEEN), FLAT),
        "maps, where seen, holds 1 UNSEEN.* first at pixel 0;",
    ),
    "NaN in a seen pixel": (
        lambda: COVARIANCE.log_likelihood(holed(torch.nan), FLAT),
        "maps, where seen, holds 1 NaN.* first at pixel 0;",
    ),
    "one map": (lambda: COVARIANCE.split(MAPS[0]), r"maps must be \(N, 2, P\)"),
    "temperature too": (
        lambda: COVARIANCE.split(torch.zeros(3, 3, 48)),
        r"maps must be \(N, 2, P\).*\(3, 3, 48\)",
    ),
    "wrong pixel count": (lambda: COVARIANCE.split(torch.zeros(3, 2, 192)), "order 'ring'"),
    "bare spectra": (
        lambda: COVARIANCE.log_likelihood(MAPS, [torch.ones(6)] * 2),
        "spectra must be a dict of EE, BB.*list",
    ),
    "slopes of another lmax": (
        lambda: COVARIANCE.fisher(FLAT, torch.ones(1, 2, 9)),
        r"slopes must be \(n, 2, 6\)",
    ),
    "variance map": (
        lambda: PixelCovariance(2, 5, mask=SEEN, variance=torch.ones(48)),
        "variance must be one number",
    ),
    "lmax below spin": (
        lambda: PixelCovariance(2, 1, spin=2, mask=SEEN),
        "lmax must be at least 2",
    ),
    "cap without a pixel": (lambda: cap_mask(16, 1e-5), "f_sky is too small for nside 16"),
    "cut that shows nothing": (
        lambda: GaussianSkySimulator("T1", nside=1, cut=bytes(12)),
        "cut must be a mask of 12 pixels",
    ),
    "cut of another size": (
        lambda: GaussianSkySimulator("T1", nside=2, f_sky=0.5, cut=bytes([1, 0] * 6)),
        "cut must be a mask of 48",
    ),
    "noise in words": (
        lambda: GaussianSkySimulator("T1", noise="5"),
        "noise must be a finite number.*'5'",
    ),
    "f_sky in words": (lambda: GaussianSkySimulator("T1", f_sky="0.5"), "f_sky must lie in"),
    "outside the unit cube": (
        lambda: SMALL.prior_transform(torch.tensor([[2.0, 0.5]])),
        r"unit must lie in 0\.\.1",
    ),
    "T's numbers for Q and U": (
        lambda: SMALL.maps(torch.full((1, 2), 9.0), [torch.randn(1, 36)]),
        "white_noise must be what draw_noise",
    ),
    "no numbers for the noise": (
        lambda: GaussianSkySimulator("T1", nside=2, noise=1.0).maps(
            torch.full((1, 1), 9.0), [torch.randn(1, 36)]
        ),
        "white_noise must be",
    ),
    "no skies": (lambda: SMALL.sample(0, seed=1), "n must be positive, got 0"),
    "nothing to estimate": (lambda: estimate(SMALL, None, 0, seed=1), "size must be positive"),
    "nothing to validate on": (
        lambda: CmbTask([SMALL], size=10, n_validation=0),
        "size must be positive",
    ),
    "limit of a cut sky": (
        lambda: limits.full_sky_errors(GaussianSkySimulator("T2", f_sky=0.05), size=2, seed=1),
        "simulator must be a full sky",
    ),
    "Bayes of T4": (
        lambda: limits.full_sky_errors(GaussianSkySimulator("T4"), size=2, seed=1),
        "full sky of T1, T2, T3, got T4",
    ),
    "Fisher at the prior's end": (
        lambda: limits.fisher_full_sky(GaussianSkySimulator("T1"), torch.tensor([5.0])),
        "parameters must lie inside the prior",
    ),
    "relative to zero": (
        lambda: limits.relative_median(torch.arange(3.0), torch.zeros(1, 3)),
        "values must be positive",
    ),
    "five fields": (lambda: LogPowerSpectrum(2, 5, spin=2, fields=5), "fields must be 1 or 2"),
    "maps without a summary": (
        lambda: Estimator(4, outputs=1)(torch.zeros(2, 48)),
        "made without a summary",
    ),
    "pixel network, larger map": (
        lambda: PublishedPixelNet(2, channels=1, outputs=1)(torch.zeros(1, 1, 192)),
        "nside 2",
    ),
    "pixel network, NaN": (
        lambda: PublishedPixelNet(2, channels=1, outputs=1)(torch.full((1, 1, 48), torch.nan)),
        "NaN",
    ),
    "spectral network, UNSEEN": (
        lambda: PublishedSpectralCNN(2, channels=1, outputs=1, width=2)(
            torch.full((1, 1, 48), UNSEEN)
        ),
        "UNSEEN",
    ),
    "spectral network, channels": (
        lambda: PublishedSpectralCNN(2, channels=1, outputs=1, width=2)(torch.zeros(1, 2, 48)),
        r"\(B, 1, P\)",
    ),
    "a seed of the training": (
        lambda: chapters.get("cmb-t3").score(None, seed=SEEDS.train[0], size=20, source=None),
        "seed must lie in 0..999999",
    ),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_number_is_a_centre():
    assert float(peaked_spectrum(12.0, lmax=12)[12]) == pytest.approx(1 + 1e-5)


def test_training_and_validation_share_no_sky():
    """At the full study's sizes, 8,000 skies to validate on and 200,000 to train on.

    The seeds are counted, and the skies of a small case compared.
    """
    validated = set()
    trained = set()
    for simulator in range(2):
        for k in range(40):
            validated.add(SEEDS.validation[0] + 1000 * simulator + k)
            trained.add(SEEDS.train[0] + 1000 * simulator + k)
    assert not validated & trained
    first = draw_summaries(SMALL, 5500, seed=SEEDS.validation[0])[0]
    second = draw_summaries(SMALL, 5500, seed=SEEDS.train[0])[0]
    assert not set(first[:, 0].tolist()) & set(second[:, 0].tolist())
