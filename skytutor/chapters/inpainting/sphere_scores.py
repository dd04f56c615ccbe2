"""Scores of the learned preconditioner on the sphere, under the mask of the sky.

Beside it stand the preconditioners of `skytutor.fields.preconditioners`: "coarse", exact up to
degree 8 and diagonal above, and "hole", a dense matrix of the hidden pixels. All three are walked
in the same way.
"""

import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.sphere import SphereFill
from skytutor.chapters.inpainting.sphere_masks import Masked, excess, masked_skies
from skytutor.chapters.inpainting.sphere_sky import SphereSky
from skytutor.chapters.inpainting.walk import Operator, conjugate_walk
from skytutor.chapters.recipe import Scores
from skytutor.data.patches import mask_source, sky_mask
from skytutor.fields.preconditioners import CoarsePreconditioner, HolePreconditioner
from skytutor.fields.whitened import solve_whitened

__all__ = ["preconditioners", "score_nside", "score_sphere"]

RATIO = 1.001  # of the RMSE to the least one: good enough
TOLERANCE = 1e-8  # relative error of the coefficients: exact
_STEPS = (3, 4, 5)
_COARSE = 8
_BATCH = 16  # skies at a time
_MOST = 400  # steps


def preconditioners(model: SphereFill, mask: Tensor) -> dict[str, Callable[[], Operator]]:
    """Return what makes each preconditioner for a mask: "ours", "coarse", "hole".

    Arguments:
        model: ours, at the nside of the mask.
        mask: ``(P,)`` bool, RING order, True where seen.
    """
    sky = model.sky
    weight = mask / sky.noise**2
    return {
        "ours": lambda: model.preconditioner(mask),
        "coarse": lambda: CoarsePreconditioner(
            sky.root, weight, harmonics=sky.harmonics, lmax=_COARSE
        ),
        "hole": lambda: HolePreconditioner(sky.root, weight, harmonics=sky.harmonics),
    }


def _ratio(sky: SphereSky, x: Tensor, drawn: Masked) -> float:
    """Return the mean RMSE of fills with coefficients x ``(S, K)`` over the least possible one."""
    filled = torch.where(drawn.mask[0], drawn.data[0], sky.synthesis(x))
    return float((1 + excess(filled, drawn.exact[0], variance=drawn.variance[0])).sqrt())


def _timed(sky: SphereSky, make: Callable[[], Operator], drawn: Masked) -> dict[str, float]:
    """Return steps and seconds of one preconditioner on the first sky."""
    one = drawn._replace(data=drawn.data[:, :1], exact=drawn.exact[:, :1])
    data = one.data[0]
    mask = one.mask[0, 0]
    start = time.perf_counter()
    preconditioner = make()
    row = {"setup_seconds": time.perf_counter() - start}
    operator = sky.operator(mask)
    rhs = sky.right_side(data, mask)
    walk = conjugate_walk(operator, rhs, preconditioner=preconditioner, start=preconditioner(rhs))
    steps = 0
    for x in islice(walk, _MOST):
        steps += 1
        if _ratio(sky, x, one) <= RATIO:
            break
    else:
        raise RuntimeError(f"a ratio of {RATIO} was not reached in {_MOST} steps")
    row["steps_to_ratio"] = steps
    start = time.perf_counter()
    walk = conjugate_walk(operator, rhs, preconditioner=preconditioner, start=preconditioner(rhs))
    for _ in islice(walk, steps):
        pass
    row["seconds_to_ratio"] = time.perf_counter() - start
    start = time.perf_counter()
    found = solve_whitened(
        operator, rhs, preconditioner=preconditioner, tolerance=TOLERANCE, max_iter=_MOST
    )
    row["seconds_to_residual"] = time.perf_counter() - start
    row["steps_to_residual"] = found.steps
    row["residual"] = found.residual
    return row


@torch.no_grad()
def score_nside(model: SphereFill, *, nside: int, skies: int, seed: int) -> dict[str, Any]:
    """Score the weights on maps of one nside under the mask of the sky.

    Arguments:
        model: ours, of any nside.
        nside: of the maps.
        skies: how many to draw.
        seed: of the skies.

    Returns:
        ``hidden`` pixels; ``wiener_rmse``, the least RMSE possible, muK; ``ratio`` of ours to it
        after 3, 4 and 5 steps; and for each of "ours", "coarse" and "hole" the steps and seconds
        of one sky to a ratio of 1.001 and to a residual of 1e-8, and the seconds to set it up. They
        end after 400 steps at the latest: ``residual`` says how far they came.

    Raises:
        RuntimeError: a ratio of 1.001 is not reached in 400 steps.
    """
    ours = model.at(nside)
    sky = ours.sky
    mask = sky_mask(nside, order="ring")
    rng = torch.Generator().manual_seed(seed)
    drawn = masked_skies(sky, mask[None], skies=skies, generator=rng)
    lost = []
    for start in range(0, skies, _BATCH):
        part = slice(start, start + _BATCH)
        steps = ours(drawn.data[0, part], mask, max(_STEPS), every=True)
        lost.append(excess(steps, drawn.exact[0, part], variance=drawn.variance))
    weights = torch.tensor([min(_BATCH, skies - start) for start in range(0, skies, _BATCH)])
    mean = (torch.stack(lost) * weights[:, None]).sum(0) / skies
    ratio = (1 + mean).sqrt().tolist()
    hidden = int((~mask).sum())
    found: dict[str, Any] = {
        "hidden": hidden,
        "wiener_rmse": float((drawn.variance[0] / hidden).sqrt()),
        "ratio": {str(k): ratio[k - 1] for k in _STEPS},
    }
    for name, make in preconditioners(ours, mask).items():
        found[name] = _timed(sky, make, drawn)
    return found


def score_sphere(model: nn.Module, *, seed: int, size: int | None) -> Scores:
    """Score a `SphereFill` at nside 64 and 128 under the mask of the sky.

    Arguments:
        model: ours, in evaluation mode.
        seed: of the skies.
        size: skies at nside 64, default 512; nside 128 takes a sixteenth of them.
    """
    assert isinstance(model, SphereFill)
    if size is not None and not 1 <= size <= 10_000:
        raise ValueError(f"size must lie in 1..10000 skies, got {size}")
    size = size or 512
    by_nside = {
        "64": score_nside(model, nside=64, skies=size, seed=seed),
        "128": score_nside(model, nside=128, skies=max(1, size // 16), seed=seed),
    }
    last = str(max(_STEPS))
    return Scores(
        scores={
            "ratio": by_nside["64"]["ratio"]["4"],
            "ratio_nside128": by_nside["128"]["ratio"][last],
            "by_nside": by_nside,
        },
        constant={},
        size=size,
        data=f"drawn; mask: {mask_source()}",
        limit={"ratio": 1.0, "ratio_nside128": 1.0},
    )
