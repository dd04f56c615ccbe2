"""Compare a reader's answer with a reference that stands outside the notebook.

An exercise is a function in the module of its page. It takes what the reader wrote, and returns
what one of three functions here returns:

* `function` compares the reader's function with a right one, on given and on drawn cases;
* `satisfies` examines what the reader's function returns, where many answers are right;
* `words` compares a word for each of several questions.

All print one line, "right" or "not yet", and return True or False. None raises because of what the
reader wrote: exceptions in it are caught and said with the case. No line gives the answer away:
sizes that the reader was not given are left out, and so are the right numbers.

What must not pass cannot. The exercise itself is examined at every call, and ``ValueError`` says so
if a constant, an argument handed back, or one of the listed mistakes would pass: choose cases that
tell them apart. Its tests should hand it the frauds of ``tests/exercises/frauds.py`` as well.

Example:
    In the module of the page::

        def noise_level(attempt: Callable[[float, int], float]) -> bool:
            \"\"\"Test your `noise_level(sigma, nside)`: the flat spectrum of white noise.\"\"\"
            return grading.function(
                "noise_level",
                attempt,
                _noise_level,
                cases=[(1.0, 8), (2.0, 8), (1.0, 16)],
                draw=lambda rng: (rng.uniform(0.1, 9.0), 2 ** int(rng.integers(1, 8))),
                mistakes=[
                    Mistake(_of_one_pixel, "That is the variance of one pixel. How many does "
                                           "a coefficient add up, and with which weight?"),
                ],
            )

    and in the notebook, under the stub: ``exercises.waves.noise_level(noise_level);``
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from skytutor.check.compare import brief, same, what_differs
from skytutor.exercises.attempts import (
    agrees,
    all_alike,
    arguments_given_back,
    in_words,
    results_of,
)

__all__ = ["Mistake", "function", "satisfies", "words"]

# Makes the arguments of one case from random numbers.
CaseMaker = Callable[[np.random.Generator], tuple[Any, ...]]


class Mistake(NamedTuple):
    """A wrong answer that is likely, and what to say to the reader who gives it.

    Attributes:
        answer: a wrong formula, called with the arguments of a case.
        words: one or two sentences that say what to think about, and not what to write.
    """

    answer: Callable[..., Any]
    words: str


def function(
    label: str,
    attempt: Any,
    reference: Callable[..., Any],
    *,
    cases: Sequence[tuple[Any, ...]],
    draw: CaseMaker | None = None,
    n_drawn: int = 6,
    mistakes: Sequence[Mistake] = (),
    rtol: float = 1e-5,
    atol: float = 1e-9,
) -> bool:
    """Compare the reader's function with a right one on every case, and print how it went.

    Arguments:
        label: the name that the exercise gives the function.
        attempt: what the reader wrote. It gets copies of the arguments.
        reference: a function that is right. The names of its arguments appear in messages.
        cases: tuples of arguments: the smallest, the largest, the odd.
        draw: makes one more case from a random generator, the same ones at each call.
        n_drawn: how many cases to draw.
        mistakes: likely wrong formulas; the first that gives what the reader's does is named.
        rtol: largest relative difference that passes.
        atol: largest difference that passes where the right number is near zero.

    Returns:
        True if the reader's function is right in all cases.

    Raises:
        ValueError: the exercise is badly made: there is no case, or a constant, an argument or a
            mistake would pass.

    Example:
        >>> def circle(radius):
        ...     return 3.14159265 * radius**2
        >>> area = lambda side: side**2
        >>> function("area", circle, area, cases=[(1.0,), (2.0,)])
        not yet: area: for side = 1.0 it gives 3.142, which is not right
        False
    """
    every = _all_cases(label, cases, draw=draw, n_drawn=n_drawn)
    tolerance = {"rtol": rtol, "atol": atol}
    right = [reference(*case) for case in every]
    _examine(label, every, right, mistakes=mistakes, tolerance=tolerance)
    results = results_of(label, attempt, every, like=reference)
    if results is None:
        return False
    for case, got, expected in zip(every, results, right, strict=True):
        if not agrees(got, expected, **tolerance):
            differs = what_differs(got, expected, given=case)
            nudge = _nudge(every, results, mistakes=mistakes, tolerance=tolerance, like=reference)
            place = in_words(case, like=reference)
            # What differs may end in a question, after which no full stop follows.
            line = f"not yet: {label}: {place}it gives {brief(got)}{differs}{nudge}"
            print(line.replace("?. ", "? "))
            return False
    print(f"right: {label}, {len(every)} case{'s' if len(every) != 1 else ''}")
    return True


def satisfies(
    label: str,
    attempt: Any,
    fault: Callable[..., str | None],
    *,
    cases: Sequence[tuple[Any, ...]],
    draw: CaseMaker | None = None,
    n_drawn: int = 0,
) -> bool:
    """Examine what the reader's function returns, where many answers are right.

    What was given is never right when it is handed back, nor is a constant. The generators that
    torch, `numpy.random` and `random` share start from the same seed at each call, so that a draw
    from them which passes passes again. One from a generator that the reader's function makes
    without a seed, ``np.random.default_rng()``, is another at each call: let `fault` allow for its
    scatter.

    Arguments:
        label: the name that the exercise gives the function.
        attempt: what the reader wrote. It gets copies of the arguments.
        fault: called with the result and the arguments of the case; returns what is missing, the
            end of a sentence that begins with "it", or None.
        cases: tuples of arguments.
        draw: makes one more case from a random generator, the same ones at each call.
        n_drawn: how many cases to draw.

    Returns:
        True if nothing is missing in any case.

    Raises:
        ValueError: the exercise is badly made: there is no case.

    Example:
        >>> def longer(got, word):
        ...     return None if len(got) > len(word) else "is no longer than what came"
        >>> satisfies("longer", lambda word: word + "s", longer, cases=[("a",), ("bc",)])
        right: longer, 2 cases
        True
        >>> satisfies("longer", lambda word: "a constant", longer, cases=[("a",), ("bc",)])
        not yet: longer: it gives the same in every case
        False
    """
    every = _all_cases(label, cases, draw=draw, n_drawn=n_drawn)
    results = results_of(label, attempt, every, like=fault, skip=1)
    if results is None:
        return False
    given_back = arguments_given_back(every, results)
    if given_back:
        print(f"not yet: {label}: it gives back what it was given")
        return False
    if all_alike(results):
        print(f"not yet: {label}: it gives the same in every case")
        return False
    for case, got in zip(every, results, strict=True):
        try:
            missing = fault(got, *case)
        except Exception as error:
            # What cannot even be examined is of the wrong kind.
            missing = f"gives {brief(got)}, which cannot be examined ({type(error).__name__})"
        if missing:
            print(f"not yet: {label}: {in_words(case, like=fault, skip=1)}it {missing}")
            return False
    print(f"right: {label}, {len(every)} case{'s' if len(every) != 1 else ''}")
    return True


def words(
    label: str,
    attempt: Any,
    right: Mapping[str, str] | str,
    *,
    allowed: Sequence[str],
    nudge: str = "",
) -> bool:
    """Compare one word for each question with the right ones; say how many agree, and not which.

    Arguments:
        label: the name that the exercise gives the answers.
        attempt: what the reader wrote, of the kind of `right`.
        right: the right word by question, or a text with one letter for each question.
        allowed: the words, or letters, to choose from.
        nudge: a sentence or two on what to think about, where some are wrong.

    Returns:
        True if all are right.

    Raises:
        ValueError: the exercise is badly made: a right word is not allowed, or one word for all
            questions would pass.

    Example:
        >>> kinds = {"a": "ring", "b": "nested", "c": "ring"}
        >>> words("orders", kinds | {"b": "ring"}, kinds, allowed=["ring", "nested"])
        not yet: orders: 2 of 3 are right
        False
        >>> words("letters", "EBE", "EBE", allowed="EB")
        right: letters, all 3
        True
    """
    choices = list(allowed)
    expected = _by_question(right)
    if not set(expected.values()) <= set(choices) or len(set(expected.values())) < 2:
        raise ValueError(f"{label}: the right words must be allowed, and not all the same")
    answers = _by_question(attempt)
    if isinstance(attempt, str) != isinstance(right, str) or answers.keys() != expected.keys():
        kind = f"a dict with the letters {', '.join(expected)}"
        if isinstance(right, str):
            kind = f"a text of {len(right)} letters"
        print(f"not yet: {label}: {kind} is wanted")
        return False
    for question, word in answers.items():
        # Looked at before it is compared: a tensor has no one answer, and some things equal all.
        if not isinstance(word, str) or word not in choices:
            listed = ", ".join(map(repr, choices))
            print(f"not yet: {label}: {question} is {brief(word)}; choose one of {listed}")
            return False
    count = sum(answers[question] == word for question, word in expected.items())
    if count == len(expected):
        print(f"right: {label}, all {count}")
        return True
    end = f". {nudge}" if nudge else ""
    print(f"not yet: {label}: {count} of {len(expected)} are right{end}")
    return False


def _by_question(answers: Any) -> dict[Any, Any]:
    """Return the answers by question, those in a text by "letter 1" and so on; else nothing."""
    if isinstance(answers, str):
        return {f"letter {k}": letter for k, letter in enumerate(answers, start=1)}
    return dict(answers) if isinstance(answers, Mapping) else {}


def _all_cases(
    label: str,
    cases: Sequence[tuple[Any, ...]],
    *,
    draw: CaseMaker | None,
    n_drawn: int,
) -> list[tuple[Any, ...]]:
    """Return the given cases and the drawn ones; ``ValueError`` where there are none."""
    rng = np.random.default_rng(0)
    drawn = [draw(rng) for _ in range(n_drawn)] if draw else []
    if not cases and not drawn:
        raise ValueError(f"{label}: there must be at least one case")
    return [*cases, *drawn]


def _examine(
    label: str,
    cases: list[tuple[Any, ...]],
    right: list[Any],
    *,
    mistakes: Sequence[Mistake],
    tolerance: dict[str, float],
) -> None:
    """Look whether the cases tell the right answer from frauds; ``ValueError`` if they do not."""
    for expected, case in zip(right, cases, strict=True):
        if not same(expected, expected, **tolerance):
            raise ValueError(f"{label}: the reference gives {brief(expected)} for {brief(case)}")
    if any(cases) and (len(cases) == 1 or all_alike(right, **tolerance)):
        raise ValueError(f"{label}: a constant would pass; add cases with other answers")
    if arguments_given_back(cases, right, like=None, **tolerance):
        raise ValueError(f"{label}: handing an argument back would pass; add other cases")
    for mistake in mistakes:
        if _agrees(mistake, cases, right, tolerance=tolerance):
            raise ValueError(f"{label}: a mistake would pass: {mistake.words}")


def _agrees(
    mistake: Mistake,
    cases: list[tuple[Any, ...]],
    results: list[Any],
    *,
    tolerance: dict[str, float],
) -> bool:
    """Return whether a wrong formula gives these results in all cases."""
    for case, result in zip(cases, results, strict=True):
        try:
            wrong = mistake.answer(*case)
        except (ArithmeticError, ValueError):
            return False  # a formula may have no value in some case
        if not agrees(result, wrong, **tolerance):
            return False
    return True


def _nudge(
    cases: list[tuple[Any, ...]],
    results: list[Any],
    *,
    mistakes: Sequence[Mistake],
    tolerance: dict[str, float],
    like: Callable[..., Any],
) -> str:
    """Return a sentence on what to think about, if the results show what went wrong."""
    for mistake in mistakes:
        if _agrees(mistake, cases, results, tolerance=tolerance):
            return f". {mistake.words}"
    if any(cases) and all_alike(results):
        return ". It gives the same in every case"
    given_back = arguments_given_back(cases, results, like=like)
    return f". It gives back {given_back} as it came" if given_back else ""
