"""Coefficients and their power: turns, cosmic variance, noise, the beam."""

import math
from collections.abc import Callable

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake
from skytutor.fields.windows import gaussian_beam

__all__ = ["noise_level", "power_factor", "quarter_turn", "relative_scatter"]


def _turned(cosine: float, sine: float, m: int, *, angle: float) -> tuple[float, float]:
    """Return what stands at phi - angle: ``cos m (phi - angle)``, written out."""
    c = math.cos(m * angle)
    s = math.sin(m * angle)
    return cosine * c - sine * s, cosine * s + sine * c


def _quarter_turn(cosine: float, sine: float, m: int) -> tuple[float, float]:
    return _turned(cosine, sine, m, angle=math.pi / 2)


def quarter_turn(attempt: Callable[[float, float, int], tuple[float, float]]) -> bool:
    """Test your `quarter_turn(cosine, sine, m)`: the two coefficients after a turn to the east.

    Arguments:
        attempt: takes the coefficients of cos(m phi) and sin(m phi), and m from 0 to 8; returns
            the two coefficients of the map that was turned by 90 degrees to the east.

    Returns:
        True if it is right.
    """

    def westward(cosine: float, sine: float, m: int) -> tuple[float, float]:
        return _turned(cosine, sine, m, angle=-math.pi / 2)

    def same_for_all_m(cosine: float, sine: float, m: int) -> tuple[float, float]:
        return _turned(cosine, sine, 1, angle=math.pi / 2)

    return grading.function(
        "quarter_turn",
        attempt,
        _quarter_turn,
        cases=[(2.0, 0.0, 0), (2.0, 0.0, 1), (2.0, 0.0, 2), (3.0, 1.0, 3), (3.0, 1.0, 4)],
        draw=lambda rng: (rng.normal(), rng.normal(), int(rng.integers(1, 9))),
        mistakes=[
            Mistake(westward, "That is a turn to the west: where does the hot pixel of m = 1 go?"),
            Mistake(
                same_for_all_m,
                "It is right for m = 1. A wave with m crests repeats after 360 / m degrees: by "
                "which part of its own length is it moved?",
            ),
        ],
        rtol=1e-4,
        atol=1e-5,  # cosines of quarter turns in single precision
    )


def _relative_scatter(first: int, last: int) -> float:
    # Degrees first to last have (last + 1)^2 - first^2 coefficients in all.
    coefficients = (last + 1) ** 2 - first**2
    return math.sqrt(2 / coefficients)


def relative_scatter(attempt: Callable[[int, int], float]) -> bool:
    """Test your `relative_scatter(first, last)`: cosmic variance of a band of degrees.

    Arguments:
        attempt: takes the first and the last degree of the band; returns the standard deviation of
            the mean of its squared coefficients, over that mean, for a spectrum that is flat there.

    Returns:
        True if it is right.
    """
    return grading.function(
        "relative_scatter",
        attempt,
        _relative_scatter,
        # Bands of two degrees or more: for one, a count that forgets the last divides by zero, and
        # its mistake could not be named.
        cases=[(2, 3), (50, 51), (30, 39), (2, 90)],
        draw=lambda rng: (first := int(rng.integers(2, 60)), first + int(rng.integers(1, 40))),
        mistakes=[
            Mistake(
                lambda first, last: 2 / ((last + 1) ** 2 - first**2),
                "That is the variance; the scatter is a standard deviation",
            ),
            Mistake(
                lambda first, last: math.sqrt(2 / (2 * first + 1)),
                "It is right for a single degree. How many coefficients has the whole band?",
            ),
            Mistake(
                lambda first, last: math.sqrt(2 / (first + last + 1)),
                "That is the scatter of the middle degree alone. How many coefficients has the "
                "whole band?",
            ),
            Mistake(
                lambda first, last: math.sqrt(2 / (last**2 - first**2)),
                "Does your count hold the last degree too?",
            ),
            Mistake(
                lambda first, last: math.sqrt(1 / ((last + 1) ** 2 - first**2)),
                "What is the variance of the square of a Gaussian number?",
            ),
        ],
    )


def _noise_level(sigma: float, nside: int) -> float:
    # Variances of the terms add up: sigma^2 Omega^2 sum |Y|^2, and the sum is 1 / Omega.
    return 4 * math.pi * sigma**2 / (12 * nside**2)


def noise_level(attempt: Callable[[float, int], float]) -> bool:
    """Test your `noise_level(sigma, nside)`: the flat spectrum of white noise.

    Arguments:
        attempt: takes the standard deviation of each pixel and the nside; returns N_l, in the
            square of the unit of sigma.

    Returns:
        True if it is right.
    """
    return grading.function(
        "noise_level",
        attempt,
        _noise_level,
        cases=[(1.0, 8), (2.0, 8), (1.0, 16)],
        draw=lambda rng: (rng.uniform(0.1, 9.0), 2 ** int(rng.integers(1, 8))),
        mistakes=[
            Mistake(
                lambda sigma, nside: sigma**2,
                "That is the variance of one pixel. A coefficient adds up all pixels: with which "
                "weight does each enter?",
            ),
            Mistake(
                lambda sigma, nside: sigma**2 / (12 * nside**2),
                "That is the variance of the mean of all pixels. Which coefficient is the mean, "
                "and how large is its wave?",
            ),
            Mistake(
                lambda sigma, nside: 4 * math.pi * sigma / (12 * nside**2),
                "A spectrum has the unit of the map squared",
            ),
            Mistake(
                lambda sigma, nside: 4 * math.pi * sigma**2,
                "Should finer pixels not average the noise down?",
            ),
        ],
        rtol=0.01,
    )


def _power_factor(fwhm_deg: float, l: int) -> float:
    return float(gaussian_beam(math.radians(fwhm_deg), l)[l]) ** 2


def power_factor(attempt: Callable[[float, int], float]) -> bool:
    """Test your `power_factor(fwhm_deg, l)`: by what a beam multiplies the power of a degree.

    Arguments:
        attempt: takes the full width at half maximum of a Gaussian beam in degrees and the degree;
            returns a factor from 0 to 1.

    Returns:
        True if it is right.
    """

    def amplitude(fwhm_deg: float, l: int) -> float:
        return math.sqrt(_power_factor(fwhm_deg, l))

    def as_radians(fwhm_deg: float, l: int) -> float:
        return _power_factor(math.degrees(fwhm_deg), l)

    return grading.function(
        "power_factor",
        attempt,
        _power_factor,
        cases=[(1.0, 10), (0.5, 100), (2.0, 40)],
        draw=lambda rng: (rng.uniform(0.2, 2.0), int(rng.integers(2, 60))),
        mistakes=[
            Mistake(amplitude, "That is the factor of a coefficient. What is a power made of?"),
            Mistake(as_radians, "In which unit does `gaussian_beam` want the width?"),
        ],
        rtol=1e-3,
    )
