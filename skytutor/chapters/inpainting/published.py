"""The published network of chapter 6 and its loss, at a size that one core trains: CosmoVAE.

A U-Net of partial convolutions with the bottleneck of a variational autoencoder [1]_. The published
one takes pictures of 400 x 400, has about 250 million weights and 2507 latents, one for each
multipole of l = 2 to 2508. This one takes 64 x 64, has 1.5 million and 128, spread over the
multipoles that such a patch holds.

Shapes: B batch, C channels (1 for maps in muK, 3 for colour pictures), H side of the picture, Z
latents. Masks are True where a pixel is seen.

.. [1] K. Yi et al., 2020 (arXiv:2001.11651).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.layers.partial import PartialConv2d
from skytutor.validate import one_of, positive

__all__ = ["Inpainted", "PartialBlock", "PublishedVAE", "UpBlock", "latent_prior"]

CHANNELS = {"muK": 1, "colour": 3}
KERNELS = (7, 5, 3, 3)  # of the encoder, as published
WIDTHS = (32, 64, 128, 128)
LATENTS = 128
SCALE = 100.0  # muK: about the rms of the sky, so that the network's numbers are of order one


class Inpainted(NamedTuple):
    """What the network says of a batch.

    Attributes:
        maps: ``(B, C, H, H)``, the whole picture as the decoder draws it, in the unit of the input.
        mean: ``(B, Z)``, of each latent's Gaussian.
        log_variance: ``(B, Z)``, of the same.
    """

    maps: Tensor
    mean: Tensor
    log_variance: Tensor


def latent_prior(cl: Tensor, latents: int, *, lmax: float) -> tuple[Tensor, Tensor]:
    """Return the multipoles that latents stand for, and their prior variances.

    The published network has one latent for each multipole, with ``D_l = l (l + 1) C_l / (2 pi)``
    as its variance. Here they stand at equal steps from l = 2 to `lmax`, and D_l is divided by its
    mean: the decoder's first weights take up any common factor.

    Arguments:
        cl: C_l from l = 0, ``(L,)``.
        latents: Z, at least 2.
        lmax: last multipole, at most ``L - 1``.

    Returns:
        multipoles and variances, ``(Z,)`` each, float32.

    Raises:
        ValueError: one latent, or a spectrum that ends below `lmax`.

    Example:
        >>> l, variance = latent_prior(torch.ones(101), 3, lmax=100)
        >>> l.tolist()
        [2.0, 51.0, 100.0]
    """
    if latents < 2 or lmax > len(cl) - 1:
        raise ValueError(
            f"latents must be at least 2 and lmax at most {len(cl) - 1}, the last degree of cl; "
            f"got {latents} and {lmax}"
        )
    l = torch.linspace(2, lmax, latents, dtype=torch.float64)
    d_l = l * (l + 1) * cl.double()[l.round().long()]
    return l.float(), (d_l / d_l.mean()).float()


class PartialBlock(nn.Module):
    """One step of encoder or decoder: partial convolution, batch normalisation, rectifier.

    Arguments:
        in_channels: C.
        out_channels: O.
        kernel_size: side of the window, odd.
        stride: steps between windows.
        padding: as of `skytutor.layers.partial.PartialConv2d`.
        scaling: likewise.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: str = "periodic",
        scaling: str = "exact",
    ):
        super().__init__()
        self.conv = PartialConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            scaling=scaling,
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, maps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps ``(B, O, H', W')`` and their mask ``(B, 1, H', W')``."""
        maps, mask = self.conv(maps, mask)
        # As published: places that are still hidden take part in the statistics.
        return F.relu(self.norm(maps)), mask


class UpBlock(nn.Module):
    """One step of the decoder: double the resolution, join the encoder's maps, convolve.

    Arguments:
        in_channels: of the coarse maps, C.
        skip_channels: of the encoder's maps, S.
        out_channels: O.
        padding: as of `skytutor.layers.partial.PartialConv2d`.
        scaling: likewise.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        padding: str = "periodic",
        scaling: str = "exact",
    ):
        super().__init__()
        self.block = PartialBlock(
            in_channels + skip_channels, out_channels, 3, padding=padding, scaling=scaling
        )

    def forward(self, maps: Tensor, skip: Tensor, skip_mask: Tensor) -> Tensor:
        """Return maps ``(B, O, H, H)``.

        Arguments:
            maps: ``(B, C, H / 2, H / 2)``, seen everywhere: they come from the latents.
            skip: ``(B, S, H, H)`` of the encoder.
            skip_mask: ``(B, 1, H, H)``, where those are seen.
        """
        maps = F.interpolate(maps, scale_factor=2.0)  # (B, C, H, H)
        joined = torch.cat([maps, skip], 1)  # (B, C + S, H, H)
        # Every channel has a mask of its own: the skip connection has the hole, the rest has none.
        seen = torch.ones_like(maps, dtype=torch.bool)
        mask = torch.cat([seen, skip_mask.expand_as(skip)], 1)
        return self.block(joined, mask)[0]


