"""The page for readers who come from healpy: each of its rows holds, and its code runs."""

import math
import re
from pathlib import Path

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor import healpix, io, plot, sht
from skytutor.fields import dipole, spectra, windows
from skytutor.widgets import view

PAGE = Path(__file__).parents[2] / "book/from-healpy.md"
NSIDE, LMAX = 8, 16
NPIX = 12 * NSIDE**2
RING = {"nside": NSIDE, "order": "ring"}
RNG = np.random.default_rng(0)
MAP = RNG.standard_normal(NPIX)
QU = RNG.standard_normal((2, NPIX))
PIXELS = np.array([0, 5, 77, NPIX - 1])
CL = 1.0 / (1 + np.arange(LMAX + 1.0))
ALMS = hp.map2alm(MAP, lmax=LMAX)


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def close(ours, theirs, tolerance=1e-12):
    ours = np.asarray(ours.detach() if isinstance(ours, torch.Tensor) else ours)
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def sizes():
    assert healpix.nside_to_npix(NSIDE) == hp.nside2npix(NSIDE)


def sides():
    assert healpix.npix_to_nside(NPIX) == hp.npix2nside(NPIX)


def areas():
    close(healpix.pixel_area(NSIDE), hp.nside2pixarea(NSIDE))


def resolutions():
    close(healpix.resolution(NSIDE), hp.nside2resol(NSIDE))


def angles():
    ours = healpix.pixel_to_angle(tensor(PIXELS), **RING)
    for one, theirs in zip(ours, hp.pix2ang(NSIDE, PIXELS), strict=True):
        close(one, theirs)


def pixels_of_angles():
    theta, phi = hp.pix2ang(NSIDE, PIXELS)
    close(healpix.angle_to_pixel(tensor(theta), tensor(phi), **RING), PIXELS)


def vectors():
    ours = healpix.pixel_to_vector(tensor(PIXELS), **RING)
    close(ours, np.stack(hp.pix2vec(NSIDE, PIXELS), -1))


def pixels_of_vectors():
    vector = np.stack(hp.pix2vec(NSIDE, PIXELS), -1)
    close(healpix.vector_to_pixel(tensor(vector), **RING), PIXELS)


def neighbours():
    ours = healpix.neighbours(tensor(PIXELS), **RING)
    assert ours.shape == (len(PIXELS), 8)
    close(ours, hp.get_all_neighbours(NSIDE, PIXELS).T)


def orders():
    ours = healpix.reorder(tensor(MAP), source="ring", target="nested")
    close(ours, hp.reorder(MAP, r2n=True))


def grades():
    close(healpix.degrade(tensor(MAP), 4, **RING), hp.ud_grade(MAP, 4))
    close(healpix.upgrade(tensor(MAP), 16, **RING), hp.ud_grade(MAP, 16))


def discs():
    vector = np.array([0.3, -0.2, 0.9])
    ours = healpix.query_disc(tensor(vector), 0.4, **RING)
    assert set(ours.tolist()) == set(hp.query_disc(NSIDE, vector, 0.4).tolist())


def strips():
    ours = healpix.query_strip(0.5, 1.1, **RING)
    assert set(ours.tolist()) == set(hp.query_strip(NSIDE, 0.5, 1.1).tolist())


DIRECTIONS = (np.array([0.1, 1.3, 3.0]), np.array([0.2, 4.0, 6.2]))


def values_between():
    theta, phi = map(tensor, DIRECTIONS)
    ours = healpix.interpolate(tensor(MAP), theta=theta, phi=phi, **RING)
    close(ours, hp.get_interp_val(MAP, *DIRECTIONS))


def weights_between():
    theta, phi = map(tensor, DIRECTIONS)
    pixel, weight = healpix.interpolation_weights(theta, phi, **RING)
    theirs = hp.get_interp_weights(NSIDE, *DIRECTIONS)
    for row in range(3):
        ours = dict(zip(pixel[row].tolist(), weight[row].tolist(), strict=True))
        wanted = dict(zip(theirs[0][:, row].tolist(), theirs[1][:, row].tolist(), strict=True))
        assert ours == pytest.approx(wanted, abs=1e-12)


def analyses():
    ours = sht.map2alm(tensor(MAP), **RING, lmax=LMAX, iterations=3, weights=None)
    close(ours, ALMS)


def analyses_of_spin():
    ours = sht.map2alm(tensor(QU), **RING, lmax=LMAX, spin=2, weights=None)
    close(ours, np.stack(hp.map2alm_spin(QU, 2, lmax=LMAX)))


