r"""Holes in a patch of Gaussian sky: the exact fill, its error, and draws of what may stand there.

Data d with covariance T are split into seen pixels o and hidden pixels h. With the precision
``Q = T^-1`` the hidden ones are Gaussian given the seen ones,

.. math:: d_h \mid d_o \sim N\left(-Q_{hh}^{-1} Q_{ho} d_o,\; Q_{hh}^{-1}\right)

[1]_. Only a matrix of the hidden pixels is ever inverted. Where T is stationary on a periodic
patch, Q multiplies Fourier modes, so ``Q d`` costs two transforms and one column of Q gives all.
The noise of hidden pixels is independent of what is seen: their mean is that of the signal, and the
signal's variance is smaller by that of the noise.

The same formulas with the Laplacian as Q are the harmonic fill, with its square the biharmonic one.

Shapes: maps ``(..., H, H)``; modes ``(H, H // 2 + 1)``; a mask is ``(H, H)``, True where the sky is
seen; n hidden pixels, in the order of the flattened map.

.. [1] H. Rue & L. Held, 2005, Gaussian Markov Random Fields, theorem 2.5.
"""

import torch
from torch import Tensor

from skytutor.fields.flat import filter_maps
from skytutor.validate import all_finite

__all__ = ["DenseHole", "check_hard_mask", "seen_only"]


def check_hard_mask(mask: Tensor, *, size: int | None = None) -> Tensor:
    """Return a mask as bool, if it hides some pixels and shows others.

    Arguments:
        mask: ``(..., H, H)``, True or 1 where seen, False or 0 where hidden.
        size: H that it must have; None for any.

    Raises:
        TypeError: no tensor.
        ValueError: no square, another size, values between 0 and 1, nothing seen or nothing hidden.

    Example:
        >>> check_hard_mask(torch.tensor([[1, 0], [1, 1]]))
        tensor([[ True, False],
                [ True,  True]])
    """
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a torch tensor, got {type(mask).__name__}")
    square = mask.dim() >= 2 and mask.shape[-1] == mask.shape[-2]
    if not square or (size is not None and mask.shape[-1] != size):
        wanted = "(..., H, H)" if size is None else f"(..., {size}, {size})"
        raise ValueError(f"mask must be {wanted}, got shape {tuple(mask.shape)}")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(
            "mask must be hard, 1 where seen and 0 where hidden; it holds other values, "
            "such as the soft edge of an apodised mask"
        )
    seen = mask.bool()
    if not bool(seen.flatten(-2).any(-1).all()):
        raise ValueError("mask hides every pixel: nothing is seen to fill from")
    if bool(seen.flatten(-2).all(-1).any()):
        raise ValueError("mask hides no pixel: nothing is to be filled")
    return seen


