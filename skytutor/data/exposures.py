"""How a band is recorded: the noise of a CCD, single photons, or the blackening of a plate.

Each turns images without noise into what a survey publishes, in nanomaggies a pixel with the sky
subtracted, and an inverse variance that is told from what was recorded, never from the truth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor
from skytutor.data.surveys import Band, faint_error, sky_flux
from skytutor.validate import check_axes, check_generator
from skytutor.values import all_finite

__all__ = [
    "Plate",
    "Recorder",
    "draw_exposures",
    "expose",
    "noise_pixels",
    "pixel_noise",
    "true_variance",
]

_PLATE_MAX = 4.5  # density of an emulsion that has turned black
_PLATE_SKY = 1.0  # density of the sky
_PLATE_CONTRAST = 2.2  # rise of the density with log10 of the exposure, at the sky
_PLATE_BLACK = 0.95  # of the largest density: beyond, nothing is read off


def noise_pixels(psf: Tensor) -> float:
    """Return how many pixels of noise a point source is spread over: ``1 / sum psf^2``.

    Arguments:
        psf: ``(H, W)``, image of a point source of flux 1.

    Raises:
        ValueError: another shape, NaN, infinite values or zeros alone.

    Example:
        >>> noise_pixels(torch.full((2, 2), 0.25))
        4.0
    """
    psf = as_tensor("psf", psf, dtype=torch.float64)
    check_axes("H W", psf=psf)
    total = float(psf.square().sum())
    if not 0 < total < math.inf:
        raise ValueError(f"psf must be finite and not 0 everywhere, its squares sum to {total:g}")
    return 1 / total


def pixel_noise(band: Band, psf: Tensor) -> float:
    """Return the deviation of an empty pixel that gives a band its depth, nanomaggies.

    Arguments:
        band: of `skytutor.data.surveys.BANDS`.
        psf: ``(H, W)``, image of a point source of flux 1 in the band.
    """
    return faint_error(band) / noise_pixels(psf) ** 0.5


@dataclass(frozen=True)
class Plate:
    """An emulsion's characteristic curve: density against exposure, with grain and saturation.

    ``D(E) = D_max / (1 + (E_half / E)^a)``, with the exposure E in units of the sky's. The noise of
    the grain grows as the root of the density.

    Arguments:
        granularity: deviation of the density of a pixel of sky.
    """

    granularity: float

    @property
    def exponent(self) -> float:
        """Return a, for which the density rises at the sky as an emulsion's does."""
        room = _PLATE_SKY * (1 - _PLATE_SKY / _PLATE_MAX)
        return _PLATE_CONTRAST / (math.log(10) * room)

    @property
    def half_exposure(self) -> float:
        """Return the exposure of half of the largest density."""
        return float((_PLATE_MAX / _PLATE_SKY - 1) ** (1 / self.exponent))

    def density(self, exposure: Tensor) -> Tensor:
        """Return densities.

        Arguments:
            exposure: of any shape, not negative, in units of the sky's.

        Example:
            >>> Plate(0.1).density(torch.tensor([0.0, 1.0, 1e9]))
            tensor([0.0000, 1.0000, 4.5000])
        """
        return _PLATE_MAX / (1 + (self.half_exposure / exposure) ** self.exponent)

    def exposure(self, density: Tensor) -> Tensor:
        """Return the exposures of densities, from 0 to what is still read off.

        Arguments:
            density: of any shape.
        """
        held = density.clamp(1e-3, _PLATE_BLACK * _PLATE_MAX)
        return self.half_exposure * (_PLATE_MAX / held - 1) ** (-1 / self.exponent)

    def slope(self, density: Tensor) -> Tensor:
        """Return how much the exposure changes with the density.

        Arguments:
            density: of any shape.
        """
        held = density.clamp(1e-3, _PLATE_BLACK * _PLATE_MAX)
        return self.exposure(held) * _PLATE_MAX / (self.exponent * held * (_PLATE_MAX - held))

    def noise(self, density: Tensor) -> Tensor:
        """Return the deviation of densities.

        Arguments:
            density: of any shape.
        """
        return self.granularity * (density.clamp(min=1e-3) / _PLATE_SKY).sqrt()

    def sky_exposure(self) -> float:
        """Return the mean exposure that is read off the sky.

        The curve is bent, so that grain does not average out: it is not quite 1.
        """
        z = torch.linspace(-6, 6, 2001, dtype=torch.float64)
        weight = torch.exp(-z.square() / 2)
        density = _PLATE_SKY + self.granularity * z
        return float((self.exposure(density) * weight).sum() / weight.sum())


