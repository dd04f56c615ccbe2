"""Real galaxies: redshifts and photometry of 10,000 galaxies of SDSS, and their template fits.

The table comes with the package `kcorrect`. Each galaxy is a sum of the five templates with
coefficients that are not negative, found by least squares, and a residual in each band. The
simulator draws from one half of the galaxies; the other half is kept to test it against.
"""

from dataclasses import dataclass

import numpy as np

from skytutor.arrays import as_tensor
from skytutor.data.spectral_templates import BandTable
from skytutor.files import package_file
from skytutor.memo import cached_table

__all__ = ["SDSS", "RealGalaxies", "fit_templates", "real_galaxies"]

SDSS = ("sdss2010-u", "sdss2010-g", "sdss2010-r", "sdss2010-i", "sdss2010-z")
# Relative errors of templates and calibration, added in squares to those of the photometry.
_FLOOR = np.array([0.05, 0.02, 0.02, 0.02, 0.03])
_REDSHIFTS = (0.01, 0.36)  # of what the grid of wavelengths can hold


@dataclass(frozen=True)
class RealGalaxies:
    """Photometry of galaxies and what the templates make of it.

    Attributes:
        redshift: ``(N,)``.
        flux: ``(N, 5)``, SDSS ugriz in nanomaggies, corrected for the dust of our own Galaxy.
        coefficients: ``(N, 5)``, not negative, of the templates.
        residual: ``(N, 5)``, magnitudes, measured minus fitted, ugriz.
    """

    redshift: np.ndarray
    flux: np.ndarray
    coefficients: np.ndarray
    residual: np.ndarray

    def __len__(self) -> int:
        return len(self.redshift)

    def split(self, name: str) -> "RealGalaxies":
        """Return one half of the galaxies, the same at every call.

        Arguments:
            name: "drawn", which the simulator draws from, or "held", which it never sees.

        Raises:
            ValueError: another name.
        """
        if name not in ("drawn", "held"):
            raise ValueError(f"name must be 'drawn' or 'held', got {name!r}")
        order = np.random.default_rng(0).permutation(len(self))
        rows = order[: len(self) // 2] if name == "drawn" else order[len(self) // 2 :]
        return RealGalaxies(
            self.redshift[rows], self.flux[rows], self.coefficients[rows], self.residual[rows]
        )


@cached_table(maxsize=1)
def real_galaxies() -> RealGalaxies:
    """Read the table and fit the templates; a second or two, once in a process.

    Galaxies outside redshift 0.01 to 0.36, without a flux or an error in one of the five bands, or
    of a colour no galaxy has (g - z outside -1 to 4) are left out.
    """
    from astropy.io import fits

    with fits.open(package_file("kcorrect", "data", "test", "gst_tests_small.fits")) as file:
        table = file["GSTTEST"].data
        redshift = np.array(table["Z"], dtype=np.float64)
        flux = np.array(table["MODELFLUX"], dtype=np.float64)
        inverse_variance = np.array(table["MODELFLUX_IVAR"], dtype=np.float64)
        extinction = np.array(table["EXTINCTION"], dtype=np.float64)
    whole = (inverse_variance > 0).all(1) & (flux > 0).all(1)
    whole &= (redshift > _REDSHIFTS[0]) & (redshift < _REDSHIFTS[1])
    redshift = redshift[whole]
    dereddening = 10 ** (0.4 * extinction[whole])
    flux = flux[whole] * dereddening
    error = dereddening / np.sqrt(inverse_variance[whole])
    colour = -2.5 * np.log10(flux[:, 1] / flux[:, 4])
    usual = (colour > -1) & (colour < 4)
    return fit_templates(redshift[usual], flux[usual], error[usual])


def fit_templates(redshift: np.ndarray, flux: np.ndarray, error: np.ndarray) -> RealGalaxies:
    """Fit each galaxy by a sum of templates, none of them negative.

    Arguments:
        redshift: ``(N,)``, 0 to 0.4.
        flux: ``(N, 5)``, SDSS ugriz, nanomaggies.
        error: ``(N, 5)``, standard deviations, nanomaggies.

    Raises:
        ValueError: other shapes, no galaxy, fluxes or errors that are not positive and finite, or a
            redshift outside 0..0.4.
    """
    import torch
    from scipy.optimize import nnls

    redshift, flux, error = (
        as_tensor(name, values, dtype=torch.float64).numpy()
        for name, values in (("redshift", redshift), ("flux", flux), ("error", error))
    )
    _check_photometry(redshift, flux, error)

    z = torch.from_numpy(redshift).float()
    # The photometry holds the lines of the galaxies, so the templates keep theirs here.
    table = BandTable(SDSS, lines=True).continuum(z, torch.zeros_like(z)).numpy().astype(np.float64)
    sigma = np.hypot(error, _FLOOR * flux)
    # (N, 5 bands, 5 templates), each row in units of its error
    design = table.transpose(0, 2, 1) / sigma[..., None]
    found = np.stack([nnls(a, b)[0] for a, b in zip(design, flux / sigma, strict=True)])
    fitted = np.einsum("nkb,nk->nb", table, found)
    return RealGalaxies(redshift, flux, found, -2.5 * np.log10(flux / fitted))


def _check_photometry(redshift: np.ndarray, flux: np.ndarray, error: np.ndarray) -> None:
    if redshift.ndim != 1 or len(redshift) == 0:
        raise ValueError(f"redshift must have shape (N,), N at least 1, got {redshift.shape}")
    for name, values in (("flux", flux), ("error", error)):
        wanted = (len(redshift), 5)
        if values.shape != wanted:
            raise ValueError(f"{name} must have shape (N, 5) = {wanted}, got {values.shape}")
        # Colours are ratios, and least squares divide by the errors.
        bad = ~(np.isfinite(values) & (values > 0))
        if bad.any():
            raise ValueError(f"{name} must be finite and positive, got {values[bad][0]}")
