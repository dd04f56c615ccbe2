"""Faults that are put into a page are found by what looks at the pages of the book."""

import re

import bookaxe
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit, serve
from test_browser import faults_at

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]

# As in the book, the theme is the one that the reader's system asks for.
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Page</title>
<meta name="viewport" content="width=device-width">
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; };
dark.addEventListener("change", follow);
follow();
</script>
<style>
html { color-scheme: light dark; color: #111; background: #fff }
html[data-theme=dark] { color: #eee; background: #111 }
html[data-theme=dark] .only-light, html[data-theme=light] .only-dark { display: none }
html[data-theme=dark] .night { color: #333 }
@media (max-width: 400px) {
  .narrow { color: #bbb }
  html[data-theme=dark] .small { color: #222 }
}
.block { width: 500px; max-width: none }
</style></head><body><main><h1>Page</h1><p>Words of the text.</p>BODY</main></body></html>"""
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
FIGURE = (
    "<div class='light-dark'><img class='only-light' alt='{}' src='{}'>"
    "<img class='only-dark' alt='{}' src='{}'></div>"
)
# What is put in, and how the fault that it makes is called.
PLANTED = [
    ("<p id='pale' style='color: #aaa'>Pale.</p>", "1280 px, light: serious color-contrast: #pale"),
    (
        "<p class='narrow'>Pale where it is narrow.</p>",
        "390 px, light: serious color-contrast: .*narrow",
    ),
    ("<p class='night'>Pale at night.</p>", "1280 px, dark: serious color-contrast: .night"),
    ("<p class='small night'>In small.</p>", "390 px, dark: serious color-contrast: .*small"),
    ("<input type='text'>", "critical label: input"),
    ("<button></button>", "critical button-name: button"),
    ("<a href='#a'></a>", "serious link-name: a"),
    ("<ul><p>No item.</p></ul>", "serious list: ul"),
    (f"<img src='{DOT}'>", f"image without alt text: {DOT}"),
    ("<img alt='a.png' src='a.png'>", "image without alt text: http"),
    ("<img alt='Not there' src='none.png'>", "not there: http"),
    ("<img alt='Far' src='https://example.org/a'>", "asks another host: https://example.org/a"),
    ("<script>console.error('a fault is told')</script>", "console: a fault is told"),
    ("<script>throw Error('a fault is thrown')</script>", "console: a fault is thrown"),
    ("<div class='block'>a</div>", "390 px: the page is wider than the screen"),
    ("<div style='width: 1400px'>a</div>", "1280 px: the page is wider than the screen"),
    ("<span class='math'>x</span>", "an equation was not typeset"),
    ("<mjx-merror>x</mjx-merror>", "an equation holds an error"),
    ("<div class='cell_output'>Traceback (most recent call last)</div>", "shows a traceback"),
    ("<div class='light-dark'></div>", "light: a figure has no picture"),
    (FIGURE.format("One", DOT, "Other", DOT), "two texts for one figure: 'One', 'Other'"),
    (FIGURE.format("a", DOT, "a", DOT).replace("only-dark", "only-light"), "dark: 1 of 4 pictures"),
]


@pytest.fixture(scope="module")
def faults_in(browser, tmp_path_factory):
    """Return a function that tells what is wrong with a page of that body."""
    folder = tmp_path_factory.mktemp("planted")
    server, address = serve(folder)

    def do(body):
        bookaxe.forget()
        (folder / "page.html").write_text(PAGE.replace("BODY", body), encoding="utf-8")
        with Visit(browser, address) as visit:
            return faults_at(visit, "page.html")

    yield do
    server.shutdown()
    server.server_close()
    bookaxe.forget()


@pytest.fixture(scope="module")
def faults(faults_in):
    """Return what is wrong with a page that has all the faults."""
    return faults_in("\n".join(planted for planted, _ in PLANTED))


def test_a_sound_page_has_no_fault(faults_in):
    assert faults_in(FIGURE.format("A dot", DOT, "A dot", DOT)) == []


@pytest.mark.parametrize("fault", [fault for _, fault in PLANTED])
def test_a_fault_is_found(faults, fault):
    assert any(re.search(fault, found) for found in faults), faults


def test_a_frame_around_a_figure_is_found(faults_in):
    framed = FIGURE.format("A dot", DOT, "A dot", DOT).replace(
        "alt=", "style='background: red' alt="
    )
    assert faults_in(framed) == ["light: a figure has a frame", "dark: a figure has a frame"]
