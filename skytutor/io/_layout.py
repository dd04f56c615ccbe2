"""What the header of a HEALPix table says: nside, order, which pixels; and its maps, whole."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skytutor.healpix import UNSEEN, check_nside, npix_to_nside
from skytutor.io import _columns
from skytutor.io.units import convert

__all__ = ["SEVERAL", "Layout"]

SEVERAL = (list, tuple, range)  # kinds in which several fields come
_COORDINATES = {
    "G": "galactic",
    "GAL": "galactic",
    "GALACTIC": "galactic",
    "E": "ecliptic",
    "ECL": "ecliptic",
    "ECLIPTIC": "ecliptic",
    "C": "celestial",
    "Q": "celestial",
    "EQ": "celestial",
    "CELESTIAL": "celestial",
    "CELESTIAL2000": "celestial",
    "EQUATORIAL": "celestial",
    "ICRS": "celestial",
}


class Layout:
    """What the header of a table says of its maps: nside, order, which pixels."""

    def __init__(self, table: Any, path: Any):
        self.table = table
        self.path = path
        header = table.header
        self.order = _word(header, "ORDERING").lower()
        kind = _word(header, "PIXTYPE")
        if kind not in ("", "HEALPIX") or (not kind and not self.order):
            raise ValueError(
                f"{path} has no HEALPix header: PIXTYPE must be HEALPIX, and is {kind or 'missing'}"
            )
        # What healpy and others write for the same.
        self.order = "nested" if self.order == "nest" else self.order
        if self.order not in ("ring", "nested"):
            raise ValueError(f"{path}: ORDERING must be RING or NESTED, got {self.order.upper()!r}")
        if not table.columns.names:
            raise ValueError(f"{path}: the table has no columns, and so no map")
        self.partial = _is_partial(header, path)
        self.nside = self._find_nside()
        word = _said(_word(header, "COORDSYS"))
        self.coordinates = _COORDINATES.get(word, word.lower())
        self.convention = _word(header, "POLCCONV")
        if self.convention not in ("", "COSMO", "IAU"):
            raise ValueError(f"{path}: POLCCONV must be COSMO or IAU, got {self.convention!r}")
        self.bad = _number(header, "BAD_DATA", path)
        self.pixels = self._find_pixels() if self.partial else None

    def _find_nside(self) -> int:
        """Return the nside that the header says, or that of the number of pixels."""
        said = set(_integers(self.table.header, "NSIDE", self.path))
        if len(said) > 1:
            raise ValueError(f"{self.path} has two NSIDE, {' and '.join(map(str, sorted(said)))}")
        try:
            if said:
                return check_nside(said.pop())
            if not self.partial:
                return npix_to_nside(_columns.value_count(self.table, 0))
        except ValueError as error:
            raise ValueError(f"{self.path} is no HEALPix map: {error}") from error
        raise ValueError(f"{self.path} is a partial sky without NSIDE: its size cannot be found")

    def _find_pixels(self) -> NDArray[np.int64]:
        """Return the pixel numbers of a partial sky, each in the map and there once."""
        name = self.table.columns.names[0]
        if len(self.table.columns.names) < 2:
            raise ValueError(f"{self.path} is a partial sky, and has no column but {name}")
        pixels = _columns.integers(self.table, 0, path=self.path)
        last = 12 * self.nside**2 - 1
        outside = (pixels < 0) | (pixels > last)
        if outside.any():
            first = int(pixels[outside][0])
            raise ValueError(
                f"{self.path}: {name} must lie in 0..{last} for nside {self.nside}, "
                f"got {int(outside.sum())} outside, the first {first}"
            )
        ordered = np.sort(pixels)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            raise ValueError(f"{self.path}: {name} has pixel {twice[0]} more than once")
        return pixels

    def indices(self, field: Any) -> list[int]:
        """Return the columns of the fields that were asked for."""
        first = int(self.partial)
        if field is None:
            return list(range(first, len(self.table.columns.names)))
        several = list(field) if isinstance(field, SEVERAL) else [field]
        if not several:
            raise ValueError("field is empty: at least one is needed, or None for all")
        return [
            _columns.column_index(self.table, one, first=first, path=self.path) for one in several
        ]

    def read(
        self, index: int, *, unit: str | None, dtype: torch.dtype | None
    ) -> tuple[NDArray[Any], NDArray[np.bool_], str]:
        """Return a whole map, where it has values, and its unit."""
        name = str(self.table.columns[index].name)
        self._check_size(index)
        label = _said(str(self.table.columns[index].unit or "").strip())
        factor = 1.0
        if unit is not None:
            factor, label = convert(label, unit, name=name)
        found, seen = _columns.values(self.table, index, path=self.path, bad=self.bad)
        if dtype == torch.float64:
            found = found.astype(np.float64, copy=False)
        if self.convention == "IAU" and _is_u(name):
            found = -found
        if factor != 1.0:
            found = found * found.dtype.type(factor)
        if dtype == torch.float32:
            found = _single(found, seen, name=name)
        found[~seen] = UNSEEN  # after the factor: it has no unit
        if self.pixels is None:
            return found, seen, label
        return *self._whole(found, seen), label

    def _whole(self, found: NDArray[Any], seen: NDArray[np.bool_]) -> tuple[Any, Any]:
        """Return a map of all pixels from one of a partial sky."""
        npix = 12 * self.nside**2
        try:
            whole = np.full(npix, UNSEEN, dtype=found.dtype)
            there = np.zeros(npix, dtype=bool)
        except MemoryError:
            size = npix * (found.itemsize + 1) / 2**30
            raise MemoryError(
                f"{self.path} is of NSIDE {self.nside}: a whole map of it takes {size:.0f} GiB, "
                "more memory than there is"
            ) from None
        whole[self.pixels] = found
        there[self.pixels] = seen
        return whole, there

    def _check_size(self, index: int) -> None:
        """Refuse a column that has not one value for each pixel."""
        wanted = 12 * self.nside**2 if self.pixels is None else len(self.pixels)
        found = _columns.value_count(self.table, index)
        if found == wanted:
            return
        name = self.table.columns.names[index]
        if self.pixels is not None:
            raise ValueError(
                f"{self.path}: {name} must have {wanted} values, as many as there are pixel "
                f"numbers, got {found}"
            )
        other = np.sqrt(found / 12)
        what = f" (that is nside {other:g})" if found and other == int(other) else ""
        raise ValueError(
            f"{self.path}: {name} must have {wanted} pixels for NSIDE {self.nside}, "
            f"got {found}{what}"
        )


def _is_partial(header: Any, path: Any) -> bool:
    """Tell whether a header says that the pixels are numbered in a column of their own."""
    scheme = _word(header, "INDXSCHM")
    sky = _word(header, "OBJECT")
    if scheme not in ("", "IMPLICIT", "EXPLICIT"):
        raise ValueError(f"{path}: INDXSCHM must be IMPLICIT or EXPLICIT, got {scheme!r}")
    if (scheme, sky) in (("IMPLICIT", "PARTIAL"), ("EXPLICIT", "FULLSKY")):
        raise ValueError(f"{path}: OBJECT {sky} and INDXSCHM {scheme} contradict each other")
    return scheme == "EXPLICIT" or sky == "PARTIAL"


def _single(found: NDArray[Any], seen: NDArray[np.bool_], *, name: str) -> NDArray[np.float32]:
    """Return values as float32, or say that they are too large for it."""
    with np.errstate(over="ignore"):
        out = found.astype(np.float32)
    beyond = int((seen & ~np.isfinite(out)).sum())
    if beyond:
        raise ValueError(
            f"dtype must be float64 for {name}: {beyond} values are too large for float32"
        )
    return out


def _said(word: str) -> str:
    """Return what a word says: nothing if it is "unknown", as HEALPix' Fortran codes write it."""
    return "" if word.lower() == "unknown" else word


def _is_u(name: str) -> bool:
    """Tell whether a column holds Stokes' U."""
    return name.upper() == "U" or name.upper().startswith(("U_", "U-", "U "))


def _word(header: Any, key: str) -> str:
    """Return a word of a header in capitals, "" where it says none."""
    value = header.get(key, "")
    return value.strip().upper() if isinstance(value, str) else ""


def _integers(header: Any, key: str, path: Any) -> list[int]:
    """Return all values of a key, which a broken header may have more than once."""
    count = header.count(key) if key in header else 0
    return [_integer(header[key, k], key, path) for k in range(count)]


def _integer(value: Any, key: str, path: Any) -> int:
    """Return an integer of a header, which some programs write as 512.0 or as text."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        number = float("nan")
    if not number.is_integer():
        raise ValueError(f"{path}: {key} must be an integer, got {value!r}")
    return int(number)


def _number(header: Any, key: str, path: Any) -> float | None:
    """Return a number of a header; None where it says none."""
    value = header.get(key)
    # A card may stand there without a value, for which astropy has a class of its own.
    if value is None or type(value).__name__ == "Undefined":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: {key} must be a number, got {value!r}") from None
