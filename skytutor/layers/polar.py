"""See a map from its own centre: rings around the place where its mass lies, and convolutions that wrap around them.

Turned about its own centre an object moves along these rings. So a rotation becomes a shift of
columns, and convolutions commute with shifts. This is the idea of polar transformer networks [1]_,
carried to the sphere.

Shapes: B batch, C channels, P = 12 nside**2 pixels, R rings, A columns. Pictures are
    ``(B, C, R, A)``.

.. [1] C. Esteves et al., 2018, ICLR (arXiv:1709.01889).
"""

import math

import torch
from torch import Tensor, nn

from skytutor.layers.faces import positive
from skytutor.layers.rotate import Sample, own_frame


def ring_directions(rings: int, columns: int, *, reach_deg: float) -> Tensor:
    """Unit vectors ``(R A, 3)``, ring after ring, around longitude and latitude 0.

    Ring r lies ``(r + 1/2) reach / R`` away from there. Column 0 points north, and columns count
    eastward.

    Raises:
        TypeError, ValueError: rings or columns not a positive integer, or a reach outside (0, 180].
    """
    positive(rings=rings, columns=columns)
    if not 0 < float(reach_deg) <= 180:
        raise ValueError(f"reach_deg must lie in (0, 180], got {reach_deg}")
    away = math.radians(reach_deg) * (torch.arange(rings, dtype=torch.float64) + 0.5) / rings
    along = 2 * math.pi * torch.arange(columns, dtype=torch.float64) / columns
    away, along = torch.meshgrid(away, along, indexing="ij")
    return torch.stack(
        [away.cos(), away.sin() * along.sin(), away.sin() * along.cos()], -1
    ).flatten(0, 1)


class OwnRings(nn.Module):
    """Maps ``(B, C, P)`` to pictures ``(B, C, R, A)`` in rings around each map's own centre.

    Centre and column 0 come from `own_frame`. If the sky is turned, the picture stays, but for what
    interpolation blurs, and but for a shift by A/2 columns: which end of the long axis is up is
    left open.

    Arguments:
        nside: of the maps.
        rings: number of rings, R.
        columns: number of places along each ring, A.
        reach_deg: angle from the centre to the outer edge of the last ring.
        order: "ring" or "nested".

    Raises:
        TypeError, ValueError: as `ring_directions`, `skytutor.layers.rotate.Sample` and
            `own_frame`.

    Example:
        >>> OwnRings(8, rings=6, columns=16)(torch.rand(2, 1, 768)).shape
        torch.Size([2, 1, 6, 16])
    """

    def __init__(
        self,
        nside: int,
        *,
        rings: int,
        columns: int,
        reach_deg: float = 90.0,
        order: str = "nested",
    ):
        super().__init__()
        self.shape = (rings, columns)
        self.reach_deg = reach_deg
        self.sample = Sample(
            ring_directions(rings, columns, reach_deg=reach_deg), nside=nside, order=order
        )

    def forward(self, maps: Tensor) -> Tensor:
        with torch.no_grad():
            frames = own_frame(maps, nside=self.sample.nside, order=self.sample.order)  # (B, 3, 3)
        return self.sample(maps, frames).unflatten(2, self.shape)  # (B, C, R, A)

    def extra_repr(self) -> str:
        return f"rings={self.shape[0]}, columns={self.shape[1]}, reach_deg={self.reach_deg}"


class _Wrap(torch.autograd.Function):
    """Pad ``(B, C, R, A)`` by one: columns periodic, zeros beyond the rings. One copy each way; `torch.cat` needs five."""

    @staticmethod
    def forward(ctx, pictures: Tensor) -> Tensor:
        b, c, r, a = pictures.shape
        out = pictures.new_zeros(b, r + 2, a + 2, c).permute(
            0, 3, 1, 2
        )  # channels-last, as the convolution likes it
        inner = out[:, :, 1:-1]
        inner[..., 1:-1] = pictures
        inner[..., 0] = pictures[..., -1]
        inner[..., -1] = pictures[..., 0]
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        inner = gradient[:, :, 1:-1]
        out = inner[..., 1:-1].clone(memory_format=torch.channels_last)
        out[..., -1] += inner[..., 0]
        out[..., 0] += inner[..., -1]
        return out


class WrapConv(nn.Module):
    """3 x 3 convolution of pictures ``(B, C, R, A)`` whose last column is followed by the first; zeros beyond the rings.

    Shifting the columns of the input shifts those of the output, exactly.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(
            *positive(in_channels=in_channels, out_channels=out_channels), 3, bias=False
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.conv(_Wrap.apply(pictures))  # (B, O, R, A)
