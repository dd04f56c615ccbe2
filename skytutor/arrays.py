"""Arrays as they come: what a researcher holds becomes a tensor, or is refused by name.

Files of the sky hold big-endian numbers, columns of tables that lie apart in memory, masked values
and units. Torch takes some of these with a message that names no argument, and others without a
word and wrongly. Every function of the library that takes numbers lets them in here:

* NumPy arrays and scalars of any byte order, stride and alignment, read-only or not; lists and
  tuples of numbers, arrays or tensors; whatever has ``__array__``, such as columns of tables;
* tensors as they are, with a pending conjugation or sign carried out, because other libraries look
  at the memory behind a tensor and would miss it;
* a masked array whose values are all valid, and a quantity without a unit, as their numbers.

A function that takes a mask beside its maps takes masked values too: they are hidden, as if the
mask said so (`split_masked`). What was made for one mask, such as the exact fill of a hole, takes
them where that mask hides them (`only_hidden`). Elsewhere masked values are refused, as are units,
text and objects: what they mean is not for a function to guess.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "as_floats",
    "as_integers",
    "as_tensor",
    "only_hidden",
    "split_masked",
]

# Torch computes with few operations on these: they become the next larger signed integer.
_UNSIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


def as_tensor(
    name: str,
    value: Any,
    *,
    dtype: torch.dtype | None = None,
    like: Tensor | None = None,
) -> Tensor:
    """Return `value` as a tensor.

    A tensor is handed on as it is, at no cost. Anything else is copied only where torch cannot use
    its memory: read-only, big-endian, misaligned or reversed. Lists become float64 or int64, as in
    NumPy. Unsigned integers of 16 bits and more become signed.

    Arguments:
        name: what the error message calls the value.
        value: a tensor, an array, a number, or a list or a tuple of these; see the module.
        dtype: to convert to; None keeps the kind and the precision of the numbers.
        like: a tensor on whose device an array is put; None is the CPU. Tensors stay where they
            are.

    Returns:
        A dense tensor of the shape of `value`.

    Raises:
        TypeError: text, objects, a dict, long double, a sparse tensor; with `dtype`, complex
            numbers for real ones or floating numbers for integers.
        ValueError: masked values, a unit, a list of unequal rows, integers beyond 64 bits.

    Example:
        >>> as_tensor("maps", np.array([1, 2], ">f4"))
        tensor([1., 2.])
    """
    if not isinstance(value, Tensor):
        value = _from_outside(name, value)
        if like is not None:
            value = value.to(like.device)
    elif value.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got {value.layout}; pass .to_dense()")
    # A conjugate or negative view keeps its flag outside the memory that others read. In a compiled
    # graph nobody does, and to ask would break it.
    if not torch.compiler.is_compiling() and (value.is_conj() or value.is_neg()):
        value = value.resolve_conj().resolve_neg()
    return value if dtype is None else _converted(name, value, dtype)


def as_floats(**values: Any) -> list[Tensor]:
    """Return real floating-point tensors, each in its own precision.

    float16 and bfloat16 become float32: sums over a sky or a sample do not fit into them. Integers
    are refused, because differences of unsigned ones are wrong without a word.

    Arguments:
        **values: as in `as_tensor`, by the names that an error message calls them.

    Returns:
        One tensor for each value, in the order given; arrays are put on the device of the first
        tensor.

    Raises:
        TypeError: integers, bool or complex numbers; else as `as_tensor`.
        ValueError: as `as_tensor`.

    Example:
        >>> as_floats(image=[0.5, 1.0], truth=torch.zeros(2).half())
        [tensor([0.5000, 1.0000], dtype=torch.float64), tensor([0., 0.])]
    """
    like = next((value for value in values.values() if isinstance(value, Tensor)), None)
    tensors = []
    for name, value in values.items():
        tensor = as_tensor(name, value, like=like)
        if not tensor.is_floating_point():
            raise TypeError(
                f"{name} must be real floating-point numbers, got {tensor.dtype}; convert with "
                ".float(), or .astype(float) of an array"
            )
        single = tensor.dtype in (torch.float16, torch.bfloat16)
        tensors.append(tensor.float() if single else tensor)
    return tensors


def as_integers(**values: Any) -> list[Tensor]:
    """Return int64 tensors, such as labels of classes or numbers of pixels.

    Arguments:
        **values: integers of any width, as in `as_tensor`, by the names that an error message
            calls them.

    Returns:
        One tensor for each value, in the order given; arrays are put on the device of the first
        tensor.

    Raises:
        TypeError: floating or complex numbers, or bool: a mask of chosen pixels is no list of
            their numbers. Else as `as_tensor`.
        ValueError: as `as_tensor`.

    Example:
        >>> as_integers(labels=np.array([3, 1], "u1"))
        [tensor([3, 1])]
    """
    like = next((value for value in values.values() if isinstance(value, Tensor)), None)
    tensors = []
    for name, value in values.items():
        tensor = as_tensor(name, value, like=like)
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise TypeError(
                f"{name} must be integers, got {tensor.dtype}; convert with .long(), or "
                ".astype(int) of an array"
            )
        tensors.append(_converted(name, tensor, torch.int64))
    return tensors


def split_masked(
    name: str, value: Any, mask: Any, *, mask_name: str = "mask", axes: int | None = None
) -> tuple[Any, Any]:
    """Return the values of a masked array, and with them the mask of a function that takes both.

    ``numpy.ma`` marks what is hidden with True, and the masks of this package what is seen. A pixel
    is hidden if the array or the mask that is given says so. Anything but a masked array that hides
    values comes back as it is.

    Arguments:
        name: what error messages call the value.
        value: what the function was given, such as maps ``(..., P)``.
        mask: that it was given too: True or above 0 where seen; None for none.
        mask_name: what error messages call the mask.
        axes: how many axes the function's mask has, the last ones of the value: 1 for ``(P,)``;
            None for any that broadcast with the value.

    Returns:
        The value, NaN (0 in integers) where it is hidden, and the mask: True where seen, in the
        precision of the one given.

    Raises:
        ValueError: a value with a unit; with `axes`, maps that hide different pixels.

    Example:
        >>> flux = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
        >>> split_masked("flux", flux, None)
        (array([ 1., nan,  3.]), tensor([ True, False,  True]))
        >>> split_masked("flux", flux, [1.0, 1.0, 0.5])[1]
        tensor([1.0000, 0.0000, 0.5000], dtype=torch.float64)
    """
    hidden = _hidden(value)
    if hidden is None or np.asarray(value).dtype.kind not in "biufc":
        return value, mask
    value = _without_unit(name, value)
    value = value.filled(np.nan if value.dtype.kind in "fc" else 0)
    if axes is not None and hidden.ndim > axes:
        each = hidden.reshape(-1, *hidden.shape[hidden.ndim - axes :])
        if (each != each[0]).any():
            raise ValueError(
                f"{name} must hide the same values in every map, for one {mask_name} of all; pass "
                "them one by one"
            )
        hidden = each[0]
    seen = torch.from_numpy(~hidden)
    if mask is None:
        return value, seen
    given = as_tensor(mask_name, mask)
    try:
        return value, given * seen.to(given.device)
    except RuntimeError:  # shapes that do not go together are for the function to name
        return value, given


def only_hidden(name: str, value: Any, seen: Any, *, mask_name: str = "mask") -> Any:
    """Return the values of a masked array that hides nothing but what a mask hides already.

    For what was made for one mask and answers for its hidden pixels alone: one more hidden pixel
    would count as seen, whatever stands there.

    Arguments:
        name: what error messages call the value.
        value: maps ``(..., P)`` or ``(..., H, H)``, a masked array or not.
        seen: the mask, which broadcasts with the value: True or above 0 where seen.
        mask_name: what error messages call the mask.

    Returns:
        The value, NaN (0 in integers) where a masked array hides it; anything else as it is.

    Raises:
        ValueError: values that are masked where the mask shows them; a value with a unit.

    Example:
        >>> data = np.ma.array([1.0, 2.0], mask=[False, True])
        >>> only_hidden("data", data, [True, False])
        array([ 1., nan])
    """
    filled, own = split_masked(name, value, None)
    if own is None:
        return value
    shown = as_tensor(mask_name, seen).cpu() > 0
    try:
        exposed = int((shown & ~own).sum())
    except RuntimeError:  # shapes that do not go together are for the function to name
        return filled
    if exposed:
        raise ValueError(
            f"{name} is masked in {exposed} values that {mask_name} shows; hide them in "
            f"{mask_name} too"
        )
    return filled


def _converted(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor in another type, if that loses neither a part nor a fraction."""
    real = not dtype.is_complex
    if real and tensor.is_complex():
        raise TypeError(f"{name} must be real, got {tensor.dtype}; pass .real, .imag or .abs()")
    if real and not dtype.is_floating_point and tensor.is_floating_point():
        raise TypeError(f"{name} must be integers, got {tensor.dtype}; convert with .long()")
    # Beyond 2**63 - 1 an unsigned number would come out negative.
    if tensor.dtype == torch.uint64 and dtype == torch.int64 and bool((tensor.long() < 0).any()):
        raise ValueError(f"{name} holds integers beyond 2**63 - 1")
    return tensor.to(dtype)


