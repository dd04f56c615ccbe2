"""The Wiener filter of a masked sky in a few steps, by a learned preconditioner on HEALPix.

With x the coefficients in units of the spectrum's root the equations are (`skytutor.fields.wiener`)

    A x = (1 + C^(1/2) S^T N^-1 S C^(1/2)) x = C^(1/2) S^T N^-1 d.

Were every pixel seen, A would be nearly diagonal, D. What the hidden pixels h take away comes back
by the Woodbury identity, with ``U = C^(1/2) S_h^T`` and the matrix M of the hidden pixels,

    P = D^-1 + D^-1 U M U^T D^-1,    M = (N_hh - U^T D^-1 U)^-1.

The inverse takes n**2 numbers for n hidden pixels and n**3 operations for every new mask. Here a
short sum stands for it, with gates g of the pixels that a small network makes of the mask, and
filters F of the degree,

    M r = (g_0 g_0 r + sum_c g_c F_c (g_c r)) / noise**2.

All g and F are positive, so that P is symmetric and positive definite whatever the weights: more
steps of conjugate gradients always lead to the exact answer. No data enter M, and a sky of twice
the contrast is filled with twice the contrast.

Shapes: K = (lmax + 1)**2 real coefficients, P pixels in RING order, C channels.
"""

import math
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skytutor.chapters.inpainting.sphere_sky import SphereSky
from skytutor.chapters.inpainting.walk import Operator, conjugate_walk
from skytutor.fields.whitened import Whitened, solve_whitened
from skytutor.healpix import UNSEEN, neighbours, nside_to_npix, pixel_area
from skytutor.layers.pixel import HaloConv
from skytutor.memo import cached_table
from skytutor.validate import all_finite, positive

__all__ = ["MaskGates", "SphereFill", "ZonalFilters", "hole_depth"]

_DEEPEST = 8  # pixels: further inside, a hole looks the same


@cached_table(maxsize=4)
def _around(nside: int) -> Tensor:
    """Return the neighbours of every pixel, ``(P, 8)``, -1 for one that is missing."""
    return neighbours(torch.arange(nside_to_npix(nside)), nside=nside, order="ring")


def hole_depth(mask: Tensor, *, nside: int) -> Tensor:
    """Return how many steps from pixel to pixel lead out of the hole, 8 at most.

    Arguments:
        mask: ``(..., P)`` bool, RING order, True where seen.
        nside: of the mask.

    Returns:
        ``(..., P)`` float32: 0 where seen, 1 at the edge of a hole.

    Example:
        >>> mask = torch.ones(48, dtype=torch.bool)
        >>> mask[20] = False
        >>> hole_depth(mask, nside=2)[19:22]
        tensor([0., 1., 0.])
    """
    around = _around(nside)
    inside = ~mask
    depth = inside.float()
    for _ in range(_DEEPEST - 1):
        # What has a hidden pixel on every side lies a step deeper; a missing neighbour is no edge.
        inside = inside & (inside[..., around.clamp(min=0)] | (around < 0)).all(-1)
        depth = depth + inside
    return depth


class ZonalFilters(nn.Module):
    """Positive filters of the degree: signal over noise times the exponential of a spline.

    Signal over noise is the covariance of the signal. Degrees are counted in units of nside, so
    that the same weights serve every resolution.

    Arguments:
        channels: C, how many.
        knots: of each linear spline, even in ``log(1 + 10 l / nside)`` up to 2.5 nside.

    Example:
        >>> ZonalFilters(2)(torch.ones(21), nside=8).shape
        torch.Size([2, 21])
    """

    def __init__(self, channels: int, knots: int = 12):
        super().__init__()
        l = 0.1 * (torch.linspace(0, math.log(26), knots).exp() - 1)  # of the knots, over nside
        # At first the covariance without the scales wider than a hole: no hole hides them.
        cut = torch.linspace(0.3, 1.5, channels)[:, None]
        self.log = nn.Parameter(-torch.log1p((cut / (l + 0.05)).square()) - math.log(channels))

    def forward(self, ratio: Tensor, *, nside: int) -> Tensor:
        """Return the filters ``(C, lmax + 1)`` for signal over noise ``(lmax + 1,)``."""
        last = self.log.shape[1] - 1
        l = torch.arange(len(ratio), device=ratio.device) / nside
        place = ((10 * l).log1p() / math.log(26) * last).clamp(max=last)
        # Hats around the knots make a linear spline.
        hats = (1 - (place[:, None] - torch.arange(last + 1, device=ratio.device)).abs()).relu()
        return ratio * (self.log @ hats.T).exp().to(ratio)


