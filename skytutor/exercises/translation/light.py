"""Light in bands: the temperature that a colour tells, and what resampling does to a flux."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["brightness", "planck_temperature"]

_SECOND_RADIATION = 14387.77  # h c / k, micrometres times kelvin
_COLDEST, _HOTTEST = 1000.0, 100_000.0  # kelvin

_Ratio = Callable[[float, float, float], float]


def planck_temperature(attempt: Any) -> bool:
    """Test your `temperature(ratio, first, second)`: the black body that has a colour.

    Arguments:
        attempt: a function of the flux density per frequency at the first wavelength over that at
            the second, and of both wavelengths in micrometres, of which either may be the longer.
            It returns the temperature of the black body, between 1000 and 100,000 K.

    Returns:
        True if it is right to 0.2 per cent.
    """
    return grading.function(
        "temperature",
        attempt,
        _temperature,
        cases=[
            (_ratio(5800.0, 0.47, 0.75), 0.47, 0.75),
            (_ratio(30_000.0, 0.15, 0.62), 0.15, 0.62),
            (_ratio(3000.0, 2.16, 0.75), 2.16, 0.75),
        ],
        draw=_draw_colour,
        rtol=2e-3,
        atol=1e-6,
        mistakes=[*_mistakes_of_formula(), *_mistakes_of_search()],
    )


def _ratio(temperature: float, first: float, second: float, *, power: float = 3.0) -> float:
    """Return the ratio at two wavelengths of ``wavelength^-power / (exp(hc / kT wavelength) - 1)``.

    Arguments:
        temperature: kelvin.
        first: wavelength, micrometres.
        second: wavelength, micrometres.
        power: 3 per frequency, 5 per wavelength, one less each for photons.
    """
    x, y = (_SECOND_RADIATION / (temperature * length) for length in (first, second))
    return (second / first) ** power * math.expm1(y) / math.expm1(x)


def _bisect(ratio: float, first: float, second: float, of: _Ratio = _ratio) -> float:
    """Return the temperature by halving an interval of its logarithm."""
    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    for _ in range(60):
        middle = (low + high) / 2
        # The shorter wavelength gains as a body gets hotter.
        if (of(math.exp(middle), first, second) < ratio) == (first < second):
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def _temperature(ratio: float, first: float, second: float) -> float:
    return _bisect(ratio, first, second)


def _draw_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the colour of a body at wavelengths that lie apart, in either order."""
    shorter = float(rng.uniform(0.2, 0.8))
    lengths = [shorter, shorter * float(rng.uniform(1.5, 3.5))]
    first, second = lengths if rng.uniform() < 0.5 else lengths[::-1]
    temperature = float(np.exp(rng.uniform(math.log(2500), math.log(40_000))))
    return _ratio(temperature, first, second), first, second


def _mistakes_of_formula() -> list[Mistake]:
    """Return the mistakes about what a black body sends out."""

    def with_power(power: float) -> _Ratio:
        def answer(ratio: float, first: float, second: float) -> float:
            return _bisect(ratio, first, second, lambda *case: _ratio(*case, power=power))

        return answer

    def wien(ratio: float, first: float, second: float) -> float:
        steepness = _SECOND_RADIATION * (1 / first - 1 / second)
        return steepness / (3 * math.log(second / first) - math.log(ratio))

    return [
        Mistake(
            with_power(5.0),
            "That would be right for a flux density per wavelength. How wide in frequency is a "
            "micrometre in the blue, and how wide in the red?",
        ),
        Mistake(
            with_power(2.0),
            "That would be right for numbers of photons. What does one photon carry?",
        ),
        Mistake(
            with_power(0.0),
            "Only the exponentials are compared. What stands before them in Planck's law?",
        ),
        Mistake(
            wien,
            "For hot bodies and long waves it is off. Was something left out because it is small?",
        ),
    ]


