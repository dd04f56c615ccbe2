"""Simulators to audit with spectra of the reader's own; some are faulty."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from skytutor.exercises import grading
from skytutor.fields.spectra import gaussian_alms
from skytutor.fields.windows import gaussian_beam, smooth
from skytutor.validate import as_integer

__all__ = ["SimulatedAlms", "audit"]

_SKIES = 200  # that a simulator draws
_LMAX = 32


class SimulatedAlms:
    """A simulator to audit: called with spectra by name, it draws coefficients of 200 skies.

    Arguments:
        number: tells one simulator from another, from 0 to 5.

    Raises:
        TypeError: no integer.
        ValueError: a number that no simulator has.

    Example:
        >>> SimulatedAlms(0)
        simulator 0
    """

    def __init__(self, number: int) -> None:
        self._number = as_integer("number", number)
        if not 0 <= self._number < len(_SIMULATORS):
            raise ValueError(f"number must lie in 0..{len(_SIMULATORS) - 1}, got {number}")

    def __repr__(self) -> str:
        """Say which simulator it is."""
        return f"simulator {self._number}"

    def __call__(self, spectra: Mapping[str, Any]) -> dict[str, Tensor]:
        """Draw skies of spectra.

        Arguments:
            spectra: "TT", "EE", "BB" and "TE", at least 33 values each, from degree 0 on.

        Returns:
            "T", "E" and "B": ``(200, 561)`` complex, up to degree 32.
        """
        missing = {"TT", "EE", "BB", "TE"} - set(spectra)
        if missing:
            raise ValueError(f"spectra must have TT, EE, BB and TE; {sorted(missing)} missing")
        alms = gaussian_alms(spectra, lmax=_LMAX, size=(_SKIES,))
        return _SIMULATORS[self._number][0](alms)


def _sound(alms: dict[str, Tensor]) -> dict[str, Tensor]:
    return alms


def _exchanged(alms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"T": alms["T"], "E": alms["B"], "B": alms["E"]}


def _wrong_sign(alms: dict[str, Tensor]) -> dict[str, Tensor]:
    return alms | {"E": -alms["E"]}


def _too_strong(alms: dict[str, Tensor]) -> dict[str, Tensor]:
    return alms | {"B": 1.25 * alms["B"]}


def _blurred(alms: dict[str, Tensor]) -> dict[str, Tensor]:
    window = gaussian_beam(math.radians(6), _LMAX)
    return {field: smooth(value, window, lmax=_LMAX) for field, value in alms.items()}


_SIMULATORS: tuple[tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], set[str]], ...] = (
    (_sound, set()),
    (_exchanged, {"EE", "BB", "TE"}),
    (_wrong_sign, {"TE"}),
    (_sound, set()),
    (_too_strong, {"BB"}),
    (_blurred, {"TT", "EE", "BB", "TE"}),
)


def audit(attempt: Callable[[SimulatedAlms], Iterable[str]]) -> bool:
    """Test your `audit(simulate)` on simulators, some of which are faulty.

    Arguments:
        attempt: takes a `SimulatedAlms`, calls it with spectra of your own, and returns the names,
            out of TT, EE, BB and TE, of those that do not come back; an empty set if all do.

    Returns:
        True if it finds all faults and gives no false alarm.
    """

    def fault(names: Iterable[str], simulate: SimulatedAlms) -> str | None:
        wrong = _SIMULATORS[simulate._number][1]
        found = set(names)
        if isinstance(names, str) or not found <= {"TT", "EE", "BB", "TE"}:
            return f"should give a set of names out of TT, EE, BB, TE, got {names!r}"
        if found - wrong:
            return (
                f"gives a false alarm for {min(found - wrong)}: how far may the mean over "
                f"{_SKIES} skies scatter at degree 2?"
            )
        if wrong - found:
            return (
                "misses a fault: would your spectra and your comparison show two of them "
                "exchanged, a sign, and a loss at high degrees only?"
            )
        return None

    simulators = [(SimulatedAlms(k),) for k in range(len(_SIMULATORS))]
    return grading.satisfies("audit", attempt, fault, cases=simulators)