class MaskGates(nn.Module):
    """Positive gates of every pixel, from the mask and the depth of its holes.

    Arguments:
        gates: how many.
        nside: of the masks, RING order.
        width: channels of the hidden layers.

    Example:
        >>> mask = torch.ones(2, 192, dtype=torch.bool)
        >>> mask[:, 50] = False
        >>> bool((MaskGates(3, nside=4)(mask) > 0).all())
        True
    """

    def __init__(self, gates: int, *, nside: int, width: int = 12):
        super().__init__()
        self.nside = nside
        self.first = HaloConv(3, width, nside=nside, order="ring")
        self.second = HaloConv(width, width, nside=nside, order="ring")
        self.last = HaloConv(width, gates, nside=nside, order="ring")
        assert self.last.bias is not None
        # At first nearly the same for all pixels.
        nn.init.normal_(self.last.weight, std=0.02)
        nn.init.zeros_(self.last.bias)

    def forward(self, mask: Tensor) -> Tensor:
        """Return gates ``(..., gates, P)`` for masks ``(..., P)`` bool, True where seen."""
        depth = hole_depth(mask.reshape(-1, mask.shape[-1]), nside=self.nside)
        x = torch.stack([(depth / scale).tanh() for scale in (0.5, 2.0, 6.0)], 1)
        x = F.silu(self.first(x))
        x = F.silu(self.second(x))
        gates = self.last(x).exp()
        return gates.reshape(*mask.shape[:-1], *gates.shape[-2:])


