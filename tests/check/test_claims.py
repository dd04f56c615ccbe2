"""Checks of numbers: what holds prints one line, what does not raises and says what came."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from skytutor import check

HOLDS = [
    (check.close, (1.05, 1.0), {"tolerance": 0.05001}),
    (check.close, (torch.tensor(2.0), 2.0), {"tolerance": 0.0}),
    (check.between, (0.5, 0.5, 1.0), {}),
    (check.between, (np.float32(1), 0.5, 1.0), {}),
    (check.at_least, (0.994, 0.994), {}),
    (check.at_most, (90, 90), {}),
    (check.equal, ("ring", "ring"), {}),
    (check.equal, (torch.arange(3), [0, 1, 2]), {}),
    (check.equal, (np.arange(3), np.arange(3)), {}),
]
FAILS = [
    (check.close, (1.06, 1.0), {"tolerance": 0.05}, "1.06"),
    (check.close, (0.94, 1.0), {"tolerance": 0.05}, "0.94"),
    (check.close, (math.nan, 1.0), {"tolerance": math.inf}, "nan"),
    (check.at_least, (math.inf, 1.0), {}, "inf"),
    (check.between, (0.49, 0.5, 1.0), {}, "0.49"),
    (check.between, (1.01, 0.5, 1.0), {}, "1.01"),
    (check.at_least, (0.9939, 0.994), {}, "0.9939"),
    (check.at_most, (91, 90), {}, "91"),
    (check.at_most, (math.nan, 90), {}, "nan"),
    (check.equal, ("ring", "nested"), {}, "nested"),
    (check.equal, (torch.arange(3), torch.arange(4)), {}, "tensor"),
    (check.equal, (np.arange(3), np.array([0, 1, 3])), {}, "3"),
]


NO_NUMBERS = {
    "abc": "'abc'",
    "0.5": "'0.5'",
    None: "None",
    torch.ones(2): r"a tensor of shape \(2,\)",
    torch.zeros(0): r"a tensor of shape \(0,\)",
    (1, 2): r"\(1, 2\)",
    1j: "1j",
}


@pytest.mark.parametrize(("call", "values", "options"), HOLDS)
def test_what_holds(capsys, call, values, options):
    call("pixels at nside 8", *values, **options)
    out = capsys.readouterr().out
    assert out.startswith("ok: pixels at nside 8") and out.count("\n") == 1


@pytest.mark.parametrize(("call", "values", "options", "word"), FAILS)
def test_what_does_not_hold(capsys, call, values, options, word):
    with pytest.raises(AssertionError, match=f"pixels at nside 8.*{word}"):
        call("pixels at nside 8", *values, **options)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", NO_NUMBERS, ids=str)
@pytest.mark.parametrize(
    ("call", "bounds", "options"),
    [
        (check.close, (1,), {"tolerance": 1}),
        (check.between, (0, 1), {}),
        (check.at_least, (0,), {}),
        (check.at_most, (1,), {}),
    ],
)
def test_what_is_no_number_is_refused_by_name(call, bounds, options, value):
    words = f"pixels: value must be a number or a tensor with one element, got {NO_NUMBERS[value]}"
    with pytest.raises(TypeError, match=words):
        call("pixels", value, *bounds, **options)


@pytest.mark.parametrize("value", [Fraction(1, 2), Decimal("0.5"), np.array([0.5]), 0.5])
def test_numbers_of_other_kinds_are_numbers(value, capsys):
    check.close("half", value, 0.5, tolerance=0)
    assert capsys.readouterr().out.startswith("ok: half: 0.5 ")
