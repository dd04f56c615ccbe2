"""The coefficients whose map comes closest to a given one, by conjugate gradients.

Quadrature on HEALPix is not exact, and above lmax of about 2 nside Jacobi iteration hardly moves.
The least-squares inverse solves ``S^+ S a = S^+ f`` instead, S the synthesis and S^+ its adjoint. A
band-limited map gives back the coefficients it was made of.

Up to lmax = 2 nside that takes about ten steps. Towards 3 nside - 1 the equations are worse
conditioned the larger nside is (`skytutor.sht.symmetry` says why): 70 steps at nside 16, 340 at 32.
Above, they are solved block by block and conjugate gradients refine; from nside 128 on double
precision no longer holds the smallest eigenvalue at 3 nside - 1, and a lower lmax is the only way.

A cut sky has ``S^+ W S a = S^+ W f``, W the weights of its pixels. What lives behind the cut alone
is not determined, and the wider the cut, the more nearly so is what lives there mostly. A small
residual does not tell: such modes hardly weigh in it. So coefficients that are known, all modes
among them, are solved for beside the map's, and the error with which they come back is looked at.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.arrays import as_floats, split_masked
from skytutor.healpix import check_maps, pixel_area
from skytutor.memo import cached_object
from skytutor.sht._cut_sky import DenseInverse, pixel_weight, random_alms
from skytutor.sht._linear import apply_linear
from skytutor.sht.packing import alm_lm
from skytutor.sht.real import to_complex, to_real
from skytutor.sht.solvers import (
    CGResult,
    ConvergenceError,
    ConvergenceWarning,
    check_limits,
    conjugate_gradients,
)
from skytutor.sht.symmetry import SymmetryBlocks, block_bytes
from skytutor.sht.transforms import Harmonics

_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}
# Coefficients of a cut sky up to which their whole matrix is factorised: 32 MB.
_MAX_DENSE = 2048
_REFINEMENTS = 2
# Relative error of coefficients of a cut sky from which on they are not handed out.
_MAX_ERROR = {torch.float32: 1e-3, torch.float64: 1e-9}


class Solution(NamedTuple):
    """What `least_squares` found.

    Attributes:
        alms: coefficients ``(..., [2,] A)``.
        steps: how many were taken.
        residual: the largest relative residual of the normal equations in the batch.
        error: with a mask, the relative error with which random coefficients come back from their
            map through the same mask, root mean square; without one None.
    """

    alms: Tensor
    steps: int
    residual: float
    error: float | None = None


def least_squares(
    maps: Tensor,
    sky: Harmonics,
    *,
    mask: Tensor | None = None,
    tolerance: float | None = None,
    max_iter: int = 1000,
    blocks: bool | None = None,
) -> Solution:
    """Solve for the coefficients of maps with the sizes and the order of `sky`.

    They are those that minimise ``sum_p w_p |f(p) - sum_lm a_lm Y_lm(p)|**2``, and differentiable
    in the maps.

    Arguments:
        maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2, in the pixel order of `sky`.
            What a masked array hides is not looked at.
        sky: the transforms whose synthesis is inverted.
        mask: w, ``(P,)`` of bool, integers or floats, none negative: 0 for a pixel that is not
            looked at, whatever stands there; None for all pixels alike.
        tolerance: relative residual to stop at; 1e-14 in float64 and 1e-6 in float32 by default.
        max_iter: steps to take at most; the residual tells how far they came. With a mask and at
            most 2048 coefficients their matrix is factorised, which leaves a few steps, and what
            these leave of the map is solved for again.
        blocks: where that is not done, solve block by block first; None: where conjugate gradients
            alone would crawl (lmax above 2.4 nside, nside 64: half a minute and 0.7 GB, once) and
            the blocks take at most 1 GiB.

    Returns:
        Coefficients ``(..., [2,] A)`` in the maps' unit, the steps taken, the largest relative
        residual, and with a mask the error of coefficients that are known.

    Raises:
        TypeError: a mask that is no tensor of numbers.
        ValueError: a tolerance outside (0, 1), `max_iter` not positive; maps as in
            `Harmonics.map2alm`; a mask of another size, with negative, NaN or infinite values, with
            a gradient, or above 0 in fewer pixels than there are coefficients to determine.
        ConvergenceError: with a mask, coefficients that are known come back from their map with a
            relative error above 1e-9, 1e-3 in float32: `max_iter` steps are too few, or the mask
            hides too much for this lmax.

    Warns:
        ConvergenceWarning: the residual is still above the tolerance after `max_iter` steps; with a
            mask, in the backward pass alone.

    Example:
        >>> sky = Harmonics(4, 11, dtype=torch.float64, order="ring")
        >>> alms = torch.ones(78, dtype=torch.complex128)
        >>> bool(torch.allclose(least_squares(sky.alm2map(alms), sky).alms, alms))
        True
    """
    maps, mask = split_masked("maps", maps, mask, axes=1)
    (maps,) = as_floats(maps=maps)
    tolerance = _TOLERANCE[sky.dtype] if tolerance is None else tolerance
    check_limits(tolerance, max_iter)
    if blocks is None:
        crawls = sky.lmax > 2.4 * sky.nside and sky.nside > (16 if sky.spin else 32)
        blocks = crawls and block_bytes(sky.lmax, sky.spin) <= 2**30
    weight = None
    if mask is not None:
        maps = check_maps(maps, nside=sky.nside, order=sky.order, finite=False)
        weight = pixel_weight(mask, sky)
        maps = torch.where(weight > 0, maps, 0)
    equations = _NormalEquations(sky, tolerance, max_iter=max_iter, blocks=blocks, weight=weight)
    results: list[Solution] = []

    def solve(maps: Tensor) -> Tensor:
        results.append(equations.solve_maps(maps))
        return results[-1].alms

    maps = sky.check_maps(maps)
    vector_dims = 2 if sky.spin else 1
    lead = maps.shape[:-vector_dims]
    flat = maps.reshape(-1, *maps.shape[-vector_dims:])
    alms = apply_linear(flat, solve, adjoint=equations.adjoint)
    alms = alms.reshape(*lead, *alms.shape[1:])
    # The first of the solutions is that of the maps; others are those of their derivatives.
    return results[0]._replace(alms=alms)


class _NormalEquations:
    """The matrix ``N = S^+ W S`` of one synthesis, and how its equations are solved."""

    def __init__(
        self,
        sky: Harmonics,
        tolerance: float,
        *,
        max_iter: int,
        blocks: bool,
        weight: Tensor | None,
    ):
        self.sky = sky
        self.weight = weight
        self.tolerance = tolerance
        self.max_iter = max_iter
        self.blocks: Callable[[Tensor], Tensor] | None = None
        unknowns = (sky.lmax + 1) ** 2 * (2 if sky.spin else 1)
        self.factorised = weight is not None and unknowns <= _MAX_DENSE
        if weight is not None and self.factorised:
            self.blocks = DenseInverse(sky, weight)
        elif blocks:
            device = sky.m_multiplicity.device
            self.blocks = _symmetry_blocks(sky.nside, sky.lmax, sky.spin, device)

    def precondition(self, residual: Tensor) -> Tensor:
        """Solve block by block: coefficients of the shape of `residual`."""
        assert self.blocks is not None
        components = (2,) if self.sky.spin else ()
        real = to_real(residual, lmax=self.sky.lmax)
        flat = real.reshape(-1, *components, (self.sky.lmax + 1) ** 2)  # (N, [2,] K)
        return to_complex(self.blocks(flat)).reshape(residual.shape)

    def analysis(self, maps: Tensor) -> Tensor:
        """Return ``S^+ W maps``."""
        weighted = maps if self.weight is None else self.weight * maps
        return self.sky.map2alm(weighted, weights=None)

    def solve(self, rhs: Tensor, maps: Tensor | None = None) -> CGResult:
        """Solve ``N a = rhs``; for ``rhs = S^+ W maps`` with more digits, if the maps are given.

        Then what is left of the maps is kept as one, ``f - S a``, and the residual is S^+ W of it:
        N squares the condition of S, and rounding errors in N p would cost half of the digits.
        """
        product = _Product(self, maps)
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

    def solve_maps(self, maps: Tensor) -> Solution:
        """Solve for coefficients of maps ``(..., [2,] P)``, and of a map that is known."""
        if self.weight is None:
            found = self.solve(self.analysis(maps), maps)
            return Solution(found.x, found.steps, float(found.residual.max()))
        truth = random_alms(self.sky)
        components = (2,) if self.sky.spin else ()
        flat = maps.reshape(-1, *components, maps.shape[-1])  # (N, [2,] P)
        both = torch.cat([flat, self.sky.alm2map(truth)[None]])
        with warnings.catch_warnings():
            # A residual above the tolerance does no harm if the coefficients come back.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = self.solve(self.analysis(both), both)
            if self.factorised:
                found = self._refine(found, both)
        error = float((found.x[-1] - truth).norm() / truth.norm())
        if not error <= _MAX_ERROR[self.sky.dtype]:
            raise ConvergenceError(
                f"the coefficients of the cut sky have not converged: after {found.steps} steps "
                f"those of a known map come back with a relative error of {error:.1e}, above "
                f"{_MAX_ERROR[self.sky.dtype]:.0e}; the mask hides too much for lmax "
                f"{self.sky.lmax}: take a lower one, float64, or more steps than max_iter = "
                f"{self.max_iter}"
            )
        alms = found.x[:-1].reshape(*maps.shape[:-1], found.x.shape[-1])
        return Solution(alms, found.steps, float(found.residual.max()), error)

    def _refine(self, found: CGResult, maps: Tensor) -> CGResult:
        """Solve again for what is left of the maps.

        The first residual was small after one step, which says little of modes behind the cut.
        """
        x = found.x
        steps = found.steps
        for _ in range(_REFINEMENTS):
            more = self.solve(self.analysis(maps - self.sky.alm2map(x)))
            x = x + more.x
            steps += more.steps
            if not more.converged:
                break
        return found._replace(x=x, steps=steps)

    def adjoint(self, alms: Tensor) -> Tensor:
        """Return maps ``(N, [2,] P)`` by the adjoint of the solution, which solves once more."""
        sky = self.sky
        # The imaginary parts of m = 0 and, with spin 2, l < 2 are no unknowns.
        unknown = (alm_lm(sky.lmax)[0] >= sky.spin).to(alms.device)
        alms = torch.where(unknown, alms, 0)
        imag = torch.where(sky.m_multiplicity == 1, 0, alms.imag)
        # An order m > 0 stands for -m too, so its part counts half for each.
        rhs = torch.complex(alms.real, imag) / sky.m_multiplicity
        maps = pixel_area(sky.nside) * sky.alm2map(self.solve(rhs).x)
        return maps if self.weight is None else self.weight * maps


class _Product:
    """Products ``N p`` with directions, and the residual of maps after each step."""

    def __init__(self, equations: _NormalEquations, maps: Tensor | None):
        self.equations = equations
        self.left = maps  # f - S a
        self.synthesised: Tensor | None = None  # S p

    def __call__(self, direction: Tensor) -> Tensor:
        self.synthesised = self.equations.sky.alm2map(direction)
        return self.equations.analysis(self.synthesised)

    def update(self, residual: Tensor, step: Tensor) -> Tensor:
        """Return ``S^+ W (f - S a)`` after a step along the last direction."""
        assert self.left is not None and self.synthesised is not None
        self.left = self.left - step.to(self.left.dtype) * self.synthesised
        return self.equations.analysis(self.left)


@cached_object(maxsize=2)
def _symmetry_blocks(nside: int, lmax: int, spin: int, device: torch.device) -> SymmetryBlocks:
    return SymmetryBlocks(nside, lmax, spin=spin).to(device)
