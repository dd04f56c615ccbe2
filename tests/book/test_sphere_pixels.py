"""The sphere in a browser draws and reads the right pixel.

Pixels and projections are compared with healpy and with a second way of computing them.
"""

import healpy
import numpy as np
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit, serve
from spheres import (
    SPHERE,
    direction_at,
    near_border,
    pages,
    picture,
    sky,
    special_directions,
    static_view,
    write,
)

from skytutor.widgets.page import SCRIPT

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]


@pytest.fixture
def opened(browser, tmp_path):
    """Open pages of some spheres; at the end nothing may have failed on them."""
    with pages(browser, tmp_path) as open_page:
        yield open_page


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
