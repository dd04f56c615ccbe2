"""Scores of class labels: accuracy and its interval, confusion, the constant answer."""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_integers
from skytutor.validate import as_integer, as_length


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the fraction of equal entries of two integer tensors.

    Arguments:
        predicted: classes, ``(N,)`` or any other shape.
        labels: true classes, of the same shape.

    Raises:
        TypeError: no integers.
        ValueError: different shapes, or no entries.
    """
    predicted, labels = as_integers(predicted=predicted, labels=labels)
    if predicted.shape != labels.shape or predicted.numel() == 0:
        raise ValueError(
            "predicted and labels must have one shape, not empty; "
            f"got {tuple(predicted.shape)} and {tuple(labels.shape)}"
        )
    return float((predicted == labels).double().mean())


def wilson_interval(fraction: float, n: int, *, z: float = 1.0) -> tuple[float, float]:
    """Return Wilson's score interval of a fraction measured on n samples.

    The ends are the two p with ``|p - fraction| = z sqrt(p (1 - p) / n)``. Unlike the normal
    approximation it stays inside 0..1 close to a perfect score (Wilson 1927, JASA 22, 209).

    Arguments:
        fraction: measured, 0..1.
        n: number of samples.
        z: half width in standard deviations; 1 gives 68 %, 1.96 gives 95 %.

    Returns:
        lower and upper end.

    Raises:
        ValueError: a fraction outside 0..1, or no samples.

    Example:
        >>> [round(v, 4) for v in wilson_interval(0.99, 10_000, z=1.96)]
        [0.9879, 0.9918]
    """
    fraction = as_length("fraction", fraction, zero=True)
    n = as_integer("n", n)
    z = as_length("z", z)
    if not 0 <= fraction <= 1 or n < 1:
        raise ValueError(f"fraction must lie in 0..1 and n be positive, got {fraction} and {n}")
    # The two roots of the quadratic in p, before the division by its leading coefficient.
    centre = fraction + z * z / (2 * n)
    half_width = z * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    leading = 1 + z * z / n
    low = (centre - half_width) / leading
    high = (centre + half_width) / leading
    return max(0.0, low), min(1.0, high)


def confusion_matrix(predicted: Tensor, labels: Tensor, *, classes: int) -> Tensor:
    """Count how often each class is taken for each other one.

    Arguments:
        predicted: classes ``(N,)``, int64.
        labels: true classes ``(N,)``, int64.
        classes: number of classes.

    Returns:
        Counts ``(classes, classes)``, int64: row the true class, column the predicted one.

    Raises:
        TypeError: no integers.
        ValueError: different shapes, or a class outside ``0..classes - 1``.
    """
    predicted, labels = as_integers(predicted=predicted, labels=labels)
    if predicted.shape != labels.shape:
        raise ValueError(
            "predicted and labels must have one shape, "
            f"got {tuple(predicted.shape)} and {tuple(labels.shape)}"
        )
    for name, values in (("predicted", predicted), ("labels", labels)):
        if values.numel() and not (int(values.min()) >= 0 and int(values.max()) < classes):
            raise ValueError(
                f"{name} must lie in 0..{classes - 1}, got {int(values.min())}..{int(values.max())}"
            )
    cell = labels * classes + predicted  # (N,), number of the matrix's cell, row after row
    return torch.bincount(cell, minlength=classes**2).view(classes, classes)


def constant_accuracy(labels: Tensor) -> float:
    """Return the accuracy of the best constant answer: the fraction of the commonest class.

    Arguments:
        labels: true classes ``(N,)``, int64.

    Raises:
        TypeError: no integers.
        ValueError: no labels, other axes, or a negative class.
    """
    (labels,) = as_integers(labels=labels)
    if labels.dim() != 1 or not len(labels) or int(labels.min()) < 0:
        raise ValueError(
            f"labels must be (N,), not empty and none negative, got shape {tuple(labels.shape)}"
        )
    # Only classes that occur are counted: a row up to the largest number could fill the memory.
    _, counts = labels.unique(return_counts=True)
    return float(counts.max() / len(labels))
