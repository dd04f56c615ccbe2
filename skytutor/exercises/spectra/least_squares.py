"""Linear models with known errors: components of a spectrum, fluxes of templates in an image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["fluxes", "project"]


def project(attempt: Any) -> bool:
    """Test your `project(flux, ivar, mean, components)`: coefficients of a spectrum with gaps.

    Arguments:
        attempt: a function of flux and inverse variance ``(P,)``, both 0 where nothing was
            observed, of the mean spectrum ``(P,)`` and of orthonormal components ``(K, P)``. It
            returns the likeliest coefficients ``(K,)``.

    Returns:
        True if they are right.
    """
    return grading.function(
        "project",
        attempt,
        _project,
        cases=[],
        draw=_draw_spectrum,
        rtol=1e-4,
        atol=1e-5,
        mistakes=[*_mistakes_of_gaps(), *_mistakes_of_weights()],
    )


def _project(flux: Tensor, ivar: Tensor, mean: Tensor, components: Tensor) -> Tensor:
    normal = (components * ivar) @ components.T
    return torch.linalg.solve(normal, components @ (ivar * (flux - mean)))


def _draw_spectrum(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a noisy spectrum of two to four smooth components, with a gap at either end."""
    n = int(rng.integers(60, 100))
    k = int(rng.integers(2, 5))
    waves = torch.from_numpy(rng.normal(size=(n, k))).cumsum(0)
    components = torch.linalg.qr(waves - waves.mean(0))[0].T.contiguous()
    mean = 1 + 0.3 * torch.sin(torch.arange(n, dtype=torch.float64) / 9 + float(rng.uniform(0, 6)))
    truth = mean + torch.from_numpy(rng.normal(size=k)) @ components
    # The blue end is noisier than the red one, and both ends are cut off.
    sigma = torch.logspace(-0.3, -1.3, n, dtype=torch.float64)
    first, last = int(rng.integers(5, 15)), n - int(rng.integers(3, 12))
    place = torch.arange(n)
    seen = (place >= first) & (place < last)
    flux = truth + sigma * torch.from_numpy(rng.normal(size=n))
    return torch.where(seen, flux, 0.0), seen / sigma**2, mean, components


def _mistakes_of_gaps() -> list[Mistake]:
    """Return the mistakes about bins that were not observed."""

    def filled_with_mean(f: Tensor, w: Tensor, m: Tensor, v: Tensor) -> Tensor:
        return v @ torch.where(w > 0, f - m, 0.0)

    return [
        Mistake(
            lambda f, w, m, v: v @ (f - m),
            "It takes the 0 of a missing bin for a measurement. Which number says that it is none?",
        ),
        Mistake(
            filled_with_mean,
            "It fills missing bins with the mean spectrum, and pulls the coefficients to 0. Are "
            "the components orthogonal on the bins that are left?",
        ),
        Mistake(
            lambda f, w, m, v: v @ (w * (f - m)),
            "The weights are in, but what they do to the sizes is not undone. Set the derivative "
            "of chi-square to 0, and look what multiplies the coefficients.",
        ),
        Mistake(
            lambda f, w, m, v: (v @ (w * (f - m))) / ((v * v) @ w),
            "That fits each component by itself. Are they orthogonal once bins have weights?",
        ),
    ]


def _mistakes_of_weights() -> list[Mistake]:
    """Return the mistakes about how bins are weighted."""

    def inverse(w: Tensor) -> Tensor:
        return torch.where(w > 0, 1 / w.clamp(min=1e-9), 0.0)

    return [
        Mistake(
            lambda f, w, m, v: _project(f, (w > 0).to(w), m, v),
            "Missing bins are left out. Do the others say equally much?",
        ),
        Mistake(
            lambda f, w, m, v: _project(f, w.sqrt(), m, v),
            "It weights by one over the deviation. With what is a squared error divided?",
        ),
        Mistake(
            lambda f, w, m, v: _project(f, w.square(), m, v),
            "The weight comes in twice. How often does chi-square have it?",
        ),
        Mistake(
            lambda f, w, m, v: _project(f, inverse(w), m, v),
            "It trusts the noisy bins most. Is `ivar` a variance?",
        ),
        Mistake(
            lambda f, w, m, v: _project(f, w, 0 * m, v),
            "The mean spectrum itself should have coefficients 0. Has it?",
        ),
    ]


def fluxes(attempt: Any) -> bool:
    """Test your `component_fluxes(image, templates, noise)`: fluxes and their covariance.

    Arguments:
        attempt: a function of an image ``(H, W)``, of templates ``(K, H, W)`` that each hold a flux
            of 1, and of the standard deviation of the noise in a pixel. It returns the
            least-squares fluxes ``(K,)`` and their covariance ``(K, K)``.

    Returns:
        True if both are right.
    """
    return grading.function(
        "component_fluxes",
        attempt,
        _fluxes,
        cases=[],
        draw=_draw_image,
        mistakes=[*_mistakes_of_fluxes(), *_mistakes_of_covariance()],
    )


