"""skytutor.data.exposures: depths are reached, fluxes come back, plates saturate."""

import math

import pytest
import torch

from skytutor.data.exposures import Plate, expose, noise_pixels, pixel_noise, true_variance
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.surveys import BANDS, sky_flux

PIXEL = 0.8
KINDS = {"NUV": "photons", "r": "ccd", "red": "plate"}


def psf_of(name):
    return SceneRenderer(64, psf_fwhm=[BANDS[name].fwhm]).psf_image(0)


def observed(name, flux, n, seed=0):
    """Return images and inverse variances of n stars of a flux, and their PSF."""
    psf = psf_of(name)
    truth = (flux * psf).expand(n, -1, -1).contiguous()
    rng = torch.Generator().manual_seed(seed)
    options = {"psf": psf, "pixel_arcsec": PIXEL, "generator": rng}
    return *expose(truth, BANDS[name], **options), psf


def matched(images, psf):
    """Return fluxes by the PSF, the best estimate where the noise is that of the sky."""
    return (images * psf).sum((1, 2)) / psf.square().sum()


@pytest.mark.parametrize("name", KINDS)
def test_bands_are_of_the_kind_that_is_tested(name):
    assert BANDS[name].kind == KINDS[name]


@pytest.mark.parametrize("name", ["g", "r", "i", "J", "H", "K", "blue", "red"])
def test_a_source_at_the_depth_stands_five_deviations_above_the_sky(name):
    images, _, psf = observed(name, 0.0, 400)
    faintest = 10 ** (-0.4 * (BANDS[name].depth - 22.5))
    assert faintest / float(matched(images, psf).std()) == pytest.approx(5, rel=0.12)


@pytest.mark.parametrize("name", ["FUV", "NUV"])
def test_a_source_at_the_depth_is_measured_to_a_fifth_in_photons(name):
    """Its own photons are most of the noise, so that the best weights are those of both."""
    band = BANDS[name]
    faintest = 10 ** (-0.4 * (band.depth - 22.5))
    images, _, psf = observed(name, faintest, 400)
    sky = sky_flux(band) * PIXEL**2
    # Iterated to the likeliest flux of a Poisson model.
    flux = torch.full((400,), faintest)
    for _ in range(40):
        model = flux[:, None, None] * psf.clamp(min=1e-12) + sky
        ratio = (images + sky) / model
        flux = flux * (ratio * psf).sum((1, 2)) / psf.sum()
    assert float(flux.mean() / flux.std()) == pytest.approx(5, rel=0.12)


@pytest.mark.parametrize("name", BANDS)
def test_fluxes_come_back_without_bias(name):
    band = BANDS[name]
    flux = 5 * 10 ** (-0.4 * (band.depth - 22.5))
    images, _, psf = observed(name, flux, 400)
    found = matched(images, psf)
    error = float(found.std()) / 20
    assert float(found.mean()) == pytest.approx(flux, abs=4 * error)
    empty, _, _ = observed(name, 0.0, 400, seed=1)
    away = matched(empty, psf)
    assert float(away.mean()) == pytest.approx(0, abs=4 * float(away.std()) / 20)


@pytest.mark.parametrize("name", ["r", "K", "red"])
def test_the_inverse_variance_is_that_of_the_noise(name):
    images, ivar, psf = observed(name, 0.0, 60)
    assert float((images.square() * ivar).mean()) == pytest.approx(1, abs=0.12)
    # A bright source's own photons and grain count too.
    bright, ivar, _ = observed(name, 300.0, 60)
    middle = psf > 0.3 * psf.max()
    pull = (bright - 300 * psf)[:, middle] * ivar[:, middle].sqrt()
    assert float(pull.std()) == pytest.approx(1, abs=0.15)


def test_photons_are_whole_and_most_pixels_of_the_ultraviolet_have_none():
    band = BANDS["NUV"]
    images, ivar, _ = observed("NUV", 0.0, 20)
    sky = sky_flux(band) * PIXEL**2 * band.counts_per_nanomaggie
    counts = images * band.counts_per_nanomaggie + sky
    assert float((counts - counts.round()).abs().max()) < 1e-4
    assert float((counts.round() == 0).double().mean()) == pytest.approx(math.exp(-sky), abs=0.01)
    assert float((counts.round() == 0).double().mean()) > 0.6
    assert bool((ivar > 0).all())


