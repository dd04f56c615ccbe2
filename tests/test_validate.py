"""skytutor.validate: every check returns what is fit for use, and its message names the rest."""

import math
import re

import numpy as np
import pytest
import torch

from skytutor.validate import as_integer, as_length, check_spin, hard_mask, one_of, positive
from skytutor.values import all_finite, extremes


@pytest.mark.parametrize("value", [3, np.int32(3), np.uint8(3), torch.tensor(3)], ids=repr)
def test_integers_of_any_kind_become_python_ints(value):
    assert as_integer("size", value) == 3
    assert type(as_integer("size", value)) is int


@pytest.mark.parametrize(
    "value", [True, 3.0, "3", None, np.float64(3), np.array([3, 4]), torch.tensor([3.0])], ids=repr
)
def test_what_is_no_integer_is_refused(value):
    with pytest.raises(TypeError, match=r"size must be an integer, got .*") as caught:
        as_integer("size", value)
    assert type(value).__name__ in str(caught.value)


def test_the_caller_says_what_is_wanted():
    with pytest.raises(TypeError, match=r"size must be an even number, got 2\.0"):
        as_integer("size", 2.0, wanted="an even number")


def test_positive_sizes_come_back_in_order():
    assert positive(rings=3, columns=8) == [3, 8]


@pytest.mark.parametrize("value", [0, -1])
def test_a_size_below_one_is_named(value):
    with pytest.raises(ValueError, match=f"columns must be a positive integer, got {value}"):
        positive(rings=3, columns=value)


def test_a_size_that_is_no_integer_is_named():
    with pytest.raises(TypeError, match=r"rings must be a positive integer, got 3\.0"):
        positive(rings=3.0, columns=0)


def test_one_of_the_allowed_words():
    assert one_of("mode", "mean", allowed=("max", "mean")) == "mean"


@pytest.mark.parametrize("value", ["median", "", None, 1, True])
def test_any_other_word_is_refused(value):
    message = f"mode must be one of 'max', 'mean', got {value!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        one_of("mode", value, allowed=("max", "mean"))


@pytest.mark.parametrize("spin", [0, 2, np.int64(2)])
def test_spins_that_the_package_knows(spin):
    assert check_spin(spin) == spin
    assert type(check_spin(spin)) is int


@pytest.mark.parametrize(
    ("spin", "error"), [(1, ValueError), (-2, ValueError), (2.0, TypeError), (None, TypeError)]
)
def test_other_spins_are_refused(spin, error):
    with pytest.raises(error, match="spin"):
        check_spin(spin)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_smallest_and_largest_element(dtype):
    values = torch.tensor([[2.0, -3.0], [0.5, 1.0]], dtype=dtype)
    assert extremes(values) == (-3.0, 2.0)
    values[0, 0] = math.nan
    assert all(math.isnan(end) for end in extremes(values))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_element_is_found(bad):
    values = torch.zeros(2, 3, requires_grad=True)
    assert all_finite(values)
    with torch.no_grad():
        values[1, 2] = bad
    assert not all_finite(values)


@pytest.mark.parametrize("value", [7, 7.0, np.float32(7), torch.tensor(7.0)], ids=repr)
def test_lengths_of_any_kind_become_floats(value):
    found = as_length("pixel_arcmin", value)
    assert found == 7.0 and type(found) is float


@pytest.mark.parametrize("value", ["7", True, None, [7.0], torch.ones(2)], ids=repr)
def test_what_is_no_length_is_refused(value):
    with pytest.raises(TypeError, match="pixel_arcmin must be finite and positive, got"):
        as_length("pixel_arcmin", value)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf])
def test_lengths_are_finite_and_not_negative(value):
    for zero, words in ((False, "finite and positive"), (True, "finite and not negative")):
        with pytest.raises(ValueError, match=f"noise must be {words}, got {value}"):
            as_length("noise", value, zero=zero)
    with pytest.raises(ValueError, match="noise must be finite and positive, got 0"):
        as_length("noise", 0)
    assert as_length("noise", 0, zero=True) == 0.0


def test_a_hard_mask_of_any_type_becomes_bool():
    want = torch.tensor([True, False])
    for dtype in (torch.uint8, torch.int64, torch.float32):
        assert torch.equal(hard_mask(want.to(dtype)), want)
    assert hard_mask(want) is want
    for bad in ([0.5, 1.0], [math.nan, 1.0], [2.0, 1.0], [-1.0, 1.0]):
        with pytest.raises(ValueError, match="mask must be hard"):
            hard_mask(torch.tensor(bad))
    assert torch.equal(hard_mask(np.array([1, 0], ">i2")), want)
    with pytest.raises(TypeError, match="mask must be numbers"):
        hard_mask("seen")
