"""Chapter 2's starting point: the DCGAN on HEALPix as it was described, which joins no base pixels.

Shapes: B batch, Z latent, C channels, P = 12 nside**2 pixels in NESTED order. Maps ``(B, 1, P)`` in
    0..1.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.healpix import check_nside
from skytutor.layers.faces import check_input
from skytutor.layers.hierarchy import HierarchicalConv, HierarchicalConvTranspose
from skytutor.training.adversarial import check_latent
from skytutor.validate import positive


class PublishedGenerator(nn.Module):
    """The published generator [1]_: from 12 base pixels up by transposed hierarchical convolutions.

    A linear map of the latents gives the channels of the base pixels. From there on each pixel of a
    level is computed from its parent alone, so what lies beside it in another base pixel has no
    influence on it.

    Arguments:
        latent: numbers in.
        width: channels at the base pixels, halved at each level.

    Raises:
        ValueError: a size that is not positive, or a width that eight does not divide.

    Example:
        >>> PublishedGenerator(latent=16, width=32)(torch.randn(3, 16)).shape
        torch.Size([3, 1, 3072])

    .. [1] https://github.com/jibanCat/Conv1d-HEALPix, notes; no code was published.
    """

    classes = 0  # it takes no labels

    def __init__(self, *, latent: int = 64, width: int = 256):
        super().__init__()
        self.latent, self.width = positive(latent=latent, width=width)
        if width % 8:
            raise ValueError(f"width must be divisible by 8, got {width}: it is halved three times")
        sizes = [width, width // 2, width // 4, width // 8, 1]
        # Named as in the pretrained files: `spread` is the linear map to the base pixels.
        self.spread = nn.Linear(latent, 12 * width)
        self.convs = nn.ModuleList(
            HierarchicalConvTranspose(a, b, order="nested") for a, b in pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in sizes[:-1])

    def forward(self, z: Tensor, labels: None = None) -> Tensor:
        """Return generated maps ``(B, 1, 3072)``, NESTED, in 0..1.

        Arguments:
            z: ``(B, Z)``.
            labels: not used; there are no classes.
        """
        x = self.spread(check_latent(z, self.latent)).unflatten(1, (self.width, 12))  # (B, C, 12)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(F.relu(norm(x)))  # half as many channels, four times as many pixels
        return torch.sigmoid(x)


class PublishedDiscriminator(nn.Module):
    """The published discriminator: three hierarchical convolutions and a linear layer.

    Arguments:
        nside: of the maps, 8 or more.
        width: channels of the first level, doubled at each.

    Raises:
        ValueError: an nside that is no power of two, or below 8.

    Example:
        >>> PublishedDiscriminator()(torch.rand(3, 1, 3072)).shape
        torch.Size([3])
    """

    def __init__(self, *, nside: int = 16, width: int = 64):
        super().__init__()
        self.nside = check_nside(nside)
        sizes = [1, width, 2 * width, 4 * width]
        if nside < 8:
            raise ValueError(
                f"nside must be at least 8, got {nside}: each of three levels takes half of it"
            )
        self.convs = nn.ModuleList(
            HierarchicalConv(a, b, order="nested") for a, b in pairwise(sizes)
        )
        # The first level is not normalised, as usual in a DCGAN.
        self.norms = nn.ModuleList([nn.Identity(), *(nn.BatchNorm1d(size) for size in sizes[2:])])
        # Named as in the pretrained files: `judge` is the last linear layer.
        self.judge = nn.Linear(sizes[-1] * 12 * (nside // 8) ** 2, 1)

    def forward(self, maps: Tensor, labels: None = None) -> Tensor:
        """Return the output ``(B,)``, large for maps that are taken for real.

        Arguments:
            maps: ``(B, 1, P)``, NESTED.
            labels: not used; there are no classes.
        """
        check_input(maps, nside=self.nside, order="nested", channels=1)
        x = maps
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)  # a quarter of the pixels
        return self.judge(x.flatten(1)).squeeze(1)
