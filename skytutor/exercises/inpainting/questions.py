"""Questions with a word for each answer."""

from typing import Any

from skytutor.exercises import grading

__all__ = ["mean_or_sample", "preconditioners"]


def mean_or_sample(attempt: Any) -> bool:
    """Test your dict of the letters a to e to "mean" or "samples".

    Arguments:
        attempt: which of the two a task needs.

    Returns:
        True if all five are right.
    """
    right = {"a": "mean", "b": "samples", "c": "samples", "d": "mean", "e": "samples"}
    return grading.words(
        "mean_or_sample",
        attempt,
        right,
        allowed=["mean", "samples"],
        nudge="Ask of each whether scatter in the hole would spoil the answer, or is part of it",
    )


def preconditioners(attempt: Any) -> bool:
    """Test your dict of the letters a to e to "usable", "not symmetric" or "not positive".

    Arguments:
        attempt: what may stand in for the inverse of a matrix in conjugate gradients.

    Returns:
        True if all five are right.
    """
    right = {
        "a": "usable",
        "b": "not symmetric",
        "c": "usable",
        "d": "not positive",
        "e": "not symmetric",
    }
    return grading.words(
        "preconditioners",
        attempt,
        right,
        allowed=["not positive", "not symmetric", "usable"],
        nudge="Write each as a product of matrices. Which products equal their transpose?",
    )
