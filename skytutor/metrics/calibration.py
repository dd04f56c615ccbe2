"""Is an error bar honest? Coverage, TARP, the probability integral transform, and sharpness.

A posterior is given as samples, or as a Gaussian for each row (`skytutor.metrics.posterior`).

Coverage alone is not enough: the prior covers as often as it should and says nothing of a galaxy.
Read it beside `sharpness`, or beside a scoring rule of `skytutor.metrics.scoring_rules`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from skytutor.arrays import as_floats, as_tensor
from skytutor.chunks import in_chunks
from skytutor.metrics.posterior import (
    Posterior,
    check_posterior,
    draw_samples,
    fraction_below,
    probability_below,
    rows_at_once,
)

__all__ = [
    "Coverage",
    "Tarp",
    "coverage_in_groups",
    "interval_coverage",
    "pit_histogram",
    "sharpness",
    "tarp",
]


@dataclass(frozen=True)
class Coverage:
    """How often the truth lies inside an interval.

    Attributes:
        fraction: of the rows, for each of the D quantities, ``(D,)`` float64.
        error: binomial standard error of `fraction` if it were the level, ``(D,)``.
        overall: mean over rows and quantities.
        overall_error: standard error of `overall`; it allows for quantities of one row that go
            together.
        n: number of rows.
        low: smallest value in this group of what the rows were grouped by.
        high: largest value.
    """

    fraction: Tensor
    error: Tensor
    overall: float
    overall_error: float
    n: int
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Tarp:
    """Expected coverage of the regions of TARP.

    Attributes:
        level: credibility, ``(L,)`` from 0 to 1.
        coverage: how often the region of that credibility holds the truth, ``(L,)``; equal to
            `level` for a calibrated posterior.
        deviation: the largest difference of the two.
    """

    level: Tensor
    coverage: Tensor
    deviation: float


def interval_coverage(posterior: Posterior, truth: Tensor, *, level: float = 0.68) -> Coverage:
    """Count how often the truth lies in the central interval of a given probability.

    The central interval leaves ``(1 - level) / 2`` of the posterior on either side. Of S samples
    the truth's rank r says that it lies between the quantiles ``r / (S + 1)`` and
    ``(r + 1) / (S + 1)``; a rank on the edge of the interval counts as the fraction of it that is
    inside, so that few samples make no bias.

    Arguments:
        posterior: samples ``(B, S, D)``, or a Gaussian for each of B rows.
        truth: ``(B, D)``.
        level: probability of the interval, between 0 and 1.

    Returns:
        the fractions with their errors.

    Raises:
        ValueError: shapes that do not belong together, no rows, NaN, a level outside 0..1.

    Example:
        >>> from torch.distributions import MultivariateNormal
        >>> normal = MultivariateNormal(torch.zeros(3, 1), scale_tril=torch.ones(3, 1, 1))
        >>> interval_coverage(normal, torch.tensor([[0.5], [-2.0], [0.9]])).overall
        0.6666...
    """
    _check_level(level)
    return _coverage(_inside(posterior, truth, level), level)


def coverage_in_groups(
    posterior: Posterior,
    truth: Tensor,
    by: Tensor,
    *,
    groups: int = 3,
    level: float = 0.68,
) -> list[Coverage]:
    """Measure `interval_coverage` in equally large groups of rows, such as thirds in magnitude.

    A posterior that is too wide for bright galaxies and too narrow for faint ones can have the
    right coverage overall.

    Arguments:
        posterior: samples ``(B, S, D)``, or a Gaussian for each of B rows.
        truth: ``(B, D)``.
        by: what the rows are ordered by, ``(B,)``.
        groups: how many.
        level: probability of the interval, between 0 and 1.

    Returns:
        one for each group, from the lowest to the highest, with the range of `by` in it.

    Raises:
        ValueError: as `interval_coverage`; `by` of another shape or with NaN; fewer rows than
            groups.
    """
    _check_level(level)
    inside = _inside(posterior, truth, level)
    by = as_tensor("by", by, dtype=torch.float64)
    if by.shape != inside.shape[:1] or not bool(by.isfinite().all()):
        raise ValueError(
            f"by must be finite, one for each of {len(inside)} rows, got shape {tuple(by.shape)}"
        )
    if not 1 <= groups <= len(inside):
        raise ValueError(f"groups must be 1..{len(inside)}, the number of rows, got {groups}")
    found = []
    for index in by.argsort(stable=True).to(inside.device).tensor_split(groups):
        values = by.to(index.device)[index]
        limits = (float(values[0]), float(values[-1]))
        found.append(_coverage(inside[index], level, limits=limits))
    return found


def pit_histogram(posterior: Posterior, truth: Tensor, *, bins: int = 10) -> Tensor:
    """Return the histogram of the probability integral transform: where the truth lies.

    The transform is the probability that the posterior puts below the truth. It is uniform if the
    posterior is calibrated; a U says too narrow, a hump too wide, a slope shifted.

    Arguments:
        posterior: samples ``(B, S, D)``, or a Gaussian for each of B rows.
        truth: ``(B, D)``.
        bins: of equal width between 0 and 1.

    Returns:
        ``(D, bins)`` float64, number of rows over the number expected: 1 if calibrated, with a
        standard error of about ``sqrt(bins / B)``.

    Raises:
        ValueError: shapes that do not belong together, no rows, NaN, no bins.
    """
    if bins < 1:
        raise ValueError(f"bins must be a positive integer, got {bins}")
    edges = [k / bins for k in range(bins + 1)]
    below = torch.stack([each.mean(0) for each in probability_below(posterior, truth, *edges)], 1)
    return below.diff(dim=1) * bins


def sharpness(posterior: Posterior, *, level: float = 0.68) -> Tensor:
    """Return the mean half width of the central interval: the smaller, the more is known.

    Arguments:
        posterior: samples ``(B, S, D)``, or a Gaussian for each of B rows.
        level: probability of the interval, between 0 and 1.

    Returns:
        ``(D,)`` float64, in the unit of the quantities.

    Raises:
        ValueError: a level outside 0..1.
    """
    _check_level(level)
    upper = 0.5 + 0.5 * level
    if not isinstance(posterior, MultivariateNormal):
        (posterior,) = as_floats(posterior=posterior)

        def width(samples: Tensor) -> Tensor:
            return samples.quantile(upper, 1) - samples.quantile(1 - upper, 1)

        rows = rows_at_once(posterior, name="posterior")
        return in_chunks(width, posterior, size=rows).double().mean(0) / 2
    half_width = torch.special.ndtri(torch.tensor(upper, dtype=torch.float64))
    return posterior.stddev.double().mean(0) * float(half_width)


def tarp(
    posterior: Posterior,
    truth: Tensor,
    *,
    generator: torch.Generator,
    references: Tensor | str = "uniform",
    repeats: int = 10,
    n_samples: int = 500,
) -> Tarp:
    """Test all D quantities together: tests of accuracy with random points, TARP [1]_.

    Around a random point a ball is drawn that reaches to the truth. The posterior's probability
    inside it is uniform between 0 and 1 if the posterior is calibrated, wherever the points lie,
    as long as they do not know the truth. Points on both sides of the truth see a shift in opposite
    directions, which nearly cancels: `pit_histogram`, or points on one side alone, show it.

    Arguments:
        posterior: samples ``(B, S, D)``, or a Gaussian for each of B rows.
        truth: ``(B, D)``. Distances are taken in units of its standard deviation.
        generator: of the random numbers, on the CPU.
        references: "uniform", points in the box that holds all truths; "truths", the truths of
            other rows; or points ``(R, B, D)``, which may depend on what the posteriors have seen.
        repeats: points for each row, whose curves are averaged; they lower the noise. Unused if
            points are given.
        n_samples: drawn from each Gaussian.

    Returns:
        the curve at 101 levels and its largest deviation: for a calibrated posterior about
        ``0.9 / sqrt(B)`` with one point a row, less with more.

    Raises:
        ValueError: shapes that do not belong together, no rows, NaN, another word.

    .. [1] P. Lemos et al., 2023, ICML, arXiv:2302.03026.
    """
    posterior, truth = check_posterior(posterior, truth)
    samples = draw_samples(posterior, n_samples, generator=generator)
    points = _reference_points(references, truth, repeats=repeats, generator=generator)
    # A quantity without scatter has no such unit, and is measured in its own.
    scatter = truth.std(0, correction=0)
    scale = torch.where(scatter > 0, scatter, 1)

    def closer(x: Tensor, true: Tensor, centre: Tensor) -> Tensor:
        """Count the samples inside the ball: (b, S, D), (b, D), (b, D) to (b,)."""
        distances = ((x - centre[:, None]) / scale).square().sum(-1)
        radius = ((true - centre) / scale).square().sum(-1)
        return (distances < radius[:, None]).sum(1)

    rows = rows_at_once(samples)
    ranks = torch.cat([in_chunks(closer, samples, truth, each, size=rows) for each in points])
    level = torch.linspace(0, 1, 101, dtype=torch.float64)
    n = samples.shape[1]
    coverage = torch.stack([fraction_below(ranks, n, level=float(p)).mean() for p in level]).cpu()
    deviation = float((coverage - level).abs().max())
    return Tarp(level=level, coverage=coverage, deviation=deviation)


def _check_level(level: float) -> None:
    """Raise ``ValueError`` unless a probability lies between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")


