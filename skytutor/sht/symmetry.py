"""Exact solution of the normal equations of HEALPix synthesis, split by the symmetries of the pixels.

Turning by 90 degrees about the poles, and the mirrors at the equator and at the meridian 0, map pixels onto pixels. So
the normal matrix falls apart into blocks by the parity of l + m, by cosine and sine, and by m modulo 4 (1 and 3 stay
together), and each block needs an eighth or a quarter of the pixels.

Conjugate gradients need this at high lmax. Where two base pixels of a polar cap meet, the grid is rectangular and its
pixels 1.28 / nside apart along a ring, so waves beyond l = 2.45 nside, cut to that place, all but vanish on it. The
smallest eigenvalue at lmax = 3 nside - 1 is 0.28 at nside 8, 0.042 at 16, 3e-4 at 32, 8e-9 at 64.
"""

import math

import torch
from torch import Tensor, nn

from skytutor.sht import legendre
from skytutor.sht.rings import longitudes, rings

_RESIDUES = ((0,), (2,), (1, 3))


def block_bytes(lmax: int) -> int:
    """Memory of the factors: eight blocks of a sixteenth of the coefficients, two of an eighth."""
    return 8 * (8 + 2 * 4) * ((lmax + 1) ** 2 // 16) ** 2


class SymmetryBlocks(nn.Module):
    """Cholesky factors of all blocks, spin 0, float64; calling it solves ``N b = right`` in the real packing.

    Memory grows as lmax**4 and the work to make it as lmax**6: for nside up to 64.
    """

    def __init__(self, nside: int, lmax: int):
        super().__init__()
        self.parts: list[int] = []  # which factor solves each block
        self.eighth = _eighth(nside)
        for parity in (0, 1):
            for residues in _RESIDUES:
                orders = [m for m in range(lmax + 1) if m % 4 in residues and m + parity <= lmax]
                if orders:
                    self._add(nside, lmax, orders, parity)
        del self.eighth

    def _add(self, nside: int, lmax: int, orders: list[int], parity: int) -> None:
        """A block of cosines and one of sines; with odd m, a quarter turn makes the one of the other."""
        degrees = [torch.arange(m + parity, lmax + 1, 2) for m in orders]
        ring, phi, weight = self.eighth
        odd, rows = bool(orders[0] % 2), {}
        for m, l in zip(orders, degrees, strict=True):
            table = legendre.tables(nside, lmax, first=m, last=m + 1, spin=0)[parity][0][: len(l), ring]
            for sign, wave in ((1, torch.cos),) if odd else ((1, torch.cos), (-1, torch.sin)):
                if m or sign > 0:
                    rows.setdefault(sign, []).append(table * (wave(m * phi) * weight * (math.sqrt(2) if m else 1)))
        for sign in (1, -1):
            some = [(m, l) for m, l in zip(orders, degrees, strict=True) if m or sign > 0]
            if not some:
                continue
            self.register_buffer(f"at{len(self.parts)}", torch.cat([l * (l + 1) + sign * m for m, l in some]), persistent=False)
            turned = torch.cat([torch.full(l.shape, 1.0 if (m - 1) % 4 == 0 else -1.0) for m, l in some]).double()
            self.register_buffer(f"sign{len(self.parts)}", turned if odd and sign < 0 else None, persistent=False)
            if sign in rows:
                stacked = torch.cat(rows.pop(sign))
                name = len(self.parts)
                self.register_buffer(f"factor{name}", torch.linalg.cholesky(stacked @ stacked.T), persistent=False)
            self.parts.append(name)

    def forward(self, right: Tensor) -> Tensor:
        """Solution ``(N, K)`` for right-hand sides ``(N, K)``."""
        out = torch.empty_like(right)
        for k, factor in enumerate(self.parts):
            at, sign = getattr(self, f"at{k}"), getattr(self, f"sign{k}")
            side = right[:, at].double()
            side = side if sign is None else side * sign
            solved = torch.cholesky_solve(side.T, getattr(self, f"factor{factor}")).T
            out[:, at] = (solved if sign is None else solved * sign).to(right.dtype)
        return out


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
