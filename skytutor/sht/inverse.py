"""The coefficients whose map comes closest to a given one, by conjugate gradients.

Quadrature on HEALPix is not exact, and above lmax of about 2 nside Jacobi iteration hardly moves.
The least-squares inverse solves ``S^+ S a = S^+ f`` instead, S the synthesis and S^+ its adjoint. A
band-limited map gives back the coefficients it was made of. Up to lmax = 2 nside that takes about
ten steps. Towards 3 nside - 1 the equations are worse conditioned the larger nside is
(`skytutor.sht.symmetry` says why): 70 steps at nside 16, 340 at 32. Above, they are solved block by
block and conjugate gradients refine; from nside 128 on double precision no longer holds the
smallest eigenvalue at 3 nside - 1, and a lower lmax is the only way.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.healpix import pixel_area
from skytutor.healpix.checks import as_integer
from skytutor.sht.packing import degrees
from skytutor.sht.real import to_complex, to_real
from skytutor.sht.symmetry import SymmetryBlocks, block_bytes
from skytutor.sht.transforms import Harmonics


class Solution(NamedTuple):
    """Coefficients ``(..., [2,] A)``, steps taken, and the largest relative residual of the normal equations."""

    alms: Tensor
    steps: int
    residual: float


def least_squares(
    maps: Tensor,
    sky: Harmonics,
    *,
    tolerance: float | None = None,
    most: int = 1000,
    blocks: bool | None = None,
) -> Solution:
    """Solve for the coefficients of maps ``(..., [2,] P)`` with the sizes and the order of `sky`; differentiable.

    Arguments:
        tolerance: relative residual to stop at; 1e-14 in float64 and 1e-6 in float32 by default.
        most: steps to take at most; the residual tells how far they came.
        blocks: solve block by block first; None: where conjugate gradients alone would crawl (lmax
            above 2.4 nside, nside 64: half a minute and 0.7 GB, once) and the blocks take at most 1
            GiB.

    Raises:
        ValueError: a tolerance outside (0, 1), `most` not positive; maps as in `Harmonics.map2alm`.

    Example:
        >>> sky = Harmonics(4, 11, dtype=torch.float64)
        >>> alms = torch.ones(78, dtype=torch.complex128)
        >>> bool(torch.allclose(least_squares(sky.alm2map(alms), sky).alms, alms))
        True
    """
    tolerance = (
        {torch.float32: 1e-6, torch.float64: 1e-14}[sky.dtype] if tolerance is None else tolerance
    )
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie in (0, 1), got {tolerance}")
    if as_integer("most", most) < 1:
        raise ValueError(f"most must be positive, got {most}")
    if blocks is None:
        crawls = sky.lmax > 2.4 * sky.nside and sky.nside > (16 if sky.spin else 32)
        blocks = crawls and block_bytes(sky.lmax, sky.spin) <= 2**30
    told: list[Solution] = []
    alms = _LeastSquares.apply(maps, sky, tolerance, most, blocks, told)
    return told[0]._replace(alms=alms)


class _LeastSquares(torch.autograd.Function):
    """Backward solves with the same matrix, which is its own adjoint, instead of walking the steps back."""

    @staticmethod
    def forward(
        ctx,
        maps: Tensor,
        sky: Harmonics,
        tolerance: float,
        most: int,
        blocks: bool,
        told: list[Solution],
    ) -> Tensor:
        ctx.how = sky, tolerance, most, blocks
        told.append(_Steps(*ctx.how).solve(maps, None))
        return told[0].alms

    @staticmethod
    def backward(ctx, gradient: Tensor):
        sky = ctx.how[0]
        # The imaginary parts of m = 0 and, with spin 2, l < 2 are no unknowns.
        gradient = torch.where((degrees(sky.lmax)[0] >= sky.spin).to(gradient.device), gradient, 0)
        right = (
            torch.complex(gradient.real, torch.where(sky.twice == 1, 0, gradient.imag)) / sky.twice
        )
        solved = _Steps(*ctx.how).solve(None, right).alms
        return pixel_area(sky.nside) * sky.alm2map(solved), None, None, None, None, None


class _Steps:
    """Conjugate gradients, each map with its own step lengths."""

    def __init__(self, sky: Harmonics, tolerance: float, most: int, blocks: bool):
        self.sky = sky
        self.tolerance = tolerance
        self.most = most
        self.axes = (-2, -1) if sky.spin else (-1,)
        self.tiny = torch.finfo(sky.dtype).tiny
        self.near = _kept(sky.nside, sky.lmax, sky.spin, sky.twice.device) if blocks else None

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """Scalar products of coefficients; orders m > 0 stand for -m too."""
        return ((a.real * b.real + a.imag * b.imag) * self.sky.twice).sum(self.axes, keepdim=True)

    def precondition(self, rest: Tensor) -> Tensor:
        if self.near is None:
            return rest
        flat = to_real(rest, lmax=self.sky.lmax).reshape(
            -1, *((2,) if self.sky.spin else ()), (self.sky.lmax + 1) ** 2
        )
        return to_complex(self.near(flat)).reshape(rest.shape)

    def solve(self, maps: Tensor | None, right: Tensor | None) -> Solution:
        """For maps, what is left of them is kept as a map: squaring the matrix would cost half of the digits."""
        sky = self.sky
        left = maps
        rest = sky.map2alm(maps, weights=None) if right is None else right
        size = self.inner(rest, rest)
        found = torch.zeros_like(rest)
        way = close = self.precondition(rest)
        now = self.inner(rest, close)
        for step in range(1, self.most + 1):
            seen = sky.alm2map(way)
            there = sky.map2alm(seen, weights=None)
            length = now / self.inner(way, there).clamp(min=self.tiny)
            found = found + length * way
            if left is None:
                rest = rest - length * there
            else:
                left = left - length.to(left.dtype) * seen
                rest = sky.map2alm(left, weights=None)
            if bool((self.inner(rest, rest) <= self.tolerance**2 * size).all()):
                break
            close = self.precondition(rest)
            before = now
            now = self.inner(rest, close)
            way = close + now / before.clamp(min=self.tiny) * way
        return Solution(
            found, step, float((self.inner(rest, rest) / size.clamp(min=self.tiny)).max().sqrt())
        )


@lru_cache(maxsize=2)
def _kept(nside: int, lmax: int, spin: int, device: torch.device) -> SymmetryBlocks:
    return SymmetryBlocks(nside, lmax, spin=spin).to(device)
