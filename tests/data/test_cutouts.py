"""skytutor.data.cutouts, cutout_stack and photometry: one loader for three surveys."""

import os

import numpy as np
import pytest
import torch
from astropy.io import fits
from survey_files import HTML, POSITION, SCALES, noisy, star, write_image

from skytutor.data import registry
from skytutor.data.cutout_stack import resample_cutout, stack_bands
from skytutor.data.cutouts import clipped_scatter, load_cutout
from skytutor.data.photometry import aperture_flux, compare_surveys, ps1_to_sdss

SURVEYS = ("PS1", "SDSS", "DES")
RINGS = {"radius_arcsec": 6.0, "annulus_arcsec": (8.0, 11.0)}


def write_star(path, survey="PS1", *, size=121, sky=0.0, seed=0, offset=(0.0, 0.0), **options):
    image = star(size, scale=SCALES[survey], offset=offset) + sky
    return write_image(path, noisy(image, seed=seed), survey=survey, **options)


@pytest.mark.parametrize("survey", SURVEYS)
def test_a_star_of_18_magnitudes_has_18_in_every_survey(tmp_path, survey):
    found = load_cutout(write_star(tmp_path / "a.fits", survey, sky=0.05))
    assert (found.survey, found.band, found.wcs_source) == (survey, "r", "header")
    assert found.pixel_arcsec == pytest.approx(SCALES[survey], rel=1e-5)
    light = aperture_flux(found, POSITION, **RINGS)
    assert abs(light.magnitude - 18) < 4 * 1.086 * light.error / light.flux
    assert light.error / light.flux < 0.02 and light.sky == pytest.approx(0.05, abs=0.005)


def test_stretched_and_linear_values_of_pan_starrs_are_the_same(tmp_path):
    linear = load_cutout(write_star(tmp_path / "a.fits"))
    stretched = load_cutout(write_star(tmp_path / "b.fits", asinh=True))
    assert torch.allclose(linear.image, stretched.image, atol=1e-4)
    path = write_star(tmp_path / "c.fits", asinh=True, BSOFTEN=None)
    with pytest.raises(ValueError, match="must have both of BSOFTEN and BOFFSET, found only BOFF"):
        load_cutout(path)
    with pytest.raises(ValueError, match="BSOFTEN must be positive"):
        load_cutout(write_star(tmp_path / "d.fits", asinh=True, BSOFTEN=0.0))


def test_noise_of_the_image_of_a_weight_and_of_a_variance(tmp_path):
    own = load_cutout(write_star(tmp_path / "a.fits"))
    assert own.noise_source == "scatter"
    assert float(own.ivar[0, 0]) == pytest.approx(0.02**-2, rel=0.05)
    weight = np.full((121, 121), 0.03**-2)
    weight[3, 4] = 0
    des = load_cutout(write_star(tmp_path / "b.fits", "DES", weight=weight))
    assert des.noise_source == "weight"
    assert float(des.ivar[0, 0]) == pytest.approx(0.03**-2, rel=1e-4)
    assert (~des.mask).nonzero().tolist() == [[3, 4]]
    variance = write_image(tmp_path / "c.fits", np.full((121, 121), 0.04**2), band="r")
    with fits.open(variance, mode="update") as file:
        file[0].data *= 10 ** ((25 + 2.5 * np.log10(720) - 22.5) / 2.5)  # counts squared
    found = load_cutout(tmp_path / "a.fits", variance=variance)
    assert float(found.ivar[5, 5]) == pytest.approx(0.04**-2, rel=1e-3)
    with pytest.raises(ValueError, match=r"variance must be \(121, 121\)"):
        load_cutout(tmp_path / "a.fits", variance=write_star(tmp_path / "d.fits", size=51))


def test_pixels_that_are_not_finite_are_masked(tmp_path):
    image = noisy(star(121, scale=0.25))
    image[10, 20] = np.nan
    image[11] = np.inf
    found = load_cutout(write_image(tmp_path / "a.fits", image))
    assert int((~found.mask).sum()) == 122 and bool(found.image.isfinite().all())
    assert bool((found.ivar[~found.mask] == 0).all())
    with pytest.raises(ValueError, match="has no finite pixel"):
        load_cutout(write_image(tmp_path / "b.fits", np.full((9, 9), np.nan)))
    image[60, 60] = np.nan
    found = load_cutout(write_image(tmp_path / "c.fits", image))
    with pytest.raises(ValueError, match="masked pixels lie in the circle"):
        aperture_flux(found, POSITION, **RINGS)


