"""Scores of maps: does a sample show the borders of the base pixels?"""

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix import check_maps, check_order, neighbours, npix_to_nside, reorder


def seam_ratio(maps: Tensor, *, order: str) -> float:
    """Return how much more maps change across the borders of base pixels than inside them.

    The ratio of two mean absolute differences of pixels that share an edge: where the edge lies on
    a border of base pixels, over where it lies inside one. 1 means that nothing shows where base
    pixels meet, for a sky without a preferred place. Pictures that stand in one place have a ratio
    of their own: compare with that of real data.

    Arguments:
        maps: ``(N, P)``, nside of at least 2.
        order: "ring" or "nested".

    Raises:
        TypeError: no floating tensor.
        ValueError: maps of another shape, NaN, infinite or UNSEEN pixels, or
            constant inside the base pixels.
    """
    maps = as_tensor("maps", maps, dtype=torch.float64)
    nside = npix_to_nside(maps.shape[-1] if maps.dim() else 0, name="the pixels of maps")
    if maps.dim() != 2 or nside < 2:
        raise ValueError(
            f"maps must be (N, P) with nside of at least 2, got shape {tuple(maps.shape)}"
        )
    check_order(order, allowed=("ring", "nested"))
    check_maps(maps, nside=nside, order=order)
    nested = reorder(maps, source=order, target="nested")
    pixel = torch.arange(maps.shape[-1])
    # Columns 2 and 4 are north-west and north-east: each edge is met once.
    beside = neighbours(pixel, nside=nside, order="nested")[:, [2, 4]]  # (P, 2)
    first = pixel.repeat_interleave(2)
    second = beside.flatten()
    difference = (nested[:, first] - nested[:, second]).abs().mean(0)  # (2 P,)
    crossing = first // nside**2 != second // nside**2
    inside = difference[~crossing].mean()
    if not float(inside) > 0:
        raise ValueError(
            "maps are constant inside the base pixels: there is nothing to compare a border with"
        )
    return float(difference[crossing].mean() / inside)
