"""Chapter 2's starting point: the DCGAN on HEALPix as it was described, in which base pixels never meet.

Shapes: B batch, Z latent, C channels, P = 12 nside**2 pixels in NESTED order. Maps ``(B, 1, P)`` in
    0..1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.healpix import check_nside
from skytutor.layers.faces import entry, positive
from skytutor.layers.hierarchy import HierarchicalConv, HierarchicalConvTranspose
from skytutor.models.game import check_latent


class PublishedGenerator(nn.Module):
    """The published design: the latent spread over the 12 base pixels, then four transposed hierarchical convolutions [1]_.

    Each pixel of a level comes from its parent alone: what lies beside it in another base pixel is
    never looked at.

    Arguments:
        latent: numbers in.
        width: channels at the base pixels, halved at each level.

    Example:
        >>> PublishedGenerator(latent=16, width=32)(torch.randn(3, 16)).shape
        torch.Size([3, 1, 3072])

    .. [1] https://github.com/jibanCat/Conv1d-HEALPix, notes; no code was published.
    """

    def __init__(self, *, latent: int = 64, width: int = 256):
        super().__init__()
        self.latent, self.width = positive(latent=latent, width=width)
        if width % 8:
            raise ValueError(f"width must be divisible by 8, got {width}: it is halved three times")
        sizes = [width, width // 2, width // 4, width // 8, 1]
        self.spread = nn.Linear(latent, 12 * width)
        self.convs = nn.ModuleList(
            HierarchicalConvTranspose(a, b) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in sizes[:-1])

    def forward(self, z: Tensor, labels: None = None) -> Tensor:
        x = self.spread(check_latent(z, self.latent)).unflatten(1, (self.width, 12))  # (B, C, 12)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(F.relu(norm(x)))  # four times the pixels
        return torch.sigmoid(x)


class PublishedDiscriminator(nn.Module):
    """Three hierarchical convolutions, each four times fewer pixels, and one number: the published design.

    Arguments:
        nside: of the maps, 8 or more.
        width: channels of the first level, doubled at each.

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
            HierarchicalConv(a, b) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.norms = nn.ModuleList([nn.Identity(), *(nn.BatchNorm1d(size) for size in sizes[2:])])
        self.judge = nn.Linear(sizes[-1] * 12 * (nside // 8) ** 2, 1)

    def forward(self, maps: Tensor, labels: None = None) -> Tensor:
        entry(maps, self.nside, "nested", 1)
        x = maps
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)
        return self.judge(x.flatten(1)).squeeze(1)
