"""healpy's packing of a_lm.

The coefficients are complex, with m >= 0 alone: all l of m = 0 first, then those of m = 1, and so
on. A real map's a_lm obey ``a_(l,-m) = (-1)**m conj(a_lm)``, so m >= 0 says all. Orders may end at
an mmax below lmax; only `resize_alms` and the sizes and indices here take such coefficients.
"""

import torch
from torch import Tensor

from skytutor.arrays import as_integers, as_tensor
from skytutor.healpix import check_nside
from skytutor.validate import as_integer, check_broadcast
from skytutor.values import all_finite

# Numbers of 16 bits, which no sum over a sky fits into, and what to compute in instead.
HALF = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.complex32: torch.complex64,
}


def alm_size(lmax: int, *, mmax: int | None = None) -> int:
    """Return the number of a_lm up to lmax, ``(mmax + 1) (lmax + 1) - mmax (mmax + 1) / 2``.

    Arguments:
        lmax: largest degree.
        mmax: largest order, lmax by default.

    Returns:
        The number of coefficients with m from 0 to mmax.

    Raises:
        TypeError: an mmax that is no integer.
        ValueError: an mmax outside 0..lmax.

    Example:
        >>> alm_size(2), alm_size(2, mmax=1)
        (6, 5)
    """
    mmax = lmax if mmax is None else check_mmax(mmax, lmax=lmax)
    return (mmax + 1) * (lmax + 1) - mmax * (mmax + 1) // 2


def alm_index(l: Tensor, m: Tensor, *, lmax: int, mmax: int | None = None) -> Tensor:
    """Return the index of (l, m) in the packing, ``m (2 lmax + 1 - m) / 2 + l``.

    Arguments:
        l: degrees, int64 of any shape.
        m: orders, 0 to l, of a shape that broadcasts with `l`.
        lmax: largest degree of the packing.
        mmax: largest order of the packing, lmax by default. The index is the same for all that
            hold m.

    Returns:
        int64 of the common shape, from 0.

    Raises:
        ValueError: mmax outside 0..lmax, an order above it, or shapes that do not broadcast.

    Example:
        >>> alm_index(torch.tensor([1, 2]), torch.tensor([1, 1]), lmax=2, mmax=1)
        tensor([3, 4])
    """
    l, m = as_integers(l=l, m=m)
    check_broadcast(l=l, m=m)
    if mmax is not None and bool((m > check_mmax(mmax, lmax=lmax)).any()):
        raise ValueError(f"m must lie in 0..{mmax} (mmax), got {int(m.max())}")
    return m * (2 * lmax + 1 - m) // 2 + l


def alm_lm(lmax: int, *, mmax: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the degree l and the order m of every coefficient in the packing.

    Arguments:
        lmax: largest degree of the packing.
        mmax: largest order of the packing, lmax by default.

    Returns:
        l and m, ``(A,)`` int64 each.

    Raises:
        TypeError, ValueError: as `alm_size`.

    Example:
        >>> alm_lm(1)
        (tensor([0, 1, 1]), tensor([0, 0, 1]))
    """
    mmax = lmax if mmax is None else check_mmax(mmax, lmax=lmax)
    m, l = torch.triu_indices(mmax + 1, lmax + 1)
    return l, m


def check_mmax(mmax: int | None, *, lmax: int, name: str = "mmax") -> int:
    """Return `mmax` as an int if it is an order that degrees up to lmax have.

    Arguments:
        mmax: largest order, from 0 to lmax; None for lmax.
        lmax: largest degree.
        name: what the error message calls it.

    Returns:
        The largest order as a Python int.

    Raises:
        TypeError: no integers.
        ValueError: a negative lmax, or mmax outside 0..lmax.

    Example:
        >>> check_mmax(None, lmax=8)
        8
    """
    lmax = check_lmax(lmax)
    order = lmax if mmax is None else as_integer(name, mmax)
    if not 0 <= order <= lmax:
        raise ValueError(f"{name} must lie in 0..{lmax} (lmax), got {order}")
    return order


def resize_alms(
    alms: Tensor,
    *,
    lmax: int,
    lmax_out: int,
    mmax: int | None = None,
    mmax_out: int | None = None,
) -> Tensor:
    """Return coefficients up to another lmax or mmax: cut off, or padded with zeros.

    All other functions here take mmax = lmax alone: pad with this first.

    Arguments:
        alms: ``(..., A)`` complex, A of lmax and mmax.
        lmax: largest degree of `alms`.
        lmax_out: of the result.
        mmax: largest order of `alms`, lmax by default.
        mmax_out: of the result, lmax_out by default.

    Returns:
        ``(..., A_out)``, in the precision of `alms`. Gradients flow through it.

    Raises:
        TypeError: not a complex tensor.
        ValueError: another size, NaN or infinite values, or an mmax above its lmax.

    Example:
        >>> resize_alms(torch.ones(2, dtype=torch.complex64), lmax=1, mmax=0, lmax_out=1).real
        tensor([1., 1., 0.])
    """
    mmax = check_mmax(mmax, lmax=lmax)
    mmax_out = check_mmax(mmax_out, lmax=lmax_out, name="mmax_out")
    want = (alm_size(lmax, mmax=mmax),)
    alms = _check_complex(alms, want, f"lmax {lmax}, mmax {mmax}", "alms")
    l, m = (axis.to(alms.device) for axis in alm_lm(lmax_out, mmax=mmax_out))
    # What is not there is read from a zero behind the last coefficient.
    index = torch.where((l <= lmax) & (m <= mmax), alm_index(l, m, lmax=lmax), alms.shape[-1])
    zero = torch.zeros_like(alms[..., :1])
    return torch.cat([alms, zero], -1)[..., index]


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
        The coefficients as a tensor, complex32 as complex64, a pending conjugation carried out.

    Raises:
        TypeError: no complex numbers.
        ValueError: empty, another length, not E and B, NaN or infinite.
    """
    want = (2, alm_size(lmax)) if spin else (alm_size(lmax),)
    what = f"{'E and B, ' if spin else ''}lmax {lmax}"
    return _check_complex(alms, want, what, name, finite=finite)


def _check_complex(
    alms: Tensor, want: tuple[int, ...], what: str, name: str, *, finite: bool = True
) -> Tensor:
    """Return coefficients if they are complex, end in a shape, are not empty and hold numbers."""
    alms = as_tensor(name, alms)
    if not alms.is_complex():
        raise TypeError(f"{name} must be complex numbers, got {alms.dtype}")
    if tuple(alms.shape[-len(want) :]) != want:
        raise ValueError(
            f"{name} must end in {want} ({what}); got shape {tuple(alms.shape)}. "
            "Those of mmax < lmax are padded by skytutor.sht.resize_alms"
        )
    if alms.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(alms.shape)}")
    alms = alms.to(HALF.get(alms.dtype, alms.dtype)).resolve_conj()
    if finite and not all_finite(torch.view_as_real(alms)):
        raise ValueError(f"{name} holds NaN or infinite values")
    return alms
