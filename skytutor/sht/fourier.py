"""Fourier sums along the rings of HEALPix maps.

Shapes: N maps, P = 12 nside**2 pixels in RING order, R = 4 nside - 1 rings, M = mmax + 1 orders.
"""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_integers, check_axes
from skytutor.healpix.rings import rings
from skytutor.sht.chirp import CapFourier
from skytutor.tables import TableModule
from skytutor.values import on_values

_SHORT = 64  # pixels: a ring that is shorter, and has fewer pixels than orders, is a matrix product


def ring_phases(nside: int, orders: Tensor, ring: Tensor) -> Tensor:
    """Return ``exp(i m phi_r)`` at the longitudes phi_r of the rings' first pixels.

    The angle is reduced while it is a whole number, so it keeps its digits at any m.

    Arguments:
        nside: of the maps.
        orders: m, ``(M,)`` int64.
        ring: numbers of the rings from 0, ``(R',)`` int64.

    Returns:
        ``(R', M)`` complex128.

    Raises:
        TypeError: no integers.
        ValueError: other shapes, or a ring that nside has not.
    """
    orders, ring = as_integers(orders=orders, ring=ring)
    geometry = rings(nside)
    check_axes("M, R", orders=orders, ring=ring)
    last = len(geometry.pixels) - 1
    if on_values(ring, lambda values: bool(((values < 0) | (values > last)).any())):
        raise ValueError(f"ring must hold numbers in 0..{last} for nside {nside}")
    whole = 2 * geometry.pixels[ring, None]  # a whole turn in units of pi / n_r
    angle = (orders * geometry.shift[ring, None]) % whole
    return torch.polar(torch.ones(()).double(), 2 * math.pi * angle.double() / whole)


def _belt(nside: int) -> tuple[slice, slice]:
    """Return rings and pixels of the belt, where every ring has 4 nside pixels."""
    cap = 2 * nside * (nside - 1)
    return slice(nside - 1, 3 * nside), slice(cap, 12 * nside**2 - cap)


def _ring_from_orders(orders: Tensor, n: int) -> Tensor:
    """Return rings of n pixels: twice the real part of ``sum_m F_m exp(2 pi i m p / n)``.

    On n pixels m looks like m - n, and a real ring like the conjugate at n - m: all orders
    ``(..., M)`` are folded into 0 .. n / 2, and an inverse real FFT gives ``(..., n)``.
    """
    n_orders = orders.shape[-1]
    middle = n // 2
    folded = orders.new_zeros(*orders.shape[:-1], middle + 1)
    for first in range(0, n_orders, n):
        rising = orders[..., first : first + middle + 1]  # at 0, ..., n / 2
        folded[..., : rising.shape[-1]] += rising
        falling = orders[..., first + middle : first + n + 1]  # at n / 2, ..., 0
        if falling.shape[-1]:
            folded[..., middle + 1 - falling.shape[-1] :] += falling.flip(-1).conj()
    folded[..., 0] += orders[..., 0].conj()
    return torch.fft.irfft(folded, n, norm="forward")


