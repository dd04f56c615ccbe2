"""Maps as twelve square faces, and the halo that joins them.

A NESTED map is twelve pictures of ``n`` x ``n`` pixels (n = nside). Kept as ``(B, C, 12, n, n)``
they can be handed to plain two-dimensional convolutions once each has a border of one pixel from
the faces around it. Every layer of `skytutor.layers.pixel` is built on the functions here.

Shapes: B batch, C channels, P = 12 n**2 pixels.
"""

import torch
from torch import Tensor

from skytutor.healpix import check_maps, check_order, halo_indices, order_table
from skytutor.healpix.checks import as_integer


def entry(
    maps: Tensor, nside: int, order: str, channels: int | None = None, *, name: str = "maps"
) -> None:
    """Refuse what a layer cannot work on. Values are looked at where maps enter, not between layers."""
    between = (
        order == "face" or torch.compiler.is_compiling() or getattr(maps, "requires_grad", False)
    )
    check_maps(maps, nside=nside, order=order, name=name, finite=not between)
    dims = 5 if order == "face" else 3
    if maps.dim() != dims:
        shape = "(B, C, 12, n, n)" if dims == 5 else "(B, C, P)"
        raise ValueError(
            f"{name} must be {shape} for order {order!r}, got shape {tuple(maps.shape)}"
        )
    if channels is not None and maps.shape[1] != channels:
        raise ValueError(
            f"{name} must have {channels} channels, got {maps.shape[1]} in shape {tuple(maps.shape)}"
        )


def to_faces(maps: Tensor, *, nside: int, order: str = "nested") -> Tensor:
    """Turn maps ``(B, C, P)`` into faces ``(B, C, 12, n, n)``, indexed (face, y, x).

    Raises:
        TypeError, ValueError: what `skytutor.healpix.check_maps` raises, NaN and UNSEEN included.

    Example:
        >>> to_faces(torch.zeros(2, 3, 48), nside=2).shape
        torch.Size([2, 3, 12, 2, 2])
    """
    check_order(order, allowed=("ring", "nested"))
    entry(maps, nside, order)
    return faces_from(maps, order_table(nside, source=order, target="face").to(maps.device), nside)


def faces_from(maps: Tensor, table: Tensor, nside: int) -> Tensor:
    return maps.index_select(2, table).unflatten(2, (12, nside, nside))  # (B, C, 12, n, n)


def _side(faces: Tensor) -> int:
    if not isinstance(faces, Tensor) or faces.dim() == 0:
        raise TypeError(
            f"faces must be a torch tensor (B, C, 12, n, n), got {type(faces).__name__}"
        )
    return faces.shape[-1]


def from_faces(faces: Tensor, *, order: str = "nested") -> Tensor:
    """Turn faces ``(B, C, 12, n, n)`` into maps ``(B, C, P)``; the inverse of `to_faces`."""
    check_order(order, allowed=("ring", "nested"))
    nside = _side(faces)
    entry(faces, nside, "face", name="faces")
    return maps_from(faces, order_table(nside, source="face", target=order).to(faces.device))


def maps_from(faces: Tensor, table: Tensor) -> Tensor:
    return faces.flatten(2).index_select(2, table)  # (B, C, P)


def border(nside: int) -> tuple[Tensor, Tensor]:
    """Where the halo's cells come from, ``(12, 4 n + 4)``: bottom row, top row, left, right; and 0 where missing."""
    halo = halo_indices(nside)
    border = torch.cat([halo[:, 0], halo[:, -1], halo[:, 1:-1, 0], halo[:, 1:-1, -1]], 1)
    return border.clamp(min=0).flatten(), (border >= 0).view(12, -1, 1)


def pad_rows(faces: Tensor, source: Tensor, present: Tensor) -> Tensor:
    rows = faces.permute(0, 2, 3, 4, 1).contiguous()  # (B, 12, n, n, C)
    n = rows.shape[3]
    c = rows.shape[4]
    edge = rows.view(-1, 12 * n * n, c).index_select(1, source)  # (B, 12 (4n + 4), C)
    edge = edge.view(-1, 12, 4 * n + 4, c) * present.to(edge.dtype)
    low, high, left, right = edge.split([n + 2, n + 2, n, n], 2)
    middle = torch.cat([left.unsqueeze(3), rows, right.unsqueeze(3)], 3)  # (B, 12, n, n + 2, C)
    return torch.cat([low.unsqueeze(2), middle, high.unsqueeze(2)], 2)  # (B, 12, n + 2, n + 2, C)


def pad_halo(faces: Tensor) -> Tensor:
    """Give each face a border of one pixel from its neighbours: ``(B, C, 12, n, n)`` to ``(B, C, 12, n+2, n+2)``.

    The 24 corner cells that no pixel fills are 0.
    """
    entry(faces, _side(faces), "face", name="faces")
    source, present = (t.to(faces.device) for t in border(faces.shape[-1]))
    return pad_rows(faces, source, present).permute(0, 4, 1, 2, 3)


def positive(**sizes: int) -> list[int]:
    """Return the sizes; ``TypeError`` naming the first that is no integer, ``ValueError`` for one below 1."""
    for name, size in sizes.items():
        if as_integer(name, size, wanted="a positive integer") < 1:
            raise ValueError(f"{name} must be a positive integer, got {size!r}")
    return list(sizes.values())
