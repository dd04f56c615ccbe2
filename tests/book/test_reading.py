"""`{parts}`: a list of the page's parts with links that lead to them and minutes nobody typed."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
TEN_WORDS = " ".join(["word"] * 10) + ". "
SETTINGS = f"""
import sys
sys.path.insert(0, {str(ROOT / "book/_ext")!r})
extensions = ["myst_nb", "reading"]
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence"]
"""

pytest.importorskip("myst_nb")


def run_sphinx(folder, *cells, name="index.ipynb"):
    """Return how Sphinx went over some cells."""
    (folder / "conf.py").write_text(SETTINGS)
    if name.endswith(".ipynb"):
        nbformat.write(new_notebook(cells=list(cells)), folder / name)
    else:
        (folder / name).write_text("\n\n".join(cell.source for cell in cells))
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", folder, folder / "html"]
    return subprocess.run(command, capture_output=True, text=True)


def build(folder, *cells, name="index.ipynb"):
    """Return the page that Sphinx makes of some cells, and what it complains of."""
    ran = run_sphinx(folder, *cells, name=name)
    assert ran.returncode == 0, ran.stderr
    return (folder / "html/index.html").read_text(), ran.stderr


def test_the_list_links_to_the_parts_with_their_minutes(tmp_path):
    page, complaints = build(
        tmp_path,
        new_markdown_cell("# Title\n\n```{parts}\n```"),
        new_markdown_cell(f"## Part 1: The *first* `of` them\n\n### Idea\n\n{195 * TEN_WORDS}"),
        new_code_cell("\n".join(["x = 1"] * 20)),
        new_code_cell("plt.plot(x)", metadata={"mystnb": {"figure": {"caption": "A line."}}}),
        new_markdown_cell(":::{admonition} Quick question\n:class: question\nWhy?\n:::"),
        new_markdown_cell(f"## Part 2: Second\n\n{TEN_WORDS}"),
        new_markdown_cell(f"## Exercises\n\n{500 * TEN_WORDS}"),
    )
    assert "parts" not in complaints
    items = re.findall(
        r'<li><p><a class="reference internal" href="#([\w-]+)">(.*?)</a>(.*?)</p>', page
    )
    assert items == [
        ("part-1-the-first-of-them", "Part 1: The first of them", ", 19 minutes"),
        ("part-2-second", "Part 2: Second", ", 1 minute"),
    ]
    assert all(f'id="{anchor}"' in page for anchor, _, _ in items)
    assert "130 words and 10 shown lines of code a minute" in page


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("index.ipynb", 'found no heading "## Part 1: ..."'), ("index.md", "this page is none")],
)
def test_a_page_that_has_none_is_told(tmp_path, name, complaint):
    cells = [new_markdown_cell("# Title\n\n```{parts}\n```\n\n## Section\n\nText.")]
    _, complaints = build(tmp_path, *cells, name=name)
    assert complaint in complaints


def test_a_part_of_another_level_stops_the_build_with_its_page_and_heading(tmp_path):
    ran = run_sphinx(
        tmp_path,
        new_markdown_cell("# Title\n\n```{parts}\n```"),
        new_markdown_cell(f"## Part 1: First\n\n{TEN_WORDS}\n\n### Part 2: Second\n\n{TEN_WORDS}"),
    )
    assert ran.returncode != 0
    assert 'index: {parts} counts 1 headings "## Part 1: ..." in the notebook' in ran.stderr
    assert "the page has ['Part 1: First', 'Part 2: Second']" in ran.stderr
