"""Curves with sliders: what is refused, and what the HTML holds.

`tests/book/test_sliders_page.py` moves the sliders in a browser.
"""

import json
import re

import numpy as np
import pytest
import torch

from skytutor.widgets import CurveSliders, sliders

X = np.linspace(3400, 8300, 50)
GOOD = {
    "x": X,
    "mean": np.ones(50),
    "components": np.stack([np.sin(X / 500), np.cos(X / 300)]),
    "lows": [-3, -2],
    "highs": [3, 2.5],
    "labels": ["first", "second"],
    "x_label": "wavelength (Å)",
    "y_label": "flux",
    "y_range": (-1, 3),
    "alt": "A curve.",
}


def made(**changed):
    return CurveSliders(**(GOOD | changed))


def spec_of(html):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": X[::-1]}, "x must rise"),
        ({"x": X[:1]}, "x must rise, from 2 to 1200 points, got 1"),
        ({"x": np.arange(1201.0)}, "x must rise, from 2 to 1200 points, got 1201"),
        ({"x": np.ones((2, 3))}, r"x must be numbers with 1 axis, got the shape \(2, 3\)"),
        ({"mean": np.ones(49)}, r"mean must have the shape of x, \(50,\), got \(49,\)"),
        ({"mean": np.full(50, np.nan)}, "mean must be finite"),
        ({"mean": np.full(50, 1e9)}, "mean must reach at most 1000 heights of y_range"),
        ({"components": np.ones(50)}, "components must be numbers with 2 axes"),
        ({"components": np.ones((2, 49))}, r"components must be \(K, 50\) .* got \(2, 49\)"),
        ({"components": np.ones((7, 50))}, r"components must be .* K from 1 to 6, got \(7, 50\)"),
        ({"components": np.full((2, 50), 1e300)}, "components must reach at most 1000 heights"),
        ({"lows": [-3, 0]}, r"lows must be 2 negative numbers, got \[-3, 0\]"),
        ({"highs": [3]}, r"highs must be 2 positive numbers, got \[3\]"),
        ({"highs": [3, 2.55]}, "highs must be whole multiples of step, 0.1, got"),
        ({"step": 0.0}, "step must be finite and positive"),
        ({"labels": ["first"]}, "labels must be 2, one for each component"),
        ({"labels": "ab"}, "labels must be 2, one for each component, got 'ab'"),
        ({"labels": ["first", " "]}, "labels must be text that is not blank, got ' '"),
        ({"alt": ""}, "alt must be text"),
        ({"x_label": None}, "x_label must be text"),
        ({"y_range": (3, -1)}, r"y_range must be \(low, high\) with low < high, got \(3, -1\)"),
    ],
)
def test_what_cannot_be_shown_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        made(**changed)


@pytest.mark.parametrize("name", ["x", "mean", "components", "lows", "y_range"])
def test_what_is_no_number_is_refused_by_name(name):
    with pytest.raises(TypeError, match=f"^{name} must be numbers"):
        made(**{name: "many"})


def test_the_page_holds_the_numbers():
    curve = made(mean=1 + 0.5 * np.sin(X), components=torch.tensor(GOOD["components"]))
    units, steps = zip(*spec_of(curve._repr_html_())["rows"], strict=True)
    x, mean, *components = (unit * np.cumsum(row) for unit, row in zip(units, steps, strict=True))
    assert x[0] == 0 and np.allclose(np.diff(x), x[-1] / 49, atol=1)
    # Of the height of the plot, at the ends of the sliders too.
    finest = 4 / 2000 / 2
    assert np.abs(mean - curve.mean).max() <= finest * 1.001
    for k, one in enumerate(components):
        farthest = max(-curve.lows[k], curve.highs[k])
        assert farthest * np.abs(one - curve.components[k]).max() <= finest * 1.001


def test_a_full_plot_stays_small():
    rng = np.random.default_rng(1)
    worst = made(
        x=np.arange(1000.0),
        mean=rng.normal(1, 0.5, 1000),
        components=rng.normal(0, 0.3, (6, 1000)),
        lows=[-3] * 6,
        highs=[3] * 6,
        labels=[f"component {k}" for k in range(6)],
    )
    assert len(worst._repr_html_()) < 60_000


def test_words_are_words_whatever_they_hold():
    bad = '</script><img src=x onerror="1">&'
    html = made(labels=[bad, "b"], x_label=bad, y_label=bad, alt=bad)._repr_html_()
    assert "<img" not in html
    assert html.count("&lt;/script&gt;&lt;img src=x onerror=&quot;1&quot;&gt;&amp;") == 5


def test_the_plot_says_what_it_is_without_a_picture():
    curve = made()
    assert repr(curve) == "A curve. Sliders change it: first from -3 to 3, second from -2 to 2.5."
    html = curve._repr_html_()
    assert 'role="img" aria-label="A curve."' in html
    assert " id=" not in html, "two plots on a page would share it"
    assert sliders._WHY in html


@pytest.mark.parametrize(("y_range", "dashed"), [((-1, 3), 1), ((0, 3), 0), ((1, 3), 0)])
def test_zero_is_marked_where_it_lies_inside(y_range, dashed):
    assert made(y_range=y_range)._repr_html_().count("stroke-dasharray") == dashed
