"""How an estimator learns its error bar, and what its answers are worth."""

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.check.compare import single
from skytutor.exercises import grading
from skytutor.exercises.attempts import results_of
from skytutor.exercises.grading import Mistake

__all__ = ["coverage", "laplace_nll", "own_method"]


def laplace_nll(attempt: Any) -> bool:
    """Test your `laplace_nll(median, log_b, truth)`: the mean negative log-likelihood.

    Arguments:
        attempt: a function of three tensors ``(N,)`` that returns the mean of minus the logarithm
            of the Laplace density ``exp(-|truth - median| / b) / (2 b)``.

    Returns:
        True if it is right, up to a constant, and a network can be trained with it.
    """
    cases = _answers_of_a_network()
    if not _trains("laplace_nll", attempt, cases[0]):
        return False
    return grading.function(
        "laplace_nll, less its value for exact answers",
        _without_constant(attempt),
        _without_constant(_laplace_nll),
        cases=cases,
        mistakes=[
            Mistake(
                _without_constant(lambda m, b, t: (b + ((t - m) / b.exp()) ** 2).mean()),
                "A square belongs to the Gaussian. What stands in the exponent here?",
            ),
            Mistake(
                _without_constant(lambda m, b, t: (b + 0.5 * ((t - m) / b.exp()) ** 2).mean()),
                "That is the Gaussian's. What stands in the exponent of this density?",
            ),
            Mistake(
                _without_constant(lambda m, b, t: ((t - m).abs() / b.exp()).mean()),
                "With this loss a huge b costs nothing. Which factor of the density forbids it?",
            ),
            Mistake(
                _without_constant(lambda m, b, t: (b + (t - m).abs() / b).mean()),
                "The function gets the logarithm of b.",
            ),
            Mistake(
                _without_constant(lambda m, b, t: (b + (t - m).abs() / b.exp()).sum()),
                "Is it the mean over the skies, or their sum?",
            ),
            Mistake(
                _without_constant(lambda m, b, t: -(b + (t - m).abs() / b.exp()).mean()),
                "Training makes a loss small. Does yours become small for good answers?",
            ),
        ],
    )


