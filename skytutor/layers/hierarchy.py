"""Layers that walk the HEALPix tree: one step up or down is a factor 2 in nside, 4 in pixels.

In NESTED order the children of pixel p at twice the nside are ``4p .. 4p + 3``, so a kernel of 4
with stride 4 never leaves a parent. On faces the same four sit in a square of 2 x 2, and the same
weights work there: child ``2 dy + dx`` is row dy, column dx.

Shapes: B batch, C channels in, O channels out, P = 12 nside**2, K = 4**levels children.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.healpix import check_order, face_table, npix_to_nside, reorder
from skytutor.layers.faces import entry, positive


class _Hierarchical(nn.Module):
    """Order and size checks, the way to NESTED and back, and one method each for maps and faces."""

    shrinks = True
    in_channels: int | None = None

    def __init__(self, *, levels: int = 1, order: str = "nested"):
        super().__init__()
        (self.levels,) = positive(levels=levels)
        self.order = check_order(order)
        self.step = 2**levels
        self.family = 4**levels
        # (dy, dx) of a block -> NESTED number of the child
        table = face_table(self.step, order="nested")[: self.family]
        self.register_buffer("square", table, persistent=False)

    def on_nested(self, maps: Tensor) -> Tensor:
        raise NotImplementedError

    def on_pictures(self, pictures: Tensor) -> Tensor:
        raise NotImplementedError

    def as_square(self, weight: Tensor) -> Tensor:
        return weight[..., self.square].unflatten(
            -1, (self.step, self.step)
        )  # (., ., 2**levels, 2**levels)

    def forward(self, maps: Tensor) -> Tensor:
        nside = self._nside(maps)
        entry(maps, nside, self.order, self.in_channels)
        if self.shrinks and nside < self.step:
            raise ValueError(
                f"levels = {self.levels} is too many for nside {nside}: at most {nside.bit_length() - 1}"
            )
        if self.order == "face":
            # Faces stacked into one tall picture: a block of 2**levels never straddles two of them.
            return self.on_pictures(maps.flatten(2, 3)).unflatten(2, (12, -1))  # (B, O, 12, n', n')
        nested = self.on_nested(reorder(maps, source=self.order, target="nested"))
        return reorder(nested, source="nested", target=self.order)  # (B, O, P')

    def _nside(self, maps: Tensor) -> int:
        if not isinstance(maps, Tensor) or maps.dim() == 0:
            raise TypeError(f"maps must be a torch tensor, got {type(maps).__name__}")
        if self.order == "face":
            if maps.shape[-1] < 1 or maps.shape[-1] & (maps.shape[-1] - 1):
                raise ValueError(
                    f"maps must be (B, C, 12, n, n) with n a power of two, got shape {tuple(maps.shape)}"
                )
            return maps.shape[-1]
        try:
            return npix_to_nside(maps.shape[-1])
        except ValueError as error:
            raise ValueError(
                f"maps must have 12 * nside**2 pixels, got {maps.shape[-1]}"
            ) from error

    def extra_repr(self) -> str:
        return f"levels={self.levels}, order={self.order!r}"


class _HierarchicalWeights(_Hierarchical):
    def __init__(self, in_channels, out_channels, shape, fan_in, *, levels, order, bias):
        super().__init__(levels=levels, order=order)
        self.in_channels, self.out_channels = positive(
            in_channels=in_channels, out_channels=out_channels
        )
        self.weight = nn.Parameter(torch.empty(*shape, self.family))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        bound = 1 / math.sqrt(fan_in)
        nn.init.uniform_(self.weight, -bound, bound)
        if bias:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.in_channels}, {self.out_channels}, {super().extra_repr()}, bias={bias}"


class HierarchicalConv(_HierarchicalWeights):
    """Convolution up the tree: each output pixel sees its 4**levels children and nothing else.

    ``out[o, p] = bias[o] + sum_{c, k} weight[o, c, k] in[c, 4**levels p + k]`` in NESTED order: a
    ``Conv1d`` of kernel and stride 4**levels [1]_.

    Arguments:
        levels: steps up the tree; nside falls by 2**levels.
        order: of input and output alike. "nested" and "ring" maps ``(B, C, P)``, "face"
            ``(B, C, 12, n, n)``.

    Raises:
        ValueError: wrong size or channels, or fewer levels in the map than asked for.

    Example:
        >>> HierarchicalConv(1, 32)(torch.zeros(5, 1, 768)).shape  # nside 8 to nside 4
        torch.Size([5, 32, 192])

    .. [1] jibanCat, 2018, Conv1d-HEALPix.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        levels: int = 1,
        order: str = "nested",
        bias: bool = True,
    ):
        shape = (out_channels, in_channels)
        fan_in = in_channels * 4**levels
        super().__init__(
            in_channels, out_channels, shape, fan_in, levels=levels, order=order, bias=bias
        )

    def on_nested(self, maps: Tensor) -> Tensor:
        return F.conv1d(maps, self.weight, self.bias, stride=self.family)  # (B, O, P / K)

    def on_pictures(self, pictures: Tensor) -> Tensor:
        # Channels-last blocks are rows of a matrix: one product, several times faster here than a
        # strided Conv2d.
        s = self.step
        blocks = (
            pictures.permute(0, 2, 3, 1).unflatten(2, (-1, s)).unflatten(1, (-1, s))
        )  # (B, H/s, s, W/s, s, C)
        rows = blocks.transpose(2, 3).flatten(3)  # (B, H/s, W/s, s s C)
        weight = self.as_square(self.weight).permute(0, 2, 3, 1).flatten(1)  # (O, s s C)
        return F.linear(rows, weight, self.bias).permute(0, 3, 1, 2)  # (B, O, H/s, W/s)


