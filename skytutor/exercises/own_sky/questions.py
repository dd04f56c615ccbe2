"""A question with a word for each answer."""

from typing import Any

from skytutor.exercises import grading

__all__ = ["symptoms"]

_RIGHT = {
    "a": "order",
    "b": "unit",
    "c": "unseen",
    "d": "dipole",
    "e": "noise",
    "f": "beam",
}


def symptoms(attempt: Any) -> bool:
    """Test your dict of the letters a to f to what was forgotten.

    Arguments:
        attempt: "beam", "dipole", "noise", "order", "unit" or "unseen" for each symptom.

    Returns:
        True if all six are right.
    """
    return grading.words(
        "symptoms",
        attempt,
        _RIGHT,
        allowed=sorted(_RIGHT.values()),
        nudge="Ask of each fault what it does to a large wave and what to a small one",
    )
