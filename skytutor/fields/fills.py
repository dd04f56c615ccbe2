r"""Holes filled step by step: conjugate gradients, and what makes them short.

The exact fill solves ``Q_hh x = -Q_ho d_o`` (`skytutor.fields.holes`). With many hidden pixels the
matrix does not fit in memory, but ``Q x`` costs two Fourier transforms. How many steps conjugate
gradients take then depends on the preconditioner, an approximate inverse of Q_hh: none, the
covariance of the hidden pixels, or every hole solved by itself. The common filter in Fourier space
stands beside them, as what they are to beat.

Shapes as in `skytutor.fields.holes`.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.arrays import as_floats, split_masked
from skytutor.fields.flat import FlatSky, filter_maps
from skytutor.fields.holes import DenseHole, check_hard_mask, check_precision, seen_only
from skytutor.sht.solvers import ConvergenceError, ConvergenceWarning, conjugate_gradients
from skytutor.validate import one_of

__all__ = [
    "Filled",
    "block_preconditioner",
    "covariance_preconditioner",
    "fill_by_cg",
    "fill_by_harmonics",
    "hole_labels",
    "report_failure",
]

Preconditioner = Callable[[Tensor], Tensor]


class Filled(NamedTuple):
    """What an iterative fill found.

    Attributes:
        maps: the data, hidden pixels filled.
        steps: conjugate-gradient steps, the same for the whole batch.
        residual: the largest relative residual in the batch.
    """

    maps: Tensor
    steps: int
    residual: float


def fill_by_cg(
    data: Tensor,
    mask: Tensor,
    precision: Tensor,
    *,
    preconditioner: Preconditioner | None = None,
    tolerance: float = 1e-8,
    max_iter: int = 1000,
    on_failure: str = "raise",
) -> Filled:
    """Fill holes by conjugate gradients on ``Q_hh x = -Q_ho d_o``, with no matrix stored.

    Arguments:
        data: ``(..., H, H)``; what stands in hidden pixels does not count. A masked array's own
            mask hides pixels too.
        mask: ``(..., H, H)``, True where seen; leading axes broadcast with those of `data`.
        precision: as in `DenseHole`.
        preconditioner: an approximate inverse of Q_hh that takes and returns maps which are 0 in
            seen pixels, symmetric and positive definite; None for none.
        tolerance: relative residual to stop at.
        max_iter: steps to take at most.
        on_failure: "raise" or "warn" where the residual stays above the tolerance.

    Returns:
        The filled data, steps and residual.

    Raises:
        ConvergenceError: not converged, with `on_failure` "raise".
        ValueError: bad arguments, named.

    Warns:
        ConvergenceWarning: not converged, with `on_failure` "warn".

    Example:
        >>> sky = FlatSky(16, pixel_arcmin=10.0, cl=torch.ones(2000), noise=1.0)
        >>> mask = torch.ones(16, 16)
        >>> mask[4:7, 4:7] = 0
        >>> fill_by_cg(torch.randn(16, 16).double(), mask, sky.precision).residual < 1e-8
        True
    """
    one_of("on_failure", on_failure, allowed=("raise", "warn"))
    data, mask = split_masked("data", data, mask)
    (data,) = as_floats(data=data)
    seen = check_hard_mask(mask, size=data.shape[-1] if data.dim() else 0)
    precision = check_precision(precision, size=data.shape[-1])
    known = seen_only(data, seen)
    hidden = (~seen).to(known)

    def operator(x: Tensor) -> Tensor:
        return hidden * filter_maps(hidden * x, precision)

    with warnings.catch_warnings():
        # The verdict on convergence is given below, with the residual.
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = conjugate_gradients(
            operator,
            -hidden * filter_maps(known, precision),
            tolerance=tolerance,
            max_iter=max_iter,
            vector_dims=2,
            preconditioner=preconditioner,
        )
    filled = Filled(known + result.x, result.steps, float(result.residual.max()))
    report_failure(filled, tolerance=tolerance, on_failure=on_failure)
    return filled


def report_failure(filled: Filled, *, tolerance: float, on_failure: str) -> None:
    """Raise or warn if a fill has not come down to its tolerance.

    Arguments:
        filled: with its residual.
        tolerance: that was asked for.
        on_failure: "raise" or "warn".

    Raises:
        ConvergenceError: with `on_failure` "raise".
    """
    if filled.residual <= tolerance:
        return
    message = (
        f"the fill has not converged: relative residual {filled.residual:.1e} after "
        f"{filled.steps} steps, tolerance {tolerance:.1e}; raise max_iter, or give a preconditioner"
    )
    if on_failure == "raise":
        raise ConvergenceError(message)
    warnings.warn(message, ConvergenceWarning, stacklevel=3)


def covariance_preconditioner(total: Tensor, mask: Tensor) -> Preconditioner:
    """Return ``r -> T_hh r``: the covariance stands in for the inverse of Q_hh.

    Arguments:
        total: variances T of the modes, ``(H, H // 2 + 1)``.
        mask: ``(..., H, H)``, True where seen.

    Example:
        >>> mask = torch.tensor([[True, False], [True, True]])
        >>> covariance_preconditioner(torch.ones(2, 2), mask)(torch.ones(2, 2))
        tensor([[0., 1.],
                [0., 0.]])
    """
    (total,) = as_floats(total=total)
    hidden = ~check_hard_mask(mask, size=total.shape[-2] if total.dim() > 1 else 0)

    def preconditioner(residual: Tensor) -> Tensor:
        return torch.where(hidden, filter_maps(torch.where(hidden, residual, 0), total), 0)

    return preconditioner


def hole_labels(mask: Tensor) -> Tensor:
    """Return numbers for the connected holes of a mask, across the edges of the periodic patch.

    Arguments:
        mask: ``(H, H)``, True where seen.

    Returns:
        ``(H, H)`` int64: 0 where seen, else the number of the hole, from 1 on. Pixels that share a
        side or a corner belong to one hole.

    Example:
        >>> hole_labels(torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]]))[0]
        tensor([1, 0, 0, 1])
    """
    hidden = ~check_hard_mask(mask)
    if hidden.dim() != 2:
        raise ValueError(f"mask must be one mask, (H, H), got shape {tuple(hidden.shape)}")
    size = hidden.shape[-1]
    # Every hidden pixel begins with a number of its own and takes the largest of its neighbours.
    labels = torch.arange(1, size * size + 1).reshape(size, size) * hidden
    while True:
        grown = labels
        for axis in (-2, -1):
            shifted = torch.stack([grown, grown.roll(1, axis), grown.roll(-1, axis)])
            grown = shifted.amax(0)
        grown = grown * hidden
        if torch.equal(grown, labels):
            break
        labels = grown
    return labels.unique(return_inverse=True)[1].reshape(size, size)


def block_preconditioner(precision: Tensor, mask: Tensor) -> Preconditioner:
    """Return a solve of every hole as if it were the only one: blocks of Q_hh, each inverted.

    Arguments:
        precision: as in `DenseHole`.
        mask: ``(H, H)``, True where seen.

    Example:
        >>> from skytutor.fields.flat import laplacian
        >>> mask = torch.ones(8, 8)
        >>> mask[2, 2] = 0
        >>> data = torch.randn(8, 8).double()
        >>> solve = block_preconditioner(laplacian(8), mask)
        >>> fill_by_cg(data, mask, laplacian(8), preconditioner=solve).steps
        1
    """
    labels = hole_labels(mask)
    holes = []
    for label in range(1, int(labels.max()) + 1):
        holes.append(DenseHole(precision, labels != label))

    def preconditioner(residual: Tensor) -> Tensor:
        flat = residual.flatten(-2)
        out = torch.zeros_like(flat)
        for hole in holes:
            out[..., hole.index] = hole.solve(flat[..., hole.index])
        return out.reshape(residual.shape)

    return preconditioner


def fill_by_harmonics(
    data: Tensor,
    mask: Tensor,
    sky: FlatSky,
    *,
    tolerance: float = 1e-8,
    max_iter: int = 1000,
    on_failure: str = "raise",
) -> Filled:
    """Fill holes the common way: the Wiener filter of the whole patch, diagonal preconditioner.

    It solves ``(1 + S^(1/2) N^-1 S^(1/2)) x = S^(1/2) N^-1 d`` for the modes x of the signal, with
    N^-1 zero behind the mask, and takes the noise as uniform for a preconditioner.

    Arguments:
        data: ``(..., H, H)``; what stands in hidden pixels does not count. A masked array's own
            mask hides pixels too.
        mask: ``(..., H, H)``, True where seen.
        sky: signal and noise; the noise must be positive.
        tolerance: relative residual to stop at.
        max_iter: steps to take at most.
        on_failure: "raise" or "warn" where the residual stays above the tolerance.

    Returns:
        The data, hidden pixels filled with the mean of the signal, steps and residual.

    Raises:
        ConvergenceError: not converged, with `on_failure` "raise".
        ValueError: bad arguments, named.

    Example:
        >>> sky = FlatSky(16, pixel_arcmin=10.0, cl=torch.ones(2000), noise=1.0)
        >>> mask = torch.ones(16, 16)
        >>> mask[4:7, 4:7] = 0
        >>> fill_by_harmonics(torch.randn(16, 16).double(), mask, sky).residual < 1e-8
        True
    """
    one_of("on_failure", on_failure, allowed=("raise", "warn"))
    if sky.noise == 0:
        raise ValueError("sky.noise must be positive, got 0: the filter divides by it")
    data, mask = split_masked("data", data, mask)
    seen = check_hard_mask(mask, size=sky.size)
    known = seen_only(data, seen)
    weight = seen.to(known) / sky.noise**2
    root = sky.signal.sqrt()
    # The noise of a uniform sky with the same mean weight: diagonal on the modes.
    diagonal = 1 + sky.signal * float(weight.mean())

    def operator(x: Tensor) -> Tensor:
        return x + filter_maps(weight * filter_maps(x, root), root)

    with warnings.catch_warnings():
        # The verdict on convergence is given below, with the residual.
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = conjugate_gradients(
            operator,
            filter_maps(weight * known, root),
            tolerance=tolerance,
            max_iter=max_iter,
            vector_dims=2,
            preconditioner=lambda residual: filter_maps(residual, 1 / diagonal),
        )
    signal = filter_maps(result.x, root)
    maps = torch.where(seen, known, signal)
    filled = Filled(maps, result.steps, float(result.residual.max()))
    report_failure(filled, tolerance=tolerance, on_failure=on_failure)
    return filled
