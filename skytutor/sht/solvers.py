"""Conjugate gradients for symmetric positive definite systems.

Batched, preconditioned and differentiable. To solve ``A x = b`` the method [1]_ goes along
directions p that are conjugate, ``p_i^T A p_j = 0``, and takes along each the step that leaves the
least error. With ``r = b - A x`` the residual and ``z = M^-1 r`` the preconditioned residual,

    alpha = (r, z) / (p, A p),      x <- x + alpha p,      r <- r - alpha A p,
    beta = (r_new, z_new) / (r, z),      p <- z_new + beta p.

In exact arithmetic that ends after as many steps as ``M^-1 A`` has different eigenvalues. A is only
ever applied to a vector, so it need not be stored.

The gradient is implicit: of ``A x = b`` follows ``A dx = db - dA x``, so a backward pass solves one
more system with the same A instead of walking the steps back, and keeps none of them in memory.
That solution depends on A again, so for a second derivative the tensors that A is made of must be
named (`skytutor.sht.implicit`).

Shapes: vectors ``(..., n)``, or ``(..., k, n)`` where the last two axes make one vector; every axis
before them is the batch.

.. [1] M. R. Hestenes & E. Stiefel, 1952, J. Res. Natl. Bur. Stand. 49, 409.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.sht.implicit import implicit_gradient
from skytutor.validate import as_integer
from skytutor.values import all_finite

__all__ = [
    "CGResult",
    "ConvergenceError",
    "ConvergenceWarning",
    "check_limits",
    "conjugate_gradients",
]

Operator = Callable[..., Tensor]
Update = Callable[[Tensor, Tensor], Tensor]


class ConvergenceError(RuntimeError):
    """A solver has taken all its steps, and its answer is not to be used."""


class ConvergenceWarning(RuntimeWarning):
    """A solver has taken all its steps and its residual is still above the tolerance."""


class CGResult(NamedTuple):
    """What `conjugate_gradients` found.

    Attributes:
        x: the solution, of the shape of the right-hand side.
        steps: how many were taken, the same for the whole batch.
        residual: ``|b - A x| / |b|`` of each element of the batch; 0 where b is 0.
        converged: whether each of them has come down to the tolerance.
    """

    x: Tensor
    steps: int
    residual: Tensor
    converged: bool


def conjugate_gradients(
    operator: Operator,
    rhs: Tensor,
    *,
    tolerance: float,
    max_iter: int,
    vector_dims: int = 1,
    weight: Tensor | None = None,
    preconditioner: Operator | None = None,
    update: Update | None = None,
    parameters: Sequence[Tensor] = (),
    size: Operator | None = None,
) -> CGResult:
    """Solve ``A x = b`` for a batch of right-hand sides, each with its own step lengths.

    The steps go on until the residual of every element is down to the tolerance. The solution is
    differentiable to every order in `rhs` and `parameters`, and once in whatever other tensors
    `operator` uses. Where no gradient is recorded (``torch.no_grad()``) that costs nothing; else
    `operator` is applied once more.

    Arguments:
        operator: A, which takes vectors of the shape of `rhs`, and `parameters` after them, and
            returns such vectors; symmetric and positive definite in the scalar product below.
        rhs: b, ``(..., n)`` real or complex; a complex number counts as its two parts. NaN in it
            comes out as NaN, and as not converged.
        tolerance: relative residual ``|b - A x| / |b|`` to stop at, in (0, 1).
        max_iter: steps to take at most, from 1 on.
        vector_dims: how many axes at the end make one vector, from 1 on.
        weight: w of the scalar product ``(a, b) = sum w a b``, positive, of a shape that broadcasts
            with `rhs`; None for 1.
        preconditioner: an approximate inverse of A, symmetric and positive definite likewise; None
            for the identity.
        update: residual after a step, from the residual before it and the step's length, which
            broadcasts with `rhs`; None for ``r - alpha A p``. One that computes it anew from x
            holds rounding errors down.
        parameters: tensors that A is made of.
        size: what the norm of the residual is compared with, ``(...)`` of x ``(..., n)``; None for
            ``|b|``. Backward it is ``|b|``.

    Returns:
        Solution, steps, relative residual ``(...)`` of the batch, and whether all have converged.

    Raises:
        TypeError: `rhs` no floating or complex tensor, a count that is no integer.
        ValueError: a tolerance outside (0, 1), a count below 1 or above what `rhs` has, an operator
            or a preconditioner that returns another shape, a preconditioner that returns NaN or
            infinite values, a weight that does not broadcast.
        RuntimeError: a second derivative, where `operator` uses tensors with a gradient that are
            not among `parameters`.

    Warns:
        ConvergenceWarning: an element has not come down to the tolerance in `max_iter` steps,
            forward or in the backward pass.

    Example:
        >>> matrix = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
        >>> rhs = torch.tensor([[1.0, 2.0], [5.0, 4.0]])
        >>> found = conjugate_gradients(lambda x: x @ matrix, rhs, tolerance=1e-5, max_iter=10)
        >>> found.x
        tensor([[0.0909, 0.6364],
                [1.0000, 1.0000]])
        >>> found.steps
        2
    """
    check_limits(tolerance, max_iter)
    rhs = as_tensor("rhs", rhs)
    weight = None if weight is None else as_tensor("weight", weight, like=rhs)
    _check_tensors(rhs, vector_dims, weight)
    system = _System(
        operator=operator,
        preconditioner=preconditioner,
        weight=weight,
        axes=tuple(range(-vector_dims, 0)),
        tolerance=tolerance,
        max_iter=max_iter,
    )
    with torch.no_grad():
        result = system.solve(rhs, parameters, update=update, size=size)
    x = implicit_gradient(
        result.x,
        rhs,
        operator=operator,
        solve_adjoint=system.solve_adjoint,
        parameters=parameters,
    )
    return result._replace(x=x)


def check_limits(tolerance: float, max_iter: int) -> None:
    """Refuse limits of an iteration that make no sense.

    Arguments:
        tolerance: relative residual to stop at, in (0, 1).
        max_iter: steps to take at most, from 1 on.

    Raises:
        TypeError: `max_iter` is no integer.
        ValueError: one of them out of its range.
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie in (0, 1), got {tolerance}")
    if as_integer("max_iter", max_iter) < 1:
        raise ValueError(f"max_iter must be positive, got {max_iter}")


