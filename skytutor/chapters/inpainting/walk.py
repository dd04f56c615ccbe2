"""Conjugate gradients step by step: what networks are trained through, and what counts steps.

`skytutor.sht.solvers.conjugate_gradients` goes to the end and has an implicit gradient. Here every
step is seen, and gradients pass through all of them.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["Operator", "conjugate_walk"]

Operator = Callable[[Tensor], Tensor]


def conjugate_walk(
    operator: Operator,
    rhs: Tensor,
    *,
    preconditioner: Operator,
    start: Tensor | None = None,
    vector_dims: int = 1,
) -> Iterator[Tensor]:
    """Walk to the solution of ``A x = b`` and yield x after every step, with its gradient.

    Arguments:
        operator: A.
        rhs: b; its last `vector_dims` axes make one vector.
        preconditioner: an approximate inverse of A.
        start: x to begin from, which is the first that is yielded; None begins from 0, which is
            not.
        vector_dims: how many axes at the end make one vector.

    Example:
        >>> def halve(x):
        ...     return x / 2
        >>> next(conjugate_walk(halve, torch.ones(3), preconditioner=lambda r: r))
        tensor([2., 2., 2.])
    """
    axes = tuple(range(-vector_dims, 0))
    tiny = torch.finfo(rhs.dtype).tiny

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(axes, keepdim=True)

    if start is None:
        x = torch.zeros_like(rhs)
        residual = rhs
    else:
        x = start
        yield x
        residual = rhs - operator(x)
    z = preconditioner(residual)
    direction = z
    rz = dot(residual, z)
    while True:
        A_direction = operator(direction)
        # As far along the direction as lowers the error most.
        step = rz / dot(direction, A_direction).clamp(min=tiny)
        x = x + step * direction
        yield x
        residual = residual - step * A_direction
        z = preconditioner(residual)
        rz, rz_old = dot(residual, z), rz
        # Conjugate to all directions before.
        direction = z + rz / rz_old.clamp(min=tiny) * direction
