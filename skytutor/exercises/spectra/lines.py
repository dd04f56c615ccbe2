"""Lines of a spectrum: the redshift that they tell, and how strong they are."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.data.spectral_templates import LINES
from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["redshift", "width"]

_HIGHEST = 0.5  # redshift
_SCATTER = 6e-5  # of ln wavelength: a third of an angstrom in the green
_NOT_ZERO = "A spectrum without a line should give 0. Does it?"
_APART = 1e-3  # root-mean-square of ln wavelength by which every other redshift must miss the lines


def redshift(attempt: Any) -> bool:
    """Test your `redshift_of(observed, rest)`: the redshift that explains observed lines.

    Arguments:
        attempt: a function of wavelengths ``(n,)`` of observed lines, in no order, and of those of
            all known lines at rest ``(L,)``, n of which were seen; angstrom, vacuum. It returns a
            redshift between 0 and 0.5.

    Returns:
        True if it is right to 0.0005.
    """
    rest = torch.tensor(list(LINES.values()), dtype=torch.float64)
    return grading.function(
        "redshift_of",
        attempt,
        _redshift,
        cases=[(rest.flip(0) * 1.05, rest)],
        draw=_draw_lines,
        n_drawn=8,
        rtol=0.0,
        atol=5e-4,
        mistakes=[*_mistakes_of_pairs(), *_mistakes_of_redshift()],
    )


def _misses(observed: Tensor, rest: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rms of ln wavelength by which redshifts miss the lines, and the nearest lines.

    Arguments:
        observed: ``(n,)``.
        rest: ``(L,)``.
        candidates: ``(Z,)``.

    Returns:
        ``(Z,)``, and for each redshift the index of each observed line, ``(Z, n)``.
    """
    emitted = observed.log() - candidates.log1p()[:, None]
    distance = (emitted[..., None] - rest.log()).abs()  # (Z, n, L)
    nearest = distance.min(-1)
    return nearest.values.square().mean(-1).sqrt(), nearest.indices


def _candidates(observed: Tensor, rest: Tensor) -> Tensor:
    """Return the redshifts that bring any observed line onto any known one."""
    every = (observed[:, None] / rest).flatten() - 1
    return every[(every >= 0) & (every <= _HIGHEST)]


def _redshift(observed: Tensor, rest: Tensor) -> float:
    candidates = _candidates(observed, rest)
    misses, lines = _misses(observed, rest, candidates)
    paired = rest[lines[misses.argmin()]]
    # Least squares in ln wavelength, where a redshift is a shift.
    return float((observed.log() - paired.log()).mean().expm1())


