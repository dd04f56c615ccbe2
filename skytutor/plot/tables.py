"""Tables of results for a page and for a terminal, the best of each row or column in bold."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from skytutor.plot._cells import Cell, cell_of
from skytutor.validate import as_integer, one_of

_SENSES = ("min", "max")
_FIGURE_SPACE = "\u2007"  # as wide as a digit


class ResultsTable:
    """A table of results: HTML in a notebook, aligned columns of text elsewhere.

    `results_table` makes one and says what it holds.

    Arguments:
        caption: says what the table shows.
        head: names of the columns, the first that of the labels.
        labels: one for each row.
        cells: a list for each row, one cell for each column.
        best: (row, column) of the cells in bold.
    """

    def __init__(
        self,
        caption: str,
        head: list[str],
        *,
        labels: list[str],
        cells: list[list[Cell]],
        best: set[tuple[int, int]],
    ) -> None:
        self.caption = caption
        self._head = head
        self._labels = labels
        self._cells = cells
        self._best = best
        columns = list(zip(*cells, strict=True))
        # Errors of a column are as wide as the widest, so that its numbers stay below each other.
        self._error_widths = [max(len(cell.error) for cell in column) for column in columns]
        numbers = [any(cell.number is not None for cell in column) for column in columns]
        self._sides = ["right" if some else "left" for some in numbers]

    def _number_html(self, cell: Cell, width: int) -> str:
        """Return a number and its error; an error that is not there leaves its place empty."""
        if not width:
            return cell.text
        error = cell.error.rjust(width, _FIGURE_SPACE)
        if cell.error:
            return f"{cell.text} ± {error}"
        return f'{cell.text}<span aria-hidden="true" style="visibility:hidden"> ± {error}</span>'

    def _cell_html(self, row: int, column: int) -> str:
        """Return one cell; columns with numbers are aligned to the right."""
        cell = self._cells[row][column]
        look = f"text-align:{self._sides[column]}"
        if cell.number is None:
            return f'<td style="{look}">{escape(cell.text)}</td>'
        inner = self._number_html(cell, self._error_widths[column])
        if (row, column) in self._best:
            inner = f"<strong>{inner}</strong>"
        look += ";white-space:nowrap;font-variant-numeric:tabular-nums"
        return f'<td style="{look}">{inner}</td>'

    def _head_html(self) -> str:
        """Return the row of the columns' names, each above its numbers or words."""
        cells = ["<td></td>"]  # a heading without words heads nothing
        if self._head[0]:
            cells = [f'<th scope="col" style="text-align:left">{escape(self._head[0])}</th>']
        for name, side in zip(self._head[1:], self._sides, strict=True):
            cells.append(f'<th scope="col" style="text-align:{side}">{escape(name)}</th>')
        return "".join(cells)

    def _repr_html_(self) -> str:
        """Return the table for a notebook; on a narrow page it scrolls in a box of its own."""
        rows = []
        for row, label in enumerate(self._labels):
            cells = "".join(self._cell_html(row, column) for column in range(len(self._head) - 1))
            name = f'<th scope="row" style="text-align:left">{escape(label)}</th>'
            rows.append(f"<tr>{name}{cells}</tr>")
        # The class of the box is the theme's: the book gives it shadows and the keyboard.
        return (
            '<div class="sky-table pst-scrollable-table-container" style="overflow-x:auto">'
            '<table class="table">'
            '<caption style="text-align:left">'
            f'<span class="sky-caption">{escape(self.caption)}</span></caption>'
            f"<thead><tr>{self._head_html()}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>"
        )

    def _cell_text(self, row: int, column: int) -> str:
        """Return one cell for a terminal, a star at the best."""
        cell = self._cells[row][column]
        width = self._error_widths[column]
        text = cell.text
        if cell.error:
            text += f" ± {cell.error.rjust(width)}"
        elif width and cell.number is not None:
            text += " " * (width + 3)
        star = "*" if (row, column) in self._best else " "
        return text + star

    def __repr__(self) -> str:
        """Return the table as text, the best marked by a star."""
        columns = range(len(self._head) - 1)
        lines = [[self._head[0], *(f"{name} " for name in self._head[1:])]]
        for row, label in enumerate(self._labels):
            lines.append([label, *(self._cell_text(row, column) for column in columns)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [self.caption]
        for first, *rest in lines:
            padded = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
            shown.append("  ".join([first.ljust(widths[0]), *padded]).rstrip())
        return "\n".join(shown)


def results_table(
    rows: Mapping[str, Mapping[str, Any]],
    *,
    caption: str,
    columns: Sequence[str] | None = None,
    best: str | Mapping[str, str] | None = None,
    axis: str = "row",
    digits: int | Mapping[str, int] = 2,
    corner: str = "",
) -> ResultsTable:
    """Return a table of results with errors, limits and published values side by side.

    Numbers stand below each other, point below point, and the best of each row or column is bold
    (in a terminal, starred). What is called "limit", or "limit" and more ("limit (%)"), is what no
    result can beat: it takes no part in the comparison. Of numbers that read the same, all are
    bold. Labels and caption are plain text: Greek letters as Unicode, no equations.

    Arguments:
        rows: label of a row to its cells: name of the column to a number, a pair (number, standard
            error), a text, or None where there is nothing.
        caption: says what is shown, with its unit; the table can be read without the text around.
        columns: which columns, in this order; all of them in the order they appear by default.
        best: "min" or "max" says which number is the best, None leaves all plain. With
            ``axis="column"`` it may be a mapping from columns to these.
        axis: "row" looks for the best of each row, "column" for the best of each column.
        digits: after the decimal point; a mapping gives each column its own, 2 where it is silent.
            Whole numbers (int) are shown as they are.
        corner: heading of the labels.

    Returns:
        what a notebook shows as HTML and a terminal as text.

    Raises:
        TypeError: rows that are no mapping, a cell that is neither number, pair, text nor None, a
            caption or a label that is no text, columns that are no sequence, or digits that are no
            integer.
        ValueError: no rows, no columns, a column that is not among `columns` or that no row has,
            a number that is not finite, a negative error, an equation, an empty caption, another
            `best` or `axis`.

    Example:
        >>> results_table(
        ...     {"noise 0": {"ours": (0.551, 0.012), "pixels": 1.32, "limit": 0.54}},
        ...     caption="Error of the peak in per cent.",
        ...     best="min",
        ... )
        Error of the peak in per cent.
                        ours   pixels   limit
        noise 0  0.55 ± 0.01*   1.32    0.54
    """
    names = _column_names(rows, columns)
    _check_words([caption, corner, *names, *rows])
    if not caption.strip():
        raise ValueError(f"caption must be a text that says what is shown, got {caption!r}")
    one_of("axis", axis, allowed=("row", "column"))
    senses = _senses(best, names, axis=axis)
    places = _places(digits, names)
    cells = []
    for label, row in rows.items():
        cells.append([cell_of(f"{label}, {n}", row.get(n), digits=places[n]) for n in names])
    labels = list(rows)
    winners = _winners(cells, labels, names=names, senses=senses, axis=axis)
    return ResultsTable(caption, [corner, *names], labels=labels, cells=cells, best=winners)


def _column_names(
    rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str] | None
) -> list[str]:
    """Return the columns in their order; ``ValueError`` for none and for unknown ones."""
    if not isinstance(rows, Mapping):
        raise TypeError(f"rows must be a mapping of labels to rows, got {rows!r}")
    if not rows:
        raise ValueError(f"rows must be a mapping with at least one row, got {rows!r}")
    for label, row in rows.items():
        if not isinstance(row, Mapping):
            raise TypeError(f"rows: {label!r} must be a mapping of columns, got {row!r}")
    # A dictionary keeps the order in which the names appear, each once.
    found = list(dict.fromkeys(name for row in rows.values() for name in row))
    if columns is None:
        names = found
    elif isinstance(columns, str) or not isinstance(columns, Sequence):
        raise TypeError(f"columns must be a sequence of names, got {columns!r}")
    else:
        names = list(columns)
    if not names:
        raise ValueError("columns: there must be at least one, got none")
    unknown = [name for name in found if name not in names]
    if unknown:
        raise ValueError(f"rows hold columns {unknown!r} that are not among columns {names!r}")
    missing = [name for name in names if name not in found]
    if missing or len(set(names)) < len(names):
        raise ValueError(f"columns must be different names that rows hold, got {names!r}")
    return names


def _check_words(texts: list[str]) -> None:
    """Refuse labels that are no text, and equations, which a table shows as they are typed."""
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"captions, labels and columns must be texts, got {text!r}")
        if "$" in text or "\\" in text:
            raise ValueError(
                f"captions, labels and columns are plain text, write Unicode for {text!r}"
            )


