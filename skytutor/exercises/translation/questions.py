"""Questions with a word or a number for each answer."""

from collections.abc import Mapping
from typing import Any

from skytutor.check.compare import brief, single
from skytutor.exercises import grading
from skytutor.exercises.attempts import agrees

__all__ = ["claims", "two_answers"]

_NEAR = 0.01  # relative


def two_answers(attempt: Any) -> bool:
    """Test your dict of the letters a to e to numbers: a source that is faint or bright.

    Arguments:
        attempt: what is best to answer if a flux is 1 with probability 0.7 and 5 with 0.3, and
            which errors answers have.

    Returns:
        True if all five are right to a per cent.
    """
    label = "two_answers"
    right = {"a": 2.2, "b": 1.0, "c": 3.36, "d": 2.0, "e": 1.04}
    if not isinstance(attempt, Mapping) or set(attempt) != set(right):
        print(f"not yet: {label}: a dict with the letters {', '.join(right)} is wanted")
        return False
    for letter in right:
        found = single(attempt[letter])
        if not isinstance(found, int | float) or isinstance(found, bool):
            print(f"not yet: {label}: {letter} is {brief(attempt[letter])}; a number is wanted")
            return False
    wrong = [k for k, v in right.items() if not agrees(attempt[k], v, rtol=_NEAR)]
    if wrong:
        count = len(right) - len(wrong)
        print(f"not yet: {label}: {count} of {len(right)} are right. {_nudge(attempt, wrong)}")
        return False
    print(f"right: {label}, all {len(right)}")
    return True


_NUDGES = (
    ("a", 1.0, "Is the likeliest flux also the one with the smallest squared error?"),
    ("a", 3.0, "How often is each of the two fluxes true?"),
    ("b", 2.2, "Move an answer a little, and ask for which fluxes its distance grows."),
    ("b", 1.2, "The answer is asked for, not its error."),
    ("c", 3.36**0.5, "A mean *square* is asked for."),
    ("c", 0.21, "In which unit is a squared error?"),
    ("d", 1.0, "Truth and sample are drawn separately. What scatters in their difference?"),
    ("d", 4.0, "Do deviations add up, or variances?"),
    ("d", 6.72, "It is asked for over another error."),
    ("e", 0.04, "What scatters even if the answer does not?"),
    ("e", 0.08, "What scatters even if the answer does not?"),
    ("e", 2.0, "By how much does an average of many scatter less than one sample?"),
)


def _nudge(attempt: Mapping[str, Any], wrong: list[str]) -> str:
    """Return what to think about, without saying which answer is wrong unless it says why."""
    for letter, value, words in _NUDGES:
        if letter in wrong and agrees(attempt[letter], value, rtol=_NEAR):
            return words
    return "Write down both fluxes, how often each is true, and the error that the answer has then."


def claims(attempt: Any) -> bool:
    """Test your dict of the letters a to e to "follows" or "does not follow".

    Arguments:
        attempt: whether each of five conclusions follows from what was measured.

    Returns:
        True if all five are right.
    """
    right = {
        "a": "does not follow",
        "b": "follows",
        "c": "does not follow",
        "d": "follows",
        "e": "does not follow",
    }
    return grading.words(
        "claims",
        attempt,
        right,
        allowed=["follows", "does not follow"],
        nudge="Ask of each how what was measured could be so although the conclusion is false",
    )
