"""What nbval keeps of a notebook is what the build would make of it."""

import os
import re
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell
from test_execute import CELLS, EXT, Book, notebook

sys.path.insert(0, str(EXT))

import nbkeep

MORE = [
    """from IPython.display import display
handle = display("before", display_id=True)
handle.update("aft" + "er")""",
    "",
    "_ih[-2][:20]",
]
# What a book's own conftest says, for a book of a test.
CONFTEST = """
from pathlib import Path
import executed, nbkeep
nbkeep.BOOK = Path(__file__).parent
nbkeep.FOLDER = nbkeep.BOOK.parent / "_build" / "executed"
executed.ingredients = lambda: {"the package": "1"}
"""


def run_nbval(book):
    """Run the notebooks of a book by nbval, and keep them."""
    (book.folder / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", "-p", "nbkeep", "-p", "no:cacheprovider", "--nbval"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(EXT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [*command, *map(str, sorted(book.folder.glob("*.ipynb")))],
        cwd=book.folder,
        env=env,
        capture_output=True,
        text=True,
    )


def test_a_page_of_what_nbval_kept_is_that_of_the_builds_own_run(tmp_path):
    books = [Book(tmp_path / name, {"page": notebook(*CELLS, *MORE)}) for name in ("own", "kept")]
    done = run_nbval(books[1])
    assert done.returncode == 0, done.stdout
    said = []
    pages = []
    for book in books:
        built = book.build()
        assert built.status == 0, built.errors
        said.append(built.said)
        pages.append(re.sub(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", "model", book.page("page")))
    assert "to run: 1" in said[0] and "to run: 0" in said[1]
    assert pages[0] == pages[1]
    assert "after" in pages[0]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("print(1, chr(32).join('ab')", "SyntaxError"),
        # A page has no kernel behind it, a reader's notebook has one.
        ("from skytutor.widgets import model\n1 / model.is_static()", "ZeroDivisionError"),
        ("from skytutor.widgets.model import is_static as s\nx = 1 / s()", "ZeroDivisionError"),
    ],
)
def test_a_notebook_that_fails_is_not_kept(tmp_path, cell, said):
    book = Book(tmp_path, {"page": notebook("2", cell, "3"), "good": notebook("4")})
    done = run_nbval(book)
    assert done.returncode == 1 and said in done.stdout and "1 failed" in done.stdout
    assert [path.parent.name for path in book.kept()] == ["good"]


def test_what_is_made_live_changes_no_name_and_no_page(tmp_path):
    cell = "from skytutor.widgets.model import is_static\nseen = is_static()\nis_static()"
    book = Book(tmp_path, {"page": notebook(cell, new_code_cell("print(seen, is_static())"))})
    done = run_nbval(book)
    assert done.returncode == 0, done.stdout
    built = book.build()
    assert built.status == 0 and "to run: 0" in built.said
    assert "True True" in book.page("page") and "False" not in book.page("page")


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("x = 1", ""),
        ("%time view(x)", ""),
        ("a = 1\nglobe = view(x)\nprint(a)", "globe = view(x)"),
        ("explore.show(view(2))", "__import__('IPython').display.display(explore.show(view(2)))"),
        ("def f():\n    return view(x)", ""),
        (
            "from skytutor.widgets import swipe as s\ns(1)",
            "__import__('IPython').display.display(s(1))",
        ),
        ("from torch import view as v\nv(1)", ""),
    ],
)
def test_what_a_cell_shows_is_known_by_the_names_of_our_widgets(source, code):
    assert nbkeep.shown_by(source, {"view", "explore"}) == code
