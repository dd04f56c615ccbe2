"""Exact solution of the normal equations of HEALPix synthesis, split by the symmetries of the pixels.

Turning by 90 degrees about the poles, and the mirrors at the equator and at the meridian 0, map
pixels onto pixels. So the normal matrix falls apart into blocks by the parity of l + m, by cosine
and sine, and by m modulo 4 (1 and 3 stay together), and each block needs an eighth or a quarter of
the pixels.

Conjugate gradients need this at high lmax. Where two base pixels of a polar cap meet, the grid is
rectangular and its pixels 1.28 / nside apart along a ring, so waves beyond l = 2.45 nside, cut to
that place, all but vanish on it. The smallest eigenvalue at lmax = 3 nside - 1 is 0.28 at nside 8,
0.042 at 16, 3e-4 at 32, 8e-9 at 64.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from skytutor.sht import legendre
from skytutor.sht.rings import longitudes, rings

_RESIDUES = ((0,), (2,), (1, 3))


def block_bytes(lmax: int, spin: int = 0) -> int:
    """Memory of the factors: eight blocks of a sixteenth of the coefficients, two of an eighth."""
    return 8 * (8 + 2 * 4) * ((2 if spin else 1) * (lmax + 1) ** 2 // 16) ** 2


class SymmetryBlocks(nn.Module):
    """Cholesky factors of all blocks, float64; calling it solves ``N b = right`` in the real packing.

    With spin 2 a block holds the E of one parity and kind (cosine or sine) and the B of the other
    parity and the other
    kind: that is how their Q look alike in both mirrors. Memory grows as lmax**4 and the work to
        make it as lmax**6.
    """

    def __init__(self, nside: int, lmax: int, *, spin: int = 0):
        super().__init__()
        self.parts: list[int] = []  # which factor solves each block
        self.nside = nside
        self.lmax = lmax
        self.spin = spin
        self.eighth = _eighth(nside)
        for parity in (0, 1):
            for residues in _RESIDUES:
                self._add([m for m in range(lmax + 1) if m % 4 in residues], parity)
        del self.eighth

    def _add(self, orders: list[int], parity: int) -> None:
        """A block of cosines and one of sines; with odd m, a quarter turn makes the one of the other."""
        name = None
        for kind in (1, -1):
            entries = [e for m in orders for e in self._entries(m, parity, kind)]
            if not entries:
                continue
            odd = bool(orders[0] % 2)
            k = len(self.parts)
            self.register_buffer(
                f"at{k}", torch.cat([at for at, _, _ in entries]), persistent=False
            )
            turned = torch.cat([torch.full(at.shape, sign) for at, sign, _ in entries]).double()
            self.register_buffer(f"sign{k}", turned if odd and kind < 0 else None, persistent=False)
            if name is None or not odd:
                name = k
                rows = torch.cat([make() for _, _, make in entries])
                self.register_buffer(
                    f"factor{k}", torch.linalg.cholesky(rows @ rows.T), persistent=False
                )
            self.parts.append(name)

    def _entries(
        self, m: int, parity: int, kind: int
    ) -> list[tuple[Tensor, float, Callable[[], Tensor]]]:
        """Places of one order's coefficients, the sign that a quarter turn gives them, and what makes their rows."""
        turn = 1.0 if (m - 1) % 4 == 0 else -1.0
        out = []
        for part in range(2 if self.spin else 1):  # E, B
            one, way = (1 - parity, -kind) if part else (parity, kind)
            low = max(m, self.spin)
            l = torch.arange(low + (low + m + one) % 2, self.lmax + 1, 2)
            if len(l) and (m or way > 0):
                at = l * (l + 1) + way * m + part * (self.lmax + 1) ** 2
                out.append(
                    (at, -turn if part else turn, partial(self._rows, m, one, way, part, len(l)))
                )
        return out

    def _rows(self, m: int, parity: int, way: int, part: int, many: int) -> Tensor:
        """Values of one order's harmonics on an eighth of the sky, times the root of the area; Q and U side by side."""
        ring, phi, weight = self.eighth
        weight = weight * (math.sqrt(2) if m else 1)
        cos = (m * phi).cos() * weight
        sin = (m * phi).sin() * weight
        same, other = (cos, -sin) if way > 0 else (sin, cos)  # other: the derivative along the ring
        up = self._table(m, parity, self.spin, many)[:, ring]
        if not self.spin:
            return up * same
        down = self._table(m, parity, -self.spin, many)[:, ring]
        plus = (up + down) / 2
        minus = (up - down) / 2
        pair = (-plus * same, minus * other) if part == 0 else (-minus * other, -plus * same)
        return torch.cat(pair, 1)

    def _table(self, m: int, parity: int, spin: int, many: int) -> Tensor:
        """Legendre functions ``(many, rings)``, the lowest degrees that have this parity first."""
        table = legendre.tables(self.nside, self.lmax, first=m, last=m + 1, spin=spin)[parity][0]
        empty = (max(m, abs(spin)) - m - parity + 1) // 2  # below l = |spin|
        return table[empty : empty + many]

    def forward(self, right: Tensor) -> Tensor:
        """Solution for right-hand sides ``(N, [2,] K)``; with spin 2, l < 2 is set to 0."""
        flat = right.flatten(1)
        out = torch.zeros_like(flat)
        for k, factor in enumerate(self.parts):
            at = getattr(self, f"at{k}")
            sign = getattr(self, f"sign{k}")
            side = flat[:, at].double()
            side = side if sign is None else side * sign
            solved = torch.cholesky_solve(side.T, getattr(self, f"factor{factor}")).T
            out[:, at] = (solved if sign is None else solved * sign).to(right.dtype)
        return out.view_as(right)


def _eighth(nside: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ring, longitude and root of the area of the northern pixels at longitudes 0 to 90 degrees, both ends counted half."""
    geometry = rings(nside)
    count, shift = (t[: 2 * nside] for t in (geometry.count, geometry.shift))
    many = count // 4 + (shift == 0)
    ring = torch.repeat_interleave(many)
    number = torch.arange(len(ring)) - (many.cumsum(0) - many)[ring]
    phi = longitudes(nside)[ring] + 2 * math.pi * number.double() / count[ring].double()
    ends = (shift[ring] == 0) & ((number == 0) | (number == many[ring] - 1))
    times = (8.0 - 4.0 * ends) * (1.0 - 0.5 * (ring == 2 * nside - 1))
    return ring, phi, (times.double() * 4 * math.pi / (12 * nside**2)).sqrt()
