"""Cells of tables: values checked and written with their errors."""

import math
from numbers import Integral
from typing import Any, NamedTuple

_MINUS = "\u2212"
_NOTHING = "\u2013"
RAISED = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


class Cell(NamedTuple):
    """One cell as it is shown.

    Attributes:
        text: the number or the words.
        error: the error as text, without its sign; "" for none.
        number: the value, None for words and for an empty cell.
    """

    text: str
    error: str = ""
    number: float | None = None


def _finite(where: str, value: Any) -> float:
    """Return a number or a tensor with one element as a float."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise TypeError(
            f"rows: {where} must be a number, a pair (number, error), a text or None, got {value!r}"
        )
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"rows: {where} must be finite, got {number}")
    return number


def _shown(number: float, digits: int) -> str:
    """Return a number with so many digits; what would read as zero keeps two digits that count."""
    text = f"{number:,.{digits}f}"
    if number and not float(text.replace(",", "")):
        significand, _, power = f"{number:.1e}".partition("e")
        text = f"{significand} \u00d7 10{str(int(power)).translate(RAISED)}"
    return text.replace("-", _MINUS)


def cell_of(where: str, value: Any, *, digits: int) -> Cell:
    """Return one cell as it is shown.

    Arguments:
        where: row and column, for an error message.
        value: what the caller gave.
        digits: after the decimal point.
    """
    if value is None:
        return Cell(_NOTHING)
    if isinstance(value, str):
        return Cell(value)
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ValueError(f"rows: {where}: a pair is (number, error), got {value!r}")
        number, error = (_finite(where, part) for part in value)
        if error < 0:
            raise ValueError(f"rows: {where}: an error is not negative, got {error}")
        return Cell(_shown(number, digits), _shown(error, digits), number)
    number = _finite(where, value)
    if isinstance(value, Integral):
        return Cell(_shown(number, 0), "", number)
    return Cell(_shown(number, digits), "", number)
