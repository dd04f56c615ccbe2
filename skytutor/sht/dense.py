"""Spherical-harmonic sums in plain torch: products with Legendre tables, then Fourier sums.

Real arithmetic throughout the products. Harmonics of even and of odd l + m are symmetric and
antisymmetric about the equator, so each product covers the northern rings only, and half of the
degrees.

Shapes: N maps, c = 1 or 2 components, A coefficients, P pixels in RING order, R rings, M orders. In
a chunk of orders: m of them, K degrees of one parity of l + m, R' northern rings.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from skytutor.sht import legendre
from skytutor.sht.fourier import RingFourier
from skytutor.sht.packing import alm_index, alm_size
from skytutor.tables import TableModule

CHUNKS = 8  # of m; a table is padded to its chunk's longest column, so more chunks waste less
_NARROW = 16  # orders: a chunk is not narrower, unless there is no memory for it
_FAINT = 1e-30  # rings near the pole, where a chunk's harmonics are all fainter, are left out


class Parity(nn.Module):
    """Degrees of one parity of l + m in a chunk of orders: their tables and their coefficients.

    A table has a column of K degrees for each order. Columns of higher orders have fewer degrees
    than K up to lmax: what is padded is 0 in the table, and has an index that is not written to.

    Arguments:
        table: ``(m, K, R')``, of the harmonics themselves, or with spin 2 their even part in the
            spin, which takes E to Q and B to U.
        crossed: with spin 2 the odd part, which takes E to U and B to Q; None for spin 0.
        l: ``(m, K)`` degrees of the table.
        m: ``(m, 1)`` orders.
        lmax: largest degree.
    """

    table: Tensor
    crossed: Tensor | None
    source: Tensor  # (m K,), index of each entry in the packing; if padded, that of another one

    def __init__(self, table: Tensor, crossed: Tensor | None, *, l: Tensor, m: Tensor, lmax: int):
        super().__init__()
        source = alm_index(l.clamp(max=lmax), m, lmax=lmax).flatten()
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("crossed", crossed, persistent=False)
        self.register_buffer("source", source, persistent=False)

    def gather(self, alms: Tensor) -> Tensor:
        """Return coefficients ``(N, c, A)`` as ``(m, N, c, 2, K)``, real and imaginary parts apart.

        Padded entries hold any coefficient: the table is 0 there.
        """
        columns = alms.index_select(2, self.source).unflatten(2, (len(self.table), -1))
        return torch.view_as_real(columns).permute(2, 0, 1, 4, 3)  # of (N, c, m, K, 2)


class Legendre(TableModule):
    """One chunk of orders: Legendre tables at the northern rings, and the sums over l with them.

    Arguments:
        nside: of the maps.
        lmax: largest degree.
        first: the chunk's first order.
        last: one past its last order.
        spin: 0 or 2.
        dtype: of the tables.
    """

    def __init__(
        self, nside: int, lmax: int, *, first: int, last: int, spin: int, dtype: torch.dtype
    ):
        super().__init__()
        self.spin = spin
        self.nside = nside
        straight, crossed = _parts(nside, lmax, first=first, last=last, spin=spin)
        largest = torch.stack([table.abs().amax((0, 1)) for table in (*straight, *crossed)])
        bright = largest.amax(0) > _FAINT  # (2 nside,)
        self.skip = int(bright.long().argmax())  # rings left out at each pole
        self.north = slice(self.skip, 2 * nside)
        self.south = slice(2 * nside, 4 * nside - 1 - self.skip)
        m = torch.arange(first, last)[:, None]
        k = torch.arange(straight[0].shape[1])
        parities = []
        for parity in (0, 1):
            parities.append(
                Parity(
                    straight[parity][..., self.skip :].to(dtype, copy=True),
                    crossed[parity][..., self.skip :].to(dtype, copy=True) if spin else None,
                    l=m + 2 * k + parity,
                    m=m,
                    lmax=lmax,
                )
            )
        self.even = parities[0]
        self.odd = parities[1]

    def synthesis(self, alms: Tensor, out: Tensor) -> None:
        """Write the orders of every ring into ``(N, c, R, m)``, from coefficients ``(N, c, A)``."""
        even = self.even.gather(alms)
        odd = self.odd.gather(alms)
        symmetric = _product(even, self.even.table)  # (m, N, c, 2, R')
        antisymmetric = _product(odd, self.odd.table)
        if self.even.crossed is not None and self.odd.crossed is not None:
            # The odd part in the spin has the other parity about the equator.
            symmetric = -(symmetric + _cross(_product(odd, self.odd.crossed), 2))
            antisymmetric = -(antisymmetric + _cross(_product(even, self.even.crossed), 2))
        north = symmetric + antisymmetric
        south = (symmetric - antisymmetric)[..., :-1].flip(-1)  # the equator is a northern ring
        rings = torch.view_as_real(out)
        rings[:, :, self.north] = north.permute(1, 2, 4, 0, 3)  # (N, c, R', m, 2)
        rings[:, :, self.south] = south.permute(1, 2, 4, 0, 3)

    def analysis(self, orders: Tensor) -> list[Tensor]:
        """Return coefficients of even and of odd l + m, ``(m K, N c)`` each: `synthesis`' adjoint.

        Arguments:
            orders: ``(R', m, 2 N c)`` complex, of all northern rings: sums, then differences.
        """
        rows = torch.view_as_real(orders[self.skip :]).transpose(0, 1)  # (m, R', 2 N c, 2)
        symmetric, antisymmetric = (part.flatten(2) for part in rows.chunk(2, 2))
        out = []
        for group, same, opposite in (
            (self.even, symmetric, antisymmetric),
            (self.odd, antisymmetric, symmetric),
        ):
            columns = torch.bmm(group.table, same).unflatten(2, (-1, 2))  # (m, K, N c, 2)
            if group.crossed is not None:
                crossed = torch.bmm(group.crossed, opposite).unflatten(2, (-1, 2, 2))
                columns = -(columns + _cross(crossed, 3).flatten(2, 3))
            out.append(torch.view_as_complex(columns).flatten(0, 1))
        return out


def _parts(
    nside: int, lmax: int, *, first: int, last: int, spin: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the tables of even and of odd l + m, each ``(m, K, 2 nside)`` float64.

    With spin s > 0 first come their even parts in the spin, ``(table(s) + table(-s)) / 2``, then
    the odd parts, ``(table(s) - table(-s)) / 2``; with spin 0 the second are empty.
    """
    plus = legendre.tables(nside, lmax, first=first, last=last, spin=spin)
    if not spin:
        return plus, ()
    minus = legendre.tables(nside, lmax, first=first, last=last, spin=-spin)
    pairs = list(zip(plus, minus, strict=True))
    return tuple((a + b) / 2 for a, b in pairs), tuple((a - b) / 2 for a, b in pairs)


def _product(columns: Tensor, table: Tensor) -> Tensor:
    """Return ``(m, N, c, 2, K) @ (m, K, R')``, the axes between as one for the product."""
    return (columns.flatten(1, 3) @ table).unflatten(1, columns.shape[1:4])


def _cross(x: Tensor, axis: int) -> Tensor:
    """Return ``(i B, -i E)`` of ``(E, B)`` on an axis; the next one holds real and imaginary."""
    e, b = x.unbind(axis)
    turned_b = torch.stack([-b.select(axis, 1), b.select(axis, 0)], axis)
    turned_e = torch.stack([e.select(axis, 1), -e.select(axis, 0)], axis)
    return torch.stack([turned_b, turned_e], axis)


class Dense(TableModule):
    """Sums at one nside, lmax, spin and precision.

    Arguments:
        nside: of the maps.
        lmax: of the coefficients.
        spin: 0 or 2.
        dtype: of the maps.
        max_bytes: the tables are kept if they fit into so much memory, else made at each call.
        chunks: in how many ranges of m the tables are laid out; fewer if these would be narrow,
            more if the memory asks for it.
    """

    packing: Tensor  # (A,), where each coefficient stands among the columns of all chunks

    def __init__(
        self,
        nside: int,
        lmax: int,
        *,
        spin: int,
        dtype: torch.dtype,
        max_bytes: int = 2**30,
        chunks: int = CHUNKS,
    ):
        super().__init__()
        self.nside = nside
        self.lmax = lmax
        self.spin = spin
        self.dtype = dtype
        self.chunks = chunks
        # A value for each coefficient and northern ring, two of them with spin 2.
        value_bytes = 8 if dtype == torch.float64 else 4
        table_bytes = alm_size(lmax) * 2 * nside * value_bytes * (2 if spin else 1)
        # Tables that are made anew come in chunks of an eighth of the memory allowed, which
        # leaves the rest for what making one takes.
        kept = table_bytes <= max_bytes
        needed = 1 if kept else -(-8 * table_bytes // max_bytes)
        # What padding costs a small table is less than what a call costs.
        wanted = min(chunks, max(1, (lmax + 1) // _NARROW))
        n_chunks = max(wanted, min(needed, lmax + 1))
        self.edges = [round(k * (lmax + 1) / n_chunks) for k in range(n_chunks + 1)]
        self.kept = (
            nn.ModuleList(self._make(first, last) for first, last in self._ranges())
            if kept
            else None
        )
        self.register_buffer("packing", self._packing(), persistent=False)
        self.fourier = RingFourier(nside, lmax + 1, dtype=dtype)

    def _packing(self) -> Tensor:
        """Return where each coefficient stands in the columns of all chunks, ``(A,)``."""
        out = torch.empty(alm_size(self.lmax), dtype=torch.int64)
        n_columns = 0
        for first, last in self._ranges():
            m = torch.arange(first, last)[:, None]
            k = torch.arange((self.lmax - first) // 2 + 1)
            for parity in (0, 1):
                l = m + 2 * k + parity  # (m, K)
                present = l <= self.lmax
                column = n_columns + torch.arange(l.numel()).view_as(l)
                out[alm_index(l, m, lmax=self.lmax)[present]] = column[present]
                n_columns += l.numel()
        return out

    def _ranges(self) -> Iterator[tuple[int, int]]:
        return zip(self.edges, self.edges[1:], strict=False)

    def _make(self, first: int, last: int) -> Legendre:
        return Legendre(
            self.nside, self.lmax, first=first, last=last, spin=self.spin, dtype=self.dtype
        )

    def _chunks_on(self, device: torch.device) -> Iterator[tuple[int, int, Legendre]]:
        """Yield first order, one past the last order, and the tables of each chunk."""
        for k, (first, last) in enumerate(self._ranges()):
            chunk = self._make(first, last).to(device) if self.kept is None else self.kept[k]
            assert isinstance(chunk, Legendre)
            yield first, last, chunk

    def synthesis(self, alms: Tensor, ring_weights: Tensor | None = None) -> Tensor:
        """Return the maps of coefficients, each ring times its weight.

        Arguments:
            alms: ``(N, c, A)`` complex.
            ring_weights: ``(R,)``; None for 1.

        Returns:
            ``(N, c, P)`` real, RING order.
        """
        orders = alms.new_zeros(*alms.shape[:2], 4 * self.nside - 1, self.lmax + 1)  # (N, c, R, M)
        for first, last, chunk in self._chunks_on(alms.device):
            chunk.synthesis(alms, orders[..., first:last])
        if ring_weights is not None:
            orders *= ring_weights[:, None]
        return self.fourier.to_pixels(orders.flatten(0, 1)).unflatten(0, alms.shape[:2])

    def analysis(
        self,
        maps: Tensor,
        ring_weights: Tensor | None = None,
        m_multiplicity: Tensor | None = None,
    ) -> Tensor:
        """Return sums over the pixels, times ring weights, with the conjugate harmonics.

        Arguments:
            maps: ``(N, c, P)`` real, RING order.
            ring_weights: ``(R,)``, the same north and south; None for 1.
            m_multiplicity: ``(A,)``, by which the sums are multiplied; None for 1.

        Returns:
            ``(N, c, A)`` complex.
        """
        orders = self.fourier.to_orders(maps.flatten(0, 1), ring_weights)  # (R', M, 2 N c)
        columns = []
        for first, last, chunk in self._chunks_on(maps.device):
            columns.extend(chunk.analysis(orders[:, first:last]))
        out = torch.cat(columns).index_select(0, self.packing)  # (A, N c)
        if m_multiplicity is not None:
            out = out * m_multiplicity[:, None]
        return out.T.contiguous().unflatten(0, maps.shape[:2])
