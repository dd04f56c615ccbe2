"""skytutor.data.galaxies: photometry against images, spectra against integrals, pinned draws."""

import math
from dataclasses import replace

import pytest
import torch
from complaints import complaint

from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator, stable_cholesky
from skytutor.data.galaxy_photometry import residual_factor, sdss_magnitudes
from skytutor.data.galaxy_table import real_galaxies
from skytutor.data.spectral_templates import LINES, LOG_WAVELENGTH

NAMES = list(LINES)
WAVELENGTH = (10**LOG_WAVELENGTH).float()


@pytest.fixture(scope="module")
def simulator():
    return GalaxySimulator()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def observe(simulator, n, seed=0, **changed):
    """Return galaxies and the spectra of all their light within the fibre."""
    generator = rng(seed)
    galaxies = replace(simulator.draw(n, generator=generator), **changed)
    fibre = simulator.renderer.fibre(simulator.renderer.planes(galaxies.shapes))
    return galaxies, fibre, simulator.spectra(galaxies, fibre, generator=generator)


# Images and photometry


def test_photometry_is_that_of_many_noisy_images(simulator):
    galaxies = simulator.draw(2, generator=rng(3))
    planes = simulator.renderer.planes(galaxies.shapes)
    found = simulator.photometry(galaxies, planes=planes, generator=rng())
    unit = simulator.renderer.component_images(planes)  # (2, 3, 5, 64, 64)
    noise = torch.tensor(SKY_NOISE)
    generator = rng(1)
    trials = []
    for _ in range(400):
        images = simulator.images(galaxies, planes=planes, generator=generator)
        trials.append(torch.einsum("bfyx,bcfyx->bfc", images, unit))
    sums = torch.stack(trials).double()
    gram = found.gram[..., :3, :3].double()
    covariance = gram * noise[:, None, None].square()
    error = torch.diagonal(covariance, dim1=-2, dim2=-1).sqrt()
    mean = torch.einsum("bfij,bjf->bfi", gram, found.flux.double())
    # The Gram matrix is of the padded frame: a few 1e-3 of bulge light lie outside the image.
    away = (sums.mean(0) - mean).abs()
    assert (away < 4.5 * error / 400**0.5 + 0.004 * mean).all()
    centred = sums - sums.mean(0)
    measured = torch.einsum("tbfi,tbfj->bfij", centred, centred) / 399
    scale = error[..., None] * error[..., None, :]
    assert ((measured - covariance) / scale).abs().max() < 5 * (2 / 400) ** 0.5


def test_the_aperture_is_a_sum_of_pixels(simulator):
    galaxies = simulator.draw(20, generator=rng(3))
    planes = simulator.renderer.planes(galaxies.shapes)
    found = simulator.photometry(galaxies, planes=planes, generator=rng())
    mean = torch.einsum("bfj,bjf->bf", found.gram[:, :, 3, :3], found.flux)
    at = (torch.arange(64) - 31.5) * 0.25
    inside = torch.hypot(at, at[:, None]) < 1.5
    pixels = (simulator.images(galaxies, planes=planes) * inside).sum((2, 3))
    assert torch.allclose(pixels, mean, rtol=0.03)
    assert float(found.gram[0, 0, 3, 3]) == pytest.approx(float(inside.sum()), rel=0.02)


def test_photometry_scatters_by_its_gram_matrix(simulator):
    galaxies = simulator.draw(3000, generator=rng(4))
    found = simulator.photometry(galaxies, generator=rng(5))
    mean = torch.einsum("bfij,bjf->bfi", found.gram[..., :3], found.flux)
    noise = torch.tensor(SKY_NOISE)[:, None]
    away = ((found.measured - mean) / noise).double()
    lower = stable_cholesky(found.gram.double())
    white = torch.linalg.solve_triangular(lower, away[..., None], upper=False)[..., 0]
    assert white.mean((0, 1)).abs().max() < 0.04
    assert (white.std((0, 1)) - 1).abs().max() < 0.03
    pairs = torch.einsum("bfi,bfj->ij", white, white) / (3000 * 5)
    assert (pairs - torch.eye(4)).abs().max() < 0.04


