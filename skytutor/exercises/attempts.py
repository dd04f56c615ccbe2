"""Call what a reader wrote, safely, and describe what it was called with."""

import copy
import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from skytutor.check.compare import brief, same

__all__ = ["agrees", "all_alike", "arguments_given_back", "in_words", "results_of"]

Case = tuple[Any, ...]


def results_of(
    label: str,
    attempt: Any,
    cases: Sequence[Case],
    *,
    like: Callable[..., Any],
    skip: int = 0,
) -> list[Any] | None:
    """Call the reader's function with a copy of each case, or print why that cannot be done.

    Arguments:
        label: the name that the exercise gives the function.
        attempt: what the reader wrote.
        cases: tuples of arguments.
        like: a function whose arguments have the names that a message may use.
        skip: how many of its first arguments are not among those of a case.

    Returns:
        the results; None where there are none: something that cannot be called, that takes other
        arguments, that raises.
    """
    if not callable(attempt):
        print(f"not yet: {label}: a function is wanted, not {brief(attempt)}")
        return None
    names = _names(like, skip=skip)
    if cases and not _takes(attempt, len(cases[0])):
        count = len(cases[0])
        listed = f" ({', '.join(names)})" if names else ""
        many = "arguments" if count != 1 else "argument"
        print(f"not yet: {label}: the function takes {count} {many}{listed}")
        return None
    results = []
    with _seeded():
        for case in cases:
            try:
                results.append(attempt(*copy.deepcopy(case)))
            # Whatever the reader's code does, the notebook goes on; Ctrl-C still stops it.
            except (Exception, SystemExit) as error:
                place = in_words(case, like=like, skip=skip)
                message = " ".join(str(error).split())
                print(f"not yet: {label}: {place}it raises {type(error).__name__}: {message}")
                return None
    return results


@contextmanager
def _seeded() -> Iterator[None]:
    """Start the generators that all share from one seed; give the notebook its own back after."""
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    # A GPU that nobody has used is left alone: asking for its state would start it, and its seed is
    # the one that the notebook set.
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(0)
        if devices:
            torch.cuda.manual_seed_all(0)
        np.random.seed(0)
        random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def _names(like: Callable[..., Any], *, skip: int = 0) -> list[str]:
    """Return the names of a function's positional arguments; none where it does not tell."""
    try:
        parameters = inspect.signature(like).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds][skip:]


def _takes(attempt: Callable[..., Any], count: int) -> bool:
    """Return whether a function can be called with so many arguments, as far as it tells."""
    try:
        inspect.signature(attempt).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True  # built-in functions do not say what they take
    return True


def in_words(case: Case, *, like: Callable[..., Any], skip: int = 0) -> str:
    """Return "for sigma = 2.0, nside = 8 ", or nothing for a function without arguments.

    Arguments:
        case: the arguments.
        like: a function whose arguments have the names to use.
        skip: how many of its first arguments are not among those of a case.

    Returns:
        the beginning of a sentence, with a space at its end if it is not empty.

    Example:
        >>> in_words((2.0, 8), like=lambda sigma, nside: None)
        'for sigma = 2.0, nside = 8 '
    """
    if not case:
        return ""
    names = _names(like, skip=skip)
    if len(names) != len(case):
        return f"for {brief(case)} "
    pairs = [f"{name} = {brief(value)}" for name, value in zip(names, case, strict=True)]
    return f"for {', '.join(pairs)} "


def all_alike(results: Sequence[Any], *, rtol: float = 1e-5, atol: float = 1e-9) -> bool:
    """Return whether several results are one and the same.

    Arguments:
        results: one for each case.
        rtol: largest relative difference that counts as none.
        atol: largest difference that counts as none near zero.

    Returns:
        True if there are at least two and all agree.

    Example:
        >>> all_alike([1.0, 1.0]), all_alike([1.0])
        (True, False)
    """
    first, *others = results
    return bool(others) and all(agrees(other, first, rtol=rtol, atol=atol) for other in others)


def agrees(one: Any, other: Any, *, rtol: float = 1e-5, atol: float = 1e-9) -> bool:
    """Return whether two results agree; what cannot be compared does not.

    Arguments:
        one: a result.
        other: another, of which `same` can be asked.
        rtol: largest relative difference that passes.
        atol: largest difference that passes near zero.

    Returns:
        True if they agree.

    Example:
        >>> agrees("one", 1.0)
        False
    """
    try:
        return same(one, other, rtol=rtol, atol=atol)
    except Exception:  # a class of the reader's own, a tensor of an odd kind
        return False


def arguments_given_back(
    cases: Sequence[Case],
    results: Sequence[Any],
    *,
    like: Callable[..., Any] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-9,
) -> str:
    """Return the name of the argument that all results are equal to, if one is.

    Arguments:
        cases: tuples of arguments.
        results: one for each case.
        like: a function whose arguments have the names to use.
        rtol: largest relative difference that counts as none.
        atol: largest difference that counts as none near zero.

    Returns:
        the name, or "an argument"; nothing if no argument is handed back.

    Example:
        >>> arguments_given_back([(1.0, 2.0), (3.0, 4.0)], [2.0, 4.0])
        'an argument'
    """
    names = _names(like) if like else []
    for k in range(min((len(case) for case in cases), default=0)):
        pairs = [(case[k], result) for case, result in zip(cases, results, strict=True)]
        if all(agrees(result, given, rtol=rtol, atol=atol) for given, result in pairs):
            return names[k] if k < len(names) else "an argument"
    return ""
