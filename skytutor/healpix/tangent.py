"""Directions of the pixels of a gnomonic patch: a square on a plane that touches the sphere."""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.validate import as_integer, as_length
from skytutor.values import all_finite, on_values

__all__ = ["check_patch", "patch_vectors"]

_ARCMIN = math.pi / 180 / 60  # radians


def patch_vectors(
    size: int,
    *,
    pixel_arcmin: float,
    lon_deg: float | Tensor = 0.0,
    lat_deg: float | Tensor = 0.0,
) -> Tensor:
    """Return the directions of the pixels of a gnomonic patch (TAN of FITS).

    The pixel ``(H // 2, H // 2)`` is the centre. Rows grow to the north and columns to the west, as
    in FITS: draw a patch with ``origin="lower"``.

    Arguments:
        size: H, pixels along a side.
        pixel_arcmin: side of the pixel at the centre.
        lon_deg: longitude of the centre in degrees, a number or ``(N,)``.
        lat_deg: latitude of the centre in degrees, likewise.

    Returns:
        unit vectors ``(H, H, 3)`` or ``(N, H, H, 3)``, float64.

    Raises:
        ValueError: a size or pixel that is not positive, a latitude beyond a pole, a longitude
            that is not finite, or as many of these as there are none of those.

    Example:
        >>> patch_vectors(3, pixel_arcmin=60.0)[1, 1]
        tensor([1., 0., 0.], dtype=torch.float64)
    """
    size = check_patch(size, pixel_arcmin)
    lon, lat = _centres(lon_deg, lat_deg)
    zero = torch.zeros_like(lon)
    # The frame at the centre: outward, to the west and to the north, (..., 3) each.
    outward = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], -1)
    west = torch.stack([lon.sin(), -lon.cos(), zero], -1)
    north = torch.stack([-lat.sin() * lon.cos(), -lat.sin() * lon.sin(), lat.cos()], -1)
    step = (torch.arange(size, dtype=torch.float64) - size // 2) * (pixel_arcmin * _ARCMIN)
    plane = (
        outward[..., None, None, :]
        + step[:, None] * west[..., None, None, :]
        + step[:, None, None] * north[..., None, None, :]
    )
    return plane / plane.norm(dim=-1, keepdim=True)


def _centres(lon_deg: float | Tensor, lat_deg: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return longitudes and latitudes in radians, of one shape."""
    lon = as_tensor("lon_deg", lon_deg, dtype=torch.float64).deg2rad()
    lat = as_tensor("lat_deg", lat_deg, dtype=torch.float64).deg2rad()
    inside = lat.abs() <= math.pi / 2 + 1e-12
    if on_values(inside, lambda values: bool(values.all())) is False:
        raise ValueError("lat_deg must lie in -90..90")
    if not all_finite(lon):
        raise ValueError("lon_deg must be finite, in degrees")
    if lon.dim() and lat.dim() and lon.shape != lat.shape:
        raise ValueError(
            f"lon_deg and lat_deg must have one shape, got {tuple(lon.shape)} and "
            f"{tuple(lat.shape)}"
        )
    lon, lat = torch.broadcast_tensors(lon, lat)
    return lon, lat


def check_patch(size: int, pixel_arcmin: float) -> int:
    """Return the size of a patch, refused if a patch cannot have it.

    Arguments:
        size: pixels along a side, a positive integer.
        pixel_arcmin: side of a pixel, finite and positive.

    Raises:
        TypeError, ValueError: one of them is not.

    Example:
        >>> check_patch(64, 6.871)
        64
    """
    number = as_integer("size", size)
    if number < 1:
        raise ValueError(f"size must be a positive integer, got {size}")
    as_length("pixel_arcmin", pixel_arcmin)
    return number
