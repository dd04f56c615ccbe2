"""Chapter 1's networks: a residual one that sees across borders, and one that looks along rings.

Shapes: B batch, C channels, P = 12 nside**2 pixels, n nside, R rings, A columns. Every network
takes maps ``(B, 1, P)`` in NESTED order and gives class scores ``(B, 10)``.
"""

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.data.digits import CLASSES
from skytutor.healpix import check_nside, face_table
from skytutor.layers.faces import check_input, faces_from
from skytutor.layers.pixel import HaloConv, HierarchicalConv
from skytutor.layers.polar import CircularConv2d, PolarResample
from skytutor.validate import one_of


class Residual(nn.Module):
    """Convolutions with batch normalisation, one after another, added to their input.

    ``out = relu(x + norm_k(conv_k(relu(... norm_1(conv_1(x))))))``. All keep the shape of x.

    Arguments:
        convs: convolutions of equally many channels in and out.
        norms: as many normalisations.
    """

    def __init__(self, convs: Iterable[nn.Module], norms: Iterable[nn.Module]):
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``(B, C, ...)`` into a tensor of the same shape."""
        inner = self.norms[0](self.convs[0](x))  # the shape of x throughout
        for conv, norm in zip(self.convs[1:], self.norms[1:], strict=True):
            inner = norm(conv(F.relu(inner)))
        return F.relu(x + inner)


def _halo_block(channels: int, *, nside: int, depth: int) -> Residual:
    """Return a residual block of halo convolutions on faces ``(B, C, 12, n, n)``."""
    convs = [
        HaloConv(channels, channels, nside=nside, bias=False, order="face") for _ in range(depth)
    ]
    norms = [nn.BatchNorm3d(channels) for _ in range(depth)]
    return Residual(convs, norms)


def _ring_block(channels: int, *, depth: int) -> Residual:
    """Return a residual block of circular convolutions on pictures ``(B, C, R, A)``."""
    convs = [CircularConv2d(channels, channels) for _ in range(depth)]
    norms = [nn.BatchNorm2d(channels) for _ in range(depth)]
    return Residual(convs, norms)


def _halo_level(in_channels: int, width: int, *, nside: int, depth: int) -> nn.Sequential:
    """Return a step up the tree to `nside` and a residual block there."""
    return nn.Sequential(
        HierarchicalConv(in_channels, width, order="face", bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(),
        _halo_block(width, nside=nside, depth=depth),
    )


def _ring_levels(widths: tuple[int, ...], depths: tuple[int, ...]) -> nn.Sequential:
    """Return the levels of a `RingNet`, each but the first at half the resolution of the last."""
    # One flat sequence: its layers are numbered as in the pretrained files.
    layers: list[nn.Module] = [
        CircularConv2d(1, widths[0]),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
        _ring_block(widths[0], depth=depths[0]),
    ]
    for (in_channels, width), depth in zip(pairwise(widths), depths[1:], strict=True):
        layers += [
            nn.Conv2d(in_channels, width, 2, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            _ring_block(width, depth=depth),
        ]
    return nn.Sequential(*layers)


class HaloNet(nn.Module):
    """A residual network on faces: halo convolutions at ever coarser resolution.

    The stem, one halo convolution, works at `nside`. Each level after it goes one step up the tree
    of pixels, four children to a parent, and through a residual block: block k works at
    ``nside / 2**(k + 1)``. The halo convolutions see across the borders of base pixels and of
    parents.

    Arguments:
        nside: resolution of the input.
        stem: channels of the first convolution.
        widths: channels of each block.
        depths: convolutions in each block.
        head: "flat" reads every pixel of the last level in its place; "pool" takes mean and maximum
            over the sphere, which makes the class scores exactly invariant under the rotations by
            90 degrees about the poles.
        dropout: probability of dropping a feature before the last layer.

    Raises:
        ValueError: more levels than the map has, widths and depths of different length, or an
            unknown head.

    Example:
        >>> net = HaloNet(8, stem=8, widths=(8, 16), depths=(1, 1), head="pool")
        >>> net(torch.zeros(3, 1, 768)).shape
        torch.Size([3, 10])
    """

    table: Tensor

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
        last_nside = nside >> len(widths)
        one_of("head", head, allowed=("flat", "pool"))
        if len(widths) != len(depths) or not widths or last_nside < 1:
            raise ValueError(
                f"widths and depths must be 1 to {nside.bit_length() - 1} levels each, "
                f"got {widths}, {depths}"
            )
        if min(depths) < 1:
            raise ValueError(f"depths must be at least 1 each, got {depths}")
        self.register_buffer("table", face_table(nside, order="nested"), persistent=False)
        # Layers are named as in the pretrained files.
        self.stem = HaloConv(1, stem, nside=nside, bias=False, order="face")
        self.norm = nn.BatchNorm3d(stem)
        self.levels = nn.ModuleList()
        in_channels = stem
        level_nside = nside
        for width, depth in zip(widths, depths, strict=True):
            level_nside //= 2
            self.levels.append(_halo_level(in_channels, width, nside=level_nside, depth=depth))
            in_channels = width
        self.dropout = nn.Dropout(dropout)
        n_features = 12 * last_nside**2 if head == "flat" else 2  # of each channel
        self.read = nn.Linear(widths[-1] * n_features, CLASSES)

    def features(self, maps: Tensor) -> list[Tensor]:
        """Return the activations ``(B, C, 12, n, n)`` of every level, finest first.

        Arguments:
            maps: ``(B, 1, P)``.
        """
        check_input(maps, nside=self.nside, order="nested", channels=1)
        faces = faces_from(maps, self.table, nside=self.nside)  # (B, 1, 12, n, n)
        activations = [F.relu(self.norm(self.stem(faces)))]
        for level in self.levels:
            activations.append(level(activations[-1]))
        return activations

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps ``(B, 1, P)`` into class scores ``(B, 10)``."""
        last = self.features(maps)[-1].flatten(2)  # (B, C, 12 n n)
        if self.head == "flat":
            features = last.flatten(1)  # (B, C 12 n n)
        else:
            features = torch.cat([last.mean(2), last.amax(2)], 1)  # (B, 2 C)
        return self.read(self.dropout(features))


