"""What the image adds: the same galaxies with one kind of information taken out of their images.

Structure is destroyed inside rings, sharpness by a worse seeing, the centre by sky, the sky by more
sky, and gradients of colour by one profile for all bands. Each keeps the rest as it was.

Shapes: B images, five bands grizy, H pixels along the side, R rings.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from skytutor.data.galaxies import SKY_NOISE
from skytutor.data.galaxy_profiles import moffat_transform
from skytutor.data.rendering import pixel_places
from skytutor.validate import as_length

__all__ = [
    "ABLATIONS",
    "add_noise",
    "blur",
    "mask_centre",
    "mask_outskirts",
    "monochrome",
    "permute_in_annuli",
    "pixel_radius",
    "sky",
]

PIXEL = 0.25  # arcsec
PSF_FWHM = (1.31, 1.19, 1.11, 1.07, 1.02)  # arcsec, of the simulator's bands
_RED = 1
_TOTAL = 6.4  # arcsec: the circle whose light stands for all


def pixel_radius(images: Tensor) -> Tensor:
    """Return the distance of each pixel from the centre of the image, ``(H, H)``, arcsec.

    Arguments:
        images: ``(B, 5, H, H)``, whose size and device count.
    """
    return pixel_places(images.shape[-1], PIXEL, device=images.device)[1]


def sky(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw images of empty sky with the noise of the survey.

    Arguments:
        images: ``(B, 5, H, H)``, whose shape and device count.
        generator: of the random numbers, on any device.
    """
    noise = torch.tensor(SKY_NOISE).to(images)
    return _white(images, generator) * noise[:, None, None]


