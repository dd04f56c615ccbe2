"""How checks are shown: a line each outside a notebook, one line a cell that opens inside."""

import math
import re
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from skytutor import check
from skytutor.check import session

CELLS = {
    "imports": "from skytutor import check",
    "two": 'check.close("pi", 3.14159, 3.1416, tolerance=1e-4)\ncheck.equal("pixels", 3072, 3072)',
    "none": "1 + 1",
    "in a function": (
        "def audit(value):\n"
        '    check.at_most("error < limit & so", value, 2)\n'
        "    print('after the check')\n"
        "audit(1.5)"
    ),
    "in threads": (
        "import threading\n"
        "def audit(k):\n"
        '    check.equal(f"thread {k}", k, k)\n'
        "threads = [threading.Thread(target=audit, args=(k,)) for k in range(4)]\n"
        "for thread in threads:\n"
        "    thread.start()\n"
        "for thread in threads:\n"
        "    thread.join()"
    ),
    "one fails": (
        'check.equal("first", 1, 1)\ncheck.equal("second", 2, 3)\ncheck.equal("third", 3, 3)'
    ),
    "after it": 'check.at_least("accuracy", 0.994, 0.99)',
    "figure": (
        'import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\ncheck.equal("drawn", 1, 1)'
    ),
    "so far": 'check.so_far("It is {pi:.2f}, on {pixels:,} pixels <b>.")\ncheck.equal("a", 1, 1)',
    "unknown": 'check.so_far("It is {tau:.2f}.")',
    "failed is unknown": 'check.so_far("It is {second}.")',
}


@pytest.fixture(scope="module")
def outputs():
    """Return the outputs of each cell, run in one kernel as the book's build runs them."""
    cells = [new_code_cell(source) for source in CELLS.values()]
    notebook = new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True)
    client.execute()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


def shown(outputs):
    """Return the lines of checks among the outputs, as (HTML, plain text)."""
    data = [o.data for o in outputs if o.output_type == "display_data"]
    return [(d["text/html"], d["text/plain"]) for d in data if "checks" in d.get("text/html", "")]


def test_the_checks_of_a_cell_are_one_line_that_opens(outputs):
    assert len(outputs["two"]) == 1
    [(page, plain)] = shown(outputs["two"])
    assert page.startswith('<details class="checks"') and page.endswith("</details>")
    assert ">2 checks passed</summary>" in page and page.count("<li>") == 2
    assert plain.splitlines() == [
        "2 checks passed",
        "  pi: 3.14159 (3.1416 within 0.0001)",
        "  pixels: equal",
    ]


def test_a_cell_without_checks_shows_none(outputs):
    assert [o.output_type for o in outputs["none"]] == ["execute_result"]
    assert outputs["imports"] == []


def test_checks_within_a_function_come_after_what_it_prints_and_are_escaped(outputs):
    stream, line = outputs["in a function"]
    assert stream.text == "after the check\n"
    assert ">1 check passed</summary>" in line.data["text/html"]
    assert "error &lt; limit &amp; so" in line.data["text/html"]


def test_checks_of_threads_are_shown_with_the_cell(outputs):
    [(page, _)] = shown(outputs["in threads"])
    assert ">4 checks passed</summary>" in page
    assert all(f"thread {k}: equal" in page for k in range(4))


def test_a_check_that_fails_stops_the_cell_and_those_before_it_are_shown(outputs):
    [error] = [o for o in outputs["one fails"] if o.output_type == "error"]
    assert error.ename == "AssertionError" and "got 2, wanted 3" in error.evalue
    [(page, _)] = shown(outputs["one fails"])
    assert "first: equal" in page and "second" not in page and "third" not in page


def test_what_one_cell_showed_the_next_does_not(outputs):
    [(page, _)] = shown(outputs["after it"])
    assert page.count("<li>") == 1 and "accuracy" in page


def test_the_line_comes_below_the_figure(outputs):
    kinds = [sorted(o.data) for o in outputs["figure"] if o.output_type == "display_data"]
    assert ["image" in kind[0] for kind in kinds] == [True, False]


def test_the_hook_is_registered_once(outputs):
    """Else each cell would show its checks as often as cells ran before."""
    for name in ("two", "in a function", "in threads", "after it", "figure"):
        assert len(shown(outputs[name])) == 1


def test_so_far_holds_what_was_measured(outputs):
    box, line = outputs["so far"]
    assert 'class="so-far"' in box.data["text/html"]
    assert "It is 3.14, on 3,072 pixels &lt;b&gt;." in box.data["text/html"]
    assert box.data["text/plain"] == "So far: It is 3.14, on 3,072 pixels <b>."
    assert "1 check passed" in line.data["text/plain"]


