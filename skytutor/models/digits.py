"""Chapter 1's networks: the published Conv1D network and a residual one that sees across borders.

Shapes: B batch, C channels, P = 12 nside**2 pixels, n nside. Input: maps ``(B, 1, P)`` in NESTED order.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.healpix import check_nside, face_table
from skytutor.layers.faces import entry, faces_from
from skytutor.layers.pixel import HaloConv, HierarchicalConv
from skytutor.layers.rotate import Rotate, own_frame

CLASSES = 10


class PublishedConv1d(nn.Module):
    """The Conv1D network of jibanCat (2018) [1]_: two hierarchical convolutions, two dense layers; 403,050 weights.

    Arguments:
        softmax: end in a softmax as published. The loss takes the logarithm of a second softmax, so the output
            of the first, confined to 0..1, can never say more than e : 1 for a class. False gives plain logits.

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
    """`depth` 9-neighbour convolutions with batch normalisation, added to their input; faces in and out."""

    def __init__(self, channels: int, *, nside: int, depth: int):
        super().__init__()
        self.convs = nn.ModuleList(HaloConv(channels, channels, nside=nside, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm3d(channels) for _ in range(depth))

    def forward(self, faces: Tensor) -> Tensor:
        inner = self.norms[0](self.convs[0](faces))  # (B, C, 12, n, n)
        for conv, norm in zip(self.convs[1:], self.norms[1:], strict=True):
            inner = norm(conv(F.relu(inner)))  # (B, C, 12, n, n)
        return F.relu(faces + inner)


class HaloNet(nn.Module):
    """A residual network on faces: a halo convolution, then steps up the tree with a residual block after each.

    The stem works at `nside`, block k at ``nside / 2**(k + 1)``. Every layer but the last sees across the borders
    of base pixels and of parents.

    Arguments:
        nside: resolution of the input.
        stem: channels of the first convolution.
        widths: channels of each block.
        depths: convolutions in each block.
        head: "flat" reads every pixel of the last level in its place; "pool" takes mean and maximum over the
            sphere, which makes the answer exactly invariant under the rotations by 90 degrees about the poles.
        dropout: before the last layer.

    Raises:
        ValueError: more levels than the map has, widths and depths of different length, or an unknown head.

    Example:
        >>> HaloNet(8, stem=8, widths=(8, 16), depths=(1, 1), head="pool")(torch.zeros(3, 1, 768)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self, nside: int, *, stem: int, widths: tuple[int, ...], depths: tuple[int, ...],
        head: str = "flat", dropout: float = 0.0,
    ):  # fmt: skip
        super().__init__()
        self.nside, self.head, last = check_nside(nside), head, nside >> len(widths)
        if head not in ("flat", "pool"):
            raise ValueError(f"head must be 'flat' or 'pool', got {head!r}")
        if len(widths) != len(depths) or not widths or last < 1:
            raise ValueError(f"widths and depths must be 1 to {nside.bit_length() - 1} levels each, got {widths}, {depths}")
        if min(depths) < 1:
            raise ValueError(f"depths must be at least 1 each, got {depths}")
        self.register_buffer("table", face_table(nside, order="nested"), persistent=False)
        self.stem = HaloConv(1, stem, nside=nside, bias=False)
        self.norm = nn.BatchNorm3d(stem)
        self.levels = nn.ModuleList()
        for k, (before, width, depth) in enumerate(zip((stem, *widths), widths, depths, strict=False)):
            up = [HierarchicalConv(before, width, order="face", bias=False), nn.BatchNorm3d(width), nn.ReLU()]
            self.levels.append(nn.Sequential(*up, Residual(width, nside=nside >> (k + 1), depth=depth)))
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


class InOwnFrame(nn.Module):
    """Turn each map onto its own axes, then ask `network`; the two possible frames are averaged.

    Training takes one of the two at random. In evaluation mode the answer to a turned sky is the answer to the sky
    itself, but for what interpolation blurs. The idea is frame averaging [1]_.

    Arguments:
        network: takes maps ``(B, 1, 12 to_nside**2)`` in NESTED order.
        nside: of the maps given. to_nside: of the maps that `network` takes.

    .. [1] O. Puny et al., 2022, ICLR (arXiv:2110.03336).
    """

    def __init__(self, network: nn.Module, *, nside: int, to_nside: int):
        super().__init__()
        self.network, self.rotate = network, Rotate(nside, to_nside=to_nside)
        self.register_buffer("half_turn", torch.diag(torch.tensor([1.0, -1.0, -1.0])), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        with torch.no_grad():
            frames = own_frame(maps, nside=self.rotate.nside).to(self.half_turn)  # (B, 3, 3)
        if self.training:
            swap = (torch.rand(len(maps), 1, 1, device=maps.device) < 0.5).to(frames)
            return self.network(self.rotate(maps, swap * (self.half_turn @ frames) + (1 - swap) * frames))
        both = [self.network(self.rotate(maps, f)) for f in (frames, self.half_turn @ frames)]
        return (both[0] + both[1]) / 2  # (B, 10)
