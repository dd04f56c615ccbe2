"""Scores that more than one chapter uses."""

import math

import torch
from torch import Tensor


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Fraction of equal entries of two integer tensors of one shape."""
    if predicted.shape != labels.shape or predicted.numel() == 0:
        raise ValueError(f"predicted and labels must have one shape, not empty; got {tuple(predicted.shape)} and {tuple(labels.shape)}")
    return float((predicted == labels).double().mean())


def wilson_interval(fraction: float, n: int, *, z: float = 1.0) -> tuple[float, float]:
    """Wilson's score interval of a fraction measured on n samples; z = 1 gives 68 %, 1.96 gives 95 %.

    Unlike the normal approximation it stays inside 0..1 close to a perfect score (Wilson 1927, JASA 22, 209).

    Example:
        >>> [round(v, 4) for v in wilson_interval(0.99, 10_000, z=1.96)]
        [0.9879, 0.9918]
    """
    if not 0 <= fraction <= 1 or n < 1:
        raise ValueError(f"fraction must lie in 0..1 and n be positive, got {fraction} and {n}")
    centre = fraction + z * z / (2 * n)
    half = z * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def confusion_matrix(predicted: Tensor, labels: Tensor, *, classes: int) -> Tensor:
    """Counts ``(classes, classes)``: row the true class, column the predicted one."""
    if predicted.shape != labels.shape:
        raise ValueError(f"predicted and labels must have one shape, got {tuple(predicted.shape)} and {tuple(labels.shape)}")
    for name, values in (("predicted", predicted), ("labels", labels)):
        if values.numel() and not (0 <= int(values.min()) and int(values.max()) < classes):
            raise ValueError(f"{name} must lie in 0..{classes - 1}, got {int(values.min())}..{int(values.max())}")
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)


def constant_accuracy(labels: Tensor) -> float:
    """Accuracy of the best answer that ignores the input: the share of the commonest class."""
    if labels.numel() == 0:
        raise ValueError("labels is empty")
    return float(labels.bincount().max() / len(labels))
