"""Tensors by name as a file can hold them: the numbers lie in their memory, as they are."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from skytutor.arrays import as_tensor


def plain_tensors(tensors: Mapping[str, Any], *, name: str = "tensors") -> dict[str, Tensor]:
    """Return tensors without a pending conjugation or sign, and arrays as tensors.

    Arguments:
        tensors: by name.
        name: what the error message calls them.

    Raises:
        TypeError, ValueError: as `skytutor.arrays.as_tensor`.
    """
    return {key: as_tensor(f"{name}[{key!r}]", tensor) for key, tensor in tensors.items()}


def cast_like(tensors: Mapping[str, Any], current: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in the types of those whose place they take.

    Arguments:
        tensors: by name.
        current: of the same names.

    Raises:
        TypeError: complex numbers for real ones, or floating numbers for integers.
    """
    return {
        key: as_tensor(f"tensors[{key!r}]", tensor, dtype=current[key].dtype)
        for key, tensor in tensors.items()
    }


def storable(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the same on the CPU, refused if safetensors has no such type.

    Arguments:
        tensors: by name.

    Raises:
        TypeError, ValueError: as `plain_tensors`; complex128.
    """
    flat = {key: t.detach().cpu().contiguous() for key, t in plain_tensors(tensors).items()}
    for key, tensor in flat.items():
        if tensor.dtype == torch.complex128:
            raise TypeError(
                f"tensors[{key!r}] is complex128, which safetensors does not have; save "
                "torch.view_as_real(...), or convert with .to(torch.complex64)"
            )
    return flat