class RingNet(nn.Module):
    """A residual network on pictures in rings around each map's own centre.

    A rotation of the object about its centre becomes a shift of columns, up to the frame's half
    turn. The convolutions shift along, and the mean and the maximum over the columns, at the very
    end, do not depend on the shift. So the class scores of a rotated sky are those of the sky
    itself, but for what interpolation blurs; which end of the axis is up changes nothing.

    Arguments:
        nside: of the maps.
        rings: of the picture, as in `skytutor.layers.polar.PolarResample`; so are columns and
            reach_deg.
        columns: along each ring.
        reach_deg: from the centre to the edge.
        widths: channels of each level, from the full picture up; each level is half as fine as the
            one before.
        depths: convolutions in the residual block of each level.
        last: channels of the layer that reads all rings at once.
        dropout: probability of dropping a feature before the last layer.

    Raises:
        ValueError: widths and depths of different length, or rings and columns that cannot be
            halved so often (columns once more, for the half turn).

    Example:
        >>> net = RingNet(8, rings=8, columns=16, widths=(4, 8), depths=(1, 1), last=16)
        >>> net(torch.rand(3, 1, 768)).shape
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
                "widths and depths must be as many, at least one, depths from 1 up; "
                f"got {widths}, {depths}"
            )
        stride = 2 ** (len(widths) - 1)  # of all levels together
        self.resample = PolarResample(
            nside, rings=rings, columns=columns, reach_deg=reach_deg, order="nested"
        )
        if rings % stride or columns % (2 * stride):
            raise ValueError(
                f"rings must be a multiple of {stride} and columns of {2 * stride}, "
                f"got {rings} and {columns}"
            )
        # Layers are named as in the pretrained files.
        self.levels = _ring_levels(widths, depths)
        # A kernel as high as the picture: all rings are read at once.
        self.join = nn.Conv2d(widths[-1], last, (rings // stride, 3), bias=False)
        self.norm = nn.BatchNorm2d(last)
        self.dropout = nn.Dropout(dropout)
        self.read = nn.Linear(2 * last, CLASSES)
        # As the pictures are stored: a tenth faster.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it

    def read_rings(self, pictures: Tensor) -> Tensor:
        """Return the class scores ``(B, 10)`` of pictures ``(B, 1, R, A)``.

        Raises:
            ValueError: pictures of another shape.
        """
        rings, columns = self.resample.shape
        if pictures.shape[1:] != (1, rings, columns):
            raise ValueError(
                f"pictures must be (B, 1, {rings}, {columns}), got {tuple(pictures.shape)}"
            )
        x = self.levels(pictures.contiguous(memory_format=torch.channels_last))  # (B, C, r, a)
        # The last column is followed by the first: `join` reads three columns at a time.
        x = torch.cat([x[..., -1:], x, x[..., :1]], -1)  # (B, C, r, a + 2)
        x = F.relu(self.norm(self.join(x))).squeeze(2)  # (B, last, a)
        # Neither depends on where around the rings a feature lies.
        features = torch.cat([x.mean(2), x.amax(2)], 1)  # (B, 2 last)
        return self.read(self.dropout(features))

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps ``(B, 1, P)`` into class scores ``(B, 10)``."""
        return self.read_rings(self.resample(maps))
