"""Compare a reader's result with the right one, and say what differs without giving it away."""

import cmath
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["brief", "same", "single", "what_differs"]


def same(got: Any, expected: Any, *, rtol: float = 1e-5, atol: float = 1e-9) -> bool:
    """Return whether two results agree: numbers, tensors, texts, and what is made of them.

    A list, an array or a tensor may stand for one another if their shapes agree. A text is no
    number, nor is a truth value, and nothing agrees with NaN. Where a whole number is right (an
    int, or a tensor of integers) no other whole number agrees with it, whatever the tolerance,
    which then is for the rounding of floating point alone.

    Arguments:
        got: what came.
        expected: what is right: a number, tensor, array, text, truth value, None, or a tuple, list
            or dict of these.
        rtol: largest difference that passes, relative to the larger of both numbers; in a tensor,
            relative to the expected one.
        atol: largest difference that passes where the expected number is near zero.

    Returns:
        True if they agree.

    Example:
        >>> same([1.0, 2.0], torch.tensor([1.0, 2.0]))
        True
        >>> same("1.0", 1.0)
        False
        >>> same(200_001, 200_000), same(200_001.0, 200_000.0)
        (False, True)
    """
    tolerance = {"rtol": rtol, "atol": atol}
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and got.keys() == expected.keys()
            and all(same(got[key], expected[key], **tolerance) for key in expected)
        )
    if isinstance(expected, tuple | list):
        if not isinstance(got, tuple | list | Tensor) and not hasattr(got, "__array__"):
            return False
        if getattr(got, "shape", None) == () or len(got) != len(expected):
            return False
        return all(same(g, e, **tolerance) for g, e in zip(got, expected, strict=True))
    if expected is None or isinstance(expected, str):
        return type(got) is type(expected) and got == expected
    if isinstance(expected, Tensor) or hasattr(expected, "__array__"):
        return _same_tensor(got, torch.as_tensor(expected), **tolerance)
    return _same_number(got, expected, **tolerance)


def _same_number(got: Any, expected: Any, *, rtol: float, atol: float) -> bool:
    """Return whether one number agrees with another; a truth value only with a truth value."""
    found = single(got)
    if found is None or isinstance(found, bool) != isinstance(expected, bool):
        return False
    if isinstance(expected, int):
        if isinstance(found, int):
            return found == expected
        # What was worked out in floating point may miss a whole number by a rounding, not by one.
        if not abs(found - expected) < 0.5:
            return False
    return cmath.isclose(found, expected, rel_tol=rtol, abs_tol=atol)


def _same_tensor(got: Any, expected: Tensor, *, rtol: float, atol: float) -> bool:
    """Return whether a tensor, array or list agrees with a tensor in shape and in every number."""
    found = _tensor(got)
    if found is None or found.shape != expected.shape:
        return False
    found = found.detach().cpu()
    expected = expected.detach().cpu()
    if (found.dtype == torch.bool) != (expected.dtype == torch.bool):
        return False
    if _is_whole(expected) and _is_whole(found):
        return torch.equal(found.long(), expected.long())
    # What cancels leaves a few roundings of the largest number, in the coarser of both precisions.
    # Those of half precision, which are errors of a per cent, count as those of single precision.
    coarsest = torch.finfo(torch.float32).eps
    for values in (found, expected):
        if values.numel() and (values.is_floating_point() or values.is_complex()):
            rounding = min(torch.finfo(values.dtype).eps, coarsest) * float(expected.abs().max())
            atol = max(atol, 8 * rounding)
    one = found.to(torch.complex128)
    other = expected.to(torch.complex128)
    # As for single numbers: whole ones may be missed by a rounding, not by one.
    if _is_whole(expected) and not bool(((one - other).abs() < 0.5).all()):
        return False
    return torch.allclose(one, other, rtol=rtol, atol=atol)


def _is_whole(values: Tensor) -> bool:
    """Return whether a tensor is one of integers."""
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)


