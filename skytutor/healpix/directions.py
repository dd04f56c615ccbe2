"""From pixel numbers to directions on the sphere, and back."""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor
from skytutor.healpix.checks import check_nside, check_order
from skytutor.healpix.numbering import (
    check_pixels,
    face_to_nested,
    face_to_ring,
    nested_to_ring,
    split_ring,
)
from skytutor.validate import check_broadcast
from skytutor.values import all_finite, extremes, on_values


def _to_ring(pix: Tensor, *, nside: int, order: str) -> Tensor:
    check_order(order, allowed=("ring", "nested"))
    return nested_to_ring(pix, nside=nside) if order == "nested" else check_pixels(pix, nside)


def _centres(pix: Tensor, *, nside: int, order: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return z, sin(theta), theta and phi of the pixel centres, float64, precise near the poles."""
    # Ring i and place j in it; the caps are counted from the nearer pole.
    i, j = split_ring(_to_ring(pix, nside=nside, order=order), nside)
    from_pole = torch.minimum(i, 4 * nside - i)
    belt = from_pole >= nside
    # z falls linearly with i in the belt and is 1 - i**2 / (3 nside**2) in the northern cap. There
    # sin(theta) comes from 1 - |z|, not from z, so that nothing cancels at the pole.
    drop = from_pole.double() ** 2 / (3 * nside**2)  # 1 - |z| in a cap
    sign = torch.where(i < 2 * nside, 1.0, -1.0).double()
    z = torch.where(belt, (2 * nside - i).double() * 2 / (3 * nside), sign * (1 - drop))
    sin_belt = (1 - z * z).clamp(min=0).sqrt()
    sin_cap = (drop * (2 - drop)).clamp(min=0).sqrt()
    sin = torch.where(belt, sin_belt, sin_cap)
    theta = torch.atan2(sin, z)
    # A quarter of a ring holds nside pixels in the belt, i in a cap; every other belt ring is
    # shifted by half a pixel. h counts half pixels.
    h = torch.where(belt, 2 * j + 1 - ((i - nside) & 1), 2 * j + 1)
    quarter = torch.where(belt, nside, from_pole)
    phi = h.double() * (math.pi / 4) / quarter.double()
    return z, sin, theta, phi


def pixel_to_angle(pix: Tensor, *, nside: int, order: str) -> tuple[Tensor, Tensor]:
    """Return colatitude theta and longitude phi of pixel centres.

    Arguments:
        pix: pixel numbers, integers of any shape.
        nside: resolution.
        order: pixel order of the numbers, "ring" or "nested".

    Returns:
        theta in [0, pi] from the north pole and phi in [0, 2 pi), radians, float64, of the shape of
        `pix`.

    Raises:
        TypeError: pixels that are no integers.
        ValueError: pixels out of range, or another order.

    Example:
        >>> theta, phi = pixel_to_angle(torch.tensor([0]), nside=1, order="ring")
        >>> round(float(theta.rad2deg()), 3), round(float(phi.rad2deg()), 3)
        (48.19, 45.0)
    """
    _, _, theta, phi = _centres(pix, nside=nside, order=order)
    return theta, phi


def pixel_to_vector(pix: Tensor, *, nside: int, order: str) -> Tensor:
    """Return unit vectors to the pixel centres.

    Arguments:
        pix: pixel numbers, integers of any shape ``(...)``.
        nside: resolution.
        order: pixel order of the numbers, "ring" or "nested".

    Returns:
        ``(..., 3)`` float64: x toward (theta, phi) = (pi/2, 0), z toward the north pole.

    Raises:
        TypeError, ValueError: as `pixel_to_angle`.
    """
    z, sin, _, phi = _centres(pix, nside=nside, order=order)
    return torch.stack([sin * phi.cos(), sin * phi.sin(), z], -1)


def _locate(z: Tensor, sin: Tensor, phi: Tensor, *, nside: int, order: str) -> Tensor:
    """Return the pixel that holds the direction with this z, sin(theta) and longitude."""
    t = (phi * (2 / math.pi)) % 4.0  # longitude in quarters of a turn
    t = torch.where(t >= 4.0, 0.0, t)  # -1e-17 % 4 rounds up to 4
    belt = z.abs() <= 2 / 3
    f_belt, y_belt, x_belt = _locate_in_belt(z, t, nside=nside)
    f_cap, y_cap, x_cap = _locate_in_cap(z, t, sin=sin, nside=nside)
    f = torch.where(belt, f_belt, f_cap)
    y = torch.where(belt, y_belt, y_cap)
    x = torch.where(belt, x_belt, x_cap)
    to = face_to_nested if order == "nested" else face_to_ring
    return to(f, y, x, nside=nside)


def _locate_in_belt(z: Tensor, t: Tensor, *, nside: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return face, row and column of directions with |z| <= 2/3; anything elsewhere."""
    # The borders of pixels are two families of straight lines in (t, z); count them.
    up = nside * (0.5 + t) + nside * (z * 0.75)
    down = nside * (0.5 + t) - nside * (z * 0.75)
    up = up.floor().long()
    down = down.floor().long()
    a = up // nside
    b = down // nside
    f = torch.where(a == b, 4 + b % 4, torch.where(b < a, b % 4, 8 + a % 4))
    x = up % nside
    y = nside - 1 - down % nside
    return f, y, x


def _locate_in_cap(
    z: Tensor, t: Tensor, *, sin: Tensor, nside: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return face, row and column of directions with |z| > 2/3; anything elsewhere."""
    # sin / sqrt((1 + |z|) / 3) is sqrt(3 (1 - |z|)) without the cancellation at the pole.
    k = t.floor().clamp(max=3)
    reach = nside * sin / ((1 + z.abs()) / 3).sqrt()
    p = ((t - k) * reach).floor().long().clamp(max=nside - 1)
    m = ((1 - t + k) * reach).floor().long().clamp(max=nside - 1)
    # x and y grow northwards: in the north they count from the far corner, at the pole, back.
    north = z > 0
    f = k.long() + torch.where(north, 0, 8)
    x = torch.where(north, nside - 1 - m, p)
    y = torch.where(north, nside - 1 - p, m)
    return f, y, x


def angle_to_pixel(theta: Tensor, phi: Tensor, *, nside: int, order: str) -> Tensor:
    """Return the number of the pixel that holds the direction (theta, phi).

    Arguments:
        theta: colatitude from the north pole, radians, in [0, pi].
        phi: longitude, radians, of any size; the two are broadcast against each other.
        nside: resolution.
        order: pixel order of the numbers, "ring" or "nested".

    Returns:
        Pixel numbers, int64, of the angles' shape.

    Raises:
        ValueError: theta outside [0, pi], angles that are not finite, or another order.
    """
    check_nside(nside)
    check_order(order, allowed=("ring", "nested"))
    theta = as_tensor("theta", theta, dtype=torch.float64)
    phi = as_tensor("phi", phi, dtype=torch.float64)
    theta, phi = torch.broadcast_tensors(*check_broadcast(theta=theta, phi=phi))
    if not (all_finite(theta) and all_finite(phi)):
        raise ValueError("theta and phi must be finite, got NaN or infinity")
    low, high = extremes(theta) if theta.numel() else (0.0, 0.0)
    # pi in float32 is larger than pi
    if low < 0 or high > math.pi + 1e-6:
        raise ValueError(f"theta must lie in [0, pi], got {low}..{high}")
    theta = theta.clamp(max=math.pi)
    return _locate(theta.cos(), theta.sin(), phi, nside=nside, order=order)


def _usable(length: Tensor) -> bool:
    """Return whether all lengths of vectors are finite and positive."""
    return bool(torch.isfinite(length).all()) and float(length.min()) > 0


def vector_to_pixel(vectors: Tensor, *, nside: int, order: str) -> Tensor:
    """Return the number of the pixel in the direction of vectors.

    Arguments:
        vectors: ``(..., 3)``, finite, of any length but zero.
        nside: resolution.
        order: pixel order of the numbers, "ring" or "nested".

    Returns:
        ``(...)`` int64.

    Raises:
        ValueError: vectors of another shape, not finite or zero; or another order.
    """
    check_nside(nside)
    check_order(order, allowed=("ring", "nested"))
    v = as_tensor("vectors", vectors, dtype=torch.float64)
    if v.dim() == 0 or v.shape[-1] != 3:
        raise ValueError(f"vectors must end in 3 components, got shape {tuple(v.shape)}")
    length = v.norm(dim=-1)
    if v.numel() and on_values(length, _usable) is False:
        raise ValueError("vectors must be finite and not zero")
    flat = torch.hypot(v[..., 0], v[..., 1])
    phi = torch.atan2(v[..., 1], v[..., 0])
    return _locate(v[..., 2] / length, flat / length, phi, nside=nside, order=order)


def check_rotations(
    rotations: Tensor, *, shape: tuple[int, ...] = (3, 3), name: str = "rotations"
) -> Tensor:
    """Return `rotations` if they are matrices that turn space and do not mirror or stretch it.

    Arguments:
        rotations: real matrices R of the given shape, ``R R^T = 1`` to 1e-3 (4 units of
            the last place in 16 bits), determinant 1.
        shape: that they must have.
        name: what the error message calls them.

    Returns:
        The matrices themselves. In a compiled graph their values are not looked at.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: another shape, or no rotations.

    Example:
        >>> check_rotations(torch.eye(3)).shape
        torch.Size([3, 3])
    """
    rotations = as_tensor(name, rotations)
    # Matrices of short formats are off by their rounding.
    short = rotations.dtype in (torch.float16, torch.bfloat16)
    allowed = 4 * torch.finfo(rotations.dtype).eps if short else 1e-3
    (rotations,) = as_floats(**{name: rotations})
    if tuple(rotations.shape) != shape:
        raise ValueError(f"{name} must be {shape}, got {tuple(rotations.shape)}")
    if rotations.numel():
        on_values(rotations, lambda r: _check_turn(r.double(), name, allowed=allowed))
    return rotations


def _check_turn(matrices: Tensor, name: str, *, allowed: float) -> None:
    """Refuse matrices that are no rotations."""
    # NaN fails both comparisons.
    off = (matrices @ matrices.mT - torch.eye(3).to(matrices)).abs().amax()
    if not (float(off) < allowed and float(torch.linalg.det(matrices).amin()) > 0):
        raise ValueError(
            f"{name} must be rotations, R R^T = 1 with determinant 1; R R^T is off by "
            f"{float(off):.3g} or a determinant is negative"
        )
