"""Convolution and pooling on HEALPix pixels.

Two families, and the reference that keeps one of them honest:

* **hierarchical** (`HierarchicalConv` and its kin): a pixel's four children are neighbours in
  NESTED order, so ``Conv1d(kernel 4, stride 4)`` is a convolution that goes one level up the tree.
  Cheap, and blind across the border of a parent pixel;
* **halo** (`HaloConv`): every pixel with its eight neighbours. A NESTED map is twelve square
  pictures; give each a border of one pixel from the faces around it and a plain ``Conv2d`` does it;
* **gather** (`GatherConv`): the same numbers by collecting nine columns, as in [1]_. The reference.

Shapes: B batch, C channels in, O channels out, n nside, P = 12 n**2 pixels. Activations are maps
``(B, C, P)`` in "ring" or "nested" order, or faces ``(B, C, 12, n, n)`` with order "face", which is
how a network should keep them between layers. Faces are stored channels-last: their gathers then
copy whole rows of channels, and the CPU's and the GPU's convolutions run faster on that layout.

At eight points of the sphere three base pixels meet instead of four. The three pixels at each, 24
in all, have no neighbour in one diagonal direction; it counts as 0, as in [1]_.

Every channel is a scalar here. Q and U are components along axes that differ from pixel to pixel:
taken as channels they are mixed along those axes, so near the poles a layer sees another pattern
than on the equator, and a rotation of the sky does not commute with it. Layers that respect spin
stand in `skytutor.layers.spectral` and `skytutor.layers.gates`.

.. [1] N. Krachmalnicoff & M. Tomasi, 2019, A&A 628, A129 (arXiv:1902.04083).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.healpix import check_nside, check_order, face_table, neighbours
from skytutor.layers.faces import (
    border_indices,
    check_input,
    faces_from,
    from_faces,
    maps_from,
    pad_halo,
    pad_rows,
    to_faces,
)
from skytutor.layers.hierarchy import (
    HierarchicalConv,
    HierarchicalConvTranspose,
    HierarchicalPool,
    HierarchicalUnpool,
)
from skytutor.tables import TableModule
from skytutor.validate import positive

__all__ = [
    "GatherConv",
    "HaloConv",
    "HierarchicalConv",
    "HierarchicalConvTranspose",
    "HierarchicalPool",
    "HierarchicalUnpool",
    "from_faces",
    "pad_halo",
    "to_faces",
]


class _PixelLayer(TableModule):
    """What the 9-neighbour layers share: order in, order out, weights ``(O, C, 3, 3)``."""

    bias: nn.Parameter | None
    face_of: Tensor  # (P,): pixel of every face cell
    pixel_of: Tensor  # (P,): face cell of every pixel

    def __init__(
        self, in_channels: int, out_channels: int, *, nside: int, order: str, bias: bool = True
    ):
        super().__init__()
        self.in_channels, self.out_channels = positive(
            in_channels=in_channels, out_channels=out_channels
        )
        self.nside = check_nside(nside)
        self.order = check_order(order)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(9 * in_channels)
            nn.init.uniform_(self.bias, -bound, bound)

    def _keep(self, name: str, table: Tensor) -> None:
        """Keep a precomputed table with the layer, but out of its saved state."""
        self.register_buffer(name, table, persistent=False)

    def _keep_face_tables(self, order: str) -> None:
        """Keep the way from pixels in `order` to face cells, and back."""
        face_of = face_table(self.nside, order=order)
        self._keep("face_of", face_of)
        self._keep("pixel_of", face_of.argsort())

    def _check(self, maps: Tensor) -> None:
        check_input(
            maps,
            nside=self.nside,
            order=self.order,
            channels=self.in_channels,
            weight=self.weight,
        )

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return (
            f"{self.in_channels}, {self.out_channels}, nside={self.nside}, order={self.order!r}, "
            f"bias={self.bias is not None}"
        )


class HaloConv(_PixelLayer):
    """9-neighbour convolution: a halo from the neighbouring faces, then ``Conv2d``.

    ``out[o, p] = bias[o] + sum_{c, dy, dx} weight[o, c, dy, dx] in[c, p + (dx, dy)]``, where the
    step (dx, dy) is taken on the face: +x to the north-east, +y to the north-west. A rotation of
    the sky by 90 degrees about the poles permutes the output exactly; no other rotation does in
    general.

    Arguments:
        in_channels: C.
        out_channels: O.
        nside: resolution of the maps, a power of two.
        order: "face" takes and gives ``(B, C, 12, n, n)``; "ring" and "nested" ``(B, C, P)``.
        bias: whether to add a learned constant to each output channel.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, or an unknown order.

    Example:
        >>> conv = HaloConv(1, 4, nside=8, order="ring")
        >>> conv(torch.zeros(2, 1, 768)).shape
        torch.Size([2, 4, 768])
    """

    source: Tensor
    present: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, *, nside: int, order: str, bias: bool = True
    ):
        super().__init__(in_channels, out_channels, nside=nside, order=order, bias=bias)
        source, present = border_indices(self.nside)
        self._keep("source", source)
        self._keep("present", present)
        if order != "face":
            self._keep_face_tables(order)

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve the maps.

        Arguments:
            maps: ``(B, C, P)``, or ``(B, C, 12, n, n)`` for order "face".

        Returns:
            ``(B, O, P)``, or ``(B, O, 12, n, n)`` for order "face".

        Raises:
            TypeError, ValueError: as `skytutor.layers.faces.check_input`.
        """
        self._check(maps)
        if self.order == "face":
            return self._on_faces(maps)
        faces = faces_from(maps, self.face_of, nside=self.nside)  # (B, C, 12, n, n)
        return maps_from(self._on_faces(faces), self.pixel_of)  # (B, O, P)

    def _on_faces(self, faces: Tensor) -> Tensor:
        padded = pad_rows(faces, self.source, self.present)  # (B, 12, n + 2, n + 2, C)
        pictures = padded.flatten(0, 1).permute(0, 3, 1, 2)  # (12 B, C, n + 2, n + 2)
        out = F.conv2d(pictures, self.weight, self.bias)  # (12 B, O, n, n)
        return out.unflatten(0, (-1, 12)).transpose(1, 2)  # (B, O, 12, n, n)


