"""Look for private words of the book where the field has a term: the table stands in `field_table`.

``python tests/book/field_terms.py`` prints all faults, and how many there are in each file.
"""

import ast
import io
import json
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from field_table import EXCEPTIONS, STATE_KEYS, TERMS, Term

ROOT = Path(__file__).resolve().parents[2]
CODE = ("skytutor", "tests", "benchmarks", "book/_ext")
# Not CHANGELOG.md: it says what each name was before.
PAGES = ("README.md", "CONTRIBUTING.md", "book/**/*.md", "book/**/*.rst")
# The table and its test spell the words as strings.
SPELLING = ("tests/book/field_table.py", "tests/book/test_field_terms.py")


@dataclass(frozen=True)
class Fault:
    """A word of the table where it should not be."""

    path: str
    place: str
    found: str
    term: Term

    def __str__(self) -> str:
        """``file:line: word -> replacement``."""
        return f"{self.path}:{self.place}: {self.found} -> {self.term.instead}"


# --- identifiers ----------------------------------------------------------------------------------


@cache
def parts(identifier: str) -> set[str]:
    """Return an identifier and its parts between underscores and before capitals, in lower case."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", identifier)
    return {identifier, identifier.strip("_")} | {word.lower() for word in words}


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield line, identifier and kind of all names, parameters, keywords, definitions, imports."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name):
                yield node.lineno, name, "name"
            case ast.Attribute(attr=name):
                yield node.end_lineno or node.lineno, name, "attribute"
            case ast.arg(arg=name):
                yield node.lineno, name, "parameter"
            case ast.keyword(arg=str(name)):
                yield node.lineno, name, "keyword"
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name, "definition"
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from imported(node, names)


def imported(node: ast.Import | ast.ImportFrom, names) -> Iterator[tuple[int, str, str]]:
    """Yield the parts of the modules' paths, and what is imported under which name."""
    paths = [getattr(node, "module", None) or ""]
    paths += [path or "" for alias in names for path in (alias.name, alias.asname)]
    for path in paths:
        yield from ((node.lineno, name, "import") for name in path.split(".") if name)


def words_in_quotes(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield the same of strings that are one identifier: keys of scores, names of attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(name)) if name.isidentifier():
                yield node.lineno, name, "attribute"


