"""Files written whole or not at all, JSON that any reader understands, and files of packages.

The bytes go to a temporary file beside the target, reach the disk, and only then take the target's
name. Whatever fails on the way, the old file is whole.
"""

import contextlib
import errno
import json
import math
import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = [
    "CheckpointError",
    "cannot_write",
    "check_writable",
    "package_file",
    "parse_json",
    "remove_parts",
    "strict_json",
    "write_atomic",
]


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read or written; the message says which file, why, and what to do."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` in full or not at all.

    Arguments:
        path: of the file; its folder is made if it is not there.
        data: all that the file is to hold.

    Raises:
        CheckpointError: disk full, no permission, a folder in the way. What was at `path` is
            untouched.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        raise cannot_write(path, error, size=len(data)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def cannot_write(path: Path, error: Exception, *, size: int | None = None) -> CheckpointError:
    """Return the error that says in one line what could not be written and why.

    Arguments:
        path: of the file or folder; the message says if an earlier file is left there.
        error: what the system said.
        size: bytes that were to be written, for the message.
    """
    why = getattr(error, "strerror", None) or str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        why = "the disk is full"
    amount = "" if size is None else f" ({size:,} bytes)"
    kept = ""
    with contextlib.suppress(OSError):  # a name that is too long can be no file either
        kept = "; the earlier file is whole" if path.is_file() else ""
    return CheckpointError(f"cannot write {path}{amount}: {why}{kept}")


def check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing can be written: known before the work rather than after it.

    Arguments:
        folder: is made if it is not there.

    Raises:
        CheckpointError: disk full, no permission, a file in the way.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error


def remove_parts(folder: Path, stem: str) -> None:
    """Delete what writers that were killed left in `folder` of files whose names begin with `stem`.

    Call it while the folder is held: a writer that still lives needs its part.

    Arguments:
        folder: need not exist.
        stem: with which the names of the files begin.
    """
    for part in Path(folder).glob(f".{stem}.*.part"):
        with contextlib.suppress(OSError):
            part.unlink()


def strict_json(
    value: Any, *, what: str, indent: int | None = None, sort_keys: bool = False
) -> str:
    """Return `value` as JSON of the standard, which has no NaN and no infinity.

    Arguments:
        value: nested dicts, lists and tuples of strings, numbers, truth values and None.
        what: what `value` is, for the message.
        indent: spaces a level; None for one line.
        sort_keys: whether fields come in alphabetical order.

    Raises:
        ValueError: a number is not finite, and where it stands; or the value is nested too deeply.

    Example:
        >>> strict_json({"score": [1.0, float("nan")]}, what="the card")
        Traceback (most recent call last):
        ValueError: score.1 of the card is nan: not a number that JSON can hold
    """
    try:
        for place, number in _numbers(value, ()):
            if not math.isfinite(number):
                where = ".".join(map(str, place))
                raise ValueError(f"{where} of {what} is {number}: not a number that JSON can hold")
        return json.dumps(value, indent=indent, sort_keys=sort_keys, allow_nan=False)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None


def _numbers(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Yield every floating number inside dicts, lists and tuples, with the keys that lead to it."""
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, (*place, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _numbers(inner, (*place, index))


def parse_json(text: str) -> Any:
    """Read what `strict_json` wrote.

    Arguments:
        text: one JSON value.

    Raises:
        ValueError: whatever is wrong with the text, NaN, infinity and deep nesting included.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def package_file(package: str, *parts: str) -> Path:
    """Return a data file of an installed package without importing the package.

    Arguments:
        package: its name.
        parts: folders and file below it.

    Raises:
        ImportError: the package is not installed, or holds no such file; says how to install it.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the package {package} is needed: pip install {package}")
    path = Path(next(iter(spec.submodule_search_locations)), *parts)
    if not path.exists():
        name = "/".join(parts)
        raise ImportError(f"the package {package} holds no {name}: pip install {package}")
    return path
