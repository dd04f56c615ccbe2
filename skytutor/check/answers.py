"""Compare a reader's function with a reference that stands beside it in the notebook."""

from collections.abc import Callable
from typing import Any

from skytutor.check.compare import brief, same, what_differs

__all__ = ["answer"]


def answer(
    label: str,
    attempt: Callable[..., Any],
    reference: Callable[..., Any],
    *cases: tuple[Any, ...],
) -> bool:
    """Compare a reader's function with a reference on every case, and print how it went.

    The line says which case differs, and gives no more away. Whatever the reader's function does,
    nothing is raised. Where the reference
    is to be out of the reader's sight, the exercise belongs into `skytutor.exercises`.

    Arguments:
        label: says what the function computes.
        attempt: the reader's function.
        reference: one that is right.
        *cases: tuples of arguments, at least one; both functions are called with each.

    Returns:
        True if all agree (tensors: to 1e-5).

    Raises:
        ValueError: no cases, which any function would pass.

    Example:
        >>> answer("double", lambda x: x + x, lambda x: 2 * x, (1,), (5,))
        right: double, 2 cases
        True
    """
    if not cases:
        raise ValueError(f"{label}: there must be at least one case")
    for case in cases:
        expected = reference(*case)
        try:
            got = attempt(*case)
            right = same(got, expected, atol=1e-5 if hasattr(expected, "shape") else 1e-9)
        except Exception as error:  # whatever the reader's code does, the notebook goes on
            print(f"not yet: {label}: {type(error).__name__} in the case {brief(case)}: {error}")
            return False
        if not right:
            hint = what_differs(got, expected, given=case)
            print(f"not yet: {label}: in the case {brief(case)} it gives {brief(got)}{hint}")
            return False
    print(f"right: {label}, {len(cases)} cases")
    return True
