"""Training of what infers the targets, on a table of what was measured in many images.

It learns from the oracle, which sees the same noise and knows the true shapes: its mean and
covariance stand in the place of a spectrum. By the tower law the best answer is the same, and what
even the oracle cannot know is no longer noise in the training. The network also begins as the
oracle, with the numbers that the oracle knows predicted from those that were measured.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.parts import TableTask, draw_parts
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.limits_task import rmse
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.observations import draw_measurements
from skytutor.chapters.spectra.posterior_network import BETA, PosteriorNetwork
from skytutor.chapters.spectra.targets import pretrained_autoencoder
from skytutor.data.galaxies import GalaxySimulator
from skytutor.layers.gaussian_head import gaussian_loss, gaussian_nll
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

__all__ = ["SCHEDULES", "MeasuredTask", "SpectrumTask", "in_batches", "spectrum_sizes"]

SCHEDULES = {
    "smoke": Schedule(epochs=1, batch_size=32, lr=1e-3, optimizer="muon"),
    "cpu": Schedule(epochs=8, batch_size=200, lr=1e-3, optimizer="muon"),
    "gpu": Schedule(epochs=10, batch_size=1024, lr=1e-3, optimizer="muon"),
}
_ROWS = 50  # images at a time, for the memory's sake
_CHUNK = 20_000  # rows of a table that the oracle answers for at a time
_FOR_A_START = 100_000  # rows that the oracle's numbers are regressed on


def spectrum_sizes(profile: Profile) -> tuple[int, int]:
    """Return how many galaxies the inference is trained and validated on.

    Arguments:
        profile: of the training.
    """
    sizes: tuple[int, int] = profile.pick(smoke=(64, 64), cpu=(5000, 1000), gpu=(80_000, 4000))
    return sizes


def in_batches(model: nn.Module, images: Tensor, *, batch: int = _ROWS) -> tuple[Tensor, Tensor]:
    """Return mean ``(n, 9)`` and Cholesky factor ``(n, 9, 9)`` for many images.

    Arguments:
        model: a `SpectrumNetwork`.
        images: ``(n, 5, H, H)``.
        batch: images at a time.
    """
    parts = [model(images[start : start + batch]) for start in range(0, len(images), batch)]
    means, factors = zip(*parts, strict=True)
    return torch.cat(means), torch.cat(factors)


class MeasuredTask(TableTask):
    """A table of what was measured in images, drawn once and kept.

    Arguments:
        simulator: to draw from, on the device of the training.
        measurement: trained.
        size: galaxies in the table.
        n_validation: galaxies to validate on.
        seed: number of the training set.
    """

    def __init__(
        self,
        simulator: GalaxySimulator,
        measurement: MeasurementNetwork,
        *,
        size: int,
        n_validation: int,
        seed: int,
    ):
        self.size = size
        device = simulator.device
        self.measurement = measurement.to(device).eval()
        options: dict[str, Any] = {
            "measurement": self.measurement,
            "autoencoder": pretrained_autoencoder(device),
        }

        def draw(n: int, generator: torch.Generator) -> dict[str, Tensor]:
            return draw_measurements(simulator, n, generator=generator, **options)

        columns = draw_parts(draw, size, seeds=SEEDS, seed=seed, device=device)
        self.table, self.targets = columns["table"], columns["targets"]
        self.oracle_table = columns["oracle"]
        held_out = draw(n_validation, torch.Generator(device).manual_seed(SEEDS.validation[0]))
        self.validation = (held_out["table"], held_out["targets"])

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return measurements ``(B, F)`` and targets ``(B, 9)``.

        Arguments:
            indices: of the galaxies.
            draws: nothing.
        """
        rows = indices.to(self.table.device)
        return self.table[rows], self.targets[rows]


class SpectrumTask(MeasuredTask):
    """Training of the inference of a `SpectrumNetwork` on measurements drawn once and kept.

    Arguments:
        simulator: to draw from, on the device of the training.
        measurement: trained; the network adopts it at the first step.
        limits: trained in the same universe; their oracle teaches.
        size: galaxies in the table.
        n_validation: galaxies to validate on.
        seed: number of the training set.
    """

    score = "minus_rmse"

    def __init__(
        self,
        simulator: GalaxySimulator,
        measurement: MeasurementNetwork,
        limits: LimitNetworks,
        *,
        size: int,
        n_validation: int,
        seed: int = 1,
    ):
        super().__init__(simulator, measurement, size=size, n_validation=n_validation, seed=seed)
        oracle = limits.networks["oracle"]
        assert isinstance(oracle, PosteriorNetwork)
        self.oracle = oracle.to(simulator.device).eval()
        with torch.no_grad():
            answers = [self.oracle(rows) for rows in self.oracle_table.split(_CHUNK)]
        means, factors = zip(*answers, strict=True)
        self.taught = (torch.cat(means), torch.cat(factors))

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return measurements ``(B, F)``, and mean ``(B, 9)`` and factor of the oracle's answers.

        Arguments:
            indices: of the galaxies.
            draws: nothing.
        """
        rows = indices.to(self.table.device)
        return self.table[rows], *(answer[rows] for answer in self.taught)

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return `gaussian_loss`, with the oracle's posteriors for targets.

        Arguments:
            model: a `SpectrumNetwork`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        own = getattr(model, "module", model)  # as Fabric wraps it
        assert isinstance(own, SpectrumNetwork)
        if not bool(own.started):
            own.adopt(self.measurement, self.table)
            start = slice(0, _FOR_A_START)
            own.inference.start_as(self.oracle, self.table[start], self.oracle_table[start])
        table, mean, factor = batch
        posterior = model(table)
        return gaussian_loss(mean, *posterior, target_scale_tril=factor, beta=BETA).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the RMSE over the six latents, and the mean likelihood.

        Arguments:
            model: in evaluation mode.
        """
        table, targets = self.validation
        mean, factor = model(table)
        found = rmse(mean - targets)
        nll = float(gaussian_nll(targets, mean, factor).mean())
        return {"rmse": found, "nll": nll, "minus_rmse": -found}
