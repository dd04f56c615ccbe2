"""The chapter's own network: cut the picture into components, measure them, then infer.

A convolutional network is poor at sums over a whole image to a part in a thousand, which is what a
colour is. So the sums are made by fixed windows, as a photometric pipeline would, and the fluxes
of bulge, disc and clumps by least squares. The convolutions do what only they can: they see which
light belongs to which component.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.spectra.separation import RED, ComponentSeparation, SeparatedPhotometry
from skytutor.chapters.spectra.targets import N_TARGETS
from skytutor.data.galaxies import SKY_NOISE
from skytutor.layers.gaussian_head import GaussianHead
from skytutor.validate import positive

__all__ = ["ApertureFluxes", "ScaledImages", "SpectrumNetwork"]

N_BANDS = 5
_RADII = (0.5, 0.8, 1.1, 1.5, 2.0, 2.7, 3.6, 4.8, 6.4, 8.0)  # arcsec
_TOTAL = 8  # which of them stands for all light
_BRIGHT = 6  # within which of them sizes are measured
_FARTHEST = 6.0  # standard deviations of a measured number
_SOFTENING = (0.05, 0.05, 0.06, 0.12, 0.30)  # nanomaggies: below, magnitudes turn linear


class ApertureFluxes(nn.Module):
    """Sum images within circles and turn the sums into numbers of order one.

    Arguments:
        size: pixels along the side of an image.
        pixel_arcsec: side of a pixel.
    """

    windows: Tensor
    squares: Tensor
    softening: Tensor

    def __init__(self, size: int = 64, *, pixel_arcsec: float = 0.25):
        super().__init__()
        positive(size=size)
        self.size = size
        place = (torch.arange(size) - (size - 1) / 2) * pixel_arcsec
        radius = torch.hypot(place[:, None], place)
        windows = []
        for limit in _RADII:
            # A pixel cut by the circle counts in part, about as much as lies inside.
            windows.append(((limit - radius) / pixel_arcsec + 0.5).clamp(0, 1))
        inside = windows[_BRIGHT]
        x = place.expand(size, size)
        squares = [inside * x * x, inside * x.T * x.T, inside * x * x.T]
        self.register_buffer("windows", torch.stack(windows), persistent=False)
        self.register_buffer("squares", torch.stack(squares), persistent=False)
        self.register_buffer("softening", torch.tensor(_SOFTENING), persistent=False)
        # r magnitude, colours in every circle, growth of the light in r, two of ellipticity
        self.n_features = 1 + (N_BANDS - 1) * len(_RADII) + len(_RADII) - 1 + 2

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers ``(B, F)``, and the total flux in each band ``(B, 5)``, nanomaggies.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
        """
        sums = torch.einsum("bfyx,ryx->bfr", images, self.windows)
        magnitudes = -torch.asinh(sums / (2 * self.softening[:, None])) * 2.5 / math.log(10)
        magnitudes = magnitudes - 2.5 * self.softening[:, None].log10()
        total = magnitudes[:, RED, _TOTAL, None]
        # Differences of bands in each circle, and of circles in the r band: (B, 4, R), (B, R - 1)
        colours = magnitudes[:, :-1] - magnitudes[:, 1:]
        growth = magnitudes[:, RED, :-1] - magnitudes[:, RED, 1:]
        xx, yy, xy = torch.einsum("byx,kyx->kb", images[:, RED], self.squares)
        size = (xx + yy).clamp(min=1e-3)
        stretch = torch.hypot(xx - yy, 2 * xy) / size
        spread = (size / sums[:, RED, _BRIGHT].clamp(min=1e-3)).clamp(1e-3, 1e3).log()
        shape = torch.stack([stretch.clamp(0, 2), spread], dim=1)
        return torch.cat([total, colours.flatten(1), growth, shape], 1), sums[..., _TOTAL]


