"""Training and validation of chapter 3 on drawn skies."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skytutor.chapters.cmb.networks import Estimator
from skytutor.chapters.cmb.summaries import (
    draw_summaries,
    summary_statistics,
)
from skytutor.chapters.seeds import CMB as SEEDS
from skytutor.data.cmb import GaussianSkySimulator
from skytutor.training.schedule import Task


class CmbTask(Task):
    """Training and validation of an `Estimator` on drawn skies.

    Arguments:
        simulators: of the studies to train on, in equal shares; the prior is that of the first.
        size: skies in an epoch.
        n_validation: skies to validate on.
        resample: draw a new sky, of the first simulator, for each sample of each epoch. Otherwise
            each sky is drawn once, and its summary statistics are kept.
    """

    score = "log_likelihood"

    def __init__(
        self,
        simulators: Sequence[GaussianSkySimulator],
        *,
        size: int,
        n_validation: int,
        resample: bool = False,
    ):
        self.simulators = tuple(simulators)
        self.size = size
        self.resample = resample
        self.validation_set = self._draw_set(n_validation, SEEDS.validation[0])
        self.training_set = None if resample else self._draw_set(size, SEEDS.train[0])

    def _draw_set(self, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return summary statistics ``(size, F)`` and normalised parameters ``(size, n)``."""
        parameters = []
        summaries = []
        each = size // len(self.simulators)
        for k, simulator in enumerate(self.simulators):
            # Seeds 1000 apart, so that no two simulators share one.
            drawn, summary = draw_summaries(simulator, each, seed=seed + 1000 * k)
            parameters.append(drawn)
            summaries.append(summary)
        target = self.simulators[0].normalise(torch.cat(parameters)).float()
        return torch.cat(summaries), target

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw parameters and white noise of n new skies; nothing if the skies are fixed.

        Arguments:
            n: samples in the batch.
            generator: of the random numbers.
        """
        if self.training_set is not None:
            return []
        simulator = self.simulators[0]
        parameters = simulator.draw_parameters(n, generator=generator)
        return [parameters, *simulator.draw_noise(n, generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return summary statistics ``(B, F)`` and normalised parameters ``(B, n)``.

        Arguments:
            indices: ``(B,)``, numbers of fixed skies.
            draws: what `draw` gave.
        """
        if self.training_set is not None:
            summaries, target = self.training_set
            return summaries[indices], target[indices]
        simulator = self.simulators[0]
        parameters = draws[0]
        maps = simulator.maps(parameters, draws[1:])
        return summary_statistics(simulator)(maps), simulator.normalise(parameters).float()

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the mean negative log-likelihood of the parameters, a scalar.

        Arguments:
            model: an `Estimator`.
            batch: what `batch` gave.
        """
        summaries, target = batch
        return -_log_likelihood(model(summaries, precomputed=True), target)

    def finalise(self, model: nn.Module) -> None:
        """Calibrate the standard deviations on the validation skies.

        Arguments:
            model: an `Estimator`, in evaluation mode.
        """
        assert isinstance(model, Estimator)
        summaries, target = self._validation_on(model)
        model.calibrate(model(summaries, precomputed=True), target)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the log-likelihood, and the largest mean relative error of a parameter.

        Arguments:
            model: an `Estimator`, in evaluation mode.
        """
        summaries, target = self._validation_on(model)
        answers = model(summaries, precomputed=True).cpu()
        found = self.simulators[0].unnormalise(answers[..., 0])
        true = self.simulators[0].unnormalise(target.cpu())
        # r may be 0: its error is then relative to 1e-6.
        relative = ((found - true).abs() / true.clamp(min=1e-6)).mean(0)
        return {
            "log_likelihood": float(_log_likelihood(answers, target.cpu())),
            "relative_error": float(relative.max()),
        }

    def _validation_on(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the validation set on the device of the model."""
        device = next(model.parameters()).device
        summaries, target = self.validation_set
        return summaries.to(device), target.to(device)


def _log_likelihood(answers: Tensor, true: Tensor) -> Tensor:
    """Return the mean log-density of a Gaussian at `true` ``(B, n)``, the constant left out.

    Arguments:
        answers: means and logarithms of standard deviations, ``(B, n, 2)``.
        true: the parameters.
    """
    mean, log_sd = answers.unbind(-1)
    return -(log_sd + 0.5 * ((true - mean) / log_sd.exp()).square()).mean()
