"""What a sky says: degrees with a signal, the best answer, Fisher's error, features."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.chapters.cmb import limits
from skytutor.chapters.cmb.summaries import draw_summaries
from skytutor.data.cmb import FLOOR, GaussianSkySimulator, peaked_spectrum
from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake
from skytutor.memo import cached_table

__all__ = ["best_answer", "features", "last_clear", "sigma_peak"]


def last_clear(attempt: Any) -> bool:
    """Test your `last_clear(peak, sigma)`: the highest degree with more signal than noise.

    Arguments:
        attempt: a function of the peak of test 1 and the noise in a pixel that returns the highest
            l of 0 to 47 at which C_l is above N_l, or -1.

    Returns:
        True if it is right.
    """
    return grading.function(
        "last_clear",
        attempt,
        lambda peak, sigma: _highest(_spectrum(peak), _noise(sigma)),
        cases=[(12.0, 15.0), (7.0, 10.0), (12.0, 0.03), (12.0, 70.0), (5.0, 0.0)],
        draw=lambda rng: (float(rng.uniform(5, 20)), float(rng.uniform(1, 15))),
        mistakes=[
            Mistake(
                lambda peak, sigma: _highest(_spectrum(peak), sigma**2),
                "It compares with the variance of one pixel. How many pixels share that noise?",
            ),
            Mistake(
                # The power of noise grows with the square: of the root, so with sigma itself.
                lambda peak, sigma: _highest(_spectrum(peak), _noise(math.sqrt(sigma))),
                "Is it the deviation of the noise that adds up, or its variance?",
            ),
            Mistake(
                lambda peak, sigma: _highest(_spectrum(peak) - FLOOR, _noise(sigma)),
                "Look at a sky with very little noise. Which part of the spectrum is missing?",
            ),
            Mistake(
                lambda peak, sigma: int((_spectrum(peak) > _noise(sigma)).sum()),
                "Is that how many degrees are clear, or which is the highest?",
            ),
            Mistake(
                lambda peak, sigma: _highest(_spectrum(peak), _noise(sigma)) + 1,
                "Is that a degree, or how many degrees there are?",
            ),
        ],
    )


def _spectrum(peak: float) -> np.ndarray:
    """Return C_l of test 1 for l from 0 to 47."""
    return peaked_spectrum(torch.tensor(peak, dtype=torch.float64), lmax=47).numpy()


def _noise(sigma: float) -> float:
    """Return N_l of the noise in the pixels of test 1."""
    return limits.noise_power(GaussianSkySimulator("T1", noise=sigma))


def _highest(cl: np.ndarray, noise: float) -> int:
    """Return the highest degree at which a spectrum is above the noise, or -1."""
    above = np.nonzero(cl > noise)[0]
    return int(above.max()) if len(above) else -1


def best_answer(attempt: Any) -> bool:
    """Test your `best_answer(values, probabilities)`: the value of least mean relative error.

    Arguments:
        attempt: a function of an array of positive values and one of their probabilities, which
            returns the one of the values whose mean of ``|value - truth| / truth`` is smallest.

    Returns:
        True if it is right.
    """
    return grading.function(
        "best_answer",
        attempt,
        _best_answer,
        cases=[
            (np.array([5.0, 20.0]), np.array([0.5, 0.5])),
            (np.array([5.0, 10.0, 20.0]), np.array([0.1, 0.2, 0.7])),
        ],
        draw=_draw_posterior,
        mistakes=[
            Mistake(
                lambda values, probabilities: float(values[np.argmax(probabilities)]),
                "That is the most probable value. How large is its error when it is wrong?",
            ),
            Mistake(
                lambda values, probabilities: _weighted(values, probabilities, power=0),
                "That makes the absolute error smallest. By what is a relative one divided?",
            ),
            Mistake(
                lambda values, probabilities: _weighted(values, probabilities, power=-1, own=True),
                "Is the error divided by your answer, or by the truth?",
            ),
        ],
    )


def _best_answer(values: np.ndarray, probabilities: np.ndarray) -> float:
    return _weighted(values, probabilities, power=-1)


def _weighted(
    values: np.ndarray, probabilities: np.ndarray, *, power: int, own: bool = False
) -> float:
    """Return the value of least mean ``|value - truth| * truth**power``.

    With `own`, the weight is a power of the value, not of the truth.
    """
    apart = np.abs(values[:, None] - values)  # (answer, truth)
    weight = values[:, None] ** power if own else values**power
    return float(values[np.argmin((apart * weight * probabilities).sum(1))])


def _draw_posterior(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    values = np.sort(rng.uniform(1, 20, 7)).round(2)
    probabilities = rng.dirichlet(np.ones(7))
    return values, probabilities


def sigma_peak(attempt: Any) -> bool:
    """Test your `sigma_peak(peak, noise)`: Fisher's standard deviation of the peak of test 1.

    Arguments:
        attempt: a function of the peak and the noise in a pixel that returns the deviation, in
            degrees l.

    Returns:
        True if it is right to one per cent.
    """
    return grading.function(
        "sigma_peak",
        attempt,
        _fisher_error,
        cases=[(12.0, 0.0), (12.0, 15.0), (7.0, 5.0)],
        draw=lambda rng: (float(rng.uniform(6, 18)), float(rng.uniform(0, 15))),
        rtol=0.01,
        mistakes=[
            Mistake(
                lambda peak, noise: _fisher_error(peak, noise) ** 2,
                "That is a variance.",
            ),
            Mistake(
                lambda peak, noise: 1 / _fisher_error(peak, noise) ** 2,
                "That is the information. How does a deviation follow from it?",
            ),
            Mistake(
                lambda peak, noise: _fisher_error(peak, noise) / math.sqrt(2),
                "It is off by the root of two. Look at the factor in front of the sum.",
            ),
            Mistake(
                lambda peak, noise: _fisher_error(peak, noise) / 2,
                "It is half of it. By which distance is the difference of logarithms divided?",
            ),
            Mistake(
                lambda peak, noise: 2 * _fisher_error(peak, noise),
                "It is twice as large. By which distance is the difference of logarithms divided?",
            ),
            Mistake(
                lambda peak, noise: _fisher_error(peak, noise) / peak,
                "That is relative to the peak; degrees are asked for.",
            ),
            Mistake(
                lambda peak, noise: _fisher_error(peak, 0.0),
                "It does not change with the noise.",
            ),
        ],
    )


def _fisher_error(peak: float, noise: float) -> float:
    simulator = GaussianSkySimulator("T1", noise=noise)
    return float(limits.fisher_full_sky(simulator, torch.tensor([peak]).double())[0])


def features(attempt: Any) -> bool:
    """Test your `features(powers)`: numbers from which a linear fit reads the peak of a sky.

    A straight line, ``peak = w . features + constant``, is fitted to 3,000 skies of test 1 without
    noise and scored on 1,000 others. A mean error below 0.8 % passes.

    Arguments:
        attempt: a function of measured powers C_l ``(N, 48)`` float64 that returns ``(N, F)``, F at
            most 200.

    Returns:
        True if the fit on them is good enough.
    """
    return grading.satisfies(
        "features", attempt, _linear_fault, cases=[(_skies(0)[1],), (_skies(1)[1],)]
    )


@cached_table(maxsize=2)
def _skies(which: int) -> tuple[Tensor, Tensor]:
    """Return peaks ``(4000,)`` and measured powers ``(4000, 48)``."""
    simulator = GaussianSkySimulator("T1")
    parameters, summaries = draw_summaries(simulator, 4000, seed=95_000 + 10 * which)
    return parameters[:, 0].double(), summaries.double().exp()


def _linear_fault(got: Any, powers: Tensor) -> str | None:
    got = torch.as_tensor(got).double()
    if got.dim() != 2 or len(got) != len(powers):
        return f"gives {tuple(got.shape)}; a row for each sky is wanted"
    if got.shape[1] > 200:
        return f"gives {got.shape[1]} numbers a sky; 200 at most"
    if not torch.isfinite(got).all():
        return "gives numbers that are not finite"
    peaks = next(p for p, c in map(_skies, (0, 1)) if torch.equal(c, powers))
    error = _linear_error(got, peaks)
    if error > 0.8:
        return (
            f"leads to a mean error of {error:.3f} %; below 0.8 % is wanted: "
            "where in the spectrum does most of the information lie, and how large is C_l there?"
        )
    return None


def _linear_error(numbers: Tensor, peaks: Tensor) -> float:
    """Return the mean relative error, in %, of a linear fit to 3,000 skies on the others."""
    # Standardised, so that features of any size count alike; a column of ones is the constant.
    spread = numbers[:3000].std(0).clamp(min=1e-300)
    scaled = (numbers - numbers[:3000].mean(0)) / spread
    columns = torch.cat([scaled, torch.ones(len(scaled), 1).double()], 1)
    solution = torch.linalg.lstsq(columns[:3000], peaks[:3000], driver="gelsd").solution
    found = columns[3000:] @ solution
    return float(100 * ((found - peaks[3000:]).abs() / peaks[3000:]).mean())
