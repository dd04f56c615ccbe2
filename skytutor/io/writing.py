"""HEALPix maps written into FITS files that other programs read."""

import gzip
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skytutor.arrays import split_masked
from skytutor.files import write_atomic
from skytutor.healpix import UNSEEN, check_maps, check_nside, check_order, nside_to_npix
from skytutor.io._columns import is_unseen
from skytutor.io._fits import check_path, import_fits
from skytutor.validate import hard_mask, one_of

__all__ = ["check_new", "write_map"]

_FORMATS = {torch.float32: "E", torch.float64: "D"}
_COORDINATES = {"": None, "galactic": "G", "ecliptic": "E", "celestial": "C"}
# Names that healpy gives one field and three.
_NAMES = {1: ("TEMPERATURE",), 3: ("TEMPERATURE", "Q_POLARISATION", "U_POLARISATION")}
_PER_ROW = 1024  # values in a row of a full sky, as healpy writes them


def check_new(path: Any, *, overwrite: bool) -> Path:
    """Return the path of a file that is to be written.

    Arguments:
        path: text or a path.
        overwrite: whether a file that is there may be replaced.

    Raises:
        TypeError, ValueError: no name of a file, or a folder.
        FileExistsError: a file is there and may not be replaced.
    """
    place = check_path(path)
    if place.is_dir():
        raise ValueError(f"path must be the name of a file, and {place} is a folder")
    if place.exists() and not overwrite:
        raise FileExistsError(
            f"{place} is there already: choose another name, or say that it may be replaced "
            "(overwrite)"
        )
    return place


def write_map(
    path: str | os.PathLike,
    maps: Tensor,
    *,
    nside: int,
    order: str,
    mask: Tensor | None = None,
    unit: str | Sequence[str] = "",
    fields: Sequence[str] | None = None,
    coordinates: str = "",
    partial: bool = False,
    overwrite: bool = False,
) -> None:
    """Write maps into a HEALPix file, whole or not at all.

    ``healpy.read_map`` reads them back equal, and so does `skytutor.io.read_map`. Q and U are
    taken to be in HEALPix' own convention, COSMO, and the file says so.

    Arguments:
        path: of the file; one that ends in ".gz" is packed by gzip.
        maps: ``(P,)``, or ``(F, P)`` for several fields, float32 or float64. NaN and UNSEEN are
            written as UNSEEN, as is what a masked array hides.
        nside: of the maps.
        order: of the pixels, "ring" or "nested".
        mask: bool ``(P,)`` or in the shape of `maps`, True where the sky is seen; the rest is
            written as UNSEEN.
        unit: of the values, such as "muK": one for all fields, or one for each.
        fields: a name for each map; None for those that healpy gives them.
        coordinates: "galactic", "ecliptic", "celestial", or "" to say none.
        partial: write only the pixels in which a map has a value, with their numbers.
        overwrite: replace a file that is there.

    Raises:
        ImportError: astropy is not installed.
        TypeError, ValueError: bad arguments, named; infinite values; a partial sky without a pixel.
        FileExistsError: the file is there, and `overwrite` is False.
        skytutor.files.CheckpointError: the file cannot be written; what was there is untouched.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from skytutor.io import read_map
        >>> maps = torch.arange(24.0).reshape(2, 12)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = folder + "/two.fits"
        ...     write_map(path, maps, nside=1, order="nested", fields=["A", "B"], unit="mK")
        ...     sky = read_map(path, field=None)
        >>> sky.fields, sky.unit, sky.order, torch.equal(sky.values, maps)
        (('A', 'B'), 'mK', 'nested', True)
    """
    place = check_new(path, overwrite=overwrite)
    nside = check_nside(nside)
    check_order(order, allowed=("ring", "nested"))
    one_of("coordinates", coordinates, allowed=_COORDINATES)
    values = _checked_maps(maps, nside=nside, order=order, mask=mask)
    units = _texts("unit", [unit] * len(values) if isinstance(unit, str) else unit, len(values))
    names = _field_names(fields, len(values))
    table = _table(values, names=names, units=units, partial=partial)
    header = table.header
    header["PIXTYPE"] = ("HEALPIX", "HEALPIX pixelisation")
    header["ORDERING"] = (order.upper(), "Pixel ordering scheme, either RING or NESTED")
    header["NSIDE"] = (nside, "Resolution parameter of HEALPIX")
    header["INDXSCHM"] = ("EXPLICIT" if partial else "IMPLICIT", "Are pixel numbers written")
    header["OBJECT"] = ("PARTIAL" if partial else "FULLSKY", "Sky coverage")
    header["BAD_DATA"] = (UNSEEN, "Value of missing pixels")
    header["POLCCONV"] = ("COSMO", "Coordinate convention of polarisation")
    if not partial:
        header["FIRSTPIX"] = (0, "First pixel number (0 based)")
        header["LASTPIX"] = (nside_to_npix(nside) - 1, "Last pixel number (0 based)")
    if coordinates:
        header["COORDSYS"] = (_COORDINATES[coordinates], "Galactic, Ecliptic or Celestial")
    _save(place, table)


