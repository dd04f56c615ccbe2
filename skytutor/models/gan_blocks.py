"""What generators and discriminators of chapter 2 are built from, on the sphere and on the plane alike.

A map is twelve square faces, a picture is one. Both are kept as ``(B, C, F, n, n)`` with F faces of
n x n cells, and the same networks serve both: only the convolution differs, which sees across the
borders of faces or pads a picture with 0.

Shapes: B batch, Z latent, C channels.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from skytutor.healpix.checks import as_integer, one_of
from skytutor.layers.faces import positive
from skytutor.models.game import check_labels, check_latent

Convolution = Callable[[int, int, int], nn.Module]  # channels in, channels out, n


def to_children(x: Tensor) -> Tensor:
    """Every four channels become the four children of each cell: ``(B, 4 C, F, n, n)`` to ``(B, C, F, 2 n, 2 n)``.

    The pixel shuffle [1]_ over the hierarchy.

    Raises:
        ValueError: the channels are no multiple of four.

    .. [1] W. Shi et al., 2016, CVPR (arXiv:1609.05158).
    """
    if x.dim() != 5 or x.shape[1] % 4:
        raise ValueError(f"x must be (B, 4 C, F, n, n), got shape {tuple(x.shape)}")
    n = x.shape[-1]
    x = x.unflatten(1, (-1, 2, 2)).permute(0, 1, 4, 5, 2, 6, 3)  # (B, C, F, n, 2, n, 2)
    return x.reshape(*x.shape[:3], 2 * n, 2 * n)


def to_parents(x: Tensor) -> Tensor:
    """The four children of each cell become channels, ``(B, C, F, 2 n, 2 n)`` to ``(B, 4 C, F, n, n)``: undoes `to_children`."""
    if x.dim() != 5 or x.shape[-1] % 2:
        raise ValueError(f"x must be (B, C, F, 2 n, 2 n), got shape {tuple(x.shape)}")
    x = x.unflatten(-1, (-1, 2)).unflatten(3, (-1, 2))  # (B, C, F, n, 2, n, 2)
    return x.permute(0, 1, 4, 6, 2, 3, 5).flatten(1, 3)  # (B, 4 C, F, n, n)


class ToldNorm(nn.Module):
    """Batch normalisation whose scale and shift are read from what the map is to show [1]_.

    .. [1] V. Dumoulin et al., 2017, ICLR (arXiv:1610.07629).
    """

    def __init__(self, channels: int, told: int):
        super().__init__()
        self.norm = nn.BatchNorm3d(channels, affine=False)
        self.read = nn.Linear(told, 2 * channels)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.read(told)[:, :, None, None, None].chunk(2, 1)
        return self.norm(x) * (1 + scale) + shift


class Level(nn.Module):
    """Twice as fine: each cell spreads over its children, noise if there is any, and a convolution added to all that."""

    def __init__(
        self,
        inside: int,
        outside: int,
        told: int,
        n: int,
        conv: Convolution,
        *,
        noise: bool,
        plain: bool,
    ):
        super().__init__()
        self.norm = ToldNorm(inside, told)
        self.spread = nn.Conv3d(inside, 4 * outside, 1)
        self.noise = nn.Parameter(torch.full((outside, 1, 1, 1), 0.1)) if noise else None
        self.after = None if plain else ToldNorm(outside, told)
        self.conv = None if plain else conv(outside, outside, n)

    def forward(self, x: Tensor, told: Tensor, noise: Tensor | None) -> Tensor:
        x = to_children(self.spread(F.relu(self.norm(x, told))))  # (B, C, F, 2n, 2n)
        if noise is not None:
            x = x + self.noise * noise
        return x if self.conv is None else x + self.conv(F.relu(self.after(x, told)))


class Generator(nn.Module):
    """Latents to F faces of `start` x `start`, then finer level by level; the last convolution joins the finest cells."""

    def __init__(
        self,
        faces: int,
        start: int,
        widths: Sequence[int],
        conv: Convolution,
        latent: int,
        classes: int,
        noise: bool,
        signed: bool,
    ):
        super().__init__()
        widths = positive(**{f"widths[{k}]": w for k, w in enumerate(widths)})
        (latent,) = positive(latent=latent)
        told = latent * (2 if classes else 1)
        self.faces = faces
        self.start = start
        self.dense = latent
        self.classes = classes
        self.signed = signed
        sides = [start * 2**k for k in range(1, len(widths))]
        self.grains = [faces * n * n for n in sides] if noise else []
        self.latent = latent + sum(self.grains)
        self.label = nn.Embedding(classes, latent) if classes else None
        self.spread = nn.Linear(told, widths[0] * faces * start**2)
        pairs = list(zip(widths, widths[1:], sides, strict=False))
        self.levels = nn.ModuleList(
            Level(a, b, told, n, conv, noise=noise, plain=k == len(pairs) - 2)
            for k, (a, b, n) in enumerate(pairs[:-1])
        )
        self.norm = ToldNorm(widths[-2], told)
        self.fine = conv(widths[-2], 4 * widths[-1], sides[-1] // 2)
        self.noise = nn.Parameter(torch.full((widths[-1], 1, 1, 1), 0.1)) if noise else None
        self.last = conv(widths[-1], 1, sides[-1])

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        check_latent(z, self.latent)
        check_labels(labels, self.classes)
        told, *grains = z.split([self.dense, *self.grains], 1)
        told = told if self.label is None else torch.cat([told, self.label(labels)], 1)
        grains = [
            g.view(len(z), 1, self.faces, math.isqrt(g.shape[1] // self.faces), -1) for g in grains
        ] or [None] * (len(self.levels) + 1)
        x = self.spread(told).view(len(z), -1, self.faces, self.start, self.start)
        for level, noise in zip(self.levels, grains, strict=False):
            x = level(x, told, noise)
        x = to_children(self.fine(F.relu(self.norm(x, told))))  # (B, C, F, n, n), n the finest
        x = self.last(F.relu(x if self.noise is None else x + self.noise * grains[-1])).float()
        return x if self.signed else torch.sigmoid(x)


def _moments(x: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over all cells: ``(B, C, F, n, n)`` to ``(B, 2 C)``."""
    x = x.flatten(2)
    return torch.cat([x.mean(2), (x.float().var(2) + 1e-4).sqrt()], 1)


