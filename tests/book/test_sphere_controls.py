"""The controls of a sphere: what is in sight, what lies behind the button, and what each does."""

import numpy as np
import pytest
from bookserver import CHROMIUM, NO_BROWSER
from spheres import SPHERE, middle_of, open_controls, pages, picture, sky, state, static_view

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]


@pytest.fixture
def opened(browser, tmp_path):
    """Open pages of some spheres; at the end nothing may have failed on them."""
    with pages(browser, tmp_path) as open_page:
        yield open_page


FRAMES = np.stack([sky(8, seed=k).numpy() for k in range(3)])
PANEL = ".sky-panel"


def names_in_sight(page):
    """Return the accessible names of the buttons, sliders and lists that can be seen."""
    return page.evaluate(
        """[...document.querySelectorAll('.sky-sphere :is(button, input, select)')]
            .filter(one => one.checkVisibility())
            .map(one => one.ariaLabel || one.labels[0].firstChild.textContent)"""
    )


def test_one_button_is_in_sight_and_opens_the_rest(opened):
    page = opened(static_view(sky(8), nside=8, order="ring", unit="K", title="A sky"))
    button = page.get_by_role("button", name="Controls")
    assert names_in_sight(page) == ["Controls"]
    assert button.get_attribute("aria-expanded") == "false"
    # What a figure needs stays: title, colour bar, its ends and the unit.
    assert page.locator(".sky-title").inner_text() == "A sky"
    assert page.locator(".sky-scale canvas").is_visible()
    assert page.locator(".sky-bar").first.inner_text().rstrip().endswith(" K")
    assert not page.locator(".sky-summary").is_visible()
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert page.locator(f"#{button.get_attribute('aria-controls')}").is_visible()
    ends = ["Lowest value of the colours", "Highest value of the colours"]
    choices = ["View", "Colours", "Scale", "Grid", "Base pixels", "Pixels"]
    rest = ["Zoom in", "Zoom out", "Home: back to the first view", "PNG: save a picture"]
    assert names_in_sight(page) == ["Controls", *ends, *choices, *rest]
    assert "1/65,536 of the range" in page.locator(".sky-summary").inner_text()
    button.click()
    assert names_in_sight(page) == ["Controls"]


def test_play_and_frame_stay_in_sight(opened):
    page = opened(static_view(FRAMES, nside=8, order="ring"))
    assert names_in_sight(page) == ["Controls", "Play", "Frame"]
    boxes = [page.get_by_label(name, exact=True).bounding_box() for name in ("Controls", "Frame")]
    assert abs(middle_of(boxes[0])[1] - middle_of(boxes[1])[1]) < 2, "they stand in one row"


def test_the_border_stays_in_sight_while_two_maps_are_laid_over_each_other(opened):
    maps = {"a": sky(8), "b": sky(8, seed=2)}
    page = opened(static_view(maps, nside=8, order="ring", swipe=True))
    assert names_in_sight(page) == ["Controls", "Border at"]


@pytest.mark.parametrize("key", ["Enter", " "])
def test_the_button_by_keys(opened, key):
    page = opened(static_view(sky(8), nside=8, order="ring"))
    page.locator(".sky-stage").focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused) == "Controls"
    assert page.evaluate("document.activeElement.matches(':focus-visible')")
    page.keyboard.press(key)
    assert page.locator(PANEL).is_visible()
    # From within the panel Escape closes it and gives the button the focus, from the button too.
    page.get_by_role("combobox", name="Scale").focus()
    page.keyboard.press("Escape")
    assert not page.locator(PANEL).is_visible() and page.evaluate(focused) == "Controls"
    page.keyboard.press(key)
    assert page.locator(PANEL).is_visible()
    page.keyboard.press("Escape")
    assert not page.locator(PANEL).is_visible() and page.evaluate(focused) == "Controls"
    before = [state(page, name) for name in ("lon", "lat", "zoom")]
    page.keyboard.press("Escape")
    assert [state(page, name) for name in ("lon", "lat", "zoom")] == before == [0, 0, 1]


def test_what_was_set_outlives_a_closed_panel(opened):
    page = opened(static_view(sky(8), nside=8, order="ring"))
    open_controls(page)
    page.get_by_role("combobox", name="Colours").select_option("magma")
    page.get_by_role("button", name="Grid").click()
    shown = picture(page).tobytes()
    page.keyboard.press("Escape")
    assert picture(page).tobytes() == shown and state(page, "cmap") == "magma"
    open_controls(page)
    assert page.get_by_role("combobox", name="Colours").input_value() == "magma"
    assert page.get_by_role("button", name="Grid").get_attribute("aria-pressed") == "true"


def test_the_panel_of_one_sphere_is_its_own(opened):
    views = [static_view(sky(4, seed=k), nside=4, order="ring") for k in range(2)]
    page = opened(*views)
    open_controls(page, 1)
    assert [panel.is_visible() for panel in page.locator(PANEL).all()] == [False, True]
    page.get_by_role("button", name="Controls").nth(0).focus()
    page.keyboard.press("Escape")
    assert page.locator(PANEL).nth(1).is_visible(), "Escape is for the panel it is pressed in"


def assert_fits(page, width):
    """Check that no part of a sphere reaches out of it, and that the page is no wider than told."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for sphere in page.locator(".sky-sphere").all():
        box = sphere.bounding_box()
        for one in sphere.locator("button, select, input, .sky-part").all():
            inner = one.bounding_box()
            assert inner is None or inner["x"] + inner["width"] <= box["x"] + box["width"] + 0.5


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_has_room_for_it(opened, width):
    """Closed, what stands below the globe takes less than a third of its height."""
    more = {"nside": 8, "order": "ring", "unit": "µK", "title": "A sky"}
    page = opened(
        static_view(FRAMES, **more, mask=np.arange(768) % 5 > 0, frame_labels=["30 degrees"] * 3),
        static_view({"a": sky(8), "b": sky(8, seed=2)}, **more, swipe=True),
        width=width - 16,
    )
    page.set_viewport_size({"width": width, "height": 900})
    assert_fits(page, width)
    for sphere in page.locator(".sky-sphere").all():
        globe = sphere.locator(".sky-stage").bounding_box()["height"]
        assert sphere.bounding_box()["height"] - globe < globe / 3
    open_controls(page, 0)
    open_controls(page, 1)
    assert_fits(page, width)


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
    page = opened(view, motion="no-preference")
    open_controls(page)
    return page


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
    assert not page.get_by_label("Border at").is_visible()
    open_controls(page)
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


def test_handles_that_meet_can_be_parted(opened):
    page = opened(static_view(sky(4), nside=4, order="ring", value_range=(-1, 1)))
    open_controls(page)
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
    open_controls(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="PNG: save a picture").click()
    data = waiting.value.path().read_bytes()
    assert waiting.value.suggested_filename == "sphere.png"
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 5000
