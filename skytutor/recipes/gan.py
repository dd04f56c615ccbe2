"""Chapter 2: digits on the sphere from generative adversarial networks.

Shapes: B batch, N images, Z latent, H pixels along the side of an image, P = 12 nside**2 pixels in
NESTED order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.data import digits
from skytutor.models.game import NETWORKS, AdversarialPair
from skytutor.models.gan import (
    HaloDiscriminator,
    HaloGenerator,
    PlanarDiscriminator,
    PlanarGenerator,
)
from skytutor.models.gan_published import PublishedDiscriminator, PublishedGenerator
from skytutor.profile import Profile
from skytutor.recipes.base import Recipe
from skytutor.recipes.gan_scores import (
    NSIDE,
    compare,
    digit_maps,
    draw,
    load_classifier,
    on_sphere,
    score_digits,
)
from skytutor.schedule import Schedule, Task

LATENT = 64
CLASSES = 10
SIDE = 56
# Learning rates over the schedule's, of discriminator and generator. A faster discriminator keeps
# up with the generator in one step each (two time scales: M. Heusel et al. 2017, arXiv:1706.08500).
TWO_RATES = (1.5, 1.0)
EQUAL_RATES = (1.0, 1.0)
_VALIDATION_SEED = 2


class AdversarialTask(Task):
    """Training of an `AdversarialPair`: discriminator and generator step in turn on each batch.

    A batch is real maps and latents and, with classes, the labels of the maps and those that the
    latents' maps are to show.

    Arguments:
        lr_factors: learning rates over the schedule's, of discriminator and generator.
    """

    score = "closeness"

    def __init__(self, lr_factors: Sequence[float]):
        self.lr_factors = dict(zip(NETWORKS, lr_factors, strict=True))

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], network: str) -> Tensor:
        """Return the loss that `network` minimises, a scalar.

        Arguments:
            model: an `AdversarialPair`.
            batch: ``(maps, z)`` or ``(maps, z, labels, fake_labels)``.
            network: "discriminator" or "generator".
        """
        maps, z, *given = batch
        labels, fake_labels = given or (None, None)
        return model(network, maps, labels=labels, z=z, fake_labels=fake_labels)


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
            torch.randint(CLASSES, (n,), generator=generator),
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
        samples = draw(model.generator, self.validation_labels, seed=_VALIDATION_SEED)
        scores = compare(
            on_sphere(samples),
            self.validation_labels,
            features=self.validation_features,
            classifier=self.classifier,
        )
        kept = (
            "frechet",
            "confident_share",
            "smallest_class_share",
            "precision",
            "recall",
            "agreement",
        )
        return {"closeness": -scores["frechet"], **{key: scores[key] for key in kept}}


def as_pictures(images: Tensor) -> Tensor:
    """Return images as pictures of 56 x 56 pixels, which are 3,136, about as many as nside 16 has.

    Arguments:
        images: ``(N, H, H)``.

    Returns:
        pictures ``(N, 1, 56, 56)`` in 0..1.
    """
    images = digits.check_images(images).unsqueeze(1)  # (N, 1, H, H)
    parts = images.split(1000)
    return torch.cat([F.interpolate(part, (SIDE, SIDE), mode="bilinear") for part in parts])


def digit_gan(
    generator: nn.Module, discriminator: nn.Module, *, with_r1: bool = True
) -> AdversarialPair:
    """Return the pair with the logistic loss.

    Arguments:
        generator: as `AdversarialPair` takes it.
        discriminator: as `AdversarialPair` takes it.
        with_r1: with the R1 penalty, else unregularised.
    """
    return AdversarialPair(generator, discriminator, kind="logistic", r1=0.2 if with_r1 else 0.0)


def published_gan() -> AdversarialPair:
    """Return the published networks, unregularised."""
    return digit_gan(PublishedGenerator(latent=LATENT), PublishedDiscriminator(), with_r1=False)


def halo_gan() -> AdversarialPair:
    """Return our networks: halo convolutions, classes, groups, and R1."""
    return digit_gan(
        HaloGenerator(NSIDE, classes=CLASSES), HaloDiscriminator(NSIDE, classes=CLASSES, group=8)
    )


def halo_gan_nside32() -> AdversarialPair:
    """Return our networks at nside 32: one level more in both."""
    discriminator = HaloDiscriminator(32, widths=(16, 32, 64, 64, 64, 96), classes=CLASSES, group=8)
    generator = HaloGenerator(32, widths=(96, 64, 48, 24, 8), classes=CLASSES)
    return digit_gan(generator, discriminator)


def planar_gan() -> AdversarialPair:
    """Return the planar counterpart of `halo_gan`."""
    return digit_gan(
        PlanarGenerator(classes=CLASSES), PlanarDiscriminator(side=SIDE, classes=CLASSES, group=8)
    )


def schedules(full: Schedule) -> dict[str, Schedule]:
    """Return the schedules of a recipe by profile name: the full one, and its short versions.

    Arguments:
        full: that of the full study.
    """
    small = replace(full, epochs=1, batch_size=32, average=0.98, autocast=False)
    return {"smoke": small, "cpu": replace(full, epochs=2, average=0.99), "gpu": full}


def _digits(
    name: str,
    summary: str,
    *,
    build: Callable[[], AdversarialPair],
    schedule: Schedule,
    baselines: Mapping[str, Recipe] | None = None,
    **settings: Any,
) -> Recipe:
    """Return a recipe; `settings` go to `DigitGanTask`, and so do keywords of the recipe's task."""

    def task(profile: Profile, **changes: Any) -> DigitGanTask:
        max_images, n_validation = profile.pick(smoke=(512, 200), cpu=(8192, 500), gpu=(None, 2000))
        sizes = {"latent": LATENT, "max_images": max_images, "n_validation": n_validation}
        return DigitGanTask(**{**sizes, **settings, **changes})

    def score(
        model: nn.Module, seed: int, size: int | None, source: str | None = None
    ) -> dict[str, Any]:
        assert isinstance(model, AdversarialPair)
        return score_digits(model, seed=seed, size=size, source=source, baselines=baselines or {})

    return Recipe(
        name=name,
        chapter=2,
        summary=summary,
        build=build,
        task=task,
        schedules=schedules(schedule),
        score=score,
        published={},
        adversarial=True,
    )


