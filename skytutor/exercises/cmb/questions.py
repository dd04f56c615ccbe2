"""Questions with a word for each answer."""

from typing import Any

from skytutor.exercises import grading

__all__ = ["below_the_limit", "unlike_its_own"]


def below_the_limit(attempt: Any) -> bool:
    """Test your dict of the letters a to e to "chance", "impossible" or "another question".

    Arguments:
        attempt: how a score may come to lie below the limit.

    Returns:
        True if all five are right.
    """
    right = {
        "a": "chance",
        "b": "impossible",
        "c": "another question",
        "d": "impossible",
        "e": "another question",
    }
    return grading.words(
        "below_the_limit", attempt, right, allowed=["another question", "chance", "impossible"]
    )


def unlike_its_own(attempt: Any) -> bool:
    """Test your dict of the letters a to e to "higher", "lower" or "the same".

    Arguments:
        attempt: where the network trained with noise 5 sees the peak of other skies.

    Returns:
        True if all five are right.
    """
    right = {"a": "higher", "b": "lower", "c": "lower", "d": "higher", "e": "the same"}
    return grading.words("unlike_its_own", attempt, right, allowed=["higher", "lower", "the same"])
