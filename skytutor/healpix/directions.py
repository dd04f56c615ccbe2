"""From pixel numbers to directions on the sphere, and back."""

import math

import torch
from torch import Tensor

from skytutor.healpix.checks import check_nside, check_order
from skytutor.healpix.numbering import (
    check_pixels,
    face_to_nested,
    face_to_ring,
    nested_to_ring,
    split_ring,
)


def _to_ring(pix: Tensor, nside: int, order: str) -> Tensor:
    check_order(order, allowed=("ring", "nested"))
    return nested_to_ring(pix, nside=nside) if order == "nested" else check_pixels(pix, nside)


def _centres(pix: Tensor, nside: int, order: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, sin(theta), theta and phi of the pixel centres, float64; precise next to the poles."""
    i, j = split_ring(_to_ring(pix, nside, order), nside)
    near = torch.minimum(i, 4 * nside - i)
    belt = near >= nside
    drop = near.double() ** 2 / (3 * nside**2)  # 1 - |z| in a cap
    sign = torch.where(i < 2 * nside, 1.0, -1.0).double()
    z = torch.where(belt, (2 * nside - i).double() * 2 / (3 * nside), sign * (1 - drop))
    sin = torch.where(
        belt, (1 - z * z).clamp(min=0).sqrt(), (drop * (2 - drop)).clamp(min=0).sqrt()
    )
    theta = torch.atan2(sin, z)
    h = torch.where(belt, 2 * j + 1 - ((i - nside) & 1), 2 * j + 1)
    phi = h.double() * (math.pi / 4) / torch.where(belt, nside, near).double()
    return z, sin, theta, phi


def pixel_to_angle(pix: Tensor, *, nside: int, order: str) -> tuple[Tensor, Tensor]:
    """Colatitude theta and longitude phi of pixel centres, radians, float64, shape of `pix`.

    Example:
        >>> theta, phi = pixel_to_angle(torch.tensor([0]), nside=1, order="ring")
        >>> round(float(theta.rad2deg()), 3), round(float(phi.rad2deg()), 3)
        (48.19, 45.0)
    """
    return _centres(pix, nside, order)[2:]


def pixel_to_vector(pix: Tensor, *, nside: int, order: str) -> Tensor:
    """Unit vectors ``(..., 3)`` to the pixel centres, float64."""
    z, sin, _, phi = _centres(pix, nside, order)
    return torch.stack([sin * phi.cos(), sin * phi.sin(), z], -1)


def _locate(z: Tensor, sin: Tensor, phi: Tensor, nside: int, order: str) -> Tensor:
    t = (phi * (2 / math.pi)) % 4.0
    t = torch.where(t >= 4.0, 0.0, t)  # -1e-17 % 4 rounds up to 4
    up = nside * (0.5 + t) + nside * (z * 0.75)
    down = nside * (0.5 + t) - nside * (z * 0.75)
    up = up.floor().long()
    down = down.floor().long()
    a = up // nside
    b = down // nside
    f = torch.where(a == b, 4 + b % 4, torch.where(b < a, b % 4, 8 + a % 4))
    x = up % nside
    y = nside - 1 - down % nside
    # Caps. sin / sqrt((1 + |z|) / 3) is sqrt(3 (1 - |z|)) without the cancellation at the pole.
    k = t.floor().clamp(max=3)
    reach = nside * sin / ((1 + z.abs()) / 3).sqrt()
    p = ((t - k) * reach).floor().long().clamp(max=nside - 1)
    m = ((1 - t + k) * reach).floor().long().clamp(max=nside - 1)
    belt = z.abs() <= 2 / 3
    north = z > 0
    f = torch.where(belt, f, k.long() + torch.where(north, 0, 8))
    x = torch.where(belt, x, torch.where(north, nside - 1 - m, p))
    y = torch.where(belt, y, torch.where(north, nside - 1 - p, m))
    to = face_to_nested if order == "nested" else face_to_ring
    return to(f, y, x, nside=nside)


def angle_to_pixel(theta: Tensor, phi: Tensor, *, nside: int, order: str) -> Tensor:
    """Number of the pixel that holds the direction (theta, phi), radians; phi of any size.

    Raises:
        ValueError: theta outside [0, pi], or angles that are not finite.
    """
    check_nside(nside), check_order(order, allowed=("ring", "nested"))
    theta, phi = torch.broadcast_tensors(
        torch.as_tensor(theta, dtype=torch.float64), torch.as_tensor(phi, dtype=torch.float64)
    )
    if not (bool(torch.isfinite(theta).all()) and bool(torch.isfinite(phi).all())):
        raise ValueError("theta and phi must be finite, got NaN or infinity")
    # pi in float32 is larger than pi
    if theta.numel() and not (float(theta.min()) >= 0 and float(theta.max()) <= math.pi + 1e-6):
        raise ValueError(
            f"theta must lie in [0, pi], got {float(theta.min())}..{float(theta.max())}"
        )
    theta = theta.clamp(max=math.pi)
    return _locate(theta.cos(), theta.sin(), phi, nside, order)


def vector_to_pixel(vectors: Tensor, *, nside: int, order: str) -> Tensor:
    """Number of the pixel in the direction of `vectors` ``(..., 3)``; any length but zero."""
    check_nside(nside), check_order(order, allowed=("ring", "nested"))
    v = torch.as_tensor(vectors).double()
    if v.dim() == 0 or v.shape[-1] != 3:
        raise ValueError(f"vectors must end in 3 components, got shape {tuple(v.shape)}")
    length = v.norm(dim=-1)
    if v.numel() and not (bool(torch.isfinite(length).all()) and float(length.min()) > 0):
        raise ValueError("vectors must be finite and not zero")
    flat = torch.hypot(v[..., 0], v[..., 1])
    return _locate(
        v[..., 2] / length, flat / length, torch.atan2(v[..., 1], v[..., 0]), nside, order
    )
