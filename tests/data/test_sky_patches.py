"""skytutor.data.sky_patches: patches against healpy and astropy, and sets that share no sky."""

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor.data.sky_masks import sky_mask
from skytutor.data.sky_patches import (
    disjoint_patches,
    gnomonic_patch,
    patch_wcs,
    random_centres,
    real_mask_patches,
)
from skytutor.healpix import nside_to_npix, pixel_to_vector, vector_to_pixel
from skytutor.healpix.tangent import patch_vectors

PATCH = {"size": 21, "pixel_arcmin": 30.0}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("lon", "lat"), [(0.0, 0.0), (123.0, -71.0), (300.0, 90.0)])
@pytest.mark.parametrize("order", ["ring", "nested"])
def test_a_patch_is_healpys_interpolation_at_astropys_places(lon, lat, order):
    maps = torch.randn(nside_to_npix(64), dtype=torch.float64)
    ours = gnomonic_patch(maps, nside=64, order=order, lon_deg=lon, lat_deg=lat, **PATCH)
    y, x = np.mgrid[:21, :21]
    wcs = patch_wcs(21, pixel_arcmin=30.0, lon_deg=lon, lat_deg=lat)
    there = wcs.pixel_to_world_values(x, y)
    theirs = hp.get_interp_val(maps.numpy(), *there, nest=order == "nested", lonlat=True)
    assert np.abs(ours.numpy() - theirs).max() < 1e-10


def test_a_patch_looks_as_healpys_gnomonic_view():
    x, y, z = pixel_to_vector(torch.arange(nside_to_npix(64)), nside=64, order="ring").unbind(-1)
    maps = torch.sin(9 * x) + torch.cos(7 * y) * z
    ours = gnomonic_patch(maps, nside=64, order="ring", lon_deg=40.0, lat_deg=25.0, **PATCH)
    project = hp.projector.GnomonicProj(rot=(40.0, 25.0), xsize=21, ysize=21, reso=30.0)
    theirs = project.projmap(maps.numpy(), lambda x, y, z: hp.vec2pix(64, x, y, z))
    # healpy takes the nearest pixel: on a smooth map the two differ little, flipped ones a lot.
    assert np.corrcoef(ours.flatten(), np.asarray(theirs).flatten())[0, 1] > 0.995


def test_east_is_left_and_north_is_last():
    vectors = pixel_to_vector(torch.arange(nside_to_npix(32)), nside=32, order="nested")
    patch = gnomonic_patch(
        vectors[:, 2].contiguous(), nside=32, order="nested", lon_deg=10.0, lat_deg=0.0, **PATCH
    )
    assert bool((patch.diff(dim=0) > 0).all()), "z, the sine of the latitude, grows with the row"
    east = gnomonic_patch(
        vectors[:, 1].contiguous(), nside=32, order="nested", lon_deg=0.0, lat_deg=0.0, **PATCH
    )
    assert bool((east.diff(dim=1) < 0).all()), "longitude falls with the column"


def test_a_mask_takes_the_nearest_pixel():
    mask = torch.rand(nside_to_npix(64), generator=rng()) > 0.3
    patch = gnomonic_patch(mask, nside=64, order="nested", lon_deg=77.0, lat_deg=-12.0, **PATCH)
    vectors = patch_vectors(21, pixel_arcmin=30.0, lon_deg=77.0, lat_deg=-12.0)
    theirs = hp.vec2pix(64, *vectors.numpy().transpose(2, 0, 1), nest=True)
    assert patch.dtype == torch.bool and np.array_equal(patch.numpy(), mask.numpy()[theirs])


def test_many_maps_and_many_places():
    maps = torch.randn(2, nside_to_npix(16))
    lon, lat = random_centres(3, generator=rng())
    found = gnomonic_patch(maps, nside=16, order="ring", lon_deg=lon, lat_deg=lat, **PATCH)
    assert found.shape == (2, 3, 21, 21)
    alone = gnomonic_patch(
        maps[1], nside=16, order="ring", lon_deg=float(lon[2]), lat_deg=float(lat[2]), **PATCH
    )
    assert torch.allclose(found[1, 2], alone, atol=1e-5)


