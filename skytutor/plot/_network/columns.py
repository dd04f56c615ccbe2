"""Columns and brackets of a drawing: how far right a row stands, and which rows belong together."""

import math

from skytutor.plot._network.graph import Graph
from skytutor.plot._network.repeats import Repeat
from skytutor.plot._network.rows import STATE, Group, Row
from skytutor.plot._network.states import GRIDS, HARMONICS, SIGNAL


def set_levels(rows: list[Row]) -> None:
    """Set the column of each row: the coarser the resolution, the further right."""
    depths: dict[int, float] = {}
    finest = max((r.state.cells for r in rows if r.state and _has_grid(r)), default=0)
    for row in rows:
        if row.state is not None and _has_grid(row):
            base = 2 if row.state.kind == SIGNAL else 4
            depths[id(row)] = math.log(finest / row.state.cells, base)
    ranks = _ranks(sorted(set(depths.values())))
    last = 0
    for row in rows:
        if id(row) in depths:
            last = ranks[depths[id(row)]]
        elif row.state is None or row.state.kind != HARMONICS:
            last = max(ranks.values(), default=-1) + 1  # numbers without a grid
        row.level = last
    _lift(rows)


def _lift(rows: list[Row]) -> None:
    """Where harmonics come first, their column is that of the first grid after them."""
    levels = [row.level for row in rows if row.state and row.state.kind != HARMONICS]
    lowest = min(levels, default=0)
    for row in rows:
        row.level -= lowest


def _has_grid(row: Row) -> bool:
    return row.state is not None and row.state.kind in GRIDS and row.state.cells > 0


def _ranks(depths: list[float]) -> dict[float, int]:
    """Return columns of rising depths; those that are nearly the same stand in one."""
    found: dict[float, int] = {}
    start = -math.inf
    rank = -1
    for depth in depths:
        if depth - start >= 0.75:
            start = depth
            rank += 1
        found[depth] = rank
    return found


def groups_of(rows: list[Row], graph: Graph, repeats: list[Repeat]) -> list[Group]:
    """Return the brackets: parts that are repeated, and blocks of several steps."""
    groups: list[Group] = []
    for repeat in repeats:
        found = _bracket(rows, repeat.label, {id(node) for node in repeat.nodes})
        if found is not None:
            found.repeat = repeat
            groups.append(found)
    frames = {id(f): f for node in graph.nodes for f in node.frames if f.named}
    for frame in reversed(list(frames.values())):  # what stands within others first
        nodes = {id(node) for node in graph.nodes if frame in node.frames}
        found = _bracket(rows, frame.name, nodes)
        if found is None or _n_steps(rows, found) < 2:
            continue
        same = [g for g in groups if (g.first, g.last) == (found.first, found.last)]
        copied = same[0].repeat if same else None
        if not same:
            groups.append(found)
        elif copied is not None and frame not in copied.around:
            same[0].label = f"{frame.name} {copied.label}"  # the block is what is repeated
        else:
            same[0].label = f"{frame.name}: {same[0].label}"
    _set_nests(groups)
    # Without its bracket a repeated part would lose its copies; more than two names say little.
    groups = [group for group in groups if group.repeat or group.nest < 2]
    _set_nests(groups)
    return sorted(groups, key=lambda group: (group.first, group.nest))


def _bracket(rows: list[Row], label: str, nodes: set[int]) -> Group | None:
    steps = [k for k, row in enumerate(rows) if id(row.node) in nodes and row.kind != STATE]
    return Group(label, steps[0], steps[-1]) if steps else None


def _n_steps(rows: list[Row], group: Group) -> int:
    return sum(row.kind != STATE for row in rows[group.first : group.last + 1])


def _set_nests(groups: list[Group]) -> None:
    """Count, for each bracket, how many stand around it."""
    for group in groups:
        group.nest = sum(
            other is not group and other.first <= group.first and group.last <= other.last
            for other in groups
        )
