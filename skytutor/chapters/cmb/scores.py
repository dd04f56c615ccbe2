"""Scores of chapter 3: errors, coverage, and the answer to a shift of the truth."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.cmb import limits
from skytutor.chapters.cmb.summaries import (
    batch_size,
    draw_summaries,
    summary_statistics,
)
from skytutor.chapters.recipe import Scores
from skytutor.data.cmb import GaussianSkySimulator

MIN_COVERAGE_MAPS = 4000  # coverage is measured over as many maps at least


def estimate(
    simulator: GaussianSkySimulator, model: nn.Module, size: int, *, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw skies and estimate their parameters.

    Arguments:
        simulator: of the study.
        model: an `Estimator`, in evaluation mode.
        size: number of skies.
        seed: of the skies.

    Returns:
        true parameters and estimates ``(size, n)`` float64, and whether the truth lies within one
        standard deviation, ``(size, n)`` bool.
    """
    true, summaries = draw_summaries(simulator, size, seed=seed)
    found, inside = _estimate_from(simulator, model, true, summaries)
    return true, found, inside


@torch.no_grad()
def _estimate_from(
    simulator: GaussianSkySimulator, model: nn.Module, true: Tensor, summaries: Tensor
) -> tuple[Tensor, Tensor]:
    """Return estimates from summary statistics, and whether the truth lies within one sd."""
    device = next(model.parameters()).device
    answers = model(summaries.to(device), precomputed=True).cpu().double()
    mean = answers[..., 0]
    sd = answers[..., 1].exp()
    inside = (simulator.normalise(true) - mean).abs() <= sd
    return simulator.unnormalise(mean), inside


def _check_size(size: int | None) -> int:
    """Return the number of test skies, 1,000 unless it is given, once it is checked."""
    if size is not None and not 20 <= size <= 100_000:
        raise ValueError(f"size must lie in 20..100000 skies, got {size}")
    return size or 1000


def constant_percent(simulator: GaussianSkySimulator, k: int) -> float:
    """Return the mean relative error, in %, of the best answer that ignores the map.

    Arguments:
        simulator: whose prior counts.
        k: number of the parameter.
    """
    unit = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    values = simulator.prior_transform(unit.expand(-1, len(simulator.names)))[:, k]
    flat = torch.zeros(1, len(values), dtype=torch.float64)
    best = limits.relative_median(values, flat)
    return float(100 * ((best - values).abs() / values).mean())


def score_errors(
    simulator: GaussianSkySimulator,
    model: nn.Module,
    *,
    seed: int,
    size: int | None,
    limit_percent: Sequence[float] | None = None,
) -> Scores:
    """Score T1 to T3: the mean relative error in %, its standard error, and coverage.

    Arguments:
        simulator: of the study.
        model: an `Estimator`, in evaluation mode.
        seed: of the test skies.
        size: number of skies for the error, default 1,000; coverage takes 4,000 or more.
        limit_percent: the least error of each parameter, where it is known.
    """
    size = _check_size(size)
    true, found, inside = estimate(simulator, model, max(size, MIN_COVERAGE_MAPS), seed=seed)
    errors = (100 * (found - true).abs() / true)[:size]
    keys = ["error_percent"]
    if len(simulator.names) == 2:
        keys = ["error_e_percent", "error_b_percent"]
    scores: dict[str, Any] = dict(zip(keys, errors.mean(0).tolist(), strict=True))
    scores["standard_error"] = (errors.std(0) / size**0.5).tolist()
    scores |= _coverage(inside)
    return Scores(
        scores=scores,
        constant={key: constant_percent(simulator, k) for k, key in enumerate(keys)},
        size=size,
        data=f"{simulator.study}, drawn",
        limit=dict(zip(keys, limit_percent, strict=True)) if limit_percent else None,
    )


def _coverage(inside: Tensor) -> dict[str, Any]:
    """Return how many truths lie within one standard deviation.

    Of several parameters, "coverage68" is the fraction that is farthest from 68.27 %.
    """
    each = inside.double().mean(0).tolist()
    return {"coverage68": _farthest(each), "coverage68_each": each, "coverage_maps": len(inside)}


