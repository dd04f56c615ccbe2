"""Images of simulated galaxies and what belongs to them: targets, components, measurements."""

from typing import Any

import torch
from torch import Tensor

from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import tables
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.sample import Sample
from skytutor.chapters.spectra.separation import RED
from skytutor.chapters.spectra.targets import make_targets
from skytutor.data.galaxies import GalaxySimulator
from skytutor.data.galaxy_catalogue import catalogue
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
    options: dict[str, Any] = {"autoencoder": autoencoder, "generator": generator}
    images = []
    targets = []
    for size in _sizes(n, simulator):
        seen, wanted, _ = _observe(simulator, size, components=False, **options)
        images.append(seen)
        targets.append(wanted)
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
    options: dict[str, Any] = {"autoencoder": autoencoder, "generator": generator}
    parts = [_observe(simulator, size, components=True, **options) for size in _sizes(n, simulator)]
    images, targets, components = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(targets), torch.cat(components)


def _sizes(n: int, simulator: GalaxySimulator) -> list[int]:
    """Return how many galaxies to draw at a time, for the memory's sake."""
    positive(n=n)
    batch = 1000 if simulator.device.type == "cuda" else 125
    return [min(batch, n - start) for start in range(0, n, batch)]


def _observe(
    simulator: GalaxySimulator,
    n: int,
    *,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
    components: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, targets, and components or an empty tensor."""
    galaxies = simulator.draw(n, generator=generator)
    planes = simulator.renderer.planes(galaxies.shapes)
    fibre = simulator.renderer.fibre(planes)
    spectra = simulator.spectra(galaxies, fibre, generator=generator)
    images = simulator.images(galaxies, planes=planes, generator=generator)
    light = images.new_empty(0)
    if components:
        red = simulator.fluxes(galaxies)[..., RED]
        light = simulator.renderer.component_images(planes, band=RED) * red[..., None, None]
    return images, make_targets(autoencoder, spectra, galaxies.redshift), light


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
        for size in _sizes(n, simulator):
            sample = _with_its_own_noise(simulator, size, generator=generator)
            assert sample.images is not None
            wanted = make_targets(autoencoder, sample.spectra, sample.galaxies.redshift)
            oracle = tables(sample)["oracle"]
            parts.append((measurement(sample.images), oracle, wanted))
    columns = zip(*parts, strict=True)
    return dict(zip(("table", "oracle", "targets"), map(torch.cat, columns), strict=True))


def _with_its_own_noise(
    simulator: GalaxySimulator, n: int, *, generator: torch.Generator
) -> Sample:
    """Return galaxies whose photometry has the noise of their images: of `draw_images`."""
    galaxies = simulator.draw(n, generator=generator)
    planes = simulator.renderer.planes(galaxies.shapes)
    fibre = simulator.renderer.fibre(planes)
    spectra = simulator.spectra(galaxies, fibre, generator=generator)
    sky = simulator.sky(n, generator=generator)
    photometry = simulator.photometry(galaxies, planes=planes, sky=sky)
    images = simulator.images(galaxies, planes=planes) + sky
    table = catalogue(simulator, galaxies, planes, photometry)
    return Sample(galaxies, photometry, table, spectra, images)
