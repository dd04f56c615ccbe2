"""Which light of a picture is the bulge's, the disc's and the clumps': a network that cuts it up.

The oracle of `limits` knows the shapes of the components and measures fluxes by least squares.
A network cannot know the shapes, but it can learn to see them: the simulator knows which fraction
of the r-band light of each pixel comes from which component, and a U-Net learns to say it. The
three images that it cuts the r band into are then templates, each carried to the PSF of every band,
and the fluxes of the components in all bands follow by least squares again, with their errors.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.data.galaxies import SKY_NOISE, stable_cholesky
from skytutor.data.galaxy_profiles import moffat_transform
from skytutor.data.rendering import PSF_FWHM
from skytutor.layers.resnet import ConvUnit
from skytutor.validate import positive

__all__ = ["RED", "ComponentSeparation", "SeparatedPhotometry", "separation_loss"]

N_COMPONENTS = 3
RED = 1  # index of the r band
_SEEING = 1.5  # arcsec, at the spectrograph
_FIBRE_RADIUS = 1.5  # arcsec
_RIDGE = 1e-4  # of the diagonal of a Gram matrix: components that lie on each other stay apart
_EMPTY = 1e-9  # of a Gram matrix, whose diagonal is 1e-4 and more for a real component
_FAINTEST = 0.1  # nanomaggies that a galaxy has at least, where a flux is divided by


class ComponentSeparation(nn.Module):
    """A U-Net: the fraction of the r-band light of each pixel in bulge, disc and clumps.

    Arguments:
        in_channels: C of the scaled images.
        channels: of its four scales.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int, int] = (16, 32, 48, 64)):
        super().__init__()
        positive(in_channels=in_channels)
        unit = ConvUnit("batch")
        self.down = nn.ModuleList()
        before = in_channels
        for k, width in enumerate(channels):
            first = unit(before, width, stride=2 if k else 1)
            self.down.append(nn.Sequential(first, unit(width, width)))
            before = width
        self.up = nn.ModuleList()
        for width in channels[-2::-1]:
            self.up.append(nn.Sequential(unit(before + width, width), unit(width, width)))
            before = width
        self.last = nn.Conv2d(before, N_COMPONENTS, 1)

    def forward(self, scaled: Tensor) -> Tensor:
        """Return fractions ``(B, 3, H, H)``, which add up to 1.

        Arguments:
            scaled: ``(B, C, H, H)``, H a multiple of 8.
        """
        x = scaled.contiguous(memory_format=torch.channels_last)
        kept = []
        for stage in self.down:
            x = stage(x)
            kept.append(x)
        kept.pop()
        for stage in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, kept.pop()], dim=1))
        return self.last(x).float().softmax(1)


