"""How a chapter reads: ``python tests/book/prose.py [NOTEBOOK ...]`` prints what it counts.

Without a notebook all are read. The chapters of `HELD` are held to the rules, here and by the
tests; the exit status is 1 where one of them breaks a rule.
"""

import ast
import json
import re
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from booklint import drawing_functions, draws, run_now
from booknumbers import calls, parse

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))
from counting import Part, markdown, parts, read, sentences, shown_lines, source, tags  # noqa: E402

# Chapters that follow the pattern, by their file below book/ without its ending.
HELD: tuple[str, ...] = (
    "chapters/03-cmb-parameters",
    "chapters/04-image-to-spectrum",
    "chapters/05-multiband-translation",
    "chapters/06-cosmovae-inpainting",
    "appendices/spherical-harmonics",
    "appendices/your-own-sky",
)

SHORT = 8  # words of a sentence
MEAN = (14.0, 18.0)
MOST_SHORT = 0.20
MEDIAN_LINES = 10
MOST_LINES = 25
MINUTES = (10.0, 35.0)
EXERCISES = {"chapters": 8, "appendices": 4}


@dataclass
class Reading:
    """What a page counts.

    Attributes:
        words: of its sentences.
        mean: words of a sentence.
        short: fraction of the sentences that have `SHORT` words or fewer.
        shown: lines of each code cell that is not folded.
        figures: places of what is drawn: "cell 7", or a picture's file.
        uncaptioned: those of them that have no caption.
        networks: how many networks are drawn from their modules.
        exercises: labels.
        goals: of the table "At a glance": the goal, and the labels that practise it.
        ok_lines: places where output of checks stands in sight.
        parts: with their minutes.
    """

    words: int
    mean: float
    short: float
    shown: list[int]
    figures: list[str] = field(default_factory=list)
    uncaptioned: list[str] = field(default_factory=list)
    networks: int = 0
    exercises: list[str] = field(default_factory=list)
    goals: list[tuple[str, list[str]]] = field(default_factory=list)
    ok_lines: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def unpractised(self) -> list[str]:
        """Goals that no exercise of the page practises."""
        return [goal for goal, labels in self.goals if not set(labels) & set(self.exercises)]

    @property
    def aimless(self) -> list[str]:
        """Exercises that practise no goal."""
        practised = {label for _, labels in self.goals for label in labels}
        return [label for label in self.exercises if label not in practised]


def measure(notebook: dict) -> Reading:
    """Count a notebook."""
    text = markdown(notebook)
    counts = sentences(text)
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    shown = [lines for lines in map(shown_lines, code) if lines]
    pictures = list(figures(notebook))
    return Reading(
        words=sum(counts),
        mean=sum(counts) / max(1, len(counts)),
        short=sum(count <= SHORT for count in counts) / max(1, len(counts)),
        shown=shown,
        figures=[place for place, _ in pictures],
        uncaptioned=[place for place, caption in pictures if not caption.strip()],
        networks=sum(count_calls(source(c), "plot", "architecture") for c in code),
        exercises=exercises(text),
        goals=list(goals(text)),
        ok_lines=list(ok_lines(notebook)),
        parts=parts(notebook),
    )


# --- what a page holds ----------------------------------------------------------------------------


def exercises(text: str) -> list[str]:
    """Return a label for each exercise; "exercise 3" where one has none."""
    found = []
    for block in re.split(r"\{exercise(?:-start)?\}", text)[1:]:
        label = re.match(r"[^\n]*\n(?::[^\n]*\n)*?:label: *(\S+)", block)
        found.append(label[1] if label else f"exercise {len(found) + 1}")
    return found


