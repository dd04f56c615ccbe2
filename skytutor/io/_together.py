"""Maps of files made ready to be shown together: coarse enough, alike, masked, with titles."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from skytutor.healpix import degrade, is_unseen
from skytutor.io.maps import SkyMap, read_map

__all__ = ["averaged", "check_alike", "check_stokes", "printable", "read_mask", "title"]

# The Stokes parameter that the name of a column begins with, if it is one: "unknown1" is none.
_STOKES = re.compile("T(?=EMPERATURE)|I(?=NTENSITY)|[TIQU](?![A-Z])")


def check_alike(name: str, found: Iterable[object]) -> None:
    """Refuse maps of which two say different things.

    Arguments:
        name: of what they say, such as "unit".
        found: what each of them says, "" for nothing.

    Raises:
        ValueError: they differ.
    """
    said = sorted({str(one) or "none" for one in found})
    if len(said) > 1:
        raise ValueError(f"maps must have one {name}, got {' and '.join(said)}")


def check_stokes(fields: Sequence[str]) -> None:
    """Refuse three fields that are not T, Q and U in this order, as far as their names say.

    Arguments:
        fields: their names in the file.

    Raises:
        ValueError: one of them twice, or another order.
    """
    found = [_STOKES.match(field.strip().upper()) for field in fields]
    letters = [one[0] if one else "" for one in found]
    right = letters[0] in ("T", "I") and letters[1:] == ["Q", "U"]
    if len(set(fields)) < 3 or (all(letters) and not right):
        raise ValueError(f"--field must be T, Q and U in this order, got {', '.join(fields)}")


def title(path: Path, field: str, *, files: Sequence[Path], fields: int) -> str:
    """Return a title that tells a map from those beside it.

    Arguments:
        path: of the map's file, one of `files`.
        field: its name in the file.
        files: all that are shown.
        fields: how many of each are shown.

    Example:
        >>> files = [Path("a/sky.fits"), Path("b/sky.fits")]
        >>> title(files[0], "T", files=files, fields=1)
        'a/sky.fits'
    """
    namesakes = sum(other.name == path.name for other in files)
    # Files of several folders often have the same name.
    name = printable(path.name if namesakes == 1 else path)
    if len(files) > 1:
        return f"{name}, {field}" if fields > 1 else name
    return field if fields > 1 else name


def printable(path: object) -> str:
    r"""Return the name of a file as text that every terminal, page and table can hold.

    Arguments:
        path: its name, of which bytes that are no UTF-8 are written as numbers.

    Example:
        >>> print(printable("caf\udce9.fits"))
        caf\udce9.fits
    """
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def averaged(sky: SkyMap, *, nside: int) -> tuple[Tensor, int]:
    """Return maps of at most that nside, NaN where nothing is seen, and their nside.

    A larger pixel is the mean of those of its children that are seen.

    Arguments:
        sky: maps ``(F, P)``, NESTED.
        nside: the largest wanted.
    """
    if sky.nside <= nside:
        return torch.where(sky.mask, sky.values, torch.nan), sky.nside
    coarse = degrade(sky.values.double(), nside, nside=sky.nside, order="nested")
    return torch.where(is_unseen(coarse), torch.nan, coarse), nside


def read_mask(path: Path, *, nside: int, coordinates: str) -> Tensor:
    """Return a mask of 0..1 in NESTED order, averaged over larger pixels where it is finer.

    Arguments:
        path: of a file, whose first field is taken.
        nside: of the maps that are masked.
        coordinates: of these maps, "" if they do not say.

    Raises:
        ValueError: a mask that is coarser, in other coordinates, outside 0..1, or 0 everywhere.
    """
    sky = read_map(path, field=[0], order="nested")
    if coordinates and sky.coordinates not in ("", coordinates):
        raise ValueError(
            f"--mask must be in the map's coordinates, {coordinates}, got {sky.coordinates} "
            f"in {path}"
        )
    values, found = averaged(sky, nside=nside)
    if found != nside:
        raise ValueError(f"--mask must have nside {nside} or more, as the map, got {found}")
    mask = values[0].nan_to_num(nan=0.0)
    if float(mask.min()) < 0 or float(mask.max()) > 1:
        raise ValueError(
            f"--mask must lie in 0..1, got {float(mask.min()):g}..{float(mask.max()):g} in {path}"
        )
    if not bool(mask.any()):
        raise ValueError(f"--mask hides every pixel, got {path}")
    return mask
