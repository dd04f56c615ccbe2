"""Predictions under the noise of a survey, so that like is compared with like."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["noise_matched"]


def noise_matched(attempt: Any) -> bool:
    """Test your `expose(flux, sky, counts, white)`: a prediction as a CCD would record it.

    Arguments:
        attempt: a function of an image ``(H, H)`` in nanomaggies a pixel, some of whose pixels are
            negative, of the deviation of an empty pixel, of how many photons a nanomaggie gives,
            and of white noise of deviation 1, ``(H, H)``. It returns the image with the noise of
            the sky and of the source's own photons.

    Returns:
        True if it is right.
    """
    return grading.function(
        "expose",
        attempt,
        _expose,
        cases=[],
        draw=_draw_exposure,
        mistakes=[*_mistakes_of_variance(), *_mistakes_of_sum()],
    )


def _expose(flux: Tensor, sky: float, counts: float, white: Tensor) -> Tensor:
    return flux + _variance(flux, sky, counts).sqrt() * white


def _variance(flux: Tensor, sky: float, counts: float) -> Tensor:
    return sky**2 + flux.clamp(min=0) / counts


def _draw_exposure(rng: np.random.Generator) -> tuple[Tensor, float, float, Tensor]:
    """Return a prediction whose empty sky is a little below zero in places."""
    size = int(rng.integers(5, 9))
    sky = float(rng.uniform(0.02, 0.5))
    counts = float(rng.uniform(2.0, 200.0))
    flux = sky * torch.from_numpy(rng.normal(0.0, 2.0, (size, size)))
    bright = torch.from_numpy(rng.uniform(size=(size, size)) < 0.4)
    light = torch.from_numpy(rng.lognormal(1.0, 1.5, (size, size)))
    white = torch.from_numpy(rng.normal(size=(size, size)))
    return torch.where(bright, flux + light, flux), sky, counts, white


def _mistakes_of_variance() -> list[Mistake]:
    """Return the mistakes about how large the variance is."""

    def with_variance(variance: Any) -> Any:
        return lambda flux, sky, counts, white: flux + variance(flux, sky, counts).sqrt() * white

    return [
        Mistake(
            lambda flux, sky, counts, white: flux + sky * white,
            "A bright star is as quiet as empty sky. Where is the noise of its photons?",
        ),
        Mistake(
            with_variance(lambda flux, sky, counts: flux.clamp(min=0) / counts),
            "Empty sky is without noise. Is it so in a survey?",
        ),
        Mistake(
            with_variance(lambda flux, sky, counts: sky + flux.clamp(min=0) / counts),
            "A deviation and a variance are added. Which of the two is `sky`?",
        ),
        Mistake(
            with_variance(lambda flux, sky, counts: sky**2 + flux.clamp(min=0) * counts),
            "More photons make it noisier. In which unit is the variance of counts?",
        ),
        Mistake(
            with_variance(lambda flux, sky, counts: sky**2 + flux.clamp(min=0)),
            "How many photons are in a nanomaggie?",
        ),
        Mistake(
            with_variance(lambda flux, sky, counts: sky**2 + flux.clamp(min=0) / counts**2),
            "How does the variance of a flux go down as photons get more?",
        ),
        Mistake(
            with_variance(lambda flux, sky, counts: sky**2 + flux.abs() / counts),
            "Pixels below zero get noisier the darker they are. How many photons do they give?",
        ),
    ]


def _mistakes_of_sum() -> list[Mistake]:
    """Return the mistakes about what is added to what."""

    def added(flux: Tensor, sky: float, counts: float, white: Tensor) -> Tensor:
        return flux + (sky + (flux.clamp(min=0) / counts).sqrt()) * white

    def unrooted(flux: Tensor, sky: float, counts: float, white: Tensor) -> Tensor:
        return flux + _variance(flux, sky, counts) * white

    def cut(flux: Tensor, sky: float, counts: float, white: Tensor) -> Tensor:
        return _expose(flux.clamp(min=0), sky, counts, white)

    return [
        Mistake(added, "Deviations are added. What adds up where noises are independent?"),
        Mistake(unrooted, "Noise of deviation 1 is multiplied with a variance."),
        Mistake(cut, "Pixels below zero come out brighter. Which of the two numbers may be cut?"),
        Mistake(
            lambda flux, sky, counts, white: _expose(flux, sky, counts, white) - flux,
            "That is the noise alone.",
        ),
    ]