class PublishedVAE(nn.Module):
    """Encoder, latents, decoder, and skip connections that go round the latents.

    Maps in muK lose the mean of their seen pixels on the way in and get it back on the way out;
    colour pictures, between 0 and 1, are taken as they are.

    Arguments:
        prior_variance: of the latents, ``(Z,)``, as of `latent_prior`.
        size: H, a multiple of 16.
        units: "muK", one channel, or "colour", three.
        widths: channels of the four steps of the encoder.
        padding: as of `skytutor.layers.partial.PartialConv2d`.
        scaling: likewise; "published" makes the sums too small by the number of channels.

    Raises:
        TypeError, ValueError: a size that does not fit, four widths missing, an unknown unit.

    Example:
        >>> net = PublishedVAE(torch.ones(8), size=32, widths=(4, 8, 8, 8))
        >>> found = net(torch.zeros(2, 1, 32, 32), torch.ones(2, 1, 32, 32, dtype=torch.bool))
        >>> found.maps.shape, found.mean.shape
        (torch.Size([2, 1, 32, 32]), torch.Size([2, 8]))
    """

    prior_variance: Tensor

    def __init__(
        self,
        prior_variance: Tensor,
        *,
        size: int = 64,
        units: str = "muK",
        widths: Sequence[int] = WIDTHS,
        padding: str = "periodic",
        scaling: str = "exact",
    ):
        super().__init__()
        positive(size=size)
        if size % 2 ** len(KERNELS):
            raise ValueError(f"size must be a multiple of {2 ** len(KERNELS)}, got {size}")
        if len(widths) != len(KERNELS):
            raise ValueError(f"widths must be {len(KERNELS)}, one for each step, got {widths}")
        self.size = size
        self.units = one_of("units", units, allowed=CHANNELS)
        self.register_buffer("prior_variance", prior_variance.float(), persistent=False)
        channels = [CHANNELS[units], *widths]
        options = {"padding": padding, "scaling": scaling}
        self.down = nn.ModuleList(
            PartialBlock(channels[k], channels[k + 1], KERNELS[k], stride=2, **options)
            for k in range(len(KERNELS))
        )
        self.coarsest = (widths[-1], size // 16, size // 16)
        n = widths[-1] * (size // 16) ** 2
        self.to_latent = nn.Linear(n, 2 * len(prior_variance))
        self.from_latent = nn.Linear(len(prior_variance), n)
        # The decoder goes the same way back; its last step ends as wide as the encoder's first.
        outward = [widths[-1], *reversed(widths[:-1]), widths[0]]
        self.up = nn.ModuleList(
            UpBlock(outward[k], channels[-2 - k], outward[k + 1], **options)
            for k in range(len(KERNELS))
        )
        self.last = nn.Conv2d(widths[0], CHANNELS[units], 1)

    def encode(self, maps: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the maps of every resolution with their masks, the input first.

        Arguments:
            maps: ``(B, C, H, H)``, in the network's unit.
            mask: ``(B, 1, H, H)``, boolean.
        """
        features = [(torch.where(mask, maps, 0), mask)]
        for block in self.down:
            features.append(block(*features[-1]))
        return features

    def decode(self, z: Tensor, features: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Draw the picture ``(B, C, H, H)``, in the network's unit.

        Arguments:
            z: ``(B, Z)``.
            features: of `encode`; those of all resolutions but the coarsest go round the latents.
        """
        maps = self.from_latent(z).unflatten(1, self.coarsest)  # (B, O, H / 16, H / 16)
        for block, (skip, mask) in zip(self.up, features[-2::-1], strict=True):
            maps = block(maps, skip, mask)
        maps = self.last(maps)  # (B, C, H, H)
        return maps.sigmoid() if self.units == "colour" else maps

    def forward(self, maps: Tensor, mask: Tensor, z: Tensor | None = None) -> Inpainted:
        """Inpaint.

        Arguments:
            maps: ``(B, C, H, H)``, in muK or colours from 0 to 1; anything where hidden.
            mask: ``(B, 1, H, H)``, boolean.
            z: ``(B, Z)``, latents to decode; None for the encoder's: their mean, or a draw in
                training mode.
        """
        offset, scale = self._offset(maps, mask)
        features = self.encode((maps - offset) / scale, mask)
        mean, log_variance = self.to_latent(features[-1][0].flatten(1)).chunk(2, 1)  # (B, Z)
        if z is None:
            z = mean
            if self.training:
                # Noise outside, width inside: the gradient passes through the draw.
                z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return Inpainted(self.decode(z, features) * scale + offset, mean, log_variance)

    def draw_latents(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw latents ``(n, Z)`` from the prior."""
        white = torch.randn(n, len(self.prior_variance), generator=generator)
        return white.to(self.prior_variance) * self.prior_variance.sqrt()

    def _offset(self, maps: Tensor, mask: Tensor) -> tuple[Tensor | float, float]:
        """Return what is taken away on the way in, and what is divided by."""
        if self.units == "colour":
            return 0.0, 1.0
        # A patch's mean is the largest of its modes: it is the same inside the hole and outside.
        known = torch.where(mask, maps, 0).sum((2, 3), keepdim=True)  # (B, 1, 1, 1)
        return known / mask.sum((2, 3), keepdim=True).clamp(min=1), SCALE