def _checked_maps(maps: Tensor, *, nside: int, order: str, mask: Tensor | None) -> Tensor:
    """Return maps as ``(F, P)`` on the CPU, UNSEEN where they have no value."""
    maps, mask = split_masked("maps", maps, mask)
    maps = check_maps(maps, nside=nside, order=order, finite=False)
    if maps.dtype not in _FORMATS:
        raise TypeError(f"maps must be float32 or float64, got {maps.dtype}; convert with .float()")
    if maps.dim() > 2:
        raise ValueError(f"maps must be (P,) or (F, P), got shape {tuple(maps.shape)}")
    values = maps.detach().cpu().reshape(-1, maps.shape[-1]).clone()
    hidden = values.isnan()
    if mask is not None:
        mask = hard_mask(mask)
        if mask.shape not in (maps.shape, maps.shape[-1:]):
            raise ValueError(
                f"mask must be {tuple(maps.shape[-1:])} or {tuple(maps.shape)}, as the maps, "
                f"got shape {tuple(mask.shape)}"
            )
        hidden = hidden | ~mask.detach().cpu()
    infinite = int((values.isinf() & ~hidden).sum())
    if infinite:
        raise ValueError(f"maps holds {infinite} infinite pixels; replace or mask them first")
    values[hidden] = UNSEEN
    return values


def _table(values: Tensor, *, names: Sequence[str], units: Sequence[str], partial: bool) -> Any:
    """Return the table of a file, its header without a word of HEALPix."""
    fits = import_fits()
    array = values.numpy()
    form = _FORMATS[values.dtype]
    npix = array.shape[-1]
    columns = []
    if partial:
        pixels = _seen_pixels(array)
        if not len(pixels):
            raise ValueError("maps must have a pixel with a value for partial, got none")
        array = array[:, pixels]
        wide = "J" if npix <= 2**31 else "K"
        columns.append(fits.Column(name="PIXEL", format=wide, array=pixels, unit=None))
    elif npix % _PER_ROW == 0:
        form = f"{_PER_ROW}{form}"
        array = array.reshape(len(array), -1, _PER_ROW)
    for one, name, unit in zip(array, names, units, strict=True):
        columns.append(fits.Column(name=name, format=form, array=one, unit=unit or None))
    return fits.BinTableHDU.from_columns(columns)


def _seen_pixels(array: NDArray[Any]) -> NDArray[np.int64]:
    """Return the numbers of the pixels in which a field has a value."""
    return np.flatnonzero(~is_unseen(array).all(0))


def _field_names(fields: Sequence[str] | None, count: int) -> list[str]:
    """Return a name for each column, which must differ."""
    if fields is None:
        return list(_NAMES.get(count) or (f"FIELD_{k}" for k in range(count)))
    names = _texts("fields", fields, count)
    upper = [name.upper() for name in names]
    if len({*upper, "PIXEL"}) != count + 1 or not all(name.strip() for name in names):
        raise ValueError(f"fields must be names that differ, none of them PIXEL, got {fields!r}")
    return names


def _texts(name: str, texts: Any, count: int) -> list[str]:
    """Return as many texts as there are maps, which a FITS header can hold."""
    if isinstance(texts, str) or not isinstance(texts, Sequence) or len(texts) != count:
        raise ValueError(f"{name} must be {count}, one for each map, got {texts!r}")
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{name} must be text, got {text!r} ({type(text).__name__})")
        # A card has 80 letters of ASCII.
        if not re.fullmatch(r"[ -~]{0,60}", text):
            raise ValueError(
                f"{name} must be at most 60 letters of ASCII, as FITS asks (muK, not its Greek "
                f"letter), got {text!r}"
            )
    return list(texts)


def _save(place: Path, table: Any) -> None:
    """Write the file in one piece."""
    fits = import_fits()
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(stream)
    data = stream.getvalue()
    if place.suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # the same maps make the same bytes
    write_atomic(place, data)
