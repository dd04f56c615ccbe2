"""Chapter 1's rotation-invariant network: convolutions in harmonic space, weights on l alone.

Shapes: B batch, C channels, K = (lmax + 1)**2 real coefficients, P = 12 nside**2 pixels of a level.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.data.digits import CLASSES
from skytutor.layers.faces import check_input
from skytutor.layers.gates import SpinProduct
from skytutor.layers.spectral import SpinConv, ZonalConv
from skytutor.sht import RealHarmonics


class SpectralBlock(nn.Module):
    """Coefficients to maps: zonal convolutions, and products of spin-2 ones, normalised.

    ``out = gelu(norm([Z a, u v*]))``: Z is a zonal convolution, u and v are the two halves of the
    spin-2 fields that a second convolution makes, multiplied as in
    `skytutor.layers.gates.SpinProduct`.

    Arguments:
        in_channels: channels of the coefficients.
        width: zonal channels.
        spins: pairs of spin-2 fields, each of which gives two channels; 0 for none.
        nside: of the maps that come out.
        lmax: of the convolutions; coefficients beyond it are dropped.
        order: "ring" or "nested", the pixel order of the maps.

    Example:
        >>> block = SpectralBlock(3, 8, spins=2, nside=4, lmax=8, order="nested")
        >>> block(torch.randn(5, 3, 81)).shape
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
        order: str,
    ):
        super().__init__()
        self.width = width + 2 * spins  # channels that come out
        self.lmax = lmax
        self.spins = spins
        # Layers are named as in the pretrained files.
        self.zonal = ZonalConv(in_channels, width, lmax=lmax, bias=False)
        self.scalars = RealHarmonics(nside, lmax, order=order)
        self.norm = nn.BatchNorm1d(self.width)
        if spins:
            self.spin = SpinConv(in_channels, 2 * spins, lmax=lmax, source=0)
            self.fields = RealHarmonics(nside, lmax, spin=2, order=order)
            self.product = SpinProduct()

    def forward(self, coefs: Tensor) -> Tensor:
        """Turn real coefficients ``(B, C, K)`` into maps ``(B, width + 2 spins, P)``."""
        # Sorted by l: the first (lmax + 1)**2 are those up to lmax.
        coefs = coefs[..., : (self.lmax + 1) ** 2]
        maps = self.scalars.synthesis(self.zonal(coefs))  # (B, width, P)
        if self.spins:
            u, v = self.fields.synthesis(self.spin(coefs)).chunk(2, 1)  # (B, spins, 2, P) each
            maps = torch.cat([maps, self.product(u, v)], 1)
        return F.gelu(self.norm(maps))


class InvariantNet(nn.Module):
    """A network of blocks in harmonic space whose class scores are invariant under rotations.

    The blocks get coarser from one to the next. At the end stand mean, maximum and rms of each map
    over the sphere. Every step but sampling commutes with rotations, and the read-out does not see
    them. What is left of the rotation is aliasing: a GELU makes harmonics beyond what the pixels
    hold.

    Arguments:
        nside: of the input, NESTED.
        levels: of each block (nside, lmax, zonal channels, spin-2 pairs). Nside and lmax must not
            rise.
        last: features of the layer before the classes.
        dropout: probability of dropping one of those features.

    Raises:
        ValueError: no levels, or one finer than the one before.

    Example:
        >>> net = InvariantNet(4, levels=((4, 8, 4, 1), (2, 4, 8, 2)), last=16)
        >>> net(torch.rand(3, 1, 192)).shape
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
        sizes = [(nside, 3 * nside - 1)]  # (nside, lmax) of the input and of each block
        sizes += [(level[0], level[1]) for level in levels]
        for before, after in pairwise(sizes):
            if after[0] > before[0] or after[1] > before[1]:
                raise ValueError(f"levels must not get finer: (nside, lmax) {after} after {before}")
        self.blocks = nn.ModuleList()
        self.analysis = nn.ModuleList()  # maps of the block before to coefficients of this one
        channels = 1
        input_nside = nside
        for block_nside, lmax, width, spins in levels:
            self.analysis.append(RealHarmonics(input_nside, lmax, order="nested"))
            block = SpectralBlock(
                channels, width, spins=spins, nside=block_nside, lmax=lmax, order="nested"
            )
            self.blocks.append(block)
            channels = block.width
            input_nside = block_nside
        self.read = nn.Sequential(
            nn.Linear(3 * channels, last),
            nn.BatchNorm1d(last),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(last, CLASSES),
        )

    def features(self, maps: Tensor) -> list[Tensor]:
        """Return the activations ``(B, C, P)`` after each block, finest first.

        Arguments:
            maps: ``(B, 1, P)``.
        """
        check_input(maps, nside=self.nside, order="nested", channels=1)
        activations = []
        x = maps
        for harmonics, block in zip(self.analysis, self.blocks, strict=True):
            assert isinstance(harmonics, RealHarmonics)
            out = block(harmonics.analysis(x))
            # A residual connection wherever the shapes allow it.
            x = x + out if x.shape == out.shape else out
            activations.append(x)
        return activations

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps ``(B, 1, P)`` into class scores ``(B, 10)``."""
        last = self.features(maps)[-1]  # (B, C, P)
        # Sums over the whole sphere and its maximum do not change under rotations.
        pooled = [last.mean(2), last.amax(2), last.square().mean(2).sqrt()]
        return self.read(torch.cat(pooled, 1))
