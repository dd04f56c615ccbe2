"""The rows of a drawing, from top to bottom: states, boxes of layers, joints, and their arcs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from skytutor.plot._network import operations
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
from skytutor.plot._network.operations import is_join, is_merging, names_of
from skytutor.plot._network.repeats import Repeat
from skytutor.plot._network.states import (
    GRIDS,
    SIGNAL,
    VECTOR,
    State,
    number,
    plural,
)

STATE = "state"
BOX = "box"
JOIN = "join"


@dataclass(eq=False)
class Row:
    """A row of a drawing.

    Attributes:
        kind: one of the words above.
        title: in bold.
        text: what follows the title.
        first: what is done before it, a line above the title.
        details: kernel and the like, and what is done after it, a line below the title.
        weights: how many, in words; empty for none.
        state: of what comes out; of a state row, itself.
        node: the step.
        level: column, 0 for the finest resolution.
        direct: whether data come from the row above.
        origins: all rows from which data come, as the code has them.
        symbol: within the circle of a joint.
        more: further tensors of a state, of which each has a title and a text.
        is_view: whether a state is that of the row above in another shape.
    """

    kind: str
    title: str
    text: str = ""
    first: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    weights: str = ""
    state: State | None = None
    node: Node | None = None
    level: int = 0
    direct: bool = False
    origins: list["Row"] = field(default_factory=list)
    symbol: str = ""
    more: list[tuple[str, str]] = field(default_factory=list)
    is_view: bool = False

    def sources(self, above: "Row | None") -> list["Row"]:
        """Return the rows from which data come by arcs.

        Arguments:
            above: the row above.
        """
        return [row for row in self.origins if row is not above]


@dataclass(eq=False)
class Group:
    """Rows that belong together: a block by its class, or a part that is repeated.

    Attributes:
        label: its name, or how often it is repeated.
        first: index of its first row.
        last: index of its last row.
        repeat: the part that is repeated, if one is.
        nest: how many others stand around it.
    """

    label: str
    first: int
    last: int
    repeat: Repeat | None = None
    nest: int = 0


@dataclass
class Plan:
    """Everything that is drawn of one network.

    Attributes:
        title: above it.
        rows: from top to bottom.
        groups: brackets at the side, from top to bottom, the outer before the inner.
        notes: below it, the number of weights first.
    """

    title: str
    rows: list[Row]
    groups: list[Group]
    notes: list[str]


class Planner:
    """Makes the rows of a graph.

    Arguments:
        graph: made readable by `skytutor.plot._network.merge.Merger`.
        state: tells what a value is.
        repeats: parts that are drawn once.
        output: what the network's output means, in the author's words.
    """

    def __init__(
        self,
        graph: Graph,
        state: Callable[[Value], State],
        *,
        repeats: list[Repeat],
        output: str | None,
    ):
        self.graph = graph
        self.state = state
        self.output = output
        self.rows: list[Row] = []
        self.at: dict[int, Row] = {}  # value -> the row that shows it last
        self.shown: dict[int, str] = {}  # value -> the state that the reader has read of it
        self.names: set[str] = set()  # of values, as far as the reader knows them
        self.outputs = self._outputs()
        self.taken = set(graph.consumers())
        self.copied = {id(n) for repeat in repeats if not repeat.shared for n in repeat.nodes}

    def plan(self, title: str) -> Plan:
        """Return rows and notes; `skytutor.plot._network.columns` adds columns and brackets."""
        for node in self._ordered():
            if node.kind in (INPUT, RANDOM):
                self._add_source(node)
            elif node.kind in (LAYER, FUNCTION):
                self._add_step(node)
        return Plan(title, self.rows, [], self._notes())

    def _outputs(self) -> dict[int, list[Node]]:
        """Return the values that the network returns, each with the nodes that say so."""
        found: dict[int, list[Node]] = {}
        for node in self.graph.nodes:
            for value in node.inputs if node.kind == OUTPUT else []:
                found.setdefault(id(value), []).append(node)
        return found

    def _ordered(self) -> list[Node]:
        """Return the steps, each further input just before it is first taken."""
        nodes = self.graph.nodes
        inputs = [node for node in nodes if node.kind == INPUT]
        consumers = self.graph.consumers()
        late: dict[int, list[Node]] = {}
        for node in inputs[1:]:
            takers = [taker for value in node.outputs for taker in consumers[id(value)]]
            if takers:
                late.setdefault(id(takers[0]), []).append(node)
        found = inputs[:1]
        for node in nodes:
            found += late.get(id(node), [])
            if node.kind != INPUT:
                found.append(node)
        return found

    # --- rows ---

    def _append(self, row: Row) -> Row:
        self.rows.append(row)
        return row

    def _show(self, value: Value, row: Row, text: str) -> None:
        self.at[id(value)] = row
        self.shown[id(value)] = text

    def _add_source(self, node: Node) -> None:
        """Append an input, or random numbers that several steps take."""
        title = node.name if node.kind == INPUT else f"random numbers ({node.name})"
        for value in node.outputs:
            state = self.state(value)
            row = self._append(Row(STATE, title, state.text, state=state, node=node))
            self.names.add(title)
            self._show(value, row, state.text)
            self._mark_output(value, row)

    def _mark_output(self, value: Value, row: Row) -> None:
        """Name the row of a value that the network returns, in each shape in which it does."""
        view: Row | None = None
        for node in self.outputs.get(id(value), []):
            name = self.output or node.name
            state = self._seen_state(node, value) or self.state(value)
            as_it_is = state.text == row.text and value.node.kind != INPUT
            if as_it_is:
                names = [row.title, name] if row.title and not self.output else [name]
                row.title = ", ".join(dict.fromkeys(names))
            elif view is None:
                view = self._append(self._view_row(state, row.node, name))
            else:
                view.more.append((name, state.text))

    def _add_step(self, node: Node) -> None:
        """Append the rows of a step: what it takes in another shape, itself, what it makes."""
        above = self.rows[-1] if self.rows else None
        before = ""
        for value in node.inputs:
            if above is None or self._row_of(node, value) is not above:
                continue
            before = self.shown[id(value)]
            state = self._seen_state(node, value)
            if state is not None and state.text != before:
                before = state.text
                above = self._append(self._view_row(state, node, node.seen[id(value)].name))
                whole = state.text == self.state(node.seen[id(value)]).text
                # What takes other parts of it takes them from the row before.
                self.at[id(value if whole else node.seen[id(value)])] = above
                break
        row = self._step_row(node)
        for value in node.inputs:
            source = self._row_of(node, value)
            row.direct = row.direct or (source is above and source is not None)
            if source is not None and source not in row.origins:
                row.origins.append(source)
        self._append(row)
        self._add_results(node, row, before or self._state_before(node))

    @staticmethod
    def _view_row(state: State, node: Node | None, name: str) -> Row:
        """Return the row of a value in another shape."""
        return Row(STATE, name, state.text, state=state, node=node, direct=True, is_view=True)

    def _row_of(self, node: Node, value: Value) -> Row | None:
        """Return the row that shows a value as a step takes it."""
        seen = node.seen.get(id(value), value)
        return self.at.get(id(seen), self.at.get(id(value)))

    def _seen_state(self, node: Node, value: Value) -> State | None:
        """Return in what shape a step takes a value, where that is worth a row."""
        seen = node.seen.get(id(value))
        if node.pair or seen is None or seen.shape[:1] != value.shape[:1]:
            return None
        state = self.state(seen)
        whole = self.state(value)
        size = math.prod(seen.shape[1:])
        if sorted(seen.shape) == sorted(value.shape):
            return None  # axes in another order
        if size == math.prod(value.shape[1:]):
            return state
        if state.kind == whole.kind == VECTOR and size < whole.channels:
            return replace(state, text=f"{number(size)} of {whole.text}")
        return state if node.kind == OUTPUT else None

    def _state_before(self, node: Node) -> str:
        return self.shown.get(id(node.inputs[0]), "") if node.inputs else ""

    def _add_results(self, node: Node, row: Row, before: str) -> None:
        """Append the states that come out of a step, where the reader does not know them yet."""
        wanted = [v for v in node.outputs if id(v) in self.outputs or id(v) in self.taken]
        if not wanted:
            return
        value = wanted[0]
        state = row.state = self.state(value)
        known = state.text == before and (not value.name or value.name in self.names)
        if known and id(value) not in self.outputs and len(wanted) == 1:
            self._show(value, row, before)
            return
        self.names.add(value.name)
        found = Row(STATE, value.name, state.text, state=state, node=node, direct=True)
        self._append(found)
        self._show(value, found, state.text)
        self._mark_output(value, found)
        for value in wanted[1:]:
            text = self.state(value).text
            name = self.outputs[id(value)][0].name if id(value) in self.outputs else value.name
            found.more.append((name, text))
            self._show(value, found, text)

    def _step_row(self, node: Node) -> Row:
        """Return the row of a step, without its arcs."""
        details = list(node.details)
        row = Row(BOX, node.title or node.name, node.sizes, node=node)
        row.first = list(node.before)
        if is_join(node):
            row.kind = JOIN
            row.symbol = operations.SYMBOLS.get(node.name, "")
            row.title = operations.JOINS[node.name]
            if node.noise:
                details.append(f"with random numbers ({node.noise})")
        elif node.kind == FUNCTION:
            words = [", ".join(names_of(node)) + self._over(node)]
            if not node.title:
                row.title = words.pop()
            elif node.name == REARRANGED:
                words = []
            joins = [operations.JOINS[n] for n in node.merged if n in ("cat", "stack")]
            details += words + joins[-1:]
        if is_merging(node) and row.kind == BOX:
            row.title = ", ".join([row.title, *node.after])
        else:
            details += node.after
        row.details = details
        row.weights = self._weights(node)
        return row

    def _over(self, node: Node) -> str:
        """Return over what a mean or a maximum goes."""
        reduces = any(name in operations.REDUCTIONS for name in node.merged or [node.name])
        if not reduces or not node.inputs or not node.outputs:
            return ""
        before = self.state(node.inputs[0])
        after = self.state(node.outputs[0])
        if before.kind in GRIDS and after.kind not in GRIDS:
            return " over pixels" if before.kind != SIGNAL else " over samples"
        return ""

    def _weights(self, node: Node) -> str:
        if not node.weights:
            return ""
        if not node.new_weights:
            return "same weights"
        more = " more" if node.new_weights < node.weights else ""
        each = " each" if id(node) in self.copied else ""
        return plural(node.new_weights, "weight") + more + each

    # --- columns, brackets, notes ---

    def _notes(self) -> list[str]:
        notes = [f"{plural(self.graph.n_weights, 'weight')} in all"]
        unused = self.graph.unused()
        if unused:
            names = sorted({name.rpartition(".")[0] or name for name in unused})
            listed = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            n_unused = plural(sum(unused.values()), "weight")
            notes.append(f"without effect on this output: {n_unused} ({listed})")
        return notes
