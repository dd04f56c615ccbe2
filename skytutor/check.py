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
    out = float(value.detach() if isinstance(value, torch.Tensor) else value)
    if not math.isfinite(out):
        raise AssertionError(f"{label}: {out} is not a finite number")
    return out


def _judge(ok: bool, label: str, value: float, wanted: str) -> None:
    line = f"{label}: {value:.6g} ({wanted})"
    if not ok:
        raise AssertionError(f"does not hold: {line}")
    print(f"ok: {line}")


def close(label: str, value: Any, expected: float, *, tolerance: float) -> None:
    """Check ``|value - expected| <= tolerance``.

    Example:
        >>> close("pi", 3.1416, 3.14159, tolerance=1e-4)
        ok: pi: 3.1416 (3.14159 within 0.0001)
    """
    number = _number(label, value)
    _judge(abs(number - expected) <= tolerance, label, number, f"{expected:g} within {tolerance:g}")


def between(label: str, value: Any, low: float, high: float) -> None:
    """Check ``low <= value <= high``."""
    number = _number(label, value)
    _judge(low <= number <= high, label, number, f"between {low:g} and {high:g}")


def at_least(label: str, value: Any, bound: float) -> None:
    """Check ``value >= bound``."""
    number = _number(label, value)
    _judge(number >= bound, label, number, f"at least {bound:g}")


def at_most(label: str, value: Any, bound: float) -> None:
    """Check ``value <= bound``."""
    number = _number(label, value)
    _judge(number <= bound, label, number, f"at most {bound:g}")


def equal(label: str, value: Any, expected: Any) -> None:
    """Check that two values, or two tensors element by element, are the same.

    Example:
        >>> equal("pixels", torch.arange(3), torch.tensor([0, 1, 2]))
        ok: pixels: equal
    """
    if any(isinstance(v, torch.Tensor) or hasattr(v, "__array__") for v in (value, expected)):
        same = torch.equal(torch.as_tensor(value), torch.as_tensor(expected))
    else:
        same = bool(value == expected)
    if not same:
        raise AssertionError(f"does not hold: {label}: got {value!r}, wanted {expected!r}")
    print(f"ok: {label}: equal")


def answer(
    label: str, attempt: Callable[..., Any], reference: Callable[..., Any], *cases: tuple
) -> bool:
    """Compare a reader's function with a reference on every case; say which case differs, raise nothing, give nothing away.

    Arguments:
        cases: tuples of arguments; both functions are called with each.

    Returns:
        True if all agree (tensors: to 1e-5).

    Example:
        >>> answer("double", lambda x: x + x, lambda x: 2 * x, (1,), (5,))
        right: double, 2 cases
        True
    """
    for case in cases:
        want = reference(*case)
        try:
            got = attempt(*case)
            right = _same(got, want)
        except Exception as error:  # whatever the reader's code does, the notebook goes on
            print(f"not yet: {label}: {type(error).__name__} in the case {_brief(case)}: {error}")
            return False
        if not right:
            print(
                f"not yet: {label}: in the case {_brief(case)} it gives {_brief(got)}{_shape_hint(got, want)}"
            )
            return False
    print(f"right: {label}, {len(cases)} cases")
    return True


def _brief(value: Any) -> str:
    """A value in a few characters: tensors by their shape."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_brief(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _shape_hint(got: Any, want: Any) -> str:
    """Say which shape is wanted if that is what differs; the numbers are the reader's to find."""
    if isinstance(want, torch.Tensor) and getattr(got, "shape", None) != want.shape:
        return f"; the shape should be {tuple(want.shape)}"
    return ", which is not right"


def _same(got: Any, want: Any) -> bool:
    if isinstance(want, tuple | list):
        return (
            isinstance(got, tuple | list) and len(got) == len(want) and all(map(_same, got, want))
        )
    if hasattr(want, "__array__") and not isinstance(want, torch.Tensor):
        want = torch.as_tensor(want)
        got = torch.as_tensor(got)
    if got is None or isinstance(got, str) != isinstance(want, str):
        return got is want
    if isinstance(want, torch.Tensor):
        fits = isinstance(got, torch.Tensor) and got.shape == want.shape
        return fits and torch.allclose(got.double(), want.double(), atol=1e-5)
    return bool(got == want) or (
        isinstance(want, float) and math.isclose(float(got), want, rel_tol=1e-5, abs_tol=1e-9)
    )
