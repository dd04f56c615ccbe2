"""The book's house rules as functions.

Each takes a page and yields one line for every fault it finds. The rule on numbers in prose has a
file of its own, `booknumbers`.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from booknumbers import calls, numbers, parse, prose

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
from counting import without_dropdowns, without_solutions

MOST_LINES = 30
WORDS = (2000, 4500)
# Headings that every chapter has, in this order; others may stand between. They are of second level
# or, in a chapter with parts ("## Part 1: ..."), of third.
SECTIONS = (
    ("At a glance", r"at a glance"),
    ("The idea", r"\bidea\b"),
    ("The data", r"\bdata\b"),
    ("A baseline", r"\bbaseline\b"),
    ("The model", r"\b(model|network)s?\b"),
    ("Training", r"\btrain"),
    ("Results", r"\bresults?\b"),
    ("Where it breaks", r"where it breaks"),
    ("Exercises", r"\bexercises\b"),
    ("Take-aways", r"take-?aways"),
    ("Reading", r"\breading\b"),
)
FIGURES = {
    "plt": {"figure", "subplots", "subplot_mosaic", "show", "imshow", "plot", "matshow"},
    "hp": {"mollview", "orthview", "gnomview"},
}
# Of `plot`, what makes no picture that needs words beside it: these carry their own, or draw none.
OWN_WORDS = {"architecture", "results_table", "style"}
LIVE = (
    "clear_output",
    "update_display",
    "display_id",
    "tqdm.notebook",
    "%matplotlib notebook",
    "%matplotlib widget",
)


# --- what a cell does -----------------------------------------------------------------------------


def run_now(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run with the cell: not the bodies of functions and classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        yield node
        yield from run_now(node)


def draws(module: str | None, name: str, helpers: set[str]) -> bool:
    """Tell whether a call makes a figure.

    Matplotlib does, the package's `plot` module, and a function of the notebook that calls them.
    """
    if module is None:
        return name in helpers
    return name in FIGURES.get(module, ()) or (module == "plot" and name not in OWN_WORDS)


def drawing_functions(sources: list[str]) -> set[str]:
    """Return the names of the notebook's own functions whose bodies make a figure."""
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(parse(source)):
            if not isinstance(node, ast.FunctionDef):
                continue
            if any(draws(m, n, found) for m, n, _ in calls(ast.walk(node))):
                found.add(node.name)
    return found


# --- code cells -----------------------------------------------------------------------------------


def clean(notebook) -> Iterator[str]:
    """Find outputs and execution counts: none belong in git."""
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.outputs:
            yield f"cell {k}: holds outputs; strip them before committing"
        if cell.cell_type == "code" and cell.execution_count is not None:
            yield f"cell {k}: holds an execution count; strip it before committing"


def metadata(notebook) -> Iterator[str]:
    """Find missing ones of the two keys that give a reader on Colab a graphics card."""
    if notebook.metadata.get("accelerator") != "GPU":
        yield "metadata: accelerator must be GPU, Colab gives no graphics card otherwise"
    if notebook.metadata.get("colab", {}).get("gpuType") != "T4":
        yield "metadata: colab.gpuType must be T4"


