"""Rotate maps, and find the rotation that brings a map onto its own principal axes.

Only rotations by 90 degrees about the poles carry HEALPix pixels onto pixels. Any other rotation
has to interpolate: each new pixel is a mean of old ones around the direction it came from, Gaussian
over nine or bilinear over four. A scalar keeps its value on the way. Q and U are components along
the local axes, so with ``spin=2`` they are brought to the axes of the new place first.

Shapes: B batch, C channels, P = 12 nside**2 pixels, Q pixels of the result.
"""

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix import (
    check_nside,
    check_order,
    neighbours,
    nside_to_npix,
    pixel_to_vector,
    resolution,
    vector_to_pixel,
)
from skytutor.healpix.directions import check_rotations
from skytutor.healpix.interpolation import interpolation_weights
from skytutor.layers.faces import check_input
from skytutor.memo import cached_table
from skytutor.tables import TableModule
from skytutor.validate import as_length, check_spin, one_of
from skytutor.values import on_values

INTERPOLATIONS = ("gaussian", "bilinear")
# Of U, that makes it HEALPix' own.
_SIGN_OF_U = {"COSMO": 1.0, "IAU": -1.0}


@cached_table(maxsize=8)
def _centres(nside: int, order: str) -> Tensor:
    """Return the pixel centres ``(P, 3)``, float64; cached: many layers use the same."""
    order = check_order(order, allowed=("ring", "nested"))
    return pixel_to_vector(torch.arange(nside_to_npix(nside)), nside=nside, order=order)  # (P, 3)


