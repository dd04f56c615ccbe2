"""Units of temperature as FITS files write them, and the factors between them."""

import re
from typing import Any

from skytutor.validate import one_of

__all__ = ["UNITS", "convert", "microkelvin_of"]

# What a map can be converted to, and how many muK that is.
UNITS = {"K": 1e6, "mK": 1e3, "muK": 1.0}
# A power of ten, as FITS writes it (10**-6) or as a number (1e-6); a prefix; the kelvin; and of
# which kind: thermodynamic (K_CMB) or of antennas (K_RJ).
_KELVIN = re.compile(
    r"(?:(?:10(?:\*\*|\^)\(?|10(?=[+-])|1(?:\.0*)?e)(?P<power>[+-]?\d{1,2})\)?[ *.]*)?"
    r"(?P<prefix>m|mu|u|\N{MICRO SIGN}|\N{GREEK SMALL LETTER MU}|micro|milli)?"
    r"(?:kelvins?|k)"  # "ks" are a thousand seconds
    r"(?:[ _,(]*(?:cmb|rj|thermodynamic|thermo|antenna)\)?)?"
)
_PREFIXES = {"": 1e6, "m": 1e3, "milli": 1e3}  # all others stand for a millionth


def microkelvin_of(unit: str) -> float | None:
    """Return how many muK a unit of temperature is; None if it is none.

    Capitals count in no unit of temperature, since files write "MK", "UK_CMB" and
    "mK,thermodynamic". No map of the sky is in megakelvin.

    Arguments:
        unit: as a file has it, such as "K_CMB", "mK", "uK" or "10**-6 K".

    Example:
        >>> microkelvin_of("K_CMB"), microkelvin_of("mK,thermodynamic"), microkelvin_of("counts")
        (1000000.0, 1000.0, None)
    """
    # The Greek letter and the sign for a millionth are made small alike.
    found = _KELVIN.fullmatch(str(unit).strip().lower())
    if found is None:
        return None
    return float(f"1e{found['power'] or 0}") * _PREFIXES.get(found["prefix"] or "", 1.0)


def convert(source: str, target: Any, *, name: str) -> tuple[float, str]:
    """Return what values are multiplied by to convert them into another unit, and its name.

    A temperature of antennas stays one: the unit then ends in "_RJ".

    Arguments:
        source: unit of the values as the file has it.
        target: unit wanted, "K", "mK" or "muK".
        name: what the error message calls the values.

    Raises:
        ValueError: another target, or a source that is no temperature or says nothing.

    Example:
        >>> convert("K_CMB", "muK", name="TEMPERATURE")
        (1000000.0, 'muK')
    """
    wanted = UNITS[one_of("unit", target, allowed=UNITS)]
    found = microkelvin_of(source)
    if found is None:
        said = f"in {source!r}" if source else "in no unit"
        raise ValueError(
            f"unit must be None for {name}, which the file has {said}: only K, mK and muK "
            f"can be converted, got {target!r}"
        )
    of_antennas = source.lower().rstrip(")").endswith(("rj", "antenna"))
    return found / wanted, f"{target}_RJ" if of_antennas else target
