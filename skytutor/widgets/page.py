"""The HTML of a sphere that needs no kernel and no network.

It holds the map, what is said of it, and the script that draws it.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from skytutor.memo import cached_table
from skytutor.widgets.saved import PLAIN, as_ascii

SCRIPT = Path(__file__).with_name("sphere.js")
_BORDER = "// ==== controls ====\n"  # in `sphere.js`, between its core and the controls
_LETTERS = np.array([c for c in range(33, 127) if chr(c) not in "&<>"], np.uint8)
_PIECE = 13 * 2**14  # bytes that are written as text in one go
# What can be left out of the script, but for group 1, which is kept.
_TOKEN = re.compile(
    r"^\s*//[^\n]*\n"  # a line that is a comment
    r"|[ \t]+//[^\n]*$"  # a comment at the end of a line
    r"|^[ \t]+"  # indentation
    r'|("(?:\\.|[^"\\])*"|`[^`]*`)'  # group 1: a string or a template
    r"|(?<![\w$])[ \t]+|[ \t]+(?![\w$])"  # blanks that part no two words
    r"|(?<![\w.$])0(?=\.\d)",  # the naught of 0.5
    re.MULTILINE,
)
# A line needs no end here: in `sphere.js` every statement has its semicolon.
_BREAK = re.compile(r"(?<=[;{},(])\n|\n(?=\})")
_LONE = re.compile(r"(?<![\w$])\(([\w$]+)\)=>")  # the one argument of a function, in brackets
# Said by the page itself, since a script that may not run cannot say so. Readers whose script runs
# do not see it flash: for two seconds it takes no room, and the script removes it. Where styles are
# forbidden too it is plainly there.
_WHY = (
    "The sphere is drawn by a script inside this page, which has not run. If this sentence stays, "
    "scripts are switched off here, the page's security policy forbids scripts inside it, or the "
    "notebook is not trusted."
)
_LATE = "<style>@keyframes sky-late{0%,100%{visibility:hidden;font-size:0;margin:0}}</style>"


@cached_table(maxsize=2)
def script(*, controls: bool = True) -> str:
    """Return the module `sphere.js` without comments and needless signs.

    Arguments:
        controls: False for its core alone: a globe to turn and zoom.
    """
    core, rest = SCRIPT.read_text(encoding="utf-8").split(_BORDER)
    return _squeeze(core + rest if controls else core)


def _tighten(text: str) -> str:
    """Take out comments and blanks; strings and templates are kept, but for a shader's source."""

    def short(match: re.Match) -> str:
        kept = match[1] or ""
        if not kept.startswith("`#version"):
            return kept
        return "`" + _BREAK.sub("", _tighten(kept[1:-1])) + "`"

    return re.sub(r"\n{2,}", "\n", _TOKEN.sub(short, text))


def _squeeze(text: str) -> str:
    """Take out line ends too, and what else JavaScript can do without."""
    parts = re.split(r"(`[^`]*`)", _tighten(text))
    for k in range(0, len(parts), 2):  # outside templates
        joined = _BREAK.sub("", parts[k])
        bare = _LONE.sub(r"\1=>", joined)
        # A last statement needs no semicolon; in a shader it does.
        parts[k] = bare.replace(";}", "}")
    return "".join(parts).strip()


def as_text(data: bytes) -> str:
    """Write bytes as text that HTML leaves alone: 13 bits in two of 91 printable letters.

    The text is 23 % longer than the bytes; in base64 it would be 33 %.

    Arguments:
        data: any bytes.
    """
    # A piece at a time: all bits of a large map as integers would need half a gigabyte. A piece is
    # a whole number of 13 bytes, and so of 13 bits.
    pieces = [_letters(data[k : k + _PIECE]) for k in range(0, len(data), _PIECE)]
    return "".join(pieces)


def _letters(data: bytes) -> str:
    """Write bytes as text, 13 bits in two letters."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    padding = np.zeros(-len(bits) % 13, np.uint8)
    groups = np.concatenate([bits, padding]).reshape(-1, 13)  # 13 bits a row, the highest first
    values = groups @ (1 << np.arange(12, -1, -1))  # 0..8191, less than 91**2 = 8281
    digits = np.stack(np.divmod(values, 91), axis=1)
    return _LETTERS[digits.ravel()].tobytes().decode("ascii")


@cached_table(maxsize=1)
def palettes() -> dict[str, str]:
    """Return the colour maps that the script knows, by name.

    Each is a row of colour stops, six hexadecimal digits (red, green, blue) for each.
    """
    text = SCRIPT.read_text(encoding="utf-8")
    return dict(re.findall(r'^  "?([a-z-]+)"?: "([0-9a-f]+)",$', text, re.MULTILINE))


def settings(spec: dict[str, Any], data: bytes) -> str:
    """Write what the script needs to know of the maps as JSON that may stand inside HTML.

    Arguments:
        spec: as `skytutor.widgets.sphere.view` makes it.
        data: the maps' bytes.
    """
    text = json.dumps(spec | {"bytes": len(data)}, allow_nan=False)
    return text.replace("<", "\\u003c")


def static_html(spec: dict[str, Any], data: bytes, *, controls: bool) -> str:
    """Return the HTML of one sphere, with map and script inside.

    Any text in `spec` is shown as text, whatever marks it holds.

    Arguments:
        spec: as `skytutor.widgets.sphere.view` makes it.
        data: the maps' bytes.
        controls: False for a bare globe.
    """
    return (
        f'<div class="sky-sphere {" ".join(PLAIN)}"{"" if controls else " data-bare"}>'
        f'<script type="application/json">{settings(spec, data)}</script>'
        f'<script type="text/plain">{as_text(data)}</script>'
        f'<p class="sky-summary" data-instead>{as_ascii(html.escape(spec["summary"]))}</p>'
        f'{_LATE}<p class="sky-why" style="animation:sky-late 2s">{_WHY}</p>'
        f'<script type="module">{script(controls=controls)}</script></div>'
    )