def _senses(
    best: str | Mapping[str, str] | None, names: list[str], *, axis: str
) -> dict[str, str | None]:
    """Return which number is the best for each column: "min", "max" or None."""
    if not isinstance(best, Mapping):
        if best is not None:
            one_of("best", best, allowed=_SENSES)
        return dict.fromkeys(names, best)
    if axis != "column":
        raise ValueError('best may be a mapping of columns with axis="column" alone')
    for name, sense in best.items():
        one_of("best: column", name, allowed=names)
        one_of(f"best: {name}", sense, allowed=_SENSES)
    return {name: best.get(name) for name in names}


def _places(digits: int | Mapping[str, int], names: list[str]) -> dict[str, int]:
    """Return the digits after the point for each column."""
    places = dict.fromkeys(names, 2)
    if isinstance(digits, Mapping):
        for name in digits:
            one_of("digits: column", name, allowed=names)
        places |= digits
    else:
        places = dict.fromkeys(names, digits)
    for name, place in places.items():
        if not 0 <= as_integer("digits", place) <= 9:
            raise ValueError(f"digits must lie between 0 and 9, got {place!r} for {name!r}")
    return places


def _is_limit(name: str) -> bool:
    """Tell whether a row or column is a limit, which no result can beat."""
    return name.casefold().split()[:1] == ["limit"]


def _winners(
    cells: list[list[Cell]],
    labels: list[str],
    *,
    names: list[str],
    senses: dict[str, str | None],
    axis: str,
) -> set[tuple[int, int]]:
    """Return (row, column) of the best of each row or column, and of what reads the same."""
    rows = [k for k, label in enumerate(labels) if not _is_limit(label)]
    columns = [k for k, name in enumerate(names) if not _is_limit(name) and senses[name]]
    if axis == "row":
        groups = [[(row, column) for column in columns] for row in rows]
    else:
        groups = [[(row, column) for row in rows] for column in columns]
    winners = set()
    for group in groups:
        texts = {at: cells[at[0]][at[1]].text for at in group}
        numbers = {at: cells[at[0]][at[1]].number for at in group}
        entries = {at: number for at, number in numbers.items() if number is not None}
        if len(entries) < 2:  # the best of one says nothing
            continue
        pick = min if senses[names[group[0][1]]] == "min" else max
        best = pick(entries, key=entries.__getitem__)
        winners |= {at for at in entries if texts[at] == texts[best]}
    return winners
