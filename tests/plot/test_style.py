"""The style of all figures: one diverging colour map, vectors in notebooks, the same bytes."""

import base64
import importlib
import io
import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex
from nbclient import NotebookClient
from PIL import Image

from skytutor import plot
from skytutor.widgets import page

CELL = """
import matplotlib.pyplot as plt
import torch
from skytutor import plot
plot.style()
figure, axes = plt.subplots(1, 2, figsize=(7, 3))
plot.globe(axes[0], torch.arange(48.0), order="ring")
axes[1].plot([1, 2, 3], label="words")
axes[1].legend();
"""


def test_signed_data_have_the_colours_of_the_sphere_that_turns():
    stops = re.findall("......", page.palettes()["blue-red"])
    wanted = [[int(stop[k : k + 2], 16) for k in (0, 2, 4)] for stop in stops]
    # Between two stops the script mixes their colours evenly, and so must we.
    place = np.linspace(0, 1, 201)
    mixed = [np.interp(place, np.linspace(0, 1, len(stops)), part) for part in np.array(wanted).T]
    ours = 255 * colormaps[plot.SIGNED](place)[:, :3]
    # matplotlib has 256 colours, and two of the map are as far from each other as this.
    assert np.abs(ours - np.array(mixed).T).max() < 3
    assert to_hex(colormaps[plot.SIGNED](0.0)) == "#" + stops[0]
    assert to_hex(colormaps[plot.SIGNED](1.0)) == "#" + stops[-1]


def test_the_middle_of_signed_data_is_the_lightest_and_the_ends_are_equally_dark():
    light = colormaps[plot.SIGNED](np.linspace(0, 1, 255))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert abs(int(light.argmax()) - 127) <= 3
    assert (np.diff(light[:120]) > 0).all() and (np.diff(light[135:]) < 0).all()
    assert abs(light[0] - light[-1]) < 0.15


def test_a_second_registration_changes_nothing():
    before = colormaps[plot.SIGNED](np.linspace(0, 1, 9))
    importlib.import_module("skytutor.plot.style")._register_signed()
    assert (colormaps[plot.SIGNED](np.linspace(0, 1, 9)) == before).all()


def test_lines_take_the_colours_in_their_order():
    with plt.rc_context():
        plot.style()
        figure, ax = plt.subplots()
        drawn = [ax.plot([k])[0].get_color() for k in range(5)]
        plt.close(figure)
    assert drawn == list(plot.LINE_COLOURS)


@pytest.fixture(scope="module")
def shown():
    """Return what notebooks keep of the same cell, run in two kernels."""
    found = []
    for _ in range(2):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
        NotebookClient(book, kernel_name="python3", timeout=120).execute()
        bundles = [output["data"] for output in book.cells[0].outputs if "data" in output]
        found.append([data for data in bundles if "image/svg+xml" in data])
        assert not any("image/png" in data for data in bundles)
    return [one["image/svg+xml"] for ones in found for one in ones]


def test_a_notebook_shows_vectors_and_the_same_bytes_again(shown):
    first, second = shown
    assert first == second
    assert "<text" not in first, "letters are paths: they look the same on every machine"


def test_maps_inside_have_two_dots_for_each_of_the_screen(shown):
    image = re.search(r"<image [^>]*>", shown[0])[0]
    data = base64.b64decode(re.search(r'base64,([^"]*)"', image)[1])
    dots = Image.open(io.BytesIO(data)).size
    for size, name in zip(dots, ("width", "height"), strict=True):
        points = float(re.search(rf' {name}="([\d.]+)"', image)[1])
        assert size >= 2 * points * 96 / 72


def test_style_works_where_there_is_no_notebook():
    with plt.rc_context():
        plot.style()
        assert plt.rcParams["image.cmap"] == plot.CMAP
