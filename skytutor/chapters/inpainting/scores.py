"""Scores of chapter 6: errors over the least possible ones, hole by hole, and how many steps.

A fill x of the hidden pixels has the error ``x - s = (x - W) + (W - s)`` for the exact fill W. The
second part is independent of the data, so that the mean squares add up, and the ratio of the RMSE
to the least one is ``sqrt(1 + |x - W|^2 / |W - s|^2)``, whose denominator is computed. That has far
less noise than two errors measured apart. The plain RMSE is measured too, and if it lies below the
limit something is wrong with the score.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.baselines import SIMPLE, Fill
from skytutor.chapters.inpainting.networks import LearnedFill, Preconditioner, conjugate_steps
from skytutor.chapters.inpainting.samples import score_samples
from skytutor.chapters.inpainting.skies import HoleTest, check_size, crowded_tests, disc_test
from skytutor.chapters.inpainting.task import draw_masked, exact_fills, excess
from skytutor.chapters.recipe import Scores
from skytutor.data.patches import RADII, flat_sky
from skytutor.fields.fills import covariance_preconditioner
from skytutor.fields.flat import FlatSky, filter_maps

__all__ = [
    "LimitError",
    "score_fill",
    "score_learned",
    "score_radii",
    "score_steps",
    "steps_to",
]

_BATCH = 64  # skies filled at a time


class LimitError(ArithmeticError):
    """An error below the least possible one: a fault of the score, or truth that leaked."""


def score_fill(fill: Fill, tests: Sequence[HoleTest]) -> dict[str, float]:
    """Score a fill on skies that it has never seen.

    Arguments:
        fill: takes data ``(n, H, H)`` and a mask ``(H, H)``, returns maps ``(n, H, H)``.
        tests: skies behind masks.

    Returns:
        ``wiener_rmse``, the least possible RMSE in muK, which is computed; ``ratio`` of the fill's
        RMSE to it and ``rmse``, estimated as the module says; ``measured``, the plain ratio of the
        errors, with its ``standard_error``.

    Raises:
        LimitError: the plain ratio lies below 1 by more than three standard errors.
    """
    lost = []
    plain = []
    variance = []
    scatter = []
    for test in tests:
        filled = torch.cat([fill(part, test.mask) for part in test.data.split(_BATCH)])
        hidden = test.hidden(filled).double()
        least = test.variance.sum()
        lost.append((hidden - test.hidden(test.exact)).square().sum(-1) / least)
        plain.append((hidden - test.hidden(test.signal)).square().sum(-1) / least)
        variance.append(test.variance)
        scatter.append(test.scatter)
    square = float(torch.cat(plain).mean())
    # Of the exact fill's, which is computed: few skies may by chance scatter less.
    error = (sum(scatter) / len(scatter) / sum(map(len, plain))) ** 0.5
    if square < 1 - 3 * error:
        raise LimitError(
            f"the mean square error is {square:.4f} +- {error:.4f} of the least possible one: "
            "no fill can do that; look whether the truth leaks into the data"
        )
    ratio = float((1 + torch.cat(lost).mean()).sqrt())
    wiener = float(torch.cat(variance).mean().sqrt())
    return {
        "ratio": ratio,
        "rmse": ratio * wiener,
        "wiener_rmse": wiener,
        "measured": square**0.5,
        "standard_error": error / (2 * square**0.5),
    }


def score_radii(
    fill: Fill, *, seed: int, size: int | None = None, crowded: bool = False
) -> dict[str, dict[str, float]]:
    """Score a fill on discs of each radius, the simple fills beside it on the same skies.

    Arguments:
        fill: as in `score_fill`.
        seed: of the skies.
        size: skies of each radius; None for 512.
        crowded: many discs that hide 15 % of the patch, in place of one; only up to 60 arcmin.

    Returns:
        by radius in arcmin, what `score_fill` gives and ``zero_ratio``, ``nearest_ratio``,
        ``harmonic_ratio`` and ``biharmonic_ratio``.
    """
    size = check_size(size)
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for radius in RADII:
        if crowded and radius > 60:
            continue
        if crowded:
            tests = crowded_tests(radius, skies=size, generator=rng)
        else:
            tests = [disc_test(radius, skies=size, generator=rng)]
        row = score_fill(fill, tests)
        for name, simple in SIMPLE.items():
            row[f"{name}_ratio"] = score_fill(simple, tests)["ratio"]
        found[str(radius)] = row
    return found


def steps_to(
    ratio: float,
    data: Tensor,
    masks: Tensor,
    sky: FlatSky,
    *,
    preconditioner: Preconditioner,
    reference: tuple[Tensor, Tensor],
    most: int = 200,
) -> tuple[int, float]:
    """Count the conjugate-gradient steps to a mean ratio of the RMSE to the least one.

    Arguments:
        ratio: to reach, such as 1.001.
        data: ``(n, S, H, H)``.
        masks: ``(n, 1, H, H)`` bool, True where seen.
        sky: spectrum and noise of the data.
        preconditioner: an approximate inverse of Q_hh.
        reference: the exact fills and their variances, as of `exact_fills`.
        most: steps to take at most.

    Returns:
        the number of steps, and ``|x - W| / |W|`` over the hidden pixels after them.

    Raises:
        RuntimeError: not reached.
    """
    rhs = torch.where(masks, 0, -filter_maps(torch.where(masks, data, 0), sky.precision))
    exact, variance = reference
    goal = torch.where(masks, 0, exact)
    walk = conjugate_steps(rhs, masks, sky.precision, preconditioner=preconditioner)
    for steps, x in enumerate(walk, start=1):
        reached = (1 + excess(x, goal, variance=variance)).sqrt().mean()
        if reached <= ratio:
            return steps, float((x - goal).norm() / goal.norm())
        if steps == most:
            break
    raise RuntimeError(f"a ratio of {ratio} was not reached in {most} steps")


def score_steps(
    model: LearnedFill, *, generator: torch.Generator, masks_of: Mapping[int, int] | None = None
) -> dict[str, Any]:
    """Count steps on mixed masks, at the size of training and at twice that.

    Arguments:
        model: ours.
        generator: of skies and masks.
        masks_of: how many masks by size of the patch; None for 32 of 64 pixels and 8 of 128.

    Returns:
        ``ours`` and ``covariance``, the steps to a ratio of 1.001 by each preconditioner;
        ``exact``, those of ours to 1.00001, with ``relative_error`` after them, ``|x - W| / |W|``;
        each by size of the patch.
    """
    found: dict[str, Any] = {"ours": {}, "covariance": {}, "exact": {}, "relative_error": {}}
    for size, n in (masks_of or {64: 32, 128: 8}).items():
        sky = flat_sky("B", size)
        masks, data = draw_masked(sky, n, skies=4, generator=generator)
        reference = exact_fills(sky, masks, data)
        masks = masks[:, None]
        ours = model.preconditioner(masks)
        plain = covariance_preconditioner(sky.total, masks)
        key = str(size)
        for name, way in (("ours", ours), ("covariance", plain)):
            found[name][key], _ = steps_to(
                1.001, data, masks, sky, preconditioner=way, reference=reference
            )
        found["exact"][key], found["relative_error"][key] = steps_to(
            1.00001, data, masks, sky, preconditioner=ours, reference=reference
        )
    return found


@torch.no_grad()
def score_learned(model: nn.Module, *, seed: int, size: int | None = None) -> Scores:
    """Score ours: one disc, many discs, steps, and the samples that it makes.

    Arguments:
        model: a `LearnedFill`, in evaluation mode.
        seed: of the test skies.
        size: skies of each radius; None for 512.
    """
    assert isinstance(model, LearnedFill)
    size = check_size(size)
    by_radius = score_radii(model, seed=seed, size=size)
    crowded = score_radii(model, seed=seed, size=size, crowded=True)
    rng = torch.Generator().manual_seed(seed)
    steps_to = score_steps(model, generator=rng)
    found = score_samples(model, size=size, generator=rng)
    for radius, ratio in found.pop("sample_ratio").items():
        by_radius[radius]["sample_ratio"] = ratio
    scores = {
        "by_radius": by_radius,
        "crowded": crowded,
        "steps": model.steps,
        "steps_to": steps_to,
        **found,
    }
    return Scores(
        scores=scores,
        constant={radius: row["zero_ratio"] for radius, row in by_radius.items()},
        size=size,
        data="Gaussian skies of set-up B, drawn",
        limit={radius: row["wiener_rmse"] for radius, row in by_radius.items()},
    )
