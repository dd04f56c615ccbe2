"""Know every data file by its URL, size, SHA-256, licence and credit, and fetch it when asked.

The data folder is `SKYTUTOR_DATA` where that is set, else the user's cache folder. A file counts
only when its size and its hash are right. `have` and `path` never touch the network, `fetch` alone
downloads. A folder that may only be read will do when it holds the right files.

Of a few large files nobody here has held a copy, so their hash is not known. It is taken from the
first download, kept beside the file under a name that ends in ``.sha256``, and checked from then
on: that tells whether the file has changed since, not whether it was right at first. A file that
lies at no address can only be put into the folder by hand.
"""

import os
import stat
from functools import lru_cache
from pathlib import Path

from skytutor.data import download
from skytutor.data.entries import ENTRIES, Entry

RETRIES = 2  # further attempts after a broken connection or wrong bytes, 1 s and then 2 s later


class DataError(RuntimeError):
    """Say which data file is missing or wrong, why, and what to do about it."""


def groups() -> dict[str, list[Entry]]:
    """Return the entries of each group by its name, in the order of the registry.

    Example:
        >>> for name, entries in groups().items():
        ...     print(f"{name}: {sum(entry.size for entry in entries) / 1e6:.1f} MB")
        mnist: 11.6 MB
        planck-theory: 0.2 MB
        planck-measured: 0.2 MB
        planck-smica-2013: 15.7 MB
        ...
    """
    found: dict[str, list[Entry]] = {}
    for entry in ENTRIES.values():
        found.setdefault(entry.group, []).append(entry)
    return found


def folder() -> Path:
    """Return `SKYTUTOR_DATA` or the user's cache folder, as an absolute path; it need not exist.

    Example:
        >>> folder().is_absolute()
        True
    """
    import pooch  # brings requests along: who only imports this need not wait for it

    named = os.environ.get("SKYTUTOR_DATA")
    try:
        return Path(named or pooch.os_cache("skytutor")).expanduser().absolute()
    except RuntimeError as error:  # ~somebody, whom this machine does not know
        raise DataError(
            f"SKYTUTOR_DATA must be a folder, got {named!r}: no such user's home is known"
        ) from error


def have(name_or_group: str) -> bool:
    """Tell whether a file, or every file of a group, is in the data folder and whole.

    Size and hash must be right. Never touches the network. A file that does not change is hashed
    once in a process.

    Arguments:
        name_or_group: a name or a group of the registry, or "small" for all that `make data`
            fetches.

    Raises:
        DataError: the registry has no such name or group.

    Example:
        >>> have("mnist") == all(have(entry.name) for entry in groups()["mnist"])
        True
    """
    return all(_fault(entry) is None for entry in _select(name_or_group))


def state(name: str) -> str:
    """Say how a file stands in the data folder: here, not here, or damaged and how.

    Arguments:
        name: a name of the registry.

    Raises:
        DataError: the registry has no such name.
    """
    (entry,) = _select(name)
    fault = _fault(entry)
    if fault is None:
        return "here"
    return "not here" if fault == _MISSING else f"damaged ({fault})"


def path(name: str) -> Path:
    """Return the path of one checked file; never download.

    Arguments:
        name: a name of the registry, such as "mnist/t10k-labels-idx1-ubyte.gz".

    Raises:
        DataError: no such name, or the file is missing, cut short, altered, unreadable or no plain
            file.

    Example:
        >>> path("mnist/letters.gz")
        Traceback (most recent call last):
        skytutor.data.registry.DataError: no file named 'mnist/letters.gz' in the registry; allowed:
        mnist/train-...
    """
    if name not in ENTRIES:
        raise DataError(f"no file named {name!r} in the registry; allowed: {', '.join(ENTRIES)}")
    fault = _fault(ENTRIES[name])
    if fault is not None:
        raise _error(ENTRIES[name], fault)
    return folder() / name


def fetch(name_or_group: str, *, overwrite: bool = False, progress: bool = True) -> list[Path]:
    """Download what is missing and return the checked paths; write nothing where all is right.

    A download goes to a temporary file and takes its name only when its hash is right: a broken
    connection or a killed process leaves no half file under that name. A large file goes on where
    the last attempt stopped. A file of unknown hash that was put into the folder by hand is taken
    as it is, and its hash recorded.

    Arguments:
        name_or_group: a name or a group of the registry, or "small" for all that `make data`
            fetches.
        overwrite: replace a file that is there and is not the published one; without it, it is left
            alone.
        progress: draw a progress bar on standard error.

    Raises:
        DataError: no such name or group, another file in the place, no network, wrong bytes from
            the server, or the folder cannot be written.
            Files fetched before the failure stay.

    Example:
        >>> fetch("minst")
        Traceback (most recent call last):
        skytutor.data.registry.DataError: no file or group named 'minst' in the registry; allowed:
        small, mnist, ...
    """
    entries = _select(name_or_group)
    for entry in entries:
        fault = _fault(entry)
        if fault == _NO_RECORD and not overwrite:
            _adopt(entry)
            continue
        # What lies there may be a reader's own.
        if fault in _NOT_REPLACED or (fault not in (None, _MISSING) and not overwrite):
            raise _error(entry, fault)
        if fault is not None:
            _download(entry, progress=progress)
    return [path(entry.name) for entry in entries]


