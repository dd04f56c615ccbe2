"""Checks of what `skytutor.widgets.sphere.view` is told, and what the page's script is told of it.

Each function returns entries by the names that the script uses.
"""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from skytutor.validate import one_of
from skytutor.widgets.model import PROJECTIONS, SCALINGS, colour_stops
from skytutor.widgets.skies import LARGEST, EncodedMaps
from skytutor.widgets.words import plain_text

__all__ = ["colour_ends", "colours", "direction", "frame_names", "overlays", "player", "spec"]


def direction(lon_deg: Any, lat_deg: Any, *, zoom: Any, projection: str) -> dict[str, Any]:
    """Return where the view looks."""
    return {
        "lon": _check("lon_deg", lon_deg, low=-360, high=360),
        "lat": _check("lat_deg", lat_deg, low=-90, high=90),
        "zoom": _check("zoom", zoom, low=0.5, high=400),
        "projection": one_of("projection", projection, allowed=PROJECTIONS),
    }


def colours(encoded: EncodedMaps, value_range: Any, *, cmap: str, scaling: str) -> dict[str, Any]:
    """Return how values become colours."""
    low, high = colour_ends(value_range, encoded)
    return {
        "low": low,
        "high": high,
        "cmap": cmap,
        "palette": colour_stops(cmap),
        "scaling": one_of("scaling", scaling, allowed=SCALINGS),
    }


def overlays(
    encoded: EncodedMaps, graticule: Any, *, borders: Any, swipe: Any, turn: Any
) -> dict[str, Any]:
    """Return what is drawn at first, and whether the sphere turns by itself."""
    return {
        "graticule": bool(graticule),
        "borders": bool(borders),
        "pixels": True,
        "mask": True,
        "vectors": True,
        "swipe": 0.5 if swipe and len(encoded.shown) == 2 else -1.0,
        "nested": -1,
        "auto_turn": _switch("auto_turn", turn),
    }


def player(
    encoded: EncodedMaps, fps: Any, *, height: Any, labels: Sequence[str] | None
) -> dict[str, Any]:
    """Return how fast frames play, how high the sphere is, and the names of the frames."""
    return {
        "fps": _check("fps", fps, low=0.1, high=60),
        "height": _check("height", height, low=80, high=2000),
        "labels": frame_names(labels, encoded.frames),
    }


def spec(encoded: EncodedMaps, unit: str, *, title: str, state: dict[str, Any]) -> dict[str, Any]:
    """Return what the script of the page needs to know of the maps, with the view's first state.

    The title is that of all maps together, "" where each has its own alone.
    """
    lowest, highest = encoded.ends()
    titles = ", ".join(encoded.shown) or "untitled"
    titles = f"{title}: {titles}" if title else titles
    return {
        "nside": encoded.nside,
        "order": encoded.order,
        "unit": plain_text("unit", unit),
        "title": title,
        "maps": encoded.entries,
        "limits": [min(state["low"], lowest), max(state["high"], highest)],
        "label": f"Map of the sphere, {titles}. "
        "Arrow keys turn, plus and minus zoom, Home goes back.",
        "summary": encoded.summary(plain_text("unit", unit)),
        "state": state,
    }


def colour_ends(value_range: Any, encoded: EncodedMaps) -> tuple[float, float]:
    """Return the values at the two ends of the colours."""
    low, high = encoded.ends()
    if value_range is None and high > low:
        return low, high
    if value_range is None:  # a constant map: some space around its value
        margin = max(0.5, 1e-6 * abs(low))
        return max(low - margin, -LARGEST), min(low + margin, LARGEST)
    choice = f"value_range must be None, 'symmetric' or (low, high), got {value_range!r}"
    if isinstance(value_range, str):
        if value_range != "symmetric":
            raise ValueError(choice)
        top = max(abs(low), abs(high)) or 1.0
        return -top, top
    try:
        low, high = (float(end) for end in value_range)
    except (TypeError, ValueError):
        raise ValueError(choice) from None
    if not -LARGEST <= low < high <= LARGEST:
        raise ValueError(
            f"value_range must be two finite numbers up to {LARGEST:g} in size, the lower first, "
            f"got {value_range!r}"
        )
    return low, high


def frame_names(labels: Sequence[str] | None, frames: int) -> list[str] | None:
    """Return a label for each frame; None for a single one without a label."""
    if labels is None:
        return [f"{k + 1} of {frames}" for k in range(frames)] if frames > 1 else None
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise ValueError(f"frame_labels must be a list of {frames} labels, got {labels!r}")
    names = [plain_text("a label of frame_labels", label) for label in labels]
    if len(names) != frames:
        raise ValueError(
            f"frame_labels must name each of the {frames} frames, got {len(names)} labels"
        )
    return names


def _switch(name: str, value: Any) -> bool:
    """Return True or False, Python's or NumPy's; refuse anything else."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _check(name: str, value: Any, *, low: float, high: float) -> float:
    """Return a real number of any type as a float; refuse one outside `low` to `high`."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ValueError(f"{name} must be a number in {low:g}..{high:g}, got {value!r}")
    return float(value)
