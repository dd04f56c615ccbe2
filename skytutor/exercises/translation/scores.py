"""Scores of translations: decibels on a stretched scale, and differences of pairs."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["paired", "psnr"]

_RANGE = 1000.0  # softenings


def psnr(attempt: Any) -> bool:
    """Test your `asinh_psnr(answer, truth, softening)`: decibels of stretched images.

    Arguments:
        attempt: a function of two images ``(T, H, H)`` in nanomaggies a pixel and of a softening
            for each band, ``(T,)``. It returns the peak signal-to-noise ratio of their stretched
            values, with asinh(1000) as the peak, over all bands together.

    Returns:
        True if it is right.
    """
    return grading.function(
        "asinh_psnr",
        attempt,
        _psnr,
        cases=[],
        draw=_draw_answer,
        mistakes=[*_mistakes_of_stretch(), *_mistakes_of_decibels()],
    )


def _stretch(flux: Tensor, softening: Tensor) -> Tensor:
    return torch.asinh(flux / softening[:, None, None])


def _squares(answer: Tensor, truth: Tensor, softening: Tensor) -> Tensor:
    """Return squared errors of stretched values, ``(T, H, H)``."""
    return (_stretch(answer, softening) - _stretch(truth, softening)).square()


def _psnr(answer: Tensor, truth: Tensor, softening: Tensor) -> float:
    mean = float(_squares(answer, truth, softening).mean())
    return 10 * math.log10(math.asinh(_RANGE) ** 2 / mean)


def _draw_answer(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return images of sources and an answer that is off, unequally in the bands."""
    bands, size = int(rng.integers(2, 5)), int(rng.integers(4, 9))
    softening = torch.from_numpy(rng.uniform(0.03, 3.0, bands))
    scale = softening[:, None, None]
    truth = scale * torch.from_numpy(rng.lognormal(0.0, 2.5, (bands, size, size)))
    wrong = torch.from_numpy(rng.normal(0.0, 0.3, (bands, size, size)))
    # Each band by a factor of its own.
    wrong = wrong * torch.from_numpy(rng.uniform(0.2, 3.0, bands))[:, None, None]
    noise = scale * torch.from_numpy(rng.normal(0.0, 0.5, (bands, size, size)))
    return truth * wrong.exp() + noise, truth, softening


def _mistakes_of_stretch() -> list[Mistake]:
    """Return the mistakes about what is compared."""

    def plain(answer: Tensor, truth: Tensor, softening: Tensor) -> float:
        return 10 * math.log10(math.asinh(_RANGE) ** 2 / float((answer - truth).square().mean()))

    def of_difference(answer: Tensor, truth: Tensor, softening: Tensor) -> float:
        mean = float(_stretch(answer - truth, softening).square().mean())
        return 10 * math.log10(math.asinh(_RANGE) ** 2 / mean)

    def unsoftened(answer: Tensor, truth: Tensor, softening: Tensor) -> float:
        return _psnr(answer, truth, torch.ones_like(softening))

    def by_band(answer: Tensor, truth: Tensor, softening: Tensor) -> float:
        means = _squares(answer, truth, softening).mean((1, 2))
        return float((10 * (math.asinh(_RANGE) ** 2 / means).log10()).mean())

    def unstretched_peak(answer: Tensor, truth: Tensor, softening: Tensor) -> float:
        return 10 * math.log10(_RANGE**2 / float(_squares(answer, truth, softening).mean()))

    def own_peak(answer: Tensor, truth: Tensor, softening: Tensor) -> float:
        peak = float(_stretch(truth, softening).max())
        return 10 * math.log10(peak**2 / float(_squares(answer, truth, softening).mean()))

    return [
        Mistake(plain, "Fluxes are compared as they come. What do the two images go through?"),
        Mistake(
            of_difference,
            "A stretch of the difference. Is an error at the top of a star as visible as on "
            "empty sky?",
        ),
        Mistake(unsoftened, "In which unit is a flux when it is stretched?"),
        Mistake(by_band, "It averages decibels of bands. What is averaged before the logarithm?"),
        Mistake(
            unstretched_peak,
            "The errors are of stretched values. Of which is the peak?",
        ),
        Mistake(own_peak, "Its peak is another in each image. Which one is given?"),
    ]