def public_names(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield the same of public signatures: definitions, parameters, attributes and constants."""
    for node in getattr(tree, "body", []):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield from ((n, name, kind) for n, name, kind in bound(node) if name[0] != "_")
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        if node.name.startswith("_") and not node.name.startswith("__"):
            continue
        yield node.lineno, node.name, "definition"
        if isinstance(node, ast.ClassDef):
            yield from public_names(node)
            yield from attributes(node)
        else:
            every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            yield from ((arg.lineno, arg.arg, "parameter") for arg in every)


def bound(node: ast.Assign | ast.AnnAssign) -> Iterator[tuple[int, str, str]]:
    """Yield the names that a statement of a module's or a class's body binds."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        for name in ast.walk(target):
            if isinstance(name, ast.Name):
                yield name.lineno, name.id, "attribute"


def attributes(node: ast.ClassDef) -> Iterator[tuple[int, str, str]]:
    """Yield the public attributes that methods of a class set on itself, buffers included."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            own = isinstance(inner.value, ast.Name) and inner.value.id == "self"
            if own and not inner.attr.startswith("_"):
                yield inner.lineno, inner.attr, "attribute"
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            first = inner.args[0] if inner.args else None
            if inner.func.attr.startswith("register_") and isinstance(first, ast.Constant):
                yield inner.lineno, str(first.value), "attribute"


def generators(tree: ast.AST, source: str) -> Iterator[tuple[int, str, str]]:
    """Yield names that hold a random generator: bound to one, or annotated so."""
    lines = source.split("\n")
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Assign, ast.arg)):
            continue
        # To write a node anew takes long, and nearly none has the word in its lines.
        if not any("Generator" in line for line in lines[node.lineno - 1 : node.end_lineno]):
            continue
        if isinstance(node, ast.Assign) and "Generator(" in ast.unparse(node.value):
            yield from bound(node)
        elif isinstance(node, ast.arg):
            annotation = ast.unparse(node.annotation) if node.annotation else ""
            if "Generator" in annotation:
                yield node.lineno, node.arg, "parameter"


# --- text -----------------------------------------------------------------------------------------


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield lines of comments, and of strings of several words: docstrings and messages."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        said = kind in ("STRING", "FSTRING_MIDDLE") and re.search(r"\s", token.string)
        if kind == "COMMENT" or said:
            for k, line in enumerate(token.string.split("\n")):
                yield token.start[0] + k, line


def spoken(line: str) -> Iterator[str]:
    """Yield the identifiers between backticks."""
    for span in re.findall(r"`+([^`]+)`+", line):
        yield from re.findall(r"[A-Za-z_]\w*", span)


# --- search ---------------------------------------------------------------------------------------


class Rows:
    """Rows of the table; what they find in a name that they have met is remembered."""

    def __init__(self, terms: list[Term]):
        self.terms = terms
        self.met: dict[tuple[tuple[str, ...], str], list[Term]] = {}
        self.any_of: dict[tuple[str, ...], re.Pattern[str]] = {}

    def matching(self, fields: tuple[str, ...], name: str) -> list[Term]:
        """Return the rows that forbid an identifier."""
        key = (fields, name)
        if key not in self.met:
            self.met[key] = list(self._matching(fields, name))
        return self.met[key]

    def _matching(self, fields: tuple[str, ...], name: str) -> Iterator[Term]:
        words = {field: parts(name) if field == "name" else {name} for field in fields}
        # One look at each word says that there is nothing, as nearly always.
        if not any(self._together((field,)).fullmatch(w) for field in fields for w in words[field]):
            return
        for term in self.terms:
            for field in fields:
                pattern = getattr(term, field)
                if pattern and any(re.fullmatch(pattern, word) for word in words[field]):
                    yield term

    def hits(self, fields: tuple[str, ...], line: str) -> Iterator[tuple[str, Term]]:
        """Yield what each row finds in a line of text."""
        # One search says that there is nothing, as nearly always.
        if not self._together(fields).search(line):
            return
        for term in self.terms:
            patterns = [getattr(term, field) for field in fields if getattr(term, field)]
            hits = [hit for p in patterns if (hit := re.search(p, line, re.IGNORECASE))]
            if hits:
                yield hits[0][0], term

    def _together(self, fields: tuple[str, ...]) -> re.Pattern[str]:
        if fields not in self.any_of:
            every = [getattr(term, field) for term in self.terms for field in fields]
            joined = "|".join(f"(?:{pattern})" for pattern in every if pattern)
            # Nothing at all matches where there is no pattern.
            self.any_of[fields] = re.compile(joined or r"(?!)", re.IGNORECASE)
        return self.any_of[fields]


class Search:
    """Look through files for the words of a table, and remember which exceptions were of use."""

    def __init__(self, terms=TERMS, exceptions=EXCEPTIONS, state_keys=STATE_KEYS):
        self.terms = terms
        self.exceptions = exceptions
        self.state_keys = state_keys
        self.used: set = set()
        self.rows: dict[str, Rows] = {}
        self.every_rows: dict[tuple[int, ...], Rows] = {}

    def python(self, path: str, source: str, place: str = "{}") -> Iterator[Fault]:
        """Yield faults of a module: of identifiers, and in the package of signatures and text."""
        tree = ast.parse(source)
        package = path.startswith("skytutor/")
        yield from self._names(path, place, ("name", "whole"), identifiers(tree))
        yield from self._names(path, place, ("rng",), generators(tree, source))
        if path not in SPELLING:
            yield from self._names(path, place, ("name", "whole"), words_in_quotes(tree))
        if package:
            yield from self._names(path, place, ("public",), public_names(tree))
            yield from self._text(path, place, texts(source), ("text",))

    def file_name(self, path: str) -> Iterator[Fault]:
        """Yield faults of a file's name and of its folders' names."""
        names = ((0, name, "file") for name in Path(path).with_suffix("").parts)
        yield from self._names(path, "its name", ("name", "whole"), names)

    def notebook(self, path: str, notebook: dict) -> Iterator[Fault]:
        """Yield faults of all cells: code, its strings and comments, alt texts, Markdown."""
        # A label of one word is both an identifier in quotes and a text.
        yield from dict.fromkeys(self._cells(path, notebook))

    def _cells(self, path: str, notebook: dict) -> Iterator[Fault]:
        for k, cell in enumerate(notebook["cells"]):
            source = "".join(cell["source"])
            place = f"cell {k}, line {{}}"
            if cell["cell_type"] == "markdown":
                yield from self.page(path, source, place)
                continue
            source = re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.MULTILINE)
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            yield from self.python(path, source, place)
            yield from self.page(path, alt, f"cell {k}, alt text")
            yield from self._text(path, place, strings(source), ("text", "page"))

    def page(self, path: str, text: str, place: str = "{}") -> Iterator[Fault]:
        """Yield faults of a text in Markdown."""
        yield from self._text(path, place, enumerate(text.split("\n"), 1), ("text", "page"))

    def _names(self, path: str, place: str, fields: tuple[str, ...], names) -> Iterator[Fault]:
        seen = set()
        for line, name, kind in sorted(names):
            if (line, name) in seen:
                continue
            seen.add((line, name))
            for term in self._matching(path, fields, name):
                if not self._may_stand(path, name, kind):
                    yield Fault(path, place.format(line), name, term)

    def _matching(self, path: str, fields: tuple[str, ...], name: str) -> Iterator[Term]:
        yield from self._rows(path).matching(fields, name)

    def _rows(self, path: str) -> "Rows":
        """Return the rows of the table that hold in a file, one object for all files alike."""
        if path not in self.rows:
            held = [k for k, term in enumerate(self.terms) if re.search(term.files, path)]
            rows = Rows([self.terms[k] for k in held])
            self.rows[path] = self.every_rows.setdefault(tuple(held), rows)
        return self.rows[path]

    def _text(self, path: str, place: str, lines, fields: tuple[str, ...]) -> Iterator[Fault]:
        for number, line in lines:
            if self._excepted(path, line):
                continue
            line = self._without_keys(line)
            where = place.format(number)
            for hit, term in self._rows(path).hits(fields, line):
                yield Fault(path, where, hit, term)
            for name in spoken(line):
                for term in self._matching(path, ("name", "whole"), name):
                    if not self._may_stand(path, name, "attribute"):
                        yield Fault(path, where, f"`{name}`", term)

    def _without_keys(self, line: str) -> str:
        """Return a line without the keys of pretrained files that it names between backticks."""
        for key in self.state_keys:
            if f"`{key}`" in line:
                self.used.add(key)
                line = line.replace(f"`{key}`", "")
        return line

    def _may_stand(self, path: str, name: str, kind: str) -> bool:
        if kind == "attribute" and name in self.state_keys:
            self.used.add(name)
            return True
        return self._excepted(path, name)

    def _excepted(self, path: str, text: str) -> bool:
        for file, written in self.exceptions:
            if file == path and (written in text if " " in written else written == text):
                self.used.add((file, written))
                return True
        return False

    def unused(self) -> list[str]:
        """Return the exceptions that nothing needed."""
        every = {**self.exceptions, **self.state_keys}
        return [f"{key}: excepted, but nothing needs it" for key in every if key not in self.used]


def strings(source: str) -> Iterator[tuple[int, str]]:
    """Yield lines of all strings and comments of a cell: labels and titles may be one word."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if tokenize.tok_name[token.type] in ("STRING", "FSTRING_MIDDLE", "COMMENT"):
            for k, line in enumerate(token.string.split("\n")):
                yield token.start[0] + k, line


def search_repository(root: Path = ROOT) -> tuple[list[Fault], Search]:
    """Return all faults, and the search that knows which exceptions were used."""
    search = Search()
    faults: list[Fault] = []
    patterns = (*(f"{folder}/**/*.py" for folder in CODE), "book/**/*.ipynb", *PAGES)
    for pattern in patterns:
        for file in sorted(root.glob(pattern)):
            path = file.relative_to(root).as_posix()
            text = file.read_text("utf-8")
            faults += search.file_name(path)
            if file.suffix == ".py":
                faults += search.python(path, text)
            elif file.suffix == ".ipynb":
                faults += search.notebook(path, json.loads(text))
            else:
                faults += search.page(path, text)
    return list(dict.fromkeys(faults)), search


if __name__ == "__main__":
    ALL, SEARCH = search_repository()
    print(*ALL, *SEARCH.unused(), sep="\n")
    for where, many in Counter(fault.path for fault in ALL).most_common():
        print(f"{many:5} {where}")
