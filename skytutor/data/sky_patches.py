"""Patches of the sky on the tangent plane, cut from HEALPix maps at their true angles.

Rows grow to the north and columns to the west, as in FITS; the pixel ``(H // 2, H // 2)`` is the
centre. `patch_wcs` describes a patch to astropy.

Shapes: N patches, H pixels along a side, P = 12 nside**2 pixels.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.data.sky_masks import sky_mask
from skytutor.healpix import check_nside, check_order, npix_to_nside, nside_to_npix, vector_to_pixel
from skytutor.healpix.interpolation import interpolate
from skytutor.healpix.tangent import check_patch, patch_vectors
from skytutor.validate import as_length, check_generator, positive

if TYPE_CHECKING:  # astropy takes a second to import, and only headers need it
    from astropy.wcs import WCS

__all__ = [
    "DisjointCentres",
    "disjoint_patches",
    "gnomonic_patch",
    "patch_wcs",
    "random_centres",
    "real_mask_patches",
]

_CHUNK = 200_000  # directions at a time


def patch_wcs(size: int, *, pixel_arcmin: float, lon_deg: float, lat_deg: float) -> "WCS":
    """Return astropy's description of a patch: Galactic longitude and latitude, projection TAN.

    Arguments:
        size: H, pixels along a side.
        pixel_arcmin: side of the pixel at the centre.
        lon_deg: Galactic longitude of the centre in degrees.
        lat_deg: Galactic latitude of the centre in degrees.

    Raises:
        ImportError: no astropy.
        TypeError, ValueError: a size or a pixel that is not positive.

    Example:
        >>> wcs = patch_wcs(64, pixel_arcmin=6.871, lon_deg=30.0, lat_deg=-45.0)
        >>> [float(x.round(6)) for x in wcs.pixel_to_world_values(32, 32)]
        [30.0, -45.0]
    """
    from astropy.wcs import WCS

    size = check_patch(size, pixel_arcmin)
    wcs = WCS(naxis=2)
    wcs.array_shape = (size, size)
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [lon_deg, lat_deg]
    wcs.wcs.crpix = [size // 2 + 1, size // 2 + 1]  # FITS counts from 1
    wcs.wcs.lonpole = 180  # without it FITS turns a patch at the very pole
    wcs.wcs.cdelt = [-pixel_arcmin / 60, pixel_arcmin / 60]
    return wcs


def gnomonic_patch(
    maps: Tensor,
    *,
    nside: int,
    order: str,
    lon_deg: float | Tensor,
    lat_deg: float | Tensor,
    size: int,
    pixel_arcmin: float,
) -> Tensor:
    """Cut patches from a map: bilinear between pixel centres; of a mask, the nearest pixel.

    Interpolation smooths: compare a patch only with what went through the same pixels and the same
    interpolation, or mask by NaN what must not be mixed in.

    Arguments:
        maps: ``(..., P)``, floating, or a mask, bool. NaN or UNSEEN next to a pixel makes it NaN.
        nside: of the map.
        order: of its pixels, "ring" or "nested".
        lon_deg: longitude of the centre in degrees, a number or ``(N,)``.
        lat_deg: latitude of the centre in degrees, likewise.
        size: H, pixels along a side.
        pixel_arcmin: side of the pixel at the centre.

    Returns:
        ``(..., H, H)``, or ``(..., N, H, H)`` for N centres, in the type of `maps`.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> north = {"nside": 2, "order": "ring", "lon_deg": 0.0, "lat_deg": 90.0}
        >>> gnomonic_patch(torch.ones(48), **north, size=3, pixel_arcmin=60.0).sum()
        tensor(9.)
    """
    npix = nside_to_npix(check_nside(nside))
    check_order(order, allowed=("ring", "nested"))
    maps = as_tensor("maps", maps)
    if maps.shape[-1:] != (npix,):
        raise ValueError(f"maps must be (..., {npix}) for nside {nside}, got {tuple(maps.shape)}")
    vectors = patch_vectors(size, pixel_arcmin=pixel_arcmin, lon_deg=lon_deg, lat_deg=lat_deg)
    if maps.dtype == torch.bool:
        return maps[..., vector_to_pixel(vectors, nside=nside, order=order)]
    pieces = []
    for part in vectors.reshape(-1, 3).split(_CHUNK):  # the weights take 100 bytes a direction
        theta = torch.atan2(part[:, :2].norm(dim=-1), part[:, 2])
        phi = torch.atan2(part[:, 1], part[:, 0])
        pieces.append(interpolate(maps, theta=theta, phi=phi, nside=nside, order=order))
    return torch.cat(pieces, -1).reshape(*maps.shape[:-1], *vectors.shape[:-1])


def random_centres(n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw directions evenly over the sphere.

    Arguments:
        n: how many.
        generator: of the random numbers.

    Returns:
        longitude and latitude in degrees, ``(n,)`` float64 each.

    Example:
        >>> lon, lat = random_centres(5, generator=torch.Generator().manual_seed(0))
        >>> lon.shape
        torch.Size([5])
    """
    check_generator(generator)
    (n,) = positive(n=n)
    u = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    return 360 * u[:, 0], (2 * u[:, 1] - 1).asin().rad2deg()


