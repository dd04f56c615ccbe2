"""`{parts}`: the parts of the page it stands on, each with the minutes that reading it takes.

The minutes are counted from the notebook when the book is built, by `counting`. Nobody types them.
"""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
from counting import LINES_A_MINUTE, PART, WORDS_A_MINUTE, parts, read


class PartList(nodes.General, nodes.Element):
    """Stands for the list until the page is read to its end and its headings have anchors."""


class Parts(SphinxDirective):
    """List the parts of this page: the headings ``## Part 1: ...``."""

    def run(self) -> list[nodes.Node]:
        """Return a mark that `fill` replaces, and the sentence that says how minutes are counted.

        Raises:
            docutils.utils.SystemMessage: a page that is no notebook or has no parts.
        """
        path = Path(self.env.doc2path(self.env.docname))
        if path.suffix != ".ipynb":
            raise self.error("{parts} counts the cells of a notebook; this page is none")
        minutes = [max(1, round(part.minutes)) for part in parts(read(path))]
        if not minutes:
            raise self.error('{parts} found no heading "## Part 1: ..." on this page')
        note = (
            f"Counted at {WORDS_A_MINUTE} words and {LINES_A_MINUTE} shown lines of code a "
            "minute, and one minute for each figure, table, sphere and question. Exercises, and "
            "what is folded, come on top."
        )
        return [
            PartList(minutes=minutes),
            nodes.paragraph("", note, classes=["parts-note"]),
        ]


def fill(app: Sphinx, doctree: nodes.document) -> None:
    """Put a list of links in place of each mark.

    Raises:
        ExtensionError: other headings of parts on the page than there are in its notebook.
    """
    for mark in list(doctree.findall(PartList)):
        items = nodes.bullet_list(classes=["parts"])
        headings = [s for s in doctree.findall(nodes.section) if PART.match(s[0].astext())]
        if len(headings) != len(mark["minutes"]):
            raise ExtensionError(
                f'{app.env.docname}: {{parts}} counts {len(mark["minutes"])} headings "## Part 1: '
                f'..." in the notebook, the page has {[s[0].astext() for s in headings]}; a part '
                "is a heading of second level"
            )
        for section, minutes in zip(headings, mark["minutes"], strict=True):
            unit = "minute" if minutes == 1 else "minutes"
            anchor = section["ids"][0]
            link = nodes.reference("", section[0].astext(), refid=anchor, internal=True)
            line = nodes.paragraph("", "", link, nodes.Text(f", {minutes} {unit}"))
            items += nodes.list_item("", line)
        mark.replace_self(items)


def setup(app: Sphinx) -> dict:
    """Register the directive and what fills its list."""
    app.add_node(PartList)
    app.add_directive("parts", Parts)
    app.connect("doctree-read", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
