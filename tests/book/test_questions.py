"""Boxes, hints, folded code and the line of checks, as `questions.css` shows them in a browser.

The page is made here, of the HTML that Sphinx writes and with the theme's own styles, so that no
built book is needed.
"""

from pathlib import Path

import pytest
from bookaxe import AXE

from skytutor.check import session

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "book/_static/questions.css"

TOGGLE = """<details class="admonition hide above-input">
<summary><p class="collapsed admonition-title">Show code</p>
<p class="expanded admonition-title">Hide code</p></summary>
<div class="cell_input docutils container"><pre>check.equal("a", 1, 1)</pre></div></details>"""
HINT = """<details class="sd-sphinx-override sd-dropdown sd-card sd-mb-3 hint hint-{0}">
<summary class="sd-summary-title sd-card-header"><span class="sd-summary-text">Hint {0}</span>
</summary><div class="sd-summary-content sd-card-body docutils"><p>Text {0}.</p></div></details>"""
HINTS = "".join(HINT.format(k) for k in (1, 2, 3))
PAGE = """<!DOCTYPE html><html lang="en" data-theme="{theme}" data-mode="{theme}">
<head><title>Questions</title><meta name="viewport" content="width=device-width">
<style>{styles}</style></head>
<body><main class="bd-content"><article class="bd-article"><h1>Questions</h1>
<div class="cell tag_check tag_hide-input docutils container" id="checked">{toggle}
<div class="cell_output docutils container"><div class="output text_html">{checks}</div></div></div>
<div class="cell tag_hide-input docutils container" id="known">{toggle}
<div class="cell_output docutils container"><div class="output text_html">{box}</div></div></div>
<div class="predict admonition"><p class="admonition-title">Predict before you run</p>
<p>More or fewer than {wide}?</p></div>
<div class="question admonition"><p class="admonition-title">Quick question</p><p>Why?</p></div>
<div class="exercise admonition" id="one"><p class="admonition-title">Exercise 1</p>
<section>{hints}</section></div>
<div class="exercise admonition" id="two"><p class="admonition-title">Exercise 2</p>
<section>{hints}</section></div>
</article></main></body></html>"""


def styles():
    theme = pytest.importorskip("pydata_sphinx_theme")
    notebook = pytest.importorskip("myst_nb")
    design = pytest.importorskip("sphinx_design")
    sheets = [
        *Path(theme.__file__).parent.glob("theme/**/pydata-sphinx-theme.css"),
        Path(notebook.__file__).parent / "static/mystnb.css",
        *Path(design.__file__).parent.rglob("*.min.css"),
        OURS,
    ]
    assert len(sheets) == 4, sheets
    return "\n".join(sheet.read_text() for sheet in sheets)


@pytest.fixture(scope="module")
def outputs():
    """Return the line of checks and the box, as a notebook would hold them."""
    shown = []

    class Shell:
        events = type("Events", (), {"register": staticmethod(lambda name, hook: None)})()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "_SESSION", session._Session())
        patch.setattr(session, "_shell", lambda: Shell)
        patch.setattr(session, "show", lambda page, plain: shown.append(page))
        for k in range(5):
            session.passed(f"check {k}", f"check {k}: " + "a_long_name" * 8, value=k)
        session._show_lines()
    box = '<div class="so-far" role="note" style="border:1px solid"><strong>So far</strong></div>'
    return shown[0], box


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=lambda p: f"{p[0]}-{p[1]}")
def page(request, browser, outputs):
    theme, width = request.param
    checks, box = outputs
    made = PAGE.format(
        theme=theme,
        styles=styles(),
        toggle=TOGGLE,
        checks=checks,
        box=box,
        hints=HINTS,
        wide="a_name_" * 12,
    )
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    opened = context.new_page()
    opened.set_content(made)
    yield opened
    context.close()


def test_the_checks_of_a_cell_and_their_code_are_one_line(page):
    cell = page.locator("#checked")
    line = cell.get_by_text("5 checks passed")
    code = cell.get_by_text("Show code")
    assert cell.bounding_box()["height"] < 40
    assert line.bounding_box()["x"] < code.bounding_box()["x"]
    middles = [box["y"] + box["height"] / 2 for box in map(bounds, (line, code))]
    assert abs(middles[0] - middles[1]) < 4
    assert not cell.locator("li").first.is_visible()


def bounds(locator):
    return locator.bounding_box()


def test_both_open_by_a_click_and_by_the_keyboard(page):
    """A click fails where something lies over what is clicked."""
    for cell in ("#checked", "#known"):
        page.locator(cell).get_by_text("Show code").click(timeout=2000)
        assert page.locator(cell).locator("pre").is_visible()
        page.locator(cell).get_by_text("Hide code").click(timeout=2000)
    page.locator("#checked").get_by_text("5 checks passed").click(timeout=2000)
    assert page.locator("#checked li").count() == 5
    assert page.locator("#checked li").last.is_visible()
    page.locator("#checked").get_by_text("5 checks passed").click(timeout=2000)
    page.locator("#checked details.checks > summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#checked li").first.is_visible()


def test_what_is_reached_by_the_keyboard_is_seen(page):
    seen = "getComputedStyle(document.activeElement).outlineStyle"
    page.locator("h1").click()
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText.trim()"))
        assert page.evaluate(seen) == "solid", reached
    assert reached == ["Show code", "5 checks passed", "Show code", "Hint 1", "Hint 1"]


def test_a_hint_appears_when_the_one_before_is_open(page):
    first = page.locator("#one")
    hints = [first.get_by_text(f"Hint {k}") for k in (1, 2, 3)]
    visible = lambda: [hint.is_visible() for hint in hints]  # noqa: E731
    assert visible() == [True, False, False]
    hints[0].click()
    assert visible() == [True, True, False]
    hints[1].click()
    assert visible() == [True, True, True]
    assert first.get_by_text("Text 2.").is_visible()
    assert not page.locator("#two").get_by_text("Hint 2").is_visible()
    hints[0].click()
    assert visible() == [True, False, False]


def test_on_paper_no_hint_is_missing(page):
    page.emulate_media(media="print")
    assert all(page.locator("#one").get_by_text(f"Hint {k}").is_visible() for k in (1, 2, 3))


def test_nothing_leaves_the_page(page):
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_words_stand_out_from_their_ground(page):
    if not AXE.is_file():
        pytest.skip("axe-core is not here: run `make test-build` first")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.add_script_tag(path=AXE)
    found = page.evaluate(
        """axe.run(document).then(result => result.violations.map(
            v => v.id + ": " + v.nodes.map(n => n.target.join(" ")).join("; ")))"""
    )
    assert found == []
