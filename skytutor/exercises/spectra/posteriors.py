"""Gaussian posteriors: do they cover what they promise?"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["coverage"]


def coverage(attempt: Any) -> bool:
    """Test your `coverage(mean, factor, truth, level)`: how often the truth lies in the middle.

    Arguments:
        attempt: a function of means ``(B, D)``, of the lower Cholesky factors ``(B, D, D)`` of
            their covariances, of truths ``(B, D)``, and of a level between 0 and 1. It returns the
            fraction of the B D truths in their own central interval of that level.

    Returns:
        True if it is right.
    """
    return grading.function(
        "coverage",
        attempt,
        _coverage,
        cases=[],
        draw=_draw_posteriors,
        rtol=0.0,
        atol=2e-3,
        mistakes=[*_mistakes_of_deviation(), *_mistakes_of_level()],
    )


def _draw_posteriors(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    """Return 400 posteriors of two to four numbers, which may promise too much or too little."""
    n = int(rng.integers(2, 5))
    root = torch.from_numpy(rng.normal(size=(400, n, n)))
    factor = torch.linalg.cholesky(root @ root.mT + 0.05 * torch.eye(n))
    mean = torch.from_numpy(rng.normal(size=(400, n)))
    error = factor @ torch.from_numpy(rng.normal(size=(400, n, 1)))
    width = float(rng.uniform(0.6, 1.7))
    level = float(rng.choice([0.5, 0.8, 0.9, 0.95]))
    return mean, factor, mean + width * error[..., 0], level


def _quantile(probability: float) -> float:
    return float(torch.special.ndtri(torch.tensor(probability, dtype=torch.float64)))


def _deviation(factor: Tensor) -> Tensor:
    # The diagonal of L L^T is the sum of squares of each row of L.
    return factor.square().sum(-1).sqrt()


def _coverage(mean: Tensor, factor: Tensor, truth: Tensor, level: float) -> float:
    return _within(mean, truth, _quantile((1 + level) / 2) * _deviation(factor))


def _within(mean: Tensor, truth: Tensor, width: Tensor) -> float:
    return float(((truth - mean).abs() <= width).double().mean())


def _mistakes_of_deviation() -> list[Mistake]:
    """Return the mistakes about the width of a posterior."""

    def with_width(change: Callable[[Tensor], Tensor]) -> Callable[..., float]:
        def answer(mean: Tensor, factor: Tensor, truth: Tensor, level: float) -> float:
            return _within(mean, truth, _quantile((1 + level) / 2) * change(factor))

        return answer

    return [
        Mistake(
            with_width(lambda factor: factor.diagonal(dim1=-2, dim2=-1)),
            "The diagonal of L is the error of each number once those before it are known. What "
            "is the diagonal of the covariance?",
        ),
        Mistake(
            with_width(lambda factor: factor.square().sum(-2).sqrt()),
            "Is the covariance L L^T or L^T L? Look at the axis of the sum.",
        ),
        Mistake(
            with_width(lambda factor: factor.square().sum(-1)),
            "Those are variances. In which unit is the distance of truth and mean?",
        ),
        Mistake(
            with_width(lambda factor: factor.abs().sum(-1)),
            "Do independent errors add up, or do their squares?",
        ),
        Mistake(
            _joint,
            "That asks whether all numbers of a galaxy lie inside one ellipsoid. Each number has "
            "an interval of its own here.",
        ),
    ]


def _joint(mean: Tensor, factor: Tensor, truth: Tensor, level: float) -> float:
    """Return how often the truth lies in the ellipsoid that holds `level` of the posterior."""
    away = torch.linalg.solve_triangular(factor, (truth - mean)[..., None], upper=False)
    half = torch.tensor(mean.shape[1] / 2, dtype=torch.float64)
    inside = torch.special.gammainc(half, away.square().sum((1, 2)).double() / 2)
    return float((inside <= level).double().mean())


def _mistakes_of_level() -> list[Mistake]:
    """Return the mistakes about how much an interval should hold."""

    def at(change: Callable[[float], float]) -> Callable[..., float]:
        def answer(mean: Tensor, factor: Tensor, truth: Tensor, level: float) -> float:
            return _within(mean, truth, change(level) * _deviation(factor))

        return answer

    def one_sided(mean: Tensor, factor: Tensor, truth: Tensor, level: float) -> float:
        upper = mean + _quantile(level) * _deviation(factor)
        return float((truth <= upper).double().mean())

    return [
        Mistake(
            at(lambda level: 1.0), "That is the interval of one deviation, whatever is asked for."
        ),
        Mistake(
            at(lambda level: max(_quantile(level), 0.0)),
            "How much of a Gaussian lies below the upper end of its central interval?",
        ),
        Mistake(
            at(lambda level: math.sqrt(2) * _quantile((1 + level) / 2)),
            "A factor of the square root of 2 too wide. Does the inverse error function want it?",
        ),
        Mistake(at(lambda level: level), "A level is no number of deviations."),
        Mistake(one_sided, "That interval has no lower end."),
        Mistake(
            lambda mean, factor, truth, level: 100 * _coverage(mean, factor, truth, level),
            "A fraction is wanted, not per cent.",
        ),
        Mistake(
            lambda mean, factor, truth, level: 1 - _coverage(mean, factor, truth, level),
            "Those are the truths outside.",
        ),
    ]
