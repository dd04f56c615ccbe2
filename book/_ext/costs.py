"""What a run costs: peak memory of a process and its children, the machine, and the file that keeps such numbers.

`measure.py` and `tests/launch/prove.py` write `book/measurements.json` through here; nobody types a
number into it.
"""

import datetime
import json
import os
import platform
import subprocess
import threading
from pathlib import Path

import psutil

BOOK = Path(__file__).resolve().parents[1]
RESULTS = BOOK / "measurements.json"
MIB = 2**20


class Memory(threading.Thread):
    """Watches a process and its children until told to stop; `peak` is in bytes.

    Memory is resident memory, summed over the family 20 times a second; on Linux the process's own
    high-water mark is read too, so no short peak is missed.
    """

    def __init__(self, pid: int, *, every: float = 0.05):
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.every = every
        self.peak = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(self.every):
            try:
                family = [self.process, *self.process.children(recursive=True)]
                self.peak = max(
                    self.peak, sum(p.memory_info().rss for p in family), self.high_water()
                )
            except psutil.Error:
                continue

    def high_water(self) -> int:
        """Largest resident size of the process so far as Linux knows it, in bytes; 0 elsewhere."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0
        lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(lines[0].split()[1]) * 1024 if lines else 0

    def stop(self) -> int:
        """End the watch; return the peak in MiB."""
        self.stopped.set()
        self.join()
        return round(self.peak / MIB)


def page_of(notebook: Path) -> str:
    """The name under which the book knows a notebook."""
    notebook = notebook.resolve()
    return (
        notebook.relative_to(BOOK).with_suffix("").as_posix()
        if notebook.is_relative_to(BOOK)
        else notebook.stem
    )


def data_found(python: Path | str, env: dict[str, str] | None = None) -> str:
    """The groups of real data that the package of that interpreter finds, "embedded" if none."""
    code = (
        "from skytutor.data import registry\n"
        "print(', '.join(group for group in registry.groups() if registry.have(group)) or 'embedded')"
    )
    return subprocess.run(
        [str(python), "-c", code], env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


def allowed_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def place(*, device: str, cores: int, torch: str, data: str) -> dict:
    """Where, on what data and when the numbers were taken."""
    return {
        "device": device,
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "data": data,
        "python": platform.python_version(),
        "torch": torch,
        "date": datetime.date.today().isoformat(),
    }


def record(results: Path, page: str, name: str, found: dict) -> None:
    """Merge one result into the results file. Written beside its place first: an interrupted run leaves the old file whole."""
    known = json.loads(results.read_text()) if results.is_file() else {}
    known.setdefault(page, {})[name] = found
    half = results.with_suffix(".part")
    half.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    os.replace(half, results)
