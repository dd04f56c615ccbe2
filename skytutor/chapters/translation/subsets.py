"""Which bands are given: the published choices, and any others."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from skytutor.data.surveys import BANDS, band_names

__all__ = ["PUBLISHED", "TARGETS", "check_request", "draw_given", "given_bands"]

_PLATES = ("blue", "red")
_ULTRAVIOLET = ("FUV", "NUV")
_INFRARED = ("J", "H", "K")
# What the published project gave its three networks, and all of it at once.
PUBLISHED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "plates": _PLATES,
        "plates + infrared": (*_PLATES, *_INFRARED),
        "plates + ultraviolet": (*_PLATES, *_ULTRAVIOLET),
        "all": (*_PLATES, *_INFRARED, *_ULTRAVIOLET),
    }
)
TARGETS = ("g", "r", "i")  # what it asked for
_MOST = 8  # bands given at once


def given_bands(inputs: Sequence[str], *, bands: Sequence[str] = tuple(BANDS)) -> Tensor:
    """Return which bands are given, bool ``(F,)``.

    Arguments:
        inputs: names of the bands that are given.
        bands: names of all F bands, in order.

    Raises:
        TypeError: one name instead of several.
        ValueError: no band, an unknown or a repeated one.

    Example:
        >>> given_bands(["K"], bands=["g", "r", "K"])
        tensor([False, False,  True])
    """
    chosen = band_names(inputs)
    missing = [name for name in chosen if name not in bands]
    if missing:
        raise ValueError(
            f"inputs must be among the bands {', '.join(bands)}, got {', '.join(missing)}"
        )
    return torch.tensor([name in chosen for name in bands])


def check_request(inputs: Sequence[str], targets: Sequence[str]) -> None:
    """Refuse a translation of a band into itself.

    Arguments:
        inputs: names of the bands that are given.
        targets: names of the bands that are asked for.

    Raises:
        TypeError: one name instead of several.
        ValueError: no band, an unknown or a repeated one, or one both given and asked for.
    """
    both = sorted(set(band_names(inputs)) & set(band_names(targets)))
    if both:
        raise ValueError(f"targets must not be among the inputs, got {', '.join(both)} in both")


def draw_given(uniform: Tensor, *, bands: Sequence[str] = tuple(BANDS)) -> Tensor:
    """Return which bands are given in a training, bool ``(B, F)``: half of them published choices.

    Arguments:
        uniform: ``(B, F + 2)``, numbers between 0 and 1.
        bands: names of all F bands, in order.
    """
    choices = torch.stack([given_bands(names, bands=bands) for names in PUBLISHED.values()])
    which = (uniform[:, 1] * len(choices)).long().clamp(max=len(choices) - 1)
    # As many as a number from 1 to the most says, those with the smallest numbers first.
    most = min(_MOST, len(bands) - 1)
    count = 1 + (uniform[:, 1] * most).long().clamp(max=most - 1)
    rank = uniform[:, 2:].argsort(1).argsort(1)
    free = rank < count[:, None]
    return torch.where((uniform[:, 0] < 0.5)[:, None], choices[which], free)
