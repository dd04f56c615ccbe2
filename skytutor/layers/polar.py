"""Resample a map in rings around its own centre of mass, and convolve around the rings.

An object that is rotated about its own centre moves along these rings. So a rotation becomes a
shift of columns, and convolutions commute with shifts. This is the idea of polar transformer
networks [1]_, carried to the sphere.

Shapes: B batch, C channels in, O channels out, P = 12 nside**2 pixels, R rings, A columns. Pictures
are ``(B, C, R, A)``.

.. [1] C. Esteves et al., 2018, ICLR (arXiv:1709.01889).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.inputs import as_input
from skytutor.layers.rotate import Sample, principal_frame
from skytutor.tables import TableModule
from skytutor.validate import check_axes, positive


def ring_directions(rings: int, columns: int, *, reach_deg: float) -> Tensor:
    """Return the directions of rings around longitude and latitude 0.

    Ring r lies ``(r + 1/2) reach / R`` away from there. Column 0 points north, and columns count
    eastward.

    Arguments:
        rings: number of rings, R.
        columns: number of directions along each ring, A.
        reach_deg: angle from the centre to the outer edge of the last ring, in (0, 180].

    Returns:
        Unit vectors ``(R A, 3)``, float64, ring after ring.

    Raises:
        TypeError, ValueError: rings or columns not a positive integer, or a reach outside (0, 180].
    """
    positive(rings=rings, columns=columns)
    if not 0 < float(reach_deg) <= 180:
        raise ValueError(f"reach_deg must lie in (0, 180], got {reach_deg}")
    away = math.radians(reach_deg) * (torch.arange(rings, dtype=torch.float64) + 0.5) / rings
    along = 2 * math.pi * torch.arange(columns, dtype=torch.float64) / columns
    away, along = torch.meshgrid(away, along, indexing="ij")
    # x points to the centre, y east and z north of it.
    east = away.sin() * along.sin()
    north = away.sin() * along.cos()
    return torch.stack([away.cos(), east, north], -1).flatten(0, 1)  # (R, A, 3) to (R A, 3)


class PolarResample(TableModule):
    """Resample maps ``(B, C, P)`` in rings around each map's own centre: ``(B, C, R, A)``.

    Centre and column 0 come from `skytutor.layers.rotate.principal_frame`. If the sky is rotated,
    the picture stays, but for what interpolation blurs, and but for a shift by A/2 columns: which
    end of the long axis is up is left open.

    Every channel is a scalar, and the first one is the mass of the principal frame. Q and U are not
    turned onto the axes of the rings: `skytutor.layers.rotate.Rotate` with ``spin=2`` does that for
    the axes of another sky.

    Arguments:
        nside: of the maps.
        rings: number of rings, R.
        columns: number of directions along each ring, A.
        reach_deg: angle from the centre to the outer edge of the last ring.
        order: "ring" or "nested".

    Raises:
        TypeError, ValueError: as `ring_directions`, `skytutor.layers.rotate.Sample` and
            `skytutor.layers.rotate.principal_frame`.

    Example:
        >>> PolarResample(8, rings=6, columns=16, order="nested")(torch.rand(2, 1, 768)).shape
        torch.Size([2, 1, 6, 16])
    """

    def __init__(
        self,
        nside: int,
        *,
        rings: int,
        columns: int,
        reach_deg: float = 90.0,
        order: str,
    ):
        super().__init__()
        self.shape = (rings, columns)
        self.reach_deg = reach_deg
        directions = ring_directions(rings, columns, reach_deg=reach_deg)  # (R A, 3)
        self.sample = Sample(directions, nside=nside, order=order)

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps ``(B, C, P)``, not negative in channel 0, into pictures ``(B, C, R, A)``."""
        nside = self.sample.nside
        order = self.sample.order
        # The frame says where to look, and is not learned from.
        with torch.no_grad():
            frames = principal_frame(maps, nside=nside, order=order)  # (B, 3, 3)
        return self.sample(maps, frames).unflatten(2, self.shape)  # (B, C, R A) to (B, C, R, A)

    def extra_repr(self) -> str:
        """Return what `repr` shows of the layer."""
        return f"rings={self.shape[0]}, columns={self.shape[1]}, reach_deg={self.reach_deg}"


class _CircularPad(torch.autograd.Function):
    """Pad ``(B, C, R, A)`` to ``(B, C, R + 2, A + 2)``: columns periodic, zeros beyond the rings.

    One copy each way, where ``torch.cat`` needs five.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(pictures: Tensor) -> Tensor:
        b, c, r, a = pictures.shape
        # Stored channels-last, which is the layout that the convolution is fastest on.
        out = pictures.new_zeros(b, r + 2, a + 2, c).permute(0, 3, 1, 2)
        inner = out[:, :, 1:-1]
        inner[..., 1:-1] = pictures
        inner[..., 0] = pictures[..., -1]
        inner[..., -1] = pictures[..., 0]
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        # The padding is linear: its derivatives need nothing of the input.
        pass

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _CircularPad.apply(tangent)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # A column that was copied gets the gradients of both its copies; the zeros give none.
        inner = gradient[:, :, 1:-1]
        out = inner[..., 1:-1].clone(memory_format=torch.channels_last)
        out[..., -1] += inner[..., 0]
        out[..., 0] += inner[..., -1]
        return out


class CircularConv2d(nn.Module):
    """3 x 3 convolution of pictures whose last column is followed by the first.

    Beyond the first and the last ring lie zeros. Shifting the columns of the input shifts those of
    the output, exactly.

    Arguments:
        in_channels: C.
        out_channels: O.

    Raises:
        TypeError, ValueError: channels not a positive integer.

    Example:
        >>> CircularConv2d(1, 4)(torch.rand(2, 1, 6, 16)).shape
        torch.Size([2, 4, 6, 16])
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        positive(in_channels=in_channels, out_channels=out_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn pictures ``(B, C, R, A)`` into ``(B, O, R, A)``.

        Arguments:
            pictures: ``(B, C, R, A)``.

        Raises:
            TypeError: no tensor of floating-point numbers, or another precision than the weights'.
            ValueError: another shape.
        """
        as_input("pictures", pictures, weight=self.conv.weight)
        check_axes(f"B {self.conv.in_channels} R A", pictures=pictures)
        return self.conv(_CircularPad.apply(pictures))
