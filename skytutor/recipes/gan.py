"""Chapter 2: digits and skies drawn by two networks that play against each other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.data import digits
from skytutor.models.game import TURNS, Game
from skytutor.models.gan import HaloDiscriminator, HaloGenerator, PlanarDiscriminator, PlanarGenerator
from skytutor.models.gan_published import PublishedDiscriminator, PublishedGenerator
from skytutor.profile import Profile
from skytutor.recipes.base import Recipe
from skytutor.recipes.gan_scores import (
    NSIDE, band_powers, band_ratios, compare, digit_maps, draw, judge, ks_distance, on_sphere, score_digits,
)  # fmt: skip
from skytutor.schedule import Schedule
from skytutor.sht import RealHarmonics, real_degrees
from skytutor.smoothing import camb_spectra

LATENT, CLASSES, SIDE, LMAX = 64, 10, 56, 3 * NSIDE - 1
_VALIDATION_SEED, _TEST_SEED = 2, 1_000_000


class _GameTask:
    """What every game has in common: who moves, and the loss of a batch of maps, latents and, if told, labels."""

    score = "closeness"

    def __init__(self, paces: Sequence[float]):
        self.turns = dict(zip(TURNS, paces, strict=True))

    def loss(self, game: nn.Module, batch: tuple[Tensor, ...], turn: str) -> Tensor:
        maps, z, *told = batch
        labels, wanted = told or (None, None)
        return game(turn, maps, labels, z, wanted)


class DigitGame(_GameTask):
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
        self, *, latent: int, classes: bool, paces: Sequence[float] = (1.5, 1.0), planar: bool = False, nside: int = NSIDE,
        paint: Callable[..., Tensor] = digit_maps, source: str = "auto", limit: int | None = None, held: int = 2000,
    ):  # fmt: skip
        super().__init__(paces)
        data = digits.load(source)
        self.source, self.latent, self.classes = data.source, latent, classes
        images, self.labels = (part[:limit] for part in data.part("train"))
        self.maps = as_pictures(images) if planar else paint(images, nside=nside)
        self.size, self.judge = len(self.labels), judge(data.source)
        seen, self.seen_labels = (part[:held] for part in data.part("validation"))
        self.seen = self.judge(digit_maps(seen))[0]

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        return [torch.randn(n, self.latent, generator=generator), torch.randint(CLASSES, (n,), generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        z, wanted = draws
        return self.maps[indices], z, *((self.labels[indices], wanted) if self.classes else ())

    def validate(self, game: nn.Module) -> dict[str, float]:
        maps = on_sphere(draw(game.generator, self.seen_labels, seed=_VALIDATION_SEED))
        found = compare(maps, self.seen_labels, self.seen, self.judge)
        kept = ("frechet", "confident_share", "smallest_class_share", "precision", "recall", "agreement")
        return {"closeness": -found["frechet"], **{key: found[key] for key in kept}}


def as_pictures(images: Tensor) -> Tensor:
    """Images ``(N, H, H)`` as pictures ``(N, 1, 56, 56)`` in 0..1: 3,136 pixels, as many as a map of nside 16 but for 64."""
    images = digits.check_images(images).unsqueeze(1)
    return torch.cat([F.interpolate(part, (SIDE, SIDE), mode="bilinear") for part in images.split(1000)])


class SkyGame(_GameTask):
    """Skies of the cosmic microwave background, each drawn when it is needed, so that none is seen twice.

    Arguments:
        latent: numbers the generator takes.
        size: skies an epoch. held: samples to validate on.
    """

    def __init__(self, *, latent: int, size: int, held: int, paces: Sequence[float] = (2.0, 1.0)):
        super().__init__(paces)
        self.latent, self.size, self.held = latent, size, held

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        return [torch.randn(n, (LMAX + 1) ** 2, generator=generator), torch.randn(n, self.latent, generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        white, z = draws
        return sky_maps(white), z

    def validate(self, game: nn.Module) -> dict[str, float]:
        found = compare_skies(game, self.held, seed=_VALIDATION_SEED)
        return {"closeness": -found["cl_deviation"] - found["ks_distance"], **{k: found[k] for k in ("cl_deviation", "ks_distance")}}


@lru_cache(maxsize=1)
def sky_spectrum() -> Tensor:
    """CAMB's C_l of the temperature, l = 0 to 47, none below 2, in units of the variance of a map: ``(48,)`` float64."""
    found = camb_spectra(lmax=LMAX, tau=0.054)["TT"].clone()
    found[:2] = 0
    return found / (found * (2 * torch.arange(LMAX + 1) + 1)).sum() * (4 * torch.pi)


@lru_cache(maxsize=1)
def _synthesis() -> RealHarmonics:
    return RealHarmonics(NSIDE, LMAX, order="nested")


def sky_maps(white: Tensor) -> Tensor:
    """Maps ``(N, 1, P)``, NESTED, of unit variance, of white numbers ``(N, 2304)``."""
    root = sky_spectrum().sqrt().float()[real_degrees(LMAX)[0]]
    return _synthesis().synthesis(white.cpu() * root).unsqueeze(1)


def true_skies(size: int, *, generator: torch.Generator) -> Tensor:
    """`size` skies of `sky_spectrum`, drawn: ``(size, 1, P)``, NESTED."""
    few = torch.arange(size).split(500)
    return torch.cat([sky_maps(torch.randn(len(part), (LMAX + 1) ** 2, generator=generator)) for part in few])


