"""Draws of a hidden sky: how they are made, and whether they scatter as they should."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.check.compare import brief
from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake
from skytutor.fields.flat import FlatSky
from skytutor.fields.holes import DenseHole

__all__ = ["coverage", "realisation"]

_CLOSE = 1e-6  # of values of order one


def realisation(attempt: Any) -> bool:
    """Test your `clean_sample(data, mask, fill, draw_sky)`: a signal that fits what is seen.

    Arguments:
        attempt: a function of data ``(H, H)``, of a mask ``(H, H)`` bool, True where seen, of
            `fill`, which takes maps and returns them with hidden pixels at their mean and seen ones
            as they were, and of `draw_sky`, which returns another random sky at each call, as
            signal and data, ``(H, H)`` each. It returns ``(H, H)``, seen pixels as they are, hidden
            ones drawn without noise.

    Returns:
        True if the hidden pixels have the right distribution.
    """
    return grading.satisfies(
        "clean_sample", attempt, _realisation_fault, cases=[_skies(k) for k in range(3)]
    )


class _Fill:
    """The exact fill of one mask."""

    def __init__(self, hole: DenseHole):
        self.hole = hole

    def __call__(self, maps: Tensor) -> Tensor:
        return self.hole.fill(maps)

    def __repr__(self) -> str:
        return "the fill"


class _Draws:
    """Skies with and without noise, another one at each call; a copy begins where this one is."""

    def __init__(self, sky: FlatSky, seed: int):
        self.sky = sky
        self.seed = seed

    def __call__(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        self.seed += 1
        signal, data = self.sky.draw(1, generator=generator)
        return signal[0], data[0]

    def __repr__(self) -> str:
        return "the skies"

    def first(self, n: int) -> list[tuple[Tensor, Tensor]]:
        """Return what the next n calls of a copy will give."""
        copy = _Draws(self.sky, self.seed)
        return [copy() for _ in range(n)]


def _skies(number: int) -> tuple[Tensor, Tensor, _Fill, _Draws]:
    """Return data whose hidden pixels are 0, a mask, a fill, and a source of skies."""
    cl = 1e-3 * (1 + torch.arange(3000.0, dtype=torch.float64) / 300) ** -3
    sky = FlatSky(16, pixel_arcmin=20.0, cl=cl, noise=0.7)
    mask = torch.ones(16, 16, dtype=torch.bool)
    mask[4 : 8 + number, 5:10] = False
    data = sky.draw(1, generator=torch.Generator().manual_seed(number))[1][0]
    fill = _Fill(DenseHole(sky.precision, mask))
    return torch.where(mask, data, 0), mask, fill, _Draws(sky, 1000 * (number + 1))


def _realisation_fault(
    got: Any, data: Tensor, mask: Tensor, fill: _Fill, draw_sky: _Draws
) -> str | None:
    if not isinstance(got, Tensor | np.ndarray) or tuple(got.shape) != tuple(data.shape):
        return f"gives {brief(got)}; a map of the shape of the data is wanted"
    found = torch.as_tensor(got).detach().double()
    if not bool(torch.isfinite(found).all()):
        return "gives values that are not finite"
    mean = fill(data)
    draws = draw_sky.first(4)
    if any(_equal(found - mean, drawn) for _, drawn in draws):
        return "adds a whole sky to the data. What would leave the seen pixels as they were?"
    if not _equal(found[mask], data[mask]):
        return "changes pixels that are seen"
    hidden = found[~mask]
    for signal, drawn in draws:
        # Signs do not matter: minus a Gaussian sky is as likely as the sky.
        scatter = (signal - fill(drawn))[~mask]
        if _equal(hidden - mean[~mask], scatter) or _equal(mean[~mask] - hidden, scatter):
            return None
        words = _named(hidden, signal, drawn, mean=mean, fill=fill)
        if words:
            return words
    return _two_draws(hidden, draws, mean=mean, fill=fill) or (
        "does not scatter about the mean as one of the skies does about its own"
    )


def _named(
    hidden: Tensor, signal: Tensor, drawn: Tensor, *, mean: Tensor, fill: _Fill
) -> str | None:
    """Return words on a known mistake with one draw, if that is what stands in the hole."""
    away = ~fill.hole.seen
    if _equal(hidden, mean[away]):
        return "gives the mean. Where is the scatter?"
    if _equal(hidden, drawn[away]) or _equal(hidden, signal[away]):
        return "has another sky in the hole, which does not know its edge"
    if _equal(hidden, (mean - fill(drawn))[away]):
        return "has too little power in the hole. What was taken away from the data comes back"
    if _equal(hidden, (mean + drawn)[away]) or _equal(hidden, (mean + signal)[away]):
        return "adds a sky that does not know the edge of the hole. What is its own mean there?"
    if _equal(hidden, (mean + signal - fill(signal))[away]):
        return "takes away a sky without noise. Have the data none?"
    if _equal(hidden, (mean + drawn - fill(drawn))[away]):
        return "has noise in the hole. Which of the two skies has none?"
    return None


def _two_draws(
    hidden: Tensor, draws: list[tuple[Tensor, Tensor]], *, mean: Tensor, fill: _Fill
) -> str | None:
    """Return words if one draw was taken away and another one added."""
    away = ~fill.hole.seen
    for added, _ in draws:
        for _, removed in draws:
            if _equal(hidden, (mean + added - fill(removed))[away]):
                return "takes one sky away and adds another. Must they be the same?"
    return None


def _equal(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() < _CLOSE)


def coverage(attempt: Any) -> bool:
    """Test your `coverage68(truth, samples)`: how often the truth lies in the middle 68 %.

    Arguments:
        attempt: a function of truths ``(P,)`` and samples ``(S, P)`` that returns the fraction of
            truths in the central 68 % of their own samples.

    Returns:
        True if it is right to a few hundredths.
    """
    return grading.function(
        "coverage68",
        attempt,
        _coverage,
        cases=[],
        draw=_draw_samples,
        n_drawn=3,
        # Percentiles and deviations of some hundred samples are not quite the same interval.
        atol=0.025,
        rtol=0.0,
        mistakes=[*_mistakes_of_width(), *_mistakes_of_level()],
    )


def _mistakes_of_width() -> list[Mistake]:
    """Return the mistakes about which interval belongs to a pixel."""
    return [
        Mistake(
            lambda truth, samples: _within(truth, samples.mean(0), _about(samples, truth)),
            "The width grows with the error itself, so it covers whatever comes. About what "
            "do samples scatter?",
        ),
        Mistake(
            lambda truth, samples: _between(truth, samples.flatten(), 0.16),
            "Pixels in the middle of a hole are less certain than those at its edge. Has "
            "each its own interval?",
        ),
        Mistake(
            lambda truth, samples: _within(
                truth, samples.mean(0), samples.std(0) / len(samples) ** 0.5
            ),
            "That is the error of the mean of the samples, which more samples make smaller.",
        ),
    ]


def _mistakes_of_level() -> list[Mistake]:
    """Return the mistakes about how much an interval should hold."""
    return [
        Mistake(
            lambda truth, samples: _between(truth, samples, 0.025),
            "That is the fraction in the central 95 %.",
        ),
        Mistake(
            lambda truth, samples: _within(truth, samples.mean(0), 2 * samples.std(0)),
            "That is the fraction in the central 95 %.",
        ),
        Mistake(
            lambda truth, samples: _between(truth, samples, 0.32),
            "How much lies outside of the interval on each side?",
        ),
        Mistake(
            lambda truth, samples: float((truth < samples.quantile(0.68, 0)).double().mean()),
            "That interval has no lower end.",
        ),
        Mistake(
            lambda truth, samples: 100 * _coverage(truth, samples),
            "A fraction is wanted, not per cent.",
        ),
        Mistake(
            lambda truth, samples: 1 - _coverage(truth, samples),
            "Those are the truths outside.",
        ),
    ]


def _coverage(truth: Tensor, samples: Tensor) -> float:
    return _between(truth, samples, 0.16)


def _between(truth: Tensor, samples: Tensor, tail: float) -> float:
    """Return the fraction of truths between quantiles of the samples along their first axis."""
    low = samples.quantile(tail, 0)
    high = samples.quantile(1 - tail, 0)
    return float(((truth >= low) & (truth <= high)).double().mean())


def _within(truth: Tensor, centre: Tensor, width: Tensor) -> float:
    return float(((truth - centre).abs() <= width).double().mean())


def _about(samples: Tensor, centre: Tensor) -> Tensor:
    """Return the root-mean-square distance of the samples from something, ``(P,)``."""
    return (samples - centre).square().mean(0).sqrt()


def _draw_samples(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return truths ``(400,)`` and 200 samples of each, which may boast or lean."""
    mean = rng.normal(size=400)
    error = rng.uniform(0.1, 2.0, 400)
    truth = mean + error * rng.normal(size=400)
    # Width and shift as of a fill with a wrong sky in mind.
    width = rng.uniform(0.4, 2.0)
    shift = rng.uniform(-0.7, 0.7)
    samples = mean + error * (shift + width * rng.normal(size=(200, 400)))
    return torch.from_numpy(truth), torch.from_numpy(samples)
