"""What a module is given, looked at where it comes in: tensors in the precision of its weights.

Functions of the library take arrays as they come (`skytutor.arrays`). A module of torch works on
tensors, hands gradients back through them, and computes in the precision of its weights: what is
none of these is refused here by name, with the conversion to use, where torch would speak of
operands that the caller has never seen.
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["as_input"]


def as_input(name: str, value: Any, *, weight: Tensor | None = None) -> Tensor:
    """Return what a module was given, if it can compute with it.

    Arguments:
        name: what the error message calls the value.
        value: a tensor of real floating-point numbers.
        weight: of the module, in whose precision the value has to be; under ``torch.autocast``,
            which converts, it may be another. None for any.

    Raises:
        TypeError: no tensor, integers, complex numbers, or another precision.

    Example:
        >>> as_input("maps", torch.zeros(2), weight=torch.ones(3))
        tensor([0., 0.])
    """
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        raise TypeError(
            f"{name} must be a floating-point torch tensor, got {kind}; convert with torch.tensor"
        )
    if not value.is_floating_point():
        way = "pass .real, .imag or .abs()" if value.is_complex() else "convert with .float()"
        raise TypeError(f"{name} must be floating-point numbers, got {value.dtype}; {way}")
    if weight is not None and value.dtype != weight.dtype and not _converts(value):
        raise TypeError(
            f"{name} must be {weight.dtype}, as the weights are, got {value.dtype}; convert with "
            f".to({weight.dtype}), or the module with .to({value.dtype})"
        )
    return value


def _converts(value: Tensor) -> bool:
    """Return whether torch itself converts between precisions where the tensor is."""
    kind = value.device.type
    return kind != "meta" and torch.is_autocast_enabled(kind)
