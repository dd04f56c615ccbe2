"""What is said of maps in words: titles and units as they came, values with three digits.

`sentence` describes one map for readers who do not see it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skytutor.plot._cells import RAISED
from skytutor.widgets import codec

__all__ = ["number", "plain_text", "sentence"]

_TIMES = "\N{MULTIPLICATION SIGN}"


def plain_text(name: str, value: Any) -> str:
    """Return what a reader sees of a title, a unit or a label: its text, nothing for None.

    Raises:
        ValueError: half a surrogate pair, which neither a page nor a picture can hold.
    """
    text = "" if value is None else str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text that UTF-8 can write, got {text!r}") from None
    return text


def number(value: float, *, digits: int = 3) -> str:
    """Write a number for people: rounded, and with a power of ten where it is far from one.

    Arguments:
        value: a finite number.
        digits: how many significant digits are kept; naughts at the end are left out.

    Returns:
        The number as text. Below a ten-thousandth and from a million on it has a power of ten.

    Example:
        >>> number(1534.0), number(-0.2071), number(50.0), number(0.00466, digits=2)
        ('1,530', '-0.207', '50', '0.0047')
    """
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    exponent = int(power)
    # From a ten-thousandth to a million the places can be counted at a glance.
    if value == 0 or -5 < exponent < 6:
        decimals = max(digits - 1 - exponent, 0)
        text = f"{float(f'{mantissa}e{power}'):,.{decimals}f}"
        return text.rstrip("0").rstrip(".") if decimals else text
    short = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{short} {_TIMES} 10{str(exponent).translate(RAISED)}"


def sentence(title: str, faces: NDArray[np.float64], packed: codec.Packed) -> str:
    """Say of a map its range, its mean, its holes and how exactly it is shown.

    Arguments:
        title: of the map.
        faces: its values, of any shape, NaN where there is none.
        packed: the same map as the page gets it.

    Returns:
        The text. Where the unit is to stand, with a blank before it, it has ``{unit}``.
    """
    good = faces[np.isfinite(faces)]
    name = (title or "Map").replace("{", "{{").replace("}", "}}")  # for str.format
    # A mean below the rounding of values, half a step of their range, is written as zero: summed in
    # double precision, a map whose mean is zero has one of 1e-17.
    mean = float(good.mean())
    if abs(mean) <= (packed.high - packed.low) / (2 * codec.STEPS):
        mean = 0.0
    percent = 100 * (1 - good.size / faces.size)
    missing = f"; {number(percent)} % of the pixels have no value" if percent else ""
    return (
        f"{name}: from {number(packed.low)} to {number(packed.high)}{{unit}}, "
        f"mean {number(mean)}{{unit}}{missing}; "
        f"shown to within {number(packed.error, digits=2)}{{unit}}, "
        f"1/{2 * codec.STEPS:,} of the range."
    )
