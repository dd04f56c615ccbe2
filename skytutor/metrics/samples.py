"""Scores of sets of samples: Frechet distance, precision and recall, neighbours, distributions."""

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.chunks import in_chunks


def _two_sets(
    a: Tensor, b: Tensor, *, names: tuple[str, str], min_rows: int
) -> tuple[Tensor, Tensor]:
    """Return both as float64 ``(N, D)`` and ``(M, D)``; ``ValueError`` names the one at fault.

    Their common shift is taken away: distances are found from squares, whose digits go to it.
    """
    a = as_tensor(names[0], a, dtype=torch.float64)
    b = as_tensor(names[1], b, dtype=torch.float64)
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
    shift = b.mean(0)
    return a - shift, b - shift


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

    def to_kth(rows: Tensor) -> Tensor:
        # The nearest row of all is the row itself, hence k + 1.
        return torch.cdist(rows, x).kthvalue(k + 1, 1).values

    return in_chunks(to_kth, x, size=1000)


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

    def to_nearest(rows: Tensor) -> Tensor:
        nearest = to[torch.cdist(rows, to).argmin(1)]
        # Once more from differences: cdist takes squares of small distances from large ones.
        return (rows - nearest).norm(dim=1)

    return in_chunks(to_nearest, x, size=500)


def ks_distance(a: Tensor, b: Tensor) -> float:
    """Return the Kolmogorov-Smirnov distance of two sets of numbers.

    It is the largest difference between their cumulative distributions.

    Arguments:
        a: numbers, of any shape.
        b: numbers, of any shape.

    Raises:
        ValueError: no numbers, NaN or infinite ones.

    Example:
        >>> ks_distance(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.5]))
        0.5
    """
    a = as_tensor("a", a, dtype=torch.float64)
    b = as_tensor("b", b, dtype=torch.float64)
    for name, numbers in (("a", a), ("b", b)):
        if not numbers.numel() or not numbers.isfinite().all():
            raise ValueError(
                f"{name} must hold finite numbers, at least one, got shape {tuple(numbers.shape)}"
            )
    a = a.flatten().sort().values
    b = b.flatten().sort().values
    # Both distributions are steps, so the largest difference lies at one of the numbers.
    at = torch.cat([a, b])
    below_a = torch.searchsorted(a, at, right=True).double() / len(a)
    below_b = torch.searchsorted(b, at, right=True).double() / len(b)
    return float((below_a - below_b).abs().max())
