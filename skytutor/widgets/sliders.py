"""A curve to change by hand: a mean and components, with a slider for each coefficient.

What a cell shows is HTML that holds the numbers and a short script, so it works in a built book,
without kernel and network.
"""

import html
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from skytutor.validate import as_length
from skytutor.widgets.saved import PLAIN, SavedPage, as_ascii
from skytutor.widgets.words import number, plain_text

__all__ = ["CurveSliders"]

MOST_POINTS = 1200  # of a curve; more would not be seen apart
MOST_COMPONENTS = 6
FARTHEST = 1000  # heights of the plot that a value may lie from zero or a component move the curve
_STEPS = 2000  # of the height of the plot, to which values are rounded: an eighth of a pixel
# Sizes in the units of the viewBox, about a pixel each; the curve is drawn in tenths of them.
_WIDTH = 560
_HEIGHT = 300
_LEFT = 56
_RIGHT = 12
_TOP = 10
_BOTTOM = 46
_ACROSS = _WIDTH - _LEFT - _RIGHT
_DOWN = _HEIGHT - _TOP - _BOTTOM
_FINE = 10
_STYLE = """
.sky-sliders{max-width:42rem;margin:.5rem 0;color:inherit}
.sky-sliders>svg{display:block;width:100%;height:auto}
.sky-sliders label{display:flex;align-items:center;gap:.6rem;margin:.2rem 0;padding:0}
.sky-sliders label span{flex:0 1 9rem}
.sky-sliders input{flex:1 1 6rem;min-width:0;height:1.75rem;margin:0;accent-color:#2f7fd0}
.sky-sliders label output{flex:0 0 3.6rem;text-align:right;font-variant-numeric:tabular-nums}
.sky-sliders .sky-row{display:flex;flex-wrap:wrap;align-items:center;gap:.2rem 1rem}
.sky-sliders button{font:inherit;color:inherit;background:transparent;border:1px solid currentColor;
border-radius:.3rem;padding:.1rem .7rem;min-height:1.75rem;cursor:pointer}
""".replace("\n", "")
# Each row of numbers is sent as whole steps from one to the next. An element that has been
# prepared is marked, since every fragment of a page brings the script along.
_SCRIPT = """
for (const box of document.querySelectorAll(".sky-sliders:not([data-live])")) {
  box.dataset.live = "";
  const spec = JSON.parse(box.querySelector("script").textContent);
  const rows = spec.rows.map(([unit, steps]) => {
    let sum = 0;
    return steps.map((step) => unit * (sum += step));
  });
  const [x, mean, ...components] = rows;
  const [low, high] = spec.range;
  const sliders = [...box.querySelectorAll("input")];
  const [curve, ends] = ["curve", "ends"].map((name) => box.querySelector(`[data-${name}]`));
  const say = (value, digits) => {
    const text = Math.abs(value).toFixed(digits), minus = value < 0 && Number(text);
    return (minus ? "\\u2212" : "") + text;
  };
  const draw = () => {
    const c = sliders.map((slider) => Number(slider.value));
    // y = mean + sum over k of c_k component_k
    const y = mean.map((m, i) => components.reduce((sum, one, k) => sum + c[k] * one[i], m));
    const place = (value) => Math.round(spec.height * (high - value) / (high - low));
    curve.setAttribute("d", "M" + y.map((value, i) => x[i] + " " + place(value)).join("L"));
    sliders.forEach((slider, k) => {
      const text = say(c[k], spec.digits);
      slider.setAttribute("aria-valuetext", text);
      slider.parentNode.querySelector("output").textContent = text;
    });
    const [least, most] = [Math.min(...y), Math.max(...y)].map((end) => say(end, spec.places));
    ends.textContent = `lowest ${least}, highest ${most}`;
  };
  box.addEventListener("input", draw);
  // JupyterLab takes arrows for its own, older ones unless data-lm-suppress-shortcuts is set.
  box.addEventListener("keydown", (event) => event.stopPropagation());
  box.querySelector("button").addEventListener("click", () => {
    sliders.forEach((slider) => { slider.value = 0; });
    draw();
  });
  box.querySelector("[data-why]").remove();
  box.querySelector("[data-controls]").hidden = false;
  draw();
}
"""
_WHY = "The sliders need a script inside this page, which has not run; the mean is shown."


