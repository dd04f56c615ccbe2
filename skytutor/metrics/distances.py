"""How far apart are two sets? Wasserstein-1 in one dimension, and a classifier between the sets."""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.validate import as_seed

__all__ = ["two_sample_auc", "wasserstein"]


def wasserstein(a: Tensor, b: Tensor) -> float:
    """Return the Wasserstein-1 distance of two sets of numbers.

    It is the area between their cumulative distributions, and the mean distance by which the
    numbers of one set must move to become the other. Two finite sets of one distribution are a
    little apart: print the distance of two halves of the real data beside it.

    Arguments:
        a: numbers, of any shape.
        b: numbers, of any shape.

    Returns:
        the distance, in the numbers' unit.

    Raises:
        ValueError: no numbers, NaN or infinite ones.

    Example:
        >>> wasserstein(torch.tensor([0.0, 1.0]), torch.tensor([1.5, 0.5]))
        0.5
    """
    a = as_tensor("a", a, dtype=torch.float64)
    b = as_tensor("b", b, dtype=torch.float64)
    for name, numbers in (("a", a), ("b", b)):
        if not numbers.numel() or not bool(numbers.isfinite().all()):
            raise ValueError(
                f"{name} must hold finite numbers, at least one, got shape {tuple(numbers.shape)}"
            )
    a = a.flatten().sort().values
    b = b.flatten().sort().values
    # Both distributions are flat between neighbouring numbers, so the area is a sum of boxes.
    at = torch.cat([a, b]).sort().values
    below_a = torch.searchsorted(a, at[:-1], right=True).double() / len(a)
    below_b = torch.searchsorted(b, at[:-1], right=True).double() / len(b)
    return float(((below_a - below_b).abs() * at.diff()).sum())


def two_sample_auc(a: Tensor, b: Tensor, *, seed: int, folds: int = 5) -> tuple[float, float]:
    """Return how well boosted trees tell the rows of two sets apart.

    The area under the curve is the probability that the classifier finds a row of `b` more like
    `b` than a row of `a`: 0.5 if the sets cannot be told apart, 1 if they always can. Each row is
    classified by trees that have not seen it. The larger set is thinned to the size of the other.

    Arguments:
        a: rows ``(N, F)``.
        b: rows ``(M, F)``.
        seed: of the folds and of the rows that are taken.
        folds: parts, each of which is classified by trees that learned from the others.

    Returns:
        the mean over folds and its standard error.

    Raises:
        ValueError: other shapes, fewer rows than twice the folds, NaN or infinite values.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    seed = as_seed("seed", seed, bits=32)  # what scikit-learn takes
    a = as_tensor("a", a, dtype=torch.float64)
    b = as_tensor("b", b, dtype=torch.float64)
    _check_rows(a, b, folds)
    n = min(len(a), len(b))
    generator = torch.Generator().manual_seed(seed)
    # Equally many of each, so that no prior for one of the sets is to be learned.
    chosen = [rows.cpu()[torch.randperm(len(rows), generator=generator)[:n]] for rows in (a, b)]
    rows = torch.cat(chosen).numpy()
    labels = torch.arange(2).repeat_interleave(n).numpy()
    # Few leaves and a slow rate: a small difference must not drown in what is learned by heart.
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_leaf_nodes=15, early_stopping=True, random_state=seed
    )
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    areas = cross_val_score(trees, rows, labels, scoring="roc_auc", cv=parts)
    return float(areas.mean()), float(areas.std(ddof=1) / math.sqrt(folds))


def _check_rows(a: Tensor, b: Tensor, folds: int) -> None:
    """Raise ``ValueError`` unless both sets have enough rows of equally many finite numbers."""
    if folds < 2:
        raise ValueError(f"folds must be 2 or more, got {folds}")
    for name, rows in (("a", a), ("b", b)):
        if rows.dim() != 2 or len(rows) < 2 * folds:
            raise ValueError(
                f"{name} must be (N, F) with {2 * folds} rows or more, "
                f"got shape {tuple(rows.shape)}"
            )
        if not bool(rows.isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinite values")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"a and b must have equally many columns, got {a.shape[1]} and {b.shape[1]}"
        )
