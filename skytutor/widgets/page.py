"""The HTML of a sphere that needs no kernel and no network: the map, what is said of it, and the script that draws it."""

import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

SCRIPT = Path(__file__).with_name("sphere.js")
_LINE = "// ==== controls ====\n"
_LETTERS = np.array([c for c in range(33, 127) if chr(c) not in "&<>"], np.uint8)
# a line's comment or indentation; a string or a template, kept; blanks between words; other blanks;
# the naught of 0.5
_TOKEN = re.compile(
    r"""^\s*//[^\n]*\n|[ \t]+//[^\n]*$|^[ \t]+|("(?:\\.|[^"\\])*"|`[^`]*`)|(?<![\w$])[ \t]+|[ \t]+(?![\w$])|(?<![\w.$])0(?=\.\d)""",
    re.MULTILINE,
)
_BREAK = re.compile(
    r"(?<=[;{},(])\n|\n(?=\})"
)  # a line needs no end here: in `sphere.js` every statement has its semicolon
_LONE = re.compile(r"(?<![\w$])\(([\w$]+)\)=>")  # the one argument of a function, in brackets
# MathJax, of whatever version, sets no equation in an element of these classes: a title is text,
# dollar signs and all.
PLAIN = ("tex2jax_ignore", "mathjax_ignore")
# Said by the page itself, since a script that may not run cannot say so. Readers whose script runs
# do not see it flash: for two seconds it takes no room, and the script removes it. Where styles are
# forbidden too it is plainly there.
_WHY = (
    "The sphere is drawn by a script inside this page, which has not run. If this sentence stays, scripts are switched off here, "
    "the page's security policy forbids scripts inside it, or the notebook is not trusted."
)
_LATE = "<style>@keyframes sky-late{0%,100%{visibility:hidden;font-size:0;margin:0}}</style>"


@cache
def script(*, controls: bool = True) -> str:
    """The module `sphere.js` without comments and needless signs; without `controls`, its core alone: a globe to turn and zoom."""
    core, rest = SCRIPT.read_text(encoding="utf-8").split(_LINE)
    return _squeeze(core + rest if controls else core)


def _tighten(text: str) -> str:
    """Without comments and blanks; strings and templates are kept, but for a shader."""

    def short(match: re.Match) -> str:
        kept = match[1] or ""
        if not kept.startswith("`#version"):
            return kept
        return "`" + _BREAK.sub("", _tighten(kept[1:-1])) + "`"

    return re.sub(r"\n{2,}", "\n", _TOKEN.sub(short, text))


def _squeeze(text: str) -> str:
    parts = re.split(r"(`[^`]*`)", _tighten(text))
    for k in range(0, len(parts), 2):  # outside templates
        joined = _BREAK.sub("", parts[k])
        bare = _LONE.sub(r"\1=>", joined)
        parts[k] = bare.replace(
            ";}", "}"
        )  # a last statement needs no semicolon; in a shader it does
    return "".join(parts).strip()


def as_text(data: bytes) -> str:
    """Bytes as text that HTML leaves alone: 13 bits in two of 91 printable letters, 23 % longer than the bytes."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    bits = np.concatenate([bits, np.zeros(-len(bits) % 13, np.uint8)]).reshape(-1, 13)
    values = bits @ (1 << np.arange(12, -1, -1))
    return _LETTERS[np.stack(np.divmod(values, 91), 1).ravel()].tobytes().decode("ascii")


@cache
def palettes() -> dict[str, str]:
    """Colour maps that the script knows: anchors as hexadecimal digits, six each."""
    return dict(
        re.findall(
            r'^  "?([a-z-]+)"?: "([0-9a-f]+)",$', SCRIPT.read_text(encoding="utf-8"), re.MULTILINE
        )
    )


def settings(spec: dict[str, Any], data: bytes) -> str:
    """What the script is told of the map, as JSON that may stand inside HTML."""
    return json.dumps(spec | {"bytes": len(data)}, ensure_ascii=False, allow_nan=False).replace(
        "<", "\\u003c"
    )


def twin(spec: dict[str, Any], data: bytes, *, controls: bool) -> str:
    """HTML of one sphere. Any text in `spec` is shown as text, whatever marks it holds."""
    return (
        f'<div class="sky-sphere {" ".join(PLAIN)}"{"" if controls else " data-bare"}>'
        f'<script type="application/json">{settings(spec, data)}</script><script type="text/plain">{as_text(data)}</script>'
        f'<p class="sky-summary" data-instead>{html.escape(spec["summary"])}</p>'
        f'{_LATE}<p class="sky-why" style="animation:sky-late 2s">{_WHY}</p>'
        f'<script type="module">{script(controls=controls)}</script></div>'
    )
