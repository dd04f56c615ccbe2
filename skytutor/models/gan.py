"""Chapter 2's networks: the published DCGAN on HEALPix, and one whose layers see across base pixels.

Shapes: B batch, Z latent, C channels, P = 12 nside**2 pixels in NESTED order, n nside. Maps ``(B, 1, P)`` in 0..1.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from skytutor.healpix import check_nside
from skytutor.layers.faces import entry, from_faces, to_faces
from skytutor.layers.hierarchy import HierarchicalConv, HierarchicalConvTranspose
from skytutor.layers.pixel import HaloConv


def _check_latent(z: Tensor, size: int) -> Tensor:
    if z.dim() != 2 or z.shape[1] != size or not z.is_floating_point():
        raise ValueError(f"z must be a floating-point tensor (B, {size}), got {z.dtype}, shape {tuple(z.shape)}")
    return z


class PublishedGenerator(nn.Module):
    """The published design: the latent spread over the 12 base pixels, then four transposed hierarchical convolutions [1]_.

    Each pixel of a level comes from its parent alone: what lies beside it in another base pixel is never looked at.

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
        self.latent, self.width = latent, width
        sizes = [width, width // 2, width // 4, width // 8, 1]
        self.spread = nn.Linear(latent, 12 * width)
        self.convs = nn.ModuleList(HierarchicalConvTranspose(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in sizes[:-1])

    def forward(self, z: Tensor) -> Tensor:
        x = self.spread(_check_latent(z, self.latent)).unflatten(1, (self.width, 12))  # (B, C, 12)
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
        self.nside, sizes = check_nside(nside), [1, width, 2 * width, 4 * width]
        if nside < 8:
            raise ValueError(f"nside must be at least 8, got {nside}: each of three levels takes half of it")
        self.convs = nn.ModuleList(HierarchicalConv(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.norms = nn.ModuleList([nn.Identity(), *(nn.BatchNorm1d(size) for size in sizes[2:])])
        self.judge = nn.Linear(sizes[-1] * 12 * (nside // 8) ** 2, 1)

    def forward(self, maps: Tensor) -> Tensor:
        entry(maps, self.nside, "nested", 1)
        x = maps
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)
        return self.judge(x.flatten(1)).squeeze(1)


class _Up(nn.Module):
    """Twice the nside: each pixel becomes its four children, then two halo convolutions, added to the plain copy."""

    def __init__(self, inside: int, outside: int, *, nside: int):
        super().__init__()
        self.first = HaloConv(inside, outside, nside=2 * nside)
        self.second = HaloConv(outside, outside, nside=2 * nside)
        self.skip = nn.Conv3d(inside, outside, 1)
        self.norms = nn.ModuleList([nn.BatchNorm3d(inside), nn.BatchNorm3d(outside)])

    def forward(self, x: Tensor) -> Tensor:
        wide = x.repeat_interleave(2, -1).repeat_interleave(2, -2)  # (B, C, 12, 2n, 2n)
        inner = F.relu(self.norms[0](x)).repeat_interleave(2, -1).repeat_interleave(2, -2)
        return self.skip(wide) + self.second(F.relu(self.norms[1](self.first(inner))))


class HaloGenerator(nn.Module):
    """Latent to nside 2, then up the tree; every convolution has a halo, so base pixels are drawn in sight of each other.

    Arguments:
        nside: of the maps, a power of two of at least 4.
        latent: numbers in.
        width: channels at `nside`; twice that at each level below, at most eight times.
        classes: with labels, their number; 0 for none.

    Example:
        >>> HaloGenerator(8, latent=16, width=8, classes=10)(torch.randn(3, 16), torch.tensor([1, 2, 3])).shape
        torch.Size([3, 1, 768])
    """

    def __init__(self, nside: int, *, latent: int = 64, width: int = 32, classes: int = 0):
        super().__init__()
        if check_nside(nside) < 4:
            raise ValueError(f"nside must be at least 4, got {nside}: the first level has nside 2")
        levels = int(math.log2(nside)) - 1
        sizes = [width * min(8, 2 ** (levels - k)) for k in range(levels + 1)]
        self.latent, self.classes, self.start = latent, classes, sizes[0]
        self.label = nn.Embedding(classes, latent) if classes else None
        self.spread = nn.Linear(latent * (2 if classes else 1), sizes[0] * 48)
        self.ups = nn.ModuleList(_Up(a, b, nside=2 ** (k + 1)) for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)))
        self.norm, self.last = nn.BatchNorm3d(sizes[-1]), HaloConv(sizes[-1], 1, nside=nside)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        z = _check_latent(z, self.latent)
        if (labels is None) != (self.label is None):
            raise ValueError(f"labels must {'not ' if self.label is None else ''}be given: the network was made for {self.classes} classes")
        z = z if self.label is None else torch.cat([z, self.label(labels)], 1)
        x = self.spread(z).unflatten(1, (self.start, 12, 2, 2))  # (B, C, 12, 2, 2)
        for up in self.ups:
            x = up(x)
        return from_faces(torch.sigmoid(self.last(F.relu(self.norm(x)))))


class HaloDiscriminator(nn.Module):
    """Halo convolutions with spectral normalisation, down to nside 2, summed over the sphere.

    The sum makes the judgement the same for a sky turned by 90 degrees about the poles.

    Arguments:
        nside: of the maps, at least 4.
        width: channels at `nside`; twice that at each level below, at most eight times.
        classes: with labels, their number: the label's direction is added to the judgement [1]_. 0 for none.

    Example:
        >>> HaloDiscriminator(8, width=8)(torch.rand(3, 1, 768)).shape
        torch.Size([3])

    .. [1] T. Miyato & M. Koyama, 2018, ICLR.
    """

    def __init__(self, nside: int, *, width: int = 32, classes: int = 0):
        super().__init__()
        if check_nside(nside) < 4:
            raise ValueError(f"nside must be at least 4, got {nside}: the last level has nside 2")
        self.nside, levels = nside, int(math.log2(nside)) - 1
        sizes = [1, *(width * min(8, 2**k) for k in range(levels + 1))]
        self.convs = nn.ModuleList(
            spectral_norm(HaloConv(a, b, nside=nside >> min(k, levels))) for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
        )
        self.judge = spectral_norm(nn.Linear(sizes[-1], 1))
        self.label = spectral_norm(nn.Embedding(classes, sizes[-1])) if classes else None

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        entry(maps, self.nside, "nested", 1)
        if (labels is None) != (self.label is None):
            raise ValueError(f"labels must {'not ' if self.label is None else ''}be given: the network was made for another kind of data")
        x = to_faces(maps, nside=self.nside)  # (B, 1, 12, n, n)
        for k, conv in enumerate(self.convs):
            x = F.leaky_relu(conv(x), 0.2)
            x = F.avg_pool3d(x, (1, 2, 2)) if k + 1 < len(self.convs) else x
        seen = x.sum((2, 3, 4)) / 12  # (B, C)
        out = self.judge(seen).squeeze(1)
        return out if self.label is None else out + (self.label(labels) * seen).sum(1)


def discriminator_loss(real: Tensor, fake: Tensor, *, kind: str = "hinge") -> Tensor:
    """What a discriminator makes small, from its judgements ``(B,)`` of real and of drawn maps.

    "hinge": ``mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))``. "logistic": ``-log sigmoid`` of both, the original game.
    """
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if kind == "logistic":
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    raise ValueError(f"kind must be 'hinge' or 'logistic', got {kind!r}")


def generator_loss(fake: Tensor, *, kind: str = "hinge") -> Tensor:
    """What a generator makes small: ``-mean D(G(z))``, or with "logistic" the non-saturating ``-mean log sigmoid D(G(z))``."""
    if kind not in ("hinge", "logistic"):
        raise ValueError(f"kind must be 'hinge' or 'logistic', got {kind!r}")
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def r1_penalty(judged: Tensor, maps: Tensor) -> Tensor:
    """``mean |grad D(x)|**2 / 2`` at real maps that ask for a gradient; it keeps the game from turning in circles [1]_.

    .. [1] L. Mescheder, A. Geiger & S. Nowozin, 2018, ICML 35.
    """
    if not maps.requires_grad:
        raise ValueError("maps must ask for a gradient: call maps.requires_grad_() before the discriminator")
    (slope,) = torch.autograd.grad(judged.sum(), maps, create_graph=True)
    return slope.square().flatten(1).sum(1).mean() / 2
