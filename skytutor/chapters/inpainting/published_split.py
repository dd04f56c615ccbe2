"""How much sky training and validation have in common, as published and after a disjoint split."""

import math

import torch
from torch import Tensor

from skytutor.chapters.seeds import INPAINTING as SEEDS

__all__ = ["split_price"]

# Sides of a published patch, degrees.
WIDTH_DEG = 20.0
HEIGHT_DEG = 10.0


def _axes(centres: Tensor) -> Tensor:
    """Return east, north and outward unit vectors at directions, ``(n, 3, 3)``."""
    z = torch.tensor([0.0, 0.0, 1.0], dtype=centres.dtype).expand_as(centres)
    east = torch.linalg.cross(z, centres)
    east = east / east.norm(dim=1, keepdim=True)
    north = torch.linalg.cross(centres, east)
    return torch.stack([east, north, centres], 1)


def _random_centres(n: int, *, z: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Draw directions evenly over the part of the sphere between two heights, ``(n, 3)``."""
    u = torch.rand(2, n, generator=generator, dtype=torch.float64)
    height = z[0] + (z[1] - z[0]) * u[0]
    radius = (1 - height**2).sqrt()
    angle = 2 * math.pi * u[1]
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], 1)


def _overlap(training: Tensor, validation: Tensor) -> Tensor:
    """Return the fraction of each validation patch's sky that lies in a training patch, ``(n,)``.

    Arguments:
        training: centres of patches, ``(m, 3)``.
        validation: likewise, ``(n, 3)``.
    """
    half_x = math.radians(WIDTH_DEG / 2)
    half_y = math.radians(HEIGHT_DEG / 2)
    # Points in steps of a degree, in the middle of square degrees: (20 x 10, 3) in a patch's axes.
    x = math.radians(1.0) * (torch.arange(20, dtype=torch.float64) - 9.5)
    y = math.radians(1.0) * (torch.arange(10, dtype=torch.float64) - 4.5)
    y, x = torch.meshgrid(y, x, indexing="ij")
    local = torch.stack([y.cos() * x.sin(), y.sin(), y.cos() * x.cos()], -1).reshape(-1, 3)
    axes = _axes(training)  # (m, 3, 3)
    fractions = []
    for frame in _axes(validation):
        points = local @ frame  # (200, 3) on the sky
        seen_from = torch.einsum("mij,pj->mpi", axes, points)  # (m, 200, 3)
        along = torch.atan2(seen_from[..., 0], seen_from[..., 2]).abs()
        across = seen_from[..., 1].clamp(-1, 1).asin().abs()
        inside = (along <= half_x) & (across <= half_y)
        fractions.append(inside.any(0).double().mean())
    return torch.stack(fractions)


def split_price(*, training: int = 400, validation: int = 200, seed: int = 0) -> dict[str, float]:
    """Measure how much sky validation patches have in common with those of training.

    As published, 20 x 10 degree patches are cut at random places and then divided. A disjoint split
    divides the sky first: training in the north, validation in the south, no patch across.

    Arguments:
        training: number of patches. 206 would cover the sky once.
        validation: number of patches.
        seed: of the places.

    Returns:
        ``published_sky`` and ``disjoint_sky``, the fraction of the validation's sky that training
        has seen; ``published_patches`` and ``disjoint_patches``, the fraction of validation patches
        that have any sky in common with training.
    """
    generator = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    # A patch whose centre lies 12 degrees from the equator does not reach it.
    edge = math.sin(math.radians(12.0))
    heights = {
        "published": ((-1.0, 1.0), (-1.0, 1.0)),
        "disjoint": ((edge, 1.0), (-1.0, -edge)),
    }
    found = {}
    for name, (north, south) in heights.items():
        first = _random_centres(training, z=north, generator=generator)
        second = _random_centres(validation, z=south, generator=generator)
        overlap = _overlap(first, second)
        found[f"{name}_sky"] = float(overlap.mean())
        found[f"{name}_patches"] = float((overlap > 0).double().mean())
    return found
