"""HEALPix's rings, and Fourier sums along them.

Ring r has n_r pixels at longitudes ``phi_r + 2 pi p / n_r``. The belt's 2 nside + 1 rings have 4 nside pixels each;
polar rings i = 1 .. nside - 1 have 4 i, the same north and south.

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
    below: Tensor  # (1 - z) / 2, without cancellation near the north pole: the squared sine of half the colatitude


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


def turn(nside: int, orders: Tensor, ring: Tensor) -> Tensor:
    """``exp(i m phi_r)``, ``(R', M)`` complex128, of the rings' first pixels: the angle is reduced before it is a float."""
    geometry = rings(nside)
    step = 2 * geometry.count[ring, None]  # whole turns in units of pi / n_r
    angle = (orders * geometry.shift[ring, None]) % step
    return torch.polar(torch.ones(()).double(), 2 * math.pi * angle.double() / step)


def _belt(nside: int) -> tuple[slice, slice]:
    """Rings and pixels of the belt, where every ring has 4 nside pixels."""
    cap = 2 * nside * (nside - 1)
    return slice(nside - 1, 3 * nside), slice(cap, 12 * nside**2 - cap)


def _sum(orders: Tensor, n: int) -> Tensor:
    """Rings of n pixels ``(..., n)`` from orders ``(..., M)``: twice the real part of ``sum_m F_m exp(2 pi i m p / n)``.

    m looks like m - n, and a real ring like the conjugate at n - m: all orders are folded into 0 .. n / 2.
    """
    count, half = orders.shape[-1], n // 2
    folded = orders.new_zeros(*orders.shape[:-1], half + 1)
    for first in range(0, count, n):
        up = orders[..., first : first + half + 1]
        folded[..., : up.shape[-1]] += up
        down = orders[..., first + half : first + n + 1]  # at n / 2, ..., 0
        if down.shape[-1]:
            folded[..., half + 1 - down.shape[-1] :] += down.flip(-1).conj()
    folded[..., 0] += orders[..., 0].conj()
    return torch.fft.irfft(folded, n, norm="forward")


def _split(pixels: Tensor, m: int) -> Tensor:
    """Orders ``(..., M)`` of rings ``(..., n)``: ``sum_p f_p exp(-2 pi i m p / n)``. Orders repeat after n of them."""
    n = pixels.shape[-1]
    half = torch.fft.rfft(pixels)
    if m <= n // 2 + 1:
        return half[..., :m]
    whole = torch.cat([half, half[..., 1 : n // 2].flip(-1).conj()], -1)
    return torch.cat([whole] * -(-m // n), -1)[..., :m] if m > n else whole[..., :m]


class RingFourier(torch.nn.Module):
    """Fourier sums along all rings of a map, both ways; each the other's adjoint up to the factor of two of m > 0.

    Arguments:
        nside: of the maps.
        orders: how many m, from 0.
    """

    def __init__(self, nside: int, orders: int):
        super().__init__()
        self.nside, self.orders = nside, orders
        turns = turn(nside, torch.arange(orders), torch.arange(4 * nside - 1))
        turns[:, 0] *= 0.5  # m = 0 counts once, the others stand for -m too
        self.register_buffer("turns", turns, persistent=False)

    def to_pixels(self, orders: Tensor) -> Tensor:
        """Maps ``(N, P)`` of ``(N, R, M)``."""
        orders, nside = orders * self.turns.to(orders.dtype), self.nside
        ring, _ = _belt(nside)
        north, south = [], []
        for i in range(1, nside):
            both = _sum(orders[:, [i - 1, 4 * nside - 1 - i]], 4 * i)  # (N, 2, 4 i)
            north.append(both[:, 0])
            south.append(both[:, 1])
        belt = _sum(orders[:, ring], 4 * nside).flatten(1)
        return torch.cat([*north, belt, *south[::-1]], 1)

    def to_orders(self, maps: Tensor) -> Tensor:
        """``(N, R, M)`` of maps ``(N, P)``."""
        nside, out = self.nside, maps.new_empty(len(maps), 4 * self.nside - 1, self.orders, dtype=_complex(maps.dtype))
        ring, pixel = _belt(nside)
        out[:, ring] = _split(maps[:, pixel].unflatten(1, (2 * nside + 1, 4 * nside)), self.orders)
        for i in range(1, nside):
            first, last = 2 * i * (i - 1), maps.shape[1] - 2 * i * (i + 1)
            pair = torch.stack([maps[:, first : first + 4 * i], maps[:, last : last + 4 * i]], 1)
            out[:, [i - 1, 4 * nside - 1 - i]] = _split(pair, self.orders)
        once = self.turns.conj().to(out.dtype).clone()
        once[:, 0] *= 2
        return out * once


def _complex(real: torch.dtype) -> torch.dtype:
    return torch.complex128 if real == torch.float64 else torch.complex64


@lru_cache(maxsize=16)
def ring_weights(nside: int) -> Tensor:
    """Weights of the rings, ``(R,)`` float64, mean over pixels 1: quadrature exact for zonal functions up to l = 3 nside.

    Of all weights w with ``sum_r n_r w_r P_l(z_r) = 12 nside**2 delta_l0`` for l <= 3 nside (rounded down to even;
    odd l vanish by symmetry) they are those with the least ``sum_r (n_r (w_r - 1))**2``. HEALPix's files hold the same
    to 1e-14 for nside 8 and 16, and reach up to half an nside further in l for others.
    """
    z = rings(nside).z[: 2 * nside]
    pixels = 2.0 * rings(nside).count[: 2 * nside].double()
    pixels[-1] /= 2
    rows, before, now = [torch.ones_like(z)], torch.ones_like(z), z
    for l in range(2, 3 * nside + 1):
        before, now = now, ((2 * l - 1) * z * now - (l - 1) * before) / l
        rows += [now] if l % 2 == 0 else []
    legendre = torch.stack(rows[: 2 * nside])
    miss = -(legendre @ pixels)
    miss[0] = 0  # equal weights are exact for a constant
    half = 1 + torch.linalg.lstsq(legendre, miss[:, None], driver="gelsd").solution[:, 0] / pixels
    return torch.cat([half, half[:-1].flip(0)])
