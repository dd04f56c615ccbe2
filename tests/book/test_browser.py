"""Every page of the built book as a reader sees it.

Light and dark, wide and narrow, with no other host to ask.
"""

import bookaxe
import pytest
from bookserver import HTML, NO_BOOK, Visit

# index.html only leads to the first page.
PAGES = sorted(
    p.relative_to(HTML).as_posix()
    for p in HTML.rglob("*.html")
    if not {"_static", "index.html"} & set(p.parts)
)
WIDTHS = (1280, 390)
# A hash or a file's name is no alt text.
NO_ALT = r"""[...document.images]
    .filter(i => !i.alt.trim() || /^[0-9a-f]{32,}|\.(png|svg|jpe?g)$/.test(i.alt.trim()))
    .map(i => i.src)"""
# All pictures that have one for each theme.
SEEN = """[...document.querySelectorAll(".light-dark img")].map(image => {
    const style = getComputedStyle(image);
    return [image.className, image.alt, style.display, style.filter, style.backgroundColor];
})"""

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


def figure_faults(page, scheme):
    """Yield what is wrong with the figures that have a picture for each theme."""
    if page.locator(".light-dark:not(:has(img))").count():
        yield f"{scheme}: a figure has no picture"
    images = page.evaluate(SEEN)
    shown = [image for image in images if image[2] != "none"]
    if len(images) != 2 * len(shown) or any(image[0] != f"only-{scheme}" for image in shown):
        yield f"{scheme}: {len(shown)} of {len(images)} pictures are shown, or of the wrong theme"
    if any(image[3:] != ["none", "rgba(0, 0, 0, 0)"] for image in shown):
        yield f"{scheme}: a figure has a frame"
    for light, dark in zip(images[::2], images[1::2], strict=False):
        if light[1] != dark[1]:
            yield f"two texts for one figure: {light[1]!r}, {dark[1]!r}"


def faults_of(page):
    """Yield all that is wrong with a page in both themes: all of axe's rules in light.

    From wide to narrow, to wide, and to narrow again: a long page takes a second to lay out.
    """
    yield from seen_faults(page)
    yield from figure_faults(page, "light")
    bookaxe.start(page)
    for width in reversed(WIDTHS):
        resize(page, width)
        yield from (f"{width} px, light: {fault}" for fault in bookaxe.faults_of(page))
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'", timeout=60_000)
    yield from figure_faults(page, "dark")
    for width in WIDTHS:
        resize(page, width)
        faults = bookaxe.faults_of(page, every_rule=False)
        yield from (f"{width} px, dark: {fault}" for fault in faults)


def faults_at(reader, path):
    """Return all that is wrong where a reader opens a page."""
    faults = list(faults_of(reader.open(path)))
    faults += [f"asks another host: {url}" for url in reader.foreign]
    faults += [f"not there: {url}" for url in reader.missing]
    faults += [f"console: {error[:300]}" for error in reader.errors]
    return faults


@pytest.mark.parametrize("path", PAGES)
def test_page(reader, path):
    faults = faults_at(reader, path)
    assert not faults, f"\n{path}:\n" + "\n".join(faults)


@pytest.mark.parametrize("path", [p for p in PAGES if p.startswith(("intro", "appendices/"))])
def test_a_page_that_is_opened_in_the_dark_is_dark(reader, path):
    reader.page.emulate_media(color_scheme="dark")
    page = reader.open(path)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert not list(figure_faults(page, "dark"))
    assert not reader.foreign and not reader.missing and not reader.errors


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
