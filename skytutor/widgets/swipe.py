"""Two images over each other, with a border to move: a translation, and the truth below it.

What a cell shows is HTML that holds both images and a short script, so it works in a built book,
without kernel and network. Where the script does not run, both halves stay in sight.
"""

import base64
import html
import io
from typing import Any

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from skytutor.widgets.saved import PLAIN, SavedPage, as_ascii
from skytutor.widgets.words import plain_text

__all__ = ["ImageSwipe"]

MOST_PIXELS = 512  # along a side: a page holds every pixel
_STYLE = """
.sky-swipe{max-width:26rem;margin:.5rem 0;color:inherit}
.sky-swipe>div{position:relative;aspect-ratio:var(--across)/var(--down)}
.sky-swipe img{position:absolute;inset:0;width:100%;height:100%;margin:0;image-rendering:pixelated}
.sky-swipe img+img{clip-path:inset(0 0 0 var(--border,50%))}
.sky-swipe i{position:absolute;top:0;bottom:0;left:var(--border,50%);width:2px;margin-left:-1px;
background:#fff;box-shadow:0 0 0 1px #000}
.sky-swipe label{display:flex;align-items:center;gap:.6rem;padding:0;margin:.3rem 0}
.sky-swipe input{flex:1 1 6rem;min-width:0;height:1.75rem;margin:0;accent-color:#2f7fd0}
""".replace("\n", "")
_SCRIPT = """
for (const box of document.querySelectorAll(".sky-swipe:not([data-live])")) {
  box.dataset.live = "";
  const slider = box.querySelector("input");
  const move = () => {
    box.style.setProperty("--border", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " % " + slider.dataset.left);
  };
  slider.addEventListener("input", move);
  // JupyterLab takes arrows for its own.
  box.addEventListener("keydown", (event) => event.stopPropagation());
  slider.disabled = false;
  move();
}
"""


class ImageSwipe(SavedPage):
    """Two images of one field; a slider moves the border between them.

    To the left of the border stands the first image, to the right the second. Both have one scale
    of colours. A notebook shows it when it is the last value of a cell.

    Arguments:
        left: ``(H, W)``, array or tensor, at most 512 pixels along a side; the first row is at the
            bottom, as astronomers draw it.
        right: ``(H, W)``.
        labels: of both.
        alt: what is shown, for readers who do not see it.
        low: value of the first colour.
        high: value of the last colour.
        cmap: of matplotlib.

    Raises:
        ValueError: images that are not finite, of other or different shapes, labels that are not
            two, or a range that is none.

    Example:
        >>> ImageSwipe([[0, 1]], [[1, 0]], labels=("A", "B"), alt="Two pixels.", low=0, high=1)
        Two pixels. A slider moves the border between A, left of it, and B, right of it.
    """

    def __init__(
        self,
        left: Any,
        right: Any,
        *,
        labels: tuple[str, str],
        alt: str,
        low: float,
        high: float,
        cmap: str = "magma",
    ):
        self.left, self.right = _checked("left", left), _checked("right", right)
        if self.left.shape != self.right.shape:
            raise ValueError(
                f"right must have the shape of left {self.left.shape}, got {self.right.shape}"
            )
        if isinstance(labels, str) or len(labels) != 2:
            raise ValueError(f"labels must be two, got {labels!r}")
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"low must be below high, both finite, got {low!r} and {high!r}")
        self.labels = tuple(plain_text("labels", label) for label in labels)
        self.alt = plain_text("alt", alt)
        self.low, self.high, self.cmap = float(low), float(high), cmap

    def __repr__(self) -> str:
        first, second = self.labels
        return (
            f"{self.alt} A slider moves the border between {first}, left of it, "
            f"and {second}, right of it."
        )

    def _repr_html_(self) -> str:
        """Return both images, slider and script as HTML that needs nothing else."""
        first, second = (html.escape(label) for label in self.labels)
        rows, columns = self.left.shape
        images = "".join(
            f'<img alt="{label}" src="data:image/png;base64,{self._png(image)}">'
            for label, image in ((first, self.left), (second, self.right))
        )
        return as_ascii(
            f'<div class="sky-swipe {" ".join(PLAIN)}" data-lm-suppress-shortcuts="true">'
            f"<style>{_STYLE}</style>"
            f'<div role="group" aria-label="{html.escape(self.alt)}" '
            f'style="--across:{columns};--down:{rows}">{images}<i></i></div>'
            f'<label><span>{first}</span><input type="range" min="0" max="100" step="1" value="50" '
            f'data-left="{first}" aria-label="border between {first} and {second}" disabled '
            f'autocomplete="off"><span>{second}</span></label>'
            f"<script>(() => {{{_SCRIPT}}})();</script></div>"
        )

    def _png(self, image: NDArray[np.float64]) -> str:
        """Return an image in colours, as PNG in base 64."""
        file = io.BytesIO()
        imsave(
            file,
            image,
            vmin=self.low,
            vmax=self.high,
            cmap=self.cmap,
            origin="lower",
            format="png",
        )
        return base64.b64encode(file.getvalue()).decode("ascii")


def _checked(name: str, image: Any) -> NDArray[np.float64]:
    """Return an image as an array, or say what is wrong with it."""
    values = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image, dtype=float)
    if values.ndim != 2 or not 0 < min(values.shape) <= max(values.shape) <= MOST_PIXELS:
        raise ValueError(
            f"{name} must be (H, W), with 1 to {MOST_PIXELS} pixels along a side, "
            f"got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinite values")
    return values
