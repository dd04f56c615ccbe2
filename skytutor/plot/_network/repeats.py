"""Find parts of a network that are repeated without a change, so that each is drawn once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skytutor.plot._network.graph import (
    FUNCTION,
    INPUT,
    LAYER,
    OUTPUT,
    Frame,
    Graph,
    Node,
    Value,
)
from skytutor.plot._network.operations import label_of
from skytutor.plot._network.states import TIMES, State


@dataclass(eq=False)
class Repeat:
    """A part that is drawn once.

    Attributes:
        nodes: its steps.
        times: how often they follow each other.
        shared: whether their weights are the same each time.
        around: the calls that hold more than the first of them.
    """

    nodes: list[Node]
    times: int
    shared: bool
    around: set[Frame]

    @property
    def label(self) -> str:
        """What the bracket says."""
        return f"{TIMES} {self.times}" + (" with the same weights" if self.shared else "")


def fold_repeats(graph: Graph, state: Callable[[Value], State]) -> list[Repeat]:
    """Take all but the first of equal parts that follow each other out of a graph; return these.

    Arguments:
        graph: made readable; it is changed.
        state: tells what a value is.
    """
    found: list[Repeat] = []
    while True:
        best = _longest(graph, state, [node for repeat in found for node in repeat.nodes])
        if best is None:
            return found
        found.append(_fold(graph, *best))


def _signatures(graph: Graph, state: Callable[[Value], State]) -> list[Any]:
    """Return what must be equal for two steps to be the same; it says where data come from."""
    index = {id(node): k for k, node in enumerate(graph.nodes)}
    found: list[Any] = []
    n = len(graph.nodes)
    for k, node in enumerate(graph.nodes):
        if node.kind not in (LAYER, FUNCTION):
            found.append(k)  # equal to nothing else
            continue
        offsets = []
        for value in node.inputs:
            source = index[id(value.node)]
            # An input of the network is the same to all copies.
            offsets.append(source - n if value.node.kind == INPUT else k - source)
        words = (label_of(node), node.sizes, *node.before, "|", *node.after)
        shapes = tuple(state(value).text for value in (*node.inputs, *node.outputs))
        found.append((words, tuple(node.settings), node.weights, shapes, tuple(offsets)))
    return found


def _longest(
    graph: Graph, state: Callable[[Value], State], done: list[Node]
) -> tuple[int, int, int] | None:
    """Return start, length and times of the repetition that saves the most steps, if any."""
    marks = _signatures(graph, state)
    n = len(marks)
    spans = _spans(graph)
    taken = {id(node) for node in done}
    best: tuple[int, int, int] | None = None
    saved = 0
    for start in range(n):
        for length in range(1, (n - start) // 2 + 1):
            if marks[start] != marks[start + length]:
                continue
            times = 1
            while (
                marks[start : start + length]
                == marks[start + times * length : start + (times + 1) * length]
            ):
                times += 1
            times = _with_whole_weights(graph.nodes, start, length, times)
            new = not any(id(node) in taken for node in graph.nodes[start : start + length])
            gain = (times - 1) * length
            whole = gain > saved and not _cuts(spans, start, length, times)
            if whole and new and _is_closed(graph, start, length, times):
                best = (start, length, times)
                saved = gain
    return best


def _with_whole_weights(nodes: list[Node], start: int, length: int, times: int) -> int:
    """Return how many copies, from the first on, use the same weights, or else new ones each."""
    first = nodes[start : start + length]
    used = _parameters(nodes[:start])
    shared = 0
    new = 0
    for copy in range(times):
        part = nodes[start + copy * length : start + (copy + 1) * length]
        pairs = list(zip(first, part, strict=True))
        if shared == copy and all(set(a.parameters) == set(b.parameters) for a, b in pairs):
            shared += 1
        # A weight that stands twice in the first copy must stand twice in each.
        alike = all(a.new_weights == b.new_weights for a, b in pairs)
        if new == copy and alike and not used & _parameters(part):
            new += 1
        used |= _parameters(part)
    return max(shared, new, 1)


def _parameters(nodes: list[Node]) -> set[int]:
    return {key for node in nodes for key in node.parameters}


def _spans(graph: Graph) -> list[tuple[int, int]]:
    """Return the indices of the first and the last step of each block that has a name."""
    found: dict[Frame, tuple[int, int]] = {}
    for k, node in enumerate(graph.nodes):
        for frame in node.frames:
            if frame.named:
                found[frame] = (found.get(frame, (k, k))[0], k)
    return list(found.values())


def _cuts(spans: list[tuple[int, int]], start: int, length: int, times: int) -> bool:
    """Return whether a block is neither within one copy, nor around them all, nor apart."""
    last = start + times * length - 1
    for begin, end in spans:
        apart = end < start or last < begin
        around = begin <= start and last <= end
        within = start <= begin and (begin - start) // length == (end - start) // length
        if not (apart or around or within):
            return True
    return False


def _is_closed(graph: Graph, start: int, length: int, times: int) -> bool:
    """Return whether nothing but the last copy is taken from outside, and each copy by the next."""
    end = start + times * length
    last = end - length
    for node in graph.nodes[end:]:
        for value in node.inputs:
            inside = [one for one in range(start, last) if graph.nodes[one] is value.node]
            if inside:
                return False
    # Within the part itself everything follows from its first input.
    first = graph.nodes[start : start + length]
    for node in first[1:]:
        for value in node.inputs:
            if value.node not in first and value not in first[0].inputs:
                return False
    return all(node.kind != OUTPUT for node in first)


def _fold(graph: Graph, start: int, length: int, times: int) -> Repeat:
    """Drop all copies but the first, and let what follows take from it."""
    end = start + times * length
    first = graph.nodes[start : start + length]
    around: set[Frame] = set()
    for k, node in enumerate(graph.nodes[start + length : end]):
        one = first[k % length]
        one.copies.update(node.parameters)
        around |= set(node.frames)
        for old, new in zip(node.outputs, one.outputs, strict=True):
            _take_instead(graph.nodes[end:], old, new)
    shared = any(set(node.parameters) & set(node.copies) for node in first)
    del graph.nodes[start + length : end]
    return Repeat(first, times, shared, around)


def _take_instead(nodes: list[Node], old: Value, new: Value) -> None:
    """Let steps take `new` where they took `old`."""
    for node in nodes:
        node.inputs = [new if value is old else value for value in node.inputs]
        if id(old) in node.seen:
            node.seen[id(new)] = node.seen.pop(id(old))
