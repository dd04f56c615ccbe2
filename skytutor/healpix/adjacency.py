"""Which pixels touch: the eight neighbours, and the halo that joins the twelve faces."""

import torch
from torch import Tensor

from skytutor.healpix.checks import check_nside, check_order
from skytutor.healpix.numbering import face_to_nested, face_to_ring, nested_to_face, ring_to_face

# What lies across each edge and corner of a face, by row of the face (north, equator, south) and by
# the step (x, y) that leaves it: (row of the new face, quarters to the east, quarter turns of x,
# y). Steps that are not here meet no pixel: three faces touch at eight corners of the sphere, not
# four.
_ACROSS = (
    {
        (1, 0): (0, 1, 1),
        (0, 1): (0, 3, 3),
        (1, 1): (0, 2, 2),
        (-1, 0): (1, 0, 0),
        (0, -1): (1, 1, 0),
        (-1, -1): (2, 0, 0),
    },
    {
        (1, 0): (0, 0, 0),
        (0, 1): (0, 3, 0),
        (1, -1): (1, 1, 0),
        (-1, 1): (1, 3, 0),
        (-1, 0): (2, 3, 0),
        (0, -1): (2, 0, 0),
    },
    {
        (1, 0): (1, 1, 0),
        (0, 1): (1, 0, 0),
        (1, 1): (0, 0, 0),
        (-1, 0): (2, 3, 1),
        (0, -1): (2, 1, 3),
        (-1, -1): (2, 2, 2),
    },
)
# SW, W, NW, N, NE, E, SE, S as steps in (x, y).
_STEPS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def _cross(f: Tensor, y: Tensor, x: Tensor, nside: int) -> Tensor:
    """Flat face index ``f nside**2 + y nside + x`` of cells up to one step outside their face, -1 if none."""
    table = torch.full((3, 3, 3, 3), -1, dtype=torch.long)
    table[:, 1, 1] = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    for row, steps in enumerate(_ACROSS):
        for (sx, sy), target in steps.items():
            table[row, sx + 1, sy + 1] = torch.tensor(target)
    sx = (x >= nside).long() - (x < 0).long()
    sy = (y >= nside).long() - (y < 0).long()
    row, east, turn = table.to(f.device)[f // 4, sx + 1, sy + 1].unbind(-1)
    x = x % nside
    y = y % nside
    last = nside - 1
    tx = torch.where(
        turn == 1, y, torch.where(turn == 2, last - x, torch.where(turn == 3, last - y, x))
    )
    ty = torch.where(
        turn == 1, last - x, torch.where(turn == 2, last - y, torch.where(turn == 3, x, y))
    )
    flat = (4 * row + (f + east) % 4) * nside**2 + ty * nside + tx
    return torch.where(row < 0, -1, flat)


def neighbours(pix: Tensor, *, nside: int, order: str) -> Tensor:
    """The eight neighbours ``(..., 8)`` of pixels: SW, W, NW, N, NE, E, SE, S; -1 where there is none.

    Eight corners of the sphere are shared by three faces instead of four: the three pixels at each
    (24 in all) have seven neighbours. At nside 1 every pixel misses two.
    """
    check_nside(nside), check_order(order, allowed=("ring", "nested"))
    pix = torch.as_tensor(pix)
    f, y, x = (nested_to_face if order == "nested" else ring_to_face)(pix, nside=nside)
    sx, sy = torch.tensor(_STEPS, device=f.device).unbind(-1)
    flat = _cross(
        f.unsqueeze(-1).expand(*f.shape, 8), y.unsqueeze(-1) + sy, x.unsqueeze(-1) + sx, nside
    )
    safe = flat.clamp(min=0)
    to = face_to_nested if order == "nested" else face_to_ring
    found = to(safe // nside**2, safe % nside**2 // nside, safe % nside, nside=nside)
    return torch.where(flat < 0, -1, found)


def halo_indices(nside: int) -> Tensor:
    """Where each cell of the twelve faces with a border of one comes from.

    Returns:
        ``(12, nside + 2, nside + 2)`` int64 into the flattened faces ``f nside**2 + y nside + x``;
        row 0 is y = -1, column 0 is x = -1. -1 at the corners that no fourth face fills
        (24 of them; at every nside, two for each face).
    """
    nside = check_nside(nside)
    line = torch.arange(-1, nside + 1)
    f, y, x = torch.meshgrid(torch.arange(12), line, line, indexing="ij")
    return _cross(f, y, x, nside)
