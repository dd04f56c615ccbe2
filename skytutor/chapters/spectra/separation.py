"""Which light of a picture is the bulge's, the disc's and the clumps': a network that cuts it up.

The oracle of `limits` knows the shapes of the components and measures fluxes by least squares.
A network cannot know the shapes, but it can learn to see them: the simulator knows which fraction
of the r-band light of each pixel comes from which component, and what that light is without the
sky's noise. A U-Net learns to say both. The three images that it cuts the r band into are then
templates, each carried to the PSF of every band, and the fluxes of the components in all bands
follow by least squares again, with their errors: `skytutor.chapters.spectra.measurement`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.data.galaxies import SKY_NOISE
from skytutor.layers.unet import UNet

__all__ = ["RED", "ComponentSeparation", "Separation", "light_loss", "separation_loss"]

N_COMPONENTS = 3
RED = 1  # index of the r band


@dataclass(frozen=True)
class Separation:
    """A picture cut into components.

    Attributes:
        fractions: of each pixel's r-band light in bulge, disc and clumps, ``(B, 3, H, H)``.
        light: the r band without the sky's noise, ``(B, H, H)``, nanomaggies a pixel.
    """

    fractions: Tensor
    light: Tensor

    @property
    def components(self) -> Tensor:
        """R-band light of each component, ``(B, 3, H, H)``, nanomaggies a pixel."""
        return self.fractions * self.light[:, None]


class ComponentSeparation(UNet):
    """A U-Net: the fraction of each pixel's light in bulge, disc and clumps, and its noise.

    Arguments:
        in_channels: C of the scaled images.
        channels: of its four scales.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int, int] = (16, 32, 48, 64)):
        super().__init__(in_channels, N_COMPONENTS + 1, channels=channels)

    def forward(self, scaled: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return fractions ``(B, 3, H, H)``, which add up to 1, and what takes the noise away.

        Arguments:
            scaled: ``(B, C, H, H)``, H a multiple of 8.

        Returns:
            fractions, and the correction of the r band ``(B, H, H)`` in units of its sky's noise.
        """
        answer = super().forward(scaled)
        return answer[:, :N_COMPONENTS].softmax(1), answer[:, N_COMPONENTS]


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


def light_loss(light: Tensor, components: Tensor) -> Tensor:
    """Return the mean square of what is wrong with the r band, over the variance of its sky.

    The picture as it is scores 1, for it is wrong by the noise of its sky.

    Arguments:
        light: predicted, ``(B, H, H)``, nanomaggies a pixel.
        components: true r-band images of the components, ``(B, 3, H, H)``.

    Returns:
        ``(B,)``.
    """
    wrong = (light - components.sum(1)) / SKY_NOISE[RED]
    return wrong.square().mean((1, 2))
