"""check.answer: a right function is told so, a wrong one never raises."""

import math

import numpy as np
import pytest
import torch

from skytutor import check


def test_an_answer_that_is_right(capsys):
    def attempt(n):
        return 4 * math.pi / (12 * n * n)

    def reference(n):
        return math.pi / (3 * n * n)

    assert check.answer("area", attempt, reference, (1,), (8,)) is True
    assert capsys.readouterr().out == "right: area, 2 cases\n"


def test_without_a_case_any_function_would_pass():
    with pytest.raises(ValueError, match="area: there must be at least one case"):
        check.answer("area", lambda n: n, lambda n: 2 * n)


def broken(_):
    raise KeyError("mine")


@pytest.mark.parametrize(
    ("attempt", "reference"),
    [
        (lambda n: n, lambda n: 2.0 * n),
        (lambda n: None, lambda n: 1.0),
        (lambda n: "one", lambda n: 1.0),
        (broken, lambda n: 1),
        (lambda n: torch.ones(3), lambda n: 1.0),
        (lambda n: np.ones(3), lambda n: 1.0),
        (lambda n: 1.0, lambda n: torch.ones(3)),
        (lambda n: torch.ones(2), lambda n: torch.ones(3)),
        (lambda n: torch.ones(3) * 1.01, lambda n: torch.ones(3)),
        (lambda n: torch.full((3,), math.nan), lambda n: torch.ones(3)),
        (lambda n: (torch.ones(2), 1), lambda n: (torch.ones(2), 2)),
    ],
)
def test_an_answer_that_is_wrong_raises_nothing(capsys, attempt, reference):
    assert check.answer("area", attempt, reference, (8,)) is False
    out = capsys.readouterr().out
    assert out.startswith("not yet: area") and "(8,)" in out