class GatherConv(_PixelLayer):
    """9-neighbour convolution by gathering nine columns: the reference for `HaloConv`, and slower.

    Same arguments, weights and numbers as `HaloConv`; a ``state_dict`` of one loads into the other.

    Arguments:
        in_channels: C.
        out_channels: O.
        nside: resolution of the maps, a power of two.
        order: "face" takes and gives ``(B, C, 12, n, n)``; "ring" and "nested" ``(B, C, P)``.
        bias: whether to add a learned constant to each output channel.

    Raises:
        TypeError, ValueError: as `HaloConv`.
    """

    around: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, *, nside: int, order: str, bias: bool = True
    ):
        super().__init__(in_channels, out_channels, nside=nside, order=order, bias=bias)
        grid = "nested" if order == "face" else order
        pix = torch.arange(12 * self.nside**2)
        sw, w, nw, n, ne, e, se, s = neighbours(pix, nside=self.nside, order=grid).unbind(1)
        # Row dy, column dx of the weight: dy = -1 is SE's side, dx = -1 SW's.
        table = torch.stack([s, se, e, sw, pix, ne, w, nw, n], 1)  # (P, 9)
        # A neighbour that is missing points at the zero that `forward` appends to the map.
        self._keep("around", torch.where(table < 0, len(pix), table).flatten())
        if order == "face":
            self._keep_face_tables(grid)

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve the maps.

        Arguments:
            maps: ``(B, C, P)``, or ``(B, C, 12, n, n)`` for order "face".

        Returns:
            ``(B, O, P)``, or ``(B, O, 12, n, n)`` for order "face".

        Raises:
            TypeError, ValueError: as `skytutor.layers.faces.check_input`.
        """
        self._check(maps)
        if self.order == "face":
            out = self._on_maps(maps_from(maps, self.pixel_of))  # (B, O, P)
            return faces_from(out, self.face_of, nside=self.nside)  # (B, O, 12, n, n)
        return self._on_maps(maps)

    def _on_maps(self, maps: Tensor) -> Tensor:
        columns = F.pad(maps, (0, 1)).index_select(2, self.around)  # (B, C, 9 P)
        columns = columns.unflatten(2, (-1, 9))  # (B, C, P, 9)
        out = torch.einsum("bcpk,ock->bop", columns, self.weight.flatten(2))
        if self.bias is not None:
            out = out + self.bias[:, None].to(out.dtype)
        return out
