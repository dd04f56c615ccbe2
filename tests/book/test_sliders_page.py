"""Curves with sliders in a browser: the script adds up what the numbers say."""

import re

import numpy as np
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit
from spheres import served, write

from skytutor.widgets import CurveSliders

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]
X = np.linspace(0, 10, 300)
MEAN = 1 + 0.5 * np.exp(-((X - 4) ** 2) / 0.01)
COMPONENTS = np.stack([np.sin(X), 0.3 * X - 1.5])
LOW, HIGH = -2.0, 4.0
INLINE = "default-src 'unsafe-inline' data:"  # no other file is needed
BLUE = "rgb(47, 127, 208)"


def curve(*labels):
    return CurveSliders(
        X,
        MEAN,
        COMPONENTS,
        lows=[-2, -2],
        highs=[2, 2],
        labels=labels,
        x_label="x",
        y_label="y",
        y_range=(LOW, HIGH),
        alt="A curve with one peak.",
    )._repr_html_()


@pytest.fixture
def page(browser, tmp_path):
    """Open a page with two curves."""
    folder = write(tmp_path, curve("wave", "tilt"), curve("other wave", "other tilt"))
    with served(folder, INLINE) as address, Visit(browser, address) as visit:
        visit.page.goto(address + "index.html")
        yield visit.page
        assert not visit.errors and not visit.foreign and not visit.missing


def drawn(page, k=0):
    """Return y of the curve as it is drawn, in the units of the axis."""
    path = page.locator("[data-curve]").nth(k)
    dots = re.findall(r"(-?\d+) (-?\d+)", path.get_attribute("d"))
    _, _, _, height = path.evaluate("e => e.ownerSVGElement.getAttribute('viewBox')").split()
    down = np.array(dots, float)[:, 1]
    return HIGH - down / float(height) * (HIGH - LOW)


def wanted(first, second):
    return MEAN + first * COMPONENTS[0] + second * COMPONENTS[1]


def close(found, expected):
    return np.abs(found - expected).max() < 2e-3 * (HIGH - LOW)


def test_a_slider_moves_the_curve_and_reset_brings_it_back(page):
    assert close(drawn(page), wanted(0, 0))
    page.get_by_label("wave", exact=True).fill("1.5")
    page.get_by_label("tilt", exact=True).fill("-0.7")
    assert close(drawn(page), wanted(1.5, -0.7))
    assert page.locator("label output").all_text_contents()[:2] == ["1.5", "\u22120.7"]
    ends = page.locator("[data-ends]").first.inner_text()
    low, high = wanted(1.5, -0.7).min(), wanted(1.5, -0.7).max()
    assert ends.replace("\u2212", "-") == f"lowest {low:.2f}, highest {high:.2f}"
    page.get_by_role("button", name="Reset").first.click()
    assert close(drawn(page), wanted(0, 0))
    assert page.get_by_label("wave", exact=True).input_value() == "0"


def test_two_on_a_page_do_not_mix(page):
    page.get_by_label("other wave").fill("2")
    assert close(drawn(page, 1), wanted(2, 0)) and close(drawn(page, 0), wanted(0, 0))
    page.get_by_role("button", name="Reset").first.click()
    assert close(drawn(page, 1), wanted(2, 0))


def test_keys_move_a_slider_by_a_step_and_nothing_else(page):
    """JupyterLab listens on the document, and would choose another cell."""
    page.evaluate("document.addEventListener('keydown', () => { window.reached = true; })")
    page.get_by_label("wave", exact=True).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert close(drawn(page), wanted(0.2, 0))
    slider = page.get_by_role("slider", name="wave", exact=True)
    assert slider.get_attribute("aria-valuetext") == "0.2"
    page.keyboard.press("End")
    assert close(drawn(page), wanted(2, 0))
    assert not page.evaluate("window.reached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [300, 900])
def test_it_fits_and_shows_in_both_themes(browser, tmp_path, scheme, width):
    folder = write(tmp_path, curve("wave", "tilt"), width=width)
    with served(folder, INLINE) as address, Visit(browser, address, scheme=scheme) as visit:
        page = visit.page
        page.goto(address + "index.html")
        style = "(e, name) => getComputedStyle(e)[name]"
        ink = page.locator(".sky-sliders text").first.evaluate(style, "fill")
        assert ink == {"light": "rgb(0, 0, 0)", "dark": "rgb(255, 255, 255)"}[scheme]
        assert page.locator("[data-curve]").evaluate(style, "stroke") == BLUE
        for part in page.locator(".sky-sliders :is(svg, label, input, button, output)").all():
            box = part.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width + 9


def test_without_scripts_the_mean_is_there_and_no_dead_slider(browser, tmp_path):
    policy = "script-src 'none'"
    with (
        served(write(tmp_path, curve("wave", "tilt")), policy) as address,
        Visit(browser, address) as visit,
    ):
        visit.page.goto(address + "index.html")
        assert visit.page.get_by_text("which has not run; the mean is shown").is_visible()
        assert not visit.page.get_by_role("slider").first.is_visible()
