"""Spherical-harmonic sums in plain torch: matrix products with Legendre tables, then Fourier sums along rings.

Real arithmetic throughout the products. Harmonics of even and of odd l + m are symmetric and antisymmetric about the
equator, so each product covers the northern rings only, and half of the degrees.

Shapes: N maps, c = 1 or 2 components, A coefficients, P pixels in RING order, R rings, M orders.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from skytutor.sht import legendre
from skytutor.sht.packing import position
from skytutor.sht.rings import RingFourier

_GROUPS = 16  # chunks of m; a table is padded to its chunk's longest column, so more chunks waste less


class Legendre(nn.Module):
    """One chunk of orders: tables ``(m, K, R')`` of the northern rings, and where their degrees lie in the packing."""

    def __init__(self, nside: int, lmax: int, *, first: int, last: int, spin: int, dtype: torch.dtype):
        super().__init__()
        self.spin, self.nside = spin, nside
        if spin:
            up, down = (legendre.tables(nside, lmax, first=first, last=last, spin=s) for s in (spin, -spin))
            both = [(a + b) / 2 for a, b in zip(up, down, strict=True)] + [(a - b) / 2 for a, b in zip(up, down, strict=True)]
        else:
            both = legendre.tables(nside, lmax, first=first, last=last, spin=0)
        for name, table in zip(("even", "odd", "even2", "odd2"), both, strict=False):
            self.register_buffer(name, table.to(dtype), persistent=False)
        m, k = torch.arange(first, last)[:, None], torch.arange(both[0].shape[1])
        for name, l in (("at_even", m + 2 * k), ("at_odd", m + 2 * k + 1)):
            at = torch.where(l <= lmax, position(l.clamp(max=lmax), m, lmax=lmax), -1)
            self.register_buffer(name, at, persistent=False)

    def synthesis(self, alms: Tensor) -> Tensor:
        """Orders ``(N, c, R, m)`` on every ring of coefficients ``(N, c, A)``."""
        even, odd = (self._pick(alms, at) for at in (self.at_even, self.at_odd))  # (m, N, c, 2, K)
        sums = self._product(even, self.even), self._product(odd, self.odd)
        if self.spin:
            crossed = self._product(odd, self.odd2), self._product(even, self.even2)
            sums = tuple(-(straight + _cross(other)) for straight, other in zip(sums, crossed, strict=True))
        north, south = sums[0] + sums[1], (sums[0] - sums[1])[..., :-1].flip(-1)
        rings = torch.cat([north, south], -1).permute(1, 2, 4, 0, 3)  # (N, c, R, m, 2)
        return torch.view_as_complex(rings.contiguous())

    def analysis(self, orders: Tensor, out: Tensor) -> None:
        """The adjoint: write into coefficients ``(N, c, A)`` from ``(N, c, R, m)``."""
        rings = torch.view_as_real(orders).permute(3, 0, 1, 4, 2)  # (m, N, c, 2, R)
        half = 2 * self.nside
        north, south = rings[..., :half], torch.nn.functional.pad(rings[..., half:].flip(-1), (0, 1))
        same, opposite = north + south, north - south
        for at, table, table2, one, two in (
            (self.at_even, "even", "even2", same, opposite), (self.at_odd, "odd", "odd2", opposite, same),
        ):  # fmt: skip
            found = self._product(one, getattr(self, table).mT)
            if self.spin:
                found = -(found + _cross(self._product(two, getattr(self, table2).mT)))
            found = torch.view_as_complex(found.permute(1, 2, 0, 4, 3).contiguous())  # (N, c, m, K)
            out[:, :, at[at >= 0]] = found[:, :, at >= 0]

    def _pick(self, alms: Tensor, at: Tensor) -> Tensor:
        """Coefficients ``(m, N, c, 2, K)`` of one parity, real and imaginary parts apart."""
        found = torch.where(at >= 0, alms[:, :, at.clamp(min=0)], 0)  # (N, c, m, K)
        return torch.view_as_real(found).permute(2, 0, 1, 4, 3)

    @staticmethod
    def _product(columns: Tensor, table: Tensor) -> Tensor:
        return (columns.flatten(1, 3) @ table).unflatten(1, columns.shape[1:4])


def _cross(x: Tensor) -> Tensor:
    """``(i B, -i E)`` of ``(E, B)``, components on axis 2, real and imaginary parts on axis 3."""
    e, b = x.unbind(2)
    return torch.stack([torch.stack([-b[:, :, 1], b[:, :, 0]], 2), torch.stack([e[:, :, 1], -e[:, :, 0]], 2)], 2)


class Dense(nn.Module):
    """Sums at one nside, lmax, spin and precision; the tables are kept if they fit into `room` bytes, else made each time."""

    def __init__(self, nside: int, lmax: int, *, spin: int, dtype: torch.dtype, room: int = 2**30):
        super().__init__()
        self.nside, self.lmax, self.spin, self.dtype = nside, lmax, spin, dtype
        size = (lmax + 1) * (lmax + 2) // 2 * 2 * nside * (16 if dtype == torch.float64 else 8) // (1 if spin else 2)
        groups = max(min(_GROUPS, lmax + 1), min(lmax + 1, -(-8 * size // room) if size > room else 1))
        self.edges = [round(k * (lmax + 1) / groups) for k in range(groups + 1)]
        self.kept = nn.ModuleList(self._make(*e) for e in self._chunks()) if size <= room else None
        self.fourier = RingFourier(nside, lmax + 1)

    def _chunks(self) -> Iterator[tuple[int, int]]:
        return zip(self.edges, self.edges[1:], strict=False)

    def _make(self, first: int, last: int) -> Legendre:
        return Legendre(self.nside, self.lmax, first=first, last=last, spin=self.spin, dtype=self.dtype)

    def _tables(self, device: torch.device) -> Iterator[Legendre]:
        return iter(self.kept) if self.kept is not None else (self._make(*e).to(device) for e in self._chunks())

    def synthesis(self, alms: Tensor) -> Tensor:
        """Maps ``(N, c, P)`` of ``(N, c, A)``."""
        orders = torch.cat([chunk.synthesis(alms) for chunk in self._tables(alms.device)], -1)  # (N, c, R, M)
        return self.fourier.to_pixels(orders.flatten(0, 1)).unflatten(0, alms.shape[:2])

    def analysis(self, maps: Tensor) -> Tensor:
        """Sums ``(N, c, A)`` over the pixels of ``(N, c, P)`` with the conjugate harmonics: no weights, no pixel area."""
        orders = self.fourier.to_orders(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])  # (N, c, R, M)
        out = orders.new_zeros(*maps.shape[:2], (self.lmax + 1) * (self.lmax + 2) // 2)
        for (first, last), chunk in zip(self._chunks(), self._tables(maps.device), strict=True):
            chunk.analysis(orders[..., first:last], out)
        return out