def _sums(image: Tensor, templates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the templates' products with the image ``(K,)`` and with each other ``(K, K)``."""
    flat = templates.flatten(1)
    return flat @ image.flatten(), flat @ flat.T


def _fluxes(image: Tensor, templates: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    products, gram = _sums(image, templates)
    inverse = torch.linalg.inv(gram)
    return inverse @ products, noise**2 * inverse


def _draw_image(rng: np.random.Generator) -> tuple[Tensor, Tensor, float]:
    """Return an image of two or three Gaussians that overlap, with noise."""
    size = int(rng.integers(15, 22))
    place = np.arange(size) - (size - 1) / 2
    parts = []
    for k in range(int(rng.integers(2, 4))):
        sigma = 1.2 * (k + 1) * rng.uniform(0.8, 1.2)
        x, y = rng.uniform(-1, 1, 2)
        part = np.exp(-((place[:, None] - y) ** 2 + (place - x) ** 2) / (2 * sigma**2))
        parts.append(part / part.sum())
    templates = torch.from_numpy(np.stack(parts))
    light = torch.from_numpy(rng.uniform(2, 20, len(parts)))
    # Not 1, whose square and root are the same.
    noise = float(rng.uniform(0.01, 0.1))
    sky = torch.from_numpy(rng.normal(size=(size, size)))
    return torch.einsum("k,khw->hw", light, templates) + noise * sky, templates, noise


def _mistakes_of_fluxes() -> list[Mistake]:
    """Return the mistakes about the fluxes; the covariance is right in all."""

    def with_fluxes(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
        def answer(image: Tensor, templates: Tensor, noise: float) -> tuple[Tensor, Tensor]:
            return change(image, templates), _fluxes(image, templates, noise)[1]

        return answer

    def one_by_one(image: Tensor, templates: Tensor) -> Tensor:
        products, gram = _sums(image, templates)
        return products / gram.diagonal()

    def inside(image: Tensor, templates: Tensor) -> Tensor:
        return (image * (templates > 0.5 * templates.amax((1, 2), keepdim=True))).sum((1, 2))

    return [
        Mistake(
            with_fluxes(lambda image, templates: _sums(image, templates)[0]),
            "Those are the products with the image. What does a template give with itself?",
        ),
        Mistake(
            with_fluxes(one_by_one),
            "It fits each template by itself, and counts light where two overlap twice.",
        ),
        Mistake(
            with_fluxes(inside),
            "That is the light of a region. Whose light is in it?",
        ),
    ]


def _alone(image: Tensor, templates: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Fit each template as if there were no other."""
    products, gram = _sums(image, templates)
    return products / gram.diagonal(), torch.diag(noise**2 / gram.diagonal())


def _with_covariance(change: Callable[[Tensor, float], Tensor]) -> Callable[..., Any]:
    """Return a function with the right fluxes and the covariance that `change` makes of G."""

    def answer(image: Tensor, templates: Tensor, noise: float) -> tuple[Tensor, Tensor]:
        gram = _sums(image, templates)[1]
        return _fluxes(image, templates, noise)[0], change(gram, noise)

    return answer


def _mistakes_of_covariance() -> list[Mistake]:
    """Return the mistakes about the covariance, and in both."""
    return [
        Mistake(
            _alone,
            "It fits each template by itself, and counts light where two overlap twice.",
        ),
        Mistake(
            _with_covariance(lambda gram, noise: noise * torch.linalg.inv(gram)),
            "The fluxes are right. Twice the noise in the pixels, how many times the variance?",
        ),
        Mistake(
            _with_covariance(lambda gram, noise: torch.linalg.inv(gram)),
            "The fluxes are right. Does the covariance know how noisy the pixels are?",
        ),
        Mistake(
            _with_covariance(lambda gram, noise: noise**2 * gram),
            "The fluxes are right. Does a sharper template make the error larger?",
        ),
        Mistake(
            _with_covariance(lambda gram, noise: gram / noise**2),
            "The fluxes are right. That is the Fisher matrix, from which a covariance follows.",
        ),
        Mistake(
            _with_covariance(lambda gram, noise: torch.diag(noise**2 / gram.diagonal())),
            "The fluxes are right. Those are their errors if the other fluxes were known.",
        ),
        Mistake(
            _with_covariance(lambda gram, noise: noise**2 * torch.linalg.inv(gram).diagonal()),
            "The fluxes are right. If one of them comes out too large, are the others independent?",
        ),
        Mistake(
            lambda image, templates, noise: _fluxes(image, templates, noise)[::-1],
            "Both are right. In which order are they wanted?",
        ),
    ]
