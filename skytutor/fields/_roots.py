"""Square roots of spectra and of their covariance matrices, with derivatives of every order."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from skytutor.values import on_values

_ROUNDING = 1e-6  # how far a correlation may pass 1: spectra come in single precision too
_SINGULAR = 1e-7  # eigenvalues of a root below this times the largest count as 0


def refuse(name: str, wrong: Tensor, why: str, values: Tensor) -> None:
    """Raise the error of a spectrum that is `wrong` somewhere, with the first such l."""
    first = on_values(wrong, _first)
    if first is not None:
        # Where `torch.func.vmap` maps over spectra, there is one value for each.
        value = on_values(values, lambda all_: all_.reshape(-1, all_.shape[-1])[:, first].tolist())
        one = ", ".join(f"{x:g}" for x in value or ())
        raise ValueError(f"spectra: {name} {why}, first at l = {first}: {one}")


def _first(wrong: Tensor) -> int | None:
    """Return the first l where any of the spectra is wrong, or None."""
    degrees = wrong.reshape(-1, wrong.shape[-1]).any(0).nonzero()
    return int(degrees[0, 0]) if len(degrees) else None


def covariance_root(spectra: Mapping[str, Tensor], fields: str) -> Tensor:
    """Return symmetric roots ``(lmax + 1, n, n)`` of covariance matrices, singular too."""
    zero = torch.zeros_like(spectra[2 * fields[0]])
    scale = torch.stack([root_of_power(spectra[2 * x]) for x in fields], -1)  # (lmax + 1, n)
    rows = []
    for x in fields:
        row = [spectra.get(x + y, spectra.get(y + x, zero)) for y in fields]
        rows.append(torch.stack(row, -1))
    # Correlations, (lmax + 1, n, n): fields differ by orders of magnitude, correlations do not.
    divisor = torch.where(scale > 0, scale, 1.0)
    matrix = torch.stack(rows, -2) / divisor[:, :, None] / divisor[:, None]
    for i, j in torch.combinations(torch.arange(len(fields))).tolist():
        largest = torch.where((scale[:, i] > 0) & (scale[:, j] > 0), 1.0 + _ROUNDING, 0.0)
        why = "is larger than its auto-spectra allow, as a correlation"
        refuse(fields[i] + fields[j], matrix[:, i, j].abs() > largest, why, matrix[:, i, j])
    # A field without power has no correlation, and none to vary.
    powered = (scale[:, :, None] > 0) & (scale[:, None] > 0)
    matrix = torch.where(powered, matrix, 0.0)
    crosses = ", ".join(name for name in spectra if name[0] != name[1])
    lowest = torch.linalg.eigvalsh(matrix.detach())[:, 0]
    why = "contradict one another: an eigenvalue is negative"
    refuse(crosses, lowest < -_ROUNDING, why, lowest)
    return scale[:, :, None] * symmetric_root(matrix)


def root_of_power(cl: Tensor) -> Tensor:
    """Return the root of a spectrum, with a derivative of 0 where it is 0 and has none."""
    positive = cl > 0
    return torch.where(positive, torch.where(positive, cl, 1.0).sqrt(), 0.0)


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