def _check_tensors(rhs: Tensor, vector_dims: int, weight: Tensor | None) -> None:
    if not (rhs.is_floating_point() or rhs.is_complex()):
        raise TypeError(f"rhs must be floating or complex numbers, got {rhs.dtype}")
    if as_integer("vector_dims", vector_dims) < 1 or vector_dims > rhs.dim():
        raise ValueError(
            f"vector_dims must lie in 1..{rhs.dim()}, the axes of rhs, got {vector_dims}"
        )
    if rhs.numel() == 0:
        raise ValueError(f"rhs is empty: shape {tuple(rhs.shape)}")
    if weight is not None and not _broadcasts(weight.shape, rhs.shape):
        raise ValueError(
            f"weight must broadcast with rhs, {tuple(rhs.shape)}, got shape {tuple(weight.shape)}"
        )


def _broadcasts(small: torch.Size, shape: torch.Size) -> bool:
    """Return whether a tensor of one shape broadcasts to another without changing it."""
    sizes = zip(reversed(small), reversed(shape), strict=False)
    return len(small) <= len(shape) and all(a in (1, b) for a, b in sizes)


def _same_shape(name: str, values: Tensor, rhs: Tensor) -> Tensor:
    if values.shape != rhs.shape:
        raise ValueError(
            f"{name} must return the shape of rhs, {tuple(rhs.shape)}, got {tuple(values.shape)}"
        )
    return values