def _axes(v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the local axes of directions ``(..., 3)``: to the south and to the east."""
    flat = torch.hypot(v[..., 0], v[..., 1])
    # At a pole every axis points along a meridian: that of longitude 0 is taken.
    x = torch.where(flat > 0, v[..., 0], 1.0)
    length = torch.where(flat > 0, flat, 1.0)
    east = torch.stack([-v[..., 1] / length, x / length, torch.zeros_like(x)], -1)
    return torch.linalg.cross(east, v), east


class Sample(TableModule):
    """Sample maps ``(B, C, P)`` at fixed directions of a rotated sky.

    ``out(u) = sum_k g_k in(v_k) / sum_k g_k``, a mean over pixels v_k around R^-1 u. By default
    they are the pixel that holds R^-1 u and its eight neighbours, and ``g_k = g(|R^-1 u - v_k|)``
    is a Gaussian of width `width` pixels. It smooths by about that much, and on a slope it is off
    by less than a tenth of the change from pixel to pixel. With ``interpolation="bilinear"`` they
    are the four of `skytutor.healpix.interpolate`: a pixel centre that lands on a pixel centre
    keeps its value to rounding, as in a quarter turn about the poles.

    With ``spin=2`` the channels are pairs, Q, U, Q, U, ... along the local axes. Each of the pixels
    v_k is carried to R^-1 u along the great circle (parallel transport), and its axes are turned by
    the angle alpha onto those of u: ``(Q + i U)(u) = sum_k g_k exp(2 i alpha_k) (Q + i U)(v_k)``.
    With spin 0 every channel is a scalar; Q and U given to it come out wrong.

    Arguments:
        directions: unit vectors ``(Q, 3)`` to sample at.
        nside: of the maps.
        order: "ring" or "nested".
        width: standard deviation of the Gaussian in units of the map's pixel side.
        spin: 0 for scalars, 2 for pairs of Q and U.
        convention: of U's sign, "COSMO" (HEALPix, healpy) or "IAU"; spin 0 has none.
        interpolation: "gaussian" or "bilinear", which does not use `width`.

    Raises:
        ValueError, TypeError: directions of another shape, bad maps as in
            `skytutor.healpix.check_maps`, an odd number of channels with spin 2, or rotations of
            another shape or that are none; other bad arguments, named.

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

    def __init__(
        self,
        directions: Tensor,
        *,
        nside: int,
        order: str,
        width: float = 0.5,
        spin: int = 0,
        convention: str = "COSMO",
        interpolation: str = "gaussian",
    ):
        super().__init__()
        wanted = "directions must be a tensor (Q, 3)"
        if not isinstance(directions, Tensor):
            raise ValueError(f"{wanted}, got {type(directions).__name__}")
        if directions.dim() != 2 or directions.shape[1] != 3:
            raise ValueError(f"{wanted}, got {tuple(directions.shape)}")
        self.nside = check_nside(nside)
        self.order = check_order(order, allowed=("ring", "nested"))
        self.width = as_length("width", width)
        self.spin = check_spin(spin)
        self.convention = one_of("convention", convention, allowed=_SIGN_OF_U)
        self.interpolation = one_of("interpolation", interpolation, allowed=INTERPOLATIONS)
        pixel = torch.arange(nside_to_npix(self.nside))
        beside = neighbours(pixel, nside=self.nside, order=order)  # (P, 8), -1 where there is none
        around = torch.cat([pixel[:, None], beside], 1)  # (P, 9)
        # A missing neighbour is replaced by the pixel itself, and gets no weight.
        filled = torch.where(around < 0, pixel[:, None], around)
        self.register_buffer("around", filled, persistent=False)
        self.register_buffer("present", around >= 0, persistent=False)
        self.register_buffer("centres", _centres(nside, order), persistent=False)
        self.register_buffer("targets", directions.double(), persistent=False)  # (Q, 3)

    def forward(self, maps: Tensor, rotations: Tensor) -> Tensor:
        """Sample maps ``(B, C, P)``, rotated by ``(B, 3, 3)`` matrices: ``(B, C, Q)``."""
        check_input(maps, nside=self.nside, order=self.order)
        if self.spin and maps.shape[1] % 2:
            raise ValueError(
                "maps must have an even number of channels, Q and U in pairs, for spin 2; "
                f"got {maps.shape[1]} in shape {tuple(maps.shape)}"
            )
        rotations = check_rotations(rotations, shape=(len(maps), 3, 3))
        # Directions in bfloat16 would be off by a fraction of a pixel: the geometry keeps its
        # precision under autocast.
        geometry = torch.float64 if maps.dtype == torch.float64 else torch.float32
        with torch.autocast(maps.device.type, enabled=False):
            rotations = rotations.to(maps.device, geometry)
            # What lies at u came from R^-1 u; as rows, u R.
            origins = self.targets.to(geometry) @ rotations  # (B, Q, 3)
            source, weight = self._stencil(origins)  # (B, Q, K) each
            index = source.flatten(1).unsqueeze(1).expand(-1, maps.shape[1], -1)  # (B, C, K Q)
            values = maps.gather(2, index).unflatten(2, (-1, source.shape[2]))  # (B, C, Q, K)
            if self.spin:
                values = self._transport(values, source, origins=origins, rotations=rotations)
            return (values * weight.to(maps.dtype).unsqueeze(1)).sum(-1)  # (B, C, Q)

    def _stencil(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the K pixels around ``(B, Q, 3)`` and their weights, ``(B, Q, K)`` each."""
        if self.interpolation == "bilinear":
            x, y, z = directions.double().unbind(-1)
            theta = torch.atan2(torch.hypot(x, y), z)
            phi = torch.atan2(y, x)
            return interpolation_weights(theta, phi, nside=self.nside, order=self.order)
        centre = vector_to_pixel(directions, nside=self.nside, order=self.order)  # (B, Q)
        source = self.around[centre]  # (B, Q, 9)
        centres = self.centres.to(directions)
        chord2 = (centres[source] - directions.unsqueeze(2)).square().sum(-1)  # (B, Q, 9)
        sigma = self.width * resolution(self.nside)  # radians
        weight = torch.exp(-0.5 * chord2 / sigma**2) * self.present[centre]
        return source, weight / weight.sum(-1, keepdim=True)

    def _transport(
        self, values: Tensor, source: Tensor, *, origins: Tensor, rotations: Tensor
    ) -> Tensor:
        """Turn Q and U ``(B, C, Q, K)`` of source pixels onto the axes of the directions."""
        v = self.centres.to(origins)[source]  # (B, Q, K, 3)
        south, east = _axes(v)
        # The new place's axis to the south, before the rotation, ...
        axis = (_axes(self.targets)[0].to(origins) @ rotations).unsqueeze(2)  # (B, Q, 1, 3)
        origin = origins.unsqueeze(2)
        # ... carried along the great circle to v: w - (v w) / (1 + o v) (o + v).
        along = (v * axis).sum(-1, keepdim=True) / (1 + (v * origin).sum(-1, keepdim=True))
        carried = axis - along * origin  # and something along v, which no local axis sees
        x = (carried * south).sum(-1)
        y = (carried * east).sum(-1)
        # It stands at the angle b from v's own south; an angle from v's south is less by b from it.
        length2 = x.square() + y.square()
        cos = ((x - y) * (x + y) / length2).to(values.dtype).unsqueeze(1)  # of 2 b, (B, 1, Q, K)
        sin = (2 * x * y / length2).to(values.dtype).unsqueeze(1) * _SIGN_OF_U[self.convention]
        q, u = values.unflatten(1, (-1, 2)).unbind(2)  # (B, C / 2, Q, K) each
        return torch.stack([q * cos + u * sin, u * cos - q * sin], 2).flatten(1, 2)

    def _extra(self) -> str:
        """Return what `repr` shows of the arguments that are not their defaults."""
        shown = f"width={self.width}"
        if self.interpolation == "bilinear":
            shown = "interpolation='bilinear'"
        return f"{shown}, spin=2, convention={self.convention!r}" if self.spin else shown

    def extra_repr(self) -> str:
        """Return what `repr` shows of the layer."""
        return (
            f"{len(self.targets)} directions, nside={self.nside}, "
            f"order={self.order!r}, {self._extra()}"
        )


class Rotate(Sample):
    """Rotate maps ``(B, C, P)`` by ``(B, 3, 3)`` matrices: the value at u moves to R u.

    `Sample` at the pixel centres: ``rotate(maps, rotations)`` gives ``(B, C, Q)``, where Q is the
    number of pixels at `to_nside`. Maps of few degrees l are rotated without interpolation by
    `skytutor.sht.rotate_alms`.

    Arguments:
        nside: of the input.
        to_nside: of the result, `nside` by default.
        order: "ring" or "nested", of input and result.
        width: standard deviation of the Gaussian, as in `Sample`.
        spin: 0 for scalars, 2 for pairs of channels Q and U, as in `Sample`.
        convention: of U's sign, "COSMO" or "IAU", as in `Sample`.
        interpolation: "gaussian" or "bilinear", as in `Sample`. Bilinear is what
            ``healpy.Rotator.rotate_map_pixel`` does, whose Q and U are interpolated before their
            axes are turned: near the poles it errs where this does not.

    Raises:
        ValueError, TypeError: as `Sample`.

    Example:
        >>> rotate = Rotate(8, to_nside=4, order="nested")
        >>> rotate(torch.ones(2, 1, 768), torch.eye(3).expand(2, 3, 3)).shape
        torch.Size([2, 1, 192])
    """

    def __init__(
        self,
        nside: int,
        *,
        to_nside: int | None = None,
        order: str,
        width: float = 0.5,
        spin: int = 0,
        convention: str = "COSMO",
        interpolation: str = "gaussian",
    ):
        to_nside = check_nside(nside if to_nside is None else to_nside)
        super().__init__(
            _centres(to_nside, order),
            nside=nside,
            order=order,
            width=width,
            spin=spin,
            convention=convention,
            interpolation=interpolation,
        )
        self.to_nside = to_nside

    def extra_repr(self) -> str:
        """Return what `repr` shows of the layer."""
        return (
            f"nside={self.nside}, to_nside={self.to_nside}, order={self.order!r}, {self._extra()}"
        )


def principal_frame(maps: Tensor, *, nside: int, order: str) -> Tensor:
    """Return the rotations that bring each map's first channel onto its own principal axes.

    The pixel values, which must not be negative, are masses. Their centre goes to longitude and
    latitude 0, and the direction in which they spread most goes north. Which of its two ends is
    north is left open: rotating the result by 180 degrees about the centre gives an equally good
    frame. If the sky is rotated, the frame rotates with it.

    Arguments:
        maps: ``(B, C, P)``; the first channel is a scalar, such as an intensity, never Q or U.
        nside: of the maps.
        order: "ring" or "nested".

    Returns:
        Rotations ``(B, 3, 3)``, float64. Their rows are the directions that go to x (the centre),
        y (east) and z (north, the long axis).

    Raises:
        ValueError: negative values, or a map whose mass has no centre (all zero, or perfectly
            balanced).
    """
    maps = as_tensor("maps", maps)
    check_input(maps, nside=nside, order=order)
    mass = maps[:, 0].double()
    lowest = on_values(mass, lambda values: float(values.min()))
    if lowest is not None and lowest < 0:
        raise ValueError(
            f"maps must not be negative to have a centre of mass, got a minimum of {lowest:g}"
        )
    v = _centres(nside, order).to(maps.device)  # (P, 3)
    centre = mass @ v  # (B, 3)
    # A sum that vanishes but for rounding errors points nowhere.
    length = centre.norm(dim=1, keepdim=True)
    centred = (length > 1e-9 * mass.sum(1, keepdim=True)) & (length > 0)
    if on_values(centred, lambda values: bool(values.all())) is False:
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
