"""Errors against error bars where a network breaks, and a flag for images that are unlike."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.breaks import BREAKS, make_break
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.targets import N_LATENTS, TARGETS, pretrained_autoencoder
from skytutor.data.galaxies import GalaxySimulator
from skytutor.metrics.calibration import interval_coverage
from skytutor.validate import positive
from skytutor.values import all_finite

__all__ = ["OutlierFlag", "error_bars", "score_breaks"]

_SHRINKAGE = 1e-3  # of the covariance towards its mean variance
_BATCH = 50


class OutlierFlag:
    """Flag images whose features lie farther from the training's than all but a few of these.

    The distance is that of Mahalanobis, ``d^2 = (f - m)^T S^-1 (f - m)``, with mean and covariance
    of one half of the reference; the threshold is a quantile of the other half, for a covariance
    fits its own half too well.

    Arguments:
        reference: ``(N, F)``, features of images as in training.
        level: fraction of such images that shall pass, between 0 and 1.

    Raises:
        ValueError: fewer than 2 F rows, NaN, or a level outside 0..1.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> flag = OutlierFlag(torch.randn(1000, 3, generator=rng))
        >>> flag(torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]))
        tensor([False,  True])
    """

    def __init__(self, reference: Tensor, *, level: float = 0.99):
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level}")
        if reference.ndim != 2 or len(reference) < 2 * reference.shape[1]:
            raise ValueError(
                f"reference must be (N, F) with N at least 2 F, got shape {tuple(reference.shape)}"
            )
        if not all_finite(reference):
            raise ValueError("reference must be finite, got NaN or infinite values")
        fit, rest = reference.double()[::2], reference.double()[1::2]
        self.mean = fit.mean(0)
        covariance = torch.cov(fit.T).reshape(fit.shape[1], -1)
        # Features of a network go together: without shrinkage S is nearly singular.
        level_of_all = covariance.diagonal().mean()
        unit = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        self._lower = torch.linalg.cholesky(covariance + _SHRINKAGE * level_of_all * unit)
        self.threshold = float(self.distance(rest).quantile(level))

    def distance(self, features: Tensor) -> Tensor:
        """Return the distance of each row ``(n,)``, float64.

        Arguments:
            features: ``(n, F)``.
        """
        away = features.double() - self.mean
        return torch.linalg.solve_triangular(self._lower, away.T, upper=False).norm(dim=0)

    def __call__(self, features: Tensor) -> Tensor:
        """Return which rows are flagged, ``(n,)`` bool.

        Arguments:
            features: ``(n, F)``.
        """
        return self.distance(features) > self.threshold


def error_bars(mean: Tensor, factor: Tensor, targets: Tensor) -> dict[str, dict[str, float]]:
    """Return how errors compare with error bars, for the latents together and each other target.

    Arguments:
        mean: ``(n, 9)``, of the network.
        factor: ``(n, 9, 9)``, Cholesky factor of its covariance.
        targets: ``(n, 9)``; a column that holds NaN is left out.

    Returns:
        by "latents" and the names of the last three targets: ``rmse``, ``bias`` (mean of the error
        over the error bar; of the latents the root mean square of the six), ``z`` (root mean square
        of the error over the error bar, 1 if honest), ``sigma`` (mean error bar) and ``coverage``
        of the central 68 %.
    """
    groups = {"latents": list(range(N_LATENTS))}
    for column in range(N_LATENTS, len(TARGETS)):
        groups[TARGETS[column]] = [column]
    found = {}
    for name, columns in groups.items():
        truth = targets[:, columns]
        if bool(truth.isnan().any()):
            continue
        error = mean[:, columns] - truth
        # Coverage looks at one target at a time: the diagonal is enough.
        deviation = factor[:, columns].square().sum(2).sqrt()
        posterior = MultivariateNormal(mean[:, columns], scale_tril=torch.diag_embed(deviation))
        z = error / deviation
        found[name] = {
            "rmse": float(error.square().mean().sqrt()),
            "bias": _bias(z),
            "z": float(z.square().mean().sqrt()),
            "sigma": float(deviation.mean()),
            "coverage": interval_coverage(posterior, truth).overall,
        }
    return found


def _bias(z: Tensor) -> float:
    """Return the mean of one column; of several the root mean square of their means."""
    means = z.mean(0)
    return float(means) if len(means) == 1 else math.sqrt(float(means.square().mean()))


def _answers(model: SpectrumNetwork, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what was measured in units of its scatter, means and Cholesky factors.

    What was measured, not what the head sees: the layers between forget what is unusual.
    """
    table = model.measurement(images)
    return model.inference.in_units(table), *model(table)


def score_breaks(
    model: SpectrumNetwork,
    *,
    size: int = 200,
    seed: int = 0,
    n_reference: int = 2000,
    simulator: GalaxySimulator | None = None,
    autoencoder: SpectrumAutoencoder | None = None,
) -> dict[str, dict[str, Any]]:
    """Score a network on every kind of `BREAKS`.

    Arguments:
        model: in evaluation mode, on the simulator's device.
        size: images of each kind.
        seed: number of the test.
        n_reference: images as in training, of which the flag is made.
        simulator: to draw from; None for the default.
        autoencoder: whose latents are the targets; None for the one that comes with the package.

    Returns:
        for each kind what `error_bars` returns, and ``flagged``, the fraction that the flag warns
        of; 0.01 is the aim of "as in training".
    """
    positive(size=size, n_reference=n_reference)
    simulator = GalaxySimulator() if simulator is None else simulator
    autoencoder = pretrained_autoencoder(simulator.device) if autoencoder is None else autoencoder
    rng = torch.Generator(simulator.device).manual_seed(SEEDS.train[seed])
    with torch.no_grad():
        reference = []
        for start in range(0, n_reference, _BATCH):
            galaxies = simulator.draw(min(_BATCH, n_reference - start), generator=rng)
            images = simulator.images(galaxies, generator=rng)
            reference.append(_answers(model, images)[0])
        flag = OutlierFlag(torch.cat(reference))
        found: dict[str, dict[str, Any]] = {}
        for name in BREAKS:
            # The same galaxies for every mistake in the images.
            rng = torch.Generator(simulator.device).manual_seed(SEEDS.test_seed(seed))
            case = make_break(
                name, size, simulator=simulator, autoencoder=autoencoder, generator=rng
            )
            features, mean, factor = _answers(model, case.images)
            flagged = float(flag(features).double().mean())
            found[name] = {**error_bars(mean, factor, case.targets), "flagged": flagged}
    return found