def goals(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each row of the table that says where a goal is practised, with its labels."""
    table = re.search(r"^\|[^\n]*Practised in[^\n]*\n\|[-:| ]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    for row in table[1].splitlines() if table else ():
        cells = row.strip().strip("|").split("|")
        practised = "|".join(cells[1:])
        labels = re.findall(r"\{(?:ref|numref)\}`(?:[^`<]*<)?([\w-]+)>?`", practised)
        yield cells[0].strip(), labels


def figures(notebook: dict) -> Iterator[tuple[str, str]]:
    """Yield (place, caption) of every figure: those that cells draw, and pictures in the text."""
    code = [source(c) for c in notebook["cells"] if c["cell_type"] == "code"]
    helpers = drawing_functions(code)
    for k, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            made = calls(run_now(parse(source(cell))))
            if any(draws(module, name, helpers) for module, name, _ in made):
                settings = cell["metadata"].get("mystnb", {})
                yield f"cell {k}", settings.get("figure", {}).get("caption", "")
            continue
        fence = r"^([`:]{3,})\{(?:figure|glue:figure)\} *(\S+)\n(.*?)^\1\s*$"
        for match in re.finditer(fence, source(cell), re.MULTILINE | re.DOTALL):
            yield match[2], re.sub(r"^:.*$", "", match[3], flags=re.MULTILINE)


def count_calls(cell: str, module: str, name: str) -> int:
    """Return how often a cell's code calls ``module.name``."""
    found = calls(ast.walk(parse(cell)))
    return sum((m, n) == (module, name) for m, n, _ in found)


def ok_lines(notebook: dict) -> Iterator[str]:
    """Yield the places where lines of checks stand in a reader's way.

    The checks of a cell are one line that opens. What is left are lines that a cell prints itself,
    and lines in outputs that were stored.
    """
    for k, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code" or "remove-output" in tags(cell):
            continue
        for module, name, call in calls(ast.walk(parse(source(cell)))):
            if module is None and name == "print" and call.args and says_ok(call.args[0]):
                yield f"cell {k}: line {call.lineno}"
        for output in cell.get("outputs", ()):
            printed = "".join(output.get("text", ""))
            yield from (f"cell {k}: {line}" for line in printed.splitlines() if is_ok(line))


def says_ok(node: ast.AST) -> bool:
    """Tell whether a literal that is printed begins as the line of a check does."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and is_ok(node.value)


def is_ok(line: str) -> bool:
    """Tell whether a line is one of a check or an exercise."""
    return bool(re.match(r"ok\b|right:|not yet:", line))


# --- the rules ------------------------------------------------------------------------------------


def faults(reading: Reading, *, appendix: bool = False) -> Iterator[str]:
    """Yield a line for each rule that a page breaks."""
    if not MEAN[0] <= reading.mean <= MEAN[1]:
        yield f"mean sentence {reading.mean:.1f} words; {MEAN[0]:.0f} to {MEAN[1]:.0f}"
    if reading.short > MOST_SHORT:
        short = 100 * reading.short
        most = 100 * MOST_SHORT
        yield f"{short:.0f} % of the sentences have {SHORT} words or fewer; at most {most:.0f} %"
    if reading.shown and statistics.median(reading.shown) > MEDIAN_LINES:
        middle = statistics.median(reading.shown)
        yield f"shown lines a cell: median {middle:g}; at most {MEDIAN_LINES}"
    if reading.shown and max(reading.shown) > MOST_LINES:
        yield f"shown lines a cell: largest {max(reading.shown)}; at most {MOST_LINES}"
    wanted = EXERCISES["appendices" if appendix else "chapters"]
    if len(reading.exercises) < wanted:
        yield f"{len(reading.exercises)} exercises; at least {wanted}"
    if not reading.goals:
        yield 'no goals: the table "At a glance" has a column "Practised in"'
    yield from (f'the goal "{goal}" has no exercise' for goal in reading.unpractised)
    yield from (f"{label} practises no goal" for label in reading.aimless)
    yield from (f"{place}: a figure without a caption" for place in reading.uncaptioned)
    yield from (f"{place}: output of a check in sight" for place in reading.ok_lines)
    yield from part_faults(reading.parts, appendix=appendix)


def part_faults(found: list[Part], *, appendix: bool) -> Iterator[str]:
    """Yield parts that are too short or too long; an appendix need not have any."""
    if not found and not appendix:
        yield 'no parts: headings "## Part 1: ..."'
    for part in found:
        if not MINUTES[0] <= part.minutes <= MINUTES[1]:
            yield f"{part.title}: {part.minutes:.0f} minutes; {MINUTES[0]:.0f} to {MINUTES[1]:.0f}"


# --- the report -----------------------------------------------------------------------------------


def report(name: str, reading: Reading) -> str:
    """Return what a page counts, in words."""
    shown = reading.shown or [0]
    minutes = ", ".join(f"{part.minutes:.0f}" for part in reading.parts) or "no parts"
    lines = [
        f"{name}: {reading.words} words, mean sentence {reading.mean:.1f}, "
        f"{100 * reading.short:.0f} % of {SHORT} words or fewer, "
        f"{len(reading.exercises)} exercises",
        f"  shown lines a cell: median {statistics.median(shown):g}, largest {max(shown)}, "
        f"in {len(reading.shown)} cells",
        f"  {len(reading.figures)} figures, {len(reading.figures) - len(reading.uncaptioned)} "
        f"with a caption; {reading.networks} networks drawn",
        f"  goals without an exercise: {'; '.join(reading.unpractised) or 'none'}",
        f"  exercises without a goal: {', '.join(reading.aimless) or 'none'}",
        f"  lines of check output in sight: {len(reading.ok_lines)}",
        f"  minutes a part: {minutes}",
    ]
    return "\n".join(lines)


def is_held(path: Path) -> bool:
    """Tell whether a notebook is on the list."""
    return any(path.resolve() == (BOOK / f"{name}.ipynb").resolve() for name in HELD)


def main(names: list[str]) -> int:
    """Print each notebook's counts, and the rules it breaks if it is on the list."""
    paths = [Path(name) for name in names]
    if not paths:
        paths = [*sorted(BOOK.glob("chapters/*.ipynb")), *sorted(BOOK.glob("appendices/*.ipynb"))]
    broken = False
    for path in paths:
        try:
            reading = measure(read(path))
        except (OSError, json.JSONDecodeError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        print(report(path.name, reading))
        if is_held(path):
            found = list(faults(reading, appendix=path.parent.name == "appendices"))
            broken |= bool(found)
            print("\n".join(f"  FAULT {fault}" for fault in found) or "  holds to all rules")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
