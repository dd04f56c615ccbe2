"""Monopole and dipole of maps: fitted on the pixels that are seen, and taken away.

The fit is that of weighted least squares, the a and d with the least
``sum_p w_p (m_p - a - d . v_p)**2`` over pixels of weight w_p in the directions v_p. On a full sky
they are the l = 0 and l = 1 parts of the map; on a cut sky the two are not independent, nor of what
lies at higher l.
"""

import torch
from torch import Tensor

from skytutor.arrays import as_tensor, split_masked
from skytutor.healpix import (
    check_maps,
    check_order,
    check_weights,
    is_unseen,
    nside_to_npix,
    pixel_to_vector,
)

__all__ = ["fit_dipole", "fit_monopole", "remove_dipole", "remove_monopole"]

# Of the least over the greatest eigenvalue of the normal matrix. A third for the full sky, 1e-9 for
# a disc of half a degree; rounding leaves 1e-16 where there is no one answer.
_SINGULAR = 1e-13


def fit_monopole(maps: Tensor, *, nside: int, order: str, weights: Tensor | None = None) -> Tensor:
    """Return the weighted mean of maps, what ``healpy.fit_monopole`` gives.

    Arguments:
        maps: ``(..., P)`` of a scalar; what stands in pixels of weight 0 does not count, be it
            UNSEEN or NaN. What a masked array hides has weight 0.
        nside: of the maps.
        order: of their pixels, "ring" or "nested".
        weights: not negative, of a shape that broadcasts with `maps`, such as a mask; None for 1.

    Returns:
        ``(...)``, in the unit and the precision of `maps`. Gradients flow through it.

    Raises:
        TypeError: bad arguments, named.
        ValueError: bad arguments, named; UNSEEN or NaN where the weight is not 0; no weight at all.

    Example:
        >>> fit_monopole(torch.arange(12.0), nside=1, order="ring")
        tensor(5.5000)
    """
    maps, weights = split_masked("maps", maps, weights, mask_name="weights")
    maps = as_tensor("maps", maps)
    values, weights = _seen(maps, weights, nside=nside, order=order)
    total = weights.sum(-1)
    if not bool((total > 0).all()):
        raise ValueError("weights must leave pixels to fit, got 0 everywhere")
    return ((weights * values).sum(-1) / total).to(maps.dtype)


def remove_monopole(
    maps: Tensor, *, nside: int, order: str, weights: Tensor | None = None
) -> Tensor:
    """Return maps without their monopole, as ``healpy.remove_monopole`` does.

    Arguments:
        maps: ``(..., P)``, as in `fit_monopole`.
        nside: of the maps.
        order: of their pixels, "ring" or "nested".
        weights: of the fit, as in `fit_monopole`.

    Returns:
        ``(..., P)``; taken away in all pixels, also where the weight is 0, but for those that are
        UNSEEN, NaN or infinite, which stay as they are; NaN where a masked array hides pixels.

    Raises:
        TypeError, ValueError: as `fit_monopole`.

    Example:
        >>> remove_monopole(torch.arange(12.0), nside=1, order="ring")[:3]
        tensor([-5.5000, -4.5000, -3.5000])
    """
    maps, weights = split_masked("maps", maps, weights, mask_name="weights")
    maps = as_tensor("maps", maps)
    mean = fit_monopole(maps, nside=nside, order=order, weights=weights)
    return torch.where(_is_number(maps), maps - mean[..., None], maps)


