"""Pictures whose structure is destroyed and whose profiles stay."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.check.compare import brief
from skytutor.exercises import grading

__all__ = ["annuli"]

_RING = 12  # pixels; in smaller rings a random order may look like none


class _Rng(np.random.Generator):
    """A generator that is called so in messages."""

    def __repr__(self) -> str:
        return "a generator"


def annuli(attempt: Any) -> bool:
    """Test your `permute_in_annuli(image, width, rng)`: pixels shuffled inside rings.

    Arguments:
        attempt: a function of an image ``(C, H, H)``, of the width of a ring in pixels, and of a
            NumPy generator. Ring k holds the pixels from k to k + 1 widths away from the centre
            of the image. It returns ``(C, H, H)``, the pixels of each ring in a random order, the
            same one in all bands.

    Returns:
        True if every ring keeps its pixels, their bands together, and their order is random.
    """
    rng = np.random.default_rng(1)
    # No distance between pixels is a whole number of these widths.
    sizes = ((5, 24, 2.7), (3, 17, 1.9), (5, 21, 3.3))
    cases = []
    for bands, size, width in sizes:
        image = torch.from_numpy(rng.normal(size=(bands, size, size)))
        cases.append((image, width, _Rng(np.random.PCG64(size))))
    return grading.satisfies("permute_in_annuli", attempt, _fault, cases=cases)


def _rings(size: int, width: float) -> Tensor:
    """Return the number of each pixel's ring, ``(H, H)``."""
    place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    return (torch.hypot(place[:, None], place) / width).floor().long()


def _fault(got: Any, image: Tensor, width: float, rng: np.random.Generator) -> str | None:
    if not isinstance(got, Tensor | np.ndarray) or tuple(got.shape) != tuple(image.shape):
        return f"gives {brief(got)}; an image of the shape of the given one is wanted"
    found = torch.as_tensor(got).detach().double()
    sources = []
    for band, given in zip(found, image, strict=True):
        source = _sources(band, given)
        if source is not None:
            sources.append(source)
    if len(sources) < len(image):
        return "holds values that were in no pixel, or some pixels twice"
    rings = _rings(image.shape[-1], width).flatten()
    first = sources[0]
    if any(not torch.equal(rings[source], rings) for source in sources):
        return _which_rings(sources, image.shape[-1], rings)
    if any(not torch.equal(source, first) for source in sources):
        return "shuffles each band by itself. What happens to the colour of a pixel?"
    return _order_fault(first, image, rings)


def _sources(found: Tensor, image: Tensor) -> Tensor | None:
    """Return from which pixel each came, ``(H H,)``; None if they are not the same pixels."""
    values, order = image.flatten().sort()
    values_found, order_found = found.flatten().sort()
    if not torch.allclose(values, values_found, atol=1e-6, rtol=0):
        return None
    source = torch.empty_like(order)
    source[order_found] = order
    return source


def _which_rings(sources: list[Tensor], size: int, rings: Tensor) -> str:
    """Return words on pixels that left their ring."""
    place = torch.arange(size, dtype=torch.float64) - size // 2
    # Rings about a pixel instead of the centre of the frame move pixels by one ring at most.
    radius = torch.hypot(place[:, None], place).flatten()
    moved = max(float((radius[source] - radius).abs().max()) for source in sources)
    if moved > size / 3:
        return "moves pixels to rings far away. Which pixels may change places?"
    return (
        f"moves some pixels to a ring beside theirs. The centre lies at {(size - 1) / 2}; where "
        "does ring 1 begin?"
    )


def _order_fault(source: Tensor, image: Tensor, rings: Tensor) -> str | None:
    """Return in what the order inside rings is not random, or None."""
    size = image.shape[-1]
    place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    angle = torch.atan2(place[:, None].expand(size, size), place.expand(size, size)).flatten()
    stay, follow, rising, count = 0, 0, 0, 0
    values = image[0].flatten()
    for ring in range(int(rings.max()) + 1):
        pixels = (rings == ring).nonzero()[:, 0]
        if len(pixels) < _RING:
            continue
        around = pixels[angle[pixels].argsort()]
        rank = torch.empty(size * size, dtype=torch.long)
        rank[around] = torch.arange(len(around))
        step = (rank[source[around]].roll(-1) - rank[source[around]]) % len(around)
        follow += int(((step == 1) | (step == len(around) - 1)).sum())
        stay += int((source[pixels] == pixels).sum())
        rising += int((values[source[pixels]].diff() > 0).sum())
        count += len(pixels)
    if stay > 0.3 * count:
        return "leaves many pixels of a ring where they were"
    if follow > 0.3 * count:
        return "turns or mirrors the rings. Neighbours are neighbours still; is that an order?"
    if not 0.2 * count < rising < 0.8 * count:
        return "sorts the pixels of a ring. Is that a random order?"
    return None
