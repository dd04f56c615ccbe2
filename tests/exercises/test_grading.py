"""The core of the exercises: what is right passes, frauds do not, and no line gives it away."""

import math
import random

import numpy as np
import pytest
import torch
from frauds import let_through

from skytutor import exercises
from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake


# --- an exercise as a page has it: the flat spectrum of white noise ---
def _noise_level(sigma, nside):
    return 4 * math.pi * sigma**2 / (12 * nside**2)


SLIPS = (
    Mistake(lambda sigma, nside: sigma**2, "How many pixels does a coefficient add up?"),
    Mistake(lambda sigma, nside: 4 * math.pi * sigma / (12 * nside**2), "Is it a variance?"),
)


def noise_level(attempt, **changed):
    setting = {
        "cases": [(1.0, 8), (2.0, 8), (1.0, 16)],
        "draw": lambda rng: (rng.uniform(0.1, 9.0), 2 ** int(rng.integers(1, 8))),
        "mistakes": SLIPS,
    } | changed
    return grading.function("noise_level", attempt, _noise_level, **setting)


def said(capsys):
    """Return the one line that was printed."""
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and out.endswith("\n"), out
    return out[:-1]


def test_a_right_function_passes(capsys):
    assert noise_level(lambda s, n: np.float64(np.pi) * s * s / (3 * n * n)) is True
    assert said(capsys) == "right: noise_level, 9 cases"


def test_no_fraud_passes_and_none_raises(capsys):
    assert let_through(noise_level) == []
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("not yet: noise_level: ") for line in lines)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda s, n: s * s, "How many pixels does a coefficient add up?"),
        (lambda s, n: math.pi * s / 3 / n**2, "Is it a variance?"),
        (lambda s, n: 0.25, "it gives 0.25, which is not right. It gives the same in every case"),
        (lambda s, n: n, "It gives back nside as it came"),
        (lambda s, n: 1 / (n - 16), "for sigma = 1.0, nside = 16 it raises ZeroDivisionError"),
        (lambda s, n: None, "is there a `return`?"),
        (lambda s: s, "the function takes 2 arguments (sigma, nside)"),
        (lambda s, n: "0.1", "a number is wanted"),
        (lambda s, n: [s, n], "a number is wanted"),
        (lambda s, n: torch.ones(2), "a single number is wanted"),
        (0.016, "a function is wanted, not 0.016"),
        (None, "a function is wanted, not None"),
        ("noise_level", "a function is wanted, not 'noise_level'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(capsys, attempt, words):
    assert noise_level(attempt) is False
    assert words in said(capsys)


def test_a_wrong_answer_in_one_case_alone_is_found(capsys):
    almost = lambda s, n: _noise_level(s, n) * (1 + 0.1 * (n > 100))  # noqa: E731
    assert noise_level(almost) is False
    assert "nside = 128" in said(capsys)


def test_no_line_holds_the_right_number(capsys):
    right = {f"{_noise_level(*case):.3g}" for case in [(1.0, 8), (2.0, 8), (1.0, 16)]}
    for attempt in (lambda s, n: s, lambda s, n: 2 * s * n, lambda s, n: -s):
        noise_level(attempt)
        assert not any(number in capsys.readouterr().out for number in right)


def test_an_attempt_that_changes_its_arguments_harms_nobody(capsys):
    maps = torch.arange(8.0).view(2, 4)

    def in_place(maps):
        maps.zero_()
        return maps.sum(1)

    sums = lambda maps: maps.sum(1)  # noqa: E731
    assert grading.function("sums", in_place, sums, cases=[(maps,), (maps + 1,)]) is False
    assert maps.sum() == 28


def test_the_notebooks_random_numbers_are_its_own(capsys):
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = (torch.rand(1), np.random.rand(), random.random())
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    noise_level(lambda s, n: float(torch.rand(1)) + np.random.rand() + random.random())
    assert before == (torch.rand(1), np.random.rand(), random.random())


@pytest.fixture
def gpu(monkeypatch):
    """Put a make-believe GPU in place, and return what is asked of it; it begins unused."""
    asked = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: f"state of {device}")
    for name in ("set_rng_state", "manual_seed_all"):
        note = lambda *given, name=name: asked.append((name, *given))  # noqa: E731
        monkeypatch.setattr(torch.cuda, name, note)
    return asked


def test_a_gpu_that_nobody_used_is_neither_started_nor_seeded(gpu):
    noise_level(_noise_level)
    assert gpu == []


def test_the_random_numbers_of_a_gpu_are_the_notebooks_own(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    noise_level(_noise_level)
    assert gpu == [("manual_seed_all", 0), ("set_rng_state", "state of 0", 0)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cases": [(1.0, 8)], "draw": None}, "a constant would pass"),
        ({"cases": [(1.0, 8), (2.0, 16)], "draw": None}, "a constant would pass"),
        ({"mistakes": [Mistake(_noise_level, "No.")]}, "a mistake would pass: No."),
        ({"cases": [(math.nan, 8)], "draw": None}, "the reference gives nan"),
    ],
)
def test_an_exercise_that_is_badly_made_says_so(changed, words):
    with pytest.raises(ValueError, match=words):
        noise_level(_noise_level, **changed)


def test_an_exercise_that_an_argument_solves_says_so():
    with pytest.raises(ValueError, match="handing an argument back would pass"):
        grading.function("abs", abs, abs, cases=[(1.0,), (2.0,)])


