"""The pages follow the house rules (`booklint`), and the rules catch what they are for."""

import re
from pathlib import Path

import booklint
import nbformat
import prose
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
CHAPTERS = sorted(BOOK.glob("chapters/*.ipynb"))
APPENDICES = sorted(BOOK.glob("appendices/*.ipynb"))
PAGES = sorted(BOOK.glob("*.md"))


def report(path: Path, faults: list[str]) -> str:
    return "\n".join(f"{path.relative_to(ROOT)}: {fault}" for fault in faults)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_follows_the_house_rules(path):
    faults = booklint.lint_notebook(booklint.read(path), held=prose.is_held(path))
    assert not faults, "\n" + report(path, faults)


@pytest.mark.parametrize("path", APPENDICES, ids=lambda p: p.stem)
def test_appendix_follows_the_house_rules(path):
    held = prose.is_held(path)
    faults = booklint.lint_notebook(booklint.read(path), appendix=True, held=held)
    assert not faults, "\n" + report(path, faults)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_page_follows_the_house_rules(path):
    faults = booklint.lint_page(booklint.read(path))
    assert not faults, "\n" + report(path, faults)


@pytest.mark.parametrize("path", [*CHAPTERS, *APPENDICES], ids=lambda p: p.stem)
def test_addresses_in_a_chapter_agree_with_the_settings(path):
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    text = "\n".join(c.source for c in booklint.read(path).cells)
    ours = [
        found
        for found in re.findall(r"github\.com/[\w.-]+/[\w.-]+", text)
        if "skytutor" in found.lower()
    ]
    assert all("https://" + found.removesuffix(".git") == url for found in ours), ours


def test_contents_and_pages_agree():
    def files(node):
        if isinstance(node, dict):
            yield from (node[k] for k in ("root", "file") if k in node)
            for value in node.values():
                yield from files(value)
        elif isinstance(node, list):
            for value in node:
                yield from files(value)

    listed = set(files(yaml.safe_load((ROOT / "_toc.yml").read_text())))
    api = [*BOOK.glob("api/*.rst"), *BOOK.glob("api/*.md")]
    written = [*PAGES, *CHAPTERS, *APPENDICES, *api]
    there = {p.relative_to(BOOK).with_suffix("").as_posix() for p in written}
    assert listed == there


# --- the linter itself: a sound chapter, and one fault at a time ---

OPENING = (
    "# Title\n\nWhat is it? Run it on [Binder](https://mybinder.org/v2/gh/x) or "
    "[Colab](https://colab.research.google.com/github/x).\n\n" + "word " * 2100
)


def chapter(*cells, opening=OPENING, sections=booklint.SECTIONS, **metadata):
    body = [new_markdown_cell(f"## {name}") for name, _ in sections]
    body.insert(1, new_code_cell("import torch"))
    keys = {"accelerator": "GPU", "colab": {"gpuType": "T4"}} | metadata
    return new_notebook(cells=[new_markdown_cell(opening), *body, *cells], metadata=keys)


def figure(source, alt="A line that rises from left to right", caption="A line."):
    settings = {"image": {"alt": alt}, "figure": {"caption": caption}}
    return new_code_cell(source, metadata={"mystnb": settings})


def tagged(source, *tags, source_hidden=True):
    """Return a cell with tags; a folded one is folded in JupyterLab too."""
    metadata = {"tags": list(tags)}
    if "hide-input" in tags and source_hidden:
        metadata["jupyter"] = {"source_hidden": True}
    return new_code_cell(source, metadata=metadata)


def test_sound_chapter_has_no_faults():
    notebook = chapter(
        new_markdown_cell(
            "The network reaches 99.4 % on 768 pixels, published 97.33 % {cite}`a`. "
            "In $x^{2.5}$ and `3.14` nothing is claimed. It is 2018."
        ),
        new_code_cell(
            'check.at_least("accuracy", score, 0.994)\ncheck.equal("pixels", n, 12 * 8**2)'
        ),
        figure("fig, ax = plt.subplots()\nax.plot(x)\nplt.show()"),
        new_code_cell('plot.architecture(net, x)\nplot.results_table(rows, caption="All.")'),
        tagged('check.equal("a", 1, 1)\ncheck.so_far("{a} of it.")', "check", "hide-input"),
    )
    assert booklint.lint_notebook(notebook) == []


