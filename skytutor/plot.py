"""Static figures of the sphere: globes and whole-sky maps from tensors, borders, colour bars with a unit.

The sphere is seen from inside, as maps of the sky are drawn: east is left. Every picture is made by
asking, for each dot of the figure, which pixel lies there; no pixel is interpolated or smoothed.
"""

import math
from collections.abc import Iterable

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
_DOTS = 320


def style() -> None:
    """Set matplotlib's defaults for the book: sizes that stay legible on a telephone, constrained layout."""
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
    """Directions ``(dots, dots, 3)`` and which dots show the sphere."""
    line = (torch.arange(dots, dtype=torch.float64) + 0.5) / dots * 2 - 1
    down, right = torch.meshgrid(line, line, indexing="ij")
    seen = right**2 + down**2 < 1
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
    return -right[..., None] * east - down[..., None] * north + depth[..., None] * centre, seen


def _mollweide(dots: int) -> tuple[Tensor, Tensor]:
    down = (torch.arange(dots, dtype=torch.float64) + 0.5) / dots * 2 - 1
    right = (torch.arange(2 * dots, dtype=torch.float64) + 0.5) / dots * 2 - 2
    down, right = torch.meshgrid(down, right, indexing="ij")
    t = torch.asin(down.clamp(-1, 1))
    z = (-(2 * t + torch.sin(2 * t)) / math.pi).clamp(-1, 1)
    lon = -math.pi * right / (2 * t.cos().clamp(min=1e-9))
    flat = (1 - z * z).sqrt()
    return torch.stack([flat * lon.cos(), flat * lon.sin(), z], -1), right**2 / 4 + down**2 < 1


def _draw(
    ax: Axes,
    sky: Tensor,
    order: str,
    where: tuple[Tensor, Tensor],
    borders: str | None,
    line: str,
    look: dict,
) -> AxesImage:
    check_order(order, allowed=("ring", "nested"))
    if sky.dim() != 1:
        raise ValueError(f"sky must be one map of shape (P,), got shape {tuple(sky.shape)}")
    directions, seen = where
    nside = npix_to_nside(len(sky))
    values = reorder(sky.detach().cpu().double(), source=order, target="nested")
    pixel = vector_to_pixel(directions.reshape(-1, 3), nside=nside, order="nested").view(seen.shape)
    picture = torch.where(seen, values[pixel], torch.nan)
    image = ax.imshow(picture.numpy(), interpolation="nearest", **{"cmap": CMAP, **look})
    if borders:
        _lines(ax, pixel // (nside * nside) if borders == "base" else pixel, seen, line)
    ax.set_axis_off()
    return image


def _lines(ax: Axes, label: Tensor, seen: Tensor, line: str) -> None:
    """Draw where the label changes between a dot and the next to the right or below."""
    edge = torch.zeros_like(seen)
    edge[:, :-1] |= label[:, :-1] != label[:, 1:]
    edge[:-1] |= label[:-1] != label[1:]
    ink = torch.zeros(*seen.shape, 4)
    ink[..., :3] = torch.tensor(to_rgb(line))
    ink[..., 3] = (edge & seen).float()
    ax.imshow(ink.numpy(), interpolation="nearest")


def globe(
    ax: Axes,
    sky: Tensor,
    *,
    order: str = "nested",
    centre_deg: tuple[float, float] = (0.0, 0.0),
    borders: str | None = None,
    line: str = "0.8",
    **look,
) -> AxesImage:
    """Draw the half of a map ``(P,)`` around `centre_deg` (longitude, latitude).

    Arguments:
        borders: None, "base" for the twelve base pixels, "pixel" for every pixel.
        line: colour of the borders, as matplotlib names colours.
        look: passed to ``imshow`` (cmap, vmin, vmax).
    """
    return _draw(ax, sky, order, _orthographic(*centre_deg, _DOTS), borders, line, look)


def mollweide(
    ax: Axes,
    sky: Tensor,
    *,
    order: str = "nested",
    borders: str | None = None,
    line: str = "0.8",
    **look,
) -> AxesImage:
    """Draw a whole map ``(P,)`` in the Mollweide projection: equal areas stay equal, east is left. See `globe`."""
    return _draw(ax, sky, order, _mollweide(_DOTS), borders, line, look)


def colour_bar(
    figure: Figure,
    image: ScalarMappable,
    axes: Axes | Iterable[Axes],
    *,
    label: str,
    math_text: bool = True,
    **how,
) -> None:
    """Add a colour bar; `label` names the quantity and its unit.

    Arguments:
        math_text: read what stands between dollar signs in `label` as an equation; False shows it
            as it is.
        how: passed to ``Figure.colorbar``.
    """
    bar = figure.colorbar(image, ax=axes, **{"shrink": 0.8, "pad": 0.02, **how})
    bar.set_label(label, **({} if math_text else PLAIN_TEXT))
    bar.outline.set_visible(False)
