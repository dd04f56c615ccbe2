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

from skytutor.arrays import as_floats, as_integers, as_tensor, only_hidden
from skytutor.chunks import in_chunks
from skytutor.fields.flat import filter_maps
from skytutor.healpix import check_values
from skytutor.validate import check_generator, hard_mask

__all__ = ["DenseHole", "check_hard_mask", "check_precision", "put_hidden", "seen_only"]


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
    seen = hard_mask(mask)
    square = seen.dim() >= 2 and seen.shape[-1] == seen.shape[-2]
    if not square or (size is not None and seen.shape[-1] != size):
        wanted = "(..., H, H)" if size is None else f"(..., {size}, {size})"
        raise ValueError(f"mask must be {wanted}, got shape {tuple(seen.shape)}")
    if not bool(seen.flatten(-2).any(-1).all()):
        raise ValueError("mask hides every pixel: nothing is seen to fill from")
    if bool(seen.flatten(-2).all(-1).any()):
        raise ValueError("mask hides no pixel: nothing is to be filled")
    return seen


def check_precision(precision: Tensor, *, size: int | None = None) -> Tensor:
    """Return the eigenvalues of a precision on the modes, if there can be such.

    Arguments:
        precision: ``(..., H, H // 2 + 1)``.
        size: H that it must have; None for any.

    Raises:
        TypeError: no floating tensor.
        ValueError: another shape, negative, NaN or infinite values.

    Example:
        >>> check_precision(torch.ones(4, 3)).shape
        torch.Size([4, 3])
    """
    (precision,) = as_floats(precision=precision)
    sides = tuple(precision.shape[-2:])
    h = sides[0] if size is None and sides else size
    # Infinite is the precision of a mode without power, and NaN is what becomes of it.
    if sides != (h, (h or 0) // 2 + 1) or not bool(((precision >= 0) & precision.isfinite()).all()):
        wanted = "(H, H // 2 + 1)" if size is None else f"({size}, {size // 2 + 1})"
        raise ValueError(
            f"precision must be {wanted}, finite, none negative; got shape {tuple(precision.shape)}"
        )
    return precision


class DenseHole:
    """The exact fill of one mask: a Cholesky factor of the hidden pixels' precision.

    Arguments:
        precision: eigenvalues of Q on the modes of ``rfft2``, ``(H, H // 2 + 1)``, none negative:
            `FlatSky.precision`, or `skytutor.fields.flat.laplacian`. It may be 0 for the constant.
        mask: ``(H, H)``, True where seen.

    Attributes:
        index: hidden pixels in the flattened map, ``(n,)``.

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
        precision = check_precision(precision)
        self.precision = precision.double()
        size = precision.shape[-2]
        if precision.dim() != 2:
            raise ValueError(
                f"precision must be ({size}, {size // 2 + 1}), got shape {tuple(precision.shape)}"
            )
        self.seen = check_hard_mask(mask, size=size)
        if self.seen.dim() != 2:
            raise ValueError(f"mask must be ({size}, {size}), got shape {tuple(self.seen.shape)}")
        self.size = size
        self.index = (~self.seen).flatten().nonzero()[:, 0]
        self._factor, failed = torch.linalg.cholesky_ex(self._block())
        if bool(failed):
            raise ValueError(
                "precision must be positive on the hidden pixels to within rounding: its values "
                f"span {float(precision.min()):.1e}..{float(precision.max()):.1e}; where it is "
                "that of a sky, take more noise"
            )

    def _block(self) -> Tensor:
        """Return Q_hh, ``(n, n)``."""
        # One column of Q holds them all: the patch is periodic.
        column = torch.fft.irfft2(self.precision, s=(self.size, self.size))
        y = self.index // self.size
        x = self.index % self.size

        def rows(some: Tensor) -> Tensor:
            dy = (y[some, None] - y) % self.size
            dx = (x[some, None] - x) % self.size
            return column[dy, dx]

        # A few rows at a time: the integers would take more memory than the matrix.
        return in_chunks(rows, torch.arange(len(self.index)), size=256)

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
        rhs = self._check_hidden("rhs", rhs)
        flat = rhs.reshape(-1, rhs.shape[-1]).to(self._factor)
        solved = torch.cholesky_solve(flat.T, self._factor).T
        return solved.reshape(rhs.shape).to(rhs)

    def chi_square(self, hidden: Tensor) -> Tensor:
        """Return ``v^T Q_hh v`` of vectors ``(..., n)``; its mean is n for errors as predicted."""
        hidden = self._check_hidden("hidden", hidden)
        return (hidden.to(self._factor) @ self._factor).square().sum(-1)

    def fill(self, data: Tensor) -> Tensor:
        """Return the data, hidden pixels replaced by their mean given the seen ones.

        Arguments:
            data: ``(..., H, H)``; what stands in hidden pixels does not count, be it masked.

        Raises:
            ValueError: another size, NaN, infinite, UNSEEN or masked values in seen pixels.
        """
        known = seen_only(data, self.seen)
        pull = filter_maps(known.to(self.precision), self.precision)
        mean = -self.solve(pull.flatten(-2)[..., self.index])
        return put_hidden(known, self.index, mean)

    def realisation(self, data: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw hidden pixels, noise and all, from their distribution given the seen ones.

        Arguments:
            data: as in `fill`.
            generator: of the random numbers.

        Returns:
            ``(..., H, H)``, one draw for each map.
        """
        check_generator(generator)
        filled = self.fill(data)
        shape = (*filled.shape[:-2], len(self.index))
        white = torch.randn(shape, generator=generator, dtype=torch.float64)
        # With Q = L L^T the vector L^-T w has the covariance Q^-1.
        flat = white.reshape(-1, len(self.index))
        drawn = torch.linalg.solve_triangular(self._factor.T, flat.T, upper=True).T
        mean = filled.flatten(-2)[..., self.index]
        return put_hidden(filled, self.index, mean + drawn.reshape(shape))

    def _check_hidden(self, name: str, values: Tensor) -> Tensor:
        n = len(self.index)
        (values,) = as_floats(**{name: values})
        if values.shape[-1:] != (n,):
            raise ValueError(
                f"{name} must be (..., {n}), one for each hidden pixel, "
                f"got shape {tuple(values.shape)}"
            )
        return values


def put_hidden(maps: Tensor, index: Tensor, hidden: Tensor) -> Tensor:
    """Return maps with other values in some pixels.

    Arguments:
        maps: ``(..., H, H)``.
        index: those pixels in the flattened map, ``(n,)``.
        hidden: the values, ``(..., n)``.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> put_hidden(torch.zeros(2, 2), torch.tensor([3]), torch.ones(1))
        tensor([[0., 0.],
                [0., 1.]])
    """
    (maps,) = as_floats(maps=maps)
    (index,) = as_integers(index=index)
    hidden = as_tensor("hidden", hidden, like=maps)
    if maps.dim() < 2 or index.dim() != 1 or hidden.is_complex():
        raise ValueError(
            f"maps must be (..., H, H), index (n,) and hidden real, got {tuple(maps.shape)}, "
            f"{tuple(index.shape)} and {hidden.dtype}"
        )
    pixels = maps.shape[-2] * maps.shape[-1]
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < pixels:
        raise ValueError(f"index must lie in 0..{pixels - 1}, got {index.tolist()[:5]}")
    wanted = (*maps.shape[:-2], len(index))
    if hidden.dim() > len(wanted) or hidden.shape != wanted[len(wanted) - hidden.dim() :]:
        raise ValueError(f"hidden must be {wanted}, got shape {tuple(hidden.shape)}")
    flat = maps.flatten(-2).clone()
    flat[..., index] = hidden.to(flat)
    return flat.reshape(maps.shape)


def seen_only(data: Tensor, seen: Tensor) -> Tensor:
    """Return data with 0 behind the mask, refused if what is seen is not finite.

    Arguments:
        data: ``(..., H, H)``, floating. A masked array may hide what the mask hides, not more: the
            caller's mask would still count it as seen.
        seen: ``(..., H, H)`` bool; leading axes broadcast with those of `data`.

    Raises:
        TypeError: no floating tensor: a fill would be rounded to whole numbers.
        ValueError: no data, another size, NaN, infinite, UNSEEN or masked values in seen pixels.

    Example:
        >>> seen_only(torch.tensor([[torch.nan, 2.0]]), torch.tensor([[False, True]]))
        tensor([[0., 2.]])
    """
    (data,) = as_floats(data=only_hidden("data", data, seen))
    seen = hard_mask(seen, name="seen")
    if data.numel() == 0:
        raise ValueError(f"data must hold one map at least, got shape {tuple(data.shape)}")
    if data.shape[-2:] != seen.shape[-2:]:
        raise ValueError(
            f"data must end in {tuple(seen.shape[-2:])} as the mask does, "
            f"got shape {tuple(data.shape)}"
        )
    leading = zip(reversed(data.shape[:-2]), reversed(seen.shape[:-2]), strict=False)
    if any(a != b and 1 not in (a, b) for a, b in leading):
        raise ValueError(
            f"mask must broadcast with data, {tuple(data.shape)}, got shape {tuple(seen.shape)}"
        )
    known = torch.where(seen, data, 0)
    check_values(known, name="data, where seen,", axes=2)
    return known