BAD = {
    "holds outputs": [new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="1")])],
    "execution count": [new_code_cell("1", execution_count=3)],
    "31 lines": [new_code_cell("\n".join(["x = 1"] * 31))],
    "star import": [new_code_cell("from numpy import *")],
    "clear_output": [new_code_cell("from IPython.display import clear_output")],
    "makes 2 figures": [figure("plt.subplots()\nplt.subplots()\nplt.show()")],
    "without alt text": [figure("plt.subplots()\nplt.show()", alt="")],
    "makes a figure": [new_code_cell("def draw():\n    plt.subplots()"), new_code_cell("draw()")],
    "simply": [new_markdown_cell("It is simply so.")],
    "image a.png has no alt text": [new_markdown_cell("![](a.png)")],
    "{figure} a.png has no :alt:": [
        new_markdown_cell("```{figure} a.png\n:name: a\nA caption.\n```")
    ],
    '"99.4 %" is backed by nothing': [new_markdown_cell("It reaches 99.4 %.")],
    '"0.25" is backed by nothing': [
        new_markdown_cell("It costs 0.25 of it. See {cite}`a`."),
        new_code_cell("x = 0.25"),
    ],
    '"403,050" is backed by nothing': [
        new_markdown_cell("| weights |\n|---|\n| 403,050 |\n| 5 {cite}`a` |")
    ],
    '"6.5" is backed by nothing': [
        new_markdown_cell(
            "```{note} A title\nText.\n\n```python\nx = 7.5\n```\n\n```\n\nAfter it 6.5 is text."
        )
    ],
    '"1.5" is backed by nothing': [new_markdown_cell("$$\nx = 1.5 y_{12.5}\n$$")],
    'caption: "7.5" is backed by nothing': [figure("plt.plot(x)", caption="It is 7.5 high.")],
    'results_table: "8.5" is backed by nothing': [
        new_code_cell('plot.results_table(rows, caption="Errors. " + "The limit is 8.5.")')
    ],
    'so_far: "9.5" is backed by nothing': [
        tagged('check.so_far("It is {a:.2f}, not 9.5.")', "check", "hide-input")
    ],
    "needs jupyter.source_hidden": [tagged("x = 1", "hide-input", source_hidden=False)],
    "check without hide-input": [tagged('check.equal("a", 1, 1)', "check")],
    "is tagged check and checks nothing": [tagged("x = 1", "check", "hide-input")],
}


@pytest.mark.parametrize("fault", BAD)
def test_one_fault_is_found_and_named(fault):
    faults = booklint.lint_notebook(chapter(*BAD[fault]))
    assert len(faults) == 1 and fault in faults[0], faults


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"accelerator": "None"}, "accelerator"),
        ({"colab": {}}, "gpuType"),
        ({"opening": OPENING.replace("?", ".")}, "asks no question"),
        ({"opening": OPENING.replace("Binder", "x")}, "names Binder"),
        ({"opening": OPENING[:200]}, "words; a chapter"),
        ({"opening": OPENING + "word " * 2500}, "words; a chapter"),
    ],
)
def test_faults_of_the_whole_are_found(changed, fault):
    faults = booklint.lint_notebook(chapter(**changed))
    assert any(fault in found for found in faults), faults


def test_words_of_exercises_are_not_those_of_the_lesson():
    exercise = "```{exercise-start} A\n:label: ex-a\n```\n" + "word " * 2500
    assert not booklint.lint_notebook(
        chapter(new_markdown_cell(exercise + "\n```{exercise-end}\n```"))
    )
    assert booklint.lint_notebook(chapter(new_markdown_cell(exercise)))


def test_two_figures_do_not_share_a_name():
    metadata = {"mystnb": {"figure": {"name": "fig-one"}}}
    cells = [new_code_cell("x = 1", metadata=metadata) for _ in range(2)]
    faults = booklint.lint_notebook(chapter(*cells))
    assert any("the name fig-one is that of cell" in found for found in faults), faults
    assert not any("the name" in found for found in booklint.lint_notebook(chapter(cells[0])))


def test_numbers_after_an_option_are_read():
    text = new_markdown_cell("```{exercise-start} A\n:label: ex-a\n```\nIt is 2.5 or less.")
    faults = booklint.lint_notebook(chapter(text))
    assert len(faults) == 1 and '"2.5" is backed by nothing' in faults[0]


def test_a_chapter_imports_before_the_idea():
    bare = chapter()
    del bare.cells[2]
    assert booklint.lint_notebook(bare) == [
        "set-up: no cell that imports what the chapter needs before the idea"
    ]


def test_sections_are_all_there_and_in_order():
    *first, breaks, exercises = booklint.SECTIONS[:9]
    swapped = (*first, exercises, breaks, *booklint.SECTIONS[9:])
    assert booklint.lint_notebook(chapter(sections=swapped)) == [
        'section "Exercises": stands too early'
    ]
    assert booklint.lint_notebook(chapter(sections=booklint.SECTIONS[:-1])) == [
        'section "Reading": is missing'
    ]


# --- chapters with parts, and what is asked of those on the list ---

PARTS = {"The idea": "## Part 1: What it is", "Training": "## Part 2: What comes of it"}


def in_parts(*cells, opening=(), level="###"):
    """Return a chapter whose sections stand in two parts; `opening` is the code above the first."""
    body = []
    for name, _ in booklint.SECTIONS:
        if name in PARTS:
            body.append(new_markdown_cell(PARTS[name]))
        body.append(new_markdown_cell(f"{level} {name}"))
        if name == "At a glance":
            body += [new_code_cell("import torch"), *opening]
    keys = {"accelerator": "GPU", "colab": {"gpuType": "T4"}}
    return new_notebook(cells=[new_markdown_cell(OPENING), *body, *cells], metadata=keys)


