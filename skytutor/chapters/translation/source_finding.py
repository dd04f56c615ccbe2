"""Sources in an image without noise: where they are, and which light belongs to which.

Shapes: B scenes, S places for sources in each, H pixels along a side.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["PLACES", "FoundSources", "distances", "find_sources", "in_gaps", "segments"]

PLACES = 10  # sources of one scene, at most
_WINDOW = 5  # side of the square of pixels in which a source is the brightest
_SADDLE = 0.75  # of the fainter of two peaks: above, both belong to one source
_STEPS = 12  # points on the line between two peaks
_FAR = 12.0  # pixels: beyond, two peaks are two sources
_POWER = 2.5  # of the profile by which light is parted, that of the PSF
_ROUNDS = 2
_NARROWEST = 1.4  # pixels, the mean distance of light from its source
_REACH = 14.0  # pixels around a source, for its width
_SPOILED = 5  # pixels about a gap within which no source can be measured


@dataclass(frozen=True)
class FoundSources:
    """Sources found in B images.

    Attributes:
        column: ``(B, S)``, pixels from the first column on.
        row: ``(B, S)``.
        peak: ``(B, S)``, height in the image that was looked at; 0 where there is none.
        there: bool ``(B, S)``.
    """

    column: Tensor
    row: Tensor
    peak: Tensor
    there: Tensor


def find_sources(image: Tensor, *, least: float, places: int = PLACES) -> FoundSources:
    """Return the brightest peaks of images; those without a valley between them count as one.

    Arguments:
        image: ``(B, H, H)``, without noise.
        least: lowest peak.
        places: most of them in one image; S is what the fullest image needs.

    Example:
        >>> image = torch.zeros(1, 16, 16)
        >>> image[0, 4, 5], image[0, 12, 9] = 7.0, 3.0
        >>> found = find_sources(image, least=1.0, places=3)
        >>> found.there.tolist(), found.row[0, :2].tolist(), found.column[0, :2].tolist()
        ([[True, True]], [4.0, 12.0], [5.0, 9.0])
    """
    size = image.shape[-1]
    top = F.max_pool2d(image[:, None], _WINDOW, 1, _WINDOW // 2)[:, 0]
    peaks = torch.where((image == top) & (image > least), image, 0).flatten(1)
    peak, where = peaks.topk(places, dim=1)  # the brightest first
    row, column = (where // size).to(image), (where % size).to(image)
    there = peak > 0
    there = there & ~_parts_of_brighter(image, row, column, peak)
    # What is left stands in the first places.
    order = torch.argsort((~there).to(torch.int8), dim=1, stable=True)
    row, column, peak, there = (part.gather(1, order) for part in (row, column, peak, there))
    # As many places as the fullest image needs.
    most = max(int(there.sum(1).amax()), 1)
    row, column, peak, there = (part[:, :most] for part in (row, column, peak, there))
    nothing = (size - 1) / 2  # any place inside
    return FoundSources(
        column=torch.where(there, column, nothing),
        row=torch.where(there, row, nothing),
        peak=torch.where(there, peak, 0),
        there=there,
    )


def _parts_of_brighter(image: Tensor, row: Tensor, column: Tensor, peak: Tensor) -> Tensor:
    """Return which peaks ``(B, S)`` have no valley between them and a brighter one near them."""
    size = image.shape[-1]
    part = torch.linspace(0, 1, _STEPS, device=image.device)
    ends = torch.stack([column, row], dim=-1)  # (B, S, 2)
    # From each peak i to each other j: (B, S, S, steps, 2), scaled to -1..1.
    line = ends[:, :, None, None] + part[:, None] * (ends[:, None] - ends[:, :, None])[..., None, :]
    grid = line / (size - 1) * 2 - 1
    along = F.grid_sample(image[:, None], grid.flatten(1, 2), align_corners=True)[:, 0]
    lowest = along.amin(-1).unflatten(1, (row.shape[1], row.shape[1]))
    near = torch.cdist(ends, ends) < _FAR
    brighter = torch.ones_like(near).tril(-1)  # those before it
    return (near & brighter & (lowest > _SADDLE * peak[..., None]) & (peak > 0)[:, None]).any(2)


def distances(found: FoundSources, size: int) -> Tensor:
    """Return the squared distance of each pixel from each source, ``(B, S, H, H)``, in pixels.

    Arguments:
        found: of `find_sources`.
        size: H.
    """
    place = torch.arange(size, device=found.row.device, dtype=found.row.dtype)
    across = (place - found.column[..., None]).square()
    along = (place - found.row[..., None]).square()
    return along[..., :, None] + across[..., None, :]


def segments(image: Tensor, found: FoundSources) -> tuple[Tensor, Tensor]:
    """Return which part of the light in each pixel belongs to which source, and widths.

    The light is parted as sources of a PSF's profile would part it, each as wide as its own light.

    Arguments:
        image: ``(B, H, H)``, without noise.
        found: of `find_sources`.

    Returns:
        ``(B, S, H, H)``, which sum to 1 where there is a source in the scene, and the mean distance
        of the light of each source, ``(B, S)``, pixels.
    """
    light = image.clamp(min=0)[:, None]
    squared = distances(found, image.shape[-1])
    near = squared < _REACH**2
    width = torch.full_like(found.peak, _NARROWEST)
    for _ in range(_ROUNDS):
        part = _parts(found, squared, width)
        own = part * light * near
        mean = (own * squared.sqrt()).sum((-2, -1)) / own.sum((-2, -1)).clamp(min=1e-12)
        width = mean.clamp(min=_NARROWEST)
    return _parts(found, squared, width), width


def _parts(found: FoundSources, squared: Tensor, width: Tensor) -> Tensor:
    profile = (1 + squared / width.square()[..., None, None]).pow(-_POWER)
    profile = profile * found.peak[..., None, None]
    return profile / profile.sum(1, keepdim=True).clamp(min=1e-20)


def in_gaps(found: FoundSources, images: Tensor, ivar: Tensor, given: Tensor) -> Tensor:
    """Return which sources lie at pixels of which a given band holds nothing, bool ``(B, S)``.

    A black pixel of a plate is no such gap: it is not measured, but it holds a value.

    Arguments:
        found: of `find_sources`.
        images: ``(B, F, H, H)``; 0 where nothing was recorded.
        ivar: ``(B, F, H, H)``; 0 where nothing was measured.
        given: bool ``(B, F)``.
    """
    gap = (given[..., None, None] & (ivar == 0) & (images == 0)).any(1)
    near = F.max_pool2d(gap.float()[:, None], 2 * _SPOILED + 1, 1, _SPOILED)[:, 0]
    size = images.shape[-1]
    row, column = (place.round().long().clamp(0, size - 1) for place in (found.row, found.column))
    return near.flatten(1).gather(1, row * size + column) > 0
