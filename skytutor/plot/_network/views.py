"""Take views out of a graph: a tensor in another shape is still the same data."""

import math
from collections.abc import Callable

from skytutor.plot._network.graph import FUNCTION, REARRANGED, VIEW, Graph, Node, Value
from skytutor.plot._network.states import GRIDS, PICTURE, SPHERE, State


class Views:
    """Rewrites a graph so that steps take what their inputs are views of.

    Arguments:
        graph: of the network; it is changed.
        state: tells what a value is.
    """

    def __init__(self, graph: Graph, state: Callable[[Value], State]):
        self.graph = graph
        self.state = state

    def put_batch_first(self) -> None:
        """Give values the shape of their last view where only this has the batch first."""
        n_batch = next((v.shape[0] for n in self.graph.nodes for v in n.outputs if v.shape), 0)
        roots: dict[int, Value] = {}
        turned: set[int] = set()
        for node in self.graph.nodes:
            source = one_source(node, roots)
            for value in node.outputs if source is not None else []:
                assert source is not None
                roots[id(value)] = source
                turned |= {id(source)} if source.shape[:1] != (n_batch,) else set()
                if id(source) in turned and value.shape[:1] == (n_batch,):
                    source.shape = value.shape

    def contract_views(self) -> None:
        """Take views out; keep a step where a view changes the resolution."""
        roots: dict[int, Value] = {}  # value -> the value that it is a view of
        chains: dict[int, list[Node]] = {}  # value -> the views between
        kept = self._rearranged_values()
        nodes: list[Node] = []
        for node in self.graph.nodes:
            source = one_source(node, roots)
            if source is None:
                node.kind = FUNCTION if node.kind == VIEW else node.kind
                self._take_roots(node, roots, chains)
                nodes.append(node)
                continue
            for value in node.outputs:
                chain = [*chains.get(id(node.inputs[0]), []), node]
                if id(value) in kept and self._is_rearranged(source, value):
                    step = self._rearrange(source, value, chain)
                    nodes.append(step)
                    roots[id(value)] = step.outputs[0]
                    continue
                roots[id(value)] = source
                chains[id(value)] = chain
        self.graph.nodes = nodes

    def _rearranged_values(self) -> set[int]:
        """Return the views of another resolution that steps take."""
        roots: dict[int, Value] = {}
        found: set[int] = set()
        for node in self.graph.nodes:
            source = one_source(node, roots)
            for value in node.outputs if source is not None else []:
                assert source is not None
                roots[id(value)] = source
            for value in node.inputs if source is None else []:
                if self._is_rearranged(roots.get(id(value), value), value):
                    found.add(id(value))
        return found

    def _take_roots(
        self, node: Node, roots: dict[int, Value], chains: dict[int, list[Node]]
    ) -> None:
        """Let a step take what its inputs are views of."""
        inputs: list[Value] = []
        for value in node.inputs:
            root = roots.get(id(value), value)
            for link in chains.get(id(value), []):
                node.settings += link.settings
            if root is not value:
                node.seen[id(root)] = value
            if not any(root is other for other in inputs):
                inputs.append(root)
            else:
                node.pair = "parts" if _n_numbers(value) < _n_numbers(root) else "views"
        node.inputs = inputs

    def _is_rearranged(self, root: Value, value: Value) -> bool:
        """Return whether a view has another resolution, or lies on another grid, than its root."""
        before = self.state(root)
        after = self.state(value)
        if before.kind not in GRIDS or after.kind not in GRIDS:
            return False
        if {before.kind, after.kind} == {SPHERE, PICTURE}:
            return True
        return before.cells != after.cells and _n_numbers(root) == _n_numbers(value)

    def _rearrange(self, root: Value, value: Value, chain: list[Node]) -> Node:
        """Return the step that turns a value into its view, named after the function that does."""
        last = chain[-1]
        words = [word for node in chain for word in node.operands if word.isidentifier()]
        node = Node(FUNCTION, REARRANGED, [root], frames=last.frames)
        if words:
            node.name = f"index by {words[0]}"
        for link in chain:
            node.settings += link.settings
        for link in chain:
            # The function in which the resolution changes first gives the step its name.
            if link.outputs and self.state(link.outputs[0]).cells != self.state(root).cells:
                node.helpers = link.helpers
                break
        found = Value(node, value.shape, value.floating, value.is_complex)
        node.outputs.append(found)
        return node


def one_source(node: Node, roots: dict[int, Value]) -> Value | None:
    """Return what a step shows in another shape; None if it does more than that.

    Parts of one value, joined again, are a view too: so is it padded around a circle.

    Arguments:
        node: the step.
        roots: what the outputs of steps before it are views of, by their identity.
    """
    if not node.inputs or not (node.kind == VIEW or node.name in ("cat", "stack")):
        return None
    if node.kind not in (VIEW, FUNCTION) or node.parameters:
        return None
    sources = [roots.get(id(value), value) for value in node.inputs]
    return sources[0] if all(source is sources[0] for source in sources) else None


def _n_numbers(value: Value) -> int:
    """Return how many numbers a value holds for each sample."""
    return math.prod(value.shape[1:])
