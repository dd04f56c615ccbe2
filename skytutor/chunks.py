"""A function applied to a few rows at a time, so that what it makes on the way stays small."""

from collections.abc import Callable

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.validate import positive

__all__ = ["in_chunks"]


def in_chunks(function: Callable[..., Tensor], *tensors: Tensor, size: int) -> Tensor:
    """Apply a function to a few rows at a time and join what it returns.

    The same as ``function(*tensors)`` for a function that treats each row by itself, with the
    memory of `size` rows.

    Arguments:
        function: of as many tensors as there are; returns one with a row for each row of theirs.
        *tensors: one or more, ``(N, ...)``, cut along their first axis.
        size: rows at a time; the last chunk has what is left.

    Returns:
        ``(N, ...)``, joined along the first axis.

    Raises:
        ValueError: no tensor, tensors of different length, or a size below 1.

    Example:
        >>> in_chunks(torch.neg, torch.tensor([1, 2, 3]), size=2)
        tensor([-1, -2, -3])
    """
    (size,) = positive(size=size)
    tensors = tuple(as_tensor("tensors", tensor) for tensor in tensors)
    if any(tensor.dim() == 0 for tensor in tensors):
        raise ValueError("tensors must have rows, got a single number")
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) != 1:
        raise ValueError(f"tensors must be one or more of the same length, got lengths {lengths}")
    chunks = zip(*[tensor.split(size) for tensor in tensors], strict=True)
    return torch.cat([function(*chunk) for chunk in chunks])
