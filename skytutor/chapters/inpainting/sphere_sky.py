"""The sky that the learned preconditioner fills, and the walk of conjugate gradients.

Shapes: K = (lmax + 1)**2 real coefficients, P pixels in RING order.
"""

import math

import torch
from torch import Tensor

from skytutor.chapters.inpainting.walk import Operator
from skytutor.data.patches import best_fit_spectrum
from skytutor.healpix import pixel_area
from skytutor.sht import RealHarmonics, real_degrees

__all__ = ["SphereSky"]


class SphereSky:
    """A Gaussian sky on HEALPix with Planck's best-fit spectrum, a beam and uniform noise.

    Coefficients reach 2.5 nside, where the beam has brought the signal down to the noise.

    Arguments:
        nside: of the maps, RING order.
        noise: standard deviation in a pixel, muK.
        beam_pixels: full width at half maximum of the Gaussian beam, in pixels.

    Attributes:
        lmax: last degree.
        harmonics: the transforms, float64.
        cl: spectrum of the signal with its beam, muK**2, ``(lmax + 1,)``; monopole and dipole take
            the power of the quadrupole.
        ratio: of signal to noise at each degree, ``(lmax + 1,)``.

    Example:
        >>> sky = SphereSky(8)
        >>> signal, data = sky.draw(2, generator=torch.Generator().manual_seed(0))
        >>> data.shape, sky.lmax
        (torch.Size([2, 768]), 20)
    """

    def __init__(self, nside: int, *, noise: float = 5.0, beam_pixels: float = 2.0):
        self.nside = nside
        self.noise = noise
        self.beam_pixels = beam_pixels
        self.lmax = 5 * nside // 2
        self.harmonics = RealHarmonics(nside, self.lmax, order="ring", dtype=torch.float64)
        self.degree = real_degrees(self.lmax)[0]
        l = torch.arange(self.lmax + 1, dtype=torch.float64)
        area = pixel_area(nside)
        sigma = beam_pixels * area**0.5 / math.sqrt(8 * math.log(2))
        cl = best_fit_spectrum(self.lmax) * torch.exp(-l * (l + 1) * sigma**2)
        cl[:2] = cl[2]
        self.cl = cl
        # White noise of the pixels has the same power at every degree.
        self.ratio = cl / (noise**2 * area)
        self.root = cl.sqrt()[self.degree]
        self.diagonal = 1 + self.ratio[self.degree]

    def draw(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n skies: signal and data, ``(n, P)`` float64 each, in muK.

        Arguments:
            n: how many.
            generator: of the random numbers.
        """
        unit = torch.randn(n, len(self.root), generator=generator, dtype=torch.float64)
        signal = self.synthesis(unit)
        noise = torch.randn(signal.shape, generator=generator, dtype=torch.float64)
        return signal, signal + self.noise * noise

    def synthesis(self, x: Tensor) -> Tensor:
        """Return the maps ``(..., P)`` of coefficients in units of the spectrum's root."""
        return self.harmonics.synthesis(self.root * x)

    def adjoint(self, maps: Tensor) -> Tensor:
        """Return the transpose of `synthesis`."""
        return self.root * self.harmonics.adjoint(maps)

    def operator(self, mask: Tensor) -> Operator:
        """Return ``x -> A x`` for masks ``(..., P)`` bool, True where seen."""
        weight = mask.double() / self.noise**2
        return lambda x: x + self.adjoint(weight * self.synthesis(x))

    def right_side(self, data: Tensor, mask: Tensor) -> Tensor:
        """Return ``C^(1/2) S^T N^-1 d``; what stands in hidden pixels does not count."""
        return self.adjoint(torch.where(mask, data, 0) / self.noise**2)