def _white(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers of the shape of `images`."""
    return torch.randn(images.shape, generator=generator, device=generator.device).to(images)


def permute_in_annuli(
    images: Tensor,
    *,
    width_arcsec: float,
    generator: torch.Generator,
    axis_ratio: Tensor | None = None,
    angle: Tensor | None = None,
) -> Tensor:
    """Shuffle the pixels of each ring, alike in all bands.

    The profile in every band, the colours of every pixel and of every ring, and the noise stay.
    Spots, arms and the direction of the major axis go. With round rings the flattening goes too,
    which a catalogue knows: hand in axis ratio and angle to keep it.

    Arguments:
        images: ``(B, 5, H, H)``.
        width_arcsec: of a ring, along the major axis.
        generator: of the permutations, one for each galaxy.
        axis_ratio: ``(B,)`` of elliptical rings; None for round ones.
        angle: ``(B,)`` of their major axes, radians from +x to +y.

    Raises:
        TypeError, ValueError: a width that is no positive number.
    """
    width = as_length("width_arcsec", width_arcsec)
    size = images.shape[-1]
    if axis_ratio is None or angle is None:
        radius = pixel_radius(images).expand(len(images), -1, -1)
    else:
        radius = _elliptical_radius(images, axis_ratio, angle)
    ring = (radius / width).floor().flatten(1).double()  # (B, P)
    keys = torch.rand(ring.shape, generator=generator, device=generator.device, dtype=torch.float64)
    # Sorted by ring, in any order within it: where pixels go, and where they come from.
    target = ring.argsort(dim=1, stable=True)
    source = (ring + keys.to(ring.device)).argsort(dim=1)
    bands = images.shape[1]
    flat = images.flatten(2)
    moved = flat.gather(2, source[:, None].expand(-1, bands, -1))
    shuffled = torch.empty_like(flat).scatter(2, target[:, None].expand(-1, bands, -1), moved)
    return shuffled.unflatten(2, (size, size))


def _elliptical_radius(images: Tensor, axis_ratio: Tensor, angle: Tensor) -> Tensor:
    """Return the semi-major axis of the ellipse through each pixel, ``(B, H, H)``, arcsec."""
    place, _ = pixel_places(images.shape[-1], PIXEL, device=images.device)
    cosine = angle.to(images).cos()[:, None, None]
    sine = angle.to(images).sin()[:, None, None]
    x, y = place, place[:, None]
    along = cosine * x + sine * y
    across = (cosine * y - sine * x) / axis_ratio.to(images)[:, None, None]
    return torch.hypot(along, across)


def blur(images: Tensor, fwhm_arcsec: float, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Bring all bands to the same, worse seeing: a Moffat PSF of beta 2.5.

    In Fourier space each band is multiplied by the ratio K of the transforms of the new and the old
    PSF, which is 1 for the total flux and falls with the wavenumber. The image's noise is smoothed
    with it, to a power of :math:`\sigma^2 K^2`. With a generator, noise of power
    :math:`\sigma^2 (1 - K^2)` is added, so that the sky is white again, as deep as before: the same
    survey under a worse sky. The frame is periodic: flux is kept, what leaves on one side comes in
    on the other.

    Arguments:
        images: ``(B, 5, H, H)``.
        fwhm_arcsec: full width at half maximum of the new PSF, not below that of any band.
        generator: of the added noise; None to leave the noise smoothed.

    Raises:
        TypeError, ValueError: a width that is no number, or below 1.31 arcsec.
    """
    fwhm = as_length("fwhm_arcsec", fwhm_arcsec)
    if fwhm < max(PSF_FWHM):
        raise ValueError(
            f"fwhm_arcsec must be at least {max(PSF_FWHM)}, the seeing in g, got {fwhm_arcsec!r}"
        )
    size = images.shape[-1]
    waves = 2 * torch.pi / PIXEL
    kx = torch.fft.rfftfreq(size, device=images.device) * waves
    ky = torch.fft.fftfreq(size, device=images.device) * waves
    k = torch.hypot(kx, ky[:, None])
    # exp(-a k) underflows nowhere: at the largest k of a pixel grid it is about 1e-10.
    old = torch.stack([moffat_transform(k, width) for width in PSF_FWHM])
    kernel = (moffat_transform(k, fwhm) / old).clamp(max=1)
    blurred = torch.fft.irfft2(torch.fft.rfft2(images) * kernel, s=images.shape[-2:])
    if generator is None:
        return blurred
    missing = (1 - kernel.square()).sqrt()
    fresh = torch.fft.irfft2(torch.fft.rfft2(sky(images, generator)) * missing, s=(size, size))
    return blurred + fresh


def mask_centre(images: Tensor, radius_arcsec: float, *, generator: torch.Generator) -> Tensor:
    """Replace the pixels whose centres lie inside a circle by sky.

    Arguments:
        images: ``(B, 5, H, H)``.
        radius_arcsec: of the circle; 1.5 is the fibre's.
        generator: of the sky's noise.
    """
    radius = as_length("radius_arcsec", radius_arcsec, zero=True)
    return torch.where(pixel_radius(images) < radius, sky(images, generator), images)


def mask_outskirts(images: Tensor, radius_arcsec: float, *, generator: torch.Generator) -> Tensor:
    """Replace the pixels whose centres lie outside a circle by sky.

    Arguments:
        images: ``(B, 5, H, H)``.
        radius_arcsec: of the circle.
        generator: of the sky's noise.
    """
    radius = as_length("radius_arcsec", radius_arcsec, zero=True)
    return torch.where(pixel_radius(images) < radius, images, sky(images, generator))


def add_noise(images: Tensor, factor: float, *, generator: torch.Generator) -> Tensor:
    """Add noise until the sky's is `factor` times the survey's.

    Arguments:
        images: ``(B, 5, H, H)``, with the survey's noise.
        factor: at least 1; 2 costs 0.75 magnitudes of depth.
        generator: of the noise.

    Raises:
        TypeError, ValueError: a factor that is no number, or below 1.
    """
    scale = as_length("factor", factor)
    if scale < 1:
        raise ValueError(f"factor must be at least 1: noise cannot be taken away; got {factor!r}")
    return images + sky(images, generator) * (scale**2 - 1) ** 0.5


def monochrome(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Give every band the image of r, scaled to the band's own light within 6.4 arcsec.

    Total colours stay as they were measured; no colour changes across the image any more. The sky
    of r comes along: where it is fainter than the band's own, noise makes up for it.

    Arguments:
        images: ``(B, 5, H, H)``.
        generator: of the noise.
    """
    inside = (pixel_radius(images) < _TOTAL).to(images)
    total = (images * inside).sum((2, 3), keepdim=True)  # (B, 5, 1, 1)
    # A galaxy whose r light is lost in the noise has no colours to keep.
    ratio = total / total[:, _RED, None].clamp(min=1e-3)
    noise = torch.tensor(SKY_NOISE).to(images)[:, None, None]
    lacking = (noise.square() - (ratio * noise[_RED]).square()).clamp(min=0).sqrt()
    scaled = images[:, _RED, None] * ratio
    grey = scaled + lacking * _white(images, generator)
    # The added noise has a sum of its own inside the circle; the colours are to stay.
    surplus = ((grey - images) * inside).sum((2, 3), keepdim=True) / inside.sum()
    return grey - surplus * inside


# Name of an ablation, and what it makes of images ``(B, 5, H, H)`` with a generator.
ABLATIONS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "whole image": lambda images, rng: images,
    "pixels shuffled in rings": lambda images, rng: permute_in_annuli(
        images, width_arcsec=PIXEL, generator=rng
    ),
    "seeing of 2 arcsec": lambda images, rng: blur(images, 2.0, generator=rng),
    "seeing of 4 arcsec": lambda images, rng: blur(images, 4.0, generator=rng),
    "fibre masked": lambda images, rng: mask_centre(images, 1.5, generator=rng),
    "fibre alone": lambda images, rng: mask_outskirts(images, 1.5, generator=rng),
    "noise doubled": lambda images, rng: add_noise(images, 2.0, generator=rng),
    "one profile in all bands": lambda images, rng: monochrome(images, generator=rng),
}
