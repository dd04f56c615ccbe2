"""Maps as colour pictures, as the published work has them, and the way back to maps.

Each patch is scaled by its own coldest and hottest pixel and laid on a colour scale of 256 entries,
8 bits a colour. The scale's ends are not kept, so that no picture says how many muK it spans.

The colours run from dark blue over pale grey to dark red, as those of Planck's maps do; the table
is made here.
"""

import torch
from torch import Tensor

from skytutor.chunks import in_chunks
from skytutor.memo import cached_table
from skytutor.values import all_finite

__all__ = ["COLOURS", "colour_table", "from_picture", "to_picture"]

COLOURS = 256
# Red, green and blue at equal steps from cold to hot; between them lie straight lines.
_ANCHORS = (
    (0, 0, 110),
    (0, 60, 220),
    (60, 160, 250),
    (225, 230, 235),
    (250, 170, 60),
    (220, 60, 20),
    (100, 0, 10),
)


@cached_table(maxsize=1)
def _table() -> Tensor:
    anchors = torch.tensor(_ANCHORS, dtype=torch.float64)
    place = torch.linspace(0, len(anchors) - 1, COLOURS, dtype=torch.float64)
    below = place.long().clamp(max=len(anchors) - 2)
    part = (place - below)[:, None]
    return (anchors[below] * (1 - part) + anchors[below + 1] * part).round().to(torch.uint8)


def colour_table() -> Tensor:
    """Return the colours from cold to hot, ``(256, 3)`` uint8: red, green, blue.

    Example:
        >>> colour_table()[0]
        tensor([  0,   0, 110], dtype=torch.uint8)
    """
    return _table()


def to_picture(maps: Tensor) -> Tensor:
    """Turn maps into colour pictures, each scaled by its own extremes.

    Arguments:
        maps: ``(B, H, H)``, muK.

    Returns:
        ``(B, 3, H, H)`` uint8: the coldest pixel of each map has the first colour, the hottest the
        last. A constant map is all of the first.

    Raises:
        ValueError: maps of another shape, or NaN or infinity in them.

    Example:
        >>> to_picture(torch.tensor([[[-100.0, 0.0], [0.0, 100.0]]])).shape
        torch.Size([1, 3, 2, 2])
    """
    if maps.ndim != 3 or maps.numel() == 0:
        raise ValueError(f"maps must be (B, H, H), got {tuple(maps.shape)}")
    if not all_finite(maps):
        raise ValueError("maps must be finite: a picture is scaled by its extremes")
    low = maps.amin((1, 2), keepdim=True)  # (B, 1, 1)
    high = maps.amax((1, 2), keepdim=True)
    span = (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    levels = ((maps - low) / span * (COLOURS - 1)).round().long()  # (B, H, H), 0 to 255
    return _table().to(maps.device)[levels].movedim(3, 1)


def from_picture(pictures: Tensor, *, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Turn colour pictures back into maps, by the nearest colour of the scale.

    Arguments:
        pictures: ``(B, 3, H, H)``, uint8 or numbers from 0 to 255.
        low: muK of the first colour, ``(B,)`` or one for all. No picture says what it was.
        high: muK of the last colour, likewise.

    Returns:
        ``(B, H, H)`` float32, muK.

    Raises:
        ValueError: pictures of another shape.

    Example:
        >>> maps = torch.tensor([[[-100.0, 0.0], [0.0, 100.0]]])
        >>> from_picture(to_picture(maps), low=-100.0, high=100.0).round()
        tensor([[[-100.,    0.],
                 [   0.,  100.]]])
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ValueError(f"pictures must be (B, 3, H, H), got {tuple(pictures.shape)}")
    colours = pictures.float().movedim(1, 3)  # (B, H, H, 3)
    table = _table().to(colours)

    def nearest(rows: Tensor) -> Tensor:
        return torch.cdist(rows, table).argmin(1)

    levels = in_chunks(nearest, colours.flatten(0, 2), size=2**16)  # (B H H,)
    part = levels.unflatten(0, colours.shape[:3]) / (COLOURS - 1)
    ends = [torch.as_tensor(end, dtype=torch.float32).reshape(-1, 1, 1) for end in (low, high)]
    return ends[0] + part * (ends[1] - ends[0])
