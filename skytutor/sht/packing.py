"""healpy's packing of a_lm: complex, m >= 0 alone, all l of m = 0 first, then those of m = 1, and so on.

A real map's a_lm obey ``a_(l,-m) = (-1)**m conj(a_lm)``, so m >= 0 says all.
"""

import torch
from torch import Tensor

from skytutor.healpix import check_nside
from skytutor.healpix.checks import all_finite, as_integer


def count(lmax: int) -> int:
    """Number of a_lm up to lmax, ``(lmax + 1) (lmax + 2) / 2``."""
    return (lmax + 1) * (lmax + 2) // 2


def position(l: Tensor, m: Tensor, *, lmax: int) -> Tensor:
    """Place of (l, m) in the packing."""
    return m * (2 * lmax + 1 - m) // 2 + l


def degrees(lmax: int) -> tuple[Tensor, Tensor]:
    """L and m of every place in the packing, int64."""
    m, l = torch.triu_indices(lmax + 1, lmax + 1)
    return l, m


def check_lmax(lmax: int, nside: int) -> int:
    """Return `lmax` as an int if it lies in 0..3 nside - 1; ``TypeError`` or ``ValueError`` that says so."""
    nside = check_nside(nside)
    lmax = as_integer("lmax", lmax)
    if not 0 <= lmax <= 3 * nside - 1:
        raise ValueError(
            f"lmax must lie in 0..{3 * nside - 1} (3 nside - 1) at nside {nside}, got {lmax}"
        )
    return lmax


def check_alms(
    alms: Tensor, *, lmax: int, spin: int = 0, name: str = "alms", finite: bool = True
) -> Tensor:
    """Return `alms` if they are complex ``(..., A)``, or ``(..., 2, A)`` with spin 2, and every one is a number.

    Raises:
        TypeError: not a complex tensor. ValueError: empty, another length, not E and B, NaN or
            infinite.
    """
    if not isinstance(alms, Tensor) or not alms.is_complex():
        kind = alms.dtype if isinstance(alms, Tensor) else type(alms).__name__
        raise TypeError(f"{name} must be a complex torch tensor, got {kind}")
    want = (2, count(lmax)) if spin else (count(lmax),)
    if tuple(alms.shape[-len(want) :]) != want:
        parts = "E and B, " if spin else ""
        raise ValueError(
            f"{name} must end in {want} ({parts}lmax {lmax}); got shape {tuple(alms.shape)}"
        )
    if alms.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(alms.shape)}")
    if finite and not all_finite(torch.view_as_real(alms)):
        raise ValueError(f"{name} holds NaN or infinite values")
    return alms
