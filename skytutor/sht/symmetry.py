"""Exact solution of the normal equations of HEALPix synthesis, split by the pixels' symmetries.

Turning by 90 degrees about the poles, and the mirrors at the equator and at the meridian 0, map
pixels onto pixels. So the normal matrix falls apart into blocks by the parity of l + m, by cosine
and sine, and by m modulo 4 (1 and 3 stay together), and each block needs an eighth or a quarter of
the pixels.

Conjugate gradients need this at high lmax. Where two base pixels of a polar cap meet, the grid is
rectangular and its pixels 1.28 / nside apart along a ring, so modes beyond l = 2.45 nside, cut to
that place, all but vanish on it. The smallest eigenvalue at lmax = 3 nside - 1 is 0.28 at nside 8,
0.042 at 16, 3e-4 at 32, 8e-9 at 64.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skytutor.healpix.rings import longitudes, rings
from skytutor.sht import legendre
from skytutor.tables import TableModule

_RESIDUES = ((0,), (2,), (1, 3))  # of m modulo 4, those that stay together
_COSINE = 1
_SINE = -1


def block_bytes(lmax: int, spin: int = 0) -> int:
    """Return the memory of all Cholesky factors.

    They are eight blocks of a sixteenth of the coefficients and two of an eighth, in float64.
    """
    return 8 * (8 + 2 * 4) * ((2 if spin else 1) * (lmax + 1) ** 2 // 16) ** 2


class _Entry(NamedTuple):
    """One order's coefficients of one parity and kind, E or B: consecutive rows of a block.

    Attributes:
        indices: where they lie in the real packing, B after all of E.
        sign: by which a quarter turn multiplies them, if m is odd.
        m: order.
        parity: of l + m.
        kind: cosine or sine of m phi.
        component: 0 for E (or the only one), 1 for B.
    """

    indices: Tensor
    sign: float
    m: int
    parity: int
    kind: int
    component: int


class _Pixels(NamedTuple):
    """An eighth of the sky that stands for all of it, ``(pixels,)`` each.

    Attributes:
        ring: number of each pixel's ring from the north pole.
        phi: longitude in radians.
        root_area: root of the area that it stands for.
        tables: by spin, Legendre functions of all orders at all northern rings, those of even and
            those of odd l + m.
    """

    ring: Tensor
    phi: Tensor
    root_area: Tensor
    tables: dict[int, tuple[Tensor, Tensor]]


class Block(nn.Module):
    """One block of the normal matrix: its Cholesky factor, and which coefficients it couples.

    With odd m a quarter turn makes sines of cosines, and the block serves both.

    Arguments:
        factor: ``(n, n)`` float64, lower triangular.
        index: ``(n,)``, where the coefficients lie in the flat real packing.
        turned: ``(n,)``, where those lie that a quarter turn makes of them, or None.
        sign: ``(n,)``, by which the turn multiplies them, or None.
    """

    factor: Tensor
    index: Tensor
    turned: Tensor | None
    sign: Tensor | None

    def __init__(self, factor: Tensor, index: Tensor, turned: Tensor | None, sign: Tensor | None):
        super().__init__()
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("turned", turned, persistent=False)
        self.register_buffer("sign", sign, persistent=False)

    def forward(self, rhs: Tensor, out: Tensor) -> None:
        """Solve for this block's coefficients of ``(N, [2] K)`` and write them into `out`."""
        out[:, self.index] = self._solve(rhs[:, self.index].double()).to(rhs.dtype)
        if self.turned is not None and self.sign is not None:
            cosines = rhs[:, self.turned].double() * self.sign
            out[:, self.turned] = (self._solve(cosines) * self.sign).to(rhs.dtype)

    def _solve(self, rhs: Tensor) -> Tensor:
        return torch.cholesky_solve(rhs.T, self.factor).T  # (N, n)


