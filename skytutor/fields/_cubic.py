"""Cubic interpolation in a table of equal steps."""

import torch
from torch import Tensor


def cubic(table: Tensor, first: Tensor, t: Tensor) -> Tensor:
    """Return the cubic through four entries of a table, by Lagrange's polynomials.

    Arguments:
        table: ``(n,)``.
        first: number of the first of the four entries, int64 of any shape.
        t: place from the second entry on, in steps, of the shape of `first`.
    """
    # The polynomials that are 1 at one of -1, 0, 1, 2 and 0 at the others.
    weights = (
        -t * (t - 1) * (t - 2) / 6,
        (t + 1) * (t - 1) * (t - 2) / 2,
        -(t + 1) * t * (t - 2) / 2,
        (t + 1) * t * (t - 1) / 6,
    )
    out = torch.zeros_like(t)
    for k, weight in enumerate(weights):
        out += weight * table[first + k]
    return out
