"""What a value between two steps is: a map of the sphere, a picture, numbers, harmonics."""

import math
import re
from dataclasses import dataclass
from typing import Any

from skytutor.plot._network.graph import FUNCTION, INPUT, VIEW, Graph, Value

SPHERE = "sphere"
PICTURE = "picture"
SIGNAL = "signal"
VECTOR = "vector"
HARMONICS = "harmonics"
OTHER = "other"
TIMES = "\u00d7"
MINUS = "\u2212"
DIVIDED = "\u00f7"
GRIDS = (SPHERE, PICTURE, SIGNAL)  # whose resolution makes a level
# Transforms to harmonics, by the names that they go by.
_TRANSFORM = re.compile(r"analysis|map2alm|alms?$|coef|harmonic|sht", re.IGNORECASE)
_INVERSE = re.compile(r"inverse|synthesis|alm2map|isht", re.IGNORECASE)


# Transforms to harmonics, by the names that they go by.
_TRANSFORM = re.compile(r"analysis|map2alm|alms?$|coef|harmonic|sht", re.IGNORECASE)
_INVERSE = re.compile(r"inverse|synthesis|alm2map|isht", re.IGNORECASE)


@dataclass(frozen=True)
class State:
    """What a tensor of a network holds for each sample of the batch.

    Attributes:
        kind: one of the words above.
        text: for the reader, "Nside 8 · 32 channels".
        cells: pixels, coefficients or samples of a channel; 0 where there is no grid.
        channels: how many of them; 0 where the word does not fit.
    """

    kind: str
    text: str
    cells: int = 0
    channels: int = 0


def number(n: int) -> str:
    """Return an integer with commas between thousands.

    Arguments:
        n: the integer.
    """
    return f"{n:,}"


def times(value: Any) -> str:
    """Return ``3`` or ``3 x 5`` of an integer or several; nothing of all else.

    Arguments:
        value: of a kernel, for example.
    """
    sizes = value if isinstance(value, tuple | list) else (value,)
    if not all(isinstance(one, int) for one in sizes):
        return ""
    return f" {TIMES} ".join(number(one) for one in sizes)


def plural(n: int, word: str) -> str:
    """Return ``"1 channel"``, ``"3,072 channels"``.

    Arguments:
        n: how many.
        word: in the singular.
    """
    return f"{number(n)} {word}" if n == 1 else f"{number(n)} {word}s"