def test_the_characteristic_curve_and_back():
    plate = Plate(0.1)
    exposure = torch.logspace(-1, 1.2, 50, dtype=torch.float64)
    density = plate.density(exposure)
    assert torch.allclose(plate.exposure(density), exposure, rtol=1e-6)
    assert bool((density.diff() > 0).all())
    step = 1e-5
    slope = (plate.exposure(density + step) - plate.exposure(density - step)) / (2 * step)
    assert torch.allclose(plate.slope(density), slope, rtol=1e-4)
    at_sky = plate.density(torch.tensor([0.99, 1.0, 1.01], dtype=torch.float64))
    assert float(at_sky[1]) == pytest.approx(1)
    contrast = float((at_sky[2] - at_sky[0]) / (math.log10(1.01) - math.log10(0.99)))
    assert contrast == pytest.approx(2.2, rel=1e-3)


def test_the_sky_of_a_plate_is_read_off_brighter_than_it_is():
    """The curve bends upwards, so that grain lifts the mean; by how much, is known."""
    plate = Plate(0.2)
    rng = torch.Generator().manual_seed(3)
    density = 1 + 0.2 * torch.randn(1_000_000, generator=rng)
    mean = float(plate.exposure(density).mean())
    assert plate.sky_exposure() == pytest.approx(mean, abs=1e-3)
    assert plate.sky_exposure() > 1.001


def test_a_bright_star_turns_a_plate_black_and_its_flux_is_lost():
    flux = 10 ** (-0.4 * (12 - 22.5))
    images, ivar, psf = observed("red", flux, 10)
    black = ivar == 0
    assert 10 < int(black.sum()) / 10 < 400
    assert bool(black[:, psf.argmax() // 64, psf.argmax() % 64].all())
    assert float(images.sum((1, 2)).mean()) < 0.7 * flux
    _, ivar, _ = observed("red", flux / 1000, 10)
    assert not bool((ivar == 0).any())


def test_noise_pixels_of_a_gaussian():
    place = torch.arange(64) - 31.5
    psf = torch.exp(-(place[:, None] ** 2 + place**2) / (2 * 3.0**2))
    psf = psf / psf.sum()
    assert noise_pixels(psf) == pytest.approx(4 * math.pi * 9, rel=1e-3)
    faintest = 10 ** (-0.4 * (BANDS["r"].depth - 22.5))
    assert pixel_noise(BANDS["r"], psf) == pytest.approx(
        faintest / 5 / 6 / math.sqrt(math.pi), rel=1e-3
    )


def test_wrong_arguments_are_named():
    psf = psf_of("r")
    options = {"psf": psf, "pixel_arcsec": PIXEL, "generator": torch.Generator()}
    with pytest.raises(
        ValueError, match=r"truth must be \(B, H, W\) with H and W of psf \(64, 64\)"
    ):
        expose(torch.zeros(64, 64), BANDS["r"], **options)
    with pytest.raises(ValueError, match="truth must be finite, got NaN"):
        expose(torch.full((1, 64, 64), torch.nan), BANDS["r"], **options)
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator, got NoneType"):
        expose(torch.zeros(1, 64, 64), BANDS["r"], **(options | {"generator": None}))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("flux", [0.0, 30.0])
def test_the_true_variance_is_that_of_many_exposures(name, flux):
    images, _, psf = observed(name, flux, 3000, seed=4)
    variance = true_variance(flux * psf, BANDS[name], psf=psf, pixel_arcsec=PIXEL)
    # On plates to first order in the grain: the curve is bent.
    near = variance[28:36, 28:36]
    ratio = images[:, 28:36, 28:36].var(0).mean() / near.mean()
    assert float(ratio) == pytest.approx(1, abs=0.1 if name == "red" else 0.03)
