r"""Gaussian skies in several bands: a warm-up for translation, in which the best answer is exact.

Every band shows the same structure more or less, through its own PSF and under its own noise. In
Fourier space, for each wave,

.. math:: d_f = b_f\, s_f + n_f, \qquad \langle s_f s_g^* \rangle = \rho_{fg} \sqrt{P_f P_g},
   \qquad \langle |n_f|^2 \rangle = N_f .

What is asked of a translation is a band without noise as its PSF shows it, :math:`b_t s_t`. All is
Gaussian, so that the posterior mean is linear, the Wiener filter, and no answer has a smaller mean
squared error.

Shapes: B skies, F bands, H pixels along a side; patches continue over their edges.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skytutor.validate import as_integer, as_length, check_generator, positive

__all__ = ["GaussianBands"]


class GaussianBands:
    """Draw Gaussian skies in F bands, and translate between them as well as can be.

    The power of band f falls as ``1 / (1 + (k / k0)^2)^slope``, with a variance of 1 a pixel before
    the PSF. Slopes of two bands may differ; their correlation is the same at all waves.

    Arguments:
        size: H, even.
        correlation: ``(F, F)``, of the bands' structure: symmetric, with ones on the diagonal.
        slopes: F numbers, positive; default: 1.5 each.
        fwhm: F widths of Gaussian PSFs in pixels; 0 for none.
        noise: F deviations of the noise in a pixel, positive.
        scale: pixels, where the power begins to fall: ``1 / k0``.
        device: where all is computed.

    Raises:
        TypeError: a number is none.
        ValueError: size odd or below 2; not one number for each band; a correlation that is not
            symmetric, has other numbers than ones on the diagonal, or is no covariance.

    Example:
        >>> correlation = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
        >>> bands = GaussianBands(32, correlation=correlation, fwhm=[3.0, 2.0], noise=[0.1, 0.1])
        >>> images, truth = bands.draw(4, generator=torch.Generator().manual_seed(0))
        >>> images.shape, bands.wiener(images, inputs=[0], target=1).shape
        (torch.Size([4, 2, 32, 32]), torch.Size([4, 32, 32]))
        >>> bands.expected_rmse(inputs=[0], target=1) < bands.expected_rmse(inputs=[], target=1)
        True
    """

    def __init__(
        self,
        size: int,
        *,
        correlation: Tensor,
        fwhm: Sequence[float],
        noise: Sequence[float],
        slopes: Sequence[float] | None = None,
        scale: float = 3.0,
        device: torch.device | str = "cpu",
    ):
        (self.size,) = positive(size=size)
        if size % 2:
            raise ValueError(f"size must be even, got {size}")
        self.device = torch.device(device)
        rho = _checked_correlation(correlation).to(self.device)
        self.n_bands = len(rho)
        slopes = [1.5] * self.n_bands if slopes is None else slopes
        widths = self._numbers("fwhm", fwhm, zero=True)
        deviations = self._numbers("noise", noise)
        falls = self._numbers("slopes", slopes)
        length = as_length("scale", scale)
        kx = 2 * math.pi * torch.fft.rfftfreq(size, device=self.device, dtype=torch.float64)
        ky = 2 * math.pi * torch.fft.fftfreq(size, device=self.device, dtype=torch.float64)
        k_squared = kx.square() + ky[:, None].square()  # (H, H/2 + 1)
        rows = []
        for fall in falls:
            power = (1 + k_squared * length**2) ** -fall
            # A variance of 1 a pixel: the mean of the power over all waves of the whole plane.
            rows.append(power / (self._weight() * power).sum() * size**2)
        root = torch.stack(rows).sqrt()
        sigma = torch.tensor(widths, device=self.device) / (2 * math.sqrt(2 * math.log(2)))
        beam = torch.exp(-k_squared * sigma[:, None, None].double().square() / 2)
        seen = (root * beam).movedim(0, -1)  # (H, H/2 + 1, F)
        # Of what is seen in two bands, for each wave: (H, H/2 + 1, F, F)
        self.covariance = rho * seen[..., :, None] * seen[..., None, :]
        self.noise = torch.tensor(deviations, device=self.device, dtype=torch.float64)
        factor = torch.linalg.cholesky(rho + 1e-12 * torch.eye(self.n_bands).to(rho))
        self._mix = seen[..., None] * factor

    def _numbers(self, name: str, values: Sequence[float], *, zero: bool = False) -> list[float]:
        """Return one number for each band, checked."""
        numbers = [as_length(name, value, zero=zero) for value in values]
        if len(numbers) != self.n_bands:
            raise ValueError(f"{name} must hold {self.n_bands} numbers, got {len(numbers)}")
        return numbers

    def _weight(self) -> Tensor:
        """Return how often each wave that `rfft2` keeps stands in the whole plane."""
        weight = torch.full((self.size // 2 + 1,), 2.0, dtype=torch.float64, device=self.device)
        weight[0] = 1
        weight[-1] = 1
        return weight.expand(self.size, -1)

    def draw(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return images with noise and without, each ``(n, F, H, H)``.

        Arguments:
            n: how many skies.
            generator: of the random numbers, on the device of the bands.

        Raises:
            TypeError: n is no integer; no generator.
            ValueError: n below 1, or a generator on another device.
        """
        positive(n=n)
        check_generator(generator, self.device)
        shape = (n, self.n_bands, self.size, self.size)
        white = torch.randn(shape, generator=generator, device=self.device)
        waves = torch.fft.rfft2(white, norm="ortho").movedim(1, -1)  # (n, H, H/2 + 1, F)
        mixed = torch.einsum("hwfg,nhwg->nfhw", self._mix.to(waves), waves)
        truth = torch.fft.irfft2(mixed, s=shape[-2:], norm="ortho")
        added = torch.randn(shape, generator=generator, device=self.device)
        return truth + added * self.noise.to(truth)[:, None, None], truth

    def _chosen(self, inputs: Sequence[int], target: int) -> list[int]:
        """Return the input bands, checked against each other and the target."""
        bands = [as_integer("inputs", band) for band in inputs]
        for name, band in [("target", as_integer("target", target))] + [
            ("inputs", b) for b in bands
        ]:
            if band not in range(self.n_bands):
                raise ValueError(f"{name} must lie in 0..{self.n_bands - 1}, got {band}")
        if len(set(bands)) != len(bands) or target in bands:
            raise ValueError(
                f"inputs must be different bands, the target {target} not among them, got {bands}"
            )
        return bands

    def _filter(self, bands: list[int], target: int) -> Tensor:
        """Return the factors on the input bands for each wave, ``(H, H/2 + 1, I)``."""
        inside = self.covariance[..., bands, :][..., bands]
        seen = inside + torch.diag(self.noise[bands].square())
        across = self.covariance[..., bands, target]
        return torch.linalg.solve(seen, across[..., None])[..., 0]

    def wiener(self, images: Tensor, *, inputs: Sequence[int], target: int) -> Tensor:
        """Return the posterior mean of the target band without noise, ``(B, H, H)``.

        Arguments:
            images: ``(B, F, H, H)``; only the input bands are read.
            inputs: numbers of the bands that are given; may be empty.
            target: number of the band that is asked for.

        Raises:
            ValueError: images of another shape; no such band; the target among the inputs.
        """
        bands = self._chosen(inputs, target)
        wanted = (self.n_bands, self.size, self.size)
        if images.ndim != 4 or images.shape[1:] != wanted:
            raise ValueError(f"images must be (B, {wanted}), got {tuple(images.shape)}")
        waves = torch.fft.rfft2(images)[:, bands]  # (B, I, H, H/2 + 1)
        factors = self._filter(bands, target).to(waves)
        answer = torch.einsum("hwi,nihw->nhw", factors, waves)
        return torch.fft.irfft2(answer, s=wanted[1:])

    def expected_rmse(self, *, inputs: Sequence[int], target: int) -> float:
        """Return the root mean squared error of a pixel that no translation goes below.

        Arguments:
            inputs: numbers of the bands that are given; may be empty.
            target: number of the band that is asked for.

        Raises:
            ValueError: no such band; the target among the inputs.
        """
        bands = self._chosen(inputs, target)
        across = self.covariance[..., bands, target]
        explained = (self._filter(bands, target) * across).sum(-1)
        left = self.covariance[..., target, target] - explained
        return float(((self._weight() * left).sum() / self.size**2).sqrt())


def _checked_correlation(correlation: Tensor) -> Tensor:
    """Return a correlation matrix in float64."""
    rho = torch.as_tensor(correlation, dtype=torch.float64)
    if rho.ndim != 2 or rho.shape[0] != rho.shape[1] or not len(rho):
        raise ValueError(f"correlation must be (F, F), got {tuple(rho.shape)}")
    ones = torch.allclose(rho.diagonal(), torch.ones(len(rho)).to(rho))
    # Written so that NaN fails too.
    if not (ones and torch.allclose(rho, rho.T) and float(torch.linalg.eigvalsh(rho)[0]) > -1e-9):
        raise ValueError(
            "correlation must be symmetric, not negative, with ones on the diagonal, "
            f"got {rho.tolist()}"
        )
    return rho
