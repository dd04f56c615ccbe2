"""`{benchmarks}`: the transforms' table, machine by machine.

Its numbers are those of `benchmarks.json`, which `python -m benchmarks --save` writes.
"""

import json
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
from skybook import ROOT, Measured

RESULTS = ROOT / "book" / "benchmarks.json"

SIZE = ("device", "spin", "nside", "lmax")
TITLE = "{}, spin {}, nside {}, lmax {}"
COLUMNS = (
    ("library", "library", "{}"),
    ("type", "dtype", "{}"),
    ("batch", "batch", "{}"),
    ("inverse / ms", "inverse", "{:.3g}"),
    ("forward / ms", "forward", "{:.3g}"),
    ("with gradient / ms", "both", "{:.3g}"),
    ("set-up / s", "setup", "{:.2f}"),
    ("MiB", "memory", "{:.0f}"),
    ("map error", "map_error", "{:.0e}"),
    ("a_lm error", "alm_error", "{:.0e}"),
    ("% of floor", "floor", "{:.0f}"),
)


class Benchmarks(SphinxDirective):
    """The results of each machine.

    They say what was measured where and when; then come the bars, the tables, and what was not run.
    """

    def run(self) -> list[nodes.Node]:
        """Return the nodes of all machines, or a sentence where nothing was measured."""
        self.env.note_dependency(str(RESULTS))
        machines = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        shown = []
        for name, results in sorted(machines.items()):
            shown += self.one(name, results)
        return shown or [nodes.paragraph("", "Not measured yet: run python -m benchmarks --save.")]

    @staticmethod
    def one(name: str, results: dict) -> list[nodes.Node]:
        """Return the nodes of one machine: a paragraph, the bars, and a table for each size."""
        versions = ", ".join(
            f"{package} {version}" for package, version in results["versions"].items()
        )
        where = (
            f"{name}; {results['threads']} threads; {results['allocator']}; {versions}; "
            f"{results['date']}."
        )
        out = [nodes.paragraph("", where), nodes.paragraph("", "Bars:"), _list(results["bars"])]
        by_size: dict[tuple, list[dict]] = {}
        for row in results["rows"]:
            size = tuple(row[key] for key in SIZE)
            by_size.setdefault(size, []).append(row)
        for size, rows in by_size.items():
            out += [nodes.rubric("", TITLE.format(*size)), _table(rows)]
        if results["not_run"]:
            out += [nodes.paragraph("", "Not run:"), _list(results["not_run"])]
        return out


def _table(rows: list[dict]) -> nodes.table:
    """Return a table of rows of one size; columns without a number are left out."""
    columns = [c for c in COLUMNS if any(row.get(c[1]) is not None for row in rows)]
    cells = []
    for row in rows:
        cells.append([_cell(row.get(key), form) for _, key, form in columns])
    return Measured.table([title for title, _, _ in columns], cells)


def _cell(value: object, form: str) -> str:
    """Return the text of a cell, "-" where there is no number."""
    return "-" if value is None else form.format(value)


def _list(lines: list[str]) -> nodes.bullet_list:
    """Return a bullet list of plain lines."""
    items = [nodes.list_item("", nodes.paragraph("", line)) for line in lines]
    return nodes.bullet_list("", *items)


def setup(app: Sphinx) -> dict:
    """Register the directive with Sphinx."""
    app.add_directive("benchmarks", Benchmarks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