def _mistakes_of_search() -> list[Mistake]:
    """Return the mistakes about which way to go."""

    def one_way(*, upward: bool) -> _Ratio:
        def answer(ratio: float, first: float, second: float) -> float:
            right = (first < second) == upward
            return _temperature(ratio, first, second) if right else _end(ratio, first, second)

        return answer

    return [
        Mistake(
            lambda ratio, first, second: _bisect(1 / ratio, first, second),
            "Which of the two wavelengths is above the fraction line?",
        ),
        Mistake(
            one_way(upward=True),
            "It is right only where the first wavelength is the shorter one. Which way does the "
            "ratio go otherwise?",
        ),
        Mistake(
            one_way(upward=False),
            "It is right only where the first wavelength is the longer one. Which way does the "
            "ratio go otherwise?",
        ),
        Mistake(_end, "It runs away to an end of the interval. Which half holds the answer?"),
        Mistake(
            lambda ratio, first, second: math.log(_temperature(ratio, first, second)),
            "That is the logarithm of the temperature.",
        ),
    ]


def _end(ratio: float, first: float, second: float) -> float:
    """Return the end of the interval to which a search with the wrong sign goes."""
    middle = math.sqrt(_COLDEST * _HOTTEST)
    for guess in (middle, (_COLDEST + _HOTTEST) / 2):
        if (_ratio(guess, first, second) < ratio) != (first < second):
            return _HOTTEST
    return _COLDEST


def brightness(attempt: Any) -> bool:
    """Test your `to_flux(image, native_arcsec, pixel_arcsec)`: flux a pixel after resampling.

    Arguments:
        attempt: a function of an image ``(..., H, H)`` on new pixels, each of which holds the flux
            of the native pixel that lies there, and of the sides of a native and of a new pixel in
            arcsec. It returns the flux that falls into each new pixel, shaped as the image.

    Returns:
        True if it is right.
    """
    return grading.function(
        "to_flux",
        attempt,
        _to_flux,
        cases=[(torch.ones(4, 4), 0.4, 0.8), (torch.arange(9.0).reshape(3, 3), 1.5, 0.8)],
        draw=_draw_resampled,
        mistakes=[*_mistakes_of_area()],
    )


def _to_flux(image: Tensor, native_arcsec: float, pixel_arcsec: float) -> Tensor:
    return image * (pixel_arcsec / native_arcsec) ** 2


def _draw_resampled(rng: np.random.Generator) -> tuple[Tensor, float, float]:
    """Return a few bands of a noisy image, and two sides that differ."""
    bands, size = int(rng.integers(1, 4)), int(rng.integers(3, 9))
    image = torch.from_numpy(rng.normal(1.0, 2.0, size=(bands, size, size)))
    new = float(rng.uniform(0.2, 2.0))
    native = new * float(rng.uniform(1.3, 4.0)) ** (1 if rng.uniform() < 0.5 else -1)
    return image, native, new


def _mistakes_of_area() -> list[Mistake]:
    """Return the mistakes about which ratio a flux takes."""

    def with_power(power: float) -> Callable[[Tensor, float, float], Tensor]:
        return lambda image, native, new: image * (new / native) ** power

    def of_same_sum(image: Tensor, native: float, new: float) -> Tensor:
        return image / image.sum()

    return [
        Mistake(
            with_power(-2.0),
            "Its pixels lose light as they grow. Into which of two pixels falls more?",
        ),
        Mistake(
            with_power(1.0),
            "If sides double, how many of the old pixels does a new one cover?",
        ),
        Mistake(
            with_power(-1.0),
            "If sides double, how many of the old pixels does a new one cover, and does more "
            "light fall into it or less?",
        ),
        Mistake(
            lambda image, native, new: image / native**2,
            "That is the flux of a square arcsec. How many of these has a new pixel?",
        ),
        Mistake(
            lambda image, native, new: image * new**2,
            "The image holds no flux of a square arcsec. What does it hold a value of?",
        ),
        Mistake(of_same_sum, "It forgets how bright the field is."),
    ]
