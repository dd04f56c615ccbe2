"""skytutor.data.cmb: maps have the spectra, noise and mask that are asked for."""

import math

import healpy as hp
import pytest
import torch

from skytutor.data.cmb import (
    STUDIES,
    GaussianSkySimulator,
    cap_mask,
    noise_per_pixel,
    peaked_spectrum,
)
from skytutor.fields.spectra import alm2cl
from skytutor.sht import map2alm


def test_maps_hold_the_spectrum_of_their_own_parameters():
    """C_l measured by least squares, which is exact: mean over draws, over each map's own C_l."""
    simulator = GaussianSkySimulator("T2", nside=8)
    parameters, maps = simulator.sample(1000, seed=3)
    alms = map2alm(maps.double(), nside=8, lmax=simulator.lmax, spin=2, method="lsq", order="ring")
    true = simulator.spectra(parameters).clamp(min=1e-30)
    ratio = (alm2cl(alms, lmax=simulator.lmax) / true)[..., 2:]
    spread = (2 / (2 * torch.arange(2, simulator.lmax + 1) + 1) / 1000).sqrt()
    assert float(((ratio.mean(0) - 1) / spread).abs().max()) < 5


def test_the_noise_has_the_power_that_the_limit_counts_on():
    simulator = GaussianSkySimulator("T1", nside=8, noise=10.0)
    maps = simulator.maps(torch.full((500, 1), 12.0), simulator.draw_noise(500))
    cl = alm2cl(map2alm(maps.double(), nside=8, lmax=12, order="ring"), lmax=12).mean(0)
    wanted = peaked_spectrum(torch.tensor(12.0), lmax=12) + 4 * math.pi * 100 / 768
    torch.testing.assert_close(cl[2:], wanted[2:], rtol=0.2, atol=0)


def test_the_cap():
    for f_sky in (0.05, 0.1, 0.2, 0.5, 1.0):
        mask = cap_mask(16, f_sky)
        assert float(mask.double().mean()) == pytest.approx(f_sky, rel=0.08)
        theta, _ = hp.pix2ang(16, mask.nonzero().flatten().numpy())
        assert theta.max() <= math.acos(1 - 2 * f_sky) + 1e-6
    maps = GaussianSkySimulator("T2", f_sky=0.2).sample(2, seed=0)[1]
    assert not maps[..., ~cap_mask(16, 0.2)].any() and maps[..., cap_mask(16, 0.2)].all()


def test_any_mask():
    band = (torch.arange(768) > 200) & (torch.arange(768) < 500)
    full_sky = GaussianSkySimulator("T2", nside=8)
    simulator = full_sky.with_mask(band)
    assert torch.equal(simulator.mask, band)
    assert simulator == full_sky.with_mask(band.float())
    assert not simulator.sample(1, seed=0)[1][..., ~band].any()
    with pytest.raises(ValueError, match="mask"):
        simulator.with_mask(band[:10])


def test_a_muK_arcmin():
    assert noise_per_pixel(6.0, 16) == pytest.approx(6 / (hp.nside2resol(16, arcmin=True)))


def test_a_seed_gives_the_same_maps_whatever_the_number():
    simulator = GaussianSkySimulator("T3", nside=4)
    few = simulator.sample(3, seed=5)
    many = simulator.sample(1200, seed=5)
    for first, more in zip(few, many, strict=True):
        assert torch.equal(first, more[:3])
    assert not torch.equal(few[0], simulator.sample(3, seed=6)[0])


@pytest.mark.parametrize("study", STUDIES)
def test_priors(study):
    simulator = GaussianSkySimulator(study, nside=2)
    drawn = simulator.draw_parameters(4000)
    for (name, low, high), values in zip(STUDIES[study], drawn.unbind(1), strict=True):
        assert low <= float(values.min()) and float(values.max()) <= high
        middle = math.sqrt(1e-4 * 0.0101) - 1e-4 if name == "r" else (low + high) / 2
        assert float(values.median()) == pytest.approx(middle, rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"study": "T5"}, "study.*T1, T2, T3, T4.*'T5'"),
        ({"study": "T1", "nside": 12}, "nside"),
        ({"study": "T1", "noise": -1.0}, "noise"),
        ({"study": "T1", "noise": math.nan}, "noise"),
        ({"study": "T2", "f_sky": 0.0}, "f_sky"),
        ({"study": "T2", "f_sky": 1.5}, "f_sky"),
    ],
)
def test_bad_studies(arguments, says):
    with pytest.raises(ValueError, match=says):
        GaussianSkySimulator(**arguments)


def test_bad_parameters():
    simulator = GaussianSkySimulator("T2", nside=4)
    for bad, says in (
        (torch.ones(3, 1), "l_Ep, l_Bp"),
        (torch.full((1, 2), 3.0), "l_Ep.*5.0..20.0"),
        (torch.full((1, 2), math.nan), "l_Ep"),
    ):
        with pytest.raises(ValueError, match=says):
            simulator.spectra(bad)
    with pytest.raises(ValueError, match="n must be positive"):
        simulator.draw_parameters(0)
