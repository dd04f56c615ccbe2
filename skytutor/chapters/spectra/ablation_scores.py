"""How much worse a network does on images from which one kind of information was taken.

A network that was trained on whole images meets a kind of image here that it has never seen. Its
error then holds two things: the information that is gone, and the surprise. `score_ablations` can
fit the last, linear step anew on such images, which takes most of the surprise away.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.ablations import ABLATIONS
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import LimitNetworks, tables
from skytutor.chapters.spectra.limits_task import rmse
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.sample import draw_samples
from skytutor.chapters.spectra.scores import pretrained_limits
from skytutor.chapters.spectra.targets import N_LATENTS, make_targets, pretrained_autoencoder
from skytutor.data.galaxies import GalaxySimulator

__all__ = ["score_ablations"]

_FARTHEST = 4.0  # standard deviations; features beyond are set to this
_RIDGE = 1e-2  # weight of small coefficients, over the variance of a standardised feature


def _features(
    model: SpectrumNetwork,
    simulator: GalaxySimulator,
    autoencoder: SpectrumAutoencoder,
    *,
    size: int,
    seed: int,
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Return the network's features of each kind of image, the targets, and the limits' tables."""
    rng = torch.Generator(simulator.device).manual_seed(seed)
    features: dict[str, list[Tensor]] = {name: [] for name in ABLATIONS}
    known: dict[str, list[Tensor]] = {"catalogue": [], "oracle": []}
    targets = []
    for sample in draw_samples(simulator, size, generator=rng, images=True):
        assert sample.images is not None
        for name, change in ABLATIONS.items():
            features[name].append(model.features(change(sample.images, rng)))
        targets.append(make_targets(autoencoder, sample.spectra, sample.galaxies.redshift))
        table = tables(sample)
        for name, rows in known.items():
            rows.append(table[name])
    return _joined(features), torch.cat(targets), _joined(known)


def _joined(parts: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat(rows) for name, rows in parts.items()}


def _linear_fit(features: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the ridge regression of targets ``(n, 9)`` on features ``(n, F)``."""
    centre = features.mean(0)
    scale = features.std(0).clamp(min=1e-6)
    level = targets.mean(0)

    def unit_of(rows: Tensor) -> Tensor:
        # Where the light is gone, features of a few galaxies are far out and would rule the fit.
        return ((rows - centre) / scale).clamp(-_FARTHEST, _FARTHEST)

    unit = unit_of(features).double()
    # Features of a network go together: without the ridge the matrix is nearly singular.
    ridge = _RIDGE * len(unit) * torch.eye(unit.shape[1], dtype=unit.dtype, device=unit.device)
    matrix = unit.T @ unit + ridge
    weights = torch.linalg.solve(matrix, unit.T @ (targets - level).double()).to(features)
    return lambda new: unit_of(new) @ weights + level


def _compared(errors: dict[str, Tensor], *, catalogue: float) -> dict[str, dict[str, float]]:
    """Return for each ablation its error, its distance to whole images, and to the catalogue."""
    found = {}
    squares = {name: rows[:, :N_LATENTS].square().mean(1) for name, rows in errors.items()}
    whole = rmse(errors["whole image"])
    for name, rows in errors.items():
        own = rmse(rows)
        # The galaxies are the same: the scatter of the difference counts, not of each.
        spread = float((squares[name] - squares["whole image"]).std()) / len(rows) ** 0.5
        found[name] = {
            "rmse": own,
            "above_whole": own - whole,
            "above_whole_error": spread / (own + whole),
            "below_catalogue": 1 - own / catalogue,
        }
    return found


def score_ablations(
    model: SpectrumNetwork,
    *,
    size: int = 1000,
    seed: int = 0,
    refit: int = 0,
    simulator: GalaxySimulator | None = None,
    autoencoder: SpectrumAutoencoder | None = None,
    limits: LimitNetworks | None = None,
) -> dict[str, Any]:
    """Score a network on one set of galaxies, whole and with information taken out.

    Arguments:
        model: in evaluation mode, on the simulator's device.
        size: galaxies to score on.
        seed: number of the test.
        refit: galaxies of a second set, on which a linear step from the network's features to the
            targets is fitted anew for each ablation; 0 for none.
        simulator: to draw from; None for the default.
        autoencoder: whose latents are the targets; None for the one that comes with the package.
        limits: of catalogue and oracle; None for those that come with the package.

    Returns:
        ``rmse_constant``, ``rmse_catalogue``, ``rmse_oracle``, ``size``; under ``ablations`` for
        each name ``rmse``, ``above_whole`` with its paired standard error ``above_whole_error``,
        and ``below_catalogue``; under ``refitted`` the same after the fit, if `refit` is not 0.
    """
    simulator = GalaxySimulator() if simulator is None else simulator
    autoencoder = pretrained_autoencoder(simulator.device) if autoencoder is None else autoencoder
    limits = pretrained_limits() if limits is None else limits
    device = next(limits.parameters()).device
    test = SEEDS.test_seed(seed)
    with torch.no_grad():
        features, targets, known = _features(model, simulator, autoencoder, size=size, seed=test)
        reference = {
            name: rmse(limits.networks[name](rows.to(device))[0] - targets.to(device))
            for name, rows in known.items()
        }
        errors = {name: model.inference.head(rows)[0] - targets for name, rows in features.items()}
    found: dict[str, Any] = {f"rmse_{name}": value for name, value in reference.items()}
    found |= {"rmse_constant": rmse(targets), "size": size}
    found["ablations"] = _compared(errors, catalogue=reference["catalogue"])
    if refit:
        train = SEEDS.train[seed]
        with torch.no_grad():
            old, answers, _ = _features(model, simulator, autoencoder, size=refit, seed=train)
        for name, rows in features.items():
            errors[name] = _linear_fit(old[name], answers)(rows) - targets
        found["refitted"] = _compared(errors, catalogue=reference["catalogue"])
    return found
