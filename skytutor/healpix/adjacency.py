"""Which pixels touch: the eight neighbours, and the halo that joins the twelve faces."""

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix.checks import check_nside, check_order
from skytutor.healpix.numbering import face_to_nested, face_to_ring, nested_to_face, ring_to_face

# What lies across each edge and corner of a face, by row of the face (north, equator, south) and by
# the step (x, y) that leaves it: (row of the new face, quarters to the east, quarter turns of x
# and y). Steps that are not here meet no pixel: at eight corners of the sphere three faces touch,
# not four.
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


def _cross(f: Tensor, y: Tensor, x: Tensor, *, nside: int) -> Tensor:
    """Return the flat face index of cells at most one step outside their face, -1 if there is none.

    The flat index is ``f nside**2 + y nside + x``.
    """
    table = torch.full((3, 3, 3, 3), -1, dtype=torch.long)
    table[:, 1, 1] = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    for face_row, targets in enumerate(_ACROSS):
        for (dx, dy), target in targets.items():
            table[face_row, dx + 1, dy + 1] = torch.tensor(target)
    # Which step leaves the face: -1, 0 or 1 along each axis.
    step_x = (x >= nside).long() - (x < 0).long()
    step_y = (y >= nside).long() - (y < 0).long()
    row, east, turns = table.to(f.device)[f // 4, step_x + 1, step_y + 1].unbind(-1)
    # On the new face the axes may be turned by quarters.
    x = x % nside
    y = y % nside
    new_x, new_y = _turn(x, y, turns=turns, last=nside - 1)
    flat = (4 * row + (f + east) % 4) * nside**2 + new_y * nside + new_x
    return torch.where(row < 0, -1, flat)


def _turn(x: Tensor, y: Tensor, *, turns: Tensor, last: int) -> tuple[Tensor, Tensor]:
    """Turn cells of a square of side ``last + 1`` by a number of quarters."""
    flipped_x = last - x
    flipped_y = last - y
    new_x = torch.where(turns == 3, flipped_y, x)
    new_x = torch.where(turns == 2, flipped_x, new_x)
    new_x = torch.where(turns == 1, y, new_x)
    new_y = torch.where(turns == 3, x, y)
    new_y = torch.where(turns == 2, flipped_y, new_y)
    new_y = torch.where(turns == 1, flipped_x, new_y)
    return new_x, new_y


def neighbours(pix: Tensor, *, nside: int, order: str) -> Tensor:
    """Return the eight neighbours of pixels.

    Eight corners of the sphere are shared by three faces instead of four: the three pixels at each
    (24 in all) have seven neighbours. At nside 1 every pixel misses two.

    Arguments:
        pix: pixel numbers, integers of any shape ``(...)``.
        nside: resolution.
        order: pixel order of the numbers, "ring" or "nested".

    Returns:
        ``(..., 8)`` int64: SW, W, NW, N, NE, E, SE, S; -1 where there is none.

    Raises:
        TypeError: pixels that are no integers.
        ValueError: pixels out of range, or another order.

    Example:
        >>> neighbours(torch.tensor(0), nside=1, order="ring")
        tensor([ 4, -1,  3,  2,  1, -1,  5,  8])
    """
    check_nside(nside)
    check_order(order, allowed=("ring", "nested"))
    pix = as_tensor("pix", pix)
    to_face = nested_to_face if order == "nested" else ring_to_face
    from_face = face_to_nested if order == "nested" else face_to_ring
    f, y, x = to_face(pix, nside=nside)
    step_x, step_y = torch.tensor(_STEPS, device=f.device).unbind(-1)
    flat = _cross(
        f.unsqueeze(-1).expand(*f.shape, 8),
        y.unsqueeze(-1) + step_y,
        x.unsqueeze(-1) + step_x,
        nside=nside,
    )  # (..., 8)
    # Where there is no neighbour, number any pixel, and overwrite it afterwards.
    safe = flat.clamp(min=0)
    numbers = from_face(safe // nside**2, safe % nside**2 // nside, safe % nside, nside=nside)
    return torch.where(flat < 0, -1, numbers)


def halo_indices(nside: int) -> Tensor:
    """Return where each cell of the twelve faces with a border of one comes from.

    Arguments:
        nside: resolution, a power of two.

    Returns:
        ``(12, nside + 2, nside + 2)`` int64 into the flattened faces ``f nside**2 + y nside + x``;
        row 0 is y = -1, column 0 is x = -1. -1 at the corners that no fourth face fills
        (24 of them; at every nside, two for each face).
    """
    nside = check_nside(nside)
    line = torch.arange(-1, nside + 1)
    f, y, x = torch.meshgrid(torch.arange(12), line, line, indexing="ij")
    return _cross(f, y, x, nside=nside)
