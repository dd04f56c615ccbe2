"""HEALPix maps read from FITS files: full and partial skies, in any order, unit and type [1]_.

What a file leaves out, marks as bad or has as NaN is UNSEEN in the values and False in the mask.
Shapes: P = 12 nside**2 pixels, F fields.

.. [1] "HEALPix FITS conventions", https://healpix.sourceforge.io/data/examples/healpix_fits_specs.pdf.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skytutor.healpix import check_order, reorder
from skytutor.io._fits import check_path, opened
from skytutor.io._layout import SEVERAL, Layout
from skytutor.validate import as_integer

__all__ = ["SkyMap", "read_map"]

_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class SkyMap:
    """Fields of one HEALPix file.

    Arguments:
        values: ``(P,)``, or ``(F, P)`` for several fields, float32 or float64; UNSEEN where `mask`
            is False.
        mask: bool, in the shape of `values`, True where the file has a value.
        nside: of the maps.
        order: of the pixels, "ring" or "nested".
        fields: names of the fields in the file, one for each map.
        units: of the values, one for each map; "" where the file says none, or "unknown".
        coordinates: "galactic", "ecliptic", "celestial", the word of the file if it is another, or
            "" if it says none, or "unknown".
    """

    values: Tensor
    mask: Tensor
    nside: int
    order: str
    fields: tuple[str, ...]
    units: tuple[str, ...]
    coordinates: str = ""

    @property
    def unit(self) -> str:
        """Return the unit of all fields.

        Raises:
            ValueError: they have different units.
        """
        if len(set(self.units)) > 1:
            said = ", ".join(
                f"{field} in {unit or 'no unit'}"
                for field, unit in zip(self.fields, self.units, strict=True)
            )
            raise ValueError(f"the fields have different units, {said}; use units")
        return self.units[0]


def read_map(
    path: str | os.PathLike,
    *,
    field: int | str | Sequence[int | str] | None = 0,
    unit: str | None = None,
    order: str | None = None,
    hdu: int | str = 1,
    dtype: torch.dtype | None = None,
) -> SkyMap:
    """Read maps from a HEALPix file.

    As ``healpy.read_map``, but that the order of the file is kept unless another is asked for, and
    that U of a file in the IAU convention (POLCCONV) changes its sign, so that all maps are in
    HEALPix' own convention, COSMO.

    Arguments:
        path: of the file; it may be packed by gzip.
        field: number of a field, from 0, or its name; several of them; or None for all. The column
            of pixel numbers of a partial sky does not count.
        unit: convert temperatures to "K", "mK" or "muK"; None keeps the unit of the file.
        order: "ring" or "nested"; None keeps the order of the file.
        hdu: number or name of the part of the file that holds the table.
        dtype: float32 or float64; None for float32 where the file has that, and else float64.

    Returns:
        The maps, with ``values`` of shape ``(P,)`` for one field and ``(F, P)`` for a sequence or
        None.

    Raises:
        ImportError: astropy is not installed.
        TypeError, ValueError: bad arguments, named; no such field or part; no HEALPix map; pixel
            numbers that lie outside the map or come twice; sizes that disagree with NSIDE.
        OSError: no such file, no FITS file, or one that is cut short.
        MemoryError: a partial sky of more pixels than memory holds: the maps are whole.

    Example:
        >>> import tempfile, torch
        >>> from skytutor.io import write_map
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_map(folder + "/a.fits", torch.ones(12), nside=1, order="ring", unit="K")
        ...     sky = read_map(folder + "/a.fits", unit="muK")
        >>> sky.nside, sky.order, sky.unit, sky.values[0].item()
        (1, 'ring', 'muK', 1000000.0)
    """
    path = check_path(path)
    if order is not None:
        check_order(order, allowed=("ring", "nested"))
    if dtype is not None and dtype not in _DTYPES:
        raise ValueError(f"dtype must be None, torch.float32 or torch.float64, got {dtype!r}")
    with opened(path, memmap=True) as file:
        table = _table(file, hdu, path)
        layout = Layout(table, path)
        indices = layout.indices(field)
        maps = [layout.read(index, unit=unit, dtype=dtype) for index in indices]
    values, mask = _as_tensors([one[:2] for one in maps], source=layout.order, target=order)
    alone = field is not None and not isinstance(field, SEVERAL)
    return SkyMap(
        values=values[0] if alone else values,
        mask=mask[0] if alone else mask,
        nside=layout.nside,
        order=order or layout.order,
        fields=tuple(str(table.columns.names[index]) for index in indices),
        units=tuple(one[2] for one in maps),
        coordinates=layout.coordinates,
    )


def _as_tensors(
    maps: list[tuple[NDArray[Any], NDArray[np.bool_]]], *, source: str, target: str | None
) -> tuple[Tensor, Tensor]:
    """Return values and masks as ``(F, P)`` in the order that is asked for."""
    values = torch.stack([torch.from_numpy(one) for one, _ in maps])  # float64 wins
    mask = torch.stack([torch.from_numpy(seen) for _, seen in maps])
    if target is None or target == source:
        return values, mask
    return (
        reorder(values, source=source, target=target),
        reorder(mask, source=source, target=target),
    )


def _table(file: Any, hdu: int | str, path: Any) -> Any:
    """Return the binary table in that part of a file."""
    if isinstance(hdu, str):
        found = [part for part in file if part.name.upper() == hdu.strip().upper()]
    else:
        number = as_integer("hdu", hdu, wanted="the number or the name of a part of the file")
        found = [file[number]] if 0 <= number < len(file) else []
    # A part that holds a picture has no columns.
    if not any(hasattr(part, "columns") for part in file):
        raise ValueError(f"{path} holds no table, and so no HEALPix map")
    if not found:
        parts = ", ".join(f"{k} {part.name}".rstrip() for k, part in enumerate(file))
        raise ValueError(f"hdu must be one of {parts} in {path}, got {hdu!r}")
    if not hasattr(found[0], "columns"):
        raise ValueError(f"hdu {hdu!r} of {path} holds no table, and so no HEALPix map")
    return found[0]
