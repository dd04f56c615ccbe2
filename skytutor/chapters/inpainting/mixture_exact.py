r"""Skies that are not Gaussian and whose best fill is known: sheared along a hidden axis.

The spectrum of each patch is stretched along an axis of angle theta, drawn evenly from 0..pi:

.. math:: T_\theta(k) = C(|A_\theta k|)\, b_k^2 / a^2 + \sigma^2, \qquad
   A_\theta = 1 - \gamma \begin{pmatrix} \cos 2\theta & \sin 2\theta \\
                                         \sin 2\theta & -\cos 2\theta \end{pmatrix}

with pixels of a radians, a beam b and white noise. Given the axis a sky is Gaussian, and
`DenseHole` fills it. The axis is not given, so the mean over what is hidden is a mixture,

.. math:: E[s \mid d] = \int p(\theta \mid d)\, W_\theta(d)\, d\theta, \qquad
   -2 \log p(\theta \mid d) = \min_x d^T Q_\theta d + \log\det T_\theta + \log\det Q_{\theta, hh}

up to a constant, where the minimum over hidden pixels x is at the fill :math:`W_\theta(d)`. No
estimate has a smaller mean squared error. The integral is a sum over a grid of axes.

Shapes: maps ``(..., H, H)``; a mask is ``(H, H)``, True where the sky is seen; T axes.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.data.patches import flat_sky
from skytutor.fields.flat import filter_maps, frequencies, interpolate
from skytutor.fields.holes import DenseHole
from skytutor.fields.windows import gaussian_beam
from skytutor.validate import positive

__all__ = [
    "STRENGTH",
    "AxisPosterior",
    "ShearedSky",
    "fill_by_axis",
    "fill_by_mixture",
    "full_plane_sum",
]

STRENGTH = 0.3
_FINER = 16  # axes of the fine grid, for each for which the holes are filled
_ARCMIN = math.pi / 180 / 60


class AxisPosterior(NamedTuple):
    """What the exact answer says of patches.

    Attributes:
        maps: the data, hidden pixels replaced by their mean given the seen ones, ``(n, H, H)``.
        axes: angles in radians, ``(T,)``.
        probability: of each axis given the seen pixels, ``(n, T)``; it sums to 1.
    """

    maps: Tensor
    axes: Tensor
    probability: Tensor

    def mean_axis(self) -> Tensor:
        """Return the axis in the middle of each posterior, ``(n,)`` in 0..pi."""
        # Axes are the same after half a turn: the mean is that of exp(2 i theta).
        mean = (self.probability * torch.exp(2j * self.axes)).sum(-1)
        return mean.angle() / 2 % math.pi


class ShearedSky:
    """Gaussian skies whose spectrum is sheared, each along an axis of its own.

    Arguments:
        size: H, pixels along a side.
        strength: gamma of the shear, from 0 (isotropic) to below 1.
        setup: pixels, beam and noise, as in `skytutor.data.patches.SETUPS`.

    Raises:
        ValueError: a strength outside its range, an unknown set-up.

    Example:
        >>> sky = ShearedSky(16)
        >>> signal, data, axis = sky.draw(3, generator=torch.Generator().manual_seed(1))
        >>> data.shape, axis.shape
        (torch.Size([3, 16, 16]), torch.Size([3]))
    """

    def __init__(self, size: int, *, strength: float = STRENGTH, setup: str = "B"):
        if not 0 <= strength < 1:
            raise ValueError(f"strength must lie in 0..1, 1 excluded, got {strength}")
        self.strength = float(strength)
        self.flat = flat_sky(setup, size)
        self.size = self.flat.size
        self._ky, self._kx = frequencies(size, pixel_arcmin=self.flat.pixel_arcmin)
        fwhm = self.flat.beam_arcmin * _ARCMIN
        beam = gaussian_beam(fwhm, lmax=len(self.flat.cl) - 1).square()
        self._window = interpolate(beam, self.flat.l) / (self.flat.pixel_arcmin * _ARCMIN) ** 2

    def signal(self, axes: Tensor) -> Tensor:
        """Return the signal's variance in each mode, ``(n, H, H // 2 + 1)``, for axes ``(n,)``."""
        e1 = self.strength * (2 * axes.double()).cos()[:, None, None]
        e2 = self.strength * (2 * axes.double()).sin()[:, None, None]
        # The sky is stretched along the axis: its modes stand at smaller k in that direction.
        x = self._kx - e1 * self._kx - e2 * self._ky
        y = self._ky - e2 * self._kx + e1 * self._ky
        signal = interpolate(self.flat.cl, torch.hypot(x, y)) * self._window
        signal[:, 0, 0] = self.flat.signal[0, 0]  # the constant mode has no direction
        # In the last column k and its mirror image in ky are one mode of a real map.
        edge = signal[:, :, -1].clone()
        mirrored = torch.cat([edge[:, :1], edge[:, 1:].flip(-1)], -1)
        signal[:, :, -1] = (edge + mirrored) / 2
        return signal

    def total(self, axes: Tensor) -> Tensor:
        """Return the variance of each mode with noise, ``(n, H, H // 2 + 1)``."""
        return self.signal(axes) + self.flat.noise**2

    def axis_grid(self, n: int) -> Tensor:
        """Return n axes, evenly over 0..pi, ``(n,)`` in radians."""
        (n,) = positive(n=n)
        return torch.arange(n, dtype=torch.float64) * (math.pi / n)

    def mean_total(self, n: int = 180) -> Tensor:
        """Return the mean of `total` over all axes: the covariance of the sheared skies.

        The Wiener filter of this spectrum is the best of all linear fills.
        """
        return self.total(self.axis_grid(n)).mean(0)

    def draw(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw skies, each along an axis of its own.

        Arguments:
            n: how many.
            generator: of the random numbers.

        Returns:
            signal and data ``(n, H, H)`` float64, and the axes ``(n,)`` in 0..pi, in radians.
        """
        (n,) = positive(n=n)
        axes = torch.rand(n, generator=generator, dtype=torch.float64) * math.pi
        shape = (2, n, self.size, self.size)
        white = torch.randn(shape, generator=generator, dtype=torch.float64)
        signal = filter_maps(white[0], self.signal(axes).sqrt())
        return signal, signal + self.flat.noise * white[1], axes


def full_plane_sum(values: Tensor) -> Tensor:
    """Sum over all modes of a plane what is given for those of ``rfft2``.

    Arguments:
        values: ``(..., H, H // 2 + 1)``, H even.

    Example:
        >>> full_plane_sum(torch.ones(4, 3))
        tensor(16.)
    """
    columns = values.sum(-2)
    return 2 * columns.sum(-1) - columns[..., 0] - columns[..., -1]


def fill_by_axis(data: Tensor, mask: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Fill holes as if the axis were known, and say how likely the seen pixels then are.

    Arguments:
        data: ``(n, H, H)``; what stands in hidden pixels does not count.
        mask: ``(H, H)``, True where seen.
        total: variance of each mode for that axis, ``(H, H // 2 + 1)``.

    Returns:
        the filled data ``(n, H, H)``, and the logarithm of the density of the seen pixels
        ``(n,)``, the same constant left out for every axis.
    """
    hole = DenseHole(1 / total, mask)
    filled = hole.fill(data)
    # Filled with its mean, the whole patch has the quadratic form of the seen pixels alone.
    whitened = filter_maps(filled, total.rsqrt())
    quadratic = whitened.square().sum((-2, -1))
    # det C_oo = det T det Q_hh: the covariance of the seen pixels is never formed.
    log_det = full_plane_sum(total.log()) + hole.log_det
    return filled, -(quadratic + log_det) / 2


def fill_by_mixture(
    data: Tensor, mask: Tensor, sky: ShearedSky, *, n_axes: int = 45
) -> AxisPosterior:
    """Fill holes with the exact mean given the seen pixels, the axis unknown.

    The posterior is narrower than the grid, but its logarithm and the fills are smooth in theta:
    both are interpolated by their Fourier series to a grid sixteen times as fine.

    Arguments:
        data: ``(n, H, H)``; what stands in hidden pixels does not count.
        mask: ``(H, H)``, True where seen.
        sky: how the skies were drawn.
        n_axes: axes for which the holes are filled, an odd number.

    Returns:
        Filled maps, the fine grid's axes, and the probability of each.

    Raises:
        ValueError: an even number of axes.

    Example:
        >>> sky = ShearedSky(16)
        >>> _, data, _ = sky.draw(2, generator=torch.Generator().manual_seed(1))
        >>> mask = torch.ones(16, 16)
        >>> mask[4:8, 4:8] = 0
        >>> fill_by_mixture(data, mask, sky, n_axes=15).probability.shape
        torch.Size([2, 240])
    """
    fills = []
    log_densities = []
    for total in sky.total(sky.axis_grid(n_axes)):
        filled, log_density = fill_by_axis(data, mask, total)
        fills.append(filled.double())
        log_densities.append(log_density)
    axes = sky.axis_grid(_FINER * n_axes)
    kernel = _dirichlet(axes, sky.axis_grid(n_axes))
    # Every axis is as likely as any other before the data are seen.
    probability = (torch.stack(log_densities, -1).double() @ kernel.T).softmax(-1)
    # sum_f p_f sum_t kernel_ft W_t: the fine fills themselves are never stored.
    maps = torch.einsum("nt,tnij->nij", probability @ kernel, torch.stack(fills))
    return AxisPosterior(maps, axes, probability)


def _dirichlet(fine: Tensor, coarse: Tensor) -> Tensor:
    """Return what interpolates a function of period pi from an odd grid, ``(F, T)``."""
    n = len(coarse)
    if n % 2 == 0:
        raise ValueError(f"n_axes must be odd, for its Fourier series to be complete, got {n}")
    u = fine[:, None] - coarse
    near = u.sin().abs() < 1e-12
    return torch.where(near, 1, (n * u).sin() / torch.where(near, 1, n * u.sin()))
