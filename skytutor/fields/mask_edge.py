"""Whether a map was smoothed before it was masked: what spills over the edge of a mask shows.

Smoothing carries bright emission over the edge of the region that hides it. Masked afterwards, its
light stands in seen pixels and counts as sky [1]_. Afterwards it cannot be taken out, but it can be
seen: pixels beside the mask then vary far more than those elsewhere.

.. [1] C. J. Copi, D. Huterer, D. J. Schwarz & G. D. Starkman, 2011, MNRAS 418, 505.
"""

import warnings

import torch
from torch import Tensor

from skytutor.arrays import split_masked
from skytutor.fields.spectra import check_mask
from skytutor.healpix import neighbours, seen_maps

__all__ = ["check_mask_edge", "edge_excess"]


def edge_excess(maps: Tensor, mask: Tensor, *, nside: int, order: str) -> Tensor:
    """Return the mean square of seen pixels beside hidden ones, over that of all seen pixels.

    Arguments:
        maps: ``(..., P)``; what stands in hidden pixels does not count. A masked array's own mask
            hides pixels too.
        mask: ``(P,)``, above 0 where seen.
        nside: of the maps.
        order: of the pixels, "ring" or "nested".

    Returns:
        ``(...)``, about 1 for a sky that knows nothing of the mask; 1 where no seen pixel lies
        beside a hidden one.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> mask = torch.arange(192) > 90
        >>> edge_excess(torch.ones(192), mask, nside=4, order="ring")
        tensor(1.)
    """
    maps, mask = split_masked("maps", maps, mask, axes=1)
    mask = check_mask(mask, nside=nside)
    seen = mask > 0
    maps = seen_maps(maps, mask, nside=nside, order=order)
    near = neighbours(torch.arange(len(seen)), nside=nside, order=order)  # (P, 8), -1 for none
    # A missing neighbour hides nothing.
    hidden_beside = ((near >= 0) & ~seen[near.clamp(min=0)]).any(1)
    edge = seen & hidden_beside
    if not bool(edge.any()):
        return torch.ones(maps.shape[:-1], dtype=maps.dtype, device=maps.device)
    return maps[..., edge].square().mean(-1) / maps[..., seen].square().mean(-1)


def check_mask_edge(
    maps: Tensor, mask: Tensor, *, nside: int, order: str, largest: float = 3.0
) -> float:
    """Warn if pixels beside the mask vary far more than the rest of what is seen.

    Arguments:
        maps: as in `edge_excess`.
        mask: likewise.
        nside: likewise.
        order: likewise.
        largest: excess from which on to warn. Skies whose power lies in a few large waves reach 2
            by chance.

    Returns:
        The largest excess of the maps.

    Warns:
        UserWarning: the excess is above `largest`.

    Example:
        >>> sky = torch.ones(192)
        >>> check_mask_edge(sky, torch.arange(192) > 90, nside=4, order="ring")
        1.0
    """
    found = float(edge_excess(maps, mask, nside=nside, order=order).max())
    if found > largest:
        warnings.warn(
            f"maps: pixels beside the mask have {found:.1f} times the mean square of the others. "
            "Was the map smoothed or degraded before it was masked? Then bright emission has spilt "
            "over the edge: mask first, or widen the mask",
            UserWarning,
            stacklevel=2,
        )
    return found
