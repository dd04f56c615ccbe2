"""Is a simulator to be trusted? What it drew, measured back."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from skytutor.data.cmb import peaked_spectrum
from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake
from skytutor.memo import cached_object

__all__ = ["misread"]

_ORDERS = 2 * np.arange(48) + 1


def misread(attempt: Any) -> bool:
    """Test your `misread(measured, asked, n)`: whether a simulator drew other skies than asked for.

    Arguments:
        attempt: a function of two dicts with "EE", "BB" and "EB", arrays ``(L,)``, the mean of the
            spectra measured on n skies and those asked for, and of n. It returns True if the skies
            are wrong.

    Returns:
        True if it finds every wrong simulator, and no right one.
    """
    return grading.function(
        "misread",
        _yes_or_no(attempt),
        _is_misread,
        cases=_simulators(),
        mistakes=[
            Mistake(
                lambda measured, asked, n: _is_misread(measured, asked, n, fields=("EE", "BB")),
                "One wrong simulator passes. What should E and B have in common?",
            ),
            Mistake(
                lambda measured, asked, n: bool(np.any(measured["EE"] != asked["EE"])),
                "Even a right simulator does not give the spectrum exactly.",
            ),
        ],
    )


def _yes_or_no(attempt: Any) -> Any:
    """Return a function that gives truth values; None, as of a function not yet written, stays."""
    if not callable(attempt):
        return attempt

    @functools.wraps(attempt)
    def wrong(*case: Any) -> bool | None:
        found = attempt(*case)
        return None if found is None else bool(found)

    return wrong


@cached_object(maxsize=1)
def _simulators() -> tuple[tuple[dict[str, np.ndarray], dict[str, np.ndarray], int], ...]:
    """Return what simulators measured, what was asked of them, and on how many skies."""
    rng = np.random.default_rng(3)
    cases = []
    for n in (20, 100, 1000):
        for fault in (None, "squared", "swapped", "correlated", "loud", "shifted"):
            # Ten per cent of power in excess show in a hundred skies, not in twenty.
            if (fault, n) != ("loud", 20):
                cases.append((*_measure(rng, fault=fault, n=n), n))
    return tuple(cases)


def _measure(
    rng: np.random.Generator, *, fault: str | None, n: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the mean spectra of n skies that a simulator drew, and those asked for.

    Coefficients of one degree, 2 l + 1 of them a sky, are drawn as they are.
    """
    ee, bb = (np.asarray(peaked_spectrum(torch.tensor(p), lmax=47)) for p in rng.uniform(6, 18, 2))
    asked = {"EE": ee, "BB": bb, "EB": np.zeros(48)}
    drawn = {"loud": (1.1 * ee, 1.1 * bb), "swapped": (bb, ee), "squared": (ee**2, bb**2)}
    shifted = np.roll(ee, 1), np.roll(bb, 1)
    power_e, power_b = (drawn | {"shifted": shifted}).get(fault or "", (ee, bb))
    measured = {"EE": np.zeros(48), "BB": np.zeros(48), "EB": np.zeros(48)}
    for l, count in enumerate(n * _ORDERS):
        e = rng.standard_normal(count)
        b = e if fault == "correlated" else rng.standard_normal(count)
        measured["EE"][l] = power_e[l] * np.mean(e * e)
        measured["BB"][l] = power_b[l] * np.mean(b * b)
        measured["EB"][l] = math.sqrt(power_e[l] * power_b[l]) * np.mean(e * b)
    return measured, asked


def _is_misread(
    measured: Mapping[str, np.ndarray],
    asked: Mapping[str, np.ndarray],
    n: int,
    *,
    fields: Sequence[str] = ("EE", "BB", "EB"),
) -> bool:
    """Compare each spectrum with its scatter: all degrees together, in standard deviations."""
    for field in fields:
        one, other = (asked[2 * letter] for letter in field)
        # Variance of the mean power of 2 l + 1 coefficients a sky, for auto- and cross-spectra.
        variance = (one * other + asked[field] ** 2) / (_ORDERS * n)
        deviations = (measured[field] - asked[field]) / np.sqrt(variance)
        if abs(deviations.mean()) * math.sqrt(48) > 4 or np.mean(deviations**2) > 3:
            return True
    return False
