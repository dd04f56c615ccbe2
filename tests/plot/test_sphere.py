"""The sphere on paper: which pixel stands where, borders as lines, ranges of signed data."""

import math

import healpy
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from skytutor import plot
from skytutor.healpix import UNSEEN
from skytutor.plot import borders
from skytutor.plot.style import HOLE

SHARED = (0, 2, 4, 6)  # of healpy's eight neighbours: those that share an edge


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def sides(before, after, nside):
    """Return the pixels to the left and right of short pieces of a line, ``(2, N)``.

    The oracle is healpy: it knows nothing of our formula for the borders.
    """
    middle = before + after
    middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
    across = np.cross(after - before, middle)
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    step = 0.003  # farther than a chord is from its arc, less than a pixel is wide
    places = [middle + sign * step * across for sign in (-1, 1)]
    return np.stack([healpy.vec2pix(nside, *place.T, nest=True) for place in places])


def pieces(lines):
    return lines[:, :-1].reshape(-1, 3), lines[:, 1:].reshape(-1, 3)


def edges(nside):
    """Return all pairs of pixels that share an edge, from healpy's table of neighbours."""
    pixel = np.arange(12 * nside**2)
    others = healpy.get_all_neighbours(nside, pixel, nest=True)[list(SHARED)]
    return {tuple(sorted(pair)) for row in others for pair in np.stack([pixel, row], 1).tolist()}


