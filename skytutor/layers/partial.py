"""Convolution over the seen pixels of a picture with holes.

A partial convolution [1]_ leaves hidden pixels out of the sum and scales what is left up to the
whole window. What stands behind the mask has no influence, be it NaN.

Shapes: B batch, C channels in, O channels out, H and W the sides of the picture. A mask is True
where a pixel is seen.

.. [1] G. Liu et al., 2018, ECCV (arXiv:1804.07723), equations 1 and 2.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.arrays import as_tensor, split_masked
from skytutor.healpix import check_values
from skytutor.inputs import as_input
from skytutor.validate import hard_mask, one_of, positive

__all__ = ["PartialConv2d", "check_seen"]

PADDINGS = ("periodic", "zero")
SCALINGS = ("exact", "published")


def check_seen(mask: Tensor, maps: Tensor) -> Tensor:
    """Return a mask of seen pixels as booleans, if it fits the maps.

    Arguments:
        mask: ``(B, 1, H, W)``, one for all channels, or ``(B, C, H, W)``; a batch of 1 stands for
            any. Booleans, or numbers that are all 0 or 1; 1 is seen.
        maps: ``(B, C, H, W)``.

    Returns:
        the mask, boolean, of the shape that came in.

    Raises:
        TypeError: no numbers.
        ValueError: another shape, or values between 0 and 1.
    """
    maps = as_tensor("maps", maps)
    mask = as_tensor("mask", mask, like=maps)
    fits = mask.ndim == maps.ndim == 4 and mask.shape[0] in (1, maps.shape[0])
    if not fits or mask.shape[1] not in (1, maps.shape[1]) or mask.shape[2:] != maps.shape[2:]:
        raise ValueError(
            "mask must be (B, 1, H, W) or (B, C, H, W) of the maps, "
            f"{tuple(maps.shape)}; got {tuple(mask.shape)}"
        )
    return hard_mask(mask)


class PartialConv2d(nn.Module):
    """Convolve the seen pixels and scale the sum by how much of the window they are.

    ``out = bias + (k k C / n) sum_seen weight * maps`` where n counts the seen entries of the
    window, over its k k pixels and C channels; where n = 0 the output is 0 and stays hidden. With
    a full mask it is ``Conv2d``. A constant picture under an averaging kernel stays constant
    wherever anything is seen.

    Arguments:
        in_channels: C.
        out_channels: O.
        kernel_size: side of the window, odd.
        stride: steps between windows.
        padding: "periodic" joins opposite sides; "zero" counts pixels beyond the border as hidden.
        scaling: "exact", or "published": k k / n, without the channels [1]_, which makes the output
            C times too small if the mask has C channels.
        bias: whether to add a learned constant to each output channel, after the scaling.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, an even window, an unknown
            padding or scaling.

    Example:
        >>> conv = PartialConv2d(1, 4, 3, padding="periodic")
        >>> maps, mask = conv(torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8))
        >>> maps.shape, mask.shape
        (torch.Size([2, 4, 8, 8]), torch.Size([2, 1, 8, 8]))

    .. [1] https://github.com/MathiasGruber/PConv-Keras, on which CosmoVAE (arXiv:2001.11651) builds
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: str,
        stride: int = 1,
        scaling: str = "exact",
        bias: bool = True,
    ):
        super().__init__()
        positive(in_channels=in_channels, out_channels=out_channels)
        positive(kernel_size=kernel_size, stride=stride)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.in_channels = in_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = one_of("padding", padding, allowed=PADDINGS)
        self.scaling = one_of("scaling", scaling, allowed=SCALINGS)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(in_channels * kernel_size**2)
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, maps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve what is seen.

        Arguments:
            maps: ``(B, C, H, W)``, anything where hidden. A masked array does too: it becomes a
                tensor, and its own mask hides pixels as well.
            mask: ``(B, 1, H, W)`` or ``(B, C, H, W)``, as in `check_seen`.

        Returns:
            maps ``(B, O, H', W')``, 0 where hidden, and their mask ``(B, 1, H', W')``, boolean: a
            pixel is seen if any entry of its window was.

        Raises:
            TypeError, ValueError: maps of another shape, a mask that does not fit, or NaN, infinite
                or UNSEEN pixels where seen: looked for in what asks for no gradient.
        """
        filled, mask = split_masked("maps", maps, mask)
        # A layer works on tensors: of arrays it takes those alone that say what is seen.
        maps = maps if filled is maps else as_tensor("maps", filled, like=self.weight)
        self._check(maps)
        seen = check_seen(mask, maps).expand(-1, self.in_channels, -1, -1)
        # `where` and not a product: NaN times 0 would be NaN.
        kept = torch.where(seen, maps, 0)
        # Values are looked at where pictures enter a network, not between its layers.
        if not kept.requires_grad:
            check_values(kept, name="maps, where seen,", axes=2)
        total = self._convolve(kept, self.weight)  # (B, O, H', W')
        # Count the seen entries of each window: over channels first, then over its pixels.
        counts = seen.sum(1, keepdim=True).to(maps.dtype)  # (B, 1, H, W)
        counts = self._convolve(counts, torch.ones_like(self.weight[:1, :1]))  # (B, 1, H', W')
        whole = self.kernel_size**2
        if self.scaling == "exact":
            whole = whole * self.in_channels
        out = total * (whole / counts.clamp(min=1))
        # The constant comes after the scaling, which would change it from window to window.
        if self.bias is not None:
            out = out + self.bias[:, None, None]
        known = counts > 0
        return torch.where(known, out, 0), known

    def _convolve(self, maps: Tensor, weight: Tensor) -> Tensor:
        """Return a convolution that keeps the size (stride 1), padded as `padding` says."""
        margin = self.kernel_size // 2
        mode = "circular" if self.padding == "periodic" else "constant"
        return F.conv2d(F.pad(maps, (margin,) * 4, mode=mode), weight, stride=self.stride)

    def _check(self, maps: Tensor) -> None:
        """Refuse maps that are not ``(B, C, H, W)`` or smaller than the padding needs."""
        as_input("maps", maps, weight=self.weight)
        if maps.ndim != 4 or maps.shape[1] != self.in_channels:
            raise ValueError(f"maps must be (B, {self.in_channels}, H, W), got {tuple(maps.shape)}")
        least = self.kernel_size // 2
        if self.padding == "periodic" and min(maps.shape[2:]) < least:
            raise ValueError(
                f"maps must be at least {least} pixels wide for a periodic window of "
                f"{self.kernel_size}, got {tuple(maps.shape[2:])}"
            )

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return (
            f"{self.in_channels}, {len(self.weight)}, {self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, scaling={self.scaling!r}, bias={self.bias is not None}"
        )
