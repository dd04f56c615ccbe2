"""A sphere to turn by hand, and its picture for paper.

`view` shows maps on it, in a live notebook and in a page that has no kernel; `figure` draws a
picture of them.
"""

import base64
import html
import io
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from skytutor import plot
from skytutor.healpix import order_table
from skytutor.validate import one_of
from skytutor.widgets import settings
from skytutor.widgets.model import Sphere, colour_stops
from skytutor.widgets.saved import SavedPage, as_ascii
from skytutor.widgets.skies import EncodedMaps, by_title, title_of_all
from skytutor.widgets.words import plain_text


def view(
    maps: Any,
    *,
    nside: int,
    order: str,
    unit: str = "",
    title: str = "",
    mask: Any = None,
    polarisation: Sequence[Any] | None = None,
    convention: str = "COSMO",
    lon_deg: float = 0.0,
    lat_deg: float = 0.0,
    zoom: float = 1.0,
    projection: str = "globe",
    cmap: str = "cividis",
    scaling: str = "linear",
    value_range: Any = None,
    graticule: bool = False,
    borders: bool = False,
    swipe: bool = False,
    auto_turn: bool = False,
    height: int = 340,
    frame_labels: Sequence[str] | None = None,
    fps: float = 6.0,
    controls: bool = True,
) -> Sphere:
    """Show maps on a sphere that can be turned by mouse, finger and keyboard.

    With a kernel it is a widget: Python sees the chosen pixel and the view, and can set them. Its
    output holds the map and the script too, as HTML, so a built book or a saved page shows the same
    sphere without kernel and network. A book that is built and a notebook that nbconvert runs get
    the HTML alone.

    Arguments:
        maps: one map ``(P,)``; frames of one ``(F, P)``; or several side by side, as a dict by
            title or a list. Tensors, arrays or masked arrays. NaN, masked and UNSEEN pixels are
            shown grey; other values may be as large as 1e300.
        nside: resolution, a power of two up to 512; the same for all maps.
        order: "ring" or "nested"; the same for all maps, mask and polarisation.
        unit: shown beside the values. It, titles and labels are plain text, dollar signs and all.
        title: shown above the sphere; the maps of a list are numbered after it, those of a dict
            have their own below it.
        mask: ``(P,)``, true where the sky is seen; the rest is hatched.
        polarisation: the pair (Q, U), each ``(P,)``, drawn as lines without heads, averaged to
            about 20 dots apart.
        convention: of U's sign, "COSMO" (HEALPix, healpy) or "IAU".
        lon_deg: longitude of the middle, degrees, east positive.
        lat_deg: its latitude, degrees.
        zoom: 1 shows the whole sphere, or 38 degrees of a gnomonic view.
        projection: "globe", "mollweide" or "gnomonic".
        cmap: "cividis", "viridis", "magma", "blue-red", "grey", "planck", or a name that matplotlib
            knows.
        scaling: "linear", "symlog" (linear below a hundredth of the largest value) or "histogram"
            (equal areas).
        value_range: ends of the colours; None for all values, "symmetric" around zero, or a pair.
        graticule: show a grid of longitude and latitude.
        borders: show the borders of the base pixels.
        swipe: with two maps, lay them over each other with a border to move.
        auto_turn: let the sphere turn by itself, 6 degrees a second, until it is touched, clicked,
            zoomed or given a key. It waits under a mouse that reads pixels and while it is out of
            sight, and stands still for readers who ask for reduced motion.
        height: of the sphere, in CSS pixels.
        frame_labels: a name for each frame.
        fps: frames a second when they play.
        controls: False leaves a bare globe of less than half the script. Otherwise one button
            opens the controls; the player of frames, the border of `swipe` and the colours stay in
            sight.

    Returns:
        The sphere. A notebook shows it when it is the last value of a cell.

    Raises:
        TypeError, ValueError: naming the argument, what came and what is allowed.

    Example:
        >>> import torch
        >>> globe = view(torch.arange(48.0), nside=2, order="nested", unit="K", title="Numbers")
        >>> globe.pixel = 5
        >>> globe.low, globe.high
        (0.0, 47.0)
    """
    encoded = EncodedMaps(
        by_title(maps, title),
        nside=nside,
        order=order,
        mask=mask,
        polarisation=polarisation,
        convention=convention,
    )
    state = settings.direction(lon_deg, lat_deg, zoom=zoom, projection=projection) | {"frame": 0}
    state |= settings.colours(encoded, value_range, cmap=cmap, scaling=scaling)
    state |= settings.overlays(encoded, graticule, borders=borders, swipe=swipe, turn=auto_turn)
    spec = settings.spec(encoded, unit, title=title_of_all(maps, title), state=state)
    spec |= settings.player(encoded, fps, height=height, labels=frame_labels)
    return Sphere(encoded, spec, controls=controls, **state)


