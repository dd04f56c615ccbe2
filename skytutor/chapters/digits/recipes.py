"""What chapter 1 trains: the published network, its repairs, and networks that the sky may turn."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from skytutor.chapters.digits.invariant import InvariantNet
from skytutor.chapters.digits.networks import HaloNet, RingNet
from skytutor.chapters.digits.published import PublishedConv1d
from skytutor.chapters.digits.question import digit_question
from skytutor.chapters.digits.scores import score
from skytutor.chapters.digits.task import DigitsTask
from skytutor.chapters.question import Question
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import DIGITS as SEEDS
from skytutor.data import digits
from skytutor.data.projection import SphereProjection
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

FIXED = SphereProjection(nside=8, affine_std=0.08, shift_std=0.04, in_plane_rotation_std_deg=7.0)
# Large, so that Nside 16 resolves it. Training images are not shifted: their centre is part of what
# the map shows.
ROTATED = SphereProjection(nside=16, rotated=True, size_deg=300.0, affine_std=0.1, elastic_std=0.03)
UPRIGHT = replace(ROTATED, rotated=False)
AS_PUBLISHED = SphereProjection(nside=8, scatter=True)
NO_HOLES = SphereProjection(nside=8)

# How digits lie on the sphere, for the cards.
_LYING = {
    "holes": "upright about longitude 0 on the equator, each image pixel in one pixel: with holes",
    "upright": "upright about longitude 0 on the equator, white on black",
    "turned": "over most of the sphere, at any rotation, white on black",
}


def _question(projection: SphereProjection, *, softmax: bool) -> Question:
    spans = "upright"
    if projection.rotated:
        spans = "turned"
    if projection.scatter:
        spans = "holes"
    return digit_question(projection, spans=spans, words=_LYING[spans], softmax=softmax)


def _recipe(
    name: str,
    *,
    projection: SphereProjection,
    build: Callable[[], nn.Module],
    full: Schedule,
    small: Schedule,
    max_images: int,
    published: Mapping[str, float],
    smoothing: float = 0.0,
    test_projection: SphereProjection | None = None,
    softmax: bool = False,
) -> Recipe:
    """Return a recipe; its full study needs MNIST, "cpu" and "smoke" take the digits that are here.

    `max_images` is the number of training images at "cpu". `test_projection` is that of the test
    digits where it is not the training's; `softmax` says whether the network ends in one.
    """
    read = test_projection or projection

    def task(profile: Profile) -> DigitsTask:
        return DigitsTask(
            projection,
            source=profile.pick(smoke="auto", cpu="auto", gpu="mnist"),
            max_images=profile.pick(smoke=max_images // 4, cpu=max_images, gpu=None),
            smoothing=smoothing,
        )

    def score_recipe(
        model: nn.Module, *, seed: int, size: int | None, source: str | None = None
    ) -> Scores:
        data = digits.load(source or "mnist")
        seed = SEEDS.test_seed(seed)
        return score(read, model, data, seed=seed, size=size)

    return Recipe(
        name=name,
        build=build,
        task=task,
        published=published,
        schedules={"smoke": replace(small, epochs=2), "cpu": small, "gpu": full},
        seeds=SEEDS,
        score=score_recipe,
        question=_question(read, softmax=softmax),
    )


_CONV1D = {"jibanCat 2018, PyTorch": 0.9733, "jibanCat 2018, Keras": 0.9807}
_ANY_ROTATION = {"Krachmalnicoff & Tomasi 2019": 0.95, "Cobb et al. 2021, higher resolution": 0.993}


def _published(name: str, *, projection: SphereProjection, softmax: bool) -> Recipe:
    return _recipe(
        name,
        projection=projection,
        build=lambda: PublishedConv1d(softmax=softmax),
        # Published: 100 epochs, the rate divided by ten every ten. After 40 it is 1e-7 and nothing
        # moves any more.
        full=Schedule(
            epochs=40, batch_size=32, lr=1e-3, optimizer="adam", rate="steps", step_epochs=10
        ),
        small=Schedule(epochs=10, batch_size=64, lr=2e-3, optimizer="adam", rate="one-cycle"),
        max_images=16384,
        published=_CONV1D,
        softmax=softmax,
    )


def fixed_network() -> HaloNet:
    """Return the network of `digits-fixed`: nside 8, two levels above it, read pixel by pixel."""
    return HaloNet(8, stem=32, widths=(64, 128), depths=(1, 1), head="flat", dropout=0.3)


def rotated_network() -> RingNet:
    """Return the network of `digits-rotated`: nside 16, resampled in rings around the centre."""
    return RingNet(
        16,
        rings=24,
        columns=64,
        reach_deg=170,
        widths=(32, 64, 128),
        depths=(1, 2, 2),
        last=256,
        dropout=0.4,
    )


def invariant_network() -> InvariantNet:
    """Return the network of `digits-invariant`: four blocks in harmonic space, weights on l."""
    levels = ((8, 16, 24, 8), (8, 16, 48, 8), (4, 8, 96, 16), (4, 8, 96, 16))
    return InvariantNet(16, levels=levels, last=128, dropout=0.3)


RECIPES = (
    _published(
        "digits-published",
        projection=AS_PUBLISHED,
        softmax=True,
    ),
    _published(
        "digits-logits",
        projection=AS_PUBLISHED,
        softmax=False,
    ),
    _published(
        "digits-mended",
        projection=NO_HOLES,
        softmax=False,
    ),
    _recipe(
        "digits-fixed",
        projection=FIXED,
        build=fixed_network,
        full=Schedule(epochs=12, batch_size=64, lr=3e-3, weight_decay=0.02, average=0.999),
        small=Schedule(epochs=6, batch_size=64, lr=3e-3, weight_decay=0.02, average=0.98),
        max_images=8192,
        smoothing=0.05,
        published=_CONV1D,
    ),
    _recipe(
        "digits-rotated",
        projection=ROTATED,
        build=rotated_network,
        full=Schedule(
            epochs=24, batch_size=64, lr=3e-3, weight_decay=0.05, average=0.999, autocast=True
        ),
        small=Schedule(epochs=4, batch_size=64, lr=3e-3, weight_decay=0.02, average=0.98),
        max_images=8192,
        smoothing=0.05,
        published=_ANY_ROTATION,
    ),
    _recipe(
        "digits-invariant",
        projection=UPRIGHT,
        build=invariant_network,
        full=Schedule(epochs=10, batch_size=64, lr=4e-3, weight_decay=0.02, average=0.999),
        small=Schedule(epochs=3, batch_size=64, lr=4e-3, weight_decay=0.02, average=0.98),
        max_images=8192,
        smoothing=0.05,
        published=_ANY_ROTATION,
        test_projection=ROTATED,
    ),
)
