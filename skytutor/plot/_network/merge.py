"""Make a graph readable: views go, activations join their layer, side paths become one step."""

from collections import defaultdict
from collections.abc import Callable

from skytutor.plot._network.graph import FUNCTION, INPUT, LAYER, OUTPUT, RANDOM, Graph, Node, Value
from skytutor.plot._network.regions import Regions
from skytutor.plot._network.states import State
from skytutor.plot._network.steps import is_join, is_merging, is_pointwise, label_of
from skytutor.plot._network.views import Views


class Merger:
    """Rewrites the graph of a network, step by step.

    Arguments:
        graph: as `skytutor.plot.trace.trace` returns it; it is changed.
        state: tells what a value is.
    """

    def __init__(self, graph: Graph, state: Callable[[Value], State]):
        self.graph = graph
        self.state = state
        self.with_layers = graph.with_layers

    def run(self) -> None:
        """Do all of it."""
        self.prune()
        views = Views(self.graph, self.state)
        views.put_batch_first()
        views.contract_views()
        self.inline_noise()
        Regions(self.graph).collapse()
        self.name_by_helpers()
        self.merge_forward()
        self.merge_backward()
        self.mark_repeated()

    def prune(self) -> None:
        """Drop steps from which nothing reaches an output."""
        used: set[int] = set()
        for node in reversed(self.graph.nodes):
            if node.kind in (OUTPUT, INPUT) or id(node) in used:
                used.add(id(node))
                used |= {id(value.node) for value in node.inputs}
        self.graph.nodes = [node for node in self.graph.nodes if id(node) in used]

    def inline_noise(self) -> None:
        """Name random numbers in the step that takes them, where only one does."""
        consumers = self.graph.consumers()
        gone: set[int] = set()
        for node in self.graph.nodes:
            if node.kind != RANDOM or not node.outputs:
                continue
            takers = consumers[id(node.outputs[0])]
            if len(takers) == 1 and takers[0].kind == FUNCTION and len(takers[0].inputs) > 1:
                taker = takers[0]
                taker.inputs = [v for v in taker.inputs if v is not node.outputs[0]]
                taker.noise = node.name
                gone.add(id(node))
        self.graph.nodes = [node for node in self.graph.nodes if id(node) not in gone]

    def name_by_helpers(self) -> None:
        """Name a step after the Python function that does this step and no other."""
        inside: dict[int, int] = defaultdict(int)
        for node in self.graph.nodes:
            for token, _ in node.helpers:
                inside[token] += 1
        for node in self.graph.nodes:
            if node.kind != FUNCTION or is_join(node) or is_pointwise(node):
                continue
            for token, name in node.helpers:
                if inside[token] == 1 and token not in self.with_layers:
                    node.title = name
                    break

    def merge_forward(self) -> None:
        """Name activations and the like in the label of the step before them."""
        for node in list(self.graph.nodes):
            if not is_merging(node) or not node.inputs:
                continue
            value = node.inputs[0]
            before = value.node
            consumers = self.graph.consumers()
            seen = node.seen.get(id(value), value)
            alone = len(consumers[id(value)]) == 1
            alone = alone and self.state(seen).text == self.state(value).text
            first = bool(before.outputs) and before.outputs[0] is value
            if before.kind not in (LAYER, FUNCTION) or not alone or not first:
                continue
            starts_block = before.frames[: len(node.frames)] != node.frames
            plain = not before.parameters
            apart = before.frames != node.frames or not is_join(before)
            if (starts_block or (plain and apart)) and self._prefix_target(
                node, consumers
            ) is not None:
                continue
            before.after += [*node.before, label_of(node), *node.after]
            before.parameters.update(node.parameters)
            before.inputs += [v for v in node.inputs[1:] if not any(v is w for w in before.inputs)]
            before.outputs = [*node.outputs, *before.outputs[1:]]
            for output in node.outputs:
                output.node = before
            self.graph.nodes.remove(node)

    def _prefix_target(self, node: Node, consumers: dict[int, list[Node]]) -> Node | None:
        """Return the layer that follows a step and others like it, if nothing else does."""
        while True:
            takers = consumers[id(node.outputs[0])] if len(node.outputs) == 1 else []
            if len(takers) != 1 or takers[0].inputs[0] is not node.outputs[0]:
                return None
            node = takers[0]
            if not is_merging(node):
                fits = node.kind in (LAYER, FUNCTION) and not is_join(node)
                return node if fits else None

    def merge_backward(self) -> None:
        """Name what is left of them in the label of the layer that follows."""
        for node in reversed(list(self.graph.nodes)):
            if not is_merging(node) or not node.inputs:
                continue
            target = self._prefix_target(node, self.graph.consumers())
            if target is None:
                continue
            target.before = [*node.before, label_of(node), *node.after, *target.before]
            target.parameters.update(node.parameters)
            target.seen.update(node.seen)
            others = [v for v in target.inputs[1:] if not any(v is w for w in node.inputs)]
            target.inputs = [*node.inputs, *others]
            self.graph.nodes.remove(node)

    def mark_repeated(self) -> None:
        """Mark steps whose weights were all used before."""
        used: set[int] = set()
        for node in self.graph.nodes:
            node.repeated = bool(node.parameters) and set(node.parameters) <= used
            used |= set(node.parameters)
