"""What a sphere refuses: each message names the argument, what came and what is allowed."""

import numpy as np
import pytest
import torch
import traitlets

from skytutor.healpix import UNSEEN
from skytutor.widgets import figure, view
from skytutor.widgets.explore import LayerInspector, SpectrumExplorer

MAP = torch.arange(48.0)


GOOD = {"nside": 2, "order": "ring"}


BAD = {
    "empty": (lambda: view([], **GOOD), ValueError, "maps is empty"),
    "empty dict": (lambda: view({}, **GOOD), ValueError, "maps is empty"),
    "complex": (
        lambda: view(MAP.to(torch.complex64), **GOOD),
        TypeError,
        "maps must be real, got complex",
    ),
    "words": (lambda: view(np.array(["a"] * 48), **GOOD), TypeError, "maps must be numbers"),
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
    "auto_turn": (
        lambda: view(MAP, auto_turn="yes", **GOOD),
        TypeError,
        "auto_turn must be True or False, got 'yes'",
    ),
    "auto_turn a number": (
        lambda: view(MAP, auto_turn=6, **GOOD),
        TypeError,
        "auto_turn must be True or False, got 6",
    ),
    "auto_turn later": (
        lambda: setattr(view(MAP, **GOOD), "auto_turn", "slowly"),
        traitlets.TraitError,
        "auto_turn",
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
