"""Questions with a word for each answer."""

from collections.abc import Mapping
from typing import Any

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
    return _words("below_the_limit", attempt, right)


def unlike_its_own(attempt: Any) -> bool:
    """Test your dict of the letters a to e to "higher", "lower" or "the same".

    Arguments:
        attempt: where the network trained with noise 5 sees the peak of other skies.

    Returns:
        True if all five are right.
    """
    right = {"a": "higher", "b": "lower", "c": "lower", "d": "higher", "e": "the same"}
    return _words("unlike_its_own", attempt, right)


def _words(label: str, attempt: Any, right: Mapping[str, str]) -> bool:
    """Compare a dict of letters to words with the right one; say how many agree, not which."""
    allowed = sorted(set(right.values()))
    if not isinstance(attempt, Mapping) or set(attempt) != set(right):
        print(f"not yet: {label}: a dict with the letters {', '.join(right)} is wanted")
        return False
    for letter, word in attempt.items():
        if word not in allowed:
            listed = ", ".join(map(repr, allowed))
            print(f"not yet: {label}: {letter} is {word!r}; choose one of {listed}")
            return False
    count = sum(attempt[letter] == right[letter] for letter in right)
    if count == len(right):
        print(f"right: {label}, all {len(right)}")
        return True
    print(f"not yet: {label}: {count} of {len(right)} are right")
    return False
