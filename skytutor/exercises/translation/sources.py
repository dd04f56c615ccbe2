"""Sources that a translation makes up."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["invented"]

_MARGIN = 3  # pixels at the border without sources
_WIDTH = 0.75  # pixels, the deviation of a source's profile
_PART = 0.5  # of a peak's flux that the truth must have


def invented(attempt: Any) -> bool:
    """Test your `invented(found, truth, least)`: how many peaks the truth does not have.

    Arguments:
        attempt: a function of two images ``(H, H)``, a prediction and the truth, whose pixels hold
            the flux of a point source there, and of the smallest flux that counts. No source lies
            at the border. It returns the number of peaks of the prediction about which the truth
            nowhere reaches half of their flux.

    Returns:
        True if it is right.
    """
    return grading.function(
        "invented",
        attempt,
        _invented,
        cases=[],
        draw=_draw_pair,
        n_drawn=8,
        mistakes=[*_mistakes_of_matching(), *_mistakes_of_peaks()],
    )


def _around(image: Tensor) -> Tensor:
    """Return the largest of each pixel and its eight neighbours."""
    return F.max_pool2d(image[None, None], 3, stride=1, padding=1)[0, 0]


def _peaks(image: Tensor, least: float) -> Tensor:
    return (image == _around(image)) & (image > least)


def _unmatched(found: Tensor, truth: Tensor) -> Tensor:
    return _around(truth) < _PART * found


def _invented(found: Tensor, truth: Tensor, least: float) -> int:
    return int((_peaks(found, least) & _unmatched(found, truth)).sum())


def _draw_pair(rng: np.random.Generator) -> tuple[Tensor, Tensor, float]:
    """Return a prediction and a truth that agree in some sources and not in others."""
    cells = int(rng.integers(5, 8))
    size = 6 * cells
    heights = torch.zeros(2, size, size, dtype=torch.float64)
    for row in range(cells):
        for column in range(cells):
            kind = rng.choice(6, p=[0.1, 0.2, 0.2, 0.1, 0.2, 0.2])
            flux, y, x = rng.uniform(9, 60), 6 * row + _MARGIN, 6 * column + _MARGIN
            # Alike, a pixel away, made up, lost, too bright by a third, three times too bright.
            there, moved = [(1, 0), (1, 1), (0, 0), (1, 0), (0.75, 0), (0.33, 0)][kind]
            away = moved * int(rng.choice([-1, 1]))
            heights[0, y, x] = 0.0 if kind == 3 else flux
            heights[1, y + away, x + away] = there * flux
    place = torch.arange(7, dtype=torch.float64) - 3
    psf = torch.exp(-(place[:, None].square() + place.square()) / (2 * _WIDTH**2))
    # No two pixels are equal, and nothing but sources reaches the smallest flux.
    noise = torch.from_numpy(rng.normal(0.0, 0.3, (2, size, size)))
    found, truth = F.conv2d(heights[:, None], psf[None, None], padding=3)[:, 0] + noise
    return found, truth, 5.0


def _mistakes_of_matching() -> list[Mistake]:
    """Return the mistakes about what makes up for a peak."""

    def in_place(found: Tensor, truth: Tensor, least: float) -> int:
        return int((_peaks(found, least) & (truth < _PART * found)).sum())

    def above_least(found: Tensor, truth: Tensor, least: float) -> int:
        return int((_peaks(found, least) & (_around(truth) <= least)).sum())

    def whole(found: Tensor, truth: Tensor, least: float) -> int:
        return int((_peaks(found, least) & (_around(truth) < found)).sum())

    def peaks_apart(found: Tensor, truth: Tensor, least: float) -> int:
        return int((_peaks(found, least) & ~_peaks(truth, least)).sum())

    return [
        Mistake(in_place, "A source that moved by a pixel counts as made up. Should it?"),
        Mistake(peaks_apart, "A source that moved by a pixel counts as made up. Should it?"),
        Mistake(
            above_least,
            "A faint source of the truth makes up for a bright one. With what is it compared?",
        ),
        Mistake(whole, "A source that came out a little too bright counts as made up."),
        Mistake(
            lambda found, truth, least: _invented(truth, found, least),
            "Those are the sources that were lost. Whose peaks are counted?",
        ),
    ]


def _mistakes_of_peaks() -> list[Mistake]:
    """Return the mistakes about what is counted."""

    def pixels(found: Tensor, truth: Tensor, least: float) -> int:
        return int(((found > least) & _unmatched(found, truth)).sum())

    def all_peaks(found: Tensor, truth: Tensor, least: float) -> int:
        return _invented(found, truth, -np.inf)

    def difference(found: Tensor, truth: Tensor, least: float) -> int:
        return int(_peaks(found - truth, least).sum())

    def count(found: Tensor, truth: Tensor, least: float) -> int:
        return int(_peaks(found, least).sum()) - int(_peaks(truth, least).sum())

    return [
        Mistake(pixels, "Every bright pixel counts. How many pixels has one source?"),
        Mistake(all_peaks, "Peaks of noise count too. Which ones are large enough?"),
        Mistake(
            lambda found, truth, least: int(_peaks(found, least).sum()),
            "All peaks count. Which of them has the truth as well?",
        ),
        Mistake(
            difference,
            "It counts peaks of a difference. What remains of a source that moved by a pixel?",
        ),
        Mistake(count, "What if as many sources were lost as were made up?"),
        Mistake(
            lambda found, truth, least: (
                _invented(found, truth, least) / max(1, int(_peaks(found, least).sum()))
            ),
            "That is a fraction. Is it asked for?",
        ),
    ]
