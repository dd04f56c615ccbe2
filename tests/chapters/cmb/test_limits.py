"""Limits of chapter 3: against closed forms, another way, and the table of the package."""

import math

import numpy as np
import pytest
import torch

from skytutor.chapters.cmb import limits, pixel_limits
from skytutor.data.cmb import GaussianSkySimulator, noise_per_pixel, peaked_spectrum
from skytutor.fields.covariance import PixelCovariance


def test_the_relative_median_is_the_best_answer():
    """On a lumpy posterior, no other value has a smaller expected relative error."""
    values = torch.linspace(1, 3, 4001, dtype=torch.float64)
    log = torch.log(
        torch.exp(-((values - 1.4) ** 2) / 0.02) + 0.6 * torch.exp(-((values - 2.5) ** 2) / 0.1)
    )
    found = limits.relative_median(values, log[None])[0]
    mass = torch.softmax(log, 0)
    cost = [(mass * (v - values).abs() / values).sum() for v in values]
    assert abs(float(found - values[int(torch.stack(cost).argmin())])) < 2e-3


def test_full_sky_limit_is_that_of_fisher_where_noise_is_small():
    """A Gaussian's mean absolute error is sqrt(2 / pi) of its deviation; mean over the prior."""
    simulator = GaussianSkySimulator("T1")
    found = limits.full_sky_errors(simulator, size=1500, seed=0)[:, 0]
    peaks = torch.linspace(5.5, 19.5, 29, dtype=torch.float64)
    sigma = torch.stack([limits.fisher_full_sky(simulator, peak[None])[0] for peak in peaks])
    wanted = math.sqrt(2 / math.pi) * float((sigma / peaks).mean())
    assert float(found.mean()) == pytest.approx(wanted, rel=0.1)


def test_estimates_of_a_full_sky_are_the_weighted_median_of_the_posterior():
    """For one sky with noise, against quadrature of the posterior written out by hand."""
    simulator = GaussianSkySimulator("T1", nside=4, noise=1.0)
    noise = limits.noise_power(simulator)
    rng = np.random.default_rng(2)
    orders = 2 * np.arange(12) + 1
    expected = peaked_spectrum(torch.tensor(8.0), lmax=11).numpy() + noise
    measured = expected * rng.chisquare(orders) / orders
    peaks = np.linspace(5, 20, 60_001)
    log = np.zeros_like(peaks)
    for l, count in enumerate(orders):
        model = np.exp(-((l - peaks) ** 2) / 50) + 1e-5 + noise
        log -= 0.5 * count * (measured[l] / model + np.log(model))
    mass = np.cumsum(np.exp(log - log.max()) / peaks)
    wanted = peaks[np.searchsorted(mass, mass[-1] / 2)]
    found = limits.full_sky_estimates(simulator, torch.from_numpy(measured)[None, None])
    assert found.shape == (1, 1)
    assert float(found) == pytest.approx(wanted, abs=2e-3)


def test_estimates_refuse_what_is_no_spectrum_of_the_study():
    simulator = GaussianSkySimulator("T2", nside=4)
    with pytest.raises(ValueError, match=r"measured must be \(N, 2, 10\), got \(5, 2, 12\)"):
        limits.full_sky_estimates(simulator, torch.ones(5, 2, 12))
    with pytest.raises(ValueError, match="simulator must be a full sky"):
        limits.full_sky_estimates(GaussianSkySimulator("T4", nside=4), torch.ones(5, 2, 10))


def test_fisher_of_tau_and_r_is_that_of_differences_of_the_likelihood():
    """The second derivative of the expected log-likelihood, at the fiducial spectrum itself."""
    simulator = GaussianSkySimulator("T4", nside=8, noise=noise_per_pixel(6.0, 8))
    fiducial = torch.tensor([0.003, 0.054], dtype=torch.float64)
    n_orders = 2.0 * torch.arange(2, simulator.lmax + 1).double() + 1

    def spectra(r, tau):
        signal = simulator.spectra(torch.stack([r, tau])[None])[0][:, 2:]
        return signal + limits.noise_power(simulator)

    data = spectra(*fiducial)

    def log(r, tau):
        model = spectra(r, tau)
        return -0.5 * (n_orders * (data / model + model.log())).sum()

    step = torch.tensor([3e-5, 1e-4], dtype=torch.float64)
    hessian = torch.zeros(2, 2, dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            a = step * (torch.arange(2) == i)
            b = step * (torch.arange(2) == j)
            corners = 0
            for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                corners = corners + log(*(fiducial + s * a + t * b)) * s * t
            hessian[i, j] = corners / (4 * step[i] * step[j])
    wanted = torch.linalg.inv(-hessian).diagonal().sqrt()
    torch.testing.assert_close(
        limits.fisher_full_sky(simulator, fiducial), wanted, rtol=0.02, atol=0
    )


def test_pixels_of_a_full_sky_say_what_its_spectrum_says():
    """The exact likelihood of all pixels, against the product over degrees: the same errors."""
    simulator = GaussianSkySimulator("T2", nside=8, f_sky=1.0)
    pixels = pixel_limits.pixel_errors(simulator, size=150, seed=3, reach=3.0)
    degrees = limits.full_sky_errors(simulator, size=3000, seed=4)
    spread = float(pixels.std()) / math.sqrt(pixels.numel())
    assert abs(float(pixels.mean() - degrees.mean())) < 4 * spread


def test_fisher_of_a_cap_is_below_that_of_the_sky():
    l = torch.arange(24).double()
    peak = peaked_spectrum(torch.tensor(10.0), lmax=23)
    slope = torch.stack([torch.stack([peak * (l - 10) / 25, 0 * l])])
    spectra = {"EE": peak, "BB": peak}
    information = []
    for mask in (torch.ones(768), torch.arange(768) < 384):
        covariance = PixelCovariance(8, 23, spin=2, mask=mask, variance=1e-6)
        information.append(covariance.fisher(spectra, slope).item())
    full_sky, half_sky = information
    assert 0.3 * full_sky < half_sky < 0.7 * full_sky


def test_the_table_that_comes_with_the_package():
    table = limits.load_limits()
    found = limits.full_sky_errors(GaussianSkySimulator("T1", noise=5.0), size=800, seed=9)[:, 0]
    limit = table["cmb-t1-noise5"]
    error = math.hypot(100 * float(found.std()) / math.sqrt(800), limit["standard_error"][0])
    assert abs(100 * float(found.mean()) - limit["error_percent"][0]) < 4 * error
    errors = [sum(table[f"cmb-t2-sky{s}"]["error_percent"]) for s in (100, 50, 20, 10, 5)]
    assert errors == sorted(errors), "less sky, more error"
