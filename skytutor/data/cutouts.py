"""Images of Pan-STARRS, SDSS and DES, read into one unit by one loader.

What the pixels mean is read from the header, never assumed: whether the values of Pan-STARRS are
stretched, the zero point, the band, the survey, the scale of the pixels. All come out in
nanomaggies a pixel, AB zero point 22.5, with an inverse variance, 0 where a pixel is not to be
used.

Shapes: H rows, W columns, as the file has them.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.io._fits import opened
from skytutor.validate import one_of

__all__ = ["SURVEYS", "Cutout", "clipped_scatter", "linear_counts", "load_cutout"]

SURVEYS = ("PS1", "SDSS", "DES")
_BANDS = ("u", "g", "r", "i", "z", "y")
_NANOMAGGY = 22.5  # AB magnitude of one
# SDSS's frames have this many columns and rows, and their position is given at this pixel.
_SDSS_FRAME = (2048, 1489)
_SDSS_REFERENCE = (1025.0, 745.0)
_POGSON = 2.5 / np.log(10.0)


@dataclass(frozen=True)
class Cutout:
    """One image of one band.

    Attributes:
        image: ``(H, W)`` float64 in nanomaggies a pixel; 0 where masked.
        ivar: ``(H, W)`` inverse variance, 0 where masked.
        mask: bool ``(H, W)``, True where the pixel may be used.
        band: one of u, g, r, i, z, y.
        survey: one of `SURVEYS`.
        wcs: astropy's, from pixels that count from 0 to right ascension and declination in degrees.
        pixel_arcsec: side of a pixel, from the wcs.
        wcs_source: "header", or "position" where the header's belonged to a larger image.
        noise_source: where `ivar` is from: "weight", "variance" or "scatter" (of the image itself).
        name: of the file.
    """

    image: Tensor
    ivar: Tensor
    mask: Tensor
    band: str
    survey: str
    wcs: Any
    pixel_arcsec: float
    wcs_source: str
    noise_source: str
    name: str


def load_cutout(
    path: str | Path,
    *,
    position: tuple[float, float] | None = None,
    band: str | None = None,
    survey: str | None = None,
    variance: str | Path | None = None,
) -> Cutout:
    """Read an image of Pan-STARRS, SDSS or DES into nanomaggies a pixel.

    Arguments:
        path: of the FITS file.
        position: right ascension and declination of the centre of the image in degrees; needed
            where an image was cut out and kept the coordinates of the frame it is from, and checked
            against the coordinates elsewhere.
        band: None for that of the header or, where it has none, of the file name.
        survey: None for that of the header.
        variance: of Pan-STARRS, the image of the variance (``.wt.fits``); without it the noise is
            the scatter of the image.

    Raises:
        OSError: no FITS file, such as a page of HTML, or one that is cut short.
        ValueError: survey, band, unit, exposure or coordinates cannot be told from the header;
            values in magnitudes; coordinates of another frame, or a position outside the image; no
            finite pixel.
    """
    name = Path(path).name
    with opened(path) as file:
        header = file[0].header.copy()
        image = _pixels(file[0], name=name)
        weight = next((part.data for part in file[1:] if _is_weight(part, image.shape)), None)
    found = _survey(header, name=name) if survey is None else survey
    found = one_of("survey", found, allowed=SURVEYS)
    _check_unit(header, image, name=name)
    scale = 10 ** ((_NANOMAGGY - _zero_point(header, found, name=name)) / 2.5)
    counts = linear_counts(image, header)
    if variance is not None:
        ivar, noise_source = _from_variance(variance, counts.shape), "variance"
    elif weight is not None:
        ivar, noise_source = np.asarray(weight, dtype=np.float64), "weight"
    else:
        spread = clipped_scatter(counts)
        ivar, noise_source = np.full(counts.shape, spread**-2), "scatter"
    good = np.isfinite(counts) & np.isfinite(ivar) & (ivar > 0)
    wcs, pixel_arcsec, wcs_source = _coordinates(header, found, position=position, name=name)
    return Cutout(
        image=torch.from_numpy(np.where(good, counts, 0.0) * scale),
        ivar=torch.from_numpy(np.where(good, ivar, 0.0) / scale**2),
        mask=torch.from_numpy(good),
        band=one_of("band", band or _band(header, name=name), allowed=_BANDS),
        survey=found,
        wcs=wcs,
        pixel_arcsec=pixel_arcsec,
        wcs_source=wcs_source,
        noise_source=noise_source,
        name=name,
    )


def linear_counts(values: np.ndarray, header: Any) -> np.ndarray:
    """Undo the stretch of Pan-STARRS's stacks, if the header says that there is one.

    With a = 2.5 / ln 10, counts = BOFFSET + BSOFTEN (exp(v / a) - exp(-v / a)) [1]_.

    Arguments:
        values: as the file has them.
        header: of the image; without BSOFTEN and BOFFSET the values are linear already.

    Raises:
        TypeError: complex values.
        ValueError: one of the two keywords is missing, or is no number fit for it; or values that
            are too large to have been stretched.

    Example:
        >>> counts = linear_counts(np.array([2.5]), {"BSOFTEN": 10.0, "BOFFSET": 1.0})
        >>> print(f"{counts[0]:.1f}")
        100.0

    .. [1] Waters et al. 2020, arXiv:1612.05245, section 8.
    """
    values = as_tensor("values", values, dtype=torch.float64).numpy()
    keys = ("BSOFTEN", "BOFFSET")
    have = [key for key in keys if key in header]
    if not have:
        return values
    if len(have) == 1:
        raise ValueError(f"the header must have both of BSOFTEN and BOFFSET, found only {have[0]}")
    soften, offset = (float(header[key]) for key in keys)
    if not soften > 0 or not np.isfinite(offset):
        raise ValueError(
            f"BSOFTEN must be positive and BOFFSET finite, got {soften:g} and {offset:g}"
        )
    with np.errstate(over="ignore"):
        counts = offset + 2 * soften * np.sinh(values / _POGSON)
    # A pixel that is not finite stays so; one that becomes so was never stretched like this.
    too_large = np.isfinite(values) & ~np.isfinite(counts)
    if too_large.any():
        raise ValueError(
            f"values must be the stretched ones that BSOFTEN and BOFFSET go with, got "
            f"{values[too_large][0]:g}, whose counts are beyond float64"
        )
    return counts


def clipped_scatter(values: np.ndarray) -> float:
    """Return the standard deviation of an image's sky, after objects were clipped away.

    Arguments:
        values: any shape; what is not finite is left out.

    Raises:
        ValueError: no scatter: all values are the same, or none is finite.
    """
    values = as_tensor("values", values, dtype=torch.float64).numpy()
    kept = values[np.isfinite(values)]
    spread = 0.0
    for _ in range(20):
        if not len(kept):
            break
        centre = np.median(kept)
        spread = 1.4826 * np.median(np.abs(kept - centre))
        inside = kept[np.abs(kept - centre) <= 3 * spread]
        if len(inside) == len(kept):
            break
        kept = inside
    if not spread > 0:
        raise ValueError(
            "values of an image must have some scatter, from which its noise is told; got none"
        )
    return float(spread)


def _pixels(part: Any, *, name: str) -> np.ndarray:
    """Return the pixels of an image in float64."""
    if part.data is None or np.ndim(part.data) != 2:
        shape = None if part.data is None else part.data.shape
        raise ValueError(f"{name} must begin with an image of two axes, got {shape}")
    values = np.asarray(part.data, dtype=np.float64)
    if not np.isfinite(values).any():
        raise ValueError(f"{name} has no finite pixel")
    return values


def _is_weight(part: Any, shape: tuple[int, ...]) -> bool:
    """Tell whether a part of a file is the weight of its image: DES's inverse variance."""
    return part.name.upper() in ("WGT", "WEIGHT") and np.shape(part.data) == shape