def real_mask_patches(
    n: int, size: int, *, pixel_arcmin: float, nside: int = 512, generator: torch.Generator
) -> Tensor:
    """Cut masks of patches from `skytutor.data.sky_masks.sky_mask`, at random places.

    Places where a patch is all seen, or less than half of it, are passed over.

    Arguments:
        n: how many.
        size: H, pixels along a side.
        pixel_arcmin: side of the pixel at the centre.
        nside: of the mask that they are cut from.
        generator: of the random numbers.

    Returns:
        bool ``(n, H, H)``, True where the sky is seen.

    Raises:
        ValueError: patches so small that no mask could be found.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> real_mask_patches(2, 16, pixel_arcmin=30.0, nside=64, generator=rng).shape
        torch.Size([2, 16, 16])
    """
    check_generator(generator)
    positive(n=n, size=size)
    mask = sky_mask(nside, order="nested")
    found: list[Tensor] = []
    for _ in range(200):
        lon, lat = random_centres(4 * n, generator=generator)
        patches = gnomonic_patch(
            mask,
            nside=nside,
            order="nested",
            lon_deg=lon,
            lat_deg=lat,
            size=size,
            pixel_arcmin=pixel_arcmin,
        )
        part = patches.double().mean((-2, -1))
        found += patches[(part >= 0.5) & (part < 1)].unbind()
        if len(found) >= n:
            return torch.stack(found[:n])
    raise ValueError(
        f"size: of 800 x {n} patches of {size} pixels of {pixel_arcmin}' only {len(found)} hold "
        "a hidden pixel; take a larger patch"
    )


class DisjointCentres(NamedTuple):
    """Centres of patches, longitude and latitude in degrees, ``(n, 2)`` float64 each.

    Attributes:
        train: of the patches to train on.
        test: of the patches to test on; no pixel of theirs is near a pixel of those.
    """

    train: Tensor
    test: Tensor


