"""Gaussian numbers of which some are seen: what is known of the others."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["conditional", "kept"]


def conditional(attempt: Any) -> bool:
    """Test your `noisy_conditional(mean, covariance, noise, seen, values)`.

    Arguments:
        attempt: a function of the prior mean ``(n,)`` and covariance ``(n, n)`` of a signal, the
            standard deviation of the noise, which points are seen ``(n,)`` bool, and the data
            ``(n,)``. It returns mean and covariance of the signal in the hidden points.

    Returns:
        True if both are right.
    """
    return grading.function(
        "noisy_conditional",
        attempt,
        _conditional,
        cases=[],
        draw=_draw_noisy,
        mistakes=[*_mistakes_of_noise(), *_mistakes_of_conditioning()],
    )


def _draw_noisy(rng: np.random.Generator) -> tuple[Tensor, Tensor, float, Tensor, Tensor]:
    """Return a random signal of four to eight points, two to all but one of them seen."""
    n = int(rng.integers(4, 9))
    seen = _draw_seen(rng, n)
    values = torch.where(seen, torch.from_numpy(rng.normal(size=n)), 0.0)
    mean = torch.from_numpy(rng.normal(size=n))
    # Not 1, whose square and root are the same.
    noise = float(rng.uniform(0.2, 0.8))
    return mean, _draw_covariance(rng, n), noise, seen, values


def _draw_seen(rng: np.random.Generator, n: int) -> Tensor:
    order = torch.from_numpy(rng.permutation(n))
    return order < int(rng.integers(2, n))


def _draw_covariance(rng: np.random.Generator, n: int) -> Tensor:
    root = torch.from_numpy(rng.normal(size=(n, n)))
    # Deviations differ, so that a sum of ratios is no ratio of sums.
    size = torch.from_numpy(rng.uniform(0.5, 2.0, n))
    return size[:, None] * (root @ root.T / n + 0.1 * torch.eye(n)) * size


def _conditional(
    mean: Tensor, covariance: Tensor, noise: float, seen: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    _, across, total = _blocks(covariance, noise**2, seen)
    return _with(across @ torch.linalg.inv(total), mean, covariance, seen, values)


def _blocks(covariance: Tensor, variance: float, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return C_hh and C_ho of the signal, and T_oo of the data."""
    hidden = ~seen
    total = covariance[seen][:, seen]
    total = total + variance * torch.eye(len(total), dtype=total.dtype)
    return covariance[hidden][:, hidden], covariance[hidden][:, seen], total


