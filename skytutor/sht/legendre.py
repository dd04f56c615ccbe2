"""Tables of normalised associated Legendre functions and their spin-2 kin, at the northern rings.

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

from skytutor.healpix.rings import rings

SCALE = 400  # exponent of two
_CHECK = 8  # steps between two checks of the scale; a step grows a value by less than 2**20


def _coefficient(l: Tensor, m: Tensor, s: int) -> Tensor:
    """Return a_l of the recurrence, float64; 0 where it is not needed and would not be real."""
    l = l.double()
    numerator = (l * l - m * m) * (l * l - s * s)
    denominator = (l * l * (4 * l * l - 1)).clamp(min=1)
    return (numerator / denominator).clamp(min=0).sqrt()


def _seeds(m: Tensor, s: int, nside: int) -> tuple[Tensor, Tensor]:
    """Return values at ``l = max(m, |s|)`` and their scales, ``(M, R)`` each.

    There only one term of Goldberg's sum is left, a product of powers of half-angle sines and
    cosines. Logarithms of factorials would lose digits as m grows, so the binomial is a running
    product of numbers near 1.
    """
    below = rings(nside).below[: 2 * nside]
    z = rings(nside).z[: 2 * nside]
    # log of C(2 m, m) / 4**m, for each m
    k = torch.arange(1, int(m[-1]) + 1, dtype=torch.float64)
    central = torch.cat([torch.zeros(1).double(), torch.log1p(-0.5 / k).cumsum(0)])[m]
    # What a spin adds to it: C(2 m, m + |s|) / C(2 m, m).
    mm = m.double()
    steps = torch.arange(1, abs(s) + 1, dtype=torch.float64)
    tail = ((mm[:, None] - steps + 1).clamp(min=0.5) / (mm[:, None] + steps)).log().sum(1)
    norm = 0.5 * (((2 * mm + 1) / (4 * math.pi)).log() + central + tail)
    # log of sin(theta), without cancellation near the equator and near the pole
    sine = 0.5 * torch.where(z < 0.5, torch.log1p(-z * z), (4 * below).log() + torch.log1p(-below))
    half_tangent = 0.5 * (below.log() - torch.log1p(-below))  # log of tan(theta / 2)
    log = norm[:, None] + mm[:, None] * sine + s * half_tangent  # (M, R)
    n_low = min(len(m), max(0, abs(s) - int(m[0])))  # orders with m < |s|, which begin at l = |s|
    for row in range(n_low):
        log[row] = _low_seed(int(m[row]) * (1 if s > 0 else -1), abs(s), below)
    scale = (log / (SCALE * math.log(2))).round().clamp(max=0)
    value = torch.exp(log - scale * SCALE * math.log(2))
    sign_power = torch.where((m < abs(s)) & (s < 0), s, m)
    return value * torch.where(sign_power % 2 == 0, 1.0, -1.0)[:, None], scale


def _low_seed(m: int, l: int, below: Tensor) -> Tensor:
    """Return the logarithm of the seed at ``l = |s| > m``, up to its sign.

    m counts negative if s does.
    """
    norm = (2 * l + 1) / (4 * math.pi) * math.comb(2 * l, l + m)
    return 0.5 * (math.log(norm) + (l + m) * below.log() + (l - m) * torch.log1p(-below))


def tables(nside: int, lmax: int, *, first: int, last: int, spin: int) -> tuple[Tensor, Tensor]:
    """Return the values for m = first .. last - 1, those of even and those of odd l + m.

    Arguments:
        nside: of the maps.
        lmax: largest degree.
        first: the chunk's first order.
        last: one past its last order.
        spin: s, any integer.

    Returns:
        Two tables ``(M, K, R)`` float64. Row k holds l = m + 2 k in the first and l = m + 2 k + 1
        in the second; degrees beyond lmax or below ``max(m, |spin|)`` are 0.
    """
    m = torch.arange(first, last)
    rows = (lmax - first) // 2 + 1
    n_rings = 2 * nside
    even = torch.zeros(len(m), rows, n_rings, dtype=torch.float64)
    odd = torch.zeros_like(even)
    x = rings(nside).z[:n_rings]
    begin = m.clamp(min=abs(spin))
    current, scale = _seeds(m, spin, nside)  # f_l of the orders that have begun
    previous = torch.zeros_like(current)  # f_(l-1)
    scaled = bool((scale < 0).any())
    # (lmax + 2, M, 1)
    a = _coefficient(torch.arange(lmax + 2)[:, None], m.double(), spin)[..., None]
    for l in range(int(begin[0]), lmax + 1):
        n_begun = int((begin <= l).sum())
        if scaled and l % _CHECK == 0:
            scaled = rescale(current, previous, scale)
        f = current[:n_begun]  # (orders that have begun, R)
        # What a double cannot hold yet is 0 in the tables.
        values = torch.where(scale[:n_begun] == 0, f, 0.0) if scaled else f
        _store(values, even, l - first)
        _store(values, odd, l - first - 1)
        if l < lmax:
            slope = x + m[:n_begun, None].double() * spin / (l * (l + 1)) if spin else x
            following = (slope * f - a[l, :n_begun] * previous[:n_begun]) / a[l + 1, :n_begun]
            previous[:n_begun] = f
            current[:n_begun] = following
    return even, odd


def _store(values: Tensor, table: Tensor, distance: int) -> None:
    """Write the values of one degree into a table that holds every second degree.

    Order number i (from 0) of the chunk has that degree at row k with ``i + 2 k = distance``, if
    there is such a k. So the orders come in steps of two, and as i grows by 2, k falls by 1: they
    lie on a diagonal of the table.

    Arguments:
        values: ``(orders that have begun, R)``.
        table: ``(M, K, R)``, written to.
        distance: of the degree from the first degree of the table's first order.
    """
    _, rows, n_rings = table.shape
    i = distance % 2
    k = (distance - i) // 2
    n_orders = (len(values) - i + 1) // 2
    if n_orders <= 0:
        return
    # A view of the diagonal. Stride 0, two orders on and one row back: 2 rows - 1 rows of the
    # table; stride 1, along the rings: 1. It starts at (i, k).
    diagonal = table.as_strided(
        size=(n_orders, n_rings),
        stride=((2 * rows - 1) * n_rings, 1),
        storage_offset=(i * rows + k) * n_rings,
    )
    diagonal.copy_(values[i::2])


def rescale(current: Tensor, previous: Tensor, scale: Tensor) -> bool:
    """Lift values that have grown past 2**(SCALE / 2), in place; return if any is below scale 0."""
    grown = (current.abs() > 2.0 ** (SCALE // 2)) & (scale < 0)
    # In double precision: a float would underflow.
    factor = torch.ones_like(current).masked_fill(grown, 2.0**-SCALE)
    current *= factor
    previous *= factor
    scale += grown
    return bool((scale < 0).any())