class SymmetryBlocks(TableModule):
    """Cholesky factors of all blocks, float64; calling it solves ``N b = rhs`` in the real packing.

    With spin 2 a block holds the E of one parity and kind (cosine or sine) and the B of the other
    parity and the other kind: that is how their Q look alike in both mirrors. Memory grows as
    lmax**4 and the work to make it as lmax**6. ``.half()`` of a network around leaves them float64.

    Arguments:
        nside: of the maps.
        lmax: of the coefficients.
        spin: 0 or 2.
    """

    _fixed_precision = True

    def __init__(self, nside: int, lmax: int, *, spin: int = 0):
        super().__init__()
        self.nside = nside
        self.lmax = lmax
        self.spin = spin
        pixels = _eighth_of_the_sky(nside, lmax, spin)
        self.blocks = nn.ModuleList()
        for parity in (0, 1):
            for residues in _RESIDUES:
                orders = [m for m in range(lmax + 1) if m % 4 in residues]
                self.blocks.extend(self._make_blocks(orders, parity, pixels))

    def _make_blocks(self, orders: list[int], parity: int, pixels: _Pixels) -> list[Block]:
        """Return a block of cosines and one of sines, or with odd m one that serves both."""
        cosines = self._entries(orders, parity, _COSINE)
        sines = self._entries(orders, parity, _SINE)
        if cosines and orders[0] % 2:
            signs = [torch.full(entry.indices.shape, entry.sign) for entry in sines]
            block = Block(
                self._factor(cosines, pixels),
                _index(cosines),
                turned=_index(sines),
                sign=torch.cat(signs).double(),
            )
            return [block]
        return [
            Block(self._factor(entries, pixels), _index(entries), turned=None, sign=None)
            for entries in (cosines, sines)
            if entries
        ]

    def _entries(self, orders: list[int], parity: int, kind: int) -> list[_Entry]:
        """Return the coefficients of one block, one entry for each order and component."""
        out = []
        for m in orders:
            for component in range(2 if self.spin else 1):
                # B goes with the E of the other parity and the other kind.
                own_parity = 1 - parity if component else parity
                own_kind = -kind if component else kind
                # A quarter turn takes cos(m phi) to +-sin(m phi), by m modulo 4, and B the
                # other way.
                turn = 1.0 if (m - 1) % 4 == 0 else -1.0
                lowest = max(m, self.spin)
                l = torch.arange(lowest + (lowest + m + own_parity) % 2, self.lmax + 1, 2)
                if len(l) == 0 or (m == 0 and own_kind == _SINE):
                    continue
                index = l * (l + 1) + own_kind * m + component * (self.lmax + 1) ** 2
                sign = -turn if component else turn
                out.append(_Entry(index, sign, m, own_parity, own_kind, component))
        return out

    def _factor(self, entries: list[_Entry], pixels: _Pixels) -> Tensor:
        """Return the Cholesky factor of one block, from its harmonics on an eighth of the sky."""
        rows = torch.cat([self._rows(entry, pixels) for entry in entries])
        return torch.linalg.cholesky(rows @ rows.T)

    def _rows(self, entry: _Entry, pixels: _Pixels) -> Tensor:
        """Return one order's harmonics on the pixels, times the root of the area.

        ``(degrees, pixels)``, or with spin 2 ``(degrees, 2 pixels)``, Q and U side by side.
        """
        weight = pixels.root_area * (math.sqrt(2) if entry.m else 1)
        cos = (entry.m * pixels.phi).cos() * weight
        sin = (entry.m * pixels.phi).sin() * weight
        # The other one is the derivative along the ring.
        same, other = (cos, -sin) if entry.kind == _COSINE else (sin, cos)
        plus_spin = self._table(entry, pixels.tables[self.spin])[:, pixels.ring]
        if not self.spin:
            return plus_spin * same
        minus_spin = self._table(entry, pixels.tables[-self.spin])[:, pixels.ring]
        even = (plus_spin + minus_spin) / 2
        odd = (plus_spin - minus_spin) / 2
        if entry.component == 0:
            return torch.cat((-even * same, odd * other), 1)
        return torch.cat((-odd * other, -even * same), 1)

    def _table(self, entry: _Entry, tables: tuple[Tensor, Tensor]) -> Tensor:
        """Return Legendre functions ``(degrees, R)`` of one order, the lowest degree first."""
        m = entry.m
        empty = (max(m, self.spin) - m - entry.parity + 1) // 2  # rows below l = spin
        return tables[entry.parity][m, empty : empty + len(entry.indices)]

    def forward(self, rhs: Tensor) -> Tensor:
        """Solve for right-hand sides ``(N, [2,] K)``; with spin 2, l < 2 is set to 0.

        Arguments:
            rhs: real coefficients in the packing of `skytutor.sht.real`.

        Returns:
            The solutions, of the shape and the precision of `rhs`.
        """
        flat = rhs.flatten(1)  # (N, [2] K)
        out = torch.zeros_like(flat)
        for block in self.blocks:
            block(flat, out)
        return out.view_as(rhs)


def _index(entries: list[_Entry]) -> Tensor:
    return torch.cat([entry.indices for entry in entries])


def _eighth_of_the_sky(nside: int, lmax: int, spin: int) -> _Pixels:
    """Return the northern pixels at longitudes 0 to 90 degrees, with what area they stand for.

    Mirrors and turns make eight copies of each, but four of one on the ends of that range, and half
    as many of one on the equator.
    """
    geometry = rings(nside)
    n_pixels = geometry.pixels[: 2 * nside]
    shift = geometry.shift[: 2 * nside]
    in_range = n_pixels // 4 + (shift == 0)  # of each ring; unshifted ones have one at both ends
    ring = torch.repeat_interleave(in_range)
    number = torch.arange(len(ring)) - (in_range.cumsum(0) - in_range)[ring]
    phi = longitudes(nside)[ring] + 2 * math.pi * number.double() / n_pixels[ring].double()
    at_end = (shift[ring] == 0) & ((number == 0) | (number == in_range[ring] - 1))
    on_equator = ring == 2 * nside - 1
    multiplicity = (8.0 - 4.0 * at_end) * (1.0 - 0.5 * on_equator)
    root_area = (multiplicity.double() * 4 * math.pi / (12 * nside**2)).sqrt()
    # All orders in one pass over the degrees: an order alone costs as many steps, of a few numbers
    # each, and each is asked for by several blocks.
    tables = {
        one: legendre.tables(nside, lmax, first=0, last=lmax + 1, spin=one) for one in {spin, -spin}
    }
    return _Pixels(ring, phi, root_area, tables)
