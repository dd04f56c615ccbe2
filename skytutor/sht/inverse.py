"""The coefficients whose map comes closest to a given one, by conjugate gradients.

Quadrature on HEALPix is not exact, and above lmax of about 2 nside Jacobi iteration hardly moves.
The least-squares inverse solves ``S^+ S a = S^+ f`` instead, S the synthesis and S^+ its adjoint. A
band-limited map gives back the coefficients it was made of.

Up to lmax = 2 nside that takes about ten steps. Towards 3 nside - 1 the equations are worse
conditioned the larger nside is (`skytutor.sht.symmetry` says why): 70 steps at nside 16, 340 at 32.
Above, they are solved block by block and conjugate gradients refine; from nside 128 on double
precision no longer holds the smallest eigenvalue at 3 nside - 1, and a lower lmax is the only way.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.healpix import pixel_area
from skytutor.memo import cached_object
from skytutor.sht._linear import apply_linear
from skytutor.sht.packing import alm_lm
from skytutor.sht.real import to_complex, to_real
from skytutor.sht.solvers import CGResult, check_limits, conjugate_gradients
from skytutor.sht.symmetry import SymmetryBlocks, block_bytes
from skytutor.sht.transforms import Harmonics

_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


class Solution(NamedTuple):
    """What `least_squares` found.

    Attributes:
        alms: coefficients ``(..., [2,] A)``.
        steps: how many were taken.
        residual: the largest relative residual of the normal equations in the batch.
    """

    alms: Tensor
    steps: int
    residual: float


def least_squares(
    maps: Tensor,
    sky: Harmonics,
    *,
    tolerance: float | None = None,
    max_iter: int = 1000,
    blocks: bool | None = None,
) -> Solution:
    """Solve for the coefficients of maps with the sizes and the order of `sky`; differentiable.

    Arguments:
        maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2, in the pixel order of `sky`.
        sky: the transforms whose synthesis is inverted.
        tolerance: relative residual to stop at; 1e-14 in float64 and 1e-6 in float32 by default.
        max_iter: steps to take at most; the residual tells how far they came.
        blocks: solve block by block first; None: where conjugate gradients alone would crawl (lmax
            above 2.4 nside, nside 64: half a minute and 0.7 GB, once) and the blocks take at most
            1 GiB.

    Returns:
        Coefficients ``(..., [2,] A)`` in the maps' unit, the steps taken and the largest relative
        residual.

    Raises:
        ValueError: a tolerance outside (0, 1), `max_iter` not positive; maps as in
            `Harmonics.map2alm`.

    Warns:
        ConvergenceWarning: the residual is still above the tolerance after `max_iter` steps.

    Example:
        >>> sky = Harmonics(4, 11, dtype=torch.float64, order="ring")
        >>> alms = torch.ones(78, dtype=torch.complex128)
        >>> bool(torch.allclose(least_squares(sky.alm2map(alms), sky).alms, alms))
        True
    """
    tolerance = _TOLERANCE[sky.dtype] if tolerance is None else tolerance
    check_limits(tolerance, max_iter)
    if blocks is None:
        crawls = sky.lmax > 2.4 * sky.nside and sky.nside > (16 if sky.spin else 32)
        blocks = crawls and block_bytes(sky.lmax, sky.spin) <= 2**30
    equations = _NormalEquations(sky, tolerance, max_iter=max_iter, blocks=blocks)
    results: list[CGResult] = []

    def solve(maps: Tensor) -> Tensor:
        results.append(equations.solve(sky.map2alm(maps, weights=None), maps))
        return results[-1].x

    maps = sky.check_maps(maps)
    vector_dims = 2 if sky.spin else 1
    lead = maps.shape[:-vector_dims]
    flat = maps.reshape(-1, *maps.shape[-vector_dims:])
    alms = apply_linear(flat, solve, adjoint=equations.adjoint)
    alms = alms.reshape(*lead, *alms.shape[1:])
    # The first of the solutions is that of the maps; others are those of their derivatives.
    return Solution(alms, results[0].steps, float(results[0].residual.max()))


class _NormalEquations:
    """The matrix ``N = S^+ S`` of one synthesis, and how its equations are solved."""

    def __init__(self, sky: Harmonics, tolerance: float, *, max_iter: int, blocks: bool):
        self.sky = sky
        self.tolerance = tolerance
        self.max_iter = max_iter
        self.blocks = (
            _symmetry_blocks(sky.nside, sky.lmax, sky.spin, sky.m_multiplicity.device)
            if blocks
            else None
        )

    def precondition(self, residual: Tensor) -> Tensor:
        """Solve block by block: coefficients of the shape of `residual`."""
        assert self.blocks is not None
        components = (2,) if self.sky.spin else ()
        real = to_real(residual, lmax=self.sky.lmax)
        flat = real.reshape(-1, *components, (self.sky.lmax + 1) ** 2)  # (N, [2,] K)
        return to_complex(self.blocks(flat)).reshape(residual.shape)

    def solve(self, rhs: Tensor, maps: Tensor | None = None) -> CGResult:
        """Solve ``N a = rhs``; for ``rhs = S^+ maps`` with more digits, if the maps are given.

        Then what is left of the maps is kept as a map, ``f - S a``, and the residual is S^+ of it:
        N squares the condition of S, and rounding errors in N p would cost half of the digits.
        """
        product = _Product(self.sky, maps)
        return conjugate_gradients(
            product,
            rhs,
            tolerance=self.tolerance,
            max_iter=self.max_iter,
            vector_dims=2 if self.sky.spin else 1,
            weight=self.sky.m_multiplicity,
            preconditioner=None if self.blocks is None else self.precondition,
            update=None if maps is None else product.update,
        )

    def adjoint(self, alms: Tensor) -> Tensor:
        """Return maps ``(N, [2,] P)`` by the adjoint of the solution, which solves once more."""
        sky = self.sky
        # The imaginary parts of m = 0 and, with spin 2, l < 2 are no unknowns.
        unknown = (alm_lm(sky.lmax)[0] >= sky.spin).to(alms.device)
        alms = torch.where(unknown, alms, 0)
        imag = torch.where(sky.m_multiplicity == 1, 0, alms.imag)
        # An order m > 0 stands for -m too, so its part counts half for each.
        rhs = torch.complex(alms.real, imag) / sky.m_multiplicity
        return pixel_area(sky.nside) * sky.alm2map(self.solve(rhs).x)


class _Product:
    """Products ``N p`` with directions, and the residual of maps after each step."""

    def __init__(self, sky: Harmonics, maps: Tensor | None):
        self.sky = sky
        self.left = maps  # f - S a
        self.synthesised: Tensor | None = None  # S p

    def __call__(self, direction: Tensor) -> Tensor:
        self.synthesised = self.sky.alm2map(direction)
        return self.sky.map2alm(self.synthesised, weights=None)

    def update(self, residual: Tensor, step: Tensor) -> Tensor:
        """Return ``S^+ (f - S a)`` after a step along the last direction."""
        assert self.left is not None and self.synthesised is not None
        self.left = self.left - step.to(self.left.dtype) * self.synthesised
        return self.sky.map2alm(self.left, weights=None)


@cached_object(maxsize=2)
def _symmetry_blocks(nside: int, lmax: int, spin: int, device: torch.device) -> SymmetryBlocks:
    return SymmetryBlocks(nside, lmax, spin=spin).to(device)
