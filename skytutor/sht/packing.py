"""healpy's packing of a_lm.

The coefficients are complex, with m >= 0 alone: all l of m = 0 first, then those of m = 1, and so
on. A real map's a_lm obey ``a_(l,-m) = (-1)**m conj(a_lm)``, so m >= 0 says all.
"""

import torch
from torch import Tensor

from skytutor.healpix import check_nside
from skytutor.validate import all_finite, as_integer

# Numbers of 16 bits, which no sum over a sky fits into, and what to compute in instead.
HALF = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.complex32: torch.complex64,
}


def alm_size(lmax: int) -> int:
    """Return the number of a_lm up to lmax, ``(lmax + 1) (lmax + 2) / 2``.

    Example:
        >>> alm_size(2)
        6
    """
    return (lmax + 1) * (lmax + 2) // 2


def alm_index(l: Tensor, m: Tensor, *, lmax: int) -> Tensor:
    """Return the index of (l, m) in the packing, ``m (2 lmax + 1 - m) / 2 + l``.

    Arguments:
        l: degrees, int64 of any shape.
        m: orders, 0 to l, of a shape that broadcasts with `l`.
        lmax: largest degree of the packing.

    Returns:
        int64 of the common shape, from 0.
    """
    return m * (2 * lmax + 1 - m) // 2 + l


def alm_lm(lmax: int) -> tuple[Tensor, Tensor]:
    """Return the degree l and the order m of every coefficient in the packing.

    Arguments:
        lmax: largest degree of the packing.

    Returns:
        l and m, ``(A,)`` int64 each.

    Example:
        >>> alm_lm(1)
        (tensor([0, 1, 1]), tensor([0, 0, 1]))
    """
    m, l = torch.triu_indices(lmax + 1, lmax + 1)
    return l, m


def check_lmax(lmax: int, nside: int | None = None) -> int:
    """Return `lmax` as an int if it is a degree, and one that maps of this nside can hold.

    Arguments:
        lmax: largest degree, from 0 on.
        nside: of the maps, which hold degrees up to 3 nside - 1; None if there are no maps.

    Returns:
        The largest degree as a Python int.

    Raises:
        TypeError: no integer.
        ValueError: negative, above 3 nside - 1, or a bad nside.

    Example:
        >>> check_lmax(47, 16)
        47
    """
    if nside is not None:
        nside = check_nside(nside)
    lmax = as_integer("lmax", lmax)
    if nside is None and lmax < 0:
        raise ValueError(f"lmax must not be negative, got {lmax}")
    if nside is not None and not 0 <= lmax <= 3 * nside - 1:
        raise ValueError(
            f"lmax must lie in 0..{3 * nside - 1} (3 nside - 1) at nside {nside}, got {lmax}"
        )
    return lmax


def check_alms(
    alms: Tensor, *, lmax: int, spin: int = 0, name: str = "alms", finite: bool = True
) -> Tensor:
    """Return `alms` if they can be transformed: complex, of the right size, every one a number.

    Arguments:
        alms: ``(..., A)``, or ``(..., 2, A)``, E and B, with spin 2.
        lmax: largest degree of the packing.
        spin: 0 or 2.
        name: what the error message calls them.
        finite: look at the values too. That waits for the device, so layers skip it when compiled.

    Returns:
        The coefficients themselves, complex32 as complex64, a pending conjugation carried out.

    Raises:
        TypeError: not a complex tensor.
        ValueError: empty, another length, not E and B, NaN or infinite.
    """
    if not isinstance(alms, Tensor) or not alms.is_complex():
        kind = alms.dtype if isinstance(alms, Tensor) else type(alms).__name__
        raise TypeError(f"{name} must be a complex torch tensor, got {kind}")
    want = (2, alm_size(lmax)) if spin else (alm_size(lmax),)
    if tuple(alms.shape[-len(want) :]) != want:
        parts = "E and B, " if spin else ""
        raise ValueError(
            f"{name} must end in {want} ({parts}lmax {lmax}); got shape {tuple(alms.shape)}"
        )
    if alms.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(alms.shape)}")
    alms = alms.to(HALF.get(alms.dtype, alms.dtype)).resolve_conj()
    if finite and not all_finite(torch.view_as_real(alms)):
        raise ValueError(f"{name} holds NaN or infinite values")
    return alms
