"""Scenes of stars and galaxies as GALEX, SDSS, 2MASS and photographic plates see them.

The embedded default of the chapter on translation between bands: everything in a scene is known,
so that a prediction can be scored against the image without noise, source by source.

Shapes: B scenes, S places for sources in each, F bands, H pixels along a side. Fluxes are in
nanomaggies, lengths in arcsec.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from skytutor.data.exposures import Recorder, draw_exposures
from skytutor.data.galaxy_photometry import component_fluxes
from skytutor.data.galaxy_population import Galaxies, Population
from skytutor.data.rendering import Shapes
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.spectral_templates import BandTable
from skytutor.data.stars import StarTable
from skytutor.data.surveys import BANDS, band_names
from skytutor.validate import check_generator, positive
from skytutor.values import all_finite

__all__ = ["EMPTY", "GALAXY", "STAR", "Observation", "SceneSimulator", "Scenes"]

EMPTY, STAR, GALAXY = 0, 1, 2  # kinds of what is in a place
_SOURCES = (2, 6)  # least and most in a scene
_STARS = 0.5  # fraction of the sources
_MAGNITUDES = (14.0, 20.5)  # in r; evenly, so that bright and faint are met equally often
_TEMPERATURES = (3000.0, 15000.0)  # kelvin, evenly in the logarithm
_MARGIN = 2.0  # arcsec between a source's middle and the edge
_SMALLEST = 0.05  # arcsec, half-light radius
# Scenes at a time whose transforms fit into the memory, and that are work enough for a GPU.
_CHUNK, _DEVICE_CHUNK = 25, 100


@dataclass(frozen=True)
class Scenes:
    """What is in B scenes, with S places for sources.

    Attributes:
        kind: ``(B, S)`` integers, `EMPTY`, `STAR` or `GALAXY`.
        x: ``(B, S)``, arcsec to the right of the middle.
        y: ``(B, S)``, arcsec above it.
        flux: ``(B, S, 3, F)``, of bulge, disc and clumps; a star has all in the first.
        temperature: ``(B, S)``, kelvin; NaN where no star is.
        redshift: ``(B, S)``; NaN where no galaxy is.
        shapes: of B S galaxies, one for each place, also where none is.
        bands: names of the F bands.
    """

    kind: Tensor
    x: Tensor
    y: Tensor
    flux: Tensor
    temperature: Tensor
    redshift: Tensor
    shapes: Shapes
    bands: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kind)

    def to(self, device: torch.device | str) -> "Scenes":
        """Return the same scenes with every tensor on a device.

        Arguments:
            device: where they go.
        """
        names = [entry.name for entry in fields(self) if entry.name != "bands"]
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def source_flux(self) -> Tensor:
        """Return the flux of each source in each band, ``(B, S, F)``."""
        return self.flux.sum(2)


@dataclass(frozen=True)
class Observation:
    """Images of scenes.

    Attributes:
        images: ``(B, F, H, H)``, nanomaggies a pixel, the sky subtracted.
        ivar: ``(B, F, H, H)``, inverse variance; 0 where nothing was measured.
        truth: ``(B, F, H, H)``, the images without noise.
    """

    images: Tensor
    ivar: Tensor
    truth: Tensor

    def to(self, device: torch.device | str) -> "Observation":
        """Return the same images on a device.

        Arguments:
            device: where they go.
        """
        return Observation(self.images.to(device), self.ivar.to(device), self.truth.to(device))


class SceneSimulator:
    """Draw scenes and observe them.

    Half of the sources are stars, black bodies seen through the atmospheres of the Sun and Vega,
    and half are the galaxies of `skytutor.data.galaxy_population`. A galaxy is given its magnitude
    by a factor on its flux, and is the smaller for it by the root of the root of that factor, as a
    smaller galaxy at the same redshift is.

    Arguments:
        bands: names of `skytutor.data.surveys.BANDS`; default: all.
        size: H.
        pixel_arcsec: side of a pixel.
        device: where the tables lie; draws come from a generator on the same device.

    Attributes:
        chunk: scenes to draw at a time where there are many; other chunks give other scenes.

    Raises:
        TypeError: one name instead of several; a size is no integer.
        ValueError: no band, an unknown or a repeated one; a size that is not positive.

    Example:
        >>> simulator = SceneSimulator(["NUV", "r"], size=32)
        >>> rng = torch.Generator().manual_seed(0)
        >>> scenes = simulator.draw(2, generator=rng)
        >>> seen = simulator.observe(scenes, generator=rng)
        >>> seen.images.shape, seen.ivar.shape
        (torch.Size([2, 2, 32, 32]), torch.Size([2, 2, 32, 32]))
    """

    def __init__(
        self,
        bands: Sequence[str] = tuple(BANDS),
        *,
        size: int = 64,
        pixel_arcsec: float = 0.8,
        device: torch.device | str = "cpu",
    ):
        self.bands = band_names(bands)
        self.device = torch.device(device)
        self.chunk = _CHUNK if self.device.type == "cpu" else _DEVICE_CHUNK
        chosen = [BANDS[name] for name in self.bands]
        self.renderer = SceneRenderer(
            size,
            pixel_arcsec=pixel_arcsec,
            psf_fwhm=[band.fwhm for band in chosen],
            device=self.device,
        )
        # The last filter is r, in which magnitudes are drawn.
        measured = [*chosen, BANDS["r"]]
        filters = [band.filter for band in measured]
        self._wavelengths = tuple(band.wavelength for band in measured)
        self._stars = StarTable(filters, device=self.device)
        self._galaxies = BandTable(filters, device=self.device)
        self._population = Population()
        self._recorders = [
            Recorder(band, psf=self.renderer.psf_image(f), pixel_arcsec=pixel_arcsec)
            for f, band in enumerate(chosen)
        ]

    def draw(self, n: int, *, generator: torch.Generator) -> Scenes:
        """Draw `n` scenes.

        Arguments:
            n: how many.
            generator: of the random numbers, on the simulator's device.

        Raises:
            TypeError: n is no integer; no generator.
            ValueError: n below 1, or a generator on another device.
        """
        positive(n=n)
        check_generator(generator, self.device)
        most = _SOURCES[1]
        kind = self._kinds(n, generator)
        half = self.renderer.scene_size * self.renderer.scene_pixel / 2 - _MARGIN
        x = self._uniform(n, (-half, half), generator)
        y = self._uniform(n, (-half, half), generator)
        red = 10 ** (-0.4 * (self._uniform(n, _MAGNITUDES, generator) - 22.5))
        cool, hot = (math.log(value) for value in _TEMPERATURES)
        temperature = self._uniform(n, (cool, hot), generator).exp()
        galaxies = self._population.draw(n * most, generator=generator)
        of_galaxies, shapes = self._scaled(galaxies, red.flatten())
        of_stars = self._stars.fluxes(temperature)
        of_stars = of_stars * (red / of_stars[..., -1])[..., None]
        flux = of_galaxies.reshape(n, most, *of_galaxies.shape[1:])
        # A star is a point: all of its light stands in the first component.
        points = torch.zeros_like(flux)
        points[:, :, 0] = of_stars
        flux = torch.where((kind == STAR)[..., None, None], points, flux)
        flux = flux * (kind != EMPTY)[..., None, None]
        return Scenes(
            kind=kind,
            x=x,
            y=y,
            flux=flux[..., :-1],
            temperature=torch.where(kind == STAR, temperature, torch.nan),
            redshift=torch.where(kind == GALAXY, galaxies.redshift.reshape(n, most), torch.nan),
            shapes=shapes,
            bands=self.bands,
        )

    def _uniform(self, n: int, between: tuple[float, float], rng: torch.Generator) -> Tensor:
        """Return a number for each place of n scenes, ``(n, S)``, evenly between two ends."""
        low, high = between
        drawn = torch.rand(n, _SOURCES[1], generator=rng, device=self.device)
        return low + (high - low) * drawn

    def _kinds(self, n: int, rng: torch.Generator) -> Tensor:
        """Return what is in each place of n scenes, ``(n, S)``; the last places stay empty."""
        fewest, most = _SOURCES
        count = torch.randint(fewest, most + 1, (n, 1), generator=rng, device=self.device)
        filled = torch.arange(most, device=self.device) < count
        star = self._uniform(n, (0, 1), rng) < _STARS
        return torch.where(filled, torch.where(star, STAR, GALAXY), EMPTY)

    def _scaled(self, galaxies: Galaxies, red: Tensor) -> tuple[Tensor, Shapes]:
        """Return fluxes ``(n, 3, F + 1)`` and shapes of galaxies of given fluxes in r."""
        flux = component_fluxes(galaxies, self._galaxies, wavelengths=self._wavelengths)
        factor = red / flux[..., -1].sum(1)
        shrunk = factor**0.25
        resized = {}
        for entry in fields(Shapes):
            value = getattr(galaxies.shapes, entry.name)
            if entry.name.endswith("_radius"):
                resized[entry.name] = (value * shrunk).clamp(min=_SMALLEST)
            elif entry.name in ("clump_x", "clump_y", "clump_sigma"):
                resized[entry.name] = value * shrunk[:, None]
        return flux * factor[:, None, None], replace(galaxies.shapes, **resized)

    def planes(self, scenes: Scenes) -> Tensor:
        """Return the transforms of all components in their places, ``(B, 3 S, N, N/2 + 1)``.

        Arguments:
            scenes: of `draw`.
        """
        n = scenes.kind.numel()
        planes = self.renderer.planes(scenes.shapes)  # (B S, 3, N, N/2 + 1)
        star = (scenes.kind == STAR).flatten()
        planes[star, 0] = self.renderer.points(1)[0]
        flat = planes.flatten(0, 1)
        x = scenes.x.reshape(n, 1).expand(n, 3).flatten()
        y = scenes.y.reshape(n, 1).expand(n, 3).flatten()
        return self.renderer.moved(flat, x, y).unflatten(0, (len(scenes), -1))

    def truth(self, scenes: Scenes, *, planes: Tensor | None = None) -> Tensor:
        """Return images without noise, ``(B, F, H, H)``, nanomaggies a pixel.

        Arguments:
            scenes: of `draw`.
            planes: of `planes`, where they are at hand.

        Raises:
            ValueError: scenes of other bands, or in another order.
        """
        if scenes.bands != self.bands:
            raise ValueError(
                f"scenes must be of the bands {', '.join(self.bands)}, "
                f"got those of {', '.join(scenes.bands)}"
            )
        planes = self.planes(scenes) if planes is None else planes
        return self.renderer.scenes(planes, scenes.flux.flatten(1, 2))

    def observe(self, scenes: Scenes, *, generator: torch.Generator) -> Observation:
        """Return images with the noise of each survey.

        Arguments:
            scenes: of `draw`.
            generator: of the noise, on the simulator's device.

        Raises:
            TypeError: no generator.
            ValueError: scenes of other bands, or a generator on another device.
        """
        check_generator(generator, self.device)
        return self.expose(self.truth(scenes), generator=generator)

    def expose(self, truth: Tensor, *, generator: torch.Generator) -> Observation:
        """Return images with the noise of each survey, of images without.

        Arguments:
            truth: ``(B, F, H, H)``, nanomaggies a pixel.
            generator: of the noise, on the simulator's device.

        Raises:
            TypeError: no generator.
            ValueError: a truth of another shape or not finite, or a generator on another device.
        """
        check_generator(generator, self.device)
        return self.expose_each(truth, generators=[generator])

    def expose_each(self, truth: Tensor, *, generators: Sequence[torch.Generator]) -> Observation:
        """Return images with the noise of each survey, groups of them from their own generators.

        The random numbers are those of `expose`, called once for each group; what is made of them
        is made of all images in one go, which on a GPU takes a tenth of the time.

        Arguments:
            truth: ``(B, F, H, H)``, nanomaggies a pixel.
            generators: of the noise, on the simulator's device, one for each of as many equal
                groups of images.

        Raises:
            TypeError: no generator.
            ValueError: a truth of another shape or not finite, a number of generators that does not
                divide that of the images, or one on another device.
        """
        size = self.renderer.scene_size
        wanted = (len(self.bands), size, size)
        if truth.ndim != 4 or truth.shape[1:] != wanted:
            raise ValueError(f"truth must be (B, F, H, H) = (B, {wanted}), got {truth.shape}")
        if not all_finite(truth):
            raise ValueError("truth must be finite, got NaN or infinite values")
        for generator in generators:
            check_generator(generator, self.device)
        drawn = draw_exposures(truth, self._recorders, generators=generators)
        images = torch.empty_like(truth)
        ivar = torch.empty_like(truth)
        for f, recorder in enumerate(self._recorders):
            images[:, f], ivar[:, f] = recorder.record(truth[:, f], drawn[:, f])
        return Observation(images, ivar, truth)

    def variance(self, truth: Tensor) -> Tensor:
        """Return the variance of the noise about images without, ``(B, F, H, H)``.

        Arguments:
            truth: ``(B, F, H, H)``, nanomaggies a pixel.
        """
        made = [one.variance(truth[:, f]) for f, one in enumerate(self._recorders)]
        return torch.stack(made, dim=1)