@pytest.mark.parametrize(("name", "label"), [("unknown", "tau"), ("failed is unknown", "second")])
def test_so_far_refuses_what_no_check_that_passed_has_measured(outputs, name, label):
    [error] = outputs[name]
    assert error.ename == "ValueError"
    assert f"no check has measured '{label}'; measured: 'pi', 'pixels'" in error.evalue


def test_in_a_terminal_the_line_is_plain():
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_cell('from skytutor import check; check.equal(\"a\", 1, 1)')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["1 check passed", "  a: equal"]


def test_nbval_runs_the_cells_and_sees_what_fails(tmp_path):
    cells = [new_code_cell(CELLS[name]) for name in ("imports", "two", "in threads")]
    sound = tmp_path / "sound.ipynb"
    nbformat.write(new_notebook(cells=cells), sound)
    broken = tmp_path / "broken.ipynb"
    nbformat.write(new_notebook(cells=[*cells, new_code_cell(CELLS["one fails"])]), broken)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval"]
    ran = subprocess.run(
        [*command, "--rootdir", tmp_path, sound, broken], capture_output=True, text=True
    )
    assert "6 passed" in ran.stdout and "1 failed" in ran.stdout, ran.stdout


# --- outside a notebook ---


@pytest.fixture
def no_numbers(monkeypatch):
    monkeypatch.setattr(session, "_SESSION", session._Session())


def test_outside_a_notebook_each_check_prints_a_line(capsys, no_numbers):
    check.equal("pixels", 12, 12)
    check.close("pi", 3.1416, 3.14159, tolerance=1e-4)
    expected = "ok: pixels: equal\nok: pi: 3.1416 (3.14159 within 0.0001)\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{a, b: c:.1f} of it", "0.8 of it"),
        ("{a, b: c}", "0.75"),
        ("{n}, {n:,}, {n:.1f}", "1024, 1,024, 1024.0"),
        ("{{n}} is {n}", "{n} is 1024"),
        ("{noise 0.5 [muK]:.0%}", "25%"),
    ],
)
def test_a_label_may_hold_colons_dots_and_brackets(capsys, no_numbers, text, filled):
    check.at_least("a, b: c", 0.75, 0)
    check.equal("n", 1024, 1024)
    check.at_most("noise 0.5 [muK]", 0.25, 1)
    capsys.readouterr()
    check.so_far(text)
    assert capsys.readouterr().out == f"So far: {filled}\n"


def test_the_last_value_of_a_label_counts(no_numbers):
    check.at_least("accuracy", 0.5, 0)
    check.at_least("accuracy", 0.9, 0)
    assert session.measured() == {"accuracy": 0.9}


@pytest.mark.parametrize("value", ["ring", True, [1, 2]])
def test_what_is_no_number_is_not_kept(no_numbers, value):
    check.equal("it", value, value)
    assert session.measured() == {}
    check.equal("it", 3, 3)
    check.equal("it", value, value)
    assert session.measured() == {}


FAILING = {
    "close": (lambda: check.close("it", 9, 0.5, tolerance=0.1), AssertionError),
    "between": (lambda: check.between("it", 9, 0, 1), AssertionError),
    "at_least": (lambda: check.at_least("it", -9, 0), AssertionError),
    "at_most": (lambda: check.at_most("it", 9, 1), AssertionError),
    "equal": (lambda: check.equal("it", 9, 0.5), AssertionError),
    "not finite": (lambda: check.at_most("it", math.nan, 1), AssertionError),
    "no number": (lambda: check.at_most("it", "nine", 1), TypeError),
    "cannot be compared": (lambda: check.at_most("it", 9, "nine"), TypeError),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_check_that_fails_leaves_no_number_of_an_earlier_one(no_numbers, name):
    check.at_most("it", 0.5, 1)
    check.at_most("other", 0.5, 1)
    fail, error = FAILING[name]
    with pytest.raises(error):
        fail()
    assert session.measured() == {"other": 0.5}
    with pytest.raises(ValueError, match="no check has measured 'it'; measured: 'other'"):
        check.so_far("It is {it}.")


def test_an_empty_session_says_so(no_numbers):
    with pytest.raises(ValueError, match="no check has measured ''; measured: nothing"):
        check.so_far("It is {}.")


@pytest.mark.parametrize("text", [3, None, b"It is {q}."])
def test_a_box_without_a_text_is_refused(text):
    with pytest.raises(TypeError, match="so_far: a text with fields is wanted, got "):
        check.so_far(text)


@pytest.mark.parametrize("field", ["{q:zz}", "{q: .2d}"])
def test_a_format_that_does_not_fit_names_its_field(no_numbers, field):
    check.at_most("q", 0.5, 1)
    with pytest.raises(ValueError, match=re.escape(f"so_far: the format of '{field}' does not")):
        check.so_far(f"It is {field}.")
