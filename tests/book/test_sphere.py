"""The sphere in a browser, from a page that has no kernel.

It finds the right pixel, every view and control works, and no other host is asked.
"""

import base64
import shutil

import healpy
import numpy as np
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit, serve
from spheres import (
    NO_WEBGL2,
    direction_at,
    near_border,
    ready,
    sky,
    special_directions,
    static_view,
    write,
)

from skytutor.widgets.page import SCRIPT

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]
SPHERE = "document.querySelector('.sky-sphere').sphere"
# In JavaScript: all dots of the canvas as text, its width and its height.
READ_CANVAS = f"""() => {{
    const s = {SPHERE};
    s.draw();
    const gl = s.painter.gl, c = s.canvas, out = new Uint8Array(4 * c.width * c.height);
    gl.readPixels(0, 0, c.width, c.height, gl.RGBA, gl.UNSIGNED_BYTE, out);
    let text = "";
    for (let i = 0; i < out.length; i += 8192)
        text += String.fromCharCode(...out.subarray(i, i + 8192));
    return [btoa(text), c.width, c.height];
}}"""


@pytest.fixture
def opened(browser, tmp_path):
    """Open pages of some spheres; at the end nothing may have failed on them."""
    kept = []

    def do(*views, width=700, scheme="light", prepare=None, motion="reduce", count=None):
        server, address = serve(write(tmp_path, *views, width=width))
        visit = Visit(browser, address, scheme=scheme)
        kept.append((server, visit))
        visit.page.emulate_media(reduced_motion=motion)
        if prepare:
            visit.page.add_init_script(prepare)
        visit.page.goto(address + "index.html")
        if count != 0:
            ready(visit.page, len(views) if count is None else count)
        return visit.page

    yield do
    for server, visit in kept:
        faults = (visit.foreign, visit.errors, visit.missing)
        visit.context.close()
        server.shutdown()
        server.server_close()
        assert faults == ([], [], [])


def state(page, key):
    return page.evaluate(f"{SPHERE}.get('{key}')")


def picture(page):
    """Return what the sphere's canvas shows now, ``(height, width, 4)`` uint8, from the bottom."""
    data, width, height = page.evaluate(READ_CANVAS)
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)


@pytest.mark.parametrize("nside", [2**k for k in range(10)])
def test_pixel_of_a_direction_is_healpys(browser, tmp_path, nside):
    """1,000 directions for each nside, both orders, but for those within 1e-6 rad of a border."""
    vectors = special_directions(1000, seed=nside)
    (tmp_path / "sphere.mjs").write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    server, address = serve(write(tmp_path))
    with Visit(browser, address) as visit:
        visit.page.goto(address + "index.html")
        ask = """async ([all, n]) => {
            const m = await import('./sphere.mjs');
            return all.map(d => { const p = m.pixel(d, n); return [p.ring, p.nested]; });
        }"""
        found = np.array(visit.page.evaluate(ask, [vectors.tolist(), nside]))
        there_and_back = """async n => {
            const m = await import('./sphere.mjs');
            return Array.from({length: 50}, (_, k) => Math.floor(k * 12 * n * n / 50))
                .map(p => [p, m.pixel(m.direction(m.nestedPlace(p, n)), n).nested]);
        }"""
        pairs = visit.page.evaluate(there_and_back, nside)
        assert not visit.errors
    server.shutdown()
    server.server_close()
    clear = ~near_border(vectors, nside)
    assert clear.sum() > 800
    for k, nest in enumerate((False, True)):
        wanted = healpy.vec2pix(nside, *vectors[clear].T, nest=nest)
        np.testing.assert_array_equal(found[clear, k], wanted)
    assert all(a == b for a, b in pairs)


def random_views(count, width, height):
    """Draw (lon, lat, zoom, x, y): views and a place of the cursor on a canvas of that size."""
    rng = np.random.default_rng(3)
    out = []
    for _ in range(count):
        lon = float(rng.uniform(-180, 180))
        lat = float(rng.uniform(-90, 90))
        zoom = float(rng.choice([1, 1.7, 6]))
        x = int(rng.integers(0, width))
        y = int(rng.integers(0, height))
        out.append((lon, lat, zoom, x, y))
    return out


