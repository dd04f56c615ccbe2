"""Linear systems ``A x = b`` with no eigenvalue below 1, solved to a bound on the error.

Conjugate gradients stop when the residual ``r = b - A x`` is small beside b. Where the eigenvalues
of A span many orders of magnitude, b is made of the large ones, and x may be far off along the
small ones. Unknowns in units of their prior's deviation have ``A = 1 + ...``, and then the error e
of x is bounded by the residual, ``|e| = |A^-1 r| <= |r|``: so ``|r|`` is compared with ``|x|``, or
with another size of x.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.sht.implicit import implicit_gradient
from skytutor.sht.solvers import CGResult, ConvergenceWarning, check_limits, conjugate_gradients

__all__ = ["Whitened", "solve_whitened"]

Operator = Callable[..., Tensor]
_REFINEMENTS = 4  # solutions for what rounding has left, at most


class Whitened(NamedTuple):
    """What `solve_whitened` found.

    Attributes:
        x: the solution, of the shape of the right-hand side.
        steps: how many were taken.
        residual: ``|b - A x|`` over the size of x, ``|x|`` if no other was given; the largest in
            the batch, of x as it is returned.
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
    parameters: Sequence[Tensor] = (),
    size: Operator | None = None,
    check: Callable[[Whitened], None] | None = None,
) -> Whitened:
    """Solve ``A x = b``, A symmetric with no eigenvalue below 1, to a relative error of x.

    Differentiable as `skytutor.sht.conjugate_gradients`. The backward pass solves for its gradient
    to the tolerance of its own norm.

    Arguments:
        operator: A, of a vector and the parameters.
        rhs: b, ``(..., n)`` real, or ``(..., k, n)``.
        preconditioner: an approximate inverse of A, symmetric and positive definite.
        tolerance: relative error of x to stop at, in (0, 1).
        max_iter: steps to take at most.
        vector_dims: how many axes at the end make one vector.
        parameters: tensors that A is made of; in others that `operator` uses the first derivative
            alone is right, and a second is refused.
        size: what the error of x is compared with, ``(...)`` of x; None for ``|x|``.
        check: called with every solution, those of the backward pass too, to look at the residual.
            With None the caller looks at that of the forward pass, and nobody at the others.

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
        >>> found.x.round(decimals=6)
        tensor([1., 2.], dtype=torch.float64)
    """
    (rhs,) = as_floats(rhs=rhs)
    check_limits(tolerance, max_iter)
    system = _System(
        operator=operator,
        preconditioner=preconditioner,
        tolerance=tolerance,
        max_iter=max_iter,
        axes=tuple(range(-vector_dims, 0)),
        check=check,
    )
    with torch.no_grad():
        found = system.solve(rhs, parameters, size=size)
    if check is not None:
        check(found)
    x = implicit_gradient(
        found.x,
        rhs,
        operator=operator,
        solve_adjoint=system.solve_adjoint,
        parameters=parameters,
    )
    return found._replace(x=x)


@dataclass(frozen=True)
class _System:
    """One matrix with its preconditioner, and how far to go; arguments as in the function."""

    operator: Operator
    preconditioner: Operator
    tolerance: float
    max_iter: int
    axes: tuple[int, ...]
    check: Callable[[Whitened], None] | None

    def solve_adjoint(self, gradient: Tensor, *parameters: Tensor) -> Tensor:
        """Solve ``A y = g``, differentiable in g and the parameters; A is symmetric."""
        return solve_whitened(
            self.operator,
            gradient,
            preconditioner=self.preconditioner,
            tolerance=self.tolerance,
            max_iter=self.max_iter,
            vector_dims=len(self.axes),
            parameters=parameters,
            check=self.check,
        ).x

    def solve(
        self, rhs: Tensor, parameters: Sequence[Tensor], *, size: Operator | None
    ) -> Whitened:
        """Go on until the true residual is down to the tolerance, or as far as rounding allows."""

        def size_of(x: Tensor) -> Tensor:
            return x.norm(dim=self.axes) if size is None else size(x)

        def residual_of(left: Tensor, x: Tensor) -> float:
            # 0 where both are 0.
            tiny = torch.finfo(rhs.dtype).tiny
            return float((left.norm(dim=self.axes) / size_of(x).clamp(min=tiny)).max())

        x = torch.zeros_like(rhs)
        left = rhs
        residual = torch.inf
        steps = 0
        for _ in range(1 + _REFINEMENTS):
            # The residual that conjugate gradients carry along drifts away from the true one, so
            # they begin anew with what is truly left.
            found = self._step(
                left, parameters, left_steps=self.max_iter - steps, x=x, size=size_of
            )
            steps += found.steps
            x = x + found.x
            left = rhs - self.operator(x, *parameters)
            before = residual
            residual = residual_of(left, x)
            if residual <= self.tolerance or steps >= self.max_iter:
                break
            if not residual <= before / 2:
                break  # as far as the precision goes
        return Whitened(x, steps, residual)

    def _step(
        self,
        rhs: Tensor,
        parameters: Sequence[Tensor],
        *,
        left_steps: int,
        x: Tensor,
        size: Operator,
    ) -> CGResult:
        """Solve for what is left beside x; whether that converged is decided elsewhere."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return conjugate_gradients(
                self.operator,
                rhs,
                tolerance=self.tolerance / 2,
                max_iter=left_steps,
                vector_dims=len(self.axes),
                preconditioner=self.preconditioner,
                parameters=parameters,
                size=lambda correction: size(x + correction),
            )
