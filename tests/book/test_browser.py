"""Every page of the built book as a reader sees it.

Light and dark, wide and narrow, with no other host to ask.
"""

import pytest
from bookserver import HTML, NO_BOOK, ROOT, Visit

# index.html only leads to the first page.
PAGES = sorted(
    p.relative_to(HTML).as_posix()
    for p in HTML.rglob("*.html")
    if not {"_static", "index.html"} & set(p.parts)
)
WIDTHS = (1280, 390)
AXE = ROOT / "_build/vendor/axe-core/axe.min.js"
FAULTS = """rules => axe.run(document, {resultTypes: ["violations"], ...rules}).then(result =>
    result.violations
    .filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => [v, v.nodes.map(n => n.target.join(" ")).slice(0, 4).join(", ")])
    .map(([v, places]) => `${v.impact} ${v.id}: ${places}`))"""
CONTRAST = {"runOnly": ["color-contrast"]}
# A hash or a file's name is no alt text.
NO_ALT = r"""[...document.images]
    .filter(i => !i.alt.trim() || /^[0-9a-f]{32,}|\.(png|svg|jpe?g)$/.test(i.alt.trim()))
    .map(i => i.src)"""
# A chapter has tens of thousands of elements that are words of code or glyphs, and axe looks at the
# contrast of each. Words of the same class before the same background look the same: one of them
# stays an element, the others become bare text, which changes nothing that is seen. Glyphs of
# equations in the text go, after it was checked that they are set.
THIN = """() => {
    const seen = new Set();
    for (const word of [...document.querySelectorAll(".highlight span, .sig span")]) {
        const around = word.closest(".admonition, .cell_output, details, table, figure, a");
        const key = [word.className, word.parentElement.className, around?.className].join("|");
        if (seen.has(key)) word.replaceWith(...word.childNodes);
        seen.add(key);
    }
    for (const inline of document.querySelectorAll("span.math mjx-math")) inline.replaceChildren();
}"""

pytestmark = pytest.mark.built


if not PAGES:

    def test_there_is_a_built_book():
        pytest.skip(NO_BOOK)


def resize(page, width):
    """Give the page another width and wait until it is laid out."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def seen_faults(page):
    """Yield what is wrong with the page whatever its colours are."""
    for width in WIDTHS:
        resize(page, width)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"):
            yield f"{width} px: the page is wider than the screen"
    yield from (f"image without alt text: {src}" for src in page.evaluate(NO_ALT))
    if page.locator("div.math, span.math").count() != page.locator("mjx-container").count():
        yield "an equation was not typeset"
    if page.locator("mjx-merror").count():
        yield "an equation holds an error"
    outputs = page.locator(".cell_output")
    if outputs.filter(has_text="Traceback (most recent call last)").count():
        yield "shows a traceback"


def axe_faults(page):
    """Yield what keeps readers from using the page: all rules in light, contrast in dark too."""
    page.add_script_tag(content=AXE.read_text())
    page.evaluate(THIN)
    for width in WIDTHS:
        resize(page, width)
        yield from (f"{width} px, light: {fault}" for fault in page.evaluate(FAULTS, {}))
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'", timeout=60_000)
    for width in WIDTHS:
        resize(page, width)
        yield from (f"{width} px, dark: {fault}" for fault in page.evaluate(FAULTS, CONTRAST))


@pytest.mark.parametrize("path", PAGES)
def test_page(browser, site, path):
    with Visit(browser, site) as visit:
        page = visit.open(path)
        faults = [*seen_faults(page), *axe_faults(page)]
        faults += [f"asks another host: {url}" for url in visit.foreign]
        faults += [f"not there: {url}" for url in visit.missing]
        faults += [f"console: {error[:300]}" for error in visit.errors]
    assert not faults, f"\n{path}:\n" + "\n".join(faults)


@pytest.mark.parametrize("path", [p for p in PAGES if p.startswith(("intro", "appendices/"))])
def test_a_page_that_is_opened_in_the_dark_is_dark(browser, site, path):
    with Visit(browser, site, scheme="dark") as visit:
        page = visit.open(path)
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert not visit.foreign and not visit.missing and not visit.errors


@pytest.mark.skipif(not PAGES, reason=NO_BOOK)
def test_the_front_door_leads_to_the_first_page(browser, site):
    with Visit(browser, site) as visit:
        visit.page.goto(site + "index.html")
        visit.page.wait_for_url("**/intro.html", timeout=60_000)


@pytest.mark.skipif(not PAGES, reason=NO_BOOK)
def test_search_finds_a_word(browser, site):
    with Visit(browser, site) as visit:
        page = visit.open("search.html?q=hierarchy")
        page.wait_for_selector("ul.search li", timeout=30_000)
        assert not visit.foreign and not visit.errors


@pytest.mark.skipif(not PAGES, reason=NO_BOOK)
def test_one_search_box_and_launch_buttons(browser, site):
    chapter = next((p for p in PAGES if p.startswith("chapters/")), None)
    assert chapter, "the built book holds no chapter"
    with Visit(browser, site) as visit:
        page = visit.open(chapter)
        search = ".search-button-field:visible, .search-button:visible, input[type=search]:visible"
        boxes = page.locator(search).count()
        assert boxes == 1, f"{boxes} search boxes are in sight"
        links = page.eval_on_selector_all("a", "all => all.map(a => a.href)")
        name = chapter.removesuffix(".html") + ".ipynb"
        assert any("mybinder.org" in link and f"book/{name}" in link for link in links)
        assert any(
            "colab.research.google.com" in link and link.endswith(f"/blob/main/book/{name}")
            for link in links
        )
