"""Noise and error bars of spectra, and whether a map looks like the simulations."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["band_error", "noise_level", "strangeness"]


def _noise_level(variance: Tensor, mask: Tensor, pixel_area: float) -> float:
    # Each pixel is multiplied by its mask; the spectrum is divided by the mean of its square.
    return float(pixel_area * (mask.square() * variance).mean() / mask.square().mean())


def noise_level(attempt: Callable[[Tensor, Tensor, float], float]) -> bool:
    """Test your `noise_level(variance, mask, pixel_area)`: the power of noise behind a mask.

    Arguments:
        attempt: takes the ``(P,)`` variance of the noise in each pixel, a mask ``(P,)`` of values
            from 0 to 1, both float64, and the solid angle of a pixel in steradians; returns the
            mean N_l of the noise in the pseudo-spectrum, which was divided by the mean of the
            squared mask.

    Returns:
        True if it is right.
    """

    def draw(rng: np.random.Generator) -> tuple[Tensor, Tensor, float]:
        variance = torch.from_numpy(rng.uniform(1, 9, size=48))
        mask = torch.from_numpy(rng.uniform(0, 1, size=48))
        return variance, mask, 4 * np.pi / 48

    variance = torch.tensor([1.0, 4.0, 9.0, 100.0], dtype=torch.float64)
    seen = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    soft = torch.tensor([1.0, 0.5, 0.0, 0.5], dtype=torch.float64)
    return grading.function(
        "noise_level",
        attempt,
        _noise_level,
        cases=[(variance, seen, 0.1), (variance, soft, 0.1), (variance, seen, 0.2)],
        draw=draw,
        mistakes=[
            Mistake(
                lambda variance, mask, pixel_area: pixel_area * variance.mean(),
                "Does the noise of a hidden pixel get into the spectrum?",
            ),
            Mistake(
                lambda variance, mask, pixel_area: (
                    pixel_area * (mask * variance).mean() / mask.mean()
                ),
                "A mask of one half leaves half of the amplitude. How much of the variance?",
            ),
            Mistake(
                lambda variance, mask, pixel_area: (
                    (mask.square() * variance).mean() / mask.square().mean()
                ),
                "That is the variance of a pixel. How large is a pixel?",
            ),
        ],
    )


def _modes(low: int, high: int) -> int:
    return sum(2 * l + 1 for l in range(low, high))


def _band_error(signal: float, noise: float, low: int, high: int, f_sky: float) -> float:
    # Variance of a product of two numbers with covariance C and variances C + N.
    variance = ((signal + noise) ** 2 + signal**2) / (_modes(low, high) * f_sky)
    return float(variance**0.5)


def _of_one_map(signal: float, noise: float, low: int, high: int, f_sky: float) -> float:
    return float((2 / (_modes(low, high) * f_sky)) ** 0.5 * (signal + noise))


def _whole_sky(signal: float, noise: float, low: int, high: int, f_sky: float) -> float:
    return _band_error(signal, noise, low, high, 1.0)


def _no_noise(signal: float, noise: float, low: int, high: int, f_sky: float) -> float:
    return _band_error(signal, 0.0, low, high, f_sky)


def band_error(attempt: Callable[[float, float, int, int, float], float]) -> bool:
    """Test your `band_error(signal, noise, low, high, f_sky)`: the error of one band.

    Arguments:
        attempt: takes C_l and N_l of each of two maps, both flat in the band, the first degree of
            the band and the first one above it, and the seen fraction of the sky; returns the
            standard deviation of the maps' cross-spectrum, averaged over the band.

    Returns:
        True if it is right.
    """

    def draw(rng: np.random.Generator) -> tuple[float, float, int, int, float]:
        low = int(rng.integers(2, 40))
        high = low + int(rng.integers(1, 12))
        signal, noise = (float(x) for x in rng.uniform(0.5, 9.0, size=2))
        return signal, noise, low, high, float(rng.uniform(0.2, 0.9))

    return grading.function(
        "band_error",
        attempt,
        _band_error,
        cases=[(1.0, 0.5, 2, 3, 0.5), (1.0, 3.0, 2, 3, 0.5), (1.0, 0.5, 20, 30, 0.7)],
        draw=draw,
        mistakes=[
            Mistake(
                _of_one_map,
                "That is the error of the spectrum of one map. How large is the covariance of the "
                "two seasons, whose noise is independent?",
            ),
            Mistake(_whole_sky, "How many waves are left behind a mask?"),
            Mistake(_no_noise, "The noise does not shift the mean. Does it add scatter?"),
        ],
    )


def _strangeness(own: Tensor, simulated: Tensor) -> float:
    mean = simulated.mean(0)
    precision = torch.linalg.inv(torch.cov(simulated.T))

    def chi2(bands: Tensor) -> Tensor:
        off = bands - mean
        return ((off @ precision) * off).sum(-1)

    return float((chi2(simulated) >= chi2(own)).double().mean())


def _band_by_band(own: Tensor, simulated: Tensor) -> float:
    off = ((simulated - simulated.mean(0)) / simulated.std(0)).square().sum(1)
    mine = ((own - simulated.mean(0)) / simulated.std(0)).square().sum()
    return float((off >= mine).double().mean())


def _the_other_side(own: Tensor, simulated: Tensor) -> float:
    return 1 - _strangeness(own, simulated)


def strangeness(attempt: Callable[[Tensor, Tensor], float]) -> bool:
    """Test your `strangeness(own, simulated)`: how many simulations are stranger than a map.

    Arguments:
        attempt: takes the ``(B,)`` band powers of a map and the ``(S, B)`` of simulations, float64;
            returns the fraction of simulations whose chi-square is at least that of the map, with
            the mean and the covariance matrix of the simulations.

    Returns:
        True if it is right.
    """
    rng = np.random.default_rng(8)
    common = rng.normal(size=(60, 1))
    simulated = torch.from_numpy(5 + common + 0.4 * rng.normal(size=(60, 3)))

    def draw(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        own = 5 + rng.normal() + 0.5 * rng.normal(size=3)
        return torch.from_numpy(own), simulated

    apart = torch.tensor([5.9, 4.6, 5.0], dtype=torch.float64)
    return grading.function(
        "strangeness",
        attempt,
        _strangeness,
        cases=[(apart, simulated), (simulated.mean(0), simulated)],
        draw=draw,
        mistakes=[
            Mistake(
                _band_by_band,
                "The bands of one sky go up and down together. Is a map strange whose bands go "
                "apart by an amount that each of them often reaches alone?",
            ),
            Mistake(_the_other_side, "Is a fraction near 1 alarming, or one near 0?"),
        ],
        atol=1e-6,
    )
