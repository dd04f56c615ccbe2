"""How wide words are, and where a line breaks: no font is asked, a wide one is assumed."""

# Widths of the letters of DejaVu Sans, the widest of the usual fonts, in units of its size.
_LETTERS = {
    0.29: "ijlIJ'",
    0.32: " ,.·",
    0.36: "/:;|f-",
    0.40: "()[]t!r",
    0.53: "sz?*_`",
    0.56: "cL",
    0.61: "FkvxyPTYao",
    0.64: "eESbdghnpqu$0123456789{}",
    0.70: "KAVBRXZC",
    0.79: "UHNDG&OQ",
    0.84: "w#+<=>^~\u00d7\u2192\u2212\u00f7",
}
_WIDTHS = {letter: width for width, letters in _LETTERS.items() for letter in letters}
_WIDEST = 1.0
BOLD = 1.12  # how much wider bold letters are


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Return an upper estimate of how wide a text is, in the unit of `size`.

    Arguments:
        text: one line.
        size: of the font.
        bold: whether it is in bold.
    """
    total = sum(_WIDTHS.get(letter, _WIDEST) for letter in text)
    return total * size * (BOLD if bold else 1.0)


def wrap(text: str, size: float, *, width: float, first: float | None = None) -> list[str]:
    """Break a text into lines between words.

    Arguments:
        text: to be broken; a word that is too wide is broken, too.
        size: of the font.
        width: of a line.
        first: of the first line; None for the same.
    """
    lines: list[str] = []
    line = ""
    room = width if first is None else first
    words = [piece for word in text.split(" ") for piece in _pieces(word, size, width=width)]
    for word in words:
        longer = f"{line} {word}" if line else word
        if line and width_of(longer, size) > room:
            lines.append(line)
            line = word
            room = width
        else:
            line = longer
    return [*lines, line]


def _pieces(word: str, size: float, *, width: float) -> list[str]:
    """Return a word in pieces that fit into a line: whole, if it does."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and width_of(pieces[-1] + letter, size) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces
