"""How fast chapter 4's galaxies are rendered, against astropy's profiles and an FFT of scipy.

Both have the same galaxies of a bulge, a disc and clumps, the same fluxes and PSFs, and one thread.
The other way is as fast as it can easily be made: a component is evaluated once for all bands,
forward transforms are of the three components and not of the five bands, the transforms of the PSFs
are made before the clock starts, and its oversampling is modest, so that it misses the cusps of the
bulges.
"""

import time

import numpy as np
import torch
from astropy.modeling.models import Gaussian2D, Moffat2D, Sersic2D
from scipy import fft, special

from skytutor.data.rendering import GalaxyRenderer, Shapes

GALAXIES = 1000
BATCH = 50
CLUMPS = 12
OVERSAMPLED = 50  # galaxies of the other way, whose time is scaled
FINE = 4  # cells along the side of a pixel


def draw(count: int, *, seed: int = 0) -> tuple[Shapes, torch.Tensor]:
    """Draw shapes and fluxes ``(B, 3, 5)``."""
    rng = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, *size: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*size, generator=rng)

    weight = between(0.2, 1, count, CLUMPS)
    shapes = Shapes(
        bulge_radius=between(0.4, 1.5, count),
        bulge_axis_ratio=between(0.5, 1, count),
        bulge_angle=between(0, torch.pi, count),
        disc_radius=between(0.8, 3, count),
        disc_axis_ratio=between(0.3, 1, count),
        disc_angle=between(0, torch.pi, count),
        clump_x=between(-3, 3, count, CLUMPS),
        clump_y=between(-3, 3, count, CLUMPS),
        clump_sigma=between(0.15, 0.5, count, CLUMPS),
        clump_weight=weight / weight.sum(1, keepdim=True),
    )
    return shapes, between(1, 10, count, 3, 5)


class Oversampled:
    """astropy's profiles on a fine grid, convolved by FFT, averaged over pixels."""

    def __init__(self, renderer: GalaxyRenderer):
        self.frame = renderer.frame
        first = (renderer.frame - renderer.size) // 2
        self.image = slice(first, first + renderer.size)
        cells = renderer.frame * FINE
        self.step = renderer.pixel_arcsec / FINE
        at = (np.arange(cells) - (cells - 1) / 2) * self.step
        self.grid = np.meshgrid(at, at)
        # The PSF about the first cell, around which the frame closes
        away = fft.fftfreq(cells) * cells * self.step
        self.psf = []
        for fwhm in renderer.psf_fwhm:
            core = fwhm / 2 / np.sqrt(2**0.4 - 1)
            values = Moffat2D(1, 0, 0, core, 2.5)(*np.meshgrid(away, away))
            self.psf.append(fft.rfft2(values / values.sum()))

    def _sersic(self, n: int, radius: float, axis_ratio: float, angle: float) -> np.ndarray:
        """Evaluate a Sersic profile of unit flux."""
        b = special.gammaincinv(2 * n, 0.5)
        flux = 2 * np.pi * n * np.exp(b) * b ** (-2 * n) * special.gamma(2 * n)
        amplitude = 1 / (flux * axis_ratio * radius**2)
        return Sersic2D(amplitude, radius, n, 0, 0, 1 - axis_ratio, angle)(*self.grid)

    def _clumps(self, shapes: Shapes, k: int) -> np.ndarray:
        """Add up the clumps of galaxy `k`."""
        total = np.zeros_like(self.grid[0])
        columns = (shapes.clump_weight, shapes.clump_x, shapes.clump_y, shapes.clump_sigma)
        for weight, x, y, sigma in zip(*(column[k].tolist() for column in columns), strict=True):
            total += Gaussian2D(weight / (2 * np.pi * sigma**2), x, y, sigma, sigma)(*self.grid)
        return total

    def __call__(self, shapes: Shapes, fluxes: np.ndarray, k: int) -> np.ndarray:
        """Render galaxy `k`: ``(5, size, size)``."""
        bulge = (shapes.bulge_radius, shapes.bulge_axis_ratio, shapes.bulge_angle)
        disc = (shapes.disc_radius, shapes.disc_axis_ratio, shapes.disc_angle)
        components = [
            self._sersic(4, *(float(column[k]) for column in bulge)),
            self._sersic(1, *(float(column[k]) for column in disc)),
            self._clumps(shapes, k),
        ]
        waves = fft.rfft2(np.stack(components) * self.step**2)
        images = []
        for band, psf in enumerate(self.psf):
            total = np.tensordot(fluxes[k, :, band], waves, axes=1)
            cells = fft.irfft2(total * psf, s=self.grid[0].shape)
            pixels = cells.reshape(self.frame, FINE, self.frame, FINE).sum((1, 3))
            images.append(pixels[self.image, self.image])
        return np.stack(images)


def measure() -> dict[str, float]:
    """Time both ways in this process.

    Returns:
        Milliseconds a galaxy as "ours" and "oversampled"; "apart", the largest difference of two
        images over the peak.
    """
    renderer = GalaxyRenderer()
    shapes, fluxes = draw(BATCH)
    images = renderer.images(renderer.planes(shapes), fluxes)  # makes the table
    batches = [draw(BATCH, seed=k) for k in range(GALAXIES // BATCH)]
    began = time.perf_counter()
    for some, light in batches:
        renderer.images(renderer.planes(some), light)
    ours = time.perf_counter() - began
    other = Oversampled(renderer)
    light = fluxes.numpy()
    other(shapes, light, 0)
    began = time.perf_counter()
    theirs = [other(shapes, light, k) for k in range(OVERSAMPLED)]
    oversampled = time.perf_counter() - began
    difference = np.abs(np.stack(theirs) - images[:OVERSAMPLED].numpy()).max((1, 2, 3))
    return {
        "ours": 1e3 * ours / GALAXIES,
        "oversampled": 1e3 * oversampled / OVERSAMPLED,
        "apart": float((difference / images[:OVERSAMPLED].amax((1, 2, 3)).numpy()).max()),
    }


def report() -> None:
    """Print the time of both ways in one thread, and their ratio."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    row = measure()
    torch.set_num_threads(threads)
    ratio = row["oversampled"] / row["ours"]
    print(
        f"Galaxies of a bulge, a disc and {CLUMPS} clumps, 64 pixels, 5 bands, one thread:\n"
        f"skytutor.data.rendering, {GALAXIES:,} galaxies in batches of {BATCH}: "
        f"{row['ours']:.2f} ms a galaxy\n"
        f"astropy, {FINE} x {FINE} cells a pixel, and scipy's FFT, measured on {OVERSAMPLED}: "
        f"{row['oversampled']:.1f} ms a galaxy\n"
        f"ratio {ratio:.0f} (at least 4: {'met' if ratio >= 4 else 'missed'}); "
        f"images differ by {row['apart']:.1e} of their peak at most, "
        "at the bulges' cusps"
    )
