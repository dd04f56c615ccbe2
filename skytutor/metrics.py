"""Scores that more than one chapter uses."""

import math

import torch
from torch import Tensor

from skytutor.healpix import neighbours, npix_to_nside, reorder


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the fraction of equal entries of two integer tensors.

    Arguments:
        predicted: classes, ``(N,)`` or any other shape.
        labels: true classes, of the same shape.

    Raises:
        ValueError: different shapes, or no entries.
    """
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
        ValueError: different shapes, or a class outside ``0..classes - 1``.
    """
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
        ValueError: no labels.
    """
    if labels.numel() == 0:
        raise ValueError("labels is empty")
    return float(labels.bincount().max() / len(labels))


def _two_sets(
    a: Tensor, b: Tensor, *, names: tuple[str, str], min_rows: int
) -> tuple[Tensor, Tensor]:
    """Return both as float64 ``(N, D)`` and ``(M, D)``; ``ValueError`` names the one at fault."""
    for name, x in zip(names, (a, b), strict=True):
        if x.dim() != 2 or len(x) < min_rows:
            raise ValueError(
                f"{name} must be (N, D) with at least {min_rows} rows, got shape {tuple(x.shape)}"
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"{name} holds NaN or infinite values")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have equally many columns, "
            f"got {a.shape[1]} and {b.shape[1]}"
        )
    return a.double(), b.double()


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the squared Frechet distance of two sets of features, taken for Gaussians [1]_.

    ``|m_a - m_b|**2 + tr(C_a + C_b - 2 (C_a C_b)**(1/2))``, in the features' unit squared. It is
    biased upwards by the scatter of the covariances, the more the fewer rows: compare only
    distances from equally many rows, and print that of two halves of the real data beside them.

    Arguments:
        a: features ``(N, D)``, one row a sample.
        b: features ``(M, D)``.

    Raises:
        ValueError: fewer than two rows, different numbers of columns, NaN or infinite values.

    Example:
        >>> x = torch.randn(100, 3)
        >>> round(frechet_distance(x, x + torch.tensor([3.0, 4.0, 0.0])), 4)
        25.0

    .. [1] D. C. Dowson & B. V. Landau, 1982, J. Multivariate Anal. 12, 450.
    """
    a, b = _two_sets(a, b, names=("a", "b"), min_rows=2)
    cov_a = torch.cov(a.T).reshape(a.shape[1], -1)  # (D, D), also where D is 1
    cov_b = torch.cov(b.T).reshape(b.shape[1], -1)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # C_a C_b is not symmetric, but has the eigenvalues of C_a^(1/2) C_b C_a^(1/2), which is.
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    mean_distance = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(mean_distance + values.sum() + cov_b.trace() - 2 * cross))


def _radii(x: Tensor, k: int) -> Tensor:
    """Return the distance ``(N,)`` of each row to its k-th nearest other row."""
    # The nearest row of all is the row itself, hence k + 1. A thousand rows at a time: memory.
    return torch.cat([torch.cdist(part, x).kthvalue(k + 1, 1).values for part in x.split(1000)])


def manifold_scores(real: Tensor, fake: Tensor, *, k: int = 5) -> dict[str, float]:
    """Return precision and recall [1]_, density and coverage [2]_ of samples.

    Each row, real or sample, has a ball that reaches to its k-th nearest neighbour in its own set.

    * precision: fraction of samples in the ball of some real row; recall: fraction of real rows in
      the ball of some sample.
    * density: real balls that hold a sample, over k, averaged over samples: outliers count less
      than in precision.
    * coverage: fraction of real rows whose ball holds a sample; of two large sets of one
      distribution ``1 - 2**-k``.

    Arguments:
        real: features ``(N, D)``.
        fake: features ``(M, D)`` of samples.
        k: neighbours, fewer than rows.

    Returns:
        the four by their names.

    Raises:
        ValueError: too few rows, different numbers of columns, NaN or infinite values.

    .. [1] T. Kynkaanniemi et al., 2019, NeurIPS 32.
    .. [2] M. F. Naeem et al., 2020, ICML 37.
    """
    real, fake = _two_sets(real, fake, names=("real", "fake"), min_rows=k + 1)
    real_radii = _radii(real, k)
    fake_radii = _radii(fake, k)
    n_real_balls = torch.zeros(len(fake), dtype=torch.float64)  # that hold each sample
    recalled = []
    covered = []
    for part, radii in zip(real.split(1000), real_radii.split(1000), strict=True):
        distance = torch.cdist(part, fake)  # (at most 1000, M)
        within = distance <= radii[:, None]
        n_real_balls += within.sum(0)
        covered.append(within.any(1))
        recalled.append((distance <= fake_radii).any(1))
    return {
        "precision": float((n_real_balls > 0).double().mean()),
        "recall": float(torch.cat(recalled).double().mean()),
        "density": float(n_real_balls.mean() / k),
        "coverage": float(torch.cat(covered).double().mean()),
    }


def nearest_distances(x: Tensor, to: Tensor) -> Tensor:
    """Return the Euclidean distance of each row to its nearest row of another set.

    Arguments:
        x: features ``(N, D)``.
        to: features ``(M, D)``.

    Returns:
        distances ``(N,)``, float64.

    Raises:
        ValueError: no rows, different numbers of columns, NaN or infinite values.
    """
    x, to = _two_sets(x, to, names=("x", "to"), min_rows=1)
    return torch.cat([torch.cdist(part, to).amin(1) for part in x.split(500)])


def seam_ratio(maps: Tensor, *, order: str) -> float:
    """Return how much more maps change across the borders of base pixels than inside them.

    The ratio of two mean absolute differences of pixels that share an edge: where the edge lies on
    a border of base pixels, over where it lies inside one. 1 means that nothing shows where base
    pixels meet, for a sky without a preferred place. Pictures that stand in one place have a ratio
    of their own: compare with that of real data.

    Arguments:
        maps: ``(N, P)``, nside of at least 2.
        order: "ring" or "nested".

    Raises:
        ValueError: maps of another shape, or constant inside the base pixels.
    """
    nside = npix_to_nside(maps.shape[-1])
    if maps.dim() != 2 or nside < 2:
        raise ValueError(
            f"maps must be (N, P) with nside of at least 2, got shape {tuple(maps.shape)}"
        )
    nested = reorder(maps.double(), source=order, target="nested")
    pixel = torch.arange(maps.shape[-1])
    # Columns 2 and 4 are north-west and north-east: each edge is met once.
    beside = neighbours(pixel, nside=nside, order="nested")[:, [2, 4]]  # (P, 2)
    first = pixel.repeat_interleave(2)
    second = beside.flatten()
    difference = (nested[:, first] - nested[:, second]).abs().mean(0)  # (2 P,)
    crossing = first // nside**2 != second // nside**2
    inside = difference[~crossing].mean()
    if not float(inside) > 0:
        raise ValueError(
            "maps are constant inside the base pixels: there is nothing to compare a border with"
        )
    return float(difference[crossing].mean() / inside)
