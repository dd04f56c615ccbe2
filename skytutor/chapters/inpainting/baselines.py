"""What is compared: simple fills, the exact one, and the usual iterations.

A fill takes data ``(n, H, H)`` and a mask ``(H, H)``, True where seen, and returns maps of the
shape of the data, hidden pixels filled.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from skytutor.fields.fills import (
    block_preconditioner,
    covariance_preconditioner,
    fill_by_cg,
    fill_by_harmonics,
)
from skytutor.fields.flat import FlatSky, laplacian
from skytutor.fields.holes import DenseHole, check_hard_mask, seen_only

__all__ = [
    "SIMPLE",
    "Fill",
    "biharmonic_fill",
    "compare_fills",
    "exact_fills_of",
    "harmonic_fill",
    "nearest_fill",
    "zero_fill",
]

Fill = Callable[[Tensor, Tensor], Tensor]


def zero_fill(data: Tensor, mask: Tensor) -> Tensor:
    """Fill with 0, the mean of the sky.

    Arguments:
        data: ``(..., H, H)``.
        mask: ``(H, H)``, True where seen.
    """
    return seen_only(data, check_hard_mask(mask))


def nearest_fill(data: Tensor, mask: Tensor) -> Tensor:
    """Fill every hidden pixel with the value of a nearest seen one, on the periodic patch.

    Arguments:
        data: ``(..., H, H)``.
        mask: ``(H, H)``, True where seen.

    Example:
        >>> mask = torch.ones(4, 4)
        >>> mask[0, 0] = 0
        >>> bool(nearest_fill(torch.arange(16.0).view(4, 4), mask)[0, 0] in (1, 3, 4, 12))
        True
    """
    seen = check_hard_mask(mask)
    known = seen_only(data, seen)
    size = mask.shape[-1]
    shift = (seen.nonzero()[None] - (~seen).nonzero()[:, None]).abs()
    # The shorter way round on each axis.
    square = torch.minimum(shift, size - shift).square().sum(-1)
    source = seen.flatten().nonzero()[square.argmin(-1), 0]
    flat = known.flatten(-2).clone()
    flat[..., ~seen.flatten()] = flat[..., source]
    return flat.reshape(data.shape)


def harmonic_fill(data: Tensor, mask: Tensor) -> Tensor:
    """Fill with a membrane: every hidden pixel is the mean of its four neighbours.

    Arguments:
        data: ``(..., H, H)``.
        mask: ``(H, H)``, True where seen.
    """
    return DenseHole(laplacian(mask.shape[-1], 1), mask).fill(data)


def biharmonic_fill(data: Tensor, mask: Tensor) -> Tensor:
    """Fill with a thin plate, which goes on with the slope that it finds at the edge.

    Arguments:
        data: ``(..., H, H)``.
        mask: ``(H, H)``, True where seen.
    """
    return DenseHole(laplacian(mask.shape[-1], 2), mask).fill(data)


SIMPLE: Mapping[str, Fill] = {
    "zero": zero_fill,
    "nearest": nearest_fill,
    "harmonic": harmonic_fill,
    "biharmonic": biharmonic_fill,
}


def exact_fills_of(sky: FlatSky, *, tolerance: float = 1e-6) -> dict[str, Fill]:
    """Return the ways to the exact fill of a sky: one by a matrix, three by iteration.

    Arguments:
        sky: spectrum and noise of the data.
        tolerance: relative residual at which iterations stop.
    """

    def dense(data: Tensor, mask: Tensor) -> Tensor:
        return DenseHole(sky.precision, mask).fill(data)

    def blocks(data: Tensor, mask: Tensor) -> Tensor:
        solve = block_preconditioner(sky.precision, mask)
        return fill_by_cg(data, mask, sky.precision, preconditioner=solve, tolerance=tolerance).maps

    def covariance(data: Tensor, mask: Tensor) -> Tensor:
        apply = covariance_preconditioner(sky.total, mask)
        return fill_by_cg(data, mask, sky.precision, preconditioner=apply, tolerance=tolerance).maps

    def harmonics(data: Tensor, mask: Tensor) -> Tensor:
        return fill_by_harmonics(data, mask, sky, tolerance=tolerance, max_iter=3000).maps

    return {
        "dense": dense,
        "blocks": blocks,
        "covariance CG": covariance,
        "harmonic CG": harmonics,
    }


def compare_fills(
    sky: FlatSky,
    mask: Tensor,
    *,
    skies: int,
    generator: torch.Generator,
    others: Mapping[str, Fill] | None = None,
) -> dict[str, dict[str, float]]:
    """Score every fill on the same skies.

    Arguments:
        sky: to draw from.
        mask: ``(H, H)``, True where seen.
        skies: how many.
        generator: of the random numbers.
        others: more fills by name, such as trained networks.

    Returns:
        by name, ``ratio`` of the RMSE to the least one (``sqrt(1 + |x - W|^2 / |W - s|^2)``, the
        denominator computed) and ``rmse`` in muK.

    Example:
        >>> sky = FlatSky(16, pixel_arcmin=7.0, cl=torch.ones(3000), noise=1.0)
        >>> mask = torch.ones(16, 16, dtype=torch.bool)
        >>> mask[4:6, 4:6] = False
        >>> table = compare_fills(sky, mask, skies=4, generator=torch.Generator())
        >>> table["dense"]["ratio"]
        1.0
    """
    hole = DenseHole(sky.precision, mask)
    least = (hole.variance - sky.noise**2).mean()
    _, data = sky.draw(skies, generator=generator)
    exact = hole.fill(data)
    table = {}
    for name, fill in {**SIMPLE, **exact_fills_of(sky), **(others or {})}.items():
        away = (fill(data, mask) - exact)[..., ~hole.seen]
        ratio = float((1 + away.square().mean() / least).sqrt())
        table[name] = {"ratio": ratio, "rmse": ratio * float(least.sqrt())}
    return table
