"""The book's house rules as functions: each takes a page and yields one line for every fault it finds.

Numbers in prose. A reader may trust a number only if something would break when it stopped being true. So in a chapter's text
every decimal number, every percentage and every whole number of three digits or more must be one of these:

* **checked**: it stands in a call of ``check.*`` in the same notebook, as a literal or an expression of literals. 99.4 % is
  backed by ``check.at_least("accuracy", score, 0.994)``, 768 by ``check.equal("pixels", maps.shape[-1], 12 * 8**2)``;
* **cited**: its sentence, or its row of a table, holds a ``{cite}``;
* **a definition**: it is listed with a reason under ``skytutor.numbers`` in the notebook's metadata (``numbers:`` in the front
  matter of a Markdown page), as ``{"2.5": "the exponent of the magnitude scale"}``. An entry that the text no longer uses is a fault.

Code, addresses, versions, licences, exponents, indices, years, and 180 and 360 (degrees) are left alone.
"""

import ast
import math
import operator
import re
from collections.abc import Iterator
from pathlib import Path

MOST_LINES = 30
WORDS = (2000, 3500)
# Headings of second level that every chapter has, in this order; others may stand between.
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
)  # fmt: skip
FIGURES = {"plt": {"figure", "subplots", "subplot_mosaic", "show", "imshow", "plot", "matshow"}, "hp": {"mollview", "orthview", "gnomview"}}
LIVE = ("clear_output", "update_display", "display_id", "tqdm.notebook", "%matplotlib notebook", "%matplotlib widget")


# --- what a cell does ---------------------------------------------------------------------------------------------------------


def parse(source: str) -> ast.Module:
    """Syntax tree of a cell; lines of IPython's own (``%``, ``!``) are left out."""
    lines = [re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in source.splitlines()]
    return ast.parse("\n".join(lines))


