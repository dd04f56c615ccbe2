"""HEALPix's rings: where they lie, and the weights that make them a quadrature.

Ring r has n_r pixels at longitudes ``phi_r + 2 pi p / n_r``. The belt's 2 nside + 1 rings have
4 nside pixels each; polar rings i = 1 .. nside - 1 have 4 i, the same north and south.

Shapes: N maps, P = 12 nside**2 pixels in RING order, R rings = 4 nside - 1, M = mmax + 1 orders.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.memo import cached_table


class Rings(NamedTuple):
    """Geometry of the 4 nside - 1 rings, ``(R,)`` each, float64 or int64, on the CPU.

    Attributes:
        pixels: number of pixels of each ring.
        start: RING number of its first pixel.
        shift: longitude of its first pixel in half pixels, 0 or 1.
        z: cosine of the colatitude.
        below: ``(1 - z) / 2`` without cancellation near the north pole, which is the squared sine
            of half the colatitude.
    """

    pixels: Tensor
    start: Tensor
    shift: Tensor
    z: Tensor
    below: Tensor


@cached_table(maxsize=16)
def rings(nside: int) -> Rings:
    """Return the rings of a map, north to south."""
    north = torch.arange(1, 2 * nside + 1)  # to the equator
    cap = north < nside
    pixels = torch.where(cap, 4 * north, 4 * nside)
    height = north.double() / nside
    # In a cap 1 - z grows as the square of the ring's number, in the belt linearly.
    below = torch.where(cap, height.square() / 6, (height - 0.5) / 3)
    shift = torch.where(cap, 1, 1 - (north - nside) % 2)
    # The southern rings mirror the northern ones; the equator counts once.
    pixels = torch.cat([pixels, pixels[:-1].flip(0)])
    start = pixels.cumsum(0) - pixels
    below = torch.cat([below, 1 - below[:-1].flip(0)])
    shift = torch.cat([shift, shift[:-1].flip(0)])
    return Rings(pixels=pixels, start=start, shift=shift, z=1 - 2 * below, below=below)


def colatitudes(nside: int) -> Tensor:
    """Return the colatitude of each ring in radians, ``(R,)`` float64.

    It is taken from the sine of the half angle, which keeps its digits near the poles.
    """
    north = 2 * rings(nside).below[: 2 * nside].sqrt().asin()
    return torch.cat([north, math.pi - north[:-1].flip(0)])


def longitudes(nside: int) -> Tensor:
    """Return the longitude of each ring's first pixel in radians, ``(R,)`` float64."""
    return math.pi * rings(nside).shift.double() / rings(nside).pixels


@cached_table(maxsize=16)
def ring_weights(nside: int) -> Tensor:
    """Return quadrature weights of the rings, exact for zonal functions up to l = 3 nside.

    Of all weights w with ``sum_r n_r w_r P_l(z_r) = 12 nside**2 delta_l0`` for l <= 3 nside
    (rounded down to even; odd l vanish by symmetry) they are those with the least
    ``sum_r (n_r (w_r - 1))**2``. HEALPix's files hold the same to 1e-14 for nside 8 and 16, and
    reach up to half an nside further in l for others.

    Arguments:
        nside: of the maps.

    Returns:
        ``(R,)`` float64; their mean over the pixels is 1.
    """
    z = rings(nside).z[: 2 * nside]
    # A northern ring and its southern mirror count together; the equator is its own mirror.
    pixels = 2.0 * rings(nside).pixels[: 2 * nside].double()
    pixels[-1] /= 2
    # P_l(z) of even l, one row each, by the recurrence in l.
    rows = [torch.ones_like(z)]
    previous = torch.ones_like(z)
    current = z
    for l in range(2, 3 * nside + 1):
        following = ((2 * l - 1) * z * current - (l - 1) * previous) / l
        previous = current
        current = following
        if l % 2 == 0:
            rows.append(current)
    legendre = torch.stack(rows[: 2 * nside])  # (degrees, rings)
    # What equal weights miss. The least change that makes up for it is lstsq's minimum-norm answer.
    missed = -(legendre @ pixels)
    missed[0] = 0  # equal weights are exact for a constant
    change = torch.linalg.lstsq(legendre, missed[:, None], driver="gelsd").solution[:, 0]
    north = 1 + change / pixels
    return torch.cat([north, north[:-1].flip(0)])