def _inside(posterior: Posterior, truth: Tensor, level: float) -> Tensor:
    """Return whether the truth lies in the central interval, 0 to 1, ``(B, D)``."""
    lower, upper = probability_below(posterior, truth, 0.5 - 0.5 * level, 0.5 + 0.5 * level)
    return upper - lower


def _coverage(
    inside: Tensor, level: float, *, limits: tuple[float, float] = (-math.inf, math.inf)
) -> Coverage:
    """Return means and standard errors of what lies inside, ``(B, D)``."""
    n, quantities = inside.shape
    binomial = math.sqrt(level * (1 - level) / n)
    of_rows = inside.mean(1)
    # A row's quantities may go together, so the rows are the independent draws. One row has no
    # scatter to measure.
    scatter = float(of_rows.std()) / math.sqrt(n) if n > 1 else binomial
    return Coverage(
        fraction=inside.mean(0).cpu(),
        error=torch.full((quantities,), binomial, dtype=torch.float64),
        overall=float(of_rows.mean()),
        overall_error=scatter,
        n=n,
        low=limits[0],
        high=limits[1],
    )


def _reference_points(
    references: Tensor | str, truth: Tensor, *, repeats: int, generator: torch.Generator
) -> Tensor:
    """Return the centres of TARP's balls, ``(R, B, D)``."""
    if not isinstance(references, str):
        references = as_tensor("references", references, dtype=truth.dtype).to(truth.device)
        if references.dim() != 3 or references.shape[1:] != truth.shape:
            raise ValueError(
                f"references must be (R, B, D) with (B, D) = {tuple(truth.shape)}, "
                f"got shape {tuple(references.shape)}"
            )
        return references
    if repeats < 1:
        raise ValueError(f"repeats must be a positive integer, got {repeats}")
    n = len(truth)
    if references == "truths":
        # One of the n - 1 other rows, by a step of 1 to n - 1 around the circle of rows.
        step = torch.randint(1, max(n, 2), (repeats, n), generator=generator)
        return truth[(torch.arange(n) + step).remainder(n).to(truth.device)]
    if references != "uniform":
        raise ValueError(
            f"references must be 'uniform', 'truths' or points (R, B, D), got {references!r}"
        )
    low, high = truth.aminmax(dim=0)
    uniform = torch.rand((repeats, *truth.shape), generator=generator, dtype=truth.dtype)
    return low + (high - low) * uniform.to(truth.device)