def separation_loss(fractions: Tensor, components: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of the true fractions from the predicted ones.

    Pixels count by the logarithm of their signal-to-noise: those without light not at all.

    Arguments:
        fractions: predicted, ``(B, 3, H, H)``.
        components: true r-band images of the components, ``(B, 3, H, H)``, nanomaggies a pixel.

    Returns:
        ``(B,)``, nats.
    """
    light = components.clamp(min=0)
    total = light.sum(1, keepdim=True).clamp(min=1e-9)
    true = light / total
    weight = torch.log1p(total[:, 0] / SKY_NOISE[RED])
    weight = weight / weight.sum((1, 2), keepdim=True)
    # 0 log 0 is 0
    divergence = torch.special.xlogy(true, true) - true * fractions.clamp(min=1e-6).log()
    return (weight * divergence.sum(1)).sum((1, 2))


class SeparatedPhotometry(nn.Module):
    """Measure the components that a picture was cut into: fluxes, errors, sizes, fibre fractions.

    Arguments:
        size: pixels along the side of an image, 0.25 arcsec each.
        pixel_arcsec: side of a pixel.
    """

    ratios: Tensor
    fibre_ratio: Tensor
    circle: Tensor
    place: Tensor
    variance: Tensor

    def __init__(self, size: int = 64, *, pixel_arcsec: float = 0.25):
        super().__init__()
        positive(size=size)
        self.size = size
        waves = 2 * math.pi / pixel_arcsec
        kx = torch.fft.rfftfreq(size, dtype=torch.float64) * waves
        ky = torch.fft.fftfreq(size, dtype=torch.float64) * waves
        k = torch.hypot(kx, ky[:, None])
        red = moffat_transform(k, PSF_FWHM[RED])
        # From the PSF of the r band to that of each band and of the spectrograph.
        ratios = torch.stack([moffat_transform(k, width) / red for width in PSF_FWHM])
        place = (torch.arange(size) - (size - 1) / 2) * pixel_arcsec
        radius = torch.hypot(place[:, None], place)
        circle = ((_FIBRE_RADIUS - radius) / pixel_arcsec + 0.5).clamp(0, 1)
        buffers = {
            "ratios": ratios.float(),
            "fibre_ratio": (moffat_transform(k, _SEEING) / red).float(),
            "circle": circle,
            "place": place,
            "variance": torch.tensor(SKY_NOISE, dtype=torch.float64) ** 2,
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)
        # Fluxes, errors, fibre fractions, fluxes by fractions, sizes, stretches, peaks, sums
        self.n_features = 15 + 30 + 3 + 15 + 3 + 3 + 3 + 5

    def fluxes(self, images: Tensor, fractions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what least squares makes of the components.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
            fractions: ``(B, 3, H, H)``, of the r-band light.

        Returns:
            fluxes ``(B, 5, 3)`` in nanomaggies, the Cholesky factor of their covariance
            ``(B, 5, 3, 3)``, and the fraction of each component in the fibre ``(B, 3)``.
        """
        light = fractions * images[:, RED, None]
        floor = _FAINTEST * 1e-2
        total = light.sum((2, 3)).clamp(min=floor)
        waves = torch.fft.rfft2(light / total[..., None, None])  # (B, 3, H, H / 2 + 1)
        shape = (self.size, self.size)
        templates = torch.fft.irfft2(waves[:, :, None] * self.ratios, s=shape)  # (B, 3, 5, H, H)
        fibre = torch.fft.irfft2(waves * self.fibre_ratio, s=shape) * self.circle
        gram = torch.einsum("bcfyx,bdfyx->bfcd", templates, templates).double()
        measured = torch.einsum("bcfyx,bfyx->bfc", templates, images).double()
        diagonal = torch.diag_embed(torch.diagonal(gram, dim1=-2, dim2=-1))
        # An empty picture has empty templates: the last term lets them have any flux.
        ridge = _RIDGE * diagonal + _EMPTY * torch.eye(N_COMPONENTS).to(gram)
        lower = torch.linalg.cholesky(gram + ridge)
        flux = torch.cholesky_solve(measured[..., None], lower)[..., 0]
        covariance = torch.cholesky_inverse(lower) * self.variance[:, None, None]
        factor = stable_cholesky(covariance)
        return flux.float(), factor.float(), fibre.sum((2, 3))

    def forward(self, images: Tensor, fractions: Tensor, total: Tensor) -> Tensor:
        """Return numbers of order one, ``(B, F)``.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
            fractions: ``(B, 3, H, H)``.
            total: flux of the galaxy in each band, ``(B, 5)``, nanomaggies.
        """
        flux, factor, fibre = self.fluxes(images, fractions)
        scale = total.clamp(min=_FAINTEST)[..., None]  # (B, 5, 1)
        rows, columns = torch.tril_indices(N_COMPONENTS, N_COMPONENTS)
        error = factor[..., rows, columns] / scale
        # Light by fractions: components where they lie alone, whatever the templates say.
        soft = torch.einsum("bcyx,bfyx->bfc", fractions, images) / scale
        parts = [
            torch.asinh(flux / scale / 0.02).flatten(1),
            (error.sign() * torch.log1p(error.abs() / 1e-4)).flatten(1),
            fibre,
            -2.5 * soft.clamp(min=1e-4).log10().flatten(1),
            self._shapes(images, fractions),
            torch.asinh(flux.sum(2) / scale[..., 0] - 1),
        ]
        return torch.cat(parts, dim=1)

    def _shapes(self, images: Tensor, fractions: Tensor) -> Tensor:
        """Return size, stretch and peak of each component's r-band light, ``(B, 9)``."""
        light = fractions * images[:, RED, None].clamp(min=0)
        total = light.sum((2, 3)).clamp(min=1e-3)
        x = self.place
        y = self.place[:, None]
        xx = (light * x * x).sum((2, 3)) / total
        yy = (light * y * y).sum((2, 3)) / total
        xy = (light * x * y).sum((2, 3)) / total
        square = (xx + yy).clamp(min=1e-3)
        stretch = torch.sqrt((xx - yy) ** 2 + 4 * xy**2 + 1e-12) / square
        peak = (light.square().sum((2, 3)) + 1e-12).sqrt() / total
        return torch.cat([square.log(), stretch, peak.clamp(min=1e-3).log()], dim=1)
