"""What the rest of the package asks before it works on a map: sizes, orders, values that are numbers."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

UNSEEN = -1.6375e30
ORDERS = ("ring", "nested", "face")
NSIDE_MAX = 2**20


def as_integer(name: str, value: object, *, wanted: str = "an integer") -> int:
    """Return `value` as an int; ``TypeError`` that names it for bool, float, arrays and anything else."""
    if not isinstance(value, bool):
        try:
            return value.__index__()
        except (AttributeError, TypeError):
            pass
    raise TypeError(f"{name} must be {wanted}, got {value!r} ({type(value).__name__})")


def check_nside(nside: int) -> int:
    """Return `nside` as an int if it is a power of two between 1 and 2**20.

    Raises:
        TypeError: if it is not an integer (bool and float are refused).
        ValueError: if it is no power of two or out of range.
    """
    n = as_integer("nside", nside, wanted="an integer power of two")
    if not 1 <= n <= NSIDE_MAX or n & (n - 1):
        raise ValueError(f"nside must be a power of two between 1 and {NSIDE_MAX}, got {n}")
    return n


def check_order(order: str, *, allowed: tuple[str, ...] = ORDERS, name: str = "order") -> str:
    """Return `order` if it is one of `allowed`; else raise ``ValueError`` that calls it `name`."""
    return one_of(name, order, allowed=allowed)


def one_of(name: str, value: str, *, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`; else raise ``ValueError`` that calls it `name`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def check_maps(
    maps: Tensor, *, nside: int, order: str = "nested", name: str = "maps", finite: bool = True
) -> Tensor:
    """Return `maps` if they can be worked on: floating, of the right size, every pixel a number.

    Arguments:
        maps: ``(..., P)`` with ``P = 12 nside**2``, or ``(..., 12, nside, nside)`` for order
            "face".
        name: what the error message calls them.
        finite: look at the values too. That waits for the device, so layers skip it when compiled.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: empty, wrong pixel count, or NaN, infinite or UNSEEN pixels (with their number).

    Example:
        >>> check_maps(torch.zeros(2, 1, 12), nside=1).shape
        torch.Size([2, 1, 12])
    """
    nside = check_nside(nside)
    order = check_order(order)
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        kind = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise TypeError(
            f"{name} must be a floating-point torch tensor, got {kind}; convert with .float()"
        )
    want = (12, nside, nside) if order == "face" else (12 * nside**2,)
    if tuple(maps.shape[-len(want) :]) != want:
        raise ValueError(
            f"{name} must end in {want} for nside {nside}, order {order!r}; got shape {tuple(maps.shape)}"
        )
    if maps.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(maps.shape)}; at least one map is needed")
    if finite:
        _check_values(maps, name)
    return maps


def all_finite(tensor: Tensor) -> bool:
    """Whether every element of a real tensor is a finite number."""
    return all(math.isfinite(end) for end in _ends(tensor.detach()))


def _ends(tensor: Tensor) -> tuple[float, float]:
    """Smallest and largest element; NaN if there is one.

    On the CPU by NumPy, in one thread: the threads of a torch operation go on spinning for
    milliseconds, in the way of whatever comes next and has threads of its own, such as ducc0.
    """
    if tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64):
        values = tensor.numpy()
        return float(values.min()), float(values.max())
    low, high = tensor.aminmax()
    return float(low), float(high)


def _check_values(maps: Tensor, name: str) -> None:
    low, high = _ends(maps.detach())
    if low >= 0.99 * UNSEEN and math.isfinite(high):
        return
    bad = int((~torch.isfinite(maps)).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} NaN or infinite pixels; replace or mask them first")
    # Saved maps carry UNSEEN in float32 or bfloat16, where it is rounded: compare with room for
    # that.
    unseen = int((maps < 0.99 * UNSEEN).sum()) if maps.dtype != torch.float16 else 0
    if unseen:
        raise ValueError(
            f"{name} holds {unseen} UNSEEN pixels ({UNSEEN:g}); fill or mask them first"
        )


def nside_to_npix(nside: int) -> int:
    """Number of pixels of a map, ``12 nside**2``."""
    return 12 * check_nside(nside) ** 2


def npix_to_nside(npix: int) -> int:
    """Nside of a map with `npix` pixels; ``ValueError`` if no HEALPix map has that many."""
    npix = as_integer("npix", npix)
    nside = math.isqrt(npix // 12) if npix >= 0 else 0
    if nside < 1 or nside & (nside - 1) or 12 * nside**2 != npix:
        raise ValueError(f"npix must be 12 * nside**2 with nside a power of two, got {npix}")
    return nside


def pixel_area(nside: int) -> float:
    """Area of every pixel in steradian, ``4 pi / (12 nside**2)``."""
    return 4 * math.pi / nside_to_npix(nside)


def resolution(nside: int) -> float:
    """Side of a square of the pixel's area, in radians."""
    return math.sqrt(pixel_area(nside))
