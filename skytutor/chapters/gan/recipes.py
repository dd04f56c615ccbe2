"""What chapter 2 trains: the published pair, its repair, the planar counterpart, and skies."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from skytutor.chapters.gan.classifier import load_classifier
from skytutor.chapters.gan.networks import (
    HaloDiscriminator,
    HaloGenerator,
    PlanarDiscriminator,
    PlanarGenerator,
)
from skytutor.chapters.gan.published import PublishedDiscriminator, PublishedGenerator
from skytutor.chapters.gan.real_maps import NSIDE
from skytutor.chapters.gan.scores import score_digits, score_skies
from skytutor.chapters.gan.task import EQUAL_RATES, LATENT, SIDE, CmbGanTask, DigitGanTask
from skytutor.chapters.pretrained import load_pretrained
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import GAN_DIGITS, GAN_SKIES
from skytutor.data import digits
from skytutor.data.digits import CLASSES
from skytutor.training.adversarial import AdversarialPair, latent_size
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule


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


def _generator(name: str) -> nn.Module:
    """Return the pretrained generator of another recipe."""
    pair = load_pretrained(name)
    assert isinstance(pair, AdversarialPair)
    return pair.generator


def _digits(
    name: str,
    *,
    build: Callable[[], AdversarialPair],
    schedule: Schedule,
    baselines: Mapping[str, str] | None = None,
    **settings: Any,
) -> Recipe:
    """Return a recipe; `settings` go to `DigitGanTask`, and so do keywords of the recipe's task.

    `baselines` are names of recipes: the Frechet distance of their samples is reported beside, by
    the key of the score.
    """

    def task(profile: Profile, **changes: Any) -> DigitGanTask:
        max_images, n_validation = profile.pick(smoke=(512, 200), cpu=(8192, 500), gpu=(None, 2000))
        sizes = {"latent": LATENT, "max_images": max_images, "n_validation": n_validation}
        return DigitGanTask(**{**sizes, **settings, **changes})

    def score(
        model: nn.Module, *, seed: int, size: int | None, source: str | None = None
    ) -> Scores:
        assert isinstance(model, AdversarialPair)
        source = source or "mnist"
        return score_digits(
            model,
            digits.load(source),
            seed=GAN_DIGITS.test_seed(seed),
            size=size,
            classifier=load_classifier(source),
            baselines={key: _generator(other) for key, other in (baselines or {}).items()},
        )

    return Recipe(
        name=name,
        build=build,
        task=task,
        schedules=schedules(schedule),
        seeds=GAN_DIGITS,
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
    build=published_gan,
    schedule=_DCGAN_SCHEDULE,
    classes=False,
    lr_factors=EQUAL_RATES,
)
PLANAR = _digits(
    "sphere-gan-planar",
    build=planar_gan,
    schedule=GAN_SCHEDULE,
    classes=True,
    planar=True,
)
OURS = _digits(
    "sphere-gan",
    build=halo_gan,
    schedule=GAN_SCHEDULE,
    baselines={"frechet_published": "sphere-gan-published", "frechet_planar": "sphere-gan-planar"},
    classes=True,
)
NSIDE32 = replace(
    _digits(
        "sphere-gan-nside32",
        build=halo_gan_nside32,
        schedule=GAN_SCHEDULE,
        classes=True,
        nside=32,
    ),
    has_weights=False,
)


def cmb_gan() -> AdversarialPair:
    """Return our networks for skies: noise at every scale, maps without bounds, a pooling head.

    Hinge loss, spectral normalisation and R1. Without R1 the power at large scales oscillates
    during training, now above and now below the truth.
    """
    generator = HaloGenerator(NSIDE, latent=64, widths=(64, 48, 32, 16), noise=True, signed=True)
    discriminator = HaloDiscriminator(
        NSIDE, widths=(32, 64, 64, 96, 96, 96), head="pool", group=32, spectral=True
    )
    return AdversarialPair(generator, discriminator, r1=2.0)


def _cmb_task(profile: Profile) -> CmbGanTask:
    size, n_validation = profile.pick(smoke=(512, 200), cpu=(8192, 500), gpu=(32_000, 2000))
    latent = latent_size(cmb_gan().generator)
    return CmbGanTask(latent=latent, size=size, n_validation=n_validation)


def _score_skies(
    model: nn.Module, *, seed: int, size: int | None, source: str | None = None
) -> Scores:
    # Skies are drawn: there is no source to choose.
    assert isinstance(model, AdversarialPair)
    return score_skies(model, seed=GAN_SKIES.test_seed(seed), size=size)


SKIES = Recipe(
    name="sphere-gan-cmb",
    build=cmb_gan,
    task=_cmb_task,
    seeds=GAN_SKIES,
    score=_score_skies,
    published={},
    adversarial=True,
    schedules=schedules(replace(GAN_SCHEDULE, epochs=6, average=0.998)),
)

RECIPES = (PUBLISHED, PLANAR, OURS, NSIDE32, SKIES)