def test_the_header_tells_the_band_else_the_file_name_does(tmp_path):
    names = {"HIERARCH FPA.FILTERID": None}
    path = tmp_path / "cutout.stk.z.unconv.fits"
    assert load_cutout(write_star(path, band="i")).band == "i"
    assert load_cutout(write_star(path, **names)).band == "z"
    assert load_cutout(write_star(tmp_path / "PS1_y.fits", **names)).band == "y"
    path = write_star(tmp_path / "image.fits", **names)
    with pytest.raises(ValueError, match="neither header nor file name tell the band"):
        load_cutout(path)
    assert load_cutout(path, band="g").band == "g"
    with pytest.raises(ValueError, match="band must be one of"):
        load_cutout(path, band="H")


def test_coordinates_of_the_whole_frame_are_refused_or_shifted(tmp_path):
    frame = {"CRPIX1": 1025.0, "CRPIX2": 745.0}
    path = write_star(tmp_path / "a.fits", "SDSS", **frame)
    with pytest.raises(ValueError, match=r"121 by 121 .* whole frame of 2048 by 1489; pass posi"):
        load_cutout(path)
    found = load_cutout(path, position=POSITION)
    assert found.wcs_source == "position"
    assert np.allclose(found.wcs.world_to_pixel_values(*POSITION), 60, atol=1e-6)
    assert abs(aperture_flux(found, POSITION, **RINGS).magnitude - 18) < 0.02
    # The corner of a frame has its coordinates by right.
    corner = found.wcs.deepcopy()
    corner.wcs.crpix = [1025, 745]
    there = tuple(float(value) for value in corner.pixel_to_world_values(100, 5))
    assert load_cutout(path, position=there).wcs_source == "header"
    # A reference outside the image is usual: those of Pan-STARRS and DES are.
    found = load_cutout(write_star(tmp_path / "b.fits", CRPIX1=-571.0, CRPIX2=25134.0))
    assert found.wcs_source == "header"
    with pytest.raises(ValueError, match=r"position .* lies outside the image, at pixel"):
        load_cutout(tmp_path / "b.fits", position=POSITION)


def test_headers_that_do_not_say_enough(tmp_path):
    path = tmp_path / "x.fits"
    for survey, options, said in (
        ("PS1", {"PSCAMERA": None}, "the header names no survey"),
        ("PS1", {"EXPTIME": None}, "must give EXPTIME, got None"),
        ("PS1", {"EXPTIME": -1.0}, "EXPTIME must be positive"),
        ("SDSS", {"BUNIT": "counts"}, "BUNIT of SDSS must be nanomaggy, got 'counts'"),
        ("DES", {"MAGZERO": None}, "must give MAGZERO"),
        ("PS1", {"CTYPE1": None, "CTYPE2": None}, "no coordinates on the sky"),
        ("PS1", {"CDELT2": 2 * 0.25 / 3600}, "pixels must be square, got 0.250 by 0.500"),
        ("SDSS", {"BUNIT": "mag"}, "look like magnitudes"),
    ):
        write_star(path, survey, **options)
        with pytest.raises(ValueError, match=said):
            load_cutout(path)


def test_an_image_in_magnitudes_is_refused(tmp_path):
    image = 24 - 6 * star(61, scale=0.25) / star(61, scale=0.25).max()
    path = write_image(tmp_path / "r.fits", image, survey="SDSS")
    with pytest.raises(ValueError, match=r"look like magnitudes: 18.0 to 24.0, unit nanomaggy"):
        load_cutout(path)