def _from_outside(name: str, value: Any) -> Tensor:
    """Return what is no tensor as one on the CPU."""
    if isinstance(value, list | tuple) and _holds_arrays(value):
        # NumPy would drop the mask, the unit and the gradient of what stands in the list.
        parts = [as_tensor(name, part) for part in value]
        if len({part.shape for part in parts}) != 1:
            shapes = [tuple(part.shape) for part in parts]
            raise ValueError(f"{name} must have rows of one shape, got shapes {shapes}")
        return torch.stack(parts)
    _refuse_masked(name, value)
    array = _numbers(name, _without_unit(name, value))
    native = array.dtype.newbyteorder("=")
    array = np.require(array, dtype=native, requirements=["C", "A", "W", "E"])
    # A single value counts as contiguous whatever its strides, and torch looks at these.
    if min(array.strides, default=0) < 0:
        array = array.copy()
    tensor = torch.from_numpy(array)
    signed = _UNSIGNED.get(tensor.dtype)
    return tensor if signed is None else _converted(name, tensor, signed)


def _holds_arrays(values: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether a list holds arrays or tensors, at any depth."""
    for value in values:
        if isinstance(value, list | tuple):
            if _holds_arrays(value):
                return True
        elif hasattr(value, "__array__") and not isinstance(value, np.generic):
            return True
    return False


def _refuse_masked(name: str, value: Any) -> None:
    """Refuse an array with masked values, NumPy's or astropy's."""
    hidden = _hidden(value)
    if hidden is not None:
        raise ValueError(
            f"{name} is masked in {int(hidden.sum())} of {hidden.size} values; pass .filled(nan) "
            "or other values in their place; where a mask is taken, ~numpy.ma.getmaskarray(array)"
        )


def _hidden(value: Any) -> NDArray[np.bool_] | None:
    """Return where an array is masked, NumPy's or astropy's, or None if it is nowhere."""
    hidden = np.asarray(getattr(value, "mask", False)) if isinstance(value, np.ndarray) else None
    if hidden is None or hidden.dtype != bool or not hidden.any():
        return None
    return np.broadcast_to(hidden, value.shape)


def _without_unit(name: str, value: Any) -> Any:
    """Return the numbers of a quantity without a unit; refuse one that has a unit."""
    unit = getattr(value, "unit", None) if isinstance(value, np.ndarray) else None
    if unit is None:
        return value
    if hasattr(value, "to_value"):  # a quantity; astropy itself is never imported
        if unit.is_equivalent(""):
            return value.to_value("")
        raise ValueError(f"{name} has the unit {unit}; pass .to_value({str(unit)!r}) for numbers")
    if str(unit):
        raise ValueError(f"{name} is a column in {unit}; pass its .data for numbers in that unit")
    return value


def _numbers(name: str, value: Any) -> NDArray[Any]:
    """Return a NumPy array of numbers that torch has a type for."""
    allowed = isinstance(value, bool | int | float | complex | list | tuple | range)
    if not allowed and not hasattr(value, "__array__"):
        raise TypeError(f"{name} must be numbers, a tensor or an array, got {_kind(value)}")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is no array of numbers: {error}") from error
    if array.dtype.kind == "O" and allowed and _too_large(array):
        raise ValueError(f"{name} holds integers beyond 64 bits")
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must be numbers, got {_kind(value)} of {array.dtype}")
    # Types such as x86's long double, and complex numbers of two of them.
    if array.dtype.itemsize > (16 if array.dtype.kind == "c" else 8):
        wanted = "complex" if array.dtype.kind == "c" else "float"
        raise TypeError(f"{name} is {array.dtype}; torch has none, convert with .astype({wanted})")
    return array


def _too_large(array: NDArray[Any]) -> bool:
    """Return whether objects are Python integers and one of them does not fit into 64 bits."""
    numbers = array.ravel().tolist()
    whole = all(isinstance(number, int) for number in numbers)
    return whole and any(abs(n) >= 2**63 for n in numbers)


def _kind(value: Any) -> str:
    return type(value).__name__