def test_photometry_of_a_sky_scatters_as_photometry_without_one(simulator):
    galaxies = simulator.draw(400, generator=rng(4))
    sky = simulator.sky(400, generator=rng(5))
    found = simulator.photometry(galaxies, sky=sky)
    mean = torch.einsum("bfij,bjf->bfi", found.gram[..., :3], found.flux)
    away = ((found.measured - mean) / torch.tensor(SKY_NOISE)[:, None]).double()
    lower = stable_cholesky(found.gram.double())
    white = torch.linalg.solve_triangular(lower, away[..., None], upper=False)[..., 0]
    assert (white.std((0, 1)) - 1).abs().max() < 0.07
    pairs = torch.einsum("bfi,bfj->ij", white, white) / (400 * 5)
    assert (pairs - torch.eye(4)).abs().max() < 0.12
    # The same sky, the same sums.
    again = simulator.photometry(galaxies, sky=sky)
    assert torch.equal(found.measured, again.measured)
    complaint(ValueError, simulator.photometry, "sky", 400, 3, galaxies=galaxies, sky=sky[:3])
    complaint(ValueError, simulator.photometry, "sky", "finite", galaxies=galaxies, sky=sky / 0)
    complaint(ValueError, simulator.sky, "n", -1, n=-1, generator=rng())
    complaint(TypeError, simulator.photometry, "generator", "NoneType", galaxies=galaxies)


def test_least_squares_find_the_fluxes_without_bias(simulator):
    galaxies = simulator.draw(3000, generator=rng(6))
    found = simulator.photometry(galaxies, generator=rng(7))
    gram = found.gram[..., :3, :3].double()
    lower = stable_cholesky(gram)
    flux = torch.cholesky_solve(found.measured[..., :3, None].double(), lower)[..., 0]
    variance = torch.cholesky_inverse(lower).diagonal(dim1=-2, dim2=-1)
    error = variance.sqrt() * torch.tensor(SKY_NOISE)[:, None]
    pull = (flux - found.flux.mT) / error
    # 15,000 pulls of each component
    assert pull.mean((0, 1)).abs().max() < 4 / 15000**0.5
    assert (pull.std((0, 1)) - 1).abs().max() < 0.03


def test_noise_of_an_image_is_that_of_the_sky(simulator):
    galaxies = simulator.draw(20, generator=rng(8))
    noise = simulator.images(galaxies, generator=rng(9)) - simulator.images(galaxies)
    assert torch.allclose(noise.std((0, 2, 3)), torch.tensor(SKY_NOISE), rtol=0.02)
    assert (noise.mean((0, 2, 3)) / torch.tensor(SKY_NOISE)).abs().max() < 4 / 81920**0.5


def test_depths_are_those_of_the_survey(simulator):
    for fwhm, noise, depth in zip(
        simulator.renderer.psf_fwhm, SKY_NOISE, (23.3, 23.2, 23.1, 22.3, 21.3), strict=True
    ):
        # Pixels whose noise a point source meets, for a Gaussian of the PSF's width.
        pixels = 4 * math.pi * (fwhm / 2.3548) ** 2 / 0.25**2
        limit = 5 * noise * pixels**0.5
        assert 22.5 - 2.5 * math.log10(limit) == pytest.approx(depth, abs=0.03)


def test_an_image_holds_the_light_of_its_components(simulator):
    galaxies = simulator.draw(100, generator=rng(10))
    sums = simulator.images(galaxies).sum((2, 3))
    whole = simulator.fluxes(galaxies).sum(1)
    inside = sums / whole
    assert inside.max() < 1.01
    assert inside.median() > 0.93


def test_larger_images_hold_the_same_galaxy(simulator):
    galaxies = simulator.draw(5, generator=rng(11))
    large = GalaxySimulator(size=96).images(galaxies)[:, :, 16:80, 16:80]
    small = simulator.images(galaxies)
    assert (large - small).abs().max() < 0.003 * small.max()


def test_the_knob_changes_colours_of_components_and_not_the_red_light():
    fluxes = {}
    for gradient in (0.0, 1.0):
        simulator = GalaxySimulator(gradient=gradient)
        fluxes[gradient] = simulator.fluxes(simulator.draw(500, generator=rng(12)))
    r = {gradient: flux[:, :, 1] for gradient, flux in fluxes.items()}
    # Lines move with the clumps, and dust with the inclination.
    assert (r[1.0].sum(1) / r[0.0].sum(1)).log().abs().median() < 0.05
    colour = {gradient: -2.5 * (f[..., 0] / f[..., 2]).log10() for gradient, f in fluxes.items()}
    alike = colour[0.0] - colour[0.0][:, :1]
    assert alike.abs().max() < 1e-4
    assert (colour[1.0][:, 0] - colour[1.0][:, 2]).median() > 0.3, "bulges are redder than clumps"