def _farthest(fractions: Sequence[float]) -> float:
    """Return the fraction that is farthest from 68.27 %."""
    return max(fractions, key=lambda fraction: abs(fraction - 0.6827))


def score_r_tau(
    simulators: Sequence[GaussianSkySimulator],
    model: nn.Module,
    *,
    seed: int,
    size: int | None,
) -> Scores:
    """Score T4 around r = 0.003, without noise and with it; each score is the worse of the two.

    "slope_r" is that of the mean estimate of r over the true r, 1 for an unbiased estimate.
    "rmse_over_fisher_r" and "_tau" are errors at the fiducial parameters over those that the
    Fisher matrix allows.

    Arguments:
        simulators: of the study, without noise and with 6 muK arcmin.
        model: an `Estimator`, in evaluation mode.
        seed: of the test skies.
        size: number of skies at each true value, default 1,000; coverage takes 4,000 or more.
    """
    size = _check_size(size)
    rows = {}
    for simulator, level in zip(simulators, ("noise0", "noise6"), strict=True):
        rows[level] = _score_around_fiducial(simulator, model, size=size, seed=seed)
    slopes = [row["slope_r"] for row in rows.values()]
    scores = {"slope_r": max(slopes, key=lambda slope: abs(slope - 1))}
    for key in ("rmse_over_fisher_r", "rmse_over_fisher_tau"):
        scores[key] = max(row[key] for row in rows.values())
    scores["coverage68"] = _farthest([row["coverage68"] for row in rows.values()])
    return Scores(
        scores=scores | rows,
        constant={"slope_r": 0.0},
        size=size,
        data="T4, drawn",
        limit={"slope_r": 1.0, "rmse_over_fisher_r": 1.0, "rmse_over_fisher_tau": 1.0},
    )


def _score_around_fiducial(
    simulator: GaussianSkySimulator, model: nn.Module, *, size: int, seed: int
) -> dict[str, Any]:
    """Return slope, errors over Fisher's and coverage for one level of noise."""
    # Coverage: over the whole prior.
    inside = estimate(simulator, model, max(size, MIN_COVERAGE_MAPS), seed=seed)[2]
    # Errors: at the fiducial parameters.
    fiducial = torch.tensor([limits.FIDUCIAL["r"], limits.FIDUCIAL["tau"]], dtype=torch.float64)
    found = _estimates_at(simulator, model, fiducial, size=size, seed=seed)
    rmse = (found - fiducial).square().mean(0).sqrt()
    over_fisher = (rmse / limits.fisher_full_sky(simulator, fiducial)).tolist()
    # Slope: r is shifted, tau held; a straight line is fitted to the mean estimates of r.
    shifts = torch.tensor([-0.001, -0.0005, 0.0005, 0.001], dtype=torch.float64)
    means = []
    for shift in shifts:
        shifted = fiducial + torch.stack([shift, torch.zeros_like(shift)])
        found = _estimates_at(simulator, model, shifted, size=size, seed=seed)
        means.append(found[:, 0].mean())
    response = torch.stack(means)
    slope = (shifts * (response - response.mean())).sum() / shifts.square().sum()
    return {
        "slope_r": float(slope),
        "rmse_over_fisher_r": over_fisher[0],
        "rmse_over_fisher_tau": over_fisher[1],
        **_coverage(inside),
    }


def _estimates_at(
    simulator: GaussianSkySimulator, model: nn.Module, parameters: Tensor, *, size: int, seed: int
) -> Tensor:
    """Return estimates ``(size, n)`` from skies that all have the same parameters ``(n,)``.

    A seed gives the same random numbers whatever the parameters, so that estimates at two values
    differ by what the parameters do alone.
    """
    rng = torch.Generator().manual_seed(seed + 77_777)
    out = []
    step = batch_size(simulator)
    for start in range(0, size, step):
        true = parameters.expand(min(step, size - start), -1)
        maps = simulator.maps(true, simulator.draw_noise(len(true), generator=rng))
        summaries = summary_statistics(simulator)(maps)
        found, _ = _estimate_from(simulator, model, true, summaries)
        out.append(found)
    return torch.cat(out)
