r"""Ours: a preconditioner that is learned, inside conjugate gradients that are not.

The exact fill of the hidden pixels h solves ``Q_hh x = -Q_ho d_o`` (`skytutor.fields.holes`). A
network does not answer in place of the equations: it only says which way to step. Its answer,

.. math:: M r = h \sum_c g_c \, F_c * (g_c h r),

is symmetric and positive whatever the weights are. The filters :math:`F_c > 0` depend on the
multipole alone; the gates :math:`g_c > 0` come from the mask and the distance to its edge. No data
enter either: more steps always lead to the exact fill, whatever the weights, and a sky of twice the
contrast is filled with twice the contrast.

Shapes: data ``(..., H, H)``, masks ``(..., H, H)`` True where seen; leading axes broadcast.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skytutor.chapters.inpainting.walk import conjugate_walk
from skytutor.fields.fills import Filled, fill_by_cg
from skytutor.fields.flat import FlatSky, filter_maps
from skytutor.fields.holes import check_hard_mask, seen_only
from skytutor.validate import positive

__all__ = ["Gates", "LearnedFill", "RadialFilters", "conjugate_steps", "edge_distance"]

Preconditioner = Callable[[Tensor], Tensor]


def edge_distance(mask: Tensor) -> Tensor:
    """Return how far each pixel is from the other side of the mask's edge, in pixels.

    Arguments:
        mask: ``(..., H, H)`` bool, True where seen; some pixels are seen and some are hidden.

    Returns:
        ``(..., H, H)`` float32, to the nearest seen pixel in holes and minus the distance to the
        nearest hidden pixel outside, on the periodic patch.

    Example:
        >>> mask = torch.ones(4, 4, dtype=torch.bool)
        >>> mask[0, 0] = False
        >>> edge_distance(mask)[0]
        tensor([ 1., -1., -2., -1.])
    """
    return _distance_to(mask) - _distance_to(~mask)


def _distance_to(target: Tensor) -> Tensor:
    """Return the distance to the nearest True pixel, exactly, one axis after the other."""
    size = target.shape[-1]
    i = torch.arange(size)
    shift = (i[:, None] - i).abs()
    square = torch.minimum(shift, size - shift).square().float()
    # Rows without a True pixel are farther than any that have one.
    far = torch.where(target, 0.0, 4.0 * size**2)
    along = (far[..., None, :] + square).amin(-1)
    across = (along[..., None, :, :] + square[..., None]).amin(-2)
    return across.sqrt()


class RadialFilters(nn.Module):
    """Positive filters of the multipole: the covariance times the exponential of a spline.

    Arguments:
        channels: C, how many.
        knots: of each linear spline, even in ``log(1 + l / 50)`` from l = 0 to 2500.

    Example:
        >>> RadialFilters(3)(torch.rand(8, 5) * 1500, total=torch.ones(8, 5)).shape
        torch.Size([3, 8, 5])
    """

    def __init__(self, channels: int, knots: int = 16):
        super().__init__()
        l = 50 * (torch.linspace(0, math.log(51), knots).exp() - 1)
        # At first the covariance itself, then ever less of the scales that small holes do not know.
        cut = torch.linspace(0, 1500, channels)[:, None]
        self.log = nn.Parameter(-torch.log1p((cut / (l + 20)).square()))

    def forward(self, l: Tensor, *, total: Tensor) -> Tensor:
        """Return the filters at multipoles ``(H, W)`` of a sky of variances `total`: (C, H, W)."""
        last = self.log.shape[1] - 1
        place = (l / 50).log1p() / math.log(51) * last
        # Hats around the knots make a linear spline, constant beyond the last knot.
        hats = 1 - (place.clamp(max=last)[..., None] - torch.arange(last + 1).to(l)).abs()
        spline = hats.relu().to(self.log) @ self.log.T
        return spline.movedim(-1, 0).exp() * (total / total.mean()).to(self.log)


class Gates(nn.Module):
    """Positive gates of every pixel, from the mask and the distance to its edge.

    Arguments:
        channels: C, how many.
        width: channels of the hidden layers.

    Example:
        >>> mask = torch.ones(2, 8, 8, dtype=torch.bool)
        >>> mask[:, 3, 4] = False
        >>> bool((Gates(3)(mask) > 0).all())
        True
    """

    scales = (1.0, 3.0, 9.0, 27.0)  # in pixels: near the edge of a hole, and deep inside a wide one

    def __init__(self, channels: int, width: int = 16):
        super().__init__()
        # What is near the edge of a periodic patch is near the other edge too.
        self.first = nn.Conv2d(len(self.scales), width, 5, padding=2, padding_mode="circular")
        self.second = nn.Conv2d(width, width, 3, padding=1, padding_mode="circular")
        self.last = nn.Conv2d(width, channels, 1)
        # At first nearly the same for all pixels, the squares of the C gates adding up to one.
        nn.init.normal_(self.last.weight, std=0.1)
        nn.init.constant_(self.last.bias, -0.5 * math.log(channels))  # type: ignore[arg-type]

    def forward(self, mask: Tensor) -> Tensor:
        """Return gates ``(..., C, H, H)`` for masks ``(..., H, H)``, True where seen."""
        distance = edge_distance(mask).reshape(-1, *mask.shape[-2:])
        x = torch.stack([(distance / scale).tanh() for scale in self.scales], dim=-3)
        x = F.silu(self.first(x.to(self.last.weight)))
        x = F.silu(self.second(x))
        gates = self.last(x).exp()
        return gates.reshape(*mask.shape[:-2], *gates.shape[-3:])


class LearnedFill(nn.Module):
    """Fill holes by a few conjugate-gradient steps with a learned preconditioner.

    Arguments:
        sky: spectrum, beam, pixels and noise of the data; patches of any size can be filled.
        channels: C, filters and gates.
        steps: to take where `forward` is not told how many.

    Example:
        >>> sky = FlatSky(16, pixel_arcmin=7.0, cl=torch.ones(3000), noise=1.0)
        >>> mask = torch.ones(16, 16, dtype=torch.bool)
        >>> mask[4:7, 4:7] = False
        >>> LearnedFill(sky)(torch.randn(2, 16, 16), mask).shape
        torch.Size([2, 16, 16])
    """

    def __init__(self, sky: FlatSky, *, channels: int = 8, steps: int = 4):
        super().__init__()
        positive(channels=channels, steps=steps)
        self.steps = steps
        self.filters = RadialFilters(channels)
        self.gates = Gates(channels)
        self._skies = {sky.size: sky}
        self._sky = sky

    def sky(self, size: int) -> FlatSky:
        """Return the sky on a patch of ``size`` pixels along a side."""
        if size not in self._skies:
            like = self._sky
            self._skies[size] = FlatSky(
                size,
                pixel_arcmin=like.pixel_arcmin,
                cl=like.cl,
                beam_arcmin=like.beam_arcmin,
                noise=like.noise,
            )
        return self._skies[size]

    def preconditioner(self, mask: Tensor) -> Preconditioner:
        """Return ``r -> M r`` for residuals ``(..., H, H)``: what `fill_by_cg` takes.

        Arguments:
            mask: ``(..., H, H)``, True where seen.
        """
        seen = check_hard_mask(mask)
        sky = self.sky(seen.shape[-1])
        filters = self.filters(sky.l, total=sky.total)
        gates = self.gates(seen) * (~seen)[..., None, :, :]

        def apply(residual: Tensor) -> Tensor:
            # Each channel: gate, filter, the same gate; with equal gates M is symmetric.
            each = gates * residual.to(gates)[..., None, :, :]
            return (gates * filter_maps(each, filters)).sum(-3).to(residual)

        return apply

    def forward(
        self, data: Tensor, mask: Tensor, steps: int | None = None, *, every: bool = False
    ) -> Tensor:
        """Return the data, hidden pixels filled.

        Arguments:
            data: ``(..., H, H)``; what stands in hidden pixels does not count.
            mask: ``(..., H, H)``, True where seen.
            steps: K, how many to take; None for those of the network.
            every: return the maps after every step, ``(K, ..., H, H)``, in place of the last ones.

        Raises:
            TypeError, ValueError: bad arguments, named.
        """
        (steps,) = positive(steps=self.steps if steps is None else steps)
        seen = check_hard_mask(mask, size=data.shape[-1])
        known = seen_only(data, seen)
        precision = self.sky(seen.shape[-1]).precision
        rhs = torch.where(seen, 0, -filter_maps(known, precision))
        walk = conjugate_steps(rhs, seen, precision, preconditioner=self.preconditioner(seen))
        filled = [known + x for x in islice(walk, steps)]
        return torch.stack(filled) if every else filled[-1]

    @torch.no_grad()
    def fill(self, data: Tensor, mask: Tensor, *, tolerance: float = 1e-8) -> Filled:
        """Go on until the residual is small: the exact fill, as `fill_by_cg` finds it.

        Arguments:
            data: as in `forward`.
            mask: as in `forward`.
            tolerance: relative residual to stop at.

        Raises:
            ConvergenceError: not converged in 1000 steps.
        """
        return fill_by_cg(
            data,
            mask,
            self.sky(data.shape[-1]).precision,
            preconditioner=self.preconditioner(mask),
            tolerance=tolerance,
        )


def conjugate_steps(
    rhs: Tensor, seen: Tensor, precision: Tensor, *, preconditioner: Preconditioner
) -> Iterator[Tensor]:
    """Walk to the solution of ``Q_hh x = b`` and yield x after every step, with its gradient.

    Arguments:
        rhs: b, ``(..., H, H)``, 0 in seen pixels.
        seen: ``(..., H, H)`` bool.
        precision: Q on the modes.
        preconditioner: an approximate inverse of Q_hh.
    """

    def operator(x: Tensor) -> Tensor:
        return torch.where(seen, 0, filter_maps(x, precision))

    return conjugate_walk(operator, rhs, preconditioner=preconditioner, vector_dims=2)
