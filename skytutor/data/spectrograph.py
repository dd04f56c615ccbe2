"""Noise of the spectrograph of SDSS, as six of its spectra show it."""

import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.data._nodes import between
from skytutor.validate import check_broadcast

__all__ = ["spectrograph_noise"]

# Observed wavelength in angstrom, and the variance of a bin of the grid per unit of flux and
# without flux, in (1e-17 erg/s/cm^2/angstrom)^2: fitted to the inverse variances of six galaxies of
# fibre magnitudes 16.7 to 18.4, which it meets to about 10 %.
_WAVELENGTH = (
    *(3875.0, 4025.0, 4200.0, 4450.0, 4800.0, 5250.0, 5650.0),
    *(5950.0, 6300.0, 6750.0, 7250.0, 7750.0, 8250.0, 8850.0),
)
_PHOTONS = (
    *(0.0051, 0.0051, 0.0102, 0.0101, 0.0093, 0.0090, 0.0091),
    *(0.0063, 0.0061, 0.0055, 0.0058, 0.0068, 0.0069, 0.0087),
)
_SKY = (
    *(1.28, 0.68, 0.363, 0.232, 0.150, 0.084, 0.089),
    *(0.088, 0.030, 0.015, 0.013, 0.036, 0.059, 0.182),
)


def spectrograph_noise(flux: Tensor, wavelength: Tensor) -> Tensor:
    """Return the standard deviation of a fibre spectrum in a bin of the grid.

    The variance is that of the photons of the galaxy, which grows with its flux, plus that of sky
    and detector, which does not.

    Arguments:
        flux: ``(B, W)``, 1e-17 erg/s/cm^2/angstrom, through the fibre; taken as 0 below 0.
        wavelength: ``(B, W)``, angstrom, observed.

    Returns:
        ``(B, W)``, in the unit of the flux.

    Raises:
        TypeError: no floating-point numbers.
        ValueError: shapes that do not broadcast.

    Example:
        >>> spectrograph_noise(torch.tensor([[10.0]]), torch.tensor([[6750.0]]))
        tensor([[0.2646]])
    """
    flux, wavelength = as_floats(flux=flux, wavelength=wavelength)
    check_broadcast(flux=flux, wavelength=wavelength)
    common = torch.promote_types(flux.dtype, wavelength.dtype)
    wavelength = wavelength.to(common)
    nodes = torch.tensor(_WAVELENGTH, dtype=common, device=wavelength.device)
    left, right, weight = between(nodes, wavelength)
    photons = torch.tensor(_PHOTONS, dtype=common, device=wavelength.device)
    sky = torch.tensor(_SKY, dtype=common, device=wavelength.device)
    per_flux = photons[left].lerp(photons[right], weight)
    without = sky[left].lerp(sky[right], weight)
    return (per_flux * flux.clamp(min=0) + without).sqrt()
