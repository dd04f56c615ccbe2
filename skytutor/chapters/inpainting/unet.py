r"""A feed-forward U-Net that begins at the biharmonic fill and corrects it in one pass.

The best fill of a Gaussian sky is linear in the data; the mask alone sets its coefficients
(`skytutor.fields.holes`). So is this network: convolutions without bias carry the data, and no
activation bends them; gates that a small network reads off the mask multiply every channel,

.. math:: y_c = g_c(m) \, (K_c * x), \qquad 0 < g_c < 2.

A U-Net with activations on the data would have to learn that twice the data make twice the fill.
The correction is multiplied by the error to be expected at a pixel, which is small near the edge of
a hole: a network that has learned little leaves small holes nearly alone.

Shapes: B maps, C channels, patches of H x H pixels that continue over their edges.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skytutor.chapters.inpainting.networks import edge_distance
from skytutor.fields.flat import laplacian
from skytutor.fields.holes import DenseHole, check_hard_mask

__all__ = ["ExpectedError", "GatedConv", "MaskFeatures", "UNetFill", "Views", "biharmonic_fill"]

# Standard deviations in muK of a patch of set-up B around its mean, of its Laplacian, and of the
# Laplacian of that: inputs of one size train at one speed.
_SIZES = (93.0, 71.0, 236.0)
# Error to be expected d pixels from the edge: _ERROR (1 - exp(-d / _REACH)). It follows the least
# RMSE of set-up B over discs of d pixels to a quarter or so, from 5 arcmin to 3 degrees.
_ERROR = 100.0  # muK
_REACH = 11.0  # pixels


def biharmonic_fill(data: Tensor, mask: Tensor) -> Tensor:
    """Fill holes with the smoothest surface through their edge, the thin plate.

    Arguments:
        data: ``(..., H, H)``; what stands in hidden pixels does not count.
        mask: ``(H, H)`` or of the shape of `data`, True where seen.

    Returns:
        of the shape of `data`.

    Example:
        >>> mask = torch.ones(8, 8, dtype=torch.bool)
        >>> mask[3, 4] = False
        >>> float(biharmonic_fill(torch.full((8, 8), 7.0), mask)[3, 4])
        7.0
    """
    seen = check_hard_mask(mask, size=data.shape[-1])
    precision = laplacian(data.shape[-1], 2)
    if seen.dim() == 2:
        return DenseHole(precision, seen).fill(data)
    filled = []
    masks = seen.expand(data.shape).flatten(0, -3)
    for one, its_mask in zip(data.flatten(0, -3), masks, strict=True):
        filled.append(DenseHole(precision, its_mask).fill(one))
    return torch.stack(filled).reshape(data.shape)


class Views(nn.Module):
    """Show maps in three ways of about unit variance: around their mean, and two derivatives.

    A small hole is decided by small differences between pixels next to it; a derivative holds them
    undisturbed by what varies over degrees.

    Example:
        >>> Views()(torch.ones(2, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)).abs().max()
        tensor(0.)
    """

    def forward(self, start: Tensor, mask: Tensor) -> Tensor:
        """Return ``(B, 3, H, H)``, linear in `start`.

        Arguments:
            start: filled maps ``(B, H, H)`` in muK.
            mask: ``(B or 1, H, H)`` bool, True where seen; the mean is that of the seen pixels.
        """
        seen = mask.to(start)
        mean = (start * seen).sum((-2, -1), keepdim=True) / seen.sum((-2, -1), keepdim=True)
        x = start - mean
        slope = _five_point(x)
        shown = (x, slope, _five_point(slope))
        return torch.stack([view / size for view, size in zip(shown, _SIZES, strict=True)], 1)


def _five_point(x: Tensor) -> Tensor:
    """Return minus the Laplacian of maps: four times a pixel, less its four neighbours."""
    return 4 * x - x.roll(1, -1) - x.roll(-1, -1) - x.roll(1, -2) - x.roll(-1, -2)


def _circular(inputs: int, outputs: int, size: int, *, bias: bool = True) -> nn.Conv2d:
    """Return a convolution for patches that continue over their edges."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="circular", bias=bias)


class MaskFeatures(nn.Module):
    """Describe the mask around every pixel, at every resolution of the U-Net.

    Arguments:
        channels: C of the answers.
        levels: number of resolutions, each half of the one before.

    Example:
        >>> mask = torch.ones(1, 16, 16, dtype=torch.bool)
        >>> mask[0, 3, 4] = False
        >>> [tuple(f.shape) for f in MaskFeatures(8, levels=2)(mask)]
        [(1, 8, 16, 16), (1, 8, 8, 8)]
    """

    def __init__(self, channels: int, *, levels: int):
        super().__init__()
        self.first = nn.Sequential(_circular(3, channels, 3), nn.GELU())
        self.levels = nn.ModuleList()
        for _ in range(levels):
            self.levels.append(nn.Sequential(_circular(channels, channels, 3), nn.GELU()))

    def forward(self, mask: Tensor) -> list[Tensor]:
        """Return C features at each resolution, the finest first.

        Arguments:
            mask: ``(B, H, H)`` bool, True where seen.
        """
        distance = edge_distance(mask).clamp(min=0)
        # Hidden or not; far from the edge or not, on two scales.
        near = 1 - (-distance / 2).exp()
        x = torch.stack([(~mask).to(distance), near, expected_error(distance)], 1)
        x = self.first(x.to(next(self.parameters()).dtype))
        features = []
        for level, convolution in enumerate(self.levels):
            x = convolution(F.avg_pool2d(x, 2) if level else x)
            features.append(x)
        return features


