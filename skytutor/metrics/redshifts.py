"""Scores of redshifts: scatter, bias and outliers, all of ``(z_predicted - z) / (1 + z)``."""

import torch
from torch import Tensor

from skytutor.arrays import as_tensor

__all__ = ["outlier_fraction", "redshift_bias", "sigma_nmad"]

# The median absolute deviation of a normal distribution is its standard deviation over this.
_NORMAL = 1.4826022185


def sigma_nmad(predicted: Tensor, truth: Tensor) -> float:
    """Return the scatter of redshifts: the normalised median absolute deviation.

    ``1.4826 median |d - median d|`` of ``d = (predicted - truth) / (1 + truth)``. Of a normal
    scatter it is the standard deviation, and a few outliers do not change it.

    Arguments:
        predicted: redshifts ``(N,)``.
        truth: true redshifts ``(N,)``.

    Raises:
        ValueError: different shapes, no redshifts, NaN, a truth of -1 or less.

    Example:
        >>> import torch
        >>> truth = torch.tensor([0.0, 1.0, 1.0])
        >>> round(sigma_nmad(truth + torch.tensor([-0.01, 0.0, 0.02]), truth), 5)
        0.01483
    """
    errors = _relative_errors(predicted, truth)
    return float(_NORMAL * _median((errors - _median(errors)).abs()))


def redshift_bias(predicted: Tensor, truth: Tensor) -> float:
    """Return the median of ``(predicted - truth) / (1 + truth)``.

    Arguments:
        predicted: redshifts ``(N,)``.
        truth: true redshifts ``(N,)``.

    Raises:
        ValueError: different shapes, no redshifts, NaN, a truth of -1 or less.
    """
    return float(_median(_relative_errors(predicted, truth)))


def outlier_fraction(predicted: Tensor, truth: Tensor, *, beyond: float = 0.05) -> float:
    """Return the fraction of redshifts that are far off: ``|predicted - truth| > beyond (1 + z)``.

    Arguments:
        predicted: redshifts ``(N,)``.
        truth: true redshifts ``(N,)``.
        beyond: 0.05 is usual for bright galaxies [1]_, 0.15 for faint ones.

    Raises:
        ValueError: different shapes, no redshifts, NaN, a truth of -1 or less.

    .. [1] J. Pasquet et al., 2019, A&A 621, A26.
    """
    return float((_relative_errors(predicted, truth).abs() > beyond).double().mean())


def _median(values: Tensor) -> Tensor:
    # `Tensor.median` takes the lower of two middle values, which is not the centre.
    return values.sort().values[[(len(values) - 1) // 2, len(values) // 2]].mean()


def _relative_errors(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return ``(predicted - truth) / (1 + truth)``, float64."""
    predicted = as_tensor("predicted", predicted, dtype=torch.float64)
    truth = as_tensor("truth", truth, dtype=torch.float64)
    if predicted.shape != truth.shape or truth.dim() != 1 or not len(truth):
        raise ValueError(
            "predicted and truth must be (N,), as long as each other and not empty; "
            f"got {tuple(predicted.shape)} and {tuple(truth.shape)}"
        )
    for name, values in (("predicted", predicted), ("truth", truth)):
        if not bool(values.isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinite values")
    if float(truth.min()) <= -1:
        raise ValueError(f"truth must be above -1, got {float(truth.min())}")
    return (predicted - truth) / (1 + truth)
