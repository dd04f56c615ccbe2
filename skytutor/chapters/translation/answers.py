"""What translations answer on scenes to score on: error of each image, flux of each source, peaks.

Shapes: n scenes, N sources, F bands, T that were asked for, P peaks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from skytutor.chapters.translation.scored_scenes import SceneBatch, draw_batches
from skytutor.chapters.translation.source_scores import (
    magnitudes,
    measured_flux,
    significant_peaks,
)
from skytutor.chapters.translation.stretch import softenings, stretched
from skytutor.data.bands import EMPTY, SceneSimulator
from skytutor.data.exposures import pixel_noise
from skytutor.data.surveys import BANDS
from skytutor.metrics.sources import Peaks, unmatched
from skytutor.validate import positive

__all__ = ["Answer", "TestSources", "Translation", "answers_on"]

Translation = Callable[[SceneBatch], Tensor]  # to images (B, T, H, H), nanomaggies a pixel


@dataclass(frozen=True)
class TestSources:
    """All sources of the scenes, as they are.

    Attributes:
        flux: ``(N, F)``, of all bands of the simulator, nanomaggies.
        kind: ``(N,)``, `STAR` or `GALAXY` of `skytutor.data.bands`.
        temperature: ``(N,)``, kelvin; NaN of a galaxy.
        redshift: ``(N,)``; NaN of a star.
    """

    flux: Tensor
    kind: Tensor
    temperature: Tensor
    redshift: Tensor

    __test__ = False  # pytest: not a test


@dataclass(frozen=True)
class Answer:
    """What one translation made of the scenes; no band has peaks where none were looked for.

    Attributes:
        squares: ``(n, T)``, mean squared error of each image, stretched.
        flux: ``(N, T)``, measured in the predicted images, nanomaggies.
        invented: by band, magnitudes ``(P,)`` of peaks that the truth does not have.
        lost: by band, magnitudes of peaks of the truth that the prediction does not have.
        there: by band, magnitudes of all peaks of the truth.
    """

    squares: Tensor
    flux: Tensor
    invented: dict[str, Tensor]
    lost: dict[str, Tensor]
    there: dict[str, Tensor]


@dataclass
class _Collected:
    """The same, batch by batch."""

    squares: list[Tensor] = field(default_factory=list)
    flux: list[Tensor] = field(default_factory=list)
    invented: dict[str, list[Tensor]] = field(default_factory=dict)
    lost: dict[str, list[Tensor]] = field(default_factory=dict)
    there: dict[str, list[Tensor]] = field(default_factory=dict)

    def count(self, band: str, predicted: tuple[Tensor, Peaks], true: tuple[Tensor, Peaks]) -> None:
        """Add the peaks of one batch that are invented, lost and there."""
        (flux, peaks), (true_flux, true_peaks) = predicted, true
        seen = magnitudes(true_peaks)
        extra, missing = unmatched(peaks, true_flux), unmatched(true_peaks, flux)
        self.invented.setdefault(band, []).append(magnitudes(peaks)[extra])
        self.lost.setdefault(band, []).append(seen[missing])
        self.there.setdefault(band, []).append(seen)

    def together(self) -> Answer:
        """Return all batches as one."""
        by_band = [
            {name: torch.cat(parts).cpu() for name, parts in peaks.items()}
            for peaks in (self.invented, self.lost, self.there)
        ]
        return Answer(torch.cat(self.squares).cpu(), torch.cat(self.flux).cpu(), *by_band)


def answers_on(
    simulator: SceneSimulator,
    translations: Mapping[str, Translation],
    *,
    targets: Sequence[str],
    n: int,
    seed: int,
    peaks: bool = True,
) -> tuple[TestSources, dict[str, Answer]]:
    """Let translations answer on the same n scenes.

    Arguments:
        simulator: of the scenes; all is computed on its device. What is random is drawn on the
            CPU, so that every device is asked about the same scenes.
        translations: by name.
        targets: names of the T bands that are asked for.
        n: scenes.
        seed: of the generator.
        peaks: whether to look for sources that are invented or lost, which takes most of the time.

    Returns:
        the sources and the answers, on the CPU.

    Raises:
        TypeError, ValueError: n is no positive integer.
    """
    positive(n=n)
    rows = [simulator.bands.index(name) for name in targets]
    scale = softenings(targets, pixel_arcsec=simulator.renderer.scene_pixel)
    softening = scale.to(simulator.device)
    finders = [_finder(simulator, f) for f in rows] if peaks else []
    collected = {name: _Collected() for name in translations}
    sources: list[tuple[Tensor, ...]] = []
    rng = torch.Generator().manual_seed(seed)
    for batch in draw_batches(simulator, n, generator=rng):
        scenes = batch.scenes
        there = scenes.kind != EMPTY
        about = (scenes.source_flux(), scenes.kind, scenes.temperature, scenes.redshift)
        sources.append(tuple(column[there].cpu() for column in about))
        truth = batch.seen.truth[:, rows]
        wanted = stretched(truth, softening)
        # Of the truth once, for all translations.
        true_peaks = [find(truth[:, t]) for t, find in enumerate(finders)]
        for name, translation in translations.items():
            with torch.no_grad():
                images = translation(batch)
            found = collected[name]
            error = (stretched(images, softening) - wanted).double()
            found.squares.append(error.square().mean((-2, -1)))
            found.flux.append(measured_flux(simulator, batch, images, rows))
            # No finder where nobody asks for peaks.
            for t, find in enumerate(finders):
                found.count(targets[t], find(images[:, t]), true_peaks[t])
    columns = [torch.cat(parts) for parts in zip(*sources, strict=True)]
    return TestSources(*columns), {name: found.together() for name, found in collected.items()}


def _finder(simulator: SceneSimulator, band: int) -> Callable[[Tensor], tuple[Tensor, Peaks]]:
    """Return what finds the peaks of images of one band."""
    psf = simulator.renderer.psf_image(band)
    noise = pixel_noise(BANDS[simulator.bands[band]], psf)
    return partial(significant_peaks, psf=psf, noise=noise)
