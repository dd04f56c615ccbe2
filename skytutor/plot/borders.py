"""Borders of HEALPix pixels as lines: on the sphere, and cut where a picture of it ends."""

import math

import numpy as np
from matplotlib.path import Path
from numpy.typing import NDArray

from skytutor.healpix import check_nside
from skytutor.validate import one_of

# Where the lowest corner of each base pixel lies, Table 1 of the HEALPix paper: its ring in units
# of nside, and its longitude in eighths of a circle.
_FACE_RING = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])
_FACE_LONGITUDE = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])
# So many straight pieces from corner to corner of a base pixel bend smoothly enough.
_PIECES = 64

Array = NDArray[np.float64]


def face_to_vector(face: Array, x: Array, y: Array) -> Array:
    """Return the direction of any place in a base pixel, not of pixel centres alone.

    Arguments:
        face: ``(...)``, whole numbers 0 to 11.
        x: ``(...)``, from 0 in the south-west to 1 in the north-east.
        y: ``(...)``, from 0 in the south-east to 1 in the north-west.

    Returns:
        ``(..., 3)`` unit vectors.

    Example:
        >>> face_to_vector(np.array([4]), np.array([0.5]), np.array([0.5]))
        array([[1., 0., 0.]])
    """
    face = np.asarray(face, dtype=int)
    ring = _FACE_RING[face] - x - y  # 0 at the north pole, 4 at the south pole
    # How far a cap's circle is from its pole; in the belt between the caps all are as long.
    from_pole = np.minimum(np.minimum(ring, 4 - ring), 1)
    in_cap = from_pole**2 / 3
    z = np.where(ring < 1, 1 - in_cap, np.where(ring > 3, in_cap - 1, (2 - ring) * 2 / 3))
    # 1 - z^2 of the caps without the loss of digits near the pole
    sin_squared = np.where(from_pole < 1, in_cap * (2 - in_cap), (1 - z) * (1 + z))
    sin = np.sqrt(np.maximum(sin_squared, 0))
    # The longitude of a pole is anything: any division will do.
    longitude = math.pi / 4 * (_FACE_LONGITUDE[face] + (x - y) / np.maximum(from_pole, 1e-12))
    return np.stack([sin * np.cos(longitude), sin * np.sin(longitude), z], axis=-1)


def border_lines(nside: int, *, kind: str) -> Array:
    """Return the borders of pixels as lines on the sphere, each border once.

    Arguments:
        nside: of the pixels.
        kind: "base" for the twelve base pixels, "pixel" for all of them.

    Returns:
        ``(L, S, 3)`` unit vectors: L lines, S places along each.

    Raises:
        ValueError: an nside that is no power of two, or another kind.

    Example:
        >>> border_lines(4, kind="base").shape, border_lines(4, kind="pixel").shape
        ((24, 65, 3), (96, 65, 3))
    """
    check_nside(nside)
    one_of("kind", kind, allowed=("base", "pixel"))
    # Two base pixels share an edge: the four in the belt draw all theirs, those of the caps one
    # each, to the next of the same cap.
    cuts = [(face, axis, end) for face in range(4, 8) for axis in "xy" for end in (0.0, 1.0)]
    cuts += [(face, "y", 1.0) for face in range(4)]
    cuts += [(face, "y", 0.0) for face in range(8, 12)]
    if kind == "pixel":
        for at in np.arange(1, nside) / nside:
            cuts += [(face, axis, at) for face in range(12) for axis in "xy"]
    face = np.array([cut[0] for cut in cuts])[:, None]
    fixed = np.array([cut[2] for cut in cuts])[:, None]
    along_y = np.array([cut[1] == "x" for cut in cuts])[:, None]  # x is fixed, y grows
    # Corners of pixels are among the places, so that lines meet where pixels do.
    pieces = nside * math.ceil(_PIECES / nside)
    running = np.linspace(0, 1, pieces + 1)[None]
    x = np.where(along_y, fixed, running)
    y = np.where(along_y, running, fixed)
    return face_to_vector(np.broadcast_to(face, x.shape), x, y)


