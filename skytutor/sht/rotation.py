r"""Rotations of spherical-harmonic coefficients, without pixels and without interpolation.

A rotation mixes the orders m of each degree l by Wigner's matrix [1]_,

.. math:: a'_{lm'} = \sum_m D^l_{m'm}(R) a_{lm}, \qquad
    D^l_{m'm}(\alpha, \beta, \gamma) = e^{-im'\alpha} d^l_{m'm}(\beta) e^{-im\gamma}

for ``R = R_z(alpha) R_y(beta) R_z(gamma)``. E and B are rotated alike. The turn about y is one
about z between two quarter turns, so the matrices at beta = pi / 2 are enough for every rotation.
They grow by the recurrence in l at fixed orders [2]_, which is stable upwards, from
``d^l_{ml} = sqrt(C(2 l, l + m)) / 2**l``; what no double holds yet carries a scale.

.. [1] D. A. Varshalovich et al., 1988, Quantum Theory of Angular Momentum, chapter 4.
.. [2] P. J. Kostelec & D. N. Rockmore, 2008, J. Fourier Anal. Appl. 14, 145.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix.directions import check_rotations
from skytutor.sht.legendre import SCALE, rescale
from skytutor.sht.packing import alm_index, check_alms, check_lmax

__all__ = ["rotate_alms"]

_CHECK = 8  # steps between two checks of the scale; a step grows a value by less than 2**20


def rotate_alms(alms: Tensor, rotations: Tensor, *, lmax: int) -> Tensor:
    """Return the coefficients of the rotated field: what stood at u stands at R u.

    It is exact, and linear in the coefficients, through which gradients flow. It takes time and,
    where a gradient is asked for, memory in proportion to lmax**3: 0.1 GB at lmax 256.

    Arguments:
        alms: ``(..., A)`` complex, in healpy's packing with mmax = lmax: of scalars, or of E and B,
            which are rotated alike. The imaginary parts of m = 0 do not count.
        rotations: a matrix R ``(3, 3)``, or one for each entry of the first axis, ``(B, 3, 3)``
            with alms ``(B, ..., A)``. It takes no gradient.
        lmax: largest degree.

    Returns:
        ``(..., A)`` in the precision of `alms`.

    Raises:
        TypeError: not complex, or rotations that are no floating-point tensor.
        ValueError: another size, NaN or infinite values, matrices that are no rotations, or
            rotations that ask for a gradient.

    Example:
        >>> about_z = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> alms = rotate_alms(torch.ones(3, dtype=torch.complex64), about_z, lmax=1)
        >>> alms.real.round(), alms.imag[2]
        (tensor([1., 1., 0.]), tensor(-1.))
    """
    lmax = check_lmax(lmax)
    alms = check_alms(alms, lmax=lmax)
    rotations = as_tensor("rotations", rotations)
    batch = rotations.dim() == 3
    if batch and alms.dim() < 2:
        raise ValueError(
            "rotations (B, 3, 3) need alms (B, ..., A), one entry for each, "
            f"got alms of shape {tuple(alms.shape)}"
        )
    shape = (len(alms), 3, 3) if batch else (3, 3)
    rotations = check_rotations(rotations, shape=shape)
    if rotations.requires_grad:
        raise ValueError("rotations take no gradient: pass rotations.detach()")
    return _rotate(alms.to(torch.complex128), rotations.double(), lmax).to(alms.dtype)


def _rotate(alms: Tensor, rotations: Tensor, lmax: int) -> Tensor:
    """Return rotated coefficients ``(..., A)``, complex128."""
    device = alms.device
    # R_y(beta) = R_z(pi / 2) R_y(pi / 2) R_z(beta) R_y(-pi / 2) R_z(-pi / 2)
    alpha, beta, gamma = _euler(rotations.to(device))
    m = torch.arange(lmax + 1, device=device)
    # One phase for each order of each rotation: (L,), or (B, 1, ..., L) before alms (B, ..., L).
    lead = [len(alms)] + [1] * (alms.dim() - 2) if rotations.dim() == 3 else []
    first, middle, last = (
        torch.exp(-1j * m * angle[..., None]).reshape(*lead, -1)
        for angle in (gamma - math.pi / 2, beta, alpha + math.pi / 2)
    )
    # Degree by degree: all m of l = 0, then those of l = 1, and so on.
    l, m = torch.tril_indices(lmax + 1, lmax + 1, device=device)
    rows = alms[..., alm_index(l, m, lmax=lmax)] * first[..., m]
    rotated = []
    for row, (even, odd) in zip(
        rows.split(list(range(1, lmax + 2)), dim=-1), _quarter_turns(lmax), strict=True
    ):
        even = even.to(device)
        odd = odd.to(device)
        turned = _apply(row, even.T, odd.T) * middle[..., : row.shape[-1]]
        rotated.append(_apply(turned, even, odd))
    out = torch.cat(rotated, -1) * last[..., m]
    # Back to all l of m = 0 first: (l, m) stands at l (l + 1) / 2 + m.
    m, l = torch.triu_indices(lmax + 1, lmax + 1, device=device)
    return out[..., l * (l + 1) // 2 + m]


def _euler(rotations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return alpha, beta, gamma of ``R = R_z(alpha) R_y(beta) R_z(gamma)``.

    Where beta is 0 or pi, or nearly so, alpha can be anything; gamma makes up for it.
    """
    x, y, z = rotations.unbind(-2)
    alpha = torch.atan2(y[..., 2], x[..., 2])
    cos = alpha.cos()[..., None]
    sin = alpha.sin()[..., None]
    # R_z(-alpha) R = R_y(beta) R_z(gamma), whose rows tell the other two.
    along = cos * x + sin * y
    across = cos * y - sin * x
    beta = torch.atan2(along[..., 2], z[..., 2])
    gamma = torch.atan2(across[..., 0], across[..., 1])
    return alpha, beta, gamma


