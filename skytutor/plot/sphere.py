"""Static figures of the sphere: globes, whole-sky maps, borders, colour bars with a unit.

The sphere is seen from inside, as maps of the sky are drawn: east is left. Every picture is made by
asking, for each dot of the figure, which pixel lies there; no pixel is interpolated or smoothed.
Pixels that are NaN, infinite or UNSEEN have no value: they are grey, and the range of colours takes
no notice of them. The edge of the sphere and the borders of pixels are lines. A globe has radius 1
around (0, 0) of its axes, a whole-sky map reaches from -2 to 2 and from -1 to 1.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Ellipse, PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix import check_order, is_unseen, npix_to_nside, reorder, vector_to_pixel
from skytutor.memo import cached_table
from skytutor.plot.borders import border_lines, globe_path, mollweide_path
from skytutor.plot.style import CMAP, HOLE, PLAIN_TEXT, SIGNED
from skytutor.validate import one_of

_DOTS = 640  # of a picture from top to bottom: twice what a figure of several globes shows
_LINE_WIDTH = 0.6  # of borders and of the sphere's edge, in points
_EDGE = "0.55"  # of the sphere, seen on light and on dark pages


def _frame(centre_deg: tuple[float, float]) -> NDArray[np.float64]:
    """Return the directions that point east, north and to the reader, the rows of ``(3, 3)``."""
    a, b = (math.radians(angle) for angle in centre_deg)  # longitude, latitude
    east = [-math.sin(a), math.cos(a), 0.0]
    north = [-math.sin(b) * math.cos(a), -math.sin(b) * math.sin(a), math.cos(b)]
    reader = [math.cos(b) * math.cos(a), math.cos(b) * math.sin(a), math.sin(b)]
    return np.array([east, north, reader])


def _orthographic(centre_deg: tuple[float, float], dots: int) -> Tensor:
    """Return directions ``(dots, dots, 3)`` of the dots of a globe, rows downwards.

    Dots outside the disc show what lies at its edge: the picture is cut along a circle.

    Arguments:
        centre_deg: longitude and latitude of the middle.
        dots: of the figure along each side.
    """
    line = (torch.arange(dots, dtype=torch.float64) + 0.5) / dots * 2 - 1
    down, right = torch.meshgrid(line, line, indexing="ij")
    far = (right**2 + down**2).sqrt().clamp(min=1)
    # Seen from far away the sphere is a disc: what is missing to length 1 points to the reader.
    depth = (1 - right**2 - down**2).clamp(min=0).sqrt()
    # East is left.
    in_frame = torch.stack([-right / far, -down / far, depth], dim=-1)
    return in_frame @ torch.from_numpy(_frame(centre_deg))


def _mollweide(dots: int) -> Tensor:
    """Return directions ``(dots, 2 dots, 3)`` of the dots of a whole-sky map, rows downwards.

    With t the auxiliary angle of the projection, ``sin(t)`` is the height in the ellipse and
    ``2 t + sin(2 t) = pi z``. Dots outside the ellipse show what lies at its edge.
    """
    down = (torch.arange(dots, dtype=torch.float64) + 0.5) / dots * 2 - 1
    right = (torch.arange(2 * dots, dtype=torch.float64) + 0.5) / dots * 2 - 2
    down, right = torch.meshgrid(down, right, indexing="ij")
    t = torch.asin(down)  # counted downwards, hence the sign of z
    z = (-(2 * t + torch.sin(2 * t)) / math.pi).clamp(-1, 1)
    lon = (-math.pi * right / (2 * t.cos())).clamp(-math.pi, math.pi)  # east is left
    equatorial = (1 - z * z).sqrt()  # length of a direction's part in the plane of the equator
    return torch.stack([equatorial * lon.cos(), equatorial * lon.sin(), z], -1)


@cached_table(maxsize=4)
def _pixels(centre_deg: tuple[float, float] | None, nside: int) -> Tensor:
    """Return the NESTED pixel of each dot: of a globe, or of the whole sky without a middle.

    Figures show many maps in the same way, hence the cache.
    """
    directions = _mollweide(_DOTS) if centre_deg is None else _orthographic(centre_deg, _DOTS)
    pixel = vector_to_pixel(directions.reshape(-1, 3), nside=nside, order="nested")
    return pixel.view(directions.shape[:2])


def _nside_of(values: Tensor) -> int:
    """Return the nside of a map that is drawn."""
    try:
        return npix_to_nside(len(values))
    except ValueError as error:
        raise ValueError(f"values must be a whole map: {error}") from None


def _colours(values: Tensor, imshow_options: dict[str, Any], *, signed: bool) -> dict[str, Any]:
    """Return options for ``imshow`` with the colour map, and for signed data the range, set."""
    options = {"cmap": SIGNED if signed else CMAP, **imshow_options}
    options["cmap"] = _with_holes(options["cmap"])
    if not signed or "norm" in options:
        return options
    # Zero is white: both ends are equally far from it.
    ends = [abs(options[name]) for name in ("vmin", "vmax") if options.get(name) is not None]
    if len(ends) == 2 and options["vmin"] != -options["vmax"]:
        raise ValueError(
            "of signed data vmin is -vmax (give vmax alone), "
            f"got {options['vmin']} and {options['vmax']}"
        )
    ends = ends or [float(values.abs().nan_to_num(0, 0, 0).max())]
    top = ends[-1] or 1.0  # a map of zeros has a range too
    return options | {"vmin": -top, "vmax": top}


def _with_holes(cmap: str | Colormap | None) -> Colormap:
    """Return a colour map that shows pixels without a value, in its own colour or in grey."""
    # None is matplotlib's own default.
    found = matplotlib.colormaps.get_cmap(cmap or matplotlib.rcParams["image.cmap"])
    # matplotlib's own maps leave them transparent.
    return found if found.get_bad()[3] > 0 else found.with_extremes(bad=HOLE)


class _View(NamedTuple):
    """One way to show the sphere.

    Attributes:
        pixels: nside to the NESTED pixel of each dot, rows downwards.
        half: of the picture's width, its height being 2.
        cut: lines on the sphere to what is seen of them.
    """

    pixels: Callable[[int], Tensor]
    half: int
    cut: Callable[[NDArray[np.float64]], Path]


def _draw(
    ax: Axes,
    values: Tensor,
    *,
    order: str,
    view: _View,
    borders: str | None,
    line: str,
    signed: bool,
    imshow_options: dict[str, Any],
) -> AxesImage:
    """Draw a map ``(P,)`` in the way that `view` says; return the image."""
    check_order(order, allowed=("ring", "nested"))
    if isinstance(values, np.ma.MaskedArray):
        values = values.astype(np.float64).filled(np.nan)  # what is masked shows as a hole
    values = as_tensor("values", values, dtype=torch.float64)
    if values.dim() != 1:
        raise ValueError(f"values must be one map of shape (P,), got shape {tuple(values.shape)}")
    if borders is not None:
        one_of("borders", borders, allowed=("base", "pixel"))
    nside = _nside_of(values)
    nested = reorder(values.detach().cpu(), source=order, target="nested")
    nested = torch.where(nested.isfinite() & ~is_unseen(nested), nested, torch.nan)
    picture = nested[view.pixels(nside)]
    options = _colours(nested, imshow_options, signed=signed)
    extent = (-view.half, view.half, -1, 1)
    image = ax.imshow(picture.numpy(), interpolation="nearest", extent=extent, **options)
    # The edge of the sphere is a line too: dots would make it a staircase.
    style = {"fill": False, "linewidth": _LINE_WIDTH}
    # Colours like the page's would leave the sphere without an edge.
    edge = Ellipse((0, 0), 2 * view.half, 2, edgecolor=_EDGE, clip_on=False, **style)
    ax.add_patch(edge)
    image.set_clip_path(edge)
    if borders is not None:
        path = view.cut(border_lines(nside, kind=borders))
        lines = ax.add_patch(PathPatch(path, edgecolor=line, joinstyle="round", **style))
        lines.set_clip_path(edge)
    ax.set_axis_off()
    return image


def globe(
    ax: Axes,
    values: Tensor,
    *,
    order: str,
    centre_deg: tuple[float, float] = (0.0, 0.0),
    borders: str | None = None,
    line: str = "0.8",
    signed: bool = False,
    **imshow_options: Any,
) -> AxesImage:
    """Draw the half of a map ``(P,)`` around `centre_deg` (longitude, latitude).

    Arguments:
        ax: where to draw.
        values: the map, in any unit; pixels that are NaN, infinite or UNSEEN are shown as holes.
        order: "ring" or "nested".
        centre_deg: longitude and latitude of the middle.
        borders: None, "base" for the twelve base pixels, "pixel" for every pixel.
        line: colour of the borders, as matplotlib names colours.
        signed: show zero as white, what is below as blue, what is above as red, as far to either
            side as the largest absolute value, or `vmax`, says.
        **imshow_options: passed to ``imshow`` (cmap, vmin, vmax).

    Returns:
        the image, for `colour_bar`.

    Raises:
        ValueError: a number of pixels that no nside has, more than one map, another order, other
            borders, or a range of signed data whose middle is not zero.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, ax = plt.subplots()
        >>> globe(ax, torch.arange(12.0) - 3, order="ring", signed=True).get_clim()
        (-8.0, 8.0)
        >>> plt.close(figure)
    """
    lon, lat = (float(angle) for angle in centre_deg)
    view = _View(partial(_pixels, (lon, lat)), 1, partial(globe_path, frame=_frame((lon, lat))))
    return _draw(
        ax,
        values,
        order=order,
        view=view,
        borders=borders,
        line=line,
        signed=signed,
        imshow_options=imshow_options,
    )


def mollweide(
    ax: Axes,
    values: Tensor,
    *,
    order: str,
    borders: str | None = None,
    line: str = "0.8",
    signed: bool = False,
    **imshow_options: Any,
) -> AxesImage:
    """Draw a whole map ``(P,)`` in the Mollweide projection: equal areas stay equal, east is left.

    Arguments:
        ax: where to draw.
        values: the map, in any unit, with holes as in `globe`.
        order: "ring" or "nested".
        borders: as in `globe`.
        line: as in `globe`.
        signed: as in `globe`.
        **imshow_options: passed to ``imshow`` (cmap, vmin, vmax).

    Returns:
        the image, for `colour_bar`.

    Raises:
        ValueError: as `globe`.
    """
    return _draw(
        ax,
        values,
        order=order,
        view=_View(partial(_pixels, None), 2, mollweide_path),
        borders=borders,
        line=line,
        signed=signed,
        imshow_options=imshow_options,
    )


def colour_bar(
    figure: Figure,
    image: ScalarMappable,
    axes: Axes | Iterable[Axes],
    *,
    label: str,
    math_text: bool = True,
    **colorbar_options: Any,
) -> None:
    """Add a colour bar to a figure.

    Arguments:
        figure: that of the axes.
        image: what the bar explains, as `globe` and `mollweide` return it.
        axes: those that give room for the bar.
        label: names the quantity and its unit.
        math_text: read what stands between dollar signs in `label` as an equation; False shows it
            as it is.
        **colorbar_options: passed to ``Figure.colorbar``.
    """
    options = {"shrink": 0.8, "pad": 0.02, **colorbar_options}
    bar = figure.colorbar(image, ax=axes, **options)
    text_options: dict[str, Any] = {} if math_text else PLAIN_TEXT
    bar.set_label(label, **text_options)
    bar.outline.set_visible(False)
