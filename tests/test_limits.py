"""skytutor.limits: against closed forms, against itself another way, and against the shipped table."""

import math

import pytest
import torch

from skytutor import limits
from skytutor.covariance import PixelCovariance
from skytutor.data.cmb import Skies, peaked_spectrum


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
    """Mean absolute error of a Gaussian is sqrt(2 / pi) of its deviation; averaged over the prior."""
    sky = Skies("T1")
    found = limits.full_sky_errors(sky, size=1500, seed=0)[:, 0]
    places = torch.linspace(5.5, 19.5, 29, dtype=torch.float64)
    sigma = torch.stack([limits.fisher_full_sky(sky, p[None])[0] for p in places])
    wanted = math.sqrt(2 / math.pi) * float((sigma / places).mean())
    assert float(found.mean()) == pytest.approx(wanted, rel=0.1)


def test_fisher_of_tau_and_r_is_that_of_differences_of_the_likelihood():
    """The second derivative of the expected log-likelihood, taken at the fiducial spectrum itself."""
    sky = Skies("T4", nside=8, noise=limits.noise_per_pixel(6.0, 8))
    place = torch.tensor([0.003, 0.054], dtype=torch.float64)
    many = 2.0 * torch.arange(2, sky.lmax + 1).double() + 1
    data = sky.spectra(place[None])[0][:, 2:] + limits.noise_power(sky)

    def log(r, tau):
        model = sky.spectra(torch.stack([r, tau])[None])[0][:, 2:] + limits.noise_power(sky)
        return -0.5 * (many * (data / model + model.log())).sum()

    step = torch.tensor([3e-5, 1e-4], dtype=torch.float64)
    hessian = torch.zeros(2, 2, dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            a = step * (torch.arange(2) == i)
            b = step * (torch.arange(2) == j)
            corners = [log(*(place + s * a + t * b)) * s * t for s in (1, -1) for t in (1, -1)]
            hessian[i, j] = sum(corners) / (4 * step[i] * step[j])
    wanted = torch.linalg.inv(-hessian).diagonal().sqrt()
    torch.testing.assert_close(limits.fisher_full_sky(sky, place), wanted, rtol=0.02, atol=0)


def test_pixels_of_a_full_sky_say_what_band_powers_say():
    """The exact likelihood of all pixels, against the product over degrees: the same errors on the same kind of skies."""
    sky = Skies("T2", nside=8, f_sky=1.0)
    pixels = limits.pixel_errors(sky, size=150, seed=3, reach=3.0)
    bands = limits.full_sky_errors(sky, size=3000, seed=4)
    spread = float(pixels.std()) / math.sqrt(pixels.numel())
    assert abs(float(pixels.mean() - bands.mean())) < 4 * spread


def test_fisher_of_a_cap_is_below_that_of_the_sky():
    l = torch.arange(24).double()
    peak = peaked_spectrum(torch.tensor(10.0), lmax=23)
    slope = torch.stack([torch.stack([peak * (l - 10) / 25, 0 * l])])
    spectra = {"EE": peak, "BB": peak}
    whole, half = (
        PixelCovariance(8, 23, spin=2, mask=mask, variance=1e-6).fisher(spectra, slope).item()
        for mask in (torch.ones(768), torch.arange(768) < 384)
    )
    assert 0.3 * whole < half < 0.7 * whole


def test_the_shipped_table():
    known = limits.known()
    found = limits.full_sky_errors(Skies("T1", noise=5.0), size=800, seed=9)[:, 0]
    told = known["cmb-t1-noise5"]
    error = math.hypot(100 * float(found.std()) / math.sqrt(800), told["standard_error"][0])
    assert abs(100 * float(found.mean()) - told["error_percent"][0]) < 4 * error
    shares = [sum(known[f"cmb-t2-sky{s}"]["error_percent"]) for s in (100, 50, 20, 10, 5)]
    assert shares == sorted(shares), "less sky, more error"
