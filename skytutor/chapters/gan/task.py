"""Training and validation of chapter 2: digits by class, and skies of the microwave background."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from skytutor.chapters.gan.classifier import load_classifier
from skytutor.chapters.gan.real_maps import LMAX, NSIDE, digit_maps, sky_maps, true_skies
from skytutor.chapters.gan.scores import compare, compare_skies, draw, on_sphere
from skytutor.chapters.seeds import GAN_DIGITS, GAN_SKIES
from skytutor.chunks import in_chunks
from skytutor.data import digits, projection
from skytutor.training.adversarial import AdversarialPair, AdversarialTask, latent_size

LATENT = 64
SIDE = 56
# Learning rates over the schedule's, of discriminator and generator. A faster discriminator keeps
# up with the generator in one step each (two time scales: M. Heusel et al. 2017, arXiv:1706.08500).
TWO_RATES = (1.5, 1.0)
EQUAL_RATES = (1.0, 1.0)


class DigitGanTask(AdversarialTask):
    """Real digits on the sphere; the score is the negative Frechet distance from validation digits.

    Arguments:
        latent: numbers the generator takes.
        classes: whether both networks take labels.
        lr_factors: learning rates over the schedule's, of discriminator and generator.
        planar: pictures of 56 x 56 instead of maps.
        nside: of the maps.
        project: called as ``project(images, nside=nside)``; projects digits to the sphere.
        source: of the digits, as in `skytutor.data.digits.load`.
        max_images: use at most so many training digits; None for all.
        n_validation: validation digits, and samples that are compared with them.
    """

    score = "negative_frechet"
    source: str  # there is always a data set

    def __init__(
        self,
        *,
        latent: int,
        classes: bool,
        lr_factors: Sequence[float] = TWO_RATES,
        planar: bool = False,
        nside: int = NSIDE,
        project: Callable[..., Tensor] = digit_maps,
        source: str = "auto",
        max_images: int | None = None,
        n_validation: int = 2000,
    ):
        super().__init__(lr_factors)
        data = digits.load(source)
        self.source = data.source
        self.latent = latent
        self.classes = classes
        images, self.labels = (part[:max_images] for part in data.part("train"))
        self.maps = as_pictures(images) if planar else project(images, nside=nside)
        self.size = len(self.labels)
        self.classifier = load_classifier(data.source)
        images, self.validation_labels = (part[:n_validation] for part in data.part("validation"))
        self.validation_features, _ = self.classifier(digit_maps(images))

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw n latents ``(n, Z)`` and the classes ``(n,)`` that their maps are to show."""
        return [
            torch.randn(n, self.latent, generator=generator),
            torch.randint(digits.CLASSES, (n,), generator=generator),
        ]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return maps ``(B, 1, P)`` and latents, with classes also the labels of both."""
        z, fake_labels = draws
        maps = self.maps[indices]
        if not self.classes:
            return maps, z
        return maps, z, self.labels[indices], fake_labels

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the scores of one sample for each validation digit, of the same classes."""
        assert isinstance(model, AdversarialPair)
        samples = draw(model.generator, self.validation_labels, seed=GAN_DIGITS.validation[0])
        scores = compare(
            on_sphere(samples),
            self.validation_labels,
            features=self.validation_features,
            classifier=self.classifier,
        )
        kept = (
            "frechet",
            "confident_fraction",
            "smallest_class_fraction",
            "precision",
            "recall",
            "agreement",
        )
        return {"negative_frechet": -scores["frechet"], **{key: scores[key] for key in kept}}


def as_pictures(images: Tensor) -> Tensor:
    """Return images as pictures of 56 x 56 pixels, which are 3,136, about as many as nside 16 has.

    Arguments:
        images: ``(N, H, H)``.

    Returns:
        pictures ``(N, 1, 56, 56)`` in 0..1.
    """
    images = projection.check_images(images).unsqueeze(1)  # (N, 1, H, H)
    return in_chunks(
        lambda part: F.interpolate(part, (SIDE, SIDE), mode="bilinear"), images, size=1000
    )


class CmbGanTask(AdversarialTask):
    """Skies of the cosmic microwave background, drawn anew for each batch: none is seen twice.

    The score is minus the sum of ``cl_deviation`` and ``ks_distance`` of `compare_skies`.

    Arguments:
        latent: numbers the generator takes.
        size: skies an epoch.
        n_validation: samples to validate on.
        lr_factors: learning rates over the schedule's, of discriminator and generator.
    """

    score = "negative_deviation"

    def __init__(
        self,
        *,
        latent: int,
        size: int,
        n_validation: int,
        lr_factors: Sequence[float] = (2.0, 1.0),
    ):
        super().__init__(lr_factors)
        self.latent = latent
        self.size = size
        self.n_validation = n_validation

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw white noise of n true skies ``(n, 2304)``, and n latents ``(n, Z)``."""
        return [
            torch.randn(n, (LMAX + 1) ** 2, generator=generator),
            torch.randn(n, self.latent, generator=generator),
        ]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return true skies ``(B, 1, P)`` and latents ``(B, Z)``; `indices` do not matter."""
        white, z = draws
        return sky_maps(white), z

    def finalise(self, model: nn.Module) -> None:
        """Measure anew, on the averaged weights, what both networks keep beside weights.

        Fluctuations of the weights cancel in part when weights are averaged. The activations of the
        averaged generator are then weaker than those that batch normalisation has measured, and its
        skies come out 2 % too faint. The singular vectors of spectral normalisation are no longer
        those of the averaged matrices: the discriminator's output may have any scale.
        """
        assert isinstance(model, AdversarialPair)
        rng = torch.Generator().manual_seed(GAN_SKIES.validation[-1])
        device = next(model.parameters()).device
        latents = torch.randn(self.n_validation, latent_size(model.generator), generator=rng)
        update_bn(latents.split(50), model.generator, device)
        model.discriminator.train()
        for maps in true_skies(60, generator=rng).split(2):
            model.discriminator(maps.to(device))  # a power iteration of every weight matrix
        model.discriminator.eval()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return how far generated skies are from the true spectrum and histogram."""
        assert isinstance(model, AdversarialPair)
        scores = compare_skies(model, self.n_validation, seed=GAN_SKIES.validation[0])
        return {
            "negative_deviation": -scores["cl_deviation"] - scores["ks_distance"],
            "cl_deviation": scores["cl_deviation"],
            "ks_distance": scores["ks_distance"],
        }
