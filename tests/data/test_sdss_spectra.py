"""skytutor.data.sdss_spectra: small files of our own, and six real ones where they are."""

import csv
import os

import numpy as np
import pytest
import torch
from survey_files import HTML, write_spectrum

from skytutor.data import registry
from skytutor.data.sdss_spectra import (
    load_spectrum,
    noise_table,
    read_spectrum,
    resample_to_observed,
    to_rest_frame,
)
from skytutor.data.spectral_grid import bin_edges, rebin
from skytutor.data.spectral_templates import LOG_WAVELENGTH, filter_curve

WAVELENGTH = 10**LOG_WAVELENGTH


def with_line(redshift, *, width=30.0, rest=5008.24):
    """Return a flux with continuum 10 and a line of that equivalent width, observed frame."""

    def flux(wavelength):
        centre = rest * (1 + redshift)
        sigma = centre * 4e-4
        shape = np.exp(-0.5 * ((wavelength - centre) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        return 10 + 10 * width * shape

    return flux


@pytest.mark.parametrize("redshift", [0.0, 0.1, 0.33])
def test_a_line_comes_to_its_rest_wavelength_with_its_rest_equivalent_width(tmp_path, redshift):
    path = write_spectrum(tmp_path / "a.fits", redshift=redshift, flux=with_line(redshift))
    found = load_spectrum(path)
    near = (WAVELENGTH - 5008.24).abs() < 60
    continuum = found.flux[(WAVELENGTH - 5300).abs() < 50].median()
    above = (found.flux / continuum - 1) * near
    step = bin_edges().diff()
    centre = (above * step * WAVELENGTH).sum() / (above * step).sum()
    assert abs(float(centre) - 5008.24) < 0.1
    assert float((above * step).sum()) == pytest.approx(30 / (1 + redshift), rel=0.01)


def test_noise_is_that_of_the_file(tmp_path):
    rng = np.random.default_rng(0)
    ivar = rng.uniform(2, 6, 3900)
    ivar[rng.random(3900) < 0.02] = 0
    path = tmp_path / "a.fits"
    path = write_spectrum(
        path,
        ivar=ivar,
        flux=lambda w: 10 + rng.normal(size=3900) / np.sqrt(np.where(ivar, ivar, 1)),
    )
    found = load_spectrum(path)
    chi = ((found.flux - 1).square() * found.ivar)[found.mask]
    # Neighbours share pixels: a little less than 1, and as much as that is correlated.
    assert 0.8 < float(chi.mean()) < 1.02
    total = (found.flux[found.mask] - 1).sum() / (1 / found.ivar[found.mask]).sum().sqrt()
    assert abs(float(total)) < 4
    assert bool((found.ivar[~found.mask] == 0).all())


def test_what_sdss_marks_bad_is_left_out(tmp_path):
    path = write_spectrum(tmp_path / "a.fits")
    whole = read_spectrum(path)
    from astropy.io import fits

    with fits.open(path) as file:
        file[1].data["and_mask"][100:200] = 1 << 24  # no data
        file[1].data["and_mask"][300:400] = 1 << 0  # a remark, of the whole fibre
        file[1].data["flux"][500] = np.nan
        file.writeto(tmp_path / "b.fits")
    found = read_spectrum(tmp_path / "b.fits")
    gone = ((found.ivar == 0) & (whole.ivar > 0)).nonzero().flatten().tolist()
    assert gone == [*range(100, 200), 500]
    assert bool(to_rest_frame(found).flux.isfinite().all())


def test_only_sdss_window_counts_as_observed(tmp_path):
    found = load_spectrum(write_spectrum(tmp_path / "a.fits", redshift=0.2))
    seen = WAVELENGTH[found.mask] * 1.2
    assert float(seen.min()) > 3798 and float(seen.max()) < 9202
    assert int(found.mask.sum()) > 900


def test_air_wavelengths_are_turned_into_vacuum(tmp_path):
    from astropy.io import fits

    path = write_spectrum(tmp_path / "a.fits")
    vacuum = read_spectrum(path).edges
    with fits.open(path) as file:
        file[0].header["VACUUM"] = False
        file.writeto(tmp_path / "b.fits")
    ratio = read_spectrum(tmp_path / "b.fits").edges / vacuum - 1
    assert float(ratio.min()) > 2.6e-4 and float(ratio.max()) < 3e-4


def test_files_that_are_no_spectrum(tmp_path):
    whole = write_spectrum(tmp_path / "whole.fits").read_bytes()
    path = tmp_path / "a.fits"
    for content, said in (
        (whole[: len(whole) // 2], r"a.fits is cut short"),
        (whole[:2880], "cut short|must hold the tables"),
        (HTML, "is a page of HTML and no FITS file"),
        (b"", "is empty"),
        (b"plate mjd fibre\n" * 300, "does not begin with SIMPLE"),
    ):
        path.write_bytes(content)
        with pytest.raises((OSError, ValueError), match=said):
            load_spectrum(path)
    with pytest.raises(FileNotFoundError):
        load_spectrum(tmp_path / "none.fits")


def test_spectra_that_cannot_be_used(tmp_path):
    path = tmp_path / "a.fits"
    some = np.full(3900, 4.0)
    some[[7, 9]] = -1.0
    for options, said in (
        ({"ivar": some}, "ivar must be 0 or more, 2 values are negative"),
        ({"ivar": np.zeros(3900)}, "no pixel was observed"),
        ({"ivar": np.where(np.arange(3900) < 1900, 4.0, 0.0)}, "at least 50% of the bins"),
        ({"drop": ("ivar",)}, "must have the column ivar, found flux, loglam, and_mask"),
        ({"flux": lambda w: -np.ones(3900)}, "positive mean"),
        ({"redshift": -0.01}, r"a.fits: redshift must lie in 0 to 0.36, .* got -0.01"),
        ({"redshift": 0.5}, "got 0.5"),
        ({"redshift": np.nan}, "got nan"),
    ):
        write_spectrum(path, **options)
        with pytest.raises(ValueError, match=said):
            load_spectrum(path)
    assert load_spectrum(path, redshift=0.2).redshift == 0.2


def test_models_are_shifted_as_light_is():
    generator = torch.Generator().manual_seed(0)
    flux = torch.rand(3, 1000, generator=generator, dtype=torch.float64)
    redshift = torch.tensor([0.0, 0.05, 0.3], dtype=torch.float64)
    edges = torch.linspace(3000, 12000, 4001, dtype=torch.float64)
    model, covered = resample_to_observed(flux, redshift, edges=edges)
    # Energy is conserved: the same integral, over a wider range of wavelengths.
    before = (flux * bin_edges().diff()).sum(1)
    assert torch.allclose((model * edges.diff()).sum(1), before, rtol=2e-3)
    # Back in the rest frame it is what it was, but for what two pixels shared.
    smooth = 1 + 0.1 * torch.sin(LOG_WAVELENGTH * 200)[None]
    fine = bin_edges(torch.linspace(3.4, 4.1, 7001, dtype=torch.float64))
    there, seen = resample_to_observed(smooth, redshift[2:], edges=fine)
    back = rebin(there * 1.3, fine / 1.3, new_edges=bin_edges(), mask=seen)
    assert float((back.flux - smooth)[back.mask].abs().max()) < 2e-3
    assert not bool(covered[2, :10].any()) and bool(covered[2, 1000])


def test_gradient_of_a_shifted_model():
    smooth = 1 + 0.1 * torch.sin(LOG_WAVELENGTH * 100)[None]
    edges = torch.linspace(5000, 7000, 101, dtype=torch.float64)
    redshift = torch.tensor([0.1003], dtype=torch.float64, requires_grad=True)

    def pixel(z):
        return resample_to_observed(smooth, z, edges=edges)[0][0, 50]

    pixel(redshift).backward()
    step = 1e-4
    with torch.no_grad():
        slope = (pixel(redshift + step) - pixel(redshift - step)) / (2 * step)
    assert float(redshift.grad) == pytest.approx(float(slope), rel=0.03)
    with pytest.raises(ValueError, match=r"flux \(B, L\) and redshift \(B,\)"):
        resample_to_observed(smooth, redshift[0], edges=edges)
    with pytest.raises(ValueError, match="greater than -1"):
        resample_to_observed(smooth, torch.tensor([float("nan")]), edges=edges)


def test_noise_table_is_sorted_by_brightness(tmp_path):
    spectra = []
    for magnitude, ivar in ((18.0, 4.0), (17.0, 16.0)):
        flux = [10 ** ((22.5 - magnitude) / 2.5)] * 5
        path = write_spectrum(
            tmp_path / "a.fits", ivar=np.full(3900, ivar), SPECTROFLUX=np.array(flux)
        )
        spectra.append(load_spectrum(path))
    rows = noise_table(spectra)
    assert [round(row["fibre_r"], 3) for row in rows] == [17.0, 18.0]
    # 10 * sqrt(ivar) in a pixel of 1e-4 dex, 3.9 of which are in a bin
    assert rows[1]["signal_to_noise"] == pytest.approx(20 * 3.904**0.5, rel=0.01)
    assert rows[0]["ivar"] == pytest.approx(rows[0]["signal_to_noise"] ** 2, rel=0.01)


# --- real spectra ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """Return the folder of six real pairs."""
    folder = registry.folder() / "sdss_pairs"
    if not folder.is_dir():
        missing = pytest.fail if os.environ.get("SKYTUTOR_NEED_DATA") else pytest.skip
        missing(f"real spectra of SDSS are not in {folder}")
    return folder


@pytest.mark.data
def test_real_spectra_are_read_and_as_noisy_as_sdss_says(real):
    with open(real / "pairs.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    for row in rows:
        path = real / "spectra" / row["spectrum"]
        observed = read_spectrum(path)
        assert observed.kind == row["class"] and observed.z_warning == 0
        assert abs(observed.redshift - float(row["z"])) < 1e-6
        # SDSS's median over all pixels.
        ratio = (observed.flux * observed.ivar.sqrt())[observed.ivar > 0].median()
        assert float(ratio) == pytest.approx(float(row["sn_median_all"]), rel=0.03)
        found = to_rest_frame(observed)
        assert float(found.mask.double().mean()) > 0.85
        assert bool((found.ivar[found.mask] > 0).all())


@pytest.mark.data
def test_real_spectra_integrate_to_the_magnitudes_of_the_pipeline(real, capsys):
    wavelength, response = filter_curve("sdss2010-r")
    spectra = []
    for path in sorted((real / "spectra").glob("*.fits")):
        observed = read_spectrum(path)
        edges = observed.edges.numpy()
        centre = (edges[1:] + edges[:-1]) / 2
        seen = observed.ivar.numpy() > 0
        flux = np.interp(centre, centre[seen], observed.flux.numpy()[seen]) * 1e-17
        weight = np.interp(centre, wavelength, response, left=0, right=0) * np.diff(edges)
        # AB: photons over those of a source of 3631 Jy
        flat = 3.631e-20 * 2.99792458e18 / centre**2
        found = -2.5 * np.log10((flux * centre * weight).sum() / (flat * centre * weight).sum())
        assert abs(found - float(observed.fibre_magnitudes[2])) < 0.01
        spectra.append(to_rest_frame(observed))
    rows = noise_table(spectra)
    with capsys.disabled():
        for row in rows:
            said = f"z {row['redshift']:.3f}, r {row['fibre_r']:.2f}, ivar {row['ivar']:.0f}"
            print(f"\n{row['name']}: {said}, S/N a bin {row['signal_to_noise']:.1f}", end="")
    assert [row["signal_to_noise"] for row in rows] == sorted(
        (row["signal_to_noise"] for row in rows), reverse=True
    )


@pytest.mark.data
def test_lines_of_a_real_spectrum_stand_where_they_should(real):
    found = load_spectrum(real / "spectra" / "spec-0266-51630-0215.fits")
    for line in (6564.6, 5008.2):
        near = (WAVELENGTH - line).abs() < 25
        peak = WAVELENGTH[near][found.flux[near].argmax()]
        assert abs(float(peak) - line) < 5
