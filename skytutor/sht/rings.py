"""HEALPix's rings: where they lie, and the weights that make them a quadrature.

Ring r has n_r pixels at longitudes ``phi_r + 2 pi p / n_r``. The belt's 2 nside + 1 rings have 4
nside pixels each; polar rings i = 1 .. nside - 1 have 4 i, the same north and south.

Shapes: N maps, P = 12 nside**2 pixels in RING order, R rings = 4 nside - 1, M = mmax + 1 orders.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Rings(NamedTuple):
    """Geometry of the 4 nside - 1 rings, float64 and int64 on the CPU."""

    count: Tensor  # pixels of each ring
    start: Tensor  # RING number of its first pixel
    shift: Tensor  # longitude of its first pixel in half pixels, 0 or 1
    z: Tensor  # cosine of the colatitude
    # (1 - z) / 2, without cancellation near the north pole: the squared sine of half the colatitude
    below: Tensor


@lru_cache(maxsize=16)
def rings(nside: int) -> Rings:
    """Return the rings of a map, north to south."""
    north = torch.arange(1, 2 * nside + 1)  # to the equator
    cap = north < nside
    count = torch.where(cap, 4 * north, 4 * nside)
    height = north.double() / nside
    below = torch.where(cap, height.square() / 6, (height - 0.5) / 3)
    count = torch.cat([count, count[:-1].flip(0)])
    shift = torch.where(cap, 1, 1 - (north - nside) % 2)
    start = count.cumsum(0) - count
    below = torch.cat([below, 1 - below[:-1].flip(0)])
    return Rings(count, start, torch.cat([shift, shift[:-1].flip(0)]), 1 - 2 * below, below)


def colatitudes(nside: int) -> Tensor:
    """Colatitude of each ring in radians, float64; from the half angle's sine, which keeps its digits near the poles."""
    north = 2 * rings(nside).below[: 2 * nside].sqrt().asin()
    return torch.cat([north, math.pi - north[:-1].flip(0)])


def longitudes(nside: int) -> Tensor:
    """Longitude of each ring's first pixel in radians, float64."""
    return math.pi * rings(nside).shift.double() / rings(nside).count


@lru_cache(maxsize=16)
def ring_weights(nside: int) -> Tensor:
    """Weights of the rings, ``(R,)`` float64, mean over pixels 1: quadrature exact for zonal functions up to l = 3 nside.

    Of all weights w with ``sum_r n_r w_r P_l(z_r) = 12 nside**2 delta_l0`` for l <= 3 nside
    (rounded down to even; odd l vanish by symmetry) they are those with the least
    ``sum_r (n_r (w_r - 1))**2``. HEALPix's files hold the same to 1e-14 for nside 8 and 16, and
    reach up to half an nside further in l for others.
    """
    z = rings(nside).z[: 2 * nside]
    pixels = 2.0 * rings(nside).count[: 2 * nside].double()
    pixels[-1] /= 2
    rows = [torch.ones_like(z)]
    before = torch.ones_like(z)
    now = z
    for l in range(2, 3 * nside + 1):
        before, now = now, ((2 * l - 1) * z * now - (l - 1) * before) / l
        rows += [now] if l % 2 == 0 else []
    legendre = torch.stack(rows[: 2 * nside])
    miss = -(legendre @ pixels)
    miss[0] = 0  # equal weights are exact for a constant
    half = 1 + torch.linalg.lstsq(legendre, miss[:, None], driver="gelsd").solution[:, 0] / pixels
    return torch.cat([half, half[:-1].flip(0)])
