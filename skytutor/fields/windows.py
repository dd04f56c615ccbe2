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
_EXACT = (8, 16, 32, 64)
_TERMS = 41  # of the polynomial: at l = 4 nside the last is 1e-40
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
def _pixel_window(nside: int, lmax: int, spin: int) -> Tensor:
    return _window_of_moments(_moments(nside, spin), nside, lmax, spin=spin)


def _window_of_moments(moments: Tensor, nside: int, lmax: int, *, spin: int = 0) -> Tensor:
    """Return the window ``(lmax + 1,)``: the root of the mean of d^l_ss over pairs of points.

    ``d^l_ss = (1 - t)**s sum_k (-t)**k (l + s + k)! (l - s)! / ((l + s)! (l - s - k)! k!**2)``,
    P_l for s = 0, so the mean follows from those of the powers of t, times ``(1 - t)**s``.
    """
    l = torch.arange(lmax + 1, dtype=torch.float64)
    factor = (l >= spin).double()
    total = torch.zeros_like(l)
    for k, moment in enumerate(moments.tolist()):
        if k:
            # 0 from k = l - s + 1 on
            less = (l - spin - k + 1) / nside
            factor = -factor * less * ((l + spin + k) / nside) / (k * k)
        total = total + factor * moment
    # The weights of all pairs sum to 1 but for rounding, and so w_0 must.
    return (total if spin else total / total[0]).sqrt()


def pixel_window(nside: int, lmax: int, *, spin: int = 0) -> Tensor:
    """Return the window of HEALPix pixels, averaged over the pixels [1]_.

    It says how much of degree l is lost when a map is averaged over a pixel's area::

        w_l**2 = mean over pixels of (4 pi / (2 l + 1)) sum_m |mean over the area of sY_lm|**2
               = mean over pixels and pairs of points in a pixel of d^l_ss(their distance) cos(s E)

    For s = 0 that is P_l of the cosine of the distance. With spin 2, for E and B, Q and U of a
    point are carried to the pixel's centre along the great circle, as in HEALPix's files: E is the
    area of the triangle of centre and two points. It differs from that of T by 1e-2 at nside 4 and
    1e-5 at nside 128.

    Computed, not read from HEALPix's files: d^l_ss is a polynomial in ``t = (1 - cos) / 2``, so
    moments of t over all pairs are enough for every l: Gaussian quadrature over every pixel, above
    nside 64 extrapolated. For l up to 3 nside - 1 the relative error is below 1e-7, with spin 2
    below 5e-7, at every nside tried: up to 128 against HEALPix's files, at 256 and 512 (T) against
    the same quadrature over every pixel. The files of nside 256 and 512 are themselves off, by
    1.0e-5 and 1.5e-5 at l = 3 nside - 1.

    Arguments:
        nside: of the pixels.
        lmax: last degree of the window, at most 4 nside.
        spin: s, 0 for T and 2 for E and B.

    Returns:
        ``(lmax + 1,)`` float64, 1 at l = 0; with spin 2, 0 for l < 2.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> pixel_window(16, 47)[[0, 16, 32, 47]]
        tensor([1.0000, 0.9515, 0.8225, 0.6526], dtype=torch.float64)
        >>> pixel_window(16, 47, spin=2)[[0, 16, 32, 47]]
        tensor([0.0000, 0.9522, 0.8231, 0.6532], dtype=torch.float64)

    .. [1] K. M. Gorski et al., The HEALPix Primer, arXiv:astro-ph/9905275.
    """
    if check_lmax(lmax) > 4 * check_nside(nside):
        raise ValueError(f"lmax must lie in 0..{4 * nside} (4 nside) at nside {nside}, got {lmax}")
    return _pixel_window(int(nside), int(lmax), check_spin(spin))


def _moments(nside: int, spin: int) -> Tensor:
    """Return the means ``(K,)`` of ``(nside**2 t)**k``, k = 0..K - 1, over all pairs and pixels.

    With spin 2, times ``(1 - t)**2 cos(2 E)``. They are a smooth function of h = 1 / nside but for
    the poles: the rings there keep their shape at every nside, and the sum over rings of what falls
    as the inverse square of a ring's number leaves h**2 log(h).
    """
    if nside <= _EXACT[-1]:
        return _all_moments(nside, spin)
    # The function of h in the span of these four that has the moments of the nodes.
    h = torch.tensor([1 / nside, *(1 / node for node in _EXACT)], dtype=torch.float64)
    basis = torch.stack([torch.ones_like(h), h, h**2, h**2 * h.log()])  # (4, 1 + nodes)
    factors = torch.linalg.solve(basis[:, 1:], basis[:, 0])
    return factors @ torch.stack([_all_moments(node, spin) for node in _EXACT])


@cached_table(maxsize=8)
def _all_moments(nside: int, spin: int) -> Tensor:
    """Return the same from every pixel of this nside.

    One face at a pole stands for eight, one on the equator for four.
    """
    total = torch.zeros(_TERMS, dtype=torch.float64)
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
            if spin:
                middle = torch.full((1,), 0.5, dtype=torch.float64)
                centres = _directions(
                    (left[:, None] + middle) / nside, (low[:, None] + middle) / nside, polar=polar
                )
                power = power * (1 - apart / nside**2) ** 2 * _cos_2_area(points, centres)
            for k in range(_TERMS):
                total[k] += power.sum()
                power *= apart
    return total


def _cos_2_area(
    points: tuple[Tensor, Tensor, Tensor], centres: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Return cos(2 E) ``(pixels, C, C)`` of the triangles of a pixel's centre and two points.

    ``tan(E / 2) = c . (a x b) / (1 + c . a + c . b + a . b)``
    """
    v = torch.stack(points, -1)  # (pixels, C, 3)
    c = torch.stack(centres, -1)  # (pixels, 1, 3)
    volume = torch.linalg.cross(c.expand_as(v), v) @ v.mT
    to_centre = (c * v).sum(-1)
    around = 1 + to_centre[:, :, None] + to_centre[:, None] + v @ v.mT
    tangent2 = (volume / around).square()  # of E / 2
    cosine = (1 - tangent2) / (1 + tangent2)
    return 2 * cosine.square() - 1


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