# In JavaScript: what the sphere says of the pixel under the cursor, in each view.
READ_CURSOR = f"""cases => cases.map(([lon, lat, zoom, x, y]) => {{
    const s = {SPHERE};
    s.set({{lon, lat, zoom}});
    const box = s.stage.getBoundingClientRect();
    const place = {{clientX: box.left + x, clientY: box.top + y, pointerId: 1}};
    s.stage.dispatchEvent(new PointerEvent('pointermove', place));
    return s.read.textContent;
}})"""


@pytest.mark.parametrize("projection", ["globe", "mollweide", "gnomonic"])
def test_the_cursor_reads_the_pixel_under_it(opened, projection):
    """500 places in turned and enlarged views.

    The reading is compared with healpy and with an inverse projection written apart.
    """
    nside = 64
    values = sky(64)
    page = opened(
        static_view(values, nside=nside, order="ring", unit="K", projection=projection, title="")
    )
    box = page.evaluate(f"(({SPHERE}).stage.getBoundingClientRect()).toJSON()")
    width = box["width"]
    height = box["height"]
    cases = random_views(500, width, height)
    read = page.evaluate(READ_CURSOR, cases)
    seen = 0
    for (lon, lat, zoom, x, y), text in zip(cases, read, strict=True):
        view = {"width": width, "height": height, "lon": lon, "lat": lat, "zoom": zoom}
        d = direction_at(projection, x - width / 2, height / 2 - y, **view)
        assert (d is None) == (text.strip() == ""), (lon, lat, zoom, x, y, text)
        if d is None or near_border(d[None], nside)[0]:
            continue
        seen += 1
        ring = healpy.vec2pix(nside, *d)
        nested = healpy.vec2pix(nside, *d, nest=True)
        assert f"pixel {ring} (RING), {nested} (NESTED)" in text
        value = float(text.rsplit("·", 1)[1].split()[0])
        exact = float(values[ring])
        assert value == pytest.approx(exact, abs=6e-4 * float(values.abs().max())), text
    assert seen > 150


def test_the_graphics_card_draws_what_the_processor_draws(opened):
    """WebGL and the canvas that stands in for it, dot by dot, in every view."""
    page = opened(static_view(sky(32), nside=32, order="ring", height=240))
    for projection in ("globe", "mollweide", "gnomonic"):
        page.evaluate(
            f"{SPHERE}.set({{projection: '{projection}', lon: 33, lat: -48, pixels: false}})"
        )
        card = picture(page).astype(int)
        page.evaluate(f"() => {{ const s = {SPHERE}; s.sleep(); s.paint(s.soft); s.draw(); }}")
        dots = page.evaluate(
            f"""() => {{
                const c = {SPHERE}.canvas;
                return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data];
            }}"""
        )
        soft = np.array(dots).reshape(card.shape)[::-1]
        page.evaluate(f"{SPHERE}.sleep()")
        inside = (card[..., 3] == 255) & (soft[..., 3] == 255)
        assert inside.mean() > 0.2
        # The card counts in float32, the canvas in double: they differ at borders of pixels.
        differ = (np.abs(card - soft)[inside].max(1) > 3).mean()
        assert differ < 0.02, f"{projection}: {100 * differ:.1f} % of the dots"


def middle_of(box):
    """Return x and y of the middle of a box on the page."""
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, place):
    """Drag the sphere by 40 pixels to the right and 20 down."""
    page.mouse.move(*place)
    page.mouse.down()
    page.mouse.move(place[0] + 40, place[1] + 20)
    page.mouse.up()


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


class Changes:
    """Pictures of a page, each of which must differ from all before it."""

    def __init__(self, page):
        self.page = page
        self.seen = [picture(page).tobytes()]

    def __call__(self, what):
        self.page.wait_for_timeout(50)
        new = picture(self.page).tobytes()
        assert new not in self.seen, what
        self.seen.append(new)


@pytest.fixture
def full(opened):
    """Open a page with one sphere that has all there is to show."""
    values = sky(16)
    values[:40] = np.nan
    view = static_view(
        values,
        nside=16,
        order="ring",
        unit="K",
        mask=np.arange(3072) % 5 > 0,
        polarisation=(sky(16, seed=2), sky(16, seed=3)),
        projection="mollweide",
    )
    return opened(view, motion="no-preference")


