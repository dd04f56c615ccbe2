"""A saved page in a browser that may ask no other host, from a server that says no encoding."""

import base64
import re
import subprocess
import sys

import healpy
import numpy as np
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit, serve
from spheres import SPHERE, picture, ready, sky

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


FINE = 512  # nside: the largest of a page
# The peak memory of this process alone: that of a child counts its parent's until it begins.
RUN = """
import sys
from pathlib import Path
from skytutor import cli
status = cli.main(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(status)
"""
# In JavaScript: the codes of the map's pixels, face by face, as text.
READ_CODES = f"""() => {{
    const codes = {SPHERE}.codes(0), bytes = new Uint8Array(codes.buffer, codes.byteOffset,
                                                            codes.byteLength);
    let text = "";
    for (let i = 0; i < bytes.length; i += 8192)
        text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(text);
}}"""
# What is said of the pixel under the mouse: its place, its numbers, its value.
READING = re.compile(
    r"lon ([\d.]+)\D, lat ([\d.-]+)\D . pixel (\d+) .RING., (\d+) .NESTED. . ([\d.-]+) mK"
)


def cmb_with_a_hole(path):
    """Write a Gaussian sky that is red as the CMB's, but for a disc; return it in NESTED order."""
    l = np.arange(2 * FINE + 1)
    cl = np.where(l > 1, 1 / np.maximum(l * (l + 1.0), 1), 0)
    np.random.seed(1)
    values = healpy.synfast(cl, FINE, lmax=2 * FINE).astype(np.float32)
    values[healpy.query_disc(FINE, healpy.ang2vec(1.0, 2.0), 0.3)] = healpy.UNSEEN
    healpy.write_map(path, values, dtype=np.float32, column_units="mK")
    return healpy.reorder(values, r2n=True)


@pytest.mark.slow
def test_the_page_of_a_fine_map_is_small_and_holds_every_pixel(visited, tmp_path):
    values = cmb_with_a_hole(tmp_path / "sky.fits")
    words = ["view", str(tmp_path / "sky.fits"), "-o", str(tmp_path / "sky.html")]
    ended = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stderr) < 2**20  # KiB; 0.6 GiB are needed, 0.25 of them by imports
    assert (tmp_path / "sky.html").stat().st_size < 7e6
    page = visited("sky.html")
    about = page.evaluate(f"{SPHERE}.spec.maps[0]")
    codes = np.frombuffer(base64.b64decode(page.evaluate(READ_CODES)), "<u2")
    x, y, face = healpy.pix2xyf(FINE, np.arange(12 * FINE**2), nest=True)
    codes = codes[(face * FINE + y) * FINE + x]
    seen = values != healpy.UNSEEN
    assert np.array_equal(codes == 65535, ~seen) and not seen.all()
    shown = about["low"] + codes[seen] / 32768 * (about["high"] - about["low"])
    assert np.abs(shown - values[seen]).max() <= about["error"] * (1 + 1e-6)
    assert about["error"] < 1e-3 * values[seen].std()
    dots = picture(page)
    assert len(np.unique(dots[dots[..., 3] == 255], axis=0)) > 200
    box = page.locator(".sky-stage").bounding_box()
    for right, up in ((3, -3), (-70, 40), (55, 90)):
        page.mouse.move(box["x"] + box["width"] / 2 + right, box["y"] + box["height"] / 2 - up)
        said = READING.fullmatch(page.locator(".sky-read").inner_text())
        lon, lat, ring, nested, value = map(float, said.groups())
        assert ring == healpy.nest2ring(FINE, int(nested))
        place = healpy.ang2vec(lon, lat, lonlat=True)
        there = healpy.pix2vec(FINE, int(nested), nest=True)
        assert np.dot(place, there) > np.cos(1.2 * healpy.max_pixrad(FINE))
        assert value == pytest.approx(values[int(nested)], rel=1e-3, abs=about["error"])
