"""Time a notebook alone, then beside processes that keep every core busy.

    python -m benchmarks.busy book/chapters/01-conv1d-classification.ipynb --profile cpu

A kernel that shares two cores with two busy processes gets two thirds of a core's time, so one
thread takes about 1.5 times as long. Threads that wait for each other take far longer. The
notebook runs in the environment as it is: set no number of threads to time what a reader gets.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from skytutor.training import profile

THREADS = ("SKYTUTOR_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# The process that started it is named to it: that may have ended before it could ask.
BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    pass"


@contextlib.contextmanager
def busy(number: int) -> Iterator[list[subprocess.Popen]]:
    """Keep `number` cores busy, each with a process that does nothing else.

    They end with this process, however it ends.
    """
    command = [sys.executable, "-c", BUSY, str(os.getpid())]
    others = [subprocess.Popen(command) for _ in range(number)]
    try:
        yield others
    finally:
        for other in others:
            other.kill()
            other.wait()


def is_notebook(path: Path) -> bool:
    """Tell whether a file is a notebook that can be run."""
    try:
        nbformat.read(path, as_version=4)
    # What nbformat raises at bytes, JSON and fields that it did not expect.
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError):
        return False
    return True


def seconds(notebook: Path, size: str, *, timeout: int) -> float:
    """Return how long all cells of a notebook take, in seconds; the kernel's start counts."""
    client = NotebookClient(
        nbformat.read(notebook, as_version=4),
        timeout=timeout,
        resources={"metadata": {"path": str(notebook.parent)}},
    )
    started = time.perf_counter()
    client.execute(env={**os.environ, "SKYTUTOR_PROFILE": size})
    return time.perf_counter() - started


def main(argv: list[str] | None = None) -> int:
    """Time the notebook that the command line names; return 1 if the ratio is above the limit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.busy", description=__doc__.splitlines()[0]
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--profile", choices=["smoke", "cpu", "gpu"], default="cpu")
    parser.add_argument("--processes", type=int, help="that keep a core busy; default: one a core")
    parser.add_argument("--timeout", type=int, default=3600, help="seconds a cell may take")
    parser.add_argument("--limit", type=float, default=2.5, help="the ratio that is still good")
    options = parser.parse_args(argv)
    if not options.notebook.is_file():
        parser.error(f"notebook must be a file, got {options.notebook}")
    if not is_notebook(options.notebook):
        parser.error(f"notebook must be a Jupyter notebook, got {options.notebook}")
    number = profile.cores() if options.processes is None else options.processes
    if number < 1:
        parser.error(f"--processes must be at least 1, got {number}")
    given = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    named = options.notebook.name
    where = f"profile {options.profile}, {profile.cores()} cores"
    print(f"{named}, {where}, {' '.join(given)}", flush=True)
    notebook = options.notebook.resolve()
    alone = seconds(notebook, options.profile, timeout=options.timeout)
    print(f"alone: {alone:.1f} s", flush=True)
    with busy(number):
        beside = seconds(notebook, options.profile, timeout=options.timeout)
    ratio = beside / alone
    print(f"beside {number} busy processes: {beside:.1f} s, {ratio:.2f} times as long", flush=True)
    return int(ratio > options.limit)


if __name__ == "__main__":
    sys.exit(main())
