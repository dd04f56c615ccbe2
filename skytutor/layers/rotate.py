"""Rotate maps, and find the rotation that brings a map onto its own principal axes.

Only rotations by 90 degrees about the poles carry HEALPix pixels onto pixels. Any other rotation
has to interpolate; here each new pixel is a Gaussian mean of the nine old ones around the direction
it came from.

Shapes: B batch, C channels, P = 12 nside**2 pixels, Q pixels of the result.
"""

import torch
from torch import Tensor

from skytutor.healpix import (
    check_nside,
    check_order,
    neighbours,
    nside_to_npix,
    pixel_to_vector,
    resolution,
    vector_to_pixel,
)
from skytutor.layers.faces import check_input
from skytutor.memo import cached_table
from skytutor.tables import TableModule
from skytutor.validate import look


@cached_table(maxsize=8)
def _centres(nside: int, order: str) -> Tensor:
    """Return the pixel centres ``(P, 3)``, float64; cached: many layers use the same."""
    order = check_order(order, allowed=("ring", "nested"))
    return pixel_to_vector(torch.arange(nside_to_npix(nside)), nside=nside, order=order)  # (P, 3)


class Sample(TableModule):
    """Sample maps ``(B, C, P)`` at fixed directions of a rotated sky.

    ``out(u) = sum_k g(|R^-1 u - v_k|) in(v_k) / sum_k g``, where v_k are the pixel that holds R^-1
    u and its eight neighbours and g is a Gaussian of width `width` pixels. It smooths by about that
    much, and on a slope it is off by less than a tenth of the change from pixel to pixel.

    Arguments:
        directions: unit vectors ``(Q, 3)`` to sample at.
        nside: of the maps.
        order: "ring" or "nested".
        width: standard deviation in units of the map's pixel side.

    Raises:
        ValueError, TypeError: directions of another shape, bad maps as in
            `skytutor.healpix.check_maps`, or rotations of another shape.

    Example:
        >>> poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
        >>> sample = Sample(poles, nside=8, order="nested")
        >>> sample(torch.ones(2, 1, 768), torch.eye(3).expand(2, 3, 3)).shape
        torch.Size([2, 1, 2])
    """

    around: Tensor
    present: Tensor
    centres: Tensor
    targets: Tensor

    def __init__(self, directions: Tensor, *, nside: int, order: str, width: float = 0.5):
        super().__init__()
        wanted = "directions must be a tensor (Q, 3)"
        if not isinstance(directions, Tensor):
            raise ValueError(f"{wanted}, got {type(directions).__name__}")
        if directions.dim() != 2 or directions.shape[1] != 3:
            raise ValueError(f"{wanted}, got {tuple(directions.shape)}")
        self.nside = check_nside(nside)
        self.order = check_order(order, allowed=("ring", "nested"))
        self.width = width
        pixel = torch.arange(nside_to_npix(self.nside))
        beside = neighbours(pixel, nside=self.nside, order=order)  # (P, 8), -1 where there is none
        around = torch.cat([pixel[:, None], beside], 1)  # (P, 9)
        # A missing neighbour is replaced by the pixel itself, and gets no weight.
        filled = torch.where(around < 0, pixel[:, None], around)
        self.register_buffer("around", filled, persistent=False)
        self.register_buffer("present", around >= 0, persistent=False)
        self.register_buffer("centres", _centres(nside, order).float(), persistent=False)
        self.register_buffer("targets", directions.float(), persistent=False)  # (Q, 3)

    def forward(self, maps: Tensor, rotations: Tensor) -> Tensor:
        """Sample maps ``(B, C, P)``, rotated by ``(B, 3, 3)`` matrices: ``(B, C, Q)``."""
        check_input(maps, nside=self.nside, order=self.order)
        if tuple(rotations.shape) != (len(maps), 3, 3):
            raise ValueError(f"rotations must be ({len(maps)}, 3, 3), got {tuple(rotations.shape)}")
        # Directions in bfloat16 would be off by a fraction of a pixel: the geometry keeps its
        # precision under autocast.
        with torch.autocast(maps.device.type, enabled=False):
            # What lies at u came from R^-1 u; as rows, u R.
            origins = self.targets @ rotations.to(self.targets)  # (B, Q, 3)
            source, weight = self._stencil(origins)  # (B, Q, 9) each
            index = source.flatten(1).unsqueeze(1).expand(-1, maps.shape[1], -1)  # (B, C, 9 Q)
            values = maps.gather(2, index).unflatten(2, (-1, 9))  # (B, C, Q, 9)
            return (values * weight.to(maps.dtype).unsqueeze(1)).sum(-1)  # (B, C, Q)

    def _stencil(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nine pixels around ``(B, Q, 3)`` and their weights, ``(B, Q, 9)`` each."""
        centre = vector_to_pixel(directions, nside=self.nside, order=self.order)  # (B, Q)
        source = self.around[centre]  # (B, Q, 9)
        chord2 = (self.centres[source] - directions.unsqueeze(2)).square().sum(-1)  # (B, Q, 9)
        sigma = self.width * resolution(self.nside)  # radians
        weight = torch.exp(-0.5 * chord2 / sigma**2) * self.present[centre]
        return source, weight / weight.sum(-1, keepdim=True)

    def extra_repr(self) -> str:
        """Return what `repr` shows of the layer."""
        return (
            f"{len(self.targets)} directions, nside={self.nside}, "
            f"order={self.order!r}, width={self.width}"
        )


class Rotate(Sample):
    """Rotate maps ``(B, C, P)`` by ``(B, 3, 3)`` matrices: the value at u moves to R u.

    `Sample` at the pixel centres: ``rotate(maps, rotations)`` gives ``(B, C, Q)``, where Q is the
    number of pixels at `to_nside`.

    Arguments:
        nside: of the input.
        to_nside: of the result, `nside` by default.
        order: "ring" or "nested", of input and result.
        width: standard deviation of the Gaussian, as in `Sample`.

    Example:
        >>> rotate = Rotate(8, to_nside=4, order="nested")
        >>> rotate(torch.ones(2, 1, 768), torch.eye(3).expand(2, 3, 3)).shape
        torch.Size([2, 1, 192])
    """

    def __init__(self, nside: int, *, to_nside: int | None = None, order: str, width: float = 0.5):
        to_nside = check_nside(nside if to_nside is None else to_nside)
        super().__init__(_centres(to_nside, order), nside=nside, order=order, width=width)
        self.to_nside = to_nside

    def extra_repr(self) -> str:
        """Return what `repr` shows of the layer."""
        return (
            f"nside={self.nside}, to_nside={self.to_nside}, "
            f"order={self.order!r}, width={self.width}"
        )


def principal_frame(maps: Tensor, *, nside: int, order: str) -> Tensor:
    """Return the rotations that bring each map's first channel onto its own principal axes.

    The pixel values, which must not be negative, are masses. Their centre goes to longitude and
    latitude 0, and the direction in which they spread most goes north. Which of its two ends is
    north is left open: rotating the result by 180 degrees about the centre gives an equally good
    frame. If the sky is rotated, the frame rotates with it.

    Arguments:
        maps: ``(B, C, P)``.
        nside: of the maps.
        order: "ring" or "nested".

    Returns:
        Rotations ``(B, 3, 3)``, float64. Their rows are the directions that go to x (the centre),
        y (east) and z (north, the long axis).

    Raises:
        ValueError: negative values, or a map whose mass has no centre (all zero, or perfectly
            balanced).
    """
    check_input(maps, nside=nside, order=order)
    mass = maps[:, 0].double()
    lowest = look(mass, lambda values: float(values.min()))
    if lowest is not None and lowest < 0:
        raise ValueError(
            f"maps must not be negative to have a centre of mass, got a minimum of {lowest:g}"
        )
    v = _centres(nside, order).to(maps.device)  # (P, 3)
    centre = mass @ v  # (B, 3)
    # A sum that vanishes but for rounding errors points nowhere.
    length = centre.norm(dim=1, keepdim=True)
    centred = (length > 1e-9 * mass.sum(1, keepdim=True)) & (length > 0)
    if look(centred, lambda values: bool(values.all())) is False:
        raise ValueError(
            "maps must have a centre of mass; one is empty or balanced over the whole sphere"
        )
    centre = centre / length
    # Second moments of the mass, sum_p mass_p v_p v_p^T.
    outer = (v.unsqueeze(2) * v.unsqueeze(1)).flatten(1)  # (P, 9)
    moments = (mass @ outer).unflatten(1, (3, 3))  # (B, 3, 3)
    # Projected onto the plane tangent at the centre: what points outward is no spread.
    outward = centre.unsqueeze(2) * centre.unsqueeze(1)
    tangent = torch.eye(3, device=v.device) - outward  # (B, 3, 3)
    # Eigenvalues rise: the last eigenvector is the long axis.
    long_axis = torch.linalg.eigh(tangent @ moments @ tangent).eigenvectors[:, :, 2]  # (B, 3)
    return torch.stack([centre, torch.linalg.cross(long_axis, centre), long_axis], 1)
