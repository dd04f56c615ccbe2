r"""Draws of the whole sky given what is seen of it: constrained realisations.

The Wiener mean is the most probable sky, and too smooth: where nothing is seen it falls to zero.
A constrained realisation is a sky that may be, with the right power everywhere. With F the Wiener
filter, a sky s' and noise n' drawn from the prior,

.. math:: s = s' + F\,(d - s' - n')

has the mean ``F d`` of the sky given the data d, and its covariance: ``s' - F(s' + n')`` is what
the filter misses of a sky, which for Gaussian fields does not depend on the data [1]_. No
covariance is stored, and every draw costs one filtering.

.. [1] Y. Hoffman & E. Ribak, 1991, ApJ 380, L5.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.fields.wiener import WienerFilter
from skytutor.validate import check_generator

__all__ = ["Realisation", "constrained_realisation"]


class Realisation(NamedTuple):
    """What `constrained_realisation` drew.

    Attributes:
        maps: the skies, ``(..., [2,] P)``, without noise, in the order and the unit of the data.
        coefs: their coefficients, ``(..., [2,] K)``.
        steps: how many the filter took.
        residual: the largest in the batch, as in `skytutor.fields.wiener.Filtered`.
    """

    maps: Tensor
    coefs: Tensor
    steps: int
    residual: float


def constrained_realisation(
    maps: Tensor,
    spectra: Mapping[str, Tensor],
    *,
    filter: WienerFilter,
    variance: Tensor | float,
    mask: Tensor,
    generator: torch.Generator,
) -> Realisation:
    """Draw a sky from its posterior for each map: it agrees with what is seen, and is free behind.

    For N draws of one sky pass it N times, ``maps.expand(N, -1)``: all are filtered together.

    Arguments:
        maps: data in the filter's order and precision, ``(..., P)`` or ``(..., 2, P)``, Q and U,
            with spin 2; what stands where the mask is 0 does not count. A masked array's own mask
            hides pixels too.
        spectra: of the sky without noise, {"TT": C_l}, or {"EE": C_l, "BB": C_l} with spin 2, each
            ``(lmax + 1,)`` in the maps' unit squared; with the beam and the pixel window that the
            maps have.
        filter: of the maps' nside, lmax, spin and order.
        variance: of the noise in a pixel, in the maps' unit squared, a number or ``(P,)``,
            positive.
        mask: ``(P,)``, 1 where seen, 0 where hidden; values between are weights of the inverse
            variance, with the preconditioner "coarse".
        generator: of the random numbers, which are drawn on its device.

    Returns:
        The skies, their coefficients, the steps taken and the bound on the error.

    Raises:
        TypeError: maps of another precision, spectra without names, no generator or filter.
        ValueError: as `WienerFilter`: shapes, signs, NaN or UNSEEN where seen, a mask that hides
            all (or nothing, with the preconditioner "hole"), no noise.
        ConvergenceError: the filter did not converge.

    Warns:
        UserWarning: maps in another unit than the spectra.

    Example:
        >>> sky = WienerFilter(4, 8, dtype=torch.float64, order="ring", preconditioner="hole")
        >>> drawn = constrained_realisation(
        ...     torch.randn(5, 192).double(),
        ...     {"TT": torch.ones(9).double()},
        ...     filter=sky,
        ...     variance=0.1,
        ...     mask=torch.arange(192) > 20,
        ...     generator=torch.Generator().manual_seed(0),
        ... )
        >>> drawn.maps.shape
        torch.Size([5, 192])
    """
    if not isinstance(filter, WienerFilter):
        raise TypeError(f"filter must be a WienerFilter, got {type(filter).__name__}")
    check_generator(generator)
    data, root, weight = filter.check(maps, spectra, variance=variance, mask=mask)

    def draw(*shape: int) -> Tensor:
        white = torch.randn(shape, generator=generator, dtype=data.dtype, device=generator.device)
        return white.to(data.device)

    lead = data.shape[: -root.dim()]
    prior = root.to(data.dtype) * draw(*lead, *root.shape)  # (..., [2,] K)
    # The noise of a hidden pixel is never looked at.
    deviation = torch.where(weight > 0, weight, 1).rsqrt().to(data.dtype)
    noise = deviation * draw(*data.shape)
    found = filter.solve(data - filter.harmonics.synthesis(prior) - noise, root, weight)
    coefs = prior + found.coefs
    return Realisation(filter.harmonics.synthesis(coefs), coefs, found.steps, found.residual)
