"""Chapter 1: digits on the sphere, upright and at any rotation."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.data import digits
from skytutor.metrics import accuracy, confusion_matrix, constant_accuracy, wilson_interval
from skytutor.models.digits import HaloNet, PublishedConv1d, RingNet
from skytutor.models.invariant import InvariantNet
from skytutor.profile import Profile
from skytutor.recipes.base import Recipe, Scores
from skytutor.schedule import Schedule, Task

SIZE_DEG = 180.0
# The rotation of each validation digit is drawn once, so that epochs can be compared.
_VALIDATION_SEED = 4


@dataclass(frozen=True)
class SphereProjection:
    """How images become maps: resolution, rotation, projection and augmentation.

    Attributes:
        nside: of the maps, NESTED.
        rotated: draw each digit's rotation from Haar measure; else it stands upright at longitude
            and latitude 0.
        scatter: use the published projection, holes and all.
        size_deg: angle across the image.
        affine_std: standard deviation of the random linear map of a training image (scale and
            shear), relative.
        shift_std: standard deviation of its random shift, in half images.
        in_plane_rotation_std_deg: standard deviation of its small rotation in its own plane.
        elastic_std: standard deviation of the random shifts of the nodes of an elastic sheet that
            deforms a training image smoothly, in half images.
        centred: lay each digit down with its centre of mass, not its image's centre, in the middle.
            MNIST has them 0.7 pixels apart, always the same way, which tells a network that sees
            both which way is up.
    """

    nside: int
    rotated: bool = False
    scatter: bool = False
    size_deg: float = SIZE_DEG
    affine_std: float = 0.0
    shift_std: float = 0.0
    in_plane_rotation_std_deg: float = 0.0
    elastic_std: float = 0.0
    centred: bool = False

    def draw_rotations(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw rotations: a list of one tensor ``(n, 3, 3)`` if `rotated`, else an empty list."""
        return [digits.random_rotations(n, generator=generator)] if self.rotated else []

    def draw_affine(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw affine maps ``(n, 2, 3)`` near the identity: scale, shear, rotation and shift."""
        # Cut off at two standard deviations: no digit is deformed beyond recognition.
        noise = torch.randn(n, 7, generator=generator).clamp(-2, 2)
        linear = torch.eye(2) + self.affine_std * noise[:, :4].view(n, 2, 2)
        angle = math.radians(self.in_plane_rotation_std_deg) * noise[:, 4]  # (n,)
        rows = [angle.cos(), -angle.sin(), angle.sin(), angle.cos()]
        rotation = torch.stack(rows, 1).view(n, 2, 2)
        shift = self.shift_std * noise[:, 5:].unsqueeze(2)  # (n, 2, 1)
        return torch.cat([rotation @ linear, shift], 2)

    def draw_elastic(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw node shifts: a list of one ``(n, 2, 5, 5)`` if `elastic_std`, else an empty list."""
        if not self.elastic_std:
            return []
        noise = torch.randn(n, 2, 5, 5, generator=generator).clamp(-2, 2)
        return [self.elastic_std * noise]

    @cached_property
    def projector(self) -> digits.Projector:
        """The projector of these settings, made once: it holds the pixel centres."""
        return digits.Projector(self.nside, size_deg=self.size_deg, order="nested")

    def project(
        self,
        images: Tensor,
        rotations: Sequence[Tensor] = (),
        affine: Tensor | None = None,
        elastic: Tensor | None = None,
    ) -> Tensor:
        """Project images ``(B, H, H)`` to maps ``(B, 1, P)``, NESTED.

        Arguments:
            images: as in `skytutor.data.digits.check_images`.
            rotations: as `draw_rotations` gives them: empty, or one tensor ``(B, 3, 3)``.
            affine: ``(B, 2, 3)``, as `draw_affine` gives them.
            elastic: ``(B, 2, K, K)``, shifts of K x K nodes.
        """
        if self.scatter:
            return digits.project_scatter(images, nside=self.nside)
        if self.centred:
            if affine is None:
                affine = torch.eye(2, 3).expand(len(images), 2, 3)
            # The plane's origin is read at the centre of mass, which so comes to lie in the middle.
            shift = affine[:, :, 2:] + digits.centre_of_mass(images).unsqueeze(2)  # (B, 2, 1)
            affine = torch.cat([affine[:, :, :2], shift], 2)
        rotation = rotations[0] if rotations else None
        return self.projector(images, rotations=rotation, affine=affine, elastic=elastic)


@torch.no_grad()
def predict(model: nn.Module, maps: Tensor, *, batch_size: int = 64) -> Tensor:
    """Return class scores ``(N, 10)``, computed on the model's device.

    Arguments:
        model: gives class scores ``(B, 10)`` of maps ``(B, 1, P)``.
        maps: ``(N, 1, P)``, on the CPU.
        batch_size: maps at a time.
    """
    device = next(model.parameters()).device
    return torch.cat([model(part.to(device)).cpu() for part in maps.split(batch_size)])


class DigitsTask(Task):
    """Training and validation on digits.

    Arguments:
        projection: how an image becomes a map.
        source: of the digits, as in `skytutor.data.digits.load`.
        max_images: use at most so many training images, and as many for validation; None for all.
        smoothing: label smoothing of the loss.
    """

    score = "accuracy"

    def __init__(
        self,
        projection: SphereProjection,
        *,
        source: str = "auto",
        max_images: int | None = None,
        smoothing: float = 0.0,
    ):
        data = digits.load(source)
        self.projection = projection
        self.smoothing = smoothing
        self.source = data.source
        self.images, self.labels = (t[:max_images] for t in data.part("train"))
        images, self.validation_labels = (t[:max_images] for t in data.part("validation"))
        self.size = len(self.labels)
        generator = torch.Generator().manual_seed(_VALIDATION_SEED)
        rotations = projection.draw_rotations(len(images), generator=generator)
        self.validation_maps = projection.project(images, rotations)
        augmented = projection.affine_std or projection.shift_std or projection.elastic_std
        self.maps: Tensor | None = None
        if not (projection.rotated or augmented or projection.in_plane_rotation_std_deg):
            # Nothing random about a map: project each image once.
            self.maps = torch.cat([projection.project(i) for i in self.images.split(1000)])

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw rotations, affine maps and elastic shifts of n images, each where there is one."""
        if self.maps is not None:
            return []
        rotations = self.projection.draw_rotations(n, generator=generator)
        affine = self.projection.draw_affine(n, generator=generator)
        return [*rotations, affine, *self.projection.draw_elastic(n, generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return maps ``(B, 1, P)`` and labels ``(B,)`` of the training images `indices`."""
        if self.maps is not None:
            return self.maps[indices], self.labels[indices]
        # `draws` is what `draw` returned: the first is a rotation if there are rotations.
        n_rotations = int(self.projection.rotated)
        affine = draws[n_rotations]
        elastic = draws[n_rotations + 1] if self.projection.elastic_std else None
        maps = self.projection.project(
            self.images[indices], draws[:n_rotations], affine=affine, elastic=elastic
        )
        return maps, self.labels[indices]

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the cross-entropy of the batch, a scalar, with smoothed labels."""
        maps, labels = batch
        return F.cross_entropy(model(maps).float(), labels, label_smoothing=self.smoothing)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return loss and accuracy on the validation split."""
        scores = predict(model, self.validation_maps)
        return {
            "loss": float(F.cross_entropy(scores, self.validation_labels)),
            "accuracy": accuracy(scores.argmax(1), self.validation_labels),
        }


def predict_digits(
    projection: SphereProjection, model: nn.Module, images: Tensor, seed: int
) -> Tensor:
    """Return the digits ``(N,)`` that a network reads in images.

    Arguments:
        projection: how an image becomes a map.
        model: as in `predict`.
        images: ``(N, H, H)``.
        seed: draws their rotations, if `projection` has rotations.
    """
    generator = torch.Generator().manual_seed(seed)
    rotations = projection.draw_rotations(len(images), generator=generator)
    predicted = []
    for start in range(0, len(images), 256):  # a part at a time bounds the memory
        part = slice(start, start + 256)
        maps = projection.project(images[part], [r[part] for r in rotations])
        predicted.append(predict(model, maps).argmax(1))
    return torch.cat(predicted)


def score(
    projection: SphereProjection,
    model: nn.Module,
    *,
    seed: int,
    size: int | None,
    source: str | None = None,
) -> Scores:
    """Score a network on the test split, or on the first `size` of its images.

    If the digits are rotated, ``centred`` is the score on the same digits at the same rotations,
    each laid down by its own centre of mass: without a hint at which way is up.

    Arguments:
        projection: how an image becomes a map.
        model: gives class scores ``(B, 10)`` of maps ``(B, 1, P)``.
        seed: draws the rotations of the test digits.
        size: number of test images, None for all.
        source: of the digits; None for MNIST.

    Raises:
        ValueError: a size outside the test split.
    """
    source = source or "mnist"
    images, labels = digits.load(source).part("test")
    if size is not None and not 1 <= size <= len(labels):
        raise ValueError(f"size must lie in 1..{len(labels)} (the test split), got {size}")
    images = images[:size]
    labels = labels[:size]
    scores = _compare(predict_digits(projection, model, images, seed), labels)
    if projection.rotated:
        centred = replace(projection, centred=True)
        scores["centred"] = _compare(predict_digits(centred, model, images, seed), labels)
    return Scores(
        scores=scores,
        constant={"accuracy": constant_accuracy(labels)},
        size=len(labels),
        data=f"{source} test",
    )


def _compare(predicted: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return accuracy, its 95 % interval and the recall of each class."""
    correct = accuracy(predicted, labels)
    low, high = wilson_interval(correct, len(labels), z=1.96)
    counts = confusion_matrix(predicted, labels, classes=10).double()
    # A class that a small test set lacks has recall 0, not 0/0.
    recall = (counts.diagonal() / counts.sum(1).clamp(min=1)).tolist()
    return {"accuracy": correct, "interval95": [low, high], "recall": [round(r, 4) for r in recall]}


FIXED = SphereProjection(nside=8, affine_std=0.08, shift_std=0.04, in_plane_rotation_std_deg=7.0)
# Large, so that Nside 16 resolves it. Training images are not shifted: their centre is part of what
# the map shows.
ROTATED = SphereProjection(nside=16, rotated=True, size_deg=300.0, affine_std=0.1, elastic_std=0.03)
UPRIGHT = replace(ROTATED, rotated=False)
AS_PUBLISHED = SphereProjection(nside=8, scatter=True)
NO_HOLES = SphereProjection(nside=8)


def _recipe(
    name: str,
    summary: str,
    *,
    projection: SphereProjection,
    build: Callable[[], nn.Module],
    full: Schedule,
    small: Schedule,
    max_images: int,
    published: Mapping[str, float],
    smoothing: float = 0.0,
    test_projection: SphereProjection | None = None,
) -> Recipe:
    """Return a recipe; its full study needs MNIST, "cpu" and "smoke" take the digits that are here.

    `max_images` is the number of training images at "cpu". `test_projection` is that of the test
    digits where it is not the training's.
    """

    def task(profile: Profile) -> DigitsTask:
        return DigitsTask(
            projection,
            source=profile.pick(smoke="auto", cpu="auto", gpu="mnist"),
            max_images=profile.pick(smoke=max_images // 4, cpu=max_images, gpu=None),
            smoothing=smoothing,
        )

    def score_recipe(
        model: nn.Module, seed: int, size: int | None, source: str | None = None
    ) -> Scores:
        return score(test_projection or projection, model, seed=seed, size=size, source=source)

    return Recipe(
        name=name,
        chapter=1,
        summary=summary,
        build=build,
        task=task,
        published=published,
        schedules={"smoke": replace(small, epochs=2), "cpu": small, "gpu": full},
        score=score_recipe,
    )


_CONV1D = {"jibanCat 2018, PyTorch": 0.9733, "jibanCat 2018, Keras": 0.9807}
_ANY_ROTATION = {"Krachmalnicoff & Tomasi 2019": 0.95, "Cobb et al. 2021, higher resolution": 0.993}


def _published(name: str, summary: str, *, projection: SphereProjection, softmax: bool) -> Recipe:
    return _recipe(
        name,
        summary,
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


DIGITS = (
    _published(
        "digits-published",
        "The published Conv1D network, as it was: holes, softmax in the loss",
        projection=AS_PUBLISHED,
        softmax=True,
    ),
    _published(
        "digits-logits",
        "The published network with the softmax taken out of the loss",
        projection=AS_PUBLISHED,
        softmax=False,
    ),
    _published(
        "digits-mended",
        "The published network, logits, and digits projected without holes",
        projection=NO_HOLES,
        softmax=False,
    ),
    _recipe(
        "digits-fixed",
        "MNIST upright, Nside 8: a residual network that sees across borders",
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
        "MNIST at Haar-random rotations, Nside 16, in training and in test",
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
        "MNIST upright in training, at Haar-random rotations in test: convolutions in harmonics",
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
