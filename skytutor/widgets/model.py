"""The model behind a sphere: the state that a kernel and a page share.

It also makes the HTML that stays when the kernel has ended.
"""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import PureWindowsPath
from typing import Any

import anywidget
import matplotlib
import numpy as np
import traitlets
from matplotlib.colors import to_hex

from skytutor.healpix import nested_to_ring, nside_to_npix, ring_to_nested
from skytutor.memo import cached_object
from skytutor.widgets import page
from skytutor.widgets.saved import PLAIN, SavedPage
from skytutor.widgets.skies import LARGEST, EncodedMaps, by_title

PROJECTIONS = ("globe", "mollweide", "gnomonic")
SCALINGS = ("linear", "symlog", "histogram")
# Set while a book is built: no kernel will answer its pages, so no model is made for one.
STATIC = "SKYTUTOR_STATIC"


def is_static() -> bool:
    """Tell whether what is shown goes to a page without a kernel.

    So it is while a book is built, and where nbconvert runs the notebook.
    """
    return bool(os.environ.get(STATIC)) or _run_by_nbconvert()


@cached_object(maxsize=1)
def _run_by_nbconvert() -> bool:
    """Tell whether nbconvert started this kernel.

    Its page would show a widget, if there is one, rather than HTML, and fetch the script for that
    from the network.
    """
    try:
        import psutil  # comes with ipykernel
    except ImportError:
        return False
    try:
        return _program(_parent_command()) in ("nbconvert", "jupyter-nbconvert")
    except (psutil.Error, OSError):
        # The process has ended, or is somebody else's: it is taken for one that shows widgets.
        return False


def _parent_command() -> list[str]:
    """Return the command line of the process that started this kernel."""
    import psutil

    number = os.environ.get("JPY_PARENT_PID", "")
    if os.name == "posix" and number.isdecimal():  # on Windows it is the number of a handle
        return psutil.Process(int(number)).cmdline()
    parent = psutil.Process().parent()
    # On Windows the python.exe of a virtual environment starts another one.
    while parent and _program(parent.cmdline()) == "ipykernel_launcher":
        parent = parent.parent()
    return parent.cmdline() if parent else []


def _program(command: list[str]) -> str:
    """Return the name of the program that a command line runs.

    Of Python it is the script or the module that Python runs. Arguments are never taken for it.
    """
    words = iter(command)
    name = PureWindowsPath(next(words, "")).stem  # knows both kinds of slash
    if not name.lower().startswith("python"):
        return name
    for word in words:
        if word == "-m":
            return next(words, "")
        if word in ("-W", "-X"):
            next(words, "")
        elif not word.startswith("-"):
            return PureWindowsPath(word).stem
    return ""


def colour_stops(cmap: str) -> str:
    """Return the colours of a colour map as hexadecimal digits, six for each colour stop.

    Stops are equally far from each other, the first at the lowest value. The script has stops of
    its own for the maps it knows; of matplotlib's there are 17.

    Arguments:
        cmap: name of a colour map.

    Raises:
        ValueError: neither the script nor matplotlib knows it.
    """
    palettes = page.palettes()
    if cmap in palettes:
        return palettes[cmap]
    try:
        colours = matplotlib.colormaps[cmap](np.linspace(0, 1, 17))
    except (KeyError, TypeError):
        raise ValueError(
            f"cmap must be one of {', '.join(palettes)} or a name that matplotlib knows, "
            f"got {cmap!r}"
        ) from None
    return "".join(to_hex(colour)[1:] for colour in colours)


