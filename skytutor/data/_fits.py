"""FITS files opened with what came in their place named: a page of HTML, half a file, nothing."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["fault_of", "opened"]

_BLOCK = 2880  # bytes: a FITS file is a whole number of blocks
_PACKED = (b"\x1f\x8b", b"BZh")  # first bytes of what gzip and bzip2 made


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
def opened(path: str | Path) -> Iterator[Any]:
    """Open a FITS file whose parts are all there.

    Arguments:
        path: of the file.

    Raises:
        OSError: no such file, no FITS file, or one that is cut short; the message says which.
    """
    from astropy.io import fits  # takes a second to import

    with open(path, "rb") as stream:
        start = stream.read(_BLOCK)
    fault = fault_of(start)
    if fault:
        raise OSError(f"{path} {fault}")
    with warnings.catch_warnings():
        # astropy warns of a file that is cut short, and of keywords that were written otherwise.
        warnings.simplefilter("ignore")
        try:
            file = fits.open(path, memmap=False)
        except (OSError, ValueError, TypeError) as error:
            raise OSError(f"{path} cannot be read as FITS: {error}") from error
        with file:
            if not start.startswith(_PACKED):
                _check_length(path, file)
            yield file


def _check_length(path: str | Path, file: Any) -> None:
    """Refuse a file that ends before its last part does, as after an interrupted download."""
    found = os.path.getsize(path)
    try:
        last = file[-1]  # reads all headers
        wanted = last.fileinfo()["datLoc"] + last.size
    except (OSError, ValueError, TypeError, IndexError, KeyError) as error:
        raise OSError(f"{path} is cut short or damaged: {error}") from error
    if found < wanted:
        raise OSError(f"{path} is cut short: {found} of {wanted} bytes")
