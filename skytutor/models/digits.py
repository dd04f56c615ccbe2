"""Chapter 1's networks: the published Conv1D network and a residual one that sees across borders.

Shapes: B batch, C channels, P = 12 nside**2 pixels, n nside. Input: maps ``(B, 1, P)`` in NESTED
    order.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.healpix import check_nside, face_table
from skytutor.healpix.checks import one_of
from skytutor.layers.faces import entry, faces_from
from skytutor.layers.pixel import HaloConv, HierarchicalConv
from skytutor.layers.polar import OwnRings, WrapConv

CLASSES = 10


class PublishedConv1d(nn.Module):
    """The Conv1D network of jibanCat (2018) [1]_: two hierarchical convolutions, two dense layers; 403,050 weights.

    Arguments:
        softmax: end in a softmax as published. The loss takes the logarithm of a second softmax, so
            the output of the first, confined to 0..1, can never say more than e : 1 for a class.
            False gives plain logits.

    Example:
        >>> sum(p.numel() for p in PublishedConv1d().parameters())
        403050

    .. [1] https://github.com/jibanCat/Conv1d-HEALPix
    """

    def __init__(self, *, softmax: bool = True):
        super().__init__()
        self.softmax = softmax
        self.conv1 = HierarchicalConv(1, 32)  # nside 8 -> 4
        self.conv2 = HierarchicalConv(32, 64)  # nside 4 -> 2
        self.fc1 = nn.Linear(48 * 64, 128)
        self.fc2 = nn.Linear(128, CLASSES)

    def forward(self, maps: Tensor) -> Tensor:
        entry(maps, 8, "nested", 1)
        x = F.relu(self.conv1(maps))  # (B, 32, 192)
        x = F.relu(self.conv2(x))  # (B, 64, 48)
        x = F.relu(self.fc1(x.flatten(1)))  # (B, 128)
        x = self.fc2(F.dropout(x, training=self.training))  # (B, 10)
        return x.softmax(1) if self.softmax else x


class Residual(nn.Module):
    """Convolutions with batch normalisation, one after another, added to their input."""

    def __init__(self, convs: Iterable[nn.Module], norms: Iterable[nn.Module]):
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norms[0](self.convs[0](x))  # the shape of x throughout
        for conv, norm in zip(self.convs[1:], self.norms[1:], strict=True):
            inner = norm(conv(F.relu(inner)))
        return F.relu(x + inner)


def _halo_block(channels: int, *, nside: int, depth: int) -> Residual:
    convs = (HaloConv(channels, channels, nside=nside, bias=False) for _ in range(depth))
    return Residual(convs, (nn.BatchNorm3d(channels) for _ in range(depth)))


def _ring_block(channels: int, *, depth: int) -> Residual:
    return Residual(
        (WrapConv(channels, channels) for _ in range(depth)),
        (nn.BatchNorm2d(channels) for _ in range(depth)),
    )


class HaloNet(nn.Module):
    """A residual network on faces: a halo convolution, then steps up the tree with a residual block after each.

    The stem works at `nside`, block k at ``nside / 2**(k + 1)``. Every layer but the last sees
    across the borders of base pixels and of parents.

    Arguments:
        nside: resolution of the input.
        stem: channels of the first convolution.
        widths: channels of each block.
        depths: convolutions in each block.
        head: "flat" reads every pixel of the last level in its place; "pool" takes mean and maximum
            over the sphere, which makes the answer exactly invariant under the rotations by 90
            degrees about the poles.
        dropout: before the last layer.

    Raises:
        ValueError: more levels than the map has, widths and depths of different length, or an
            unknown head.

    Example:
        >>> HaloNet(8, stem=8, widths=(8, 16), depths=(1, 1), head="pool")(torch.zeros(3, 1, 768)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        nside: int,
        *,
        stem: int,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        head: str = "flat",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.nside = check_nside(nside)
        self.head = head
        last = nside >> len(widths)
        one_of("head", head, allowed=("flat", "pool"))
        if len(widths) != len(depths) or not widths or last < 1:
            raise ValueError(
                f"widths and depths must be 1 to {nside.bit_length() - 1} levels each, got {widths}, {depths}"
            )
        if min(depths) < 1:
            raise ValueError(f"depths must be at least 1 each, got {depths}")
        self.register_buffer("table", face_table(nside, order="nested"), persistent=False)
        self.stem = HaloConv(1, stem, nside=nside, bias=False)
        self.norm = nn.BatchNorm3d(stem)
        self.levels = nn.ModuleList()
        for k, (before, width, depth) in enumerate(
            zip((stem, *widths), widths, depths, strict=False)
        ):
            up = [
                HierarchicalConv(before, width, order="face", bias=False),
                nn.BatchNorm3d(width),
                nn.ReLU(),
            ]
            self.levels.append(
                nn.Sequential(*up, _halo_block(width, nside=nside >> (k + 1), depth=depth))
            )
        self.dropout = nn.Dropout(dropout)
        self.read = nn.Linear(widths[-1] * (12 * last**2 if head == "flat" else 2), CLASSES)

    def features(self, maps: Tensor) -> list[Tensor]:
        """Activations ``(B, C, 12, n, n)`` of every level, finest first: what the network sees of the sky."""
        entry(maps, self.nside, "nested", 1)
        faces = faces_from(maps, self.table, self.nside)  # (B, 1, 12, n, n)
        seen = [F.relu(self.norm(self.stem(faces)))]
        for level in self.levels:
            seen.append(level(seen[-1]))
        return seen

    def forward(self, maps: Tensor) -> Tensor:
        top = self.features(maps)[-1].flatten(2)  # (B, C, 12 n n)
        read = top.flatten(1) if self.head == "flat" else torch.cat([top.mean(2), top.amax(2)], 1)
        return self.read(self.dropout(read))  # (B, 10)


class RingNet(nn.Module):
    """See each map in rings around its own centre, convolve, and forget the angle only at the very end.

    Whatever angle the object is turned by about its centre becomes a shift of columns, up to the
    frame's half turn. The convolutions shift along, and the mean and the maximum over the columns
    do not care. So the answer to a turned sky is the answer to the sky itself, but for what
    interpolation blurs; which end of the axis is up changes nothing.

    Arguments:
        nside: of the maps.
        rings: of the picture, as in `skytutor.layers.polar.OwnRings`; so are columns and reach_deg.
        columns: along each ring.
        reach_deg: from the centre to the edge.
        widths: channels of each level, from the full picture up; each level is half as fine as the
            one before.
        depths: convolutions in the residual block of each level.
        last: channels of the layer that reads all rings at once.
        dropout: before the last layer.

    Raises:
        ValueError: widths and depths of different length, or rings and columns that cannot be
            halved so often (columns once more, for the half turn).

    Example:
        >>> RingNet(8, rings=8, columns=16, widths=(4, 8), depths=(1, 1), last=16)(torch.rand(3, 1, 768)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        nside: int,
        *,
        rings: int,
        columns: int,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        last: int,
        reach_deg: float = 90.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        if len(widths) != len(depths) or not widths or min(depths) < 1:
            raise ValueError(
                f"widths and depths must be as many, at least one, depths from 1 up; got {widths}, {depths}"
            )
        step = 2 ** (len(widths) - 1)
        self.look = OwnRings(nside, rings=rings, columns=columns, reach_deg=reach_deg)
        if rings % step or columns % (2 * step):
            raise ValueError(
                f"rings must be a multiple of {step} and columns of {2 * step}, got {rings} and {columns}"
            )
        levels = [
            WrapConv(1, widths[0]),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
            _ring_block(widths[0], depth=depths[0]),
        ]
        for before, width, depth in zip(widths, widths[1:], depths[1:], strict=False):
            levels += [
                nn.Conv2d(before, width, 2, stride=2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            levels.append(_ring_block(width, depth=depth))
        self.levels = nn.Sequential(*levels)
        self.join = nn.Conv2d(widths[-1], last, (rings // step, 3), bias=False)
        self.norm = nn.BatchNorm2d(last)
        self.dropout = nn.Dropout(dropout)
        self.read = nn.Linear(2 * last, CLASSES)
        self.to(memory_format=torch.channels_last)  # as the pictures are: a tenth faster

    def read_rings(self, pictures: Tensor) -> Tensor:
        """Class scores ``(B, 10)`` of pictures ``(B, 1, R, A)``."""
        if pictures.shape[1:] != (1, *self.look.shape):
            raise ValueError(
                f"pictures must be (B, 1, {self.look.shape[0]}, {self.look.shape[1]}), got {tuple(pictures.shape)}"
            )
        x = self.levels(pictures.contiguous(memory_format=torch.channels_last))  # (B, C, r, a)
        x = torch.cat([x[..., -1:], x, x[..., :1]], -1)  # (B, C, r, a + 2)
        x = F.relu(self.norm(self.join(x))).squeeze(2)  # (B, last, a)
        return self.read(self.dropout(torch.cat([x.mean(2), x.amax(2)], 1)))

    def forward(self, maps: Tensor) -> Tensor:
        return self.read_rings(self.look(maps))
