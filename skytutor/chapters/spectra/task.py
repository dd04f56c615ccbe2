"""Training of what infers the targets, on a table of what was measured in a million images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.limits_task import rmse
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.observations import draw_measurements
from skytutor.chapters.spectra.targets import pretrained_autoencoder
from skytutor.data.galaxies import GalaxySimulator
from skytutor.layers.gaussian_head import gaussian_loss, gaussian_nll
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["SCHEDULES", "SpectrumTask", "in_batches", "spectrum_sizes"]

SCHEDULES = {
    "smoke": Schedule(epochs=1, batch_size=32, lr=2e-3),
    "cpu": Schedule(epochs=8, batch_size=200, lr=2e-3),
    "gpu": Schedule(epochs=10, batch_size=2048, lr=2e-3, weight_decay=1e-3),
}
_ROWS = 50  # images at a time, for the memory's sake


def spectrum_sizes(profile: Profile) -> tuple[int, int]:
    """Return how many galaxies the inference is trained and validated on.

    Arguments:
        profile: of the training.
    """
    sizes: tuple[int, int] = profile.pick(smoke=(64, 64), cpu=(5000, 1000), gpu=(1_000_000, 20_000))
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


class SpectrumTask(Task):
    """Training of the inference of a `SpectrumNetwork` on measurements drawn once and kept.

    Arguments:
        simulator: to draw from, on the device of the training.
        measurement: trained; the network adopts it at the first step.
        size: galaxies in the table.
        n_validation: galaxies to validate on.
        seed: number of the training set.
    """

    score = "minus_rmse"

    def __init__(
        self,
        simulator: GalaxySimulator,
        measurement: MeasurementNetwork,
        *,
        size: int,
        n_validation: int,
        seed: int = 1,
    ):
        self.size = size
        self.measurement = measurement.to(simulator.device).eval()
        options: dict[str, Any] = {
            "measurement": self.measurement,
            "autoencoder": pretrained_autoencoder(simulator.device),
        }
        rng = torch.Generator(simulator.device).manual_seed(SEEDS.train[seed])
        self.table, self.targets = draw_measurements(simulator, size, generator=rng, **options)
        rng = torch.Generator(simulator.device).manual_seed(SEEDS.validation[0])
        self.validation = draw_measurements(simulator, n_validation, generator=rng, **options)

    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw nothing: the table is kept.

        Arguments:
            n: galaxies in the batch.
            generator: not used.
        """
        return []

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return measurements ``(B, F)`` and targets ``(B, 9)``.

        Arguments:
            indices: of the galaxies.
            draws: nothing.
        """
        rows = indices.to(self.table.device)
        return self.table[rows], self.targets[rows]

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the squared error of the means plus the likelihood of the covariance.

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
        table, targets = batch
        mean, factor = model(table)
        return gaussian_loss(targets, mean, factor).mean()

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
