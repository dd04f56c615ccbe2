"""Maps with holes: their mean, their dipole, and one pixel filled from its neighbours."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake
from skytutor.healpix import UNSEEN, pixel_to_vector

__all__ = ["dipole", "fill_one", "seen_mean"]

# No map of the sky holds numbers as large as this, and UNSEEN is larger in any unit.
_LARGE = 1e15


def _seen_mean(values: Tensor) -> float:
    return float(values[values.abs() < _LARGE].mean())


def seen_mean(attempt: Callable[[Tensor], float]) -> bool:
    """Test your `seen_mean(values)`: the mean of the pixels that were seen.

    Arguments:
        attempt: takes ``(P,)`` values, float64, where pixels that were not seen hold UNSEEN, or
            UNSEEN times a factor; returns the mean of the others.

    Returns:
        True if it is right.
    """

    def draw(rng: np.random.Generator) -> tuple[Tensor]:
        values = torch.from_numpy(rng.normal(50, 30, size=24))
        hidden = torch.from_numpy(rng.permutation(24)[:5])
        values[hidden] = UNSEEN * float(rng.choice([-1.0, 1e-3, 1e6]))
        return (values,)

    given = torch.tensor([3.0, 5.0, UNSEEN, 4.0], dtype=torch.float64)
    flipped = torch.tensor([-6.0, -UNSEEN, 5.0, 2.0], dtype=torch.float64)
    return grading.function(
        "seen_mean",
        attempt,
        _seen_mean,
        cases=[(given,), (given * 1e6,), (flipped,)],
        draw=draw,
        mistakes=[
            Mistake(
                lambda values: values[values != UNSEEN].mean(),
                "What happens to UNSEEN when somebody turns kelvin into microkelvin?",
            ),
            Mistake(
                lambda values: values[values > -1e15].mean(),
                "What happens to UNSEEN when somebody changes the sign of a map?",
            ),
            Mistake(
                lambda values: values[(values > 0) & (values < _LARGE)].mean(),
                "A pixel may be colder than the mean. Which pixels did you lose?",
            ),
        ],
    )


def _dipole(values: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
    columns = torch.cat([torch.ones(len(vectors), 1).double(), vectors], 1)[mask]
    return torch.linalg.lstsq(columns, values[mask][:, None]).solution[1:, 0]


def _summed(values: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
    # Right on a whole sky alone, where the mean of n_i n_j is a third of the unit matrix.
    return 3 * (values[mask][:, None] * vectors[mask]).mean(0)


def _without_constant(values: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
    return torch.linalg.lstsq(vectors[mask], values[mask][:, None]).solution[:, 0]


def _behind_the_mask(values: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
    return _dipole(values, vectors, torch.ones_like(mask))


def dipole(attempt: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Test your `dipole(values, vectors, mask)`: the dipole of what is seen.

    Arguments:
        attempt: takes ``(P,)`` values, ``(P, 3)`` directions and a bool mask ``(P,)``, all float64
            but the mask; returns the three components of the dipole that fits the seen pixels
            best beside a monopole.

    Returns:
        True if it is right.
    """
    vectors = pixel_to_vector(torch.arange(192), nside=4, order="ring").double()

    def draw(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        arrow = torch.from_numpy(rng.normal(size=3))
        values = vectors @ arrow + rng.normal() + torch.from_numpy(rng.normal(0, 0.1, size=192))
        mask = vectors[:, 2].abs() > float(rng.uniform(0.1, 0.4))
        # The Galaxy: bright, on one side, and behind the mask.
        values = values + torch.where(mask, 0, 20 * (1 + vectors[:, 0]))
        return values, vectors, mask

    first = draw(np.random.default_rng(5))
    north = vectors[:, 2] > 0.2
    return grading.function(
        "dipole",
        attempt,
        _dipole,
        cases=[first, (vectors @ torch.tensor([1.0, 2.0, 3.0]).double() + 5, vectors, north)],
        draw=draw,
        mistakes=[
            Mistake(
                _summed,
                "That is right where the whole sky is seen. What does a constant map give, if "
                "the south is hidden?",
            ),
            Mistake(_without_constant, "What becomes of the mean of the map?"),
            Mistake(_behind_the_mask, "It depends on what stands behind the mask"),
        ],
        rtol=1e-4,
    )


def _fill_one(values: Tensor, r: float, s: float, noise: float) -> tuple[float, float]:
    covariance = torch.full((4, 4), s, dtype=torch.float64)
    covariance.fill_diagonal_(1.0)
    total = covariance + noise**2 * torch.eye(4, dtype=torch.float64)
    weights = torch.linalg.solve(total, torch.full((4,), r, dtype=torch.float64))
    # What the neighbours explain of the variance 1 is no longer open.
    variance = 1 - r * weights.sum()
    return float(weights @ values), float(variance.sqrt())


def _plain_mean(values: Tensor, r: float, s: float, noise: float) -> tuple[float, float]:
    return float(values.mean()), noise / 2


def _noiseless(values: Tensor, r: float, s: float, noise: float) -> tuple[float, float]:
    return _fill_one(values, r, s, 0.0)


def fill_one(attempt: Callable[[Tensor, float, float, float], tuple[float, float]]) -> bool:
    """Test your `fill_one(values, r, s, noise)`: a hidden pixel from its four neighbours.

    Arguments:
        attempt: takes the ``(4,)`` values of the neighbours, float64, the covariance r of a
            neighbour with the hidden pixel, s of two neighbours, and the standard deviation of
            the noise; the sky has mean 0 and variance 1. Returns mean and standard deviation of
            the hidden pixel, two numbers.

    Returns:
        True if it is right.
    """

    def draw(rng: np.random.Generator) -> tuple[Tensor, float, float, float]:
        values = torch.from_numpy(rng.normal(size=4))
        s = float(rng.uniform(0.3, 0.7))
        r = float(rng.uniform(0.2, 0.9)) * ((1 + 3 * s) / 4) ** 0.5
        return values, r, s, float(rng.uniform(0.2, 1.5))

    ones = torch.ones(4, dtype=torch.float64)
    return grading.function(
        "fill_one",
        attempt,
        _fill_one,
        cases=[(ones, 0.5, 0.4, 0.7), (2 * ones, 0.6, 0.3, 0.0), (ones, 0.0, 0.5, 1.0)],
        draw=draw,
        mistakes=[
            Mistake(
                _plain_mean,
                "Where nothing is alike (r of 0), what do the neighbours say about the pixel?",
            ),
            Mistake(_noiseless, "What does noise add to the covariance of the neighbours?"),
        ],
    )
