"""What pixels and masks do to waves: aliasing, and the power behind a mask."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["alias", "divisor"]


def _alias(m: int, n: int) -> int:
    # cos(m phi) repeats when m grows by n, and is the same for m and -m.
    return min(m % n, n - m % n)


def alias(attempt: Callable[[int, int], int]) -> bool:
    """Test your `alias(m, n)`: the wave for which cos(m phi) passes on a ring of n pixels.

    Arguments:
        attempt: takes an order m and a number of pixels n at longitudes 0, 360 / n, ... degrees;
            returns the smallest order, 0 or more, whose cosine has the same values there.

    Returns:
        True if it is right.
    """
    return grading.function(
        "alias",
        attempt,
        _alias,
        cases=[(3, 4), (1, 4), (4, 4), (5, 4), (2, 4), (7, 16), (9, 16)],
        draw=lambda rng: (int(rng.integers(0, 99)), 4 * int(rng.integers(1, 17))),
        n_drawn=10,
        mistakes=[
            Mistake(
                lambda m, n: m % n,
                "It has the same values, but is it the smallest such order? Compare cos(m phi) "
                "and cos(-m phi)",
            ),
            Mistake(
                lambda m, n: abs(n - m),
                "That holds for waves a little too fine. What about m below n / 2, or above 2 n?",
            ),
        ],
    )


def _divisor(mask: Tensor) -> float:
    return float(mask.square().mean())


def divisor(attempt: Callable[[Tensor], float]) -> bool:
    """Test your `divisor(mask)`: by what the power of a masked map must be divided.

    Arguments:
        attempt: takes a mask ``(P,)`` of values from 0 to 1, that multiplied the map; returns the
            number by which the power of white noise fell on average.

    Returns:
        True if it is right.
    """

    def soft(rng: np.random.Generator) -> tuple[Tensor]:
        return (torch.from_numpy(rng.uniform(size=192)).clamp(0.3, 0.8) * 2 - 0.6,)

    half = torch.cat([torch.ones(96), torch.zeros(96)]).double()
    return grading.function(
        "divisor",
        attempt,
        _divisor,
        cases=[(half,), (torch.tensor([1.0, 0.5, 0.0, 0.5]).double().repeat(48),)],
        draw=soft,
        mistakes=[
            Mistake(
                lambda mask: mask.mean(),
                "That is right for a mask of zeros and ones. A pixel that is half hidden keeps "
                "half its amplitude: how much of its power?",
            ),
            Mistake(
                lambda mask: (mask > 0).double().mean(),
                "Pixels that are half hidden count as seen in full. What do they keep?",
            ),
            Mistake(
                lambda mask: mask.mean().square(),
                "Is the square of a mean the mean of the squares?",
            ),
        ],
    )
