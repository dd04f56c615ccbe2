"""`{benchmarks}`: the transforms' table from `benchmarks.json`, which `python -m benchmarks --save` writes, machine by machine."""

import json
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
from skybook import ROOT, Measured  # noqa: E402

RESULTS = ROOT / "book" / "benchmarks.json"


class Benchmarks(SphinxDirective):
    """For each machine: what was measured where and when, the table, the bars, and what was not run."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(RESULTS))
        known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        shown = [node for name, found in sorted(known.items()) for node in self.one(name, found)]
        return shown or [nodes.paragraph("", "Not measured yet: run python -m benchmarks --save.")]

    @staticmethod
    def one(name: str, found: dict) -> list[nodes.Node]:
        versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
        lines = (f"{name}; {found['threads']} threads; {found['allocator']}; {versions}; {found['date']}.", "Bars:", "Not run:")
        lists = [nodes.bullet_list("", *[nodes.list_item("", nodes.paragraph("", x)) for x in found[k]]) for k in ("bars", "not_run")]
        where, bars, rest = (nodes.paragraph("", line) for line in lines)
        return [where, Measured.table(found["head"], found["table"]), bars, lists[0]] + ([rest, lists[1]] if found["not_run"] else [])


def setup(app: Sphinx) -> dict:
    app.add_directive("benchmarks", Benchmarks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
