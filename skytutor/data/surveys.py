"""Bands of the surveys that chapter 5 translates between: filter, sharpness, depth and noise.

Fluxes are in nanomaggies (AB magnitude 22.5 is one), lengths in arcsec.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skytutor.validate import one_of

__all__ = ["BANDS", "KINDS", "Band", "band_names", "faint_error", "sky_flux"]

KINDS = ("ccd", "photons", "plate")


@dataclass(frozen=True)
class Band:
    """What a survey's images in one band are like.

    Attributes:
        name: by which it is asked for.
        survey: that observes it.
        filter: name of the curve, of `skytutor.data.spectral_templates.filter_curve`.
        wavelength: effective, angstrom.
        fwhm: of the point-spread function, arcsec.
        depth: AB magnitude of a point source of five standard deviations.
        kind: how it is recorded: "ccd", noise of the sky and of the source's own photons;
            "photons", single counts; "plate", the blackening of an emulsion.
        counts_per_nanomaggie: photons recorded of one nanomaggie; infinite on a plate, whose grain
            is all of its noise.
        sky: background, AB magnitudes a square arcsec.
    """

    name: str
    survey: str
    filter: str
    wavelength: float
    fwhm: float
    depth: float
    kind: str
    counts_per_nanomaggie: float
    sky: float


# Depths: York et al. 2000 and the SDSS data releases, Skrutskie et al. 2006 (in AB), Morrissey et
# al. 2007 for GALEX's all-sky survey, Reid et al. 1991 for the second Palomar survey. GALEX counts
# 10^(0.4 (m0 - 22.5)) photons a second of a nanomaggie, m0 = 18.82 and 20.08, for 70 to 90 seconds.
# SDSS and 2MASS: one over the flux of a count in their frames, times a gain of 4 to 8 electrons.
# The sky of a plate is what its emulsion is exposed to all night.
_ALL = (
    Band("FUV", "GALEX", "galex-fuv", 1535.0, 4.2, 19.9, "photons", 2.4, 27.5),
    Band("NUV", "GALEX", "galex-nuv", 2301.0, 5.3, 20.8, "photons", 10.0, 26.5),
    Band("g", "SDSS", "sdss2010-g", 4702.0, 1.44, 23.2, "ccd", 1150.0, 21.9),
    Band("r", "SDSS", "sdss2010-r", 6176.0, 1.32, 22.7, "ccd", 950.0, 20.9),
    Band("i", "SDSS", "sdss2010-i", 7490.0, 1.26, 22.2, "ccd", 700.0, 20.2),
    Band("J", "2MASS", "twomass-J", 12350.0, 2.9, 17.5, "ccd", 4.2, 16.9),
    Band("H", "2MASS", "twomass-H", 16620.0, 2.8, 17.2, "ccd", 4.4, 15.4),
    Band("K", "2MASS", "twomass-Ks", 21590.0, 2.9, 16.9, "ccd", 4.1, 15.2),
    Band("blue", "DSS", "plate-blue", 4700.0, 2.4, 21.0, "plate", math.inf, 22.0),
    Band("red", "DSS", "plate-red", 6450.0, 2.2, 20.5, "plate", math.inf, 21.0),
)
BANDS: Mapping[str, Band] = MappingProxyType({band.name: band for band in _ALL})


def band_names(bands: Iterable[str]) -> tuple[str, ...]:
    """Return the names of bands, checked.

    Arguments:
        bands: names, each at most once.

    Raises:
        TypeError: one name instead of several.
        ValueError: none, one that is not there, or one twice.

    Example:
        >>> band_names(["g", "K"])
        ('g', 'K')
    """
    if isinstance(bands, str):
        raise TypeError(f"bands must be a sequence of names, got {bands!r}")
    names = tuple(one_of("bands", name, allowed=BANDS) for name in bands)
    if not names:
        raise ValueError(f"bands must hold one of {', '.join(BANDS)} or more, got none")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"bands must name each band once, got {', '.join(twice)} more than once")
    return names


def faint_error(band: Band) -> float:
    """Return the error of the flux of a faint star, nanomaggies: a fifth of the depth's.

    Arguments:
        band: of `BANDS`.

    Example:
        >>> round(faint_error(BANDS["r"]), 3)
        0.166
    """
    return float(10 ** (-0.4 * (band.depth - 22.5)) / 5)


def sky_flux(band: Band) -> float:
    """Return the background of a band, nanomaggies a square arcsec.

    Arguments:
        band: of `BANDS`.

    Example:
        >>> round(sky_flux(BANDS["r"]), 2)
        4.37
    """
    return float(10 ** (-0.4 * (band.sky - 22.5)))
