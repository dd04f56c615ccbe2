"""skytutor.widgets.swipe: both images as they are, or a refusal."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from skytutor.widgets import ImageSwipe

LEFT = np.linspace(0, 1, 12).reshape(3, 4)
ABOUT = {"labels": ("made", "truth"), "alt": "A ramp.", "low": 0.0, "high": 1.0}


def images(widget):
    found = re.findall(r"base64,([^\"]+)", widget._repr_html_())
    return [imread(io.BytesIO(base64.b64decode(text))) for text in found]


def test_both_images_are_there_upright_and_in_their_colours():
    first, second = images(ImageSwipe(LEFT, 1 - LEFT, cmap="gray", **ABOUT))
    # The first row of the values is the lowest of the picture.
    assert np.abs(first[::-1, :, 0] - LEFT).max() < 0.01
    assert np.abs(second[::-1, :, 0] - (1 - LEFT)).max() < 0.01


def test_values_beyond_the_range_have_the_outermost_colours():
    first, _ = images(ImageSwipe(10 * LEFT - 3, LEFT, cmap="gray", **ABOUT))
    assert first[-1, 0, 0] == 0 and first[0, -1, 0] == 1


def test_a_tensor_with_a_gradient_is_shown_as_an_array_is():
    tensor = torch.from_numpy(LEFT).requires_grad_()
    assert ImageSwipe(tensor, LEFT, **ABOUT)._repr_html_() == (
        ImageSwipe(LEFT, LEFT, **ABOUT)._repr_html_()
    )


def test_words_are_text_and_no_markup():
    page = ImageSwipe(LEFT, LEFT, labels=("<b>", "&"), alt='"', low=0, high=1)._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;" in page and "&quot;" in page


def test_a_page_asks_for_nothing():
    page = ImageSwipe(LEFT, LEFT, **ABOUT)._repr_html_()
    assert not re.search(r"https?:", page)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"left": np.zeros(3)}, "left must be"),
        ({"left": np.zeros((0, 3))}, "left must be"),
        ({"left": np.zeros((2, 513))}, "left must be"),
        ({"left": np.full((3, 4), np.nan)}, "left must be finite"),
        ({"right": np.zeros((4, 3))}, "right must have the shape"),
        ({"labels": "ab"}, "labels must be two"),
        ({"labels": ("a",)}, "labels must be two"),
        ({"low": 1.0}, "low must be below high"),
        ({"high": np.inf}, "low must be below high"),
        ({"low": np.nan}, "low must be below high"),
    ],
)
def test_what_cannot_be_shown_is_refused(change, words):
    given = {"left": LEFT, "right": LEFT} | ABOUT | change
    with pytest.raises(ValueError, match=words):
        ImageSwipe(given.pop("left"), given.pop("right"), **given)
