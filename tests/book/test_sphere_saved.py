"""A saved page in a browser that may ask no other host, from a server that says no encoding."""

import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit, serve
from spheres import SPHERE, ready, sky

from skytutor import cli
from skytutor.io import write_map
from skytutor.widgets import view

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]
GREEK = "\N{MICRO SIGN}K \N{GREEK SMALL LETTER ALPHA}"


@pytest.fixture
def visited(browser, tmp_path):
    """Return a function that opens a file of the folder; no page may have had a fault."""
    kept = []

    def do(name):
        server, address = serve(tmp_path)
        visit = Visit(browser, address)
        kept.append((server, visit))
        visit.page.goto(address + name)
        ready(visit.page)
        return visit.page

    yield do
    for server, visit in kept:
        faults = (visit.foreign, visit.errors, visit.missing)
        visit.context.close()
        server.shutdown()
        server.server_close()
        assert faults == ([], [], [])


@pytest.mark.parametrize("controls", [True, False])
def test_a_saved_page_stands_alone(visited, tmp_path, controls):
    maps = {"A": sky(8), GREEK: -sky(8)}
    globe = view(maps, nside=8, order="ring", unit=GREEK, title="Both", controls=controls)
    globe.save(tmp_path / "a.html")
    page = visited("a.html")
    assert page.evaluate("document.compatMode") == "CSS1Compat"  # no quirks of old pages
    assert page.evaluate("document.characterSet") == "UTF-8"
    assert page.title() == "Both"
    assert page.locator(".sky-head").inner_text() == "Both"
    head, stage = (page.locator(name).bounding_box() for name in (".sky-head", ".sky-stage"))
    assert head["y"] + head["height"] <= stage["y"]
    assert GREEK in page.locator(".sky-summary").inner_text() or not controls
    assert page.evaluate(f"{SPHERE}.spec.unit") == GREEK
    if controls:
        titles = page.locator(".sky-title").all_inner_texts()
        assert titles == ["A", GREEK]


def test_a_part_of_a_page_reads_right_without_an_encoding(visited, tmp_path):
    """What `html` returns, written to a file as it is: the browser takes it for Latin 1."""
    globe = view(sky(8), nside=8, order="ring", unit=GREEK, title=GREEK)
    (tmp_path / "a.htm").write_text('<link rel="icon" href="data:,">' + globe.html())
    page = visited("a.htm")
    assert page.locator(".sky-title").inner_text() == GREEK
    assert page.locator(".sky-head").count() == 0
    assert GREEK in page.locator(".sky-summary").inner_text()


def test_the_page_of_the_command_opens(visited, tmp_path):
    write_map(tmp_path / "sky.fits", sky(8), nside=8, order="ring", unit="K")
    words = ["-o", str(tmp_path / "sky.html"), "--unit", "muK", "--title", "My sky"]
    assert cli.main(["view", str(tmp_path / "sky.fits"), *words]) == 0
    page = visited("sky.html")
    assert page.locator(".sky-title").inner_text() == "My sky" == page.title()
    assert page.evaluate(f"{SPHERE}.spec.unit") == "\N{MICRO SIGN}K"
    assert page.evaluate(f"{SPHERE}.spec.nside") == 8
