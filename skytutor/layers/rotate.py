"""Turn maps by any rotation, and find the frame in which a map lies on its own axes.

Only quarter turns about the poles carry HEALPix pixels onto pixels. Any other rotation has to
interpolate; here each new pixel is a Gaussian mean of the nine old ones around the place it came
from.

Shapes: B batch, C channels, P = 12 nside**2 pixels, Q pixels of the result.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

from skytutor.healpix import (
    check_nside,
    check_order,
    neighbours,
    nside_to_npix,
    pixel_to_vector,
    resolution,
    vector_to_pixel,
)
from skytutor.layers.faces import entry


@lru_cache(maxsize=8)
def _centres(nside: int, order: str) -> Tensor:
    order = check_order(order, allowed=("ring", "nested"))
    return pixel_to_vector(torch.arange(nside_to_npix(nside)), nside=nside, order=order)  # (P, 3)


class Sample(nn.Module):
    """Read maps ``(B, C, P)`` at fixed directions of a turned sky.

    ``out(u) = sum_k g(|R^-1 u - v_k|) in(v_k) / sum_k g``, where v_k are the pixel that holds R^-1
    u and its eight neighbours and g is a Gaussian of width `width` pixels. It smooths by about that
    much, and on a slope it is off by less than a tenth of the change from pixel to pixel.

    Arguments:
        directions: unit vectors ``(Q, 3)`` to read at.
        nside: of the maps.
        order: "ring" or "nested".
        width: standard deviation in units of the map's pixel side.

    Raises:
        ValueError, TypeError: directions of another shape, bad maps as in
            `skytutor.healpix.check_maps`, or rotations of another shape.

    Example:
        >>> poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
        >>> Sample(poles, nside=8)(torch.ones(2, 1, 768), torch.eye(3).expand(2, 3, 3)).shape
        torch.Size([2, 1, 2])
    """

    def __init__(
        self, directions: Tensor, *, nside: int, order: str = "nested", width: float = 0.5
    ):
        super().__init__()
        if not isinstance(directions, Tensor) or directions.dim() != 2 or directions.shape[1] != 3:
            got = (
                tuple(directions.shape)
                if isinstance(directions, Tensor)
                else type(directions).__name__
            )
            raise ValueError(f"directions must be a tensor (Q, 3), got {got}")
        self.nside = check_nside(nside)
        self.order = check_order(order, allowed=("ring", "nested"))
        self.width = width
        pixel = torch.arange(nside_to_npix(self.nside))
        around = torch.cat(
            [pixel[:, None], neighbours(pixel, nside=self.nside, order=order)], 1
        )  # (P, 9)
        self.register_buffer(
            "around", torch.where(around < 0, pixel[:, None], around), persistent=False
        )
        self.register_buffer("present", around >= 0, persistent=False)
        self.register_buffer("centres", _centres(nside, order).float(), persistent=False)
        self.register_buffer("targets", directions.float(), persistent=False)  # (Q, 3)

    def forward(self, maps: Tensor, rotations: Tensor) -> Tensor:
        entry(maps, self.nside, self.order)
        if tuple(rotations.shape) != (len(maps), 3, 3):
            raise ValueError(f"rotations must be ({len(maps)}, 3, 3), got {tuple(rotations.shape)}")
        # Directions in bfloat16 would be off by a fraction of a pixel: the geometry keeps its
        # precision under autocast.
        with torch.autocast(maps.device.type, enabled=False):
            source, weight = self._around(
                self.targets @ rotations.to(self.targets)
            )  # (B, Q, 9) each
            rows = source.flatten(1).unsqueeze(1).expand(-1, maps.shape[1], -1)  # (B, C, 9 Q)
            return (
                maps.gather(2, rows).unflatten(2, (-1, 9)) * weight.to(maps.dtype).unsqueeze(1)
            ).sum(-1)  # (B, C, Q)

    def _around(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """The nine pixels around each place ``(B, Q, 3)``, and their weights."""
        found = vector_to_pixel(place, nside=self.nside, order=self.order)  # (B, Q)
        source = self.around[found]  # (B, Q, 9)
        apart = (self.centres[source] - place.unsqueeze(2)).square().sum(-1)  # (B, Q, 9)
        weight = (
            torch.exp(-0.5 * apart / (self.width * resolution(self.nside)) ** 2)
            * self.present[found]
        )
        return source, weight / weight.sum(-1, keepdim=True)

    def extra_repr(self) -> str:
        return f"{len(self.targets)} directions, nside={self.nside}, order={self.order!r}, width={self.width}"


class Rotate(Sample):
    """Rotate maps ``(B, C, P)`` by ``(B, 3, 3)`` matrices: the value at u moves to R u.

    `Sample` at the pixel centres; the other arguments are the same.

    Arguments:
        nside: of the input.
        to_nside: of the result, `nside` by default.

    Example:
        >>> Rotate(8, to_nside=4)(torch.ones(2, 1, 768), torch.eye(3).expand(2, 3, 3)).shape
        torch.Size([2, 1, 192])
    """

    def __init__(
        self, nside: int, *, to_nside: int | None = None, order: str = "nested", width: float = 0.5
    ):
        to_nside = check_nside(nside if to_nside is None else to_nside)
        super().__init__(_centres(to_nside, order), nside=nside, order=order, width=width)
        self.to_nside = to_nside

    def extra_repr(self) -> str:
        return f"nside={self.nside}, to_nside={self.to_nside}, order={self.order!r}, width={self.width}"


def own_frame(maps: Tensor, *, nside: int, order: str = "nested") -> Tensor:
    """Rotations ``(B, 3, 3)`` that bring each map's first channel onto its own axes.

    The pixel values, which must not be negative, are masses. Their centre goes to longitude and
    latitude 0, and the direction in which they spread most goes north. Which of its two ends is
    north is left open: turning the result by 180 degrees about the centre gives an equally good
    frame. If the sky is turned, the frame turns with it.

    Raises:
        ValueError: negative values, or a map whose mass has no centre (all zero, or perfectly
            balanced).
    """
    entry(maps, nside, order)
    mass = maps[:, 0].double()
    if float(mass.min()) < 0:
        raise ValueError(
            f"maps must not be negative to have a centre of mass, got a minimum of {float(mass.min()):g}"
        )
    v = _centres(nside, order).to(maps.device)  # (P, 3)
    centre = mass @ v
    length = centre.norm(dim=1, keepdim=True)
    if not bool((length > 1e-9 * mass.sum(1, keepdim=True)).all()) or not bool((length > 0).all()):
        raise ValueError(
            "maps must have a centre of mass; one is empty or balanced over the whole sphere"
        )
    centre = centre / length  # (B, 3)
    spread = (mass @ (v.unsqueeze(2) * v.unsqueeze(1)).flatten(1)).unflatten(1, (3, 3))  # (B, 3, 3)
    flat = torch.eye(3, device=v.device) - centre.unsqueeze(2) * centre.unsqueeze(
        1
    )  # drop what points outward
    long = torch.linalg.eigh(flat @ spread @ flat).eigenvectors[:, :, 2]  # (B, 3)
    return torch.stack(
        [centre, torch.linalg.cross(long, centre), long], 1
    )  # rows: to x, to y, to z
