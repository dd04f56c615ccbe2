"""Proper scoring rules: one number for an error bar that is both honest and narrow.

The mean of a proper scoring rule is smallest for the true posterior. Neither a width that is too
large nor one that is too small can win.
"""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.chunks import in_chunks

__all__ = ["crps_gaussian", "crps_samples", "energy_score"]

_PAIRS_CHUNK = 20_000_000


def crps_samples(samples: Tensor, truth: Tensor) -> Tensor:
    """Return the continuous ranked probability score of samples, of each quantity by itself.

    ``E |x - t| - E |x - x'| / 2`` without bias from the number of samples: the mean over pairs is
    over different samples. The smaller the better; of a certain answer it is the absolute error.

    Arguments:
        samples: ``(B, S, D)``, two samples or more.
        truth: ``(B, D)``.

    Returns:
        ``(B, D)``, in the unit of the quantities.

    Raises:
        ValueError: shapes that do not belong together, no rows, NaN, one sample.
    """
    samples, truth = as_floats(samples=samples, truth=truth)
    n = _check_pairs(samples, truth)
    error = (samples - truth[:, None]).abs().mean(1)
    # The sum of |x_i - x_j| over pairs: the i-th smallest is the larger one i times, the smaller
    # one n - 1 - i times.
    times_larger = torch.arange(n, device=samples.device, dtype=samples.dtype) * 2 - (n - 1)
    pairs = (samples.sort(1).values * times_larger[:, None]).sum(1)
    return error - pairs / (n * (n - 1))


def crps_gaussian(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    """Return the continuous ranked probability score of Gaussians, in closed form [1]_.

    Arguments:
        mean: of any shape.
        std: positive, of the same shape.
        truth: of the same shape.

    Returns:
        the same shape, in the unit of the quantities.

    Raises:
        ValueError: different shapes, or a standard deviation that is not positive.

    Example:
        >>> crps_gaussian(torch.zeros(1), torch.ones(1), torch.zeros(1))
        tensor([0.2337])

    .. [1] T. Gneiting & A. E. Raftery, 2007, JASA 102, 359, eq. 21.
    """
    mean, std, truth = as_floats(mean=mean, std=std, truth=truth)
    if not mean.shape == std.shape == truth.shape:
        raise ValueError(
            "mean, std and truth must have one shape, got "
            f"{tuple(mean.shape)}, {tuple(std.shape)} and {tuple(truth.shape)}"
        )
    if not bool((std > 0).all()):
        raise ValueError(f"std must be positive, got {float(std.min())} as its smallest")
    z = (truth - mean) / std
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    two_sided = torch.erf(z / math.sqrt(2))  # 2 Phi(z) - 1
    return std * (z * two_sided + 2 * density - 1 / math.sqrt(math.pi))


def energy_score(samples: Tensor, truth: Tensor) -> Tensor:
    """Return the energy score: the CRPS with Euclidean distances, of all quantities together.

    Arguments:
        samples: ``(B, S, D)``, two samples or more.
        truth: ``(B, D)``, in units that make its columns comparable.

    Returns:
        ``(B,)``, the smaller the better.

    Raises:
        ValueError: shapes that do not belong together, no rows, NaN, one sample.
    """
    samples, truth = as_floats(samples=samples, truth=truth)
    n = _check_pairs(samples, truth)

    def score(x: Tensor, true: Tensor) -> Tensor:
        # From the truth, so that no common shift eats the digits of the squares in cdist.
        x = x - true[:, None]
        error = x.norm(dim=-1).mean(1)
        return error - torch.cdist(x, x).sum((1, 2)) / (2 * n * (n - 1))

    return in_chunks(score, samples, truth, size=max(1, _PAIRS_CHUNK // n**2))


def _check_pairs(samples: Tensor, truth: Tensor) -> int:
    """Return the number of samples; ``ValueError`` unless they belong to the truth."""
    if samples.dim() != 3 or samples.shape[::2] != truth.shape or not truth.numel():
        raise ValueError(
            "samples must be (B, S, D) and truth (B, D), not empty; "
            f"got {tuple(samples.shape)} and {tuple(truth.shape)}"
        )
    if samples.shape[1] < 2:
        raise ValueError(f"samples must be two or more of each row, got {samples.shape[1]}")
    for name, values in (("samples", samples), ("truth", truth)):
        if not bool(values.isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinite values")
    return samples.shape[1]
