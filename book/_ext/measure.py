"""Run a notebook, with one thread, and record its run time and the peak memory of its kernel.

    python book/_ext/measure.py book/chapters/01-conv1d-classification.ipynb --profile cpu

The numbers go to `book/measurements.json`, one entry for each page and profile; the status page
shows them.
"""

import argparse
import importlib.metadata
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).parent))
import costs
import runs


def run(notebook: Path, profile: str, timeout: int) -> dict:
    """Execute `notebook` in `profile`; return seconds and peak MiB."""
    client = NotebookClient(
        nbformat.read(notebook, as_version=4),
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(notebook.parent)}},
    )
    memory: list[costs.Memory] = []

    def watch(**_) -> None:
        if not memory:
            memory.append(costs.Memory(client.km.provisioner.pid))
            memory[0].start()

    def show_progress(cell, cell_index, **_) -> None:
        print(
            f"\r{notebook.stem}, {profile}: cell {cell_index + 1} of {len(client.nb.cells)}",
            end="",
            flush=True,
        )

    client.on_notebook_start = None
    client.on_cell_start = lambda **kw: (watch(), show_progress(**kw))
    started = time.perf_counter()
    # As a reader runs it: the variables of a build of the book would leave work out.
    client.execute(env={**os.environ, **runs.ONE_THREAD, "SKYTUTOR_PROFILE": profile})
    seconds = time.perf_counter() - started
    print()
    return {"seconds": round(seconds, 1), "peak_mib": memory[0].stop()}


def machine() -> dict:
    """Return what the numbers were taken on, and the data that the chapters found."""
    import torch

    from skytutor.training import profile

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    version = importlib.metadata.version("torch")
    data = costs.data_found(sys.executable)
    return costs.place(device=device, cores=profile.cores(), torch=version, data=data)


def main(argv: list[str] | None = None) -> None:
    """Run the notebook that the command line names, and record what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--profile", choices=["smoke", "cpu", "gpu"], required=True)
    parser.add_argument("--timeout", type=int, default=3600, help="seconds a cell may take")
    parser.add_argument("--results", type=Path, default=costs.RESULTS)
    options = parser.parse_args(argv)
    notebook = options.notebook.resolve()
    page = costs.page_of(notebook)
    result = run(notebook, options.profile, options.timeout) | machine()
    costs.record(options.results, page, options.profile, result)
    cost = f"{result['seconds']} s, peak {result['peak_mib']} MiB"
    print(f"{page}, {options.profile}: {cost} -> {options.results}")


if __name__ == "__main__":
    sys.exit(main())