@pytest.mark.parametrize("nside", [1, 2, 4, 8])
def test_every_border_between_two_pixels_is_drawn_once_and_nothing_else(nside):
    lines = borders.border_lines(nside, kind="pixel")
    left, right = sides(*pieces(lines), nside)
    assert (left != right).all()
    drawn, times = np.unique(np.sort([left, right], axis=0), axis=1, return_counts=True)
    if nside > 1:  # a base pixel may meet another along two edges
        assert {tuple(pair) for pair in drawn.T.tolist()} == edges(nside)
        assert set(times) == {(lines.shape[1] - 1) // nside}
    assert len(left) == 24 * nside**2 * (lines.shape[1] - 1) / nside


@pytest.mark.parametrize("nside", [1, 4, 16])
def test_borders_of_base_pixels_separate_base_pixels(nside):
    left, right = sides(*pieces(borders.border_lines(nside, kind="base")), 16)
    assert (left // 256 != right // 256).all()
    assert {tuple(sorted(pair)) for pair in np.stack([left, right]).T // 256} == edges(1)


def test_corners_of_pixels_are_those_of_healpy():
    nside = 8
    x, y, f = healpy.pix2xyf(nside, np.arange(12 * nside**2), nest=True)
    # healpy: north, west, south, east
    corners = healpy.boundaries(nside, np.arange(12 * nside**2), step=1, nest=True)
    for k, (right, up) in enumerate(((1, 1), (0, 1), (0, 0), (1, 0))):
        places = borders.face_to_vector(f, (x + right) / nside, (y + up) / nside)
        assert np.abs(places - corners[:, :, k]).max() < 1e-12


def drawn_path(ax):
    """Return the path of the borders that were drawn last."""
    (patch,) = [one for one in ax.patches if isinstance(one, PathPatch)]
    return patch.get_path()


def strokes(path):
    """Return where each straight piece of a path begins and ends, ``(N, 2)`` twice."""
    goes_on = path.codes[1:] == Path.LINETO
    return path.vertices[:-1][goes_on], path.vertices[1:][goes_on]


def from_globe(points, lon_deg, lat_deg):
    """Return the directions of points on a globe, turned by healpy."""
    depth = np.sqrt(np.maximum(0, 1 - (points**2).sum(1)))
    seen = np.stack([depth, -points[:, 0], points[:, 1]])  # to the reader, east, north
    turn = healpy.Rotator(rot=(lon_deg, lat_deg), inv=True)
    return np.asarray(turn(seen)).T


def from_mollweide(points):
    t = np.arcsin(points[:, 1].clip(-1, 1))
    z = ((2 * t + np.sin(2 * t)) / np.pi).clip(-1, 1)
    lon = -np.pi * points[:, 0] / (2 * np.cos(t).clip(1e-12))
    flat = np.sqrt(1 - z**2)
    return np.stack([flat * np.cos(lon), flat * np.sin(lon), z], axis=1)


@pytest.mark.parametrize("centre", [(0, 0), (30, 30), (200, -75), (45, 90)])
@pytest.mark.parametrize("kind", ["base", "pixel"])
def test_a_globe_shows_the_borders_of_its_half(ax, centre, kind):
    plot.globe(ax, torch.zeros(192), order="nested", centre_deg=centre, borders=kind)
    path = drawn_path(ax)
    assert np.linalg.norm(path.vertices, axis=1).max() < 1 + 1e-6
    before, after = (from_globe(points, *centre) for points in strokes(path))
    # Near the limb a tiny error on paper is a large one on the sphere.
    inner = np.linalg.norm(sum(strokes(path)) / 2, axis=1) < 0.97
    left, right = sides(before[inner], after[inner], 4)
    differ = (left != right) if kind == "pixel" else (left // 16 != right // 16)
    assert differ.all()


def test_the_two_halves_of_a_sphere_show_each_border_once():
    lines = borders.border_lines(4, kind="pixel")
    towards = np.array([0.36, 0.48, 0.8])
    east = np.array([-0.8, 0.6, 0.0])
    front = np.array([east, np.cross(towards, east), towards])
    back = front * [[-1], [1], [-1]]
    count = 0
    for frame in (front, back):
        count += (borders.globe_path(lines, frame).codes == Path.LINETO).sum()
    depth = lines @ towards
    crossings = ((depth[:, 1:] > 0) != (depth[:, :-1] > 0)).sum()
    assert crossings > 20
    # A piece that crosses the limb is cut in two.
    assert count == lines.shape[0] * (lines.shape[1] - 1) + crossings


@pytest.mark.parametrize("nside", [1, 4])
@pytest.mark.parametrize("kind", ["base", "pixel"])
def test_a_whole_sky_shows_all_borders_and_cuts_them_at_the_seam(ax, nside, kind):
    plot.mollweide(ax, torch.zeros(12 * nside**2), order="ring", borders=kind)
    path = drawn_path(ax)
    first, last = strokes(path)
    assert np.linalg.norm(last - first, axis=1).max() < 0.15, "a line runs across the map"
    inside = np.abs((first + last) / 2) @ [0.5, 0] < 0.93
    before, after = from_mollweide(first[inside]), from_mollweide(last[inside])
    left, right = sides(before, after, 16)
    per_area = (16 // nside) ** 2 if kind == "pixel" else 256
    assert (left // per_area != right // per_area).all()
    # At the seam, a line of longitude, an edge of the map stands at both sides.
    seam = np.abs(from_mollweide(path.vertices) @ [0, 1, 0]) < 1e-4
    edge = (path.vertices[:, 0] / 2) ** 2 + path.vertices[:, 1] ** 2 > 1 - 1e-4
    on_seam = path.vertices[seam & edge]
    here, there = (on_seam[sign * on_seam[:, 0] > 1e-3] for sign in (-1, 1))
    assert len(here) == len(there) > 8
    assert np.allclose(np.sort(here[:, 1]), np.sort(there[:, 1]), atol=1e-3)


@pytest.mark.parametrize("order", ["ring", "nested"])
@pytest.mark.parametrize("name", ["globe", "mollweide"])
def test_each_dot_shows_the_pixel_that_lies_there(ax, name, order):
    nside = 8
    values = torch.arange(12.0 * nside**2)
    where = {"centre_deg": (40, 20)} if name == "globe" else {}
    image = getattr(plot, name)(ax, values, order=order, **where)
    left, right, bottom, top = image.get_extent()
    picture = image.get_array()
    rows, columns = picture.shape
    rng = np.random.default_rng(1)
    row, column = rng.integers(0, rows, 2000), rng.integers(0, columns, 2000)
    points = np.stack(
        [
            left + (column + 0.5) / columns * (right - left),
            top + (row + 0.5) / rows * (bottom - top),
        ],
        axis=1,
    )
    shown = (points[:, 0] / right) ** 2 + points[:, 1] ** 2 < 0.999
    points = points[shown]
    directions = from_globe(points, 40, 20) if name == "globe" else from_mollweide(points)
    pixel = healpy.vec2pix(nside, *directions.T, nest=order == "nested")
    assert (picture[row, column][shown] == pixel).mean() > 0.998  # an edge may round


def test_dots_beyond_the_edge_are_cut_off_and_none_is_empty(ax):
    image = plot.globe(ax, torch.arange(48.0), order="ring")
    assert np.isfinite(image.get_array()).all()
    path, transform = image.get_clip_path().get_transformed_path_and_affine()
    cut = transform.transform_path(path)
    for place, seen in (((0.69, 0.71), True), ((0.73, 0.71), False)):
        assert cut.contains_point(ax.transData.transform(place)) == seen


def test_borders_have_the_colour_asked_for(ax):
    plot.globe(ax, torch.arange(48.0), order="ring", borders="base", line="tab:red")
    (patch,) = [one for one in ax.patches if isinstance(one, PathPatch)]
    assert patch.get_edgecolor() == to_rgba("tab:red") and not patch.get_fill()


@pytest.mark.parametrize("name", ["globe", "mollweide"])
def test_zero_is_the_middle_of_signed_data(ax, name):
    values = torch.linspace(-1, 3, 48)
    image = getattr(plot, name)(ax, values, order="ring", signed=True)
    assert image.get_clim() == (-3, 3) and image.get_cmap().name == plot.SIGNED
    # 256 colours: zero lies between two of them.
    assert np.abs(np.array(image.to_rgba(0.0)) - to_rgba("#f7f6f6")).max() < 0.02


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({"vmax": 5}, (-5, 5)),
        ({"vmin": -2}, (-2, 2)),
        ({"vmin": -4, "vmax": 4}, (-4, 4)),
    ],
)
def test_the_range_of_signed_data_may_be_given(ax, options, limits):
    image = plot.globe(ax, torch.linspace(-1, 3, 48), order="ring", signed=True, **options)
    assert image.get_clim() == limits


def test_a_colour_map_that_is_asked_for_stays(ax):
    image = plot.globe(ax, torch.ones(12), order="ring", signed=True, cmap="PuOr")
    assert image.get_cmap().name == "PuOr" and image.get_clim() == (-1, 1)
    assert plot.globe(ax, torch.ones(12), order="ring").get_cmap().name == plot.CMAP


def test_signed_data_that_are_nothing_have_a_range(ax):
    assert plot.globe(ax, torch.zeros(12), order="ring", signed=True).get_clim() == (-1, 1)
    holes = torch.full((12,), torch.nan)
    assert plot.globe(ax, holes, order="ring", signed=True).get_clim() == (-1, 1)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bad", [UNSEEN, 1e-3 * UNSEEN, -UNSEEN, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["globe", "mollweide"])
def test_pixels_without_a_value_are_grey_and_have_no_part_in_the_range(ax, name, bad, signed):
    values = torch.linspace(-2, 4, 48)
    values[20:28] = bad  # the ring at the equator
    where = {"centre_deg": (22.5, 0)} if name == "globe" else {}  # at the middle of a pixel
    image = getattr(plot, name)(ax, values, order="ring", signed=signed, **where)
    rows, columns = image.get_array().shape
    assert image.get_array().mask[rows // 2, columns // 2]
    assert not image.get_array().mask[0, columns // 2]
    low, high = image.get_clim()
    assert (low, high) == ((-4, 4) if signed else (float(values[0]), 4))
    shown = image.to_rgba(image.get_array())[rows // 2, columns // 2]
    np.testing.assert_allclose(shown, to_rgba(HOLE))


def test_a_colour_of_holes_that_is_asked_for_stays(ax):
    red = matplotlib.colormaps["viridis"].with_extremes(bad="red")
    values = torch.full((12,), UNSEEN)
    image = plot.mollweide(ax, values, order="ring", cmap=red)
    np.testing.assert_allclose(image.get_cmap().get_bad(), to_rgba("red"))


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (torch.zeros(2, 12), {}, r"one map of shape \(P,\), got shape \(2, 12\)"),
        (torch.zeros(13), {}, "13"),
        (torch.zeros(12), {"order": "face"}, "order must be one of"),
        (torch.zeros(12), {"borders": "pixels"}, "borders must be one of 'base', 'pixel'"),
        (torch.zeros(12), {"signed": True, "vmin": -1, "vmax": 2}, "-1 and 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(ax, values, options, words):
    for draw in (plot.globe, plot.mollweide):
        with pytest.raises(ValueError, match=words):
            draw(ax, values, **{"order": "ring", **options})
        assert not ax.images


@pytest.mark.parametrize(("nside", "kind"), [(3, "base"), (4, "pixels")])
def test_borders_of_what_is_no_map_are_refused(nside, kind):
    with pytest.raises(ValueError, match=r"nside|kind"):
        borders.border_lines(nside, kind=kind)


def test_a_word_with_dollars_is_an_equation_unless_told(ax):
    image = plot.mollweide(ax, torch.arange(12.0), order="ring")
    plot.colour_bar(ax.figure, image, ax, label="$C_l$")
    plot.colour_bar(ax.figure, image, ax, label="$C_l$", math_text=False)
    assert [one.yaxis.label.get_parse_math() for one in ax.figure.axes[1:]] == [True, False]