def nside_of(pixels: int) -> int | None:
    """Return the nside whose map has so many pixels, a power of two, or None.

    Arguments:
        pixels: of the map.
    """
    nside = math.isqrt(max(pixels, 0) // 12)
    fits = nside > 0 and 12 * nside**2 == pixels and nside & (nside - 1) == 0
    return nside if fits else None


def has_sphere(shapes: list[tuple[int, ...]]) -> bool:
    """Return whether tensors of these shapes come from a network on the sphere.

    One of them holds as many pixels as a map of nside 4 or more, or twelve square faces. The length
    of a single small axis, such as 12 or 48, says nothing by itself.

    Arguments:
        shapes: of all tensors between layers, the batch first.
    """
    for shape in shapes:
        if len(shape) >= 3 and (nside_of(shape[-1]) or 0) >= 4:
            return True
        if len(shape) == 5 and _faces(shape):
            return True
    return False


def _faces(shape: tuple[int, ...]) -> bool:
    nside = nside_of(math.prod(shape[-3:]))
    return shape[-3] == 12 and shape[-2] == shape[-1] == nside


def describe(
    shape: tuple[int, ...],
    *,
    floating: bool,
    is_complex: bool,
    sphere: bool,
    signals: bool = False,
    is_input: bool = False,
    harmonic: bool = False,
) -> State:
    """Return what a tensor of a network is, from its shape.

    Arguments:
        shape: the batch first.
        floating: whether it holds real or complex numbers, not integers.
        is_complex: whether it is complex.
        sphere: whether the network works on the sphere.
        signals: whether ``(B, C, L)`` are signals of L samples.
        is_input: whether it is an input of the network: only then is (B, P) a map.
        harmonic: whether it holds real harmonic coefficients, (lmax + 1)**2 of them.
    """
    rest = shape[1:]
    if is_complex or harmonic:
        return _harmonics(rest, real=not is_complex)
    if not rest:
        return State(VECTOR, "1 number" if floating else "1 integer", 0, 1)
    if len(rest) == 1:
        nside = nside_of(rest[0]) or 0
        if is_input and floating and nside >= 8:
            return _sphere(nside, 1)
        return State(VECTOR, plural(rest[0], "number" if floating else "integer"), 0, rest[0])
    if sphere:
        if len(shape) == 5 and _faces(shape):
            return _sphere(shape[-1], rest[0])
        nside = nside_of(rest[-1]) or 0
        if nside and len(rest) == 2:
            return _sphere(nside, rest[0])
        if nside >= 2 and len(rest) == 3 and rest[1] in (1, 2):  # two components, such as Q and U
            found = _sphere(nside, rest[0])
            if rest[1] == 1:
                return found
            return State(SPHERE, f"{found.text} of 2", found.cells, rest[0])
    return _flat(rest, signals=signals)


def _sphere(nside: int, channels: int) -> State:
    text = f"Nside {nside} · {plural(channels, 'channel')}"
    return State(SPHERE, text, 12 * nside**2, channels)


def _flat(rest: tuple[int, ...], *, signals: bool) -> State:
    """Return the state of pictures, signals, and all that has no better name."""
    if len(rest) == 4 and rest[1] == 1:  # one face alone is a picture
        rest = (rest[0], *rest[2:])
    if math.prod(rest) == rest[0]:  # one cell
        return State(VECTOR, plural(rest[0], "number"), 0, rest[0])
    if len(rest) == 3:
        text = f"{number(rest[1])} {TIMES} {number(rest[2])} · {plural(rest[0], 'channel')}"
        return State(PICTURE, text, rest[1] * rest[2], rest[0])
    if len(rest) == 2 and signals:
        text = f"{plural(rest[1], 'sample')} · {plural(rest[0], 'channel')}"
        return State(SIGNAL, text, rest[1], rest[0])
    return State(OTHER, f" {TIMES} ".join(number(size) for size in rest) + " numbers")


def _harmonics(rest: tuple[int, ...], *, real: bool) -> State:
    """Return the state of coefficients, real (lmax + 1)**2 or complex, of any layout."""
    channels = rest[0] if len(rest) > 1 else 1
    sizes = rest[1:] if len(rest) > 1 else rest
    components = ""
    if real:
        if len(sizes) == 2 and sizes[0] == 2:
            components = " of 2"
        extent = f"harmonics to l = {math.isqrt(sizes[-1]) - 1}"
    elif len(sizes) == 1:
        # Packed as healpy does: (lmax + 1) (lmax + 2) / 2 of them.
        lmax = (math.isqrt(8 * sizes[0] + 1) - 3) // 2
        packed = (lmax + 1) * (lmax + 2) // 2 == sizes[0]
        extent = f"harmonics to l = {lmax}" if packed else plural(sizes[0], "complex number")
    else:
        extent = f" {TIMES} ".join(number(size) for size in sizes) + " harmonics"
    text = f"{extent} · {plural(channels, 'channel')}{components}"
    return State(HARMONICS, text, math.prod(sizes), channels)


# --- the values of a graph ---


class States:
    """Tells what each value of a graph is.

    Arguments:
        graph: of the network.
        sphere: whether tensors of 12 nside**2 pixels are maps; None to conclude it from all shapes.
    """

    def __init__(self, graph: Graph, *, sphere: bool | None = None):
        values = [value for node in graph.nodes for value in node.outputs]
        if sphere is None:
            sphere = has_sphere([value.shape for value in values])
            sphere = sphere or any(self._is_flat_map(value) for value in values)
        self.sphere = sphere
        names = [node.name.lower() for node in graph.nodes]
        self.signals = any("conv1d" in name or "convtranspose1d" in name for name in names)
        self.cache: dict[Value, State] = {}

    @staticmethod
    def _is_flat_map(value: Value) -> bool:
        """Return whether an input ``(B, P)`` holds the pixels of a map."""
        flat = value.node.kind == INPUT and len(value.shape) == 2
        return flat and (nside_of(value.shape[1]) or 0) >= 8

    def __call__(self, value: Value) -> State:
        """Return what a value is."""
        if value not in self.cache:
            self.cache[value] = describe(
                value.shape,
                floating=value.floating,
                is_complex=value.is_complex,
                sphere=self.sphere and self._may_be_map(value),
                signals=self.signals,
                is_input=self.sphere and self._is_input(value),
                harmonic=self._is_harmonic(value),
            )
        return self.cache[value]

    def _may_be_map(self, value: Value) -> bool:
        """Return whether 12 or 48 numbers can be pixels: degrees and bins are as many at times.

        What functions of torch make of harmonics, or of numbers without a grid, are no pixels.
        """
        node = value.node
        if value.shape[-1:] not in ((12,), (48,)) or node.kind not in (FUNCTION, VIEW):
            return True
        kinds = {self(source).kind for source in node.inputs}
        return not kinds or not kinds <= {HARMONICS, OTHER}

    @staticmethod
    def _is_input(value: Value) -> bool:
        """Return whether a value is an input, or the same of another type."""
        node = value.node
        while node.kind == VIEW and len(node.inputs) == 1 and node.inputs[0].shape == value.shape:
            node = node.inputs[0].node
        return node.kind == INPUT

    def _is_harmonic(self, value: Value) -> bool:
        """Return whether a real value holds (lmax + 1)**2 harmonic coefficients a channel."""
        node = value.node
        if value.is_complex or len(value.shape) < 3 or math.isqrt(value.shape[-1]) < 2:
            return False
        if math.isqrt(value.shape[-1]) ** 2 != value.shape[-1]:
            return False
        if _INVERSE.search(node.name):
            return False
        if _TRANSFORM.search(node.name):
            return True
        # Layers mix channels and may cut high degrees off; they do not add any.
        size = value.shape[-1]
        return any(
            self(source).kind == HARMONICS and not source.is_complex and size <= source.shape[-1]
            for source in node.inputs
        )
