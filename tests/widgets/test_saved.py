"""Pages to send: whole documents with their encoding, written whole, with the titles they need."""

import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from skytutor.files import CheckpointError
from skytutor.widgets import CurveSliders, ImageSwipe, figure, view
from skytutor.widgets.saved import document

MICRO = "\N{MICRO SIGN}K \N{GREEK SMALL LETTER ALPHA} \N{EN DASH} \N{HIRAGANA LETTER A}"
MAP = torch.arange(48.0)
GOOD = {"nside": 2, "order": "ring"}
SWIPE = {"labels": ("A", "B"), "low": 0, "high": 1}
MADE = {
    "sphere": lambda: view(MAP, unit=MICRO, title=MICRO, **GOOD),
    "bare sphere": lambda: view(MAP, unit=MICRO, title=MICRO, controls=False, **GOOD),
    "figure": lambda: figure(MAP, unit="\N{MICRO SIGN}K", title="\N{MICRO SIGN}K", **GOOD),
    "swipe": lambda: ImageSwipe([[0, 1]], [[1, 0]], labels=(MICRO, "B"), alt=MICRO, low=0, high=1),
    "sliders": lambda: CurveSliders(
        [0, 1, 2],
        [1, 1, 1],
        [[-1, 0, 1]],
        lows=[-2],
        highs=[2],
        labels=[MICRO],
        x_label=MICRO,
        y_label="y",
        y_range=(-2, 4),
        alt=MICRO,
    ),
}


class Parsed(HTMLParser):
    """A page read as a browser reads it: its tags in order, and its title."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.title = ""
        self.declared = ""
        self.inside = ""
        self.feed(text)

    def handle_decl(self, decl):
        self.declared = decl

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "title":
            self.title += data


@pytest.mark.parametrize("name", MADE)
def test_a_saved_page_is_whole_and_says_its_encoding(tmp_path, name):
    place = tmp_path / "a.html"
    MADE[name]().save(place, title="A \N{MICRO SIGN}K <sky>", lang="en-GB")
    assert os.listdir(tmp_path) == ["a.html"]
    data = place.read_bytes()
    page = Parsed(data.decode("utf-8"))
    assert page.declared == "doctype html" and page.title == "A \N{MICRO SIGN}K <sky>"
    tags = [tag for tag, _ in page.tags]
    assert tags[:3] == ["html", "head", "meta"] and page.tags[2][1] == {"charset": "utf-8"}
    assert page.tags[0][1] == {"lang": "en-GB"}
    assert ("meta", "viewport") in [(tag, found.get("name")) for tag, found in page.tags]
    # The encoding stands where browsers look for it, and nothing is fetched.
    assert data.index(b"charset") < 1024
    text = re.sub(r"<script.*?</script>", "", data.decode("utf-8"), flags=re.DOTALL)
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    assert "http" not in data.decode().replace("http://www.w3.org", "")


@pytest.mark.parametrize("name", MADE)
def test_what_a_notebook_shows_reads_right_in_any_encoding(name):
    """Saved by hand, or sent by a server that takes it for Latin 1, the text is the same."""
    text = MADE[name]()._repr_html_()
    assert text.isascii()
    assert "&#181;" in text or r"\u00b5" in text
    page = Parsed(text)
    said = " ".join(str(value) for _, found in page.tags for value in found.values())
    if name not in ("sphere", "bare sphere"):  # which have it in their JSON and their summary
        assert "\N{MICRO SIGN}K" in said


def test_titles_of_pages(tmp_path):
    """Where none is given the page is called after what it shows."""
    place = tmp_path / "a.html"
    for made, wanted in (
        (view(MAP, title="One", **GOOD), "One"),
        (view({"A": MAP, "B": MAP}, title="Both", **GOOD), "Both"),
        (view({"A": MAP, "B": MAP}, **GOOD), "A, B"),
        (view(MAP, **GOOD), "Map of the sky"),
        (ImageSwipe([[0]], [[1]], alt="Two. More.", **SWIPE), "Two."),
        (ImageSwipe([[0]], [[1]], alt="", **SWIPE), "Sky Tutor"),
    ):
        made.save(place)
        assert Parsed(place.read_text(encoding="utf-8")).title == wanted


def test_a_saved_sphere_is_the_view_as_it_is_now(tmp_path):
    globe = view(MAP, **GOOD)
    globe.lon = 33.0
    globe.save(tmp_path / "new" / "a.html")
    text = (tmp_path / "new" / "a.html").read_text(encoding="utf-8")
    assert globe.html() in text and '"lon": 33.0' in text


def test_the_title_of_a_dict_of_maps_is_shown_above_them():
    globe = view({"A": MAP, "B": 2 * MAP}, title=MICRO, **GOOD)
    about = json.loads(
        re.search(r'<script type="application/json">(.*?)</script>', globe.html())[1]
    )
    assert about["title"] == MICRO and [one["title"] for one in about["maps"]] == ["A", "B"]
    assert about["label"].startswith(f"Map of the sphere, {MICRO}: A, B.")
    # One map, and those of a list, carry the title themselves: it is not said twice.
    for maps in (MAP, [MAP, MAP]):
        about = json.loads(view(maps, title="T", **GOOD).spec)
        assert about["title"] == "" and about["maps"][0]["title"].startswith("T")
    globe.show({"A": MAP, "B": MAP})
    assert json.loads(globe.spec)["title"] == MICRO


def test_the_title_of_a_dict_of_maps_is_drawn_in_a_figure():
    plain = figure({"A": MAP, "B": MAP}, **GOOD)
    titled = figure({"A": MAP, "B": MAP}, title="Both", **GOOD)
    assert titled.alt == f"Both. {plain.alt}" and titled.png != plain.png


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    place = tmp_path / "a.html"
    view(MAP, title="old", **GOOD).save(place)
    before = place.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CheckpointError, match=r"a\.html .*the disk is full; the earlier file"):
        view(MAP, title="new", **GOOD).save(place)
    assert place.read_bytes() == before and os.listdir(tmp_path) == ["a.html"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"path": 3}, TypeError, "path must be the name of a file, got 3"),
        ({"path": ""}, TypeError, "path must be the name of a file"),
        ({"lang": "<b>"}, ValueError, "lang must be the code of a language"),
        ({"lang": None}, ValueError, "lang must be"),
        ({"title": "\ud800"}, ValueError, "title must be text that UTF-8 can write"),
        ({"title": " "}, ValueError, "title must be text that is not blank"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, kind, message):
    with pytest.raises(kind, match=message):
        view(MAP, **GOOD).save(**({"path": tmp_path / "a.html"} | arguments))
    assert not list(tmp_path.iterdir())


def test_the_title_of_a_page_is_text():
    assert "<title>&lt;/title&gt;&lt;script&gt; a</title>" in document(
        "", title="</title><script>\n a"
    )


def test_long_data_are_written_in_pieces_as_in_one():
    """A piece is a whole number of groups of 13 bits, so that the border leaves no trace."""
    from skytutor.widgets import page

    data = np.random.default_rng(0).integers(0, 256, 2 * page._PIECE + 77, np.uint8).tobytes()
    assert page.as_text(data) == page._letters(data)