class CurveSliders(SavedPage):
    """A plot of ``y = mean + sum_k c_k component_k`` with a slider for each coefficient c_k.

    The mean stays in grey behind the curve. All coefficients begin at 0, and a button sets them
    back. A notebook shows it when it is the last value of a cell.

    Arguments:
        x: ``(P,)``, rising, from 2 to 1200 points; array or tensor, as those below.
        mean: ``(P,)``.
        components: ``(K, P)``, from one to six.
        lows: lower ends of the sliders, a negative number for each component.
        highs: upper ends, a positive number for each component.
        labels: of the sliders, a text for each component.
        x_label: below the plot, with the unit.
        y_label: beside the plot.
        y_range: lower and upper end of the plot; the curve may leave it.
        alt: what is shown, for readers who do not see it.
        step: of the sliders; lows and highs are whole multiples of it.

    Raises:
        TypeError, ValueError: naming the argument, what came and what is allowed.

    Example:
        >>> tilt = CurveSliders(
        ...     [0, 1, 2], [1, 1, 1], [[-1, 0, 1]], lows=[-2], highs=[2], labels=["tilt"],
        ...     x_label="x", y_label="y", y_range=(-2, 4), alt="A line that tilts.",
        ... )
        >>> tilt
        A line that tilts. Sliders change it: tilt from -2 to 2.
    """

    def __init__(
        self,
        x: Any,
        mean: Any,
        components: Any,
        *,
        lows: Sequence[float],
        highs: Sequence[float],
        labels: Sequence[str],
        x_label: str,
        y_label: str,
        y_range: tuple[float, float],
        alt: str,
        step: float = 0.1,
    ):
        self.x, self.mean, self.components = _check_curves(x, mean, components)
        count = len(self.components)
        self.step = as_length("step", step)
        self.lows = _check_ends("lows", lows, count=count, step=self.step, sign=-1)
        self.highs = _check_ends("highs", highs, count=count, step=self.step, sign=1)
        if isinstance(labels, str) or len(labels) != count:
            raise ValueError(f"labels must be {count}, one for each component, got {labels!r}")
        self.labels = [_check_text("labels", label) for label in labels]
        self.x_label = _check_text("x_label", x_label)
        self.y_label = _check_text("y_label", y_label)
        self.alt = _check_text("alt", alt)
        self.y_range = _check_range(y_range)
        self._check_reach()

    def _check_reach(self) -> None:
        """Refuse curves of which nothing would be seen, and whose numbers would be long."""
        height = self.y_range[1] - self.y_range[0]
        farthest = np.maximum(-self.lows, self.highs)  # (K,)
        moves = farthest[:, None] * self.components  # (K, P)
        for name, values in (("mean", self.mean), ("components", moves)):
            reach = float(np.abs(values).max()) / height
            if reach > FARTHEST:
                raise ValueError(
                    f"{name} must reach at most {FARTHEST} heights of y_range (for components "
                    f"times the ends of their sliders), got {reach:.3g}; widen y_range"
                )

    def __repr__(self) -> str:
        ends = zip(self.labels, self.lows, self.highs, strict=True)
        sliders = ", ".join(
            f"{label} from {number(low)} to {number(high)}" for label, low, high in ends
        )
        return f"{self.alt} Sliders change it: {sliders}."

    def _repr_html_(self) -> str:
        """Return plot, sliders, numbers and script as HTML that needs nothing else."""
        numbers = json.dumps(self._spec(), separators=(",", ":"), allow_nan=False)
        sliders = "".join(self._slider(k) for k in range(len(self.labels)))
        return as_ascii(
            f'<div class="sky-sliders {" ".join(PLAIN)}" data-lm-suppress-shortcuts="true">'
            f"<style>{_STYLE}</style>"
            f'<script type="application/json">{numbers}</script>{self._plot()}'
            f"<p data-why>{_WHY}</p><div data-controls hidden>{sliders}"
            '<div class="sky-row"><button type="button">Reset</button>'
            "<output data-ends></output></div></div>"
            f"<script>(() => {{{_SCRIPT}}})();</script></div>"
        )

    def _spec(self) -> dict[str, Any]:
        """Return what the script needs to know."""
        height = self.y_range[1] - self.y_range[0]
        unit = height / _STEPS
        rows = [_as_steps(self._across(self.x), 1), _as_steps(self.mean, unit)]
        # A component is rounded so finely that the curve is right at the ends of its slider too.
        for one, low, high in zip(self.components, self.lows, self.highs, strict=True):
            rows.append(_as_steps(one, unit / max(-low, high)))
        return {
            "rows": rows,
            "range": self.y_range,
            "height": _DOWN * _FINE,
            "digits": len(f"{self.step:.6f}".rstrip("0").partition(".")[2]),
            "places": max(2 - math.floor(math.log10(height)), 0),
        }

    def _across(self, values: Any) -> NDArray[np.float64]:
        """Return places along x in tenths of a unit from the left."""
        part = (np.asarray(values) - self.x[0]) / (self.x[-1] - self.x[0])
        return np.rint(part * _ACROSS * _FINE)

    def _down(self, values: Any) -> NDArray[np.float64]:
        """Return places along y in tenths of a unit from the top."""
        low, high = self.y_range
        return np.rint((high - np.asarray(values)) / (high - low) * _DOWN * _FINE)

    def _slider(self, k: int) -> str:
        """Return one slider with its label and its value."""
        label = html.escape(self.labels[k])
        return (
            f'<label><span>{label}</span><input type="range" aria-label="{label}" '
            f'min="{self.lows[k]:g}" max="{self.highs[k]:g}" step="{self.step:g}" value="0" '
            'autocomplete="off"><output aria-live="off">0</output></label>'
        )

    def _plot(self) -> str:
        """Return the plot: axes, the mean, and a path for the curve that the script fills."""
        steps = np.stack([self._across(self.x), self._down(self.mean)], 1).astype(int)  # (P, 2)
        start, *rest = np.diff(steps, axis=0, prepend=0).tolist()
        path = f"M{start[0]} {start[1]}l" + " ".join(f"{across} {down}" for across, down in rest)
        line = 'fill="none" stroke-linejoin="round"'
        # An inner <svg> hides what leaves it, without an id that two plots could share.
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(self.alt)}"'
            f' fill="currentColor" font-size="13" text-anchor="middle">{self._axes()}'
            f'<svg x="{_LEFT}" y="{_TOP}" width="{_ACROSS}" height="{_DOWN}" overflow="hidden" '
            f'viewBox="0 0 {_ACROSS * _FINE} {_DOWN * _FINE}">{self._zero()}'
            f'<path d="{path}" {line} stroke="currentColor" stroke-opacity=".45" '
            'stroke-width="12"/>'
            f'<path data-curve d="" {line} stroke="#2f7fd0" stroke-width="14"/></svg></svg>'
        )

    def _zero(self) -> str:
        """Return a dashed line at zero, if zero lies inside the plot."""
        low, high = self.y_range
        if not low < 0 < high:
            return ""
        return (
            f'<path d="M0 {self._down(0):.0f}h{_ACROSS * _FINE}" stroke="currentColor" '
            'stroke-opacity=".6" stroke-width="8" stroke-dasharray="50 40"/>'
        )

    def _axes(self) -> str:
        """Return the frame, the ticks with their numbers, and both labels."""
        bottom = _TOP + _DOWN
        marks = [f"M{_LEFT} {_TOP}h{_ACROSS}v{_DOWN}h-{_ACROSS}z"]
        texts = []
        for tick in _ticks(self.x[0], self.x[-1]):
            x = _LEFT + self._across(tick) / _FINE
            marks.append(f"M{x:g} {bottom}v4")
            texts.append(f'<text x="{x:g}" y="{bottom + 17}">{_short(tick)}</text>')
        for tick in _ticks(*self.y_range):
            y = _TOP + self._down(tick) / _FINE
            marks.append(f"M{_LEFT} {y:g}h-4")
            where = f'x="{_LEFT - 7}" y="{y + 4.5:g}" text-anchor="end"'
            texts.append(f"<text {where}>{_short(tick)}</text>")
        middle = _LEFT + _ACROSS // 2
        texts.append(f'<text x="{middle}" y="{_HEIGHT - 6}">{html.escape(self.x_label)}</text>')
        turned = f'transform="translate(14 {_TOP + _DOWN // 2}) rotate(-90)"'
        texts.append(f"<text {turned}>{html.escape(self.y_label)}</text>")
        frame = f'<path d="{"".join(marks)}" fill="none" stroke="currentColor"/>'
        return frame + "".join(texts)


