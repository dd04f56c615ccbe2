"""skytutor.chunks: the same as the function on all rows at once, with no more rows at a time."""

import pytest
import torch

from skytutor.chunks import in_chunks


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 100])
def test_chunks_give_what_the_function_gives_of_all_rows(size):
    x = torch.arange(18.0).view(6, 3)
    y = torch.arange(6.0)

    def function(rows, offsets):
        return rows.sum(1) * 2 + offsets

    assert torch.equal(in_chunks(function, x, y, size=size), function(x, y))


def test_chunks_have_at_most_as_many_rows_as_asked_for_in_order():
    seen = []

    def function(rows):
        seen.append(rows.tolist())
        return rows

    in_chunks(function, torch.arange(5), size=2)
    assert seen == [[0, 1], [2, 3], [4]]


def test_what_is_returned_may_have_other_axes():
    out = in_chunks(lambda rows: rows[:, None, None].expand(-1, 2, 4), torch.arange(5), size=3)
    assert out.shape == (5, 2, 4)


def test_no_rows_give_no_rows():
    assert in_chunks(lambda rows: 2 * rows, torch.zeros(0, 3), size=4).shape == (0, 3)


def test_gradients_pass():
    x = torch.arange(5.0, requires_grad=True)
    in_chunks(torch.square, x, size=2).sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one(size):
    with pytest.raises(ValueError, match="size must be a positive integer"):
        in_chunks(torch.neg, torch.zeros(3), size=size)


def test_a_size_that_is_no_integer():
    with pytest.raises(TypeError, match=r"size must be a positive integer, got 2\.5"):
        in_chunks(torch.neg, torch.zeros(3), size=2.5)


@pytest.mark.parametrize("lengths", [(), (3, 2)])
def test_no_tensors_or_tensors_of_different_length(lengths):
    tensors = [torch.zeros(length) for length in lengths]
    with pytest.raises(ValueError, match="tensors must be one or more of the same length"):
        in_chunks(torch.add, *tensors, size=2)
