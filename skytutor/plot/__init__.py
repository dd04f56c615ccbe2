"""Pictures: the sphere on paper, tables of results, and the style that all figures share."""

from skytutor.plot.drawing import Drawing, architecture
from skytutor.plot.sphere import colour_bar, globe, mollweide
from skytutor.plot.style import CMAP, LINE_COLOURS, PLAIN_TEXT, SIGNED, style
from skytutor.plot.tables import ResultsTable, results_table

__all__ = [
    "CMAP",
    "LINE_COLOURS",
    "PLAIN_TEXT",
    "SIGNED",
    "Drawing",
    "ResultsTable",
    "architecture",
    "colour_bar",
    "globe",
    "mollweide",
    "results_table",
    "style",
]
