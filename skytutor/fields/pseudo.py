"""Pseudo-spectra of two masked maps, each behind a mask of its own.

What the masks do to them is undone in `skytutor.fields.master`.
"""

from functools import partial

import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor, split_masked
from skytutor.fields.spectra import alm2cl, check_mask
from skytutor.healpix import seen_maps
from skytutor.sht import check_lmax, map2alm
from skytutor.validate import check_spin

__all__ = ["cross_pseudo_cl", "mean_product"]


def cross_pseudo_cl(
    maps: Tensor,
    other: Tensor,
    *,
    mask: Tensor,
    other_mask: Tensor,
    nside: int,
    lmax: int,
    spin: int = 0,
    other_spin: int = 0,
    order: str,
) -> dict[str, Tensor]:
    """Measure the cross-spectra of two masked maps, ``C_l(w a, v b) / mean(w v)``.

    As `skytutor.fields.spectra.pseudo_cl`, for two maps a and b with their own masks w and v: with
    ring weights, differentiable, the mixing of degrees and of E and B left in.

    Arguments:
        maps: a, ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2; where its mask is 0 it may
            hold anything, and nowhere else. A masked array's own mask hides pixels too.
        other: b, likewise; its leading axes broadcast.
        mask: w, ``(P,)`` in 0..1, of `maps`.
        other_mask: v, likewise, of `other`.
        nside: of all of them.
        lmax: largest degree to measure, at most 3 nside - 1.
        spin: of `maps`, 0 or 2.
        other_spin: of `other`, 0 or 2.
        order: of the pixels, "ring" or "nested".

    Returns:
        ``(..., lmax + 1)`` by name, in the product of the maps' units: "TT"; "TE" and "TB"; "ET"
        and "BT"; or "EE", "EB", "BE" and "BB".

    Raises:
        TypeError, ValueError: bad arguments, named, or masks without a pixel in common.

    Example:
        >>> one = torch.ones(48)
        >>> found = cross_pseudo_cl(
        ...     one, 3 * one, mask=one, other_mask=one, nside=2, lmax=2, order="ring"
        ... )
        >>> round(float(found["TT"][0]), 3)  # 3 times 4 pi
        37.699
    """
    lmax = check_lmax(lmax, nside)
    maps, mask = split_masked("maps", maps, mask, axes=1)
    other, other_mask = split_masked("other", other, other_mask, mask_name="other_mask", axes=1)
    mask = check_mask(mask, nside=nside)
    other_mask = check_mask(other_mask, nside=nside, name="other_mask")
    norm = mean_product(mask, other_mask)
    (maps,) = as_floats(maps=seen_maps(maps, mask, nside=nside, order=order))
    (other,) = as_floats(other=seen_maps(other, other_mask, nside=nside, order=order, name="other"))
    sky = partial(map2alm, nside=nside, lmax=lmax, order=order)
    first = sky(maps * mask.to(maps), spin=check_spin(spin))
    second = sky(other * other_mask.to(other), spin=check_spin(other_spin))
    out = {}
    for a, one in _by_field(first, spin).items():
        for b, two in _by_field(second, other_spin).items():
            out[a + b] = alm2cl(one, two, lmax=lmax) / norm
    return out


def _by_field(alms: Tensor, spin: int) -> dict[str, Tensor]:
    """Return coefficients by the letters of their fields, ``(..., A)`` each."""
    if not spin:
        return {"T": alms}
    e, b = alms.unbind(-2)
    return {"E": e, "B": b}


def mean_product(mask: Tensor, other_mask: Tensor) -> float:
    """Return the mean of the product of two masks, refused if it is 0.

    Arguments:
        mask: ``(P,)``.
        other_mask: ``(P,)``.

    Raises:
        ValueError: masks without a pixel in common.

    Example:
        >>> mean_product(torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.0]))
        0.5
    """
    first = as_tensor("mask", mask, dtype=torch.float64)
    second = as_tensor("other_mask", other_mask, dtype=torch.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"mask and other_mask must have one shape, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    mean = float((first * second).mean())
    if not mean > 0:
        raise ValueError("mask and other_mask have no pixel in common: nothing is seen by both")
    return mean
