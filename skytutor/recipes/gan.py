"""Chapter 2: digits drawn by two networks that play against each other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.data import digits
from skytutor.models.game import TURNS, Game
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
    judge,
    on_sphere,
    score_digits,
)
from skytutor.schedule import Schedule

LATENT = 64
CLASSES = 10
SIDE = 56
_VALIDATION_SEED = 2


class GameTask:
    """What every game has in common: who moves, and the loss of a batch of maps, latents and, if told, labels."""

    score = "closeness"

    def __init__(self, paces: Sequence[float]):
        self.turns = dict(zip(TURNS, paces, strict=True))

    def loss(self, game: nn.Module, batch: tuple[Tensor, ...], turn: str) -> Tensor:
        maps, z, *told = batch
        labels, wanted = told or (None, None)
        return game(turn, maps, labels, z, wanted)


class DigitGame(GameTask):
    """Real digits on the sphere, or with `planar` as pictures; validated by the Frechet distance from validation digits.

    Arguments:
        latent: numbers the generator takes.
        classes: whether labels are told to both players.
        planar: pictures of 56 x 56 instead of maps.
        nside: of the maps. paint: lays digits down at it.
        limit: use so many digits.
        held: validation digits, and samples drawn to compare with them.
    """

    def __init__(
        self,
        *,
        latent: int,
        classes: bool,
        paces: Sequence[float] = (1.5, 1.0),
        planar: bool = False,
        nside: int = NSIDE,
        paint: Callable[..., Tensor] = digit_maps,
        source: str = "auto",
        limit: int | None = None,
        held: int = 2000,
    ):
        super().__init__(paces)
        data = digits.load(source)
        self.source = data.source
        self.latent = latent
        self.classes = classes
        images, self.labels = (part[:limit] for part in data.part("train"))
        self.maps = as_pictures(images) if planar else paint(images, nside=nside)
        self.size = len(self.labels)
        self.judge = judge(data.source)
        seen, self.seen_labels = (part[:held] for part in data.part("validation"))
        self.seen = self.judge(digit_maps(seen))[0]

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        return [
            torch.randn(n, self.latent, generator=generator),
            torch.randint(CLASSES, (n,), generator=generator),
        ]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        z, wanted = draws
        return self.maps[indices], z, *((self.labels[indices], wanted) if self.classes else ())

    def validate(self, game: nn.Module) -> dict[str, float]:
        maps = on_sphere(draw(game.generator, self.seen_labels, seed=_VALIDATION_SEED))
        found = compare(maps, self.seen_labels, self.seen, self.judge)
        kept = (
            "frechet",
            "confident_share",
            "smallest_class_share",
            "precision",
            "recall",
            "agreement",
        )
        return {"closeness": -found["frechet"], **{key: found[key] for key in kept}}


def as_pictures(images: Tensor) -> Tensor:
    """Images ``(N, H, H)`` as pictures ``(N, 1, 56, 56)`` in 0..1: 3,136 pixels, as many as a map of nside 16 but for 64."""
    images = digits.check_images(images).unsqueeze(1)
    return torch.cat(
        [F.interpolate(part, (SIDE, SIDE), mode="bilinear") for part in images.split(1000)]
    )


def digit_game(generator: nn.Module, discriminator: nn.Module, *, calm: bool = True) -> Game:
    """A pair in the original game of logarithms, which is `calm` with R1."""
    return Game(generator, discriminator, kind="logistic", r1=0.2 if calm else 0.0)


def published_game() -> Game:
    """The published pair in the original game."""
    return digit_game(PublishedGenerator(latent=LATENT), PublishedDiscriminator(), calm=False)


def halo_game() -> Game:
    """Ours: halo convolutions, classes, groups, the calm game."""
    return digit_game(
        HaloGenerator(NSIDE, classes=CLASSES), HaloDiscriminator(NSIDE, classes=CLASSES, group=8)
    )


def fine_game() -> Game:
    """Ours at nside 32: one level more in both networks."""
    judge = HaloDiscriminator(32, widths=(16, 32, 64, 64, 64, 96), classes=CLASSES, group=8)
    return digit_game(HaloGenerator(32, widths=(96, 64, 48, 24, 8), classes=CLASSES), judge)


def planar_game() -> Game:
    """Ours on the plane."""
    return digit_game(
        PlanarGenerator(classes=CLASSES), PlanarDiscriminator(side=SIDE, classes=CLASSES, group=8)
    )


def schedules(plan: Schedule) -> dict[str, Schedule]:
    """A game's full plan and its short ones, by profile name."""
    small = replace(plan, epochs=1, batch_size=32, average=0.98, autocast=False)
    return {"smoke": small, "cpu": replace(plan, epochs=2, average=0.99), "gpu": plan}


def _digits(
    name: str,
    summary: str,
    build: Callable[[], Game],
    plan: Schedule,
    rivals: dict[str, Recipe],
    **task: Any,
) -> Recipe:
    def make(profile: Profile, **changes: Any) -> DigitGame:
        limit, held = profile.pick(smoke=(512, 200), cpu=(8192, 500), gpu=(None, 2000))
        return DigitGame(**{"latent": LATENT, "limit": limit, "held": held, **task, **changes})

    return Recipe(
        name=name,
        chapter=2,
        summary=summary,
        build=build,
        task=make,
        schedules=schedules(plan),
        score=partial(score_digits, rivals),
        published={},
        adversarial=True,
    )


GAME = Schedule(
    epochs=10,
    batch_size=64,
    lr=4e-4,
    optimizer="adam",
    beta1=0.0,
    beta2=0.99,
    average=0.999,
    autocast=True,
    rate="one-cycle",
    warmup=0.02,
)
_ORIGINAL = Schedule(
    epochs=2, batch_size=64, lr=2e-4, optimizer="adam", beta1=0.5, average=0.99, rate="constant"
)

PUBLISHED = _digits(
    "sphere-gan-published",
    "The published DCGAN on HEALPix: base pixels that never meet",
    published_game,
    _ORIGINAL,
    {},
    classes=False,
    paces=(1.0, 1.0),
)
PLANAR = _digits(
    "sphere-gan-planar",
    "The twin of sphere-gan on pictures of 56 x 56",
    planar_game,
    GAME,
    {},
    classes=True,
    planar=True,
)
OURS = _digits(
    "sphere-gan",
    "Digits drawn on the sphere across its base pixels, by class",
    halo_game,
    GAME,
    {"frechet_published": PUBLISHED, "frechet_planar": PLANAR},
    classes=True,
)
FINE = replace(
    _digits(
        "sphere-gan-nside32",
        "Ours at nside 32; not shipped: it wants a graphics card",
        fine_game,
        GAME,
        {},
        classes=True,
        nside=32,
    ),
    ships=False,
)

GAN = (PUBLISHED, PLANAR, OURS, FINE)
