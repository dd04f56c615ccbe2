"""Galaxies as the chapter's networks meet them: image, catalogue, photometry, spectrum."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.data.galaxies import FibreSpectra, GalaxySimulator, Photometry
from skytutor.data.galaxy_catalogue import Catalogue, catalogue
from skytutor.data.galaxy_population import Galaxies
from skytutor.validate import positive

__all__ = ["Sample", "draw_sample", "draw_samples"]


@dataclass(frozen=True)
class Sample:
    """Galaxies and all that was observed of them.

    Attributes:
        galaxies: as they are.
        photometry: what an image says of known templates; its noise is not that of `images`.
        table: the catalogue.
        spectra: through the fibre.
        images: ``(B, 5, H, H)`` with noise, nanomaggies a pixel; None where not asked for.
    """

    galaxies: Galaxies
    photometry: Photometry
    table: Catalogue
    spectra: FibreSpectra
    images: Tensor | None = None

    def __len__(self) -> int:
        return len(self.galaxies)


def draw_sample(
    simulator: GalaxySimulator, n: int, *, generator: torch.Generator, images: bool = False
) -> Sample:
    """Draw and observe `n` galaxies at once.

    Arguments:
        simulator: to draw from.
        n: how many; 250 at a time keep the memory of images below 500 MiB.
        generator: of the random numbers, on the simulator's device.
        images: make images too.
    """
    galaxies = simulator.draw(n, generator=generator)
    planes = simulator.renderer.planes(galaxies.shapes)
    photometry = simulator.photometry(galaxies, planes=planes, generator=generator)
    spectra = simulator.spectra(galaxies, photometry.fibre, generator=generator)
    seen = None
    if images:
        seen = simulator.images(galaxies, planes=planes, generator=generator)
    table = catalogue(simulator, galaxies, planes, photometry)
    return Sample(galaxies, photometry, table, spectra, seen)


def draw_samples(
    simulator: GalaxySimulator,
    n: int,
    *,
    generator: torch.Generator,
    images: bool = False,
    batch: int = 250,
) -> Iterator[Sample]:
    """Yield samples of at most `batch` galaxies, `n` in all.

    Arguments:
        simulator: to draw from.
        n: how many.
        generator: of the random numbers, on the simulator's device.
        images: make images too.
        batch: galaxies at a time.
    """
    positive(n=n, batch=batch)
    for start in range(0, n, batch):
        size = min(batch, n - start)
        yield draw_sample(simulator, size, generator=generator, images=images)
