"""skytutor.data.spectral_templates: against speclite's own magnitudes and direct integrals."""

import numpy as np
import pytest
import torch
from astropy import units
from complaints import complaint
from speclite.filters import load_filters

from skytutor import files
from skytutor.data import spectral_templates
from skytutor.data.spectral_templates import (
    BANDS,
    LINES,
    LOG_WAVELENGTH,
    BandTable,
    attenuation,
    filter_curve,
    load_templates,
)
from skytutor.files import package_file

PANSTARRS = [f"panstarrs-{band}" for band in BANDS]
SDSS_R = "sdss2010-r"
UNIT = 1e-17 * units.erg / units.s / units.cm**2 / units.angstrom


@pytest.fixture(scope="module")
def table():
    return BandTable(PANSTARRS)


def dimmed(a_v, with_lines=False):
    """Return wavelengths and spectra of the templates behind dust."""
    templates = load_templates()
    spectra = templates.flux if with_lines else templates.continuum
    return templates.wavelength, spectra * 10 ** (
        -0.4 * a_v * (templates.wavelength / 5500) ** -0.7
    )


def nanomaggies(wavelength, flux, redshift, names=PANSTARRS):
    """Return the fluxes of spectra (5, W) through filters, by speclite: (5, F)."""
    observed = wavelength * (1 + redshift) * units.angstrom
    # What no filter sees is left out: speclite would integrate it all.
    near = (observed.value > 2500) & (observed.value < 12500)
    table = load_filters(*names).get_ab_magnitudes(
        flux[:, near] / (1 + redshift) * UNIT, observed[near]
    )
    magnitudes = np.stack([np.asarray(table[name]) for name in names], axis=1)
    return 10 ** (-0.4 * (magnitudes - 22.5))


def test_the_grid_of_wavelengths_is_that_of_the_published_spectra():
    assert len(LOG_WAVELENGTH) == 1000
    assert 10 ** LOG_WAVELENGTH[0] == pytest.approx(3388.44, abs=0.01)
    assert 10 ** LOG_WAVELENGTH[-1] == pytest.approx(8317.64, abs=0.01)


def test_every_template_gives_one_nanomaggie_in_r_at_redshift_one_tenth():
    templates = load_templates()
    found = nanomaggies(templates.wavelength, templates.continuum, 0.1, [SDSS_R])
    assert found == pytest.approx(1, abs=1e-3)


def above_the_sides(name, spectra):
    """Return the largest flux where a line was, over the straight line between its two sides."""
    wavelength = load_templates().wavelength
    offset = wavelength / LINES[name] - 1
    inside = np.abs(offset) < 0.0045
    sides = [(offset * sign > 0.0045) & (offset * sign < 0.0095) for sign in (-1, 1)]
    at = [wavelength[side].mean() for side in sides]
    level = [np.interp(wavelength[inside], at, [r[side].mean() for side in sides]) for r in spectra]
    return (spectra[:, inside] / np.stack(level)).max(1)


@pytest.mark.parametrize("name", LINES)
def test_no_bump_is_left_where_a_line_was_cut_out(name):
    highest = above_the_sides(name, load_templates().continuum)
    # The extreme starburst keeps some of [OIII] 4959, whose side holds the brighter 5007.
    allowed = [1.03, 1.5 if name == "[OIII] 4959" else 1.03, 1.03, 1.03, 1.03]
    assert (highest < allowed).all()


@pytest.mark.parametrize("name", ["H-alpha", "H-beta", "[OIII] 5007", "[SII] 6717"])
def test_there_was_a_line_to_cut_out(name):
    assert above_the_sides(name, load_templates().flux)[1] > 1.5


def test_cutting_lines_takes_light_away_only_there():
    templates = load_templates()
    assert (templates.continuum <= templates.flux).all()
    rest = np.ones(len(templates.wavelength), dtype=bool)
    for line in LINES.values():
        rest &= np.abs(templates.wavelength / line - 1) >= 0.0045
    assert np.array_equal(templates.continuum[:, rest], templates.flux[:, rest])


def test_the_flux_of_h_alpha_is_what_was_cut_out():
    templates = load_templates()
    near = np.abs(templates.wavelength / LINES["H-alpha"] - 1) < 0.0045
    lost = (templates.flux - templates.continuum)[:, near]
    blend = np.trapezoid(lost, templates.wavelength[near], axis=1)
    # [NII] is not resolved from it and takes 30 %.
    assert templates.h_alpha == pytest.approx(0.7 * blend, rel=1e-6, abs=1e-9)
    assert templates.h_alpha[1:3].min() > 5 * templates.h_alpha[3], "young stars light the gas"


