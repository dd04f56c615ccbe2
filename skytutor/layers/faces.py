"""Maps as twelve square faces, and the halo that joins them.

A NESTED map is twelve pictures of ``n`` x ``n`` pixels (n = nside). Kept as ``(B, C, 12, n, n)``
they can be handed to plain two-dimensional convolutions once each has a border of one pixel from
the faces around it. Every layer of `skytutor.layers.pixel` is built on the functions here.

Shapes: B batch, C channels, P = 12 n**2 pixels.
"""

import torch
from torch import Tensor

from skytutor.arrays import as_integers, as_tensor
from skytutor.healpix import check_maps, check_order, halo_indices, npix_to_nside
from skytutor.healpix.numbering import shared_order_table
from skytutor.inputs import as_input
from skytutor.validate import check_axes, hard_mask
from skytutor.values import extremes


def check_input(
    maps: Tensor,
    *,
    nside: int,
    order: str,
    channels: int | None = None,
    name: str = "maps",
    weight: Tensor | None = None,
) -> None:
    """Refuse an input that a layer cannot work on.

    Values are looked at where maps enter a network, not between its layers: faces, maps that need a
    gradient and maps inside a compiled graph are checked for type and shape only.

    Arguments:
        maps: ``(B, C, P)``, or ``(B, C, 12, n, n)`` for order "face".
        nside: resolution that the layer was made for.
        order: pixel order, "ring", "nested" or "face".
        channels: number of channels that the layer takes; None takes any.
        name: what the error message calls the maps.
        weight: of the layer, in whose precision it computes; None for any.

    Raises:
        TypeError: as `skytutor.healpix.check_maps`, or another precision than the weights'.
        ValueError: likewise, or a wrong number of dimensions or channels.
    """
    # A layer goes on with what it was given, so that an array is refused here.
    as_input(name, maps, weight=weight)
    between_layers = order == "face" or torch.compiler.is_compiling() or maps.requires_grad
    check_maps(maps, nside=nside, order=order, name=name, finite=not between_layers)
    dims = 5 if order == "face" else 3
    shape = tuple(maps.shape)
    if maps.dim() != dims:
        wanted = "(B, C, 12, n, n)" if dims == 5 else "(B, C, P)"
        raise ValueError(f"{name} must be {wanted} for order {order!r}, got shape {shape}")
    if channels is not None and maps.shape[1] != channels:
        raise ValueError(
            f"{name} must have {channels} channels, got {maps.shape[1]} in shape {shape}"
        )


def to_faces(maps: Tensor, *, nside: int, order: str) -> Tensor:
    """Turn maps into faces, indexed (face, y, x).

    Arguments:
        maps: ``(B, C, P)``, finite.
        nside: resolution of the maps.
        order: pixel order of the maps, "ring" or "nested".

    Returns:
        Faces ``(B, C, 12, n, n)``.

    Raises:
        TypeError, ValueError: as `skytutor.healpix.check_maps`, NaN and UNSEEN included.

    Example:
        >>> to_faces(torch.zeros(2, 3, 48), nside=2, order="nested").shape
        torch.Size([2, 3, 12, 2, 2])
    """
    check_order(order, allowed=("ring", "nested"))
    maps = as_tensor("maps", maps)
    check_input(maps, nside=nside, order=order)
    table = shared_order_table(nside, source=order, target="face").to(maps.device)
    return faces_from(maps, table, nside=nside)


def faces_from(maps: Tensor, table: Tensor, *, nside: int) -> Tensor:
    """Gather faces from maps by a table that was made before.

    Arguments:
        maps: ``(B, C, P)``.
        table: ``(P,)``, the pixel of every face cell, as `skytutor.healpix.face_table` makes it.
        nside: resolution of the maps.

    Returns:
        Faces ``(B, C, 12, n, n)``.

    Raises:
        TypeError: no numbers, or a table of other than integers.
        ValueError: other shapes, or pixels that are none.
    """
    maps = as_tensor("maps", maps)
    (table,) = as_integers(table=table)
    npix = 12 * nside**2
    if tuple(table.shape) != (npix,) or maps.dim() != 3 or maps.shape[2] != npix:
        raise ValueError(
            f"maps must be (B, C, {npix}) and table ({npix},) for nside {nside}, "
            f"got {tuple(maps.shape)} and {tuple(table.shape)}"
        )
    cells = _gathered(maps, table, axis=2, name="table")
    return cells.unflatten(2, (12, nside, nside))  # (B, C, 12, n, n)


def _gathered(values: Tensor, table: Tensor, *, axis: int, name: str) -> Tensor:
    """Return values by a table of their places.

    Arguments:
        values: ``(B, P, C)`` or ``(B, C, P)``.
        table: one row of places on the axis.
        axis: along which they are counted.
        name: what the error message calls the table.

    Raises:
        ValueError: a place that is none.
    """
    try:
        if axis == 2:
            # `index_select` goes pixel by pixel through all maps on a CPU: nine times as long.
            return values.gather(2, table.expand(*values.shape[:2], -1))
        return values.index_select(axis, table)
    except (IndexError, RuntimeError):
        # Looked at only now: a table that is right, as nearly all are, must cost nothing.
        length = values.shape[axis]
        if bool(((table >= 0) & (table < length)).all()):
            raise
        low, high = extremes(table)
        raise ValueError(
            f"{name} must hold places in 0..{length - 1}, got {low:.0f} to {high:.0f}"
        ) from None