def test_the_null_universe_has_one_colour_in_every_pixel():
    simulator = GalaxySimulator(null=True)
    fluxes = simulator.fluxes(simulator.draw(200, generator=rng(13)))
    ratio = fluxes / fluxes.sum(1, keepdim=True)
    assert torch.allclose(ratio, ratio[..., :1].expand_as(ratio), rtol=1e-4)


def test_residuals_are_lines_between_the_bands_of_sdss():
    residual = torch.tensor([[0.1, -0.1, 0.0, 0.2]])
    wavelength = torch.tensor([3000.0, 4702.0, 5439.0, 6176.0, 7490.0, 8218.5, 9800.0])
    found = -2.5 * residual_factor(residual, wavelength).log10()
    assert found[0].tolist() == pytest.approx([0.1, 0.1, 0, -0.1, 0, 0.1, 0.2], abs=1e-5)


def test_sdss_magnitudes_are_those_of_real_galaxies(simulator):
    found = sdss_magnitudes(simulator.draw(3000, generator=rng(14)))
    held = real_galaxies().split("held")
    real = torch.from_numpy(22.5 - 2.5 * torch.from_numpy(held.flux[:, 1:]).log10().numpy())
    difference = found.median(0).values - real.median(0).values
    assert difference.abs().max() < 0.08
    # Pan-STARRS and SDSS agree in r to a few hundredths.
    ours = simulator.fluxes(simulator.draw(3000, generator=rng(14))).sum(1)
    r = 22.5 - 2.5 * ours[:, 1].log10()
    assert (r - found[:, 1]).abs().max() < 0.15


# Spectra


def test_the_mask_is_what_the_spectrograph_sees(simulator):
    galaxies, _, spectra = observe(simulator, 300)
    observed = WAVELENGTH * (1 + galaxies.redshift[:, None])
    assert torch.equal(spectra.mask, (observed > 3800) & (observed < 9200))
    assert spectra.mask.dtype == torch.bool
    for values in (spectra.flux, spectra.inverse_variance):
        assert (values[~spectra.mask] == 0).all()
    assert (spectra.inverse_variance[spectra.mask] > 0).all()
    bins = spectra.mask.sum(1)
    assert bins.min() >= 765
    assert bins.max() <= 990


def test_noise_of_spectra_has_the_stated_variance(simulator):
    _, _, spectra = observe(simulator, 2000)
    pull = (spectra.flux - spectra.truth) * spectra.inverse_variance.sqrt()
    seen = spectra.mask.sum(0)
    often = seen > 500
    chi2 = pull.square().sum(0)[often] / seen[often]
    assert float(chi2.mean()) == pytest.approx(1, abs=0.005)
    assert (chi2 - 1).abs().max() < 5 * (2 / 500) ** 0.5
    assert pull.sum(0)[often].div(seen[often].sqrt()).abs().max() < 5


def test_spectra_have_mean_one_where_they_are_normalised(simulator):
    _, _, spectra = observe(simulator, 100)
    inside = (WAVELENGTH > 4500) & (WAVELENGTH < 6500)
    assert torch.allclose(spectra.truth[:, inside].mean(1), torch.ones(100), atol=1e-5)
    assert (spectra.truth > 0).all()


def test_signal_to_noise_is_that_of_sdss(simulator):
    galaxies, fibre, spectra = observe(simulator, 1000)
    r = 22.5 - 2.5 * (simulator.fluxes(galaxies)[:, :, 1] * fibre).sum(1).log10()
    ratio = (spectra.truth * spectra.inverse_variance.sqrt())[:, 400:600].median(1).values
    bright = (r > 16.9) & (r < 17.1)
    usual = (r > 17.9) & (r < 18.1)
    assert 15 < ratio[usual].median() < 45
    assert 1.3 < ratio[bright].median() / ratio[usual].median() < 2.6


