"""Know every data file by its URL, size, SHA-256, licence and credit, and fetch it when asked.

The data folder is `SKYTUTOR_DATA` where that is set, else the user's cache folder. A file counts
only when its size and its hash are right. `have` and `path` never touch the network, `fetch` alone
downloads. A folder that may only be read will do when it holds the right files.
"""

import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from skytutor.data import download

RETRIES = 2  # further attempts after a broken connection or wrong bytes, 1 s and then 2 s later


class DataError(RuntimeError):
    """Say which data file is missing or wrong, why, and what to do about it."""


@dataclass(frozen=True)
class Entry:
    """Describe one file of the registry."""

    name: str  # path inside the data folder, with forward slashes
    url: str  # where a reader with a network gets it
    sha256: str  # of the whole file, 64 hexadecimal digits
    size: int  # bytes
    licence: str  # terms under which it is published
    credit: str  # whom to name
    group: str  # what is fetched together
    small: bool  # fetched by `make data`


def _entries(
    group: str, base: str, terms: tuple[str, str], *rows: tuple[str, int, str]
) -> dict[str, Entry]:
    """Make the entries of a group, by name.

    Arguments:
        group: its name.
        base: its folder, whose URL stands in `_BASES`.
        terms: licence and credit, the same for all of its files.
        rows: file name, size and SHA-256 of each.
    """
    licence, credit = terms
    made = {}
    for file, size, sha256 in rows:
        name = f"{base}/{file}"
        made[name] = Entry(
            name=name,
            url=_BASES[base] + file,
            sha256=sha256,
            size=size,
            licence=licence,
            credit=credit,
            group=group,
            small=True,
        )
    return made


# No licence file comes with MNIST or with Planck's products. MNIST: the terms that Keras and PyMVPA
# publish for LeCun and Cortes, who hold the copyright. Planck: ESA's page on the use of Planck data
# asks for this credit.
_MNIST_TERMS = (
    "CC BY-SA 3.0",
    "Y. LeCun, C. Cortes and C. J. C. Burges: the MNIST database of handwritten digits, "
    "made from NIST's",
)
_PLANCK_TERMS = (
    "public data of ESA, no licence named, credit asked for",
    "Based on observations obtained with Planck (http://www.esa.int/Planck), an ESA science "
    "mission with instruments and contributions directly funded by ESA Member States, NASA, and "
    "Canada",
)
_BASES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "planck": "https://irsa.ipac.caltech.edu/data/Planck/release_3/ancillary-data/cosmoparams/",
}
_THEORY = "COM_PowerSpect_CMB-base-plikHM-TTTEEE-lowl-lowE-lensing-minimum-theory_R3.01.txt"
_MEASURED = "COM_PowerSpect_CMB-TT-full_R3.01.txt"
ENTRIES: dict[str, Entry] = {
    **_entries(
        "mnist",
        "mnist",
        _MNIST_TERMS,
        (
            "train-images-idx3-ubyte.gz",
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    **_entries(
        "planck-theory",
        "planck",
        _PLANCK_TERMS,
        (_THEORY, 205647, "50eecd4422e22026070bdacf9fa8a7e7ef3badf4fa50fffea040df669715cf51"),
    ),
    **_entries(
        "planck-measured",
        "planck",
        _PLANCK_TERMS,
        (_MEASURED, 170547, "ccf3113604020536f6f13ccf51680a7316ad0f32da558eee7f625e613bdd5522"),
    ),
}


def groups() -> dict[str, list[Entry]]:
    """Return the entries of each group by its name, in the order of the registry.

    Example:
        >>> for name, entries in groups().items():
        ...     print(f"{name}: {sum(entry.size for entry in entries) / 1e6:.1f} MB")
        mnist: 11.6 MB
        planck-theory: 0.2 MB
        planck-measured: 0.2 MB
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
    connection or a killed process leaves no half file under that name.

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
        if found.st_size != entry.size:
            cut = "cut short" if found.st_size < entry.size else "too long"
            return f"is {cut}: {found.st_size} of {entry.size} bytes"
        right = _sha256(place, found.st_size, found.st_mtime_ns) == entry.sha256
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if right else "is altered: its SHA-256 is not that of the published file"


@lru_cache(maxsize=256)
def _sha256(place: Path, size: int, mtime_ns: int) -> str:
    import pooch

    return pooch.file_hash(str(place), alg="sha256")  # size and time are keys of the cache alone


def _error(entry: Entry, fault: str) -> DataError:
    """Return the error that says what is wrong with a file and what to do about it."""
    command = f"skytutor data fetch {entry.group}"
    if fault == _MISSING:
        first = f"Run `{command}`"
    elif fault in _NOT_REPLACED:
        first = f"Move it away, then run `{command}`"
    else:
        first = f"If it is not your own, run `{command} --overwrite`"
    remedy = f"{first}, or set SKYTUTOR_DATA to a folder that holds {entry.name}."
    return DataError(f"{folder() / entry.name} {fault}. {remedy}")


def _download(entry: Entry, *, progress: bool) -> None:
    """Put one file in its place; whatever stops it is a `DataError`."""
    place = folder() / entry.name
    again = (
        f"run `skytutor data fetch {entry.group}` again, "
        f"or get {entry.url} elsewhere and put it there."
    )
    try:
        download.to_file(
            place,
            entry.url,
            sha256=entry.sha256,
            size=entry.size,
            retries=RETRIES,
            progress=progress,
        )
    except download.DownloadError as error:
        raise DataError(f"cannot fetch {place}: {error} and {again}") from error.__cause__
    except OSError as error:
        why = error.strerror or error
        raise DataError(
            f"cannot fetch {place}: cannot write there ({why}). "
            "Set SKYTUTOR_DATA to a folder you may write, with room."
        ) from error
