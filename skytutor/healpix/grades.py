"""Maps at another nside: means of the pixels that are seen, or copies."""

import torch
from torch import Tensor

from skytutor.arrays import split_masked
from skytutor.healpix.checks import (
    UNSEEN,
    check_maps,
    check_nside,
    check_order,
    check_weights,
    is_unseen,
)
from skytutor.healpix.numbering import reorder

__all__ = ["degrade", "upgrade"]


def degrade(
    maps: Tensor,
    nside_out: int,
    *,
    nside: int,
    order: str,
    weights: Tensor | None = None,
    pessimistic: bool = False,
) -> Tensor:
    """Return maps at a lower nside: each pixel is the mean of those it is made of that are seen.

    ``out_p = sum_c w_c in_c / sum_c w_c`` over the children c of p. UNSEEN pixels and those of
    weight 0 are left out, whatever stands there. Where none is left the result is UNSEEN. It is
    what ``healpy.ud_grade`` does, with weights. Degrade the mask itself as a map to learn which
    fraction of a pixel was seen.

    Maps are scalars: Q and U are averaged along each child's own axes, as healpy does.

    Arguments:
        maps: ``(..., P)``, float32, float64 or bfloat16; UNSEEN where there is no value, or
            a masked array.
        nside_out: of the result, at most nside.
        nside: of the maps.
        order: of their pixels and of the result's, "ring" or "nested".
        weights: not negative, of a shape that broadcasts with `maps`, such as a mask ``(P,)`` of
            zeros and ones; None for 1 everywhere.
        pessimistic: UNSEEN already where one child is not seen.

    Returns:
        ``(..., P_out)`` in the precision of `maps`. Gradients flow to the pixels that are seen.

    Raises:
        TypeError: maps that are not floating, or float16, which does not hold UNSEEN.
        ValueError: NaN or infinite values where weights are not 0, negative weights, a higher
            nside; other bad arguments, named.

    Example:
        >>> maps = torch.arange(48.0)
        >>> maps[:3] = UNSEEN
        >>> degrade(maps, 1, nside=2, order="nested")[:2]
        tensor([3.0000, 5.5000])
        >>> degrade(maps, 1, nside=2, order="nested", pessimistic=True)[:2]
        tensor([-1.6375e+30,  5.5000e+00])
    """
    maps, weights = split_masked("maps", maps, weights, mask_name="weights")
    maps, nside_out = _check_sizes(maps, nside_out, nside=nside, order=order)
    if nside_out > nside:
        raise ValueError(f"nside_out must be at most nside, {nside}, got {nside_out}; see upgrade")
    weights = check_weights(weights, maps)
    seen = (weights > 0) & ~is_unseen(maps)
    # What stands in pixels that are not seen must not reach a sum, not even times 0.
    values = torch.where(seen, maps, 0.0)
    check_maps(values, nside=nside, order=order)
    wide = torch.promote_types(maps.dtype, torch.float32)
    children = (nside // nside_out) ** 2
    values, weights, seen = (
        reorder(part, source=order, target="nested").unflatten(-1, (-1, children))
        for part in (values.to(wide), torch.where(seen, weights, 0.0).to(wide), seen)
    )
    total = weights.sum(-1)
    mean = (weights * values).sum(-1) / torch.where(total > 0, total, 1.0)
    enough = seen.all(-1) if pessimistic else seen.any(-1)
    out = torch.where(enough, mean, UNSEEN).to(maps.dtype)
    return reorder(out, source="nested", target=order)


def upgrade(maps: Tensor, nside_out: int, *, nside: int, order: str) -> Tensor:
    """Return maps at a higher nside: each pixel is a copy of the one that holds it.

    UNSEEN stays UNSEEN. It is what ``healpy.ud_grade`` does; `interpolate` gives smooth maps.

    Arguments:
        maps: ``(..., P)``, float32, float64 or bfloat16; UNSEEN where there is no value.
        nside_out: of the result, at least nside.
        nside: of the maps.
        order: of their pixels and of the result's, "ring" or "nested".

    Returns:
        ``(..., P_out)`` in the precision of `maps`.

    Raises:
        TypeError: maps that are not floating, or float16.
        ValueError: a lower nside; other bad arguments, named.

    Example:
        >>> upgrade(torch.arange(12.0), 2, nside=1, order="nested")[:6]
        tensor([0., 0., 0., 0., 1., 1.])
    """
    maps, nside_out = _check_sizes(maps, nside_out, nside=nside, order=order)
    if nside_out < nside:
        raise ValueError(f"nside_out must be at least nside, {nside}, got {nside_out}; see degrade")
    check_maps(torch.where(is_unseen(maps), 0.0, maps), nside=nside, order=order)
    nested = reorder(maps, source=order, target="nested")
    copies = nested.repeat_interleave((nside_out // nside) ** 2, dim=-1)
    return reorder(copies, source="nested", target=order)


def _check_sizes(maps: Tensor, nside_out: int, *, nside: int, order: str) -> tuple[Tensor, int]:
    check_order(order, allowed=("ring", "nested"))
    maps = check_maps(maps, nside=nside, order=order, finite=False)
    if maps.dtype == torch.float16:
        raise TypeError("maps must not be float16, which does not hold UNSEEN; use .float()")
    return maps, check_nside(nside_out)
