"""Checks for the numbers claimed in the book and for the reader's own answers.

Each prints one line when the claim holds and raises ``AssertionError`` with what came and what was
wanted when it does not. `answer` is for exercises: it says what to look at again instead of
raising.
"""

import math
from collections.abc import Callable
from typing import Any

import torch


def _number(label: str, value: Any) -> float:
    """Return the value as a float; ``AssertionError`` for NaN and infinities."""
    number = float(value.detach() if isinstance(value, torch.Tensor) else value)
    if not math.isfinite(number):
        raise AssertionError(f"{label}: {number} is not a finite number")
    return number


def _report(label: str, value: float, *, holds: bool, wanted: str) -> None:
    """Print the line of a check that holds; ``AssertionError`` with it for one that does not."""
    line = f"{label}: {value:.6g} ({wanted})"
    if not holds:
        raise AssertionError(f"does not hold: {line}")
    print(f"ok: {line}")


def close(label: str, value: Any, expected: float, *, tolerance: float) -> None:
    """Check ``|value - expected| <= tolerance``.

    Arguments:
        label: says what the value is.
        value: a number or a tensor with one element.
        expected: what it should be.
        tolerance: largest absolute difference that passes.

    Raises:
        AssertionError: the check does not hold, or the value is not finite.

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
    """
    number = _number(label, value)
    _report(label, number, holds=number <= bound, wanted=f"at most {bound:g}")


def equal(label: str, value: Any, expected: Any) -> None:
    """Check that two values, or two tensors element by element, are the same.

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
    both = (value, expected)
    if any(isinstance(v, torch.Tensor) or hasattr(v, "__array__") for v in both):
        same = torch.equal(torch.as_tensor(value), torch.as_tensor(expected))
    else:
        same = bool(value == expected)
    if not same:
        raise AssertionError(f"does not hold: {label}: got {value!r}, wanted {expected!r}")
    print(f"ok: {label}: equal")


def answer(
    label: str,
    attempt: Callable[..., Any],
    reference: Callable[..., Any],
    *cases: tuple[Any, ...],
) -> bool:
    """Compare a reader's function with a reference on every case, and print how it went.

    The line says which case differs, and gives no more away. Nothing is raised.

    Arguments:
        label: says what the function computes.
        attempt: the reader's function.
        reference: one that is right.
        *cases: tuples of arguments; both functions are called with each.

    Returns:
        True if all agree (tensors: to 1e-5).

    Example:
        >>> answer("double", lambda x: x + x, lambda x: 2 * x, (1,), (5,))
        right: double, 2 cases
        True
    """
    for case in cases:
        expected = reference(*case)
        try:
            got = attempt(*case)
            right = _same(got, expected)
        except Exception as error:  # whatever the reader's code does, the notebook goes on
            print(f"not yet: {label}: {type(error).__name__} in the case {_brief(case)}: {error}")
            return False
        if not right:
            hint = _shape_hint(got, expected)
            print(f"not yet: {label}: in the case {_brief(case)} it gives {_brief(got)}{hint}")
            return False
    print(f"right: {label}, {len(cases)} cases")
    return True


def _brief(value: Any) -> str:
    """Return a value in a few characters: tensors by their shape."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        inside = ", ".join(_brief(v) for v in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _shape_hint(got: Any, expected: Any) -> str:
    """Say which shape is wanted if that is what differs; the numbers are the reader's to find."""
    if isinstance(expected, torch.Tensor) and getattr(got, "shape", None) != expected.shape:
        return f"; the shape should be {tuple(expected.shape)}"
    return ", which is not right"


def _same(got: Any, expected: Any) -> bool:
    """Return whether two values agree, sequences item by item, numbers up to rounding errors."""
    if isinstance(expected, tuple | list):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            return False
        return all(map(_same, got, expected))
    if hasattr(expected, "__array__") and not isinstance(expected, torch.Tensor):
        expected = torch.as_tensor(expected)
        got = torch.as_tensor(got)
    # A text is no number, even if it reads like one.
    if got is None or isinstance(got, str) != isinstance(expected, str):
        return got is expected
    if isinstance(expected, torch.Tensor):
        if not isinstance(got, torch.Tensor) or got.shape != expected.shape:
            return False
        return torch.allclose(got.double(), expected.double(), atol=1e-5)
    if isinstance(expected, float) and not bool(got == expected):
        return math.isclose(float(got), expected, rel_tol=1e-5, abs_tol=1e-9)
    return bool(got == expected)
