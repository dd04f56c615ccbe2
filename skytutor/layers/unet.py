"""A U-Net: what is seen on coarse scales, put together with where it is on fine ones [1]_.

.. [1] O. Ronneberger, P. Fischer & T. Brox, 2015, arXiv:1505.04597.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.inputs import as_input
from skytutor.layers.resnet import ConvUnit
from skytutor.validate import positive
from skytutor.values import is_transformed

__all__ = ["UNet"]


class UNet(nn.Module):
    """Answer each pixel of an image from its surroundings.

    On the way down each scale halves the image by a convolution with stride 2. On the way up images
    are doubled bilinearly, which leaves no pattern of a grid as transposed convolutions do, and put
    beside what stood at that scale on the way down.

    Arguments:
        in_channels: C of the image.
        out_channels: of the answer.
        channels: of the scales, from the finest on; two or more.
        unit: makes convolution, normalisation and activation; default: batch normalisation, Mish.

    Raises:
        TypeError: a number of channels is no integer.
        ValueError: fewer than two scales, or a number of channels below 1.

    Example:
        >>> UNet(5, 2, channels=(8, 16, 24))(torch.zeros(1, 5, 32, 32)).shape
        torch.Size([1, 2, 32, 32])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int] = (16, 32, 48, 64),
        unit: ConvUnit | None = None,
    ):
        super().__init__()
        positive(in_channels=in_channels, out_channels=out_channels)
        if len(channels) < 2:
            raise ValueError(f"channels must hold those of two scales or more, got {channels!r}")
        for width in channels:
            positive(channels=width)
        unit = ConvUnit("batch") if unit is None else unit
        self.in_channels = in_channels
        self.factor = 2 ** (len(channels) - 1)
        self.down = nn.ModuleList()
        before = in_channels
        for k, width in enumerate(channels):
            first = unit(before, width, stride=2 if k else 1)
            self.down.append(nn.Sequential(first, unit(width, width)))
            before = width
        self.up = nn.ModuleList()
        for width in channels[-2::-1]:
            self.up.append(nn.Sequential(unit(before + width, width), unit(width, width)))
            before = width
        self.last = nn.Conv2d(before, out_channels, 1)

    def extra_repr(self) -> str:
        """Return what the sides of an image must be multiples of."""
        return f"sides: multiples of {self.factor}"

    def forward(self, images: Tensor) -> Tensor:
        """Return an answer for each pixel, ``(B, out_channels, H, W)``, float32.

        Arguments:
            images: ``(B, C, H, W)``, H and W multiples of 2 to the number of halvings.

        Raises:
            TypeError: no tensor of floating-point numbers, or another precision than the weights'.
            ValueError: of another shape.
        """
        as_input("images", images, weight=self.last.weight)
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"images must be (B, {self.in_channels}, H, W), got {tuple(images.shape)}"
            )
        height, width = images.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"images must have sides that are multiples of {self.factor}, "
                f"got {height} by {width}"
            )
        # The layout is for speed alone; torch.func.vmap has no layouts, and compilers choose them.
        x = images
        if not (torch.compiler.is_compiling() or is_transformed(images)):
            x = images.contiguous(memory_format=torch.channels_last)
        kept = []
        for stage in self.down:
            x = stage(x)
            kept.append(x)
        kept.pop()
        for stage in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, kept.pop()], dim=1))
        # In full precision: half of it knows a fraction to a per cent.
        with torch.autocast(x.device.type, enabled=False):
            answer: Tensor = self.last(x.to(self.last.weight.dtype))
        return answer
