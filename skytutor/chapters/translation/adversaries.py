r"""A translator and its adversary: as published, and with the survey's noise between them.

A deterministic generator cannot make the noise of its target. A discriminator that is shown a
survey's image beside a prediction tells them apart by the noise alone, and the generator is pushed
to paint peaks that look like it: sources that are not there. In `NoiseMatched` the prediction gets
noise of the survey's own kind before the discriminator sees it,

.. math:: \tilde x = \hat y + \sqrt{\sigma^2 + \max(\hat y, 0) / c}\; \epsilon,

so that only what lies beneath the noise can be told apart, as AmbientGAN does for measurements in
general [1]_.

Shapes: B scenes, I input bands, T target bands, H pixels along a side.

.. [1] A. Bora, E. Price & A. G. Dimakis, 2018, ICLR.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.patch_gan import PatchDiscriminator, Pix2pixGenerator
from skytutor.chapters.translation.requests import checked_images
from skytutor.chapters.translation.stretch import (
    STRETCHED_RANGE,
    softenings,
    stretched,
    unstretched,
)
from skytutor.data.exposures import pixel_noise
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.surveys import BANDS, band_names
from skytutor.training.adversarial import NETWORKS, discriminator_loss, generator_loss
from skytutor.validate import one_of

__all__ = ["NoiseMatched", "Published", "TranslationPair", "displayed"]

_L1 = 100.0  # weight of the absolute error beside the adversary, as published
_LEVELS = 255  # of an 8-bit picture


def displayed(flux: Tensor, softening: Tensor) -> Tensor:
    """Return a picture of 8 bits, between -1 and 1: what is below zero is black.

    Arguments:
        flux: ``(..., F, H, W)``, nanomaggies a pixel.
        softening: ``(F,)``.

    Example:
        >>> flux = torch.tensor([-3.0, 0.0, 1e9]).reshape(3, 1, 1)
        >>> displayed(flux, torch.ones(3)).flatten()
        tensor([-1., -1.,  1.])
    """
    grey = stretched(flux, softening) / STRETCHED_RANGE
    return (grey.clamp(0, 1) * _LEVELS).round() / _LEVELS * 2 - 1


class TranslationPair(nn.Module):
    """A generator, a discriminator of patches, and the loss of the one that takes a step.

    Arguments:
        generator: of the translation.
        discriminator: of condition and answer.
        inputs: names of the I bands that are given.
        targets: names of the T bands that are asked for.
        bands: names of all bands, in the order of the images.
    """

    softening: Tensor

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        inputs: Sequence[str],
        targets: Sequence[str],
        bands: Sequence[str] = tuple(BANDS),
    ):
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        names = list(band_names(bands))
        self.bands = names
        self.columns = [names.index(name) for name in band_names(inputs)]
        self.rows = [names.index(name) for name in band_names(targets)]
        self.register_buffer("softening", softenings(names), persistent=False)

    def condition(self, images: Tensor) -> Tensor:
        """Return the input bands as the discriminator sees them, ``(B, I, H, H)``.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
        """
        raise NotImplementedError

    def shown(self, images: Tensor) -> Tensor:
        """Return the survey's images of the target bands as the discriminator sees them.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
        """
        raise NotImplementedError

    def made(self, images: Tensor, ivar: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prediction, and what of it the discriminator sees, ``(B, T, H, H)`` each.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``.
            noise: ``(B, T, H, H)``, standard normal.
        """
        raise NotImplementedError

    def predict(self, images: Tensor, ivar: Tensor) -> Tensor:
        """Return the target bands in nanomaggies a pixel, ``(B, T, H, H)``.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``.
        """
        raise NotImplementedError

    def forward(
        self, network: str, images: Tensor, ivar: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss that `network` minimises, ``total``, and its parts, scalars.

        Arguments:
            network: "discriminator" or "generator".
            images: ``(B, F, H, H)``, the surveys' images, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``.
            noise: ``(B, T, H, H)``, standard normal.
        """
        condition, real = self.condition(images), self.shown(images)
        if one_of("network", network, allowed=NETWORKS) == "discriminator":
            # The generator is fixed during the discriminator's step.
            with torch.no_grad():
                _, fake = self.made(images, ivar, noise)
            outputs = [
                self.discriminator(torch.cat([condition, part], dim=1)).flatten()
                for part in (real, fake)
            ]
            # Halved, as published: it learns more slowly than the generator.
            return {"total": discriminator_loss(*outputs, kind="logistic") / 2}
        answer, fake = self.made(images, ivar, noise)
        output = self.discriminator(torch.cat([condition, fake], dim=1)).flatten()
        adversarial = generator_loss(output, kind="logistic")
        error = (answer - real).abs().mean()
        return {"total": adversarial + _L1 * error, "adversarial": adversarial, "error": error}


class Published(TranslationPair):
    """pix2pix as it was used: 8-bit pictures in, 8-bit pictures out, compared as they are.

    Arguments:
        inputs: names of the I bands that are given.
        targets: names of the T bands that are asked for.
        size: H.
        width: channels of the finest scale of both networks.
    """

    def __init__(
        self, inputs: Sequence[str], targets: Sequence[str], *, size: int = 64, width: int = 64
    ):
        n_in, n_out = len(inputs), len(targets)
        super().__init__(
            Pix2pixGenerator(n_in, n_out, size=size, width=width),
            PatchDiscriminator(n_in + n_out, width=width),
            inputs=inputs,
            targets=targets,
        )

    def condition(self, images: Tensor) -> Tensor:
        """Return pictures of the input bands.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
        """
        return displayed(images[:, self.columns], self.softening[self.columns])

    def shown(self, images: Tensor) -> Tensor:
        """Return pictures of the target bands.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
        """
        return displayed(images[:, self.rows], self.softening[self.rows])

    def made(self, images: Tensor, ivar: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's pictures, twice.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: not used: a picture does not say where it holds nothing.
            noise: not used.
        """
        answer = self.generator(self.condition(images))
        return answer, answer

    def predict(self, images: Tensor, ivar: Tensor) -> Tensor:
        """Return the target bands in nanomaggies a pixel, the display's stretch undone.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``; a picture does not say where it holds nothing, which is black.

        Raises:
            ValueError: as `skytutor.chapters.translation.requests.checked_images`.
        """
        given = torch.zeros(images.shape[:2], dtype=torch.bool, device=images.device)
        given[:, self.columns] = True
        shown = checked_images(images, ivar, given, bands=self.bands, softening=self.softening)
        # One at a time, as it was trained: normalised by the pixels of one image.
        pictures = self.condition(shown).split(1)
        grey = (torch.cat([self.generator(picture) for picture in pictures]) + 1) / 2
        return unstretched(grey * STRETCHED_RANGE, self.softening[self.rows])


class NoiseMatched(TranslationPair):
    """A `BandTranslator` whose predictions get the survey's noise before they are seen.

    Arguments:
        inputs: names of the I bands that are given.
        targets: names of the T bands that are asked for, recorded by CCDs.
        generator: the translator; default: a new one.
        width: channels of the first layer of the discriminator.

    Raises:
        ValueError: a target that is no CCD's.
    """

    given: Tensor
    sky: Tensor
    per_flux: Tensor

    def __init__(
        self,
        inputs: Sequence[str],
        targets: Sequence[str],
        *,
        generator: BandTranslator | None = None,
        width: int = 32,
    ):
        wrong = [name for name in targets if BANDS[name].kind != "ccd"]
        if wrong:
            raise ValueError(f"targets must be bands of CCDs, got {', '.join(wrong)}")
        translator = BandTranslator() if generator is None else generator
        super().__init__(
            translator,
            PatchDiscriminator(len(inputs) + len(targets), width=width),
            inputs=inputs,
            targets=targets,
            bands=translator.bands,
        )
        given = torch.tensor([name in inputs for name in translator.bands])
        self.register_buffer("given", given, persistent=False)
        chosen = [BANDS[name] for name in targets]
        renderer = SceneRenderer(64, psf_fwhm=[band.fwhm for band in chosen])
        noise = [pixel_noise(band, renderer.psf_image(f)) for f, band in enumerate(chosen)]
        self.register_buffer("sky", torch.tensor(noise)[:, None, None], persistent=False)
        counts = torch.tensor([band.counts_per_nanomaggie for band in chosen])
        self.register_buffer("per_flux", counts[:, None, None], persistent=False)

    def condition(self, images: Tensor) -> Tensor:
        """Return the input bands, stretched.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
        """
        return stretched(images[:, self.columns], self.softening[self.columns])

    def shown(self, images: Tensor) -> Tensor:
        """Return the target bands, stretched.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
        """
        return stretched(images[:, self.rows], self.softening[self.rows])

    def made(self, images: Tensor, ivar: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prediction, and the prediction under the survey's noise, both stretched.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``.
            noise: ``(B, T, H, H)``, standard normal.
        """
        flux = self.predict(images, ivar)
        variance = self.sky.square() + flux.clamp(min=0) / self.per_flux
        softening = self.softening[self.rows]
        return stretched(flux, softening), stretched(flux + variance.sqrt() * noise, softening)

    def predict(self, images: Tensor, ivar: Tensor) -> Tensor:
        """Return the target bands in nanomaggies a pixel.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``.
        """
        assert isinstance(self.generator, BandTranslator)
        given = self.given.expand(len(images), -1)
        return self.generator.predict(images, ivar, given, targets=self.rows)