def _mistakes_of_decibels() -> list[Mistake]:
    """Return the mistakes about decibels."""

    def ten(ratio: float) -> float:
        return 10 * math.log10(ratio)

    def mean(answer: Tensor, truth: Tensor, softening: Tensor) -> float:
        return float(_squares(answer, truth, softening).mean())

    peak = math.asinh(_RANGE)
    absolute = "Which mean is taken before the logarithm: of errors, or of their squares?"
    return [
        Mistake(
            lambda *case: 2 * _psnr(*case),
            "It is twice the right one. Does the factor belong to a ratio of squares?",
        ),
        Mistake(
            lambda *case: _psnr(*case) / 2,
            "It is smaller by 2. Does the factor belong to a ratio of roots?",
        ),
        Mistake(lambda *case: _psnr(*case) / 10, "Those are bels. How many decibels has one?"),
        Mistake(lambda *case: _psnr(*case) * math.log(10), "Which logarithm do decibels take?"),
        Mistake(lambda *case: -_psnr(*case), "A better answer gets fewer decibels from it."),
        Mistake(
            lambda *case: ten(peak / mean(*case)),
            "The peak is compared with a square. Are they of one unit?",
        ),
        Mistake(lambda *case: ten(1 / mean(*case)), "Where is the peak?"),
        Mistake(lambda *case: ten(peak**2 / float(_squares(*case).sqrt().mean()) ** 2), absolute),
        Mistake(
            lambda *case: ten(peak**2 / float(_squares(*case).sum())),
            "It changes with the number of pixels. Is it a sum or a mean?",
        ),
    ]


def paired(attempt: Any) -> bool:
    """Test your `paired_error(first, second)`: the standard error of a mean difference.

    Arguments:
        attempt: a function of two tensors ``(n,)``, the scores of two methods on the same n scenes
            in the same order. It returns the standard error of the mean of their differences, with
            n - 1 degrees of freedom.

    Returns:
        True if it is right.
    """
    return grading.function(
        "paired_error",
        attempt,
        _paired,
        cases=[
            (
                torch.tensor([30.0, 34.0, 38.0]).double(),
                torch.tensor([31.0, 36.0, 39.0]).double(),
            )
        ],
        draw=_draw_scores,
        mistakes=[*_mistakes_of_scatter(), *_mistakes_of_differences()],
    )


def _paired(first: Tensor, second: Tensor) -> float:
    return float((first - second).std() / math.sqrt(len(first)))


def _draw_scores(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return scores that go up and down together."""
    n = int(rng.integers(4, 40))
    scene = rng.normal(35.0, 4.0, n)
    first, second = (scene + rng.normal(shift, 0.6, n) for shift in rng.normal(0.0, 1.0, 2))
    return torch.from_numpy(first), torch.from_numpy(second)


def _mistakes_of_scatter() -> list[Mistake]:
    """Return the mistakes of those who look at each method by itself."""

    def unpaired(first: Tensor, second: Tensor) -> float:
        return math.sqrt(float(first.var() + second.var()) / len(first))

    together = "Scenes that are hard for one method are hard for the other. Where does that go in?"
    return [
        Mistake(unpaired, together),
        Mistake(lambda a, b: float(a.std() + b.std()) / math.sqrt(len(a)), together),
        Mistake(lambda a, b: float(torch.cat([a, b]).std()) / math.sqrt(2 * len(a)), together),
        Mistake(
            lambda a, b: abs(float(a.std() - b.std())) / math.sqrt(len(a)),
            "Two scatters are subtracted. What scatters from scene to scene?",
        ),
    ]


def _mistakes_of_differences() -> list[Mistake]:
    """Return the mistakes about what becomes of the differences."""
    return [
        Mistake(
            lambda a, b: float((a - b).std()),
            "That is the scatter of one scene. What do many scenes do to their mean?",
        ),
        Mistake(
            lambda a, b: float((a - b).std()) / len(a),
            "With which power of their number does a mean of independent scenes get better?",
        ),
        Mistake(
            lambda a, b: float((a - b).std()) / math.sqrt(2 * len(a)),
            "How many differences are there?",
        ),
        Mistake(
            lambda a, b: float((a - b).var()) / len(a),
            "That is a variance. Which unit should it have?",
        ),
        Mistake(
            lambda a, b: float((a - b).std(correction=0)) / math.sqrt(len(a)),
            "It is a little too small. The mean was found from the same differences.",
        ),
        Mistake(
            lambda a, b: float((a - b).square().mean().sqrt()) / math.sqrt(len(a)),
            "It grows if one method is better by the same in all scenes. Should an error do that?",
        ),
        Mistake(lambda a, b: float((a - b).mean()), "That is the difference. How certain is it?"),
        Mistake(
            lambda a, b: float((a - b).abs().std()) / math.sqrt(len(a)),
            "What becomes of a difference that is negative?",
        ),
    ]
