"""Approximate inverses of the equations of the Wiener filter.

With x the coefficients in units of the spectrum's root, ``b = C^(1/2) x``, the equations are

    A x = (1 + C^(1/2) S^T N^-1 S C^(1/2)) x = C^(1/2) S^T N^-1 d.

Would every pixel be seen with the same noise, A were nearly diagonal, D: the pixels of HEALPix
nearly sum to a quadrature, ``S^T S = P / (4 pi)``. Two ways to bring in the mask:

* `CoarsePreconditioner` inverts A exactly up to a degree and takes D at the mean noise above;
* `HolePreconditioner` takes away what the hidden pixels h would have said,
  ``A = D - U N^-1 U^T`` with ``U = C^(1/2) S_h^T``. By the Woodbury identity [1]_

      A^-1 = D^-1 + D^-1 U (N - U^T D^-1 U)^-1 U^T D^-1,

  with one dense matrix of the hidden pixels. It is the covariance of a white sky less that of a
  sky with the spectrum of ``C^(1/2) D^-1 C^(1/2)``: a function of the angle between two pixels.

Shapes: K = (lmax + 1)**2 real coefficients, P pixels, n hidden pixels; with spin 2 all twice.

.. [1] M. A. Woodbury, 1950, Statistical Research Group, Memorandum Report 42, Princeton.
"""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_integers, as_tensor
from skytutor.fields._cubic import cubic
from skytutor.healpix import pixel_to_angle
from skytutor.sht import RealHarmonics

__all__ = ["CoarsePreconditioner", "HolePreconditioner", "isotropic_covariance"]

# Steps of the table of an isotropic function for each degree, 3e-11 from the exact sum.
_OVERSAMPLING = 512
_ROWS = 64  # of a covariance, made at a time
_JITTERS = (0.0, 1e-8, 1e-6, 1e-4, 1e-2, 0.1, 1.0)


class CoarsePreconditioner:
    """Solve low degrees exactly, whatever the mask, and take the noise as uniform above.

    With spin 2, E and B are solved together.

    Arguments:
        root: of the spectra at each coefficient, ``(K,)``, or ``(2, K)`` with spin 2.
        weight: inverse variance of every pixel, ``(P,)``, 0 where hidden.
        harmonics: of the maps.
        lmax: last degree that is solved exactly; the matrix has (lmax + 1)**2 rows, twice that with
            spin 2.

    Example:
        >>> harmonics = RealHarmonics(2, 4, dtype=torch.float64, order="ring")
        >>> root, weight = torch.ones(25).double(), torch.ones(48).double()
        >>> CoarsePreconditioner(root, weight, harmonics=harmonics, lmax=1)(root).shape
        torch.Size([25])
    """

    def __init__(self, root: Tensor, weight: Tensor, *, harmonics: RealHarmonics, lmax: int):
        self.n_low = (lmax + 1) ** 2
        # Uniform noise of the mean inverse variance, whose S^T N^-1 S is diagonal.
        mean = weight.mean() * len(weight) / (4 * math.pi)
        self.diagonal = 1 + root.square() * mean
        low = root[..., : self.n_low].reshape(-1)  # ([2] n_low,)
        # The equations' matrix of the low degrees, a column for each unit vector.
        identity = torch.eye(len(low), dtype=root.dtype, device=root.device)
        unit = identity * low
        unit = unit.unflatten(1, (2, -1)) if harmonics.spin else unit
        product = harmonics.adjoint(weight * harmonics.synthesis(unit))
        columns = product[..., : self.n_low].reshape(len(low), -1)
        matrix = identity + columns * low
        self.cholesky = torch.linalg.cholesky((matrix + matrix.T) / 2)

    def __call__(self, residual: Tensor) -> Tensor:
        """Return an approximate solution of the equations.

        Arguments:
            residual: their right side, ``(..., K)``, or ``(..., 2, K)`` with spin 2.

        Returns:
            The same shape.
        """
        out = residual / self.diagonal
        corner = residual[..., : self.n_low]
        flat = corner.reshape(-1, len(self.cholesky))  # (N, [2] n_low)
        solved = torch.cholesky_solve(flat.T, self.cholesky).T
        out[..., : self.n_low] = solved.reshape(corner.shape)
        return out


class HolePreconditioner:
    """Solve for what the hidden pixels lack, with one dense matrix of these pixels.

    Its Cholesky factor takes 8 n**2 bytes, four times that with spin 2: 11 MB for 1,192 pixels,
    200 MB for 5,070. The matrix is made and factorised in float64.

    Arguments:
        root: of the spectra at each coefficient, ``(K,)``, or ``(2, K)`` with spin 2.
        weight: inverse variance of every pixel, ``(P,)``, 0 where hidden; where it is not uniform
            over the seen pixels, its mean stands for it.
        harmonics: of the maps.

    Raises:
        ValueError: no hidden pixel.

    Example:
        >>> harmonics = RealHarmonics(2, 4, dtype=torch.float64, order="ring")
        >>> root, weight = torch.ones(25).double(), (torch.arange(48) > 3).double()
        >>> hole = HolePreconditioner(root, weight, harmonics=harmonics)
        >>> hole(root).shape, len(hole.index)
        (torch.Size([25]), 4)
    """

    def __init__(self, root: Tensor, weight: Tensor, *, harmonics: RealHarmonics):
        self.harmonics = harmonics
        self.root = root
        self.index = (weight == 0).nonzero()[:, 0]  # (n,)
        if len(self.index) == 0:
            raise ValueError(
                "mask hides no pixel, so there is no hole to solve for; it must be 0 somewhere, or "
                'take preconditioner="coarse"'
            )
        self.mean = weight[weight > 0].mean()
        density = self.mean * len(weight) / (4 * math.pi)
        self.diagonal = 1 + root.square() * density
        # A coefficient of order 0 for each degree stands for all.
        l = torch.arange(harmonics.lmax + 1, device=root.device)
        cl = (root.square() / self.diagonal)[..., l * (l + 1)].double()
        matrix = isotropic_covariance(
            cl, self.index, nside=harmonics.nside, order=harmonics.order, spin=harmonics.spin
        )
        # In units of the noise: 1 less what the rest of the sky would know of a pixel.
        matrix = matrix.mul_(-self.mean.double())
        matrix.diagonal().add_(1)
        self.cholesky, self.jitter = _cholesky(matrix)

    def __call__(self, residual: Tensor) -> Tensor:
        """Return an approximate solution of the equations.

        Arguments:
            residual: their right side, ``(..., K)``, or ``(..., 2, K)`` with spin 2.

        Returns:
            The same shape.
        """
        z = residual / self.diagonal
        sky = self.harmonics.synthesis(self.root * z)
        hidden = sky[..., self.index]  # (..., [2,] n)
        flat = hidden.reshape(-1, len(self.cholesky)).double()
        solved = torch.cholesky_solve(flat.T, self.cholesky).T.reshape(hidden.shape)
        filled = torch.zeros_like(sky)
        filled[..., self.index] = self.mean * solved.to(sky)
        return z + self.root * self.harmonics.adjoint(filled) / self.diagonal


def _cholesky(matrix: Tensor) -> tuple[Tensor, float]:
    """Return a factor, and what had to be added to the diagonal for there to be one.

    The quadrature is not exact, so the smallest eigenvalues can come out below 0. What is added
    costs steps, not accuracy.
    """
    added = 0.0
    for jitter in _JITTERS:
        matrix.diagonal().add_(jitter - added)
        added = jitter
        factor, info = torch.linalg.cholesky_ex(matrix)
        if int(info) == 0:
            return factor, jitter
    raise ValueError(
        "the matrix of the hidden pixels is far from positive: the quadrature fails at this lmax; "
        'take one nearer 2 nside, or preconditioner="coarse"'
    )


def isotropic_covariance(
    cl: Tensor, index: Tensor, *, nside: int, order: str, spin: int = 0
) -> Tensor:
    r"""Return the covariance between pixels of a sky of given spectrum.

    .. math:: \langle T_p T_q \rangle = \sum_l \frac{2l + 1}{4\pi} C_l P_l(\cos\theta_{pq})

    With spin 2 and angles alpha of the great circle from p to q with the meridians at its ends [1]_

    .. math::
        \langle P_p P_q^* \rangle = e^{2i(\alpha_p - \alpha_q)}
            \sum_l \frac{2l + 1}{4\pi} (C_l^{EE} + C_l^{BB}) d^l_{22}(\theta_{pq}), \qquad
        \langle P_p P_q \rangle = e^{2i(\alpha_p + \alpha_q)}
            \sum_l \frac{2l + 1}{4\pi} (C_l^{EE} - C_l^{BB}) d^l_{2,-2}(\theta_{pq})

    for P = Q + i U. The sums are tabulated in theta and interpolated, within 1e-10.

    Arguments:
        cl: ``(lmax + 1,)`` float64, or ``(2, lmax + 1)``, EE and BB, with spin 2.
        index: ``(n,)`` pixels.
        nside: of the pixels.
        order: of the pixels, "ring" or "nested".
        spin: 0 or 2.

    Returns:
        ``(n, n)``; with spin 2 ``(2 n, 2 n)``, first all Q, then all U.

    Example:
        >>> cl = torch.tensor([4 * torch.pi, 0.0], dtype=torch.float64)
        >>> isotropic_covariance(cl, torch.arange(2), nside=1, order="ring")
        tensor([[1.0000, 1.0000],
                [1.0000, 1.0000]], dtype=torch.float64)

    .. [1] M. Kamionkowski, A. Kosowsky & A. Stebbins, 1997, Phys. Rev. D 55, 7368.
    """
    cl = as_tensor("cl", cl, dtype=torch.float64)
    (index,) = as_integers(index=index)
    if index.dim() != 1:
        raise ValueError(f"index must be (n,), got shape {tuple(index.shape)}")
    if cl.dim() != (2 if spin else 1) or not cl.numel():
        wanted = "(2, lmax + 1), EE and BB," if spin else "(lmax + 1,)"
        raise ValueError(f"cl must be {wanted} got shape {tuple(cl.shape)}")
    if spin:
        return _spin_2_covariance(cl, index, nside=nside, order=order)
    table = _table(cl, 0, 0)
    vectors = _frames(index, nside, order)[2]
    out = cl.new_empty(len(index), len(index))
    for start in range(0, len(index), _ROWS):
        rows = slice(start, start + _ROWS)
        out[rows] = _interpolate(table, vectors[rows] @ vectors.T)
    return out


