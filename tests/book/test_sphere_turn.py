"""A sphere that turns by itself: until a hand stops it, and never where motion is unwanted."""

import pytest
from bookserver import CHROMIUM, NO_BROWSER
from spheres import SPHERE, middle_of, open_controls, pages, picture, sky, state, static_view

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]
# Counts the frames that a page asks for.
COUNT = """window.asked = 0;
const ask = window.requestAnimationFrame;
window.requestAnimationFrame = call => { window.asked++; return ask(call); };"""
# How many are asked for while a quarter of a second passes; waiting asks for none.
ASKED = """async () => {
    const before = window.asked;
    await new Promise(done => setTimeout(done, 250));
    return window.asked - before;
}"""
ON = {"nside": 8, "order": "ring", "auto_turn": True}


@pytest.fixture
def opened(browser, tmp_path):
    """Open pages of some spheres; at the end nothing may have failed on them."""
    with pages(browser, tmp_path) as open_page:
        yield open_page


def turns(page, *, by=0.5):
    """Wait until the sphere has turned by some degrees."""
    at = state(page, "lon")
    page.wait_for_function(f"{SPHERE}.get('lon') - ({at}) > {by}", timeout=20_000)


def stands(page):
    """Tell whether nothing moves: the sphere keeps its place, and no frame is asked for."""
    page.wait_for_timeout(150)  # what a hand or a setting asked for is drawn
    at = state(page, "lon")
    return page.evaluate(ASKED) == 0 and state(page, "lon") == at


@pytest.mark.parametrize("controls", [True, False])
def test_it_turns_slowly(opened, controls):
    page = opened(
        static_view(sky(8), **ON, controls=controls), motion="no-preference", prepare=COUNT
    )
    first = picture(page).tobytes()
    turns(page)
    assert picture(page).tobytes() != first
    speed = page.evaluate(
        f"""async () => {{
            const next = () => new Promise(requestAnimationFrame);
            const since = await next(), from = {SPHERE}.get('lon');
            let now = since;
            while (now - since < 1000) now = await next();
            return 1000 * ({SPHERE}.get('lon') - from) / (now - since);
        }}"""
    )
    # No faster than 6 degrees a second; slower on a machine that drops frames.
    assert 1 < speed < 6.6


HANDS = {
    "press": lambda stage, page: page.mouse.down(),
    "touch": lambda stage, page: stage.dispatch_event("pointerdown", {"pointerType": "touch"}),
    "wheel": lambda stage, page: page.mouse.wheel(0, 20),
    "key": lambda stage, page: stage.press("a"),
}


@pytest.mark.parametrize(
    "hand, controls",
    [(hand, True) for hand in HANDS] + [("press", False), ("key", False)],
)
def test_a_hand_stops_it_for_good(opened, hand, controls):
    page = opened(
        static_view(sky(8), **ON, controls=controls), motion="no-preference", prepare=COUNT
    )
    turns(page)
    stage = page.locator(".sky-stage")
    page.mouse.move(*middle_of(stage.bounding_box()))
    HANDS[hand](stage, page)
    page.mouse.up()
    page.mouse.move(2, 2)
    assert state(page, "auto_turn") is False
    # Where it stood is where it stays: the model has been told.
    assert state(page, "lon") > 0.5
    assert page.evaluate(f"{SPHERE}.model.get('lon') === {SPHERE}.get('lon')")
    assert stands(page)
    page.evaluate("document.body.style.paddingTop = '5000px'")
    page.wait_for_function(f"!{SPHERE}.visible")
    page.evaluate("document.body.style.paddingTop = ''")
    page.wait_for_function(f"{SPHERE}.visible")
    assert stands(page), "it began again when it came back into sight"


def test_it_waits_under_a_mouse_that_reads(opened):
    page = opened(static_view(sky(8), **ON), motion="no-preference")
    turns(page)
    page.mouse.move(*middle_of(page.locator(".sky-stage").bounding_box()))
    page.wait_for_timeout(100)
    at = state(page, "lon")
    assert f"lon {at:.1f}"[:7] in page.locator(".sky-read").inner_text()
    page.wait_for_timeout(300)
    assert state(page, "lon") == at
    page.mouse.move(2, 2)
    turns(page)


def test_reduced_motion_keeps_it_still(opened):
    page = opened(static_view(sky(8), **ON), motion="reduce", prepare=COUNT)
    assert stands(page) and state(page, "lon") == 0
    open_controls(page)
    assert page.get_by_role("button", name="Turn").count() == 0


def test_a_change_of_mind_about_motion_is_heard_while_it_turns(opened):
    page = opened(static_view(sky(8), **ON), motion="no-preference", prepare=COUNT)
    turns(page)
    page.emulate_media(reduced_motion="reduce")
    assert stands(page)


def test_out_of_sight_it_stands(opened):
    page = opened(static_view(sky(8), **ON), motion="no-preference", prepare=COUNT)
    turns(page)
    page.evaluate("document.body.style.paddingTop = '5000px'")
    page.wait_for_function(f"!{SPHERE}.visible")
    assert stands(page)
    page.evaluate("document.body.style.paddingTop = ''")
    turns(page)


def test_nothing_runs_once_it_is_removed(opened):
    page = opened(static_view(sky(8), **ON), motion="no-preference", prepare=COUNT)
    turns(page)
    page.evaluate("window.kept = document.querySelector('.sky-sphere'); kept.remove()")
    page.wait_for_function("!kept.sphere.visible")
    page.wait_for_timeout(150)
    assert page.evaluate(ASKED) == 0


def test_frames_stop_playing_once_their_sphere_is_removed(opened):
    maps = [sky(8, seed=k).tolist() for k in range(2)]
    frames = static_view([maps], nside=8, order="ring", fps=60)
    page = opened(frames)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"{SPHERE}.get('frame') === 1")
    page.evaluate("window.kept = document.querySelector('.sky-sphere'); kept.remove()")
    page.wait_for_function("!kept.sphere.playing", timeout=5000)


def test_a_sphere_that_does_not_turn_asks_for_no_frames(opened):
    view = static_view(sky(8), nside=8, order="ring")
    page = opened(view, motion="no-preference", prepare=COUNT)
    assert stands(page)


def test_it_can_be_switched_on_and_off(opened):
    page = opened(static_view(sky(8), nside=8, order="ring"), motion="no-preference")
    open_controls(page)
    button = page.get_by_role("button", name="Turn")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    turns(page)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    at = state(page, "lon")
    page.wait_for_timeout(300)
    assert state(page, "lon") == at


def test_home_and_a_place_that_is_set_count_from_there(opened):
    page = opened(static_view(sky(8), **ON), motion="no-preference")
    turns(page, by=3)
    open_controls(page)
    # Read in the same moment: it goes on turning, on a busy machine by degrees between two calls.
    click = f"button => {{ button.click(); return {SPHERE}.get('lon') }}"
    assert page.get_by_role("button", name="Home").evaluate(click) < 0.1
    # As a kernel sets it, or another view of the same model.
    assert page.evaluate(f"{SPHERE}.model.set('lon', 100), {SPHERE}.get('lon')") == 100
    turns(page)
