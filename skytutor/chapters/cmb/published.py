"""The two published families of networks of chapter 3, rebuilt.

One convolves nine neighbours in pixel space; the other multiplies each (l, m) by weights, on a
grid of colatitudes and longitudes.

Shapes: B batch, C channels, P = 12 nside**2 pixels in RING order, n parameters.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.healpix import angle_to_pixel, check_maps, order_table
from skytutor.layers.pixel import HaloConv

__all__ = ["PublishedPixelNet", "PublishedSpectralCNN"]


class PublishedPixelNet(nn.Module):
    """The network of Krachmalnicoff & Tomasi [1]_: nine-neighbour convolutions and pooling by four.

    Each level has one convolution with 32 filters, ReLU and the maximum of four children, down to
    twelve pixels; then dropout and 48 neurons.

    Arguments:
        nside: of the input, RING.
        channels: 1 for T, 2 for Q and U, 3 with the mask.
        outputs: n, number of parameters.
        width: filters of each convolution.

    Example:
        >>> PublishedPixelNet(4, channels=2, outputs=2)(torch.randn(3, 2, 192)).shape
        torch.Size([3, 2])

    .. [1] N. Krachmalnicoff & M. Tomasi, 2019, A&A 628, A129.
    """

    table: Tensor

    def __init__(self, nside: int, *, channels: int, outputs: int, width: int = 32):
        super().__init__()
        self.nside = nside
        self.channels = channels
        self.convs = nn.ModuleList()
        for level in range(int(math.log2(nside))):
            inputs = width if level else channels
            self.convs.append(HaloConv(inputs, width, nside=nside >> level, order="face"))
        table = order_table(nside, source="ring", target="face")
        self.register_buffer("table", table, persistent=False)
        self.head = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(12 * width, 48), nn.ReLU(), nn.Linear(48, outputs)
        )

    def extra_repr(self) -> str:
        """Return what `repr` shows."""
        return f"nside={self.nside}, channels={self.channels}"

    def forward(self, maps: Tensor) -> Tensor:
        """Return parameters ``(B, n)`` of maps ``(B, C, P)``, RING.

        Arguments:
            maps: finite.
        """
        x = _check_input(maps, self.nside, self.channels)[..., self.table]
        x = x.unflatten(2, (12, self.nside, self.nside))  # (B, C, 12, nside, nside)
        for conv in self.convs:
            x = F.relu(conv(x))
            # The four children of a pixel are a square of two by two on its face.
            x = F.max_pool3d(x, (1, 2, 2))
        return self.head(x.flatten(1))  # (B, 12 width) to (B, n)


class PublishedSpectralCNN(nn.Module):
    """The spectral CNN of zonca/torch-harmonics-healpix [1]_, as published.

    Pixels are copied to the nearest of 32 x 64 points of an equiangular grid, then three blocks
    multiply each (l, m) by weights of its own: 6,454,529 weights for one map and one parameter.
    Its faults are the chapter's subject: the grid is exact to l = 15 or so and drops 43 % of the
    pixels, weights on m are not equivariant, Q and U go in as two scalars, and what follows the
    last block reads m = 0 alone.

    Arguments:
        nside: of the input, RING.
        channels: 1 for T, 2 for Q and U.
        outputs: n, number of parameters.
        width: hidden channels.
        blocks: how many times coefficients are multiplied by weights.

    Example:
        >>> PublishedSpectralCNN(4, channels=2, outputs=2, width=3)(torch.randn(3, 2, 192)).shape
        torch.Size([3, 2])

    .. [1] https://github.com/zonca/torch-harmonics-healpix
    """

    nearest: Tensor

    def __init__(
        self, nside: int, *, channels: int, outputs: int, width: int = 32, blocks: int = 3
    ):
        super().__init__()
        from torch_harmonics import InverseRealSHT, RealSHT

        self.nside = nside
        self.channels = channels
        n_theta = 2 * nside
        n_phi = 4 * nside
        n_degrees = 3 * nside - 1
        n_orders = min(3 * nside - 1, n_phi // 2 + 1)
        size = {"lmax": n_degrees, "mmax": n_orders, "grid": "equiangular"}
        self.analysis = RealSHT(n_theta, n_phi, **size)
        self.synthesis = InverseRealSHT(n_theta, n_phi, **size)
        theta = math.pi * torch.arange(n_theta, dtype=torch.float64) / n_theta
        phi = 2 * math.pi * torch.arange(n_phi, dtype=torch.float64) / n_phi
        nearest = angle_to_pixel(theta[:, None], phi, nside=nside, order="ring")
        self.register_buffer("nearest", nearest, persistent=False)  # (n_theta, n_phi)
        self.weights = nn.ParameterList()
        for inputs, filters in pairwise([channels, *[width] * blocks]):
            # The first axis holds the real and the imaginary part.
            weight = torch.randn(2, filters, inputs, n_degrees, n_orders)
            self.weights.append(weight / (inputs * n_degrees))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(blocks))
        self.head = nn.Sequential(
            nn.Linear(width, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, outputs)
        )

    def extra_repr(self) -> str:
        """Return what `repr` shows."""
        return f"nside={self.nside}, channels={self.channels}"

    def forward(self, maps: Tensor) -> Tensor:
        """Return parameters ``(B, n)`` of maps ``(B, C, P)``, RING.

        Arguments:
            maps: finite.
        """
        x = _check_input(maps, self.nside, self.channels)[..., self.nearest]
        # x: (B, C, n_theta, n_phi)
        for k, (weight, norm) in enumerate(zip(self.weights, self.norms, strict=True)):
            product = _product(self.analysis(x), torch.complex(*weight.unbind(0)))
            x = norm(self.synthesis(product))
            if k + 1 < len(self.norms):  # no ReLU behind the last block
                x = F.relu(x)
        return self.head(x.mean((-2, -1)))  # (B, width) to (B, n)


def _check_input(maps: Tensor, nside: int, channels: int) -> Tensor:
    """Return `maps` if they are finite and ``(B, channels, P)``."""
    check_maps(maps, nside=nside, order="ring", finite=not torch.compiler.is_compiling())
    if maps.dim() != 3 or maps.shape[1] != channels:
        raise ValueError(f"maps must be (B, {channels}, P), got shape {tuple(maps.shape)}")
    return maps


def _product(alms: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_i alms[b, i, l, m] weights[o, i, l, m]``, one matrix product for each (l, m).

    Arguments:
        alms: ``(B, I, L, M)``, complex.
        weights: ``(O, I, L, M)``, complex.

    Returns:
        ``(B, O, L, M)``.
    """
    left = alms.flatten(2).permute(2, 0, 1)  # (L M, B, I)
    right = weights.flatten(2).permute(2, 1, 0)  # (L M, I, O)
    found = left @ right  # (L M, B, O)
    return found.permute(1, 2, 0).unflatten(2, alms.shape[2:])
