"""Two images with a border in a browser: the slider moves what is seen of each."""

import numpy as np
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit
from spheres import served, write

from skytutor.widgets import ImageSwipe

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]
INLINE = "default-src 'unsafe-inline' data:"  # no other file is needed


@pytest.fixture
def page(browser, tmp_path):
    """Open a page with two of them: black left, white right."""
    black, white = np.zeros((8, 8)), np.ones((8, 8))
    about = {"labels": ("made", "truth"), "alt": "Two fields.", "low": 0, "high": 1, "cmap": "gray"}
    both = [ImageSwipe(black, white, **about)._repr_html_() for _ in range(2)]
    folder = write(tmp_path, *both)
    with served(folder, INLINE) as address, Visit(browser, address) as visit:
        visit.page.goto(address + "index.html")
        yield visit.page
        assert not visit.errors and not visit.foreign and not visit.missing


def border(page, k):
    """Return where the second image begins, in parts of the width, and what the slider says."""
    image = page.locator(".sky-swipe img + img").nth(k)
    clip = image.evaluate("e => getComputedStyle(e).clipPath")
    slider = page.locator(".sky-swipe input").nth(k)
    return clip, slider.get_attribute("aria-valuetext")


def test_the_border_begins_in_the_middle_and_follows_each_slider(page):
    assert border(page, 0) == ("inset(0px 0px 0px 50%)", "50 % made")
    first = page.locator(".sky-swipe input").nth(0)
    first.fill("20")
    assert border(page, 0) == ("inset(0px 0px 0px 20%)", "20 % made")
    assert border(page, 1) == ("inset(0px 0px 0px 50%)", "50 % made")


def test_the_arrows_move_it(page):
    slider = page.locator(".sky-swipe input").nth(1)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert border(page, 1)[1] == "51 % made"


def test_the_images_lie_on_each_other_and_have_a_height(page):
    boxes = [page.locator(".sky-swipe img").nth(k).bounding_box() for k in range(2)]
    assert boxes[0] == boxes[1] and boxes[0]["height"] > 50
