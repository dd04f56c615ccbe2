"""Tables of normalised associated Legendre functions and their spin-2 kin, at HEALPix's northern rings.

``s_lambda_lm(theta) exp(i m phi)`` is the spherical harmonic ``sY_lm`` [1]_. Recurrence in l at
fixed m [2]_, with x = cos(theta):

    a_(l+1) f_(l+1) = (x + m s / (l (l + 1))) f_l - a_l f_(l-1),
    a_l = sqrt((l^2 - m^2) (l^2 - s^2) / (l^2 (4 l^2 - 1)))

from ``l = max(m, |s|)``. Far from the equator the seeds are smaller than any double: each value
carries a scale, a power of 2**SCALE, until it has grown to where a double holds it.

Shapes: M orders of a chunk, K degrees of one parity of l + m, R = 2 nside rings from the north pole
    to the equator.

.. [1] J. N. Goldberg et al., 1967, J. Math. Phys. 8, 2155.
.. [2] M. Reinecke & D. S. Seljebotn, 2013, A&A 554, A112.
"""

import math

import torch
from torch import Tensor

from skytutor.sht.rings import rings

SCALE = 400  # exponent of two
_CHECK = 8  # steps between two looks at the scale; a step grows a value by less than 2**20


def _root(l: Tensor, m: Tensor, s: int) -> Tensor:
    l = l.double()
    return (
        ((l * l - m * m) * (l * l - s * s) / (l * l * (4 * l * l - 1)).clamp(min=1))
        .clamp(min=0)
        .sqrt()
    )


def _seeds(m: Tensor, s: int, nside: int) -> tuple[Tensor, Tensor]:
    """Values at ``l = max(m, |s|)``, ``(M, R)``, and their scales.

    There only one term of Goldberg's sum is left, a product of powers of half-angle sines and
    cosines. Logarithms of factorials would lose digits as m grows, so the binomial is a running
    product of numbers near 1.
    """
    below, z = (t[: 2 * nside] for t in (rings(nside).below, rings(nside).z))
    k = torch.arange(1, int(m[-1]) + 1, dtype=torch.float64)
    central = torch.cat([torch.zeros(1).double(), torch.log1p(-0.5 / k).cumsum(0)])[
        m
    ]  # log of C(2 m, m) / 4**m
    mm = m.double()
    steps = torch.arange(1, abs(s) + 1, dtype=torch.float64)
    tail = ((mm[:, None] - steps + 1).clamp(min=0.5) / (mm[:, None] + steps)).log().sum(1)
    norm = 0.5 * (((2 * mm + 1) / (4 * math.pi)).log() + central + tail)
    sine = 0.5 * torch.where(z < 0.5, torch.log1p(-z * z), (4 * below).log() + torch.log1p(-below))
    half_tangent = 0.5 * (below.log() - torch.log1p(-below))
    log = norm[:, None] + mm[:, None] * sine + s * half_tangent
    for row in range(min(len(m), max(0, abs(s) - int(m[0])))):  # m < |s|: l = |s|
        log[row] = _low_seed(int(m[row]) * (1 if s > 0 else -1), abs(s), below)
    scale = (log / (SCALE * math.log(2))).round().clamp(max=0)
    value = torch.exp(log - scale * SCALE * math.log(2))
    power = torch.where((m < abs(s)) & (s < 0), s, m)
    return value * torch.where(power % 2 == 0, 1.0, -1.0)[:, None], scale


def _low_seed(m: int, l: int, below: Tensor) -> Tensor:
    """Logarithm of the seed at ``l = |s| > m``, up to its sign; m counts negative if s does."""
    norm = (2 * l + 1) / (4 * math.pi) * math.comb(2 * l, l + m)
    return 0.5 * (math.log(norm) + (l + m) * below.log() + (l - m) * torch.log1p(-below))


def tables(nside: int, lmax: int, *, first: int, last: int, spin: int) -> tuple[Tensor, Tensor]:
    """Values for m = first .. last - 1 in float64: even and odd l + m, ``(M, K, R)`` each, row k holds l = m + 2 k (+ 1).

    Degrees beyond lmax or below ``max(m, |spin|)`` are 0.
    """
    m = torch.arange(first, last)
    rows = (lmax - first) // 2 + 1
    rings_north = 2 * nside
    out = tuple(torch.zeros(len(m), rows, rings_north, dtype=torch.float64) for _ in range(2))
    x = rings(nside).z[:rings_north]
    begin = m.clamp(min=abs(spin))
    now, scale = _seeds(m, spin, nside)
    before = torch.zeros_like(now)
    deep = bool((scale < 0).any())
    roots = _root(torch.arange(lmax + 2)[:, None], m.double(), spin)[..., None]  # (lmax + 2, M, 1)
    for l in range(int(begin[0]), lmax + 1):
        live = int((begin <= l).sum())  # orders that have begun
        if deep and l % _CHECK == 0:
            deep = _rescale(now, before, scale)
        f = now[:live]
        shown = torch.where(scale[:live] == 0, f, 0.0) if deep else f
        for parity in (0, 1):
            top = (l - parity - first) % 2
            count = (live - top + 1) // 2
            k = (l - first - top) // 2
            if count > 0:  # rows top, top + 2, ...; their degrees lie on a diagonal
                steps = ((2 * rows - 1) * rings_north, 1)
                out[parity].as_strided(
                    (count, rings_north), steps, (top * rows + k) * rings_north
                ).copy_(shown[top::2])
        if l < lmax:
            slope = x + m[:live, None].double() * spin / (l * (l + 1)) if spin else x
            after = (slope * f - roots[l, :live] * before[:live]) / roots[l + 1, :live]
            before[:live] = f
            now[:live] = after
    return out


def _rescale(now: Tensor, before: Tensor, scale: Tensor) -> bool:
    """Lift values that have grown past 2**(SCALE / 2), in place; whether any is still below scale 0."""
    grown = (now.abs() > 2.0 ** (SCALE // 2)) & (scale < 0)
    factor = torch.ones_like(now).masked_fill(
        grown, 2.0**-SCALE
    )  # in double: a float would underflow
    now *= factor
    before *= factor
    scale += grown
    return bool((scale < 0).any())
