"""Patterns of polarisation, to be told apart by looking."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.exercises import grading

__all__ = ["Sticks", "stick_patterns", "sticks"]


class Sticks(NamedTuple):
    """A pattern of sticks on a small piece of sky, ``(K,)`` each; north is up and west is right.

    Attributes:
        x: to the west.
        y: to the north.
        q: Stokes Q, HEALPix's sign.
        u: Stokes U, HEALPix's sign.
    """

    x: Tensor
    y: Tensor
    q: Tensor
    u: Tensor


# Of each pattern: its kind; the tilt of its sticks in degrees, from the direction to the middle or
# from that in which a wave runs; and that direction, from north through west, or None.
_PATTERNS: tuple[tuple[str, float, float | None], ...] = (
    ("E", 0.0, None),
    ("B", 45.0, 0.0),
    ("B", -45.0, None),
    ("E", 0.0, 45.0),
    ("M", 22.5, None),
    ("E", 90.0, None),
)


def stick_patterns() -> list[Sticks]:
    """Return six patterns of sticks; which are E, B or a mixture is the question of `sticks`.

    Returns:
        six patterns, on a grid of 7 x 7 points from -1 to 1.

    Example:
        >>> len(stick_patterns())
        6
    """
    line = torch.linspace(-1, 1, 7, dtype=torch.float64)
    y, x = (t.flatten() for t in torch.meshgrid(line, line, indexing="ij"))
    patterns = []
    for _, tilt_deg, wave_deg in _PATTERNS:
        if wave_deg is None:
            axis = torch.atan2(x, y)  # from the middle to the point, from north through west
            # As around a round spot: nothing in the middle, strongest at some distance.
            distance_squared = x.square() + y.square()
            strength = distance_squared * torch.exp(-1.5 * distance_squared)
        else:
            direction = math.radians(wave_deg)
            axis = torch.full_like(x, direction)
            strength = torch.cos(4 * (x * math.sin(direction) + y * math.cos(direction)))
        # A stick looks the same after half a turn, so Q and U hold twice its angle.
        angle = 2 * (axis + math.radians(tilt_deg))
        patterns.append(Sticks(x, y, strength * angle.cos(), strength * angle.sin()))
    return patterns


def sticks(answer: str) -> bool:
    """Test your answer for the six patterns of `stick_patterns`: a text of six letters.

    Arguments:
        answer: "E", "B" or "M", a mixture of both, for each pattern.

    Returns:
        True if all are right.
    """
    return grading.words(
        "sticks",
        answer,
        "".join(kind for kind, _, _ in _PATTERNS),
        allowed="EBM",
        nudge="Turn the page by 45 degrees: no answer may change. Then hold a mirror to it: what "
        "becomes of the pattern?",
    )
