"""Fluxes of simulated galaxies through filters, and the magnitudes that SDSS would measure."""

import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.data._nodes import between
from skytutor.data.galaxy_population import Galaxies
from skytutor.data.galaxy_table import SDSS
from skytutor.data.spectral_templates import BandTable
from skytutor.validate import check_axes

__all__ = ["component_fluxes", "residual_factor", "sdss_magnitudes"]

# Effective wavelengths of SDSS griz in angstrom: where the residuals were measured.
_SDSS_GRIZ = (4702.0, 6176.0, 7490.0, 8947.0)


def residual_factor(residual: Tensor, wavelength: Tensor) -> Tensor:
    """Return the factor on a flux at observed wavelengths that the templates' residual makes.

    The residual in magnitudes is a straight line in wavelength between two bands, and stays what it
    is there beyond the outer ones.

    Arguments:
        residual: ``(B, 4)``, magnitudes, at the effective wavelengths of SDSS griz.
        wavelength: ``(W,)`` or ``(B, W)``, angstrom, observed.

    Returns:
        ``(B, W)``.

    Raises:
        TypeError: no floating-point numbers.
        ValueError: other shapes.

    Example:
        >>> fainter = torch.tensor([[0.0, 2.5, 0.0, 0.0]])
        >>> residual_factor(fainter, torch.tensor([3000.0, 6176.0]))
        tensor([[1.0000, 0.1000]])
    """
    residual, wavelength = as_floats(residual=residual, wavelength=wavelength)
    if wavelength.dim() == 1:
        check_axes("B 4, W", residual=residual, wavelength=wavelength)
    else:
        check_axes("B 4, B W", residual=residual, wavelength=wavelength)
    common = torch.promote_types(residual.dtype, wavelength.dtype)
    residual = residual.to(common)
    wavelength = wavelength.to(common)
    nodes = torch.tensor(_SDSS_GRIZ, device=residual.device, dtype=common)
    left, right, weight = between(nodes, wavelength.expand(len(residual), -1))
    magnitudes = residual.gather(1, left).lerp(residual.gather(1, right), weight)
    return torch.pow(10.0, -0.4 * magnitudes)


def component_fluxes(
    galaxies: Galaxies, table: BandTable, *, wavelengths: tuple[float, ...]
) -> Tensor:
    """Return the flux of each component through each filter, ``(B, 3, F)``, nanomaggies.

    Arguments:
        galaxies: of a simulator's `draw`, on the table's device.
        table: of F filters.
        wavelengths: F effective wavelengths of the filters, angstrom.

    Raises:
        ValueError: redshifts or attenuations outside the table.
    """
    redshift = galaxies.redshift[:, None].expand(-1, 3)
    continuum = table.continuum(redshift, galaxies.a_v)
    stars = torch.einsum("bck,bckf->bcf", galaxies.coefficients, continuum)
    gas = torch.einsum("bcl,blf->bcf", galaxies.lines, table.lines(galaxies.redshift))
    at = torch.tensor(wavelengths, device=stars.device)
    return (stars + gas) * residual_factor(galaxies.residual, at)[:, None]


def sdss_magnitudes(galaxies: Galaxies) -> Tensor:
    """Return AB magnitudes in SDSS g, r, i, z, ``(B, 4)``, without noise.

    Arguments:
        galaxies: of a simulator's `draw`.

    Example:
        >>> from skytutor.data.galaxies import GalaxySimulator
        >>> galaxies = GalaxySimulator().draw(2, generator=torch.Generator().manual_seed(0))
        >>> g, r, i, z = sdss_magnitudes(galaxies).T
        >>> bool((g > r).all())
        True
    """
    table = BandTable(SDSS[1:], device=galaxies.redshift.device)
    fluxes = component_fluxes(galaxies, table, wavelengths=_SDSS_GRIZ)
    return 22.5 - 2.5 * fluxes.sum(1).log10()
