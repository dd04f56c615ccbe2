"""Images of several bands brought to one grid of pixels, in one order.

Values are resampled as surface brightness, by linear interpolation between the centres of pixels
and a mean over the new pixel, and then multiplied by its area: the light in an object stays. Bands
that lie on the same pixels already, as those of a Pan-STARRS sky cell do, are copied and not
resampled.

Shapes: C bands, S pixels a side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.data.cutouts import Cutout
from skytutor.data.spectral_templates import BANDS
from skytutor.validate import as_length, positive

__all__ = ["BandStack", "resample_cutout", "stack_bands"]

_SAME = 2e-3  # pixels: centres nearer than this are the same
_MIN_COVERED = 0.5  # of a new pixel must be covered by pixels that may be used


@dataclass(frozen=True)
class BandStack:
    """Images of one galaxy in several bands on one grid.

    Attributes:
        images: ``(C, S, S)`` float32, nanomaggies a pixel; 0 where masked and in missing bands.
        ivar: ``(C, S, S)`` inverse variance of each pixel by itself: resampled noise is correlated.
        mask: bool ``(C, S, S)``, True where the pixel may be used.
        present: bool ``(C,)``, False for a missing band.
        bands: names in the order of the first axis.
        wcs: astropy's.
        pixel_arcsec: side of a pixel.
    """

    images: Tensor
    ivar: Tensor
    mask: Tensor
    present: Tensor
    bands: tuple[str, ...]
    wcs: Any
    pixel_arcsec: float


def stack_bands(
    cutouts: Sequence[Cutout],
    *,
    position: tuple[float, float],
    bands: Sequence[str] = BANDS,
    size: int = 64,
    pixel_arcsec: float = 0.25,
    require_all: bool = False,
) -> BandStack:
    """Bring images of one galaxy to one grid, in the order of `bands`.

    The order in which the images come does not matter. If the first of them has pixels of the
    wanted size, its grid is kept, and the centre is the pixel nearest to the position; else the
    grid has north up and east to the left.

    Arguments:
        cutouts: of one survey, each band at most once.
        position: right ascension and declination of the centre, degrees.
        bands: order of the first axis.
        size: pixels a side.
        pixel_arcsec: side of a pixel.
        require_all: refuse a galaxy that lacks a band, rather than flag it.

    Raises:
        ValueError: no image, a band twice or unknown, images of several surveys, a missing band
            where all are required, or a band none of whose pixels is at the position.
    """
    positive(size=size)
    wanted = as_length("pixel_arcsec", pixel_arcsec)
    by_band = _by_band(cutouts, bands=bands)
    missing = [band for band in bands if band not in by_band]
    if missing and require_all:
        raise ValueError(f"cutouts must have all of {', '.join(bands)}, missing {missing}")
    first = next(by_band[band] for band in bands if band in by_band)
    wcs = _grid(first, position=position, size=size, pixel_arcsec=wanted)
    shape = (len(bands), size, size)
    images = torch.zeros(shape)
    ivar = torch.zeros(shape)
    mask = torch.zeros(shape, dtype=torch.bool)
    for k, band in enumerate(bands):
        if band not in by_band:
            continue
        found = resample_cutout(by_band[band], wcs, size=size, pixel_arcsec=wanted)
        images[k], ivar[k], mask[k] = found
        if not bool(mask[k].any()):
            raise ValueError(f"{by_band[band].name}: no pixel that may be used lies at {position}")
    present = torch.tensor([band in by_band for band in bands])
    return BandStack(images, ivar, mask, present, tuple(bands), wcs, wanted)


def resample_cutout(
    cutout: Cutout, wcs: Any, *, size: int, pixel_arcsec: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Bring an image to another grid, its light conserved.

    Arguments:
        cutout: of any pixel scale and orientation.
        wcs: of the new grid.
        size: its pixels a side.
        pixel_arcsec: side of its pixels.

    Returns:
        image, inverse variance and mask, each ``(size, size)``, float64 and bool.
    """
    ratio = pixel_arcsec / cutout.pixel_arcsec
    # New pixels of another size are means over points that lie at most a quarter of an old pixel
    # apart: else some old pixels would give more than others.
    parts = max(math.ceil(4 * ratio), 1) if abs(ratio - 1) > 1e-3 else 1
    x, y = _points(cutout, wcs, size=size, parts=parts)
    new = np.repeat(np.arange(size**2), parts**2)
    rows, columns = cutout.image.shape
    good = cutout.mask.numpy().ravel()
    weights = np.zeros(0)
    target = np.zeros(0, dtype=np.int64)
    source = np.zeros(0, dtype=np.int64)
    left = np.floor(x).astype(np.int64)
    below = np.floor(y).astype(np.int64)
    for right in (0, 1):
        for above in (0, 1):
            fraction = np.abs(1 - right - (x - left)) * np.abs(1 - above - (y - below))
            column, row = left + right, below + above
            used = (fraction > 0) & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            place = row[used] * columns + column[used]
            seen = good[place]
            weights = np.append(weights, fraction[used][seen] / parts**2)
            target = np.append(target, new[used][seen])
            source = np.append(source, place[seen])
    return _weighted_sums(cutout, weights, target=target, source=source, size=size, area=ratio**2)


