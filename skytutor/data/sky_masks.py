"""Masks of the whole sky: Planck's where the file is, else one made of the same kind.

A mask is bool ``(P,)``, True where the sky is **seen**. Planck's is the region of SMICA's map of
2013 [1]_ that the map calls valid: 97.2 % of the sky; hidden are the brightest of the Galactic
plane, some clouds, and discs about point sources. The made mask has a ragged band along the plane,
clouds and discs of the same sizes, drawn once and for all.

.. [1] Planck Collaboration XII, 2014, A&A 571, A12.
"""

import math

import torch
from torch import Tensor

from skytutor.data import registry
from skytutor.healpix import (
    check_nside,
    check_order,
    nested_to_ring,
    npix_to_nside,
    nside_to_npix,
    pixel_to_angle,
    reorder,
    ring_to_nested,
)
from skytutor.healpix.rings import rings
from skytutor.memo import cached_table

__all__ = ["galactic_cut", "made_mask", "mask_source", "sky_mask"]

SMICA_2013 = "planck/smica_2013_nside512.fits"
NSIDE = 512  # of the masks before they are degraded
_SEED = 6
# Longitude and latitude of the largest clouds that Planck's mask hides, and radius, in degrees:
# the Large Magellanic Cloud, Orion, Taurus, Ophiuchus; in the plane Cygnus, Cassiopeia, others.
_CLOUDS = (
    (279, -33, 3.0),
    (210, -18, 3.4),
    (159, -20, 2.2),
    (353, 17, 1.8),
    (79, 1, 3.8),
    (110, 0, 2.7),
    (136, 1, 2.0),
    (268, -1, 2.0),
    (61, 0, 1.8),
)
_DISCS = 640  # about point sources
_WIDTH = math.radians(2.8)  # of half the band, towards the Galactic centre
_CHUNK = 2**17  # pixels at a time


def sky_mask(nside: int, *, order: str) -> Tensor:
    """Return the mask of the sky: Planck's where the file is, else the made one.

    Below nside 512 a pixel is seen if more than half of it is; above, it is what the pixel of
    nside 512 is that it lies in. Hide pixels of a map before you smooth or degrade it: afterwards,
    what was to be hidden has leaked into its neighbours.

    Arguments:
        nside: of the mask, a power of two.
        order: of its pixels, "ring" or "nested".

    Returns:
        bool ``(P,)``, True where the sky is seen.

    Raises:
        skytutor.data.registry.DataError: the file is there and damaged.

    Example:
        >>> mask = sky_mask(32, order="nested")
        >>> bool(0.95 < mask.double().mean() < 0.99)
        True
    """
    check_order(order, allowed=("ring", "nested"))
    nested = _nested_mask(check_nside(nside), _has_file())
    return nested if order == "nested" else _renumbered(nested, order="ring")


def mask_source() -> str:
    """Say which mask `sky_mask` gives."""
    if _has_file():
        return "valid region of Planck's SMICA map of 2013, nside 512"
    return "made: a ragged Galactic band, clouds and discs, as in Planck's SMICA map of 2013"


def galactic_cut(nside: int, half_width_deg: float, *, order: str) -> Tensor:
    """Return a cut along the Galactic plane, ``|b| < half_width_deg``, as a mask.

    Arguments:
        nside: of the mask.
        half_width_deg: in degrees, above 0 and below 90; a pixel is hidden by its centre.
        order: of its pixels, "ring" or "nested".

    Returns:
        bool ``(P,)``, True where the sky is seen.

    Raises:
        ValueError: a width outside its range, or one that hides nothing or everything.

    Example:
        >>> int((~galactic_cut(16, 10.0, order="ring")).sum())
        576
    """
    if isinstance(half_width_deg, str | None) or not 0 < half_width_deg < 90:
        raise ValueError(f"half_width_deg must lie between 0 and 90, got {half_width_deg!r}")
    check_order(order, allowed=("ring", "nested"))
    # Ring by ring: all pixels of a ring have the same latitude.
    belt = rings(check_nside(nside))
    seen = belt.z.abs() >= math.sin(math.radians(half_width_deg))
    if not bool(seen.any()):
        raise ValueError(
            f"half_width_deg of {half_width_deg} hides every pixel of nside {nside}: the rings "
            f"nearest to the poles lie at {math.degrees(math.asin(float(belt.z[0]))):.4g} degrees"
        )
    ring = seen.repeat_interleave(belt.pixels)
    return reorder(ring, source="ring", target=order)


