"""The sphere under a hand: mouse, wheel, fingers and keys."""

import healpy
import numpy as np
import pytest
from bookserver import CHROMIUM, NO_BROWSER
from spheres import SPHERE, direction_at, drag, middle_of, pages, picture, sky, state, static_view

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]


@pytest.fixture
def opened(browser, tmp_path):
    """Open pages of some spheres; at the end nothing may have failed on them."""
    with pages(browser, tmp_path) as open_page:
        yield open_page


def test_drag_and_wheel(opened):
    page = opened(static_view(sky(8), nside=8, order="ring"))
    box = page.locator(".sky-stage").bounding_box()
    middle = middle_of(box)
    degrees = 180 / np.pi / (0.48 * min(box["width"], box["height"]))
    drag(page, middle)
    assert state(page, "lon") == pytest.approx(40 * degrees, rel=0.01)
    assert state(page, "lat") == pytest.approx(20 * degrees, rel=0.01)
    before = picture(page)
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"{SPHERE}.get('zoom') > 1.3")
    assert (picture(page) != before).any()


def test_keys_and_double_click(opened):
    page = opened(static_view(sky(8), nside=8, order="ring"))
    stage = page.locator(".sky-stage")
    box = stage.bounding_box()
    middle = middle_of(box)
    drag(page, middle)
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"{SPHERE}.get('zoom') > 1.3")
    stage.focus()
    for key, sign in (("ArrowRight", -1), ("ArrowLeft", 1)):
        at = state(page, "lon")
        page.keyboard.press(key)
        assert np.sign(state(page, "lon") - at) == sign
        assert "pixel" in page.locator(".sky-read").inner_text()
    page.keyboard.press("+")
    zoom = state(page, "zoom")
    page.keyboard.press("-")
    assert state(page, "zoom") < zoom
    page.keyboard.press("Home")
    assert [state(page, k) for k in ("lon", "lat", "zoom")] == [0, 0, 1]
    # The mouse stands on whole pixels.
    x = round(middle[0] - 60)
    y = round(middle[1] - 30)
    page.mouse.dblclick(x, y)
    view = {"width": box["width"], "height": box["height"], "lon": 0, "lat": 0, "zoom": 1}
    d = direction_at("globe", x - middle[0], middle[1] - y, **view)
    assert state(page, "lon") == pytest.approx(np.degrees(np.arctan2(d[1], d[0])), abs=0.05)
    assert state(page, "lat") == pytest.approx(np.degrees(np.arcsin(d[2])), abs=0.05)
    page.keyboard.press("Enter")
    lon = state(page, "lon")
    lat = state(page, "lat")
    assert state(page, "nested") == healpy.ang2pix(8, lon, lat, nest=True, lonlat=True)


def test_two_fingers_enlarge(opened):
    page = opened(static_view(sky(8), nside=8, order="ring"))
    send = f"""([kind, id, x, y]) => {{
        const s = {SPHERE}.stage, box = s.getBoundingClientRect();
        const place = {{clientX: box.left + x, clientY: box.top + y}};
        s.dispatchEvent(new PointerEvent(kind, {{pointerId: id, ...place, bubbles: true}}));
    }}"""
    for event in (
        ("pointerdown", 1, 300, 100),
        ("pointerdown", 2, 400, 100),
        ("pointermove", 2, 500, 100),
        ("pointerup", 1, 300, 100),
    ):
        page.evaluate(send, list(event))
    assert state(page, "zoom") == pytest.approx(2)
    page.evaluate(send, ["pointerup", 2, 500, 100])
    assert state(page, "nested") == -1


def test_a_flicked_sphere_glides_and_stops(opened):
    page = opened(static_view(sky(8), nside=8, order="ring"), motion="no-preference")
    # All at once: on a busy machine the events of a real mouse come too late for a flick.
    at = page.evaluate(
        f"""() => {{
            const s = {SPHERE}, send = (kind, x) => {{
                const place = {{pointerId: 1, clientX: 300 + x, clientY: 200}};
                s.stage.dispatchEvent(new PointerEvent(kind, place));
            }};
            send("pointerdown", 0);
            for (let k = 1; k < 6; k++) send("pointermove", k);
            send("pointerup", 5);
            return s.get("lon");
        }}"""
    )
    page.wait_for_function(f"Math.abs({SPHERE}.get('lon') - {at}) > 0.5", timeout=10_000)
    page.wait_for_function(f"Math.hypot(...{SPHERE}.speed) <= 0.011", timeout=20_000)


def test_the_reading_of_a_tap_stays(opened):
    page = opened(static_view(sky(8), nside=8, order="ring"))
    box = page.locator(".sky-stage").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2 + 5, box["y"] + box["height"] / 2 + 5)
    kept = page.locator(".sky-read").inner_text()
    page.mouse.move(2, 2)
    assert "pixel" in kept and page.locator(".sky-read").inner_text() == kept
    assert (picture(page)[..., :3] == [255, 115, 0]).all(-1).any(), "the chosen pixel is not marked"
    chosen = state(page, "nested")
    page.mouse.click(box["x"] + box["width"] / 2 + 40, box["y"] + 60, button="right")
    assert f", {chosen} (NESTED)" in kept and state(page, "nested") == chosen


def test_the_core_alone_turns(opened):
    page = opened(static_view(sky(8), nside=8, order="ring", controls=False, borders=True))
    assert page.locator("button, select, input").count() == 0
    page.locator(".sky-stage").focus()
    page.keyboard.press("ArrowLeft")
    assert state(page, "lon") > 0
    assert picture(page)[..., 3].max() == 255
    assert page.locator(".sky-summary").is_visible()
