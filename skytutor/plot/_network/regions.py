"""Make one step of functions that part from one value and meet again, without layers between."""

from skytutor.plot._network.graph import FUNCTION, REARRANGED, Graph, Node, Value
from skytutor.plot._network.steps import label_of


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
        for node in region:
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
