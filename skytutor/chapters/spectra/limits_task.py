"""Training of the oracle and of what brackets it: a table of simulated galaxies, no images.

Most of what the oracle leaves unexplained cannot be seen even in an image without noise. The
network that is given such images learns from spectra; the oracle, the catalogue and the colours
learn from its answers for the same galaxies, from which that part is gone. By the tower law,
``E[t | noisy] = E[ E[t | noiseless] | noisy ]``, their best answer is the same, since noise tells
nothing of a spectrum.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.parts import TableTask, draw_parts
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import KNOWLEDGE, LimitNetworks, tables
from skytutor.chapters.spectra.posterior_network import BETA
from skytutor.chapters.spectra.sample import draw_samples
from skytutor.chapters.spectra.targets import N_LATENTS, make_targets, pretrained_autoencoder
from skytutor.data.galaxies import GalaxySimulator
from skytutor.layers.gaussian_head import gaussian_loss
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

__all__ = [
    "NAME",
    "SCHEDULES",
    "LimitsTask",
    "draw_tables",
    "limit_sizes",
    "make_recipe",
    "rmse",
]

NAME = "spectra-limits"
SCHEDULES = {
    "smoke": Schedule(epochs=2, batch_size=100, lr=3e-3, optimizer="muon"),
    "cpu": Schedule(epochs=8, batch_size=200, lr=3e-3, optimizer="muon"),
    "gpu": Schedule(epochs=10, batch_size=2048, lr=4e-3, optimizer="muon"),
}
_VALIDATION = 20_000
_TEACHER = "noiseless"  # whose answers teach those who know less


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


class LimitsTask(TableTask):
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
        options: dict[str, Any] = {"autoencoder": pretrained_autoencoder(simulator.device)}
        device = simulator.device

        def draw(n: int, generator: torch.Generator) -> dict[str, Tensor]:
            known, targets = draw_tables(simulator, n, generator=generator, **options)
            return {**known, "targets": targets}

        columns = draw_parts(draw, size, seeds=SEEDS, seed=seed, device=device)
        self.targets = columns.pop("targets")
        self.by_knowledge = columns
        rng = torch.Generator(device).manual_seed(SEEDS.validation[0])
        self.validation = draw_tables(simulator, n_validation, generator=rng, **options)

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
        """Return the mean of `gaussian_loss` over the kinds of knowledge.

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
        teacher = posteriors.pop(_TEACHER)
        losses = [gaussian_loss(targets, *teacher, beta=BETA)]
        # Pupils do not move what they learn from.
        mean, factor = (answer.detach() for answer in teacher)
        for posterior in posteriors.values():
            losses.append(gaussian_loss(mean, *posterior, target_scale_tril=factor, beta=BETA))
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


def limit_sizes(profile: Profile) -> tuple[int, int]:
    """Return how many galaxies the limits are trained and validated on.

    Arguments:
        profile: of the training.
    """
    sizes: tuple[int, int] = profile.pick(
        smoke=(1000, 500), cpu=(20_000, 4000), gpu=(1_000_000, 40_000)
    )
    return sizes


def _task(profile: Profile) -> LimitsTask:
    size, n_validation = limit_sizes(profile)
    return LimitsTask(GalaxySimulator(device=profile.device), size=size, n_validation=n_validation)


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
        schedules=SCHEDULES,
        seeds=SEEDS,
        score=_score,
        published={},
        # Whitened numbers are small differences of large ones: float16 leaves noise of them.
        float16=False,
    )
