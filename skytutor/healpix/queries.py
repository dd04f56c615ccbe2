"""Which pixels lie in a disc or in a strip of the sky."""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix.checks import NSIDE_MAX, check_nside, check_order
from skytutor.healpix.directions import pixel_to_vector
from skytutor.healpix.numbering import nested_to_ring, ring_to_nested
from skytutor.healpix.rings import colatitudes, rings
from skytutor.validate import as_length

__all__ = ["pixel_radius", "query_disc", "query_strip"]

_FINER = 4  # nside of the pixels that an inclusive query looks at, over that of the map


def pixel_radius(nside: int) -> float:
    """Return the largest distance between the centre and a corner of any pixel.

    Arguments:
        nside: resolution, a power of two.

    Returns:
        Angle in radians.

    Raises:
        TypeError, ValueError: as `skytutor.healpix.check_nside`.

    Example:
        >>> round(math.degrees(pixel_radius(1)), 2)
        48.19
    """
    nside = check_nside(nside)
    # The longest pixels end where belt and cap meet: from (z, phi) = (2 / 3, pi / (4 nside)) to the
    # corner on the meridian, on the next ring to the north.
    phi = math.pi / (4 * nside)
    theta = math.acos(2 / 3)
    corner = 2 * math.asin((1 - 1 / nside) / math.sqrt(6))
    half_chord2 = (
        math.sin((theta - corner) / 2) ** 2
        + math.sin(theta) * math.sin(corner) * math.sin(phi / 2) ** 2
    )
    return 2 * math.asin(math.sqrt(half_chord2))


def query_disc(
    centre: Tensor, radius: float, *, nside: int, order: str, inclusive: bool = False
) -> Tensor:
    """Return the pixels whose centres lie within a radius of a direction.

    A centre that lies on the edge, to rounding, may be listed or not.

    Arguments:
        centre: a vector ``(3,)`` of any length but zero, or angles ``(2,)``: colatitude theta in
            [0, pi] and longitude phi, radians.
        radius: of the disc in radians, 0 to pi.
        nside: of the pixels.
        order: of their numbers, "ring" or "nested".
        inclusive: also those that the disc only touches. None is missed; a few are listed that lie
            within twice `pixel_radius` of 4 nside beyond its edge (from nside 2**19 on, of nside).

    Returns:
        Pixel numbers, rising, int64, on the device of `centre`; none is possible.

    Raises:
        TypeError: a centre that is no floating-point tensor, or a radius that is no number.
        ValueError: another shape or a zero vector, a radius beyond pi; other bad arguments, named.

    Example:
        >>> query_disc(torch.tensor([0.0, 0.0, 1.0]), 0.8, nside=2, order="ring")
        tensor([0, 1, 2, 3])
        >>> query_disc(torch.tensor([1.57, 0.0]), 0.3, nside=2, order="ring", inclusive=True)
        tensor([12, 20, 27, 28])
    """
    nside = check_nside(nside)
    check_order(order, allowed=("ring", "nested"))
    vector = _direction(centre)
    radius = as_length("radius", radius, zero=True)
    if radius > math.pi:
        raise ValueError(f"radius must lie in 0..pi, in radians, got {radius}")
    if not inclusive:
        found = _disc(vector, radius, nside)
        found = ring_to_nested(found, nside=nside) if order == "nested" else found
        return found.sort().values
    # A point of the disc lies in a finer pixel, whose centre is at most that pixel's radius away.
    finer = _FINER if _FINER * nside <= NSIDE_MAX else 1
    fine = _disc(vector, min(radius + pixel_radius(finer * nside), math.pi), finer * nside)
    parents = ring_to_nested(fine, nside=finer * nside) // finer**2
    found = parents.unique()  # sorted
    return nested_to_ring(found, nside=nside).sort().values if order == "ring" else found


