"""Answers that no exercise may let pass, and a test of one exercise with all of them."""

import math
from collections.abc import Callable

import numpy as np
import torch


def gives_back(position: int) -> Callable:
    """Return a function that gives back the argument in this place, or the last."""
    return lambda *case: case[min(position, len(case) - 1)] if case else None


def raises(*case):
    raise KeyError("mine")


class Chameleon:
    """Equal to everything, larger and smaller than everything."""

    def __eq__(self, other):
        return True

    __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __eq__
    __hash__ = None


CONSTANTS = (0, 1, -1, 0.0, 0.5, 1.0, math.nan, math.inf, True, None, ..., "right", "", [], ())
# A word for each question, where what stands for it is no word.
DICTS = tuple(
    dict.fromkeys("abcde", value) for value in (Chameleon(), torch.zeros(3), np.zeros(3), None, 1)
)
NONSENSE = (
    *CONSTANTS,
    *DICTS,
    torch.zeros(3),
    [0.0],
    {"right": True},
    Chameleon(),
    object(),
    torch.nn,
)
FUNCTIONS = (
    gives_back(0),
    gives_back(1),
    gives_back(2),
    raises,
    lambda *case: Chameleon(),
    lambda *case: torch.zeros(()),
    lambda *case: torch.zeros(3),
    lambda *case: torch.full((1,), math.nan),
    lambda: 0.0,
    lambda a, b, c, d, e, f: 0.0,
    *(lambda *case, value=value: value for value in CONSTANTS),
)


def let_through(exercise: Callable[[object], bool]) -> list:
    """Return the frauds that an exercise takes for right; it may raise for none of them.

    Arguments:
        exercise: takes what a reader wrote, a function or words.

    Returns:
        an empty list if the exercise is well made.
    """
    return [fraud for fraud in (*NONSENSE, *FUNCTIONS) if exercise(fraud) is not False]
