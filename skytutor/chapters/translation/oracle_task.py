"""Training of the `SourceOracle` on sources measured in simulated scenes."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.parts import draw_parts
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation.scored_scenes import draw_batches
from skytutor.chapters.translation.source_oracle import SourceOracle, SourceTable
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS, draw_given, given_bands
from skytutor.data.bands import SceneSimulator
from skytutor.data.surveys import BANDS, faint_error
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = [
    "SCHEDULES",
    "OracleTask",
    "build_oracle",
    "draw_sources",
    "oracle_sizes",
]

SCHEDULES = {
    "smoke": Schedule(epochs=2, batch_size=16, lr=3e-3, optimizer="muon"),
    "cpu": Schedule(epochs=20, batch_size=256, lr=3e-3, optimizer="muon"),
    "gpu": Schedule(epochs=30, batch_size=2048, lr=3e-3, optimizer="muon"),
}
_PART = 500  # scenes drawn from one seed


def oracle_sizes(profile: Profile) -> tuple[int, int]:
    """Return how many scenes the oracle is trained and validated on.

    Arguments:
        profile: of the training.
    """
    sizes: tuple[int, int] = profile.pick(smoke=(10, 5), cpu=(1000, 200), gpu=(240_000, 2000))
    return sizes


def build_oracle() -> SourceOracle:
    """Return an oracle of all bands, untrained."""
    return SourceOracle(torch.tensor([faint_error(band) for band in BANDS.values()]))


def draw_sources(
    simulator: SceneSimulator, n: int, *, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the columns of a `SourceTable`: of all sources of n scenes.

    Arguments:
        simulator: to draw from.
        n: scenes.
        generator: of the random numbers.
    """
    tables = [batch.sources for batch in draw_batches(simulator, n, generator=generator)]
    return {
        entry.name: torch.cat([getattr(table, entry.name) for table in tables])
        for entry in fields(SourceTable)
    }


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