def run_now(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run with the cell: not the bodies of functions and classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        yield node
        yield from run_now(node)


def calls(nodes) -> Iterator[tuple[str | None, str, ast.Call]]:
    """(module, name, node) of every call among `nodes`: ``plt.show()`` gives ("plt", "show", node)."""
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            yield node.func.value.id, node.func.attr, node
        elif isinstance(node.func, ast.Name):
            yield None, node.func.id, node


def draws(module: str | None, name: str, helpers: set[str]) -> bool:
    """Whether a call makes a figure: matplotlib, the package's `plot` module, or a function of the notebook that does."""
    if module is None:
        return name in helpers
    return name in FIGURES.get(module, ()) or (module == "plot" and name != "style")


def drawing_functions(sources: list[str]) -> set[str]:
    """Names of the notebook's own functions whose bodies make a figure."""
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(parse(source)):
            if isinstance(node, ast.FunctionDef) and any(draws(m, n, found) for m, n, _ in calls(ast.walk(node))):
                found.add(node.name)
    return found


# --- code cells ---------------------------------------------------------------------------------------------------------------


def clean(notebook) -> Iterator[str]:
    """No outputs and no execution counts in git."""
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.outputs:
            yield f"cell {k}: holds outputs; strip them before committing"
        if cell.cell_type == "code" and cell.execution_count is not None:
            yield f"cell {k}: holds an execution count; strip it before committing"


def metadata(notebook) -> Iterator[str]:
    """The two keys that give a reader on Colab a graphics card."""
    if notebook.metadata.get("accelerator") != "GPU":
        yield "metadata: accelerator must be GPU, Colab gives no graphics card otherwise"
    if notebook.metadata.get("colab", {}).get("gpuType") != "T4":
        yield "metadata: colab.gpuType must be T4"


def code(notebook) -> Iterator[str]:
    """Length, star imports, live output."""
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if (lines := len(cell.source.splitlines())) > MOST_LINES:
            yield f"cell {k}: {lines} lines; {MOST_LINES} at most"
        for word in LIVE:
            if word in cell.source:
                yield f"cell {k}: {word} makes output that changes while it runs; print or draw once instead"
        for node in ast.walk(parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                yield f"cell {k}: star import from {node.module}; name what is used"


def figures(notebook) -> Iterator[str]:
    """One figure a cell, and words for those who cannot see it."""
    helpers = drawing_functions([c.source for c in notebook.cells if c.cell_type == "code"])
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        made = [(m, n) for m, n, _ in calls(run_now(parse(cell.source))) if draws(m, n, helpers)]
        # What is drawn into axes that the cell made itself belongs to the figure of those axes.
        new = [n for m, n in made if n in ("figure", "subplots", "subplot_mosaic")] or [n for m, n in made if m != "plt"]
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if len(new) > 1:
            yield f"cell {k}: makes {len(new)} figures ({', '.join(new)}); one a cell, for alt text belongs to one"
        if made and len(alt.split()) < 5:
            yield f"cell {k}: makes a figure without alt text; write what it shows in metadata.mystnb.image.alt"


# --- text ---------------------------------------------------------------------------------------------------------------------


def order(notebook) -> Iterator[str]:
    """Question, launch line, set-up cell, then the sections of `SECTIONS` in their order."""
    text = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    if not text or not text[0].startswith("# "):
        yield "cell 0: must be Markdown and begin with the chapter's title"
        return
    opening = "\n".join(text).partition("\n## ")[0]
    if "?" not in opening:
        yield "opening: asks no question"
    for place in ("Binder", "Colab"):
        if place not in opening:
            yield f"opening: no launch line that names {place} before the first section"
    first = next((k for k, c in enumerate(notebook.cells) if re.search(r"^## .*\bidea\b", c.source, re.MULTILINE | re.IGNORECASE)), len(notebook.cells))
    if not any(c.cell_type == "code" and re.search(r"^(from|import) ", c.source, re.MULTILINE) for c in notebook.cells[:first]):
        yield "set-up: no cell that imports what the chapter needs before the idea"
    headings = [h.lower() for t in text for h in re.findall(r"^## +(.*)$", t, re.MULTILINE)]
    at = 0
    for name, pattern in SECTIONS:
        found = next((k for k in range(at, len(headings)) if re.search(pattern, headings[k])), None)
        if found is None:
            late = any(re.search(pattern, h) for h in headings)
            yield f'section "{name}": ' + ("stands too early" if late else "is missing")
        else:
            at = found + 1


def length(notebook) -> Iterator[str]:
    """Words of prose within the bounds of the house style."""
    count = sum(len(re.findall(r"[A-Za-z]\w*", prose(c.source))) for c in notebook.cells if c.cell_type == "markdown")
    if not WORDS[0] <= count <= WORDS[1]:
        yield f"text: {count} words; a chapter has {WORDS[0]} to {WORDS[1]}"


def words(text: str) -> Iterator[str]:
    """Words the house style does without, and images without alt text."""
    if re.search(r"\bsimply\b", prose(text), re.IGNORECASE):
        yield 'the word "simply": it is never simple for the reader who stumbles'
    body = re.sub(r"`[^`\n]*`", "", text)
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", body):
        if not alt.strip():
            yield f"image {target} has no alt text"
    for tag in re.findall(r"<img\b[^>]*>", body):
        if not re.search(r"\balt=\"[^\"]+\"", tag):
            yield f"{tag} has no alt text"
    for name, block in re.findall(r"^[`:]{3,}\{(figure|image)\}(.*?)^[`:]{3,}\s*$", text, re.MULTILINE | re.DOTALL):
        if not re.search(r"^:alt: +\S", block, re.MULTILINE):
            yield f"{{{name}}} {block.split()[0]} has no :alt:"


# --- numbers ------------------------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"(?<![\w.,/#-])-?(\d{1,3}(?:[,\u202f\u00a0]\d{3})+|\d+)(\.\d+)?(?:\s*\\?,?\s*\\?(%))?(?![\w/])")
FREE = {"180", "360"}
OPERATIONS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Pow: operator.pow, ast.Mod: operator.mod,
}  # fmt: skip


def prose(text: str) -> str:
    """What is left of Markdown without code, addresses, labels, options, exponents and indices. Citations become a mark."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"\{cite(?::\w+)?\}`[^`]*`", " CITE ", text)
    text = "\n".join(without_code(text.splitlines()))
    text = re.sub(r"^:[\w-]+:.*$|^\([\w-]+\)=$|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`]*`", " ", text)
    text = re.sub(r"\]\([^)]*\)|<https?:[^>]*>|https?://\S+|arXiv:\S+|doi:\S+|\b(?:Python|PyTorch|torch|CC BY) \d[\d.]*\d|\{\{.*?\}\}", " ", text)
    text = re.sub(r"\s*[_^](\{(?:[^{}]|\{[^}]*\})*\}|\\?\w)", "", text)
    return re.sub(r"^\s*\d+\.\s", "", text, flags=re.MULTILINE)


def without_code(lines: list[str]) -> Iterator[str]:
    """Lines outside code. Directives are text, but for those that hold code; their own first and last lines go."""
    fences: list[tuple[str, bool]] = []  # marks that opened what we are in, and whether it is text
    for line in lines:
        found = re.match(r"\s*(`{3,}|~{3,}|:{3,})\s*(?:\{([\w:-]+)\})?(.*)$", line)
        if found and fences and not found[2] and not found[3].strip() and found[1].startswith(fences[-1][0]):
            fences.pop()
        elif found and (not fences or fences[-1][1]):
            fences.append((found[1], bool(found[2]) and not found[2].startswith(("code", "eval-rst", "raw", "bibliography"))))
            if found[3].strip() and fences[-1][1]:
                yield found[3]  # the title of an admonition, the name of a picture
        elif all(text for _, text in fences):
            yield line


def sentences(text: str) -> Iterator[str]:
    """The pieces of prose that a citation vouches for: a sentence, or a row of a table."""
    for block in re.split(r"\n\s*\n|^\s*[-*] ", prose(text), flags=re.MULTILINE):
        if re.match(r"\s*\|", block):
            yield from block.splitlines()
        else:
            yield from re.split(r"(?<=[.!?:;])\s+(?=[A-Z*$])", block)


def claims(text: str) -> Iterator[tuple[str, float, bool]]:
    """(as written, value, in percent) of each number that needs backing and has no citation beside it."""
    for sentence in sentences(text):
        if "CITE" in sentence:
            continue
        for found in NUMBER.finditer(sentence):
            whole, part, percent = found[1], found[2] or "", found[3]
            digits = re.sub(r"\D", "", whole)
            year = len(whole) == 4 and 1900 <= int(digits) <= 2099 and not part and not percent
            if not (part or percent or len(digits) >= 3) or year or (not part and not percent and digits in FREE):
                continue
            yield whole + part + (" %" if percent else ""), float(digits + part), bool(percent)


def fold(node: ast.AST) -> float | None:
    """Value of an expression that is made of numbers only."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = fold(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        left, right = fold(node.left), fold(node.right)
        if left is not None and right is not None:
            return float(OPERATIONS[type(node.op)](left, right))
    return None


def checked(sources: list[str]) -> set[float]:
    """Numbers in calls of ``check.*``."""
    values = set()
    for source in sources:
        for module, _, call in calls(ast.walk(parse(source))):
            if module == "check":
                values |= {abs(v) for node in ast.walk(call) if (v := fold(node)) is not None}
    return values


def backed(written: str, value: float, percent: bool, values: set[float]) -> bool:
    """Whether a checked value is the number in the text, or is it when rounded as the text rounds."""
    places = len(written.partition(".")[2].rstrip(" %"))
    for v in values:
        for same in (v, 100 * v) if percent else (v,):
            if math.isclose(same, value, rel_tol=1e-9) or ((places or percent) and math.isclose(round(same, places), value, rel_tol=1e-9)):
                return True
    return False


def numbers(texts: list[tuple[str, str]], sources: list[str], allowed: dict[str, str]) -> Iterator[str]:
    """Every number in `texts` (place, text) that nothing backs; then stale or unexplained entries of `allowed`."""
    values, used = checked(sources), set()
    for place, text in texts:
        for written, value, percent in claims(text):
            if written in allowed or written.replace(" %", "") in allowed:
                used |= {written, written.replace(" %", "")}
            elif not backed(written, value, percent, values):
                yield (
                    f'{place}: "{written}" is backed by nothing: put it in a check.* call of this notebook, cite its source in the '
                    "same sentence or table row, or list it with a reason in the metadata (skytutor.numbers)"
                )
    for entry, reason in allowed.items():
        if entry not in used:
            yield f'metadata: the number "{entry}" is listed but no longer in the text'
        if len(str(reason).split()) < 3:
            yield f'metadata: the number "{entry}" is listed without a reason'


# --- whole pages --------------------------------------------------------------------------------------------------------------


def lint_notebook(notebook) -> list[str]:
    """Everything about a chapter."""
    faults = [f for rule in (clean, metadata, code, figures, order, length) for f in rule(notebook)]
    texts = [(f"cell {k}", c.source) for k, c in enumerate(notebook.cells) if c.cell_type == "markdown"]
    faults += [f"{place}: {fault}" for place, text in texts for fault in words(text)]
    sources = [c.source for c in notebook.cells if c.cell_type == "code"]
    return faults + list(numbers(texts, sources, notebook.metadata.get("skytutor", {}).get("numbers", {})))


def lint_page(text: str) -> list[str]:
    """Everything about a page in Markdown."""
    import yaml

    front = re.match(r"\A---\n(.*?)\n---\n", text, re.DOTALL)
    allowed = (yaml.safe_load(front[1]) or {}).get("numbers", {}) if front else {}
    return [f"text: {f}" for f in words(text)] + list(numbers([("text", text)], [], {str(k): v for k, v in allowed.items()}))


def read(path: Path):
    """A notebook or the text of a page."""
    import nbformat

    return nbformat.read(path, as_version=4) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
