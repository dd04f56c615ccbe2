"""`{rooms}`: the rooms of the package as a picture and a table, from the rules in the tests."""

import ast
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
from skybook import ROOT, Measured

RULES = ROOT / "tests" / "test_architecture.py"
# From left to right, so that few lines cross and none runs through a room.
COLUMNS = (
    "arrays check chunks healpix training fields metrics exercises",
    "validate memo layers plot cli",
    "lazy files sht map_commands",
    "values tables io data widgets chapters commands",
)
# Narrow enough that letters stay readable on a telephone.
COLUMN = 110
ROW = 72
BOX = (96, 34)


class Room(NamedTuple):
    """One row of the rules.

    Attributes:
        name: of the module or folder.
        uses: the rooms it may import.
        holds: what it is for, in words.
    """

    name: str
    uses: frozenset[str]
    holds: str


def rooms() -> list[Room]:
    """Return the rooms, lowest first, as the test has them."""
    for node in ast.parse(RULES.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS":
            table = ast.literal_eval(node.value)
            return [Room(name, frozenset(uses.split()), holds) for name, uses, holds in table]
    raise ValueError(f"{RULES}: no table ROOMS")


def floors(table: list[Room]) -> dict[str, int]:
    """Return the floor of each room: 0 where it imports nothing, else above all it imports."""
    floor: dict[str, int] = {}
    for room in table:
        floor[room.name] = 1 + max((floor[other] for other in room.uses), default=-1)
    return floor


def direct(table: list[Room]) -> list[tuple[str, str]]:
    """Return the lines that a picture needs: those that no way over another room already shows."""
    below: dict[str, frozenset[str]] = {}
    lines = []
    for room in table:
        through = frozenset().union(*(below[other] for other in room.uses))
        below[room.name] = room.uses | through
        lines += [(room.name, other) for other in sorted(room.uses - through)]
    return lines


def places(table: list[Room]) -> dict[str, tuple[int, int]]:
    """Return the middle of the upper edge of each room's box, in the units of the picture."""
    wanted = {name: k for k, names in enumerate(COLUMNS) for name in names.split()}
    floor = floors(table)
    top = max(floor.values())
    taken: set[tuple[int, int]] = set()
    place = {}
    for room in table:
        row = top - floor[room.name]
        column = wanted.get(room.name, 0)
        while (column, row) in taken:  # a room that the columns do not know yet
            column += 1
        taken.add((column, row))
        place[room.name] = (column * COLUMN + COLUMN // 2, row * ROW + 2)
    return place


def picture(table: list[Room]) -> str:
    """Return the SVG: a box for each room, a row for each floor, lines down to what it imports."""
    place = places(table)
    width, height = BOX
    lines = []
    for upper, lower in direct(table):
        x1, y1 = place[upper]
        x2, y2 = place[lower]
        lines.append(f'<line x1="{x1}" y1="{y1 + height}" x2="{x2}" y2="{y2}"/>')
    boxes = []
    for name, (x, y) in place.items():
        boxes.append(
            f'<rect x="{x - width // 2}" y="{y}" width="{width}" height="{height}" rx="5"/>'
            f'<text x="{x}" y="{y + height // 2 + 5}">{escape(name)}</text>'
        )
    words = "; ".join(
        f"{room.name} imports {', '.join(sorted(room.uses)) or 'nothing'}" for room in table
    )
    right = max(x for x, _ in place.values()) + COLUMN // 2
    bottom = max(y for _, y in place.values()) + height + 2
    return (
        f'<svg class="rooms" role="img" viewBox="0 0 {right} {bottom}" '
        f'aria-label="The rooms of the package, lowest at the bottom: {escape(words)}.">'
        f"<g>{''.join(lines)}</g>{''.join(boxes)}</svg>"
    )


class Rooms(SphinxDirective):
    """The picture, then one row for each room, from the top down."""

    def run(self) -> list[nodes.Node]:
        """Return both as nodes, and have the page made anew when the table changes."""
        self.env.note_dependency(str(RULES))
        table = rooms()
        rows = []
        for room in reversed(table):
            uses = ", ".join(sorted(room.uses)) or "nothing"
            rows.append([room.name, room.holds.replace("`", ""), uses])
        return [
            nodes.raw("", f'<figure class="rooms">{picture(table)}</figure>', format="html"),
            Measured.table(["Room", "Holds", "May import"], rows),
        ]


def setup(app: Sphinx) -> dict:
    """Make the directive known to Sphinx."""
    app.add_directive("rooms", Rooms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