class HierarchicalConvTranspose(_HierarchicalWeights):
    """Transposed convolution down the tree: each pixel spreads over its 4**levels children.

    Without bias and with the same weights it is the adjoint of `HierarchicalConv`.
    Weights ``(C, O, K)``; nside grows by 2**levels.
    """

    shrinks = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        levels: int = 1,
        order: str = "nested",
        bias: bool = True,
    ):
        shape = (in_channels, out_channels)
        super().__init__(
            in_channels, out_channels, shape, in_channels, levels=levels, order=order, bias=bias
        )

    def on_nested(self, maps: Tensor) -> Tensor:
        return F.conv_transpose1d(maps, self.weight, self.bias, stride=self.family)  # (B, O, P K)

    def on_pictures(self, pictures: Tensor) -> Tensor:
        return F.conv_transpose2d(
            pictures, self.as_square(self.weight), self.bias, stride=self.step
        )


class HierarchicalPool(_Hierarchical):
    """Largest ("max") or mean value of the 4**levels children; nside falls by 2**levels."""

    def __init__(self, mode: str = "max", *, levels: int = 1, order: str = "nested"):
        if mode not in ("max", "mean"):
            raise ValueError(f"mode must be 'max' or 'mean', got {mode!r}")
        super().__init__(levels=levels, order=order)
        self.mode = mode

    def on_nested(self, maps: Tensor) -> Tensor:
        return (F.max_pool1d if self.mode == "max" else F.avg_pool1d)(
            maps, self.family
        )  # (B, C, P / K)

    def on_pictures(self, pictures: Tensor) -> Tensor:
        return (F.max_pool2d if self.mode == "max" else F.avg_pool2d)(pictures, self.step)

    def extra_repr(self) -> str:
        return f"{self.mode!r}, {super().extra_repr()}"


class HierarchicalUnpool(_Hierarchical):
    """Copy each pixel to its 4**levels children; nside grows by 2**levels. Undone by mean pooling."""

    shrinks = False

    def on_nested(self, maps: Tensor) -> Tensor:
        return maps.repeat_interleave(self.family, dim=2)  # (B, C, P K)

    def on_pictures(self, pictures: Tensor) -> Tensor:
        return F.interpolate(pictures, scale_factor=self.step, mode="nearest")
