"""Training of the oracle and of what brackets it: a table of simulated galaxies, no images."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import KNOWLEDGE, LimitNetworks, tables
from skytutor.chapters.spectra.sample import draw_samples
from skytutor.chapters.spectra.targets import N_LATENTS, make_targets, pretrained_autoencoder
from skytutor.data.galaxies import GalaxySimulator
from skytutor.layers.gaussian_head import gaussian_loss
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["NAME", "LimitsTask", "draw_tables", "make_recipe", "rmse"]

NAME = "spectra-limits"
_VALIDATION = 20_000


def draw_tables(
    simulator: GalaxySimulator,
    n: int,
    *,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the tables of n galaxies, one for each kind of knowledge, and targets ``(n, 9)``.

    Arguments:
        simulator: to draw from.
        n: galaxies.
        autoencoder: trained, on the simulator's device.
        generator: of the random numbers.
    """
    batch = 4000 if simulator.device.type == "cuda" else 250
    found: dict[str, list[Tensor]] = {name: [] for name in KNOWLEDGE}
    targets = []
    for sample in draw_samples(simulator, n, generator=generator, batch=batch):
        for name, table in tables(sample).items():
            found[name].append(table)
        targets.append(make_targets(autoencoder, sample.spectra, sample.galaxies.redshift))
    return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(targets)


def rmse(error: Tensor) -> float:
    """Return the root mean square over galaxies and latents of errors ``(n, 9)``."""
    return float(error[:, :N_LATENTS].square().mean().sqrt())


class LimitsTask(Task):
    """Training of `LimitNetworks` on tables that are drawn once and kept.

    Arguments:
        simulator: to draw from.
        size: galaxies in the tables.
        n_validation: galaxies to validate on.
        seed: number of the training set.
    """

    score = "minus_oracle_rmse"

    def __init__(
        self,
        simulator: GalaxySimulator,
        *,
        size: int,
        n_validation: int = _VALIDATION,
        seed: int = 0,
    ):
        self.size = size
        autoencoder = pretrained_autoencoder(simulator.device)
        options: dict[str, Any] = {"autoencoder": autoencoder}
        device = simulator.device
        rng = torch.Generator(device).manual_seed(SEEDS.train[seed])
        self.by_knowledge, self.targets = draw_tables(simulator, size, generator=rng, **options)
        rng = torch.Generator(device).manual_seed(SEEDS.validation[0])
        self.validation = draw_tables(simulator, n_validation, generator=rng, **options)

    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw nothing: the tables are kept.

        Arguments:
            n: galaxies in the batch.
            generator: not used.
        """
        return []

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return targets and the four tables.

        Arguments:
            indices: of the galaxies.
            draws: nothing.
        """
        rows = indices.to(self.targets.device)
        return self.targets[rows], *(table[rows] for table in self.by_knowledge.values())

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the mean over the kinds of knowledge of `gaussian_loss`.

        Arguments:
            model: `LimitNetworks`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        own = getattr(model, "module", model)  # as Fabric wraps it
        assert isinstance(own, LimitNetworks)
        if not bool(own.started):
            own.standardise(self.by_knowledge)
        targets, *columns = batch
        posteriors = model(dict(zip(KNOWLEDGE, columns, strict=True)))
        losses = [gaussian_loss(targets, *posterior).mean() for posterior in posteriors.values()]
        return torch.stack(losses).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the RMSE over the six latents for each kind of knowledge.

        Arguments:
            model: `LimitNetworks`, in evaluation mode.
        """
        known, targets = self.validation
        found = {}
        for name, (mean, _) in model(known).items():
            found[f"rmse_{name}"] = rmse(mean - targets)
        return {**found, "minus_oracle_rmse": -found["rmse_oracle"]}


def _task(profile: Profile) -> LimitsTask:
    return LimitsTask(
        GalaxySimulator(device=profile.device),
        size=profile.pick(smoke=1000, cpu=20_000, gpu=2_000_000),
        n_validation=profile.pick(smoke=500, cpu=4000, gpu=40_000),
    )


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Galaxies are drawn: there is no source to choose.
    rng = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    n = 5000 if size is None else size
    known, targets = draw_tables(
        GalaxySimulator(), n, autoencoder=pretrained_autoencoder(), generator=rng
    )
    with torch.no_grad():
        posteriors: Mapping[str, tuple[Tensor, Tensor]] = model(known)
    scores = {f"rmse_{name}": rmse(mean - targets) for name, (mean, _) in posteriors.items()}
    return Scores(
        scores=scores,
        constant={"rmse": rmse(targets)},
        size=n,
        data="simulated galaxies",
    )


def make_recipe() -> Recipe:
    """Return the recipe of the oracle, the catalogue, the colours and the image without noise."""
    return Recipe(
        name=NAME,
        build=LimitNetworks,
        task=_task,
        schedules={
            "smoke": Schedule(epochs=2, batch_size=100, lr=2e-3),
            "cpu": Schedule(epochs=8, batch_size=200, lr=2e-3),
            "gpu": Schedule(epochs=8, batch_size=4096, lr=2e-3),
        },
        seeds=SEEDS,
        score=_score,
        published={},
    )
