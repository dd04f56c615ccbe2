"""How long each way to a fill takes, all measured in one run: set-up, a fill, a sample.

Iterations take the fewest steps that bring the mean RMSE to 1.001 of the least one; what cannot
reach that is timed as it is. One thread, float64; for each the better of one map at a time and a
batch of them.

``python -m skytutor.chapters.inpainting.timing`` prints the table.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import cast

import torch
from torch import Tensor

from skytutor.chapters.inpainting.baselines import Fill
from skytutor.chapters.inpainting.networks import LearnedFill
from skytutor.chapters.inpainting.unet import UNetFill
from skytutor.data.patches import discs_mask, flat_sky
from skytutor.fields.fills import (
    Preconditioner,
    block_preconditioner,
    covariance_preconditioner,
    fill_by_cg,
    fill_by_harmonics,
)
from skytutor.fields.flat import FlatSky
from skytutor.fields.holes import DenseHole
from skytutor.sht.solvers import ConvergenceWarning

__all__ = ["least_steps", "print_table", "time_table"]

Solve = Callable[[Tensor, int], Tensor]
RATIO = 1.001  # RMSE over the least one, at which methods are compared
_NEVER = 1e-15  # a residual that is not reached: the number of steps decides
_MOST = 1024  # steps to try at most


@dataclass(frozen=True)
class Method:
    """One way to a fill of a mask.

    Attributes:
        set_up: does what a mask needs once, and returns ``solve(data, steps)``.
        iterates: whether the number of steps counts.
    """

    set_up: Callable[[], Solve]
    iterates: bool = True


def time_table(
    model: LearnedFill,
    *,
    others: Mapping[str, Fill] | None = None,
    size: int = 128,
    radius: float = 30.0,
    skies: int = 8,
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Time every method on one mask that hides 15 % of a patch of set-up B.

    Arguments:
        model: ours, trained.
        others: fills of data and mask by name, such as a feed-forward network.
        size: pixels along a side.
        radius: of the discs in arcmin.
        skies: in the batch that is timed and measured.
        repeats: of each timing, whose median counts.
        seed: of mask and skies.

    Returns:
        by method, ``setup_ms`` for a mask; for a map ``fill_ms`` and ``sample_ms`` (draw, fill,
        add; of the dense factor a draw of its own); ``steps``, 0 where there are none; ``ratio``.
    """
    rng = torch.Generator().manual_seed(seed)
    sky = flat_sky("B", size)
    mask = discs_mask(size, radius, pixel_arcmin=sky.pixel_arcmin, generator=rng)
    _, data = sky.draw(skies, generator=rng)
    hole = DenseHole(sky.precision, mask)
    exact = hole.fill(data)
    least = float((hole.variance - sky.noise**2).mean())

    def ratio(maps: Tensor) -> float:
        lost = (maps - exact)[..., ~mask].square().mean()
        return (1 + float(lost) / least) ** 0.5

    table = {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name, method in _methods(sky, mask, model, others or {}).items():
            table[name] = _time_method(
                method, ratio=ratio, data=data, sky=sky, repeats=repeats, generator=rng
            )
        # The factor gives samples with no second fill.
        draw = partial(hole.realisation, generator=rng)
        table["dense"]["sample_ms"] = _per_map(draw, data, repeats=repeats)
    return table


def _time_method(
    method: Method,
    *,
    ratio: Callable[[Tensor], float],
    data: Tensor,
    sky: FlatSky,
    repeats: int,
    generator: torch.Generator,
) -> dict[str, float]:
    """Return the row of one method: its steps to the ratio, and what they take."""
    solve = method.set_up()
    steps = least_steps(lambda k: ratio(solve(data, k))) if method.iterates else 0

    def fill(maps: Tensor) -> Tensor:
        return solve(maps, steps)

    sample = partial(_sample, fill, sky=sky, generator=generator)
    return {
        "setup_ms": _milliseconds(method.set_up, repeats=3),
        "fill_ms": _per_map(fill, data, repeats=repeats),
        "sample_ms": _per_map(sample, data, repeats=repeats),
        "steps": steps,
        "ratio": ratio(solve(data, steps)),
    }


def _methods(
    sky: FlatSky, mask: Tensor, model: LearnedFill, others: Mapping[str, Fill]
) -> dict[str, Method]:
    """Return all methods by name, the baselines first."""

    def harmonics(data: Tensor, steps: int) -> Tensor:
        return fill_by_harmonics(
            data, mask, sky, tolerance=_NEVER, max_iter=steps, on_failure="warn"
        ).maps

    def dense() -> Solve:
        hole = DenseHole(sky.precision, mask)
        return lambda data, _: hole.fill(data)

    preconditioners = {
        "blocks and CG": partial(block_preconditioner, sky.precision, mask),
        "covariance CG": partial(covariance_preconditioner, sky.total, mask),
        "ours": partial(model.preconditioner, mask),
    }
    methods = {"dense": Method(dense, iterates=False)}
    for name, make in preconditioners.items():
        methods[name] = Method(partial(_conjugate, make, mask, precision=sky.precision))
    methods["harmonic CG"] = Method(lambda: harmonics)
    for name, fill in others.items():
        methods[name] = Method(partial(_ignore_steps, fill, mask), iterates=False)
    return methods


def _conjugate(make: Callable[[], Preconditioner], mask: Tensor, *, precision: Tensor) -> Solve:
    """Make a preconditioner, and return the conjugate gradients with it."""
    apply = make()

    def solve(data: Tensor, steps: int) -> Tensor:
        return fill_by_cg(
            data,
            mask,
            precision,
            preconditioner=apply,
            tolerance=_NEVER,
            max_iter=steps,
            on_failure="warn",
        ).maps

    return solve


def _ignore_steps(fill: Fill, mask: Tensor) -> Solve:
    return lambda data, _: fill(data, mask)


def _sample(
    fill: Callable[[Tensor], Tensor], data: Tensor, *, sky: FlatSky, generator: torch.Generator
) -> Tensor:
    """Draw a sky f, fill the data minus f, add f."""
    _, drawn = sky.draw(len(data), generator=generator)
    return fill(data - drawn) + drawn


def _per_map(call: Callable[[Tensor], Tensor], data: Tensor, *, repeats: int) -> float:
    """Return the time of a map, alone or in a batch, whichever is less."""
    alone = _milliseconds(partial(call, data[:1]), repeats=repeats)
    return min(alone, _milliseconds(partial(call, data), repeats=repeats) / len(data))


def least_steps(ratio: Callable[[int], float], goal: float = RATIO) -> int:
    """Return the fewest steps that reach a ratio, by halving an interval.

    Arguments:
        ratio: after a number of steps; it falls.
        goal: to be reached.

    Raises:
        RuntimeError: not reached in 1024 steps.

    Example:
        >>> least_steps(lambda steps: 1 + 1 / steps**2, goal=1.01)
        10
    """
    high = 1
    while ratio(high) > goal:
        high *= 2
        if high > _MOST:
            raise RuntimeError(f"a ratio of {goal} was not reached in {_MOST} steps")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if ratio(middle) > goal:
            low = middle
        else:
            high = middle
    return high


def _milliseconds(call: Callable[[], object], *, repeats: int) -> float:
    """Return the median time of a call, after one that does not count."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds)


def print_table(table: Mapping[str, Mapping[str, float]]) -> None:
    """Print what `time_table` found, a line each.

    Arguments:
        table: of `time_table`.

    Example:
        >>> row = {"setup_ms": 1.0, "fill_ms": 2.0, "sample_ms": 3.0, "steps": 4, "ratio": 1.001}
        >>> print_table({"ours": row})
        method           set-up ms    fill ms  sample ms  steps   ratio
        ours                   1.0       2.00       3.00      4  1.0010
    """
    print("method           set-up ms    fill ms  sample ms  steps   ratio")
    for name, row in table.items():
        times = f"{row['setup_ms']:9.1f}  {row['fill_ms']:9.2f}  {row['sample_ms']:9.2f}"
        print(f"{name:15}  {times}  {row['steps']:5.0f}  {row['ratio']:.4f}")


def _main() -> None:
    from skytutor.chapters.pretrained import load_pretrained
    from skytutor.files import CheckpointError

    torch.set_num_threads(1)
    model = load_pretrained("inpaint")
    assert isinstance(model, LearnedFill)
    others: dict[str, Fill] = {}
    try:
        others["U-Net"] = cast(UNetFill, load_pretrained("inpaint-unet")).fill
    except CheckpointError:
        print("no trained U-Net: it is left out")
    print_table(time_table(model, others=others))


if __name__ == "__main__":
    _main()