def test_every_control_changes_the_picture(full):
    page = full
    changed = Changes(page)
    for label, options in (
        ("Scale", ["symlog", "histogram"]),
        ("Colours", ["viridis", "magma", "blue-red", "grey", "planck"]),
    ):
        for option in options:
            page.get_by_role("combobox", name=label).select_option(option)
            changed(option)
    for name in ("Grid", "Base pixels", "Mask"):
        button = page.get_by_role("button", name=name)
        before = button.get_attribute("aria-pressed")
        button.click()
        assert button.get_attribute("aria-pressed") != before
        changed(name)
    page.get_by_role("button", name="Zoom in").click()
    changed("zoom")
    page.get_by_role("button", name="Pixels", exact=True).click()
    changed("pixels")
    low = page.get_by_label("Lowest value of the colours")
    high = page.get_by_label("Highest value of the colours")
    low.focus()
    page.keyboard.press("PageUp")
    changed("the lowest value")
    high.evaluate("end => { end.value = 0; end.dispatchEvent(new Event('input')); }")
    assert state(page, "low") < state(page, "high")


def test_polarisation_can_be_switched_off(full):
    page = full
    over = f"() => {SPHERE}.over.toDataURL()"
    lines = page.evaluate(over)
    page.get_by_role("button", name="Polarisation").click()
    page.wait_for_timeout(60)
    assert page.evaluate(over) != lines


def test_one_view_turns_into_another(full):
    page = full
    changed = Changes(page)
    # Later frames of the turn are drawn as if it were half done.
    half_way = f"""before => {{
        const s = {SPHERE};
        s.was = before;
        s.morph = performance.now() - 100;
        s.draw = (draw => () => {{
            if (s.morph) s.morph = performance.now() - 300;
            draw.call(s);
        }})(s.draw);
    }}"""
    end = f"() => {{ const s = {SPHERE}; delete s.draw; s.morph = 0; s.was = s.is; s.ask(); }}"
    for option, before in (("gnomonic", 1), ("globe", 2)):
        page.get_by_role("combobox", name="View").select_option(option)
        page.wait_for_function(f"{SPHERE}.morph === 0", timeout=10_000)
        changed(option)
        # Once more to the middle of the turn, whatever time the machine takes for it.
        page.evaluate(half_way, before)
        changed("on the way to " + option)
        page.evaluate(end)


def test_frames_play_and_step(opened):
    frames = np.stack([sky(8, seed=k).numpy() for k in range(4)])
    page = opened(
        static_view(
            frames,
            nside=8,
            order="ring",
            frame_labels=["epoch 1", "epoch 2", "epoch 4", "epoch 8"],
            fps=20,
        )
    )
    first = picture(page).tobytes()
    slider = page.get_by_label("Frame")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert state(page, "frame") == 1 and page.get_by_text("epoch 2").is_visible()
    assert picture(page).tobytes() != first
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"{SPHERE}.get('frame') === 3")
    page.get_by_role("button", name="Pause").click()
    at = state(page, "frame")
    page.wait_for_timeout(200)
    assert state(page, "frame") == at


def test_two_maps_are_linked_and_can_be_swiped(opened):
    page = opened(
        static_view(
            {"simulated": sky(8), "rebuilt": sky(8, seed=2)}, nside=8, order="ring", unit="K"
        )
    )
    box = page.locator(".sky-stage").bounding_box()
    for fraction in (0.25, 0.75):
        page.mouse.move(box["x"] + fraction * box["width"], box["y"] + box["height"] / 2 + 11)
        read = page.locator(".sky-read").inner_text()
        assert "lon 0.0" in read or "lon 359.9" in read
        assert read.count("|") == 1
    apart = picture(page).tobytes()
    page.get_by_role("button", name="Swipe: lay the two maps").click()
    assert state(page, "swipe") == 0.5
    swiped = picture(page)
    page.get_by_label("Border at").evaluate(
        "end => { end.value = 0.9; end.dispatchEvent(new Event('input')); }"
    )
    moved = picture(page)
    assert swiped.tobytes() != apart and (swiped != moved).any()
    third = swiped.shape[1] // 3
    # Left of both borders it is the same map.
    np.testing.assert_array_equal(swiped[:, :third], moved[:, :third])


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


