"""The few texts that are picked of a page show every fault of contrast that all its texts show."""

import bookaxe
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit, serve

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]

GOOD = "<p>Words of the text.</p><p>And <a href='#'>a link</a> among them.</p>" * 20
DARK = "position: absolute; width: 300px; height: 60px; background: #222;"
FAULTS = {
    "none": "",
    "pale": "<p style='color: #aaa'>Pale words.</p>",
    "on a box of its own": "<div style='background: #333'><p>Words on a dark box.</p></div>",
    "behind glass": "<div style='opacity: 0.4'><p>Words behind glass.</p></div>",
    "before another box": f"<div style='position: relative'><div style='{DARK}'></div>"
    "<p style='position: relative'>These words stand before a box.</p></div>",
    "in a field": "<input aria-label='a' value='Words' style='color: #bbb'>",
    "small": "<p style='color: #888; font-size: 24px'>Large words may be paler</p>"
    "<p style='color: #888'>than small ones.</p>",
    "scrolled away": "<div style='height: 40px; overflow: auto' tabindex=0>"
    + "<p>Words.</p>" * 9
    + "<p style='color: #ccc'>Far down.</p></div>",
    "one of many": "<p style='color: #999'>Pale words, over and over.</p>" * 30,
}
# What axe says of all texts.
ALL = """async () => {
    axe.configure({rules: [{id: "color-contrast", selector: "*"}]});
    const result = await axe.run(document, {runOnly: ["color-contrast"], preload: false});
    return result.violations.flatMap(rule => rule.nodes).map(node => node.any[0].message);
}"""
# How many texts are measured.
PICKED = "document.querySelectorAll('[data-look]').length"


@pytest.fixture
def opened(browser, tmp_path):
    """Return a function that opens a page of that body, with axe in it."""
    bookaxe.forget()
    server, address = serve(tmp_path)
    with Visit(browser, address) as visit:

        def do(body):
            page = "<!doctype html><html lang=en><title>Page</title><main>{}</main></html>"
            # A name of its own: a browser keeps a page that was written in the same second.
            name = f"{len(list(tmp_path.iterdir()))}.html"
            (tmp_path / name).write_text(page.format(body), encoding="utf-8")
            visit.page.goto(address + name)
            bookaxe.start(visit.page)
            return visit.page

        yield do
    server.shutdown()
    server.server_close()
    bookaxe.forget()


def contrast_faults(page):
    return bookaxe.faults_of(page, every_rule=False)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_where_axe_finds_it_among_all(opened, name):
    page = opened(GOOD + FAULTS[name] + GOOD)
    found = contrast_faults(page)
    picked = page.evaluate(PICKED)
    assert bool(found) == bool(page.evaluate(ALL)) == (name != "none")
    assert all(fault.startswith("serious color-contrast: ") for fault in found)
    assert picked < 20


def test_a_good_look_is_asked_for_once_and_a_bad_one_on_each_page(opened):
    page = opened(GOOD)
    assert not contrast_faults(page) and page.evaluate(PICKED)
    page = opened(GOOD)
    assert not contrast_faults(page) and not page.evaluate(PICKED)
    for _ in range(2):
        page = opened(GOOD + FAULTS["pale"])
        assert len(contrast_faults(page)) == 1 and page.evaluate(PICKED) == 1


def test_all_of_a_look_are_asked_when_axe_cannot_tell_of_those_that_are_picked(opened):
    """What is painted by `::before` is no element: covered and uncovered rows have one look."""
    style = """<style>p.row { position: relative; color: #999 }
        p.covered::before { content: ""; position: absolute; inset: 0; background: #123 }</style>"""
    rows = [f"<p class='row {'' if k % 3 else 'covered'}'>Row {k}.</p>" for k in range(10)]
    page = opened(style + "".join(rows) + GOOD)
    (fault,) = contrast_faults(page)
    assert fault.startswith("serious") and page.evaluate(PICKED) == len(rows)