def _plate_of(noise: float, sky: float) -> Plate:
    """Return the emulsion whose grain makes a noise over a sky, both in nanomaggies a pixel."""
    at_sky = float(Plate(0.0).slope(torch.tensor(_PLATE_SKY)))
    return Plate(noise / sky / at_sky)


class Recorder:
    """How one band is recorded: what of it does not depend on the image is made once.

    Arguments:
        band: of `skytutor.data.surveys.BANDS`.
        psf: ``(H, W)``, image of a point source of flux 1 in the band.
        pixel_arcsec: side of a pixel.

    Example:
        >>> from skytutor.data.surveys import BANDS
        >>> psf = torch.full((2, 2), 0.25)
        >>> recorder = Recorder(BANDS["r"], psf=psf, pixel_arcsec=0.8)
        >>> truth = torch.zeros(3, 2, 2)
        >>> rng = torch.Generator().manual_seed(0)
        >>> drawn = recorder.draw(recorder.expected(truth), rng)
        >>> image, ivar = recorder.record(truth, drawn)
        >>> image.shape, ivar.shape
        (torch.Size([3, 2, 2]), torch.Size([3, 2, 2]))
    """

    def __init__(self, band: Band, *, psf: Tensor, pixel_arcsec: float):
        self.band = band
        self.noise = pixel_noise(band, psf)
        self.sky = sky_flux(band) * pixel_arcsec**2 if band.kind != "ccd" else 0.0
        if band.kind == "plate":
            self.plate = _plate_of(self.noise, self.sky)
            self.plate_sky = self.plate.sky_exposure()

    def expected(self, truth: Tensor) -> Tensor:
        """Return the light that an exposure collects: photons of source and sky, or the truth.

        Arguments:
            truth: of any shape, nanomaggies a pixel.
        """
        if self.band.kind != "photons":
            return truth
        per_flux = self.band.counts_per_nanomaggie
        return truth.clamp(min=0) * per_flux + self.sky * per_flux

    def draw(self, light: Tensor, generator: torch.Generator) -> Tensor:
        """Return what is random in an exposure, of the shape of `light`.

        Arguments:
            light: of `expected`, finite.
            generator: of the noise, on the device of `light`.

        Returns:
            counts of photons, or standard normal numbers.
        """
        if self.band.kind == "photons":
            return torch.poisson(light, generator=generator)
        return torch.randn(light.shape, generator=generator, device=light.device, dtype=light.dtype)

    def record(self, truth: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Return images with noise, and the inverse variance of each pixel.

        Arguments:
            truth: of any shape, finite, nanomaggies a pixel.
            drawn: of `draw`.
        """
        record = {"ccd": self._ccd, "photons": self._photons, "plate": self._plate}
        return record[self.band.kind](truth, drawn)

    def variance(self, truth: Tensor) -> Tensor:
        """Return the variance of what is recorded of each pixel, in nanomaggies squared.

        Arguments:
            truth: of any shape, nanomaggies a pixel.
        """
        light = truth.clamp(min=0)
        if self.band.kind == "ccd":
            return self.noise**2 + light / self.band.counts_per_nanomaggie
        if self.band.kind == "photons":
            return (light + self.sky) / self.band.counts_per_nanomaggie
        density = self.plate.density(1 + light / self.sky)
        return (self.plate.slope(density) * self.plate.noise(density) * self.sky).square()

    def _ccd(self, truth: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Add the noise of the sky and of the source's own photons."""
        sky = self.noise**2
        per_flux = self.band.counts_per_nanomaggie
        variance = sky + truth.clamp(min=0) / per_flux
        image = truth + variance.sqrt() * drawn
        # The survey knows the source's photons from the same image.
        return image, 1 / (sky + image.clamp(min=0) / per_flux)

    def _photons(self, truth: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Subtract the photons that the sky is expected to give from those that were counted."""
        per_flux = self.band.counts_per_nanomaggie
        expected_sky = self.sky * per_flux
        image = (drawn - expected_sky) / per_flux
        # Where no photon fell the variance is that of the sky, not 0.
        return image, per_flux**2 / drawn.clamp(min=expected_sky)

    def _plate(self, truth: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Blacken a plate, read its density, and turn it back into light."""
        plate = self.plate
        density = plate.density(1 + truth.clamp(min=0) / self.sky)
        density = density + plate.noise(density) * drawn
        # What a survey calls zero is the mean of the empty sky.
        image = (plate.exposure(density) - self.plate_sky) * self.sky
        deviation = plate.slope(density) * plate.noise(density) * self.sky
        black = density > _PLATE_BLACK * _PLATE_MAX
        return image, torch.where(black, 0, deviation**-2)


def draw_exposures(
    truth: Tensor, recorders: Sequence[Recorder], *, generators: Sequence[torch.Generator]
) -> Tensor:
    """Return what is random in exposures of F bands, shaped as `truth`.

    Arguments:
        truth: ``(B, F, H, W)``, finite, nanomaggies a pixel.
        recorders: of the F bands.
        generators: one for each of as many equal groups of images, on the device of `truth`; each
            draws band after band.

    Raises:
        ValueError: a number of generators that does not divide that of the images.
    """
    n = len(generators)
    if not n or len(truth) % n:
        raise ValueError(f"generators must divide the {len(truth)} images, got {n}")
    # (F, groups, images of each, H, W)
    by_band = truth.unflatten(0, (n, -1)).movedim(2, 0)
    light = torch.stack([one.expected(by_band[f]) for f, one in enumerate(recorders)])
    runs = _runs([one.band.kind for one in recorders], pixels=light[0, 0].numel())
    drawn = torch.empty_like(light)
    for k, generator in enumerate(generators):
        for run in runs:
            drawn[run, k] = recorders[run.start].draw(light[run, k], generator)
    return drawn.movedim(0, 2).flatten(0, 1).contiguous()


def _runs(kinds: Sequence[str], *, pixels: int) -> list[slice]:
    """Return which bands' random numbers are drawn in one go: neighbours of one distribution."""
    starts = [0]
    for f in range(1, len(kinds)):
        alike = (kinds[f] == "photons") == (kinds[f - 1] == "photons")
        # torch makes normal numbers sixteen at a time: only then are they the same in one go.
        if not alike or pixels % 16:
            starts.append(f)
    ends = [*starts[1:], len(kinds)]
    return [slice(first, last) for first, last in zip(starts, ends, strict=True)]


def expose(
    truth: Tensor, band: Band, *, psf: Tensor, pixel_arcsec: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return images with noise, and the inverse variance of each pixel.

    Arguments:
        truth: ``(B, H, W)``, without noise, nanomaggies a pixel.
        band: of `skytutor.data.surveys.BANDS`.
        psf: ``(H, W)``, image of a point source of flux 1 in the band.
        pixel_arcsec: side of a pixel.
        generator: of the noise, on the device of `truth`.

    Returns:
        images and inverse variances, shaped as `truth`; the latter 0 where a plate is black.

    Raises:
        TypeError: no generator.
        ValueError: truth and psf of different shapes, a truth that is not finite, or a generator on
            another device.
    """
    truth, psf = as_floats(truth=truth, psf=psf)
    if truth.ndim != 3 or truth.shape[1:] != psf.shape:
        raise ValueError(
            f"truth must be (B, H, W) with H and W of psf {tuple(psf.shape)}, "
            f"got {tuple(truth.shape)}"
        )
    if not all_finite(truth):
        raise ValueError("truth must be finite, got NaN or infinite values")
    check_generator(generator, truth.device)
    recorder = Recorder(band, psf=psf, pixel_arcsec=pixel_arcsec)
    return recorder.record(truth, recorder.draw(recorder.expected(truth), generator))


def true_variance(truth: Tensor, band: Band, *, psf: Tensor, pixel_arcsec: float) -> Tensor:
    """Return the variance of what `expose` makes of each pixel, in nanomaggies squared.

    It is that of the noise about the truth, which no survey knows: what an oracle is told.

    Arguments:
        truth: ``(..., H, W)``, without noise, nanomaggies a pixel.
        band: of `skytutor.data.surveys.BANDS`.
        psf: ``(H, W)``, image of a point source of flux 1 in the band.
        pixel_arcsec: side of a pixel.
    """
    truth, psf = as_floats(truth=truth, psf=psf)
    return Recorder(band, psf=psf, pixel_arcsec=pixel_arcsec).variance(truth)