def test_handles_that_meet_can_be_parted(opened):
    page = opened(static_view(sky(4), nside=4, order="ring", value_range=(-1, 1)))
    low = page.get_by_label("Lowest value of the colours")
    high = page.get_by_label("Highest value of the colours")
    for end in (high, low):
        end.evaluate("end => { end.value = 1000; end.dispatchEvent(new Event('input')); }")
    box = low.bounding_box()
    top = page.evaluate(
        "([x, y]) => document.elementFromPoint(x, y).getAttribute('aria-label')",
        [box["x"] + box["width"] - 12, box["y"] + 12],
    )
    assert top == "Lowest value of the colours"


def test_a_picture_can_be_saved(opened):
    page = opened(static_view(sky(8), nside=8, order="ring", unit="K", title="A sky"))
    with page.expect_download() as waiting:
        page.get_by_role("button", name="PNG: save a picture").click()
    data = waiting.value.path().read_bytes()
    assert waiting.value.suggested_filename == "sphere.png"
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 5000


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
    from test_browser import AXE

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
    summary = page.locator(".sky-summary").first.inner_text()
    assert long.split()[0] in summary and unit in summary


EXTREMES = {
    "beside UNSEEN": lambda values: 1.7e30 * values / np.abs(values).max(),
    "as large as may be": lambda values: 1e300 * values / np.abs(values).max(),
    "as small as may be": lambda values: 1e-290 * values,
}


@pytest.mark.parametrize("change", EXTREMES.values(), ids=EXTREMES.keys())
def test_a_map_looks_the_same_in_any_unit(opened, change):
    """The graphics card counts in 32 bits, and need not know the unit."""
    values = sky(8).numpy()
    plain = picture(opened(static_view(values / np.abs(values).max(), nside=8, order="ring")))
    page = opened(static_view(change(values), nside=8, order="ring"))
    np.testing.assert_array_equal(picture(page), plain)
    box = page.locator(".sky-stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 + 3)
    value = float(page.locator(".sky-read").inner_text().rsplit("·", 1)[1].split()[0])
    view = {"width": box["width"], "height": box["height"], "lon": 0, "lat": 0, "zoom": 1}
    pixel = healpy.vec2pix(8, *direction_at("globe", 3, -3, **view))
    assert value == pytest.approx(change(values)[pixel], rel=2e-2)
    for scaling in ("symlog", "histogram"):
        page.evaluate(f"{SPHERE}.set({{scaling: '{scaling}'}})")
        assert len(np.unique(picture(page).reshape(-1, 4), axis=0)) > 50, scaling


def test_colours_of_any_range(opened):
    """Far wider and far narrower than the map, and of no width at all.

    There is one colour, or two with a step between, never noise.
    """
    values = np.where(np.arange(768) % 2, 1.0, 0.0)
    page = opened(static_view(values, nside=8, order="ring", cmap="grey"))
    cases = {
        (-1e300, 1e300): (127, 127),
        (0, 1e300): (0, 0),
        (0, 1e-300): (0, 255),
        (-1e-25, 0): (255, 255),
        (0.5, 0.5 + 1e-15): (0, 255),
        (1e299, 1e300): (0, 0),
    }
    for (low, high), colours in cases.items():
        page.evaluate(f"{SPHERE}.set({{low: {low}, high: {high}, pixels: false}})")
        dots = picture(page)
        got = dots[dots[..., 3] == 255][:, 0].astype(int)
        assert np.abs(got.min() - colours[0]) <= 2, (low, high)
        assert np.abs(got.max() - colours[1]) <= 2, (low, high)


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


def test_the_core_alone_turns(opened):
    page = opened(static_view(sky(8), nside=8, order="ring", controls=False, borders=True))
    assert page.locator("button, select, input").count() == 0
    page.locator(".sky-stage").focus()
    page.keyboard.press("ArrowLeft")
    assert state(page, "lon") > 0
    assert picture(page)[..., 3].max() == 255
    assert page.locator(".sky-summary").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(opened, scheme):
    from test_browser import AXE, FAULTS

    if not AXE.is_file():
        pytest.skip("axe-core is not here: run `make test-build` first")
    two = static_view({"a": sky(8), "b": sky(8, seed=2)}, nside=8, order="ring", swipe=True)
    frames = static_view(np.stack([sky(4), sky(4)]), nside=4, order="ring")
    page = opened(two, frames, scheme=scheme)
    page.add_script_tag(content=AXE.read_text())
    assert page.evaluate(FAULTS) == []
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.locator(".sky-summary").first.inner_text().startswith("HEALPix, Nside 8")
