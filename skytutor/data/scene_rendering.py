"""Images of many sources in one frame, each where it stands, in any number of bands.

Built on `skytutor.data.rendering`: a source is moved by a phase on its Fourier transform, and what
stands in one frame is added before the transform is undone. The pixels of wide surveys are not much
smaller than their PSF, so that images are made on a finer grid, whose pixels are then added up.

Shapes: B scenes, C components in each, F bands, H pixels along a side; N those of the padded fine
frame.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skytutor.data.rendering import GalaxyRenderer
from skytutor.validate import as_length, positive

__all__ = ["SceneRenderer"]


class SceneRenderer(GalaxyRenderer):
    """Render scenes of stars and galaxies.

    Arguments:
        size: H, pixels along the side of an image.
        pixel_arcsec: side of a pixel.
        psf_fwhm: of the F bands, arcsec, Moffat with beta 2.5.
        oversampling: fine pixels along the side of a pixel.
        padding: the frame is this many times larger than the image, at least 1.
        device: where the tables lie and all is computed.

    Raises:
        TypeError: a size is no integer, a length is no number.
        ValueError: not positive; no band; padding below 1.

    Example:
        >>> renderer = SceneRenderer(16, psf_fwhm=[1.3, 5.0])
        >>> star = renderer.moved(renderer.points(1), torch.tensor([2.0]), torch.tensor([-0.4]))
        >>> image = renderer.scenes(star[None], torch.ones(1, 1, 2))
        >>> [round(float(total), 2) for total in image.sum((0, 2, 3))]
        [0.99, 0.84]
        >>> divmod(int(image[0, 0].argmax()), 16)
        (7, 10)
    """

    def __init__(
        self,
        size: int = 64,
        *,
        pixel_arcsec: float = 0.8,
        psf_fwhm: Sequence[float],
        oversampling: int = 2,
        padding: float = 1.5,
        device: torch.device | str = "cpu",
    ):
        positive(size=size, oversampling=oversampling)
        side = as_length("pixel_arcsec", pixel_arcsec)
        wide = as_length("padding", padding)
        # An even number of whole pixels: the frame of the fine grid is a multiple of both.
        frame = 2 * math.ceil(max(wide, 1.0) * size / 2) * oversampling
        super().__init__(
            size * oversampling,
            pixel_arcsec=side / oversampling,
            psf_fwhm=psf_fwhm,
            padding=wide if wide < 1 else (frame - 0.5) / (size * oversampling),
            device=device,
        )
        self.scene_size = size
        self.scene_pixel = side
        self.oversampling = oversampling
        waves = torch.arange(self.frame, dtype=torch.float64)[:, None]
        fine = torch.arange(oversampling, dtype=torch.float64)
        moved = torch.exp(2j * math.pi * waves * fine / self.frame).sum(1) / oversampling
        self._column_sum = moved.to(self.device, self._centre.dtype)

    def points(self, n: int) -> Tensor:
        """Return the transforms of n point sources of flux 1 in the middle, ``(n, N, N/2 + 1)``.

        Arguments:
            n: how many.
        """
        positive(n=n)
        return self._centre.expand(n, -1, -1)

    def moved(self, planes: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the transforms of sources that stand elsewhere.

        Arguments:
            planes: ``(n, N, N/2 + 1)`` of sources in the middle.
            x: ``(n,)``, arcsec to the right of the middle.
            y: ``(n,)``, arcsec above it.

        Raises:
            ValueError: not one place for each source, or one outside the image.
        """
        for name, place in (("x", x), ("y", y)):
            if place.shape != (len(planes),):
                raise ValueError(
                    f"{name} must be ({len(planes)},), one for each source, "
                    f"got {tuple(place.shape)}"
                )
            half = self.scene_size * self.scene_pixel / 2
            # Written so that NaN fails too.
            if not bool((place.abs() <= half).all()):
                raise ValueError(f"{name} must lie within {half:g} arcsec of the middle")
        # In the precision of the renderer, whatever that of the places.
        phase_x = -self._kx * x.to(self._kx)[:, None]
        phase_y = -self._ky * y.to(self._ky)[:, None]
        along_x = torch.polar(torch.ones_like(self._kx), phase_x)  # (n, N/2 + 1)
        along_y = torch.polar(torch.ones_like(self._ky), phase_y)  # (n, N)
        return planes * along_x[:, None] * along_y[:, :, None]

    def scenes(self, planes: Tensor, fluxes: Tensor) -> Tensor:
        """Return images without noise, ``(B, F, H, H)``, in the unit of the fluxes a pixel.

        Arguments:
            planes: ``(B, C, N, N/2 + 1)``, components of flux 1, each in its place.
            fluxes: ``(B, C, F)``.

        Raises:
            ValueError: fluxes of another shape.
        """
        wanted = (*planes.shape[:2], self.n_bands)
        if fluxes.shape != wanted:
            raise ValueError(f"fluxes must be (B, C, F) = {wanted}, got {tuple(fluxes.shape)}")
        return self._binned(self._summed(planes, fluxes) * self.psf)

    def templates(self, planes: Tensor, *, band: int) -> Tensor:
        """Return the image of each component of flux 1 in one band, ``(B, C, H, H)``.

        Arguments:
            planes: ``(B, C, N, N/2 + 1)``.
            band: index of the band.

        Raises:
            ValueError: no such band.
        """
        if band not in range(self.n_bands):
            raise ValueError(f"band must lie in 0..{self.n_bands - 1}, got {band!r}")
        return self._binned(planes * self.psf[band])

    def psf_image(self, band: int) -> Tensor:
        """Return the image of a point source of flux 1 on the middle of a pixel, ``(H, H)``.

        Arguments:
            band: index of the band.
        """
        # Between four pixels lies the middle of a frame of even size.
        shift = torch.full((1,), self.scene_pixel / 2 * (1 - self.scene_size % 2))
        place = shift.to(self.device)
        star = self.moved(self.points(1), place, place)
        return self.templates(star[None], band=band)[0, 0]

    def _binned(self, waves: Tensor) -> Tensor:
        """Transform back, and add up the fine pixels of each pixel."""
        step = self.oversampling
        # Along y the sum is a factor on each wave, and waves that a coarse column cannot tell
        # apart are added before the transform, which is shorter by the oversampling.
        *front, _, width = waves.shape
        folded = (waves * self._column_sum[:, None]).reshape(*front, step, -1, width).sum(-3)
        rows = torch.fft.ifft(folded, dim=-2)[..., : self.scene_size, :]
        fine = torch.fft.irfft(rows, n=self.frame, dim=-1)[..., : self.size]
        return fine.unflatten(-1, (self.scene_size, step)).sum(-1)
