"""Values of a map between its pixel centres."""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix.checks import check_nside, check_order, is_unseen, nside_to_npix
from skytutor.healpix.numbering import ring_to_nested
from skytutor.healpix.rings import colatitudes, rings
from skytutor.values import all_finite, on_values

__all__ = ["interpolate", "interpolation_weights"]


def interpolation_weights(
    theta: Tensor, phi: Tensor, *, nside: int, order: str
) -> tuple[Tensor, Tensor]:
    """Return four pixels about each direction and their weights, which sum to 1.

    Two pixels lie on the ring to the north and two on the ring to the south. Between the pixels of
    a ring values change linearly in longitude, between the rings linearly in colatitude, as in
    HEALPix's own interpolation [1]_. Beyond the last ring the four pixels about the pole count.

    Arguments:
        theta: colatitude in radians, 0 to pi, any shape.
        phi: longitude in radians, of the same shape.
        nside: of the map.
        order: of its pixels, "ring" or "nested".

    Returns:
        pixels, int64, and weights, float64, ``(..., 4)`` each.

    Raises:
        ValueError: bad arguments, named.

    Example:
        >>> pixels, weights = interpolation_weights(
        ...     torch.tensor([0.0]), torch.tensor([0.0]), nside=4, order="ring"
        ... )
        >>> sorted(pixels[0].tolist()), weights[0].tolist()
        ([0, 1, 2, 3], [0.25, 0.25, 0.25, 0.25])

    .. [1] K. M. Gorski et al., 2005, ApJ 622, 759.
    """
    check_order(order, allowed=("ring", "nested"))
    theta, phi = _check_angles(theta, phi)
    height = colatitudes(check_nside(nside)).to(theta.device)
    # Rings are counted from 0 at the north pole; -1 and R stand for the poles themselves.
    south = torch.searchsorted(height, theta, right=True)
    north = south - 1
    last = len(height) - 1
    upper = _on_ring(phi, north.clamp(min=0), nside=nside)
    lower = _on_ring(phi, south.clamp(max=last), nside=nside)
    top = torch.where(north < 0, 0.0, height[north.clamp(min=0)])
    bottom = torch.where(south > last, math.pi, height[south.clamp(max=last)])
    part = ((theta - top) / (bottom - top))[..., None]
    pixels = torch.cat([upper[0], lower[0]], -1)
    weights = torch.cat([upper[1] * (1 - part), lower[1] * part], -1)
    # Beyond the last ring the other two stand across the pole, whose value is the mean of all four.
    for beyond, first, weight in (
        ((north < 0)[..., None], 0, 1 - part),
        ((south > last)[..., None], nside_to_npix(nside) - 4, part),
    ):
        near, far = (slice(2, 4), slice(0, 2)) if first == 0 else (slice(0, 2), slice(2, 4))
        across = first + (pixels[..., near] - first + 2) % 4
        pixels[..., far] = torch.where(beyond, across, pixels[..., far])
        weights[..., near] = torch.where(
            beyond, weights[..., near] + weight / 4, weights[..., near]
        )
        weights[..., far] = torch.where(beyond, weight / 4, weights[..., far])
    if order == "nested":
        pixels = ring_to_nested(pixels, nside=nside)
    return pixels, weights


def interpolate(maps: Tensor, *, theta: Tensor, phi: Tensor, nside: int, order: str) -> Tensor:
    """Return maps at directions between their pixel centres, by `interpolation_weights`.

    Maps are scalars. Q and U are interpolated each along its own pixel's axes, as HEALPix does;
    `skytutor.layers.rotate.Sample` with ``spin=2`` turns them onto those of the direction.

    Arguments:
        maps: ``(..., P)``, floating.
        theta: colatitude in radians, any shape.
        phi: longitude in radians, of the same shape.
        nside: of the maps.
        order: of their pixels, "ring" or "nested".

    Returns:
        ``(..., *theta.shape)``, in the precision of `maps`; NaN where one of the four pixels is NaN
        or UNSEEN.

    Raises:
        ValueError: bad arguments, named.

    Example:
        >>> theta, phi = torch.tensor([0.3, 1.2]), torch.tensor([0.1, 4.0])
        >>> interpolate(torch.ones(48), theta=theta, phi=phi, nside=2, order="nested")
        tensor([1., 1.])
    """
    maps = as_tensor("maps", maps)
    if maps.shape[-1:] != (nside_to_npix(nside),) or not maps.is_floating_point():
        raise ValueError(
            f"maps must be floating and end in {nside_to_npix(nside)} pixels for nside {nside}, "
            f"got shape {tuple(maps.shape)}, {maps.dtype}"
        )
    pixels, weights = interpolation_weights(theta, phi, nside=nside, order=order)
    values = maps[..., pixels]
    # Of UNSEEN, -1.6e30, a millionth would still pass for a temperature.
    values = torch.where(is_unseen(values), torch.nan, values)
    return (values * weights.to(maps)).sum(-1)


def _on_ring(phi: Tensor, ring: Tensor, *, nside: int) -> tuple[Tensor, Tensor]:
    """Return the two pixels of a ring about a longitude and their weights, ``(..., 2)`` each."""
    table = rings(nside)
    n = table.pixels.to(ring.device)[ring]
    # Longitude in pixels of the ring, from the centre of its first.
    place = phi * n / (2 * math.pi) - 0.5 * table.shift.to(ring.device)[ring]
    west = place.floor()
    part = place - west
    first = west.long()
    pixels = (
        torch.stack([first % n, (first + 1) % n], -1) + table.start.to(ring.device)[ring][..., None]
    )
    return pixels, torch.stack([1 - part, part], -1)


def _check_angles(theta: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
    theta = as_tensor("theta", theta, dtype=torch.float64)
    phi = as_tensor("phi", phi, dtype=torch.float64)
    if theta.shape != phi.shape:
        raise ValueError(
            f"theta and phi must have one shape, got {tuple(theta.shape)} and {tuple(phi.shape)}"
        )
    # In single precision pi is larger than pi.
    inside = (theta >= 0) & (theta <= math.pi + 1e-6)
    if on_values(inside, lambda values: bool(values.all())) is False:
        raise ValueError("theta must lie in 0..pi, in radians from the north pole")
    if not all_finite(phi):
        raise ValueError("phi holds NaN or infinite values")
    return theta.clamp(max=math.pi), phi