def syntheses():
    close(sht.alm2map(tensor(ALMS), **RING, lmax=LMAX), hp.alm2map(ALMS, NSIDE, lmax=LMAX))


def alm_sizes():
    assert sht.alm_size(LMAX) == hp.Alm.getsize(LMAX)
    assert sht.alm_size(LMAX, mmax=3) == hp.Alm.getsize(LMAX, 3)


def alm_indices():
    l, m = np.array([2, 5, 16]), np.array([1, 0, 16])
    close(sht.alm_index(tensor(l), tensor(m), lmax=LMAX), hp.Alm.getidx(LMAX, l, m))


def alm_degrees():
    for ours, theirs in zip(sht.alm_lm(LMAX), hp.Alm.getlm(LMAX), strict=True):
        close(ours, theirs)


def alm_resizing():
    ours = sht.resize_alms(tensor(ALMS), lmax=LMAX, lmax_out=9)
    close(ours, hp.resize_alm(ALMS, LMAX, LMAX, 9, 9))


def alm_rotations():
    theirs = ALMS.copy()
    matrix = hp.rotator.Rotator(rot=(30, 40, 50), inv=False).mat
    theirs = hp.Rotator(rot=(30, 40, 50)).rotate_alm(ALMS)
    close(sht.rotate_alms(tensor(ALMS), tensor(matrix), lmax=LMAX), theirs, 1e-10)


def powers():
    close(spectra.alm2cl(tensor(ALMS), lmax=LMAX), hp.alm2cl(ALMS))


def masked_powers():
    mask = (np.abs(np.cos(hp.pix2ang(NSIDE, np.arange(NPIX))[0])) > 0.3).astype(float)
    theirs = hp.anafast(MAP * mask, lmax=LMAX, iter=0, use_pixel_weights=False)
    ours = spectra.pseudo_cl(tensor(MAP), tensor(mask), **RING, lmax=LMAX)
    # Ring weights make up for the rest: both are sums over pixels.
    np.testing.assert_allclose(ours, theirs / np.mean(mask**2), rtol=0.05, atol=1e-4)


def drawn_alms():
    generator = torch.Generator().manual_seed(0)
    ours = spectra.gaussian_alms({"TT": CL}, lmax=LMAX, size=(400,), generator=generator)["T"]
    np.random.seed(0)
    theirs = np.mean([hp.alm2cl(hp.synalm(CL, lmax=LMAX)) for _ in range(400)], 0)
    measured = spectra.alm2cl(ours, lmax=LMAX).mean(0).numpy()
    scatter = CL * np.sqrt(2 / (2 * np.arange(LMAX + 1) + 1) / 400)
    assert np.abs((measured - theirs) / scatter).max() < 4.5 * math.sqrt(2)
    assert np.abs((measured - CL) / scatter).max() < 4.5


def drawn_maps():
    generator = torch.Generator().manual_seed(0)
    ours = spectra.gaussian_maps({"TT": CL}, **RING, lmax=LMAX, size=(200,), generator=generator)
    np.random.seed(0)
    theirs = [hp.synfast(CL, NSIDE, lmax=LMAX).var() for _ in range(200)]
    found = ours["T"].var(-1).numpy()
    assert abs(found.mean() - np.mean(theirs)) < 4.5 * math.sqrt(2) * np.std(theirs) / 200**0.5


def smoothing():
    fwhm = 0.2
    window = windows.gaussian_beam(fwhm, lmax=LMAX)
    ours = windows.smooth(tensor(ALMS), window, lmax=LMAX)
    close(ours, hp.smoothalm(ALMS, fwhm=fwhm, inplace=False))


def beams():
    theirs = hp.gauss_beam(0.2, lmax=LMAX, pol=True)
    close(windows.gaussian_beam(0.2, lmax=LMAX), theirs[:, 0])
    close(windows.gaussian_beam(0.2, lmax=LMAX, spin=2)[2:], theirs[2:, 1])


def pixel_windows():
    """healpy.pixwin wants to download a file; two values of that of nside 4 stand here."""
    ours = windows.pixel_window(4, 11)
    close(ours[[6, 11]], [0.8844030869086636, 0.6722005065651119], 1e-9)


def dipoles():
    for ours, theirs in zip(
        dipole.fit_dipole(tensor(MAP), **RING), hp.fit_dipole(MAP), strict=True
    ):
        close(ours, theirs, 1e-10)


