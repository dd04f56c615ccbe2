"""Fluxes as networks and scores see them: asinh of the flux over twice the noise.

Near zero the stretch is linear, so that noise stays noise; far above it is a logarithm, so that a
star and its faint neighbour are told in numbers of one size. It is undone by a sinh: no flux is
lost.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skytutor.data.exposures import pixel_noise
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.surveys import BANDS, band_names
from skytutor.memo import cached_object

__all__ = ["RANGE", "STRETCHED_RANGE", "softenings", "stretched", "unstretched"]

RANGE = 1000.0  # in softenings: a flux from which decibels are counted
STRETCHED_RANGE = math.asinh(RANGE)


@cached_object(maxsize=32)
def _softening(name: str, pixel_arcsec: float) -> float:
    """Return twice the deviation of an empty pixel of one band, nanomaggies."""
    band = BANDS[name]
    renderer = SceneRenderer(64, pixel_arcsec=pixel_arcsec, psf_fwhm=[band.fwhm])
    return 2 * pixel_noise(band, renderer.psf_image(0))


def softenings(bands: Sequence[str] = tuple(BANDS), *, pixel_arcsec: float = 0.8) -> Tensor:
    """Return twice the noise of an empty pixel of each band, nanomaggies, ``(F,)``.

    Arguments:
        bands: names of `skytutor.data.surveys.BANDS`.
        pixel_arcsec: side of a pixel.

    Raises:
        TypeError: one name instead of several.
        ValueError: no band, an unknown or a repeated one.

    Example:
        >>> [round(float(s), 3) for s in softenings(["r", "K"])]
        [0.092, 9.052]
    """
    return torch.tensor([_softening(name, pixel_arcsec) for name in band_names(bands)])


def stretched(flux: Tensor, softening: Tensor) -> Tensor:
    """Return ``asinh(flux / softening)``, of the shape of `flux`.

    Arguments:
        flux: ``(..., F, H, W)``, nanomaggies a pixel.
        softening: ``(F,)``.

    Example:
        >>> flux = torch.tensor([-0.5, 0.0, 80.0]).reshape(3, 1, 1)
        >>> stretched(flux, torch.full((3,), 0.1)).flatten()
        tensor([-2.3124,  0.0000,  7.3778])
    """
    return torch.asinh(flux / softening[:, None, None])


def unstretched(value: Tensor, softening: Tensor) -> Tensor:
    """Return the flux of stretched values: the inverse of `stretched`.

    Arguments:
        value: ``(..., F, H, W)``.
        softening: ``(F,)``.
    """
    return torch.sinh(value) * softening[:, None, None]
