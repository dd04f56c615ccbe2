"""Scenes to score on, and what the oracle makes of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skytutor.chapters.translation.oracle_task import sources_of
from skytutor.chapters.translation.source_oracle import SourceOracle, SourceTable
from skytutor.data.bands import EMPTY, Observation, Scenes, SceneSimulator

__all__ = ["SceneBatch", "draw_batches", "oracle_flux", "oracle_images"]

_CHUNK = 25  # scenes at a time, for the memory's sake


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


def draw_batches(simulator: SceneSimulator, n: int, *, seed: int) -> Iterator[SceneBatch]:
    """Draw and observe n scenes, a few at a time.

    Arguments:
        simulator: to draw from.
        n: scenes.
        seed: of the generator.
    """
    rng = torch.Generator(simulator.device).manual_seed(seed)
    for start in range(0, n, _CHUNK):
        scenes = simulator.draw(min(_CHUNK, n - start), generator=rng)
        planes = simulator.planes(scenes)
        seen = simulator.expose(simulator.truth(scenes, planes=planes), generator=rng)
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
