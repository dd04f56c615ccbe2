"""What a catalogue says of a galaxy: magnitudes, size, axis ratio, concentration.

The fair baseline of the chapter on spectra: all that a survey's tables hold, as well measured as
the image allows. Sizes and axis ratios are those of the image without noise, which is more than any
catalogue has.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.data.galaxies import GalaxySimulator, Photometry
from skytutor.data.galaxy_population import Galaxies
from skytutor.data.rendering import Shapes
from skytutor.memo import outside_modes

__all__ = ["Catalogue", "catalogue"]

_RED = 1  # the band that shapes are measured in
_RADII = outside_modes(
    torch.tensor,
    [0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.1, 3.8, 4.7, 5.8, 7.2, 9.0],
    dtype=torch.float32,
)


@dataclass(frozen=True)
class Catalogue:
    """Tables of galaxies.

    Attributes:
        total: ``(B, 5)``, fluxes in nanomaggies through the profile of the r band, as SDSS makes
            its model magnitudes; noisy.
        aperture: ``(B, 5)``, fluxes in nanomaggies within 3 arcsec across; noisy.
        radius: ``(B,)``, half-light radius in arcsec, seeing included.
        axis_ratio: ``(B,)``, from second moments.
        concentration: ``(B,)``, radius of 90 % of the light over that of 50 %.
    """

    total: Tensor
    aperture: Tensor
    radius: Tensor
    axis_ratio: Tensor
    concentration: Tensor


def catalogue(
    simulator: GalaxySimulator, galaxies: Galaxies, planes: Tensor, photometry: Photometry
) -> Catalogue:
    """Measure galaxies.

    Arguments:
        simulator: that drew them.
        galaxies: of its `draw`.
        planes: of its renderer.
        photometry: of its `photometry`, whose noise is the image's.

    Raises:
        ValueError: planes or photometry of another number of galaxies.
    """
    for name, size in (("planes", len(planes)), ("photometry", len(photometry.flux))):
        if size != len(galaxies):
            raise ValueError(f"{name} must hold {len(galaxies)} galaxies, got {size}")
    red = photometry.flux[:, :, _RED]
    weight = red / red.sum(1, keepdim=True)  # (B, 3): the profile of the r band
    matched = torch.einsum("bc,bfc->bf", weight, photometry.measured[..., :3])
    norm = torch.einsum("bc,bfcd,bd->bf", weight, photometry.gram[..., :3, :3], weight)
    curve = []
    for radius in _RADII.tolist():
        inside = simulator.renderer.aperture(planes, radius)[:, :, _RED]
        curve.append((weight * inside).sum(1))
    growth = torch.stack(curve, dim=1)
    half = _radius_of(growth, 0.5)
    return Catalogue(
        total=matched / norm,
        aperture=photometry.measured[..., 3],
        radius=half,
        axis_ratio=_axis_ratio(galaxies.shapes, weight),
        concentration=_radius_of(growth, 0.9) / half,
    )


def _radius_of(growth: Tensor, fraction: float) -> Tensor:
    """Return the radius that holds a fraction of the light, along a growth curve ``(B, R)``."""
    radii = _RADII.to(growth)
    # Growth curves of a periodic frame may dip in the last digits: the first crossing counts.
    right = (growth < fraction).sum(1).clamp(1, len(radii) - 1)
    left = right - 1
    low = growth.gather(1, left[:, None])[:, 0]
    high = growth.gather(1, right[:, None])[:, 0]
    weight = ((fraction - low) / (high - low).clamp(min=1e-6)).clamp(0, 2)
    return radii[left].lerp(radii[right], weight)


def _axis_ratio(shapes: Shapes, weight: Tensor) -> Tensor:
    """Return the axis ratio of the second moments of all light."""
    # Mean square radius along the major axis of unit half-light radius: exponential profiles; that
    # of the bulge diverges slowly and is cut where a survey's isophotes end.
    total = weight.new_zeros(len(weight), 3)  # xx, yy, xy
    for part, factor in (("bulge", 2.2), ("disc", 1.065)):
        square = factor * getattr(shapes, f"{part}_radius") ** 2
        ratio = getattr(shapes, f"{part}_axis_ratio")
        angle = getattr(shapes, f"{part}_angle")
        mean = square * (1 + ratio**2) / 2
        stretch = square * (1 - ratio**2) / 2
        moments = [mean + stretch * torch.cos(2 * angle), mean - stretch * torch.cos(2 * angle)]
        moments.append(stretch * torch.sin(2 * angle))
        column = 0 if part == "bulge" else 1
        total = total + weight[:, column, None] * torch.stack(moments, dim=1)
    x, y, own = shapes.clump_x, shapes.clump_y, shapes.clump_sigma**2
    clumps = [x * x + own, y * y + own, x * y]
    for k, square in enumerate(clumps):
        total[:, k] += weight[:, 2] * (shapes.clump_weight * square).sum(1)
    mean = (total[:, 0] + total[:, 1]) / 2
    spread = torch.hypot((total[:, 0] - total[:, 1]) / 2, total[:, 2])
    return ((mean - spread) / (mean + spread)).clamp(min=1e-4).sqrt()