def fit_dipole(
    maps: Tensor, *, nside: int, order: str, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the monopole and the dipole that fit maps best, what ``healpy.fit_dipole`` gives.

    healpy's ``gal_cut`` of b degrees is a mask of ``|z| >= sin(b)``.

    Arguments:
        maps: ``(..., P)`` of a scalar; what stands in pixels of weight 0 does not count, be it
            UNSEEN or NaN. What a masked array hides has weight 0.
        nside: of the maps.
        order: of their pixels, "ring" or "nested".
        weights: not negative, of a shape that broadcasts with `maps`, such as a mask; None for 1.

    Returns:
        The monopole ``(...)`` and the dipole ``(..., 3)``, the vector to its maximum as long as its
        amplitude, in the unit and the precision of `maps`. Gradients flow through both.

    Raises:
        TypeError: bad arguments, named.
        ValueError: bad arguments, named; UNSEEN or NaN where the weight is not 0; weights that
            leave too few pixels for one answer.

    Example:
        >>> monopole, dipole = fit_dipole(torch.arange(12.0), nside=1, order="ring")
        >>> monopole, dipole[2]
        (tensor(5.5000), tensor(-6.))
    """
    maps, weights = split_masked("maps", maps, weights, mask_name="weights")
    maps = as_tensor("maps", maps)
    values, weights = _seen(maps, weights, nside=nside, order=order)
    columns = _columns(nside, order).to(maps.device)  # (P, 4)
    # Normal equations: (columns^T W columns) x = columns^T W m
    products = (columns[:, :, None] * columns[:, None]).flatten(1)  # (P, 16)
    normal = (weights @ products).unflatten(-1, (4, 4))
    eigenvalues = torch.linalg.eigvalsh(normal.detach())  # rising
    if not bool((eigenvalues[..., 0] > _SINGULAR * eigenvalues[..., 3]).all()):
        raise ValueError(
            "weights must leave enough pixels to tell monopole and dipole apart: four or more, not "
            "all on one circle"
        )
    right = (weights * values) @ columns  # (..., 4)
    normal = normal.expand(*right.shape, 4)
    solution = torch.linalg.solve(normal, right).to(maps.dtype)
    return solution[..., 0], solution[..., 1:]


def remove_dipole(maps: Tensor, *, nside: int, order: str, weights: Tensor | None = None) -> Tensor:
    """Return maps without their monopole and dipole, as ``healpy.remove_dipole`` does.

    Arguments:
        maps: ``(..., P)``, as in `fit_dipole`.
        nside: of the maps.
        order: of their pixels, "ring" or "nested".
        weights: of the fit, as in `fit_dipole`.

    Returns:
        ``(..., P)``; taken away in all pixels, also where the weight is 0, but for those that are
        UNSEEN, NaN or infinite, which stay as they are; NaN where a masked array hides pixels.

    Raises:
        TypeError, ValueError: as `fit_dipole`.

    Example:
        >>> from skytutor.healpix import pixel_to_vector
        >>> dipole = pixel_to_vector(torch.arange(12), nside=1, order="ring")[:, 0] + 7
        >>> bool(remove_dipole(dipole, nside=1, order="ring").abs().max() < 1e-12)
        True
    """
    maps, weights = split_masked("maps", maps, weights, mask_name="weights")
    maps = as_tensor("maps", maps)
    monopole, dipole = fit_dipole(maps, nside=nside, order=order, weights=weights)
    vectors = _columns(nside, order)[:, 1:].to(dipole)
    fit = monopole[..., None] + dipole @ vectors.T
    return torch.where(_is_number(maps), maps - fit, maps)


def _seen(maps: Tensor, weights: Tensor | None, *, nside: int, order: str) -> tuple[Tensor, Tensor]:
    """Return the values that count, 0 elsewhere, and their weights, float64."""
    check_order(order, allowed=("ring", "nested"))
    maps = check_maps(maps, nside=nside, order=order, finite=False)
    weights = check_weights(weights, maps)
    values = torch.where(weights > 0, maps, 0.0)
    check_maps(values, nside=nside, order=order)
    return values.double(), weights.double()


def _columns(nside: int, order: str) -> Tensor:
    """Return 1, x, y and z of every pixel, ``(P, 4)`` float64."""
    vectors = pixel_to_vector(torch.arange(nside_to_npix(nside)), nside=nside, order=order)
    return torch.cat([torch.ones_like(vectors[:, :1]), vectors], 1)


def _is_number(maps: Tensor) -> Tensor:
    """Return where pixels hold a value: finite and not UNSEEN."""
    return torch.isfinite(maps) & ~is_unseen(maps)
