"""What a network is asked about, looked at before it answers: units, shapes, pixels, noise.

Each function refuses what cannot be right, with a sentence that names it; what is only unlike the
training is warned of. They are for `skytutor.chapters.prediction` and the chapters' questions.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix import is_unseen
from skytutor.validate import one_of

__all__ = [
    "InputRangeWarning",
    "as_rows",
    "check_noise",
    "check_pixels",
    "in_order",
    "unit_factor",
]

# Of each unit that the networks want, how many of it others are. A maggie is 3631 Jy.
_UNITS = {
    "muK": {"K": 1e6, "mK": 1e3, "muK": 1.0, "uK": 1.0, "\N{MICRO SIGN}K": 1.0},
    "nanomaggies": {
        "nanomaggies": 1.0,
        "maggies": 1e9,
        "nJy": 1e-3 / 3.631,
        "muJy": 1 / 3.631,
        "mJy": 1e3 / 3.631,
        "Jy": 1e6 / 3.631,
    },
}


class InputRangeWarning(UserWarning):
    """Maps are not like those that the network was trained on: its errors do not hold."""


def unit_factor(unit: str, *, wanted: str) -> float:
    """Return what values in `unit` are multiplied by to be in the unit that is wanted.

    Arguments:
        unit: "K", "mK", "muK", "uK" or "µK" where muK is wanted; "nanomaggies", "maggies", "nJy",
            "muJy", "mJy" or "Jy" where nanomaggies are; else the unit itself.
        wanted: of the card.

    Raises:
        ValueError: a unit that cannot be converted.

    Example:
        >>> unit_factor("mK", wanted="muK")
        1000.0
    """
    units = _UNITS.get(wanted, {wanted: 1.0})
    return units[one_of("unit", unit, allowed=tuple(units))]


def as_rows(maps: Any, shape: Sequence[int], *, words: str) -> Tensor:
    """Return maps ``(N, *shape)``, float64 on the CPU.

    Arguments:
        maps: of that shape, or a single one ``shape``.
        shape: of one map.
        words: what one map is, for the error's sentence.

    Raises:
        TypeError: maps that are no real numbers.
        ValueError: another shape, or no map.

    Example:
        >>> as_rows(torch.zeros(12), (12,), words="T at nside 1").shape
        torch.Size([1, 12])
    """
    given = as_tensor("maps", maps)
    if given.is_complex() or given.dtype == torch.bool:
        raise TypeError(f"maps must be real numbers, got {given.dtype}")
    wanted = tuple(shape)
    batch = given[None] if given.dim() == len(wanted) else given
    if batch.dim() != len(wanted) + 1 or tuple(batch.shape[1:]) != wanted or len(batch) == 0:
        raise ValueError(
            f"maps must be {words}, (N, {', '.join(map(str, wanted))}), "
            f"got shape {tuple(given.shape)}"
        )
    return batch.detach().cpu().double()


def check_pixels(maps: Tensor, seen: Tensor) -> None:
    """Refuse maps that are not finite and observed in the pixels that count.

    Arguments:
        maps: ``(N, ..., P)``.
        seen: bool, broadcasts with `maps`: True where the network looks.

    Raises:
        ValueError: pixels that are NaN, infinite or UNSEEN.

    Example:
        >>> check_pixels(torch.tensor([[1.0, torch.nan]]), torch.tensor([True, False]))
    """
    bad = ~torch.isfinite(maps) | is_unseen(maps)
    count = int((bad & seen).sum())
    if count:
        raise ValueError(
            "maps must be finite and observed where the network looks, "
            f"got {count} NaN, infinite or UNSEEN pixels"
        )


def check_noise(noise: float, trained: Sequence[float], *, stacklevel: int = 4) -> None:
    """Warn of a noise that is 5 % from every one of the training.

    Arguments:
        noise: standard deviation in a pixel.
        trained: those of the training, in the same unit.
        stacklevel: how many calls lie between the warning and who is warned: by default this one,
            `Question.prepare` and `predict`.

    Warns:
        InputRangeWarning: another noise.

    Example:
        >>> check_noise(5.1, (0.0, 5.0))
    """
    if not any(abs(noise - one) <= 0.05 * one for one in trained):
        warnings.warn(
            f"noise is {noise:.3g} in a pixel where the network was trained with "
            f"{', '.join(f'{one:.3g}' for one in trained)}; its errors do not hold",
            InputRangeWarning,
            stacklevel=stacklevel,
        )


def in_order(name: str, given: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return the places of the wanted words among those given, which must be the same words.

    Arguments:
        name: of the option.
        given: words, in any order.
        wanted: words, in the network's order.

    Raises:
        TypeError: a single text.
        ValueError: a word that is missing, too much or twice.

    Example:
        >>> in_order("bands", ("r", "g"), ("g", "r"))
        [1, 0]
    """
    if isinstance(given, str):
        raise TypeError(f"{name} must be a sequence of texts, got {given!r}")
    words = list(given)
    if sorted(map(str, words)) != sorted(wanted):
        raise ValueError(f"{name} must be {', '.join(wanted)} in any order, got {words}")
    return [words.index(word) for word in wanted]