def _select(name_or_group: str) -> list[Entry]:
    """Return the entries of a name or a group."""
    choices = {
        "small": [entry for entry in ENTRIES.values() if entry.small],
        **groups(),
        **{entry.name: [entry] for entry in ENTRIES.values()},
    }
    if name_or_group not in choices:
        raise DataError(
            f"no file or group named {name_or_group!r} in the registry; "
            f"allowed: {', '.join(choices)}"
        )
    return choices[name_or_group]


_MISSING = "is not there"
_FOLDER = "is a folder where a file is expected"
_SPECIAL = "is not a plain file"
_NO_RECORD = "has no record of its SHA-256, so that nobody can tell whether it is whole"
_NOT_REPLACED = (_FOLDER, _SPECIAL)  # someone put it there: it is never deleted


def _fault(entry: Entry) -> str | None:
    """Return what is wrong with the file in the folder, None for nothing; cheap questions first."""
    place = folder() / entry.name
    try:
        found = place.stat()
        if stat.S_ISDIR(found.st_mode):
            return _FOLDER
        if not stat.S_ISREG(found.st_mode):
            return _SPECIAL  # reading from a pipe could wait for ever
        known = _recorded(entry)
        if known is None:
            return _NO_RECORD
        sha256, size = known
        if found.st_size != size:
            cut = "cut short" if found.st_size < size else "too long"
            return f"is {cut}: {found.st_size} of {size} bytes"
        right = _sha256(place, found.st_size, found.st_mtime_ns) == sha256
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if right else f"is altered: its SHA-256 is not that of {_whose(entry)}"


def _whose(entry: Entry) -> str:
    return "the published file" if entry.sha256 else "the file that was downloaded first"


def _record(entry: Entry) -> Path:
    """Return the path of what is noted of a file whose hash the registry does not know."""
    return folder() / f"{entry.name}.sha256"


def _recorded(entry: Entry) -> tuple[str, int] | None:
    """Return the hash and the size that a file must have; None if nobody knows them yet."""
    if entry.sha256 is not None:
        return entry.sha256, entry.size
    try:
        sha256, size = _record(entry).read_text().split()
        return sha256, int(size)
    except (OSError, ValueError):  # no record, or one that cannot be read: there is none
        return None


@lru_cache(maxsize=256)
def _sha256(place: Path, size: int, mtime_ns: int) -> str:
    import pooch

    return pooch.file_hash(str(place), alg="sha256")  # size and time are keys of the cache alone


def _error(entry: Entry, fault: str) -> DataError:
    """Return the error that says what is wrong with a file and what to do about it."""
    command = f"skytutor data fetch {entry.group}"
    elsewhere = f"set SKYTUTOR_DATA to a folder that holds {entry.name}."
    if entry.url is None:
        remedy = f"It cannot be downloaded: {entry.instead}, or {elsewhere}"
    elif fault in (_MISSING, _NO_RECORD):
        remedy = f"Run `{command}`, or {elsewhere}"
    elif fault in _NOT_REPLACED:
        remedy = f"Move it away, then run `{command}`, or {elsewhere}"
    else:
        remedy = f"If it is not your own, run `{command} --overwrite`, or {elsewhere}"
    return DataError(f"{folder() / entry.name} {fault}. {remedy}")


def _adopt(entry: Entry) -> None:
    """Record the hash of a file that was put into the folder by hand."""
    place = folder() / entry.name
    try:
        found = place.stat()
        sha256 = _sha256(place, found.st_size, found.st_mtime_ns)
        _record(entry).write_text(f"{sha256} {found.st_size}\n")
    except OSError as error:
        raise _not_written(place, error) from error


def _download(entry: Entry, *, progress: bool) -> None:
    """Put one file in its place; whatever stops it is a `DataError`."""
    place = folder() / entry.name
    if entry.url is None:
        raise _error(entry, _fault(entry) or _MISSING)
    again = (
        f"run `skytutor data fetch {entry.group}` again, "
        f"or get {entry.url} elsewhere and put it there."
    )
    try:
        if entry.small and entry.sha256 is not None:
            download.to_file(
                place,
                entry.url,
                sha256=entry.sha256,
                size=entry.size,
                retries=RETRIES,
                progress=progress,
            )
            return
        sha256, size = download.resume(
            place, entry.url, sha256=entry.sha256, retries=RETRIES, progress=progress
        )
        if entry.sha256 is None:
            _record(entry).write_text(f"{sha256} {size}\n")
    except download.DownloadError as error:
        raise DataError(f"cannot fetch {place}: {error} and {again}") from error.__cause__
    except OSError as error:
        raise _not_written(place, error) from error


def _not_written(place: Path, error: OSError) -> DataError:
    """Return the error of a folder that cannot be written to."""
    why = error.strerror or error
    return DataError(
        f"cannot fetch {place}: cannot write there ({why}). "
        "Set SKYTUTOR_DATA to a folder you may write, with room."
    )
