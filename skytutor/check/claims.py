"""Checks of numbers: each says that it holds, or raises what came and what was wanted."""

import math
from typing import Any

import torch

from skytutor.check.compare import brief, single
from skytutor.check.session import forget, passed

__all__ = ["at_least", "at_most", "between", "close", "equal"]


def _number(label: str, value: Any) -> int | float:
    """Return the value as a number of Python's own; ``AssertionError`` for NaN and infinities."""
    # Should this check fail, what an earlier one measured must not stand for it.
    forget(label)
    try:
        number = _plain(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{label}: value must be a number or a tensor with one element, got {brief(value)}"
        ) from None
    if not math.isfinite(number):
        raise AssertionError(f"{label}: {number} is not a finite number")
    return number


def _plain(value: Any) -> int | float:
    """Return an int or a float of a number, or of a tensor or an array with one element."""
    if isinstance(value, str | bytes):
        raise TypeError("a text is no number, even if it reads as one")
    number = value.item() if hasattr(value, "item") else value
    return number if isinstance(number, int) else float(number)


def _report(label: str, value: float, *, holds: bool, wanted: str) -> None:
    """Record a check that holds; ``AssertionError`` with its line for one that does not."""
    line = f"{label}: {value:.6g} ({wanted})"
    if not holds:
        raise AssertionError(f"does not hold: {line}")
    passed(label, line, value=value)


def close(label: str, value: Any, expected: float, *, tolerance: float) -> None:
    """Check ``|value - expected| <= tolerance``.

    Arguments:
        label: says what the value is.
        value: a number or a tensor with one element.
        expected: what it should be.
        tolerance: largest absolute difference that passes.

    Raises:
        AssertionError: the check does not hold, or the value is not finite.
        TypeError: the value is no number and holds none, or more than one.

    Example:
        >>> close("pi", 3.1416, 3.14159, tolerance=1e-4)
        ok: pi: 3.1416 (3.14159 within 0.0001)
    """
    number = _number(label, value)
    holds = abs(number - expected) <= tolerance
    _report(label, number, holds=holds, wanted=f"{expected:g} within {tolerance:g}")


def between(label: str, value: Any, low: float, high: float) -> None:
    """Check ``low <= value <= high``.

    Arguments:
        label: says what the value is.
        value: a number or a tensor with one element.
        low: smallest value that passes.
        high: largest value that passes.

    Raises:
        AssertionError: the check does not hold, or the value is not finite.
        TypeError: the value is no number and holds none, or more than one.
    """
    number = _number(label, value)
    holds = low <= number <= high
    _report(label, number, holds=holds, wanted=f"between {low:g} and {high:g}")


def at_least(label: str, value: Any, bound: float) -> None:
    """Check ``value >= bound``.

    Arguments:
        label: says what the value is.
        value: a number or a tensor with one element.
        bound: smallest value that passes.

    Raises:
        AssertionError: the check does not hold, or the value is not finite.
        TypeError: the value is no number and holds none, or more than one.
    """
    number = _number(label, value)
    _report(label, number, holds=number >= bound, wanted=f"at least {bound:g}")


def at_most(label: str, value: Any, bound: float) -> None:
    """Check ``value <= bound``.

    Arguments:
        label: says what the value is.
        value: a number or a tensor with one element.
        bound: largest value that passes.

    Raises:
        AssertionError: the check does not hold, or the value is not finite.
        TypeError: the value is no number and holds none, or more than one.
    """
    number = _number(label, value)
    _report(label, number, holds=number <= bound, wanted=f"at most {bound:g}")


def equal(label: str, value: Any, expected: Any) -> None:
    """Check that two values, or two tensors element by element, are the same.

    A value that is one number is kept for `so_far`.

    Arguments:
        label: says what the value is.
        value: a tensor, an array, or anything that compares.
        expected: what it should be.

    Raises:
        AssertionError: the check does not hold.

    Example:
        >>> equal("pixels", torch.arange(3), torch.tensor([0, 1, 2]))
        ok: pixels: equal
    """
    forget(label)
    both = (value, expected)
    if any(isinstance(v, torch.Tensor) or hasattr(v, "__array__") for v in both):
        same = torch.equal(torch.as_tensor(value), torch.as_tensor(expected))
    else:
        same = bool(value == expected)
    if not same:
        raise AssertionError(f"does not hold: {label}: got {value!r}, wanted {expected!r}")
    passed(label, f"{label}: equal", value=_count(value))


def _count(value: Any) -> int | float | None:
    """Return the value if it is one number, else None."""
    number = single(value)
    is_count = isinstance(number, int | float) and not isinstance(number, bool)
    return number if is_count else None
