"""The book's own Sphinx extension.

* JavaScript fetched by `vendor.py` is served from the book itself, loaded only by the pages that
  need it.
* `{{ repository }}`, `{{ binder }}`, `{{ colab }}` and `{{ version }}` in a page stand for links
  made from `_config.yml`.
* `{measured}` is a table of run time and peak memory from `measurements.json`, which `measure.py`
  and `tests/launch/prove.py` write.
* Footnotes of docstrings get a name of their own: several docstrings share a page, and each counts
  from one.
* Fields of a named tuple stand on its page once, as its docstring describes them.
* Scripts that no page uses are left out; the script of the spheres stands once on a page.
"""

import json
import re
import sys
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
import bibstyle  # noqa: F401  (registers the bibliography style that _config.yml names)
import vendor

ROOT = Path(__file__).resolve().parents[2]
MEASUREMENTS = ROOT / "book" / "measurements.json"
RUNS = ("smoke", "cpu", "gpu", "binder", "colab")


def add_vendored(app: Sphinx, config) -> None:
    """Serve the vendored files from the book.

    Not through `_static`: Jupyter Book loads every script of that folder on every page.
    """
    try:
        folder = vendor.vendor()
    except vendor.VendorError as error:
        raise ExtensionError(str(error)) from error
    config.html_static_path.append(str(folder / "static"))


def add_links(app: Sphinx, config) -> None:
    """Make the substitutions of the pages from the theme's settings, those of `_config.yml`."""
    options = config.html_theme_options
    url = options["repository_url"]
    branch = options["repository_branch"]
    docs = options["path_to_docs"]
    name = url.removeprefix("https://github.com/")
    launch = options["launch_buttons"]
    binder = f"{launch['binderhub_url']}/v2/gh/{name}/{branch}?urlpath=lab/tree/{docs}"
    first = f"{docs}/chapters/01-conv1d-classification.ipynb"
    colab = f"{launch['colab_url']}/github/{name}/blob/{branch}/{first}"
    import skytutor

    config.myst_substitutions |= {
        "repository": f"[{name}]({url})",
        "repository_url": url,
        "issues": f"[issue]({url}/issues)",
        "binder": f"[Binder]({binder})",
        "colab": f"[Colab]({colab})",
        "version": skytutor.__version__,
    }


def drop_thebe(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Take Thebe's scripts off the page.

    Jupyter Book always loads them, twice on a page with widgets, and no page here uses them.
    """

    def is_thebe(script) -> bool:
        text = f"{getattr(script, 'filename', '')} {getattr(script, 'attributes', '')}"
        return "thebe" in text.lower()

    scripts = context.get("script_files", [])
    scripts[:] = [script for script in scripts if not is_thebe(script)]


def one_script(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Keep one copy of the spheres' script on a page.

    Each sphere carries its own, so that it also works alone.
    """
    body = context.get("body") or ""
    if "sky-sphere" not in body:
        return
    for script in set(re.findall(r'<script type="module">.*?</script>', body, re.DOTALL)):
        first, *rest = body.split(script)
        body = first + script + "".join(rest)
    context["body"] = body


def name_entries(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Make the works of a bibliography items of the list they stand in.

    Docutils gives them a role that no list may hold.
    """
    if "citation-list" in (context.get("body") or ""):
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def name_footnotes(app: Sphinx, what: str, name: str, obj, options, lines: list[str]) -> None:
    """Turn ``[1]_`` of a docstring into a footnote that is unique on its page.

    A docstring may point to a footnote of its module's docstring: what it does not define itself is
    looked for there.
    """
    text = "\n".join(lines)
    own = set(re.findall(r"^\s*\.\. \[(\d+)\]", text, re.MULTILINE))
    module = name if what == "module" else getattr(obj, "__module__", None) or name

    def label(number: str) -> str:
        place = name if number in own else module
        return f"#{place.replace('.', '-').replace('_', '-')}-{number}".lower()

    # A name that begins with an initial ("K. M. ...") would be read as item K of a list, hence the
    # backslash.
    text = re.sub(r"^(\s*\.\. )\[(\d+)\] (?=[A-Z]\. )", r"\1[\2] \\", text, flags=re.MULTILINE)
    text = re.sub(
        r"^(\s*\.\. )\[(\d+)\]", lambda m: f"{m[1]}[{label(m[2])}]", text, flags=re.MULTILINE
    )
    lines[:] = re.sub(r"\[(\d+)\]_(?!\w)", lambda m: f"[{label(m[1])}]_", text).split("\n")


def skip_fields(app: Sphinx, what: str, name: str, obj, skip: bool, options) -> bool | None:
    """Leave out what Python says of a named tuple's field: "Alias for field number 0"."""
    return True if type(obj).__name__ == "_tuplegetter" else None


class Measured(SphinxDirective):
    """Table of measured run time and peak memory, a row for each notebook and profile.

    The argument, if there is one, is the page to report on; without it every page that was measured
    is.
    """

    optional_arguments = 1
    final_argument_whitespace = False
    option_spec: ClassVar = {"class": directives.class_option}

    def run(self) -> list[nodes.Node]:
        """Return the table, or a sentence where nothing was measured."""
        self.env.note_dependency(str(MEASUREMENTS))
        everything = json.loads(MEASUREMENTS.read_text()) if MEASUREMENTS.is_file() else {}
        head = ["Page", "Profile", "Data", "Run time", "Peak memory", "Machine"]
        first = 0
        if self.arguments:  # on its own page a notebook need not be named
            first = 1
            everything = {page: everything[page] for page in self.arguments if page in everything}
        rows = []
        for page, runs in sorted(everything.items()):
            for name in sorted(runs, key=RUNS.index):
                cells = self.row(page, runs[name].get("profile", name), runs[name])
                rows.append(cells[first:])
        if not rows:
            return [nodes.paragraph("", "Not measured yet: run make measure.")]
        return [self.table(head[first:], rows)]

    @staticmethod
    def row(page: str, profile: str, run: dict) -> list[str]:
        """Return the cells of one run."""
        cores = f"{run['cores']} core{'s' if run['cores'] != 1 else ''}"
        versions = f"Python {run['python']}, torch {run['torch']}"
        machine = f"{run['device']}; {cores}, {run['system']}; {versions}; {run['date']}"
        cost = [f"{run['seconds']:.0f} s", f"{run['peak_mib']:.0f} MiB"]
        return [page.rpartition("/")[2], profile, run["data"], *cost, machine]

    @staticmethod
    def table(head: list[str], rows: list[list[str]]) -> nodes.table:
        """Return a table of plain text with a head."""
        group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in head], cols=len(head))
        for kind, lines in ((nodes.thead, [head]), (nodes.tbody, rows)):
            part = kind()
            for line in lines:
                cells = [nodes.entry("", nodes.paragraph("", cell)) for cell in line]
                part += nodes.row("", *cells)
            group += part
        return nodes.table("", group, classes=["measured"])


def setup(app: Sphinx) -> dict:
    """Connect the repairs to Sphinx's events and register the directive."""
    app.connect("config-inited", add_vendored)
    app.connect("config-inited", add_links)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", name_entries)
    app.connect("html-page-context", one_script)
    app.connect("autodoc-process-docstring", name_footnotes)
    app.connect("autodoc-skip-member", skip_fields)
    app.add_directive("measured", Measured)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
