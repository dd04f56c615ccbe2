"""Images of galaxies made of a bulge, a disc and clumps, rendered in Fourier space.

A component of unit flux has a Fourier transform that is known: a table for the de Vaucouleurs
bulge, a closed form for the exponential disc, Gaussians with phases for the clumps. Convolving with
the point spread function (PSF) and averaging over a pixel are products there, so that an image in
several bands costs an inverse transform each, and sums over pixels cost none.

Shapes: B galaxies, three components (bulge, disc, clumps), F bands, N pixels along the
side of the padded frame. Lengths are in arcsec, wavenumbers in radians an arcsec. Images are
``[row, column]``: x grows with the column, y with the row. `Shapes` can be imported from here.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skytutor.data.galaxy_profiles import (
    BulgeTable,
    Shapes,
    exponential_transform,
    moffat_transform,
)
from skytutor.validate import as_length, positive
from skytutor.values import all_finite

__all__ = ["PSF_FWHM", "GalaxyRenderer", "Shapes", "pixel_places"]

# Medians of the Pan-STARRS stacks in grizy, arcsec.
PSF_FWHM = (1.31, 1.19, 1.11, 1.07, 1.02)


def pixel_places(
    size: int, pixel_arcsec: float, *, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return arcsec from the middle of an image: of each column ``(H,)``, of each pixel ``(H, H)``.

    Arguments:
        size: H, pixels along a side.
        pixel_arcsec: side of a pixel.
        device: of the result.
    """
    place = (torch.arange(size, device=device) - (size - 1) / 2) * pixel_arcsec
    return place, torch.hypot(place[:, None], place)


