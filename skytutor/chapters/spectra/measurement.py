"""What is measured in a picture before anything is inferred: in circles, and of each component.

A convolutional network is poor at sums over a whole image to a part in a thousand, which is what a
colour is. So the sums are made by fixed windows, as a photometric pipeline would, and the fluxes
of bulge, disc and clumps by least squares. The convolutions do what only they can: they see which
light belongs to which component.
"""

import math

import torch
from torch import Tensor, nn

from skytutor.chapters.spectra.separation import (
    N_COMPONENTS,
    RED,
    ComponentSeparation,
    Separation,
)
from skytutor.chunks import in_chunks
from skytutor.data.galaxies import SKY_NOISE, stable_cholesky
from skytutor.data.galaxy_profiles import moffat_transform
from skytutor.data.rendering import PSF_FWHM, pixel_places
from skytutor.validate import positive

__all__ = ["ApertureFluxes", "MeasurementNetwork", "ScaledImages", "SeparatedPhotometry"]

N_BANDS = 5
_RADII = (0.5, 0.8, 1.1, 1.5, 2.0, 2.7, 3.6, 4.8, 6.4, 8.0)  # arcsec
_TOTAL = 8  # which of them stands for all light
_BRIGHT = 6  # within which of them sizes are measured
_SOFTENING = (0.05, 0.05, 0.06, 0.12, 0.30)  # nanomaggies: below, magnitudes turn linear
_SEEING = 1.5  # arcsec, at the spectrograph
_FIBRE_RADIUS = 1.5  # arcsec
_RIDGE = 1e-4  # of the diagonal of a Gram matrix: components that lie on each other stay apart
_EMPTY = 1e-9  # of a Gram matrix, whose diagonal is 1e-4 and more for a real component
_LARGEST = 30.0  # of a measured number; those of galaxies lie far below
_ROWS = 50  # images at a time on a CPU, where no gradient is asked for
_FAINTEST = 0.1  # nanomaggies that a galaxy has at least, where a flux is divided by


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
        place, radius = pixel_places(size, pixel_arcsec)
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
        _, radius = pixel_places(size, pixel_arcsec)
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
        place, radius = pixel_places(size, pixel_arcsec)
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

    def fluxes(self, images: Tensor, components: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what least squares makes of the components.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
            components: ``(B, 3, H, H)``, r-band light of each, nanomaggies a pixel: what
                `Separation.components` holds.

        Returns:
            fluxes ``(B, 5, 3)`` in nanomaggies, the Cholesky factor of their covariance
            ``(B, 5, 3, 3)``, and the fraction of each component in the fibre ``(B, 3)``.
        """
        floor = _FAINTEST * 1e-2
        total = components.sum((2, 3)).clamp(min=floor)
        waves = torch.fft.rfft2(components / total[..., None, None])  # (B, 3, H, H / 2 + 1)
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

    def forward(self, images: Tensor, cut: Separation, total: Tensor) -> Tensor:
        """Return numbers of order one, ``(B, F)``.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
            cut: of these images.
            total: flux of the galaxy in each band, ``(B, 5)``, nanomaggies.
        """
        flux, factor, fibre = self.fluxes(images, cut.components)
        scale = total.clamp(min=_FAINTEST)[..., None]  # (B, 5, 1)
        rows, columns = torch.tril_indices(N_COMPONENTS, N_COMPONENTS)
        error = factor[..., rows, columns] / scale
        # Light by fractions: components where they lie alone, whatever the templates say.
        soft = torch.einsum("bcyx,bfyx->bfc", cut.fractions, images) / scale
        parts = [
            torch.asinh(flux / scale / 0.02).flatten(1),
            (error.sign() * torch.log1p(error.abs() / 1e-4)).flatten(1),
            fibre,
            -2.5 * soft.clamp(min=1e-4).log10().flatten(1),
            self._shapes(cut.components),
            torch.asinh(flux.sum(2) / scale[..., 0] - 1),
        ]
        return torch.cat(parts, dim=1)

    def _shapes(self, components: Tensor) -> Tensor:
        """Return size, stretch and peak of each component's r-band light, ``(B, 9)``."""
        light = components.clamp(min=0)
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


class MeasurementNetwork(nn.Module):
    """Measure a galaxy in its image: the sums in circles, and the components it is cut into.

    Arguments:
        size: pixels along the side of an image, 0.25 arcsec each; a multiple of 8.
        channels: of the four scales of the U-Net that cuts the image into components.

    Raises:
        ValueError: a size that is no positive multiple of 8.
    """

    def __init__(self, *, size: int = 64, channels: tuple[int, int, int, int] = (32, 64, 96, 128)):
        super().__init__()
        positive(size=size)
        if size % 8:
            raise ValueError(f"size must be a multiple of 8, got {size}")
        self.size = size
        self.fluxes = ApertureFluxes(size)
        self.scaled = ScaledImages(size)
        self.separation = ComponentSeparation(self.scaled.n_channels, channels)
        self.photometry = SeparatedPhotometry(size)
        self.n_features = self.fluxes.n_features + self.photometry.n_features

    def _checked(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (N_BANDS, self.size, self.size):
            wanted = f"(B, {N_BANDS}, {self.size}, {self.size})"
            raise ValueError(f"images must be {wanted}, got {tuple(images.shape)}")
        return images.float()

    def separate(self, images: Tensor) -> Separation:
        """Return which r-band light of each pixel belongs to which component.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.

        Raises:
            ValueError: images of another shape than the network's.
        """
        return self._seen(self._checked(images))[2]

    def _seen(self, images: Tensor) -> tuple[Tensor, Tensor, Separation]:
        """Return what is measured in circles, the total fluxes, and the cut."""
        # In full precision: a colour is a small difference, and only convolutions gain from half.
        with torch.autocast(images.device.type, enabled=False):
            measured, total = self.fluxes(images)
            scaled = self.scaled(images, total)
        fractions, correction = self.separation(scaled)
        light = images[:, RED] + SKY_NOISE[RED] * correction
        return measured, total, Separation(fractions, light)

    def forward(self, images: Tensor, *, cut_only: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Return what is measured, ``(B, F)``, numbers of order one.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel; `skytutor.chapters.spectra.predictions`
                also checks what they hold.
            cut_only: return fractions and light of `separate` instead, for training.

        Raises:
            ValueError: images of another shape than the network's.
        """
        images = self._checked(images)
        if cut_only:
            cut = self._seen(images)[2]
            return cut.fractions, cut.light
        if self.training or torch.is_grad_enabled():
            return self._measured(images)
        # Rows do not mix, and the maps of a U-Net take megabytes an image; a GPU has the memory.
        rows = _ROWS if images.device.type == "cpu" else len(images)
        return in_chunks(self._measured, images, size=rows)

    def _measured(self, images: Tensor) -> Tensor:
        """Return what is measured in circles and of the components."""
        measured, total, cut = self._seen(images)
        with torch.autocast(images.device.type, enabled=False):
            table = torch.cat([measured, self.photometry(images, cut, total)], dim=1)
        return table.clamp(-_LARGEST, _LARGEST)
