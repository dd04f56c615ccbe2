"""Checks of nside, pixel order and maps, and the sizes that follow from nside."""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_tensor, split_masked
from skytutor.validate import as_integer, one_of
from skytutor.values import extremes, on_values

UNSEEN = -1.6375e30
ORDERS = ("ring", "nested", "face")
NSIDE_MAX = 2**20
# UNSEEN is met in other units, a thousand or a million times larger or smaller. Not beyond: column
# densities of hydrogen, 1e19 to 1e23 a square centimetre, are values.
_UNITS = 2  # powers of a thousand
_LEAST_UNSEEN = 0.99 * abs(UNSEEN) / 1000**_UNITS
_NAMED = 5  # pixels that an error names


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
            "face"; a tensor, an array or a list of floating-point numbers.
        nside: resolution that the maps must have.
        order: pixel order of the maps, "ring", "nested" or "face".
        name: what the error message calls them.
        finite: whether to look at the values too. That waits for the device, so layers skip it when
            compiled.

    Returns:
        The maps themselves if they are a tensor, else one made of them: what a caller goes on with.

    Raises:
        TypeError: no floating-point numbers.
        ValueError: empty, wrong pixel count, or pixels that `check_values` refuses.

    Example:
        >>> check_maps(torch.zeros(2, 1, 12), nside=1, order="nested").shape
        torch.Size([2, 1, 12])
    """
    nside = check_nside(nside)
    order = check_order(order)
    maps = as_tensor(name, maps)
    if not maps.is_floating_point():
        raise TypeError(
            f"{name} must be floating-point numbers, got {maps.dtype}; convert with .float(), or "
            ".astype(float) of an array"
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
        on_values(maps, lambda seen: _check_seen(seen, name=name, axes=len(wanted)))
    return maps


def check_values(values: Tensor, *, name: str = "values", axes: int = 1) -> None:
    """Refuse pixels that hold no value: NaN, infinite or UNSEEN, by their numbers.

    Whatever is as large as UNSEEN counts as it: no map has such values. In a graph that is being
    recorded there are no values yet, and nothing is refused (`skytutor.values.on_values`).

    Arguments:
        values: floating, of any shape whose last axes number the pixels.
        name: what the error message calls them.
        axes: how many of the last axes say which pixel it is: 1 for ``(..., P)``, 2 for patches
            ``(..., H, W)``, 3 for faces ``(..., 12, nside, nside)``.

    Raises:
        ValueError: such pixels; it says how many, and the numbers of the first of them.

    Example:
        >>> check_values(torch.tensor([1.0, torch.nan, 3.0]), name="sky")
        Traceback (most recent call last):
        ValueError: sky holds 1 NaN or infinite pixels, first at pixel 1; replace or mask them first
    """
    values = as_tensor(name, values)
    if values.is_complex():
        raise TypeError(f"{name} must be real numbers, got {values.dtype}")
    if values.dim() < axes:
        raise ValueError(f"{name} must have {axes} axes or more, got shape {tuple(values.shape)}")
    if values.numel():
        on_values(values, lambda seen: _check_seen(seen, name=name, axes=axes))


def _check_seen(values: Tensor, *, name: str, axes: int) -> None:
    """Refuse pixels without a value, of a tensor whose numbers can be seen."""
    # Smallest and largest value decide in one pass; what is wrong is looked for only if something
    # is large. NaN compares as false, and is looked for too.
    low, high = extremes(values)
    if low > -_LEAST_UNSEEN and high < _LEAST_UNSEEN:
        return
    wrong = ~torch.isfinite(values)
    if bool(wrong.any()):
        raise ValueError(
            f"{name} holds {int(wrong.sum())} NaN or infinite pixels, first at "
            f"{_first_pixels(wrong, axes)}; replace or mask them first"
        )
    wrong = is_unseen(values) | (values.abs() >= 0.99 * abs(UNSEEN))
    if bool(wrong.any()):
        raise ValueError(
            f"{name} holds {int(wrong.sum())} UNSEEN pixels ({UNSEEN:g}, in whatever unit and of "
            f"either sign), first at {_first_pixels(wrong, axes)}; fill or mask them first"
        )


def _first_pixels(wrong: Tensor, axes: int) -> str:
    """Name the first few pixels that are wrong in any of the maps."""
    anywhere = wrong.reshape(-1, *wrong.shape[-axes:]).any(0)
    # Numbers of a map, or triples and pairs of faces and patches.
    places = [tuple(place) if axes > 1 else place[0] for place in anywhere.nonzero().tolist()]
    if len(places) == 1:
        return f"pixel {places[0]}"
    return "pixels " + ", ".join(map(str, places[:_NAMED])) + " ..." * (len(places) > _NAMED)


def is_unseen(values: Tensor) -> Tensor:
    """Tell where a map holds UNSEEN, as it is, rounded, in another unit or with its sign turned.

    Arithmetic on a map takes its UNSEEN pixels along: they are looked for at 1e-6, 1e-3, 1, 1e3 and
    1e6 times their value, of either sign, to 1e-5 as healpy reads them. Numbers that have passed
    through bfloat16, with its three digits, are looked for to 0.7 %: it rounds the value and then
    the product. float16 cannot hold UNSEEN, which is infinite there.

    Arguments:
        values: floating, of any shape.

    Returns:
        bool, of that shape; False where a value is NaN or infinite.

    Example:
        >>> is_unseen(torch.tensor([UNSEEN, -1e-3 * UNSEEN, 1.0, torch.nan]))
        tensor([ True,  True, False, False])
    """
    numbers = as_tensor("values", values)
    if numbers.dtype in (torch.float16, torch.bfloat16):
        numbers = numbers.float()
    elif not numbers.is_floating_point():
        numbers = as_tensor("values", numbers, dtype=torch.float64)
    large = numbers.abs() >= _LEAST_UNSEEN
    # Nearly every map holds none: then the rest, a dozen arrays as large as the map, is not made.
    if on_values(large, lambda seen: bool(seen.any())) is False:
        return large
    ratio = numbers.abs() / abs(UNSEEN)
    # The nearest of the powers of a thousand; log10 of 0 is clamped with all that is smaller.
    power = (ratio.log10() / 3).round().clamp(-_UNITS, _UNITS)
    error = (ratio / 1000.0**power - 1).abs()
    coarse = numbers == numbers.bfloat16().to(numbers)
    return (error < 1e-5) | (coarse & (error < 7e-3))


def seen_maps(
    maps: Tensor, weights: Tensor, *, nside: int, order: str, name: str = "maps"
) -> Tensor:
    """Return maps that are 0 where their weight is 0, if they hold values everywhere else.

    The one rule of masks and weights in this package: weight 0 means not looked at, and there a map
    may hold anything. Elsewhere NaN, infinite and UNSEEN pixels are refused. Multiply by weights
    after this, for 0 times NaN is NaN. What is not looked at has no gradient.

    Arguments:
        maps: ``(..., P)``, as in `check_maps`; what a masked array hides has weight 0.
        weights: ``(P,)``, bool or numbers.
        nside: of both.
        order: of the pixels, "ring" or "nested".
        name: what the error message calls the maps.

    Returns:
        The shape and the precision of `maps`.

    Raises:
        TypeError, ValueError: as `check_maps`, for the pixels whose weight is not 0, or another
            number of weights than of pixels.

    Example:
        >>> maps = torch.full((12,), 2.0)
        >>> maps[3] = UNSEEN
        >>> float(seen_maps(maps, torch.arange(12) != 3, nside=1, order="ring").sum())
        22.0
    """
    check_order(order, allowed=("ring", "nested"))
    maps, weights = split_masked(name, maps, weights, mask_name="weights", axes=1)
    maps = check_maps(maps, nside=nside, order=order, name=name, finite=False)
    weights = as_tensor("weights", weights)
    if tuple(weights.shape) != (maps.shape[-1],):
        raise ValueError(
            f"weights must be ({maps.shape[-1]},), one for each pixel, "
            f"got shape {tuple(weights.shape)}"
        )
    # A choice and not a product; NaN as a weight is not 0, and is for the caller to refuse.
    kept = torch.where((weights != 0).to(maps.device), maps, 0)
    check_values(kept, name=f"{name}, where seen,")
    return kept


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


def npix_to_nside(npix: int, *, name: str = "npix") -> int:
    """Return the nside of a map with `npix` pixels.

    Arguments:
        npix: number of pixels of a full map.
        name: what the error message calls it.

    Returns:
        Its nside.

    Raises:
        TypeError: not an integer.
        ValueError: no HEALPix map has that many pixels.
    """
    npix = as_integer(name, npix)
    nside = math.isqrt(npix // 12) if npix >= 0 else 0
    if nside < 1 or nside & (nside - 1) or 12 * nside**2 != npix:
        raise ValueError(f"{name} must be 12 * nside**2 with nside a power of two, got {npix}")
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


def check_weights(weights: Tensor | None, maps: Tensor) -> Tensor:
    """Return the weights of pixels, in the precision of the maps, if they can be such.

    Arguments:
        weights: real numbers, not negative, of a shape that broadcasts with `maps`, such as a mask
            ``(P,)`` of zeros and ones; None for 1 everywhere.
        maps: ``(..., P)``, floating.

    Returns:
        ``(P,)`` or as many axes as were given, on the device of the maps.

    Raises:
        TypeError: not a real tensor.
        ValueError: another shape, negative, NaN or infinite weights.

    Example:
        >>> check_weights(None, torch.zeros(2, 12)).shape
        torch.Size([12])
    """
    maps = as_tensor("maps", maps)
    if weights is None:
        return torch.ones(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    weights = as_tensor("weights", weights)
    if weights.is_complex():
        raise TypeError(f"weights must be real numbers, got {weights.dtype}")
    weights = weights.to(maps)
    try:
        fits = torch.broadcast_shapes(weights.shape, maps.shape) == maps.shape
    except RuntimeError:
        fits = False
    if not fits or weights.shape[-1:] != maps.shape[-1:]:
        raise ValueError(
            f"weights must end in {maps.shape[-1]} pixels and broadcast with maps of shape "
            f"{tuple(maps.shape)}, got shape {tuple(weights.shape)}"
        )
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise ValueError("weights must be finite and not negative")
    return weights
