"""Static figures of the sphere: globes, whole-sky maps, borders, colour bars with a unit.

The sphere is seen from inside, as maps of the sky are drawn: east is left. Every picture is made by
asking, for each dot of the figure, which pixel lies there; no pixel is interpolated or smoothed.
"""

import math
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from skytutor.healpix import check_order, npix_to_nside, reorder, vector_to_pixel

CMAP = "cividis"  # even in lightness, and the same to colour-blind readers
PLAIN_TEXT = {"parse_math": False, "usetex": False}  # of a text: a dollar sign is a dollar sign
_DOTS = 320  # of a figure from top to bottom


def style() -> None:
    """Set matplotlib's defaults for the book.

    Sizes stay legible on a telephone, and the layout is constrained.
    """
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.grid": False,
            "image.cmap": CMAP,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "savefig.facecolor": "white",
            "axes.prop_cycle": plt.cycler(
                color=["#0b5394", "#c1570a", "#3c763d", "#7b2d8b", "#5f5f5f"]
            ),
        }
    )


def _orthographic(lon: float, lat: float, dots: int) -> tuple[Tensor, Tensor]:
    """Return directions ``(dots, dots, 3)`` and which dots show the sphere, ``(dots, dots)``.

    Arguments:
        lon: longitude of the middle, degrees.
        lat: latitude of the middle, degrees.
        dots: of the figure along each side.
    """
    line = (torch.arange(dots, dtype=torch.float64) + 0.5) / dots * 2 - 1
    down, right = torch.meshgrid(line, line, indexing="ij")
    inside = right**2 + down**2 < 1
    # Seen from far away the sphere is a disc: what is missing to length 1 points to the reader.
    depth = (1 - right**2 - down**2).clamp(min=0).sqrt()
    a = math.radians(lon)
    b = math.radians(lat)
    east = torch.tensor([-math.sin(a), math.cos(a), 0.0], dtype=torch.float64)
    north = torch.tensor(
        [-math.sin(b) * math.cos(a), -math.sin(b) * math.sin(a), math.cos(b)], dtype=torch.float64
    )
    centre = torch.tensor(
        [math.cos(b) * math.cos(a), math.cos(b) * math.sin(a), math.sin(b)], dtype=torch.float64
    )
    # East is left.
    directions = -right[..., None] * east - down[..., None] * north + depth[..., None] * centre
    return directions, inside


def _mollweide(dots: int) -> tuple[Tensor, Tensor]:
    """Return directions ``(dots, 2 dots, 3)`` and which dots show the sphere, ``(dots, 2 dots)``.

    With t the auxiliary angle of the projection, ``sin(t)`` is the height in the ellipse and
    ``2 t + sin(2 t) = pi z``.
    """
    down = (torch.arange(dots, dtype=torch.float64) + 0.5) / dots * 2 - 1
    right = (torch.arange(2 * dots, dtype=torch.float64) + 0.5) / dots * 2 - 2
    down, right = torch.meshgrid(down, right, indexing="ij")
    t = torch.asin(down.clamp(-1, 1))  # counted downwards, hence the sign of z
    z = (-(2 * t + torch.sin(2 * t)) / math.pi).clamp(-1, 1)
    lon = -math.pi * right / (2 * t.cos().clamp(min=1e-9))  # east is left
    equatorial = (1 - z * z).sqrt()  # length of a direction's part in the plane of the equator
    directions = torch.stack([equatorial * lon.cos(), equatorial * lon.sin(), z], -1)
    return directions, right**2 / 4 + down**2 < 1


def _draw(
    ax: Axes,
    values: Tensor,
    *,
    order: str,
    projection: tuple[Tensor, Tensor],
    borders: str | None,
    line: str,
    imshow_options: dict[str, Any],
) -> AxesImage:
    """Draw a map ``(P,)`` where `projection`, directions and a mask, says; return the image."""
    check_order(order, allowed=("ring", "nested"))
    if values.dim() != 1:
        raise ValueError(f"values must be one map of shape (P,), got shape {tuple(values.shape)}")
    directions, inside = projection
    nside = npix_to_nside(len(values))
    nested = reorder(values.detach().cpu().double(), source=order, target="nested")
    pixel = vector_to_pixel(directions.reshape(-1, 3), nside=nside, order="nested")
    pixel = pixel.view(inside.shape)  # of each dot
    picture = torch.where(inside, nested[pixel], torch.nan)
    options = {"cmap": CMAP, **imshow_options}
    image = ax.imshow(picture.numpy(), interpolation="nearest", **options)
    if borders:
        label = pixel // (nside * nside) if borders == "base" else pixel
        _draw_borders(ax, label, inside=inside, line=line)
    ax.set_axis_off()
    return image


def _draw_borders(ax: Axes, label: Tensor, *, inside: Tensor, line: str) -> None:
    """Draw where the label changes between a dot and the next to the right or below."""
    edge = torch.zeros_like(inside)
    edge[:, :-1] |= label[:, :-1] != label[:, 1:]
    edge[:-1] |= label[:-1] != label[1:]
    # A second picture on top: one colour, opaque on the borders and transparent elsewhere.
    ink = torch.zeros(*inside.shape, 4)  # red, green, blue, opacity
    ink[..., :3] = torch.tensor(to_rgb(line))
    ink[..., 3] = (edge & inside).float()
    ax.imshow(ink.numpy(), interpolation="nearest")


def globe(
    ax: Axes,
    values: Tensor,
    *,
    order: str,
    centre_deg: tuple[float, float] = (0.0, 0.0),
    borders: str | None = None,
    line: str = "0.8",
    **imshow_options: Any,
) -> AxesImage:
    """Draw the half of a map ``(P,)`` around `centre_deg` (longitude, latitude).

    Arguments:
        ax: where to draw.
        values: the map, in any unit.
        order: "ring" or "nested".
        centre_deg: longitude and latitude of the middle.
        borders: None, "base" for the twelve base pixels, "pixel" for every pixel.
        line: colour of the borders, as matplotlib names colours.
        **imshow_options: passed to ``imshow`` (cmap, vmin, vmax).

    Returns:
        the image, for `colour_bar`.

    Raises:
        ValueError: a number of pixels that no nside has, more than one map, or another order.
    """
    lon, lat = centre_deg
    return _draw(
        ax,
        values,
        order=order,
        projection=_orthographic(lon, lat, _DOTS),
        borders=borders,
        line=line,
        imshow_options=imshow_options,
    )


def mollweide(
    ax: Axes,
    values: Tensor,
    *,
    order: str,
    borders: str | None = None,
    line: str = "0.8",
    **imshow_options: Any,
) -> AxesImage:
    """Draw a whole map ``(P,)`` in the Mollweide projection: equal areas stay equal, east is left.

    Arguments:
        ax: where to draw.
        values: the map, in any unit.
        order: "ring" or "nested".
        borders: as in `globe`.
        line: as in `globe`.
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
        projection=_mollweide(_DOTS),
        borders=borders,
        line=line,
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