@pytest.mark.parametrize("a_v", [-0.5, 0.0, 0.83, 1.75])
@pytest.mark.parametrize("redshift", [0.0, 0.0137, 0.1891, 0.3433])
def test_the_table_agrees_with_speclite_between_its_nodes(table, redshift, a_v):
    expected = nanomaggies(*dimmed(a_v), redshift)
    found = table.continuum(torch.tensor(redshift), torch.tensor(a_v)).numpy()
    # Curves of filters come in steps of 10 angstrom, and lines in y are narrower near redshift 0.
    allowed = [0.005, 0.005, 0.005, 0.005, 0.015]
    assert (np.abs(2.5 * np.log10(found / expected)).max(0) < allowed).all()


@pytest.mark.parametrize("redshift", [0.05, 0.1, 0.15, 0.2, 0.3])
def test_the_table_agrees_with_speclite_without_dust(table, redshift):
    expected = nanomaggies(*dimmed(0), redshift)
    found = table.continuum(torch.tensor(redshift), torch.tensor(0.0)).numpy()
    assert (np.abs(2.5 * np.log10(found / expected)).max(0) < [0.0015] * 4 + [0.004]).all()


def test_templates_keep_their_lines_when_asked():
    with_lines = BandTable(["sdss2010-g", SDSS_R], lines=True)
    expected = nanomaggies(*dimmed(0, with_lines=True), 0.08, ["sdss2010-g", SDSS_R])
    found = with_lines.continuum(torch.tensor(0.08), torch.tensor(0.0)).numpy()
    # Lines are narrower than the steps of the filters' curves.
    assert (np.abs(2.5 * np.log10(found / expected)).max(0) < [0.025, 0.002]).all()
    bare = nanomaggies(*dimmed(0), 0.08, ["sdss2010-g", SDSS_R])
    assert (expected / bare).max() > 1.03, "which changes the starburst's colour"


def test_a_batch_of_redshifts_is_read_as_one_by_one(table):
    redshift = torch.tensor([[0.05, 0.2], [0.3, 0.111]])
    a_v = torch.tensor([[0.1, -0.2], [1.0, 0.0]])
    found = table.continuum(redshift, a_v)
    for row in range(2):
        for column in range(2):
            alone = table.continuum(redshift[row, column], a_v[row, column])
            assert torch.equal(found[row, column], alone)
    assert torch.equal(table.lines(redshift)[1, 0], table.lines(redshift[1, 0]))


def test_a_line_of_unit_flux_is_a_narrow_gaussian_integrated(table):
    redshift = 0.1234
    found = table.lines(torch.tensor(redshift)).numpy()
    for row, line in enumerate(LINES.values()):
        centre = line * (1 + redshift)
        wavelength = np.linspace(centre - 20, centre + 20, 401)
        gauss = np.exp(-0.5 * ((wavelength - centre) / 2) ** 2) / np.sqrt(2 * np.pi) / 2
        for column, name in enumerate(PANSTARRS):
            response = np.interp(wavelength, *filter_curve(name), left=0, right=0)
            # Photons through the filter over those of a source of AB magnitude 22.5.
            counts = np.trapezoid(gauss * wavelength * response, wavelength)
            at, throughput = filter_curve(name)
            reference = 3631e-23 * 1e-9 * 2.99792458e18 / 1e-17
            norm = reference * np.trapezoid(throughput / at, at)
            assert found[row, column] == pytest.approx(counts / norm, abs=2e-4)


def test_a_line_falls_into_the_band_where_it_is_observed(table):
    names = list(LINES)
    # H-alpha at 0.02 and 0.2 lies at 6696 and 7877 angstrom: in r and in i.
    at_low = table.lines(torch.tensor(0.02))[names.index("H-alpha")]
    at_high = table.lines(torch.tensor(0.2))[names.index("H-alpha")]
    assert BANDS[int(at_low.argmax())] == "r"
    assert BANDS[int(at_high.argmax())] == "i"
    assert at_low[0] == 0


