r"""One network for every subset of bands: the sky made sharp, coloured pixel by pixel, and blurred.

Bands show one sky through different PSFs. A U-Net that has to learn how a star in one survey turns
into a star in another spends most of its weights on optics that are known. So they are given to it.
Each input band is deconvolved to a narrow Gaussian PSF, once boldly and once gently. The U-Net
answers, for each pixel and each band that is asked for, how much of each of these to take, a
colour, and what to add, such as the core of a star that blackened its plate. The sum is blurred to
the PSF of the band asked for,

.. math:: \hat y_t = \sigma_t\, B_t * \Bigl( \sum_k g_{tk} S_k / \sigma_k + \sinh r_t \Bigr),

so that the faint wings of a bright star, hundreds of pixels, follow from a few in its middle. Bands
that are not given are zero, and the network is told which they are.

Shapes: B scenes, F bands, H pixels along a side.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.chapters.translation.requests import checked_images, checked_targets
from skytutor.chapters.translation.stretch import softenings, stretched, unstretched
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.surveys import BANDS, band_names
from skytutor.layers.resnet import ConvUnit
from skytutor.layers.unet import UNet
from skytutor.validate import as_length, positive

__all__ = ["BandTranslator", "Optics"]

CHANNELS = (16, 32, 64, 96)
_BOLD, _GENTLE = 1e-3, 3e-2  # noise power over that of a point source, in the deconvolution
_MARGIN = 8  # pixels of zeros beyond each edge, so that no light comes back on the other side
_SHARP = 0.7  # width of the Gaussian PSF, in that of the sharpest band
_MOST = 10.0  # stretched: twenty times the largest flux of a pixel


class Optics(nn.Module):
    """Bring images of many bands to one narrow PSF, and from it to that of each band.

    Arguments:
        bands: names of `skytutor.data.surveys.BANDS`.
        size: H.
        pixel_arcsec: side of a pixel.

    Example:
        >>> optics = Optics(["r", "K"], size=16)
        >>> optics.sharpened(torch.zeros(3, 2, 16, 16)).shape
        torch.Size([3, 4, 16, 16])
    """

    sharpen: Tensor
    blur: Tensor

    def __init__(self, bands: Sequence[str], *, size: int, pixel_arcsec: float = 0.8):
        super().__init__()
        names = band_names(bands)
        (self.size,) = positive(size=size)
        side = as_length("pixel_arcsec", pixel_arcsec)
        widths = [BANDS[name].fwhm for name in names]
        frame = self.size + 2 * _MARGIN
        renderer = SceneRenderer(frame, pixel_arcsec=side, psf_fwhm=widths)
        middle = -(frame // 2)
        seen = torch.stack([renderer.psf_image(f) for f in range(len(names))]).double()
        # The middle pixel first, so that no transform moves an image.
        own = torch.fft.rfft2(seen.roll((middle, middle), (-2, -1))).real
        kx = torch.fft.rfftfreq(frame, dtype=torch.float64)
        ky = torch.fft.fftfreq(frame, dtype=torch.float64)
        k_squared = (2 * math.pi) ** 2 * (kx.square() + ky[:, None].square())
        sharpest = torch.exp(-k_squared * (_SHARP * min(widths) / side / 2.355) ** 2 / 2)
        filters = [sharpest * own / (own.square() + noise) for noise in (_BOLD, _GENTLE)]
        # Known from the bands: not part of the weights.
        self.register_buffer("sharpen", torch.cat(filters).float(), persistent=False)
        self.register_buffer("blur", (own / sharpest).float(), persistent=False)

    def sharpened(self, images: Tensor) -> Tensor:
        """Return all bands with the narrow PSF, ``(B, 2 F, H, H)``: boldly, then gently.

        Arguments:
            images: ``(B, F, H, H)``.
        """
        waves = torch.fft.rfft2(self._framed(images))
        return self._cut(torch.cat([waves, waves], dim=1) * self.sharpen)

    def blurred(self, images: Tensor, bands: Sequence[int]) -> Tensor:
        """Return images of the narrow PSF as T bands see them, ``(B, T, H, H)``.

        Arguments:
            images: ``(B, T, H, H)``.
            bands: numbers of the T bands.
        """
        return self._cut(torch.fft.rfft2(self._framed(images)) * self.blur[list(bands)])

    def carried(self, images: Tensor, *, source: int, band: int) -> Tensor:
        """Return images of one band as another sees them, ``(B, C, H, H)``.

        Arguments:
            images: ``(B, C, H, H)``, with the PSF of a band.
            source: its number.
            band: number of the band whose PSF they get.
        """
        # Made sharp boldly, as there is no noise in a translation, and blurred again.
        waves = torch.fft.rfft2(self._framed(images))
        return self._cut(waves * (self.sharpen[source] * self.blur[band]))

    def _framed(self, images: Tensor) -> Tensor:
        return F.pad(images, (_MARGIN,) * 4)

    def _cut(self, waves: Tensor) -> Tensor:
        frame = self.size + 2 * _MARGIN
        inside = slice(_MARGIN, _MARGIN + self.size)
        return torch.fft.irfft2(waves, s=(frame, frame))[..., inside, inside]


class BandTranslator(nn.Module):
    """Predict every band from any others.

    Arguments:
        bands: names of `skytutor.data.surveys.BANDS`, in the order of the images.
        size: H, a multiple of 8.
        pixel_arcsec: side of a pixel.
        channels: of the scales of the U-Net.

    Example:
        >>> network = BandTranslator(["g", "r", "J"], size=16).eval()
        >>> images, ivar = torch.ones(2, 3, 16, 16), torch.ones(2, 3, 16, 16)
        >>> given = torch.tensor([[True, True, False], [False, True, False]])
        >>> network.predict(images, ivar, given).shape
        torch.Size([2, 3, 16, 16])
    """

    softening: Tensor

    def __init__(
        self,
        bands: Sequence[str] = tuple(BANDS),
        *,
        size: int = 64,
        pixel_arcsec: float = 0.8,
        channels: Sequence[int] = CHANNELS,
    ):
        super().__init__()
        self.bands = band_names(bands)
        self.n_bands = len(self.bands)
        self.optics = Optics(self.bands, size=size, pixel_arcsec=pixel_arcsec)
        scale = softenings(self.bands, pixel_arcsec=pixel_arcsec)
        self.register_buffer("softening", scale, persistent=False)
        # Seen as they are, boldly and gently sharpened, and which pixels hold a measurement.
        unit = ConvUnit("batch", activation=nn.ReLU)
        self.unet = UNet(4 * self.n_bands, channels[0], channels=channels, unit=unit)
        # For each band asked for: a weight of each sharpened band, and what none of them holds.
        # Nothing at first: an empty sky is nearer to the truth than sharpened noise.
        self.answers = nn.Parameter(torch.zeros(self.n_bands, 2 * self.n_bands + 1, channels[0]))
        self.offsets = nn.Parameter(torch.zeros(self.n_bands, 2 * self.n_bands + 1))

    def forward(
        self, images: Tensor, ivar: Tensor, given: Tensor, *, targets: Sequence[int] | None = None
    ) -> Tensor:
        """Return T bands, stretched, ``(B, T, H, H)``; a band that is given comes without noise.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel; what stands in bands that are not given
                does not count.
            ivar: ``(B, F, H, H)``, inverse variance; 0 where nothing was measured.
            given: ``(B, F)``, True for the bands that are given.
            targets: numbers of the T bands that are asked for; default: all.

        Raises:
            ValueError: shapes that do not fit together.
        """
        self.check(images, ivar, given)
        rows = list(range(self.n_bands)) if targets is None else list(targets)
        there = given[..., None, None]
        measured = (there & (ivar > 0)).to(images)
        light = torch.where(there, images, 0)
        sharp = self.optics.sharpened(light) / self.softening.repeat(2)[:, None, None]
        seen = [stretched(light, self.softening), torch.asinh(sharp), measured]
        features = torch.relu(self.unet(torch.cat(seen, dim=1)))
        heads = self.answers[rows].flatten(0, 1)[..., None, None]  # (T (2 F + 1), C, 1, 1)
        answer = F.conv2d(features, heads, self.offsets[rows].flatten())
        answer = answer.unflatten(1, (len(rows), -1))
        added = torch.sinh(answer[:, :, -1].clamp(-_MOST, _MOST))
        mixed = (answer[:, :, :-1] * sharp[:, None]).sum(2) + added
        return torch.asinh(self.optics.blurred(mixed, rows))

    def predict(
        self, images: Tensor, ivar: Tensor, given: Tensor, *, targets: Sequence[int] | None = None
    ) -> Tensor:
        """Return T bands in nanomaggies a pixel, ``(B, T, H, H)``.

        Arguments:
            images: as `forward` takes them; pixels of which nothing was measured may be NaN.
            ivar: likewise.
            given: likewise.
            targets: likewise.

        Raises:
            ValueError: shapes that do not fit together, a band that is not there, or what
                `skytutor.chapters.translation.requests.checked_images` refuses.
        """
        self.check(images, ivar, given)
        rows = checked_targets(targets, n_bands=self.n_bands)
        shown = checked_images(images, ivar, given, bands=self.bands, softening=self.softening)
        values = self(shown, ivar, given, targets=rows)
        return unstretched(values, self.softening[rows])

    def check(self, images: Tensor, ivar: Tensor, given: Tensor) -> None:
        """Refuse shapes that do not fit together.

        Arguments:
            images: as `forward` takes them.
            ivar: likewise.
            given: likewise.

        Raises:
            ValueError: naming what does not fit.
        """
        wanted = (self.n_bands, self.optics.size, self.optics.size)
        if images.ndim != 4 or images.shape[1:] != wanted:
            raise ValueError(f"images must be (B, F, H, H) = (B, {wanted}), got {images.shape}")
        if ivar.shape != images.shape:
            raise ValueError(
                f"ivar must have the shape of images {tuple(images.shape)}, got {tuple(ivar.shape)}"
            )
        if given.shape != images.shape[:2] or given.dtype != torch.bool:
            raise ValueError(
                f"given must be bool (B, F) = {tuple(images.shape[:2])}, "
                f"got {given.dtype} {tuple(given.shape)}"
            )
