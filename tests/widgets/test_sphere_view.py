"""The sphere from Python's side: what it accepts, what it says, what it puts into a page."""

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import traitlets
from hypothesis import given
from hypothesis import strategies as st

from skytutor.healpix import UNSEEN, nested_to_ring
from skytutor.widgets import figure, page, view
from skytutor.widgets.explore import LayerInspector, SpectrumExplorer
from skytutor.widgets.skies import LARGEST, as_frames, is_unseen

MAP = torch.arange(48.0)


def html(widget):
    """Return the HTML that a notebook gets of a widget."""
    bundle = widget._repr_mimebundle_()
    text = (bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"]
    assert text == widget.html()
    return text


def spec(widget):
    """Return what the page's script reads, from the HTML of a widget."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html(widget))[1])


@pytest.mark.parametrize(
    "value",
    [
        MAP,
        MAP.double(),
        MAP.half(),
        MAP.numpy(),
        MAP.int().numpy(),
        np.ma.masked_array(MAP.numpy(), MAP.numpy() < 3),
        MAP.tolist(),
        MAP.requires_grad_(True),
        torch.ones(48, dtype=torch.bool),
        np.arange(48)[::-1],
    ],
)
def test_kinds_of_numbers(value):
    assert as_frames("maps", value, nside=2, order="ring").shape == (1, 12, 2, 2)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_unseen_masked_and_nan_have_no_value(kind):
    values = MAP.detach().clone().to(kind)
    values[0] = UNSEEN
    values[1] = torch.nan
    got = as_frames("maps", values, nside=2, order="ring")
    assert np.isnan(got).sum() == 2 and np.nanmax(np.abs(got)) == 47
    masked = np.ma.masked_array(np.arange(48.0), np.arange(48) < 5)
    assert np.isnan(as_frames("maps", masked, nside=2, order="ring")).sum() == 5


# Numbers like UNSEEN that are values.
LOW = [-1.6e30, -1.63e30, -1.6374e30, -1.6376e30, -1.645e30, -1.7e30, -1e31, -1e38]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("low", LOW)
def test_a_low_number_is_a_value_unless_it_is_unseen(low, kind):
    values = MAP.detach().clone().to(kind)
    values[3] = low
    if is_unseen(values.double().numpy()).any():
        only = "only bfloat16 rounds as coarsely as that"
        assert kind == torch.bfloat16 and abs(low / UNSEEN - 1) < 0.005, only
        return
    globe = view(values, nside=2, order="ring")
    assert globe.low == float(values[3]) and globe.high == 47
    summary = globe._spec["summary"]
    assert f"from {float(values[3]):.4g} to 47" in summary and "no value" not in summary


@given(st.floats(-LARGEST, LARGEST))
def test_any_number_of_double_precision_is_shown(low):
    values = np.arange(48.0)
    values[3] = low
    holes = np.isnan(as_frames("maps", values, nside=2, order="ring")).sum()
    near = abs(low - UNSEEN) <= 1e-5 * abs(UNSEEN)
    assert holes == (near or low == float(torch.tensor(UNSEEN).bfloat16()))


def test_both_orders_are_the_same_sky():
    numbers = nested_to_ring(torch.arange(192), nside=4).double()
    nested = as_frames("maps", numbers, nside=4, order="nested")
    ring = as_frames("maps", np.arange(192.0), nside=4, order="ring")
    np.testing.assert_array_equal(nested, ring)


GOOD = {"nside": 2, "order": "ring"}
BAD = {
    "empty": (lambda: view([], **GOOD), ValueError, "maps is empty"),
    "empty dict": (lambda: view({}, **GOOD), ValueError, "maps is empty"),
    "complex": (
        lambda: view(MAP.to(torch.complex64), **GOOD),
        TypeError,
        "maps must be real, got complex",
    ),
    "words": (lambda: view(np.array(["a"] * 48), **GOOD), TypeError, "maps must hold numbers"),
    "wrong length": (
        lambda: view(torch.zeros(50), **GOOD),
        ValueError,
        r"maps must be a map \(48,\).*got shape \(50,\)",
    ),
    "three axes": (lambda: view(torch.zeros(2, 2, 48), **GOOD), ValueError, r"frames \(F, 48\)"),
    "all UNSEEN": (
        lambda: view(torch.full((48,), UNSEEN), **GOOD),
        ValueError,
        "no pixel with a value",
    ),
    "infinite": (
        lambda: view(torch.where(MAP > 3, MAP, torch.inf), **GOOD),
        ValueError,
        "4 infinite pixels",
    ),
    "several nsides": (
        lambda: view({"a": MAP, "b": torch.zeros(192)}, **GOOD),
        ValueError,
        r"maps\['b'\] must be a map \(48,\)",
    ),
    "several frame counts": (
        lambda: view({"a": MAP, "b": torch.zeros(2, 48)}, **GOOD),
        ValueError,
        "equally many frames",
    ),
    "nside no power of two": (
        lambda: view(MAP, nside=3, order="ring"),
        ValueError,
        "nside must be a power of two",
    ),
    "nside too large": (
        lambda: view(MAP, nside=1024, order="ring"),
        ValueError,
        "nside must be at most 512",
    ),
    "order": (
        lambda: view(MAP, nside=2, order="spiral"),
        ValueError,
        "order must be one of 'ring', 'nested'",
    ),
    "200 frames at nside 256": (
        lambda: view(np.broadcast_to(np.float32(0), (200, 12 * 256**2)), nside=256, order="ring"),
        ValueError,
        "200 at nside 256 would weigh about 300 MiB, more than 32 MiB; "
        "show at most 21 frames, or go down to nside 64",
    ),
    "projection": (
        lambda: view(MAP, projection="mercator", **GOOD),
        ValueError,
        "projection must be one of 'globe'",
    ),
    "scaling": (
        lambda: view(MAP, scaling="cubic", **GOOD),
        ValueError,
        "scaling must be one of 'linear'",
    ),
    "cmap": (
        lambda: view(MAP, cmap="rainbows", **GOOD),
        ValueError,
        "cmap must be one of cividis.*'rainbows'",
    ),
    "value_range": (lambda: view(MAP, value_range=(3, 1), **GOOD), ValueError, "the lower first"),
    "value_range word": (
        lambda: view(MAP, value_range="all", **GOOD),
        ValueError,
        "'symmetric' or",
    ),
    "value_range too wide": (
        lambda: view(MAP, value_range=(-1e308, 1e308), **GOOD),
        ValueError,
        r"up to 1e\+300 in size",
    ),
    "value too large": (
        lambda: view(1e301 * MAP.double(), **GOOD),
        ValueError,
        r"maps holds 47 pixels beyond 1e\+300 in size",
    ),
    "Q too large": (
        lambda: view(MAP, polarisation=(-1e301 * MAP.double(), MAP), **GOOD),
        ValueError,
        "polarisation Q holds 47 pixels beyond",
    ),
    "value too large in a picture": (
        lambda: figure(1e301 * MAP.double(), **GOOD),
        ValueError,
        r"maps holds 47 pixels beyond 1e\+300",
    ),
    "low later": (
        lambda: setattr(view(MAP, **GOOD), "low", -1e308),
        traitlets.TraitError,
        r"low must be at most 1e\+300 in size",
    ),
    "rows of two lengths": (
        lambda: view([("a", MAP), ("b", MAP)], **GOOD),
        ValueError,
        r"maps\[0\] must be numbers, in rows of one length, got a tuple",
    ),
    "rows of two lengths in a dict": (
        lambda: view({"a": [[1, 2], [3]]}, **GOOD),
        ValueError,
        "maps must be numbers, in rows of one length",
    ),
    "rows of two lengths in a mask": (
        lambda: view(MAP, mask=[[1, 2], [3]], **GOOD),
        ValueError,
        "mask must be numbers, in rows of one length",
    ),
    "labels in one text": (
        lambda: view(torch.zeros(2, 48), frame_labels="ab", **GOOD),
        ValueError,
        "frame_labels must be a list of 2 labels, got 'ab'",
    ),
    "number as labels": (
        lambda: view(torch.zeros(2, 48), frame_labels=5, **GOOD),
        ValueError,
        "frame_labels must be a list of 2 labels, got 5",
    ),
    "half a pair in a title": (
        lambda: view(MAP, title="\ud800", **GOOD),
        ValueError,
        r"title must be text that UTF-8 can write, got '\\ud800'",
    ),
    "half a pair in a key": (
        lambda: view({"\ud800": MAP}, **GOOD),
        ValueError,
        "a title of maps must be text that UTF-8",
    ),
    "half a pair in a unit": (
        lambda: figure(MAP, unit="\ud800", **GOOD),
        ValueError,
        "unit must be text that UTF-8",
    ),
    "half a pair in a label": (
        lambda: view(MAP, frame_labels=["\ud800"], **GOOD),
        ValueError,
        "a label of frame_labels must be text that UTF-8",
    ),
    "value_range NaN": (
        lambda: view(MAP, value_range=(0, np.nan), **GOOD),
        ValueError,
        "two finite numbers",
    ),
    "zoom": (lambda: view(MAP, zoom=0, **GOOD), ValueError, "zoom must be a number in 0.5..400"),
    "lat": (
        lambda: view(MAP, lat_deg=100, **GOOD),
        ValueError,
        "lat_deg must be a number in -90..90",
    ),
    "height": (
        lambda: view(MAP, height=1, **GOOD),
        ValueError,
        "height must be a number in 80..2000",
    ),
    "labels": (
        lambda: view(MAP, frame_labels=["a", "b"], **GOOD),
        ValueError,
        "frame_labels must name each of the 1 frames, got 2",
    ),
    "mask of values": (
        lambda: view(MAP, mask=MAP, **GOOD),
        ValueError,
        "mask must be one map of True",
    ),
    "mask of nothing": (
        lambda: view(MAP, mask=torch.zeros(48), **GOOD),
        ValueError,
        "mask hides every pixel",
    ),
    "mask of another size": (
        lambda: view(MAP, mask=torch.ones(12), **GOOD),
        ValueError,
        r"mask must be a map \(48,\)",
    ),
    "polarisation": (lambda: view(MAP, polarisation=(MAP,), **GOOD), ValueError, "the pair"),
    "polarisation of other frames": (
        lambda: view(MAP, polarisation=(torch.zeros(2, 48), MAP), **GOOD),
        ValueError,
        "polarisation Q must be one map",
    ),
    "minus infinity": (
        lambda: view(torch.where(MAP > 3, MAP, -torch.inf), **GOOD),
        ValueError,
        "4 infinite pixels",
    ),
    "too many maps": (
        lambda: view([np.broadcast_to(np.float32(0), 12 * 512**2)] * 6, nside=512, order="ring"),
        ValueError,
        "maps: 6 at nside 512 would weigh about 36 MiB, more than 32 MiB; "
        "show fewer maps, or go down to nside 256",
    ),
    "cmap later": (
        lambda: setattr(view(MAP, **GOOD), "cmap", "rubbish"),
        ValueError,
        "cmap must be one of.*'rubbish'",
    ),
    "lon later": (
        lambda: setattr(view(MAP, **GOOD), "lon", float("nan")),
        traitlets.TraitError,
        "lon must be a finite number",
    ),
    "explorer": (lambda: SpectrumExplorer(nside=1), ValueError, "nside must be at least 2"),
    "convention": (
        lambda: view(MAP, polarisation=(MAP, MAP), convention="mine", **GOOD),
        ValueError,
        "'COSMO', 'IAU'",
    ),
    "pixel": (
        lambda: setattr(view(MAP, **GOOD), "pixel", 48),
        traitlets.TraitError,
        r"pixel must lie in -1\.\.47",
    ),
    "frame": (
        lambda: setattr(view(MAP, **GOOD), "frame", 1),
        traitlets.TraitError,
        r"frame must lie in 0\.\.0",
    ),
    "other maps": (
        lambda: view(MAP, **GOOD).show([MAP, MAP]),
        ValueError,
        "as many as before, 1, got 2",
    ),
    "other frames": (
        lambda: view(MAP, **GOOD).show(torch.zeros(2, 48)),
        ValueError,
        "1 frames as before, got 2",
    ),
    "other titles": (
        lambda: view({"a": MAP, "b": MAP}, **GOOD).show({"b": MAP, "c": MAP}),
        ValueError,
        r"titles of the maps shown, \['a', 'b'\], got \['b', 'c'\]",
    ),
    "no levels": (
        lambda: LayerInspector(torch.nn.Identity(), MAP.view(1, 1, 48), order="ring"),
        ValueError,
        "no module whose output",
    ),
    "two in a batch": (
        lambda: LayerInspector(torch.nn.ReLU(), torch.zeros(2, 1, 48), order="ring"),
        ValueError,
        "one batch entry",
    ),
    "figure": (
        lambda: figure(MAP, projection="gnomonic", **GOOD),
        ValueError,
        "projection must be one of 'mollweide', 'globe'",
    ),
}


@pytest.mark.parametrize("call, kind, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


SAME = {
    "number and text": (1, "1"),
    "two kinds of number": (np.int64(2), "2"),
    "nothing and no text": (None, ""),
    "blanks at the end": ("a", "a "),
    "blanks within": ("a  b", "a\nb"),
    "an accent written twice": ("\u00e9", "e\u0301"),
    "not a number": (float("nan"), "nan"),
}


@pytest.mark.parametrize("one, two", SAME.values(), ids=SAME.keys())
@pytest.mark.parametrize(
    "call",
    [view, figure, lambda maps, **how: view({"a": MAP, "b": MAP}, **how).show(maps)],
    ids=["view", "figure", "show"],
)
def test_titles_that_read_the_same_are_refused(call, one, two):
    with pytest.raises(ValueError, match="maps must have titles that read differently") as error:
        call({one: MAP, two: 2 * MAP}, **GOOD)
    assert repr(one) in str(error.value) and repr(two) in str(error.value)


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
    assert "first: from 12 to 47 mK, mean 29.5; 25.0 % of the pixels have no value" in words
    assert "1/65,536 of the range" in words and "second: from 0 to 47 mK" in words


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
    assert len(page.script(controls=False).encode()) <= 15_000
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


def test_equations_stay_equations_elsewhere():
    """The book's own figures name quantities by equations; `figure` gets its words from readers."""
    from skytutor import plot

    canvas, ax = plt.subplots()
    image = plot.mollweide(ax, MAP.detach(), order="nested")
    plot.colour_bar(canvas, image, ax, label="$C_l$")
    plot.colour_bar(canvas, image, ax, label="$C_l$", math_text=False)
    assert [one.yaxis.label.get_parse_math() for one in canvas.axes[1:]] == [True, False]
    plt.close(canvas)


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


def test_a_slider_sets_the_power_of_its_degrees():
    from skytutor.fields.spectra import alm2cl
    from skytutor.sht import map2alm

    tool = SpectrumExplorer(nside=8)
    for slider in tool.powers:
        slider.value = 0
    tool.powers[1].value = 2000
    cl = alm2cl(map2alm(tool.sky(), nside=8, lmax=16, method="lsq", order="ring"), lmax=16)
    low, high = tool.bands[1]
    assert cl[low : high + 1].sum() > 0.999 * cl.sum()
    before = tool.sky()
    tool._redraw(None)
    assert not torch.equal(before, tool.sky())


def test_levels_of_a_network_are_frames():
    from skytutor.layers.pixel import HaloConv

    net = torch.nn.Sequential(
        HaloConv(1, 3, nside=8, order="face"),
        torch.nn.ReLU(),
        torch.nn.MaxPool3d((1, 2, 2)),
        HaloConv(3, 2, nside=4, order="face"),
    ).train()
    net[1].eval()  # a part that is frozen stays so
    tool = LayerInspector(net, torch.randn(1, 1, 12, 8, 8), order="face")
    assert net.training and not net[1].training
    assert tool.names[-1] == "3 HaloConv, nside 4" and tool.frames().shape == (5, 768)
    assert float(tool.frames().abs().max()) <= 1
    tool.channel.value = 2
    children = tool.frames()[-1].view(-1, 4)
    assert (children == children[:, :1]).all()


def test_a_module_that_is_run_again_is_another_level():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.act = torch.nn.ReLU()

        def forward(self, x):
            return self.act(-self.act(x - 1) + 2)

    tool = LayerInspector(Twice(), MAP.detach().view(1, 1, 48), order="nested")
    assert tool.names == ["input", "act ReLU, nside 2", "act ReLU, nside 2, call 2"]
    assert tool.names == list(tool.levels)
    assert not torch.equal(tool.frames()[1], tool.frames()[2])