def _visible(places: Array, inside: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Cut lines where they leave what is shown; return places and which of them begin a line.

    Arguments:
        places: ``(L, S, D)``.
        inside: ``(L, S)``, zero at the edge of what is shown, negative beyond.

    Returns:
        ``(N, D)`` places that are shown, those on the edge added, and ``(N,)``.
    """
    here = inside[:, :-1]
    there = inside[:, 1:]
    crosses = (here >= 0) != (there >= 0)
    # Along a short straight piece the distance to the edge changes evenly.
    part = here / np.where(crosses, here - there, 1)
    edge = places[:, :-1] + part[..., None] * np.diff(places, axis=1)
    # Between any two places stands the one where the line crosses the edge, if it does.
    lines, steps, dimensions = places.shape
    woven = np.full((lines, 2 * steps - 1, dimensions), np.nan)
    woven[:, ::2] = np.where((inside >= 0)[..., None], places, np.nan)
    woven[:, 1::2] = np.where(crosses[..., None], edge, np.nan)
    shown = np.zeros(woven.shape[:2], dtype=bool)
    shown[:, ::2] = inside >= 0
    shown[:, 1::2] = crosses
    # A gap of one (no crossing between two places in sight) is none.
    linked = np.zeros_like(shown)
    linked[:, 2::2] = (inside[:, 1:] >= 0) & (inside[:, :-1] >= 0)
    linked[:, 2::2] |= (inside[:, 1:] >= 0) & crosses
    linked[:, 1::2] = crosses & (here >= 0)
    return woven[shown], ~linked[shown]


def _path(points: Array, starts: NDArray[np.bool_]) -> Path:
    """Return ``(N, 2)`` points as a path of as many lines as there are starts."""
    codes = np.where(starts, Path.MOVETO, Path.LINETO).astype(Path.code_type)
    return Path(points, codes)


def globe_path(lines: Array, frame: Array) -> Path:
    """Return what a globe shows of lines, on a disc of radius 1, east to the left.

    Arguments:
        lines: ``(L, S, 3)`` unit vectors.
        frame: ``(3, 3)``, rows: the directions that point east, north and to the reader.

    Returns:
        as many lines as are seen, cut where they turn to the far side.
    """
    seen, starts = _visible(lines, lines @ frame[2])
    return _path(np.stack([-seen @ frame[0], seen @ frame[1]], axis=-1), starts)


def mollweide_path(lines: Array) -> Path:
    """Return lines on the Mollweide ellipse, 2 by 1, east to the left.

    A line that crosses the seam at longitude 180 degrees ends there and goes on at the other side.

    Arguments:
        lines: ``(L, S, 3)`` unit vectors.

    Returns:
        all of them; a line along the seam stands at both sides.
    """
    # Without jumps a line may leave the range of longitudes: it enters again one turn away.
    longitude = np.unwrap(np.arctan2(lines[..., 1], lines[..., 0]), axis=1)
    points = []
    starts = []
    for turn in (-2 * math.pi, 0.0, 2 * math.pi):
        turned = longitude + turn
        # A border along the seam stands at both sides, whatever its last digit says.
        inside = math.pi + 1e-9 - np.abs(turned)
        seen, begins = _visible(np.stack([turned, lines[..., 2]], axis=-1), inside)
        t = _auxiliary_angle(seen[:, 1])
        points.append(np.stack([-2 / math.pi * seen[:, 0] * np.cos(t), np.sin(t)], axis=-1))
        starts.append(begins)
    return _path(np.concatenate(points), np.concatenate(starts))


def _auxiliary_angle(z: Array) -> Array:
    """Solve ``2 t + sin(2 t) = pi z`` by halving: near the poles no step of Newton's is safe."""
    low = np.full_like(z, -math.pi / 2)
    high = np.full_like(z, math.pi / 2)
    for _ in range(50):
        middle = (low + high) / 2
        too_high = 2 * middle + np.sin(2 * middle) > math.pi * z
        high = np.where(too_high, middle, high)
        low = np.where(too_high, low, middle)
    return (low + high) / 2
