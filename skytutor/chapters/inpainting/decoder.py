r"""Conditional variational autoencoders of a hole: the exact one, and one that learns the spectrum.

A variational autoencoder draws latent variables from a prior and decodes them. Here the latent is a
whole sky f, its prior the spectrum, and the decoder

.. math:: x = f + \mathrm{fill}(d - f)

in hidden pixels, d in seen ones [1]_. With W for the fill of hidden pixels h from seen ones o,
``x_h = (f_h - W f_o) + W d_o``: what f has there beyond its own fill, on the fill of the data.

**Exact.** Let the prior be the sky's spectrum T and W the exact fill. Then ``f_h - W f_o`` is
independent of f_o and has the covariance ``Q_hh^-1`` of `skytutor.fields.holes`, so a decoded draw
of the prior is an exact sample of the hidden sky. The encoder, the posterior of f given the truth
x, is known too: f_o is a draw of the prior, for x says nothing about it, and
``f_h = x_h - W (d_o - f_o)``, for then f decodes to x.

**Free.** The prior's spectrum T and the precision P of the decoder's own fill,
``W = -P_hh^-1 P_ho``, are two curves to learn; nothing ties one to the other, and neither is told
the spectrum. As ``f_h - W f_o = P_hh^-1 (P f)_h``, a decoded draw has the covariance

.. math:: C = P_{hh}^{-1} (P T P)_{hh} P_{hh}^{-1}.

The loss of a variational autoencoder is the evidence lower bound. With the exact encoder above
(which holds where W is the fill of T's own precision) the bound is the likelihood itself,
``log N(x_h; W d_o, C)``: it is this that is maximised, for any P and T, so that no encoder has to
be trained. An encoder network with independent Gaussian latents, the usual choice, could not hold
the posterior of f, which is a delta function in n directions that no pixel or mode lies along; its
bound would be minus infinity for a decoder without noise, and draws too wide or too narrow with it.

Shapes: data ``(n, H, H)`` in muK, masks ``(H, H)`` True where seen.

.. [1] Y. Hoffman & E. Ribak, 1991, ApJ 380, L5.
"""

import math

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.samples import realisation
from skytutor.fields.flat import FlatSky, filter_maps, frequencies
from skytutor.fields.holes import DenseHole, check_hard_mask
from skytutor.validate import positive

__all__ = ["ExactDecoder", "FreeDecoder", "LinearDecoder", "LogSpline", "hidden_block"]

_ARCMIN = math.pi / 180 / 60  # radians
_START = 1000.0  # l (l + 1) C_l / 2 pi in muK^2 that a decoder begins with, at every l


def hidden_block(spectrum: Tensor, mask: Tensor) -> Tensor:
    """Return the matrix between hidden pixels of an operator that multiplies Fourier modes.

    Arguments:
        spectrum: on the modes, ``(H, H // 2 + 1)``; gradients pass through.
        mask: ``(H, H)`` bool, True where seen.

    Returns:
        ``(n, n)`` for n hidden pixels, in the order of the flattened map.

    Example:
        >>> mask = torch.tensor([[True, False], [False, True]])
        >>> hidden_block(torch.full((2, 2), 3.0), mask)
        tensor([[3., 0.],
                [0., 3.]])
    """
    size = mask.shape[-1]
    y, x = (~mask).nonzero().unbind(-1)
    # One column holds all: the patch is periodic.
    column = torch.fft.irfft2(spectrum, s=(size, size))
    return column[(y[:, None] - y) % size, (x[:, None] - x) % size]


class LogSpline(nn.Module):
    """A positive function of the multipole: the exponential of straight lines between knots.

    Arguments:
        values: at the knots, which are evenly spaced, before anything is learned; ``(K,)``.
        first: multipole of the first knot; the function is constant below it.
        last: multipole of the last knot; the function is constant beyond.

    Example:
        >>> spline = LogSpline(torch.tensor([1.0, 4.0]), first=0.0, last=1000.0)
        >>> spline(torch.tensor([0.0, 500.0])).detach()
        tensor([1.0000, 2.0000], dtype=torch.float64)
    """

    def __init__(self, values: Tensor, *, first: float, last: float):
        super().__init__()
        self.first = first
        self.last = last
        self.log = nn.Parameter(values.log().float())

    def forward(self, l: Tensor) -> Tensor:
        """Return values at multipoles l, of its shape, float64.

        Arguments:
            l: of any shape, not negative.
        """
        log = self.log.double()
        part = (l.double() - self.first) / (self.last - self.first)
        place = part.clamp(min=0, max=1) * (len(log) - 1)
        below = place.floor().long().clamp(max=len(log) - 2)
        part = place - below
        return (log[below] * (1 - part) + log[below + 1] * part).exp()


