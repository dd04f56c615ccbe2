"""Linear systems ``A x = b`` with no eigenvalue below 1, solved to a bound on the error.

Conjugate gradients stop when the residual ``r = b - A x`` is small beside b. Where the eigenvalues
of A span many orders of magnitude, b is made of the large ones, and x may be far off along the
small ones. Unknowns in units of their prior's deviation have ``A = 1 + ...``, and then the error e
of x is bounded by the residual, ``|e| = |A^-1 r| <= |r|``: so ``|r|`` is compared with ``|x|``.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.sht.solvers import CGResult, ConvergenceWarning, conjugate_gradients

__all__ = ["Whitened", "solve_whitened"]

Operator = Callable[[Tensor], Tensor]
_REFINEMENTS = 4  # solutions for what rounding has left, at most


class Whitened(NamedTuple):
    """What `solve_whitened` found.

    Attributes:
        x: the solution, of the shape of the right-hand side.
        steps: how many were taken.
        residual: ``|b - A x| / |x|``, the largest in the batch, of x as it is returned.
    """

    x: Tensor
    steps: int
    residual: float


def solve_whitened(
    operator: Operator,
    rhs: Tensor,
    *,
    preconditioner: Operator,
    tolerance: float,
    max_iter: int,
    vector_dims: int = 1,
) -> Whitened:
    """Solve ``A x = b``, A symmetric with no eigenvalue below 1, to a relative error of x.

    Differentiable once, as `skytutor.sht.conjugate_gradients`; the backward pass goes as far as the
    forward one and warns where it does not get there. The caller looks at the residual.

    Arguments:
        operator: A.
        rhs: b, ``(..., n)`` real, or ``(..., k, n)``.
        preconditioner: an approximate inverse of A, symmetric and positive definite; its answer to
            b says how large x will be.
        tolerance: relative error of x to stop at, in (0, 1).
        max_iter: steps to take at most.
        vector_dims: how many axes at the end make one vector.

    Returns:
        Solution, steps, residual.

    Example:
        >>> diagonal = torch.tensor([1e6, 1.0], dtype=torch.float64)
        >>> rhs = torch.tensor([1e6, 2.0], dtype=torch.float64)
        >>> def operator(x):
        ...     return diagonal * x
        >>> def preconditioner(r):
        ...     return r / 2
        >>> found = solve_whitened(
        ...     operator, rhs, preconditioner=preconditioner, tolerance=1e-6, max_iter=9
        ... )
        >>> found.x
        tensor([1.0000, 2.0000], dtype=torch.float64)
    """
    (rhs,) = as_floats(rhs=rhs)
    axes = tuple(range(-vector_dims, 0))

    def step(rhs: Tensor, size: Tensor, left: int) -> CGResult:
        return _quietly(
            operator,
            rhs,
            tolerance=_inner_tolerance(rhs, size, axes, tolerance),
            max_iter=left,
            vector_dims=vector_dims,
            preconditioner=preconditioner,
        )

    guess = torch.no_grad()(preconditioner)(rhs)
    x, steps, *_ = step(rhs, guess, max_iter)
    with torch.no_grad():
        left = rhs - operator(x)
        residual = _ratio(left, x, axes)
        for _ in range(_REFINEMENTS):
            # The residual that conjugate gradients carry along drifts away from the true one.
            if residual <= tolerance or steps >= max_iter:
                break
            correction = step(left, x, max_iter - steps)
            steps += correction.steps
            before = residual
            x = x + correction.x
            left = rhs - operator(x)
            residual = _ratio(left, x, axes)
            if residual > before / 2:
                break  # as far as the precision goes
    return Whitened(x, steps, residual)


def _quietly(operator: Operator, rhs: Tensor, **given: Any) -> CGResult:
    """Run conjugate gradients; whether they converged is decided elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return conjugate_gradients(operator, rhs, **given)


def _ratio(over: Tensor, under: Tensor, axes: tuple[int, ...]) -> float:
    """Return the largest ratio of two norms in the batch; 0 where both are 0."""
    tiny = torch.finfo(over.dtype).tiny
    return float((over.norm(dim=axes) / under.norm(dim=axes).clamp(min=tiny)).max())


def _inner_tolerance(rhs: Tensor, size: Tensor, axes: tuple[int, ...], tolerance: float) -> float:
    """Return the tolerance for ``|r| / |b|`` that leaves half of `tolerance` for ``|r| / |x|``."""
    rhs_norm = rhs.detach().norm(dim=axes)
    wanted = tolerance / 2 * size.norm(dim=axes) / rhs_norm  # NaN where b is 0: nothing to solve
    wanted = wanted[rhs_norm > 0]
    smallest = float(wanted.min()) if wanted.numel() else 0.5
    # Below the rounding of b itself no residual means anything.
    return min(max(smallest, torch.finfo(rhs.dtype).eps), 0.5)