def without_dipoles():
    close(dipole.remove_dipole(tensor(MAP), **RING), hp.remove_dipole(MAP.copy()), 1e-10)


def without_monopoles():
    close(dipole.remove_monopole(tensor(MAP), **RING), hp.remove_monopole(MAP.copy()), 1e-10)


def files(folder):
    hp.write_map(folder / "theirs.fits", MAP, dtype=np.float64)
    close(io.read_map(folder / "theirs.fits").values, hp.read_map(folder / "theirs.fits"))


def written_files(folder):
    io.write_map(folder / "ours.fits", tensor(MAP), **RING)
    close(hp.read_map(folder / "ours.fits", dtype=np.float64), MAP)
    with pytest.raises(FileExistsError):
        io.write_map(folder / "ours.fits", tensor(MAP), **RING)


def pictures():
    """East is left: of a map of longitudes, what lies east of the middle is left of it."""
    import matplotlib.pyplot as plt

    east = np.sin(hp.pix2ang(NSIDE, np.arange(NPIX))[1])
    for draw in (plot.mollweide, plot.globe):
        figure, ax = plt.subplots()
        drawn = np.ma.masked_invalid(draw(ax, tensor(east), order="ring").get_array())
        plt.close(figure)
        middle = drawn.shape[1] // 2
        assert drawn[:, :middle].mean() > 0.3 > -0.3 > drawn[:, middle:].mean()


def globes():
    assert view(tensor(MAP), **RING, projection="gnomonic").projection == "gnomonic"


CHECKS = {
    "nside2npix": sizes,
    "npix2nside": sides,
    "nside2pixarea": areas,
    "nside2resol": resolutions,
    "pix2ang": angles,
    "ang2pix": pixels_of_angles,
    "pix2vec": vectors,
    "vec2pix": pixels_of_vectors,
    "get_all_neighbours": neighbours,
    "reorder": orders,
    "ud_grade": grades,
    "query_disc": discs,
    "query_strip": strips,
    "get_interp_val": values_between,
    "get_interp_weights": weights_between,
    "map2alm": analyses,
    "map2alm_spin": analyses_of_spin,
    "alm2map": syntheses,
    "Alm.getsize": alm_sizes,
    "Alm.getidx": alm_indices,
    "Alm.getlm": alm_degrees,
    "resize_alm": alm_resizing,
    "rotate_alm": alm_rotations,
    "alm2cl": powers,
    "anafast": masked_powers,
    "synalm": drawn_alms,
    "synfast": drawn_maps,
    "smoothalm": smoothing,
    "gauss_beam": beams,
    "pixwin": pixel_windows,
    "fit_dipole": dipoles,
    "remove_dipole": without_dipoles,
    "remove_monopole": without_monopoles,
    "read_map": files,
    "write_map": written_files,
    "mollview": pictures,
    "orthview": pictures,
    "gnomview": globes,
}


def rows():
    """Return what the tables name: healpy's function, and ours as text."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([\w.]+)` \| (.+?) \|", text, re.MULTILINE))


def test_every_row_has_a_check_and_names_what_there_is():
    assert set(rows()) == set(CHECKS)
    for theirs, ours in rows().items():
        function = hp
        for part in theirs.split("."):
            function = getattr(function, part)
        for path in re.findall(r"`((?:healpix|sht|fields|io|plot|widgets)\.[\w.]+)`", ours):
            import skytutor

            found = skytutor
            for part in path.split("."):
                found = getattr(found, part)
            assert callable(found), path


@pytest.mark.parametrize("name", CHECKS)
def test_a_row_holds(name, tmp_path):
    check = CHECKS[name]
    check(tmp_path) if check in (files, written_files) else check()


def test_the_quick_start_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hp.write_map("map.fits", MAP, column_units="mK", nest=True, dtype=np.float64)
    found = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, found)
    assert found["sky"].order == "nested" and found["sky"].unit == "muK"
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "charset" in page
    theirs = hp.anafast(1000 * hp.reorder(MAP, n2r=True), lmax=2 * NSIDE, iter=0)
    np.testing.assert_allclose(found["cl"], theirs, rtol=0.05)
    field, alms = found["field"], found["alms"]
    # Half the derivative of a quadratic form along its argument is the form itself.
    along = (field.grad * field).sum() / 2
    torch.testing.assert_close(along, alms.abs().square().sum())
