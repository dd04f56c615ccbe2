"""A trained network asked about maps of one's own: checked, converted, answered, with errors.

What can be checked is refused or converted. What a network cannot see for itself, another noise,
another unit or another order of the pixels, shows in the powers of the maps: each map is compared
with skies as in training. The distance to the fifth nearest of them, in logarithms of powers over
their scatter, must not exceed that of all training skies but two in a thousand; so two of a
thousand maps that are like those in training are warned of too.

Shapes: N maps, K parameters, P = 12 nside**2 pixels, F features.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.chapters.pretrained import load_pretrained
from skytutor.chapters.question import Inputs, Question
from skytutor.chapters.registry import ENTRIES, get
from skytutor.healpix import is_unseen, nside_to_npix, reorder
from skytutor.memo import cached_table
from skytutor.validate import one_of

__all__ = ["FALSE_ALARMS", "InputRangeWarning", "Prediction", "outside", "predict"]

FALSE_ALARMS = 0.002  # of maps as in training
_SKIES = 1000  # as in training, with which a map is compared
_SEED = 2_900_000  # of these skies: one of training, far from those of the weights
_NEIGHBOUR = 5
# Of each unit, how many muK it is.
_MICROKELVIN = {"K": 1e6, "mK": 1e3, "muK": 1.0, "uK": 1.0, "\N{MICRO SIGN}K": 1.0}
# What answers for the networks whose inputs are no maps of parameters.
_INSTEAD = {
    "digits": "skytutor.chapters.digits.scores.predict",
    "gan": "load_pretrained(...).generator, which takes random numbers",
    "spectra": "the functions of skytutor.chapters.spectra.predictions",
    "translation": "the methods of the network of load_pretrained, which check images and bands",
    "inpainting": "the network of load_pretrained, which takes maps and their masks",
}


class InputRangeWarning(UserWarning):
    """Maps are not like those that the network was trained on: its errors do not hold."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of N maps.

    Attributes:
        names: of the K parameters.
        values: ``(N, K)`` float64.
        errors: ``(N, K)`` float64, one standard deviation as the card says it.
        units: of each parameter.
        outside: bool ``(N,)``, True where a map is not like those in training.
    """

    names: tuple[str, ...]
    values: Tensor
    errors: Tensor
    units: tuple[str, ...]
    outside: Tensor


def predict(
    name: str,
    maps: Tensor,
    *,
    order: str,
    unit: str,
    noise: float | None = None,
    mask: Tensor | None = None,
    folder: Path | None = None,
) -> Prediction:
    """Return parameters and errors that a pretrained network of chapter 3 finds in maps.

    Arguments:
        name: of the recipe.
        maps: T ``(P,)`` or ``(N, P)``; Q and U ``(2, P)`` or ``(N, 2, P)``. A numpy array does too.
            What is not seen by the network's mask does not count.
        order: of the pixels, "ring" or "nested".
        unit: "K", "mK" or "muK" (also "uK", "µK") where the card says muK; "1" where it says 1.
        noise: standard deviation of the white noise in a pixel, in `unit`, if you have it.
        mask: ``(P,)``, of the same order, above 0 where the maps were observed.
        folder: where the checkpoint lies; None for the one that comes with the package.

    Returns:
        values, errors, and which maps are outside of what the network has seen.

    Raises:
        ValueError: a recipe without such a network; another nside, other fields, order or unit;
            pixels that are NaN, infinite, UNSEEN or masked where the network looks.
        TypeError: maps that are no real numbers.

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
    inputs = question.inputs
    one_of("order", order, allowed=("ring", "nested"))
    factor = _factor(unit, wanted=inputs.unit)
    ring = _as_ring(_as_batch(maps, inputs), order=order)
    seen = question.mask()
    _check_mask(mask, inputs, order=order, seen=seen)
    _check_pixels(ring, seen)
    if noise is not None:
        _check_noise(float(noise) * factor, inputs)
    # Unseen pixels may hold anything, NaN too: they are replaced, not multiplied by 0.
    ready = torch.where(seen, ring, 0) * factor
    strange = outside(name, ready)
    if bool(strange.any()):
        warnings.warn(
            f"maps: {int(strange.sum())} of {len(strange)} have powers unlike those of any sky "
            f"that {name} was trained on (noise {inputs.noise}, unit {inputs.unit}, pixel order, "
            "sign of U, beam?); its errors do not hold for them",
            InputRangeWarning,
            stacklevel=2,
        )
    values, errors = question.answer(load_pretrained(name, folder), ready)
    outputs = question.outputs
    return Prediction(outputs.names, values, errors, outputs.units, strange)


