"""Defaults of the book's figures: sizes, colours, colour maps of unsigned and of signed data.

``CMAP`` names the colour map of data without a sign, ``SIGNED`` the one of data with a sign: blue
below zero, white at zero, red above. Importing `skytutor.plot` makes matplotlib know it.
``LINE_COLOURS`` holds the colours of lines in the order of their use, and what the book shows for
each on a dark page.
"""

from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap

CMAP = "cividis"  # even in lightness, and the same to colour-blind readers
SIGNED = "skytutor-signed"  # blue below zero, red above: the sphere's "blue-red"
HOLE = "0.7"  # of pixels without a value: a grey that is on neither colour map
PLAIN_TEXT = {"parse_math": False, "usetex": False}  # of a text: a dollar sign is a dollar sign
# Lines in the order of their use, and what stands for each where the page is dark.
LINE_COLOURS = {
    "#0b5394": "#6cb1f0",  # blue
    "#c1570a": "#f29a4f",  # orange
    "#3c763d": "#79c47b",  # green
    "#7b2d8b": "#d194e0",  # violet
    "#5f5f5f": "#b3b3b3",  # grey
}
_SIGNED_STOPS = "053061 2065ab 4393c3 90c4dd d1e5f0 f7f6f6 fddbc7 f3a481 d6604d b1182b 67001f"
# Of pictures inside a vector figure: an inch is shown as 96 pixels, so this is more than twice.
_DOTS_PER_INCH = 200


def _register_signed() -> None:
    """Make matplotlib know the colour map of signed data by its name."""
    stops = ["#" + stop for stop in _SIGNED_STOPS.split()]
    # Who loads this module again finds it there, and matplotlib would warn of a second one.
    if SIGNED not in matplotlib.colormaps:
        matplotlib.colormaps.register(LinearSegmentedColormap.from_list(SIGNED, stops))


_register_signed()


def _draw_vectors_in_notebooks() -> None:
    """Make a notebook show figures as SVG; do nothing where there is no notebook."""
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is None:
        return
    # Without a date the same cell makes the same bytes again.
    options: dict[str, Any] = {"dpi": _DOTS_PER_INCH, "metadata": {"Date": None}}
    set_matplotlib_formats("svg", **options)


def style() -> None:
    """Set matplotlib's defaults for the book.

    Sizes stay legible on a telephone, and the layout is constrained. In a notebook figures are
    vectors (SVG); letters are drawn as paths, so that they look the same everywhere, and maps are
    pictures inside with twice the dots that a screen shows. A dot takes about a hundred bytes: a
    cloud of more than five thousand is better drawn with ``rasterized=True``.

    Example:
        >>> style()
        >>> plt.rcParams["image.cmap"]
        'cividis'
    """
    _draw_vectors_in_notebooks()
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
            "svg.fonttype": "path",
            "svg.hashsalt": "skytutor",  # names inside the file depend on what it shows alone
            "axes.prop_cycle": plt.cycler(color=list(LINE_COLOURS)),
        }
    )
