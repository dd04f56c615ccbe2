"""The two published families of chapter 3, rebuilt: nine neighbours in pixels, and weights of each (l, m) on a grid.

Shapes: B batch, P = 12 nside**2 pixels in RING order.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.healpix import angle_to_pixel, check_maps, order_table
from skytutor.layers.pixel import HaloConv


class PublishedPixelNet(nn.Module):
    """The network of Krachmalnicoff & Tomasi [1]_: nine-neighbour convolutions and pooling by four, down to twelve pixels.

    Each level has one convolution with 32 filters, ReLU and the maximum of four children; then
    dropout and 48 neurons.

    Arguments:
        nside: of the input, RING.
        channels: 1 for T, 2 for Q and U, 3 with the mask.
        outputs: parameters.
        width: filters of each convolution.

    Example:
        >>> PublishedPixelNet(4, channels=2, outputs=2)(torch.randn(3, 2, 192)).shape
        torch.Size([3, 2])

    .. [1] N. Krachmalnicoff & M. Tomasi, 2019, A&A 628, A129.
    """

    def __init__(self, nside: int, *, channels: int, outputs: int, width: int = 32):
        super().__init__()
        self.nside = nside
        self.channels = channels
        sides = [nside >> k for k in range(int(math.log2(nside)))]
        self.convs = nn.ModuleList(
            HaloConv(width if k else channels, width, nside=n) for k, n in enumerate(sides)
        )
        self.register_buffer(
            "table", order_table(nside, source="ring", target="face"), persistent=False
        )
        self.head = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(12 * width, 48), nn.ReLU(), nn.Linear(48, outputs)
        )

    def forward(self, maps: Tensor) -> Tensor:
        x = _checked(maps, self.nside, self.channels)[..., self.table].unflatten(
            2, (12, self.nside, self.nside)
        )  # (B, C, 12, n, n)
        for conv in self.convs:
            x = F.relu(conv(x))
            x = F.max_pool3d(x, (1, 2, 2))
        return self.head(x.flatten(1))


class PublishedSpectralCNN(nn.Module):
    """The spectral CNN of zonca/torch-harmonics-healpix [1]_, as published: 6,454,529 weights for one map and one parameter.

    Pixels are copied to the nearest of 32 x 64 points of an equiangular grid, then three blocks
    multiply each (l, m) by weights of its own. Its faults are the chapter's subject: the grid is
    exact to l = 15 or so and drops 43 % of the pixels, weights on m are not equivariant, Q and U go
    in as two scalars, and what follows the last block reads m = 0 alone.

    Arguments:
        nside: of the input, RING.
        channels, outputs: as in `PublishedPixelNet`.
        width: hidden channels.
        blocks: of a product with weights each.

    Example:
        >>> PublishedSpectralCNN(4, channels=2, outputs=2, width=3)(torch.randn(3, 2, 192)).shape
        torch.Size([3, 2])

    .. [1] https://github.com/zonca/torch-harmonics-healpix
    """

    def __init__(
        self, nside: int, *, channels: int, outputs: int, width: int = 32, blocks: int = 3
    ):
        super().__init__()
        from torch_harmonics import InverseRealSHT, RealSHT

        self.nside = nside
        self.channels = channels
        tall = 2 * nside
        wide = 4 * nside
        top = 3 * nside - 1
        orders = min(3 * nside - 1, wide // 2 + 1)
        self.there = RealSHT(tall, wide, lmax=top, mmax=orders, grid="equiangular")
        self.back = InverseRealSHT(tall, wide, lmax=top, mmax=orders, grid="equiangular")
        theta = math.pi * torch.arange(tall, dtype=torch.float64) / tall
        phi = 2 * math.pi * torch.arange(wide, dtype=torch.float64) / wide
        nearest = angle_to_pixel(theta[:, None], phi, nside=nside, order="ring")
        self.register_buffer("nearest", nearest, persistent=False)  # (tall, wide)
        sizes = [channels, *[width] * blocks]
        self.weights = nn.ParameterList(
            torch.randn(2, b, a, top, orders) / (a * top)
            for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(blocks))
        self.head = nn.Sequential(
            nn.Linear(width, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, outputs)
        )

    def forward(self, maps: Tensor) -> Tensor:
        x = _checked(maps, self.nside, self.channels)[..., self.nearest]  # (B, C, 32, 64)
        for k, (weight, norm) in enumerate(zip(self.weights, self.norms, strict=True)):
            x = norm(self.back(_product(self.there(x), torch.complex(*weight.unbind(0)))))
            x = F.relu(x) if k + 1 < len(self.norms) else x
        return self.head(x.mean((-2, -1)))


def _checked(maps: Tensor, nside: int, channels: int) -> Tensor:
    check_maps(maps, nside=nside, order="ring", finite=not torch.compiler.is_compiling())
    if maps.dim() != 3 or maps.shape[1] != channels:
        raise ValueError(f"maps must be (B, {channels}, P), got shape {tuple(maps.shape)}")
    return maps


def _product(alms: Tensor, weights: Tensor) -> Tensor:
    """``sum_i alms[b, i, l, m] weights[o, i, l, m]``, as one batched product over (l, m)."""
    found = alms.flatten(2).permute(2, 0, 1) @ weights.flatten(2).permute(2, 1, 0)  # (L M, B, O)
    return found.permute(1, 2, 0).unflatten(2, alms.shape[2:])
