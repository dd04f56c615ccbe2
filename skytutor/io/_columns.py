"""Columns of a FITS table as arrays of NumPy: unscaled as they lie, then scaled, holes apart."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skytutor.healpix import UNSEEN
from skytutor.validate import as_integer

__all__ = ["column_index", "integers", "is_unseen", "value_count", "values"]

# Files carry UNSEEN rounded to float32 or to a few decimals.
_TOLERANCE = 1e-5


def is_unseen(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell where an array holds UNSEEN, as it is or rounded."""
    low = (1 + _TOLERANCE) * UNSEEN
    high = (1 - _TOLERANCE) * UNSEEN
    return (array >= low) & (array <= high)


def column_index(table: Any, field: Any, *, first: int, path: Any) -> int:
    """Return the place of a field among the columns of a table.

    Arguments:
        table: a binary table of astropy.
        field: number of the field, from 0, or its name; capitals do not count.
        first: place of field 0: behind the column of pixel numbers.
        path: of the file, for the message.

    Raises:
        TypeError: neither a number nor a name.
        ValueError: no such field.
    """
    names = list(table.columns.names)
    if isinstance(field, str):
        upper = [name.upper() for name in names[first:]]
        if field.strip().upper() in upper:
            return first + upper.index(field.strip().upper())
    else:
        number = as_integer("field", field, wanted="a number, a name, a list of them or None")
        if 0 <= number < len(names) - first:
            return first + number
    fields = ", ".join(names[first:])
    last = len(names) - first - 1
    raise ValueError(f"field must be one of 0..{last} or {fields} in {path}, got {field!r}")


def _stored(table: Any, index: int) -> NDArray[Any]:
    """Return a column as it lies in the file, big-endian and unscaled, ``(rows, ...)``."""
    # astropy's own columns are scaled whole, and hide what TNULL says.
    rows: Any = np.asarray(table.data).view(np.ndarray)
    return rows[rows.dtype.names[index]]


def _raw(table: Any, index: int, path: Any) -> NDArray[Any]:
    """Return the values of a column as they are stored, ``(N,)``, if they are real numbers."""
    raw = _stored(table, index)
    column = table.columns[index]
    # Bits, and rows whose length varies, are stored as integers too.
    if raw.dtype.kind not in "iuf" or _letter(column) in ("X", "P", "Q"):
        raise ValueError(
            f"{path}: {column.name} must hold one real number a pixel, got format {column.format}"
        )
    return raw.reshape(-1)


def _letter(column: Any) -> str:
    """Return the letter of a column's type, such as "E" of "1024E"."""
    return str(column.format).strip("0123456789 ")[:1]


def value_count(table: Any, index: int) -> int:
    """Return how many values a column has in all its rows."""
    return int(_stored(table, index).size)


def values(table: Any, index: int, *, path: Any, bad: float | None) -> tuple[Any, Any]:
    """Return the values of a column and where it has one.

    Arguments:
        table: a binary table of astropy.
        index: place of the column.
        path: of the file, for messages.
        bad: value of the header's BAD_DATA, in the column's own unit; None without it.

    Returns:
        The values, scaled by TSCAL and TZERO, ``(N,)``: float32 as float32, all else float64; and
        bool ``(N,)``, False where the file has TNULL, NaN, an infinity, UNSEEN or `bad`.
    """
    raw = _raw(table, index, path)
    column = table.columns[index]
    seen = np.ones(raw.shape, dtype=bool)
    if _letter(column) == "L":  # truth values are letters; any other byte says nothing
        true = raw == ord("T")
        return true.astype(np.float64), true | (raw == ord("F"))
    if raw.dtype.kind in "iu" and column.null not in (None, ""):
        seen &= raw != int(column.null)  # TNULL counts before the scaling
    scale, zero = _scaling(column)
    plain = scale == 1 and zero == 0
    single = plain and raw.dtype.kind == "f" and raw.dtype.itemsize == 4
    # What the file has as integers is scaled in float64, as astropy does it.
    found: NDArray[Any] = raw.astype(np.float32 if single else np.float64)
    if not plain:
        # A value that is missing is so before the scaling (TNULL of a float is UNSEEN itself).
        seen &= ~is_unseen(found)
        found = np.multiply(found, float(scale)) + float(zero)
    seen &= np.isfinite(found) & ~is_unseen(found)
    if bad is not None:
        # It may have been rounded to the precision of the column.
        seen &= ~np.isclose(found, bad, rtol=1e-6, atol=0)
    return found, seen


def _scaling(column: Any) -> tuple[Any, Any]:
    """Return TSCAL and TZERO of a column, as the integers or floats that the header has."""
    scale = 1 if column.bscale in (None, "") else column.bscale
    zero = 0 if column.bzero in (None, "") else column.bzero
    return scale, zero


def integers(table: Any, index: int, *, path: Any) -> NDArray[np.int64]:
    """Return a column of pixel numbers; a number above 2**63 becomes negative.

    Arguments:
        table: a binary table of astropy.
        index: place of the column.
        path: of the file, for messages.

    Raises:
        ValueError: a column that holds no integers.
    """
    raw = _raw(table, index, path)
    column = table.columns[index]
    scale, zero = _scaling(column)
    whole = raw.dtype.kind in "iu" and scale == 1 and zero == int(zero)
    if not whole:
        raise ValueError(
            f"{path}: {column.name} must hold integers, the pixel numbers, got format "
            f"{column.format}"
        )
    # FITS writes unsigned integers as signed ones and a TZERO, 2**63 at most: added modulo 2**64.
    bits = raw.astype(np.int64).view(np.uint64) + np.uint64(int(zero) % 2**64)
    return bits.view(np.int64)