def compare_skies(game: nn.Module, size: int, *, seed: int) -> dict[str, Any]:
    """Band powers of `size` drawn skies over the true ones, and how far their pixels' histogram is from that of true skies."""
    drawn = draw(game.generator, torch.zeros(size), seed=seed)
    dice = torch.Generator().manual_seed(seed + 1)
    true = true_skies(size, generator=dice)
    ratios, own = (band_ratios(band_powers(maps), sky_spectrum()[None, : 2 * NSIDE + 1]) for maps in (drawn, true))
    many = torch.randperm(drawn.numel(), generator=dice)[:1_000_000]
    found = {"cl_deviation": float((ratios - 1).abs().max()), "ks_distance": ks_distance(drawn.flatten()[many], true.flatten()[many])}
    halves = true.flatten()[many].chunk(2)
    return found | {"cl_ratios": ratios.tolist(), "cl_ratios_true": own.tolist(), "ks_true": ks_distance(*halves)}


def score_skies(game: nn.Module, seed: int, size: int | None, source: str | None = None) -> dict[str, Any]:
    """Spectrum and histogram of 10,000 drawn skies."""
    if size is not None and not 100 <= size <= 100_000:
        raise ValueError(f"size must lie in 100..100000 skies, got {size}")
    size = size or 10_000
    return {"size": size, "data": "CMB temperature, drawn", "scores": compare_skies(game, size, seed=_TEST_SEED + seed), "constant": {}}


def digit_game(generator: nn.Module, discriminator: nn.Module, *, calm: bool = True) -> Game:
    """A pair in the original game of logarithms, which is `calm` with R1."""
    return Game(generator, discriminator, kind="logistic", r1=0.2 if calm else 0.0)


def published_game() -> Game:
    """The published pair in the original game."""
    return digit_game(PublishedGenerator(latent=LATENT), PublishedDiscriminator(), calm=False)


def halo_game() -> Game:
    """Ours: halo convolutions, classes, groups, the calm game."""
    return digit_game(HaloGenerator(NSIDE, classes=CLASSES), HaloDiscriminator(NSIDE, classes=CLASSES, group=8))


def fine_game() -> Game:
    """Ours at nside 32: one level more in both networks."""
    judge = HaloDiscriminator(32, widths=(16, 32, 64, 64, 64, 96), classes=CLASSES, group=8)
    return digit_game(HaloGenerator(32, widths=(96, 64, 48, 24, 8), classes=CLASSES), judge)


def planar_game() -> Game:
    """Ours on the plane."""
    return digit_game(PlanarGenerator(classes=CLASSES), PlanarDiscriminator(side=SIDE, classes=CLASSES, group=8))


def sky_game() -> Game:
    """Ours with noise at every scale, maps without bounds, and a judge that does not see where on the sphere it looks."""
    generator = HaloGenerator(NSIDE, latent=64, widths=(64, 48, 32, 16), noise=True, signed=True)
    return Game(generator, HaloDiscriminator(NSIDE, widths=(32, 64, 64, 96, 96, 96), head="pool", group=32, spectral=True))


def _schedules(plan: Schedule) -> dict[str, Schedule]:
    small = replace(plan, epochs=1, batch_size=32, average=0.98, autocast=False)
    return {"smoke": small, "cpu": replace(plan, epochs=2, average=0.99), "gpu": plan}


def _digits(name: str, summary: str, build: Callable[[], Game], plan: Schedule, rivals: dict[str, Recipe], **task: Any) -> Recipe:
    def make(profile: Profile, **changes: Any) -> DigitGame:
        limit, held = profile.pick(smoke=(512, 200), cpu=(8192, 500), gpu=(None, 2000))
        return DigitGame(**{"latent": LATENT, "limit": limit, "held": held, **task, **changes})

    return Recipe(
        name=name, chapter=2, summary=summary, build=build, task=make, schedules=_schedules(plan),
        score=partial(score_digits, rivals), published={},
    )  # fmt: skip


_GAME = Schedule(epochs=10, batch_size=64, lr=4e-4, optimizer="adam", beta1=0.0, beta2=0.99, average=0.999, autocast=True, rate="one-cycle", warmup=0.02)
_ORIGINAL = Schedule(epochs=2, batch_size=64, lr=2e-4, optimizer="adam", beta1=0.5, average=0.99, rate="constant")

PUBLISHED = _digits("sphere-gan-published", "The published DCGAN on HEALPix: base pixels that never meet", published_game, _ORIGINAL, {},
                    classes=False, paces=(1.0, 1.0))  # fmt: skip
PLANAR = _digits("sphere-gan-planar", "The twin of sphere-gan on pictures of 56 x 56", planar_game, _GAME, {},
                 classes=True, planar=True)  # fmt: skip
OURS = _digits("sphere-gan", "Digits drawn on the sphere across its base pixels, by class", halo_game, _GAME,
               {"frechet_published": PUBLISHED, "frechet_planar": PLANAR}, classes=True)  # fmt: skip
FINE = replace(_digits("sphere-gan-nside32", "Ours at nside 32; not shipped: it wants a graphics card", fine_game, _GAME, {},
                       classes=True, nside=32), ships=False)  # fmt: skip


def _sky_task(profile: Profile) -> SkyGame:
    size, held = profile.pick(smoke=(512, 200), cpu=(8192, 500), gpu=(32_000, 2000))
    return SkyGame(latent=sky_game().generator.latent, size=size, held=held)


_SKY = replace(_GAME, epochs=8)
SKIES = Recipe(
    name="sphere-gan-cmb", chapter=2, summary="Skies of the cosmic microwave background, drawn with noise at every scale",
    build=sky_game, task=_sky_task, score=score_skies, published={},
    schedules=_schedules(_SKY),
)  # fmt: skip

GAN = (PUBLISHED, PLANAR, OURS, FINE, SKIES)
