"""Scores of fills of sheared skies beside the exact mixture, and posteriors to be looked at.

What a fill x differs from the exact mean M is known from the seen pixels, and M's own error is
uncorrelated with all that can be known from them: the ratio of the RMSE to the least one is
``sqrt(1 + |x - M|^2 / |M - s|^2)``. That has less noise than two errors measured apart; the plain
ratio is measured too, and if it lies below 1 something is wrong with the score.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.mixture_exact import (
    STRENGTH,
    ShearedSky,
    fill_by_axis,
    fill_by_mixture,
)
from skytutor.chapters.inpainting.scores import LimitError
from skytutor.chapters.recipe import Scores
from skytutor.chapters.seeds import INPAINTING as SEEDS
from skytutor.data.patches import discs_mask
from skytutor.fields.holes import DenseHole

__all__ = [
    "LENSING_STRENGTH",
    "AxisExamples",
    "axis_examples",
    "lensing_sized_ratio",
    "ratios_at",
    "score_mixture",
]

_SIZE = 64
_RADII = (30, 60)  # arcmin, of the discs of every second mask
_SKIES = 10  # behind one mask
LENSING_STRENGTH = 0.03


class AxisExamples(NamedTuple):
    """A few skies with what the exact answer says of their axes, and fills.

    Attributes:
        signal: ``(n, H, H)`` in muK.
        data: with noise.
        mask: ``(H, H)``, True where seen.
        true_axis: ``(n,)`` in radians, 0..pi.
        axes: of the posterior, ``(T,)``.
        density: of the axis given the seen pixels, ``(n, T)``, in 1 / radian.
        exact: data filled by the exact mixture.
        wiener: data filled by the best linear filter.
        network: data filled by the network; None without one.
        network_axis: where the network saw the axis, ``(n,)``; None without one.
    """

    signal: Tensor
    data: Tensor
    mask: Tensor
    true_axis: Tensor
    axes: Tensor
    density: Tensor
    exact: Tensor
    wiener: Tensor
    network: Tensor | None
    network_axis: Tensor | None


def score_mixture(
    model: nn.Module, *, seed: int, size: int | None, source: str | None = None
) -> Scores:
    """Score fills of sheared skies: RMSE of the hidden pixels over the exact mixture's.

    "ratio" is that of the network and "wiener_ratio" that of the best linear filter, estimated as
    the module says; "measured" is the network's plain ratio, with its "standard_error".
    "by_radius" has them for discs of 30 and 60 arcmin. "rmse", "mixture_rmse", "wiener_rmse" and
    "oracle_rmse" (the axis known) are in muK; "axis_error_deg" and "mixture_axis_error_deg" are
    the RMS errors of the axes that the network sees, and of the posterior's means.

    Arguments:
        model: a `SteeredFill`, in evaluation mode.
        seed: of the test skies.
        size: number of skies, default 500; every ten have one mask.
        source: not used: skies are drawn.

    Raises:
        LimitError: the plain ratio lies below 1 by more than three standard errors.
    """
    del source  # skies are drawn: there is none to choose
    if size is not None and not 20 <= size <= 100_000:
        raise ValueError(f"size must lie in 20..100000 skies, got {size}")
    size = size or 500
    sky = ShearedSky(_SIZE)
    errors: dict[int, list[dict[str, Tensor]]] = {radius: [] for radius in _RADII}
    for radius, case in _cases(sky, size, seed=SEEDS.test_seed(seed)):
        errors[radius].append(_errors(model, sky, *case))
    rows = {radius: _joined(found) for radius, found in errors.items()}
    every = _joined(list(rows.values()))
    scores = _ratios(every)
    if scores["measured"] < 1 - 3 * scores["standard_error"]:
        raise LimitError(
            f"measured ratio {scores['measured']:.4f} +- {scores['standard_error']:.4f}: no fill "
            "can be better than the exact mixture; look whether the truth leaks into the data"
        )
    scores["by_radius"] = {str(radius): _ratios(row) for radius, row in rows.items()}
    for key in ("axis_error_deg", "mixture_axis_error_deg"):
        scores[key] = math.sqrt(float(every[key].mean()))
    zero = float((every["zero"].mean() / every["mixture"].mean()).sqrt())
    return Scores(
        scores=scores,
        constant={"ratio": zero},
        size=size,
        data=f"skies sheared by {sky.strength} along hidden axes, drawn",
        limit={"ratio": 1.0},
    )


Case = tuple[Tensor, Tensor, Tensor, Tensor]


def _cases(sky: ShearedSky, size: int, *, seed: int) -> Iterator[tuple[int, Case]]:
    """Yield radius and mask, signal, data, axes, until there are `size` skies."""
    rng = torch.Generator().manual_seed(seed)
    for start in range(0, size, _SKIES):
        radius = _RADII[start // _SKIES % len(_RADII)]
        pixel = sky.flat.pixel_arcmin
        mask = discs_mask(sky.size, radius, pixel_arcmin=pixel, generator=rng)
        yield radius, (mask, *sky.draw(min(_SKIES, size - start), generator=rng))


@torch.no_grad()
def _errors(
    model: nn.Module, sky: ShearedSky, mask: Tensor, signal: Tensor, data: Tensor, axes: Tensor
) -> dict[str, Tensor]:
    """Return mean squared errors of the hidden pixels of each sky, ``(n,)`` by name of the fill."""
    mixture = fill_by_mixture(data, mask, sky)
    wiener = DenseHole(1 / sky.mean_total(), mask).fill(data)
    network, seen_axes = _by_network(model, data, mask)
    oracle = []
    for one, total in zip(data, sky.total(axes), strict=True):
        oracle.append(fill_by_axis(one[None], mask, total)[0])

    def error(maps: Tensor, truth: Tensor = signal) -> Tensor:
        return (maps - truth)[:, ~mask].square().mean(-1)

    return {
        "network": error(network),
        "mixture": error(mixture.maps),
        "wiener": error(wiener),
        "oracle": error(torch.cat(oracle)),
        "zero": error(torch.zeros_like(data)),
        "difference": error(network, mixture.maps),
        "wiener_difference": error(wiener, mixture.maps),
        "axis_error_deg": _axis_difference(seen_axes, axes).rad2deg().square(),
        "mixture_axis_error_deg": _axis_difference(mixture.mean_axis(), axes).rad2deg().square(),
    }


def _by_network(model: Any, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the network's fills, and the axes that it saw in 0..pi, float64."""
    device = next(model.parameters()).device
    maps = data.float().to(device)
    masks = mask.expand(len(data), -1, -1).to(device)
    filled = model(maps, masks).cpu().double()
    e, _ = model.find_axis(maps, masks)
    return filled, (e.angle() / 2).cpu().double() % math.pi