def test_the_size_of_an_answer_is_not_told(capsys):
    """The length of a list of pixels is the answer's own; that of the maps was given."""
    corners = lambda: torch.arange(24)  # noqa: E731
    column = lambda: torch.arange(24)[:, None]  # noqa: E731
    assert grading.function("corners", column, corners, cases=[()]) is False
    line = said(capsys)
    assert "the shape should be (?,)" in line and line.count("24") == 1  # the reader's own
    assert grading.function("corners", corners, corners, cases=[()]) is True


# --- many right answers ---


def _sharper(got, features):
    if not isinstance(got, torch.Tensor) or got.shape != features.shape:
        return "has another shape"
    if abs(float(got.mean() - features.mean())) > 0.05:
        return "has another mean"
    return None


def sharper(attempt):
    rows = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    return grading.satisfies("sharper", attempt, _sharper, cases=[(rows,), (rows + 1,)])


def test_what_satisfies_passes_again_and_again(capsys):
    draws = lambda rows: rows.mean() + 0.1 * torch.randn(rows.shape)  # noqa: E731
    assert [sharper(draws) for _ in range(5)] == [True] * 5


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda rows: rows, "it gives back what it was given"),
        (lambda rows: rows.clone(), "it gives back what it was given"),
        (lambda rows: torch.zeros(400, 3), "it gives the same in every case"),
        (lambda rows: rows + 1, "it has another mean"),
        (lambda rows: rows[:5], "it has another shape"),
        (lambda rows, more: rows, "the function takes 1 argument (features)"),
        (lambda rows: rows.missing, "it raises AttributeError"),
        (None, "a function is wanted"),
    ],
)
def test_what_does_not_satisfy(capsys, attempt, words):
    assert sharper(attempt) is False
    assert words in said(capsys)


def test_what_cannot_be_examined_is_not_right(capsys):
    fault = lambda got, word: None if len(got) > len(word) else "is too short"  # noqa: E731
    numbers = lambda word: float(ord(word))  # noqa: E731
    assert grading.satisfies("longer", numbers, fault, cases=[("a",), ("b",)]) is False
    assert "cannot be examined (TypeError)" in said(capsys)


def test_no_fraud_satisfies(capsys):
    assert let_through(sharper) == []


# --- a word for each question ---

KINDS = {"a": "ring", "b": "nested", "c": "ring"}


def orders(attempt):
    return grading.words("orders", attempt, KINDS, allowed=["ring", "nested"], nudge="Look again.")


def letters(attempt):
    return grading.words("letters", attempt, "EBME", allowed="EBM")


def test_right_words_pass(capsys):
    assert orders(dict(reversed(KINDS.items()))) is True
    assert said(capsys) == "right: orders, all 3"
    assert letters("EBME") is True
    assert said(capsys) == "right: letters, all 4"


@pytest.mark.parametrize(
    ("exercise", "attempt", "words"),
    [
        (orders, KINDS | {"c": "nested"}, "2 of 3 are right. Look again."),
        (orders, KINDS | {"c": "rings"}, "c is 'rings'; choose one of 'ring', 'nested'"),
        (orders, KINDS | {"c": torch.ones(2)}, "c is a tensor of shape (2,); choose one of"),
        (orders, {"a": "ring"}, "a dict with the letters a, b, c is wanted"),
        (orders, KINDS | {"d": "ring"}, "a dict with the letters a, b, c is wanted"),
        (orders, "ring", "a dict with the letters a, b, c is wanted"),
        (orders, None, "a dict with the letters a, b, c is wanted"),
        (letters, "EBMB", "3 of 4 are right"),
        (letters, "EBX?", "letter 3 is 'X'; choose one of 'E', 'B', 'M'"),
        (letters, "EB", "a text of 4 letters is wanted"),
        (letters, list("EBME"), "a text of 4 letters is wanted"),
        (letters, {f"letter {k + 1}": c for k, c in enumerate("EBME")}, "a text of 4 letters"),
    ],
)
def test_wrong_words_hear_how_many_are_right_and_not_which(capsys, exercise, attempt, words):
    assert exercise(attempt) is False
    line = said(capsys)
    assert line.startswith("not yet: ") and words in line


@pytest.mark.parametrize("exercise", [orders, letters])
def test_no_fraud_is_the_words(exercise):
    assert let_through(exercise) == []


@pytest.mark.parametrize(
    ("right", "allowed"), [({"a": "x", "b": "y"}, ["x", "z"]), ({"a": "x", "b": "x"}, ["x", "y"])]
)
def test_questions_that_are_badly_made_say_so(right, allowed):
    with pytest.raises(ValueError, match="kinds: the right words must be allowed, and not all"):
        grading.words("kinds", right, right, allowed=allowed)


@pytest.mark.parametrize("n_drawn", [0, 3])
def test_without_a_case_there_is_no_exercise(n_drawn):
    with pytest.raises(ValueError, match="double: there must be at least one case"):
        grading.function("double", abs, abs, cases=[], n_drawn=n_drawn)
    with pytest.raises(ValueError, match="double: there must be at least one case"):
        grading.satisfies("double", abs, lambda got, x: None, cases=(), n_drawn=n_drawn)


def test_the_package_offers_the_core_itself():
    assert exercises.words is grading.words
    assert exercises.Mistake is Mistake
    assert exercises.function is grading.function and exercises.satisfies is grading.satisfies