class Discriminator(nn.Module):
    """Children become channels before the first convolution; then a convolution and a step up the tree at each level."""

    def __init__(
        self,
        cells: int,
        side: int,
        widths: Sequence[int],
        conv: Convolution,
        classes: int,
        head: str,
        group: int,
        spectral: bool,
    ):
        super().__init__()
        widths = positive(**{f"widths[{k}]": w for k, w in enumerate(widths)})
        if side % 2 ** (len(widths) // 2 + 1):
            raise ValueError(
                f"side must be divisible by {2 ** (len(widths) // 2 + 1)} for {len(widths)} widths, got {side}"
            )
        if as_integer("group", group) < 0:
            raise ValueError(f"group must be 0 or a number of maps, got {group}")
        self.head = one_of("head", head, allowed=("flat", "pool"))
        self.group = group
        self.classes = classes
        bound = spectral_norm if spectral else nn.Identity()
        self.steps = nn.ModuleList()
        before = 4
        deep = len(widths) // 2
        for k, (wide, up) in enumerate(zip(widths[::2], widths[1::2], strict=True)):
            more = int(group > 1 and k + 1 == deep)  # a channel for the spread of the batch
            self.steps.append(
                nn.ModuleList(
                    [
                        bound(conv(before, wide, side >> (k + 1))),
                        bound(nn.Conv3d(4 * wide + more, up, 1)),
                    ]
                )
            )
            before = up
        seen = before * cells if head == "flat" else 2 * (sum(widths[::2]) + before)
        self.judge = bound(nn.Linear(seen, 1))
        self.label = bound(nn.Embedding(classes, seen)) if classes else None

    def forward(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        check_labels(labels, self.classes)
        # (B, 4, F, n / 2, n / 2)
        x = to_parents(faces)
        levels = []
        for k, (conv, up) in enumerate(self.steps):
            x = F.leaky_relu(conv(x), 0.2)
            levels.append(x)
            x = to_parents(x)
            x = self._with_spread(x) if self.group > 1 and k + 1 == len(self.steps) else x
            x = F.leaky_relu(up(x), 0.2)
        x = (
            x.flatten(1)
            if self.head == "flat"
            else torch.cat([_moments(level) for level in [*levels, x]], 1)
        )
        out = self.judge(x).squeeze(1)
        return out if self.label is None else out + (self.label(labels) * x).sum(1)

    def _with_spread(self, x: Tensor) -> Tensor:
        """One more channel: how much the maps of a group differ, averaged over channels and cells; one number a group."""
        group = math.gcd(len(x), self.group)
        spread = (
            (x.float().unflatten(0, (-1, group)).var(1, unbiased=False) + 1e-6)
            .sqrt()
            .flatten(1)
            .mean(1)
        )
        more = spread.repeat_interleave(group).view(-1, 1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return torch.cat([x, more.to(x.dtype)], 1)
