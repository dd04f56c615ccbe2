"""Chapter 1's network that no rotation of the sky deceives: convolutions in harmonics, weights on l alone.

Shapes: B batch, C channels, K = (lmax + 1)**2 real coefficients, P = 12 nside**2 pixels of a level.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.layers.faces import entry
from skytutor.layers.gates import SpinProduct
from skytutor.layers.spectral import SpinConv, ZonalConv
from skytutor.models.digits import CLASSES
from skytutor.sht import RealHarmonics


class SkyBlock(nn.Module):
    """Coefficients to maps: zonal convolutions, and products of spin-2 ones, each through a batch norm and a GELU.

    Example:
        >>> SkyBlock(3, 8, spins=2, nside=4, lmax=8)(torch.randn(5, 3, 81)).shape
        torch.Size([5, 12, 192])
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        spins: int,
        nside: int,
        lmax: int,
        order: str = "nested",
    ):
        super().__init__()
        self.width = width + 2 * spins
        self.lmax = lmax
        self.spins = spins
        self.zonal = ZonalConv(in_channels, width, lmax=lmax, bias=False)
        self.scalars = RealHarmonics(nside, lmax, order=order)
        self.norm = nn.BatchNorm1d(self.width)
        if spins:
            self.spin = SpinConv(in_channels, 2 * spins, lmax=lmax, source=0)
            self.fields = RealHarmonics(nside, lmax, spin=2, order=order)
            self.product = SpinProduct()

    def forward(self, coefs: Tensor) -> Tensor:
        coefs = coefs[..., : (self.lmax + 1) ** 2]
        maps = self.scalars.synthesis(self.zonal(coefs))  # (B, width, P)
        if self.spins:
            u, v = self.fields.synthesis(self.spin(coefs)).chunk(2, 1)  # (B, spins, 2, P) each
            maps = torch.cat([maps, self.product(u, v)], 1)
        return F.gelu(self.norm(maps))


class InvariantNet(nn.Module):
    """Blocks in harmonic space, coarser from one to the next; at the end mean, maximum and rms of each map over the sphere.

    Every step but sampling commutes with rotations, and the read-out does not see them. What is
    left of the rotation is
    aliasing: a GELU makes harmonics beyond what the pixels hold.

    Arguments:
        nside: of the input, NESTED.
        levels: of each block (nside, lmax, zonal channels, spin-2 pairs). Nside and lmax must not
            rise.
        last: features of the layer before the classes.
        dropout: after it.

    Raises:
        ValueError: no levels, or one finer than the one before.

    Example:
        >>> InvariantNet(4, levels=((4, 8, 4, 1), (2, 4, 8, 2)), last=16)(torch.rand(3, 1, 192)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        nside: int,
        *,
        levels: Sequence[tuple[int, int, int, int]],
        last: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        if not levels:
            raise ValueError("levels must hold at least one block")
        self.nside = nside
        sizes = [(nside, 3 * nside - 1), *(level[:2] for level in levels)]
        for before, now in zip(sizes, sizes[1:], strict=False):
            if now[0] > before[0] or now[1] > before[1]:
                raise ValueError(f"levels must not get finer: (nside, lmax) {now} after {before}")
        self.blocks = nn.ModuleList()
        self.looks = nn.ModuleList()
        channels = 1
        for (seen, _), (n, lmax, width, spins) in zip(sizes, levels, strict=False):
            self.looks.append(RealHarmonics(seen, lmax, order="nested"))
            self.blocks.append(SkyBlock(channels, width, spins=spins, nside=n, lmax=lmax))
            channels = self.blocks[-1].width
        self.read = nn.Sequential(
            nn.Linear(3 * channels, last),
            nn.BatchNorm1d(last),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(last, CLASSES),
        )

    def features(self, maps: Tensor) -> list[Tensor]:
        """Activations ``(B, C, P)`` after each block, finest first."""
        entry(maps, self.nside, "nested", 1)
        seen = []
        now = maps
        for look, block in zip(self.looks, self.blocks, strict=True):
            after = block(look.analysis(now))
            now = now + after if now.shape == after.shape else after
            seen.append(now)
        return seen

    def forward(self, maps: Tensor) -> Tensor:
        top = self.features(maps)[-1]  # (B, C, P)
        return self.read(torch.cat([top.mean(2), top.amax(2), top.square().mean(2).sqrt()], 1))
