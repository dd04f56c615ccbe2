"""Make a graph readable: views go, activations join their layer, side paths become one step."""

from collections import defaultdict
from collections.abc import Callable

from skytutor.plot._network.graph import (
    FUNCTION,
    INPUT,
    LAYER,
    OUTPUT,
    RANDOM,
    REARRANGED,
    Graph,
    Node,
    Value,
)
from skytutor.plot._network.operations import is_join, is_merging, is_pointwise, label_of
from skytutor.plot._network.states import State
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
        self.count_new_weights()

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
                taker.settings.append(node.name)
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
                if inside[token] == 1 and token not in self.graph.with_layers:
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
            before.settings += node.settings
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
            target.settings = [*node.settings, *target.settings]
            target.parameters.update(node.parameters)
            if not node.pair:  # such a step takes several parts, not one
                target.seen.update(node.seen)
            others = [v for v in target.inputs[1:] if not any(v is w for w in node.inputs)]
            target.inputs = [*node.inputs, *others]
            self.graph.nodes.remove(node)

    def count_new_weights(self) -> None:
        """Count the weights of each step that no step before it uses."""
        used: set[int] = set()
        for node in self.graph.nodes:
            new = [size for key, size in node.parameters.items() if key not in used]
            node.new_weights = sum(new)
            used |= set(node.parameters)


class Regions:
    """Collapses the small side paths of a graph.

    Arguments:
        graph: of the network, without views; it is changed.
    """

    def __init__(self, graph: Graph):
        self.graph = graph

    def collapse(self) -> None:
        """Make one step of functions that part from one value and meet again."""
        done: set[int] = set()
        while True:
            region = self._next_region(done)
            if region is None:
                return
            self._collapse(region)

    def _next_region(self, done: set[int]) -> list[Node] | None:
        index = {id(node): k for k, node in enumerate(self.graph.nodes)}
        dominators = self._dominators(index)
        consumers = self.graph.consumers()
        for k, node in enumerate(self.graph.nodes):
            if node.kind != FUNCTION or len(node.inputs) < 2 or id(node) in done:
                continue
            done.add(id(node))
            region = self._between(dominators[k], k, index)
            inner = {id(one) for one in region}
            private = all(
                id(taker) in inner
                for one in region[:-1]
                for value in one.outputs
                for taker in consumers[id(value)]
            )
            plain = all(one.kind == FUNCTION and not one.parameters for one in region)
            if dominators[k] >= 0 and private and plain and not any(one.noise for one in region):
                return region
        return None

    def _dominators(self, index: dict[int, int]) -> list[int]:
        """Return, for each step, the last step through which all data it takes have come.

        -1 stands for what lies before the inputs.
        """
        found: list[int] = []
        for node in self.graph.nodes:
            above = [index[id(value.node)] for value in node.inputs]
            if not above:
                found.append(-1)
                continue
            common = above[0]
            for other in above[1:]:
                # Climb from the later of the two until both are the same.
                while common != other:
                    if common > other:
                        common = found[common]
                    else:
                        other = found[other]
            found.append(common)
        return found

    def _between(self, start: int, end: int, index: dict[int, int]) -> list[Node]:
        """Return the steps after `start` from which data reach `end`, in their order."""
        inside = {end}
        for k in range(end, start, -1):
            if k in inside:
                above = {index[id(value.node)] for value in self.graph.nodes[k].inputs}
                inside |= {one for one in above if one > start}
        return [self.graph.nodes[k] for k in sorted(inside)]

    def _collapse(self, region: list[Node]) -> None:
        """Replace steps by one, the last of them."""
        last = region[-1]
        names: list[str] = []
        labels: list[str] = []
        settings: list[str] = []
        for node in region:
            settings += node.settings
            names += [name for name in node.merged or [node.name] if name not in names]
            found = node.labels or [label_of(node)]
            found = [label for label in found if not _says_little(label)]
            labels += [label for label in found if label not in labels]
        inside = {id(value) for node in region for value in node.outputs}
        inputs: list[Value] = []
        for node in region:
            for value in node.inputs:
                new = id(value) not in inside and not any(value is other for other in inputs)
                if new:
                    inputs.append(value)
        last.inputs = inputs
        last.seen = {}
        last.settings = settings
        last.merged = names
        last.labels = labels
        shared = [helper for helper in last.helpers if all(helper in n.helpers for n in region)]
        last.helpers = tuple(shared)
        gone = {id(node) for node in region[:-1]}
        self.graph.nodes = [node for node in self.graph.nodes if id(node) not in gone]


def _says_little(label: str) -> bool:
    """Return whether a label only joins, or adds what keeps a root or a logarithm finite."""
    if label in ("concat", "stack", REARRANGED):
        return True
    sign, _, operand = label.partition(" ")
    return (sign == "+" and operand.startswith("1e-")) or operand == "0.0001"
