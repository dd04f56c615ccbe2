"""Numbered figures and tables of results, each for a light page and for a dark one.

* Every SVG of the book becomes two: the page shows the one that suits it. `darken.py` changes the
  colours.
* A cell's metadata `{"mystnb": {"figure": {"caption": "...", "name": "fig-..."}}}` numbers what the
  cell shows, whether it is an image or HTML. A table of `skytutor.plot.results_table` brings its
  own caption: its cell has a name alone, and the number stands in that caption.
* Numbers begin anew on each page: figure 2 of chapter 3 is 3.2, of the first appendix A.2.
"""

import hashlib
import os
import posixpath
import re
import string
import sys
import urllib.parse
from html import unescape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

from skytutor.files import write_atomic

sys.path.insert(0, str(Path(__file__).parent))
import darken

NUMBERED = ("figure", "table")
OF_ONE_THEME = {"only-light", "only-dark", "dark-light"}  # the theme's classes: the author's choice
CAPTION = re.compile(r'(<span class="sky-caption">)(.*?)(</span></caption>)', re.DOTALL)
logger = logging.getLogger(__name__)


class themed_image(nodes.image):
    """An image for one of the two themes; its size is known before it is loaded."""


class numbered_table(nodes.General, nodes.Element):
    """A table of results whose own caption bears the number; `title` is that caption's text."""


class ShowFigures(SphinxTransform):
    """Number tables of results; put two images where an SVG is."""

    default_priority = 400

    def apply(self, **kwargs) -> None:
        """Change the page before its images and names are collected."""
        for figure in list(self.document.findall(nodes.figure)):
            number_table(self.document, figure)
        for image in list(self.document.findall(nodes.image)):
            mine = image["uri"].endswith(".svg") and "://" not in image["uri"]
            if mine and not OF_ONE_THEME & set(image["classes"]):
                two_images(self.env, image)


def number_table(document: nodes.document, figure: nodes.figure) -> None:
    """Make a numbered table of a figure that holds a table of results."""
    html = "".join(raw.astext() for raw in figure.findall(nodes.raw) if "html" in raw["format"])
    caption = CAPTION.search(html)
    if 'class="sky-table' not in html or not caption:
        return
    if any(isinstance(child, nodes.caption) for child in figure):
        logger.warning(
            "A table of results brings its own caption: leave the caption out of the metadata "
            "(mystnb.figure) of the cell that shows %r, the name is enough.",
            caption[2],
            location=figure,
        )
    table = numbered_table("", ids=figure["ids"], names=figure["names"])
    table["title"] = unescape(caption[2])
    table.source, table.line = figure.source, figure.line
    table += [child for child in figure if not isinstance(child, nodes.caption)]
    for name in table["ids"]:  # links by name look the element up here
        document.ids[name] = table
    figure.replace_self(table)


def two_images(env: BuildEnvironment, image: nodes.image) -> None:
    """Replace an SVG by one for the light page and one for the dark page."""
    _, path = env.relfn2path(image["uri"], env.docname)
    if not os.path.isfile(path):  # Sphinx itself will say so
        return
    env.note_dependency(path)
    svg = Path(path).read_bytes()
    pair = nodes.inline(classes=["light-dark"])
    for theme, version in (("light", darken.light), ("dark", darken.dark)):
        shown = themed_image(**image.attributes)
        shown["uri"] = store(env, version(svg))
        shown["classes"] = [*image["classes"], f"only-{theme}"]
        shown["size"] = darken.size_of(svg)
        pair += shown
    image.replace_self(pair)


def store(env: BuildEnvironment, svg: bytes) -> str:
    """Write an image beside the outputs of the notebooks; return its address for Sphinx."""
    folder = Path(env.mystnb_config.output_folder)
    path = folder / f"{hashlib.sha256(svg).hexdigest()}.svg"
    # Pages may be read side by side.
    write_atomic(path, svg)
    return "/" + Path(os.path.relpath(path.resolve(), env.srcdir)).as_posix()


# --- numbers ---


def prefix_of(page: str, appendices: list[str]) -> tuple[str, ...]:
    """Return what stands before the numbers of a page: "3" for chapter 3, "A" for an appendix.

    Arguments:
        page: its name, like "chapters/03-cmb-parameters".
        appendices: the pages of the appendices in their order.
    """
    chapter = re.match(r"chapters/0*(\d+)", page)
    if chapter:
        return (chapter[1],)
    if page in appendices:
        return (string.ascii_uppercase[appendices.index(page)],)
    return ()


def number_by_page(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Count figures and tables anew on each page; Sphinx has counted through the whole book."""
    pages = env.toctree_includes.get(env.config.root_doc, [])
    appendices = [page for page in pages if page.startswith("appendices/")]
    for page, kinds in env.toc_fignumbers.items():
        prefix = prefix_of(page, appendices)
        for kind in NUMBERED:
            numbers = kinds.get(kind, {})
            numbers |= {name: (*prefix, k) for k, name in enumerate(numbers, start=1)}
    return []


# --- HTML ---


def visit_image(self, node: themed_image) -> None:
    """Write an image that is loaded when its theme and its place on the page are in sight."""
    name = self.builder.images.get(node["uri"])
    uri = posixpath.join(self.builder.imgpath, urllib.parse.quote(name)) if name else node["uri"]
    attributes = {"src": uri, "alt": node.get("alt", ""), "loading": "lazy"}
    if "width" in node:  # the author's wish
        attributes["style"] = f"width: {node['width']}"
    if node["size"]:
        width, height = node["size"]
        attributes |= {"width": f"{width:.0f}", "height": f"{height:.0f}"}
    self.body.append(self.emptytag(node, "img", "", **attributes))


def visit_table(self, node: numbered_table) -> None:
    """Open the box of a table, and remember where its HTML begins."""
    self.body.append(self.starttag(node, "div", CLASS="numbered-table"))
    node["start"] = len(self.body)


def depart_table(self, node: numbered_table) -> None:
    """Put the number before the words of the table's own caption, and a link to it after them."""
    start = node["start"]
    inside = "".join(self.body[start:])
    del self.body[start:]
    self.add_fignumber(node)
    number = "".join(self.body[start:])
    del self.body[start:]
    self.add_permalink_ref(node, "Link to this table")
    link = "".join(self.body[start:])
    del self.body[start:]
    found = CAPTION.search(inside)
    caption = f"{found[1]}{number}{found[2]}{link}{found[3]}"
    self.body.append(inside[: found.start()] + caption + inside[found.end() :] + "</div>\n")


def nothing(self, node: nodes.Element) -> None:
    """Write nothing."""


def title_of(node: numbered_table) -> str:
    """Return the caption, for Sphinx."""
    return node["title"]


def setup(app: Sphinx) -> dict:
    """Connect all to Sphinx."""
    app.add_node(themed_image, html=(visit_image, nothing))
    app.add_enumerable_node(numbered_table, "table", title_of, html=(visit_table, depart_table))
    app.add_transform(ShowFigures)
    # after Sphinx has given its numbers
    app.connect("env-get-updated", number_by_page, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
