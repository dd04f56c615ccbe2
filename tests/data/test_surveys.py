"""skytutor.data.surveys: names, and numbers that belong together."""

import numpy as np
import pytest

from skytutor.data.spectral_templates import filter_curve
from skytutor.data.surveys import BANDS, KINDS, band_names, sky_flux


def test_every_band_stands_under_its_own_name():
    assert list(BANDS) == [band.name for band in BANDS.values()]
    assert {band.kind for band in BANDS.values()} == set(KINDS)
    assert {band.survey for band in BANDS.values()} == {"GALEX", "SDSS", "2MASS", "DSS"}


@pytest.mark.parametrize("band", BANDS.values(), ids=lambda band: band.name)
def test_the_effective_wavelength_is_that_of_the_curve(band):
    wavelength, response = filter_curve(band.filter)
    step = np.gradient(wavelength)
    mean = (wavelength * response * step).sum() / (response * step).sum()
    assert band.wavelength == pytest.approx(mean, rel=0.04)


def test_names_are_checked():
    assert band_names(("K", "FUV")) == ("K", "FUV")
    with pytest.raises(TypeError, match="bands must be a sequence of names, got 'g'"):
        band_names("g")
    with pytest.raises(ValueError, match="bands must hold one of FUV, NUV, g"):
        band_names([])
    with pytest.raises(ValueError, match=r"bands must be one of .*'red', got 'u'"):
        band_names(["g", "u"])
    with pytest.raises(ValueError, match="bands must name each band once, got g, r more than once"):
        band_names(["g", "r", "g", "r", "i"])


def test_the_sky_is_a_flux_of_its_magnitude():
    for band in BANDS.values():
        assert 22.5 - 2.5 * np.log10(sky_flux(band)) == pytest.approx(band.sky)
