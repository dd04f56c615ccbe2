"""A layout as SVG: in the colour of the text around it, with translucent fills."""

import math
from html import escape

from skytutor.plot._network.layout import CENTRE, GAP, WIDTH, Arc, Bracket, Layout, Place, Text
from skytutor.plot._network.rows import BOX, JOIN, STATE
from skytutor.plot._network.states import (
    HARMONICS,
    MINUS,
    PICTURE,
    SIGNAL,
    SPHERE,
    TIMES,
    VECTOR,
)

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
# Translucent: they do on white and on near-black, and text on them keeps its contrast.
_WEIGHTS = "fill: var(--sky-network-weights, rgba(52, 131, 235, 0.16))"
_PLAIN = "fill: var(--sky-network-plain, rgba(128, 128, 128, 0.14))"
_ICON = "fill: var(--sky-network-state, rgba(232, 142, 40, 0.42))"
_LINE = 'fill="none" stroke="currentColor" stroke-width="1.3" stroke-opacity="0.62"'
_EDGE = 'stroke="currentColor" stroke-width="1" stroke-opacity="0.45"'
_THIN = 'fill="none" stroke="currentColor" stroke-width="1" stroke-opacity="0.8"'


def _n(value: float) -> str:
    """Return a coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def render(layout: Layout, *, label: str) -> str:
    """Return the drawing as one ``<svg>`` element.

    Arguments:
        layout: where everything stands.
        label: what a screen reader says.
    """
    parts = [_bracket(bracket) for bracket in layout.brackets]
    for above, place in zip(layout.places, layout.places[1:], strict=False):
        if place.row.direct:
            parts.append(_link(above, place))
    parts += [_arc(arc) for arc in layout.arcs]
    parts += [_shape(place, layout.right) for place in layout.places]
    texts = layout.texts + [text for place in layout.places for text in place.texts]
    parts += [_text(text) for text in texts]
    size = f"{_n(WIDTH)} {_n(layout.height)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sky-network" viewBox="0 0 {size}" '
        f'width="100%" role="img" aria-label="{escape(label)}" font-family="{escape(_FONT)}" '
        f'fill="currentColor">' + "".join(parts) + "</svg>"
    )


def _text(text: Text) -> str:
    spans = []
    for part, bold in text.parts:
        weight = ' font-weight="600"' if bold else ""
        spans.append(f"<tspan{weight}>{escape(part)}</tspan>")
    anchor = ' text-anchor="end"' if text.anchor == "end" else ""
    muted = ' fill-opacity="0.8"' if text.muted else ""
    return (
        f'<text x="{_n(text.x)}" y="{_n(text.y)}" font-size="{_n(text.size)}"{anchor}{muted} '
        f'xml:space="preserve">{"".join(spans)}</text>'
    )


def _shape(place: Place, right: float) -> str:
    if place.row.kind == BOX:
        width = right - place.left
        fill = _WEIGHTS if place.row.weights else _PLAIN
        return (
            f'<rect x="{_n(place.left)}" y="{_n(place.top)}" width="{_n(width)}" '
            f'height="{_n(place.height)}" rx="5" style="{fill}" {_EDGE}/>'
        )
    if place.row.kind == JOIN:
        return _joint(place)
    return _icon(place)


def _top_of(place: Place) -> float:
    """Return where the line from above ends."""
    if place.row.kind == BOX:
        return place.top
    return _middle(place) - (9 if place.row.kind == JOIN else _half_height(place))


def _bottom_of(place: Place) -> float:
    """Return where the line downwards begins."""
    if place.row.kind == BOX:
        return place.bottom
    return _middle(place) + (9 if place.row.kind == JOIN else _half_height(place))


def _middle(place: Place) -> float:
    """Return the height of the first line of text beside a circle or an icon."""
    return place.top + 13.5


def _link(above: Place, place: Place) -> str:
    """Return the line from a row to the next."""
    start = _bottom_of(above)
    end = _top_of(place)
    if above.x == place.x:
        return f'<path d="M{_n(place.x)} {_n(start)}V{_n(end)}" {_LINE}/>'
    bend = max(above.bottom, start)
    middle = (bend + end) / 2
    return (
        f'<path d="M{_n(above.x)} {_n(start)}V{_n(bend)}C{_n(above.x)} {_n(middle)} {_n(place.x)} '
        f'{_n(middle)} {_n(place.x)} {_n(end)}" {_LINE}/>'
    )


def _arc(arc: Arc) -> str:
    """Return the line that passes by rows, with its arrow heads."""
    source = arc.source
    parts = []
    if source.row.kind == STATE:
        x = source.x - _half_width(source) - 1
        y = _middle(source)
    else:
        x = source.x
        y = source.bottom + GAP / 2
        parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="2.4"/>')
        parts.append(f'<path d="M{_n(x)} {_n(_bottom_of(source))}V{_n(y)}" {_LINE}/>')
    r = min(6.0, (x - arc.x) / 2)
    last = max(_entry(place)[1] for place in arc.targets)
    down = f"M{_n(x)} {_n(y)}H{_n(arc.x + r)}q{_n(-r)} 0 {_n(-r)} {_n(r)}V{_n(last - 6)}"
    parts.append(f'<path d="{down}" {_LINE}/>')
    for place in arc.targets:
        end, height = _entry(place)
        bow = min(6.0, (end - arc.x) / 2)
        path = f"M{_n(arc.x)} {_n(height - 6)}q0 6 {_n(bow)} 6H{_n(end - 4)}"
        parts.append(f'<path d="{path}" {_LINE}/>')
        head = f"M{_n(end)} {_n(height)}l-6 -3.4v6.8z"
        parts.append(f'<path d="{head}" fill-opacity="0.75"/>')
    return "".join(parts)


def _entry(place: Place) -> tuple[float, float]:
    """Return where an arc arrives at a row."""
    if place.row.kind == BOX:
        return place.left - 0.5, place.top + 13
    return place.x - 9.5, _middle(place)


def _joint(place: Place) -> str:
    x = place.x
    y = _middle(place)
    circle = f'<circle cx="{_n(x)}" cy="{_n(y)}" r="9" style="{_PLAIN}" {_EDGE}/>'
    strokes = {
        "+": "M{l} {y}H{r}M{x} {t}V{b}",
        MINUS: "M{l} {y}H{r}",
        TIMES: "M{l} {t}L{r} {b}M{l} {b}L{r} {t}",
    }
    path = strokes.get(place.row.symbol, "M{l} {t}H{r}M{l} {y}H{r}M{l} {b}H{r}")
    d = 4.5 if place.row.symbol in ("+", MINUS) else 3.6
    path = path.format(x=_n(x), y=_n(y), l=_n(x - d), r=_n(x + d), t=_n(y - d), b=_n(y + d))
    return f'{circle}<path d="{path}" fill="none" stroke="currentColor" stroke-width="1.5"/>'


def _bracket(bracket: Bracket) -> str:
    path = (
        f"M{_n(bracket.x - 3)} {_n(bracket.top)}H{_n(bracket.x)}V{_n(bracket.bottom)}"
        f"H{_n(bracket.x - 3)}"
    )
    return f'<path d="{path}" {_THIN}/>'


# --- icons ---


def _radius(place: Place) -> float:
    """Return half the size of an icon: the coarser the resolution, the smaller."""
    return max(10.5 - 1.6 * place.row.level, 5.5)


def _half_height(place: Place) -> float:
    kind = place.row.state.kind if place.row.state else ""
    if kind in (SPHERE, PICTURE):
        return _radius(place)
    return 4.5 if kind in (VECTOR, SIGNAL) else 7.0


def _half_width(place: Place) -> float:
    kind = place.row.state.kind if place.row.state else ""
    return _radius(place) if kind in (SPHERE, PICTURE) else CENTRE - 1


def _icon(place: Place) -> str:
    """Return the icon of a state."""
    state = place.row.state
    kind = state.kind if state else ""
    x = place.x
    y = _middle(place)
    r = _radius(place)
    if kind == SPHERE:
        inner = (
            f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}" style="{_ICON}" {_EDGE}/>'
            f'<path d="M{_n(x - r)} {_n(y)}a{_n(r)} {_n(r * 0.36)} 0 0 0 {_n(2 * r)} 0'
            f"M{_n(x)} {_n(y - r)}a{_n(r * 0.45)} {_n(r)} 0 0 0 0 {_n(2 * r)}"
            f'a{_n(r * 0.45)} {_n(r)} 0 0 0 0 {_n(-2 * r)}" {_THIN}/>'
        )
        return inner
    if kind == PICTURE:
        return (
            f'<rect x="{_n(x - r)}" y="{_n(y - r)}" width="{_n(2 * r)}" height="{_n(2 * r)}" '
            f'style="{_ICON}" {_EDGE}/><path d="M{_n(x)} {_n(y - r)}v{_n(2 * r)}M{_n(x - r)} '
            f'{_n(y)}h{_n(2 * r)}" {_THIN}/>'
        )
    if kind == HARMONICS:
        return _wave(x, y)
    ticks = "".join(f"M{_n(x + dx)} {_n(y - 4.5)}v9" for dx in (-4, 4))
    return (
        f'<rect x="{_n(x - 12)}" y="{_n(y - 4.5)}" width="24" height="9" style="{_ICON}" {_EDGE}/>'
        f'<path d="{ticks}" {_THIN}/>'
    )


def _wave(x: float, y: float) -> str:
    points = []
    for k in range(25):
        dx = k - 12
        points.append(f"{_n(x + dx)} {_n(y - 5.5 * math.sin(dx * math.pi / 8))}")
    return (
        f'<rect x="{_n(x - 12)}" y="{_n(y - 7)}" width="24" height="14" rx="3" style="{_ICON}" '
        f'{_EDGE}/><path d="M{"L".join(points)}" {_THIN}/>'
    )