def _check_curves(x: Any, mean: Any, components: Any) -> tuple[NDArray, NDArray, NDArray]:
    """Return x, mean and components as float64, checked."""
    x = _numbers("x", x)
    if not 2 <= len(x) <= MOST_POINTS or not (np.diff(x) > 0).all():
        raise ValueError(f"x must rise, from 2 to {MOST_POINTS} points, got {len(x)}: {x}")
    mean = _numbers("mean", mean)
    if mean.shape != x.shape:
        raise ValueError(f"mean must have the shape of x, {x.shape}, got {mean.shape}")
    components = _numbers("components", components, ndim=2)
    if components.shape[1:] != x.shape or not 1 <= len(components) <= MOST_COMPONENTS:
        raise ValueError(
            f"components must be (K, {len(x)}) with K from 1 to {MOST_COMPONENTS}, "
            f"got {components.shape}"
        )
    return x, mean, components


def _numbers(name: str, values: Any, *, ndim: int = 1) -> NDArray[np.float64]:
    """Return real finite numbers as a float64 array of `ndim` axes."""
    wanted = f"numbers with {ndim} {'axis' if ndim == 1 else 'axes'}"
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {wanted}, got {values!r}") from None
    if array.ndim != ndim:
        raise ValueError(f"{name} must be {wanted}, got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array


def _check_ends(
    name: str, values: Any, *, count: int, step: float, sign: int
) -> NDArray[np.float64]:
    """Return one end of each slider: of the right sign, and a whole number of steps from 0."""
    ends = _numbers(name, values)
    side = "positive" if sign > 0 else "negative"
    if ends.shape != (count,) or (sign * ends <= 0).any():
        raise ValueError(f"{name} must be {count} {side} numbers, got {values!r}")
    # Otherwise no slider could stand at 0, or reach its end.
    if (np.abs(ends / step - np.rint(ends / step)) > 1e-6).any():
        raise ValueError(f"{name} must be whole multiples of step, {step}, got {values!r}")
    return ends


def _check_range(y_range: Any) -> tuple[float, float]:
    """Return both ends of the plot, the lower one first."""
    ends = _numbers("y_range", y_range)
    if len(ends) != 2 or ends[0] >= ends[1]:
        raise ValueError(f"y_range must be (low, high) with low < high, got {y_range!r}")
    return float(ends[0]), float(ends[1])


def _check_text(name: str, text: Any) -> str:
    """Return a text that says something."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} must be text that is not blank, got {text!r}")
    return plain_text(name, text)


def _as_steps(values: NDArray[np.float64], unit: float) -> tuple[float, list[int]]:
    """Round values to whole units; return the unit, and the units from each value to the next."""
    whole = np.rint(values / unit).astype(np.int64)
    return unit, np.diff(whole, prepend=0).tolist()


def _ticks(low: float, high: float) -> list[float]:
    """Return at most seven round numbers from `low` to `high`."""
    found = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in found if low <= tick <= high]


def _short(tick: float) -> str:
    """Write a tick without thousands separators where it is not far from one."""
    return number(tick, digits=6).replace(",", "").replace("-", "\N{MINUS SIGN}")