def _with(
    weights: Tensor, mean: Tensor, covariance: Tensor, seen: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the weights of the seen values, ``(h, o)``, make of mean and covariance."""
    prior, across, _ = _blocks(covariance, 0.0, seen)
    found = mean[~seen] + weights @ (values - mean)[seen]
    return found, prior - weights @ across.T


def _mistakes_of_noise() -> list[Mistake]:
    """Return the mistakes that noise and the prior mean invite."""

    def with_noise(m: Tensor, c: Tensor, noise: float, s: Tensor, v: Tensor) -> tuple:
        found, left = _conditional(m, c, noise, s, v)
        return found, left + noise**2 * torch.eye(len(left), dtype=left.dtype)

    return [
        Mistake(
            lambda m, c, noise, s, v: _conditional(m, c, 0.0, s, v),
            "It trusts the data as if they had no noise. Which covariance do the seen values have?",
        ),
        Mistake(
            lambda m, c, noise, s, v: _conditional(m, c, noise**0.5, s, v),
            "Is it the deviation of the noise that adds to a covariance?",
        ),
        Mistake(with_noise, "The signal in the hidden points is asked for. Has it any noise?"),
        Mistake(
            lambda m, c, noise, s, v: _conditional(0 * m, c, noise, s, v),
            "Without any data the answer should be the prior mean. Is yours?",
        ),
        Mistake(
            lambda m, c, noise, s, v: (
                _conditional(m, c, noise, s, v)[0] - m[~s],
                _conditional(m, c, noise, s, v)[1],
            ),
            "Without any data the answer should be the prior mean. Is yours?",
        ),
        Mistake(
            lambda m, c, noise, s, v: (
                _conditional(0 * m, c, noise, s, v)[0] + m[~s],
                _conditional(m, c, noise, s, v)[1],
            ),
            "If every seen value is as expected, the answer should be the prior mean. Is yours?",
        ),
    ]


def _without_inverse(m: Tensor, c: Tensor, noise: float, s: Tensor, v: Tensor) -> tuple:
    return _with(_blocks(c, 0.0, s)[1], m, c, s, v)


def _with_block_of_inverse(m: Tensor, c: Tensor, noise: float, s: Tensor, v: Tensor) -> tuple:
    total = c + noise**2 * torch.eye(len(c), dtype=c.dtype)
    block = torch.linalg.inv(total)[s][:, s]
    return _with(_blocks(c, 0.0, s)[1] @ block, m, c, s, v)


def _turned(m: Tensor, c: Tensor, noise: float, s: Tensor, v: Tensor) -> tuple:
    found, left = _conditional(m, c, noise, s, v)
    return 2 * m[~s] - found, left


def _grown(m: Tensor, c: Tensor, noise: float, s: Tensor, v: Tensor) -> tuple:
    found, left = _conditional(m, c, noise, s, v)
    return found, 2 * _blocks(c, 0.0, s)[0] - left


def _mistakes_of_conditioning() -> list[Mistake]:
    """Return the mistakes that the formula itself invites."""
    return [
        Mistake(_without_inverse, "Two seen values that say the same count twice. What undoes it?"),
        Mistake(
            _with_block_of_inverse,
            "Is a block of an inverse the inverse of the block? One of them knows hidden points.",
        ),
        Mistake(
            _turned, "A seen value above its mean pulls a like neighbour down. Look at a sign."
        ),
        Mistake(_grown, "Data make the covariance larger. Look at a sign."),
        Mistake(
            lambda m, c, noise, s, v: (
                _conditional(m, c, noise, s, v)[0],
                _blocks(c, 0.0, s)[0],
            ),
            "The mean is right. The covariance is that of points of which nothing is known.",
        ),
        Mistake(
            lambda m, c, noise, s, v: (
                _conditional(m, c, noise, s, v)[0],
                _conditional(m, c, noise, s, v)[1].diagonal(),
            ),
            "The mean is right. Are the errors of two hidden points independent?",
        ),
        Mistake(
            lambda m, c, noise, s, v: _conditional(m, c, noise, s, v)[::-1],
            "Both are right. In which order are they wanted?",
        ),
    ]


def kept(attempt: Any) -> bool:
    """Test your `fraction_kept(covariance, seen)`: the power of hidden points that the mean has.

    Arguments:
        attempt: a function of the covariance of all points ``(n, n)`` and of which are seen
            ``(n,)``, bool. It returns the expected sum of squares of the conditional mean over
            that of the hidden points themselves.

    Returns:
        True if it is right.
    """
    line = torch.exp(-(torch.arange(6.0)[:, None] - torch.arange(6.0)).abs() / 3).double()
    middle = torch.tensor([True, True, False, False, True, True])
    return grading.function(
        "fraction_kept",
        attempt,
        lambda covariance, seen: 1 - _left(covariance, seen),
        cases=[(torch.eye(3).double(), torch.tensor([True, False, True])), (line, middle)],
        draw=_draw_points,
        mistakes=[*_mistakes_of_parts(), *_mistakes_of_sums()],
    )


def _mistakes_of_parts() -> list[Mistake]:
    """Return the mistakes about which part of which quantity is asked for."""
    return [
        Mistake(_left, "That is the part of the power that the mean loses."),
        Mistake(
            lambda covariance, seen: 1 - _left(covariance, seen) ** 0.5,
            "That compares errors. Of which quantity do the parts add up to one?",
        ),
        Mistake(
            lambda covariance, seen: _left(covariance, seen) ** 0.5,
            "That is the error of the mean over the deviation. Is it what the mean keeps, and "
            "is it a power?",
        ),
        Mistake(
            lambda covariance, seen: (1 - _left(covariance, seen)) ** 0.5,
            "That is a ratio of amplitudes. What is a power?",
        ),
    ]


def _mistakes_of_sums() -> list[Mistake]:
    """Return the mistakes about what is summed, and of which matrix."""

    def whole(covariance: Tensor, seen: Tensor) -> float:
        left, prior = _covariances(covariance, seen)
        return 1 - float(left.sum() / prior.sum())

    def one_by_one(covariance: Tensor, seen: Tensor) -> float:
        left = 1 / torch.linalg.inv(covariance).diagonal()[~seen]
        return 1 - float(left.sum() / covariance.diagonal()[~seen].sum())

    return [
        Mistake(
            lambda covariance, seen: float((1 - _ratios(covariance, seen)).mean()),
            "Is the mean of the ratios the ratio of the sums?",
        ),
        Mistake(whole, "A sum of squares is wanted. Which entries of a covariance are squares?"),
        Mistake(
            one_by_one,
            "That is a point's variance with all others seen, the hidden ones too. Of which "
            "matrix is the inverse to be taken?",
        ),
    ]


def _draw_points(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    n = int(rng.integers(5, 9))
    return _draw_covariance(rng, n), _draw_seen(rng, n)


def _covariances(covariance: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the covariances of the hidden points, once the others are seen and before."""
    nothing = torch.zeros(len(covariance), dtype=covariance.dtype)
    left = _conditional(nothing, covariance, 0.0, seen, nothing)[1]
    return left, covariance[~seen][:, ~seen]


def _variances(covariance: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the diagonals of both."""
    left, prior = _covariances(covariance, seen)
    return left.diagonal(), prior.diagonal()


def _left(covariance: Tensor, seen: Tensor) -> float:
    left, prior = _variances(covariance, seen)
    return float(left.sum() / prior.sum())


def _ratios(covariance: Tensor, seen: Tensor) -> Tensor:
    left, prior = _variances(covariance, seen)
    return left / prior
