"""skytutor.data.galaxy_table: the fits against photometry, against kcorrect's own, and halves."""

import os

import numpy as np
import pytest
import torch
from astropy.io import fits
from complaints import complaint

from skytutor.data import registry
from skytutor.data.galaxy_table import SDSS, fit_templates, real_galaxies
from skytutor.data.spectral_templates import BandTable, load_templates
from skytutor.files import package_file


def colours(flux):
    return -2.5 * np.log10(flux[:, :-1] / flux[:, 1:])


def model_fluxes(redshift, coefficients):
    z = torch.from_numpy(np.asarray(redshift)).float()
    table = BandTable(SDSS, lines=True).continuum(z, torch.zeros_like(z)).double().numpy()
    return np.einsum("nkb,nk->nb", table, coefficients)


def test_redshifts_and_fluxes_are_those_of_the_main_galaxy_sample():
    found = real_galaxies()
    assert 9900 < len(found) <= 10_000
    assert 0.01 < found.redshift.min() < found.redshift.max() < 0.36
    assert np.median(found.redshift) == pytest.approx(0.10, abs=0.01)
    r = 22.5 - 2.5 * np.log10(found.flux[:, 2])
    # Its limit is r = 17.77; luminous red galaxies are fainter.
    assert np.median(r) == pytest.approx(16.9, abs=0.3)


def test_residuals_are_measured_minus_fitted_magnitudes():
    found = real_galaxies()
    fitted = model_fluxes(found.redshift, found.coefficients)
    expected = 2.5 * np.log10(fitted / found.flux)
    assert found.residual == pytest.approx(expected, abs=1e-5)
    assert (found.coefficients >= 0).all()
    # Templates fit colours of galaxies to the errors that they are given.
    assert (np.abs(np.median(found.residual, axis=0)) < [0.1, 0.02, 0.02, 0.02, 0.02]).all()
    spread = np.percentile(np.abs(found.residual), 68, axis=0)
    assert (spread[1:] < 0.03).all()


def test_a_mixture_of_templates_is_found_again():
    rng = np.random.default_rng(1)
    redshift = rng.uniform(0.02, 0.35, 20)
    truth = rng.uniform(1, 30, (20, 5))
    flux = model_fluxes(redshift, truth)
    found = fit_templates(redshift, flux, 0.01 * flux)
    assert found.coefficients == pytest.approx(truth, rel=2e-3)
    assert np.abs(found.residual).max() < 1e-4


def test_halves_are_disjoint_and_together_all():
    whole = real_galaxies()
    drawn, held = whole.split("drawn"), whole.split("held")
    assert abs(len(drawn) - len(held)) <= 1
    # Five fluxes are as good as a name.
    names = [{row.tobytes() for row in part.flux} for part in (whole, drawn, held)]
    assert not names[1] & names[2]
    assert names[1] | names[2] == names[0]
    assert np.array_equal(whole.split("held").redshift, held.redshift), "the same at every call"
    # Neither half is a selection: their mean colours agree within the errors of the means.
    difference = colours(drawn.flux).mean(0) - colours(held.flux).mean(0)
    error = colours(whole.flux).std(0) * np.sqrt(4 / len(whole))
    assert (np.abs(difference) < 3.5 * error).all()


def test_rows_of_a_half_belong_together():
    held = real_galaxies().split("held")
    fitted = model_fluxes(held.redshift, held.coefficients)
    assert held.residual == pytest.approx(2.5 * np.log10(fitted / held.flux), abs=1e-5)


@pytest.mark.data
def test_colours_of_the_fits_agree_with_those_of_kcorrect():
    table = registry.folder() / "galaxies" / "kcorrect_coefficients.npz"
    if not table.exists():
        missing = pytest.fail if os.environ.get("SKYTUTOR_NEED_DATA") else pytest.skip
        missing(f"kcorrect's coefficients are not in {registry.folder()}")
    with np.load(table) as file:
        redshift = file["z"].astype(float)
        theirs = file["coeffs"].astype(float)
        measured = file["maggies_ugrizJHK_AB_dereddened"][:, :5].astype(float)
    # Their coefficients belong to templates before ours were scaled.
    path = package_file("kcorrect", "data", "templates", "kcorrect-default-v4.fits")
    with fits.open(path) as file:
        raw = np.array(file["FLUX"].data["flux"][0], dtype=float).reshape(5, -1)
    theirs = theirs * raw.sum(1) / load_templates().flux.sum(1)
    ours = real_galaxies()
    rows = {np.float32(z): k for k, z in enumerate(redshift)}
    single = [k for k, z in enumerate(ours.redshift) if np.float32(z) in rows]
    assert len(single) > 0.95 * len(ours)
    match = [rows[np.float32(z)] for z in ours.redshift[single]]
    found = colours(model_fluxes(ours.redshift, ours.coefficients))[single]
    expected = colours(model_fluxes(redshift, theirs))[match]
    difference = np.abs(found - expected)[:, 1:]
    assert (np.median(difference, axis=0) < 0.035).all()
    # They fit the near infrared too, and so miss griz by more than a fit to ugriz does.
    ours_off = np.abs(found - colours(ours.flux)[single])[:, 1:]
    theirs_off = np.abs(expected - colours(measured)[match])[:, 1:]
    assert (np.median(ours_off, axis=0) < np.median(theirs_off, axis=0)).all()
    assert (np.median(ours_off, axis=0) < 0.02).all()


def good_input():
    return {
        "redshift": np.array([0.1, 0.2]),
        "flux": np.full((2, 5), 10.0),
        "error": np.full((2, 5), 0.1),
    }


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("redshift", np.array([]), ("at least 1", "(0,)")),
        ("redshift", np.full((2, 1), 0.1), ("(N,)", "(2, 1)")),
        ("redshift", np.array([0.1, 0.5]), ("0..0.4", 0.5)),
        ("redshift", np.array([0.1, np.nan]), ("0..0.4", "nan")),
        ("flux", np.ones((2, 4)), ("(2, 5)", "(2, 4)")),
        ("flux", np.ones((3, 5)), ("(2, 5)", "(3, 5)")),
        ("flux", np.full((2, 5), -1.0), ("positive", -1.0)),
        ("flux", np.full((2, 5), np.nan), ("finite", "nan")),
        ("error", np.zeros((2, 5)), ("positive", 0.0)),
        ("error", np.full((2, 5), np.inf), ("finite", "inf")),
    ],
)
def test_unfit_photometry_is_refused(name, value, words):
    arguments = tuple({**good_input(), name: value}.values())
    complaint(ValueError, lambda: fit_templates(*arguments), name, *words)


def test_a_half_of_another_name_is_refused():
    complaint(ValueError, real_galaxies().split, "name", "'drawn' or 'held'", "train", name="train")
