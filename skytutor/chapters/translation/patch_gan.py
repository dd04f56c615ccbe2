"""The published pair of networks: pix2pix's U-Net and its discriminator of patches [1]_.

Shapes: B scenes, C channels, H pixels along a side.

.. [1] P. Isola et al., 2017, CVPR (arXiv:1611.07004).
"""

import torch
from torch import Tensor, nn

from skytutor.validate import positive

__all__ = ["PatchDiscriminator", "Pix2pixGenerator"]

_SLOPE = 0.2  # of the leaky ReLU below zero
_WEIGHT_DEVIATION = 0.02  # of convolutions before training
_DROPPED = 0.5
_WITH_DROPOUT = 3  # innermost blocks on the way up


def _start(module: nn.Module) -> None:
    """Give weights the deviations that DCGAN and pix2pix begin with."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=_WEIGHT_DEVIATION)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=_WEIGHT_DEVIATION)


def _normalised(channels: int) -> nn.BatchNorm2d:
    """Return a batch normalisation that has no averages: the published code never used them."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


class Pix2pixGenerator(nn.Module):
    """The U-Net of pix2pix: halved by strided convolutions to one pixel, and doubled again.

    Its only noise is dropout. Images are normalised by the statistics of their own batch, in
    training and after it; with the published batch of one, by those of their own pixels.

    Arguments:
        in_channels: C of the input.
        out_channels: C of the answer.
        size: H, a power of 2, of 8 or more.
        width: channels of the finest scale; eight times as many on the coarsest.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, or H no power of 2.

    Example:
        >>> Pix2pixGenerator(2, 3, size=16, width=8)(torch.zeros(1, 2, 16, 16)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, *, size: int = 64, width: int = 64):
        super().__init__()
        positive(in_channels=in_channels, out_channels=out_channels, size=size, width=width)
        halvings = size.bit_length() - 1
        if size != 2**halvings or size < 8:
            raise ValueError(f"size must be a power of 2, of 8 or more, got {size}")
        self.size = size
        widths = [width * min(2**k, 8) for k in range(halvings)]
        self.down = nn.ModuleList()
        before = in_channels
        for k, channels in enumerate(widths):
            layers: list[nn.Module] = [] if k == 0 else [nn.LeakyReLU(_SLOPE)]
            # Neither the image nor the single pixel at the bottom is normalised.
            plain = k in (0, halvings - 1)
            layers.append(nn.Conv2d(before, channels, 4, stride=2, padding=1, bias=plain))
            if not plain:
                layers.append(_normalised(channels))
            self.down.append(nn.Sequential(*layers))
            before = channels
        self.up = nn.ModuleList()
        for k in range(halvings - 2, -1, -1):
            self.up.append(
                self._doubling(before, widths[k], dropped=k >= halvings - 1 - _WITH_DROPOUT)
            )
            before = 2 * widths[k]
        last = nn.ConvTranspose2d(before, out_channels, 4, stride=2, padding=1)
        self.last = nn.Sequential(nn.ReLU(), last, nn.Tanh())
        self.apply(_start)

    @staticmethod
    def _doubling(inputs: int, outputs: int, *, dropped: bool) -> nn.Sequential:
        layers: list[nn.Module] = [
            nn.ReLU(),
            nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
            _normalised(outputs),
        ]
        if dropped:
            layers.append(nn.Dropout(_DROPPED))
        return nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return images between -1 and 1, ``(B, out_channels, H, H)``.

        Arguments:
            images: ``(B, in_channels, H, H)``, between -1 and 1.
        """
        kept = []
        x = images
        for stage in self.down:
            x = stage(x)
            kept.append(x)
        kept.pop()
        for stage in self.up:
            x = torch.cat([stage(x), kept.pop()], dim=1)
        answer: Tensor = self.last(x)
        return answer


class PatchDiscriminator(nn.Module):
    """Tell real from made, patch by patch of 70 by 70 pixels.

    Arguments:
        in_channels: C of condition and answer together.
        width: channels of the first layer.

    Example:
        >>> PatchDiscriminator(5, width=8)(torch.zeros(2, 5, 64, 64)).shape
        torch.Size([2, 1, 6, 6])
    """

    def __init__(self, in_channels: int, *, width: int = 64):
        super().__init__()
        positive(in_channels=in_channels, width=width)
        first = nn.Conv2d(in_channels, width, 4, stride=2, padding=1)
        layers: list[nn.Module] = [first, nn.LeakyReLU(_SLOPE)]
        channels = width
        for stride in (2, 2, 1):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, stride=stride, padding=1, bias=False),
                _normalised(2 * channels),
                nn.LeakyReLU(_SLOPE),
            ]
            channels *= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, padding=1))
        self.apply(_start)

    def forward(self, images: Tensor) -> Tensor:
        """Return a number for each patch, large for a real one, ``(B, 1, h, h)``.

        Arguments:
            images: ``(B, C, H, H)``.
        """
        answer: Tensor = self.layers(images)
        return answer
