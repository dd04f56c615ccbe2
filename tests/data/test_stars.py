"""skytutor.data.stars: against Planck's law, the Sun's colours and speclite's own magnitudes."""

import math

import numpy as np
import pytest
import torch

from skytutor.data.stars import TEMPERATURES, StarTable, planck, star_spectrum

SDSS = ["sdss2010-g", "sdss2010-r", "sdss2010-i"]


def magnitudes(filters, temperature):
    flux = StarTable(filters).fluxes(torch.tensor(float(temperature)))
    return (-2.5 * flux.log10()).tolist()


def test_plancks_law_peaks_where_wien_says():
    wavelength = np.linspace(2000, 20000, 200_000)
    for temperature in (3000, 5777, 9550):
        peak = wavelength[planck(wavelength, temperature).argmax()]
        assert peak * temperature == pytest.approx(2.897772e7, rel=1e-4)


def test_plancks_law_falls_as_the_fourth_power_far_in_the_red():
    red, redder = planck(np.array([1e8, 2e8]), 5777.0)
    assert red / redder == pytest.approx(16, rel=1e-3)


def test_the_suns_colours_are_the_suns():
    """Willmer 2018: AB magnitudes 5.11, 4.65, 4.53 in SDSS g, r, i and 5.12 in 2MASS K."""
    g, r, i, k = magnitudes([*SDSS, "twomass-Ks"], 5777)
    assert g - r == pytest.approx(0.46, abs=0.05)
    assert r - i == pytest.approx(0.12, abs=0.05)
    assert r - k == pytest.approx(-0.47, abs=0.08)


def test_vega_has_the_colours_that_its_zero_points_mean():
    """In AB magnitudes Vega is -0.10, 0.14 and 1.85 in g, r and K."""
    g, r, k = magnitudes(["sdss2010-g", "sdss2010-r", "twomass-Ks"], 9550)
    assert g - r == pytest.approx(-0.24, abs=0.06)
    assert k - r == pytest.approx(1.71, abs=0.08)


def test_fluxes_are_those_of_speclite():
    import astropy.units as u
    from speclite.filters import load_filter

    wavelength, flux = star_spectrum(5777.0)
    unit = u.erg / u.s / u.cm**2 / u.AA
    expected = []
    for name in SDSS:
        curve = load_filter(name)
        expected.append(curve.get_ab_magnitude(flux * 1e-15 * unit, wavelength * u.AA))
    found = magnitudes(SDSS, 5777)
    assert np.ptp(np.array(found) - np.array(expected)) < 2e-3


def test_hotter_stars_are_bluer():
    temperature = torch.logspace(math.log10(3000), math.log10(15000), 60)
    table = StarTable(["galex-nuv", "sdss2010-g", "sdss2010-r", "twomass-J"])
    magnitude = -2.5 * table.fluxes(temperature).log10()
    assert bool((magnitude.diff(dim=1).diff(dim=0)[:, 1:] > 0).all())
    assert float(magnitude[0, 0] - magnitude[-1, 0]) > 8


def test_the_table_lies_on_the_spectra_between_its_nodes():
    table = StarTable(SDSS)
    for temperature in (3111.0, 6500.0, 12345.0):
        wavelength, flux = star_spectrum(temperature)
        at = np.interp(5500.0, wavelength, flux)
        g, r, _ = table.fluxes(torch.tensor(temperature)).tolist()
        near = table.fluxes(torch.tensor([temperature * 0.999, temperature * 1.001]))
        assert near[:, 0].mean() == pytest.approx(g, rel=1e-4)
        assert at > 0 and g > 0 and r > 0


def test_temperatures_outside_the_table_are_refused():
    low, high = TEMPERATURES
    for wrong in (low - 1, high + 1, float("nan")):
        with pytest.raises(ValueError, match=r"temperature must lie in 2800\.\.30000 K"):
            StarTable(SDSS).fluxes(torch.tensor([5000.0, wrong]))
        with pytest.raises(ValueError, match="temperature must"):
            star_spectrum(wrong)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        planck(np.ones(1), 0.0)


def test_filters_must_be_several_names():
    with pytest.raises(TypeError, match="filters must be a sequence of names, got 'sdss2010-g'"):
        StarTable("sdss2010-g")
    with pytest.raises(ValueError, match="filters must hold one name or more"):
        StarTable([])
    with pytest.raises(ValueError, match="name must be a filter of speclite, got 'no-such'"):
        StarTable(["no-such"])


@pytest.mark.parametrize("kelvin", [3100.0, 5000.0, 5777.0, 9000.0, 14000.0])
def test_colours_give_the_temperature_back_at_any_distance(kelvin):
    table = StarTable(["sdss2010-g", "sdss2010-r", "sdss2010-i"])
    flux = 1e3 * table.fluxes(torch.tensor([kelvin]))
    assert float(table.temperature(flux)) == pytest.approx(kelvin, rel=0.01)


def test_one_colour_that_is_wrong_moves_the_temperature_to_its_side():
    table = StarTable(["sdss2010-g", "sdss2010-r", "sdss2010-i"])
    flux = table.fluxes(torch.tensor([6000.0, 6000.0]))
    flux[1, 0] *= 1.1  # bluer
    cool, hot = table.temperature(flux).tolist()
    assert hot > cool + 100


@pytest.mark.parametrize(
    ("fluxes", "word"),
    [
        (torch.ones(3), "fluxes must be"),
        (torch.ones(2, 3), "with the table's 2 bands"),
        (torch.tensor([[1.0, 0.0]]), "positive"),
        (torch.tensor([[1.0, torch.nan]]), "positive"),
    ],
)
def test_fluxes_without_a_colour_are_refused(fluxes, word):
    with pytest.raises(ValueError, match=word):
        StarTable(["sdss2010-g", "sdss2010-r"]).temperature(fluxes)
