"""Results are compared by kind, shape and number, and what differs gives no number away."""

import math

import numpy as np
import pytest
import torch

from skytutor.check.compare import brief, same, what_differs

AGREE = [
    (1.0, 1.0),
    (np.float32(0.1), 0.1),
    (torch.tensor([2.0]), 2.0),
    (torch.tensor(3), 3),
    (4.0, 4),
    (np.bool_(True), True),
    (1 + 2j, 1 + 2j),
    ([1.0, 2.0], torch.tensor([1.0, 2.0])),
    (np.array([1.0, 2.0])[::-1], torch.tensor([2.0, 1.0])),
    (torch.tensor([1, 2]), (1, 2)),
    (torch.ones(2, requires_grad=True), np.ones(2)),
    (np.ones(2), torch.ones(2, requires_grad=True)),
    (torch.full((2,), 0.1), torch.full((2,), 0.1, dtype=torch.float64)),
    ({"E": 1.0, "B": torch.zeros(2)}, {"B": torch.zeros(2), "E": 1.0}),
    (None, None),
    ("ring", "ring"),
    (torch.zeros(0), torch.zeros(0)),
    (10**400, 10**400),
    (0.1 * 3 * 10, 3),
    (200_001.0, 200_000.0),
    (3.0000000001 + 0j, 3),
    (torch.tensor([3.0000001, 2e5]), torch.tensor([3, 200_000])),
    (torch.tensor([2**60 + 1]), torch.tensor([2**60 + 1])),
    (torch.tensor([1], dtype=torch.int32), torch.tensor([1])),
    (np.array([3, 4]), torch.tensor([3.0, 4.0])),
    (torch.ones(2).bfloat16(), torch.ones(2)),
    (math.inf, math.inf),
]
DIFFER = [
    (1.001, 1.0),
    ("1.0", 1.0),
    (True, 1.0),
    (1, True),
    (math.nan, math.nan),
    (None, 0.0),
    (0.0, None),
    ([1.0, 2.0], 1.0),
    (torch.ones(3), torch.ones(1, 3)),
    (torch.ones(2, dtype=torch.bool), torch.ones(2)),
    ([1.0, "2"], torch.tensor([1.0, 2.0])),
    ([[1.0], [1.0, 2.0]], torch.ones(2, 2)),
    ({"E": 1.0}, {"E": 1.0, "B": 0.0}),
    (torch.tensor(1.0), (1.0,)),
    (torch.full((2,), math.nan), torch.full((2,), math.nan)),
    (lambda: 1.0, 1.0),
    (200_001, 200_000),
    (200_001.0, 200_000),
    (200_001 + 0j, 200_000),
    (np.int64(200_001), 200_000),
    ([3, 200_001], (3, 200_000)),
    (torch.tensor([3, 200_001]), torch.tensor([3, 200_000])),
    (torch.tensor([3.0, 200_001.0]), torch.tensor([3, 200_000])),
    ([3, 200_001], np.array([3, 200_000])),
    (torch.tensor([2**60 + 1]), torch.tensor([2**60])),
    (1.0, math.inf),
    (1.0, complex(math.inf)),
    (torch.full((2,), 1.05).bfloat16(), torch.ones(2)),
    (torch.full((2,), 1.002).half(), torch.ones(2)),
    (torch.full((2,), 1.05), torch.ones(2).bfloat16()),
]


@pytest.mark.parametrize(("got", "expected"), AGREE)
def test_what_agrees(got, expected):
    assert same(got, expected)


@pytest.mark.parametrize(("got", "expected"), DIFFER)
def test_what_does_not(got, expected):
    assert not same(got, expected)


def test_an_object_that_equals_everything_equals_nothing():
    class Chameleon:
        def __eq__(self, other):
            return True

        __hash__ = None

    for expected in (1.0, "ring", None, torch.ones(2), (1, 2), {"E": 1}):
        assert not same(Chameleon(), expected)


def test_a_faint_wing_counts_as_much_as_the_peak():
    """A tolerance relative to the largest number would let the wings of a spectrum be anything."""
    spectrum = torch.tensor([1.0, 1e-3, 1e-5])
    assert not same(torch.tensor([1.0, 1e-3, 1.1e-5]), spectrum)
    assert same(torch.tensor([1.0, 1e-3, 1.000001e-5]), spectrum)


def test_what_cancels_in_single_precision_may_leave_a_rounding():
    exact = torch.tensor([1000.0, 0.0], dtype=torch.float64)
    assert same(torch.tensor([1000.0, 2e-4]), exact)
    assert not same(torch.tensor([1000.0, 2e-4], dtype=torch.float64), exact)


@pytest.mark.parametrize(
    ("got", "expected", "given", "words"),
    [
        (None, 1.0, (), "`return`"),
        ("one", 1.0, (), "a number is wanted"),
        (1.0, torch.ones(2), (), "the shape should be (?,)"),
        ("one", torch.ones(2), (), "a tensor is wanted"),
        (torch.ones(2), 1.0, (), "single number"),
        (math.nan, 1.0, (), "not finite"),
        (torch.ones(48), torch.ones(2, 48), (torch.ones(2, 192),), "(2, ?)"),
        (torch.ones(24, 1), torch.ones(24), (4,), "(?,)"),
        (torch.ones(5), torch.ones(3, 8), ([torch.ones(3)], 8), "(3, 8)"),
        (2.0, 3.0, (), "not right"),
    ],
)
def test_what_differs_is_said(got, expected, given, words):
    assert words in what_differs(got, expected, given=given)


def test_no_size_is_told_that_was_not_given():
    assert "24" not in what_differs(torch.ones(24, 1), torch.ones(24), given=(192,))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2 / 3, "0.6667"),
        (2.0, "2.0"),
        (np.float64(0.5), "0.5"),
        (torch.tensor(0.25), "0.25"),
        (np.ones((2, 3)), "an array of shape (2, 3)"),
        ((1, torch.ones(2)), "(1, a tensor of shape (2,))"),
        ("x" * 100, "'" + "x" * 56 + "..."),
    ],
)
def test_a_value_in_a_few_characters(value, text):
    assert brief(value) == text


def test_a_broken_repr_breaks_no_message():
    class Broken:
        def __repr__(self):
            raise RuntimeError("mine")

    assert brief(Broken()) == "a Broken"
