"""Chapters on the list of `prose` hold to its rules, and each rule finds what it is for."""

import json
import subprocess
import sys
from pathlib import Path

import prose
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes

SCRIPT = Path(prose.__file__)


def said(*counts, times=1):
    """Return sentences of so many words."""
    return times * "".join(" ".join(["word"] * count) + ". " for count in counts)


LONG = said(15)
TEXT = said(15, 15, 18, times=30)  # eleven minutes
GLANCE = (
    "## At a glance\n\n| After this chapter you can | Practised in |\n|---|---|\n"
    "| see a seam | {ref}`ex-0`, {ref}`ex-1` |\n"
    "| hear it | {ref}`the last ones <ex-2>` and "
    + ", ".join(f"{{ref}}`ex-{k}`" for k in range(3, 8))
    + " |\n\n| You need | How much |\n|---|---|\n| time | {ref}`ex-9` |\n"
)


def exercise(k):
    return new_markdown_cell(
        f"```{{exercise-start}} A name\n:class: tip\n:label: ex-{k}\n```\n{LONG}\n"
        "```{exercise-end}\n```"
    )


def figure(caption="What it shows.", source="plt.plot(x)"):
    return new_code_cell(source, metadata={"mystnb": {"figure": {"caption": caption}}})


def page(*cells, n_exercises=8, glance=GLANCE, parts=("Part 1: One", "Part 2: Two"), text=TEXT):
    """Return a sound page with some cells more."""
    body = [new_markdown_cell("# Title\n\n" + LONG), new_markdown_cell(glance)]
    for title in parts:
        body += [new_markdown_cell(f"## {title}\n\n{text}"), figure(), new_code_cell("x = 1")]
    body += [new_markdown_cell("## Exercises"), *map(exercise, range(n_exercises)), *cells]
    return json.loads(writes(new_notebook(cells=body)))


def faults(*cells, appendix=False, **options):
    return list(prose.faults(prose.measure(page(*cells, **options)), appendix=appendix))


@pytest.mark.parametrize("name", prose.HELD)
def test_a_chapter_on_the_list_holds_to_the_rules(name):
    path = prose.BOOK / f"{name}.ipynb"
    assert path.is_file(), f"there is no {path}"
    found = list(prose.faults(prose.measure(prose.read(path)), appendix=name.startswith("app")))
    assert not found, "\n" + "\n".join(found)


def test_a_sound_page_has_no_faults():
    assert faults() == []


