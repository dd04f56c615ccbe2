"""Run a notebook in a profile and record its run time and the peak memory of its kernel for the status page.

    python book/_ext/measure.py book/chapters/01-conv1d-classification.ipynb --profile cpu

The numbers go to `book/measurements.json`, one entry for each page and profile; nobody types them. Memory is resident memory,
summed over the kernel and what it starts; on Linux the kernel's own high-water mark is read too, so no short peak is missed.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient

BOOK = Path(__file__).resolve().parents[1]
RESULTS = BOOK / "measurements.json"
MIB = 2**20


class Memory(threading.Thread):
    """Watches a process and its children until told to stop; `peak` is in bytes."""

    def __init__(self, pid: int, *, every: float = 0.05):
        super().__init__(daemon=True)
        self.process, self.every, self.peak = psutil.Process(pid), every, 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(self.every):
            try:
                family = [self.process, *self.process.children(recursive=True)]
                self.peak = max(self.peak, sum(p.memory_info().rss for p in family), self.high_water())
            except psutil.Error:
                continue

    def high_water(self) -> int:
        """Largest resident size of the kernel so far as Linux knows it, in bytes; 0 elsewhere."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0
        lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(lines[0].split()[1]) * 1024 if lines else 0


def run(notebook: Path, profile: str, timeout: int) -> dict:
    """Execute `notebook` in `profile`; return seconds and peak MiB."""
    client = NotebookClient(
        nbformat.read(notebook, as_version=4), timeout=timeout, kernel_name="python3",
        resources={"metadata": {"path": str(notebook.parent)}},
    )  # fmt: skip
    memory: list[Memory] = []

    def watch(**_) -> None:
        if not memory:
            memory.append(Memory(client.km.provisioner.pid))
            memory[0].start()

    def tell(cell, cell_index, **_) -> None:
        print(f"\r{notebook.stem}, {profile}: cell {cell_index + 1} of {len(client.nb.cells)}", end="", flush=True)

    client.on_notebook_start, client.on_cell_start = None, lambda **kw: (watch(), tell(**kw))
    os.environ["SKYTUTOR_PROFILE"] = profile
    started = time.perf_counter()
    client.execute()
    seconds = time.perf_counter() - started
    memory[0].stopped.set()
    memory[0].join()
    print()
    return {"seconds": round(seconds, 1), "peak_mib": round(memory[0].peak / MIB)}


def machine() -> dict:
    """What the numbers were taken on."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name(0) if gpu else "CPU",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "date": datetime.date.today().isoformat(),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--profile", choices=["smoke", "cpu", "gpu"], required=True)
    parser.add_argument("--timeout", type=int, default=3600, help="seconds a cell may take")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    notebook = options.notebook.resolve()
    page = notebook.relative_to(BOOK).with_suffix("").as_posix() if notebook.is_relative_to(BOOK) else notebook.stem
    found = run(notebook, options.profile, options.timeout) | machine()
    known = json.loads(options.results.read_text()) if options.results.is_file() else {}
    known.setdefault(page, {})[options.profile] = found
    # Written beside its place first: an interrupted run leaves the old file whole.
    half = options.results.with_suffix(".part")
    half.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    os.replace(half, options.results)
    print(f"{page}, {options.profile}: {found['seconds']} s, peak {found['peak_mib']} MiB -> {options.results}")


if __name__ == "__main__":
    sys.exit(main())