def test_lines_lie_where_they_belong(simulator):
    galaxies, _, spectra = observe(simulator, 200, dispersion=torch.full((200,), 250.0))
    bare = replace(galaxies, lines=torch.zeros_like(galaxies.lines))
    fibre = torch.ones(200, 3)
    with_lines = simulator.spectra(galaxies, fibre, generator=rng()).truth
    without = simulator.spectra(bare, fibre, generator=rng()).truth
    # The normalisation is undone where there is no line.
    here = (WAVELENGTH / 5300 - 1).abs() < 0.005
    excess = with_lines / with_lines[:, here].mean(1)[:, None]
    excess = excess - without / without[:, here].mean(1)[:, None]
    for name in ("[OII] 3728", "H-beta", "[OIII] 5007", "H-alpha"):
        near = (WAVELENGTH / LINES[name] - 1).abs() < 0.004
        # H-alpha with [NII] on both sides: the brightest bin says which.
        peak = WAVELENGTH[near][excess.mean(0)[near].argmax()]
        assert float(peak) == pytest.approx(LINES[name], rel=5e-4)
    assert spectra.truth.shape == (200, 1000)


def test_equivalent_widths_are_integrals_of_the_spectrum(simulator):
    # Lines wider than the bins, so that a sum over bins is an integral.
    n = 200
    galaxies, fibre, spectra = observe(simulator, n, dispersion=torch.full((n,), 300.0))
    names = ("H-alpha", "[OIII] 5007")
    for column, name in enumerate(names):
        alone = torch.zeros_like(galaxies.lines)
        k = NAMES.index(name)
        alone[..., k] = galaxies.lines[..., k]
        bare = replace(galaxies, lines=torch.zeros_like(alone))
        one = replace(galaxies, lines=alone)
        near = (WAVELENGTH / LINES[name] - 1).abs() < 0.008
        at_line = (WAVELENGTH / LINES[name] - 1).abs().argmin()
        line = simulator.spectra(one, fibre, generator=rng()).truth
        stars = simulator.spectra(bare, fibre, generator=rng()).truth
        # Undo the normalisation, which the line changes: the flux far from it is the same.
        line = line * (stars[:, :1] / line[:, :1])
        height = (line - stars)[:, near] / stars[:, at_line, None]
        width = torch.trapezoid(height, WAVELENGTH[near], dim=1)
        assert torch.allclose(width.log(), spectra.log_widths[:, column], atol=0.03)


def test_widths_of_lines_are_plausible(simulator):
    _, _, spectra = observe(simulator, 2000)
    h_alpha, oxygen = spectra.log_widths.T
    assert 1.5 < float(h_alpha.mean()) < 2.7
    assert 0.8 < float(h_alpha.std()) < 1.6
    assert float(oxygen.mean()) < float(h_alpha.mean())
    assert spectra.log_widths.isfinite().all()


def test_a_fibre_on_the_bulge_sees_an_older_spectrum(simulator):
    galaxies = simulator.draw(300, generator=rng(15))
    bulge = torch.tensor([1.0, 0.0, 0.0]).expand(300, 3)
    clumps = torch.tensor([0.0, 0.0, 1.0]).expand(300, 3)
    old = simulator.spectra(galaxies, bulge, generator=rng())
    young = simulator.spectra(galaxies, clumps, generator=rng())
    assert (old.log_widths[:, 0] < young.log_widths[:, 0]).float().mean() > 0.95
    # The break at 4000 angstrom is deeper in old stars.
    blue = (WAVELENGTH > 3850) & (WAVELENGTH < 3950)
    red = (WAVELENGTH > 4000) & (WAVELENGTH < 4100)
    breaks = [s.truth[:, red].mean(1) / s.truth[:, blue].mean(1) for s in (old, young)]
    assert (breaks[0] > breaks[1]).float().mean() > 0.95


# Seeds, devices, bad input


def test_a_seed_goes_on_giving_the_same_galaxies(simulator):
    """Networks are trained on them: whoever moves these numbers raises `galaxy_sets._VERSION`."""
    generator = rng(2026)
    galaxies = simulator.draw(3, generator=generator)
    planes = simulator.renderer.planes(galaxies.shapes)
    photometry = simulator.photometry(galaxies, planes=planes, generator=generator)
    spectra = simulator.spectra(galaxies, photometry.fibre, generator=generator)
    images = simulator.images(galaxies, planes=planes, generator=generator)
    found = {
        "redshift": galaxies.redshift,
        "old": galaxies.coefficients[:, :, 3].flatten(),
        "flux": photometry.flux[:, :, 1].flatten(),
        "measured": photometry.measured[:, 1, 0],
        "fibre": photometry.fibre[0],
        "spectrum": spectra.flux[0, 500:503],
        "widths": spectra.log_widths.flatten(),
        "pixel": images[0, :, 31, 31],
    }
    for name, values in PINNED.items():
        assert found[name].tolist() == pytest.approx(values, rel=2e-3, abs=2e-4), name


