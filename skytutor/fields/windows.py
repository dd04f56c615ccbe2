"""Windows in l: the beam of a telescope, and the pixels of a map.

A window w_l multiplies a_lm; a spectrum is multiplied by its square. Bad arguments raise a
TypeError or a ValueError that names them.
"""

import math

import numpy as np
import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix import check_nside
from skytutor.memo import cached_table
from skytutor.sht import alm_lm, check_alms, check_lmax
from skytutor.validate import check_spin

# Above the last nside, moments are extrapolated from these: from all pixels they take too long.
_EXACT = (16, 32, 64)
_CHUNK = 2**20  # pairs of points at a time, 8 MB


def gaussian_beam(fwhm: float, lmax: int, *, spin: int = 0) -> Tensor:
    """Return the window of a Gaussian beam, ``b_l = exp(-(l (l + 1) - s**2) sigma**2 / 2)`` [1]_.

    Here ``sigma = fwhm / sqrt(8 ln 2)``.

    Arguments:
        fwhm: full width at half maximum in radians, 0 (no smoothing) to pi.
        lmax: last degree of the window.
        spin: s, 0 for T and 2 for E and B.

    Returns:
        ``(lmax + 1,)`` float64. With spin 2, l < 2 means nothing.

    Example:
        >>> gaussian_beam(math.radians(10), 32)[[0, 16, 32]]
        tensor([1.0000, 0.4737, 0.0550], dtype=torch.float64)

    .. [1] A. Challinor et al., 2000, Phys. Rev. D 62, 123002.
    """
    if not 0 <= fwhm <= math.pi:
        raise ValueError(f"fwhm must lie in 0..pi, in radians, got {fwhm}")
    l = torch.arange(check_lmax(lmax) + 1, dtype=torch.float64)
    return torch.exp(-(l * (l + 1) - check_spin(spin) ** 2) * fwhm**2 / (16 * math.log(2)))


def smooth(alms: Tensor, window: Tensor, *, lmax: int) -> Tensor:
    """Multiply by a window, ``a_lm w_l``; differentiable in both.

    Arguments:
        alms: ``(..., A)`` complex, any number of axes before.
        window: real ``(L,)`` with L of at least lmax + 1; what lies beyond is left.
        lmax: of the coefficients.

    Returns:
        The shape and the precision of `alms`.

    Example:
        >>> smooth(torch.ones(6, dtype=torch.complex64), torch.tensor([1.0, 0.5, 0.0]), lmax=2).real
        tensor([1.0000, 0.5000, 0.0000, 0.5000, 0.0000, 0.0000])
    """
    alms = check_alms(alms, lmax=check_lmax(lmax))
    window = as_tensor("window", window)
    if not window.is_floating_point():
        raise TypeError(f"window must be real floating-point numbers, got {window.dtype}")
    if window.dim() != 1 or len(window) <= lmax:
        raise ValueError(
            f"window must be (L,) with L of at least {lmax + 1} (lmax + 1), "
            f"got shape {tuple(window.shape)}"
        )
    if not bool(torch.isfinite(window).all()):
        raise ValueError("window holds NaN or infinite values")
    return alms * window.to(alms.real)[alm_lm(lmax)[0].to(alms.device)]


@cached_table(maxsize=32)
def _pixel_window(nside: int, lmax: int) -> Tensor:
    return _window_of_moments(_moments(nside), nside, lmax)


def _window_of_moments(moments: Tensor, nside: int, lmax: int) -> Tensor:
    """Return the window ``(lmax + 1,)``: the root of the mean of P_l over pairs of points.

    ``P_l(1 - 2 t) = sum_k (-t)**k (l + k)! / ((l - k)! k!**2)``, so the mean follows from those of
    the powers of t.
    """
    l = torch.arange(lmax + 1, dtype=torch.float64)
    factor = torch.ones_like(l)
    total = torch.ones_like(l)
    for k, moment in enumerate(moments.tolist(), start=1):
        factor = -factor * (l - k + 1) / nside * ((l + k) / nside) / (k * k)  # 0 from k = l + 1 on
        total = total + factor * moment
    return total.sqrt()


