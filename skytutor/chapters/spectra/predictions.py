"""Ask a trained network about images of your own: checked input, answers in natural units.

The network itself checks shapes alone, for it is on the path of training.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.separation import RED
from skytutor.chapters.spectra.targets import N_LATENTS, natural
from skytutor.validate import positive
from skytutor.values import all_finite

__all__ = ["Prediction", "check_images", "predict"]

_N_BANDS = 5
_BRIGHTEST_SKY = 10  # nanomaggies a pixel; a magnitude of a faint pixel is above


@dataclass(frozen=True)
class Prediction:
    """What a network says of B galaxies.

    Attributes:
        mean: of the nine standardised targets, ``(B, 9)``.
        scale_tril: Cholesky factor of their covariance, ``(B, 9, 9)``.
    """

    mean: Tensor
    scale_tril: Tensor

    @property
    def posterior(self) -> MultivariateNormal:
        """The posterior of the nine standardised targets."""
        return MultivariateNormal(self.mean, scale_tril=self.scale_tril)

    @property
    def latents(self) -> tuple[Tensor, Tensor]:
        """The six latents and their standard deviations, ``(B, 6)`` each, standardised."""
        deviation = self.scale_tril.square().sum(2).sqrt()
        return self.mean[:, :N_LATENTS], deviation[:, :N_LATENTS]

    @property
    def natural(self) -> tuple[Tensor, Tensor]:
        """Logarithms of two widths in angstrom, H-alpha and [OIII], and the redshift.

        Means and standard deviations, ``(B, 3)`` each.
        """
        deviation = self.scale_tril.square().sum(2).sqrt()
        mean = natural(self.mean)
        # Units are linear in the targets: the difference is the deviation in natural units.
        return mean, natural(self.mean + deviation) - mean


def check_images(images: Tensor, *, size: int = 64) -> None:
    """Refuse what is no batch of five-band images in nanomaggies a pixel.

    Arguments:
        images: ``(B, 5, H, H)``.
        size: H that is wanted.

    Raises:
        TypeError: no tensor, or one of integers, booleans or complex numbers.
        ValueError: another shape, no image, NaN or infinity, a band in which no pixel differs from
            another, or values that look like magnitudes: a median above 10, where the sky of a
            survey has 0.

    Example:
        >>> check_images(torch.zeros(1, 3, 64, 64))
        Traceback (most recent call last):
        ...
        ValueError: images must be (B, 5, 64, 64), the bands grizy in this order; got (1, 3, 64, 64)
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, got {type(images).__name__}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating-point numbers, got {images.dtype}")
    if images.ndim != 4 or images.shape[1:] != (_N_BANDS, size, size):
        raise ValueError(
            f"images must be (B, 5, {size}, {size}), the bands grizy in this order; "
            f"got {tuple(images.shape)}"
        )
    if not len(images):
        raise ValueError("images must hold one image or more, got none")
    if not all_finite(images):
        raise ValueError("images must be finite, got NaN or infinity: fill masked pixels with 0")
    _check_fluxes(images)


def _check_fluxes(images: Tensor) -> None:
    """Refuse bands without anything in them, and magnitudes."""
    flat = images.flatten(2)
    empty = (flat.amax(2) == flat.amin(2)).nonzero()
    if len(empty):
        image, band = empty[0].tolist()
        raise ValueError(
            f"images must show something in each band; all pixels of image {image} are equal "
            f"in band {'grizy'[band]}"
        )
    # Of each image: one among many must not hide behind the others' median.
    median = float(flat[:, RED].median(1).values.max())
    if median > _BRIGHTEST_SKY:
        raise ValueError(
            "images must be fluxes in nanomaggies a pixel, whose sky is 0; the median of an r "
            f"band is {median:.3g}: are these magnitudes?"
        )


def predict(model: SpectrumNetwork, images: Tensor, *, batch: int = 50) -> Prediction:
    """Return what a trained network says of images, after a look at the images.

    Arguments:
        model: trained. It is asked in evaluation mode and left in the mode it was in.
        images: ``(B, 5, H, H)``, nanomaggies a pixel, grizy, sky subtracted, the galaxy in the
            centre, 0.25 arcsec a pixel.
        batch: images at a time.

    Raises:
        TypeError, ValueError: as `check_images`, or a batch that is no positive integer.
    """
    positive(batch=batch)
    check_images(images, size=model.measurement.size)
    training = model.training
    place = next(model.parameters())
    parts = []
    model.eval()
    try:
        with torch.no_grad():
            for rows in images.split(batch):
                parts.append(model(rows.to(place)))
    finally:
        model.train(training)
    means, factors = zip(*parts, strict=True)
    return Prediction(torch.cat(means), torch.cat(factors))
