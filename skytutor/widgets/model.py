"""The model behind a sphere: what a kernel and a page tell each other, and the HTML that stays when the kernel is gone."""

import math
import os
from collections.abc import Mapping
from functools import cache
from pathlib import PureWindowsPath
from typing import Any

import anywidget
import matplotlib
import numpy as np
import traitlets
from matplotlib.colors import to_hex

from skytutor.healpix import nested_to_ring, nside_to_npix, ring_to_nested
from skytutor.widgets import page
from skytutor.widgets.skies import LARGEST, Skies, by_title

PROJECTIONS = ("globe", "mollweide", "gnomonic")
SCALINGS = ("linear", "symlog", "histogram")
# set while a book is built: no kernel will answer its pages, so no model is made for one
STATIC = "SKYTUTOR_STATIC"


def is_static() -> bool:
    """Whether what is shown goes to a page without a kernel: a book is being built, or nbconvert runs the notebook."""
    return bool(os.environ.get(STATIC)) or _run_by_nbconvert()


@cache
def _run_by_nbconvert() -> bool:
    """Whether nbconvert started this kernel.

    Its page would show a widget, if there is one, rather than HTML, and fetch the script for that
    from the network.
    """
    try:
        import psutil  # comes with ipykernel
    except ImportError:
        return False
    try:
        return _program(_parent_command()) in ("nbconvert", "jupyter-nbconvert")
    except (
        psutil.Error,
        OSError,
    ):  # the process is gone, or somebody else's: it is taken for one that shows widgets
        return False


def _parent_command() -> list[str]:
    """Command line of the process that started this kernel."""
    import psutil

    told = os.environ.get("JPY_PARENT_PID", "")
    if os.name == "posix" and told.isdecimal():  # on Windows it is the number of a handle
        return psutil.Process(int(told)).cmdline()
    parent = psutil.Process().parent()
    while (
        parent and _program(parent.cmdline()) == "ipykernel_launcher"
    ):  # on Windows python.exe of a venv starts another one
        parent = parent.parent()
    return parent.cmdline() if parent else []


def _program(command: list[str]) -> str:
    """Name of the program that a command line runs, of Python's the script or the module: no argument of theirs."""
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


def anchors(cmap: str) -> str:
    """Colours of a map as hexadecimal digits: the script's own, else sixteen steps of one of matplotlib's.

    Raises:
        ValueError: neither knows it.
    """
    known = page.palettes()
    if cmap in known:
        return known[cmap]
    try:
        colours = matplotlib.colormaps[cmap](np.linspace(0, 1, 17))
    except (KeyError, TypeError):
        raise ValueError(
            f"cmap must be one of {', '.join(known)} or a name that matplotlib knows, got {cmap!r}"
        ) from None
    return "".join(to_hex(colour)[1:] for colour in colours)


class Sphere(anywidget.AnyWidget):
    """A view of maps on the sphere. Made by `view`; its attributes can be read, set and observed while it is shown.

    Attributes:
        lon, lat: direction in the middle, degrees. zoom: 1 shows the whole sphere.
        projection: "globe", "mollweide" or "gnomonic".
        pixel: number of the chosen pixel in the order of the maps, -1 for none; a click sets it.
        frame: number of the frame shown. low, high: ends of the colours, in the map's unit.
        cmap, scaling, graticule, borders, pixels, mask, vectors: what is shown, and how; see
            `view`.
        palette: colours of `cmap`, set with it.
        swipe: with two maps, where the second begins on the canvas, 0 to 1; -1 shows them side by
            side.
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
    pixel = traitlets.Int(-1, min=-1)
    _ipython_display_ = None  # that of ipywidgets 7 (Colab) knows no HTML twin

    def __init__(self, skies: Skies, spec: dict[str, Any], *, controls: bool, **state: Any):
        self._esm = page.script(controls=controls)
        self.skies = skies
        self._spec = spec
        self._controls = controls
        super().__init__(data=skies.data, **state)
        self.spec = page.settings(spec, skies.data)
        for name in ("sky-live", *page.PLAIN):
            self.add_class(name)

    def open(self) -> None:
        """Tell the page of this model, but for a book that is being built."""
        if not is_static():
            super().open()

    def show(self, maps: Any) -> None:
        """Put other maps in the place of these: as many, with the same nside, order and frames. Colours and view stay.

        Maps of a dict go to the place of their title, those of a list take the places in turn.

        Raises:
            ValueError: as `view`, or a dict of other titles, or another number of maps or frames.
        """
        old = self.skies
        titles = list(self.skies.shown)
        new = by_title(maps, titles[0])
        if isinstance(maps, Mapping):
            if set(new) != set(titles):
                raise ValueError(
                    f"maps must have the titles of the maps shown, {titles}, got {list(new)}"
                )
            new = {title: new[title] for title in titles}
        if len(new) != len(titles):
            raise ValueError(f"maps must be as many as before, {len(titles)}, got {len(new)}")
        skies = Skies(
            dict(zip(titles, new.values(), strict=True)), nside=old.nside, order=old.order
        )
        if skies.frames != old.frames:
            raise ValueError(f"maps must have {old.frames} frames as before, got {skies.frames}")
        for entry in (entry for entry in old.entries if "role" in entry):
            skies.adopt(entry, old.data)
        words = {"maps": skies.entries, "summary": skies.summary(self._spec["unit"])}
        self.skies = skies
        self._spec = self._spec | words
        with self.hold_sync():
            self.spec = page.settings(self._spec, skies.data)
            self.data = skies.data

    @traitlets.validate("pixel", "nested")
    def _check_pixel(self, proposal: Any) -> int:
        if proposal["value"] >= nside_to_npix(self.skies.nside):
            allowed = nside_to_npix(self.skies.nside) - 1
            raise traitlets.TraitError(
                f"pixel must lie in -1..{allowed} for nside {self.skies.nside}, got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("frame")
    def _check_frame(self, proposal: Any) -> int:
        if proposal["value"] >= self.skies.frames:
            raise traitlets.TraitError(
                f"frame must lie in 0..{self.skies.frames - 1}, got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("lon", "lat", "zoom", "low", "high", "swipe")
    def _check_finite(self, proposal: Any) -> float:
        if not math.isfinite(proposal["value"]):
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must be a finite number, got {proposal['value']}"
            )
        if abs(proposal["value"]) > LARGEST:
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must be at most {LARGEST:g} in size, got {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("cmap")
    def _check_cmap(self, proposal: Any) -> str:
        self.palette = anchors(proposal["value"])
        return proposal["value"]

    @traitlets.observe("pixel")
    def _to_page(self, change: Any) -> None:
        self.nested = self._renumber(ring_to_nested, change["new"])

    @traitlets.observe("nested")
    def _from_page(self, change: Any) -> None:
        self.pixel = self._renumber(nested_to_ring, change["new"])

    def _renumber(self, way: Any, pix: int) -> int:
        return (
            pix
            if pix < 0 or self.skies.order == "nested"
            else int(way(np.int64(pix), nside=self.skies.nside))
        )

    def html(self) -> str:
        """The sphere as it stands now, as HTML with map and script inside: it needs no kernel, no network and no other file."""
        state = {name: getattr(self, name) for name in self._spec["state"]}
        return page.twin(self._spec | {"state": state}, self.skies.data, controls=self._controls)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget for a page with a kernel, and HTML for one without."""
        still = {"text/html": self.html(), "text/plain": self._spec["summary"]}
        live = None if is_static() else super()._repr_mimebundle_(**kwargs)
        if isinstance(live, tuple):
            return live[0] | still, live[1]
        return (live or {}) | still
