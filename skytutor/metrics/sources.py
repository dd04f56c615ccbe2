"""Sources that an image of the sky invents, and those that it loses.

An image is filtered with its PSF, which makes of each pixel the flux of a point source there. Peaks
above a number of standard deviations of the survey's noise count as sources. A peak is matched if
the other image has at least half of its flux at that place.

Shapes: B images, H pixels along a side.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.validate import as_length, positive
from skytutor.values import all_finite

__all__ = ["Peaks", "find_peaks", "point_source_flux", "unmatched"]

_REACH = 1  # pixels by which a peak may have moved
_SHARE = 0.5  # of its flux that the other image must have there


@dataclass(frozen=True)
class Peaks:
    """Peaks of filtered images.

    Attributes:
        image: ``(P,)``, number of the image.
        row: ``(P,)``.
        column: ``(P,)``.
        flux: ``(P,)``, of a point source there.
    """

    image: Tensor
    row: Tensor
    column: Tensor
    flux: Tensor

    def __len__(self) -> int:
        return len(self.image)


def point_source_flux(images: Tensor, psf: Tensor) -> tuple[Tensor, float]:
    r"""Return the flux of a point source in each pixel, and its error for a noise of 1 a pixel.

    .. math:: \hat F(x) = \frac{\sum_y P(y - x)\, d(y)}{\sum_y P(y)^2}, \qquad
       \sigma_F = \Bigl( \sum_y P(y)^2 \Bigr)^{-1/2}.

    Arguments:
        images: ``(B, H, H)``, in any unit of flux a pixel; nothing lies beyond their edges.
        psf: ``(H, H)``, image of a point source of flux 1 with its peak in pixel
            ``(H // 2, H // 2)``.

    Raises:
        ValueError: shapes that do not fit, or images that are not finite.

    Example:
        >>> psf = torch.zeros(5, 5)
        >>> psf[2, 2] = 1
        >>> flux, error = point_source_flux(torch.ones(1, 5, 5), psf)
        >>> round(float(flux.mean()), 5), error
        (1.0, 1.0)
    """
    images, psf = as_floats(images=images, psf=psf)
    if (
        images.ndim != 3
        or psf.ndim != 2
        or images.shape[1:] != psf.shape
        or psf.shape[0] != psf.shape[1]
    ):
        raise ValueError(
            f"images must be (B, H, H) with the H of psf {tuple(psf.shape)}, "
            f"got {tuple(images.shape)}"
        )
    if not all_finite(images):
        raise ValueError("images must be finite, got NaN or infinite values")
    if not psf.numel() or not all_finite(psf) or not bool((psf != 0).any()):
        raise ValueError("psf must be finite and not 0 everywhere")
    size = psf.shape[-1]
    # Twice as wide, so that nothing comes back over an edge.
    wide = (2 * size, 2 * size)
    middle = size // 2
    kernel = torch.fft.rfft2(psf, s=wide).conj()
    waves = torch.fft.rfft2(images, s=wide) * kernel
    # The correlation stands with its origin where the PSF has its peak.
    summed = torch.fft.irfft2(waves, s=wide).roll((middle, middle), (-2, -1))
    total = float(psf.double().square().sum())
    return summed[..., :size, :size] / total, total**-0.5


def find_peaks(flux: Tensor, *, least: float, box: int = 3) -> Peaks:
    """Return the peaks of filtered images, by photutils.

    Arguments:
        flux: ``(B, H, H)``, of `point_source_flux`.
        least: smallest flux of a peak.
        box: side of the square of pixels in which a peak is the largest, odd.

    Raises:
        ValueError: a shape with other than three dimensions, a flux that is not finite, or a
            smallest flux or box that is not positive.
    """
    from photutils.detection import find_peaks as find  # half a second: only who scores needs it

    positive(box=box)
    threshold = as_length("least", least)
    (flux,) = as_floats(flux=flux)
    if flux.ndim != 3 or not all_finite(flux):
        raise ValueError(f"flux must be (B, H, H) and finite, got shape {tuple(flux.shape)}")
    places: list[tuple[int, int, int]] = []
    for number, image in enumerate(flux.detach().cpu().double().numpy()):
        # None and a warning where there is no peak: looked for only where there is one, which no
        # constant image has.
        if not (image > threshold).any() or image.min() == image.max():
            continue
        table = find(image, threshold, box_size=box)
        if table is not None:
            rows = np.asarray(table["y_peak"]).tolist()
            columns = np.asarray(table["x_peak"]).tolist()
            places += [(number, row, column) for row, column in zip(rows, columns, strict=True)]
    where = torch.tensor(places, dtype=torch.long, device=flux.device).reshape(-1, 3)
    image_number, row, column = where.unbind(1)
    return Peaks(image_number, row, column, flux[image_number, row, column])


def unmatched(peaks: Peaks, other: Tensor) -> Tensor:
    """Return which peaks another image does not have, bool ``(P,)``.

    Peaks of a prediction that the truth does not have are invented; peaks of the truth that a
    prediction does not have are lost.

    Arguments:
        peaks: of `find_peaks`.
        other: ``(B, H, H)``, filtered as the image of the peaks was.

    Raises:
        TypeError, ValueError: another shape, or no floating-point numbers.
    """
    (other,) = as_floats(other=other)
    if other.ndim != 3:
        raise ValueError(f"other must be (B, H, H), got shape {tuple(other.shape)}")
    for axis, places in enumerate((peaks.image, peaks.row, peaks.column)):
        if len(places) and int(places.max()) >= other.shape[axis]:
            raise ValueError(
                f"other must be as large as the images of the peaks, got {tuple(other.shape)}"
            )
    # The largest of the neighbours, for a peak may have moved by a pixel.
    around = torch.nn.functional.max_pool2d(other[:, None], 2 * _REACH + 1, 1, _REACH)[:, 0]
    return around[peaks.image, peaks.row, peaks.column] < _SHARE * peaks.flux