def single(value: Any) -> Any | None:
    """Return the one number of a value as Python's own; None of all that is no single number.

    Arguments:
        value: anything.

    Returns:
        an int, float, complex number or truth value.

    Example:
        >>> single(torch.tensor([2.0])), single(torch.ones(2)), single("2.0")
        (2.0, None, None)
    """
    if isinstance(value, Tensor) or hasattr(value, "__array__"):
        many = value.numel() if isinstance(value, Tensor) else math.prod(value.shape)
        if many != 1:
            return None
        value = value.item()
    return value if isinstance(value, int | float | complex) else None


def _tensor(value: Any) -> Tensor | None:
    """Return a tensor of a tensor, an array, a number or a list of numbers; None of the rest."""
    if isinstance(value, Tensor):
        return value
    try:
        # Through NumPy: a list of floats keeps double precision, reversed arrays are laid out anew.
        return torch.as_tensor(np.ascontiguousarray(value).reshape(np.shape(value)))
    except (TypeError, ValueError, RuntimeError):
        return None


def what_differs(got: Any, expected: Any, *, given: Iterable[Any] = ()) -> str:
    """Say how a wrong result differs in kind from the right one, and nothing of its numbers.

    A size is named only if the reader was given it: where a list of three pixels is the answer,
    its length is part of the answer.

    Arguments:
        got: what came.
        expected: what is right.
        given: the arguments of the case.

    Returns:
        the end of a sentence that began with what came.

    Example:
        >>> maps = torch.ones(2, 48)
        >>> what_differs(torch.ones(2, 48), torch.ones(2, 12), given=(maps,))
        '; the shape should be (2, ?)'
    """
    if got is None and expected is not None:
        return "; is there a `return`?"
    wanted = _shape(expected)
    found = _shape(got)
    if wanted == () and found is None:
        return "; a number is wanted"
    if wanted and found is None:
        return "; a tensor is wanted"
    if wanted == () and found and math.prod(found) != 1:
        return "; a single number is wanted"
    if wanted and found is not None and found != wanted:
        known = set(_sizes(given))
        sizes = [str(size) if size in known else "?" for size in wanted]
        end = "," if len(sizes) == 1 else ""
        return f"; the shape should be ({', '.join(sizes)}{end})"
    if found is not None and not _finite(got):
        return ", which holds what is not finite"
    return ", which is not right"


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of a tensor or an array, () of a number, None of the rest."""
    if isinstance(value, bool | str):
        return None
    if isinstance(value, int | float | complex):
        return ()
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(shape)


def _sizes(given: Iterable[Any]) -> Iterable[int]:
    """Yield the numbers that a reader sees in the arguments: sizes of shapes, and integers."""
    for value in given:
        if isinstance(value, tuple | list):
            yield len(value)
            yield from _sizes(value)
        elif isinstance(value, int):
            yield value
        else:
            yield from _shape(value) or ()


def _finite(value: Any) -> bool:
    """Return whether all numbers of a result are finite."""
    found = _tensor(value)
    return found is None or bool(torch.isfinite(found).all())


def brief(value: Any) -> str:
    """Return a value in a few characters: tensors by their shape, numbers to four digits.

    Arguments:
        value: anything.

    Returns:
        at most about sixty characters.

    Example:
        >>> brief((torch.ones(3), 2 / 3))
        '(a tensor of shape (3,), 0.6667)'
    """
    if isinstance(value, dict) and value:
        return f"a dict with {', '.join(map(str, value))}"[:60]
    if isinstance(value, Tensor) and value.ndim:
        return f"a tensor of shape {tuple(value.shape)}"
    if hasattr(value, "__array__") and np.ndim(value):
        return f"an array of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        inside = ", ".join(brief(v) for v in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    number = single(value)
    if isinstance(number, float):
        return f"{number:.4g}" if not number.is_integer() else repr(number)
    try:
        text = repr(value if number is None else number)
    except Exception:  # a class of the reader's own may have a broken one
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
