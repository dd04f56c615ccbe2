"""Fourier sums along the rings of HEALPix maps.

Shapes: N maps, P = 12 nside**2 pixels in RING order, R = 4 nside - 1 rings, M = mmax + 1 orders.
"""

import math

import torch
from torch import Tensor

from skytutor.sht.chirp import CapFourier
from skytutor.sht.rings import rings

_SHORT = 64  # pixels: a ring that is shorter, and has fewer pixels than orders, is a matrix product


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

    m looks like m - n, and a real ring like the conjugate at n - m: all orders are folded into 0 ..
    n / 2.
    """
    count = orders.shape[-1]
    half = n // 2
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


def _waves(n: int, orders: int) -> Tensor:
    """``exp(-2 pi i m p / n)`` as ``(2 M, n)``, real and imaginary parts in turn: times pixels, what `_split` makes of a ring."""
    angle = 2 * math.pi * (torch.arange(orders)[:, None] * torch.arange(n) % n).double() / n
    return torch.stack([angle.cos(), -angle.sin()], 1).flatten(0, 1)


class RingFourier(torch.nn.Module):
    """Fourier sums along all rings of a map, both ways; each the other's adjoint up to the factor of two of m > 0.

    Arguments:
        nside: of the maps.
        orders: how many m, from 0.
        loop: over the rings of the caps, or all of them at once (`CapFourier`); None: loop on a CPU
            alone.
        dtype: of the maps.
    """

    def __init__(
        self,
        nside: int,
        orders: int,
        *,
        loop: bool | None = None,
        dtype: torch.dtype = torch.float64,
    ):
        super().__init__()
        self.nside = nside
        self.orders = orders
        self.loop = loop
        self.caps = CapFourier(nside, orders) if nside > 1 and loop is False else None
        turns = turn(nside, torch.arange(orders), torch.arange(4 * nside - 1))
        self.register_buffer(
            "back", turns.conj().resolve_conj().to(_complex(dtype), copy=True), persistent=False
        )
        turns[:, 0] *= 0.5  # m = 0 counts once, the others stand for -m too
        self.register_buffer("turns", turns.to(_complex(dtype)), persistent=False)
        self.short = (
            min(nside - 1, min(_SHORT, orders) // 4) if loop is not False else 0
        )  # rings of a cap, from the pole
        waves = [_waves(4 * i, orders) for i in range(1, self.short + 1)]
        self.register_buffer(
            "waves",
            torch.cat([torch.empty(2 * orders, 0).double(), *waves], 1).to(dtype),
            persistent=False,
        )

    def _loops(self, tensor: Tensor) -> bool:
        if (
            self.caps is None
            and self.loop is None
            and self.nside > 1
            and tensor.device.type != "cpu"
        ):
            self.caps = CapFourier(self.nside, self.orders).to(tensor.device)
        return self.caps is None or (self.loop is None and tensor.device.type == "cpu")

    def to_pixels(self, orders: Tensor) -> Tensor:
        """Maps ``(N, P)`` of ``(N, R, M)``."""
        orders = orders * self.turns.to(orders.dtype)
        nside = self.nside
        belt = _sum(orders[:, _belt(nside)[0]], 4 * nside).flatten(1)
        if not self._loops(orders):
            north, south = self.caps.to_pixels(
                torch.cat([orders[:, : nside - 1], orders[:, 3 * nside :].flip(1)])
            ).chunk(2)
            return torch.cat([north, belt, south.index_select(1, self.caps.southern)], 1)
        north = []
        south = []
        for i in range(1, nside):
            both = orders[:, [i - 1, 4 * nside - 1 - i]]  # (N, 2, M)
            if i <= self.short:
                both = torch.view_as_real(both).flatten(2) @ self._table(i) * 2  # (N, 2, 4 i)
            else:
                both = _sum(both, 4 * i)
            north.append(both[:, 0])
            south.append(both[:, 1])
        return torch.cat([*north, belt, *south[::-1]], 1)

    def to_orders(self, maps: Tensor) -> Tensor:
        """``(N, R, M)`` of maps ``(N, P)``."""
        nside = self.nside
        out = maps.new_empty(len(maps), 4 * self.nside - 1, self.orders, dtype=_complex(maps.dtype))
        ring, pixel = _belt(nside)
        out[:, ring] = _split(maps[:, pixel].unflatten(1, (2 * nside + 1, 4 * nside)), self.orders)
        self._caps_to_orders(maps, out)
        return out * self.back.to(out.dtype)

    def _caps_to_orders(self, maps: Tensor, out: Tensor) -> None:
        nside = self.nside
        cap = 2 * self.nside * (self.nside - 1)
        if not self._loops(maps):
            southern = maps[:, maps.shape[1] - cap :].index_select(1, self.caps.northern)
            out[:, : nside - 1], south = self.caps.to_orders(
                torch.cat([maps[:, :cap], southern])
            ).chunk(2)
            out[:, 3 * nside :] = south.flip(1)
            return
        for i in range(1, nside):
            first = 2 * i * (i - 1)
            last = maps.shape[1] - 2 * i * (i + 1)
            pair = torch.stack([maps[:, first : first + 4 * i], maps[:, last : last + 4 * i]], 1)
            if i <= self.short:
                pair = torch.view_as_complex(
                    (pair @ self._table(i).T).unflatten(2, (-1, 2))
                )  # (N, 2, M)
            else:
                pair = _split(pair, self.orders)
            out[:, [i - 1, 4 * nside - 1 - i]] = pair

    def _table(self, i: int) -> Tensor:
        """Waves ``(2 M, 4 i)`` of the i-th ring from a pole."""
        return self.waves[:, 2 * i * (i - 1) : 2 * i * (i + 1)]


def _complex(real: torch.dtype) -> torch.dtype:
    return torch.complex128 if real == torch.float64 else torch.complex64
