"""Notebooks are run ahead of the build, side by side, and only when something has changed."""

import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError, SphinxError
from sphinx.util.docutils import docutils_namespace, patch_docutils

ROOT = Path(__file__).resolve().parents[2]
EXT = ROOT / "book/_ext"
sys.path.insert(0, str(EXT))

import execute  # noqa: E402
import executed  # noqa: E402
import runs  # noqa: E402

from skytutor.files import CheckpointError  # noqa: E402
from skytutor.training import profile  # noqa: E402

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
# What results depend on is tested by itself. Here it is fixed, or what the file `package` says, and
# Sphinx need not import torch.
CONF = """
import sys
from pathlib import Path
sys.path.insert(0, {ext!r})
import executed
package = Path(__file__).with_name("package")
executed.ingredients = lambda: {{"the package": package.read_text() if package.exists() else "1"}}
extensions = ["myst_nb", {extension}]
nb_execution_mode = {mode!r}
nb_merge_streams = True
html_theme = "basic"
"""
INTRO = "# Tiny\n\n```{nb-exec-table}\n```\n\n```{toctree}\nwrite\nread\n```\n"
# Each kernel leaves when it began and ended, and its threads. The import takes its second, so that
# two that run side by side do overlap.
NOTE = """
import os, time
began = time.time()
import torch
time.sleep(0.5)
threads = [torch.get_num_threads(), *(os.environ[name] for name in {names})]
with open("log.txt", "a") as log:
    print("{name}", began, time.time(), threads, sep=";", file=log)
"""


def notebook(*cells):
    """Return a notebook of code cells, after a heading that a page needs."""
    code = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    whole = new_notebook(cells=[new_markdown_cell("# A page"), *code], metadata=KERNEL)
    for number, cell in enumerate(whole.cells):
        cell.id = f"cell-{number}"
    return whole


