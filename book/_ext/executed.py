"""Know what a notebook's outputs depend on, and keep the outputs of those that ran.

A result is kept under a key made of all that it depends on: the code cells, the package, the data
that are there, the profile, Python and the installed packages, and the way it is run. Prose,
captions and tags that only change the look of a page are not in it: a kept result is put into the
notebook as it is now.

Files appear whole or not at all, and two builds that want the same result wait for each other.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
from filelock import FileLock, Timeout

from skytutor.files import write_atomic

sys.path.insert(0, str(Path(__file__).parent))
import runs

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "skytutor"
KEPT = 3  # results of a notebook: of the book, of its tests, of the tests with the data
RUN = "run"  # the key of a kept notebook's metadata that says how it was made
# Tags that change what a cell does; all others change its look.
DOING = {"raises-exception", "skip-execution"}
STALE_S = 3600.0  # after which the leavings of a killed process are nobody's


# What a result depends on


def tree(folder: Path) -> str:
    """Return one hash of the names and contents of all files below `folder`.

    What Python and editors leave there (bytecode, hidden files) does not count.
    """
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{name.as_posix()} {content}\n".encode())
    return total.hexdigest()


def data() -> str:
    """Return how each file of the registry stands: a file that is here has the registry's hash.

    Other files of the data folder do not count: the package itself keeps tables there.
    """
    from skytutor.data import registry

    return json.dumps({name: registry.state(name) for name in registry.ENTRIES})


def chosen_profile() -> str:
    """Return the profile that a chapter will choose, and its device."""
    from skytutor.training import profile

    here = profile.current()
    return f"{here.name} on {here.device}"


def installed() -> str:
    """Return the installed packages with their versions."""
    found = {f"{each.name}=={each.version}" for each in importlib.metadata.distributions()}
    return " ".join(sorted(found))


def ingredients() -> dict[str, str]:
    """Return by its name all that results depend on, but for the cells."""
    return {
        "the package": tree(PACKAGE),
        "the data": data(),
        "the profile": chosen_profile(),
        "the installed packages": installed(),
        "Python": sys.version,
        "the way of running": Path(runs.__file__).read_text(encoding="utf-8"),
    }


def code(notebook: nbformat.NotebookNode) -> str:
    """Return what a kernel sees of a notebook."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            doing = sorted(DOING.intersection(cell.metadata.get("tags", ())))
            cells.append([cell.source, doing])
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    return json.dumps({"kernel": kernel, "cells": cells})


def made_from(notebook: nbformat.NotebookNode, others: Mapping[str, str]) -> dict[str, str]:
    """Return a hash of each thing that a result depends on, by its name."""
    everything = {"the cells": code(notebook), **others}
    hashes = {}
    for name, text in everything.items():
        hashes[name] = hashlib.sha256(text.encode()).hexdigest()
    return hashes


def key(hashes: Mapping[str, str]) -> str:
    """Return the one name for all of `hashes`."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:32]


# Results


@dataclass(frozen=True)
class Result:
    """An executed notebook and how it came to be."""

    notebook: nbformat.NotebookNode
    seconds: float
    date: float  # seconds since 1970
    made_from: dict[str, str]


def put_into(notebook: nbformat.NotebookNode, result: Result) -> nbformat.NotebookNode:
    """Give the notebook as it is now the outputs of a result of the same code cells."""
    outputs = [cell for cell in result.notebook.cells if cell.cell_type == "code"]
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, done in zip(cells, outputs, strict=True):
        cell.outputs = done.outputs
        cell.execution_count = done.execution_count
    for name in ("language_info", "widgets"):
        notebook.metadata.pop(name, None)
        if name in result.notebook.metadata:
            notebook.metadata[name] = result.notebook.metadata[name]
    return notebook


def text(notebook: nbformat.NotebookNode) -> str:
    """Return a notebook as JSON with its keys as they stand: nbformat's own would sort them."""
    return json.dumps(notebook, ensure_ascii=False, indent=1)


class Cache:
    """Results by page and key, below one folder that several builds may share."""

    def __init__(self, folder: Path):
        self.folder = folder

    def entries(self, page: str) -> list[Path]:
        """Return the files of a page's results, that last used first."""
        dated = []
        for path in (self.folder / page).glob("*.ipynb"):
            with contextlib.suppress(FileNotFoundError):  # another build removed it
                dated.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(dated, reverse=True)]

    def read(self, page: str, name: str) -> Result | None:
        """Return the result of that key and note its use; None where there is none."""
        path = self.folder / page / f"{name}.ipynb"
        found = _load(path)
        if found is not None:
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)
        return found

    def results(self, page: str) -> list[Result]:
        """Return all results of a page, that last used first."""
        found = [_load(path) for path in self.entries(page)]
        return [result for result in found if result is not None]

    def write(self, page: str, name: str, result: Result) -> None:
        """Keep a result; it appears whole or not at all. The oldest ones go."""
        notebook = nbformat.from_dict(result.notebook)
        notebook.metadata[RUN] = {
            "seconds": result.seconds,
            "date": result.date,
            "made_from": result.made_from,
        }
        write_atomic(self.folder / page / f"{name}.ipynb", text(notebook).encode())
        self.prune(page)

    def prune(self, page: str) -> None:
        """Remove all but the last results of a page, and what killed processes left.

        A lock that is held stays, however old its file: it is not written to when it is taken.
        """
        kept = {path.stem for path in self.entries(page)[:KEPT]}
        for path in (self.folder / page).iterdir():
            if path.stem in kept or not path.is_file():
                continue
            with contextlib.suppress(OSError):  # held, or another build removes it too
                age = time.time() - path.stat().st_mtime
                if path.suffix == ".ipynb" or age > STALE_S:
                    _remove(path)

    @contextlib.contextmanager
    def alone(
        self, page: str, name: str, *, stopped: Callable[[], bool], waiting: Callable[[], None]
    ) -> Iterator[None]:
        """Hold the lock of a result: whoever else wants to make it waits.

        Arguments:
            page: of the book.
            name: the key of the result.
            stopped: returns whether to give up waiting.
            waiting: called once if another process holds the lock.

        Raises:
            Stopped: given up.
        """
        (self.folder / page).mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / page / f"{name}.lock")
        asked = 0
        while True:
            try:
                lock.acquire(timeout=0.5)
                break
            except Timeout:
                asked += 1
            if asked == 1:
                waiting()
            if stopped():
                raise runs.Stopped
        try:
            yield
        finally:
            lock.release()


def _remove(path: Path) -> None:
    """Remove a file; a lock only while nobody holds it."""
    if path.suffix != ".lock":
        path.unlink()
        return
    with FileLock(path, timeout=0):
        path.unlink()


def _load(path: Path) -> Result | None:
    """Return the result in a file, None where the file is missing or not one of ours."""
    try:
        notebook = nbformat.read(path, as_version=4)
        run = notebook.metadata.pop(RUN)
        return Result(notebook, run["seconds"], run["date"], dict(run["made_from"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError):
        return None
