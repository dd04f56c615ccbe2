"""How a mask couples multipoles: kernels of spin 0 and 2 from the spectrum of the mask.

Behind a mask, a pseudo-spectrum is a mixture of the sky's spectrum at other multipoles [1]_, and E
mixes with B ([2]_, [3]_). The mean of it over skies is ``sum_l' M_ll' C_l'``, and with W_L the
spectrum of the mask (of two masks, their cross-spectrum)::

    TT        M = (2 l' + 1) / (4 pi) sum_L (2 L + 1) W_L (l l' L; 0 0 0)**2
    TE, TB    M = (2 l' + 1) / (4 pi) sum_L (2 L + 1) W_L (l l' L; 0 0 0) (l l' L; 2 -2 0)
    +, -      M = (2 l' + 1) / (8 pi) sum_L (2 L + 1) W_L (l l' L; 2 -2 0)**2
                      (1 +- (-1)**(l + l' + L))

where "+" takes EE to EE and "-" takes BB to EE. The brackets are Wigner's 3j symbols. None of them
is computed: a product of two is the integral of a product of three of Wigner's d functions, so
that the sum over L is the correlation function of the mask, and M an integral of it with two d
functions. These are polynomials of cos(theta), and Gauss' quadrature is exact.

.. [1] E. Hivon et al., 2002, ApJ 567, 2.
.. [2] A. Kogut et al., 2003, ApJS 148, 161.
.. [3] M. L. Brown, P. G. Castro & A. N. Taylor, 2005, MNRAS 360, 1262.
"""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.sht import check_lmax

__all__ = ["coupling_kernels", "gauss_legendre", "wigner_d"]

_NEWTON = 6  # steps, each of which doubles the digits; the first guess has three
# d at l = max(|m|, |n|), as functions of cos(theta), with the phases of spin-weighted harmonics.
_FIRST = {
    (0, 0): lambda x: torch.ones_like(x),
    (2, 0): lambda x: math.sqrt(6) / 4 * (1 - x) * (1 + x),
    (2, 2): lambda x: ((1 + x) / 2) ** 2,
    (2, -2): lambda x: ((1 - x) / 2) ** 2,
}


def coupling_kernels(mask_cl: Tensor, *, lmax: int) -> dict[str, Tensor]:
    """Return the coupling of multipoles by a mask, from the spectrum of the mask.

    Takes four tables of ``(lmax + 1, 2 lmax + 1)`` numbers, 150 MB at lmax 1535.

    Arguments:
        mask_cl: W_L, ``(L,)`` real, what is missing taken as 0; what lies beyond 2 lmax couples
            nothing here.
        lmax: of the spectra, both of the sky and of what is measured.

    Returns:
        M ``(lmax + 1, lmax + 1)`` float64, rows l, columns l': "TT", "TE" (for TB, ET and BT too),
        "+" and "-". With spin 2 rows and columns below l = 2 are 0.

    Raises:
        ValueError: a spectrum of another shape, NaN or infinite, or a bad lmax.

    Example:
        >>> full_sky = torch.tensor([4 * math.pi])  # C_0 of a mask that is 1
        >>> torch.allclose(coupling_kernels(full_sky, lmax=9)["TT"], torch.eye(10).double())
        True
    """
    lmax = check_lmax(lmax)
    cl = as_tensor("mask_cl", mask_cl, dtype=torch.float64)
    if cl.dim() != 1 or not len(cl) or not bool(cl.isfinite().all()):
        raise ValueError(f"mask_cl must be (L,), finite, got shape {tuple(cl.shape)}")
    cl = cl[: 2 * lmax + 1]
    # Exact for polynomials of degree 2 n - 1, and the integrand is one of 4 lmax at most.
    x, weight = gauss_legendre(2 * lmax + 1)
    degree = torch.arange(len(cl), dtype=torch.float64)
    correlation = ((2 * degree + 1) / (4 * math.pi) * cl) @ wigner_d(0, 0, x, lmax=len(cl) - 1)
    measure = correlation * weight / 2
    columns = 2 * torch.arange(lmax + 1, dtype=torch.float64) + 1

    def integral(m: int, n: int) -> Tensor:
        table = wigner_d(m, n, x, lmax=lmax)  # (lmax + 1, 2 lmax + 1)
        return (table * measure) @ table.T * columns

    # d_22 d_22 gives the square of a 3j symbol, d_2-2 d_2-2 that with the sign (-1)**(l + l' + L).
    same = integral(2, 2)
    turned = integral(2, -2)
    return {
        "TT": integral(0, 0),
        "TE": integral(2, 0),
        "+": (same + turned) / 2,
        "-": (same - turned) / 2,
    }


def wigner_d(m: int, n: int, x: Tensor, *, lmax: int) -> Tensor:
    """Return Wigner's d^l_mn(theta) for all l, by the recurrence in l, stable upwards [1]_.

    Arguments:
        m: 0 or 2.
        n: 0, or for m = 2 also 2 or -2.
        x: cos(theta), ``(N,)`` float64.
        lmax: the last l.

    Returns:
        ``(lmax + 1, N)``, 0 where l is below m.

    Raises:
        ValueError: other m and n.

    Example:
        >>> wigner_d(0, 0, torch.tensor([0.5]).double(), lmax=2).flatten()  # Legendre polynomials
        tensor([ 1.0000,  0.5000, -0.1250], dtype=torch.float64)

    .. [1] D. A. Varshalovich, A. N. Moskalev & V. K. Khersonskii, 1988, Quantum Theory of Angular
       Momentum, section 4.8.
    """
    if (m, n) not in _FIRST:
        raise ValueError(f"m and n must be one of {list(_FIRST)}, got {(m, n)}")
    x = as_tensor("x", x, dtype=torch.float64)
    if x.dim() != 1:
        raise ValueError(f"x must be (N,), got shape {tuple(x.shape)}")
    out = x.new_zeros(lmax + 1, len(x))
    if lmax < m:
        return out
    out[m] = _FIRST[m, n](x)
    for l in range(m, lmax):
        # up d_l+1 = (2 l + 1) (x - m n / (l (l + 1))) d_l - down d_l-1
        up = math.sqrt(((l + 1) ** 2 - m * m) * ((l + 1) ** 2 - n * n)) / (l + 1)
        shift = m * n / (l * (l + 1)) if l else 0.0
        term = (2 * l + 1) * (x - shift) * out[l]
        if l > m:
            down = math.sqrt((l * l - m * m) * (l * l - n * n)) / l
            term = term - down * out[l - 1]
        out[l + 1] = term / up
    return out


def gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Return the points and weights of Gauss' quadrature on -1..1, by Newton's method.

    Arguments:
        n: how many, at least 1.

    Returns:
        ``(n,)`` float64 each; the points fall. Polynomials of degree 2 n - 1 are integrated
        exactly.

    Example:
        >>> x, weight = gauss_legendre(3)
        >>> round(float((weight * x**4).sum()), 12)
        0.4
    """
    place = torch.arange(n, dtype=torch.float64)
    x = torch.cos(math.pi * (place + 0.75) / (n + 0.5))
    for _ in range(_NEWTON):
        value, slope = _legendre(n, x)
        x = x - value / slope
    slope = _legendre(n, x)[1]
    return x, 2 / ((1 - x) * (1 + x) * slope.square())


def _legendre(n: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Legendre polynomial of degree n and its slope at points inside -1..1."""
    before = torch.ones_like(x)
    value = x
    for l in range(1, n):
        after = ((2 * l + 1) * x * value - l * before) / (l + 1)
        before = value
        value = after
    return value, n * (before - x * value) / ((1 - x) * (1 + x))
