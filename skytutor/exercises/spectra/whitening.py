"""The inverse square root of a covariance by Newton-Schulz steps."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.check.compare import brief
from skytutor.exercises import grading

__all__ = ["inverse_root"]

_CLOSE = 1e-5  # relative to the largest entry


def inverse_root(attempt: Any) -> bool:
    """Test your `inverse_root(covariance, steps)`: so many Newton-Schulz steps to ``C^(-1/2)``.

    Arguments:
        attempt: a function of a covariance ``(n, n)`` and of a number of steps, each of which
            halves 3 minus a product. It returns ``(n, n)``.

    Returns:
        True if it is what the steps give, whatever norm was divided out before them.
    """
    steps = (1, 2, 3, 5, 5, 8, 12)
    rng = np.random.default_rng(2)
    cases = [(_draw_covariance(rng), count) for count in steps]
    return grading.satisfies("inverse_root", attempt, _fault, cases=cases)


def _draw_covariance(rng: np.random.Generator) -> Tensor:
    """Return a covariance whose eigenvalues lie between 0.5 and 60."""
    n = int(rng.integers(2, 6))
    axes = np.linalg.qr(rng.normal(size=(n, n)))[0]
    values = rng.uniform(0.5, 5.0, n)
    values[0] = rng.uniform(20, 60)
    return torch.from_numpy((axes * values) @ axes.T)


def _norms(covariance: Tensor) -> list[float]:
    """Return norms none of whose choices lets an eigenvalue be above 1."""
    trace = float(covariance.trace())
    largest = float(torch.linalg.eigvalsh(covariance)[-1])
    rows = float(covariance.abs().sum(1).max())
    return [trace, float(covariance.square().sum().sqrt()), largest, rows]


def _steps(covariance: Tensor, steps: int, norm: float) -> tuple[Tensor, Tensor]:
    """Return what so many steps give for the root and the inverse root of a matrix over a norm."""
    identity = torch.eye(len(covariance), dtype=covariance.dtype)
    root = covariance / norm
    inverse = identity
    for _ in range(steps):
        factor = 1.5 * identity - 0.5 * inverse @ root
        root = root @ factor
        inverse = factor @ inverse
    return root, inverse


def _exact(covariance: Tensor, power: float) -> Tensor:
    values, axes = torch.linalg.eigh(covariance)
    return (axes * values**power) @ axes.T


def _fault(got: Any, covariance: Tensor, steps: int) -> str | None:
    if not isinstance(got, Tensor | np.ndarray) or tuple(got.shape) != tuple(covariance.shape):
        return f"gives {brief(got)}; a matrix of the shape of the covariance is wanted"
    found = torch.as_tensor(got).detach().double()
    norms = _norms(covariance)
    if any(_equal(found, _steps(covariance, steps, n)[1] / n**0.5) for n in norms):
        return None
    return _named(found, covariance, steps) or "is not what so many steps lead to"


def _named(found: Tensor, covariance: Tensor, steps: int) -> str | None:
    """Return words on a known mistake, if that is what was found."""
    if _equal(found, _steps(covariance, steps, 1.0)[1]):
        return (
            "runs away. The steps lead to the root only if no eigenvalue is much above 1. What "
            "number made of the matrix is never below its largest eigenvalue?"
        )
    if not bool(torch.isfinite(found).all()):
        return "gives values that are not finite. How large are the eigenvalues at the start?"
    for norm in _norms(covariance):
        words = _named_of_norm(found, covariance, steps, norm=norm)
        if words:
            return words
    if _equal(found, _exact(covariance, -0.5)):
        return "is the exact root, which a few steps do not reach. How many did you take?"
    if _equal(found, _exact(covariance, -1.0)):
        return "is the inverse. Multiply it with itself: is that the inverse again?"
    return None


def _named_of_norm(found: Tensor, covariance: Tensor, steps: int, *, norm: float) -> str | None:
    """Return words on a mistake that is made after the right steps."""
    root, inverse = _steps(covariance, steps, norm)
    if _equal(found, inverse):
        return "is the inverse root of a smaller matrix. What was divided out before?"
    if _equal(found, inverse / norm) or _equal(found, inverse * norm**0.5):
        return "has the wrong size. With which power does a root take a factor?"
    if _equal(found, root * norm**0.5) or _equal(found, root):
        return "goes to the root, and not to its inverse. Which of the two is handed back?"
    for count in (steps - 1, steps + 1):
        if _equal(found, _steps(covariance, count, norm)[1] / norm**0.5):
            return "is a step off. Where does the count begin?"
    return None


def _equal(one: Tensor, other: Tensor) -> bool:
    if not bool(torch.isfinite(other).all()):
        # Numbers that ran away are alike however they did.
        return not bool(torch.isfinite(one).all())
    return bool((one - other).abs().max() <= _CLOSE * other.abs().max())