def _weighted_sums(
    cutout: Cutout,
    weights: np.ndarray,
    *,
    target: np.ndarray,
    source: np.ndarray,
    size: int,
    area: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return image, inverse variance and mask from what each old pixel gives to each new one."""
    image = cutout.image.numpy().ravel()
    variance = 1 / np.where(cutout.mask.numpy(), cutout.ivar.numpy(), 1.0).ravel()
    # An old pixel may give several times to a new one: its noise is the same each time.
    pairs, index = np.unique(target * image.size + source, return_inverse=True)
    weights = np.bincount(index, weights=weights)
    target, source = np.divmod(pairs, image.size)
    covered = np.bincount(target, weights=weights, minlength=size**2)
    total = np.bincount(target, weights=weights * image[source], minlength=size**2)
    spread = np.bincount(target, weights=weights**2 * variance[source], minlength=size**2)
    mask = covered >= _MIN_COVERED
    scale = area / np.where(mask, covered, 1.0)
    found = np.where(mask, total * scale, 0.0)
    ivar = np.where(mask, 1 / np.where(mask, spread * scale**2, 1.0), 0.0)
    shaped = (torch.from_numpy(values.reshape(size, size)) for values in (found, ivar, mask))
    image_out, ivar_out, mask_out = shaped
    return image_out, ivar_out, mask_out


def _by_band(cutouts: Sequence[Cutout], *, bands: Sequence[str]) -> dict[str, Cutout]:
    """Return images by their band."""
    if not cutouts:
        raise ValueError("cutouts must hold at least one image, got none")
    surveys = sorted({cutout.survey for cutout in cutouts})
    if len(surveys) > 1:
        raise ValueError(f"cutouts must be of one survey, got {', '.join(surveys)}")
    found: dict[str, Cutout] = {}
    for cutout in cutouts:
        if cutout.band not in bands:
            raise ValueError(f"band must be one of {', '.join(bands)}, got {cutout.band!r}")
        if cutout.band in found:
            raise ValueError(f"band {cutout.band} comes twice: {cutout.name}")
        found[cutout.band] = cutout
    return found


def _grid(cutout: Cutout, *, position: tuple[float, float], size: int, pixel_arcsec: float) -> Any:
    """Return the wcs of the new grid, of the image's own pixels if they have the wanted size."""
    from astropy.wcs import WCS

    centre = (size - 1) // 2
    if abs(cutout.pixel_arcsec - pixel_arcsec) < 1e-3 * pixel_arcsec:
        x, y = (round(float(value)) for value in cutout.wcs.world_to_pixel_values(*position))
        wcs = cutout.wcs.deepcopy()
        wcs.wcs.crpix = np.asarray(wcs.wcs.crpix) - [x - centre, y - centre]
        return wcs
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = position
    wcs.wcs.crpix = [(size + 1) / 2, (size + 1) / 2]
    wcs.wcs.cdelt = [-pixel_arcsec / 3600, pixel_arcsec / 3600]
    return wcs


def _points(cutout: Cutout, wcs: Any, *, size: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where in an image the points of the new pixels lie, parts^2 points each."""
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    # (row, column, part of the row, part of the column)
    y = np.arange(size)[:, None, None, None] + offsets[:, None]
    x = np.arange(size)[None, :, None, None] + offsets
    y, x = np.broadcast_arrays(y, x)
    sky = wcs.pixel_to_world_values(x.ravel(), y.ravel())
    found = []
    for values in cutout.wcs.world_to_pixel_values(*sky):
        nearest = np.round(values)
        found.append(np.where(np.abs(values - nearest) < _SAME, nearest, values))
    return found[0], found[1]
