"""Checks of the limits: an analytic case, twice as many simulations, and a bound from below.

``skytutor compute spectra-limits-check`` runs them and writes a card that the book reads. Minutes
on a GPU.
"""

import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra import study
from skytutor.chapters.spectra.limits import KNOWLEDGE, LimitNetworks
from skytutor.chapters.spectra.limits_task import (
    SCHEDULES,
    LimitsTask,
    draw_tables,
    limit_sizes,
)
from skytutor.chapters.spectra.linear_gaussian import linear_gaussian_check
from skytutor.chapters.spectra.scores import pretrained_limits
from skytutor.chapters.spectra.targets import N_LATENTS, pretrained_autoencoder
from skytutor.chapters.spectra.van_trees import van_trees_bound
from skytutor.chapters.study_card import write_study
from skytutor.data.galaxies import GalaxySimulator
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

__all__ = ["CHECK_CARD", "compare_sizes", "convergence", "make_limits_check"]

CHECK_CARD = "spectra-limits-check"
_CHUNK = 20_000  # galaxies a network answers for at a time


def compare_sizes(squares: dict[int, Tensor]) -> dict[str, Any]:
    """Return errors of networks trained on n and on 2 n galaxies, and what doubling changes.

    Arguments:
        squares: for each of the two sizes, squared errors ``(N,)`` of the same N test galaxies,
            means over the latents.

    Returns:
        ``rmse`` and ``standard_error`` by size; ``change``, the RMSE of the larger over that of
        the smaller minus 1, with ``change_error``, the standard error of the pairs; and
        ``next_change``, what doubling once more would change if the excess over the limit falls as
        the inverse of the size: half as much.

    Raises:
        ValueError: not two sizes, one twice the other.
    """
    small, large = sorted(squares)[0], sorted(squares)[-1]
    if len(squares) != 2 or large != 2 * small:
        raise ValueError(f"squares must be of sizes n and 2 n, got {sorted(squares)}")
    rmse = {size: float(found.mean().sqrt()) for size, found in squares.items()}
    n = len(squares[small])
    error = {
        size: float(found.std()) / n**0.5 / (2 * rmse[size]) for size, found in squares.items()
    }
    change = rmse[large] / rmse[small] - 1
    # Both are scored on the same galaxies: the error of a difference is that of the pairs.
    spread = float((squares[large] - squares[small]).std()) / n**0.5
    return {
        "rmse": {str(size): value for size, value in rmse.items()},
        "standard_error": {str(size): value for size, value in error.items()},
        "change": change,
        "change_error": spread / (2 * rmse[small] ** 2),
        "next_change": change / 2,
    }


def _squares(
    networks: LimitNetworks, known: dict[str, Tensor], targets: Tensor
) -> dict[str, Tensor]:
    """Return squared errors ``(N,)``, means over the latents, for each kind of knowledge."""
    found: dict[str, list[Tensor]] = {name: [] for name in KNOWLEDGE}
    with torch.no_grad():
        for start in range(0, len(targets), _CHUNK):
            rows = slice(start, start + _CHUNK)
            answers = networks({name: table[rows] for name, table in known.items()})
            for name, (mean, _) in answers.items():
                error = (mean - targets[rows])[:, :N_LATENTS]
                found[name].append(error.square().mean(1).double().cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def convergence(
    *,
    rows: int,
    n_test: int,
    schedule: Schedule,
    profile: Profile,
    n_validation: int = 40_000,
    simulator: GalaxySimulator | None = None,
    whole: LimitNetworks | None = None,
) -> dict[str, dict[str, Any]]:
    """Train `LimitNetworks` on half of a table and on all of it, and compare.

    Both are trained for the same number of steps, so that what changes is the table alone.

    Arguments:
        rows: galaxies in the table, even; it stays on the profile's device.
        n_test: galaxies to compare on, the same for both.
        schedule: of the training on all of it; that on half has twice the epochs.
        profile: device and seed.
        n_validation: galaxies that choose the best epoch.
        simulator: to draw from; default: that of the chapter.
        whole: networks already trained on all of this table by this schedule; None to train them.

    Returns:
        for each kind of knowledge, what `compare_sizes` says.

    Raises:
        ValueError: an odd number of rows.
    """
    if rows % 2:
        raise ValueError(f"rows must be even, got {rows}")
    simulator = GalaxySimulator(device=profile.device) if simulator is None else simulator
    task = LimitsTask(simulator, size=rows, n_validation=n_validation, seed=profile.seed)
    rng = torch.Generator(profile.device).manual_seed(SEEDS.test_seed(profile.seed))
    autoencoder = pretrained_autoencoder(profile.device)
    known, targets = draw_tables(simulator, n_test, autoencoder=autoencoder, generator=rng)
    found: dict[str, dict[int, Tensor]] = {name: {} for name in KNOWLEDGE}
    plans = {rows // 2: replace(schedule, epochs=2 * schedule.epochs), rows: schedule}
    for size, plan in plans.items():
        networks: nn.Module | None = whole if size == rows else None
        if networks is None:
            task.size = size  # the first rows of the same table
            torch.manual_seed(profile.seed)
            networks = study.trained(LimitNetworks(), task, plan, profile=profile)
        assert isinstance(networks, LimitNetworks)
        for name, squares in _squares(networks, known, targets).items():
            found[name][size] = squares
    return {name: compare_sizes(squares) for name, squares in found.items()}


def make_limits_check(folder: Path, *, command: str, profile: Profile) -> Path:
    """Check the limits and write a card.

    Arguments:
        folder: where the card goes.
        command: that repeats this, for the card.
        profile: size, device and seed.

    Returns:
        path of the card.
    """
    linear = linear_gaussian_check(
        steps=profile.pick(smoke=20, cpu=1000, gpu=2000),
        batch=profile.pick(smoke=200, cpu=500, gpu=1000),
        size=profile.pick(smoke=1000, cpu=40_000, gpu=100_000),
        seed=profile.seed,
        device=profile.device,
    )
    rows, n_validation = limit_sizes(profile)
    n_test = profile.pick(smoke=200, cpu=4000, gpu=100_000)
    # The package's weights are of the largest profile and of tables that a processor drew. On a GPU
    # other galaxies are drawn, so that half of the table is not half of theirs.
    whole = None
    if profile.name == "gpu" and profile.device.type == "cpu":
        whole = copy.deepcopy(pretrained_limits()).to(profile.device)
    doubled = convergence(
        rows=rows,
        n_test=n_test,
        schedule=SCHEDULES[profile.name],
        profile=profile,
        n_validation=n_validation,
        whole=whole,
    )
    bound = van_trees_bound(
        GalaxySimulator(device=profile.device),
        pretrained_autoencoder(profile.device),
        n=profile.pick(smoke=4, cpu=200, gpu=4000),
        draws=profile.pick(smoke=2, cpu=16, gpu=32),
        seed=SEEDS.test_seed(profile.seed),
        batch=profile.pick(smoke=128, cpu=128, gpu=4096),
    )
    found = {
        "linear_gaussian": asdict(linear),
        "convergence": doubled,
        "n_train": rows,
        "n_test": n_test,
        "van_trees": asdict(bound),
    }
    return write_study(folder, CHECK_CARD, found, command=command, profile=profile)
