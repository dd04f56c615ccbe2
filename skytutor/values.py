"""The values of a tensor looked at, in every mode of torch in which it has any.

Torch has no public function for each of its modes. What is asked here is asked of the tensor, by
public names; the one private name stands in `_find`, and without it all is as right, and slower.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from skytutor.arrays import as_tensor

__all__ = [
    "all_finite",
    "extremes",
    "has_memory",
    "is_intercepted",
    "is_transformed",
    "on_values",
]

Found = TypeVar("Found")


def _find(module: str, name: str) -> Callable[..., Any] | None:
    """Return a function of torch that a later version may not have."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


_in_dispatch_mode = _find("torch.utils._python_dispatch", "is_in_torch_dispatch_mode")


def is_intercepted() -> bool:
    """Return whether something else than torch's own code gets to see each operation.

    Graphs that are recorded, fake tensors and other modes of ``__torch_dispatch__`` do, and would
    miss what is done to NumPy's arrays. It is True as well if this version of torch does not say.

    Example:
        >>> is_intercepted()
        False
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return recorded or _in_dispatch_mode is None or bool(_in_dispatch_mode())


def is_transformed(tensor: Tensor) -> bool:
    """Return whether operations on a tensor pass through a transform of `torch.func`.

    Inside `torch.func.vmap` that is so for what is mapped over; inside `torch.func.grad` and its
    kin for every tensor. A graph that is being recorded does not say: there it is False.

    Arguments:
        tensor: of any kind.

    Example:
        >>> torch.func.grad(lambda x: x * is_transformed(x))(torch.tensor(3.0))
        tensor(1.)
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    # What an operation returns is looked at: inside `torch.func.grad` it stands for another too.
    return not has_memory(tensor.detach())


def has_memory(tensor: Tensor) -> bool:
    """Return whether a tensor has memory of its own, and does not stand for another one.

    Inside the transforms of `torch.func` what they work on stands for tensors that are elsewhere.

    Arguments:
        tensor: of any kind.

    Example:
        >>> one = torch.ones(())
        >>> torch.func.grad(lambda x: x * has_memory(x) + one * has_memory(one))(torch.ones(()))
        tensor(0.)
    """
    # Those have no memory, or with `torch.func.functionalize` some that cannot be read.
    try:
        memory = tensor.untyped_storage()
        if memory.device.type != "meta":
            memory.data_ptr()
    except RuntimeError:
        return False
    return True


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
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or tensor.is_meta:
        return None
    if is_transformed(tensor):
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