def _orders_from_ring(pixels: Tensor, n_orders: int) -> Tensor:
    """Return orders ``(..., M)`` of rings ``(..., n)``: ``sum_p f_p exp(-2 pi i m p / n)``.

    Orders repeat after n of them.
    """
    n = pixels.shape[-1]
    lower = torch.fft.rfft(pixels)  # (..., n / 2 + 1)
    if n_orders <= n // 2 + 1:
        return lower[..., :n_orders]
    period = torch.cat([lower, lower[..., 1 : n // 2].flip(-1).conj()], -1)  # (..., n)
    if n_orders > n:
        period = torch.cat([period] * -(-n_orders // n), -1)
    return period[..., :n_orders]


def _modes(n: int, n_orders: int) -> Tensor:
    """Return ``exp(-2 pi i m p / n)`` as ``(2 M, n)``, real and imaginary parts in turn.

    A product with a ring's pixels is what `_orders_from_ring` makes of it.
    """
    angle = 2 * math.pi * (torch.arange(n_orders)[:, None] * torch.arange(n) % n).double() / n
    return torch.stack([angle.cos(), -angle.sin()], 1).flatten(0, 1)


class RingFourier(TableModule):
    """Fourier sums along all rings of a map, both ways.

    Each is the other's adjoint up to the factor of two of m > 0.

    Arguments:
        nside: of the maps.
        orders: how many m, from 0.
        loop: over the rings of the caps, or all of them at once (`CapFourier`); None: loop on a CPU
            alone.
        dtype: of the maps.
    """

    pixel_phases: Tensor  # (R, M), exp(i m phi_r), that of m = 0 halved
    order_phases: Tensor  # (R, M), exp(-i m phi_r)
    modes: Tensor  # (2 M, pixels), matrices of the short rings of a cap side by side

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
        phases = ring_phases(nside, torch.arange(orders), torch.arange(4 * nside - 1))
        conjugate = phases.conj().resolve_conj().to(_complex(dtype), copy=True)
        self.register_buffer("order_phases", conjugate, persistent=False)
        phases[:, 0] *= 0.5  # m = 0 counts once, the others stand for -m too
        self.register_buffer("pixel_phases", phases.to(_complex(dtype)), persistent=False)
        # How many rings of a cap, from the pole, are matrix products.
        self.short = 0 if loop is False else min(nside - 1, min(_SHORT, orders) // 4)
        none = torch.empty(2 * orders, 0).double()
        modes = [none, *(_modes(4 * i, orders) for i in range(1, self.short + 1))]
        self.register_buffer("modes", torch.cat(modes, 1).to(dtype), persistent=False)

    def _caps_at_once(self, tensor: Tensor) -> CapFourier | None:
        """Return what takes all rings of the caps at once, None where a loop over them is due."""
        on_cpu = tensor.device.type == "cpu"
        if self.caps is None and self.loop is None and self.nside > 1 and not on_cpu:
            self.caps = CapFourier(self.nside, self.orders).to(tensor.device)
        return None if self.loop is None and on_cpu else self.caps

    def to_pixels(self, orders: Tensor) -> Tensor:
        """Return maps ``(N, P)`` of the orders of each ring, ``(N, R, M)`` complex."""
        orders = orders * self.pixel_phases.to(orders.dtype)
        nside = self.nside
        belt = _ring_from_orders(orders[:, _belt(nside)[0]], 4 * nside).flatten(1)
        caps = self._caps_at_once(orders)
        if caps is not None:
            both = torch.cat(
                [orders[:, : nside - 1], orders[:, 3 * nside :].flip(1)]
            )  # (2 N, C, M)
            upper, lower = caps.to_pixels(both).chunk(2)
            return torch.cat([upper, belt, lower.index_select(1, caps.southern)], 1)
        north = []
        south = []
        for i in range(1, nside):
            pair = orders[:, [i - 1, 4 * nside - 1 - i]]  # (N, 2, M), a ring and its mirror
            if i <= self.short:
                pair = torch.view_as_real(pair).flatten(2) @ self._ring_modes(i) * 2  # (N, 2, 4 i)
            else:
                pair = _ring_from_orders(pair, 4 * i)
            north.append(pair[:, 0])
            south.append(pair[:, 1])
        return torch.cat([*north, belt, *south[::-1]], 1)

    def to_orders(self, maps: Tensor) -> Tensor:
        """Return the orders of each ring, ``(N, R, M)`` complex, of maps ``(N, P)``."""
        if maps.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"maps must be float32 or float64, got {maps.dtype}")
        nside = self.nside
        out = maps.new_empty(len(maps), 4 * nside - 1, self.orders, dtype=_complex(maps.dtype))
        ring, pixel = _belt(nside)
        belt = maps[:, pixel].unflatten(1, (2 * nside + 1, 4 * nside))  # (N, rings, pixels)
        out[:, ring] = _orders_from_ring(belt, self.orders)
        self._caps_to_orders(maps, out)
        return out * self.order_phases.to(out.dtype)

    def _caps_to_orders(self, maps: Tensor, out: Tensor) -> None:
        """Write the orders of both caps' rings into ``(N, R, M)``, of maps ``(N, P)``."""
        nside = self.nside
        n_pixels = maps.shape[1]
        cap = 2 * nside * (nside - 1)
        caps = self._caps_at_once(maps)
        if caps is not None:
            southern = maps[:, n_pixels - cap :].index_select(1, caps.northern)
            upper, lower = caps.to_orders(torch.cat([maps[:, :cap], southern])).chunk(2)
            out[:, : nside - 1] = upper
            out[:, 3 * nside :] = lower.flip(1)
            return
        for i in range(1, nside):
            first = 2 * i * (i - 1)
            last = n_pixels - 2 * i * (i + 1)
            pair = torch.stack([maps[:, first : first + 4 * i], maps[:, last : last + 4 * i]], 1)
            if i <= self.short:
                parts = (pair @ self._ring_modes(i).T).unflatten(2, (-1, 2))  # (N, 2, M, 2)
                pair = torch.view_as_complex(parts)
            else:
                pair = _orders_from_ring(pair, self.orders)
            out[:, [i - 1, 4 * nside - 1 - i]] = pair

    def _ring_modes(self, i: int) -> Tensor:
        """Return the matrix ``(2 M, 4 i)`` of the i-th ring from a pole."""
        return self.modes[:, 2 * i * (i - 1) : 2 * i * (i + 1)]


def _complex(real: torch.dtype) -> torch.dtype:
    return torch.complex128 if real == torch.float64 else torch.complex64