def from_faces(faces: Tensor, *, order: str) -> Tensor:
    """Turn faces into maps; the inverse of `to_faces`.

    Arguments:
        faces: ``(B, C, 12, n, n)``.
        order: pixel order of the maps, "ring" or "nested".

    Returns:
        Maps ``(B, C, P)``.

    Raises:
        TypeError, ValueError: faces of another type or shape, or another order.
    """
    check_order(order, allowed=("ring", "nested"))
    faces = as_tensor("faces", faces)
    nside = _side(faces)
    check_input(faces, nside=nside, order="face", name="faces")
    table = shared_order_table(nside, source="face", target=order).to(faces.device)
    return maps_from(faces, table)


def maps_from(faces: Tensor, table: Tensor) -> Tensor:
    """Gather maps from faces by a table that was made before.

    Arguments:
        faces: ``(B, C, 12, n, n)``.
        table: ``(P,)``, the flattened face cell of every pixel: the inverse of the table that
            `faces_from` takes.

    Returns:
        Maps ``(B, C, P)``.

    Raises:
        TypeError: no numbers, or a table of other than integers.
        ValueError: other shapes, or cells that are none.
    """
    faces = as_tensor("faces", faces)
    (table,) = as_integers(table=table)
    check_axes("B C 12 n n, P", faces=faces, table=table)
    return _gathered(faces.flatten(2), table, axis=2, name="table")  # (B, C, P)


def _side(faces: Tensor) -> int:
    """Return n of faces ``(B, C, 12, n, n)``, the nside of their maps."""
    check_axes("B C 12 n n", faces=faces)
    n = faces.shape[-1]
    return npix_to_nside(12 * n**2, name=f"the pixels of faces {tuple(faces.shape)}")


def border_indices(nside: int) -> tuple[Tensor, Tensor]:
    """Return where the cells of the halo come from.

    The ``4 n + 4`` cells around a face stand in the order bottom row, top row (both with their
    corners), left column, right column.

    Arguments:
        nside: side of a face, n.

    Returns:
        ``(12 (4 n + 4),)`` int64 into the flattened faces, 0 where a cell has no source; and
        ``(12, 4 n + 4, 1)`` bool, False there.
    """
    halo = halo_indices(nside)
    cells = torch.cat([halo[:, 0], halo[:, -1], halo[:, 1:-1, 0], halo[:, 1:-1, -1]], 1)
    return cells.clamp(min=0).flatten(), (cells >= 0).view(12, -1, 1)


def pad_rows(faces: Tensor, source: Tensor, present: Tensor) -> Tensor:
    """Give each face its halo by tables that were made before, channels last.

    Arguments:
        faces: ``(B, C, 12, n, n)``.
        source: ``(12 (4 n + 4),)``, where the cells of the halo come from (`border_indices`).
        present: ``(12, 4 n + 4, 1)``, whether they come from anywhere (likewise).

    Returns:
        ``(B, 12, n + 2, n + 2, C)``, 0 in the 24 corner cells that no pixel fills.

    Raises:
        TypeError: no numbers, or a source of other than integers.
        ValueError: other shapes, cells that are none, or `present` neither 0 nor 1.
    """
    faces = as_tensor("faces", faces)
    (source,) = as_integers(source=source)
    present = hard_mask(as_tensor("present", present, like=faces), name="present")
    # Looked at in one step first: this stands in the inner loop of every convolution.
    if faces.shape[2:] != (12, *faces.shape[-1:] * 2):
        check_axes("B C 12 n n", faces=faces)
    # Channels last: each index then copies a whole row of channels.
    rows = faces.permute(0, 2, 3, 4, 1).contiguous()  # (B, 12, n, n, C)
    n = rows.shape[3]
    c = rows.shape[4]
    _check_tables(source, present, n=n)
    edge = _gathered(
        rows.view(-1, 12 * n * n, c), source, axis=1, name="source"
    )  # (B, 12 (4n + 4), C)
    edge = edge.view(-1, 12, 4 * n + 4, c) * present.to(edge.dtype)
    low, high, left, right = edge.split([n + 2, n + 2, n, n], 2)
    middle = torch.cat([left.unsqueeze(3), rows, right.unsqueeze(3)], 3)  # (B, 12, n, n + 2, C)
    return torch.cat([low.unsqueeze(2), middle, high.unsqueeze(2)], 2)  # (B, 12, n + 2, n + 2, C)


def _check_tables(source: Tensor, present: Tensor, *, n: int) -> None:
    """Refuse tables of another size than faces of side n need."""
    cells = 4 * n + 4
    for name, table, shape in (
        ("source", source, (12 * cells,)),
        ("present", present, (12, cells, 1)),
    ):
        if tuple(table.shape) != shape:
            raise ValueError(
                f"{name} must be {shape} for faces of side {n}, got {tuple(table.shape)}"
            )


def pad_halo(faces: Tensor) -> Tensor:
    """Give each face a border of one pixel from its neighbours.

    Arguments:
        faces: ``(B, C, 12, n, n)``.

    Returns:
        ``(B, C, 12, n + 2, n + 2)``. The 24 corner cells that no pixel fills are 0.

    Raises:
        TypeError, ValueError: faces of another type or shape.
    """
    faces = as_tensor("faces", faces)
    nside = _side(faces)
    check_input(faces, nside=nside, order="face", name="faces")
    source, present = (table.to(faces.device) for table in border_indices(nside))
    return pad_rows(faces, source, present).permute(0, 4, 1, 2, 3)
