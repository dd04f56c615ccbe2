"""The best guess of one pixel of a Gaussian sky from noisy others."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["best_guess"]


def best_guess(attempt: Any) -> bool:
    """Test your `best_guess(seen, covariance, noise)`: mean and deviation of what was not seen.

    Arguments:
        attempt: a function of I noisy values ``(I,)``, of the covariance ``(I + 1, I + 1)`` of what
            is behind them and, last, of the target, all with mean 0, and of the deviation of each
            value's noise, ``(I,)``. It returns mean and standard deviation of the target, given
            what was seen.

    Returns:
        True if both are right.
    """
    return grading.function(
        "best_guess",
        attempt,
        _best_guess,
        cases=[
            (
                torch.tensor([2.0]).double(),
                torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double(),
                torch.tensor([1.0]).double(),
            )
        ],
        draw=_draw_sky,
        mistakes=[*_mistakes_of_mean(), *_mistakes_of_deviation()],
    )


def _weights(covariance: Tensor, variance: Tensor) -> Tensor:
    """Return what each value is multiplied with, for noise of these variances."""
    return torch.linalg.solve(covariance[:-1, :-1] + torch.diag(variance), covariance[:-1, -1])


def _from_weights(seen: Tensor, covariance: Tensor, weights: Tensor) -> tuple[float, float]:
    left = covariance[-1, -1] - weights @ covariance[:-1, -1]
    return float(weights @ seen), float(left.clamp(min=0).sqrt())


def _best_guess(seen: Tensor, covariance: Tensor, noise: Tensor) -> tuple[float, float]:
    return _from_weights(seen, covariance, _weights(covariance, noise.square()))


def _draw_sky(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return values that were seen, a covariance of correlated bands, and noises that differ."""
    n = int(rng.integers(2, 6))
    mixing = rng.normal(size=(n + 1, n + 1)) * 0.7 + 1.0
    covariance = mixing @ mixing.T
    noise = rng.uniform(0.3, 2.5, n)
    truth = mixing @ rng.normal(size=n + 1)
    seen = truth[:-1] + noise * rng.normal(size=n)
    return torch.from_numpy(seen), torch.from_numpy(covariance), torch.from_numpy(noise)


def _mistakes_of_mean() -> list[Mistake]:
    """Return the mistakes that change both numbers."""

    def without_noise(seen: Tensor, covariance: Tensor, noise: Tensor) -> tuple[float, float]:
        return _from_weights(seen, covariance, _weights(covariance, 0 * noise))

    def unsquared(seen: Tensor, covariance: Tensor, noise: Tensor) -> tuple[float, float]:
        return _from_weights(seen, covariance, _weights(covariance, noise))

    def alone(seen: Tensor, covariance: Tensor, noise: Tensor) -> tuple[float, float]:
        only = torch.diag(covariance.diagonal())
        only[:-1, -1] = covariance[:-1, -1]
        return _from_weights(seen, covariance, _weights(only, noise.square()))

    def product(seen: Tensor, covariance: Tensor, noise: Tensor) -> tuple[float, float]:
        weights = covariance[:-1, -1]
        return float(weights @ seen), _best_guess(seen, covariance, noise)[1]

    return [
        Mistake(without_noise, "It trusts what it saw. Where does the noise go in?"),
        Mistake(unsquared, "Is `noise` a variance or a deviation?"),
        Mistake(
            alone,
            "It asks each value by itself. What if two of them say the same thing twice?",
        ),
        Mistake(product, "Which covariance has what was *seen*, and what undoes it?"),
    ]


def _mistakes_of_deviation() -> list[Mistake]:
    """Return the mistakes in the second number alone."""

    def with_second(second: Any) -> Any:
        def answer(seen: Tensor, covariance: Tensor, noise: Tensor) -> tuple[float, float]:
            mean, deviation = _best_guess(seen, covariance, noise)
            return mean, float(second(seen, covariance, noise, deviation))

        return answer

    def exact(seen: Tensor, covariance: Tensor, noise: Tensor, deviation: float) -> float:
        return _from_weights(seen, covariance, _weights(covariance, 0 * noise))[1]

    def explained(seen: Tensor, covariance: Tensor, noise: Tensor, deviation: float) -> float:
        return float((_weights(covariance, noise.square()) @ covariance[:-1, -1]).sqrt())

    right = "The mean is right. "
    return [
        Mistake(
            with_second(lambda s, c, n, d: c[-1, -1].sqrt()),
            right + "That is the deviation before anything was seen.",
        ),
        Mistake(
            with_second(lambda s, c, n, d: d**2),
            right + "In which unit should the second number be?",
        ),
        Mistake(with_second(exact), right + "Does the noise not make it less certain?"),
        Mistake(
            with_second(explained),
            right + "That is how much the guesses scatter. What is left of the target?",
        ),
        Mistake(
            lambda *case: _best_guess(*case)[::-1],
            "In which order are the two numbers?",
        ),
        Mistake(
            with_second(lambda s, c, n, d: (1 / torch.linalg.inv(c)[-1, -1]).sqrt()),
            right + "Does the noise not make it less certain?",
        ),
    ]
