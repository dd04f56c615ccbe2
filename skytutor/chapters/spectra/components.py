r"""Principal components of noisy spectra with missing bins, by expectation maximisation.

A spectrum is a mean and a few components, ``x_p = m_p + sum_k c_k v_kp``. The fit minimises

.. math:: \chi^2 = \sum_{np} w_{np} \left(x_{np} - m_p - \sum_k c_{nk} v_{kp}\right)^2

with the inverse variances w, which are 0 in bins that were not observed: such a bin has no say, so
nothing has to be filled in [1]_. Coefficients and components are found in turn, each by least
squares with the other held; a rotation then makes the components orthonormal, the first the one
along which the reconstructed spectra vary most.

Shapes: spectra and inverse variances ``(N, P)``, coefficients ``(N, K)``.

.. [1] S. Bailey, 2012, PASP 124, 1015 (EMPCA); the mean is fitted together with the components.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.validate import positive
from skytutor.values import all_finite

__all__ = ["SpectralComponents", "check_spectra", "fit_components"]

# Weight of "no component" against the mean weight of a bin: keeps a bin that few spectra reach, or
# a spectrum that reaches few bins, solvable, and is far below any measured difference elsewhere.
_RIDGE = 1e-6


def check_spectra(flux: Tensor, ivar: Tensor) -> None:
    """Refuse spectra that nothing can be learned from.

    Arguments:
        flux: ``(N, P)``; what stands in bins without inverse variance does not count, if finite.
        ivar: ``(N, P)``, inverse variance, 0 where not observed.

    Raises:
        TypeError: no tensor of floating-point numbers.
        ValueError: other shapes, NaN or infinity, a negative inverse variance, a spectrum with no
            bin observed.

    Example:
        >>> check_spectra(torch.ones(2, 3), torch.zeros(2, 3))
        Traceback (most recent call last):
        ...
        ValueError: ivar must be positive in at least one bin of each spectrum, is 0 in all of 2
    """
    for name, value in (("flux", flux), ("ivar", ivar)):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a tensor of floating-point numbers, got {kind}")
    if flux.ndim != 2 or flux.shape != ivar.shape:
        raise ValueError(
            f"flux and ivar must both be (N, P), got {tuple(flux.shape)} and {tuple(ivar.shape)}"
        )
    for name, value in (("flux", flux), ("ivar", ivar)):
        if value.numel() == 0 or not all_finite(value):
            raise ValueError(f"{name} must hold finite numbers, got NaN, infinity or nothing")
    if bool((ivar < 0).any()):
        raise ValueError(f"ivar must not be negative, got {float(ivar.min()):.3g}")
    empty = int((ivar == 0).all(1).sum())
    if empty:
        raise ValueError(
            f"ivar must be positive in at least one bin of each spectrum, is 0 in all of {empty}"
        )


def _solve(matrices: Tensor, right: Tensor) -> Tensor:
    """Solve small symmetric systems ``(M, K, K)``, ``(M, K)``, with a ridge of `_RIDGE`."""
    size = matrices.shape[-1]
    # Relative to each system's own size, so that units do not matter.
    scale = matrices.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-30)
    ridge = _RIDGE * scale[:, None, None] * torch.eye(size, dtype=right.dtype, device=right.device)
    return torch.linalg.solve(matrices + ridge, right[..., None])[..., 0]


def _least_squares(design: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """Return the coefficients of many weighted regressions on one design.

    Arguments:
        design: ``(P, K)``, the same for all.
        weights: ``(N, P)``.
        values: ``(N, P)``.

    Returns:
        ``(N, K)``.
    """
    size = design.shape[1]
    # All pairs of columns, so that the N normal matrices are one matrix product.
    pairs = (design[:, :, None] * design[:, None, :]).flatten(1)  # (P, K K)
    matrices = (weights @ pairs).unflatten(1, (size, size))
    return _solve(matrices, (weights * values) @ design)


@dataclass(frozen=True)
class SpectralComponents:
    """A mean spectrum and orthonormal components.

    Attributes:
        mean: ``(P,)``.
        vectors: ``(K, P)``, orthonormal rows, the one of largest variance first.
        variances: ``(K,)``, of the coefficients of the spectra that were fitted.

    Example:
        >>> components = SpectralComponents(torch.zeros(3), torch.eye(3)[:1], torch.ones(1))
        >>> flux = torch.tensor([[2.0, 5.0, 0.0]])
        >>> components.reconstruct(components.project(flux, torch.ones(1, 3))).round(decimals=3)
        tensor([[2., 0., 0.]])
    """

    mean: Tensor
    vectors: Tensor
    variances: Tensor

    def project(self, flux: Tensor, ivar: Tensor | None = None) -> Tensor:
        """Return coefficients ``(N, K)``: least squares, weighted by the inverse variance.

        Arguments:
            flux: ``(N, P)``.
            ivar: ``(N, P)``, 0 where not observed; None for all bins alike.
        """
        away = flux - self.mean
        if ivar is None:
            return away @ self.vectors.T  # the rows are orthonormal
        check_spectra(flux, ivar)
        return _least_squares(self.vectors.T, ivar, away)

    def reconstruct(self, coefficients: Tensor) -> Tensor:
        """Return spectra ``(N, P)`` from the first coefficients.

        Arguments:
            coefficients: ``(N, k)``, k at most K; those left out are 0.
        """
        return self.mean + coefficients @ self.vectors[: coefficients.shape[1]]

    def partial_sums(self, coefficients: Tensor) -> Tensor:
        """Return the mean, then the mean with one component more each time, ``(N, k + 1, P)``.

        Arguments:
            coefficients: ``(N, k)``.
        """
        terms = coefficients[:, :, None] * self.vectors[: coefficients.shape[1]]
        mean = self.mean.expand(len(terms), 1, -1)
        return torch.cat([mean, terms], 1).cumsum(1)


def _ordered(mean: Tensor, vectors: Tensor, coefficients: Tensor) -> SpectralComponents:
    """Return the same spectra ``m + c v`` by orthonormal components in the order of variance.

    Arguments:
        mean: ``(P,)``.
        vectors: ``(K, P)``, any basis.
        coefficients: ``(N, K)``.
    """
    centre = coefficients.mean(0)
    mean = mean + centre @ vectors
    orthonormal, mixing = torch.linalg.qr(vectors.T)  # (P, K), (K, K): v = mixing.T orthonormal.T
    away = (coefficients - centre) @ mixing.T
    variances, axes = torch.linalg.eigh(away.T @ away / len(away))
    # eigh counts upwards.
    return SpectralComponents(mean, (orthonormal @ axes).T.flip(0), variances.flip(0))


def _start(flux: Tensor, ivar: Tensor, n_components: int) -> SpectralComponents:
    """Return the components of spectra whose missing bins are filled with the mean spectrum."""
    total = ivar.sum(0)
    mean = (ivar * flux).sum(0) / total.clamp(min=1e-30)
    away = torch.where(ivar > 0, flux - mean, 0.0)
    variances, vectors = torch.linalg.eigh(away.T @ away / len(away))
    first = vectors.T.flip(0)[:n_components]
    return SpectralComponents(mean, first, variances.flip(0)[:n_components])


def fit_components(
    flux: Tensor, ivar: Tensor | None = None, *, n_components: int, iterations: int = 15
) -> SpectralComponents:
    """Fit a mean and components to spectra, weighted by their inverse variances.

    Arguments:
        flux: ``(N, P)``; what stands in bins that were not observed does not count.
        ivar: ``(N, P)``, 0 where not observed; None for the usual principal components.
        n_components: K, below N and P.
        iterations: of coefficients and components in turn; not used without `ivar`.

    Raises:
        TypeError: `flux` or `ivar` is no tensor of floating-point numbers.
        ValueError: spectra that `check_spectra` refuses, or too many components.

    Example:
        >>> line = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])
        >>> fit_components(line, n_components=1).mean
        tensor([1., 2.])
    """
    (n_components,) = positive(n_components=n_components)
    check_spectra(flux, torch.ones_like(flux) if ivar is None else ivar)
    if n_components >= min(flux.shape):
        raise ValueError(
            f"n_components must be below {min(flux.shape)} for {len(flux)} spectra of "
            f"{flux.shape[1]} bins, got {n_components}"
        )
    if ivar is None:
        return _start(flux, torch.ones_like(flux), n_components)
    fitted = _start(flux, ivar, n_components)
    for _ in range(iterations):
        coefficients = _least_squares(fitted.vectors.T, ivar, flux - fitted.mean)
        # The mean is one more component, whose coefficient is 1.
        design = torch.cat([torch.ones_like(coefficients[:, :1]), coefficients], 1)
        basis = _least_squares(design, ivar.T, flux.T).T  # (1 + K, P)
        fitted = _ordered(basis[0], basis[1:], coefficients)
    return fitted