class Sphere(SavedPage, anywidget.AnyWidget):
    """A view of maps on the sphere, made by `view`.

    Its attributes can be read, set and observed while it is shown.

    Arguments:
        encoded: the maps.
        spec: what the page needs to know of them.
        controls: False for a bare globe.
        state: first values of the attributes.

    Attributes:
        lon, lat: direction in the middle, degrees.
        zoom: 1 shows the whole sphere.
        projection: "globe", "mollweide" or "gnomonic".
        pixel: number of the chosen pixel in the order of the maps, -1 for none; a click sets it.
        frame: number of the frame shown.
        low, high: ends of the colours, in the map's unit.
        cmap, scaling, graticule, borders, pixels, mask, vectors: what is shown, and how; see
            `view`.
        palette: colours of `cmap`, set with it.
        swipe: with two maps, where the second begins on the canvas, 0 to 1; -1 shows them side by
            side.
        auto_turn: the globe turns by itself. `lon` is told where it stands when a hand has stopped
            it; that makes this False.
    """

    spec = traitlets.Unicode().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    lon = traitlets.Float(0.0).tag(sync=True)
    lat = traitlets.Float(0.0, min=-90, max=90).tag(sync=True)
    zoom = traitlets.Float(1.0, min=0.5, max=400).tag(sync=True)
    projection = traitlets.Enum(PROJECTIONS, "globe").tag(sync=True)
    frame = traitlets.Int(0, min=0).tag(sync=True)
    low = traitlets.Float(0.0).tag(sync=True)
    high = traitlets.Float(1.0).tag(sync=True)
    cmap = traitlets.Unicode("cividis").tag(sync=True)
    palette = traitlets.Unicode().tag(sync=True)
    scaling = traitlets.Enum(SCALINGS, "linear").tag(sync=True)
    graticule = traitlets.Bool(False).tag(sync=True)
    borders = traitlets.Bool(False).tag(sync=True)
    pixels = traitlets.Bool(True).tag(sync=True)
    mask = traitlets.Bool(True).tag(sync=True)
    vectors = traitlets.Bool(True).tag(sync=True)
    swipe = traitlets.Float(-1.0, min=-1, max=1).tag(sync=True)
    nested = traitlets.Int(-1, min=-1).tag(sync=True)
    auto_turn = traitlets.Bool(False).tag(sync=True)
    pixel = traitlets.Int(-1, min=-1)
    _ipython_display_ = None  # that of ipywidgets 7 (Colab) would leave the HTML out

    def __init__(self, encoded: EncodedMaps, spec: dict[str, Any], *, controls: bool, **state: Any):
        self._esm = page.script(controls=controls)
        self.encoded = encoded
        self._spec = spec
        self._controls = controls
        super().__init__(data=encoded.data, **state)
        self.spec = page.settings(spec, encoded.data)
        for name in ("sky-live", *PLAIN):
            self.add_class(name)

    def open(self) -> None:
        """Tell the page of this model, but for a book that is being built."""
        if not is_static():
            super().open()

    def show(self, maps: Any) -> None:
        """Put other maps in the place of these. Colours and view stay.

        Arguments:
            maps: as those of `view`; as many as are shown, with the same nside, order and frames.
                Maps of a dict go to the place of their title, those of a list take the places in
                turn.

        Raises:
            ValueError: as `view`, or a dict of other titles, or another number of maps or frames.
        """
        old = self.encoded
        encoded = EncodedMaps(self._in_place(maps), nside=old.nside, order=old.order)
        if encoded.frames != old.frames:
            raise ValueError(f"maps must have {old.frames} frames as before, got {encoded.frames}")
        for entry in old.entries:
            if "role" in entry:  # a mask or a polarisation, which stay
                encoded.adopt(entry, old.data)
        words = {"maps": encoded.entries, "summary": encoded.summary(self._spec["unit"])}
        self.encoded = encoded
        self._spec = self._spec | words
        with self.hold_sync():  # the page gets both at once
            self.spec = page.settings(self._spec, encoded.data)
            self.data = encoded.data

    def _in_place(self, maps: Any) -> dict[str, Any]:
        """Return new maps by the titles of those that are shown, in their order."""
        titles = list(self.encoded.shown)
        new = by_title(maps, titles[0])
        if isinstance(maps, Mapping):
            if set(new) != set(titles):
                raise ValueError(
                    f"maps must have the titles of the maps shown, {titles}, got {list(new)}"
                )
            new = {title: new[title] for title in titles}
        if len(new) != len(titles):
            raise ValueError(f"maps must be as many as before, {len(titles)}, got {len(new)}")
        return dict(zip(titles, new.values(), strict=True))

    @traitlets.validate("pixel", "nested")
    def _check_pixel(self, proposal: Any) -> int:
        """Refuse a pixel that the maps do not have."""
        nside = self.encoded.nside
        npix = nside_to_npix(nside)
        if proposal["value"] >= npix:
            raise traitlets.TraitError(
                f"pixel must lie in -1..{npix - 1} for nside {nside}, got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("frame")
    def _check_frame(self, proposal: Any) -> int:
        """Refuse a frame that the maps do not have."""
        if proposal["value"] >= self.encoded.frames:
            raise traitlets.TraitError(
                f"frame must lie in 0..{self.encoded.frames - 1}, got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("lon", "lat", "zoom", "low", "high", "swipe")
    def _check_finite(self, proposal: Any) -> float:
        """Refuse what the page cannot compute with."""
        name = proposal["trait"].name
        value = proposal["value"]
        if not math.isfinite(value):
            raise traitlets.TraitError(f"{name} must be a finite number, got {value}")
        if abs(value) > LARGEST:
            raise traitlets.TraitError(f"{name} must be at most {LARGEST:g} in size, got {value}")
        return value

    @traitlets.validate("cmap")
    def _check_cmap(self, proposal: Any) -> str:
        """Refuse an unknown colour map; set the palette with a known one."""
        self.palette = colour_stops(proposal["value"])
        return proposal["value"]

    @traitlets.observe("pixel")
    def _to_page(self, change: Any) -> None:
        """Give the page, which counts in NESTED order, the pixel that Python chose."""
        self.nested = self._renumber(ring_to_nested, change["new"])

    @traitlets.observe("nested")
    def _from_page(self, change: Any) -> None:
        """Give Python, in the order of the maps, the pixel that a click chose."""
        self.pixel = self._renumber(nested_to_ring, change["new"])

    def _renumber(self, convert: Callable[..., Any], pix: int) -> int:
        """Convert the number of a pixel where the maps are not NESTED; -1 stands for none."""
        if pix < 0 or self.encoded.order == "nested":
            return pix
        return int(convert(np.int64(pix), nside=self.encoded.nside))

    def html(self) -> str:
        """Return the sphere as it stands now as HTML with map and script inside.

        It needs no kernel, no network and no other file. It is a part of a page; `save` writes a
        whole one.
        """
        state = {name: getattr(self, name) for name in self._spec["state"]}
        spec = self._spec | {"state": state}
        return page.static_html(spec, self.encoded.data, controls=self._controls)

    def _repr_html_(self) -> str:
        """Return the HTML of a page without a kernel."""
        return self.html()

    def _page_title(self) -> str:
        """Return the title of all maps, or those of each."""
        return (
            self._spec["title"] or ", ".join(filter(None, self.encoded.shown)) or "Map of the sky"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the live widget for a page with a kernel, and HTML for one without."""
        static = {"text/html": self.html(), "text/plain": self._spec["summary"]}
        live = None if is_static() else super()._repr_mimebundle_(**kwargs)
        if isinstance(live, tuple):
            return live[0] | static, live[1]
        return (live or {}) | static