def _question(name: str) -> Question:
    question = get(name).question
    if question is None:
        raise ValueError(
            f"name must be a recipe of chapter 3, which finds parameters in maps, got {name!r}; "
            f"for it use {_INSTEAD[ENTRIES[name].folder]}"
        )
    return question


def _factor(unit: str, *, wanted: str) -> float:
    """Return what values in `unit` are multiplied by to be in the unit that is wanted."""
    if wanted == "1":
        one_of("unit", unit, allowed=("1",))
        return 1.0
    return _MICROKELVIN[one_of("unit", unit, allowed=tuple(_MICROKELVIN))]


def _as_batch(maps: Tensor, inputs: Inputs) -> Tensor:
    """Return maps as ``(N, P)``, or ``(N, 2, P)`` for two fields, float64 on the CPU."""
    given = as_tensor("maps", maps)
    if given.is_complex() or given.dtype == torch.bool:
        raise TypeError(f"maps must be real numbers, got {given.dtype}")
    n_pixels = nside_to_npix(inputs.nside)
    fields = () if len(inputs.fields) == 1 else (len(inputs.fields),)
    wanted = (*fields, n_pixels)
    batch = given[None] if given.dim() == len(wanted) else given
    if batch.dim() != len(wanted) + 1 or tuple(batch.shape[1:]) != wanted or len(batch) == 0:
        raise ValueError(
            f"maps must be {', '.join(inputs.fields)} at nside {inputs.nside}, (N, "
            f"{', '.join(map(str, wanted))}), got shape {tuple(given.shape)}"
        )
    return batch.detach().cpu().double()


def _as_ring(maps: Tensor, *, order: str) -> Tensor:
    return maps if order == "ring" else reorder(maps, source="nested", target="ring")


def _check_mask(mask: Tensor | None, inputs: Inputs, *, order: str, seen: Tensor) -> None:
    """Refuse a mask that hides what the network looks at."""
    if mask is None:
        return
    given = as_tensor("mask", mask).detach().cpu().double()
    if given.shape != seen.shape:
        raise ValueError(
            f"mask must be {tuple(seen.shape)} for nside {inputs.nside}, "
            f"got shape {tuple(given.shape)}"
        )
    hidden = int((seen & ~(_as_ring(given, order=order) > 0)).sum())
    if hidden:
        raise ValueError(
            f"mask must show all {int(seen.sum())} pixels that the network looks at "
            f"(its mask: {inputs.mask}), got one that hides {hidden} of them"
        )


def _check_pixels(maps: Tensor, seen: Tensor) -> None:
    bad = ~torch.isfinite(maps) | is_unseen(maps)
    count = int((bad & seen).sum())
    if count:
        raise ValueError(
            "maps must be finite and observed where the network looks, "
            f"got {count} NaN, infinite or UNSEEN pixels"
        )


def _check_noise(noise: float, inputs: Inputs) -> None:
    """Warn of a noise that is 5 % from every one of the training."""
    if not any(abs(noise - one) <= 0.05 * one for one in inputs.noise):
        warnings.warn(
            f"noise is {noise:.3g} in a pixel where the network was trained with "
            f"{', '.join(f'{one:.3g}' for one in inputs.noise)}; its errors do not hold",
            InputRangeWarning,
            stacklevel=3,
        )


def outside(name: str, maps: Tensor) -> Tensor:
    """Return which maps are not like those that a network was trained on, bool ``(N,)``.

    Arguments:
        name: of a recipe of chapter 3.
        maps: ``(N, [2,] P)``, as the card of the recipe says: RING, in its unit, 0 where not seen.

    Raises:
        ValueError: a recipe without such a network.

    Example:
        >>> _, maps = get("cmb-t1-noise5").question.sample(2, seed=5)
        >>> outside("cmb-t1-noise5", maps), outside("cmb-t1-noise5", 1000 * maps)
        (tensor([False, False]), tensor([True, True]))
    """
    skies, limit = _reference(name)
    features = _question(name).features(maps.double())
    nearest = torch.cdist(features, skies).kthvalue(_NEIGHBOUR, dim=1).values
    # What is not a number is like nothing.
    return ~(nearest <= limit)


@cached_table(maxsize=16)
def _reference(name: str) -> tuple[Tensor, Tensor]:
    """Return features ``(1000, F)`` of skies as in training, and the largest distance allowed."""
    question = _question(name)
    _, maps = question.sample(_SKIES, seed=_SEED)
    skies = question.features(maps.double())
    # Each sky is its own nearest: it is left out.
    nearest = torch.cdist(skies, skies).kthvalue(_NEIGHBOUR + 1, dim=1).values
    # A new sky of the same kind exceeds the k-th largest of n with probability k / (n + 1).
    allowed = round(FALSE_ALARMS * _SKIES)
    return skies, nearest.topk(allowed).values[-1]
