"""The sphere as a part of a page: beside others, in old browsers, with odd titles, for all."""

import shutil

import numpy as np
import pytest
from bookaxe import AXE, FAULTS
from bookserver import CHROMIUM, NO_BROWSER
from spheres import NO_WEBGL2, SPHERE, open_controls, pages, sky, state, static_view

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]


@pytest.fixture
def opened(browser, tmp_path):
    """Open pages of some spheres; at the end nothing may have failed on them."""
    with pages(browser, tmp_path) as open_page:
        yield open_page


def test_a_bare_and_a_full_sphere_share_a_page(opened):
    for first in (False, True):
        views = [
            static_view(sky(4), nside=4, order="ring", controls=controls)
            for controls in (first, not first)
        ]
        page = opened(*views)
        buttons = page.evaluate(
            "[...document.querySelectorAll('.sky-sphere')]"
            ".map(el => el.querySelectorAll('button').length > 0)"
        )
        assert buttons == [first, not first]


def test_without_webgl2_a_canvas_draws(opened):
    page = opened(static_view(sky(8), nside=8, order="ring"), prepare=NO_WEBGL2)
    count_colours = f"""() => {{
        const s = {SPHERE};
        s.draw();
        const c = s.canvas, d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        const dot = (_, k) => d.slice(4 * k, 4 * k + 4).join();
        return new Set(Array.from({{length: d.length / 4}}, dot)).size;
    }}"""
    assert page.evaluate(count_colours) > 50
    page.locator(".sky-stage").focus()
    page.keyboard.press("ArrowLeft")
    assert state(page, "lon") > 0


@pytest.mark.parametrize("harm", ["cut", "altered", "old browser"])
def test_what_cannot_be_read_is_said(opened, harm):
    view = static_view(sky(8), nside=8, order="ring")
    start = view.index('<script type="text/plain">') + 26
    if harm == "cut":
        view = view[: start + 200] + view[view.index("</script>", start) :]
    elif harm == "altered":
        other = "A" if view[start + 300] != "A" else "B"
        view = view[: start + 300] + 4 * other + view[start + 304 :]
    prepare = "delete globalThis.DecompressionStream" if harm == "old browser" else None
    page = opened(view, static_view(sky(4), nside=4, order="ring"), count=0, prepare=prepare)
    alert = page.get_by_role("alert").first
    alert.wait_for()
    assert alert.inner_text().startswith("The map cannot be shown:")
    assert page.locator(".sky-summary").first.is_visible()


def test_marks_in_a_title_are_text(opened):
    bad = "</script><img src=x onerror=window.hacked=1><b>sky</b>"
    page = opened(static_view(sky(4), nside=4, order="ring", title=bad, unit="<i>K</i>"))
    assert page.evaluate("window.hacked") is None
    assert page.locator(".sky-title").inner_text() == bad
    assert page.locator("img, .sky-sphere b, .sky-sphere i").count() == 0


def test_mathjax_leaves_titles_alone(opened, tmp_path):
    """Nbconvert and JupyterLab let it look for dollar signs in every output.

    It looks before the script runs, and after.
    """
    mathjax = AXE.parents[1] / "static/vendor/mathjax"
    if not mathjax.is_dir():
        pytest.skip("MathJax is not here: run `make test-build` first")
    shutil.copytree(mathjax, tmp_path / "mathjax")
    ahead = (
        '<script>window.MathJax = {tex: {inlineMath: [["$", "$"]]}}</script>'
        '<script src="mathjax/tex-mml-chtml.js"></script><p>$z$</p>'
    )
    maps = {"$x$": sky(4), "$$y$$": sky(4, seed=2)}
    page = opened(ahead + static_view(maps, nside=4, order="ring", unit="$\\mu$K"))
    page.evaluate("MathJax.startup.promise.then(() => MathJax.typesetPromise()).then(() => true)")
    assert page.locator("p > mjx-container").count() == 1, "an equation of the page's own is set"
    assert page.locator(".sky-sphere mjx-container").count() == 0
    assert page.locator(".sky-title").all_text_contents() == ["$x$", "$$y$$"]


@pytest.mark.parametrize("width", [700, 320])
def test_long_and_odd_titles_leave_the_page_as_it_is(opened, width):
    """Cut off above the sphere, whole in the summary."""
    long = "a title of many words " * 50 + "W" * 900
    unit = "$$\\frac{" + "u" * 900
    page = opened(
        static_view({long: sky(4), "$$": sky(4, seed=2)}, nside=4, order="ring", unit=unit),
        static_view(sky(4), nside=4, order="ring"),
        width=width,
    )
    page.set_viewport_size({"width": width + 16, "height": 900})
    stages = [stage.bounding_box() for stage in page.locator(".sky-stage").all()]
    assert stages[0]["width"] == stages[1]["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width + 16
    assert all(title.bounding_box()["height"] < 30 for title in page.locator(".sky-title").all())
    assert page.locator(".sky-title").all_text_contents() == [long, "$$", ""]
    open_controls(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width + 16
    summary = page.locator(".sky-summary").first.inner_text()
    assert long.split()[0] in summary and unit in summary


def test_many_spheres_share_the_contexts(opened):
    views = [static_view(sky(4, seed=k), nside=4, order="ring", height=300) for k in range(14)]
    page = opened(*views, count=14)
    for k in (*range(14), 0):
        page.evaluate(f"document.querySelectorAll('.sky-stage')[{k}].scrollIntoView()")
        painter = f"document.querySelectorAll('.sky-sphere')[{k}].sphere.painter"
        page.wait_for_function(painter, timeout=20_000)
    awake = page.evaluate(
        "[...document.querySelectorAll('.sky-sphere')].filter(el => el.sphere.painter).length"
    )
    assert awake <= 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(opened, scheme):
    if not AXE.is_file():
        pytest.skip("axe-core is not here: run `make test-build` first")
    two = static_view({"a": sky(8), "b": sky(8, seed=2)}, nside=8, order="ring", swipe=True)
    frames = static_view(np.stack([sky(4), sky(4)]), nside=4, order="ring")
    page = opened(two, frames, scheme=scheme)
    page.add_script_tag(path=AXE)
    assert page.evaluate(FAULTS) == []
    described = f"document.getElementById({SPHERE}.stage.getAttribute('aria-describedby'))"
    # Also while the panel is closed: the description of an element may be hidden.
    assert page.evaluate(f"{described}.textContent").startswith("HEALPix, Nside 8")
    open_controls(page, 0)
    open_controls(page, 1)
    assert page.evaluate(FAULTS) == []
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate(FAULTS) == []
    assert page.locator(".sky-summary").first.inner_text().startswith("HEALPix, Nside 8")