def _from_variance(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the inverse of a variance image, stretched or not."""
    with opened(path) as file:
        values = linear_counts(_pixels(file[0], name=Path(path).name), file[0].header)
    if values.shape != shape:
        raise ValueError(f"variance must be {shape} as the image, got {values.shape}")
    good = np.isfinite(values) & (values > 0)
    return np.where(good, 1 / np.where(good, values, 1.0), 0.0)


def _survey(header: Any, *, name: str) -> str:
    """Return which survey made an image."""
    if header.get("PSCAMERA") == "GPC1" or header.get("FPA.TELESCOPE") == "PS1":
        return "PS1"
    if str(header.get("ORIGIN", "")).strip() == "SDSS":
        return "SDSS"
    if "DESFNAME" in header or "DECam" in str(header.get("FILTER", "")):
        return "DES"
    raise ValueError(f"{name}: the header names no survey; pass survey, one of {SURVEYS}")


def _band(header: Any, *, name: str) -> str:
    """Return the band: the first letter of the header's filter, else a letter of the file name."""
    for key in ("FPA.FILTERID", "FPA.FILTER", "BAND", "FILTER"):
        word = re.match(r"\s*([ugrizyY])(?![A-Za-z])", str(header.get(key, "")))
        if word:
            return word[1].lower()
    words = set(re.findall(r"(?<![A-Za-z0-9])([ugrizy])(?![A-Za-z0-9])", name.replace("_", ".")))
    if len(words) == 1:
        return words.pop()
    raise ValueError(f"{name}: neither header nor file name tell the band; pass band")


def _check_unit(header: Any, image: np.ndarray, *, name: str) -> None:
    """Refuse magnitudes: fluxes can be added, and these cannot."""
    unit = str(header.get("BUNIT", "")).lower()
    finite = image[np.isfinite(image)]
    # An image with its sky subtracted is negative in about half of its empty pixels.
    suspicious = "BSOFTEN" not in header and finite.min() > 5 and finite.max() < 40
    if suspicious or ("mag" in unit and "magg" not in unit):
        raise ValueError(
            f"{name} must hold fluxes, and its values look like magnitudes: "
            f"{finite.min():.1f} to {finite.max():.1f}, unit {unit or 'not given'}"
        )


def _zero_point(header: Any, survey: str, *, name: str) -> float:
    """Return the AB magnitude of one unit of the image."""
    if survey == "SDSS":
        unit = str(header.get("BUNIT", "")).strip().lower()
        if unit not in ("nanomaggy", "nanomaggies", "nmgy"):
            raise ValueError(f"{name}: BUNIT of SDSS must be nanomaggy, got {unit!r}")
        return _NANOMAGGY
    key = "EXPTIME" if survey == "PS1" else "MAGZERO"
    try:
        value = float(header[key])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name}: the header must give {key}, got {header.get(key)!r}") from None
    if survey == "DES":
        return value
    if not 0 < value < np.inf:
        raise ValueError(f"{name}: EXPTIME must be positive, got {value:g}")
    # Stacks hold counts of the whole exposure on a scale of 25 a second.
    return float(header.get("FPA.ZP", 25.0)) + 2.5 * np.log10(value)


