"""Checks of nside, pixel order and maps, and the sizes that follow from nside."""

import math

import torch
from torch import Tensor

from skytutor.validate import as_integer, extremes, look, one_of

UNSEEN = -1.6375e30
ORDERS = ("ring", "nested", "face")
NSIDE_MAX = 2**20


def check_nside(nside: int) -> int:
    """Return `nside` as an int if it is a power of two between 1 and 2**20.

    Arguments:
        nside: resolution of a map: the side of each of its twelve faces, in pixels.

    Returns:
        The nside as a Python int.

    Raises:
        TypeError: if it is not an integer (bool and float are refused).
        ValueError: if it is no power of two or out of range.
    """
    n = as_integer("nside", nside, wanted="an integer power of two")
    if not 1 <= n <= NSIDE_MAX or n & (n - 1):
        raise ValueError(f"nside must be a power of two between 1 and {NSIDE_MAX}, got {n}")
    return n


def check_order(order: str, *, allowed: tuple[str, ...] = ORDERS, name: str = "order") -> str:
    """Return `order` if it is a pixel order that the caller knows.

    Arguments:
        order: the order to check.
        allowed: the orders to choose from.
        name: what the error message calls it.

    Returns:
        The order itself.

    Raises:
        ValueError: any other word, or no text at all.
    """
    return one_of(name, order, allowed=allowed)


def check_maps(
    maps: Tensor, *, nside: int, order: str, name: str = "maps", finite: bool = True
) -> Tensor:
    """Return `maps` if they can be worked on: floating, of the right size, every pixel a number.

    Arguments:
        maps: ``(..., P)`` with ``P = 12 nside**2``, or ``(..., 12, nside, nside)`` for order
            "face".
        nside: resolution that the maps must have.
        order: pixel order of the maps, "ring", "nested" or "face".
        name: what the error message calls them.
        finite: whether to look at the values too. That waits for the device, so layers skip it when
            compiled.

    Returns:
        The maps themselves.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: empty, wrong pixel count, or NaN, infinite or UNSEEN pixels (with their number).

    Example:
        >>> check_maps(torch.zeros(2, 1, 12), nside=1, order="nested").shape
        torch.Size([2, 1, 12])
    """
    nside = check_nside(nside)
    order = check_order(order)
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        kind = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise TypeError(
            f"{name} must be a floating-point torch tensor, got {kind}; convert with .float()"
        )
    wanted = (12, nside, nside) if order == "face" else (12 * nside**2,)
    shape = tuple(maps.shape)
    if shape[-len(wanted) :] != wanted:
        raise ValueError(
            f"{name} must end in {wanted} for nside {nside}, order {order!r}; got shape {shape}"
        )
    if maps.numel() == 0:
        raise ValueError(f"{name} is empty: shape {shape}; at least one map is needed")
    if finite:
        look(maps, lambda values: _check_values(values, name))
    return maps


def _check_values(maps: Tensor, name: str) -> None:
    """Refuse maps with NaN, infinite or UNSEEN pixels, and say how many there are."""
    # Smallest and largest value decide in one pass; what is wrong is counted only if something is.
    low, high = extremes(maps)
    if low >= 0.99 * UNSEEN and math.isfinite(high):
        return
    bad = int((~torch.isfinite(maps)).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} NaN or infinite pixels; replace or mask them first")
    # Saved maps carry UNSEEN in float32 or bfloat16, where it is rounded: compare with room for
    # that. float16 cannot hold it.
    unseen = int((maps < 0.99 * UNSEEN).sum()) if maps.dtype != torch.float16 else 0
    if unseen:
        raise ValueError(
            f"{name} holds {unseen} UNSEEN pixels ({UNSEEN:g}); fill or mask them first"
        )


def nside_to_npix(nside: int) -> int:
    """Return the number of pixels of a map, ``12 nside**2``.

    Arguments:
        nside: resolution, a power of two.

    Returns:
        Number of pixels.

    Raises:
        TypeError, ValueError: as `check_nside`.
    """
    return 12 * check_nside(nside) ** 2


def npix_to_nside(npix: int) -> int:
    """Return the nside of a map with `npix` pixels.

    Arguments:
        npix: number of pixels of a full map.

    Returns:
        Its nside.

    Raises:
        TypeError: not an integer.
        ValueError: no HEALPix map has that many pixels.
    """
    npix = as_integer("npix", npix)
    nside = math.isqrt(npix // 12) if npix >= 0 else 0
    if nside < 1 or nside & (nside - 1) or 12 * nside**2 != npix:
        raise ValueError(f"npix must be 12 * nside**2 with nside a power of two, got {npix}")
    return nside


def pixel_area(nside: int) -> float:
    """Return the area of every pixel in steradian, ``4 pi / (12 nside**2)``.

    Arguments:
        nside: resolution, a power of two.

    Returns:
        Solid angle in steradian.

    Raises:
        TypeError, ValueError: as `check_nside`.
    """
    return 4 * math.pi / nside_to_npix(nside)


def resolution(nside: int) -> float:
    """Return the side of a square of the pixel's area, in radians.

    Arguments:
        nside: resolution, a power of two.

    Returns:
        Angle in radians.

    Raises:
        TypeError, ValueError: as `check_nside`.
    """
    return math.sqrt(pixel_area(nside))