def pixel_window(nside: int, lmax: int) -> Tensor:
    """Return the window of HEALPix pixels, averaged over the pixels [1]_.

    It says how much of degree l is lost when a map is averaged over a pixel's area::

        w_l**2 = mean over pixels of (4 pi / (2 l + 1)) sum_m |mean over the area of Y_lm|**2
               = mean over pixels and pairs of points in a pixel of P_l(cos of their distance)

    Computed, not read from HEALPix's files: P_l is a polynomial in ``t = (1 - cos) / 2``, so
    moments of t over all pairs are enough for every l: Gaussian quadrature over every pixel, above
    nside 64 extrapolated in 1 / nside. The relative error is below 1e-6, above nside 64 below 1e-5,
    for l up to 3 nside - 1.

    Arguments:
        nside: of the pixels.
        lmax: last degree of the window, at most 4 nside.

    Returns:
        ``(lmax + 1,)`` float64, 1 at l = 0.

    Example:
        >>> pixel_window(16, 47)[[0, 16, 32, 47]]
        tensor([1.0000, 0.9515, 0.8225, 0.6526], dtype=torch.float64)

    .. [1] K. M. Gorski et al., The HEALPix Primer, arXiv:astro-ph/9905275.
    """
    if check_lmax(lmax) > 4 * check_nside(nside):
        raise ValueError(f"lmax must lie in 0..{4 * nside} (4 nside) at nside {nside}, got {lmax}")
    return _pixel_window(int(nside), int(lmax))


def _moments(nside: int) -> Tensor:
    """Return the means ``(K,)`` of ``(nside**2 t)**k``, k = 1..K, over pairs of points and pixels.

    They are a smooth function of 1 / nside.
    """
    if nside <= _EXACT[-1]:
        return _all_moments(nside)
    # Lagrange's polynomial in 1 / nside
    total = torch.zeros(())
    for node in _EXACT:
        others = [other for other in _EXACT if other != node]
        factors = [(1 / nside - 1 / other) / (1 / node - 1 / other) for other in others]
        total = total + math.prod(factors) * _all_moments(node)
    return total


@cached_table(maxsize=8)
def _all_moments(nside: int) -> Tensor:
    """Return the same from every pixel of this nside.

    One face at a pole stands for eight, one on the equator for four.
    """
    terms = min(4 * nside, 40)  # P_l has l; at l = 4 nside the 40th is 1e-40
    total = torch.zeros(terms, dtype=torch.float64)
    u, v, weight = _nodes(8 if nside < 16 else 5)
    # East is west in a mirror, and that swaps x and y: pixels with y <= x stand for both.
    y, x = torch.tril_indices(nside, nside).flip(0)
    pixel_weight = (2.0 - (x == y).double()) / (3 * nside**2)
    size = max(1, _CHUNK // len(u) ** 2)
    chunks = list(zip(pixel_weight.split(size), x.split(size), y.split(size), strict=True))
    for polar in (True, False):
        for some, left, low in chunks:
            points = _directions(
                (left[:, None] + u) / nside, (low[:, None] + v) / nside, polar=polar
            )
            # nside**2 t of every pair: t is a quarter of the squared chord. (pixels, C, C)
            apart = _squared_chords(points) * (nside**2 / 4)
            power = (2.0 if polar else 1.0) * some[:, None, None] * weight[:, None] * weight
            for k in range(terms):
                power *= apart
                total[k] += power.sum()
    return total


def _squared_chords(points: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return squared distances ``(pixels, C, C)`` of all pairs of C points of each pixel."""
    x, y, z = ((axis[:, :, None] - axis[:, None]).square() for axis in points)
    return x + y + z


def _nodes(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return Gauss' points in the unit square, u and v, and weights that sum to 1.

    The belt ends along diagonals of faces, so the square is cut into two triangles.
    """
    points, weights = np.polynomial.legendre.leggauss(n)
    at = torch.from_numpy(points) / 2
    weight = torch.from_numpy(weights) / 2
    far = (at[:, None] + 0.5).expand(n, n).flatten()
    part = (at + 0.5).expand(n, n).flatten()
    # A square folded onto a triangle: its area grows with `far`.
    weight = (weight[:, None] * weight).flatten() * far
    u = far * (1 - part)
    v = far * part
    return torch.cat([u, 1 - u]), torch.cat([v, 1 - v]), torch.cat([weight, weight])


def _directions(x: Tensor, y: Tensor, *, polar: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return unit vectors to points (x, y) in 0..1 of a face at the north pole or on the equator.

    Longitude counts from the face's middle.
    """
    # 0 at the north pole, 1 where the belt begins, 2 on the equator
    ring = (2.0 if polar else 3.0) - x - y
    drop = torch.where(ring < 1, ring**2, 2 * ring - 1) / 3  # 1 - z
    sin = (drop * (2 - drop)).sqrt()
    phi = (x - y) / ring.clamp(max=1) * (math.pi / 4)
    return sin * phi.cos(), sin * phi.sin(), 1 - drop