def test_files_that_are_no_image(tmp_path):
    whole = write_star(tmp_path / "whole.fits").read_bytes()
    path = tmp_path / "a.fits"
    for content, said in (
        (whole[: len(whole) // 2], r"a.fits is cut short: \d+ of \d+ bytes"),
        (whole[:1000], "cannot be read|cut short"),
        (HTML, "is a page of HTML and no FITS file: the service answered"),
        (b"", "is empty"),
    ):
        path.write_bytes(content)
        with pytest.raises(OSError, match=said):
            load_cutout(path)
    fits.PrimaryHDU(np.zeros((2, 5, 5))).writeto(path, overwrite=True)
    with pytest.raises(ValueError, match=r"an image of two axes, got \(2, 5, 5\)"):
        load_cutout(path)
    fits.PrimaryHDU().writeto(path, overwrite=True)
    with pytest.raises(ValueError, match="two axes, got None"):
        load_cutout(path)


def test_scatter_of_the_sky_is_not_that_of_the_objects():
    image = noisy(star(201, scale=0.25, magnitude=12, fwhm=6), sigma=0.3)
    assert clipped_scatter(image) == pytest.approx(0.3, rel=0.1) and image.std() > 0.6
    with pytest.raises(ValueError, match="some scatter"):
        clipped_scatter(np.ones(50))


# --- bands on one grid ----------------------------------------------------------------------------


def bands_of(tmp_path, survey="PS1", bands="grizy", **options):
    found = []
    for k, band in enumerate(bands):
        path = write_star(tmp_path / f"{survey}_{band}.fits", survey, band=band, seed=k, **options)
        found.append(load_cutout(path))
    return found


def test_bands_come_in_one_order_whatever_the_order_of_the_files(tmp_path):
    cutouts = bands_of(tmp_path)
    stack = stack_bands(cutouts, position=POSITION)
    shuffled = stack_bands(cutouts[::-1], position=POSITION)
    assert torch.equal(stack.images, shuffled.images) and bool(stack.present.all())
    assert stack.bands == ("g", "r", "i", "z", "y")
    # On the same pixels already: copied, and the pixel at the position is the centre.
    first = 60 - 31
    for k, cutout in enumerate(cutouts):
        part = cutout.image[first : first + 64, first : first + 64]
        assert torch.equal(stack.images[k], part.float())
    assert np.allclose(stack.wcs.world_to_pixel_values(*POSITION), 31, atol=1e-3)


def test_a_missing_band_is_flagged_or_refused(tmp_path):
    cutouts = bands_of(tmp_path, bands="gry")
    stack = stack_bands(cutouts, position=POSITION)
    assert stack.present.tolist() == [True, True, False, False, True]
    for values in (stack.images, stack.ivar, stack.mask):
        assert not bool(values[2:4].any()) and bool(values[4].any())
    with pytest.raises(ValueError, match=r"must have all of g, r, i, z, y, missing \['i', 'z'\]"):
        stack_bands(cutouts, position=POSITION, require_all=True)
    with pytest.raises(ValueError, match="at least one image"):
        stack_bands([], position=POSITION)
    with pytest.raises(ValueError, match="band g comes twice"):
        stack_bands([*cutouts, cutouts[0]], position=POSITION)
    with pytest.raises(ValueError, match="band must be one of r, i, got 'g'"):
        stack_bands(cutouts, position=POSITION, bands=("r", "i"))
    with pytest.raises(ValueError, match="must be of one survey, got PS1, SDSS"):
        stack_bands([*cutouts, *bands_of(tmp_path, "SDSS", "i")], position=POSITION)
    with pytest.raises(ValueError, match="no pixel that may be used"):
        stack_bands(cutouts, position=(151.0, 2.0))


@pytest.mark.parametrize("survey", SURVEYS)
@pytest.mark.parametrize("pixel_arcsec", [0.1, 0.25, 0.6, 1.0])
def test_light_is_conserved_on_other_pixels(tmp_path, survey, pixel_arcsec):
    size = round(24 / pixel_arcsec)
    path = write_image(
        tmp_path / "a.fits",
        star(121, scale=SCALES[survey], offset=(3.2, -2.1)) + noisy(np.zeros((121, 121)), 1e-6),
        survey=survey,
    )
    cutout = load_cutout(path)
    stack = stack_bands([cutout], position=POSITION, size=size, pixel_arcsec=pixel_arcsec)
    total = float(stack.images[1].double().sum())
    assert total == pytest.approx(10 ** ((22.5 - 18) / 2.5), rel=3e-3)
    # and stands at the same place of the sky
    y, x = np.indices((size, size))
    weights = stack.images[1].double().numpy() / total
    ra, dec = stack.wcs.pixel_to_world_values((x * weights).sum(), (y * weights).sum())
    wanted = cutout.wcs.pixel_to_world_values(60 + 3.2, 60 - 2.1)
    assert np.hypot(ra - wanted[0], dec - wanted[1]) * 3600 < 0.03


@pytest.mark.parametrize("pixel_arcsec", [0.2, 0.7])
def test_noise_of_a_resampled_pixel_is_known(tmp_path, pixel_arcsec):
    cutout = load_cutout(write_image(tmp_path / "a.fits", noisy(np.zeros((300, 300)), 0.02)))
    size = round(50 / pixel_arcsec)
    stack = stack_bands([cutout], position=POSITION, size=size, pixel_arcsec=pixel_arcsec)
    chi = stack.images[1] * stack.ivar[1].sqrt()
    # Correlated over a few pixels: fewer are independent.
    assert float(chi.std()) == pytest.approx(1, rel=0.05)


def test_masked_pixels_stay_out_of_the_new_image(tmp_path):
    image = noisy(np.ones((121, 121)), 1e-3)
    image[50:53, 70:74] = np.nan
    cutout = load_cutout(write_image(tmp_path / "a.fits", image))
    found, _, mask = resample_cutout(
        cutout, stack_bands([cutout], position=POSITION).wcs, size=64, pixel_arcsec=0.25
    )
    assert int((~mask).sum()) == 12 and bool((found[~mask] == 0).all())
    stack = stack_bands([cutout], position=POSITION, size=40, pixel_arcsec=0.3)
    hidden = ~stack.mask[1]
    assert 4 <= int(hidden.sum()) <= 12, "three by four pixels of 0.25 arcsec"
    kept = stack.images[1][stack.mask[1]]
    # A pixel of which a part was hidden is as bright as the rest of it.
    assert torch.allclose(kept, torch.full_like(kept, 1.44), rtol=0.01)
    assert bool((stack.ivar[1][hidden] == 0).all())


# --- photometry -----------------------------------------------------------------------------------


def test_an_error_is_how_much_a_flux_scatters(tmp_path):
    found = []
    for seed in range(40):
        path = write_image(
            tmp_path / "a.fits", noisy(star(101, scale=0.25), 0.1, seed), survey="PS1"
        )
        found.append(aperture_flux(load_cutout(path), POSITION, **RINGS))
    fluxes = np.array([light.flux for light in found])
    assert fluxes.std() == pytest.approx(found[0].error, rel=0.35)  # of 40: 11 %
    assert abs(fluxes.mean() - 10**1.8) < 4 * found[0].error / 40**0.5


def test_apertures_that_do_not_fit(tmp_path):
    found = load_cutout(write_star(tmp_path / "a.fits"))
    with pytest.raises(ValueError, match="a circle of 20 arcsec leaves the image"):
        aperture_flux(found, POSITION, radius_arcsec=20.0, annulus_arcsec=(21, 22))
    with pytest.raises(ValueError, match="annulus_arcsec must rise and lie outside"):
        aperture_flux(found, POSITION, radius_arcsec=5.0, annulus_arcsec=(4, 8))
    with pytest.raises(ValueError, match=r"the ring holds \d+ pixels"):
        aperture_flux(found, POSITION, radius_arcsec=5.0, annulus_arcsec=(30, 31))
    with pytest.raises(ValueError, match="missing r"):
        ps1_to_sdss({"g": 18.0})


def light_within(image, wcs, position, radius=15.0):
    """Return the sum of an image's pixels whose centres lie in a circle on the sky, in arcsec."""
    y, x = np.indices(image.shape)
    ra, dec = wcs.pixel_to_world_values(x, y)
    across = (ra - position[0]) * np.cos(np.radians(position[1]))
    inside = np.hypot(across, dec - position[1]) * 3600 < radius
    return float(image.double().numpy()[inside].sum())


@pytest.mark.data
def test_pan_starrs_and_sdss_agree_on_a_real_galaxy(capsys):
    folder = registry.folder() / "bands" / "hostphot_SN2006bh"
    if not folder.is_dir():
        missing = pytest.fail if os.environ.get("SKYTUTOR_NEED_DATA") else pytest.skip
        missing(f"real cutouts of three surveys are not in {folder}")
    table = compare_surveys(folder)
    with capsys.disabled():
        for band, row in table.items():
            print(f"\n{band}: " + ", ".join(f"{k} {v:.3f}" for k, v in row.items()), end=" ")
    assert abs(table["r"]["difference"]) < 0.1 and abs(table["i"]["difference"]) < 0.1
    assert all(abs(row["difference"]) < 0.12 for row in table.values())
    # The same light in circles of other sizes, and of all bands on one grid.
    for radius in (8.0, 20.0):
        assert abs(compare_surveys(folder, radius_arcsec=radius)["r"]["difference"]) < 0.05
    position = (27.952, 0.2635)
    with pytest.raises(ValueError, match="pass position"):
        load_cutout(folder / "SDSS_r.fits")
    for survey in SURVEYS:
        cutouts = [load_cutout(folder / f"{survey}_{b}.fits", position=position) for b in "zirg"]
        stack = stack_bands(cutouts, position=position, size=200)
        assert stack.present.tolist() == [True] * 4 + [False]
        assert bool(stack.mask[:4, 20:180, 20:180].all())
        own = light_within(cutouts[2].image, cutouts[2].wcs, position)
        assert light_within(stack.images[1], stack.wcs, position) == pytest.approx(own, rel=0.01)
