"""The values of a tensor looked at, in every mode of torch in which it has any."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from skytutor.arrays import as_tensor

__all__ = ["all_finite", "extremes", "on_values"]

Found = TypeVar("Found")


def on_values(tensor: Tensor, check: Callable[[Tensor], Found]) -> Found | None:
    """Look at the values of a tensor, if it has any.

    Inside `torch.func.vmap`, `grad` and their kin a tensor stands for one that is kept elsewhere,
    and here that is looked at. In a graph that is being recorded, and on the device "meta", a
    tensor has no values yet.

    Arguments:
        tensor: of any kind.
        check: called with its values, without gradient; what `vmap` maps over are leading axes.

    Returns:
        What `check` returns, or None if there are no values.

    Example:
        >>> def scaled(x):
        ...     return x * on_values(x, lambda values: values.amax())
        >>> torch.func.vmap(scaled)(torch.arange(3.0))
        tensor([0., 2., 4.])
    """
    if torch.compiler.is_compiling() or torch._C._is_tracing() or tensor.is_meta:
        return None
    if torch._C._are_functorch_transforms_active():
        found: list[Found | None] = []
        _OnValues.apply(tensor.detach(), lambda values: found.append(on_values(values, check)))
        return found[0]
    if tensor.untyped_storage().device.type == "meta":  # a fake tensor
        return None
    return check(tensor.detach().resolve_conj().resolve_neg())


class _OnValues(torch.autograd.Function):
    """A function whose result nobody uses; torch calls its forward with the values themselves."""

    @staticmethod
    def forward(tensor: Tensor, see: Callable[[Tensor], None]) -> Tensor:
        see(tensor)
        return tensor.new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], tensor: Tensor, see: Callable[[Tensor], None]
    ) -> tuple[Tensor, None]:
        return _OnValues.apply(tensor.movedim(in_dims[0], 0), see), None


def all_finite(tensor: Tensor) -> bool:
    """Return whether every element of a real tensor is a finite number.

    Arguments:
        tensor: real values of any shape.

    Returns:
        False if one of them is NaN or infinite; True of a tensor without values (`on_values`), or
        without elements.

    Raises:
        TypeError: complex values.
    """
    tensor = as_tensor("tensor", tensor)
    return not tensor.numel() or all(math.isfinite(end) for end in extremes(tensor))


def extremes(tensor: Tensor) -> tuple[float, float]:
    """Return the smallest and the largest element.

    On the CPU this is done by NumPy, in one thread: the threads of a torch operation go on spinning
    for milliseconds, in the way of whatever comes next and has threads of its own, such as ducc0.

    Arguments:
        tensor: real values of any shape with at least one element.

    Returns:
        Minimum and maximum; NaN if an element is NaN; 0 of a tensor without values (`on_values`).

    Raises:
        TypeError: complex values, which have no order.
        ValueError: no element.
    """
    tensor = as_tensor("tensor", tensor)
    if tensor.is_complex():
        raise TypeError(f"tensor must be real, got {tensor.dtype}")
    if not tensor.numel():
        raise ValueError(f"tensor must have one element or more, got shape {tuple(tensor.shape)}")
    return on_values(tensor, _extremes) or (0.0, 0.0)


def _extremes(tensor: Tensor) -> tuple[float, float]:
    if tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64):
        values = tensor.numpy()
        return float(values.min()), float(values.max())
    low, high = tensor.aminmax()
    return float(low), float(high)
