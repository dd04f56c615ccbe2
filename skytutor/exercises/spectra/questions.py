"""Questions with a word or a number for each answer."""

from collections.abc import Mapping
from typing import Any

from skytutor.check.compare import brief, single
from skytutor.exercises import grading
from skytutor.exercises.attempts import agrees

__all__ = ["averages", "fair", "null_universe"]


def averages(attempt: Any) -> bool:
    """Test your dict of the letters a to d to numbers, and of e to "covariance" or "inverse root".

    Arguments:
        attempt: what two batches of variance 1 and 100 leave for evaluation.

    Returns:
        True if all five are right, numbers to a per cent.
    """
    label = "averages"
    right: dict[str, Any] = {"a": 50.5, "b": 50.5**-0.5, "c": 0.55, "d": 5.5, "e": "covariance"}
    if not isinstance(attempt, Mapping) or set(attempt) != set(right):
        print(f"not yet: {label}: a dict with the letters {', '.join(right)} is wanted")
        return False
    for letter, answer in right.items():
        fault = _kind_fault(attempt[letter], answer)
        if fault:
            print(f"not yet: {label}: {letter} is {brief(attempt[letter])}; {fault}")
            return False
    wrong = [k for k, v in right.items() if not agrees(attempt[k], v, rtol=0.01)]
    if wrong:
        count = len(right) - len(wrong)
        print(f"not yet: {label}: {count} of {len(right)} are right. {_nudge(attempt, wrong)}")
        return False
    print(f"right: {label}, all {len(right)}")
    return True


def _kind_fault(given: Any, answer: Any) -> str | None:
    """Return which kind of answer is wanted, if another came."""
    if isinstance(answer, str):
        words = ("covariance", "inverse root")
        if isinstance(given, str) and given in words:
            return None
        return f"choose one of {', '.join(map(repr, words))}"
    found = single(given)
    if isinstance(found, int | float) and not isinstance(found, bool):
        return None
    return "a number is wanted"


def _nudge(attempt: Mapping[str, Any], wrong: list[str]) -> str:
    """Return what to think about, without saying which answer is wrong unless it says why."""
    if "b" in wrong and agrees(attempt["b"], 1 / 50.5, rtol=0.01):
        return "One is an inverse. Which power of a variance makes a deviation 1?"
    if "c" in wrong and agrees(attempt["c"], 0.505, rtol=0.01):
        return "One averages inverses. Take the root of each variance before."
    if "d" in wrong and agrees(attempt["d"], 55.0, rtol=0.01):
        return "Of a variance of 100, how large is the deviation?"
    if wrong == ["e"]:
        return "Compare both factors with what training multiplied each batch with."
    return "A factor multiplies deviations, and an inverse root is one over a deviation."


def fair(attempt: Any) -> bool:
    """Test your dict of the letters a to e to "fair" or "unfair".

    Arguments:
        attempt: what each of five comparisons is.

    Returns:
        True if all five are right.
    """
    right = {"a": "unfair", "b": "unfair", "c": "fair", "d": "unfair", "e": "fair"}
    return grading.words(
        "fair",
        attempt,
        right,
        allowed=["fair", "unfair"],
        nudge="Ask of each what one side knew, or was chosen by, that the other was not",
    )


def null_universe(attempt: Any) -> bool:
    """Test your dict of the letters a to e to "true" or "false".

    Arguments:
        attempt: what follows from a gain, or from none, where structure tells nothing.

    Returns:
        True if all five are right.
    """
    right = {"a": "false", "b": "true", "c": "true", "d": "false", "e": "true"}
    return grading.words(
        "null_universe",
        attempt,
        right,
        allowed=["true", "false"],
        nudge="Ask of each how the numbers could be as they are without structure telling anything",
    )
