"""Tables of results: what is bold, how numbers are written and aligned, what is refused."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from skytutor import plot

ROWS = {
    "noise 0": {"ours": (0.551, 0.012), "pixels": 1.32, "constant": 29.7, "limit (%)": 0.54},
    "noise 15": {"ours": (12.104, 0.3), "pixels": 12.1, "constant": None, "limit (%)": 2.05},
}


class Reader(HTMLParser):
    """The table as somebody sees it: rows of (tag, scope, text, bold), hidden parts left out."""

    def __init__(self, table):
        super().__init__()
        self.rows = []
        self.caption = ""
        self.inside = []
        self.hidden = 0
        self.feed(table._repr_html_())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append([tag, given.get("scope"), "", False])
        if tag == "strong":
            self.rows[-1][-1][3] = True
        self.inside.append((tag, given.get("aria-hidden") == "true"))

    def handle_endtag(self, tag):
        assert self.inside.pop()[0] == tag

    def handle_data(self, data):
        tags = [tag for tag, _ in self.inside]
        if any(hidden for _, hidden in self.inside):
            return
        if "caption" in tags:
            self.caption += data
        else:
            self.rows[-1][-1][2] += data

    def bold(self):
        return [[cell[2] for cell in row if cell[3]] for row in self.rows[1:]]

    def texts(self):
        return [[cell[2] for cell in row] for row in self.rows]


def table(rows=ROWS, **options):
    return plot.results_table(rows, caption="Error in per cent.", **options)


def test_headings_say_what_they_head():
    seen = Reader(table(corner="Test"))
    assert seen.caption == "Error in per cent."
    assert [cell[:3] for cell in seen.rows[0]] == [
        ["th", "col", name] for name in ("Test", "ours", "pixels", "constant", "limit (%)")
    ]
    assert [row[0][:3] for row in seen.rows[1:]] == [["th", "row", label] for label in ROWS]
    # No heading is empty.
    assert Reader(table()).rows[0][0][:3] == ["td", None, ""]


def test_the_best_of_each_row_is_bold_and_a_limit_takes_no_part():
    seen = Reader(table(best="min"))
    # Two numbers that read the same are both the best.
    assert seen.bold() == [["0.55 ± 0.01"], ["12.10 ± 0.30", "12.10"]]
    assert Reader(table(best="max")).bold() == [["29.70"], ["12.10 ± 0.30", "12.10"]]
    assert Reader(table()).bold() == [[], []]


def test_a_row_that_is_a_limit_takes_no_part_either():
    rows = {"ours": {"TT": 0.6, "EE": 0.7}, "Limit (%)": {"TT": 0.5, "EE": 0.4}}
    assert Reader(table(rows, best="min", axis="row")).bold() == [["0.60"], []]
    assert Reader(table({"limit": rows["ours"]}, best="max")).bold() == [[]]


def test_the_best_of_each_column_is_bold():
    rows = {
        "network": {"error": 0.6, "accuracy": 97.1},
        "baseline": {"error": 3.0, "accuracy": 98.0},
        "limit": {"error": 0.5, "accuracy": 99.0},
    }
    seen = Reader(table(rows, best={"error": "min", "accuracy": "max"}, axis="column"))
    assert seen.bold() == [["0.60"], ["98.00"], []]
    assert Reader(table(rows, best="min", axis="column")).bold() == [["0.60", "97.10"], [], []]
    assert Reader(table(rows, best={"error": "max"}, axis="column")).bold() == [[], ["3.00"], []]


def test_the_best_of_one_is_not_told():
    assert Reader(table({"a": {"ours": 1.0, "limit": 2.0}}, best="min")).bold() == [[]]


def test_points_stand_below_each_other():
    """Numbers of a column end at the same place: as many characters follow each point."""
    rows = {
        "a": {"ours": (3.25, 10.5)},
        "b": {"ours": (123.5, 0.25)},
        "c": {"ours": 7.0},
        "d": {"ours": None},
    }
    html = table(rows)._repr_html_()
    cells = re.findall(r"<td style=\"([^\"]*)\">(.*?)</td>", html)
    assert all("text-align:right" in style for style, _ in cells)
    shown = [re.sub("<[^>]*>", "", cell) for _, cell in cells[:3]]
    assert len({len(text.partition(".")[2]) for text in shown}) == 1, shown
    # In a terminal likewise.
    lines = repr(table(rows)).splitlines()[2:5]
    assert len({line.index(".") for line in lines}) == 1, lines


def test_a_terminal_shows_the_same_numbers_and_stars_the_best():
    shown = repr(table(best="min"))
    words = shown.replace("*", "").split()
    for row in Reader(table(best="min")).texts():
        for cell in row:
            assert set(cell.split()) <= set(words), cell
    assert shown.count("*") == 3 and "0.55 ± 0.01*" in shown
    assert max(map(len, shown.splitlines())) < 80


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1234.567, 1, "1,234.6"),
        (-0.5, 2, "\u22120.50"),
        (0.0, 2, "0.00"),
        (-1.24e-5, 2, "\u22121.2 \u00d7 10\u207b\u2075"),
        (81920, 2, "81,920"),
        (np.float32(0.25), 2, "0.25"),
        (np.int64(3), 2, "3"),
        (torch.tensor(2.0), 0, "2"),
        ("about <1", 2, "about <1"),
        (None, 2, "\u2013"),
        ((0.0123, 0.0004), 4, "0.0123 ± 0.0004"),
    ],
)
def test_numbers_are_written_as_asked(value, digits, text):
    assert Reader(table({"a": {"x": value}}, digits=digits)).texts()[1] == ["a", text]


def test_each_column_may_have_its_own_digits():
    rows = {"a": {"x": 1.234, "y": 5.678}}
    assert Reader(table(rows, digits={"x": 0})).texts()[1] == ["a", "1", "5.68"]


def test_columns_come_in_the_order_asked_for():
    seen = Reader(table(columns=["limit (%)", "ours", "constant", "pixels"]))
    assert seen.texts()[0] == ["", "limit (%)", "ours", "constant", "pixels"]
    assert seen.texts()[1][1:] == ["0.54", "0.55 ± 0.01", "29.70", "1.32"]


def test_marks_of_html_are_text():
    evil = '<script>"&'
    shown = plot.results_table({evil: {evil: evil}}, caption=evil, corner=evil)
    seen = Reader(shown)
    assert seen.caption == evil and seen.texts() == [[evil, evil], [evil, evil]]
    assert "<script" not in shown._repr_html_()


@pytest.mark.parametrize(
    ("rows", "options", "error", "words"),
    [
        ({}, {}, ValueError, "rows must be .* at least one row"),
        ([1], {}, TypeError, "rows must be a mapping of labels to rows, got "),
        ("rows", {}, TypeError, "rows must be a mapping of labels to rows, got 'rows'"),
        ({"a": 3}, {}, TypeError, "'a' must be a mapping"),
        ({"a": {}}, {}, ValueError, "at least one"),
        ({"a": {"x": 1.0}}, {"columns": []}, ValueError, "at least one"),
        ({"a": {"x": 1.0}}, {"columns": "x"}, TypeError, "sequence of names, got 'x'"),
        ({"a": {"x": 1.0}}, {"columns": 3}, TypeError, "sequence of names, got 3"),
        ({"a": {"x": 1.0, "z": 2}}, {"columns": ["x"]}, ValueError, r"columns \['z'\]"),
        ({"a": {"x": 1.0}}, {"columns": ["x", "y"]}, ValueError, "that rows hold"),
        ({"a": {"x": 1.0}}, {"columns": ["x", "x"]}, ValueError, "different names"),
        ({"a": {"x": float("nan")}}, {}, ValueError, "a, x must be finite, got nan"),
        ({"a": {"x": (1.0, float("inf"))}}, {}, ValueError, "must be finite, got inf"),
        ({"a": {"x": (1.0, -0.1)}}, {}, ValueError, "not negative, got -0.1"),
        ({"a": {"x": (1.0, 2.0, 3.0)}}, {}, ValueError, "a pair is"),
        ({"a": {"x": True}}, {}, TypeError, "a, x must be a number"),
        ({"a": {"x": object()}}, {}, TypeError, "a, x must be a number"),
        ({"a": {"x": ("1", 0.1)}}, {}, TypeError, "a, x must be a number"),
        ({3: {"x": 1.0}}, {}, TypeError, "must be texts, got 3"),
        ({"$x$": {"x": 1.0}}, {}, ValueError, "plain text"),
        ({r"\ell": {"x": 1.0}}, {}, ValueError, "plain text"),
        (ROWS, {"best": "lowest"}, ValueError, "best must be one of 'min', 'max'"),
        (ROWS, {"best": {"ours": "min"}}, ValueError, "axis="),
        (ROWS, {"best": {"our": "min"}, "axis": "column"}, ValueError, "best: column must be"),
        (ROWS, {"best": {"ours": "low"}, "axis": "column"}, ValueError, "best: ours must be"),
        (ROWS, {"axis": "diagonal"}, ValueError, "axis must be one of"),
        (ROWS, {"digits": 2.5}, TypeError, "digits must be an integer"),
        (ROWS, {"digits": -1}, ValueError, "between 0 and 9"),
        (ROWS, {"digits": {"our": 1}}, ValueError, "digits: column must be"),
        (ROWS, {"corner": None}, TypeError, "must be texts"),
    ],
)
def test_what_makes_no_table_is_refused(rows, options, error, words):
    with pytest.raises(error, match=words):
        table(rows, **options)


@pytest.mark.parametrize(
    ("caption", "error", "words"),
    [
        ("", ValueError, "caption must be a text"),
        ("  ", ValueError, "caption must be a text"),
        (None, TypeError, "must be texts, got None"),
    ],
)
def test_a_table_has_a_caption(caption, error, words):
    with pytest.raises(error, match=words):
        plot.results_table(ROWS, caption=caption)
