"""Scores that more than one chapter uses."""

import math

import torch
from torch import Tensor

from skytutor.healpix import neighbours, npix_to_nside, reorder


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Fraction of equal entries of two integer tensors of one shape."""
    if predicted.shape != labels.shape or predicted.numel() == 0:
        raise ValueError(
            f"predicted and labels must have one shape, not empty; got {tuple(predicted.shape)} and {tuple(labels.shape)}"
        )
    return float((predicted == labels).double().mean())


def wilson_interval(fraction: float, n: int, *, z: float = 1.0) -> tuple[float, float]:
    """Wilson's score interval of a fraction measured on n samples; z = 1 gives 68 %, 1.96 gives 95 %.

    Unlike the normal approximation it stays inside 0..1 close to a perfect score (Wilson 1927, JASA
    22, 209).

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
        raise ValueError(
            f"predicted and labels must have one shape, got {tuple(predicted.shape)} and {tuple(labels.shape)}"
        )
    for name, values in (("predicted", predicted), ("labels", labels)):
        if values.numel() and not (int(values.min()) >= 0 and int(values.max()) < classes):
            raise ValueError(
                f"{name} must lie in 0..{classes - 1}, got {int(values.min())}..{int(values.max())}"
            )
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)


def constant_accuracy(labels: Tensor) -> float:
    """Accuracy of the best answer that ignores the input: the share of the commonest class."""
    if labels.numel() == 0:
        raise ValueError("labels is empty")
    return float(labels.bincount().max() / len(labels))


def _two_sets(a: Tensor, b: Tensor, names: tuple[str, str], least: int) -> tuple[Tensor, Tensor]:
    """Both as float64 ``(N, D)`` and ``(M, D)``; ``ValueError`` that names the one at fault."""
    for name, x in zip(names, (a, b), strict=True):
        if x.dim() != 2 or len(x) < least:
            raise ValueError(
                f"{name} must be (N, D) with at least {least} rows, got shape {tuple(x.shape)}"
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"{name} holds NaN or infinite values")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have equally many columns, got {a.shape[1]} and {b.shape[1]}"
        )
    return a.double(), b.double()


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of two sets of features, each taken for a Gaussian [1]_.

    ``|m_a - m_b|**2 + tr(C_a + C_b - 2 (C_a C_b)**(1/2))``, in the features' unit squared. It is
    biased upwards by the scatter of the covariances, the more the fewer rows: compare only
    distances from equally many rows, and print that of two halves of the real data beside them.

    Arguments:
        a, b: ``(N, D)`` and ``(M, D)``.

    Example:
        >>> x = torch.randn(100, 3)
        >>> round(frechet_distance(x, x + torch.tensor([3.0, 4.0, 0.0])), 4)
        25.0

    .. [1] D. C. Dowson & B. V. Landau, 1982, J. Multivariate Anal. 12, 450.
    """
    a, b = _two_sets(a, b, ("a", "b"), 2)
    values, vectors = torch.linalg.eigh(torch.cov(a.T).reshape(a.shape[1], -1))
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    other = torch.cov(b.T).reshape(b.shape[1], -1)
    cross = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(apart + values.sum() + other.trace() - 2 * cross))


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th nearest other row."""
    return torch.cat([torch.cdist(part, x).kthvalue(k + 1, 1).values for part in x.split(1000)])


def manifold_scores(real: Tensor, fake: Tensor, *, k: int = 5) -> dict[str, float]:
    """Precision and recall [1]_, density and coverage [2]_ of samples, from balls to the k-th nearest neighbour.

    * precision: share of samples in the ball of some real row; recall: share of real rows in the
      ball of some sample.
    * density: real balls that hold a sample, over k, averaged over samples: outliers count less
      than in precision.
    * coverage: share of real rows whose ball holds a sample; of two large sets of one distribution
      ``1 - 2**-k``.

    Arguments:
        real: features ``(N, D)``.
        fake: features ``(M, D)`` of samples.
        k: neighbours, fewer than rows.

    .. [1] T. Kynkaanniemi et al., 2019, NeurIPS 32.
    .. [2] M. F. Naeem et al., 2020, ICML 37.
    """
    real, fake = _two_sets(real, fake, ("real", "fake"), k + 1)
    of_real = _radii(real, k)
    of_fake = _radii(fake, k)
    inside_real = torch.zeros(len(fake), dtype=torch.float64)
    recalled = []
    covered = []
    for part, radius in zip(real.split(1000), of_real.split(1000), strict=True):
        distance = torch.cdist(part, fake)
        within = distance <= radius[:, None]
        inside_real += within.sum(0)
        covered.append(within.any(1))
        recalled.append((distance <= of_fake).any(1))
    return {
        "precision": float((inside_real > 0).double().mean()),
        "recall": float(torch.cat(recalled).double().mean()),
        "density": float(inside_real.mean() / k),
        "coverage": float(torch.cat(covered).double().mean()),
    }


def nearest_distances(x: Tensor, to: Tensor) -> Tensor:
    """Euclidean distance ``(N,)`` of each row of `x` to its nearest row of `to`."""
    x, to = _two_sets(x, to, ("x", "to"), 1)
    return torch.cat([torch.cdist(part, to).amin(1) for part in x.split(500)])


def seam_ratio(maps: Tensor, *, order: str) -> float:
    """Mean absolute difference of pixels that share an edge across a border of base pixels, over that inside base pixels.

    1 means that nothing shows where base pixels meet, for a sky without a preferred place. Pictures
    that stand in one place have a ratio of their own: compare with that of real data.

    Arguments:
        maps: ``(N, P)``, nside of at least 2.
        order: "ring" or "nested".
    """
    nside = npix_to_nside(maps.shape[-1])
    if maps.dim() != 2 or nside < 2:
        raise ValueError(
            f"maps must be (N, P) with nside of at least 2, got shape {tuple(maps.shape)}"
        )
    nested = reorder(maps.double(), source=order, target="nested")
    pixel = torch.arange(maps.shape[-1])
    beside = neighbours(pixel, nside=nside, order="nested")[
        :, [2, 4]
    ]  # north-west and north-east: each edge once
    first = pixel.repeat_interleave(2)
    second = beside.flatten()
    step = (nested[:, first] - nested[:, second]).abs().mean(0)
    crossing = first // nside**2 != second // nside**2
    inside = step[~crossing].mean()
    if not float(inside) > 0:
        raise ValueError(
            "maps are constant inside the base pixels: there is nothing to compare a border with"
        )
    return float(step[crossing].mean() / inside)