class DenseHole:
    """The exact fill of one mask: a Cholesky factor of the hidden pixels' precision.

    Arguments:
        precision: eigenvalues of Q on the modes of ``rfft2``, ``(H, H // 2 + 1)``, none negative:
            `FlatSky.precision`, or `skytutor.fields.flat.laplacian`. It may be 0 for the constant.
        mask: ``(H, H)``, True where seen.

    Attributes:
        index: hidden pixels in the flattened map, ``(n,)``.
        variance: of the data in each hidden pixel given the seen ones, ``(n,)``.
        log_det: logarithm of the determinant of Q_hh.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> from skytutor.fields.flat import laplacian
        >>> mask = torch.ones(8, 8)
        >>> mask[3, 3] = 0
        >>> DenseHole(laplacian(8), mask).fill(torch.arange(64.0).reshape(8, 8))[3, 3]
        tensor(27.)
    """

    def __init__(self, precision: Tensor, mask: Tensor):
        size = precision.shape[-2]
        if precision.shape != (size, size // 2 + 1) or bool((precision < 0).any()):
            raise ValueError(
                "precision must be (H, H // 2 + 1), none negative; "
                f"got shape {tuple(precision.shape)}"
            )
        self.precision = precision.double()
        self.seen = check_hard_mask(mask, size=size)
        if self.seen.dim() != 2:
            raise ValueError(f"mask must be ({size}, {size}), got shape {tuple(mask.shape)}")
        self.size = size
        self.index = (~self.seen).flatten().nonzero()[:, 0]
        # One column of Q holds them all: the patch is periodic.
        column = torch.fft.irfft2(self.precision, s=(size, size))
        y = self.index // size
        x = self.index % size
        dy = (y[:, None] - y[None]) % size
        dx = (x[:, None] - x[None]) % size
        self._factor = torch.linalg.cholesky(column[dy, dx])

    @property
    def log_det(self) -> float:
        """Logarithm of the determinant of Q_hh."""
        return 2 * float(self._factor.diagonal().log().sum())

    @property
    def variance(self) -> Tensor:
        """Variance of the data in each hidden pixel given the seen ones, ``(n,)``."""
        return self.covariance().diagonal()

    def covariance(self) -> Tensor:
        """Return the covariance of the hidden pixels given the seen ones, ``(n, n)``."""
        return torch.cholesky_inverse(self._factor)

    def solve(self, rhs: Tensor) -> Tensor:
        """Return ``Q_hh^-1 rhs`` of vectors ``(..., n)``."""
        flat = rhs.reshape(-1, rhs.shape[-1]).to(self._factor)
        solved = torch.cholesky_solve(flat.T, self._factor).T
        return solved.reshape(rhs.shape).to(rhs)

    def chi_square(self, hidden: Tensor) -> Tensor:
        """Return ``v^T Q_hh v`` of vectors ``(..., n)``; its mean is n for errors as predicted."""
        return (hidden.to(self._factor) @ self._factor).square().sum(-1)

    def fill(self, data: Tensor) -> Tensor:
        """Return the data, hidden pixels replaced by their mean given the seen ones.

        Arguments:
            data: ``(..., H, H)``; what stands in hidden pixels does not count.

        Raises:
            ValueError: another size, NaN or infinite values in seen pixels.
        """
        known = seen_only(data, self.seen)
        pull = filter_maps(known.to(self.precision), self.precision)
        mean = -self.solve(pull.flatten(-2)[..., self.index])
        return self._put(known, mean)

    def realisation(self, data: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw hidden pixels, noise and all, from their distribution given the seen ones.

        Arguments:
            data: as in `fill`.
            generator: of the random numbers.

        Returns:
            ``(..., H, H)``, one draw for each map.
        """
        filled = self.fill(data)
        shape = (*filled.shape[:-2], len(self.index))
        white = torch.randn(shape, generator=generator, dtype=torch.float64)
        # With Q = L L^T the vector L^-T w has the covariance Q^-1.
        flat = white.reshape(-1, len(self.index))
        drawn = torch.linalg.solve_triangular(self._factor.T, flat.T, upper=True).T
        mean = filled.flatten(-2)[..., self.index]
        return self._put(filled, mean + drawn.reshape(shape))

    def _put(self, maps: Tensor, hidden: Tensor) -> Tensor:
        """Return maps with other values in the hidden pixels."""
        flat = maps.flatten(-2).clone()
        flat[..., self.index] = hidden.to(flat)
        return flat.reshape(maps.shape)


def seen_only(data: Tensor, seen: Tensor) -> Tensor:
    """Return data with 0 behind the mask, refused if what is seen is not finite.

    Arguments:
        data: ``(..., H, H)``.
        seen: ``(..., H, H)`` bool.

    Raises:
        ValueError: another size, NaN, infinite or UNSEEN values in seen pixels.

    Example:
        >>> seen_only(torch.tensor([[torch.nan, 2.0]]), torch.tensor([[False, True]]))
        tensor([[0., 2.]])
    """
    if data.shape[-2:] != seen.shape[-2:]:
        raise ValueError(
            f"data must end in {tuple(seen.shape[-2:])} as the mask does, "
            f"got shape {tuple(data.shape)}"
        )
    known = torch.where(seen, data, 0)
    if not all_finite(known) or bool((known < -1e30).any()):
        raise ValueError("data hold NaN, infinite or UNSEEN values in pixels that the mask shows")
    return known
