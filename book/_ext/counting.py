"""How long a page is to read: its words, its shown lines of code, its parts and their minutes.

Nothing here needs Sphinx or nbformat: a notebook is the dictionary that its file holds.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORDS_A_MINUTE = 130
LINES_A_MINUTE = 10
# To look at and to think about: a figure, a table, a sphere, a question.
LOOKED_AT = re.compile(r"\b(?:results_table|plot\.architecture|view|explore\.\w+)\(")
QUESTION = re.compile(r"^:class: (?:predict|question)\s*$", re.MULTILINE)
PART = re.compile(r"Part \d+\b")
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
# Of Markdown, what is not read as a sentence; in this order.
NO_SENTENCE = (
    (re.compile(r"\$\$.*?\$\$", re.DOTALL), " "),
    (re.compile(r"^\|.*$|^#.*$|^:.*$|^```.*$", re.MULTILINE), " "),  # tables, headings, fences
    (re.compile(r"\$[^$]*\$"), "x"),
    (re.compile(r"\{[a-z:]+\}`[^`]*`|`[^`]*`"), "x"),
)
END_OF_SENTENCE = re.compile(r"(?<=[.!?:])\s+|\n\s*\n|\n- ")
WORD = re.compile(r"[A-Za-z0-9'\u2019-]+")


def read(path: Path) -> dict:
    """Return a notebook as the dictionary of its file."""
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    """Return the text of a cell, which a file may hold line by line."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def tags(cell: dict) -> set[str]:
    """Return the tags of a cell."""
    return set(cell["metadata"].get("tags", ()))


def markdown(notebook: dict) -> str:
    """Return all text cells as one text."""
    return "\n\n".join(source(c) for c in notebook["cells"] if c["cell_type"] == "markdown")


def sentences(text: str) -> list[int]:
    """Return the number of words of each sentence; what is one word is no sentence."""
    for pattern, instead in NO_SENTENCE:
        text = pattern.sub(instead, text)
    counts = [len(WORD.findall(sentence)) for sentence in END_OF_SENTENCE.split(text)]
    return [count for count in counts if count > 1]


def shown_lines(cell: dict) -> int:
    """Return how many lines of code a reader sees: none of a text, none of a folded cell."""
    if cell["cell_type"] != "code" or tags(cell) & FOLDED:
        return 0
    return len(source(cell).splitlines())


# --- parts ----------------------------------------------------------------------------------------


@dataclass
class Part:
    """One part of a page.

    Attributes:
        title: its heading.
        words: in sight; what is folded is not counted.
        lines: of code in sight.
        pauses: figures, tables, spheres and questions, each good for a minute.
    """

    title: str
    words: int = 0
    lines: int = 0
    pauses: int = 0

    @property
    def minutes(self) -> float:
        """How long it takes to read, exercises not counted."""
        return self.words / WORDS_A_MINUTE + self.lines / LINES_A_MINUTE + self.pauses


def parts(notebook: dict) -> list[Part]:
    """Return the parts of a page: what stands under its headings ``## Part 1: ...``.

    A part ends at the next heading of second level. Solutions, hints and answers are folded, and
    the cells that an exercise starts from are for writing, not for reading: they count nothing.
    """
    found: list[Part] = []
    inside = False
    solution = False
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            if inside and not solution and "stub" not in tags(cell):
                found[-1].lines += shown_lines(cell)
                found[-1].pauses += is_looked_at(cell)
            continue
        in_sight, solution = without_solutions(source(cell), solution)
        for title, text in _sections(in_sight):
            if title is not None:
                inside = bool(PART.match(title))
                if inside:
                    found.append(Part(title))
            if inside:
                found[-1].words += sum(sentences(without_dropdowns(text)))
                found[-1].pauses += len(QUESTION.findall(text))
    return found


def is_looked_at(cell: dict) -> bool:
    """Return whether a code cell shows a figure, a table or a sphere."""
    captioned = "figure" in cell["metadata"].get("mystnb", {})
    return captioned or bool(LOOKED_AT.search(source(cell)))


def without_solutions(text: str, solution: bool) -> tuple[str, bool]:
    """Return a text without its solutions, and whether it ends within one."""
    kept = []
    for line in text.splitlines():
        if "{solution-start}" in line:
            solution = True
        if not solution:
            kept.append(line)
        if "{solution-end}" in line:
            solution = False
    return "\n".join(kept), solution


def _sections(text: str) -> Iterator[tuple[str | None, str]]:
    """Yield (heading of second level, text under it); the first has no heading."""
    title: str | None = None
    lines: list[str] = []
    fence = ""
    for line in text.splitlines():
        marks = re.match(r"\s*(`{3,}|:{3,})", line)
        if marks and not fence:
            fence = marks[1]
        elif marks and line.strip() == fence:
            fence = ""
        if line.startswith("## ") and not fence:
            yield title, "\n".join(lines)
            title = line[3:].strip()
            lines = []
        else:
            lines.append(line)
    yield title, "\n".join(lines)


def without_dropdowns(text: str) -> str:
    """Return a text without what is folded in it: hints, answers, details."""
    kept = []
    closing = ""
    for line in text.splitlines():
        opened = re.match(r"\s*(`{3,}|:{3,})\{dropdown\}", line)
        if closing:
            if line.strip() == closing:
                closing = ""
        elif opened:
            closing = opened[1]
        else:
            kept.append(line)
    return "\n".join(kept)
