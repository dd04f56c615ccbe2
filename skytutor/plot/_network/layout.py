"""Where everything of a drawing stands: rows, lines of text, arcs, brackets.

Lengths are in pixels of a drawing `WIDTH` wide; on a telephone it is shown at about this size.
"""

from dataclasses import dataclass, field

from skytutor.plot._network.line_breaks import BOLD, width_of, wrap
from skytutor.plot._network.rows import BOX, JOIN, STATE, Plan, Row

WIDTH = 360.0
SIZE = 13.0  # of the main text
SMALL = 12.0  # of all else
LINE = 17.0  # from one line of text to the next
GAP = 13.0  # between two rows
APART = 7.0  # more of it, where the lower does not follow from the upper
CENTRE = 13.0  # from the left edge of a column to the line through it
INSET = 32.0  # from there to the text beside a circle
PAD = 9.0  # between a box and its text
_INDENTS = 84.0  # of all columns together
_LANE = 9.0  # from one arc to the next
_CLEAR = 9.0  # from an arc to the rows that it passes by
_BRACKET = 11.0  # from one bracket to the next
_MARGIN = 5.0
TITLE_SIZE = 15.0


@dataclass
class Text:
    """A line of text.

    Attributes:
        x: of its anchor.
        y: of its base line.
        parts: pieces with their weight: (text, whether in bold).
        size: of the font.
        anchor: "start" or "end".
        muted: whether it is less important.
    """

    x: float
    y: float
    parts: list[tuple[str, bool]]
    size: float = SIZE
    anchor: str = "start"
    muted: bool = False

    @property
    def content(self) -> str:
        """The whole text."""
        return "".join(part for part, _ in self.parts)

    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom, by an estimate of the width."""
        width = sum(width_of(part, self.size, bold=bold) for part, bold in self.parts)
        left = self.x - width if self.anchor == "end" else self.x
        return left, self.y - 0.78 * self.size, left + width, self.y + 0.24 * self.size


@dataclass
class Place:
    """Where a row stands.

    Attributes:
        row: the row.
        left: edge of its column.
        top: upper edge.
        height: of the row.
        texts: its lines.
    """

    row: Row
    left: float = 0.0
    top: float = 0.0
    height: float = 0.0
    texts: list[Text] = field(default_factory=list)

    @property
    def x(self) -> float:
        """Of the line that data take through the column."""
        return self.left + CENTRE

    @property
    def y(self) -> float:
        """Of the middle."""
        return self.top + self.height / 2

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + self.height


@dataclass
class Arc:
    """Data that pass by some rows.

    Attributes:
        source: where they leave.
        targets: where they arrive.
        first: index of the row where they leave.
        last: that of the last row where they arrive.
        column: the leftmost of the rows that they pass by.
        lane: counted from the rows outwards.
        x: of the vertical line.
    """

    source: Place
    targets: list[Place]
    first: int
    last: int = 0
    column: int = 0
    lane: int = 0
    x: float = 0.0

    @property
    def top(self) -> float:
        """Where the vertical line begins."""
        place = self.source
        return place.y if place.row.kind == STATE else place.bottom + GAP / 2

    @property
    def bottom(self) -> float:
        """Where it ends."""
        return max(place.y for place in self.targets)


@dataclass
class Bracket:
    """A bracket at the right of some rows; its label is among the texts of the layout."""

    x: float
    top: float
    bottom: float


class Layout:
    """Places of a plan.

    Arguments:
        plan: of one network.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.places = [Place(row) for row in plan.rows]
        self.nests = max((group.nest + 1 for group in plan.groups), default=0)
        self.right = WIDTH - _MARGIN - _BRACKET * self.nests
        self.arcs = self._arcs()
        self._set_columns()
        self.texts: list[Text] = []
        self.brackets: list[Bracket] = []
        self.height = self._stack()

    def _arcs(self) -> list[Arc]:
        """Return one arc for each row from which data pass by others, with its lane."""
        index = {id(row): k for k, row in enumerate(self.plan.rows)}
        found: dict[int, Arc] = {}
        rows = [None, *self.plan.rows]
        for k, place in enumerate(self.places):
            for source in place.row.sources(rows[k]):
                first = index[id(source)]
                arc = found.setdefault(first, Arc(self.places[first], [], first))
                arc.targets.append(place)
                arc.last = k
        done: list[Arc] = []
        # The shortest is next to the rows, so that arcs within others do not cross them.
        for arc in sorted(found.values(), key=lambda arc: arc.last - arc.first):
            arc.column = min(place.row.level for place in self.places[arc.first : arc.last + 1])
            taken = set()
            for other in done:
                meets = other.first <= arc.last and arc.first <= other.last
                if meets and other.column == arc.column:
                    taken.add(other.lane)
            arc.lane = next(k for k in range(len(done) + 1) if k not in taken)
            done.append(arc)
        return done

    def _set_columns(self) -> None:
        """Set the left edge of every row, with room for the arcs of each column."""
        n_levels = max((place.row.level for place in self.places), default=0)
        lanes = [0] * (n_levels + 1)
        for arc in self.arcs:
            lanes[arc.column] = max(lanes[arc.column], arc.lane + 1)
        step = min(18.0, _INDENTS / max(n_levels, 1))
        lefts: list[float] = []
        left = _MARGIN
        for level in range(n_levels + 1):
            room = _LANE * (lanes[level] - 1) + _CLEAR + 2 if lanes[level] else 0.0
            left = max(left + (step if level else 0), (lefts[-1] if lefts else _MARGIN) + room)
            lefts.append(left)
        for place in self.places:
            place.left = lefts[place.row.level]
        for arc in self.arcs:
            arc.x = lefts[arc.column] - _CLEAR - _LANE * arc.lane

    # --- from top to bottom ---

    def _stack(self) -> float:
        """Set the heights and the texts of everything; return the height of the drawing."""
        y = _MARGIN
        if self.plan.title:
            for line in wrap(self.plan.title, TITLE_SIZE * BOLD, width=WIDTH - 2 * _MARGIN):
                y += 18
                self.texts.append(Text(_MARGIN, y, [(line, True)], size=TITLE_SIZE))
            y += 10
        opened: dict[int, float] = {}
        for k, place in enumerate(self.places):
            if k and not place.row.direct:
                y += APART
            y += self._open_brackets(k, y, opened)
            place.top = y
            self._fill(place)
            y = place.bottom
            self._close_brackets(k, y, opened)
            y += GAP
        for k, note in enumerate(self.plan.notes):
            for line in wrap(note, SMALL, width=WIDTH - 2 * _MARGIN):
                y += LINE
                text = Text(_MARGIN, y, [(line, k == 0)], size=SMALL if k else SIZE, muted=k > 0)
                self.texts.append(text)
        return y + 8

    def _open_brackets(self, k: int, y: float, opened: dict[int, float]) -> float:
        """Begin the brackets of row k; return the height that their labels take."""
        used = 0.0
        for group in [group for group in self.plan.groups if group.first == k]:
            x = WIDTH - _MARGIN - _BRACKET * group.nest
            opened[id(group)] = y + used + 4
            text = Text(x - 5, y + used + 11, [(group.label, False)], SMALL, "end", muted=True)
            self.texts.append(text)
            used += 17
        return used

    def _close_brackets(self, k: int, y: float, opened: dict[int, float]) -> None:
        for group in self.plan.groups:
            if group.last == k:
                x = WIDTH - _MARGIN - _BRACKET * group.nest
                self.brackets.append(Bracket(x, opened[id(group)], y))

    def _fill(self, place: Place) -> None:
        """Set the texts of a row, and its height."""
        if place.row.kind == BOX:
            self._fill_box(place)
        else:
            self._fill_beside(place)

    def _fill_box(self, place: Place) -> None:
        row = place.row
        left = place.left + PAD
        width = self.right - PAD - left
        y = place.top + 3
        heading = f"{row.title} {row.text}".strip()
        details = ", ".join(row.details)
        if row.first:
            for line in wrap(", ".join(row.first) + ", then", SMALL, width=width):
                y = self._line(place, left, y, [(line, False)], SMALL, muted=True)
        if width_of(heading, SIZE, bold=True) <= width:
            parts = [(row.title, True)] + ([(f" {row.text}", False)] if row.text else [])
            y = self._line(place, left, y, parts, SIZE)
        else:
            for line in wrap(row.title, SIZE * BOLD, width=width):
                y = self._line(place, left, y, [(line, True)], SIZE)
            if row.text:
                y = self._line(place, left, y, [(row.text, False)], SIZE)
        heading_line = place.texts[-1]
        if details:
            for line in wrap(details, SMALL, width=width):
                y = self._line(place, left, y, [(line, False)], SMALL, muted=True)
        if row.weights:
            y = self._add_weights(place, heading_line, y)
        place.height = y + 8 - place.top

    def _add_weights(self, place: Place, heading: Text, y: float) -> float:
        """Put the number of weights beside the title, else beside the last line, else below."""
        words = place.row.weights
        end = self.right - PAD
        needed = width_of(words, SMALL) + 10
        free = [line for line in (heading, place.texts[-1]) if line.box()[2] + needed <= end]
        if not free:
            y += LINE
        place.texts.append(
            Text(end, free[0].y if free else y, [(words, False)], SMALL, "end", muted=True)
        )
        return y

    def _fill_beside(self, place: Place) -> None:
        """Set the text beside the circle or the icon."""
        row = place.row
        left = place.left + INSET
        width = self.right - left
        y = place.top + 1
        if row.kind == JOIN:
            parts = [(row.title, True)]
            details = ", ".join(row.details)
            first = width - width_of(f"{row.title}  ", SIZE, bold=True)
        else:
            title = f"{row.title}: " if row.title else ""
            parts = [(title, True)] if title else []
            details = row.text
            first = width - width_of(title, SIZE, bold=True)
        lines = wrap(details, SIZE, width=width, first=first) if details else [""]
        if lines[0]:
            parts.append(((", " if row.kind == JOIN else "") + lines[0], False))
        y = self._line(place, left, y, parts, SIZE)
        for line in lines[1:]:
            y = self._line(place, left, y, [(line, False)], SIZE)
        for name, text in row.more:
            parts = [(f"{name}: ", True)] if name else []
            y = self._line(place, left, y, [*parts, (text, False)], SIZE)
        place.height = max(y + 6 - place.top, 24.0)

    def _line(
        self,
        place: Place,
        x: float,
        y: float,
        parts: list[tuple[str, bool]],
        size: float,
        *,
        muted: bool = False,
    ) -> float:
        """Append a line of text below y; return its base line."""
        y += LINE
        place.texts.append(Text(x, y, parts, size, muted=muted))
        return y