class GalaxyRenderer:
    """Render galaxies of bulge, disc and clumps through the PSF of each band.

    Pixels hold the flux that falls on their area. The centre of a galaxy lies at the centre of the
    image, ``(size - 1) / 2`` pixels from the first. Two things are left out or left in:

    - Waves at the Nyquist frequency, whose sign a grid cannot tell, and beyond. In pixels of 0.25
      arcsec the PSF damps them to 2e-4; images differ from an oversampled profile by up to 3e-4 of
      their peak.
    - The frame is periodic: light that leaves it on one side comes back on the other. At 64 pixels
      and padding 1.5 this adds to bulges of 0.8, 1.5 and 2.5 arcsec about 1e-4, 3e-4 and 7e-4 of
      their peak a pixel (2e-3 at worst), to discs below 2e-5. A clump beyond the frame would appear
      on the other side.

    Arguments:
        size: pixels along the side of an image.
        pixel_arcsec: side of a pixel.
        psf_fwhm: of the F bands, arcsec, Moffat with beta 2.5; default: those of grizy.
        padding: the frame is this many times larger than the image, at least 1.
        device: where the tables lie and all is computed.
        dtype: torch.float32 or torch.float64.

    Raises:
        TypeError: size is no integer; a length is no number; dtype as above.
        ValueError: not positive; no band; padding below 1.

    Example:
        >>> one, spot = torch.ones(2), torch.zeros(2, 1)
        >>> shapes = Shapes(one, one, one, one, one, one, spot, spot, spot, spot + 1)
        >>> renderer = GalaxyRenderer(32)
        >>> images = renderer.images(renderer.planes(shapes), torch.ones(2, 3, 5))
        >>> images.shape
        torch.Size([2, 5, 32, 32])
    """

    def __init__(
        self,
        size: int = 64,
        *,
        pixel_arcsec: float = 0.25,
        psf_fwhm: Sequence[float] = PSF_FWHM,
        padding: float = 1.5,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        (self.size,) = positive(size=size)
        self.pixel_arcsec = as_length("pixel_arcsec", pixel_arcsec)
        if not isinstance(psf_fwhm, Sequence) or not psf_fwhm:
            raise ValueError(f"psf_fwhm must hold the width of one band or more, got {psf_fwhm!r}")
        self.psf_fwhm = tuple(as_length("psf_fwhm", width) for width in psf_fwhm)
        self.n_bands = len(self.psf_fwhm)
        self.padding = as_length("padding", padding)
        if self.padding < 1:
            raise ValueError(f"padding must be at least 1, got {padding!r}")
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        self.device = torch.device(device)
        self.dtype = dtype
        self.frame = 2 * math.ceil(self.padding * self.size / 2)
        self._make_tables()

    def _make_tables(self) -> None:
        """Make what depends on the grid alone: in float64 on the CPU, then moved."""
        n = self.frame
        waves = 2 * math.pi / self.pixel_arcsec
        kx = torch.fft.rfftfreq(n, dtype=torch.float64) * waves  # (N/2 + 1,)
        ky = torch.fft.fftfreq(n, dtype=torch.float64) * waves  # (N,)
        self._k = torch.hypot(kx, ky[:, None])  # (N, N/2 + 1), float64 on the CPU
        # The mean over a pixel; nothing at Nyquist.
        window_x = torch.sinc(kx * self.pixel_arcsec / (2 * math.pi))
        window_y = torch.sinc(ky * self.pixel_arcsec / (2 * math.pi))
        window_x[n // 2] = 0
        window_y[n // 2] = 0
        # From the origin to the centre of the image, between two pixels if `size` is even.
        centre = self.pixel_arcsec * (self.size - 1) / 2
        shift_x = window_x * torch.exp(-1j * kx * centre)
        shift_y = window_y * torch.exp(-1j * ky * centre)
        self._window = window_y[:, None] * window_x
        # A real image has each wave of 0 < kx twice, of which rfft2 keeps one.
        twice = torch.full((n // 2 + 1,), 2.0, dtype=torch.float64)
        twice[0] = 1
        self._twice = twice.expand(n, -1)
        complex_dtype = torch.complex64 if self.dtype == torch.float32 else torch.complex128
        self._kx = self._moved(kx)
        self._ky = self._moved(ky)
        self._shift_x = shift_x.to(self.device, complex_dtype)
        self._shift_y = shift_y.to(self.device, complex_dtype)
        self._centre64 = shift_y[:, None] * shift_x  # with the window, float64 on the CPU
        self._centre = self._centre64.to(self.device, complex_dtype)
        psf = torch.stack([moffat_transform(self._k, width) for width in self.psf_fwhm])
        self.psf = self._moved(psf)  # (F, N, N/2 + 1)
        self._bulge = BulgeTable(device=self.device, dtype=self.dtype)

    def _moved(self, table: Tensor) -> Tensor:
        return table.to(self.device, self.dtype)

    def _squared(self, radius: Tensor, axis_ratio: Tensor, angle: Tensor) -> Tensor:
        """Return ``(k r)^2`` with k stretched along the minor axis: ``(B, N, N/2 + 1)``."""
        cos, sin = torch.cos(angle), torch.sin(angle)
        q = axis_ratio.square()
        size = radius.square()
        # (cos kx + sin ky)^2 + q (cos ky - sin kx)^2, its three terms in kx and ky
        xx = (size * (cos.square() + q * sin.square()))[:, None] * self._kx.square()
        yy = (size * (sin.square() + q * cos.square()))[:, None] * self._ky.square()
        xy = (2 * size * (1 - q) * sin * cos)[:, None] * self._ky
        return torch.addcmul(yy[:, :, None] + xx[:, None], xy[:, :, None], self._kx)

    def _clumps(self, shapes: Shapes) -> Tensor:
        """Add up Gaussians, each a function of kx times one of ky: ``(B, N, N/2 + 1)`` complex."""
        half = shapes.clump_sigma.square()[:, :, None] / 2
        size_x = shapes.clump_weight[:, :, None] * torch.exp(-half * self._kx.square())
        size_y = torch.exp(-half * self._ky.square())
        along_x = torch.polar(size_x, -shapes.clump_x[:, :, None] * self._kx) * self._shift_x
        along_y = torch.polar(size_y, -shapes.clump_y[:, :, None] * self._ky) * self._shift_y
        return torch.bmm(along_y.mT, along_x)

    def planes(self, shapes: Shapes) -> Tensor:
        """Return the Fourier transforms of the components of unit flux, averaged over pixels.

        Arguments:
            shapes: of B galaxies.

        Returns:
            ``(B, 3, N, N // 2 + 1)`` complex: bulge, disc and clumps as `torch.fft.rfft2` of their
            images before the PSF.
        """
        shapes = shapes.to(self.device, self.dtype)
        bulge = self._bulge(
            self._squared(shapes.bulge_radius, shapes.bulge_axis_ratio, angle=shapes.bulge_angle)
        )
        disc = exponential_transform(
            self._squared(shapes.disc_radius, shapes.disc_axis_ratio, angle=shapes.disc_angle)
        )
        # Bulge and disc are symmetric: their transforms are real until they are shifted.
        return torch.stack([bulge * self._centre, disc * self._centre, self._clumps(shapes)], 1)

    def _to_pixels(self, waves: Tensor) -> Tensor:
        """Transform ``(..., N, N/2 + 1)`` back and cut the image out: ``(..., size, size)``."""
        # Rows outside of the image need no second transform.
        rows = torch.fft.ifft(waves, dim=-2)[..., : self.size, :]
        return torch.fft.irfft(rows, n=self.frame, dim=-1)[..., : self.size]

    def images(self, planes: Tensor, fluxes: Tensor) -> Tensor:
        """Return images without noise.

        Arguments:
            planes: from `planes`.
            fluxes: ``(B, 3, F)`` of each component in each band, such as nanomaggies.

        Returns:
            ``(B, F, size, size)`` in the unit of `fluxes` a pixel.

        Raises:
            ValueError: fluxes of another shape, or not finite.
        """
        self._check_planes(planes)
        wanted = (len(planes), 3, self.n_bands)
        if not isinstance(fluxes, Tensor) or not fluxes.is_floating_point():
            raise TypeError(f"fluxes must be a floating torch tensor, got {type(fluxes).__name__}")
        if fluxes.shape != wanted:
            raise ValueError(
                f"fluxes must have shape (B, 3, F) = {wanted}, got {tuple(fluxes.shape)}"
            )
        if not all_finite(fluxes):
            raise ValueError("fluxes must be finite, got NaN or infinite values")
        return self._to_pixels(self._summed(planes, fluxes) * self.psf)

    def _summed(self, planes: Tensor, fluxes: Tensor) -> Tensor:
        """Return C components of fluxes ``(B, C, F)`` added, ``(B, F, N, N/2 + 1)``."""
        # Fluxes are real: real and imaginary parts are summed alike, (B, F, C) @ (B, C, 2 K).
        parts = torch.view_as_real(planes).flatten(2)
        sums = torch.bmm(fluxes.to(self.device, self.dtype).mT, parts)
        return torch.view_as_complex(sums.unflatten(2, (*self._k.shape, 2)))

    def component_images(self, planes: Tensor, *, band: int | None = None) -> Tensor:
        """Return the image of each component of unit flux, through the PSFs.

        Arguments:
            planes: of `planes`.
            band: index of one band, or None for all.

        Returns:
            ``(B, 3, F, size, size)``, of one band ``(B, 3, size, size)``.

        Raises:
            ValueError: no such band.
        """
        self._check_planes(planes)
        if band is None:
            return self._to_pixels(planes[:, :, None] * self.psf)
        if band not in range(self.n_bands):
            raise ValueError(f"band must lie in 0..{self.n_bands - 1}, got {band!r}")
        return self._to_pixels(planes * self.psf[band])

    def sums(self, planes: Tensor, images: Tensor, *, radius_arcsec: float) -> Tensor:
        """Return the sums of an image times each component's, and of the image within a circle.

        Arguments:
            planes: from `planes`.
            images: ``(B, F, size, size)``, such as the noise of a sky.
            radius_arcsec: of the circle about the centre.

        Returns:
            ``(B, F, 4)``: bulge, disc and clumps of unit flux after the PSF, then the circle.

        Raises:
            ValueError: images of another shape, or a radius that is not positive.
        """
        limit = as_length("radius_arcsec", radius_arcsec)
        self._check_planes(planes)
        wanted = (len(planes), self.n_bands, self.size, self.size)
        if images.shape != wanted:
            raise ValueError(
                f"images must have shape (B, F, size, size) = {wanted}, got {tuple(images.shape)}"
            )
        _, radius = pixel_places(self.size, self.pixel_arcsec, device=self.device)
        # Whole pixels: parts of those at the edge would add up with less noise than the area has.
        inside = torch.einsum("bfyx,yx->bf", images, (radius < limit).to(images))
        matched = torch.einsum("bcfyx,bfyx->bfc", self.component_images(planes), images)
        return torch.cat([matched, inside[..., None]], dim=2)

    def _check_planes(self, planes: Tensor) -> None:
        wanted = (3, *self._k.shape)
        if not isinstance(planes, Tensor) or planes.dtype != self._centre.dtype:
            came = planes.dtype if isinstance(planes, Tensor) else type(planes).__name__
            raise TypeError(f"planes must be a tensor of {self._centre.dtype}, got {came}")
        if planes.dim() != 4 or planes.shape[1:] != wanted or len(planes) == 0:
            raise ValueError(
                f"planes must have shape (B, 3, N, N // 2 + 1) = (B, *{wanted}), "
                f"got {tuple(planes.shape)}"
            )

    def gram(self, planes: Tensor) -> Tensor:
        """Return sums over the pixels of the padded frame of products of two components.

        Arguments:
            planes: from `planes`.

        Returns:
            ``(B, F, 3, 3)``: in each band, of components of unit flux after the PSF. Over the
            variance of the noise this is the Fisher matrix of the three fluxes.
        """
        self._check_planes(planes)
        # Parseval: the sum over pixels is the sum over waves over N^2.
        weight = self.psf.square() * self._moved(self._twice / self.frame**2)  # (F, N, N/2 + 1)
        weight = weight.flatten(1).repeat_interleave(2, dim=1)  # real and imaginary parts
        parts = torch.view_as_real(planes).flatten(2)  # (B, 3, 2 K)
        first, second = torch.triu_indices(3, 3, device=self.device)
        pairs = (parts[:, first] * parts[:, second]) @ weight.mT  # (B, 6, F)
        gram = pairs.new_empty(len(planes), self.n_bands, 3, 3)
        gram[:, :, first, second] = pairs.mT
        gram[:, :, second, first] = pairs.mT
        return gram

    def _inside(self, planes: Tensor, psf: Tensor, radius: float) -> Tensor:
        """Return the flux within a circle after a PSF ``(F, N, N/2 + 1)``: ``(B, 3, F)``."""
        self._check_planes(planes)
        side = self.frame * self.pixel_arcsec
        if radius > side / 2:
            raise ValueError(
                f"the circle must fit into the frame of {side:.6g} arcsec, got radius {radius:.6g}"
            )
        # The transform of a circle, 2 pi R J_1(k R) / k, which is its area at k = 0
        k = self._k.clamp(min=1e-9)
        circle = 2 * math.pi * radius * torch.special.bessel_j1(k * radius) / k
        # The circle is on the sky: what `planes` holds of centring and pixels is divided out.
        known = torch.where(self._window == 0, 1, self._centre64)
        weight = circle * self._twice / side**2 / known
        weight = torch.where(self._window == 0, 0, weight).conj() * psf.double().cpu()
        flat = self._moved(torch.view_as_real(weight.resolve_conj()).flatten(1))  # (F, 2 K)
        return torch.view_as_real(planes).flatten(2) @ flat.mT

    def aperture(self, planes: Tensor, radius_arcsec: float) -> Tensor:
        """Return the fraction of each component's flux inside a circle about the centre.

        The circle is exact, not made of pixels, and lies on the image after the PSF.

        Arguments:
            planes: from `planes`.
            radius_arcsec: of the circle; it must fit into the frame.

        Returns:
            ``(B, 3, F)``, from 0 to 1.

        Raises:
            ValueError: the radius is not positive, or too large for the frame.
        """
        return self._inside(planes, self.psf, as_length("radius_arcsec", radius_arcsec))

    def fibre(self, planes: Tensor, *, diameter: float = 3.0, seeing: float = 1.5) -> Tensor:
        """Return the fraction of each component's flux that falls into a fibre on the centre.

        Arguments:
            planes: from `planes`.
            diameter: of the fibre, arcsec.
            seeing: full width at half maximum of the Moffat PSF (beta 2.5) at the spectrograph.

        Returns:
            ``(B, 3)``, from 0 to 1.
        """
        psf = moffat_transform(self._k, as_length("seeing", seeing))
        return self._inside(planes, psf[None], as_length("diameter", diameter) / 2)[:, :, 0]
