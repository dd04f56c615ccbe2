"""Let nbval run notebooks as the build does, and keep their outputs where the build looks for them.

nbval starts a kernel for each notebook, sends it the cells and fails those that raise. Here the
kernel gets what the build's own gets, and every message that nbval reads goes to nbclient too,
which makes outputs of it as in a build. A notebook that ran well to its end is kept by
`executed.py`, so the build need not run it again. A test compares the two.

A page of the book has no kernel behind it, so a sphere in it is drawn without a model. A reader's
notebook has one: after a cell that shows such a thing it is made once more with its model.
"""

import ast
import contextlib
import json
import sys
import time
from functools import cache
from pathlib import Path

import nbformat
import nbval.plugin
import pytest
from nbclient.exceptions import CellExecutionComplete
from nbval.kernel import RunningKernel, start_new_kernel

sys.path.insert(0, str(Path(__file__).parent))
import costs
import executed
import runs

BOOK = Path(__file__).resolve().parents[1]
FOLDER = executed.ROOT / "_build" / "executed"  # where the build looks, by its `executed_folder`
WIDGETS = "skytutor.widgets"
STATIC = "SKYTUTOR_STATIC"
# In the kernel: statements run in a copy of the names, without the variable of a page.
LIVE = f"""import os, traceback
_static = os.environ.pop({STATIC!r}, None)
try:
    exec({{code!r}}, dict(globals()))
finally:
    if _static is not None: os.environ[{STATIC!r}] = _static
    del _static"""


@cache
def ingredients() -> dict[str, str]:
    """Return what results depend on, as it was when the first notebook began."""
    return executed.ingredients()


def page_name(path: Path) -> str:
    """Return the name of a notebook's page."""
    return path.resolve().relative_to(BOOK).with_suffix("").as_posix()


def environment() -> dict[str, str]:
    """Return the variables of the build's kernel: what pytest says of itself is not in them."""
    return {k: v for k, v in runs.environment().items() if not k.startswith("PYTEST_")}


def shown_by(source: str, names: set[str]) -> str:
    """Return the statements of a cell that call one of `names`, those of our widgets.

    What the cell imports from `skytutor.widgets` is added to the names. Functions and loops are
    passed over: what they show depends on where they are.
    """
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a line for IPython alone
        return ""
    found = []
    for statement in body:
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(WIDGETS):
            names.update(alias.asname or alias.name for alias in statement.names)
        if not isinstance(statement, (ast.Expr, ast.Assign)):
            continue
        called = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
        first = {
            name.id for call in called for name in ast.walk(call) if isinstance(name, ast.Name)
        }
        if first & names:
            found.append(statement)
    for statement in found:
        if isinstance(statement, ast.Expr):
            shown = ast.parse("__import__('IPython').display.display()", mode="eval").body
            shown.args = [statement.value]
            statement.value = shown
    return "\n".join(ast.unparse(statement) for statement in found)


class Kernel(RunningKernel):
    """A kernel as the build starts it; each request is noted."""

    def __init__(self, kernel_name, cwd=None, startup_timeout=60):
        self.asked = None
        self.km, self.kc = start_new_kernel(
            startup_timeout=startup_timeout,
            kernel_name=kernel_name,
            cwd=cwd,
            env=environment(),
            extra_arguments=["--log-level=ERROR"],
        )
        self._ensure_iopub_up()

    def execute_cell_input(self, cell_input, allow_stdin=None):
        """Run a cell with a number of its own, as a notebook does."""
        self.asked = self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)
        return self.asked

    def language(self):
        """Return what the kernel says of its language."""
        return self.kc.kernel_info(reply=True, timeout=60)["content"]["language_info"]

    def make_live(self, code: str, timeout: float) -> None:
        """Run statements as in a reader's notebook; raise RuntimeError if they raise."""
        reply = self.kc.execute(
            LIVE.format(code=code), silent=True, reply=True, timeout=timeout, allow_stdin=False
        )
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"]["traceback"]))


class File(nbval.plugin.IPyNbFile):
    """A notebook whose outputs are kept."""

    def collect(self):
        """Yield the cells."""
        for cell in super().collect():
            given = {"cell_num": cell.cell_num, "cell": cell.cell, "options": cell.options}
            yield Cell.from_parent(self, name=cell.name, **given)

    def setup(self):
        """Start the kernel, and note what the results depend on."""
        self.began = time.time()
        self.hashes = executed.made_from(self.nb, ingredients())
        copy = nbformat.from_dict(self.nb)
        self.client = runs.Run(self.name, copy, folder=self.path.parent, timeout=None).client
        self.client.reset_execution_trackers()
        for cell in self.client.nb.cells:
            if cell.cell_type == "code":
                cell.outputs = []
        self.codes = [k for k, c in enumerate(self.client.nb.cells) if c.cell_type == "code"]
        self.ran = 0
        self.names = set()
        super().setup()
        self.client.nb.metadata["language_info"] = self.kernel.language()

    def get_kernel_message(self, timeout=None, stream="iopub"):
        """Hand nbval a message, and take it for the outputs of the cell that runs."""
        message = super().get_kernel_message(timeout, stream)
        if message["parent_header"].get("msg_id") == self.kernel.asked:
            index = self.codes[self.now]
            with contextlib.suppress(CellExecutionComplete):
                self.client.process_message(message, self.client.nb.cells[index], index)
        return message

    def teardown(self):
        """Keep the outputs if every cell ran; stop the kernel."""
        if self.ran == len(self.codes):
            self.keep()
        super().teardown()

    def keep(self):
        """Keep the outputs, if what they were made from is still what it was."""
        if executed.made_from(self.nb, executed.ingredients()) != self.hashes:
            return
        self.client.set_widgets_metadata()
        result = executed.Result(self.client.nb, time.time() - self.began, time.time(), self.hashes)
        executed.Cache(FOLDER).write(page_name(self.path), executed.key(self.hashes), result)


class Cell(nbval.plugin.IPyNbCell):
    """A cell that counts when it ran well."""

    def runtest(self):
        """Run the cell as nbval does; then make what it shows with a model."""
        notebook = self.parent
        notebook.now = self.cell_num
        notebook.client.clear_before_next_output = False  # as nbclient does for each cell
        super().runtest()
        code = shown_by(self.cell.source, notebook.names)
        if code:
            notebook.kernel.make_live(code, self.config.option.nbval_cell_timeout)
        notebook.ran += 1


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(parent):
    """Collect notebooks as files of this kind where nbval collects one of its own."""
    found = yield
    kept = []
    for file in found:
        ours = isinstance(file, nbval.plugin.IPyNbFile)
        kept.append(File.from_parent(parent, path=file.path) if ours else file)
    return kept


def pytest_collection_modifyitems(items):
    """Let the notebooks begin that took longest when they were measured; a new one begins first."""
    measured = json.loads(costs.RESULTS.read_text())

    def expected(item):
        runs_of = measured.get(page_name(item.path), {}).values()
        return max((run["seconds"] for run in runs_of), default=float("inf"))

    items.sort(key=expected, reverse=True)


def pytest_configure():
    """Let nbval start kernels of this kind."""
    nbval.plugin.RunningKernel = Kernel