def made_mask() -> Tensor:
    """Make the mask that stands in for Planck's: bool ``(3145728,)``, nside 512, NESTED.

    It hides 2.8 % of the sky, and is the same each time.
    """
    return _made()


def _has_file() -> bool:
    return registry.have("planck-smica-2013")


@cached_table(maxsize=8)
def _nested_mask(nside: int, real: bool) -> Tensor:
    """Return the mask of an nside; `real` is a key of the cache too: a file may come later."""
    native = _planck() if real else _made()
    if nside == NSIDE:
        return native
    if nside > NSIDE:
        return native.repeat_interleave((nside // NSIDE) ** 2)
    # The pixels of nside 512 in a larger pixel follow one another in NESTED order.
    parts = native.view(nside_to_npix(nside), -1).float().mean(1)
    return parts > 0.5


@cached_table(maxsize=1)
def _planck() -> Tensor:
    from astropy.io import fits

    with fits.open(registry.path(SMICA_2013), memmap=True) as file:
        valid = file[1].data["VALID"] > 0
    return _renumbered(torch.from_numpy(valid), order="nested")


def _renumbered(mask: Tensor, *, order: str) -> Tensor:
    """Return a mask ``(P,)`` in the other order, a piece at a time.

    Tables of all pixels at nside 512, and what they are made from, take hundreds of megabytes.
    """
    nside = npix_to_nside(len(mask))
    renumber = ring_to_nested if order == "ring" else nested_to_ring
    pieces = [mask[renumber(pix, nside=nside)] for pix in torch.arange(len(mask)).split(_CHUNK)]
    return torch.cat(pieces)


@cached_table(maxsize=1)
def _made() -> Tensor:
    rng = torch.Generator().manual_seed(_SEED)
    ragged = _raggedness(rng)
    seen = torch.ones(nside_to_npix(NSIDE), dtype=torch.bool)  # RING order
    # The band lies within the rings up to its widest place.
    widest = _WIDTH * float(ragged.max())
    for pix in _pixels_of_rings(math.pi / 2 - widest, math.pi / 2 + widest).split(_CHUNK):
        theta, phi = pixel_to_angle(pix, nside=NSIDE, order="ring")
        seen[pix] = (math.pi / 2 - theta).abs() > _band_edge(phi, ragged)
    for lon, lat, radius in _discs(rng):
        _hide_disc(seen, lon=lon, lat=lat, radius=radius)
    # Only what is hidden needs its number in the other order: 3 % of the pixels.
    hidden = (~seen).nonzero().flatten()
    nested = torch.ones_like(seen)
    nested[ring_to_nested(hidden, nside=NSIDE)] = False
    return nested


def _rings_between(north: float, south: float) -> Tensor:
    """Return the numbers of the rings between two colatitudes in radians."""
    z = rings(NSIDE).z
    low = math.cos(min(south, math.pi))
    high = math.cos(max(north, 0.0))
    return ((z >= low) & (z <= high)).nonzero().flatten()


def _pixels_of_rings(north: float, south: float) -> Tensor:
    """Return the pixels of the rings between two colatitudes in radians, RING order."""
    ring = rings(NSIDE)
    between = _rings_between(north, south)
    last = between[-1]
    return torch.arange(int(ring.start[between[0]]), int(ring.start[last] + ring.pixels[last]))


def _raggedness(generator: torch.Generator) -> Tensor:
    """Return what the band's half-width is multiplied by, at 4096 longitudes: ``(4096,)``.

    It is a sum of waves in longitude, whose amplitudes fall with their number.
    """
    order = torch.arange(4, 180, dtype=torch.float64)
    amplitude = torch.randn(len(order), generator=generator, dtype=torch.float64) / order**0.5
    phase = torch.rand(len(order), generator=generator, dtype=torch.float64) * 2 * math.pi
    longitude = torch.arange(4096, dtype=torch.float64) * (2 * math.pi / 4096)
    waves = (torch.cos(longitude[:, None] * order + phase) * amplitude).sum(1)
    return (1 + 0.3 * waves / waves.std()).clamp(min=0)


def _band_edge(phi: Tensor, ragged: Tensor) -> Tensor:
    """Return the half-width of the band along the plane at each longitude, in radians.

    It is widest towards the Galactic centre and gone 75 degrees away from it, and ragged.
    """
    away = torch.minimum(phi, 2 * math.pi - phi)
    smooth = _WIDTH * torch.cos(away * (90 / 75)).clamp(min=0) ** 0.3
    n = len(ragged)
    place = (phi * (n / (2 * math.pi))).long().clamp(max=n - 1)
    return smooth * ragged[place]


def _discs(generator: torch.Generator) -> list[tuple[float, float, float]]:
    """Return longitude, latitude and radius, in radians, of clouds and point sources."""
    u = torch.rand(_DISCS, 3, generator=generator, dtype=torch.float64)
    spread = torch.randn(_DISCS, generator=generator, dtype=torch.float64)
    lon = u[:, 0] * 2 * math.pi
    # Half of the sources lie all over the sky, half within some degrees of the plane.
    everywhere = (2 * u[:, 1] - 1).asin()
    near_plane = -math.radians(3.0) * (1 - 2 * (u[:, 1] - 0.5).abs()).log() * (u[:, 1] - 0.5).sign()
    lat = torch.where(u[:, 2] < 0.5, everywhere, near_plane.clamp(-1.5, 1.5))
    radius = (14 * torch.exp(0.7 * spread)).clamp(5, 60) * math.pi / 180 / 60
    found = [(math.radians(x), math.radians(y), math.radians(r)) for x, y, r in _CLOUDS]
    found += zip(lon.tolist(), lat.tolist(), radius.tolist(), strict=True)
    return found


def _hide_disc(seen: Tensor, *, lon: float, lat: float, radius: float) -> None:
    """Set `seen` False within a radius of a place, all in radians, RING order."""
    colatitude = math.pi / 2 - lat
    ring = rings(NSIDE)
    touched = _rings_between(colatitude - radius, colatitude + radius)
    if not len(touched):
        return
    # Where a disc holds no pole, it reaches asin(sin(radius) / sin(colatitude)) in longitude to
    # both sides. Of each ring the pixels up to there are looked at, and one more at either end.
    reach = math.pi
    if radius < min(colatitude, math.pi - colatitude):
        reach = math.asin(math.sin(radius) / math.sin(colatitude))
    n_pixels = ring.pixels[touched]
    first = ((lon - reach) / (2 * math.pi) * n_pixels).floor().long() - 1
    count = min(int(reach / math.pi * int(n_pixels.max())) + 4, int(n_pixels.max()))
    along = (first[:, None] + torch.arange(count)) % n_pixels[:, None]  # (rings, pixels)
    pix = (ring.start[touched, None] + along).flatten()
    theta, phi = pixel_to_angle(pix, nside=NSIDE, order="ring")
    # sin^2(d / 2) of the separation d keeps its digits where d is small.
    half_chord = (
        torch.sin((theta - colatitude) / 2).square()
        + theta.sin() * math.sin(colatitude) * torch.sin((phi - lon) / 2).square()
    )
    seen[pix[half_chord <= math.sin(radius / 2) ** 2]] = False