class StaticFigure(SavedPage):
    """A picture of maps for paper, with words for readers who do not see it.

    Arguments:
        drawn: the picture; it is closed.
        alt: the words.

    Attributes:
        png: the picture as bytes of PNG.
        alt: the words.
    """

    def __init__(self, drawn: Figure, alt: str):
        store = io.BytesIO()
        drawn.savefig(store, format="png")
        plt.close(drawn)
        self.png = store.getvalue()
        self.alt = alt

    def _repr_html_(self) -> str:
        """Return the picture as HTML with the alt text."""
        image = base64.b64encode(self.png).decode("ascii")
        return (
            f'<img alt="{as_ascii(html.escape(self.alt))}" src="data:image/png;base64,{image}" '
            'style="max-width:100%">'
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Return the picture for a notebook: as HTML with the alt text, as PNG, and the words."""
        image = base64.b64encode(self.png).decode("ascii")
        return {"text/html": self._repr_html_(), "image/png": image, "text/plain": self.alt}


def _lines(text: str, width: int) -> str:
    """Break text for a picture into at most three lines of about `width` letters.

    What is cut off can be read in the alt text.
    """
    width = max(width, 8)
    written = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    lines = []
    for part in written.split("\n"):
        lines += textwrap.wrap(part, width) or [""]
    if len(lines) > 3:
        lines = [*lines[:2], lines[2][: width - 1] + "…"]
    return "\n".join(lines)


def _headed(drawn: Figure, title: str, words: str) -> str:
    """Draw the title of several maps above them; return the words for it and for them."""
    if not title:
        return words
    drawn.suptitle(_lines(title, 70), **plot.PLAIN_TEXT)
    return f"{title}. {words}"


def _colour_map(cmap: str) -> LinearSegmentedColormap:
    """Return a colour map of the script for matplotlib."""
    stops = colour_stops(cmap)
    colours = ["#" + stops[k : k + 6] for k in range(0, len(stops), 6)]
    return LinearSegmentedColormap.from_list(cmap, colours)


def _style(cmap: str, ends: tuple[float, float], *, borders: bool) -> dict[str, Any]:
    """Return how `skytutor.plot` is to draw a map."""
    low, high = ends
    return {
        "cmap": _colour_map(cmap),
        "vmin": low,
        "vmax": high,
        "borders": "base" if borders else None,
        "order": "nested",
    }


def figure(
    maps: Any,
    *,
    nside: int,
    order: str,
    unit: str = "",
    title: str = "",
    projection: str = "mollweide",
    lon_deg: float = 0.0,
    lat_deg: float = 0.0,
    cmap: str = "cividis",
    value_range: Any = None,
    borders: bool = False,
) -> StaticFigure:
    """Draw what `view` shows as a picture with a colour bar and alt text, frames side by side.

    Arguments:
        maps: one map ``(P,)``; frames of one ``(F, P)``; or several, as a dict by title or a list.
        nside: resolution, a power of two up to 512; the same for all maps.
        order: "ring" or "nested"; the same for all maps.
        unit: below the colour bar.
        title: above the map; as in `view` for several.
        projection: "mollweide" or "globe".
        lon_deg: longitude of a globe's middle, degrees, east positive.
        lat_deg: its latitude, degrees.
        cmap: as in `view`.
        value_range: ends of the colours, as in `view`.
        borders: draw the borders of the base pixels.

    Returns:
        The picture. A notebook shows it when it is the last value of a cell.

    Raises:
        TypeError, ValueError: as `view`.

    Example:
        >>> import torch
        >>> figure(torch.arange(12.0), nside=1, order="ring", unit="K", title="Numbers").alt[:32]
        'HEALPix, Nside 1, 12 pixels of 5'
    """
    encoded = EncodedMaps(by_title(maps, title), nside=nside, order=order)
    one_of("projection", projection, allowed=("mollweide", "globe"))
    style = _style(cmap, settings.colour_ends(value_range, encoded), borders=borders)
    draw: Callable[..., AxesImage] = plot.mollweide
    if projection == "globe":
        draw = partial(plot.globe, centre_deg=(lon_deg, lat_deg))
    unit = plain_text("unit", unit)
    panels = [(name, frame) for name, faces in encoded.shown.items() for frame in faces]
    drawn, axes = plt.subplots(
        1, len(panels), figsize=(7, 3.6), squeeze=False, layout="constrained"
    )
    nested = order_table(nside, source="face", target="nested").numpy()
    for ax, (name, faces) in zip(axes[0], panels, strict=True):
        values = torch.from_numpy(faces.ravel()[nested])  # (P,), NESTED
        image = draw(ax, values, **style)
        ax.set_title(_lines(name, 70 // len(panels)), **plot.PLAIN_TEXT)
    plot.colour_bar(
        drawn,
        image,
        axes[0].tolist(),
        label=_lines(unit or "value", 56),
        math_text=False,
        orientation="horizontal",
    )
    return StaticFigure(drawn, _headed(drawn, title_of_all(maps, title), encoded.summary(unit)))