def _apply(row: Tensor, even: Tensor, odd: Tensor) -> Tensor:
    """Return a quarter turn of one degree's coefficients, ``(..., l + 1)`` each.

    The field is real, ``a_(l,-m) = (-1)**m conj(a_lm)``, and at pi / 2
    ``d_(m',-m) = (-1)**(l+m') d_(m'm)``. So of m and -m together stays twice the real part where
    l + m + m' is even, and twice the imaginary part where it is odd.
    """
    twice = torch.full((row.shape[-1],), 2.0, dtype=torch.float64, device=row.device)
    twice[0] = 1.0
    row = row * twice
    return torch.complex(row.real @ even.T, row.imag @ odd.T)


def _quarter_turns(lmax: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``d^l_(m'm)(pi / 2)`` for l = 0 .. lmax and m, m' = 0 .. l, ``(l + 1, l + 1)`` float64.

    First where l + m + m' is even, then where it is odd, 0 elsewhere.
    """
    m = torch.arange(lmax + 1)
    board = ((m[:, None] + m) % 2 == 0).double()
    # Values of degree l and l - 1; entries begin at l = max(m, m').
    current = torch.zeros(lmax + 1, lmax + 1, dtype=torch.float64)
    previous = torch.zeros_like(current)
    scale = torch.zeros_like(current)
    seeds = torch.zeros(lmax + 1, dtype=torch.float64)  # logarithms to base 2
    for l in range(lmax + 1):
        n = l + 1
        if l:
            following = _step(current[:l, :l], previous[:l, :l], l - 1)
            previous[:l, :l] = current[:l, :l]
            current[:l, :l] = following
        _seed(current, scale, seeds, l)
        if l % _CHECK == 0 and bool((scale[:n, :n] < 0).any()):
            rescale(current, previous, scale)
        # What a double cannot hold yet is 0.
        values = torch.where(scale[:n, :n] == 0, current[:n, :n], 0.0)
        even = values * board[:n, :n]
        odd = values - even
        yield (even, odd) if l % 2 == 0 else (odd, even)


def _step(current: Tensor, previous: Tensor, l: int) -> Tensor:
    """Return the values of degree l + 1 from those of l and l - 1, ``(l + 1, l + 1)`` each."""
    if l == 0:
        return torch.zeros_like(current)
    m = torch.arange(l + 1, dtype=torch.float64)
    root = ((l + 1 - m) * (l + 1 + m)).sqrt()
    here = m / root
    before = ((l - m) * (l + m)).sqrt() / root
    slope = (2 * l + 1) / l * here[:, None] * here * current
    return -slope - (l + 1) / l * before[:, None] * before * previous


def _seed(current: Tensor, scale: Tensor, seeds: Tensor, l: int) -> None:
    """Write the values ``d^l_(ml)`` and ``d^l_(lm)`` of degree l, in place, and their scale."""
    m = torch.arange(l + 1, dtype=torch.float64)
    # log2 of sqrt(C(2 l, l + m)) / 2**l, from that of l - 1
    if l:
        seeds[:l] += 0.5 * torch.log2(l * (l - 0.5) / ((l - m[:l]) * (l + m[:l])))
        seeds[l] = -l
    log = seeds[: l + 1]
    power = (log / SCALE).round()
    value = torch.exp2(log - power * SCALE)
    sign = 1.0 - 2.0 * ((l - m) % 2)
    current[: l + 1, l] = value
    current[l, : l + 1] = sign * value
    scale[: l + 1, l] = power
    scale[l, : l + 1] = power