def _draw_lines(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return four to eight lines that only one redshift explains, and all lines."""
    rest = torch.tensor(list(LINES.values()), dtype=torch.float64)
    while True:
        chosen = rng.permutation(len(rest))[: int(rng.integers(4, 9))]
        z = rng.uniform(0.03, 0.4)
        scatter = torch.from_numpy(_SCATTER * rng.normal(size=len(chosen)))
        observed = rest[chosen] * (1 + z) * scatter.exp()
        candidates = _candidates(observed, rest)
        others = candidates[(candidates - z).abs() > 0.002]
        if _misses(observed, rest, others)[0].min() > _APART:
            return observed, rest


def _mistakes_of_pairs() -> list[Mistake]:
    """Return the mistakes about which line is which."""

    def in_order(observed: Tensor, rest: Tensor) -> float:
        first = rest.sort().values[: len(observed)]
        return float((observed.sort().values / first).mean() - 1)

    def as_they_come(observed: Tensor, rest: Tensor) -> float:
        return float((observed / rest[: len(observed)]).mean() - 1)

    def nearest_at_rest(observed: Tensor, rest: Tensor) -> float:
        lines = (observed[:, None] - rest).abs().argmin(-1)
        return float((observed / rest[lines]).mean() - 1)

    return [
        Mistake(in_order, "It pairs the lines in order, as if none were missing. Are all seen?"),
        Mistake(as_they_come, "It pairs the lines as they come. Do they come in order?"),
        Mistake(
            nearest_at_rest,
            "It takes the line that is nearest before any shift. By how much does a redshift of "
            "0.1 shift a line, and how far apart are two lines?",
        ),
        Mistake(
            lambda observed, rest: float(observed.min() / rest.min() - 1),
            "It trusts that the bluest line is seen. What if it is not?",
        ),
        Mistake(
            lambda observed, rest: float(observed.max() / rest.max() - 1),
            "It trusts that the reddest line is seen. What if it is not?",
        ),
        Mistake(
            lambda observed, rest: float(observed.mean() / rest.mean() - 1),
            "Both means are right, but are they over the same lines?",
        ),
    ]


def _mistakes_of_redshift() -> list[Mistake]:
    """Return the mistakes about what a redshift is."""
    return [
        Mistake(
            lambda observed, rest: 1 + _redshift(observed, rest),
            "That is the factor on wavelengths. What is it for a galaxy that stands still?",
        ),
        Mistake(
            lambda observed, rest: 1 - 1 / (1 + _redshift(observed, rest)),
            "The lines are the right ones. Over which of the two wavelengths is the shift taken?",
        ),
        Mistake(
            lambda observed, rest: float(np.log1p(_redshift(observed, rest))),
            "The lines are the right ones. That is the logarithm of the factor.",
        ),
    ]


def width(attempt: Any) -> bool:
    """Test your `equivalent_width(wavelength, flux, continuum, line, half_width)`.

    Arguments:
        attempt: a function of wavelengths ``(P,)`` in the rest frame, whose spacing grows, of flux
            and continuum ``(P,)``, of a line's wavelength and of how far it reaches to each side.
            It returns the equivalent width, positive for emission; all lengths in angstrom.

    Returns:
        True if it is right to half a per cent.
    """
    return grading.function(
        "equivalent_width",
        attempt,
        _width,
        cases=[],
        draw=_draw_spectrum,
        rtol=5e-3,
        atol=0.01,
        mistakes=[*_mistakes_of_continuum(), *_mistakes_of_integral()],
    )


def _draw_spectrum(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, float, float]:
    """Return a sloping continuum with two lines that do not touch, one of which is asked for."""
    first = float(rng.uniform(3600, 5200))
    wavelength = torch.from_numpy(first * 10 ** (3.9e-4 * np.arange(240)))
    steps = (wavelength / first).log()
    level = rng.uniform(0.3, 3.0)
    continuum = level * torch.exp(float(rng.uniform(-6, 6)) * steps)
    sigma = float(rng.uniform(4.0, 7.0))
    line = float(first * rng.uniform(1.05, 1.09))
    other = float(first * rng.uniform(1.15, 1.2))
    # Absorption in a third of the cases, where it is weaker than the continuum.
    sign = 1.0 if rng.uniform() < 0.66 else -0.1
    relative = torch.ones_like(wavelength)
    for centre in (line, other):
        height = sign * float(rng.uniform(1.0, 6.0))
        relative = relative + height * torch.exp(-(((wavelength - centre) / sigma) ** 2) / 2)
    return wavelength, continuum * relative, continuum, line, 4.2 * sigma


def _width(
    wavelength: Tensor, flux: Tensor, continuum: Tensor, line: float, half_width: float
) -> float:
    return _integral(wavelength, flux / continuum - 1, line, half_width)


def _integral(wavelength: Tensor, values: Tensor, line: float, half_width: float) -> float:
    near = (wavelength - line).abs() <= half_width
    return float(torch.trapezoid(values[near], wavelength[near]))


def _mistakes_of_continuum() -> list[Mistake]:
    """Return the mistakes about what the line is compared with."""

    def area(w: Tensor, f: Tensor, c: Tensor, line: float, half: float) -> float:
        return _integral(w, f - c, line, half)

    def in_bins(w: Tensor, f: Tensor, c: Tensor, line: float, half: float) -> float:
        near = (w - line).abs() <= half
        # Sums of bins and of trapezia differ where the integrand does not vanish at the ends.
        return float((f / c * torch.gradient(w)[0])[near].sum())

    return [
        Mistake(
            area,
            "That is the flux of the line. How wide a piece of the continuum holds as much?",
        ),
        Mistake(lambda w, f, c, line, half: _integral(w, f / c, line, half), _NOT_ZERO),
        Mistake(in_bins, _NOT_ZERO),
        Mistake(
            lambda w, f, c, line, half: area(w, f, c, line, half) / float(c.mean()),
            "The continuum slopes. Which piece of it lies under the line?",
        ),
        Mistake(
            lambda w, f, c, line, half: _integral(w, 1 - c / f, line, half),
            "Which of the two stands below the fraction line?",
        ),
        Mistake(
            lambda w, f, c, line, half: -_width(w, f, c, line, half),
            "Which sign has emission here?",
        ),
    ]


def _mistakes_of_integral() -> list[Mistake]:
    """Return the mistakes about what is summed."""

    def bins(w: Tensor, f: Tensor, c: Tensor, line: float, half: float) -> float:
        near = (w - line).abs() <= half
        return float((f / c - 1)[near].sum())

    return [
        Mistake(bins, "It adds up bins as if each were one angstrom wide. How wide are they?"),
        Mistake(
            lambda w, f, c, line, half: float(torch.trapezoid(f / c - 1, w)),
            "Other lines are in it too. Where does this one end?",
        ),
        Mistake(
            lambda w, f, c, line, half: _width(w, f, c, line, half / 2),
            "The line's wings are cut off. Is `half_width` the whole window or half of it?",
        ),
        Mistake(
            lambda w, f, c, line, half: _width(w, f, c, line, half) / (2 * half),
            "That is a mean over the window. In which unit should it be?",
        ),
    ]
