"""Where no sphere can be drawn the page says why; where one is drawn it never says so."""

import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit, serve
from spheres import NO_WEBGL2, open_controls, ready, served, sky, static_view, write

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]
WHY = "drawn by a script inside this page, which has not run"
# Whether the sentence can be seen at a time after the page was shown, by the clock of its
# animation.
SEEN = """async after => {
    const why = document.querySelector(".sky-why"), [clock] = why.getAnimations();
    if (clock) { clock.pause(); clock.currentTime = after; }
    const visible = getComputedStyle(why).visibility === "visible";
    return visible && why.getBoundingClientRect().height > 10;
}"""
# Notes whether the sentence was ever visible.
WATCH = """new MutationObserver(() => {
    for (const why of document.querySelectorAll(".sky-why"))
        if (getComputedStyle(why).visibility === "visible") window.flashed = true;
}).observe(document, {childList: true, subtree: true});"""


def both(tmp_path):
    """Write a page with a sphere and a bare one."""
    views = [
        static_view(sky(4), nside=4, order="ring", controls=controls) for controls in (True, False)
    ]
    return write(tmp_path, *views)


@pytest.mark.parametrize(
    "policy",
    [
        "script-src 'none'",
        "script-src 'self'",
        "script-src 'self'; style-src 'self'",
        "default-src 'none'",
        "sandbox",
    ],
)
def test_a_strict_policy_is_named(browser, tmp_path, policy):
    with served(both(tmp_path), policy) as address, Visit(browser, address) as visit:
        visit.page.goto(address + "index.html")
        for k in (0, 1):
            visit.page.locator(".sky-why").nth(k).get_by_text(WHY).wait_for(
                state="visible", timeout=10_000
            )
            assert visit.page.locator(".sky-summary").nth(k).is_visible()
        assert visit.page.locator("canvas").count() == 0 and not visit.foreign


def test_the_reason_waits_for_the_script(browser, tmp_path):
    """A script needs a moment to run: until then nothing is said, and no room is taken."""
    with served(both(tmp_path), "script-src 'none'") as address, Visit(browser, address) as visit:
        visit.page.goto(address + "index.html")
        seen = [visit.page.evaluate(SEEN, after) for after in (0, 1000, 1990, 2010, 60_000)]
    assert seen == [False, False, False, True, True]
    with (
        served(both(tmp_path), "script-src 'none'; style-src 'none'") as address,
        Visit(browser, address) as visit,
    ):
        visit.page.goto(address + "index.html")
        assert visit.page.evaluate(SEEN, 0), "nothing can hide it there, and nothing should"


def test_scripts_switched_off(browser, tmp_path):
    server, address = serve(both(tmp_path))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + "index.html")
    page.locator(".sky-why").first.get_by_text(WHY).wait_for(state="visible", timeout=10_000)
    context.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("controls", [True, False])
@pytest.mark.parametrize(
    "policy", ["script-src 'unsafe-inline'", "script-src 'unsafe-inline'; style-src 'none'"]
)
def test_a_reader_whose_script_runs_does_not_see_it(browser, tmp_path, controls, policy):
    """Not even where the page forbids styles."""
    folder = write(tmp_path, static_view(sky(4), nside=4, order="ring", controls=controls))
    with served(folder, policy) as address, Visit(browser, address) as visit:
        if "style" not in policy:
            visit.page.add_init_script(WATCH)
        visit.page.goto(address + "index.html")
        visit.page.locator(".sky-stage > canvas").first.wait_for(timeout=60_000)
        assert visit.page.locator(".sky-why").count() == 0
        assert not visit.page.evaluate("window.flashed")


@pytest.mark.parametrize("harm", ["no WebGL2", "no DecompressionStream"])
@pytest.mark.parametrize("controls", [True, False])
def test_a_script_that_runs_gives_its_own_reason(browser, tmp_path, controls, harm):
    server, address = serve(
        write(tmp_path, static_view(sky(4), nside=4, order="ring", controls=controls))
    )
    with Visit(browser, address) as visit:
        visit.page.add_init_script(
            NO_WEBGL2 if harm == "no WebGL2" else "delete globalThis.DecompressionStream"
        )
        visit.page.goto(address + "index.html")
        if controls and harm == "no WebGL2":  # a canvas draws in its stead
            ready(visit.page)
            open_controls(visit.page)
        else:
            reason = harm if harm == "no WebGL2" else f"browser too old: {harm}"
            alert = visit.page.get_by_role("alert")
            alert.get_by_text(f"The map cannot be shown: {reason}.").wait_for(timeout=10_000)
            assert visit.page.locator(".sky-stage").count() == 0, (
                "an empty frame tells nobody anything"
            )
        assert visit.page.locator(".sky-why").count() == 0
        assert visit.page.locator(".sky-summary").is_visible()
        assert not visit.errors and not visit.foreign
    server.shutdown()
    server.server_close()
