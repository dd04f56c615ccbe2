"""A linear operator and its adjoint as one operation for autograd and for `torch.func`.

The derivative of a linear operator is the operator itself, and that of its adjoint the adjoint. So
one rule serves every order, forward and backward, whatever code does the sums.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from skytutor.values import is_transformed

Operator = Callable[[Tensor], Tensor]


def apply_linear(tensor: Tensor, operator: Operator, *, adjoint: Operator) -> Tensor:
    """Apply a linear operator, with derivatives of every order.

    The sums keep the precision of the tensor under `torch.autocast` too, forward and backward. In a
    graph that is being recorded the operator is a part of the graph, and must be differentiable.

    Arguments:
        tensor: ``(N, ...)``, the batch first.
        operator: takes such a tensor, and returns one with the same batch.
        adjoint: its transpose, from the shape of the result to that of the argument; with complex
            numbers that for real and imaginary parts as numbers of their own.

    Returns:
        ``(N, ...)``.
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if recorded or not _is_differentiated(tensor):
        return in_full_precision(tensor, operator)
    result: Tensor = _Linear.apply(tensor, operator, adjoint)
    return result


def _is_differentiated(tensor: Tensor) -> bool:
    """Return whether a derivative is recorded or taken; if not, a rule for it only takes time."""
    backward = torch.is_grad_enabled() and tensor.requires_grad
    return backward or is_transformed(tensor) or forward_ad.unpack_dual(tensor).tangent is not None


def in_full_precision(tensor: Tensor, operator: Operator) -> Tensor:
    """Apply an operator outside of `torch.autocast`, which would round what it sums."""
    # Some libraries read memory, where a pending conjugation or sign does not stand.
    tensor = tensor.resolve_conj().resolve_neg()
    device = tensor.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return operator(tensor)
    with torch.autocast(device, enabled=False):
        return operator(tensor)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(tensor: Tensor, operator: Operator, adjoint: Operator) -> Tensor:
        return in_full_precision(tensor, operator)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.operator = inputs[1]
        ctx.adjoint = inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Linear.apply(gradient, ctx.adjoint, ctx.operator), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        result: Tensor = _Linear.apply(tangent, ctx.operator, ctx.adjoint)
        return result

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], tensor: Tensor, operator: Operator, adjoint: Operator
    ) -> tuple[Tensor, int]:
        # What is mapped over is one more axis of the batch.
        batches = tensor.movedim(in_dims[0], 0)  # (B, N, ...)
        result = _Linear.apply(batches.flatten(0, 1), operator, adjoint)
        return result.unflatten(0, batches.shape[:2]), 0