FAULTS = {
    "mean sentence 13.": {"text": said(13, times=120)},
    "mean sentence 20.": {"text": said(21, times=110)},
    "24 % of the sentences have 8 words or fewer": {"text": said(8, 19, 19, 19, times=30)},
    "median 11; at most 10": {
        "cells": [new_code_cell("\n".join(["x = 1"] * 11)) for _ in range(5)]
    },
    "largest 26; at most 25": {"cells": [new_code_cell("\n".join(["x = 1"] * 26))]},
    "7 exercises; at least 8": {"n_exercises": 7, "glance": GLANCE.replace(", {ref}`ex-7`", "")},
    'no goals: the table "At a glance"': {"glance": ""},
    'the goal "see a seam" has no exercise': {
        "glance": GLANCE.replace("`ex-0`, {ref}`ex-1`", "`sec-1`")
    },
    "ex-4 practises no goal": {"glance": GLANCE.replace(", {ref}`ex-4`", "")},
    "ex-8 practises no goal": {"n_exercises": 9},
    "a figure without a caption": {"cells": [figure(caption=" ")]},
    "a.png: a figure without a caption": {
        "cells": [new_markdown_cell("```{figure} a.png\n:alt: A line.\n```")]
    },
    "line 2: output of a check in sight": {"cells": [new_code_cell('x = 1\nprint(f"ok: {x}")')]},
    "ok: pixels: output of a check in sight": {
        "cells": [new_code_cell("audit()", outputs=[new_output("stream", text="a\nok: pixels\n")])]
    },
    "no parts": {"parts": ()},
    "Part 2: Two: 1 minutes; 10 to 35": {
        "parts": ("Part 1: One",),
        "cells": [new_markdown_cell(f"## Part 2: Two\n\n{5 * LONG}")],
    },
    "Part 3: Three: 36 minutes; 10 to 35": {
        "cells": [new_markdown_cell(f"## Part 3: Three\n\n{312 * LONG}")]
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_named(fault):
    options = dict(FAULTS[fault])
    found = faults(*options.pop("cells", ()), **options)
    assert any(fault in line for line in found), found
    others = [line for line in found if fault not in line]
    if "goal" in fault:
        others = [line for line in others if "practises no goal" not in line]
    assert not others, others


def test_the_fault_names_the_bound_that_the_rule_has(monkeypatch):
    monkeypatch.setattr(prose, "MOST_SHORT", 0.05)
    found = faults(text=said(8, 16, 16, 16, 16, 16, 16, 16, times=20))
    assert any(line.endswith("words or fewer; at most 5 %") for line in found), found


def test_an_appendix_needs_fewer_exercises_and_no_parts():
    glance = GLANCE.partition("| hear it")[0]
    assert faults(n_exercises=2, glance=glance, parts=(), text="", appendix=True) == [
        "2 exercises; at least 4"
    ]


def test_what_is_folded_is_neither_long_nor_slow():
    cell = new_code_cell("\n".join(["x = 1"] * 90), metadata={"tags": ["hide-input"]})
    drop = ":::{dropdown} Hint 1\n" + 900 * LONG + "\n:::"
    solution = [
        new_markdown_cell("```{solution-start} ex-1\n```\n" + 900 * LONG),
        new_code_cell("\n".join(["x = 1"] * 20)),
        new_markdown_cell(900 * LONG + "\n```{solution-end}\n```"),
    ]
    stub = new_code_cell("\n".join(["x = 1"] * 20), metadata={"tags": ["stub", "remove-output"]})
    first = [new_markdown_cell(f"## Part 3: Folded\n\n{TEXT}"), cell, new_markdown_cell(drop)]
    last = [*solution, stub, new_markdown_cell(said(11))]
    [*_, part] = prose.measure(page(*first, *last)).parts
    words = 30 * (15 + 15 + 18) + 11
    assert (part.words, part.lines) == (words, 0)
    assert part.minutes == pytest.approx(words / 130)


def test_a_part_ends_at_the_next_heading_of_its_level():
    reading = prose.measure(page(new_markdown_cell(f"## Reading\n\n{TEXT}")))
    assert [part.title for part in reading.parts] == ["Part 1: One", "Part 2: Two"]
    assert {part.words for part in reading.parts} == {30 * 48}
    assert {part.lines for part in reading.parts} == {2}


def test_a_heading_in_a_block_of_code_begins_no_part():
    block = f"```python\n## Part 9: a comment\n```\n{LONG}"
    assert len(prose.measure(page(new_markdown_cell(block))).parts) == 2


def test_sentences_are_counted_without_tables_code_and_equations():
    text = (
        "# A heading of five words\n\n| a | table of words |\n\nOne two `three four` $x + y$. "
        "Six:\n- seven eight\n- nine ten\n\n$$\nx = y\n$$\n\nSee {ref}`this <that>` once."
    )
    # A hyphen that follows a colon is counted as a word, as everywhere in this count.
    assert prose.sentences(text) == [4, 3, 2, 3]


def test_networks_and_figures_are_counted():
    cells = [
        new_code_cell("plot.architecture(net, x)\nplot.architecture(other, x)"),
        new_code_cell('plot.results_table(rows, caption="All.")'),
        new_code_cell("def draw():\n    plt.plot(x)"),
        figure(source="draw()"),
    ]
    reading = prose.measure(page(*cells))
    assert reading.networks == 2
    assert len(reading.figures) == 3 and reading.uncaptioned == []


def test_the_script_prints_what_it_counts(tmp_path):
    path = tmp_path / "one.ipynb"
    path.write_text(json.dumps(page(figure(caption=""))))
    command = [sys.executable, SCRIPT, path]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    first, *rest = ran.stdout.splitlines()
    assert first.startswith("one.ipynb: 3") and first.endswith("8 exercises")
    assert "  3 figures, 2 with a caption; 0 networks drawn" in rest
    assert "  minutes a part: 12, 12" in rest


def test_the_script_says_what_it_cannot_read(tmp_path):
    command = [sys.executable, SCRIPT, tmp_path / "none.ipynb"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2 and "none.ipynb" in ran.stderr


def test_a_page_on_the_list_fails_the_script(tmp_path, monkeypatch, capsys):
    path = tmp_path / "chapters" / "one.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps(page(n_exercises=7)))
    monkeypatch.setattr(prose, "BOOK", tmp_path)
    assert prose.main([str(path)]) == 0
    monkeypatch.setattr(prose, "HELD", ("chapters/one",))
    assert prose.main([str(path)]) == 1
    assert "  FAULT 7 exercises; at least 8" in capsys.readouterr().out