def disjoint_patches(
    n_train: int,
    n_test: int,
    *,
    size: int,
    pixel_arcmin: float,
    margin_deg: float = 2.0,
    valid: Tensor | None = None,
    generator: torch.Generator,
) -> DisjointCentres:
    """Choose patches so that those of the test share no sky with those of training.

    Centres are drawn over the whole sphere. Those in a northern or southern cap about a random
    axis are the test's, those beyond the cap, a patch and a margin train: the skies of
    neighbouring patches are correlated, so a patch that touches another knows some of it. Patches
    of one set may overlap.

    Arguments:
        n_train: how many patches to train on.
        n_test: how many to test on.
        size: H, pixels along a side.
        pixel_arcmin: side of the pixel at the centre.
        margin_deg: least separation of a pixel of a test patch and one of a training patch, in
            degrees.
        valid: bool ``(P,)``, NESTED; only patches whose every pixel is True are taken. None for
            all.
        generator: of the random numbers.

    Returns:
        centres of both sets.

    Raises:
        TypeError: `valid` no bool tensor.
        ValueError: patches so wide that no room is left, or a mask that leaves too few.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> split = disjoint_patches(8, 4, size=32, pixel_arcmin=6.871, generator=rng)
        >>> split.train.shape, split.test.shape
        (torch.Size([8, 2]), torch.Size([4, 2]))
    """
    positive(n_train=n_train, n_test=n_test)
    valid = _check_valid(valid)
    reach = patch_radius(check_patch(size, pixel_arcmin), pixel_arcmin=pixel_arcmin)
    gap = 2 * reach + math.radians(as_length("margin_deg", margin_deg, zero=True))
    # A quarter of the sky about the axis, less half of the gap, is the test's.
    edge = math.radians(60.0)
    if edge - gap / 2 <= 0:
        raise ValueError(
            f"size {size} and margin_deg {margin_deg} leave no room: a patch reaches "
            f"{math.degrees(reach):.4g} degrees from its centre, and two of them and the margin "
            f"must stay below {math.degrees(2 * edge):.4g}"
        )
    axis = torch.randn(3, generator=check_generator(generator), dtype=torch.float64)
    axis = axis / axis.norm()
    ends = ((math.cos(edge + gap / 2), n_train), (math.cos(edge - gap / 2), n_test))
    train: list[Tensor] = []
    test: list[Tensor] = []
    for _ in range(500):
        centres = torch.stack(random_centres(n_train + n_test, generator=generator), -1)
        cosine = _vectors(centres) @ axis
        for chosen, away, (end, n) in ((train, -1, ends[0]), (test, 1, ends[1])):
            inside = centres[away * (cosine - end) > 0]
            if len(chosen) < n and len(inside):
                chosen += inside[_all_valid(inside, valid, size=size, pixel=pixel_arcmin)].unbind()
        if len(train) >= n_train and len(test) >= n_test:
            return DisjointCentres(torch.stack(train[:n_train]), torch.stack(test[:n_test]))
    raise ValueError(
        f"valid: only {len(train)} of {n_train} and {len(test)} of {n_test} patches lie where "
        "everything is valid; ask for fewer or for smaller ones"
    )


def patch_radius(size: int, *, pixel_arcmin: float) -> float:
    """Return how far the centre of any pixel is from the patch's centre at most, in radians."""
    steps = math.hypot(size // 2, size // 2)
    return math.atan(steps * math.radians(pixel_arcmin / 60))


def _vectors(centres: Tensor) -> Tensor:
    """Return unit vectors ``(n, 3)`` of centres in degrees ``(n, 2)``."""
    lon, lat = centres.deg2rad().unbind(-1)
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], -1)


def _check_valid(valid: Tensor | None) -> Tensor | None:
    """Return a bool map, no other: numbers would be interpolated, and a half count as valid."""
    if valid is None:
        return None
    valid = as_tensor("valid", valid)
    if valid.dtype != torch.bool:
        raise TypeError(f"valid must be bool, got {valid.dtype}")
    if valid.dim() != 1:
        raise ValueError(f"valid must be (P,), got shape {tuple(valid.shape)}")
    npix_to_nside(len(valid))
    return valid


def _all_valid(centres: Tensor, valid: Tensor | None, *, size: int, pixel: float) -> Tensor:
    """Tell of which patches every pixel is valid, ``(n,)`` bool."""
    if valid is None:
        return torch.ones(len(centres), dtype=torch.bool)
    patches = gnomonic_patch(
        valid,
        nside=npix_to_nside(len(valid)),
        order="nested",
        lon_deg=centres[:, 0],
        lat_deg=centres[:, 1],
        size=size,
        pixel_arcmin=pixel,
    )
    return patches.all(-1).all(-1)
