"""How the networks of chapter 1 are asked: maps with a digit, and the probability of each class.

A map is compared with the digits of training in a few statistics, each of which must lie in the
span of 5,000 maps of MNIST's validation digits, or a tenth of the span beyond: the most and the
least light of a pixel, the mean, how many pixels are lit, how much of the variance lies within
groups of 4 and of 16 neighbours, and where the light is. The spans stand in the cards, for the
digits themselves do not come with the package.

A warning is no verdict on a single map, nor is silence a promise. Of 400 of scikit-learn's digits,
which are bolder than MNIST's, 54 % are warned of where they lie as those of ``digits-fixed`` do.
That network reads 92 % of these and 97 % of the others, but 99.7 % of MNIST's; ``digits-mended``
75, 94 and 99 %. Where digits are turned, size and place say little: 0.5 % are warned of, and
``digits-rotated`` reads 52 % of all, ``digits-invariant`` 82 %.

Shapes: N maps ``(N, 1, P)``, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.digits.scores import predict
from skytutor.chapters.question import Answer, Question
from skytutor.chapters.question_checks import as_rows, check_pixels
from skytutor.data import digits
from skytutor.data.projection import SphereProjection
from skytutor.healpix import npix_to_nside, nside_to_npix, pixel_to_vector, reorder
from skytutor.validate import one_of

__all__ = [
    "FEATURES",
    "SPANS",
    "DigitInputs",
    "DigitOutputs",
    "digit_question",
    "map_features",
    "measure_spans",
]

FEATURES = ("largest", "smallest", "mean", "lit", "within 4", "within 16", "x", "y", "z")
_LIT = 0.2
_BEYOND = 0.1  # of a span
_LEAST = 0.02  # that a statistic may lie beyond its span
_ROUNDING = 1e-3  # that light may lie beyond 0 and 1
_SEED = 1_900_000  # of the rotations of the digits that the spans are those of
NAMES = tuple(str(number) for number in range(digits.CLASSES))
# Of each projection, what `measure_spans` returns.
SPANS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "holes": (
        (0.839, 0.0, 0.014, 0.021, 0.127, 0.23, 0.536, -0.22, -0.203),
        (1.0, 0.0, 0.207, 0.232, 0.599, 0.781, 0.876, 0.083, 0.184),
    ),
    "upright": (
        (0.764, 0.0, 0.02, 0.036, 0.058, 0.183, 0.578, -0.107, -0.112),
        (1.0, 0.0, 0.209, 0.249, 0.402, 0.747, 0.876, 0.014, 0.022),
    ),
    "turned": (
        (0.932, 0.0, 0.037, 0.063, 0.013, 0.055, -0.708, -0.72, -0.702),
        (1.0, 0.0, 0.389, 0.452, 0.116, 0.346, 0.712, 0.736, 0.698),
    ),
}


@dataclass(frozen=True)
class DigitInputs:
    """What the maps were that a network was trained on.

    Attributes:
        nside: resolution of the maps.
        order: in which the network takes its pixels; `predict` converts.
        fields: of a map.
        unit: of the values; "1" where they have none.
        range: of the values.
        digits: how they lie on the sphere.
        statistics: names of what is compared.
        lowest: of each statistic.
        highest: of each statistic.
    """

    nside: int
    order: str
    fields: tuple[str, ...]
    unit: str
    range: tuple[float, float]
    digits: str
    statistics: tuple[str, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]


@dataclass(frozen=True)
class DigitOutputs:
    """What the numbers of an answer are.

    Attributes:
        names: of the classes.
        units: of each.
        scale: what the numbers are.
        errors: what the errors are.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    scale: str
    errors: str


def map_features(maps: Tensor) -> Tensor:
    """Return the statistics that maps are compared in, ``(N, 9)``, as `FEATURES` names them.

    Arguments:
        maps: ``(N, 1, P)``, NESTED.

    Example:
        >>> maps = torch.zeros(1, 1, 192)
        >>> maps[..., :48] = 1.0
        >>> map_features(maps)[0, :6].tolist()
        [1.0, 0.0, 0.25, 0.25, 0.0, 0.0]
    """
    light = maps[:, 0].double()
    nside = npix_to_nside(light.shape[1])
    variance = light.var(1, correction=0).clamp(min=1e-12)
    parts = [light.amax(1), light.amin(1), light.mean(1), (light > _LIT).double().mean(1)]
    for group in (4, 16):
        # In NESTED order the pixels of a coarser one follow each other.
        within = light.unflatten(1, (-1, group)).var(2, correction=0).mean(1)
        parts.append(within / variance)
    places = pixel_to_vector(torch.arange(light.shape[1]), nside=nside, order="nested")
    centre = light @ places / light.sum(1, keepdim=True).clamp(min=1e-12)
    return torch.cat([torch.stack(parts, 1), centre], 1)


