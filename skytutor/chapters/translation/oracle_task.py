"""Training of the `SourceOracle` on sources measured in simulated scenes."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.parts import draw_parts
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation.limits import components_there, measure_sources
from skytutor.chapters.translation.source_oracle import SourceOracle, SourceTable
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS, draw_given, given_bands
from skytutor.data.bands import EMPTY, STAR, Observation, Scenes, SceneSimulator
from skytutor.data.exposures import noise_pixels, pixel_noise
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.surveys import BANDS
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = [
    "SCHEDULES",
    "OracleTask",
    "build_oracle",
    "draw_sources",
    "oracle_sizes",
    "shape_numbers",
    "sources_of",
]

SCHEDULES = {
    "smoke": Schedule(epochs=2, batch_size=16, lr=3e-3, optimizer="muon"),
    "cpu": Schedule(epochs=20, batch_size=256, lr=3e-3, optimizer="muon"),
    "gpu": Schedule(epochs=60, batch_size=512, lr=3e-3, optimizer="muon"),
}
_PART = 500  # scenes drawn from one seed
_CHUNK = 25  # scenes at a time, for the memory's sake


def oracle_sizes(profile: Profile) -> tuple[int, int]:
    """Return how many scenes the oracle is trained and validated on.

    Arguments:
        profile: of the training.
    """
    sizes: tuple[int, int] = profile.pick(smoke=(10, 5), cpu=(1000, 200), gpu=(20_000, 1000))
    return sizes


def build_oracle() -> SourceOracle:
    """Return an oracle of all bands, untrained."""
    renderer = SceneRenderer(64, psf_fwhm=[band.fwhm for band in BANDS.values()])
    errors = []
    for f, band in enumerate(BANDS.values()):
        psf = renderer.psf_image(f)
        errors.append(pixel_noise(band, psf) * noise_pixels(psf) ** 0.5)
    return SourceOracle(torch.tensor(errors))


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


def draw_sources(
    simulator: SceneSimulator, n: int, *, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the columns of a `SourceTable`: of all sources of n scenes.

    Arguments:
        simulator: to draw from.
        n: scenes.
        generator: of the random numbers.
    """
    made: dict[str, list[Tensor]] = {entry.name: [] for entry in fields(SourceTable)}
    for start in range(0, n, _CHUNK):
        scenes = simulator.draw(min(_CHUNK, n - start), generator=generator)
        planes = simulator.planes(scenes)
        seen = simulator.expose(simulator.truth(scenes, planes=planes), generator=generator)
        table = sources_of(simulator, scenes, seen, planes=planes)
        for name, columns in made.items():
            columns.append(getattr(table, name))
    return {name: torch.cat(columns) for name, columns in made.items()}


class OracleTask(Task):
    """Sources measured once; at every step some of their bands are hidden.

    Arguments:
        simulator: to draw from.
        size: scenes whose sources make the table.
        n_validation: scenes whose sources it is validated on.
        seed: number of the training set; 0 is that of the translators.
    """

    score = "minus_error"

    def __init__(self, simulator: SceneSimulator, *, size: int, n_validation: int, seed: int = 1):
        self.simulator = simulator

        def make(n: int, generator: torch.Generator) -> dict[str, Tensor]:
            return draw_sources(simulator, n, generator=generator)

        device = simulator.device
        columns = draw_parts(make, size, seeds=SEEDS, seed=seed, device=device, part=_PART)
        self.table = SourceTable(**columns)
        self.size = len(self.table)
        rng = torch.Generator(device).manual_seed(SEEDS.validation[1])
        self.validation = SourceTable(**make(n_validation, rng))

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw which bands are given.

        Arguments:
            n: samples in the batch.
            generator: of the random numbers.
        """
        return [torch.rand(n, 2 + len(self.simulator.bands), generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return rows of the table and which bands are given ``(B, F)``.

        Arguments:
            indices: of the sources.
            draws: what `draw` gave.
        """
        return indices, draw_given(draws[0], bands=self.simulator.bands)

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the squared error of stretched fluxes and of fractions in the hidden bands.

        Arguments:
            model: a `SourceOracle`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        rows, given = batch
        device = self.table.flux.device
        own = getattr(model, "module", model)  # as Fabric wraps it
        assert isinstance(own, SourceOracle)
        if not bool(own.started):
            own.standardise(self.table)
        table, given = self.table[rows.to(device)], given.to(device)
        value, fraction = model(table, given)
        total = table.truth.sum(-1)
        wanted = torch.asinh(total / own.softening)
        error = (value - wanted).square()
        # Fractions of what is hardly seen count for little.
        parts = table.truth / total.clamp(min=1e-12)[..., None]
        error = error + (fraction - parts).square().sum(-1) * wanted.square()
        hidden = (~given).to(error)
        # The root keeps one source that is far off from throwing the others.
        return ((error * hidden).sum(1) / hidden.sum(1).clamp(min=1) + 1e-6).sqrt().mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the mean absolute error of stretched fluxes in the published targets.

        Arguments:
            model: a `SourceOracle`, in evaluation mode.
        """
        assert isinstance(model, SourceOracle)
        bands = self.simulator.bands
        rows = [bands.index(name) for name in TARGETS]
        found = {}
        for name in ("plates", "all"):
            given = given_bands(PUBLISHED[name], bands=bands)
            given = given.to(self.table.flux.device).expand(len(self.validation), -1)
            value, _ = model(self.validation, given)
            wanted = torch.asinh(self.validation.truth.sum(-1) / model.softening)
            found[f"error_{name}"] = float((value - wanted)[:, rows].abs().mean())
        return {**found, "minus_error": -found["error_plates"]}
