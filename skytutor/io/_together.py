"""Maps of several files beside each other: what they must have in common, and their titles."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["check_alike", "check_stokes", "title"]

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
    name = path.name if namesakes == 1 else str(path)
    if len(files) > 1:
        return f"{name}, {field}" if fields > 1 else name
    return field if fields > 1 else name