class SphereFill(nn.Module):
    """Fill the hidden pixels of maps by a few conjugate-gradient steps on the whole sky.

    Arguments:
        nside: of the maps, RING order.
        channels: C, filters; each takes two transforms a step, beside the four that there are.
        steps: to take where `forward` is not told how many.

    Example:
        >>> fill = SphereFill(8)
        >>> mask = torch.arange(768) > 20
        >>> fill(torch.randn(2, 768).double(), mask).shape
        torch.Size([2, 768])
    """

    def __init__(self, nside: int, *, channels: int = 2, steps: int = 4):
        super().__init__()
        positive(channels=channels, steps=steps)
        self.sky = SphereSky(nside)
        self.channels = channels
        self.steps = steps
        self.filters = ZonalFilters(channels)
        self.gates = MaskGates(channels + 1, nside=nside)

    def at(self, nside: int) -> "SphereFill":
        """Return the same weights for maps of another nside."""
        other = SphereFill(nside, channels=self.channels, steps=self.steps)
        other.load_state_dict(self.state_dict())
        return other.train(self.training)

    def preconditioner(self, mask: Tensor) -> Operator:
        """Return ``r -> P r`` for residuals ``(..., K)``.

        Arguments:
            mask: ``(..., P)`` bool, True where seen.
        """
        sky = self.sky
        area = pixel_area(sky.nside)
        filters = area * self.filters(sky.ratio, nside=sky.nside)[:, sky.degree]  # (C, K)
        gates = self.gates(mask).double() * (~mask)[..., None, :]
        plain = gates[..., 0, :].square()
        gates = gates[..., 1:, :]

        def hole(r: Tensor) -> Tensor:
            # Each channel: gate, filter, the same gate, so that the sum is symmetric.
            coefs = filters * sky.harmonics.adjoint(gates * r[..., None, :])
            return plain * r + (gates * sky.harmonics.synthesis(coefs)).sum(-2)

        def apply(residual: Tensor) -> Tensor:
            z = residual / sky.diagonal
            hidden = hole(sky.synthesis(z)) / sky.noise**2
            return z + sky.adjoint(hidden) / sky.diagonal

        return apply

    def forward(
        self, data: Tensor, mask: Tensor, steps: int | None = None, *, every: bool = False
    ) -> Tensor:
        """Return the data, hidden pixels filled with the mean of the signal.

        Arguments:
            data: ``(..., P)`` float64, muK; what stands in hidden pixels does not count.
            mask: ``(..., P)`` bool, True where seen.
            steps: how many to take; None for those of the network.
            every: return the maps after every step, ``(steps, ..., P)``.

        Raises:
            TypeError: data that are not float64, a mask that is not bool.
            ValueError: another shape, a mask that hides all or nothing, NaN, infinite or UNSEEN
                values in seen pixels.
        """
        (steps,) = positive(steps=self.steps if steps is None else steps)
        _check(data, mask, nside=self.sky.nside)
        walk = self.walk(data, mask)
        filled = [torch.where(mask, data, self.sky.synthesis(x)) for x in islice(walk, steps)]
        return torch.stack(filled) if every else filled[-1]

    def walk(self, data: Tensor, mask: Tensor) -> Iterator[Tensor]:
        """Yield the coefficients x after every step, with their gradient.

        Arguments:
            data: as in `forward`.
            mask: likewise.
        """
        rhs = self.sky.right_side(data, mask)
        preconditioner = self.preconditioner(mask)
        # P b gets right what is seen, which has some 1e5 times the power of the noise; from 0 the
        # first step length would spoil it for the sake of the holes.
        return conjugate_walk(
            self.sky.operator(mask),
            rhs,
            preconditioner=preconditioner,
            start=preconditioner(rhs),
        )

    @torch.no_grad()
    def solve(
        self, data: Tensor, mask: Tensor, *, tolerance: float = 1e-6, max_iter: int = 500
    ) -> Whitened:
        """Go on until x is known to a tolerance: the Wiener filter itself.

        Arguments:
            data: as in `forward`.
            mask: likewise.
            tolerance: relative error of x, a bound (`skytutor.fields.whitened`).
            max_iter: steps to take at most.

        Returns:
            x ``(..., K)``, steps, and the residual, which the caller has to look at.
        """
        _check(data, mask, nside=self.sky.nside)
        return solve_whitened(
            self.sky.operator(mask),
            self.sky.right_side(data, mask),
            preconditioner=self.preconditioner(mask),
            tolerance=tolerance,
            max_iter=max_iter,
        )


def _check(data: Tensor, mask: Tensor, *, nside: int) -> None:
    """Refuse data and masks that do not fit."""
    wanted = {
        "data": (data, torch.float64, "float64"),
        "mask": (mask, torch.bool, "bool, True where the sky is seen"),
    }
    for name, (values, dtype, words) in wanted.items():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        if kind != dtype:
            raise TypeError(f"{name} must be {words}, got {kind}")
    pixels = 12 * nside**2
    for name, maps in (("data", data), ("mask", mask)):
        if maps.shape[-1:] != (pixels,):
            raise ValueError(
                f"{name} must end in {pixels} pixels, nside {nside}; got {tuple(maps.shape)}"
            )
    if bool(mask.all(-1).any()) or not bool(mask.any(-1).all()):
        raise ValueError("mask must hide some pixels and not all of them, on every sky")
    known = torch.where(mask, data, 0).detach()
    if not all_finite(known) or bool((known < 0.99 * UNSEEN).any()):
        raise ValueError("data hold NaN, infinite or UNSEEN values in pixels that the mask shows")
