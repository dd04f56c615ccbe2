"""What the header and the pixels of each survey's images tell; see `skytutor.data.band_images`."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from skytutor.data.cutouts import _SDSS_REFERENCE, Cutout, clipped_scatter
from skytutor.data.cutouts import _survey as _optical_survey
from skytutor.data.hips import hips_of
from skytutor.data.surveys import BANDS
from skytutor.validate import one_of

__all__ = ["OPTICAL", "READERS", "Read", "sdss_ivar", "survey_of"]

OPTICAL = ("SDSS", "DES", "PS1")  # that `skytutor.data.cutouts` reads
# AB less Vega magnitudes of 2MASS: Blanton & Roweis 2007, Astronomical Journal 133, 734.
VEGA_TO_AB = {"J": 0.91, "H": 1.39, "K": 1.85}
# AB magnitude of one photon a second: Morrissey et al. 2007, ApJ Supplement 173, 682.
GALEX_ZERO_POINTS = {"FUV": 18.82, "NUV": 20.08}
_GALEX_BANDS = {1.0: "NUV", 2.0: "FUV"}  # as the header numbers them
# Electrons a count, and counts^2 of noise that is no photon's, in the camera's columns 1 to 6: data
# model of SDSS, frame. Of two values the one for runs after 1500.
_SDSS_GAIN = {
    "u": (1.62, 1.825, 1.59, 1.6, 1.47, 2.17),
    "g": (3.32, 3.855, 3.845, 3.995, 4.05, 4.035),
    "r": (4.71, 4.6, 4.72, 4.76, 4.725, 4.895),
    "i": (5.165, 6.565, 4.86, 4.885, 4.64, 4.76),
    "z": (4.745, 5.155, 4.885, 4.775, 3.48, 4.69),
}
_SDSS_DARK = {
    "u": (9.61, 12.6025, 8.7025, 12.6025, 9.3025, 7.0225),
    "g": (15.6025, 1.44, 1.3225, 1.96, 1.1025, 1.8225),
    "r": (1.8225, 1.0, 1.3225, 1.3225, 0.81, 0.9025),
    "i": (7.84, 6.25, 4.6225, 7.5625, 7.84, 5.0625),
    "z": (0.81, 1.0, 1.0, 12.6025, 2.1025, 1.21),
}
_BLOCK = 16  # pixels: over so many a side, photons are many enough for a normal law
_SMALL = 1e-3  # of the sky: no scatter of blocks is smaller
_CHANCE = 1e-3  # that photons leave a square of an image empty that was observed


class Read(NamedTuple):
    """What a header and its pixels tell.

    Attributes:
        band: name.
        zero_point: AB magnitude of one unit of the file in one of its pixels; NaN for densities.
        sky: units of the file a pixel.
        ivar: ``(H, W)`` inverse variance in units of the file, 0 where nothing was observed.
        noise_source: where `ivar` is from.
    """

    band: str
    zero_point: float
    sky: float
    ivar: np.ndarray
    noise_source: str


def survey_of(header: Any, *, name: str) -> str:
    """Return what made an image: a key of `READERS`, or one of `OPTICAL`.

    Arguments:
        header: of the image.
        name: of the file, for the message.

    Raises:
        ValueError: the header names none of them.
    """
    if hips_of(header) is not None:
        return "HiPS"
    if str(header.get("ORIGIN", "")).strip() == "2MASS":
        return "2MASS"
    if "MPSTYPE" in header or str(header.get("TELESCOP", "")).strip() == "GALEX":
        return "GALEX"
    try:
        return _optical_survey(header, name=name)
    except ValueError:
        raise ValueError(
            f"{name}: the header must tell of hips2fits, 2MASS, GALEX, SDSS, DES or PS1, "
            "and names none of them"
        ) from None


def sdss_ivar(cutout: Cutout, header: Any, extensions: Sequence[Any]) -> np.ndarray | None:
    """Return the inverse variance of a frame of SDSS from the counts of its pixels [1]_.

    The frame holds, besides its image, nanomaggies a count for each of its columns and a coarse
    image of the sky that was subtracted: together they tell how many counts there were.

    Arguments:
        cutout: the image in nanomaggies, all of the frame or cut out of it.
        header: as the file has it.
        extensions: the data of its next two parts.

    Returns:
        ``(H, W)`` for nanomaggies; None if the file has no such parts.

    Raises:
        ValueError: an image that lies partly outside its frame.

    .. [1] SDSS data model, frame: error of counts = sqrt(counts / gain + dark variance).
    """
    from scipy.ndimage import map_coordinates

    camera_column, tables = header.get("CAMCOL"), _frame_tables(extensions)
    if tables is None or camera_column not in range(1, 7):
        return None
    a_count, sky, columns, rows = tables
    left, below = _corner(cutout, header)
    height, width = cutout.image.shape
    if min(left, below) < 0 or left + width > len(columns) or below + height > len(rows):
        raise ValueError(
            f"{cutout.name}: {width} by {height} pixels from ({left}, {below}) leave the frame of "
            f"{len(columns)} by {len(rows)}"
        )
    here = slice(left, left + width)
    places = np.meshgrid(rows[below : below + height], columns[here], indexing="ij")
    # The sky is given for blocks of pixels; between their centres it is interpolated.
    subtracted = map_coordinates(sky, places, order=1, mode="nearest")
    gain = _SDSS_GAIN[cutout.band][camera_column - 1]
    dark = _SDSS_DARK[cutout.band][camera_column - 1]
    counts = np.maximum(cutout.image.numpy() / a_count[here] + subtracted, 0.0)
    return 1 / ((counts / gain + dark) * a_count[here] ** 2)


def _frame_tables(extensions: Sequence[Any]) -> tuple[np.ndarray, ...] | None:
    """Return nanomaggies a count, the sky, and where in it columns and rows are; None without."""
    names = ("ALLSKY", "XINTERP", "YINTERP")
    if len(extensions) < 2 or any(part is None for part in extensions):
        return None
    a_count, table = extensions[:2]
    if np.ndim(a_count) != 1 or not set(names) <= set(table.dtype.names or ()):
        return None
    parts = (a_count, *(table[name][0] for name in names))
    return tuple(np.asarray(part, dtype=np.float64) for part in parts)


def _corner(cutout: Cutout, header: Any) -> tuple[int, int]:
    """Return column and row of the frame at which an image begins that was cut out of it."""
    if cutout.wcs_source == "header":
        # Who cut it out moved the reference pixel along.
        shift = [header["CRPIX1"] - _SDSS_REFERENCE[0], header["CRPIX2"] - _SDSS_REFERENCE[1]]
        return round(-shift[0]), round(-shift[1])
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old spellings of keywords
        frame = WCS(header)
    corner = cutout.wcs.pixel_to_world_values(0, 0)
    column, row = frame.world_to_pixel_values(*corner)
    return round(float(column)), round(float(row))


def _number(header: Any, key: str, *, name: str) -> float:
    """Return a number of the header, which must have it."""
    value = header.get(key)
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good:
        raise ValueError(f"{name}: the header must give {key}, a finite number, got {value!r}")
    return float(value)


def _two_mass(values: np.ndarray, header: Any, name: str, side: float) -> Read:
    """Read an image of the atlas: counts above SKYVAL, Vega magnitudes."""
    letter = str(header.get("FILTER", "")).strip().upper()[:1]
    band = one_of(f"FILTER of {name}", letter, allowed=VEGA_TO_AB)
    zero_point = _number(header, "MAGZP", name=name) + VEGA_TO_AB[band]
    sky = _number(header, "SKYVAL", name=name)
    return Read(band, zero_point, sky, _scatter_ivar(values), "scatter")


def _galex(values: np.ndarray, header: Any, name: str, side: float) -> Read:
    """Read an intensity map: photons a second, the sky among them."""
    number = _number(header, "BAND", name=name)
    if number not in _GALEX_BANDS:
        raise ValueError(f"{name}: BAND of GALEX must be 1 (NUV) or 2 (FUV), got {number:g}")
    exposure = _number(header, "EXPTIME", name=name)
    if exposure <= 0:
        raise ValueError(f"{name}: EXPTIME must be positive, got {exposure:g}")
    band = _GALEX_BANDS[number]
    sky, ivar = _photons(values, exposure=exposure)
    return Read(band, GALEX_ZERO_POINTS[band], sky, ivar, "exposure")


def _hips(values: np.ndarray, header: Any, name: str, side: float) -> Read:
    """Read what hips2fits sampled: the light that a pixel of the survey had there."""
    named = hips_of(header)
    assert named is not None
    band, hips = named
    # A pixel of this image is larger or smaller than the survey's, and so is the light in it.
    zero_point = hips.zero_point - 2.5 * math.log10((side / hips.pixel_arcsec) ** 2)
    if BANDS[band].kind == "photons":
        sky, ivar = _photons(values, exposure=None)
        return Read(band, zero_point, sky, ivar, "scatter")
    ivar = _scatter_ivar(values)
    # No header tells the sky. Objects were clipped away as far as the scatter knows them.
    seen = values[ivar > 0]
    near = np.abs(seen - np.median(seen)) <= 3 * ivar.max() ** -0.5
    return Read(band, zero_point, float(np.median(seen[near])), ivar, "scatter")


def _scatter_ivar(values: np.ndarray) -> np.ndarray:
    """Return the inverse variance of a sky without objects, 0 where nothing was observed."""
    seen = np.isfinite(values) & (values != 0)
    return np.where(seen, clipped_scatter(values[seen]) ** -2, 0.0)


def _photons(values: np.ndarray, *, exposure: float | None) -> tuple[float, np.ndarray]:
    """Return the sky and the inverse variance of photons a second, in seconds or from the image."""
    from scipy.ndimage import binary_opening, uniform_filter

    seen = np.isfinite(values)
    rate = np.where(seen, values, 0.0)
    means = _block_means(rate)
    lit = means[means > 0]
    if len(lit) == 0:
        return 0.0, np.zeros(values.shape)
    sky = float(np.median(lit))
    if exposure is None:
        # Stars only add light: what lies below the median is noise alone. Photons in a block vary
        # by their number, so that variance = mean / exposure / pixels.
        spread = 1.4826 * float(np.median(sky - lit[lit <= sky]))
        exposure = sky / max(spread * _BLOCK, sky * _SMALL) ** 2
    # No photon comes to a pixel with probability exp(-photons), nor to a square of s by s with the
    # power s^2 of it: a square that is large enough to be empty nowhere by chance.
    photons = sky * exposure
    side = math.ceil(math.sqrt(math.log(rate.size / _CHANCE) / photons))
    dark = binary_opening(rate == 0, np.ones((side, side)))
    seen &= ~dark
    # The expected rate, and not that of the pixel, which may be 0: a mean about the size of a star.
    expected = np.maximum(uniform_filter(rate, 5), sky)
    return sky, np.where(seen, exposure / expected, 0.0)


def _block_means(values: np.ndarray) -> np.ndarray:
    """Return the means of square blocks, of the whole image if it is smaller than one."""
    if min(values.shape) < _BLOCK:
        return values.mean(keepdims=True).ravel()
    rows, columns = (side // _BLOCK for side in values.shape)
    cut = values[: rows * _BLOCK, : columns * _BLOCK]
    return cut.reshape(rows, _BLOCK, columns, _BLOCK).mean(axis=(1, 3)).ravel()


READERS: Mapping[str, Callable[[np.ndarray, Any, str, float], Read]] = MappingProxyType(
    {"2MASS": _two_mass, "GALEX": _galex, "HiPS": _hips}
)
