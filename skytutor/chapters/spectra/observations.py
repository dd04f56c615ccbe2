"""Images of simulated galaxies and what belongs to them: targets, components, measurements."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import tables
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.sample import Sample
from skytutor.chapters.spectra.separation import RED
from skytutor.chapters.spectra.targets import make_targets
from skytutor.data.galaxies import FibreSpectra, GalaxySimulator
from skytutor.data.galaxy_catalogue import catalogue
from skytutor.data.galaxy_population import Galaxies
from skytutor.validate import positive

__all__ = ["draw_components", "draw_images", "draw_measurements"]


def draw_images(
    simulator: GalaxySimulator,
    n: int,
    *,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return images ``(n, 5, H, H)`` and targets ``(n, 9)``.

    Arguments:
        simulator: to draw from.
        n: galaxies.
        autoencoder: trained, on the simulator's device.
        generator: of the random numbers, on the same device.
    """
    images = []
    targets = []
    for observed in _observations(simulator, n, generator=generator):
        images.append(observed.images(simulator))
        targets.append(observed.targets(autoencoder))
    return torch.cat(images), torch.cat(targets)


def draw_components(
    simulator: GalaxySimulator,
    n: int,
    *,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images and targets as `draw_images`, and the r-band light of each component.

    Arguments:
        simulator: to draw from.
        n: galaxies.
        autoencoder: trained, on the simulator's device.
        generator: of the random numbers, on the same device.

    Returns:
        images ``(n, 5, H, H)``, targets ``(n, 9)``, components without noise ``(n, 3, H, H)``.
    """
    images, targets, components = [], [], []
    for observed in _observations(simulator, n, generator=generator):
        images.append(observed.images(simulator))
        targets.append(observed.targets(autoencoder))
        red = simulator.fluxes(observed.galaxies)[..., RED]
        shapes = simulator.renderer.component_images(observed.planes, band=RED)
        components.append(shapes * red[..., None, None])
    return torch.cat(images), torch.cat(targets), torch.cat(components)


@dataclass(frozen=True)
class _Observed:
    """Galaxies seen through the fibre and under a sky, before any of it is put together."""

    galaxies: Galaxies
    planes: Tensor
    spectra: FibreSpectra
    sky: Tensor

    def images(self, simulator: GalaxySimulator) -> Tensor:
        """Return images ``(n, 5, H, H)`` with the sky's noise."""
        return simulator.images(self.galaxies, planes=self.planes) + self.sky

    def targets(self, autoencoder: SpectrumAutoencoder) -> Tensor:
        """Return the targets ``(n, 9)``."""
        return make_targets(autoencoder, self.spectra, self.galaxies.redshift)


def _observations(
    simulator: GalaxySimulator, n: int, *, generator: torch.Generator
) -> Iterator[_Observed]:
    """Draw n galaxies, a few at a time for the memory's sake."""
    positive(n=n)
    batch = 1000 if simulator.device.type == "cuda" else 125
    for start in range(0, n, batch):
        size = min(batch, n - start)
        # Galaxies, the noise of their spectra, the sky of their images, in this order.
        galaxies = simulator.draw(size, generator=generator)
        planes = simulator.renderer.planes(galaxies.shapes)
        fibre = simulator.renderer.fibre(planes)
        spectra = simulator.spectra(galaxies, fibre, generator=generator)
        sky = simulator.sky(size, generator=generator)
        yield _Observed(galaxies, planes, spectra, sky)


def draw_measurements(
    simulator: GalaxySimulator,
    n: int,
    *,
    measurement: MeasurementNetwork,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return what is measured in the images of n galaxies, and what the oracle sees in them.

    Arguments:
        simulator: to draw from.
        n: galaxies.
        measurement: trained, in evaluation mode, on the simulator's device.
        autoencoder: trained, on the same device.
        generator: of the random numbers, on the same device.

    Returns:
        ``table``, ``(n, F)`` of the measurement; ``oracle``, ``(n, 75)`` of
        `skytutor.chapters.spectra.limits.tables`, with the noise of the same images; ``targets``,
        ``(n, 9)``.
    """
    parts = []
    with torch.no_grad():
        for observed in _observations(simulator, n, generator=generator):
            sample = _with_its_own_noise(simulator, observed)
            assert sample.images is not None
            oracle = tables(sample)["oracle"]
            wanted = observed.targets(autoencoder)
            parts.append((measurement(sample.images), oracle, wanted))
    columns = zip(*parts, strict=True)
    return dict(zip(("table", "oracle", "targets"), map(torch.cat, columns), strict=True))


def _with_its_own_noise(simulator: GalaxySimulator, observed: _Observed) -> Sample:
    """Return galaxies whose photometry has the noise of their images."""
    galaxies, planes = observed.galaxies, observed.planes
    photometry = simulator.photometry(galaxies, planes=planes, sky=observed.sky)
    table = catalogue(simulator, galaxies, planes, photometry)
    images = observed.images(simulator)
    return Sample(galaxies, photometry, table, observed.spectra, images)
