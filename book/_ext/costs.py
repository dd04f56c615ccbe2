"""What a run costs: time, peak memory of a process and its children, and the machine.

`measure.py` and `tests/launch/prove.py` write `book/measurements.json` through here; nobody types a
number into it.
"""

import datetime
import json
import platform
import subprocess
import threading
from pathlib import Path

import psutil

BOOK = Path(__file__).resolve().parents[1]
RESULTS = BOOK / "measurements.json"
MIB = 2**20


class Memory(threading.Thread):
    """Watches a process and its children until `stop` is called; `peak` is in bytes.

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
        """Read the memory again and again."""
        while not self.stopped.wait(self.every):
            try:
                family = [self.process, *self.process.children(recursive=True)]
                resident = sum(process.memory_info().rss for process in family)
                self.peak = max(self.peak, resident, self.high_water())
            except psutil.Error:
                continue

    def high_water(self) -> int:
        """Return the largest resident size so far as Linux knows it, in bytes; 0 elsewhere."""
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
    """Return the name under which the book knows a notebook."""
    notebook = notebook.resolve()
    if not notebook.is_relative_to(BOOK):
        return notebook.stem
    return notebook.relative_to(BOOK).with_suffix("").as_posix()


def data_found(python: Path | str, env: dict[str, str] | None = None) -> str:
    """Return the groups of real data that an interpreter's package finds, "embedded" if none."""
    code = (
        "from skytutor.data import registry\n"
        "found = [group for group in registry.groups() if registry.have(group)]\n"
        "print(', '.join(found) or 'embedded')"
    )
    done = subprocess.run(
        [str(python), "-c", code], env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def place(*, device: str, cores: int, torch: str, data: str) -> dict:
    """Return where, on what data and when the numbers were taken."""
    return {
        "device": device,
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "data": data,
        "python": platform.python_version(),
        "torch": torch,
        "date": datetime.date.today().isoformat(),
    }


def record(results: Path, page: str, name: str, result: dict) -> None:
    """Merge one result into the results file; an interrupted run leaves the old file whole.

    Arguments:
        results: the file.
        page: of the book.
        name: of the run, mostly its profile.
        result: what was measured.
    """
    # Here, since `prove.py` also runs where the package is not installed and nothing is recorded.
    from skytutor.files import write_atomic

    pages = json.loads(results.read_text()) if results.is_file() else {}
    pages.setdefault(page, {})[name] = result
    text = json.dumps(pages, indent=2, sort_keys=True) + "\n"
    write_atomic(results, text.encode())
