"""A posterior in one of two ways: samples, or a Gaussian for each row.

Samples are ``(B, S, D)``: S of each of B rows, of D quantities. A Gaussian is a
`torch.distributions.MultivariateNormal` of batch shape ``(B,)`` and event shape ``(D,)``, made from
means and Cholesky factors by ``MultivariateNormal(mean, scale_tril=factor)``.
"""

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from skytutor.arrays import as_floats, as_tensor
from skytutor.chunks import in_chunks
from skytutor.validate import check_generator

__all__ = [
    "Posterior",
    "check_posterior",
    "draw_samples",
    "fraction_below",
    "probability_below",
    "rows_at_once",
]

Posterior = Tensor | MultivariateNormal
_CHUNK = 2_000_000  # numbers of samples that are compared at a time


def draw_samples(posterior: Posterior, n: int, *, generator: torch.Generator) -> Tensor:
    """Draw from a posterior; samples are handed back as they are.

    Arguments:
        posterior: samples ``(B, S, D)``, or a Gaussian for each of B rows.
        n: number of samples of each row, of a Gaussian.
        generator: of the random numbers, on the CPU.

    Returns:
        ``(B, n, D)``, or the ``(B, S, D)`` given.
    """
    check_generator(generator)
    if not isinstance(posterior, MultivariateNormal):
        return as_floats(posterior=posterior)[0]
    mean = posterior.loc
    shape = (len(mean), n, mean.shape[1])
    white = torch.randn(shape, generator=generator, dtype=mean.dtype).to(mean.device)
    # L w has covariance L L^T; the transpose is for vectors that lie in rows.
    return mean[:, None] + white @ posterior.scale_tril.mT


def check_posterior(posterior: Posterior, truth: Tensor) -> tuple[Posterior, Tensor]:
    """Return posterior and truth if they belong together and are finite.

    Arrays become tensors.


    Arguments:
        posterior: samples ``(B, S, D)``, or a Gaussian for each of B rows.
        truth: ``(B, D)``.

    Raises:
        ValueError: other shapes, no rows, NaN or infinite values.
    """
    if isinstance(posterior, MultivariateNormal):
        (truth,) = as_floats(truth=truth)
    else:
        posterior, truth = as_floats(posterior=posterior, truth=truth)
    if isinstance(posterior, Tensor):
        fits = posterior.dim() == 3 and posterior.shape[::2] == truth.shape
        name = f"samples of shape {tuple(posterior.shape)}"
        centre = posterior
    else:
        centre = posterior.loc
        fits = centre.dim() == 2 and centre.shape == truth.shape
        name = f"Gaussians with means of shape {tuple(centre.shape)}"
    if not fits or not truth.numel() or not centre.numel():
        raise ValueError(
            "posterior must be samples (B, S, D) or Gaussians with means (B, D), and truth (B, D), "
            f"not empty; got {name} and a truth of shape {tuple(truth.shape)}"
        )
    for name, values in (("posterior", centre), ("truth", truth)):
        if not bool(values.isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinite values")
    return posterior, truth


def rows_at_once(samples: Tensor, *, name: str = "samples") -> int:
    """Return how many rows of samples are compared at a time, for the memory's sake.

    Arguments:
        samples: ``(B, S, D)``.
        name: what the error message calls them.

    Raises:
        TypeError: no floating-point numbers.
        ValueError: another shape, or no samples.
    """
    (samples,) = as_floats(**{name: samples})
    if samples.dim() != 3 or not samples.numel():
        raise ValueError(f"{name} must be (B, S, D), not empty, got {tuple(samples.shape)}")
    return max(1, _CHUNK // samples[0].numel())


def fraction_below(ranks: Tensor, n: int, *, level: float) -> Tensor:
    """Return the part of each rank's interval that lies below a level, 0 to 1.

    The truth that is larger than r of n samples lies somewhere between ``r / (n + 1)`` and
    ``(r + 1) / (n + 1)`` of the posterior's probability.

    Arguments:
        ranks: number of samples that are smaller than the truth, of any shape.
        n: number of samples.
        level: probability, 0 to 1.

    Returns:
        float64, shaped as `ranks`.

    Example:
        >>> fraction_below(torch.tensor([0, 1, 2]), 2, level=0.5)
        tensor([1.0000, 0.5000, 0.0000], dtype=torch.float64)
    """
    ranks = as_tensor("ranks", ranks, dtype=torch.float64)
    return (level * (n + 1) - ranks).clamp(0, 1)


def probability_below(posterior: Posterior, truth: Tensor, *levels: float) -> list[Tensor]:
    """Return whether the truth lies below quantiles of the posterior.

    Arguments:
        posterior: samples ``(B, S, D)``, or a Gaussian for each of B rows.
        truth: ``(B, D)``.
        *levels: probabilities of the quantiles, 0 to 1.

    Returns:
        for each level ``(B, D)`` float64: 1 below the quantile, 0 above it, and between 0 and 1
        where samples leave it open.

    Raises:
        ValueError: shapes that do not belong together, no rows, NaN.
    """
    posterior, truth = check_posterior(posterior, truth)
    if isinstance(posterior, Tensor):
        ranks = in_chunks(
            lambda x, true: (x < true[:, None]).sum(1),
            posterior,
            truth,
            size=rows_at_once(posterior),
        )
        return [fraction_below(ranks, posterior.shape[1], level=level) for level in levels]
    z = (truth - posterior.loc) / posterior.stddev
    # A truth that is far off has a probability of 0 exactly; it belongs above the level 0.
    probability = torch.special.ndtr(z.double()).clamp(min=torch.finfo(torch.float64).tiny)
    return [(probability <= level).double() for level in levels]
