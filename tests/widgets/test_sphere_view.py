"""The sphere from Python's side: what it says of its maps, what it puts into a page."""

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skytutor.healpix import UNSEEN, nested_to_ring
from skytutor.widgets import page, view
from skytutor.widgets.explore import SpectrumExplorer
from skytutor.widgets.skies import LARGEST
from skytutor.widgets.words import number

MAP = torch.arange(48.0)
GOOD = {"nside": 2, "order": "ring"}
LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def html(widget):
    """Return the HTML that a notebook gets of a widget."""
    bundle = widget._repr_mimebundle_()
    text = (bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"]
    assert text == widget.html()
    return text


def spec(widget):
    """Return what the page's script reads, from the HTML of a widget."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html(widget))[1])


def test_no_map_is_lost():
    """As many titles as maps, whatever they are called."""
    maps = {1: MAP, 1.5: MAP, (1,): MAP, "map 1": MAP, "A": MAP, "a": MAP, "Q": MAP, "mask": MAP}
    titles = ["1", "1.5", "(1,)", "map 1", "A", "a", "Q", "mask"]
    assert list(view(maps, **GOOD).encoded.shown) == titles
    assert list(view([MAP, MAP], title="1", **GOOD).encoded.shown) == ["1 1", "1 2"]
    globe = view(MAP, title=None, unit=None, **GOOD)
    assert list(globe.encoded.shown) == [""] and globe._spec["unit"] == ""


def test_a_constant_map_is_shown():
    about = spec(view(torch.full((48,), 5.0), unit="K", **GOOD))
    assert about["state"]["low"] < 5 < about["state"]["high"]
    assert "from 5 to 5 K, mean 5" in about["summary"]


def test_a_large_constant_and_numpys_numbers():
    values = torch.full((48,), 1e20).double()
    about = spec(view(values, zoom=np.float32(2), height=np.int64(300), **GOOD))
    assert about["state"]["low"] < 1e20 < about["state"]["high"]
    assert about["state"]["zoom"] == 2 and about["height"] == 300


def test_the_largest_constant_is_shown():
    globe = view(np.full(48, LARGEST), **GOOD)
    assert globe.low < globe.high == LARGEST


def test_signs_of_u_do_not_touch_its_holes():
    holed = MAP.detach().clone()
    holed[3] = UNSEEN
    for convention, ends in (("COSMO", (0, 47)), ("IAU", (-47, 0))):
        globe = view(MAP, polarisation=(MAP, holed), convention=convention, **GOOD)
        u = globe.encoded.entries[-1]
        assert (u["low"], u["high"]) == ends


def test_colours_can_be_changed_later():
    globe = view(MAP, **GOOD)
    globe.cmap = "inferno"
    assert len(globe.palette) == 6 * 17 and spec(globe)["state"]["palette"] == globe.palette
    globe.cmap = "planck"
    assert globe.palette == page.palettes()["planck"]


def test_numbers_of_pixels_follow_the_order():
    globe = view(MAP, **GOOD)
    globe.pixel = 7
    assert int(nested_to_ring(torch.tensor(globe.nested), nside=2)) == 7
    seen = []
    globe.observe(lambda change: seen.append(change["new"]), "pixel")
    globe.nested = 3
    assert seen == [0] and globe.pixel == 0
    globe.nested = -1
    assert globe.pixel == -1


def test_the_html_carries_the_view_as_it_is_now():
    globe = view(MAP, title="<b>&</b>", unit="</script>", **GOOD)
    globe.lon = 12.0
    globe.projection = "mollweide"
    text = html(globe)
    assert spec(globe)["state"]["lon"] == 12.0 and spec(globe)["state"]["projection"] == "mollweide"
    assert text.count("</script>") == 3 and "<b>" not in text
    assert "http" not in text.replace("http://www.w3.org", "")


@pytest.mark.parametrize("controls", [True, False])
def test_no_script_of_the_page_sets_equations_in_it(controls):
    """The pages of nbconvert and JupyterLab have MathJax look for dollar signs."""
    globe = view(MAP, title="$x$", unit="$$", controls=controls, **GOOD)
    classes = set(re.match(r'<div class="([^"]*)"', html(globe))[1].split())
    assert {"sky-sphere", "tex2jax_ignore", "mathjax_ignore"} == classes
    assert {"sky-live", "tex2jax_ignore", "mathjax_ignore"} <= set(globe._dom_classes)


def test_the_summary_tells_what_the_eye_would_see():
    holed = MAP.detach().clone()
    holed[:12] = torch.nan
    words = spec(view({"first": holed, "second": MAP}, unit="mK", **GOOD))["summary"]
    assert "Nside 2, 48 pixels" in words
    assert "first: from 12 to 47 mK, mean 29.5 mK; 25 % of the pixels have no value" in words
    assert "1/65,536 of the range" in words and "second: from 0 to 47 mK" in words


def test_a_mean_of_rounding_errors_is_zero():
    """What a sum in double precision leaves of a map whose mean is zero tells nobody a thing."""
    values = np.tile([0.1, -0.1], 24) + 1e-16
    assert abs(values.mean()) > 0
    words = spec(view(values, unit="K", **GOOD))["summary"]
    assert "from -0.1 to 0.1 K, mean 0 K; shown to within" in words
    # One that is small beside the range, and not beside the rounding, is told.
    assert "mean 0.001 K;" in spec(view(values + 0.001, unit="K", **GOOD))["summary"]


NUMBERS = {
    (0.0, 3): "0",
    (47.0, 3): "47",
    (29.55, 3): "29.6",
    (100.0, 3): "100",
    (1534.0, 3): "1,530",
    (999.9, 3): "1,000",
    (-0.2071, 3): "-0.207",
    (0.000999999, 3): "0.001",
    (0.000954, 2): "0.00095",
    (1.526e-5, 2): "1.5 \N{MULTIPLICATION SIGN} 10⁻⁵",
    (-1.6375e30, 3): "-1.64 \N{MULTIPLICATION SIGN} 10³⁰",
    (999_999.0, 3): "1 \N{MULTIPLICATION SIGN} 10⁶",
}


@pytest.mark.parametrize("given, written", NUMBERS.items())
def test_numbers_are_written_for_people(given, written):
    value, digits = given
    assert number(value, digits=digits) == written


@given(st.floats(-LARGEST, LARGEST), st.integers(1, 5))
def test_a_written_number_is_near(value, digits):
    plain = number(value, digits=digits).replace(",", "").translate(LOWERED)
    back = float(plain.replace(" \N{MULTIPLICATION SIGN} 10", "e"))
    # Half a unit of the last digit kept, and the rounding of double precision.
    assert abs(back - value) <= 0.5001 * 10.0 ** (1 - digits) * abs(value)


def test_turning_by_itself_is_a_setting_like_the_others():
    globe = view(MAP, auto_turn=True, **GOOD)
    assert globe.auto_turn and spec(globe)["state"]["auto_turn"] is True
    globe.auto_turn = False  # as the page sets it when the sphere is touched
    assert spec(globe)["state"]["auto_turn"] is False
    assert "auto_turn" in globe.keys and not view(MAP, **GOOD).auto_turn
    assert view(MAP, auto_turn=np.True_, **GOOD).auto_turn is True


def test_other_maps_in_the_same_view():
    globe = view(MAP, mask=MAP > 3, **GOOD)
    globe.low = 3.0
    globe.show(2 * MAP)
    about = spec(globe)
    assert about["maps"][0]["high"] == 94 and about["maps"][1]["role"] == "mask"
    assert globe.low == 3.0
    assert json.loads(globe.spec)["maps"][0]["high"] == 94 and len(globe.data) == about["bytes"]


def test_maps_go_to_the_place_of_their_title():
    pair = view({"a": MAP, "b": 2 * MAP}, **GOOD)
    pair.show({"b": 6 * MAP, "a": 3 * MAP})
    highest = [(entry["title"], entry["high"]) for entry in pair.encoded.entries]
    assert highest == [("a", 141), ("b", 282)]


def by_setting(monkeypatch):
    monkeypatch.setenv("SKYTUTOR_STATIC", "1")


def by_nbconvert(monkeypatch):
    monkeypatch.setattr("skytutor.widgets.model._run_by_nbconvert", lambda: True)


@pytest.mark.parametrize("without_kernel", [by_setting, by_nbconvert])
def test_a_page_without_a_kernel_has_no_models(monkeypatch, without_kernel):
    without_kernel(monkeypatch)
    globe = view(MAP, **GOOD)
    assert globe.comm is None and set(globe._repr_mimebundle_()) == {"text/html", "text/plain"}
    shown = []
    monkeypatch.setattr("skytutor.widgets.explore.display", shown.append)
    SpectrumExplorer(nside=8)._ipython_display_()
    assert "One range of degrees alone" in html(shown[0])


def test_the_page_itself_says_why_there_may_be_no_sphere():
    """In words of HTML: where scripts may not run, no script can say it."""
    for controls in (True, False):
        text = html(view(MAP, controls=controls, **GOOD))
        visible = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL)
        assert "drawn by a script inside this page, which has not run" in visible
        assert "security policy" in visible


def test_script_sizes():
    """In a page the script has no comments and no needless signs."""
    assert len(page.script().encode()) <= 40_000
    assert len(page.script(controls=False).encode()) <= 16_000
    assert set(page.palettes()) == {"cividis", "viridis", "magma", "blue-red", "grey", "planck"}


def test_page_growth():
    """Without the script, a map adds 100 kB at nside 64 and 1.3 MB at 256.

    The maps are sampled as maps should be, with a beam of about three pixels.
    """
    import healpy

    for nside, most in ((64, 100_000), (256, 1_300_000)):
        l = np.arange(3 * nside)
        cl = np.where(l > 1, 1 / np.maximum(l * (l + 1.0), 1), 0)
        np.random.seed(nside)
        beam = 3 * (4 * np.pi / 12) ** 0.5 / nside
        alm = healpy.synalm(cl, lmax=3 * nside - 1)
        sky = healpy.alm2map(healpy.smoothalm(alm, fwhm=beam), nside)
        whole = len(html(view(sky, nside=nside, order="ring")).encode())
        grown = whole - len(page.script().encode())
        assert grown <= most, f"nside {nside}: {grown} bytes"