def test_bad_maps_and_places():
    with pytest.raises(ValueError, match=r"maps must be \(\.\.\., 3072\) for nside 16"):
        gnomonic_patch(torch.ones(3000), nside=16, order="ring", lon_deg=0, lat_deg=0, **PATCH)
    with pytest.raises(ValueError, match="lat_deg must lie in"):
        gnomonic_patch(torch.ones(3072), nside=16, order="ring", lon_deg=0, lat_deg=91, **PATCH)


def test_centres_are_even_over_the_sphere():
    lon, lat = random_centres(4000, generator=rng())
    z = lat.deg2rad().sin()
    assert abs(float(z.mean())) < 4 / (3 * 4000) ** 0.5
    assert abs(float(z.square().mean()) - 1 / 3) < 0.02
    assert float(lon.min()) >= 0 and 355 < float(lon.max()) < 360


def test_real_masks_hide_some_and_show_most():
    masks = real_mask_patches(12, 32, pixel_arcmin=13.74, generator=rng())
    seen = masks.double().mean((1, 2))
    assert masks.dtype == torch.bool and float(seen.min()) >= 0.5 and float(seen.max()) < 1
    assert torch.equal(masks, real_mask_patches(12, 32, pixel_arcmin=13.74, generator=rng()))


def separations(a, b):
    return 2 * (torch.cdist(a, b) / 2).clamp(max=1).asin().rad2deg()


@pytest.mark.parametrize("margin", [0.0, 3.0])
def test_no_pixel_of_the_test_is_near_one_of_training(margin):
    split = disjoint_patches(
        40, 25, size=17, pixel_arcmin=30.0, margin_deg=margin, generator=rng(2)
    )
    corners = []
    for centres in split:
        vectors = patch_vectors(17, pixel_arcmin=30.0, lon_deg=centres[:, 0], lat_deg=centres[:, 1])
        corners.append(vectors.reshape(-1, 3))
    assert float(separations(*corners).min()) >= margin
    # The pixels of the map that they are made of are apart too.
    pixels = [vector_to_pixel(vectors, nside=128, order="nested") for vectors in corners]
    assert not set(pixels[0].tolist()) & set(pixels[1].tolist())
    assert split.train.shape == (40, 2) and split.test.shape == (25, 2)


def test_patches_of_a_split_keep_to_what_is_valid():
    valid = sky_mask(64, order="nested")
    split = disjoint_patches(30, 10, size=9, pixel_arcmin=30.0, valid=valid, generator=rng(1))
    for lon, lat in torch.cat(split).tolist():
        patch = gnomonic_patch(
            valid, nside=64, order="nested", lon_deg=lon, lat_deg=lat, size=9, pixel_arcmin=30.0
        )
        assert bool(patch.all())


def test_a_split_without_room():
    with pytest.raises(ValueError, match="leave no room"):
        disjoint_patches(2, 2, size=300, pixel_arcmin=30.0, generator=rng())
    nothing = torch.zeros(nside_to_npix(16), dtype=torch.bool)
    with pytest.raises(ValueError, match="only 0 of 2 and 0 of 2"):
        disjoint_patches(2, 2, size=5, pixel_arcmin=30.0, valid=nothing, generator=rng())


def test_unseen_pixels_become_nan_and_are_not_mixed_in():
    maps = torch.ones(768, dtype=torch.float64)
    maps[:4] = -1.6375e30  # about the north pole
    patches = gnomonic_patch(
        maps, nside=8, order="ring", lon_deg=0.0, lat_deg=80.0, size=64, pixel_arcmin=60.0
    )
    seen = patches[~patches.isnan()]
    assert bool(patches.isnan().any()) and float(seen.min()) > 0.999


def test_a_mask_of_numbers_is_no_valid_mask():
    given = {"size": 8, "pixel_arcmin": 6.0, "generator": torch.Generator().manual_seed(0)}
    # Interpolated, a half would be taken for True.
    with pytest.raises(TypeError, match=r"valid must be bool, got torch\.float32"):
        disjoint_patches(2, 2, valid=torch.ones(48), **given)
    with pytest.raises(ValueError, match="lon_deg and lat_deg must have one shape"):
        gnomonic_patch(
            torch.ones(48),
            nside=2,
            order="ring",
            lon_deg=torch.zeros(2),
            lat_deg=torch.zeros(3),
            size=3,
            pixel_arcmin=60.0,
        )