def _spin_2_covariance(cl: Tensor, index: Tensor, *, nside: int, order: str) -> Tensor:
    e, b = cl.unbind()
    plus = _table(e + b, 2, 2)
    minus = _table(e - b, 2, -2)
    south, east, vectors = _frames(index, nside, order)
    n = len(index)
    out = cl.new_empty(2, n, 2, n)
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        cosine = vectors[rows] @ vectors.T
        # Angles of the great circle with the meridians, at the row's pixel and at the column's.
        here = torch.atan2(east[rows] @ vectors.T, south[rows] @ vectors.T)
        there = torch.atan2(vectors[rows] @ east.T, vectors[rows] @ south.T)
        # At the pixel itself and at its antipode every great circle will do; the meridian is one.
        defined = 1 - cosine.square() > 1e-14
        here = torch.where(defined, here, 0)
        there = torch.where(defined, there, 0)
        conjugate = torch.polar(torch.ones_like(here), 2 * (here - there))
        conjugate = conjugate * _interpolate(plus, cosine)  # of P and the conjugate of P
        product = torch.polar(torch.ones_like(here), 2 * (here + there))
        product = product * _interpolate(minus, cosine)  # of P and P
        out[0, rows, 0] = (conjugate + product).real / 2
        out[1, rows, 1] = (conjugate - product).real / 2
        out[0, rows, 1] = (product - conjugate).imag / 2
        out[1, rows, 0] = (product + conjugate).imag / 2
    return out.reshape(2 * n, 2 * n)


def _frames(index: Tensor, nside: int, order: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the unit vectors to the south, to the east and outwards at pixels, ``(n, 3)`` each."""
    theta, phi = pixel_to_angle(index, nside=nside, order=order)
    sin = theta.sin()
    cos = theta.cos()
    zero = torch.zeros_like(theta)
    south = torch.stack([cos * phi.cos(), cos * phi.sin(), -sin], -1)
    east = torch.stack([-phi.sin(), phi.cos(), zero], -1)
    outwards = torch.stack([sin * phi.cos(), sin * phi.sin(), cos], -1)
    return south, east, outwards


def _table(cl: Tensor, m: int, n: int) -> Tensor:
    """Return ``sum_l (2 l + 1) / (4 pi) C_l d^l_mn(theta)`` for theta from 0 to pi in even steps.

    One value more stands at either end, by reflection. The recurrence in l is that of Wigner's d
    matrices; with m = n = 0 they are Legendre polynomials.
    """
    lmax = len(cl) - 1
    theta = torch.linspace(0, math.pi, _OVERSAMPLING * max(lmax, 8) + 1, dtype=cl.dtype)
    theta = theta.to(cl.device)
    cos = theta.cos()
    first = abs(m)
    # d^2_(2,+-2) is ((1 +- cos) / 2)^2, and d^0_00 is 1.
    sign = 1 if n >= 0 else -1
    now = ((1 + sign * cos) / 2) ** first
    before = torch.zeros_like(now)
    total = torch.zeros_like(now)
    for l in range(first, lmax + 1):
        total += (2 * l + 1) / (4 * math.pi) * cl[l] * now
        if l == 0:
            now, before = cos, now
            continue
        up = l * math.sqrt(((l + 1) ** 2 - m**2) * ((l + 1) ** 2 - n**2))
        down = (l + 1) * math.sqrt((l**2 - m**2) * (l**2 - n**2))
        step = (2 * l + 1) * (l * (l + 1) * cos - m * n) * now - down * before
        now, before = step / up, now
    return torch.cat([total[1:2], total, total[-2:-1]])


def _interpolate(table: Tensor, cosine: Tensor) -> Tensor:
    """Return the table at angles of given cosine: cubic polynomials through four values each."""
    steps = len(table) - 3
    place = cosine.clamp(-1, 1).acos() * (steps / math.pi)
    left = place.long().clamp(max=steps - 1)
    return cubic(table, left, place - left)
