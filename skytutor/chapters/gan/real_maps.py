"""The real maps of chapter 2: digits laid on the sphere, and skies drawn from a spectrum.

Shapes: N maps, H pixels along the side of an image, P = 12 nside**2 pixels in NESTED order. Skies
are in units of their standard deviation.
"""

import torch
from torch import Tensor

from skytutor.chunks import in_chunks
from skytutor.data.projection import SphereProjection
from skytutor.fields.camb import camb_spectra
from skytutor.fields.spectra import maps_from_white_noise
from skytutor.memo import cached_object, cached_table
from skytutor.sht import RealHarmonics
from skytutor.validate import positive

NSIDE = 16
LMAX = 3 * NSIDE - 1  # of the skies


@cached_object(maxsize=4)
def _projection(nside: int) -> SphereProjection:
    return SphereProjection(nside=nside)


def digit_maps(images: Tensor, *, nside: int = NSIDE) -> Tensor:
    """Project upright digits to the sphere: what the generators are to imitate.

    Arguments:
        images: ``(N, H, H)``.
        nside: of the maps.

    Returns:
        maps ``(N, 1, P)``, NESTED, in 0..1.
    """
    return in_chunks(_projection(nside).project, images, size=500).clamp(0, 1)


@cached_table(maxsize=1)
def sky_spectrum() -> Tensor:
    """Return the C_l of the true skies: CAMB's of the temperature, for maps of unit variance.

    Returns:
        ``(48,)``, float64, l = 0 to 47; monopole and dipole are 0.
    """
    cl = camb_spectra(lmax=LMAX, tau=0.054)["TT"].clone()
    cl[:2] = 0
    # The variance of a map is sum_l (2 l + 1) C_l / (4 pi).
    return cl / (cl * (2 * torch.arange(LMAX + 1) + 1)).sum() * (4 * torch.pi)


@cached_object(maxsize=1)
def _synthesis() -> RealHarmonics:
    return RealHarmonics(NSIDE, LMAX, order="nested")


def sky_maps(white: Tensor) -> Tensor:
    """Turn white noise into Gaussian skies of `sky_spectrum`.

    Arguments:
        white: standard normal numbers ``(N, 2304)``, one for each real harmonic coefficient.

    Returns:
        maps ``(N, 1, P)``, NESTED.

    Raises:
        ValueError: another shape, or no rows.
    """
    if white.dim() != 2 or white.shape[1] != (LMAX + 1) ** 2 or not len(white):
        raise ValueError(
            f"white must be (N, {(LMAX + 1) ** 2}) with N at least 1, "
            f"got shape {tuple(white.shape)}"
        )
    maps = maps_from_white_noise(white.cpu(), sky_spectrum(), harmonics=_synthesis())
    return maps.unsqueeze(1)


def true_skies(size: int, *, generator: torch.Generator) -> Tensor:
    """Draw Gaussian skies of `sky_spectrum`.

    Arguments:
        size: N.
        generator: the only source of random numbers here.

    Returns:
        maps ``(N, 1, P)``, NESTED.
    """
    white = torch.randn(*positive(size=size), (LMAX + 1) ** 2, generator=generator)
    return in_chunks(sky_maps, white, size=500)