class Book:
    """A book of a few notebooks, and the builds of it."""

    def __init__(self, folder, notebooks, *, extension='"execute"', mode="off"):
        self.folder = folder / "book"
        self.folder.mkdir(parents=True)
        conf = CONF.format(ext=str(EXT), extension=extension, mode=mode)
        (self.folder / "conf.py").write_text(conf)
        (self.folder / "index.md").write_text(INTRO.replace("write\nread", "\n".join(notebooks)))
        self.write(notebooks)

    def write(self, notebooks):
        for name, content in notebooks.items():
            nbformat.write(content, self.folder / f"{name}.ipynb")

    def start(self, out="html"):
        """Start a build in a process of its own."""
        place = self.folder.parent / out
        command = [sys.executable, "-m", "sphinx", "-E", "-a", "-W", "-b", "html"]
        whole = [*command, "-d", str(place / ".trees"), str(self.folder), str(place)]
        return subprocess.Popen(whole, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def build(self, out="html"):
        """Build in this process; return exit status, output and errors."""
        place = self.folder.parent / out
        said = io.StringIO()
        errors = io.StringIO()
        with (
            mock.patch.object(executed, "ingredients"),  # conf.py sets another
            warnings.catch_warnings(action="ignore"),  # of Sphinx's own
            patch_docutils(),
            docutils_namespace(),
        ):
            places = (self.folder, self.folder, place, place / ".trees")
            options = {"status": said, "warning": errors, "freshenv": True, "warningiserror": True}
            try:
                app = Sphinx(*places, "html", **options)
                app.build(force_all=True)
                status = app.statuscode
            except (SystemExit, SphinxError) as error:
                status = 1
                errors.write(str(error))
        plain = [runs.ANSI.sub("", text.getvalue()) for text in (said, errors)]
        return SimpleNamespace(status=status, said=plain[0], errors=plain[1])

    def page(self, name, out="html"):
        return (self.folder.parent / out / f"{name}.html").read_text(encoding="utf-8")

    def kept(self, pattern="*/*.ipynb"):
        return sorted((self.folder.parent / "_build" / "executed").glob(pattern))

    def log(self):
        path = self.folder / "log.txt"
        return [line.split(";") for line in path.read_text().splitlines()] if path.exists() else []


# What a result depends on


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a small package, with the data and the profile named by hand."""
    folder = tmp_path / "package"
    (folder / "data").mkdir(parents=True)
    (folder / "code.py").write_text("x = 1\n")
    (folder / "data" / "card.json").write_text("{}")
    monkeypatch.setattr(executed, "PACKAGE", folder)
    monkeypatch.setattr(executed, "data", lambda: "none")
    monkeypatch.setattr(executed, "chosen_profile", lambda: "smoke on cpu")
    monkeypatch.setattr(executed, "installed", lambda: "numpy==1 torch==2")
    return folder


def key(content):
    return executed.key(executed.made_from(content, executed.ingredients()))


def change_script(folder, content, patch):
    (folder / "code.py").write_text("x = 2\n")


def rename_script(folder, content, patch):
    (folder / "code.py").rename(folder / "other.py")


def change_card(folder, content, patch):
    (folder / "data" / "card.json").write_text("[]")


def add_weights(folder, content, patch):
    (folder / "data" / "weights.safetensors").write_bytes(b"\x00")


def change_data(folder, content, patch):
    patch.setattr(executed, "data", lambda: "mnist")


def change_profile(folder, content, patch):
    patch.setattr(executed, "chosen_profile", lambda: "cpu on cpu")


def change_packages(folder, content, patch):
    patch.setattr(executed, "installed", lambda: "numpy==1 torch==3")


def change_python(folder, content, patch):
    patch.setattr(sys, "version", "4.0")


def change_runner(folder, content, patch):
    copy = folder.parent / "runs.py"
    copy.write_text(Path(runs.__file__).read_text() + "\n")
    patch.setattr(runs, "__file__", str(copy))


def change_code(folder, content, patch):
    content.cells[1].source = "print(2)"


def swap_cells(folder, content, patch):
    content.cells[1:3] = content.cells[2:0:-1]


def add_cell(folder, content, patch):
    content.cells.append(new_code_cell(""))


def allow_an_error(folder, content, patch):
    content.cells[1].metadata["tags"] = ["raises-exception"]


def change_kernel(folder, content, patch):
    content.metadata["kernelspec"]["name"] = "other"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_script, "the package"),
        (rename_script, "the package"),
        (change_card, "the package"),
        (add_weights, "the package"),
        (change_data, "the data"),
        (change_profile, "the profile"),
        (change_packages, "the installed packages"),
        (change_python, "Python"),
        (change_runner, "the way of running"),
        (change_code, "the cells"),
        (swap_cells, "the cells"),
        (add_cell, "the cells"),
        (allow_an_error, "the cells"),
        (change_kernel, "the cells"),
    ],
)
def test_the_key_changes_with_each_thing_and_names_it(package, monkeypatch, change, named):
    content = notebook("print(1)", "print(3)")
    before = executed.made_from(content, executed.ingredients())
    change(package, content, monkeypatch)
    after = executed.made_from(content, executed.ingredients())
    assert [name for name in before if before[name] != after[name]] == [named]
    assert executed.key(before) != executed.key(after)


def test_the_key_does_not_change_with_anything_else(package, monkeypatch):
    content = notebook("print(1)", "print(3)")
    before = key(content)
    # The look of the page, and what an earlier run left.
    content.cells[0].source = "# Another heading"
    content.cells.insert(1, new_markdown_cell("Prose."))
    content.cells[2].metadata |= {"tags": ["hide-input"], "mystnb": {"image": {"alt": "a"}}}
    content.cells[2].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    content.cells[2].execution_count = 7
    content.cells[2].id = "another"
    content.metadata["widgets"] = {}
    # What Python and editors leave.
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "code.pyc").write_text("")
    (package / ".code.py.swp").write_text("")
    os.utime(package / "code.py", (0, 0))
    monkeypatch.setenv("SKYTUTOR_JOBS", "3")
    assert key(content) == before


def test_the_state_of_the_data_is_in_the_key(one_file_registry):
    place = one_file_registry(b"whole")
    missing = executed.data()
    place.parent.mkdir(parents=True)
    place.write_bytes(b"other")
    damaged = executed.data()
    place.write_bytes(b"whole")
    here = executed.data()
    assert len({missing, damaged, here}) == 3
    (place.parent / "of a reader's own").write_bytes(b"")
    assert executed.data() == here


def test_every_file_of_the_package_counts():
    """Python, JavaScript, weights and cards: nothing of the real package is passed over."""
    suffixes = {path.suffix for path in executed.PACKAGE.rglob("*") if path.is_file()}
    assert {".py", ".js", ".json", ".safetensors"} <= suffixes
    assert executed.PACKAGE == ROOT / "skytutor"


# Results


def result(text="1\n", hashes=None):
    content = notebook("print(1)")
    content.cells[1].outputs = [nbformat.v4.new_output("stream", text=text)]
    content.cells[1].execution_count = 1
    content.metadata["widgets"] = {"state": text}
    return executed.Result(content, 1.5, 1000.0, hashes or {"the cells": "a"})


def test_a_result_comes_back_as_it_was_kept(tmp_path):
    cache = executed.Cache(tmp_path)
    assert cache.read("part/page", "k") is None and cache.results("part/page") == []
    cache.write("part/page", "k", result())
    assert cache.read("part/page", "k") == result()
    assert cache.results("part/page") == [result()]
    assert cache.read("part/page", "other") is None and cache.read("part", "k") is None


def test_outputs_go_into_the_notebook_as_it_is_now():
    now = notebook(new_code_cell("print(1)", metadata={"tags": ["hide-input"]}))
    now.cells.insert(1, new_markdown_cell("New prose."))
    now.metadata["widgets"] = {"state": "old"}
    full = executed.put_into(now, result())
    assert [cell.cell_type for cell in full.cells] == ["markdown", "markdown", "code"]
    assert full.cells[2].outputs[0].text == "1\n" and full.cells[2].execution_count == 1
    assert full.cells[2].metadata.tags == ["hide-input"]
    assert full.metadata.widgets == {"state": "1\n"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": [], "metadata": {}}'])
def test_a_file_that_is_no_result_is_none(tmp_path, content):
    cache = executed.Cache(tmp_path)
    cache.write("page", "k", result())
    (tmp_path / "page" / "k.ipynb").write_text(content)
    assert cache.read("page", "k") is None and cache.results("page") == []


def test_only_the_last_results_stay(tmp_path):
    cache = executed.Cache(tmp_path)
    cache.write("other", "a", result())
    for number, name in enumerate("abcde"):
        cache.write("page", name, result())
        os.utime(tmp_path / "page" / f"{name}.ipynb", ns=(0, number * 10**9))
    assert {path.stem for path in cache.entries("page")} == {"c", "d", "e"}
    cache.read("page", "c")  # used just now, so d is the oldest
    for name in (".a.ipynb.1.part", "a.lock"):
        left = tmp_path / "page" / name
        left.write_text("")
        os.utime(left, (0, 0))
    cache.write("page", "f", result())
    assert {path.name for path in (tmp_path / "page").iterdir()} == {
        "c.ipynb",
        "e.ipynb",
        "f.ipynb",
    }
    assert cache.read("other", "a") is not None


def test_a_write_that_fails_leaves_the_old_result(tmp_path, monkeypatch):
    cache = executed.Cache(tmp_path)
    cache.write("page", "k", result("old"))

    def full(source, target):
        raise OSError("no room")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CheckpointError, match=r"k\.ipynb.*no room; the earlier file is whole"):
        cache.write("page", "k", result("new"))
    assert cache.read("page", "k") == result("old")
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["k.ipynb"]


def test_who_shares_the_folder_can_read_a_result(tmp_path):
    """A result has the permissions of any other new file."""
    (tmp_path / "plain").touch()
    executed.Cache(tmp_path).write("page", "k", result())
    modes = [(tmp_path / name).stat().st_mode for name in ("plain", "page/k.ipynb")]
    assert stat.S_IMODE(modes[0]) == stat.S_IMODE(modes[1])


def test_the_build_has_one_way_to_write_a_file_whole():
    """`skytutor.files.write_atomic`; `vendor.py` puts a folder into place."""
    own = re.compile(r"os\.replace|os\.rename|NamedTemporaryFile|mkstemp|\.part\b")
    scripts = [path for path in EXT.glob("*.py") if path.name != "vendor.py"]
    assert [path.name for path in scripts if own.search(path.read_text())] == []


def test_who_waits_for_a_lock_can_give_up(tmp_path):
    cache = executed.Cache(tmp_path)
    told = []
    kept = {"stopped": lambda: True, "waiting": lambda: told.append("waiting")}
    with cache.alone("page", "k", **kept):
        with pytest.raises(runs.Stopped), cache.alone("page", "k", **kept):
            pass
        with cache.alone("page", "other key", **kept):
            pass
    assert told == ["waiting"]
    with cache.alone("page", "k", **kept):
        pass


def test_a_lock_that_is_held_stays_however_old_its_file_is(tmp_path):
    cache = executed.Cache(tmp_path)
    kept = {"stopped": lambda: True, "waiting": lambda: None}
    lock = tmp_path / "page" / "slow.lock"
    with cache.alone("page", "slow", **kept):
        os.utime(lock, (0, 0))
        cache.write("page", "quick", result())
        assert lock.exists()
        with pytest.raises(runs.Stopped), cache.alone("page", "slow", **kept):
            pass
    os.utime(lock, (0, 0))
    cache.write("page", "quick", result())
    assert [path.name for path in lock.parent.iterdir()] == ["quick.ipynb"]


def test_a_kernel_can_be_ended_from_another_thread(tmp_path):
    run = runs.Run(
        "page",
        notebook("open('here', 'w').close()", "import time; time.sleep(60)"),
        folder=tmp_path,
        timeout=None,
    )

    def end():
        while not (tmp_path / "here").exists():
            time.sleep(0.05)
        run.kill()

    killer = threading.Thread(target=end)
    killer.start()
    with pytest.raises(runs.Stopped):
        run.execute()
    killer.join()


# Builds


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Return a book that two builds made at the same time, and what each said."""
    names = tuple(runs.VARIABLES)
    notebooks = {
        name: notebook(NOTE.format(name=name, names=names), f"print('said by', '{name}')")
        for name in ("one", "two")
    }
    book = Book(tmp_path_factory.mktemp("tiny"), notebooks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKYTUTOR_JOBS", "2")
        patch.setenv("OMP_NUM_THREADS", "4")
        patch.delenv("SKYTUTOR_STATIC", raising=False)
        both = [book.start(out) for out in ("html", "other")]
    book.first = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], book.first
    book.ran = book.log()
    return book


def test_two_builds_at_a_time_run_each_notebook_once(book):
    assert sorted(line[0] for line in book.ran) == ["one", "two"]
    said = [output for output, _ in book.first]
    assert sum(text.count("started (not run yet)") for text in said) == 2
    others = r"(another build runs it, waiting|done by another build|cached, took)"
    assert sum(len(re.findall(rf"{name}: {others}", "".join(said))) > 0 for name in ("one", "two"))
    for name in ("one", "two"):
        for out in ("html", "other"):
            assert f"said by {name}" in book.page(name, out)


def test_notebooks_run_side_by_side_with_one_thread_each(book):
    (_, began, ended, *one), (_, began2, ended2, *two) = book.ran
    assert max(float(began), float(began2)) < min(float(ended), float(ended2))
    assert one == two == [str([1, *runs.VARIABLES.values()])]
    assert (
        runs.VARIABLES["SKYTUTOR_STATIC"] == "1"
        and runs.ONE_THREAD.items() <= runs.VARIABLES.items()
    )


def test_all_that_a_kernel_is_given_is_in_the_key(tmp_path, monkeypatch):
    """A build says where a notebook runs and how long a cell may take; the rest is `runs.py`'s."""
    asked = []

    class NoRun:
        def __init__(self, page, content, **how):
            asked.append(how)

        def execute(self):
            raise runs.CellFailed

    monkeypatch.setattr(execute, "Run", NoRun)
    nbformat.write(notebook("print(1)"), tmp_path / "page.ipynb")
    executor = execute.Executor()
    executor.cache = executed.Cache(tmp_path / "kept")
    executor.timeout = 5
    with pytest.raises(runs.CellFailed):
        executor.run_one(execute.Page("page", tmp_path / "page.ipynb", {}))
    assert asked == [{"folder": tmp_path, "timeout": 5}]


def row(book, name):
    """Return the cells of the status table's row of a page."""
    table = book.page("index").split("</table>")[0]
    (line,) = [text for text in table.split("<tr")[1:] if f'href="{name}.html"' in text]
    return re.findall(r"<p>(.*?)</p>", line)


def test_a_build_runs_what_has_changed_and_nothing_else(book):
    date, _, seconds, status = row(book, "one")[1:]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", date) and status == "✅"
    # Prose, captions and tags are new, the outputs are not.
    path = book.folder / "one.ipynb"
    content = nbformat.read(path, as_version=4)
    content.cells[0].source = "# Another heading"
    content.cells[1].metadata["tags"] = ["hide-input"]
    nbformat.write(content, path)
    done = book.build()
    assert done.status == 0, done.errors
    assert "notebooks: 2, to run: 0" in done.said and book.log() == book.ran
    assert re.search(r"one: cached, took \d+ s when it ran", done.said)
    page = book.page("one")
    assert "Another heading" in page and "hide-input" in page and "said by one" in page
    assert row(book, "one")[1:] == [date, "cached", seconds, "✅"]
    # One cell of one notebook.
    content.cells[2].source = "print('said anew')"
    nbformat.write(content, path)
    done = book.build()
    assert done.status == 0, done.errors
    assert "one: started (changed: the cells)" in done.said and "two: cached" in done.said
    assert [line[0] for line in book.log()[2:]] == ["one"]
    assert "said anew" in book.page("one") and "said by two" in book.page("two")
    assert row(book, "one")[2] == "executed" and row(book, "two")[2] == "cached"


def test_a_cell_that_fails_ends_the_build_with_a_report(tmp_path, monkeypatch):
    slow = "import time\ntime.sleep(1.5)\nopen('slow', 'w').close()"
    bad = "import sys\nprint('before', file=sys.stderr)\nvalue = 0\nprint(\n    1 / value)"
    notebooks = {
        "bad": notebook("x = 1", bad, "open('after', 'w').close()"),
        "slow": notebook(slow),
        "third": notebook("open('third', 'w').close()"),
    }
    book = Book(tmp_path, notebooks)
    monkeypatch.setenv("SKYTUTOR_JOBS", "2")
    done = book.build()
    assert done.status == 1
    report = done.errors[done.errors.index("=" * 80) :]
    assert re.search(r"bad: code cell 2 of 3 failed, \d+ s after the start. The cell:", report)
    for line in bad.splitlines():
        assert f"    {line}\n" in report
    assert report.count("value = 0") == 2, "in the cell and in the traceback"
    assert "ZeroDivisionError: division by zero" in report and "\x1b" not in report
    assert report.rstrip().endswith("The book was not built.")
    assert "bad: FAILED" in done.said and not (book.folder.parent / "html/bad.html").exists()
    # The one beside it went on to its end and is kept; the third was not begun.
    assert [path.parent.name for path in book.kept()] == ["slow"]
    assert not (book.folder / "after").exists() and not (book.folder / "third").exists()


def test_a_cell_that_takes_too_long_or_loses_its_kernel_is_reported(tmp_path):
    for cell, said in (
        ("import time; time.sleep(60)", "It took longer than the 1 s that a cell may take."),
        ("import os; os._exit(1)", "Its kernel died."),
    ):
        run = runs.Run("page", notebook(cell), folder=tmp_path, timeout=1)
        with pytest.raises(runs.CellFailed) as failure:
            run.execute()
        report = str(failure.value)
        assert report.startswith("page: code cell 1 of 1 failed") and said in report
        assert f"\n    {cell}\n" in report


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_build_that_is_ended_leaves_nothing_and_the_next_one_works(tmp_path, monkeypatch, how):
    cell = "import os, time\nprint('all')\nopen(str(os.getpid()), 'w').close()\n"
    cell += "if not os.path.exists('go'): time.sleep(60)"
    book = Book(tmp_path, {"page": notebook(cell)})
    monkeypatch.setenv("SKYTUTOR_JOBS", "1")
    process = book.start()
    while not (kernels := list(book.folder.glob("[0-9]*"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(how)
    process.wait(timeout=30)
    assert process.returncode != 0 and book.kept("*/*.ipynb") == book.kept("*/*.part") == []
    kernel = int(kernels[0].name)
    ends = time.monotonic() + 15
    while psutil.pid_exists(kernel) and psutil.Process(kernel).status() != "zombie":
        assert time.monotonic() < ends, "the kernel outlives the build"
        time.sleep(0.05)
    process.communicate()
    (book.folder / "go").touch()
    done = book.build()
    assert done.status == 0, done.errors
    assert "page: started (not run yet)" in done.said and ">all" in book.page("page")
    assert len(book.kept()) == 1


CELLS = [
    "import sys\nfor k in range(3):\n    print(k, flush=True)\n    print(k, file=sys.stderr)",
    new_code_cell(
        "import sys; print('gone', file=sys.stderr); print('stays')",
        metadata={"tags": ["remove-stderr"]},
    ),
    new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}),
    new_code_cell(
        "import matplotlib.pyplot as plt\nplt.figure(figsize=(1, 1))\nplt.plot([0, 1]);",
        metadata={"mystnb": {"image": {"alt": "a line"}, "figure": {"caption": "A *line*."}}},
    ),
    "from IPython.display import HTML\nHTML('<b class=\"own\">bold</b>')",
    "import ipywidgets\nipywidgets.IntSlider(value=7, description='seven')",
    new_code_cell("{'a': 1}", metadata={"tags": ["hide-input"]}),
]


def test_pages_are_those_of_a_plain_execution(tmp_path):
    plain = Book(tmp_path / "plain", {"page": notebook(*CELLS)}, extension="", mode="force")
    ours = Book(tmp_path / "ours", {"page": notebook(*CELLS)})
    pages = []
    for book, out in ((plain, "run"), (ours, "run"), (ours, "kept")):
        done = book.build(out)
        assert done.status == 0, done.errors
        # The models of widgets are numbered at random.
        page = re.sub(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", "model", book.page("page", out))
        pages.append(page)
    assert pages[0] == pages[1] == pages[2] and "to run: 0" in done.said
    words = ("stays", "ZeroDivisionError", 'alt="a line"', 'class="own"', "seven", "0\n1\n2")
    for word in words:
        assert word in pages[0], word
    assert "gone\n" not in pages[0]


def test_notebooks_are_not_run_twice(tmp_path):
    book = Book(tmp_path, {"page": notebook("1")}, mode="force")
    done = book.build()
    assert done.status != 0 and "execute_notebooks must be 'off'" in done.errors
    settings = (ROOT / "_config.yml").read_text()
    assert 'execute_notebooks: "off"' in settings and "nb_merge_streams: true" in settings


def test_jobs_are_those_that_are_named_or_one_a_core(monkeypatch):
    monkeypatch.setenv("SKYTUTOR_JOBS", "3")
    assert execute.jobs() == 3
    monkeypatch.delenv("SKYTUTOR_JOBS")
    monkeypatch.setattr(profile, "cores", lambda: 7)
    assert execute.jobs() == 7
    for named in ("0", "two", "-1"):
        monkeypatch.setenv("SKYTUTOR_JOBS", named)
        with pytest.raises(ExtensionError, match=f"at least 1, got '{named}'"):
            execute.jobs()


def test_what_is_known_to_take_longest_begins(tmp_path, monkeypatch):
    times = {"smoke": {"seconds": 5.0}, "cpu": {"seconds": 50.0}}
    measured = {"ran": times, "measured": times, "measured elsewhere": {"cpu": {"seconds": 9.0}}}
    (tmp_path / "measured.json").write_text(json.dumps(measured))
    monkeypatch.setattr(execute.costs, "RESULTS", tmp_path / "measured.json")
    executor = execute.Executor()
    executor.profile = "smoke"
    executor.cache = executed.Cache(tmp_path)
    executor.cache.write("ran", "a", result(hashes={"the profile": "here"}))
    for page in ("ran", "measured"):
        executor.cache.write(page, "b", result(hashes={"the profile": "another"}))
    found = {}
    for name in ("ran", "measured", "measured elsewhere", "new"):
        page = SimpleNamespace(name=name, hashes={"the profile": "here"})
        found[name] = executor.expected(page)
    assert list(found.values()) == [1.5, 5.0, 9.0, float("inf")]


def test_a_result_is_not_kept_when_the_package_changed_meanwhile(package, tmp_path, monkeypatch):
    said = []
    warned = []
    monkeypatch.setattr(execute, "say", said.append)
    monkeypatch.setattr(execute, "warn", warned.append)
    nbformat.write(notebook("print(1)"), tmp_path / "page.ipynb")
    executor = execute.Executor()
    executor.cache = executed.Cache(tmp_path / "kept")
    page = execute.Page("page", tmp_path / "page.ipynb", executed.ingredients())
    page.result = result()
    executor.keep(page)
    assert executor.cache.read("page", page.key) is not None and warned == []
    (tmp_path / "kept" / "page" / f"{page.key}.ipynb").unlink()
    change_script(package, page.notebook, monkeypatch)
    executor.keep(page)
    assert executor.cache.entries("page") == []
    assert said == ["  page: done in 2 s"] * 2
    [line] = warned
    assert line.startswith("page: changed while it ran: the package. Its outputs are not kept")


def test_a_package_that_changes_while_a_page_runs_fails_the_build(tmp_path):
    cell = "open('package', 'w').write('2')\nprint('of both')"
    book = Book(tmp_path, {"page": notebook(cell)})
    done = book.build()
    assert done.status != 0 and "page: changed while it ran: the package" in done.errors
    assert book.kept() == []
    done = book.build()
    assert done.status == 0, done.errors
    assert len(book.kept()) == 1 and "of both" in book.page("page")


def test_the_profile_is_the_one_that_the_chapters_choose(monkeypatch, one_thread):
    monkeypatch.setenv("SKYTUTOR_PROFILE", "smoke")
    assert executed.chosen_profile() == "smoke on cpu"
    monkeypatch.setenv("SKYTUTOR_PROFILE", "slow")
    with pytest.raises(ValueError, match="SKYTUTOR_PROFILE"):
        executed.chosen_profile()