def query_strip(theta_north: float, theta_south: float, *, nside: int, order: str) -> Tensor:
    """Return the pixels whose centres lie between two circles of latitude, or on one of them.

    Arguments:
        theta_north: colatitude of the northern edge in radians, 0 to pi.
        theta_south: of the southern edge, not north of the other.
        nside: of the pixels.
        order: of their numbers, "ring" or "nested".

    Returns:
        Pixel numbers, rising, int64, on the CPU; none is possible.

    Raises:
        TypeError: angles that are no numbers.
        ValueError: edges outside 0..pi or in the other order; other bad arguments, named.

    Example:
        >>> query_strip(0.0, 0.5, nside=2, order="ring")
        tensor([0, 1, 2, 3])
    """
    nside = check_nside(nside)
    check_order(order, allowed=("ring", "nested"))
    north = as_length("theta_north", theta_north, zero=True)
    south = as_length("theta_south", theta_south, zero=True)
    if not north <= south <= math.pi:
        raise ValueError(
            "theta_north and theta_south must rise within 0..pi, in radians, "
            f"got {north} and {south}"
        )
    theta = colatitudes(nside)
    chosen = (theta >= north) & (theta <= south)
    pixels = torch.arange(12 * nside**2)[chosen.repeat_interleave(rings(nside).pixels)]
    return ring_to_nested(pixels, nside=nside).sort().values if order == "nested" else pixels


def _direction(centre: Tensor) -> Tensor:
    """Return the unit vector ``(3,)`` float64 of a vector or of angles."""
    centre = as_tensor("centre", centre)
    if not centre.is_floating_point():
        raise TypeError(f"centre must be floating-point numbers, got {centre.dtype}")
    if tuple(centre.shape) not in ((2,), (3,)):
        raise ValueError(
            f"centre must be a vector (3,) or theta and phi (2,), got shape {tuple(centre.shape)}"
        )
    values = centre.detach().double()
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"centre must be finite, got {values.tolist()}")
    if len(values) == 3:
        length = values.norm()
        if float(length) == 0:
            raise ValueError("centre must not be the zero vector")
        return values / length
    theta, phi = values.unbind()
    # In single precision pi is larger than pi.
    if not 0 <= float(theta) <= math.pi + 1e-6:
        raise ValueError(f"centre must have theta in 0..pi, in radians, got {float(theta)}")
    return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()])


def _disc(vector: Tensor, radius: float, nside: int) -> Tensor:
    """Return the pixels within `radius` of a unit vector, RING numbers in any order."""
    pixels = _candidates(vector, radius, nside)
    v = pixel_to_vector(pixels, nside=nside, order="ring")
    # By chords, which keep their digits where a cosine loses them: to the centre, or beyond a
    # quarter of the sky to the point across.
    if radius <= math.pi / 2:
        inside = (v - vector).square().sum(-1) <= 4 * math.sin(radius / 2) ** 2
    else:
        inside = (v + vector).square().sum(-1) >= 4 * math.sin((math.pi - radius) / 2) ** 2
    return pixels[inside]


def _candidates(vector: Tensor, radius: float, nside: int) -> Tensor:
    """Return the RING numbers of a disc's pixels, and of one or two more at each end of a ring."""
    device = vector.device
    heights = colatitudes(nside).to(device)
    theta = torch.atan2(torch.hypot(vector[0], vector[1]), vector[2])
    phi = torch.atan2(vector[1], vector[0])
    near = torch.nonzero((heights - theta).abs() <= radius + 1e-9).squeeze(1)  # rings
    table = rings(nside)
    n = table.pixels.to(device)[near]
    height = heights[near]
    # sin(r / 2)**2 = sin((theta - theta') / 2)**2 + sin(theta) sin(theta') sin(dphi / 2)**2
    excess = math.sin(radius / 2) ** 2 - ((height - theta) / 2).sin().square()
    ratio = excess.clamp(min=0) / (height.sin() * theta.sin()).clamp(min=1e-300)
    reach = 2 * ratio.clamp(max=1).sqrt().asin()
    # Longitude in pixels of the ring, from the centre of its first.
    half_shift = 0.5 * table.shift.to(device)[near]
    first = ((phi - reach) * n / (2 * math.pi) - half_shift).floor().long()
    last = ((phi + reach) * n / (2 * math.pi) - half_shift).ceil().long()
    count = torch.minimum(last - first + 1, n)
    # Ring after ring: which ring an entry belongs to, and its place there.
    ring = torch.arange(len(n), device=device).repeat_interleave(count)
    begin = count.cumsum(0) - count
    place = torch.arange(len(ring), device=device) - begin[ring]
    return table.start.to(device)[near][ring] + (first[ring] + place) % n[ring]
