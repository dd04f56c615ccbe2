"""Skies of the sphere behind drawn masks, with their exact fills: for training and for scores."""

from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.chapters.inpainting.sphere_sky import SphereSky
from skytutor.fields.preconditioners import HolePreconditioner
from skytutor.fields.whitened import solve_whitened
from skytutor.healpix import nside_to_npix, pixel_area, pixel_to_vector
from skytutor.sht import RealHarmonics, real_degrees
from skytutor.sht.solvers import ConvergenceError

__all__ = ["Masked", "draw_mask", "excess", "masked_skies"]

_BATCH = 32  # skies filled exactly at a time
_EXACT = 1e-6  # relative error of what counts as exact
# Half-widths of bands and radii of discs, in pixels.
_BAND = (0.7, 7.0)
_DISC = (0.5, 5.0)


class Masked(NamedTuple):
    """Skies behind masks, and what the exact filter makes of them.

    Attributes:
        data: ``(n, S, P)``, S skies behind each mask.
        mask: ``(n, 1, P)`` bool, True where seen.
        exact: ``(n, S, P)``, the data with hidden pixels filled by the Wiener filter.
        variance: posterior variances of the signal, summed over the hidden pixels, ``(n,)``.
    """

    data: Tensor
    mask: Tensor
    exact: Tensor
    variance: Tensor


def draw_mask(nside: int, *, generator: torch.Generator) -> Tensor:
    """Draw a mask of training: a ragged band about a random great circle, and discs.

    Sizes are drawn in pixels, whatever the nside, so that small holes and wide ones come up.

    Arguments:
        nside: of the mask.
        generator: of the random numbers.

    Returns:
        ``(P,)`` bool, RING order, True where seen.

    Example:
        >>> mask = draw_mask(16, generator=torch.Generator().manual_seed(0))
        >>> bool(0.5 < mask.double().mean() < 1)
        True
    """
    pixel = pixel_area(nside) ** 0.5
    vectors = pixel_to_vector(torch.arange(nside_to_npix(nside)), nside=nside, order="ring")
    band, crowd = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    # The band's edge follows a smooth field: where that is low, there is no band.
    half_width = pixel * _BAND[0] * (_BAND[1] / _BAND[0]) ** band
    axis = _directions(1, generator=generator)[0]
    latitude = (vectors @ axis).clamp(-1, 1).asin()
    ragged = 0.3 + _smooth_field(nside, generator=generator)
    hidden = latitude.abs() < half_width * ragged.clamp(min=0)
    # Discs, most of them small.
    n = 10 + int(nside**2 * crowd**2 / 10)
    centres = _directions(n, generator=generator)
    size = torch.rand(n, generator=generator, dtype=torch.float64).square()
    radius = pixel * _DISC[0] * (_DISC[1] / _DISC[0]) ** size
    hidden |= (vectors @ centres.T > radius.cos()).any(1)
    # A small disc between pixel centres hides none.
    hidden[int((vectors @ centres[0]).argmax())] = True
    return ~hidden


def _directions(n: int, *, generator: torch.Generator) -> Tensor:
    """Draw n unit vectors, ``(n, 3)``, evenly over the sphere."""
    vectors = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return vectors / vectors.norm(dim=1, keepdim=True)


def _smooth_field(nside: int, *, generator: torch.Generator) -> Tensor:
    """Draw a Gaussian field of unit variance, smooth over some four pixels, ``(P,)``."""
    lmax = 2 * nside
    l = real_degrees(lmax)[0].double()
    pixel = pixel_area(nside) ** 0.5
    root = (torch.exp(-0.5 * (4 * pixel * l).square()) / (l + 5) ** 1.5).sqrt()
    unit = torch.randn(len(l), generator=generator, dtype=torch.float64)
    field = RealHarmonics(nside, lmax, order="ring", dtype=torch.float64).synthesis(root * unit)
    return field / field.std()


def masked_skies(
    sky: SphereSky, masks: Tensor, *, skies: int, generator: torch.Generator
) -> Masked:
    """Draw skies behind masks and fill them exactly, by the dense matrix of the hidden pixels.

    Arguments:
        sky: to draw from.
        masks: ``(n, P)`` bool, True where seen.
        skies: S, behind each mask.
        generator: of the random numbers.

    Raises:
        ConvergenceError: a fill that is not exact.
    """
    _, data = sky.draw(len(masks) * skies, generator=generator)
    data = data.reshape(len(masks), skies, -1)
    exact = []
    variance = []
    for mask, maps in zip(masks, data, strict=True):
        hole = HolePreconditioner(sky.root, mask / sky.noise**2, harmonics=sky.harmonics)
        # A few skies at a time: the steps hold several copies of each.
        filled = [_exact_fill(sky, part, mask, hole=hole) for part in maps.split(_BATCH)]
        exact.append(torch.cat(filled))
        # The inverse of the matrix is the covariance of the hidden data in units of the noise.
        inverse = torch.cholesky_inverse(hole.cholesky).diagonal()
        variance.append(sky.noise**2 * (inverse - 1).sum())
    return Masked(data, masks[:, None], torch.stack(exact), torch.stack(variance))


def _exact_fill(sky: SphereSky, data: Tensor, mask: Tensor, *, hole: HolePreconditioner) -> Tensor:
    """Return the data ``(S, P)``, hidden pixels filled by the Wiener filter."""
    found = solve_whitened(
        sky.operator(mask),
        sky.right_side(data, mask),
        preconditioner=hole,
        tolerance=_EXACT,
        max_iter=100,
    )
    # What is compared with this must not be compared with a half-finished answer.
    if not found.residual <= 10 * _EXACT:
        raise ConvergenceError(
            f"the exact fill has not converged: residual {found.residual:.1e} after "
            f"{found.steps} steps, tolerance {_EXACT:.0e}"
        )
    return torch.where(mask, data, sky.synthesis(found.x))


def excess(filled: Tensor, exact: Tensor, *, variance: Tensor) -> Tensor:
    """Return the mean square of ``x - W`` in units of the variance that the exact fill leaves.

    The ratio of the RMSE to the least possible one is ``sqrt(1 + excess)``.

    Arguments:
        filled: x, ``(..., S, P)``, equal to `exact` in seen pixels.
        exact: W, of the same shape.
        variance: posterior variances of the hidden pixels, summed, ``(...)``.

    Returns:
        ``(...)``, the mean over S skies.

    Example:
        >>> excess(torch.zeros(3, 2, 48), torch.ones(3, 2, 48), variance=torch.full((3,), 96.0))
        tensor([0.5000, 0.5000, 0.5000])
    """
    return (filled - exact).square().sum(-1).mean(-1) / variance