def _strange(spans: Tensor, maps: Tensor) -> Tensor:
    """Return which maps have a statistic far beyond its span, bool ``(N,)``."""
    lowest, highest = spans
    features = map_features(maps)
    reach = (_BEYOND * (highest - lowest)).clamp(min=_LEAST)
    return ~((features >= lowest - reach) & (features <= highest + reach)).all(1)


def _prepare(inputs: DigitInputs, maps: Any, *, order: str) -> tuple[Tensor]:
    """Return maps ``(N, 1, P)``, NESTED."""
    one_of("order", order, allowed=("ring", "nested"))
    n_pixels = nside_to_npix(inputs.nside)
    batch = as_rows(maps, (n_pixels,), words=f"light at nside {inputs.nside}")
    check_pixels(batch, torch.ones(n_pixels, dtype=torch.bool))
    low, high = float(batch.min()), float(batch.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ValueError(
            f"maps must lie in 0..1, black to white, got {low:.3g}..{high:.3g}; divide bytes by 255"
        )
    nested = batch if order == "nested" else reorder(batch, source="ring", target="nested")
    return (nested[:, None].float(),)


def _sample(
    projection: SphereProjection, n: int, *, seed: int, part: str = "validation"
) -> tuple[Tensor, Tensor]:
    """Draw labels ``(n,)`` and maps ``(n, 1, P)`` of digits of MNIST, which has to be here."""
    images, labels = digits.load("mnist").part(part)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(images), generator=generator)[:n]
    rotations = projection.draw_rotations(len(rows), generator=generator)
    return labels[rows], projection.project(images[rows], rotations)


def measure_spans(projection: SphereProjection) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the lowest and the highest of each statistic among MNIST's validation digits.

    The spans of this module are what this returns.

    Arguments:
        projection: how they lie on the sphere.

    Raises:
        skytutor.data.registry.DataError: MNIST is not here.
    """
    _, maps = _sample(projection, 5000, seed=_SEED)
    features = map_features(maps)
    lowest = tuple(round(value, 3) for value in features.amin(0).tolist())
    highest = tuple(round(value, 3) for value in features.amax(0).tolist())
    return lowest, highest


@torch.no_grad()
def _answer(softmax: bool, model: nn.Module, maps: Tensor) -> Answer:
    """Return the probability of each class, ``(N, 10)``."""
    scores = predict(model, maps).double()
    # The published network ends in a softmax of its own.
    values = scores if softmax else scores.softmax(1)
    return Answer(NAMES, values, None, ("1",) * len(NAMES))


def digit_question(
    projection: SphereProjection, *, spans: str, words: str, softmax: bool = False
) -> Question:
    """Return how a network is asked that reads digits on the sphere.

    Arguments:
        projection: how digits lie on the sphere where the network reads them.
        spans: of the statistics, a key of `SPANS`.
        words: how they lie, for the card.
        softmax: whether the network answers with probabilities, not with logits.
    """
    lowest, highest = SPANS[spans]
    inputs = DigitInputs(
        nside=projection.nside,
        order="nested",
        fields=("light",),
        unit="1",
        range=(0.0, 1.0),
        digits=words,
        statistics=FEATURES,
        lowest=lowest,
        highest=highest,
    )
    outputs = DigitOutputs(
        names=NAMES,
        units=("1",) * len(NAMES),
        scale="probability of each digit; the class is the largest",
        errors="none: a probability says how certain the network is",
    )
    return Question(
        inputs=inputs,
        outputs=outputs,
        needs=("order",),
        takes=(),
        prepare=partial(_prepare, inputs),
        sample=partial(_sample, projection),
        features=map_features,
        answer=partial(_answer, softmax),
        compared="pixel order, range, size, place, and whether it is a digit on black at all",
        strange=partial(_strange, torch.tensor([lowest, highest], dtype=torch.float64)),
    )