def code(notebook) -> Iterator[str]:
    """Find cells that are too long, star imports and live output."""
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if (lines := len(cell.source.splitlines())) > MOST_LINES:
            yield f"cell {k}: {lines} lines; {MOST_LINES} at most"
        for word in LIVE:
            if word in cell.source:
                yield (
                    f"cell {k}: {word} makes output that changes while it runs; "
                    "print or draw once instead"
                )
        for node in ast.walk(parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                yield f"cell {k}: star import from {node.module}; name what is used"


def figures(notebook) -> Iterator[str]:
    """Find cells with several figures, and figures without words for who cannot see them."""
    helpers = drawing_functions([c.source for c in notebook.cells if c.cell_type == "code"])
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        made = [(m, n) for m, n, _ in calls(run_now(parse(cell.source))) if draws(m, n, helpers)]
        # What is drawn into axes that the cell made itself belongs to the figure of those axes.
        new = [name for _, name in made if name in ("figure", "subplots", "subplot_mosaic")]
        if not new:
            new = [name for module, name in made if module != "plt"]
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if len(new) > 1:
            yield (
                f"cell {k}: makes {len(new)} figures ({', '.join(new)}); "
                "one a cell, for alt text belongs to one"
            )
        if made and len(alt.split()) < 5:
            yield (
                f"cell {k}: makes a figure without alt text; "
                "write what it shows in metadata.mystnb.image.alt"
            )


def labels(notebook) -> Iterator[str]:
    """Find names of figures and tables that stand twice: a reference would not know which."""
    seen: dict[str, int] = {}
    for k, cell in enumerate(notebook.cells):
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        if name is None:
            continue
        if name in seen:
            yield f"cell {k}: the name {name} is that of cell {seen[name]} already"
        seen[name] = k


def tags(cell) -> set[str]:
    """Return the tags of a cell."""
    return set(cell.metadata.get("tags", ()))


def folded(notebook) -> Iterator[str]:
    """Find cells that are folded on the page and not in JupyterLab, and checks that are not."""
    for k, cell in enumerate(notebook.cells):
        if "hide-input" in tags(cell):
            if not cell.metadata.get("jupyter", {}).get("source_hidden"):
                yield f"cell {k}: hide-input needs jupyter.source_hidden in the metadata as well"
        elif "check" in tags(cell):
            yield f"cell {k}: check without hide-input; its code would stand above the green line"
        if "check" in tags(cell) and "check." not in cell.source:
            yield f"cell {k}: is tagged check and checks nothing"


def checks(cell) -> Iterator[bool]:
    """Yield, for each statement of a cell, whether it checks something, loops included."""
    for node in parse(cell.source).body:
        found = calls(ast.walk(node)) if isinstance(node, (ast.Expr, ast.For)) else ()
        yield any(module == "check" and name != "so_far" for module, name, _ in found)


# --- text -----------------------------------------------------------------------------------------


def order(notebook) -> Iterator[str]:
    """Check the order: question, launch line, set-up cell, then the sections of `SECTIONS`."""
    text = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    if not text or not text[0].startswith("# "):
        yield "cell 0: must be Markdown and begin with the chapter's title"
        return
    opening = re.split(r"^## ", "\n".join(text), maxsplit=1, flags=re.MULTILINE)[0]
    if "?" not in opening:
        yield "opening: asks no question"
    for place in ("Binder", "Colab"):
        if place not in opening:
            yield f"opening: no launch line that names {place} before the first section"
    parts = any(re.search(r"^## Part \d", t, re.MULTILINE) for t in text)
    level = "###?" if parts else "##"
    idea = re.compile(rf"^{level} .*\bidea\b", re.MULTILINE | re.IGNORECASE)
    first = 0  # the cell where the idea begins
    while first < len(notebook.cells) and not idea.search(notebook.cells[first].source):
        first += 1
    before = [c.source for c in notebook.cells[:first] if c.cell_type == "code"]
    if not any(re.search(r"^(from|import) ", source, re.MULTILINE) for source in before):
        yield "set-up: no cell that imports what the chapter needs before the idea"
    heading = re.compile(rf"^{level} +(.*)$", re.MULTILINE)
    headings = [h.lower() for t in text for h in heading.findall(t)]
    at = 0
    for name, pattern in SECTIONS:
        found = next((k for k in range(at, len(headings)) if re.search(pattern, headings[k])), None)
        if found is None:
            late = any(re.search(pattern, h) for h in headings)
            yield f'section "{name}": ' + ("stands too early" if late else "is missing")
        else:
            at = found + 1


def length(notebook) -> Iterator[str]:
    """Check that the words of prose are within the bounds of the house style.

    Solutions, hints and answers are folded, and exercises are for doing: they are not counted.
    """
    lesson = "\n\n".join(text for _, text in outside_solutions(notebook))
    lesson = re.sub(
        r"^```\{exercise-start\}.*?^```\{exercise-end\}", "", lesson, flags=re.MULTILINE | re.DOTALL
    )
    texts = [prose(without_dropdowns(lesson))]
    count = sum(len(re.findall(r"[A-Za-z]\w*", text)) for text in texts)
    if not WORDS[0] <= count <= WORDS[1]:
        yield f"text: {count} words; a chapter has {WORDS[0]} to {WORDS[1]}"


def outside_solutions(notebook) -> Iterator[tuple[int, str]]:
    """Yield (cell, text) of the text cells, without what stands in solutions."""
    solution = False
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text, solution = without_solutions(cell.source, solution)
            yield k, text


def spoken(notebook) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of what a reader reads outside the text cells.

    These are captions of figures and tables, and the boxes of ``check.so_far`` without their
    fields, which are measured.
    """
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
        if caption:
            yield f"cell {k}, caption", caption
        for module, name, call in calls(ast.walk(parse(cell.source))):
            if (module, name) == ("check", "so_far"):
                texts = list(literals(call.args))
            elif module == "plot":
                named = [k.value for k in call.keywords if k.arg in ("caption", "title")]
                texts = list(literals(named))
            else:
                continue
            for text in texts:
                yield f"cell {k}, {name}", re.sub(r"\{[^{}]*\}", " ", text)


def literals(nodes) -> Iterator[str]:
    """Yield the texts among the values of some arguments, and those they are put together from."""
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                yield inner.value


# --- chapters on the list of `prose` --------------------------------------------------------------


def stubs(notebook) -> Iterator[str]:
    """Find exercises whose cell to start from shows its output, and answers in sight.

    The cell to start from is any code in sight between an exercise's end and the next text.
    """
    after_exercise = False
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            last = cell.source.rstrip().rpartition("\n\n")[2]
            after_exercise = "{exercise-end}" in last or re.search(r"\{exercise\}", cell.source)
            continue
        missing = {"stub", "remove-output"} - tags(cell)
        if after_exercise and missing and "hide-input" not in tags(cell):
            yield f"cell {k}: an exercise starts here; tag it {' and '.join(sorted(missing))}"
        if any((m, n) == ("check", "answer") for m, n, _ in calls(ast.walk(parse(cell.source)))):
            yield f"cell {k}: check.answer puts the reference in sight; use skytutor.exercises"


def quiet(notebook) -> Iterator[str]:
    """Find cells that mostly check and are not tagged so."""
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or "check" in tags(cell):
            continue
        found = list(checks(cell))
        if found and 2 * sum(found) > len(found):
            yield f"cell {k}: mostly checks; tag it check and hide-input"


def hero(notebook) -> Iterator[str]:
    """Look for a figure before the first part: the result comes first."""
    helpers = drawing_functions([c.source for c in notebook.cells if c.cell_type == "code"])
    for cell in notebook.cells:
        if cell.cell_type == "code":
            made = calls(run_now(parse(cell.source)))
            if any(draws(module, name, helpers) for module, name, _ in made):
                return
        elif re.search(r"^## Part \d", cell.source, re.MULTILINE):
            if not re.search(r"\{(glue:)?figure\}", cell.source.partition("\n## Part ")[0]):
                yield "opening: no figure before the first part; the result comes first"
            return
        elif re.search(r"\{(glue:)?figure\}|\{image\}", cell.source):
            return


def words(text: str) -> Iterator[str]:
    """Find words the house style does without, and images without alt text."""
    if re.search(r"\bsimply\b", prose(text), re.IGNORECASE):
        yield 'the word "simply": it is never simple for the reader who stumbles'
    body = re.sub(r"`[^`\n]*`", "", text)
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", body):
        if not alt.strip():
            yield f"image {target} has no alt text"
    for tag in re.findall(r"<img\b[^>]*>", body):
        if not re.search(r"\balt=\"[^\"]+\"", tag):
            yield f"{tag} has no alt text"
    directive = r"^[`:]{3,}\{(figure|image)\}(.*?)^[`:]{3,}\s*$"
    for name, block in re.findall(directive, text, re.MULTILINE | re.DOTALL):
        if not re.search(r"^:alt: +\S", block, re.MULTILINE):
            yield f"{{{name}}} {block.split()[0]} has no :alt:"


# --- whole pages ----------------------------------------------------------------------------------


def lint_notebook(notebook, *, appendix: bool = False, held: bool = False) -> list[str]:
    """Find all faults of a chapter; an appendix may have sections and a length of its own.

    One that is held to the pattern of a chapter has a result at its top, stubs whose output is not
    shown, checks in a line of their own and no answer in sight.
    """
    rules = [clean, metadata, code, figures, labels, folded]
    if not appendix:
        rules += [order, length]
    if held:
        rules += [stubs, quiet, hero]
    faults = []
    for rule in rules:
        faults += rule(notebook)
    texts = [
        (f"cell {k}", c.source) for k, c in enumerate(notebook.cells) if c.cell_type == "markdown"
    ]
    texts += spoken(notebook)
    for place, text in texts:
        faults += [f"{place}: {fault}" for fault in words(text)]
    sources = [c.source for c in notebook.cells if c.cell_type == "code"]
    allowed = notebook.metadata.get("skytutor", {}).get("numbers", {})
    return faults + list(numbers(texts, sources, allowed))


def lint_page(text: str) -> list[str]:
    """Find all faults of a page in Markdown."""
    import yaml

    front_matter = re.match(r"\A---\n(.*?)\n---\n", text, re.DOTALL)
    listed = {}
    if front_matter:
        listed = (yaml.safe_load(front_matter[1]) or {}).get("numbers", {})
    allowed = {str(number): reason for number, reason in listed.items()}
    faults = [f"text: {fault}" for fault in words(text)]
    return faults + list(numbers([("text", text)], [], allowed))


def read(path: Path):
    """Read a notebook, or the text of a page."""
    import nbformat

    if path.suffix == ".ipynb":
        return nbformat.read(path, as_version=4)
    return path.read_text(encoding="utf-8")
