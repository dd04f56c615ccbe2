"""FITS files opened with what came in their place named: a page of HTML, half a file, nothing."""

import bz2
import gzip
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["MissingPackage", "check_path", "fault_of", "import_fits", "opened"]

_BLOCK = 2880  # bytes: a FITS file is a whole number of blocks
# What unpacks a file, by its first bytes.
_PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
_PIECE = 2**20  # bytes that are unpacked at a time


class MissingPackage(ImportError):
    """A package that an extra of this one brings is not installed; the message says which extra."""


def import_fits() -> ModuleType:
    """Return ``astropy.io.fits``, which takes a second to import.

    Raises:
        MissingPackage: astropy is not installed.
    """
    try:
        from astropy.io import fits
    except ImportError as error:
        raise MissingPackage(
            "FITS files need astropy, which is not installed: pip install "
            '"skytutor[maps] @ git+https://github.com/skytutor/skytutor"'
        ) from error
    return fits


def check_path(path: Any) -> Path:
    """Return the path of a file.

    Arguments:
        path: text or a path.

    Raises:
        TypeError: anything else.
        ValueError: an empty name.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be the name of a file, got {path!r} ({type(path).__name__})")
    if not str(path).strip():
        raise ValueError(f"path must be the name of a file, got {path!r}")
    return Path(path)


def fault_of(start: bytes) -> str | None:
    """Say what is wrong with a file that begins with these bytes; None if it may be FITS.

    Arguments:
        start: its first bytes, a hundred or more.
    """
    if start.startswith((b"SIMPLE  =", *_PACKED)):
        return None
    if not start:
        return "is empty"
    text = start.lstrip()[:100].lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "is a page of HTML and no FITS file: the service answered with a message"
    return "is no FITS file: it does not begin with SIMPLE"


@contextmanager
def opened(path: str | Path, *, memmap: bool = False) -> Iterator[Any]:
    """Open a FITS file whose parts are all there.

    Arguments:
        path: of the file.
        memmap: whether data stay in the file until they are asked for.

    Raises:
        MissingPackage: astropy is not installed.
        OSError: no such file, no FITS file, or one that is cut short; the message says which.
    """
    fits = import_fits()
    with open(path, "rb") as stream:
        start = stream.read(_BLOCK)
    fault = fault_of(start)
    if fault:
        raise OSError(f"{path} {fault}")
    # Astropy reads of a packed file what it can, and ends there without a word.
    size = _unpacked_size(path, start)
    with warnings.catch_warnings():
        # astropy warns of a file that is cut short, and of keywords that were written otherwise.
        warnings.simplefilter("ignore")
        try:
            file = fits.open(path, memmap=memmap)
        except (OSError, ValueError, TypeError) as error:
            raise OSError(f"{path} cannot be read as FITS: {error}") from error
        with file:
            _check_length(path, file, found=size)
            yield file


def _unpacked_size(path: str | Path, start: bytes) -> int:
    """Return how many bytes a file has when it is unpacked, if that can be done to its end."""
    unpack = next((one for mark, one in _PACKED.items() if start.startswith(mark)), None)
    if unpack is None:
        return os.path.getsize(path)
    size = 0
    try:
        with unpack(path, "rb") as stream:
            while piece := stream.read(_PIECE):
                size += len(piece)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise OSError(f"{path} is cut short or damaged: {error}") from error
    return size


def _check_length(path: str | Path, file: Any, *, found: int) -> None:
    """Refuse a file that ends before its last part does, as after an interrupted download."""
    try:
        last = file[-1]  # reads all headers
        wanted = last.fileinfo()["datLoc"] + last.size
    except (OSError, ValueError, TypeError, IndexError, KeyError) as error:
        raise OSError(f"{path} is cut short or damaged: {error}") from error
    if found < wanted:
        raise OSError(f"{path} is cut short: {found} of {wanted} bytes")
