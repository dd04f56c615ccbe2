"""What the values of a graph are: looks at shapes, and at the steps that they come from."""

import math
import re

from skytutor.plot._network.graph import FUNCTION, INPUT, VIEW, Graph, Value
from skytutor.plot._network.states import HARMONICS, OTHER, State, describe, has_sphere

# Transforms to harmonics, by the names that they go by.
_TRANSFORM = re.compile(r"analysis|map2alm|alms?$|coef|harmonic|sht", re.IGNORECASE)
_INVERSE = re.compile(r"inverse|synthesis|alm2map|isht", re.IGNORECASE)


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
        self.cache: dict[int, State] = {}
        self.kept: list[Value] = []

    @staticmethod
    def _is_flat_map(value: Value) -> bool:
        """Return whether an input ``(B, P)`` holds the pixels of a map."""
        if value.node.kind != INPUT or len(value.shape) != 2:
            return False
        pixels = value.shape[1]
        return pixels >= 768 and pixels % 12 == 0 and math.log2(pixels / 12) % 2 == 0

    def __call__(self, value: Value) -> State:
        """Return what a value is."""
        if id(value) not in self.cache:
            self.kept.append(value)
            self.cache[id(value)] = describe(
                value.shape,
                floating=value.floating,
                is_complex=value.is_complex,
                sphere=self.sphere and self._may_be_map(value),
                signals=self.signals,
                is_input=self.sphere and self._is_input(value),
                harmonic=self._is_harmonic(value),
            )
        return self.cache[id(value)]

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
