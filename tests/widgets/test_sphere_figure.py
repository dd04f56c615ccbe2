"""Pictures of maps for paper: with words, with any text, with numbers of double precision."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from skytutor.widgets import figure

MAP = torch.arange(48.0)
GOOD = {"nside": 2, "order": "ring"}


def test_the_static_figure_has_words():
    made = figure({"a": MAP, "b": 2 * MAP}, unit="K", projection="globe", borders=True, **GOOD)
    bundle = made._repr_mimebundle_()
    assert made.png[:4] == b"\x89PNG" and "a: from 0 to 47 K" in made.alt
    assert f'alt="{made.alt}"' in bundle["text/html"]
    assert set(bundle) == {"text/html", "image/png", "text/plain"}


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that `figure` makes into pictures."""
    seen = []
    monkeypatch.setattr(plt, "close", seen.append)
    yield seen
    monkeypatch.undo()
    for one in seen:
        plt.close(one)


ODD = [
    "$",
    "$$",
    "$x$",
    "$\\frac$",
    "\\frac{",
    "a $ b $ c",
    "{",
    "{unit}",
    "%s %",
    "a\nb",
    "\n",
    "a\tb\0c\r\nd",
    " ",
    "^_",
    "word " * 400,
    "W" * 900,
    "line\n" * 99,
]


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("many", [1, 6])
def test_any_text_is_text_in_a_picture(drawn, text, many):
    made = figure(torch.zeros(many, 48) + MAP, unit=text, title=text, **GOOD)
    assert made.png[:4] == b"\x89PNG" and text in made.alt and f" 47 {text}" in made.alt
    axes = drawn[0].axes
    words = [ax.title for ax in axes[:many]] + [axes[-1].xaxis.label]
    assert not any(one.get_parse_math() or one.get_usetex() for one in words)
    for one in words:
        lines = one.get_text().split("\n")
        assert len(lines) <= 3 and max(map(len, lines)) <= 70, "it would cover the map"
    if 1 < len(text) < 9 and text.isprintable():
        assert {one.get_text() for one in words} == {text}


@pytest.mark.parametrize(
    "values",
    [
        2.46e6 + 0.001 * np.arange(48),
        1e300 * np.linspace(-1, 1, 48),
        np.where(np.arange(48) > 4, np.arange(48), -3e30),
    ],
)
@pytest.mark.parametrize("projection", ["mollweide", "globe"])
def test_a_picture_shows_what_single_precision_cannot(drawn, values, projection):
    figure(values, projection=projection, **GOOD)
    image = drawn[0].axes[0].images[0]
    shown = np.unique(image.get_array().compressed())
    assert np.isin(shown, values).all() and len(shown) > 20
    assert image.get_clim() == (values.min(), values.max())