def _coordinates(
    header: Any, survey: str, *, position: tuple[float, float] | None, name: str
) -> tuple[Any, float, str]:
    """Return the wcs of an image, the side of a pixel in arcsec and where the wcs is from."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    for i in (1, 2):
        for j in (1, 2):
            # As matrices were written before the standard.
            if f"PC00{i}00{j}" in header:
                header[f"PC{i}_{j}"] = header.pop(f"PC00{i}00{j}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old spellings of keywords
        wcs = WCS(header)
    if not wcs.has_celestial:
        raise ValueError(f"{name}: the header gives no coordinates on the sky")
    wide, high = (float(side) * 3600 for side in proj_plane_pixel_scales(wcs))
    if abs(wide - high) > 0.01 * wide:
        raise ValueError(f"{name}: pixels must be square, got {wide:.3f} by {high:.3f} arcsec")
    source = _check_frame(wcs, header, survey=survey, position=position, name=name)
    return wcs, (wide * high) ** 0.5, source


def _check_frame(
    wcs: Any, header: Any, *, survey: str, position: tuple[float, float] | None, name: str
) -> str:
    """Find coordinates that belong to the frame an image was cut from; shift or refuse them."""
    shape = (int(header["NAXIS1"]), int(header["NAXIS2"]))
    inside = False
    if position is not None:
        x, y = wcs.world_to_pixel_values(*position)
        inside = -0.5 <= x <= shape[0] - 0.5 and -0.5 <= y <= shape[1] - 0.5
    whole = survey == "SDSS" and tuple(wcs.wcs.crpix) == _SDSS_REFERENCE and shape != _SDSS_FRAME
    if inside or (position is None and not whole):
        return "header"
    if position is not None and not whole:
        raise ValueError(
            f"{name}: position {position} lies outside the image, at pixel ({x:.0f}, {y:.0f}) "
            f"of {shape[0]} by {shape[1]}"
        )
    if position is None:
        raise ValueError(
            f"{name} is {shape[0]} by {shape[1]} pixels and has the coordinates of a whole frame "
            f"of {_SDSS_FRAME[0]} by {_SDSS_FRAME[1]}; pass position, that of its centre"
        )
    wcs.wcs.crval = position
    wcs.wcs.crpix = [(side + 1) / 2 for side in shape]
    return "position"
