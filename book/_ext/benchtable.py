"""`{benchmarks}`: the transforms' table from `benchmarks.json`, which `python -m benchmarks --save` writes, machine by machine."""

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
    """For each machine: what was measured where and when, the table, the bars, and what was not run."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(RESULTS))
        known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        shown = [node for name, found in sorted(known.items()) for node in self.one(name, found)]
        return shown or [nodes.paragraph("", "Not measured yet: run python -m benchmarks --save.")]

    @staticmethod
    def one(name: str, found: dict) -> list[nodes.Node]:
        versions = ", ".join(
            f"{package} {version}" for package, version in found["versions"].items()
        )
        where = f"{name}; {found['threads']} threads; {found['allocator']}; {versions}; {found['date']}."
        sizes = list(dict.fromkeys(tuple(row[key] for key in SIZE) for row in found["rows"]))
        out = [nodes.paragraph("", where), nodes.paragraph("", "Bars:"), _list(found["bars"])]
        for size in sizes:
            rows = [row for row in found["rows"] if tuple(row[key] for key in SIZE) == size]
            columns = [c for c in COLUMNS if any(row.get(c[1]) is not None for row in rows)]
            cells = [
                [
                    form.format(row[key]) if row.get(key) is not None else "-"
                    for _, key, form in columns
                ]
                for row in rows
            ]
            out += [
                nodes.rubric("", TITLE.format(*size)),
                Measured.table([title for title, _, _ in columns], cells),
            ]
        return out + (
            [nodes.paragraph("", "Not run:"), _list(found["not_run"])] if found["not_run"] else []
        )


def _list(lines: list[str]) -> nodes.bullet_list:
    return nodes.bullet_list(
        "", *[nodes.list_item("", nodes.paragraph("", line)) for line in lines]
    )


def setup(app: Sphinx) -> dict:
    app.add_directive("benchmarks", Benchmarks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
