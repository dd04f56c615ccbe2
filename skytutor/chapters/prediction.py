"""A trained network asked about data of one's own: checked, converted, answered, with errors.

What can be checked is refused or converted. What a network cannot see for itself, another noise,
another unit or another order of the pixels, shows in statistics of the data, such as their powers
by scale: all data are compared with some as in training, behind the same mask and in the same
bands. The distance to the fifth nearest of them must not exceed that of all training data but two
in a thousand; so two of a thousand that are like those in training are warned of too. Where fewer
are compared with, a tenth more than the largest distance among them is allowed.

Shapes: N maps or images, K things that are answered, F features.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skytutor.arrays import split_masked
from skytutor.chapters.pretrained import load_pretrained
from skytutor.chapters.question import Question
from skytutor.chapters.question_checks import InputRangeWarning
from skytutor.chapters.registry import ENTRIES, get
from skytutor.memo import cached_table

__all__ = ["FALSE_ALARMS", "InputRangeWarning", "Prediction", "outside", "predict"]

FALSE_ALARMS = 0.002  # of data as in training
_SEED = 2_900_000  # of what is compared with: one of training, far from those of the weights
_NEIGHBOUR = 5
# What answers for the networks that are not asked here.
_INSTEAD = {
    "gan": "load_pretrained(...).generator, which makes maps of random numbers and has nothing to "
    "say of a map that it is given",
    "spectra": "spectra, which takes images, or load_pretrained",
    "translation": "bands, which takes images, or load_pretrained",
}


@dataclass(frozen=True)
class Prediction:
    """What a network says of N maps or images.

    Attributes:
        names: of the K things that are answered: parameters, classes, fields or bands.
        values: ``(N, K)`` float64, or ``(N, K, ...)`` where each is a map or an image.
        errors: of the shape of `values`, one standard deviation as the card says it; None where
            the network gives none.
        units: of each of the K.
        outside: bool ``(N,)``, True where the data are not like those in training.
    """

    names: tuple[str, ...]
    values: Tensor
    errors: Tensor | None
    units: tuple[str, ...]
    outside: Tensor


def predict(
    name: str,
    maps: Tensor,
    *,
    order: str | None = None,
    unit: str | None = None,
    noise: float | None = None,
    mask: Tensor | None = None,
    bands: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    folder: Path | None = None,
) -> Prediction:
    """Return what a pretrained network finds in maps of your own, with errors.

    The card of the network says what it takes, ``inputs``, and what it gives, ``outputs``:

    - Chapter 1, ``digits-...``: the probability of each digit in maps ``(N, P)`` of light.
    - Chapter 3, ``cmb-...``: parameters of maps T ``(N, P)``, or Q and U ``(N, 2, P)``.
    - Chapter 4, ``spectra``, ``spectra-flow``, ``spectra-separation``: what images of galaxies
      ``(N, 5, 64, 64)`` say of a spectrum, or the light of bulge, disc and clumps.
    - Chapter 5, ``bands``, ``bands-flux``, ``bands-sources``, ``bands-pix2pix``, ``bands-flow``:
      images ``(N, I, 64, 64)`` in I bands, as they would be in the bands ``targets``.
    - Chapter 6, ``inpaint...``: maps ``(N, 64, 64)`` or ``(N, P)`` whose hidden pixels are filled.

    Arguments:
        name: of the recipe.
        maps: as the card says, N of them or a single one. A numpy array does too. What the mask
            hides, or the network does not look at, does not count.
        order: of the pixels of the sphere, "ring" or "nested".
        unit: "K", "mK" or "muK" (also "uK", "µK") where the card says muK; "maggies", "nJy",
            "muJy", "mJy" or "Jy" too where it says nanomaggies; else what it says.
        noise: standard deviation of the white noise in a pixel, in `unit`, if you have it.
        mask: one for all maps, of their order, above 0 where they were observed. Chapter 6 fills
            what it hides. Chapter 5 takes NaN in images too, and a mask for each of them. A masked
            array's own mask hides pixels too, and may stand alone.
        bands: names of the bands of images, in the order of the images.
        targets: names of the bands that chapter 5 is asked for; None for g, r and i.
        folder: where the checkpoint lies; None for the one that comes with the package.

    Returns:
        values, errors, and which maps are outside of what the network has seen.

    Raises:
        ValueError: a recipe that is not asked in this way; another shape, order, unit or
            bands; pixels that are NaN, infinite, UNSEEN or masked where the network looks.
        TypeError: maps that are no real numbers; an option that is missing, or one that the
            network has no use for.

    Warns:
        InputRangeWarning: a noise or a power that is not that of the training.

    Example:
        >>> question = get("cmb-t3").question
        >>> true, maps = question.sample(1, seed=5)
        >>> found = predict("cmb-t3", maps / 1e6, order="ring", unit="K")
        >>> found.names, bool(((found.values - true).abs() < 4 * found.errors).all())
        (('tau',), True)
    """
    question = _question(name)
    if "mask" in (*question.needs, *question.takes):
        maps, mask = split_masked("maps", maps, mask, axes=question.mask_axes)
    said = {
        "order": order,
        "unit": unit,
        "noise": noise,
        "mask": mask,
        "bands": bands,
        "targets": targets,
    }
    options = {option: value for option, value in said.items() if value is not None}
    _check_options(name, options, question)
    given = question.prepare(maps, **options)
    strange = outside(name, *given)
    if bool(strange.any()):
        warnings.warn(
            f"maps: {int(strange.sum())} of {len(strange)} are unlike any that {name} was trained "
            f"on: look at their {question.compared}; its errors do not hold for them",
            InputRangeWarning,
            stacklevel=2,
        )
    answer = question.answer(load_pretrained(name, folder), *given)
    return Prediction(*answer, outside=strange)


def _question(name: str) -> Question:
    question = get(name).question
    if question is None:
        raise ValueError(
            f"name must be a recipe that is asked about data of one's own, got {name!r}; "
            f"for it use {_INSTEAD[ENTRIES[name].folder]}"
        )
    return question


def _check_options(name: str, options: dict[str, Any], question: Question) -> None:
    """Refuse options that are missing, or that mean nothing to the network."""
    missing = [option for option in question.needs if option not in options]
    if missing:
        raise TypeError(f"predict must be given {_listed(missing)} for {name}, got none")
    allowed = (*question.needs, *question.takes)
    useless = [option for option in options if option not in allowed]
    if useless:
        raise TypeError(
            f"predict must be given only {_listed(allowed)} for {name}, got {_listed(useless)}"
        )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def outside(name: str, data: Tensor, *common: Any) -> Tensor:
    """Return which data are not like those that a network was trained on, bool ``(N,)``.

    Arguments:
        name: of a recipe that `predict` asks.
        data: as the question of the recipe prepares them, ``(N, ...)``: for chapter 3 RING, in its
            unit, 0 where not seen.
        *common: what else it prepares, which all N have in common.

    Raises:
        ValueError: a recipe that `predict` does not ask.

    Example:
        >>> _, maps = get("cmb-t1-noise5").question.sample(2, seed=5)
        >>> outside("cmb-t1-noise5", maps), outside("cmb-t1-noise5", 1000 * maps)
        (tensor([False, False]), tensor([True, True]))
    """
    question = _question(name)
    if question.strange is not None:
        return question.strange(data, *common)
    like, limit = _reference(name, *common)
    features = question.features(data.double(), *common)
    nearest = torch.cdist(features, like).kthvalue(_NEIGHBOUR, dim=1).values
    # What is not a number is like nothing.
    return ~(nearest <= limit)


@cached_table(maxsize=16)
def _reference(name: str, *common: Any) -> tuple[Tensor, Tensor]:
    """Return features ``(S, F)`` of data as in training, and the largest distance allowed."""
    question = _question(name)
    data = question.sample(question.skies, seed=_SEED)[1]
    like = question.features(data.double(), *common)
    # Each is its own nearest: it is left out.
    nearest = torch.cdist(like, like).kthvalue(_NEIGHBOUR + 1, dim=1).values
    # A new one of the same kind exceeds the k-th largest of n with probability k / (n + 1).
    allowed = max(round(FALSE_ALARMS * question.skies), 1)
    limit = question.margin * nearest.topk(allowed).values[-1]
    # Features are in units of their scatter: what is that near is never far.
    return like, limit.clamp(min=1.0)
