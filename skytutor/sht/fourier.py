"""Fourier sums along the rings of HEALPix maps.

Shapes: N maps, P = 12 nside**2 pixels in RING order, R = 4 nside - 1 rings, R' = 2 nside of them
from the north pole to the equator, C = nside - 1 in a cap, M = mmax + 1 orders.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from skytutor.arrays import as_integers
from skytutor.healpix.rings import rings
from skytutor.sht.chirp import CapFourier
from skytutor.tables import TableModule
from skytutor.validate import check_axes
from skytutor.values import on_values

_GROUP = 16  # rings that are one batch of matrix products, padded to the longest of them
_NUMBERS = 2**20  # that the matrices of short rings may hold; longer rings have FFTs


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
        TypeError, ValueError: no integers, other shapes, or a ring that nside has not.
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


def _aliases(nside: int, n_orders: int, first: int) -> Tensor:
    """Return where to read the orders of the cap's rings from number `first` on, counted from 1.

    Their real FFTs stand one after the other, and behind all of them their conjugates. On n pixels
    m looks like m - n, and a real ring like the conjugate at n - m.

    Returns:
        ``(rings, M)`` int64.
    """
    ring = torch.arange(first, nside)[:, None]
    n = 4 * ring
    lengths = n // 2 + 1
    start = lengths.cumsum(0) - lengths
    m = torch.arange(n_orders) % n
    return torch.where(m <= n // 2, start + m, lengths.sum() + start + n - m)


class _ShortRings(TableModule):
    """Matrices of a few rings of a cap, from a pole on, padded to the longest of them.

    Half a turn on an even m has the same phase and an odd m the opposite one, so each sum takes one
    half of a ring, plus or minus the other.

    Arguments:
        nside: of the maps.
        orders: M, how many m from 0.
        first: number of the first ring, from 1.
        last: of the last one.
        dtype: of the maps.
    """

    modes: Tensor  # (rings 2, n / 2, M + 1 or M), exp(-i m phi), of even m and then of odd m
    pixel: Tensor  # (2, rings, n / 2), of the cap; past the end of a ring's half, any one

    def __init__(self, nside: int, orders: int, *, first: int, last: int, dtype: torch.dtype):
        super().__init__()
        self.first = first
        self.orders = orders
        ring = torch.arange(first, last + 1)[:, None]
        n = 4 * ring
        p = torch.arange(2 * last)
        m = torch.arange(orders + orders % 2)
        angle = 2 * math.pi * (m * p[:, None] % n[..., None]).double() / n[..., None]
        inside = (p < n // 2).double()[..., None].expand_as(angle)  # (rings, n / 2, M)
        phases = ring_phases(nside, m, ring[:, 0] - 1)[:, None]  # (rings, 1, M)
        modes = torch.polar(inside, -angle) * phases.conj()
        modes = modes.unflatten(2, (-1, 2)).permute(0, 3, 1, 2).flatten(0, 1)  # m even, m odd
        modes = torch.view_as_real(modes.contiguous()).flatten(2)
        self.register_buffer("modes", modes.to(dtype, copy=True), persistent=False)
        lower = 2 * ring * (ring - 1) + p % (n // 2)
        self.register_buffer("pixel", torch.stack([lower, lower + n // 2]), persistent=False)

    @property
    def n_rings(self) -> int:
        """How many rings there are."""
        return len(self.modes) // 2

    def to_orders(self, caps: Tensor) -> Tensor:
        """Return ``sum_p f_p exp(-i m phi_p)``, ``(rings, M, N)``, of caps ``(N, pixels)``."""
        lower, upper = caps[:, self.pixel].unbind(1)  # (N, rings, n / 2)
        halves = torch.stack([lower + upper, lower - upper], 2)  # (N, rings, 2, n / 2)
        parts = torch.bmm(halves.flatten(1, 2).transpose(0, 1), self.modes)
        orders = torch.view_as_complex(parts.unflatten(2, (-1, 2)))  # (rings 2, N, M / 2)
        return orders.unflatten(0, (-1, 2)).permute(0, 3, 1, 2).flatten(1, 2)[:, : self.orders]

    def to_pixels(self, orders: Tensor) -> list[Tensor]:
        """Return the real part of ``sum_m F_m exp(i m phi_p)``, ``(N, 4 i)`` for each ring i.

        Arguments:
            orders: ``(N, rings, M)`` complex.
        """
        even_odd = nn.functional.pad(orders, (0, self.orders % 2)).unflatten(2, (-1, 2))
        parts = torch.view_as_real(even_odd.permute(1, 3, 0, 2).flatten(0, 1)).flatten(2)
        even, odd = torch.bmm(parts, self.modes.mT).unflatten(0, (-1, 2)).unbind(1)
        lower = (even + odd).unbind()  # (N, n / 2) each
        upper = (even - odd).unbind()
        lengths = [2 * (self.first + k) for k in range(len(lower))]
        return [
            torch.cat([low[:, :length], high[:, :length]], 1)
            for low, high, length in zip(lower, upper, lengths, strict=True)
        ]


class RingFourier(TableModule):
    """Fourier sums along all rings of a map, both ways.

    Each is the other's adjoint up to the factor of two of m > 0, and the sums and differences of
    rings north and south of the equator.

    Arguments:
        nside: of the maps.
        orders: how many m, from 0.
        loop: over the rings of the caps, or all of them at once (`CapFourier`); None: loop on a CPU
            alone.
        dtype: of the maps.
    """

    pixel_phases: Tensor  # (R, M), exp(i m phi_r), that of m = 0 halved
    order_phases: Tensor  # (R', M), exp(-i m phi_r)
    counts: Tensor  # (M,), 1 for m = 0 and 2 for m > 0, which stands for -m too
    aliases: Tensor  # (rings, M), of the rings that have FFTs of their own: `_aliases`

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
        conjugate = phases[: 2 * nside].conj().resolve_conj().to(_complex(dtype), copy=True)
        self.register_buffer("order_phases", conjugate, persistent=False)
        phases[:, 0] *= 0.5  # m = 0 counts once, the others stand for -m too
        self.register_buffer("pixel_phases", phases.to(_complex(dtype)), persistent=False)
        counts = torch.full((orders,), 2, dtype=dtype)
        counts[0] = 1
        self.register_buffer("counts", counts, persistent=False)
        self.groups = nn.ModuleList([] if loop is False else self._short_rings(dtype))
        # How many rings of a cap, from the pole, are matrix products.
        self.short = min(nside - 1, _GROUP * len(self.groups))
        self.register_buffer("aliases", _aliases(nside, orders, self.short + 1), persistent=False)

    def _short_rings(self, dtype: torch.dtype) -> Iterator[_ShortRings]:
        """Yield the groups of short rings, as many as there is memory for."""
        numbers = 0
        for first in range(1, self.nside, _GROUP):
            last = min(first + _GROUP, self.nside) - 1
            numbers += self.orders * 4 * last * (last + 1 - first)
            if numbers > _NUMBERS:
                return
            yield _ShortRings(self.nside, self.orders, first=first, last=last, dtype=dtype)

    def _caps_at_once(self, tensor: Tensor) -> CapFourier | None:
        """Return what takes all rings of the caps at once, None where a loop over them is due."""
        on_cpu = tensor.device.type == "cpu"
        if self.caps is None and self.loop is None and self.nside > 1 and not on_cpu:
            self.caps = CapFourier(self.nside, self.orders).to(tensor.device)
        return None if self.loop is None and on_cpu else self.caps

    def to_pixels(self, orders: Tensor) -> Tensor:
        """Return maps ``(N, P)`` of the orders of each ring, ``(N, R, M)`` complex."""
        nside = self.nside
        turned = orders * self.pixel_phases.to(orders.dtype)
        belt = _ring_from_orders(turned[:, _belt(nside)[0]], 4 * nside).flatten(1)
        caps = self._caps_at_once(orders)
        if caps is not None:
            both = torch.cat(
                [turned[:, : nside - 1], turned[:, 3 * nside :].flip(1)]
            )  # (2 N, C, M)
            upper, lower = caps.to_pixels(both).chunk(2)
            return torch.cat([upper, belt, lower.index_select(1, caps.southern)], 1)
        rings = self._short_pixels(orders)  # (2 N, 4 i) each, a ring and its mirror
        for i in range(self.short + 1, nside):
            pair = torch.cat([turned[:, i - 1], turned[:, 4 * nside - 1 - i]])
            rings.append(_ring_from_orders(pair, 4 * i))
        north = [ring[: len(orders)] for ring in rings]
        south = [ring[len(orders) :] for ring in reversed(rings)]
        return torch.cat([*north, belt, *south], 1)

    def _short_pixels(self, orders: Tensor) -> list[Tensor]:
        """Return the short rings of the northern caps, then of the southern, ``(2 N, 4 i)`` each.

        Arguments:
            orders: ``(N, R, M)`` complex.
        """
        north = orders[:, : self.short]
        south = orders[:, orders.shape[1] - self.short :].flip(1)
        both = torch.cat([north, south]) * self.counts.to(orders.dtype)  # (2 N, rings, M)
        out: list[Tensor] = []
        for group in self._groups():
            out.extend(group.to_pixels(both[:, len(out) : len(out) + group.n_rings]))
        return out

    def _groups(self) -> Iterator[_ShortRings]:
        for group in self.groups:
            assert isinstance(group, _ShortRings)
            yield group

    def to_orders(self, maps: Tensor, ring_weights: Tensor | None = None) -> Tensor:
        """Return the orders of maps plus their mirror images at the equator, and minus them.

        The harmonics of even l + m see the first alone, those of odd l + m the second. The equator
        is its own image: it counts once in both.

        Arguments:
            maps: ``(N, P)``.
            ring_weights: ``(R,)``, the same north and south; None for 1.

        Returns:
            ``(R', M, 2 N)`` complex, the sums first.
        """
        if maps.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"maps must be float32 or float64, got {maps.dtype}")
        cap = 2 * self.nside * (self.nside - 1)
        folded = self._folded(maps)  # (2 N, pixels)
        phases = self.order_phases.to(_complex(maps.dtype))
        if ring_weights is not None:
            phases = phases * ring_weights[: len(phases), None]
        belt = folded[:, cap:].unflatten(1, (self.nside + 1, 4 * self.nside))
        belt = _orders_from_ring(belt, self.orders) * phases[self.nside - 1 :]  # (2 N, rings, M)
        parts = self._caps_to_orders(folded[:, :cap], phases, ring_weights)
        return torch.cat([*parts, belt.permute(1, 2, 0)])

    def _folded(self, maps: Tensor) -> Tensor:
        """Return northern half and equator plus their mirror images, then minus, ``(2 N, ...)``."""
        nside = self.nside
        cap = 2 * nside * (nside - 1)
        half = cap + 4 * nside * nside  # pixels north of the equator
        north = maps[:, :half]
        equator = maps[:, half : half + 4 * nside]
        belt = maps[:, half + 4 * nside : maps.shape[1] - cap]
        mirrored = [belt.unflatten(1, (nside, 4 * nside)).flip(1).flatten(1)]
        caps = self._caps_at_once(maps)
        if caps is not None:
            mirrored.insert(0, maps[:, maps.shape[1] - cap :].index_select(1, caps.northern))
        elif nside > 1:
            lengths = [4 * i for i in range(nside - 1, 0, -1)]
            mirrored = [*maps[:, maps.shape[1] - cap :].split(lengths, 1)[::-1], *mirrored]
        south = torch.cat(mirrored, 1)
        sums = torch.cat([north + south, equator], 1)
        return torch.cat([sums, torch.cat([north - south, equator], 1)])

    def _caps_to_orders(
        self, pixels: Tensor, phases: Tensor, ring_weights: Tensor | None
    ) -> list[Tensor]:
        """Return the orders of a cap's rings, ``(rings, M, N)`` each, of pixels ``(N, cap)``.

        Arguments:
            pixels: of the cap.
            phases: ``(R', M)``, of the first pixels, times the weights.
            ring_weights: ``(R,)`` or None.
        """
        caps = self._caps_at_once(pixels)
        if caps is not None:
            return [(caps.to_orders(pixels) * phases[: self.nside - 1]).permute(1, 2, 0)]
        out = []
        for group in self._groups():
            orders = group.to_orders(pixels)
            if ring_weights is not None:
                first = group.first - 1
                orders = orders * ring_weights[first : first + len(orders), None, None]
            out.append(orders)
        if self.short < self.nside - 1:
            lengths = [4 * i for i in range(self.short + 1, self.nside)]
            rings = pixels[:, 2 * self.short * (self.short + 1) :].split(lengths, 1)
            spectra = torch.cat([torch.fft.rfft(ring) for ring in rings], 1)
            both = torch.cat([spectra, spectra.conj()], 1)
            orders = both[:, self.aliases] * phases[self.short : self.nside - 1]
            out.append(orders.permute(1, 2, 0))
        return out


def _complex(real: torch.dtype) -> torch.dtype:
    return torch.complex128 if real == torch.float64 else torch.complex64