def test_attenuation_is_that_of_charlot_and_fall():
    a_v = torch.tensor([0.0, 1.0, 2.0])
    at_5500 = attenuation(torch.tensor(5500.0), a_v)
    assert torch.allclose(at_5500, 10 ** (-0.4 * a_v))
    # Twice the wavelength: a factor 2^-0.7 in magnitudes.
    red = -2.5 * attenuation(torch.tensor(11000.0), torch.tensor(1.0)).log10()
    assert float(red) == pytest.approx(2**-0.7, rel=1e-5)
    both = attenuation(torch.tensor(4000.0), torch.tensor(0.3))
    both = both * attenuation(torch.tensor(4000.0), torch.tensor(0.4))
    assert torch.allclose(both, attenuation(torch.tensor(4000.0), torch.tensor(0.7)))


@pytest.mark.parametrize("value", [-0.01, 0.41, float("nan")])
def test_redshifts_outside_the_table_are_refused(table, value):
    redshift = torch.tensor([0.1, value])
    complaint(ValueError, table.lines, "redshift", "0..0.4", value, redshift=redshift)
    inputs = {"redshift": redshift, "a_v": torch.zeros(2)}
    complaint(ValueError, table.continuum, "redshift", "0..0.4", **inputs)


@pytest.mark.parametrize("value", [-0.7, 1.9])
def test_attenuations_outside_the_table_are_refused(table, value):
    inputs = {"redshift": torch.tensor(0.1), "a_v": torch.tensor(value)}
    complaint(ValueError, table.continuum, "a_v", "-0.6..1.8", value, **inputs)


def test_unfit_filters_are_refused():
    complaint(TypeError, BandTable, "filters", "panstarrs-g", filters="panstarrs-g")
    complaint(ValueError, BandTable, "filters", "none", filters=[])
    complaint(ValueError, filter_curve, "name", "panstarrs-q", name="panstarrs-q")


def test_a_missing_package_or_file_says_how_to_install_it(monkeypatch):
    complaint(ImportError, package_file, "pip install nosuchpackage", package="nosuchpackage")
    with pytest.raises(ImportError, match=r"kcorrect holds no data/none\.fits: pip install"):
        package_file("kcorrect", "data", "none.fits")
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    filter_curve.cache_clear()
    complaint(ImportError, filter_curve, "pip install speclite", name="panstarrs-g")


def test_filters_beyond_the_optical_have_a_grid_that_holds_them():
    grid = spectral_templates._fine_grid(["galex-fuv", "twomass-Ks"])
    assert grid[0] < 1330.8 / 1.4 and grid[-1] > 23990
    ratio = grid[1:] / grid[:-1]
    assert np.ptp(ratio) < 1e-9
    # Where the optical grid is wide enough, it stays the very same.
    assert spectral_templates._fine_grid(["panstarrs-g"]) is spectral_templates._FINE
    # Its nodes are among those of the wider one.
    first = np.abs(grid - spectral_templates._FINE[0]).argmin()
    again = grid[first : first + len(spectral_templates._FINE)]
    assert again == pytest.approx(spectral_templates._FINE, rel=1e-9)


def test_ultraviolet_and_infrared_fluxes_are_those_of_speclite():
    import astropy.units as u
    from speclite.filters import load_filter

    templates = load_templates()
    names = ("galex-nuv", "twomass-Ks")
    table = BandTable(names).continuum(torch.tensor([0.1]), torch.zeros(1))[0]
    unit = 1e-17 * u.erg / u.s / u.cm**2 / u.AA
    for f, name in enumerate(names):
        for k in (1, 3):
            flux = np.maximum(templates.continuum[k], 0) / 1.1 * unit
            wavelength = templates.wavelength * 1.1 * u.AA
            magnitude = load_filter(name).get_ab_magnitude(flux, wavelength)
            assert 22.5 - 2.5 * np.log10(float(table[k, f])) == pytest.approx(magnitude, abs=5e-3)


def test_plates_see_between_the_edges_of_glass_and_emulsion():
    wavelength, response = filter_curve("plate-blue")
    assert (wavelength[0], wavelength[-1]) == (3800, 5400)
    assert response.tolist() == [0, 1, 1, 0]
    g, blue = BandTable(["sdss2010-g", "plate-blue"]).continuum(torch.zeros(1), torch.zeros(1))[0].T
    assert bool(((g / blue).log10().abs() < 0.1).all())
