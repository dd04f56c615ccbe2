"""Scenes with their images and sources, and what the oracle makes of them."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from skytutor.chapters.translation.limits import components_there, measure_sources
from skytutor.chapters.translation.source_oracle import SourceOracle, SourceTable
from skytutor.data.bands import EMPTY, STAR, Observation, Scenes, SceneSimulator

__all__ = [
    "SceneBatch",
    "draw_batches",
    "oracle_flux",
    "oracle_images",
    "shape_numbers",
    "sources_of",
]


@dataclass(frozen=True)
class SceneBatch:
    """B scenes, their transforms and their images.

    Attributes:
        scenes: what is there.
        planes: of all components in their places.
        seen: images with noise, inverse variance, images without noise.
        sources: as an oracle measures them, a row for each.
    """

    scenes: Scenes
    planes: Tensor
    seen: Observation
    sources: SourceTable

    def __len__(self) -> int:
        return len(self.scenes)


def shape_numbers(scenes: Scenes) -> Tensor:
    """Return star or not, and what the shapes tell, ``(B, S, 6)``; 0 for a star's.

    Arguments:
        scenes: of `SceneSimulator.draw`.
    """
    shapes = scenes.shapes
    clump = (shapes.clump_sigma * shapes.clump_weight).sum(1)
    columns = [
        shapes.bulge_radius.log(),
        shapes.bulge_axis_ratio,
        shapes.disc_radius.log(),
        shapes.disc_axis_ratio.log(),
        clump.clamp(min=1e-3).log(),
    ]
    star = scenes.kind == STAR
    numbers = torch.stack(columns, dim=1).unflatten(0, tuple(scenes.kind.shape))
    return torch.cat([star[..., None].float(), torch.where(star[..., None], 0, numbers)], dim=-1)


def sources_of(
    simulator: SceneSimulator, scenes: Scenes, seen: Observation, *, planes: Tensor
) -> SourceTable:
    """Measure all sources of scenes; one row for each, place after place of scene after scene.

    Arguments:
        simulator: that drew the scenes.
        scenes: of its `draw`.
        seen: of its `observe` or `expose`.
        planes: of its `planes`.
    """
    measured = measure_sources(simulator, scenes, seen, planes=planes)
    total, total_error = measured.total()
    error = torch.diagonal(measured.covariance, dim1=-2, dim2=-1).clamp(min=0).sqrt()
    table = SourceTable(
        flux=measured.flux,
        error=error,
        total=total,
        total_error=total_error,
        shape=shape_numbers(scenes),
        there=components_there(scenes),
        truth=scenes.flux.mT,
    )
    filled = scenes.kind != EMPTY
    return SourceTable(*(getattr(table, entry.name)[filled] for entry in fields(table)))


def draw_batches(
    simulator: SceneSimulator, n: int, *, generator: torch.Generator
) -> Iterator[SceneBatch]:
    """Draw and observe n scenes, a few at a time.

    Arguments:
        simulator: to draw from.
        n: scenes.
        generator: of the random numbers. From one on the CPU come the scenes and images of a
            simulator on the CPU, whichever device they are measured on.
    """
    drawer = simulator
    if generator.device.type != simulator.device.type:
        drawer = SceneSimulator(
            simulator.bands,
            size=simulator.renderer.scene_size,
            pixel_arcsec=simulator.renderer.scene_pixel,
            device=generator.device,
        )
    for start in range(0, n, drawer.chunk):
        scenes = drawer.draw(min(drawer.chunk, n - start), generator=generator)
        planes = drawer.planes(scenes)
        seen = drawer.expose(drawer.truth(scenes, planes=planes), generator=generator)
        if drawer is not simulator:
            scenes, seen = scenes.to(simulator.device), seen.to(simulator.device)
            planes = planes.to(simulator.device)
        yield SceneBatch(scenes, planes, seen, sources_of(simulator, scenes, seen, planes=planes))


def oracle_flux(oracle: SourceOracle, batch: SceneBatch, given: Tensor) -> Tensor:
    """Return the oracle's flux of each component, ``(B, S, 3, F)``; 0 where nothing is.

    Arguments:
        oracle: in evaluation mode.
        batch: of `draw_batches`.
        given: bool ``(F,)``, which bands it may look at.
    """
    with torch.no_grad():
        found = oracle.predict(batch.sources, given.expand(len(batch.sources), -1))
    flux = torch.zeros_like(batch.scenes.flux)
    flux[batch.scenes.kind != EMPTY] = found.mT
    return flux


def oracle_images(simulator: SceneSimulator, batch: SceneBatch, flux: Tensor) -> Tensor:
    """Return the images of the known scenes with the oracle's fluxes, ``(B, F, H, H)``.

    Arguments:
        simulator: that drew the scenes.
        batch: of `draw_batches`.
        flux: of `oracle_flux`.
    """
    return simulator.truth(replace(batch.scenes, flux=flux), planes=batch.planes)