def _answers_of_a_network() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return medians and logarithms of widths, which ask for gradients, and truths: ``(6,)``."""
    rng = torch.Generator().manual_seed(0)
    cases = []
    for _ in range(4):
        median, log_b, truth = (torch.randn(6, generator=rng) for _ in range(3))
        cases.append((median.requires_grad_(), log_b.requires_grad_(), truth))
    return cases


def _trains(label: str, attempt: Any, case: tuple[Tensor, ...]) -> bool:
    """Return whether gradients lead back from a loss, or print why not; its value may be wrong."""
    found = results_of(label, attempt, [case], like=_laplace_nll)
    if found is None:
        return False
    # Of what is no single number, the comparison that follows says what is wrong.
    if single(found[0]) is None or getattr(found[0], "requires_grad", False):
        return True
    print(
        f"not yet: {label}: no gradient leads from what it returns back to the answers, so nothing "
        "could be trained with it. Does it follow from the arguments, and stay a tensor to the "
        "end, without item(), float() or detach()?"
    )
    return False


def _laplace_nll(median: Tensor, log_b: Tensor, truth: Tensor) -> Tensor:
    return (log_b + (truth - median).abs() / log_b.exp()).mean()


def _without_constant(loss: Any) -> Any:
    """Return a loss less its value at an exact answer of width two: constants do not matter."""
    if not callable(loss):
        return loss

    @functools.wraps(loss)
    def shifted(median: Tensor, log_b: Tensor, truth: Tensor) -> Any:
        found = loss(median, log_b, truth)
        number = single(found)
        if number is None:
            return found  # as it came, so that the reader hears what it is
        zero = torch.zeros_like(truth)
        # At b = 2 and not at 1, where a loss that divides by log b has no value.
        two = torch.full_like(truth, math.log(2))
        return number - single(loss(zero, two, zero))

    return shifted


def coverage(attempt: Any) -> bool:
    """Test your `response_and_coverage(mean, s, truth)`.

    Arguments:
        attempt: a function of three arrays ``(N,)``: answers, their standard deviations and the
            truths. It returns the slope of the answers against the truths and the fraction of
            truths within one standard deviation.

    Returns:
        True if both are right.
    """
    return grading.function(
        "response_and_coverage",
        attempt,
        _response_and_coverage,
        cases=[],
        draw=_draw_answers,
        mistakes=[
            Mistake(
                lambda mean, s, truth: _response_and_coverage(truth, s, mean),
                "Which of the two is on the horizontal axis of the chapter's figure?",
            ),
            Mistake(
                lambda mean, s, truth: _response_and_coverage(mean, 2 * s, truth),
                "That is the fraction within two deviations.",
            ),
            Mistake(
                lambda mean, s, truth: _response_and_coverage(mean, s, truth)[::-1],
                "Both numbers are right. In which order are they wanted?",
            ),
            Mistake(
                lambda mean, s, truth: (
                    _response_and_coverage(mean, s, truth)[0],
                    100 * _response_and_coverage(mean, s, truth)[1],
                ),
                "A fraction is wanted, not per cent.",
            ),
        ],
    )


def _response_and_coverage(
    mean: np.ndarray, s: np.ndarray, truth: np.ndarray
) -> tuple[float, float]:
    slope = float(np.polyfit(truth, mean, 1)[0])
    inside = np.abs(mean - truth) <= s
    return slope, float(inside.mean())


def _draw_answers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = rng.uniform(5, 20, 300)
    s = rng.uniform(0.5, 2.0, 300)
    # A slope below one and error bars that are too small, as of a network that leans and boasts.
    mean = 12.5 + 0.8 * (truth - 12.5) + 1.5 * s * rng.standard_normal(300)
    return mean, s, truth


def own_method(true: Any, found: Any, sigma: Any) -> bool:
    """Test a method on a problem of your own: is its error that of Fisher's bound?

    Arguments:
        true: parameters of at least 200 new skies, ``(N,)``.
        found: your estimates, ``(N,)``.
        sigma: Fisher's standard deviation at each, ``(N,)`` or one number.

    Returns:
        True if the root-mean-square of ``(found - true) / sigma`` lies between 0.8 and 1.3 and the
        answers follow the truth.
    """
    label = "own_method"
    try:
        arrays = [np.asarray(v, dtype=float).ravel() for v in (true, found, sigma)]
        truths, answers, sigmas = np.broadcast_arrays(*arrays)
    except Exception as error:  # a class of the reader's own may raise what it likes
        print(f"not yet: {label}: three arrays of numbers of one length are wanted ({error})")
        return False
    fault = _own_fault(truths, answers, sigmas)
    if fault:
        print(f"not yet: {label}: {fault}")
        return False
    print(f"right: {label}: {_over_fisher(truths, answers, sigmas):.2f} times Fisher's error")
    return True


def _over_fisher(truths: np.ndarray, answers: np.ndarray, sigmas: np.ndarray) -> float:
    return float(np.sqrt(np.mean(((answers - truths) / sigmas) ** 2)))


def _own_fault(truths: np.ndarray, answers: np.ndarray, sigmas: np.ndarray) -> str | None:
    """Return what is wrong with a method's answers, or None."""
    everything = np.concatenate([truths, answers, sigmas])
    if not np.isfinite(everything).all():
        return "there are numbers that are not finite"
    if len(truths) < 200:
        return f"{len(truths)} skies are too few to tell; take 200 or more"
    if (sigmas <= 0).any():
        return "Fisher's error must be positive"
    if np.std(truths) < 3 * np.median(sigmas):
        return "the truths vary by less than three of Fisher's errors; take a wider prior"
    slope = np.polyfit(truths, answers, 1)[0]
    if not 0.8 < slope < 1.2:
        return f"the answers follow the truth with a slope of {slope:.2f}"
    ratio = _over_fisher(truths, answers, sigmas)
    if ratio < 0.8:
        return f"the error is {ratio:.2f} times Fisher's. What does a score below a bound mean?"
    if ratio > 1.3:
        return f"the error is {ratio:.2f} times Fisher's. There is something left to gain"
    return None
