"""Numbers in prose.

A reader may trust a number only if something would break when it stopped being true. So in a
chapter's text every decimal number, every percentage and every whole number of three digits or more
must be one of these:

* **checked**: it stands in a call of ``check.*`` in the same notebook, as a literal or an
  expression of literals. 99.4 % is backed by ``check.at_least("accuracy", score, 0.994)``, 768 by
  ``check.equal("pixels", maps.shape[-1], 12 * 8**2)``;
* **cited**: its sentence, or its row of a table, holds a ``{cite}``;
* **a definition**: it is listed with a reason under ``skytutor.numbers`` in the notebook's metadata
  (``numbers:`` in the front matter of a Markdown page), as
  ``{"2.5": "the exponent of the magnitude scale"}``. An entry that the text no longer uses is a
  fault.

Code, addresses, versions, licences, exponents, indices, years, and 180 and 360 (degrees) are left
alone.
"""

import ast
import math
import operator
import re
from collections.abc import Iterator

NUMBER = re.compile(
    r"(?<![\w.,/#-])-?(\d{1,3}(?:[,\u202f\u00a0]\d{3})+|\d+)(\.\d+)?(?:\s*\\?,?\s*\\?(%))?(?![\w/])"
)
FREE = {"180", "360"}
# Of Markdown, what is no prose though it stands in the text: targets of links, addresses, versions.
ADDRESSES = re.compile(
    r"\]\([^)]*\)|<https?:[^>]*>|https?://\S+|arXiv:\S+|doi:\S+"
    r"|\b(?:Python|PyTorch|torch|CC BY) \d[\d.]*\d"
    r"|\{\{.*?\}\}"
)
OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
    ast.Mod: operator.mod,
}


def parse(source: str) -> ast.Module:
    """Return the syntax tree of a cell; lines of IPython's own (``%``, ``!``) are left out."""
    lines = [re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in source.splitlines()]
    return ast.parse("\n".join(lines))


def calls(nodes) -> Iterator[tuple[str | None, str, ast.Call]]:
    """Yield (module, name, node) of every call among `nodes`.

    ``plt.show()`` gives ("plt", "show", node).
    """
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            yield node.func.value.id, node.func.attr, node
        elif isinstance(node.func, ast.Name):
            yield None, node.func.id, node


def prose(text: str) -> str:
    """Return what a reader reads of Markdown.

    Code, addresses, labels, options, exponents and indices go; citations become a mark.
    """
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"\{cite(?::\w+)?\}`[^`]*`", " CITE ", text)
    text = "\n".join(without_code(text.splitlines()))
    text = re.sub(
        r"^:[\w-]+:[^\n]*$|^\([\w-]+\)=$|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL
    )
    text = re.sub(r"`[^`]*`", " ", text)
    text = ADDRESSES.sub(" ", text)
    text = re.sub(r"\s*[_^](\{(?:[^{}]|\{[^}]*\})*\}|\\?\w)", "", text)
    return re.sub(r"^\s*\d+\.\s", "", text, flags=re.MULTILINE)


def without_code(lines: list[str]) -> Iterator[str]:
    """Yield the lines outside code.

    Directives are text, but for those that hold code; their own first and last lines go.
    """
    fences: list[tuple[str, bool]] = []  # marks that opened what we are in, and whether it is text
    for line in lines:
        fence = re.match(r"\s*(`{3,}|~{3,}|:{3,})\s*(?:\{([\w:-]+)\})?(.*)$", line)
        if not fence:
            if all(is_text for _, is_text in fences):
                yield line
            continue
        marks = fence[1]
        directive = fence[2]
        rest = fence[3].strip()
        bare = not directive and not rest
        if bare and fences and marks.startswith(fences[-1][0]):
            fences.pop()
        elif not fences or fences[-1][1]:
            holds_code = ("code", "eval-rst", "raw", "bibliography")
            is_text = bool(directive) and not directive.startswith(holds_code)
            fences.append((marks, is_text))
            if rest and is_text:
                yield fence[3]  # the title of an admonition, the name of a picture
        elif all(is_text for _, is_text in fences):
            yield line


def sentences(text: str) -> Iterator[str]:
    """Yield the pieces of prose that a citation vouches for: a sentence, or a row of a table."""
    for block in re.split(r"\n\s*\n|^\s*[-*] ", prose(text), flags=re.MULTILINE):
        if re.match(r"\s*\|", block):
            yield from block.splitlines()
        else:
            yield from re.split(r"(?<=[.!?:;])\s+(?=[A-Z*$])", block)


def claims(text: str) -> Iterator[tuple[str, float, bool]]:
    """Yield (as written, value, in percent) of each number that needs backing.

    A number with a citation beside it needs none.
    """
    for sentence in sentences(text):
        if "CITE" in sentence:
            continue
        for found in NUMBER.finditer(sentence):
            whole = found[1]
            part = found[2] or ""
            percent = found[3]
            digits = re.sub(r"\D", "", whole)
            if not part and not percent:
                year = len(whole) == 4 and 1900 <= int(digits) <= 2099
                if len(digits) < 3 or year or digits in FREE:
                    continue
            yield whole + part + (" %" if percent else ""), float(digits + part), bool(percent)


def fold(node: ast.AST) -> float | None:
    """Return the value of an expression that is made of numbers only, else None."""
    if isinstance(node, ast.Constant):
        number = isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
        return float(node.value) if number else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = fold(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        left = fold(node.left)
        right = fold(node.right)
        if left is not None and right is not None:
            return float(OPERATIONS[type(node.op)](left, right))
    return None


def checked(sources: list[str]) -> set[float]:
    """Return the numbers in calls of ``check.*``, without their signs."""
    values = set()
    for source in sources:
        for module, _, call in calls(ast.walk(parse(source))):
            if module == "check":
                folded = [fold(node) for node in ast.walk(call)]
                values |= {abs(value) for value in folded if value is not None}
    return values


def backed(written: str, value: float, percent: bool, values: set[float]) -> bool:
    """Tell whether a checked value is the number in the text, or rounds to it as the text does."""
    places = len(written.partition(".")[2].rstrip(" %"))
    for v in values:
        for same in (v, 100 * v) if percent else (v,):
            if math.isclose(same, value, rel_tol=1e-9):
                return True
            rounded = round(same, places)
            if (places or percent) and math.isclose(rounded, value, rel_tol=1e-9):
                return True
    return False


def numbers(
    texts: list[tuple[str, str]], sources: list[str], allowed: dict[str, str]
) -> Iterator[str]:
    """Find every number in `texts` (place, text) that nothing backs.

    Then come the stale and the unexplained entries of `allowed`.
    """
    values = checked(sources)
    used = set()
    for place, text in texts:
        for written, value, percent in claims(text):
            if written in allowed or written.replace(" %", "") in allowed:
                used |= {written, written.replace(" %", "")}
            elif not backed(written, value, percent, values):
                yield (
                    f'{place}: "{written}" is backed by nothing: put it in a check.* call of this '
                    "notebook, cite its source in the same sentence or table row, or list it with "
                    "a reason in the metadata (skytutor.numbers)"
                )
    for entry, reason in allowed.items():
        if entry not in used:
            yield f'metadata: the number "{entry}" is listed but no longer in the text'
        if len(str(reason).split()) < 3:
            yield f'metadata: the number "{entry}" is listed without a reason'
