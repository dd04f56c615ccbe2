"""Where values lie between the nodes of a table that are not evenly spaced."""

import torch
from torch import Tensor

__all__ = ["between"]


def between(nodes: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the nodes on both sides of each value, and how far it lies towards the second.

    Beyond the outer nodes the fraction stays 0 or 1, so that what is read off stays what it is
    there.

    Arguments:
        nodes: ``(N,)``, rising, two or more.
        values: of any shape.

    Returns:
        indices of the left and of the right node, and the fraction, each shaped as `values`.

    Example:
        >>> left, right, weight = between(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([2.0, 9.0]))
        >>> left, right, weight
        (tensor([1, 1]), tensor([2, 2]), tensor([0.5000, 1.0000]))
    """
    values = values.contiguous()
    right = torch.searchsorted(nodes, values).clamp(1, len(nodes) - 1)
    left = right - 1
    weight = ((values - nodes[left]) / (nodes[right] - nodes[left])).clamp(0, 1)
    return left, right, weight