def expected_error(distance: Tensor) -> Tensor:
    """Return about which part of its largest value the error of a good fill has, 0 to 1.

    Arguments:
        distance: to the nearest seen pixel, in pixels; 0 where seen.

    Example:
        >>> expected_error(torch.tensor([0.0, 1.0, 26.0]))
        tensor([0.0000, 0.0869, 0.9059])
    """
    return 1 - (-distance / _REACH).exp()


class ExpectedError(nn.Module):
    """Give the scale of the correction in muK: 0 in seen pixels, more the deeper inside a hole.

    Example:
        >>> mask = torch.tensor([[[True, False], [True, True]]])
        >>> ExpectedError()(mask)
        tensor([[[0.0000, 8.6899],
                 [0.0000, 0.0000]]])
    """

    def forward(self, mask: Tensor) -> Tensor:
        """Return ``(B, H, H)`` in muK.

        Arguments:
            mask: ``(B, H, H)`` bool, True where seen.
        """
        return _ERROR * expected_error(edge_distance(mask).clamp(min=0))


class GatedConv(nn.Module):
    """Convolve, and multiply each pixel and channel by what the mask there asks for.

    Arguments:
        inputs: channels that come in.
        outputs: channels that go out.
        features: channels that describe the mask.

    Example:
        >>> layer = GatedConv(2, 5, features=8)
        >>> x, features = torch.randn(1, 2, 6, 6), torch.randn(1, 8, 6, 6)
        >>> torch.allclose(layer(3 * x, features), 3 * layer(x, features), atol=1e-5)
        True
    """

    def __init__(self, inputs: int, outputs: int, *, features: int):
        super().__init__()
        self.convolution = _circular(inputs, outputs, 3, bias=False)
        self.gate = nn.Conv2d(features, outputs, 1)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Return ``(B, outputs, H, H)``, linear in x.

        Arguments:
            x: ``(B, inputs, H, H)``.
            features: ``(B or 1, features, H, H)``.
        """
        # About 1 at first; bounded, for a product of many gates could grow without end.
        return self.convolution(x) * (2 * torch.sigmoid(self.gate(features)))


class UNetFill(nn.Module):
    """Correct a biharmonic fill: down to a coarse view and up again, linear in the data.

    Arguments:
        widths: channels at each resolution, the finest first.
        features: channels that describe the mask.

    Example:
        >>> mask = torch.ones(16, 16, dtype=torch.bool)
        >>> mask[4:7, 4:7] = False
        >>> UNetFill(widths=(4, 8)).fill(torch.randn(5, 16, 16), mask).shape
        torch.Size([5, 16, 16])
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96), *, features: int = 8):
        super().__init__()
        self.mask = MaskFeatures(features, levels=len(widths))
        self.views = Views()
        self.scale = ExpectedError()
        self.first = _circular(len(_SIZES), widths[0], 5, bias=False)
        self.down = nn.ModuleList([GatedConv(widths[0], widths[0], features=features)])
        self.narrow = nn.ModuleList()
        self.up = nn.ModuleList()
        for fine, coarse in pairwise(widths):
            self.down.append(GatedConv(fine, coarse, features=features))
            self.narrow.append(GatedConv(coarse, fine, features=features))
            self.up.append(GatedConv(fine, fine, features=features))
        self.last = _circular(widths[0], 1, 5, bias=False)
        # Before it is trained the network answers with the fill that it begins from.
        nn.init.zeros_(self.last.weight)

    def forward(self, start: Tensor, mask: Tensor) -> Tensor:
        """Return corrected maps.

        Arguments:
            start: ``(B, H, H)`` in muK, hidden pixels filled by `biharmonic_fill`; H must be a
                multiple of 2 for each halving of the resolution.
            mask: ``(H, H)`` or ``(B, H, H)``, True where seen.

        Raises:
            ValueError: a size that cannot be halved so often.
        """
        self._check_size(start.shape[-1])
        seen = mask.bool().reshape(-1, *mask.shape[-2:])
        features = self.mask(seen)
        x = self.first(self.views(start.to(self.last.weight.dtype), seen))
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x, features[level])
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = F.interpolate(self.narrow[level](x, features[level + 1]), scale_factor=2)
            x = self.up[level](skips[level] + x, features[level])
        # Scaled by the error to be expected: nothing changes in seen pixels.
        correction = self.scale(seen) * self.last(x)[:, 0]
        return start + correction.to(start)

    def fill(self, data: Tensor, mask: Tensor) -> Tensor:
        """Return data ``(..., H, H)``, hidden pixels filled.

        Arguments:
            data: in muK; what stands in hidden pixels does not count.
            mask: ``(H, H)`` or of the shape of `data`, True where seen.
        """
        start = biharmonic_fill(data, mask)
        flat = start.reshape(-1, *start.shape[-2:])
        masks = mask if mask.dim() == 2 else mask.expand(data.shape).reshape(flat.shape)
        return self(flat, masks).reshape(data.shape)

    def _check_size(self, size: int) -> None:
        factor = 2 ** len(self.up)
        if size % factor:
            raise ValueError(
                f"maps must have a multiple of {factor} pixels along a side, got {size}: "
                f"the resolution is halved {len(self.up)} times"
            )