def _axis_difference(one: Tensor, other: Tensor) -> Tensor:
    """Return the angle between axes, in -pi/2..pi/2: an axis turned by pi is the same."""
    return (one - other + math.pi / 2) % math.pi - math.pi / 2


def _joined(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def _ratios(errors: dict[str, Tensor]) -> dict[str, Any]:
    """Return RMSEs, ratios of them, and the standard error of the network's ratio."""
    mean = {key: float(value.mean()) for key, value in errors.items()}
    least = mean["mixture"]
    square = mean["network"] / least
    # Network and mixture err together: the spread of the difference counts, not that of each.
    scatter = errors["network"] - square * errors["mixture"]
    deviation = float(scatter.std()) / len(scatter) ** 0.5
    return {
        "ratio": (1 + mean["difference"] / least) ** 0.5,
        "measured": square**0.5,
        "standard_error": deviation / (2 * square**0.5 * least),
        "wiener_ratio": (1 + mean["wiener_difference"] / least) ** 0.5,
        "rmse": mean["network"] ** 0.5,
        "mixture_rmse": least**0.5,
        "wiener_rmse": mean["wiener"] ** 0.5,
        "oracle_rmse": mean["oracle"] ** 0.5,
    }


@torch.no_grad()
def ratios_at(
    strength: float, *, model: nn.Module | None = None, seed: int = 0, size: int = 40
) -> dict[str, float]:
    """Return RMSEs over the exact mixture's for skies of another shear.

    Arguments:
        strength: of the shear; the mixture knows it.
        model: a `SteeredFill`, trained on whatever it was trained on; None for the filter alone.
        seed: of the test skies.
        size: number of skies; every ten have one mask.

    Returns:
        "wiener_ratio" of the best linear filter for this strength, and "ratio" of the network,
        estimated as the module says.
    """
    sky = ShearedSky(_SIZE, strength=strength)
    squares = {"least": 0.0, "wiener_ratio": 0.0}
    if model is not None:
        squares["ratio"] = 0.0
    for _, (mask, signal, data, _) in _cases(sky, size, seed=SEEDS.test_seed(seed)):
        exact = fill_by_mixture(data, mask, sky).maps
        fills = {"least": signal, "wiener_ratio": DenseHole(1 / sky.mean_total(), mask).fill(data)}
        if model is not None:
            fills["ratio"] = _by_network(model, data, mask)[0]
        for key, maps in fills.items():
            squares[key] += float((maps - exact)[:, ~mask].square().sum())
    least = squares.pop("least")
    return {key: (1 + square / least) ** 0.5 for key, square in squares.items()}


def lensing_sized_ratio(*, seed: int = 0, size: int = 40) -> float:
    """Return the best linear filter's RMSE over the exact mixture's, for a shear as of lensing.

    Arguments:
        seed: of the test skies.
        size: number of skies; every ten have one mask.
    """
    return ratios_at(LENSING_STRENGTH, seed=seed, size=size)["wiener_ratio"]


@torch.no_grad()
def axis_examples(
    n: int = 4,
    *,
    seed: int = 0,
    model: nn.Module | None = None,
    strength: float = STRENGTH,
    radius_arcmin: float = 60.0,
) -> AxisExamples:
    """Draw a few skies behind one mask, with the posterior of their axes and their fills.

    Arguments:
        n: skies.
        seed: of the test skies.
        model: a `SteeredFill` to fill them too; None for the exact fills alone.
        strength: of the shear.
        radius_arcmin: of the discs that are hidden.
    """
    sky = ShearedSky(_SIZE, strength=strength)
    rng = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    pixel = sky.flat.pixel_arcmin
    mask = discs_mask(sky.size, radius_arcmin, pixel_arcmin=pixel, generator=rng)
    signal, data, true_axis = sky.draw(n, generator=rng)
    exact = fill_by_mixture(data, mask, sky)
    network, network_axis = (None, None) if model is None else _by_network(model, data, mask)
    return AxisExamples(
        signal=signal,
        data=data,
        mask=mask,
        true_axis=true_axis,
        axes=exact.axes,
        density=exact.probability * (len(exact.axes) / math.pi),
        exact=exact.maps,
        wiener=DenseHole(1 / sky.mean_total(), mask).fill(data),
        network=network,
        network_axis=network_axis,
    )
