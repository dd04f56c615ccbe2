"""Pieces of the published network: a convolution with holes, and the cost of its latents."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["kl", "partial_window"]


def partial_window(attempt: Any) -> bool:
    """Test your `partial_window(values, mask, weight, bias)`: a partial convolution, one output.

    Arguments:
        attempt: a function of values ``(C, k, k)``, a mask ``(k, k)`` bool that is True where all
            channels are seen, a kernel ``(C, k, k)`` and a bias. It returns a number, 0 where
            nothing is seen.

    Returns:
        True if it is right, whatever stands in hidden pixels.
    """
    channels = torch.arange(8.0, dtype=torch.float64).reshape(2, 2, 2)
    even = torch.full((2, 2, 2), 1 / 8, dtype=torch.float64)
    most = torch.tensor([[True, True], [True, False]])
    none = torch.zeros(2, 2, dtype=torch.bool)
    return grading.function(
        "partial_window",
        attempt,
        _partial_window,
        cases=[
            (channels, ~none, even, 0.5),
            (channels, most, even, 0.5),
            (channels, none, even, 0.5),
            (torch.where(most, channels, torch.nan), most, even, 0.5),
        ],
        draw=_draw_window,
        mistakes=_mistakes_of_windows(),
    )


def _draw_window(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    values = torch.from_numpy(rng.normal(size=(2, 3, 3)))
    weight = torch.from_numpy(rng.normal(size=(2, 3, 3)))
    mask = torch.from_numpy(rng.permutation(9).reshape(3, 3)) < int(rng.integers(1, 9))
    return values, mask, weight, float(rng.normal())


def _sum(values: Tensor, mask: Tensor, weight: Tensor) -> float:
    return float((weight * torch.where(mask, values, 0)).sum())


def _partial_window(values: Tensor, mask: Tensor, weight: Tensor, bias: float) -> float:
    n = int(mask.sum())
    # Channels cancel: k k C over C n.
    return _sum(values, mask, weight) * mask.numel() / n + bias if n else 0.0


def _mistakes_of_windows() -> list[Mistake]:
    return [
        Mistake(
            lambda v, m, w, b: _sum(v, m, w) + b,
            "It takes hidden pixels for zeros. What makes up for the part that is not seen?",
        ),
        Mistake(
            lambda v, m, w, b: _scaled(v, m, w, b, factor=1 / len(v)),
            "With nothing hidden it is not the usual convolution. How many entries have the "
            "window and its seen part, channels counted?",
        ),
        Mistake(
            lambda v, m, w, b: _scaled(v, m, w, b, factor=len(v)),
            "With nothing hidden it is not the usual convolution. How many entries have the "
            "window and its seen part, channels counted?",
        ),
        Mistake(
            lambda v, m, w, b: (_sum(v, m, w) + b) * m.numel() / int(m.sum()) if m.any() else 0.0,
            "The scaling is for the sum. Should the bias change with the mask?",
        ),
        Mistake(
            lambda v, m, w, b: _scaled(v, m, w, b, factor=1.0) if m.any() else b,
            "Look at a window that shows nothing. What does the text ask for?",
        ),
        Mistake(
            lambda v, m, w, b: _sum(v, m, w) * int(m.sum()) / m.numel() + b if m.any() else 0.0,
            "The fewer pixels are seen, the smaller it gets. Should the sum be scaled up or down?",
        ),
    ]


def _scaled(values: Tensor, mask: Tensor, weight: Tensor, bias: float, *, factor: float) -> float:
    """Return the right answer, its sum multiplied by a factor too many."""
    if not bool(mask.any()):
        return 0.0
    return factor * (_partial_window(values, mask, weight, bias) - bias) + bias


def kl(attempt: Any) -> bool:
    """Test your `kl(mean, log_variance, prior_variance)`: the divergence of a batch of latents.

    Arguments:
        attempt: a function of ``(B, L)``, ``(B, L)`` and ``(L,)``, which returns the
            Kullback-Leibler divergence of each sample's Gaussian from the prior, summed over its
            latents, as a mean over the batch.

    Returns:
        True if it is right.
    """
    zero = torch.zeros(2, 3, dtype=torch.float64)
    prior = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64)
    return grading.function(
        "kl",
        attempt,
        lambda mean, log_variance, prior: _divergences(mean, log_variance, prior).sum(1).mean(),
        cases=[(zero, prior.log().expand(2, 3), prior), (zero + 2, zero, torch.ones_like(prior))],
        draw=_draw_latents,
        mistakes=[*_mistakes_of_divergences(), *_mistakes_of_units()],
    )


def _draw_latents(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    batch, latents = int(rng.integers(3, 6)), int(rng.integers(6, 9))
    mean = torch.from_numpy(rng.normal(size=(batch, latents)))
    log_variance = torch.from_numpy(rng.normal(size=(batch, latents)))
    return mean, log_variance, torch.from_numpy(rng.uniform(0.3, 4.0, latents))


def _divergences(mean: Tensor, log_variance: Tensor, prior: Tensor) -> Tensor:
    """Return the divergence of each latent, ``(B, L)``."""
    ratio = log_variance.exp() / prior
    return 0.5 * (ratio + mean.square() / prior - 1 - ratio.log())


def _mistakes_of_divergences() -> list[Mistake]:
    def reverse(m: Tensor, v: Tensor, d: Tensor) -> Tensor:
        return 0.5 * ((d + m.square()) / v.exp() - 1 - d.log() + v)

    return [
        Mistake(
            lambda m, v, d: _divergences(m, v, d).sum(),
            "It grows with the batch, so that twice the batch is twice the weight of this term.",
        ),
        Mistake(
            lambda m, v, d: _divergences(m, v, d).mean(),
            "Every latent costs. Over what is the mean, and over what the sum?",
        ),
        Mistake(
            _of(lambda m, v, d: _divergences(m, v, torch.ones_like(d))),
            "That is against a prior of variance 1. In which two terms does the prior stand?",
        ),
        Mistake(
            _of(lambda m, v, d: _divergences(m, v, d) - 0.5 * d.log()),
            "Give it the prior itself. Is the cost zero? Look at the logarithm.",
        ),
        Mistake(_of(lambda m, v, d: 2 * _divergences(m, v, d)), "It is twice as large."),
        Mistake(_of(lambda m, v, d: -_divergences(m, v, d)), "A divergence is never negative."),
        Mistake(
            _of(lambda m, v, d: _divergences(m, v, d) + 0.5),
            "Give it the prior itself. Is the cost zero?",
        ),
        Mistake(_of(reverse), "It is the prior's from the latents'. Which of the two is averaged?"),
    ]


def _of(change: Any) -> Any:
    """Return a wrong divergence: sum over latents, mean over the batch, of what changes."""
    return lambda *case: change(*case).sum(1).mean()


def _mistakes_of_units() -> list[Mistake]:
    """Return the mistakes about which terms the prior variance divides, and by what."""
    widths = "The arguments are variances, not standard deviations."
    fewer = "Three terms change with the unit of a latent, and not all are divided. Which are left?"
    return [
        Mistake(_of(lambda m, v, d: _divergences(m, v, d.square())), widths),
        Mistake(_of(lambda m, v, d: _divergences(m, 2 * v, d)), widths),
        Mistake(
            _of(lambda m, v, d: _divergences(m, v, d) + 0.5 * m.square() * (1 - 1 / d)),
            "By what should a mean be measured that the prior allows to be large?",
        ),
        Mistake(_of(_partly(variance=True)), fewer),
        Mistake(_of(_partly(log=True)), fewer),
        Mistake(_of(_partly(mean=True)), fewer),
        Mistake(_of(_partly(mean=True, log=True)), fewer),
    ]


def _partly(*, variance: bool = False, mean: bool = False, log: bool = False) -> Any:
    """Return a divergence in which the prior variance divides some of the terms."""

    def divergences(m: Tensor, v: Tensor, d: Tensor) -> Tensor:
        # Any other term stands as for a prior of variance 1.
        width = v.exp() / d if variance else v.exp()
        far = m.square() / d if mean else m.square()
        return 0.5 * (width + far - 1 - (v - d.log() if log else v))

    return divergences
