"""Square roots of covariance matrices, singular ones too, with derivatives of every order."""

from typing import Any

import torch
from torch import Tensor

_SINGULAR = 1e-7  # eigenvalues of a root below this times the largest count as 0


def symmetric_root(matrix: Tensor) -> Tensor:
    """Return the symmetric S of ``S S = M``.

    An eigenvalue that is 0, or below it by rounding, has a root of 0, whose derivative is infinite:
    that part of a derivative is left out.

    Arguments:
        matrix: M, ``(..., n, n)`` symmetric.

    Returns:
        ``(..., n, n)``, with no negative eigenvalue.
    """
    root: Tensor = _Root.apply(matrix)
    return root


class _Root(torch.autograd.Function):
    """The root; eigenvectors of equal eigenvalues have no derivative, but the root has one.

    Of ``S S = M`` follows ``dS S + S dS = dM``, which is linear in dS.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        # The output: so that a derivative of the derivative knows what it depends on.
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        # The equation for dS is its own adjoint.
        return _derivative(root, gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        return _derivative(root, tangent)


def _derivative(root: Tensor, change: Tensor) -> Tensor:
    """Solve ``X S + S X = change`` for X, as n**2 equations."""
    n = root.shape[-1]
    one = torch.eye(n, dtype=root.dtype, device=root.device)
    # Rows of X in turn: (S X) is S on the first index of X, (X S) on the second.
    equations = _outer(root, one) + _outer(one, root)
    # Where two eigenvalues are 0 the equations say nothing: X is 0 there.
    values, vectors = torch.linalg.eigh(root.detach())
    empty = (values <= _SINGULAR * values[..., -1:]).to(root.dtype)
    projector = (vectors * empty[..., None, :]) @ vectors.mT
    unsaid = _outer(projector, projector)
    flat = change.flatten(-2)[..., None]
    return torch.linalg.solve(equations + unsaid, flat - unsaid @ flat).view_as(change)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Return the matrix ``(..., n n, n n)`` of ``X -> a X b^T`` for the rows of X in turn."""
    return torch.einsum("...ik,...jl->...ijkl", a, b).flatten(-4, -3).flatten(-2)
