"""Spherical-harmonic sums in plain torch: matrix products with Legendre tables, then Fourier sums along rings.

Real arithmetic throughout the products. Harmonics of even and of odd l + m are symmetric and
antisymmetric about the equator, so each product covers the northern rings only, and half of the
degrees.

Shapes: N maps, c = 1 or 2 components, A coefficients, P pixels in RING order, R rings, M orders.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from skytutor.sht import legendre
from skytutor.sht.fourier import RingFourier
from skytutor.sht.packing import position

CHUNKS = 8  # of m; a table is padded to its chunk's longest column, so more chunks waste less
_FAINT = 1e-30  # rings near the pole, where a chunk's harmonics are all fainter, are left out


class Legendre(nn.Module):
    """One chunk of orders: tables ``(m, K, R')`` of the northern rings, and where their degrees lie in the packing."""

    def __init__(
        self, nside: int, lmax: int, *, first: int, last: int, spin: int, dtype: torch.dtype
    ):
        super().__init__()
        self.spin = spin
        self.nside = nside
        if spin:
            up, down = (
                legendre.tables(nside, lmax, first=first, last=last, spin=s) for s in (spin, -spin)
            )
            both = [(a + b) / 2 for a, b in zip(up, down, strict=True)] + [
                (a - b) / 2 for a, b in zip(up, down, strict=True)
            ]
        else:
            both = legendre.tables(nside, lmax, first=first, last=last, spin=0)
        seen = torch.stack([table.abs().amax((0, 1)) for table in both]).amax(0) > _FAINT
        self.skip = int(seen.long().argmax())  # rings
        self.north = slice(self.skip, 2 * nside)
        self.south = slice(2 * nside, 4 * nside - 1 - self.skip)
        for name, table in zip(("even", "odd", "even2", "odd2"), both, strict=False):
            self.register_buffer(
                name, table[..., self.skip :].to(dtype, copy=True), persistent=False
            )
        m = torch.arange(first, last)[:, None]
        k = torch.arange(both[0].shape[1])
        for name, l in (("even", m + 2 * k), ("odd", m + 2 * k + 1)):
            at = position(l.clamp(max=lmax), m, lmax=lmax)
            here = (
                (l <= lmax).flatten().nonzero().flatten()
            )  # of a padded table's entries, those that are there
            for part, index in (("at", at.flatten()), ("here", here), ("to", at.flatten()[here])):
                self.register_buffer(f"{part}_{name}", index, persistent=False)

    def synthesis(self, alms: Tensor, out: Tensor) -> None:
        """Write the orders of every ring into ``(N, c, R, m)``, from coefficients ``(N, c, A)``."""
        even, odd = (self._pick(alms, at) for at in (self.at_even, self.at_odd))  # (m, N, c, 2, K)
        sums = self._product(even, self.even), self._product(odd, self.odd)
        if self.spin:
            crossed = self._product(odd, self.odd2), self._product(even, self.even2)
            sums = tuple(
                -(straight + _cross(other)) for straight, other in zip(sums, crossed, strict=True)
            )
        rings = torch.view_as_real(out)
        rings[:, :, self.north] = (sums[0] + sums[1]).permute(1, 2, 4, 0, 3)  # (N, c, R', m, 2)
        rings[:, :, self.south] = (sums[0] - sums[1])[..., :-1].flip(-1).permute(1, 2, 4, 0, 3)

    def analysis(self, orders: Tensor, out: Tensor) -> None:
        """The adjoint: write into coefficients ``(N, c, A)`` from ``(N, c, R, m)``."""
        rings = torch.view_as_real(orders).permute(3, 0, 1, 4, 2)  # (m, N, c, 2, R)
        north = rings[..., self.north]
        south = nn.functional.pad(rings[..., self.south].flip(-1), (0, 1))
        same = north + south
        opposite = north - south
        for name, one, two in (("even", same, opposite), ("odd", opposite, same)):
            found = self._product(one, getattr(self, name).mT)
            if self.spin:
                found = -(found + _cross(self._product(two, getattr(self, f"{name}2").mT)))
            found = torch.view_as_complex(found.permute(1, 2, 0, 4, 3).contiguous()).flatten(
                2
            )  # (N, c, m K)
            out.index_copy_(
                2, getattr(self, f"to_{name}"), found.index_select(2, getattr(self, f"here_{name}"))
            )

    def _pick(self, alms: Tensor, at: Tensor) -> Tensor:
        """Coefficients ``(m, N, c, 2, K)`` of one parity, real and imaginary parts apart; tables are 0 where there is none."""
        found = alms.index_select(2, at).unflatten(2, (len(self.even), -1))  # (N, c, m, K)
        return torch.view_as_real(found).permute(2, 0, 1, 4, 3)

    @staticmethod
    def _product(columns: Tensor, table: Tensor) -> Tensor:
        return (columns.flatten(1, 3) @ table).unflatten(1, columns.shape[1:4])


def _cross(x: Tensor) -> Tensor:
    """``(i B, -i E)`` of ``(E, B)``, components on axis 2, real and imaginary parts on axis 3."""
    e, b = x.unbind(2)
    return torch.stack(
        [torch.stack([-b[:, :, 1], b[:, :, 0]], 2), torch.stack([e[:, :, 1], -e[:, :, 0]], 2)], 2
    )


class Dense(nn.Module):
    """Sums at one nside, lmax, spin and precision; the tables are kept if they fit into `room` bytes, else made each time."""

    def __init__(
        self,
        nside: int,
        lmax: int,
        *,
        spin: int,
        dtype: torch.dtype,
        room: int = 2**30,
        chunks: int = CHUNKS,
    ):
        super().__init__()
        self.nside = nside
        self.lmax = lmax
        self.spin = spin
        self.dtype = dtype
        self.chunks = chunks
        size = (
            (lmax + 1)
            * (lmax + 2)
            // 2
            * 2
            * nside
            * (16 if dtype == torch.float64 else 8)
            // (1 if spin else 2)
        )
        groups = max(
            min(chunks, lmax + 1), min(lmax + 1, -(-8 * size // room) if size > room else 1)
        )
        self.edges = [round(k * (lmax + 1) / groups) for k in range(groups + 1)]
        self.kept = nn.ModuleList(self._make(*e) for e in self._chunks()) if size <= room else None
        self.fourier = RingFourier(nside, lmax + 1, dtype=dtype)

    def _chunks(self) -> Iterator[tuple[int, int]]:
        return zip(self.edges, self.edges[1:], strict=False)

    def _make(self, first: int, last: int) -> Legendre:
        return Legendre(
            self.nside, self.lmax, first=first, last=last, spin=self.spin, dtype=self.dtype
        )

    def _tables(self, device: torch.device) -> Iterator[Legendre]:
        return (
            iter(self.kept)
            if self.kept is not None
            else (self._make(*e).to(device) for e in self._chunks())
        )

    def synthesis(self, alms: Tensor, factor: Tensor | None = None) -> Tensor:
        """Maps ``(N, c, P)`` of ``(N, c, A)``, each ring times its factor ``(R,)``."""
        orders = alms.new_zeros(*alms.shape[:2], 4 * self.nside - 1, self.lmax + 1)
        for (first, last), chunk in zip(self._chunks(), self._tables(alms.device), strict=True):
            chunk.synthesis(alms, orders[..., first:last])
        if factor is not None:
            orders *= factor[:, None]
        return self.fourier.to_pixels(orders.flatten(0, 1)).unflatten(0, alms.shape[:2])

    def analysis(
        self, maps: Tensor, factor: Tensor | None = None, times: Tensor | None = None
    ) -> Tensor:
        """Sums ``(N, c, A)`` over pixels ``(N, c, P)``, times a factor for each ring, with the conjugate harmonics, times `times`."""
        orders = self.fourier.to_orders(maps.flatten(0, 1)).unflatten(
            0, maps.shape[:2]
        )  # (N, c, R, M)
        if factor is not None:
            orders *= factor[:, None]
        out = orders.new_zeros(*maps.shape[:2], (self.lmax + 1) * (self.lmax + 2) // 2)
        for (first, last), chunk in zip(self._chunks(), self._tables(maps.device), strict=True):
            chunk.analysis(orders[..., first:last], out)
        return out if times is None else out * times