PINNED = {
    "redshift": [0.068164, 0.09941, 0.077222],
    "old": [30.952, 72.261, 1.4822, 189.71, 85.914, 1.3716, 146.41, 164.81, 3.5881],
    "flux": [59.655, 187.79, 13.573, 202.49, 100.98, 3.1556, 164.17, 209.51, 8.6687],
    "measured": [0.57138, 0.78676, 0.83005],
    "fibre": [0.47472, 0.25619, 0.11029],
    "spectrum": [1.0233, 1.0425, 0.98751],
    "widths": [1.3254, 0.34023, 0.85085, -0.10571, 0.75468, -0.19516],
    "pixel": [0.45646, 1.326, 2.0871, 2.715, 3.3298],
}


def test_the_same_seed_gives_the_same_observation(simulator):
    first, second, other = (observe(simulator, 5, seed=seed)[2] for seed in (1, 1, 2))
    assert torch.equal(first.flux, second.flux)
    assert not torch.equal(first.flux, other.flux)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_the_same_galaxy(simulator):
    there = GalaxySimulator(device="cuda")
    galaxies = simulator.draw(20, generator=rng(16))
    here = simulator.images(galaxies)
    found = there.images(galaxies.to("cuda"))
    assert found.device.type == "cuda"
    assert torch.allclose(found.cpu(), here, atol=1e-4 * float(here.max()))
    assert there.draw(3, generator=torch.Generator("cuda")).redshift.device.type == "cuda"


def test_singular_gram_matrices_have_a_cholesky_factor():
    gram = torch.ones(2, 3, 3, dtype=torch.float64)
    lower = stable_cholesky(gram)
    assert torch.allclose(lower @ lower.mT, gram, atol=1e-6)
    assert lower.isfinite().all()


@pytest.mark.parametrize(
    ("error", "arguments", "words"),
    [
        (ValueError, {"gradient": 2.0}, ("gradient", 2.0)),
        (TypeError, {"gradient": "1"}, ("gradient", "'1'")),
        (TypeError, {"null": 0}, ("null", "True or False")),
        (ValueError, {"size": 0}, ("size", 0)),
        (TypeError, {"size": 64.0}, ("size", 64.0)),
    ],
)
def test_unfit_simulators_are_refused(error, arguments, words):
    complaint(error, GalaxySimulator, *words, **arguments)


def test_unfit_generators_are_refused(simulator):
    galaxies = simulator.draw(2, generator=rng())
    complaint(TypeError, simulator.draw, "generator", "int", n=2, generator=3)
    complaint(TypeError, simulator.images, "generator", "int", galaxies=galaxies, generator=3)
    inputs = {"galaxies": galaxies, "generator": None}
    complaint(TypeError, simulator.photometry, "generator", "NoneType", **inputs)
    inputs["fibre"] = torch.ones(2, 3)
    complaint(TypeError, simulator.spectra, "generator", "NoneType", **inputs)


def test_unfit_fibres_and_planes_are_refused(simulator):
    galaxies = simulator.draw(2, generator=rng())
    inputs = {"galaxies": galaxies, "generator": rng()}
    for fibre in (torch.ones(3, 3), torch.ones(2), torch.ones(2, 5)):
        words = ("fibre", "(2, 3)", tuple(fibre.shape))
        complaint(ValueError, simulator.spectra, *words, fibre=fibre, **inputs)
    broken = torch.full((2, 3), float("nan"))
    complaint(ValueError, simulator.spectra, "fibre", "finite", fibre=broken, **inputs)
    planes = simulator.renderer.planes(galaxies.shapes)[:1]
    complaint(ValueError, simulator.photometry, "planes", 2, 1, planes=planes, **inputs)


def test_galaxies_beyond_the_tables_are_refused(simulator):
    galaxies = simulator.draw(2, generator=rng())
    far = replace(galaxies, redshift=torch.tensor([0.1, 0.7]))
    complaint(ValueError, simulator.fluxes, "redshift", "0..0.4", 0.7, galaxies=far)
    dark = replace(galaxies, a_v=torch.full((2, 3), 5.0))
    complaint(ValueError, simulator.fluxes, "a_v", "-0.6..1.8", 5, galaxies=dark)