class LinearDecoder(nn.Module):
    """What both have in common: a latent sky f, and the decoder ``x = f + fill(d - f)``."""

    def sky(self, size: int) -> FlatSky:
        """Return the prior of the latent on a patch of ``size`` pixels along a side."""
        raise NotImplementedError

    def precision(self, size: int) -> Tensor:
        """Return the precision P of the decoder's fill on the modes, ``(H, H // 2 + 1)``."""
        raise NotImplementedError

    def fill(self, data: Tensor, mask: Tensor) -> Tensor:
        """Return the data, hidden pixels filled with ``W d_o``, the mean of the samples.

        Arguments:
            data: ``(n, H, H)``.
            mask: ``(H, H)``, True where seen.
        """
        return DenseHole(self.precision(data.shape[-1]).detach(), mask).fill(data)

    def decode(self, data: Tensor, mask: Tensor, latent: Tensor) -> Tensor:
        """Decode latents into what may stand in the hole.

        Arguments:
            data: ``(n, H, H)``; what stands in hidden pixels does not count.
            mask: ``(H, H)``, True where seen.
            latent: f, ``(n, H, H)``.

        Returns:
            ``(n, H, H)``, the data in seen pixels.
        """
        return torch.where(mask.bool(), data, latent + self.fill(data - latent, mask))

    def encode(self, truth: Tensor, mask: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw latents that decode to the truth, from their exact posterior if W is exact.

        Arguments:
            truth: data without a hole, ``(n, H, H)``.
            mask: ``(H, H)``, True where seen.
            generator: of the random numbers.

        Returns:
            f, ``(n, H, H)``.
        """
        _, latent = self.sky(truth.shape[-1]).draw(len(truth), generator=generator)
        # f_o stays as it was drawn; f_h is what the decoder will miss.
        return torch.where(mask.bool(), latent, truth - self.fill(truth - latent, mask))

    @torch.no_grad()
    def sample(
        self, data: Tensor, mask: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw what may stand in the hole: without noise, and with noise, ``(n, H, H)`` each.

        Arguments:
            data: ``(n, H, H)``.
            mask: ``(H, H)``, True where seen.
            generator: of the random numbers.
        """
        sky = self.sky(data.shape[-1])
        return realisation(self.fill, data, mask, sky, generator=generator)

    def covariance(self, mask: Tensor) -> Tensor:
        """Return C, the covariance of samples with noise in hidden pixels, ``(n, n)``.

        Arguments:
            mask: ``(H, H)``, True where seen.
        """
        seen = check_hard_mask(mask)
        precision = self.precision(seen.shape[-1])
        power = self.power(seen.shape[-1])
        inverse = torch.linalg.inv(hidden_block(precision, seen))
        return inverse @ hidden_block(precision.square() * power, seen) @ inverse

    def power(self, size: int) -> Tensor:
        """Return the prior's spectrum T on the modes, noise included, ``(H, H // 2 + 1)``."""
        return self.sky(size).total

    def forward(self, truth: Tensor, mask: Tensor) -> Tensor:
        """Return ``log N(x_h; W d_o, C)``, the evidence lower bound with the exact encoder.

        Arguments:
            truth: data without a hole, ``(n, H, H)`` float64.
            mask: ``(H, H)``, True where seen.

        Returns:
            ``(n,)``, float64.
        """
        seen = check_hard_mask(mask, size=truth.shape[-1])
        precision = self.precision(truth.shape[-1])
        power = self.power(truth.shape[-1])
        # x_h - W d_o = P_hh^-1 u for u = (P x)_h, and u has the covariance A = (P T P)_hh.
        u = filter_maps(truth, precision)[..., ~seen]
        factor = torch.linalg.cholesky(hidden_block(precision.square() * power, seen))
        white = torch.linalg.solve_triangular(factor, u.T, upper=False)
        log_det = 2 * factor.diagonal().log().sum()
        # The change of variables from x_h to u.
        change = torch.linalg.slogdet(hidden_block(precision, seen)).logabsdet
        constant = u.shape[-1] * math.log(2 * math.pi)
        return change - (white.square().sum(0) + log_det + constant) / 2


class ExactDecoder(LinearDecoder):
    """The exact conditional variational autoencoder of a Gaussian sky; nothing to learn.

    Arguments:
        sky: spectrum, beam, pixels and noise of the data.

    Example:
        >>> sky = FlatSky(16, pixel_arcmin=7.0, cl=torch.ones(3000), noise=1.0)
        >>> mask = torch.ones(16, 16, dtype=torch.bool)
        >>> mask[4:7, 4:7] = False
        >>> rng = torch.Generator().manual_seed(0)
        >>> _, data = sky.draw(2, generator=rng)
        >>> model = ExactDecoder(sky)
        >>> latent = model.encode(data, mask, generator=rng)
        >>> torch.allclose(model.decode(data, mask, latent), data)
        True
    """

    def __init__(self, sky: FlatSky):
        super().__init__()
        self._sky = sky

    def sky(self, size: int) -> FlatSky:
        """Return the sky on a patch of ``size`` pixels along a side."""
        like = self._sky
        if size == like.size:
            return like
        return FlatSky(
            size,
            pixel_arcmin=like.pixel_arcmin,
            cl=like.cl,
            beam_arcmin=like.beam_arcmin,
            noise=like.noise,
        )

    def precision(self, size: int) -> Tensor:
        """Return 1 / T."""
        return self.sky(size).precision


class FreeDecoder(LinearDecoder):
    """A decoder that is told pixels and noise, and learns both of its spectra from skies.

    White noise z times the root of the first curve is the latent's signal; the second curve is the
    precision of the decoder's fill.

    Arguments:
        pixel_arcmin: side of a pixel.
        noise: standard deviation of the white noise in a pixel, in muK.
        knots: of each curve.

    Example:
        >>> model = FreeDecoder(pixel_arcmin=6.871, noise=5.0)
        >>> model.power(8).shape
        torch.Size([8, 5])
    """

    def __init__(self, *, pixel_arcmin: float, noise: float, knots: int = 48):
        super().__init__()
        positive(knots=knots)
        self.pixel_arcmin = pixel_arcmin
        self.noise = noise
        # From the longest wave on 64 pixels to the corner of the Fourier plane, where two
        # frequencies of half a cycle a pixel meet.
        nyquist = math.pi / (pixel_arcmin * _ARCMIN)
        ends = {"first": nyquist / 32, "last": math.sqrt(2) * nyquist}
        # Both begin at the same power in every octave: no peaks, no damping, no beam.
        l = torch.linspace(ends["first"], ends["last"], knots)
        start = 2 * math.pi * _START / (l * pixel_arcmin * _ARCMIN).square()
        self.signal = LogSpline(start, **ends)
        self.inverse = LogSpline(1 / (start + noise**2), **ends)

    def _l(self, size: int) -> Tensor:
        """Return multipoles of the modes; the constant one counts as the longest wave."""
        ky, kx = frequencies(size, pixel_arcmin=self.pixel_arcmin)
        return torch.hypot(ky, kx).clamp(min=float(kx[0, 1]))

    def power(self, size: int) -> Tensor:
        """Return the prior's spectrum T on the modes, noise included, ``(H, H // 2 + 1)``."""
        return self.signal(self._l(size)) + self.noise**2

    def precision(self, size: int) -> Tensor:
        """Return the precision P of the decoder's fill on the modes, ``(H, H // 2 + 1)``."""
        return self.inverse(self._l(size))

    @torch.no_grad()
    def sky(self, size: int) -> FlatSky:
        """Return the learned prior as a sky, its beam part of the spectrum."""
        area = (self.pixel_arcmin * _ARCMIN) ** 2
        l = torch.arange(math.ceil(self.signal.last) + 1)
        return FlatSky(
            size, pixel_arcmin=self.pixel_arcmin, cl=self.signal(l) * area, noise=self.noise
        )
