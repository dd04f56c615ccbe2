"""Run a notebook in a kernel of its own, with one thread."""

import asyncio
import os
import re
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ONE_THREAD = {
    "SKYTUTOR_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
# All that a build gives a kernel stands here: this file's text is in the key of a result. A page of
# the book has no kernel behind it, so the package makes no model of a sphere for one.
VARIABLES = {**ONE_THREAD, "SKYTUTOR_STATIC": "1"}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class CellFailed(Exception):
    """A cell did not end well; its text is a report for the reader of the log."""


class Stopped(Exception):
    """The run was given up because the build ends."""


def environment() -> dict[str, str]:
    """Return the variables of a kernel that makes a page: this process's and `VARIABLES`."""
    return {**os.environ, **VARIABLES}


class Run:
    """One notebook in a kernel of its own, with the variables of `environment`.

    Arguments:
        page: its name in messages.
        notebook: is changed: its outputs are written into it.
        folder: in which the kernel runs.
        timeout: seconds a cell may take.
    """

    def __init__(
        self,
        page: str,
        notebook: nbformat.NotebookNode,
        *,
        folder: Path,
        timeout: int | None,
    ):
        self.page = page
        self.index = 0
        self.killed = False
        # As myst-nb runs a notebook itself: no times in the cells, the state of widgets kept.
        self.client = NotebookClient(
            notebook,
            timeout=timeout,
            allow_errors=False,
            record_timing=False,
            store_widget_state=True,
            # Else each kernel warns on the terminal that it listens on this machine's own network.
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(folder)}},
            on_cell_start=self._note,
        )

    def _note(self, *, cell_index: int, **_) -> None:
        self.index = cell_index
        if self.killed:  # the build ended before the kernel was there
            self.kill()

    def execute(self) -> tuple[nbformat.NotebookNode, float]:
        """Run all cells; return the notebook with its outputs, and the seconds it took.

        Raises:
            CellFailed: a cell raised, took too long or lost its kernel.
            Stopped: `kill` was called.
        """
        started = time.perf_counter()
        try:
            # An event loop of its own, closed afterwards: the thread may run another notebook.
            notebook = asyncio.run(self.client.async_execute(env=environment()))
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            if self.killed:
                raise Stopped from error
            raise CellFailed(self._report(error, time.perf_counter() - started)) from error
        return notebook, time.perf_counter() - started

    def kill(self) -> None:
        """End the kernel at once; may be called from another thread."""
        self.killed = True
        process = getattr(getattr(self.client.km, "provisioner", None), "process", None)
        if process is not None:
            process.kill()

    def _report(self, error: Exception, seconds: float) -> str:
        """Say which cell failed, what stands in it and what happened."""
        cells = self.client.nb.cells
        cell = cells[self.index]
        codes = [number for number, each in enumerate(cells) if each.cell_type == "code"]
        place = f"code cell {codes.index(self.index) + 1} of {len(codes)}"
        lines = [f"    {line}".rstrip() for line in cell.source.splitlines()]
        if isinstance(error, CellExecutionError):
            raised = [each for each in cell.outputs if each.output_type == "error"]
            said = "\n".join(raised[-1].traceback) if raised else str(error)
        elif isinstance(error, CellTimeoutError):
            said = f"It took longer than the {self.client.timeout} s that a cell may take."
        else:
            said = "Its kernel died. Perhaps the memory did not suffice."
        return "\n".join(
            [
                f"{self.page}: {place} failed, {seconds:.0f} s after the start. The cell:",
                "",
                *lines,
                "",
                ANSI.sub("", said).strip(),
            ]
        )
