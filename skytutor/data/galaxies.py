"""A simulator of galaxies: five-band images, and the spectrum that a fibre sees of each.

The default of the chapter on spectra from images. Spectra of real galaxies (`galaxy_table`) are
shared between bulge, disc and clumps (`galaxy_population`), given lines (`galaxy_lines`), imaged
through the bands and PSFs of Pan-STARRS (`rendering`), and seen through the 3 arcsec fibre of SDSS.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.data.galaxy_lines import line_wavelengths
from skytutor.data.galaxy_photometry import component_fluxes, residual_factor
from skytutor.data.galaxy_population import Galaxies, Population
from skytutor.data.rendering import GalaxyRenderer
from skytutor.data.spectral_templates import (
    BANDS,
    LINES,
    LOG_WAVELENGTH,
    BandTable,
    attenuation,
    load_templates,
)
from skytutor.data.spectrograph import spectrograph_noise
from skytutor.validate import check_generator, positive
from skytutor.values import all_finite

__all__ = [
    "BANDS",
    "LOG_WAVELENGTH",
    "PANSTARRS",
    "SKY_NOISE",
    "FibreSpectra",
    "GalaxySimulator",
    "Photometry",
    "stable_cholesky",
]

PANSTARRS = tuple(f"panstarrs-{band}" for band in BANDS)
# Standard deviation of the sky in a pixel, nanomaggies: from the 5 sigma depths for point sources
# of the 3 pi stack, 23.3 23.2 23.1 22.3 21.3 (Chambers et al. 2016), for Gaussians of the PSFs'
# widths. Through the wings of a Moffat these depths are 0.35 magnitudes less.
SKY_NOISE = (0.0122, 0.0146, 0.0173, 0.0382, 0.0998)
# Effective wavelengths of the bands, angstrom.
_PANSTARRS_GRIZY = (4866.0, 6215.0, 7545.0, 8679.0, 9633.0)
_WINDOW = (3800.0, 9200.0)  # angstrom, observed: what the spectrograph sees
_NORM = (4500.0, 6500.0)  # angstrom, rest frame: the mean flux here is 1
_LIGHT = 299792.458  # km/s
_APERTURE = 1.5  # arcsec, radius of the circle that a catalogue measures in


@dataclass(frozen=True)
class Photometry:
    """What can be known about the light of galaxies without looking at shapes.

    Attributes:
        flux: ``(B, 3, 5)``, of each component in each band, nanomaggies, without noise.
        measured: ``(B, 5, 4)``, sums over the pixels of a noisy image times each component's
            image of unit flux, and over the 3 arcsec aperture.
        gram: ``(B, 5, 4, 4)``, of these four templates with each other: covariance of `measured`
            over the variance of a pixel.
        fibre: ``(B, 3)``, fraction of each component's light that enters the fibre.
    """

    flux: Tensor
    measured: Tensor
    gram: Tensor
    fibre: Tensor


@dataclass(frozen=True)
class FibreSpectra:
    """Spectra through the fibre on the grid of `LOG_WAVELENGTH`, mean 1 over 4500..6500 angstrom.

    Attributes:
        truth: ``(B, 1000)``, without noise, also where nothing was observed.
        flux: ``(B, 1000)``, with noise; 0 where nothing was observed.
        inverse_variance: ``(B, 1000)``; 0 where nothing was observed.
        mask: ``(B, 1000)`` bool, True where observed.
        log_widths: ``(B, 2)``, natural logarithms of the equivalent widths of H-alpha and
            [OIII] 5007 in angstrom, rest frame, without noise.
    """

    truth: Tensor
    flux: Tensor
    inverse_variance: Tensor
    mask: Tensor
    log_widths: Tensor


class GalaxySimulator:
    """Draw galaxies and observe them.

    Arguments:
        gradient: 0 to 1, how far bulge, disc and clumps differ in colour; see `Population`.
        null: one spectrum for all components, shapes of other galaxies.
        size: pixels along the side of an image, 0.25 arcsec each.
        device: where the tables lie; draws come from a generator on the same device.

    Raises:
        TypeError: gradient is no number, null no bool, size no integer.
        ValueError: gradient outside 0..1, or a size that is not positive.

    Example:
        >>> simulator = GalaxySimulator(size=32)
        >>> galaxies = simulator.draw(2, generator=torch.Generator().manual_seed(0))
        >>> simulator.images(galaxies).shape
        torch.Size([2, 5, 32, 32])
    """

    def __init__(
        self,
        *,
        gradient: float = 1.0,
        null: bool = False,
        size: int = 64,
        device: torch.device | str = "cpu",
    ):
        positive(size=size)
        self.device = torch.device(device)
        self.population = Population(gradient=gradient, null=null)
        self.renderer = GalaxyRenderer(size, device=self.device)
        self.bands = BandTable(PANSTARRS, device=self.device)
        self.noise = torch.tensor(SKY_NOISE, dtype=torch.float32, device=self.device)
        grid = 10**LOG_WAVELENGTH
        templates = load_templates()
        self._wavelength = grid.float().to(self.device)
        self._edges = _edges().to(self.device)
        self._continuum = _resampled(templates.wavelength, templates.continuum).to(self.device)

    def draw(self, n: int, *, generator: torch.Generator) -> Galaxies:
        """Draw `n` galaxies.

        Arguments:
            n: how many.
            generator: of the random numbers, on the simulator's device.

        Raises:
            TypeError: n is no integer; no generator.
            ValueError: n below 1, or a generator on another device.
        """
        check_generator(generator, self.device)
        return self.population.draw(n, generator=generator)

    def fluxes(self, galaxies: Galaxies) -> Tensor:
        """Return the flux of each component in each band, ``(B, 3, 5)``, nanomaggies.

        Arguments:
            galaxies: of `draw`.
        """
        return component_fluxes(galaxies, self.bands, wavelengths=_PANSTARRS_GRIZY)

    def images(
        self,
        galaxies: Galaxies,
        *,
        planes: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return images ``(B, 5, size, size)``, nanomaggies a pixel.

        Arguments:
            galaxies: of `draw`.
            planes: of the renderer, where they are at hand.
            generator: of the sky's noise; None for none.

        Raises:
            TypeError: generator is something else.
            ValueError: planes of another number of galaxies.
        """
        planes = self.renderer.planes(galaxies.shapes) if planes is None else planes
        images = self.renderer.images(planes, self.fluxes(galaxies))
        if generator is None:
            return images
        return images + self.sky(len(galaxies), generator=generator)

    def sky(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return the sky's noise in the images of `n` galaxies, ``(n, 5, size, size)``.

        Arguments:
            n: how many.
            generator: of the random numbers, on the simulator's device.

        Raises:
            TypeError: n is no integer; no generator.
            ValueError: n below 1.
        """
        check_generator(generator, self.device)
        positive(n=n)
        shape = (n, len(self.noise), self.renderer.size, self.renderer.size)
        noise = torch.randn(shape, generator=generator, device=self.device)
        return noise * self.noise[:, None, None]

    def photometry(
        self,
        galaxies: Galaxies,
        *,
        planes: Tensor | None = None,
        generator: torch.Generator | None = None,
        sky: Tensor | None = None,
    ) -> Photometry:
        """Return what an image with noise says of known templates, without making the image.

        Arguments:
            galaxies: of `draw`.
            planes: of the renderer, where they are at hand.
            generator: of the noise, where no image is made.
            sky: of `sky`, the noise in the image that is measured.

        Raises:
            TypeError: neither generator nor sky.
            ValueError: planes of another number of galaxies; a sky of another shape or not finite.
        """
        if sky is None:
            check_generator(generator, self.device)
        else:
            self._check_sky(sky, len(galaxies))
        planes = self.renderer.planes(galaxies.shapes) if planes is None else planes
        if len(planes) != len(galaxies):
            raise ValueError(f"planes must hold {len(galaxies)} galaxies, got {len(planes)}")
        flux = self.fluxes(galaxies)
        aperture = self.renderer.aperture(planes, _APERTURE).transpose(1, 2)  # (B, 5, 3)
        area = torch.pi * (_APERTURE / self.renderer.pixel_arcsec) ** 2
        gram = flux.new_empty(len(flux), 5, 4, 4)
        gram[..., :3, :3] = self.renderer.gram(planes)
        gram[..., :3, 3] = aperture
        gram[..., 3, :3] = aperture
        gram[..., 3, 3] = area
        mean = torch.einsum("bfij,bjf->bfi", gram[..., :3], flux)
        if sky is None:
            # Noise of the four sums: their covariance is the Gram matrix times a pixel's variance.
            draw = torch.randn(
                mean.shape, generator=generator, device=self.device, dtype=torch.float64
            )
            lower = stable_cholesky(gram.double())
            noise = torch.einsum("bfij,bfj->bfi", lower, draw).to(mean) * self.noise[:, None]
        else:
            noise = self.renderer.sums(planes, sky, radius_arcsec=_APERTURE)
        return Photometry(flux, mean + noise, gram, self.renderer.fibre(planes))

    def _check_sky(self, sky: Tensor, n: int) -> None:
        wanted = (n, len(self.noise), self.renderer.size, self.renderer.size)
        if sky.shape != wanted:
            raise ValueError(
                f"sky must have shape (B, 5, size, size) = {wanted}, got {tuple(sky.shape)}"
            )
        if not all_finite(sky):
            raise ValueError("sky must be finite, got NaN or infinite values")

    def spectra(
        self, galaxies: Galaxies, fibre: Tensor, *, generator: torch.Generator
    ) -> FibreSpectra:
        """Return the spectra that a fibre sees.

        Arguments:
            galaxies: of `draw`.
            fibre: ``(B, 3)``, fraction of each component's light in the fibre.
            generator: of the noise.

        Raises:
            TypeError: no generator.
            ValueError: fibre of another shape, or not finite.
        """
        check_generator(generator, self.device)
        if fibre.shape != (len(galaxies), 3):
            wanted = (len(galaxies), 3)
            raise ValueError(f"fibre must have shape (B, 3) = {wanted}, got {tuple(fibre.shape)}")
        if not all_finite(fibre):
            raise ValueError("fibre must be finite, got NaN or infinite values")
        continuum, lines = self._components(galaxies)
        truth = torch.einsum("bc,bcw->bw", fibre, continuum + lines)
        observed = self._wavelength * (1 + galaxies.redshift[:, None])
        factor = residual_factor(galaxies.residual, observed) / (1 + galaxies.redshift[:, None])
        truth = truth * factor
        sigma = spectrograph_noise(truth, observed)
        inside = (self._wavelength > _NORM[0]) & (self._wavelength < _NORM[1])
        norm = truth[:, inside].mean(1, keepdim=True)
        truth = truth / norm
        sigma = sigma / norm
        mask = (observed > _WINDOW[0]) & (observed < _WINDOW[1])
        noise = torch.randn(truth.shape, generator=generator, device=self.device)
        flux = (truth + sigma * noise) * mask
        return FibreSpectra(
            truth=truth,
            flux=flux,
            inverse_variance=mask / sigma**2,
            mask=mask,
            log_widths=self._log_widths(galaxies, fibre, continuum),
        )

    def _components(self, galaxies: Galaxies) -> tuple[Tensor, Tensor]:
        """Return continuum and lines ``(B, 3, 1000)`` in the rest frame."""
        stars = galaxies.coefficients @ self._continuum
        stars = stars * attenuation(self._wavelength, galaxies.a_v[..., None])
        centres = line_wavelengths().to(self.device)
        width = centres * (galaxies.dispersion / _LIGHT)[:, None]  # (B, L), angstrom
        # Of each line the part that falls into a bin, over the bin's width: (B, L, 1000)
        below = torch.special.ndtr((self._edges - centres[:, None]) / width[..., None])
        profile = below.diff(dim=2) / self._edges.diff()
        return stars, torch.einsum("bcl,blw->bcw", galaxies.lines, profile)

    def _log_widths(self, galaxies: Galaxies, fibre: Tensor, continuum: Tensor) -> Tensor:
        """Return ln of the equivalent widths of H-alpha and [OIII] 5007, ``(B, 2)``, angstrom."""
        names = list(LINES)
        found = []
        stars = torch.einsum("bc,bcw->bw", fibre, continuum)
        for name in ("H-alpha", "[OIII] 5007"):
            flux = torch.einsum("bc,bc->b", fibre, galaxies.lines[..., names.index(name)])
            near = (self._wavelength / LINES[name] - 1).abs().argmin()
            found.append((flux / stars[:, near]).log())
        return torch.stack(found, dim=1)


def stable_cholesky(matrix: Tensor) -> Tensor:
    """Return the lower Cholesky factor of Gram matrices ``(..., n, n)``, which may be singular.

    Arguments:
        matrix: symmetric, not negative; a ten-millionth of its diagonal is added.
    """
    (matrix,) = as_floats(matrix=matrix)
    if matrix.dim() < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"matrix must be (..., n, n), got shape {tuple(matrix.shape)}")
    diagonal = torch.diag_embed(torch.diagonal(matrix, dim1=-2, dim2=-1))
    factor, failed = torch.linalg.cholesky_ex(matrix + 1e-7 * diagonal)
    if bool((failed != 0).any()):
        raise ValueError("matrix must be symmetric and not negative, and finite")
    return factor


def _edges() -> Tensor:
    """Return the edges of the bins of `LOG_WAVELENGTH`, ``(1001,)``, angstrom."""
    step = LOG_WAVELENGTH[1] - LOG_WAVELENGTH[0]
    ends = torch.cat([LOG_WAVELENGTH - step / 2, LOG_WAVELENGTH[-1:] + step / 2])
    return (10**ends).float()


def _resampled(wavelength: np.ndarray, spectra: np.ndarray) -> Tensor:
    """Return spectra ``(5, W)`` on the grid of `LOG_WAVELENGTH`, ``(5, 1000)``."""
    grid = (10**LOG_WAVELENGTH).numpy()
    rows = [np.interp(grid, wavelength, row) for row in spectra]
    return torch.from_numpy(np.stack(rows)).float()