HERO = figure("plt.plot(x)")
STUB = tagged("def seam(maps):\n    ...\n\n\nexercises.gan.seam(seam);", "stub", "remove-output")
EXERCISE = new_markdown_cell(
    "```{exercise-start} Seam\n:label: ex-seam\n```\nWrite it.\n```{exercise-end}\n```"
)
SOLUTION = [
    new_markdown_cell("```{solution-start} ex-seam\n:class: dropdown\n```\nIt is 1."),
    new_code_cell("exercises.gan.seam(lambda maps: maps.mean());"),
    new_markdown_cell("```{solution-end}\n```"),
]


@pytest.mark.parametrize("level", ["##", "###"])
def test_sections_may_stand_in_parts(level):
    notebook = in_parts(EXERCISE, STUB, *SOLUTION, opening=[HERO], level=level)
    assert booklint.lint_notebook(notebook, held=True) == []


def test_without_parts_a_section_is_of_second_level():
    deep = chapter()
    for cell in deep.cells[1:]:
        cell.source = cell.source.replace("## ", "### ")
    assert 'section "Results": is missing' in booklint.lint_notebook(deep)


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ([EXERCISE, new_code_cell("x = 1")], "tag it remove-output and stub"),
        ([EXERCISE, tagged("x = 1", "stub")], "tag it remove-output"),
        ([EXERCISE, STUB, new_code_cell("x = 1")], "tag it remove-output and stub"),
        ([new_code_cell('x = check.answer("a", f, g, (1,))')], "puts the reference in sight"),
        ([new_code_cell('y = 1\ncheck.equal("a", 1, 1)\ncheck.equal("b", 1, 1)')], "mostly checks"),
        ([new_code_cell('for k in range(3):\n    check.equal("a", k, k)')], "mostly checks"),
    ],
)
def test_what_a_chapter_on_the_list_may_not(cells, fault):
    notebook = in_parts(*cells, opening=[HERO])
    faults = booklint.lint_notebook(notebook, held=True)
    assert len(faults) == 1 and fault in faults[0], faults
    assert booklint.lint_notebook(notebook) == []


def test_what_an_exercise_shows_is_no_stub():
    picture = figure("plt.plot(x)")
    picture.metadata |= {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    notebook = in_parts(EXERCISE, picture, STUB, opening=[HERO])
    assert booklint.lint_notebook(notebook, held=True) == []


@pytest.mark.parametrize(
    ("opening", "there"),
    [
        ([HERO], True),
        ([new_markdown_cell("```{figure} a.png\n:alt: A line.\nA line.\n```")], True),
        ([new_code_cell("plot.architecture(net, x)")], False),
        ([new_code_cell("def draw():\n    plt.plot(x)")], False),
        ([], False),
    ],
)
def test_the_result_comes_first(opening, there):
    notebook = in_parts(figure("plt.plot(x)"), opening=opening)
    faults = booklint.lint_notebook(notebook, held=True)
    assert faults == (
        [] if there else ["opening: no figure before the first part; the result comes first"]
    )


def test_what_is_folded_does_not_make_a_chapter_long():
    answer = new_markdown_cell(
        "::::{admonition} Q\n:::{dropdown} Answer\n" + "word " * 3000 + "\n:::\n::::"
    )
    start = new_markdown_cell("```{solution-start} ex-a\n:class: dropdown\n```\n" + "word " * 3000)
    end = new_markdown_cell("```{solution-end}\n```")
    assert booklint.lint_notebook(chapter(answer, start, end)) == []


def test_listed_numbers_need_a_reason_and_a_use():
    text = new_markdown_cell("The scale has the factor 2.5.")
    good = {"numbers": {"2.5": "the magnitude scale's definition"}}
    assert booklint.lint_notebook(chapter(text, skytutor=good)) == []
    short = {"numbers": {"2.5": "why"}}
    assert "without a reason" in booklint.lint_notebook(chapter(text, skytutor=short))[0]
    assert "no longer in the text" in booklint.lint_notebook(chapter(skytutor=good))[0]


def test_a_number_may_be_the_rounding_of_a_checked_one():
    text = new_markdown_cell("It reaches 99.4 %, or 0.99.")
    right = new_code_cell('check.close("a", b, 0.99416, 0.001)')
    assert booklint.lint_notebook(chapter(text, right)) == []
    another = new_code_cell('check.close("a", b, 0.9833, 0.001)')
    assert len(booklint.lint_notebook(chapter(text, another))) == 2


def test_front_matter_of_a_page_lists_numbers():
    assert booklint.lint_page("# A\n\nIt is 2.5.\n")
    front_matter = "---\nnumbers:\n  '2.5': a matter of definition\n---\n"
    assert booklint.lint_page(front_matter + "# A\n\nIt is 2.5.\n") == []
