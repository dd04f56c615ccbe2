"""A real field: a band of SDSS from two others, beside what SDSS and the deeper DES saw in it.

Shapes: T = 1 band that is asked for, H pixels along a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.subsets import check_request, given_bands
from skytutor.data.band_images import load_band_image
from skytutor.data.cutout_stack import stack_bands
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.surveys import BANDS
from skytutor.metrics.sources import find_peaks, point_source_flux, unmatched

__all__ = ["RealField", "load_field", "peaks_beside"]

_POSITION = (27.952, 0.2635)  # right ascension and declination of the galaxy, degrees
_FOLDER = Path("bands") / "hostphot_SN2006bh"
_SIZE, _PIXEL = 64, 0.8
_SIGNIFICANT = 5.0  # standard deviations


@dataclass(frozen=True)
class RealField:
    """One field as two surveys saw it, on the grid of the simulated scenes.

    Attributes:
        images: ``(F, H, H)``, of SDSS in the order of `BANDS`, nanomaggies a pixel; 0 elsewhere.
        ivar: ``(F, H, H)``; 0 in bands that are not there.
        deeper: ``(H, H)``, of DES in r, nanomaggies a pixel.
        deeper_noise: standard deviation of a pixel of it.
    """

    images: Tensor
    ivar: Tensor
    deeper: Tensor
    deeper_noise: float

    def translate(self, network: BandTranslator, inputs: Sequence[str], target: str) -> Tensor:
        """Return the band that a network makes of others, ``(H, H)``, nanomaggies a pixel.

        Arguments:
            network: in evaluation mode.
            inputs: names of the bands that it is given.
            target: name of the band that is asked for.

        Raises:
            ValueError: no such bands, the target among the inputs, or an input of which the field
                has no image.
        """
        check_request(inputs, [target])
        names = list(BANDS)
        missing = [name for name in inputs if not (self.ivar[names.index(name)] > 0).any()]
        if missing:
            raise ValueError(f"inputs must be bands that were observed, got {', '.join(missing)}")
        row = names.index(target)
        with torch.no_grad():
            answer = network.predict(
                self.images[None], self.ivar[None], given_bands(inputs)[None], targets=[row]
            )
        return answer[0, 0]


def load_field(folder: Path) -> RealField | None:
    """Return the field of one galaxy; None where the files are not.

    Arguments:
        folder: of the data, as `skytutor.data.registry.folder` returns it.
    """
    place = Path(folder) / _FOLDER
    if not place.is_dir():
        return None
    names = list(BANDS)
    images, ivar = torch.zeros(len(names), _SIZE, _SIZE), torch.zeros(len(names), _SIZE, _SIZE)
    for band in "gri":
        stacked = _on_grid(place / f"SDSS_{band}.fits", band)
        images[names.index(band)], ivar[names.index(band)] = stacked
    deeper, deeper_ivar = _on_grid(place / "DES_r.fits", "DES-r")
    noise = float(deeper_ivar[deeper_ivar > 0].median() ** -0.5)
    return RealField(images, ivar, deeper, noise)


def _on_grid(path: Path, band: str) -> tuple[Tensor, Tensor]:
    """Return image and inverse variance ``(H, H)`` on the grid of the scenes."""
    image = load_band_image(path, band=band, position=_POSITION)
    stacked = stack_bands(
        [image], position=_POSITION, bands=[band], size=_SIZE, pixel_arcsec=_PIXEL
    )
    return stacked.images[0], stacked.ivar[0]


def peaks_beside(image: Tensor, other: Tensor, *, noise: float, fwhm: float) -> tuple[int, int]:
    """Return how many peaks an image has, and how many of them another one does not have.

    Arguments:
        image: ``(H, H)``, nanomaggies a pixel.
        other: ``(H, H)``, likewise.
        noise: standard deviation of a pixel: peaks are five times as significant.
        fwhm: of the PSF with which both are filtered, arcsec.

    Raises:
        ValueError: images of different shapes, or that are not finite.
    """
    if image.shape != other.shape:
        raise ValueError(
            f"other must have the shape of image {tuple(image.shape)}, got {tuple(other.shape)}"
        )
    psf = SceneRenderer(image.shape[-1], pixel_arcsec=_PIXEL, psf_fwhm=[fwhm]).psf_image(0)
    filtered, error = point_source_flux(torch.stack([image, other]), psf)
    peaks = find_peaks(filtered[:1], least=_SIGNIFICANT * noise * error)
    return len(peaks), int(unmatched(peaks, filtered[1:]).sum())
