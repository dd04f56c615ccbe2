"""What README, CONTRIBUTING and the pages name exists: modules, files, goals of make, commands."""

import contextlib
import importlib
import io
import re
from collections import Counter
from pathlib import Path

import booklint
import pytest

from skytutor import cli

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
API = sorted(BOOK.glob("api/*.rst"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob(".github/**/*.md")),
    *sorted(BOOK.glob("*.md")),
    *sorted(BOOK.glob("chapters/*.ipynb")),
    *sorted(BOOK.glob("appendices/*.ipynb")),
]
GOALS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
ENDINGS = {".py", ".md", ".rst", ".toml", ".yml", ".json", ".js", ".css", ".txt", ".ipynb", ".cff"}
# A path may be given from the top, or from one of these.
FOLDERS = ("", "skytutor", "skytutor/chapters", "book")
# Only these are searched for a file that is named without its folder.
SEARCHED = ("skytutor", "book", "tests", "benchmarks", ".github")
MADE = ("_build/", ".venv/")  # what make makes


def text_of(path):
    """Return a page as Markdown; of a notebook its text cells."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = booklint.read(path).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def quoted(text):
    """Yield what stands between single backticks, outside code blocks."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose)


def shell_lines(text):
    """Yield the lines of shell blocks without their comments, and what is quoted."""
    for block in re.findall(r"^ *```bash\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            yield line.partition("#")[0].strip()
    yield from quoted(text)


def resolve(name):
    """Import the longest part of a dotted name that is a module; look the rest up in it."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError as error:
            if not name.startswith(error.name or "?"):
                raise  # a package that the module needs
            continue
        for part in parts[k:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def module_faults(text):
    """Yield the names below `skytutor` that cannot be imported, quoted or in Python blocks."""
    names = [re.match(r"skytutor(\.\w+)+", quote) for quote in quoted(text)]
    found = {match[0] for match in names if match and not match[0].endswith(".js")}
    for module, imported in re.findall(r"^ *from (skytutor[\w.]*) import ([\w, ]+)$", text, re.M):
        found |= {f"{module}.{name.split(' as ')[0].strip()}" for name in imported.split(",")}
    for name in sorted(found):
        try:
            resolve(name)
        except (ModuleNotFoundError, AttributeError):
            yield f"there is no {name}"


def is_path(quote):
    """Tell whether what is quoted names a file or a folder of the repository."""
    if not re.fullmatch(r"[\w./-]+", quote) or quote.startswith(("/", *MADE)):
        return False
    return quote.endswith("/") or Path(quote).suffix in ENDINGS


def exists(quote, page):
    """Look a path up from the top, from the package, or from its page; NAME stands for any name."""
    pattern = quote.strip("/").replace("NAME", "*")
    if any(any((ROOT / folder).glob(pattern)) for folder in (*FOLDERS, page.parent)):
        return True
    return "/" not in pattern and any(any((ROOT / top).rglob(pattern)) for top in SEARCHED)


def path_faults(text, page):
    """Yield quoted paths, and relative links of files that GitHub shows, that lead nowhere."""
    for quote in quoted(text):
        if is_path(quote) and not exists(quote, page):
            yield f"there is no file {quote}"
    if page.parent == ROOT:
        for link in re.findall(r"\]\(([^)#]+)", text):
            if "://" not in link and not (ROOT / link).exists():
                yield f"there is no file {link}"


def goal_faults(text):
    """Yield goals of make that the Makefile does not have."""
    for line in shell_lines(text):
        words = line.split()
        # After the goals may stand variables.
        goals = [word for word in words[1:] if "=" not in word]
        if "make" in words[:1]:
            yield from (f"make has no goal {goal}" for goal in goals if goal not in GOALS)


def command_faults(text):
    """Yield commands that `skytutor` does not understand; one word alone is only looked up."""
    for line in shell_lines(text):
        words = line.split()
        if words[:1] != ["skytutor"] or len(words) < 2:
            continue
        if len(words) == 2:
            words.append("--help")
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            try:
                cli._parser().parse_args(words[1:])
            except SystemExit as end:
                if end.code:
                    yield f"no command: {line}"


def faults(text, page):
    yield from module_faults(text)
    yield from path_faults(text, page)
    yield from goal_faults(text)
    yield from command_faults(text)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_a_page_names_exists(path):
    found = list(faults(text_of(path), path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("It is in `skytutor.attic.thing`.", "there is no skytutor.attic.thing"),
        ("Call `skytutor.sht.alm2sky(maps)`.", "there is no skytutor.sht.alm2sky"),
        ("```python\nfrom skytutor.sht import alm2sky\n```", "there is no skytutor.sht.alm2sky"),
        ("See `skytutor/attic/thing.py`.", "there is no file skytutor/attic/thing.py"),
        ("Look into `attic/`.", "there is no file attic/"),
        ("It stands in `thing.py`.", "there is no file thing.py"),
        ("See [it](attic.md).", "there is no file attic.md"),
        ("Run `make tea`.", "make has no goal tea"),
        ("```bash\nmake test tea  # and rest\n```", "make has no goal tea"),
        ("Run `skytutor brew`.", "no command: skytutor brew"),
        ("```bash\nskytutor train digits-fixed --milk\n```", "no command: skytutor train"),
    ],
)
def test_what_does_not_exist_is_found(text, fault):
    found = list(faults(text, ROOT / "README.md"))
    assert len(found) == 1 and found[0].startswith(fault), found


def test_what_exists_is_no_fault():
    text = """
    `skytutor.sht.Harmonics.alm2map(alms)`, `skytutor/sht/`, `layers/`, `chapters/NAME/task.py`,
    `task.py`, `_build/html/index.html`, `(batch, channel, pixel)`, `order`, [all](README.md),
    `make test-data`, `skytutor train RECIPE --profile cpu`, `skytutor train`,
    `skytutor data list`, make a cup of tea

```python
from skytutor.layers.pixel import HaloConv
```
"""
    assert list(faults(text, ROOT / "README.md")) == []


# --- the pages of the API ---


def public_modules():
    """Return every module of the package that does not begin with an underscore."""
    names = set()
    for path in (ROOT / "skytutor").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not any(part.startswith("_") for part in parts):
            names.add(".".join(parts))
    return names


def packages():
    folders = (path.parent for path in (ROOT / "skytutor").rglob("__init__.py"))
    return {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def api_faults(pages, modules):
    """Yield the modules that do not stand on exactly one of the pages, and what is none."""
    named = Counter(name for page in pages for name in re.findall(r"automodule:: (\S+)", page))
    for name in sorted(modules | set(named)):
        if name not in modules | packages():
            yield f"{name} is no public module"
        elif named[name] != 1:
            yield f"{name} stands {named[name]} times"


def test_every_public_module_is_on_one_page_of_the_api():
    assert list(api_faults([path.read_text() for path in API], public_modules())) == []


@pytest.mark.parametrize(
    ("pages", "fault"),
    [
        (["Title"], "a.b stands 0 times"),
        ([".. automodule:: a.b", ".. automodule:: a.b"], "a.b stands 2 times"),
        ([".. automodule:: a.b\n\n.. automodule:: a.c"], "a.c is no public module"),
    ],
)
def test_a_module_that_is_missing_or_twice_in_the_api_is_found(pages, fault):
    assert list(api_faults(pages, {"a.b"})) == [fault]


def test_the_page_of_the_api_links_to_every_page_below_it():
    linked = re.findall(r"\((api/[\w-]+\.rst)\)", (BOOK / "api.md").read_text())
    assert sorted(linked) == [path.relative_to(BOOK).as_posix() for path in API]