GAN_SCHEDULE = Schedule(
    epochs=10,
    batch_size=64,
    lr=4e-4,
    optimizer="adam",
    # No momentum: the other network changes the loss at every step, and old gradients mislead.
    beta1=0.0,
    beta2=0.99,
    average=0.999,
    autocast=True,
    rate="one-cycle",
    warmup=0.02,
)
_DCGAN_SCHEDULE = Schedule(
    epochs=2, batch_size=64, lr=2e-4, optimizer="adam", beta1=0.5, average=0.99, rate="constant"
)

PUBLISHED = _digits(
    "sphere-gan-published",
    "The published DCGAN on HEALPix: base pixels that never meet",
    build=published_gan,
    schedule=_DCGAN_SCHEDULE,
    classes=False,
    lr_factors=EQUAL_RATES,
)
PLANAR = _digits(
    "sphere-gan-planar",
    "The planar counterpart of sphere-gan, on pictures of 56 x 56",
    build=planar_gan,
    schedule=GAN_SCHEDULE,
    classes=True,
    planar=True,
)
OURS = _digits(
    "sphere-gan",
    "Digits drawn on the sphere across its base pixels, by class",
    build=halo_gan,
    schedule=GAN_SCHEDULE,
    baselines={"frechet_published": PUBLISHED, "frechet_planar": PLANAR},
    classes=True,
)
NSIDE32 = replace(
    _digits(
        "sphere-gan-nside32",
        "Ours at nside 32; no weights come with the package: it needs a GPU",
        build=halo_gan_nside32,
        schedule=GAN_SCHEDULE,
        classes=True,
        nside=32,
    ),
    has_weights=False,
)

GAN = (PUBLISHED, PLANAR, OURS, NSIDE32)