class ScaledImages(nn.Module):
    """Turn images into channels of order one, without losing the faint parts or the colours."""

    noise: Tensor
    distance: Tensor

    def __init__(self, size: int = 64, *, pixel_arcsec: float = 0.25):
        super().__init__()
        place = (torch.arange(size) - (size - 1) / 2) * pixel_arcsec
        radius = torch.hypot(place[:, None], place)
        self.register_buffer("noise", torch.tensor(SKY_NOISE), persistent=False)
        self.register_buffer("distance", torch.log1p(radius)[None], persistent=False)
        self.n_channels = 2 * N_BANDS

    def forward(self, images: Tensor, total: Tensor) -> Tensor:
        """Return channels ``(B, 10, H, H)``: five bands, four differences of bands, the distance.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
            total: ``(B, 5)``, flux of the galaxy in each band, nanomaggies.
        """
        noise = self.noise[:, None, None]
        # asinh: linear in the noise, a logarithm where the galaxy is bright
        bands = torch.asinh(images / (3 * noise)) / 2
        # With each band's total set to 1, what is left between bands is where colours change.
        scale = total.clamp(min=1.0)[..., None, None]
        shape = images / scale
        change = torch.cat([shape[:, :RED], shape[:, RED + 1 :]], 1) - shape[:, RED, None]
        error = noise / scale
        error = torch.cat([error[:, :RED], error[:, RED + 1 :]], 1)
        change = torch.asinh(change / (2 * error))
        distance = self.distance.expand(len(images), -1, -1, -1)
        return torch.cat([bands, change, distance], dim=1)


class SpectrumNetwork(nn.Module):
    """Predict the nine targets of a galaxy from its image, with their covariance.

    Arguments:
        size: pixels along the side of an image, 0.25 arcsec each; a multiple of 8.
        channels: of the four scales of the U-Net that cuts the image into components.
        hidden: units of the layers that infer the targets from what was measured.
    """

    def __init__(
        self,
        *,
        size: int = 64,
        channels: tuple[int, int, int, int] = (16, 32, 48, 64),
        hidden: int = 256,
    ):
        super().__init__()
        self.size = size
        self.fluxes = ApertureFluxes(size)
        self.scaled = ScaledImages(size)
        self.separation = ComponentSeparation(self.scaled.n_channels, channels)
        self.photometry = SeparatedPhotometry(size)
        measured = self.fluxes.n_features + self.photometry.n_features
        self.norm = nn.BatchNorm1d(measured)
        self.join = nn.Sequential(
            nn.Linear(measured, hidden),
            nn.Mish(),
            nn.Linear(hidden, hidden),
            nn.Mish(),
            nn.Linear(hidden, hidden),
            nn.Mish(),
        )
        self.head = GaussianHead(hidden, N_TARGETS, hidden=hidden // 2)

    def fractions(self, images: Tensor) -> Tensor:
        """Return the fraction of each pixel's r-band light in each component, ``(B, 3, H, H)``.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
        """
        return self._seen(images)[2]

    def _seen(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is measured in circles, the total fluxes, and the fractions."""
        # In full precision: a colour is a small difference, and only convolutions gain from half.
        with torch.autocast(images.device.type, enabled=False):
            measured, total = self.fluxes(images)
            scaled = self.scaled(images, total)
        return measured, total, self.separation(scaled)

    def features(self, images: Tensor) -> Tensor:
        """Return what the head sees, ``(B, hidden)``.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel; `skytutor.chapters.spectra.predictions`
                also checks what they hold.

        Raises:
            ValueError: images of another shape than the network's.
        """
        wanted = (N_BANDS, self.size, self.size)
        if images.shape[1:] != wanted:
            raise ValueError(f"images must be {('B', *wanted)}, got {tuple(images.shape)}")
        images = images.float()
        measured, total, fractions = self._seen(images)
        return self._inferred(images, measured, total, fractions)

    def _inferred(
        self, images: Tensor, measured: Tensor, total: Tensor, fractions: Tensor
    ) -> Tensor:
        """Return what the head sees, ``(B, hidden)``, of all that was measured."""
        with torch.autocast(images.device.type, enabled=False):
            table = torch.cat([measured, self.photometry(images, fractions, total)], dim=1)
            # What lies farther out than any galaxy of the training must not rule the answer.
            unit = self.norm(table.clamp(-30, 30)).clamp(-_FARTHEST, _FARTHEST)
            return self.join(unit)

    def forward(self, images: Tensor, with_fractions: bool = False) -> Any:
        """Return mean ``(B, 9)`` and Cholesky factor ``(B, 9, 9)`` of the posterior.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
            with_fractions: return the fractions ``(B, 3, H, H)`` as well, for training: the
                inference then has no gradient to them, and the components stay what they are.
        """
        if with_fractions:
            measured, total, fractions = self._seen(images)
            features = self._inferred(images, measured, total, fractions.detach())
        else:
            features = self.features(images)
        with torch.autocast(images.device.type, enabled=False):
            mean, factor = self.head(features)
        return (mean, factor, fractions) if with_fractions else (mean, factor)
