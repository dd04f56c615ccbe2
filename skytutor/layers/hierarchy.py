"""Layers that walk the HEALPix tree: one step up or down is a factor 2 in nside, 4 in pixels.

In NESTED order the children of pixel p at twice the nside are ``4p .. 4p + 3``, so a kernel of 4
with stride 4 never leaves a parent. On faces the same four sit in a square of 2 x 2, and the same
weights work there: child ``2 dy + dx`` is row dy, column dx.

Every channel is a scalar here. Means of Q and U are taken along each child's own axes, as HEALPix
does: they are those of the parent to second order in the pixel's side over its distance to a pole.

Shapes: B batch, C channels in, O channels out, P = 12 nside**2, K = 4**levels children.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.arrays import as_tensor
from skytutor.healpix import check_order, face_table, npix_to_nside, reorder
from skytutor.layers.faces import check_input
from skytutor.tables import TableModule
from skytutor.validate import positive


def to_children(x: Tensor) -> Tensor:
    """Make every four channels the four children of each cell.

    The pixel shuffle [1]_ over the hierarchy: channel ``4 c + 2 dy + dx`` goes to row dy, column dx
    of the children in channel c.

    Arguments:
        x: ``(B, 4 C, F, n, n)`` with F faces.

    Returns:
        ``(B, C, F, 2 n, 2 n)``.

    Raises:
        ValueError: another number of dimensions, or channels that are no multiple of four.

    Example:
        >>> to_children(torch.zeros(2, 8, 12, 4, 4)).shape
        torch.Size([2, 2, 12, 8, 8])

    .. [1] W. Shi et al., 2016, CVPR (arXiv:1609.05158).
    """
    x = as_tensor("x", x)
    if x.dim() != 5 or x.shape[1] % 4:
        raise ValueError(f"x must be (B, 4 C, F, n, n), got shape {tuple(x.shape)}")
    n = x.shape[-1]
    x = x.unflatten(1, (-1, 2, 2)).permute(0, 1, 4, 5, 2, 6, 3)  # (B, C, F, n, 2, n, 2)
    return x.reshape(*x.shape[:3], 2 * n, 2 * n)  # (B, C, F, 2 n, 2 n)


def to_parents(x: Tensor) -> Tensor:
    """Make the four children of each cell four channels; the inverse of `to_children`.

    Arguments:
        x: ``(B, C, F, 2 n, 2 n)`` with F faces.

    Returns:
        ``(B, 4 C, F, n, n)``.

    Raises:
        ValueError: another number of dimensions, or an odd number of columns.

    Example:
        >>> to_parents(torch.zeros(2, 2, 12, 8, 8)).shape
        torch.Size([2, 8, 12, 4, 4])
    """
    x = as_tensor("x", x)
    if x.dim() != 5 or x.shape[-1] % 2:
        raise ValueError(f"x must be (B, C, F, 2 n, 2 n), got shape {tuple(x.shape)}")
    x = _blocks(x, side=2)  # (B, C, F, n, 2, n, 2)
    return x.permute(0, 1, 4, 6, 2, 3, 5).flatten(1, 3)  # (B, 4 C, F, n, n)


def _blocks(x: Tensor, *, side: int) -> Tensor:
    """Cut pictures ``(..., H, W)`` into blocks, ``(..., H / side, side, W / side, side)``."""
    return x.unflatten(-1, (-1, side)).unflatten(-3, (-1, side))


class _Hierarchical(TableModule):
    """Order and size checks, the way to NESTED and back, and one method each for maps and faces."""

    downsamples = True
    in_channels: int | None = None
    child_order: Tensor

    def __init__(self, *, order: str, levels: int = 1):
        super().__init__()
        (self.levels,) = positive(levels=levels)
        self.order = check_order(order)
        self.stride = 2**levels
        self.n_children = 4**levels
        # (dy, dx) of a block -> NESTED number of the child
        table = face_table(self.stride, order="nested")[: self.n_children]
        self.register_buffer("child_order", table, persistent=False)

    def on_nested(self, maps: Tensor) -> Tensor:
        """Apply the layer to NESTED maps ``(B, C, P)``; returns ``(B, O, P')``."""
        raise NotImplementedError

    def on_pictures(self, pictures: Tensor) -> Tensor:
        """Apply the layer to pictures ``(B, C, H, W)``; returns ``(B, O, H', W')``."""
        raise NotImplementedError

    def as_square(self, weight: Tensor) -> Tensor:
        """Return weights ``(., ., K)`` as a kernel of pictures, ``(., ., s, s)``, s = 2**levels."""
        return weight[..., self.child_order].unflatten(-1, (self.stride, self.stride))

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the layer.

        Arguments:
            maps: ``(B, C, P)``, or ``(B, C, 12, n, n)`` for order "face".

        Returns:
            ``(B, O, P')``, or ``(B, O, 12, n', n')`` for order "face".

        Raises:
            TypeError, ValueError: as `skytutor.layers.faces.check_input`, or more levels than the
                maps have.
        """
        nside = self._nside(maps)
        weight = getattr(self, "weight", None)
        channels = self.in_channels
        check_input(maps, nside=nside, order=self.order, channels=channels, weight=weight)
        if self.downsamples and nside < self.stride:
            most = nside.bit_length() - 1
            raise ValueError(
                f"levels = {self.levels} is too many for nside {nside}: at most {most}"
            )
        if self.order == "face":
            # Faces stacked into one tall picture: a block of 2**levels never straddles two of them.
            out = self.on_pictures(maps.flatten(2, 3))  # (B, O, 12 n', n')
            return out.unflatten(2, (12, -1))  # (B, O, 12, n', n')
        nested = self.on_nested(reorder(maps, source=self.order, target="nested"))
        return reorder(nested, source="nested", target=self.order)  # (B, O, P')

    def _nside(self, maps: Tensor) -> int:
        if not isinstance(maps, Tensor) or maps.dim() == 0:
            raise TypeError(f"maps must be a torch tensor, got {type(maps).__name__}")
        last = maps.shape[-1]
        if self.order == "face":
            if last < 1 or last & (last - 1):
                shape = tuple(maps.shape)
                raise ValueError(
                    f"maps must be (B, C, 12, n, n) with n a power of two, got shape {shape}"
                )
            return last
        try:
            return npix_to_nside(last)
        except ValueError as error:
            raise ValueError(f"maps must have 12 * nside**2 pixels, got {last}") from error

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return f"levels={self.levels}, order={self.order!r}"


class _HierarchicalWeights(_Hierarchical):
    """What the layers with weights ``(*shape, K)`` share: uniform draws within 1 / sqrt(fan_in)."""

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        shape: tuple[int, int],
        fan_in: int,
        levels: int,
        order: str,
        bias: bool,
    ):
        super().__init__(levels=levels, order=order)
        self.in_channels, self.out_channels = positive(
            in_channels=in_channels, out_channels=out_channels
        )
        self.weight = nn.Parameter(torch.empty(*shape, self.n_children))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        bound = 1 / math.sqrt(fan_in)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        bias = self.bias is not None
        return f"{self.in_channels}, {self.out_channels}, {super().extra_repr()}, bias={bias}"


class HierarchicalConv(_HierarchicalWeights):
    """Convolution up the tree: each output pixel sees its 4**levels children and nothing else.

    ``out[o, p] = bias[o] + sum_{c, k} weight[o, c, k] in[c, 4**levels p + k]`` in NESTED order: a
    ``Conv1d`` of kernel and stride 4**levels [1]_.

    Arguments:
        in_channels: C.
        out_channels: O.
        order: pixel order of input and output alike. "nested" and "ring" maps are ``(B, C, P)``,
            "face" ``(B, C, 12, n, n)``.
        levels: steps up the tree; nside falls by 2**levels.
        bias: whether to add a learned constant to each output channel.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, or an unknown order.

    Example:
        >>> layer = HierarchicalConv(1, 32, order="nested")
        >>> layer(torch.zeros(5, 1, 768)).shape  # nside 8 to nside 4
        torch.Size([5, 32, 192])

    .. [1] jibanCat, 2018, Conv1d-HEALPix.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, order: str, levels: int = 1, bias: bool = True
    ):
        super().__init__(
            in_channels,
            out_channels,
            shape=(out_channels, in_channels),
            fan_in=in_channels * 4**levels,
            levels=levels,
            order=order,
            bias=bias,
        )

    def on_nested(self, maps: Tensor) -> Tensor:
        """Convolve NESTED maps ``(B, C, P)`` to ``(B, O, P / K)``."""
        return F.conv1d(maps, self.weight, self.bias, stride=self.n_children)

    def on_pictures(self, pictures: Tensor) -> Tensor:
        """Convolve pictures ``(B, C, H, W)`` to ``(B, O, H / s, W / s)``, s = 2**levels."""
        # Channels-last blocks are rows of a matrix: one product, several times faster here than a
        # strided Conv2d.
        blocks = _blocks(pictures, side=self.stride)  # (B, C, H/s, s, W/s, s)
        rows = blocks.permute(0, 2, 4, 3, 5, 1).flatten(3)  # (B, H/s, W/s, s s C)
        weight = self.as_square(self.weight).permute(0, 2, 3, 1).flatten(1)  # (O, s s C)
        return F.linear(rows, weight, self.bias).permute(0, 3, 1, 2)  # (B, O, H/s, W/s)


class HierarchicalConvTranspose(_HierarchicalWeights):
    """Transposed convolution down the tree: each pixel spreads over its 4**levels children.

    ``out[o, 4**levels p + k] = bias[o] + sum_c weight[c, o, k] in[c, p]`` in NESTED order. Without
    bias and with the same weights it is the adjoint of `HierarchicalConv`.

    Arguments:
        in_channels: C.
        out_channels: O.
        order: pixel order of input and output alike, as in `HierarchicalConv`.
        levels: steps down the tree; nside grows by 2**levels.
        bias: whether to add a learned constant to each output channel.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, or an unknown order.

    Example:
        >>> layer = HierarchicalConvTranspose(32, 1, order="nested")
        >>> layer(torch.zeros(5, 32, 192)).shape  # nside 4 to nside 8
        torch.Size([5, 1, 768])
    """

    downsamples = False

    def __init__(
        self, in_channels: int, out_channels: int, *, order: str, levels: int = 1, bias: bool = True
    ):
        super().__init__(
            in_channels,
            out_channels,
            shape=(in_channels, out_channels),
            fan_in=in_channels,
            levels=levels,
            order=order,
            bias=bias,
        )

    def on_nested(self, maps: Tensor) -> Tensor:
        """Spread NESTED maps ``(B, C, P)`` to ``(B, O, P K)``."""
        return F.conv_transpose1d(maps, self.weight, self.bias, stride=self.n_children)

    def on_pictures(self, pictures: Tensor) -> Tensor:
        """Spread pictures ``(B, C, H, W)`` to ``(B, O, s H, s W)``, s = 2**levels."""
        kernel = self.as_square(self.weight)  # (C, O, s, s)
        return F.conv_transpose2d(pictures, kernel, self.bias, stride=self.stride)


class HierarchicalPool(_Hierarchical):
    """Largest ("max") or mean value of the 4**levels children; nside falls by 2**levels.

    Arguments:
        mode: "max" or "mean".
        order: pixel order of input and output alike, as in `HierarchicalConv`.
        levels: steps up the tree.

    Raises:
        TypeError, ValueError: an unknown mode or order, or levels that are no positive integer.

    Example:
        >>> pool = HierarchicalPool("mean", order="nested")
        >>> pool(torch.arange(48.0).view(1, 1, 48))[0, 0, :3]
        tensor([1.5000, 5.5000, 9.5000])
    """

    def __init__(self, mode: str = "max", *, order: str, levels: int = 1):
        if mode not in ("max", "mean"):
            raise ValueError(f"mode must be 'max' or 'mean', got {mode!r}")
        super().__init__(levels=levels, order=order)
        self.mode = mode

    def on_nested(self, maps: Tensor) -> Tensor:
        """Pool NESTED maps ``(B, C, P)`` to ``(B, C, P / K)``."""
        pool = F.max_pool1d if self.mode == "max" else F.avg_pool1d
        return pool(maps, self.n_children)

    def on_pictures(self, pictures: Tensor) -> Tensor:
        """Pool pictures ``(B, C, H, W)`` to ``(B, C, H / s, W / s)``, s = 2**levels."""
        pool = F.max_pool2d if self.mode == "max" else F.avg_pool2d
        return pool(pictures, self.stride)

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return f"{self.mode!r}, {super().extra_repr()}"


class HierarchicalUnpool(_Hierarchical):
    """Copy each pixel to its 4**levels children; nside grows by 2**levels. Mean pooling undoes it.

    Arguments:
        order: pixel order of input and output alike, as in `HierarchicalConv`.
        levels: steps down the tree.
    """

    downsamples = False

    def on_nested(self, maps: Tensor) -> Tensor:
        """Copy NESTED maps ``(B, C, P)`` to ``(B, C, P K)``."""
        return maps.repeat_interleave(self.n_children, dim=2)

    def on_pictures(self, pictures: Tensor) -> Tensor:
        """Copy pictures ``(B, C, H, W)`` to ``(B, C, s H, s W)``, s = 2**levels."""
        return F.interpolate(pictures, scale_factor=self.stride, mode="nearest")
