"""Masks of small patches of sky: discs, blobs, and the mixture that networks train on.

A mask is bool ``(H, H)``, True where the sky is **seen**, as Planck's masks are. Patches are
periodic: what leaves a patch on one side comes in on the other, as in
`skytutor.fields.flat.FlatSky`. All that is drawn comes from the generator that is passed.
"""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.validate import as_length, check_generator, positive

__all__ = [
    "RADII",
    "blob_mask",
    "check_hidden",
    "disc_mask",
    "discs_mask",
    "mixed_mask",
    "size_between",
]

# Radii of the discs that results are given for, in arcmin.
RADII = (5, 15, 30, 60, 180)
# A disc may be so wide, as a part of the patch's side: beyond, it meets itself behind the edge.
_WIDEST = 0.95
# Hidden fractions and widths of blobs, in arcmin, among the masks of training.
_HIDDEN = (0.02, 0.3)
_BLOBS = (20.0, 120.0)


def disc_mask(
    size: int,
    radius_arcmin: float,
    *,
    pixel_arcmin: float,
    centre: tuple[float, float] | None = None,
) -> Tensor:
    """Hide one disc: the pixels whose centre is no further than the radius from its centre.

    Arguments:
        size: H, pixels along a side.
        radius_arcmin: at least half a pixel; the disc must fit into the patch.
        pixel_arcmin: side of a pixel.
        centre: row and column, in pixels; None for the pixel ``(H // 2, H // 2)``.

    Returns:
        bool ``(H, H)``, False in the disc.

    Raises:
        ValueError: a radius that is too small or too large, or a disc between pixel centres that
            hides none; it says what is allowed.

    Example:
        >>> disc_mask(5, 10.0, pixel_arcmin=10.0).int()
        tensor([[1, 1, 1, 1, 1],
                [1, 1, 0, 1, 1],
                [1, 0, 0, 0, 1],
                [1, 1, 0, 1, 1],
                [1, 1, 1, 1, 1]], dtype=torch.int32)
    """
    _check_radius(radius_arcmin, size=size, pixel_arcmin=pixel_arcmin)
    row, column = (size // 2, size // 2) if centre is None else _check_centre(centre)
    distance = _distance(size, row=row, column=column) * pixel_arcmin
    # A pixel on the edge is hidden, whatever the rounding of its distance.
    hidden = distance <= radius_arcmin * (1 + 1e-12)
    if not bool(hidden.any()):
        raise ValueError(
            f"centre {centre} lies between pixels, and no pixel's centre is within "
            f"{radius_arcmin}' of it; a radius of {pixel_arcmin / math.sqrt(2):.4g}' always hides"
        )
    return ~hidden


def discs_mask(
    size: int,
    radius_arcmin: float,
    *,
    pixel_arcmin: float,
    hidden: float = 0.15,
    generator: torch.Generator,
) -> Tensor:
    """Hide discs of one radius, centred on random pixels; they may overlap.

    One disc is hidden at least. Others follow until the hidden fraction is nearer to `hidden` than
    half a disc.

    Arguments:
        size: H, pixels along a side.
        radius_arcmin: at least half a pixel; a disc must fit into the patch.
        pixel_arcmin: side of a pixel.
        hidden: fraction of the patch to hide, in (0, 1).
        generator: of the random numbers.

    Returns:
        bool ``(H, H)``, False in the discs.

    Raises:
        ValueError: a radius or a fraction outside its range.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> mask = discs_mask(64, 30.0, pixel_arcmin=6.871, hidden=0.15, generator=rng)
        >>> bool(0.13 < (~mask).double().mean() < 0.17)
        True
    """
    _check_radius(radius_arcmin, size=size, pixel_arcmin=pixel_arcmin)
    check_generator(generator)
    wanted = _check_fraction(hidden) * size**2
    disc = (~disc_mask(size, radius_arcmin, pixel_arcmin=pixel_arcmin)).nonzero() - size // 2
    seen = torch.ones(size, size, dtype=torch.bool)
    missing = wanted
    while missing > len(disc) / 2 or bool(seen.all()):
        # As many at once as would do if none overlapped: never too many, and few rounds.
        n = max(1, int(missing / len(disc)))
        centres = torch.randint(size, (n, 1, 2), generator=generator)
        rows, columns = ((centres + disc) % size).unbind(-1)
        seen[rows, columns] = False
        missing = wanted - float((~seen).sum())
    return check_hidden(seen)


def blob_mask(
    size: int,
    *,
    pixel_arcmin: float,
    hidden: float = 0.15,
    width_arcmin: float = 60.0,
    generator: torch.Generator,
) -> Tensor:
    """Hide ragged blobs: the highest values of a smooth Gaussian field.

    Arguments:
        size: H, pixels along a side.
        pixel_arcmin: side of a pixel.
        hidden: fraction of the patch to hide, in (0, 1), met to the pixel.
        width_arcmin: full width at half maximum of what smooths the field, at least a pixel.
        generator: of the random numbers.

    Returns:
        bool ``(H, H)``, False in the blobs.

    Raises:
        ValueError: a fraction or a width outside its range.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> mask = blob_mask(20, pixel_arcmin=10.0, hidden=0.1, generator=rng)
        >>> int((~mask).sum())
        40
    """
    (size,) = positive(size=size)
    pixel = as_length("pixel_arcmin", pixel_arcmin)
    if as_length("width_arcmin", width_arcmin) < pixel:
        raise ValueError(
            f"width_arcmin must be at least a pixel, {pixel_arcmin:.4g}', got {width_arcmin}"
        )
    n = round(_check_fraction(hidden) * size**2)
    # The window of a Gaussian beam on the modes of the patch, k in radians a pixel.
    k = torch.fft.fftfreq(size, dtype=torch.float64) * 2 * math.pi
    square = k[:, None] ** 2 + k[None, : size // 2 + 1] ** 2
    sigma = width_arcmin / pixel_arcmin / math.sqrt(8 * math.log(2))
    check_generator(generator)
    white = torch.randn(size, size, generator=generator, dtype=torch.float64)
    modes = torch.fft.rfft2(white) * torch.exp(-square * sigma**2 / 2)
    field = torch.fft.irfft2(modes, s=(size, size)).flatten()
    # The n highest pixels: a threshold would hide another number where values tie.
    seen = torch.ones(size**2, dtype=torch.bool)
    seen[field.topk(n).indices] = False
    return check_hidden(seen.view(size, size))


def mixed_mask(size: int, *, pixel_arcmin: float, generator: torch.Generator) -> Tensor:
    """Draw a mask of training: discs of one radius, discs of all radii, or blobs.

    Radii are drawn evenly in their logarithm, from 5 arcmin (or half a pixel) to 3 degrees (or a
    third of the patch's side), 2 to 30 % of the patch is hidden.

    Arguments:
        size: H, pixels along a side.
        pixel_arcmin: side of a pixel.
        generator: of the random numbers.

    Returns:
        bool ``(H, H)``, False where the sky is hidden.

    Raises:
        ValueError: a patch that is too small for discs of 5 arcmin, or of half a pixel.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> mask = mixed_mask(64, pixel_arcmin=6.871, generator=rng)
        >>> bool(mask.any()) and not bool(mask.all())
        True
    """
    (size,) = positive(size=size)
    pixel = as_length("pixel_arcmin", pixel_arcmin)
    check_generator(generator)
    kind, fraction, *sizes = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
    hidden = _HIDDEN[0] + (_HIDDEN[1] - _HIDDEN[0]) * fraction
    largest = min(float(RADII[-1]), size * pixel / 3)
    ends = (max(float(RADII[0]), 0.51 * pixel), largest)
    if ends[0] > largest:
        raise ValueError(
            f"size must be larger: {size} pixels of {pixel_arcmin}' make a patch of "
            f"{size * pixel:.4g}', and discs of training need {3 * ends[0]:.4g}'"
        )
    if kind < 0.25:
        narrow, wide = (max(pixel_arcmin, min(end, largest)) for end in _BLOBS)
        return blob_mask(
            size,
            pixel_arcmin=pixel_arcmin,
            hidden=hidden,
            width_arcmin=size_between(sizes[0], (narrow, wide)),
            generator=generator,
        )
    seen = torch.ones(size, size, dtype=torch.bool)
    radii = sizes if kind < 0.5 else sizes[:1]
    for u in radii:  # several radii share what is to be hidden
        seen &= discs_mask(
            size,
            size_between(u, ends),
            pixel_arcmin=pixel_arcmin,
            hidden=hidden / len(radii),
            generator=generator,
        )
    return check_hidden(seen)


def size_between(part: float, ends: tuple[float, float]) -> float:
    """Turn a number of 0..1 into a size between two, even in its logarithm.

    Arguments:
        part: how far from the first to the second; drawn evenly, every ratio is as likely.
        ends: the smallest and the largest size, above 0.

    Example:
        >>> size_between(0.5, (5.0, 20.0))
        10.0
    """
    low, high = ends
    return low * (high / low) ** part


def check_hidden(mask: Tensor) -> Tensor:
    """Return a mask that hides some pixels and not all of them.

    Arguments:
        mask: bool, of any shape, True where the sky is seen.

    Raises:
        TypeError: not bool: a hole has no soft edge.
        ValueError: nothing or everything hidden.

    Example:
        >>> check_hidden(torch.ones(4, 4, dtype=torch.bool))
        Traceback (most recent call last):
        ValueError: mask is True everywhere: nothing is hidden; at least one pixel must be False
    """
    mask = as_tensor("mask", mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be bool, True where the sky is seen, got {mask.dtype}")
    if bool(mask.all()):
        raise ValueError(
            "mask is True everywhere: nothing is hidden; at least one pixel must be False"
        )
    if not bool(mask.any()):
        raise ValueError(
            "mask is False everywhere: nothing is seen; at least one pixel must be True"
        )
    return mask


def _distance(size: int, *, row: float, column: float) -> Tensor:
    """Return how far each pixel is from a place on the periodic patch, ``(H, H)``, in pixels."""
    i = torch.arange(size, dtype=torch.float64)
    half = size / 2
    dy = (i - row + half) % size - half
    dx = (i - column + half) % size - half
    return torch.hypot(dy[:, None], dx[None])


def _check_radius(radius_arcmin: float, *, size: int, pixel_arcmin: float) -> None:
    (size,) = positive(size=size)
    low = as_length("pixel_arcmin", pixel_arcmin) / 2
    high = _WIDEST * size * pixel_arcmin / 2
    if isinstance(radius_arcmin, str | None) or not low <= radius_arcmin <= high:
        raise ValueError(
            f"radius_arcmin must lie in {low:.4g}..{high:.4g} (half a pixel to nearly half of the "
            f"patch's side) for {size} pixels of {pixel_arcmin}', got {radius_arcmin!r}"
        )


def _check_centre(centre: tuple[float, float]) -> tuple[float, float]:
    """Return row and column, refused if they are no two finite numbers."""
    try:
        row, column = (float(place) for place in centre)
    except (TypeError, ValueError):
        row = column = math.nan
    if not (math.isfinite(row) and math.isfinite(column)):
        raise ValueError(f"centre must be a row and a column, finite, in pixels; got {centre!r}")
    return row, column


def _check_fraction(hidden: float) -> float:
    if isinstance(hidden, str | None) or not 0 < hidden < 1:
        raise ValueError(f"hidden must lie between 0 and 1, the fraction to hide, got {hidden!r}")
    return float(hidden)