@dataclass(frozen=True)
class _System:
    """One matrix with its preconditioner, and how far to go; arguments as in the function."""

    operator: Operator
    preconditioner: Operator | None
    weight: Tensor | None
    axes: tuple[int, ...]
    tolerance: float
    max_iter: int

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """Return scalar products of vectors, the vectors' axes kept with one entry each."""
        product = a.real * b.real + a.imag * b.imag if a.is_complex() else a * b
        if self.weight is not None:
            product = product * self.weight
        return product.sum(self.axes, keepdim=True)

    def precondition(self, residual: Tensor) -> Tensor:
        if self.preconditioner is None:
            return residual
        return _same_shape("preconditioner", self.preconditioner(residual), residual)

    def solve_adjoint(self, gradient: Tensor, *parameters: Tensor) -> Tensor:
        """Solve ``A^H y = g``, differentiable in g and the parameters.

        With a weight W in the scalar product, ``W A`` is the symmetric matrix, and
        ``A^-H g = W A^-1 W^-1 g``.
        """
        weight = 1 if self.weight is None else self.weight
        solved = conjugate_gradients(
            self.operator,
            gradient / weight,
            tolerance=self.tolerance,
            max_iter=self.max_iter,
            vector_dims=len(self.axes),
            weight=self.weight,
            preconditioner=self.preconditioner,
            parameters=parameters,
        )
        return weight * solved.x

    def solve(
        self,
        rhs: Tensor,
        parameters: Sequence[Tensor],
        *,
        update: Update | None = None,
        size: Operator | None = None,
    ) -> CGResult:
        """Take the steps; what they compute leaves no graph if the caller records none."""
        # Division by at least this is safe where an element of the batch has nothing left to solve.
        tiny = torch.finfo(rhs.dtype).tiny
        x = torch.zeros_like(rhs)
        residual = rhs
        z = self.precondition(residual)
        self._check_finite(z, rhs)
        direction = z
        rz = self.inner(residual, z)
        size_square = self.inner(rhs, rhs)
        square = size_square
        converged = False
        steps = 0
        while steps < self.max_iter:
            steps += 1
            A_direction = _same_shape("operator", self.operator(direction, *parameters), rhs)
            step = rz / self.inner(direction, A_direction).clamp(min=tiny)
            x = x + step * direction
            residual = residual - step * A_direction if update is None else update(residual, step)
            square = self.inner(residual, residual)
            if size is not None:
                size_square = size(x).square().reshape(square.shape)
            converged = bool((square <= self.tolerance**2 * size_square).all())
            if converged:
                break
            z = self.precondition(residual)
            rz_old = rz
            rz = self.inner(residual, z)
            # Conjugate to the direction before, and thereby to all before it.
            direction = z + rz / rz_old.clamp(min=tiny) * direction
        relative = (square / size_square.clamp(min=tiny)).sqrt().squeeze(self.axes)
        self._warn(converged, relative)
        return CGResult(x, steps, relative, converged)

    def _check_finite(self, z: Tensor, rhs: Tensor) -> None:
        """Refuse a preconditioner that makes NaN or infinite values of numbers."""
        if self.preconditioner is None or torch.compiler.is_compiling():
            return
        if not _is_finite(z) and _is_finite(rhs):
            raise ValueError(
                f"preconditioner must return finite values, got NaN or infinite ones in "
                f"shape {tuple(z.shape)}"
            )

    def _warn(self, converged: bool, residual: Tensor) -> None:
        """Warn where the steps did not suffice."""
        if converged:
            return
        warnings.warn(
            f"conjugate gradients took max_iter = {self.max_iter} steps and left a relative "
            f"residual of {float(residual.max()):.1e}, above the tolerance of "
            f"{self.tolerance:.1e}; allow more steps or a larger tolerance, or give a better "
            "preconditioner",
            ConvergenceWarning,
            stacklevel=4,
        )


def _is_finite(values: Tensor) -> bool:
    return all_finite(torch.view_as_real(values.resolve_conj()) if values.is_complex() else values)
