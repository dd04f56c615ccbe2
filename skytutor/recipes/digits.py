"""Chapter 1: digits on the sphere, at fixed pose and at any rotation."""

import math
from collections.abc import Sequence
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
from skytutor.recipes.base import Recipe
from skytutor.schedule import Schedule

SIZE_DEG = 180.0
_VALIDATION_SEED = (
    4  # the pose of each validation digit is drawn once, so that epochs can be compared
)


@dataclass(frozen=True)
class Sky:
    """How images become maps: nside, pose, projection, and how far training images are bent.

    Attributes:
        rotated: draw each digit's rotation from Haar measure; else it stands upright at longitude
            and latitude 0.
        scatter: the published projection, holes and all.
        size_deg: angle across the image.
        bend: standard deviation of the random linear map of a training image: scale and shear,
            relative.
        shift: standard deviation of its random shift, in half images.
        turn_deg: standard deviation of a small turn of a training image in its own plane.
        ripple: standard deviation of the shifts that bend a training image smoothly, in half
            images.
        centred: lay each digit down with its centre of mass, not its image's centre, in the middle.
            MNIST has them 0.7 pixels apart, always the same way, which tells a network that sees
            both which way is up.
    """

    nside: int
    rotated: bool = False
    scatter: bool = False
    size_deg: float = SIZE_DEG
    bend: float = 0.0
    shift: float = 0.0
    turn_deg: float = 0.0
    ripple: float = 0.0
    centred: bool = False

    def draw_pose(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Rotations ``(n, 3, 3)`` if rotated, else nothing."""
        return [digits.random_rotations(n, generator=generator)] if self.rotated else []

    def draw_warp(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Random affine maps ``(n, 2, 3)`` near the identity: scale, shear, turn and shift."""
        noise = torch.randn(n, 7, generator=generator).clamp(-2, 2)
        linear = torch.eye(2) + self.bend * noise[:, :4].view(n, 2, 2)
        angle = math.radians(self.turn_deg) * noise[:, 4]
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
        return torch.cat([turn @ linear, self.shift * noise[:, 5:].unsqueeze(2)], 2)

    def draw_ripple(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Shifts ``(n, 2, 5, 5)`` of the nodes of an elastic sheet, if there is a ripple, else nothing."""
        return (
            [self.ripple * torch.randn(n, 2, 5, 5, generator=generator).clamp(-2, 2)]
            if self.ripple
            else []
        )

    @cached_property
    def projector(self) -> digits.Projector:
        """Made once: it holds the pixel centres."""
        return digits.Projector(self.nside, size_deg=self.size_deg)

    def paint(
        self,
        images: Tensor,
        pose: Sequence[Tensor] = (),
        warp: Tensor | None = None,
        ripple: Tensor | None = None,
    ) -> Tensor:
        """Maps ``(B, 1, P)``, NESTED, of images ``(B, H, H)``."""
        if self.scatter:
            return digits.project_scatter(images, nside=self.nside)
        if self.centred:
            whole = torch.eye(2, 3).expand(len(images), 2, 3) if warp is None else warp
            warp = torch.cat(
                [whole[:, :, :2], whole[:, :, 2:] + digits.centre_of_mass(images).unsqueeze(2)], 2
            )
        return self.projector(images, rotations=pose[0] if pose else None, warp=warp, ripple=ripple)


@torch.no_grad()
def predict(model: nn.Module, maps: Tensor, *, batch_size: int = 64) -> Tensor:
    """Class scores ``(N, 10)`` of maps ``(N, 1, P)``, on the model's device."""
    device = next(model.parameters()).device
    return torch.cat([model(part.to(device)).cpu() for part in maps.split(batch_size)])


class DigitsTask:
    """Training and validation on digits; a `skytutor.train.Task`."""

    score = "accuracy"

    def __init__(
        self, sky: Sky, *, source: str = "auto", limit: int | None = None, smoothing: float = 0.0
    ):
        data = digits.load(source)
        self.sky = sky
        self.smoothing = smoothing
        self.source = data.source
        self.images, self.labels = (t[:limit] for t in data.part("train"))
        held, self.held_labels = (t[:limit] for t in data.part("validation"))
        self.size = len(self.labels)
        generator = torch.Generator().manual_seed(_VALIDATION_SEED)
        self.held = sky.paint(held, sky.draw_pose(len(held), generator=generator))
        # Nothing random about a map: paint each once.
        fixed = not (sky.rotated or sky.bend or sky.shift or sky.turn_deg or sky.ripple)
        self.maps = torch.cat([sky.paint(i) for i in self.images.split(1000)]) if fixed else None

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        if self.maps is not None:
            return []
        sky = self.sky
        pose = sky.draw_pose(n, generator=generator)
        warp = sky.draw_warp(n, generator=generator)
        return [*pose, warp, *sky.draw_ripple(n, generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        if self.maps is not None:
            return self.maps[indices], self.labels[indices]
        poses = int(self.sky.rotated)
        return self.sky.paint(self.images[indices], draws[:poses], *draws[poses:]), self.labels[
            indices
        ]

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return F.cross_entropy(model(batch[0]).float(), batch[1], label_smoothing=self.smoothing)

    def validate(self, model: nn.Module) -> dict[str, float]:
        out = predict(model, self.held)
        return {
            "loss": float(F.cross_entropy(out, self.held_labels)),
            "accuracy": accuracy(out.argmax(1), self.held_labels),
        }


def answers(sky: Sky, model: nn.Module, images: Tensor, seed: int) -> Tensor:
    """Digits ``(N,)`` that the network reads in images ``(N, H, H)``; the seed draws their rotations."""
    pose = sky.draw_pose(len(images), generator=torch.Generator().manual_seed(seed))
    parts = [slice(k, k + 256) for k in range(0, len(images), 256)]  # a few at a time: memory
    return torch.cat(
        [predict(model, sky.paint(images[k], [p[k] for p in pose])).argmax(1) for k in parts]
    )


def score(
    sky: Sky, model: nn.Module, seed: int, size: int | None, source: str | None = None
) -> dict[str, Any]:
    """Score a network on the test images (MNIST's 10,000 unless `source` says else), or the first `size` of them.

    The seed draws their rotations. If they are rotated, ``centred`` is the score on the same digits
    at the same poses, each laid down by its own centre of mass: without a hint at which way is up.
    """
    source = source or "mnist"
    images, labels = digits.load(source).part("test")
    if size is not None and not 1 <= size <= len(labels):
        raise ValueError(f"size must lie in 1..{len(labels)} (the test split), got {size}")
    images = images[:size]
    labels = labels[:size]
    scores = _compare(answers(sky, model, images, seed), labels)
    if sky.rotated:
        scores["centred"] = _compare(
            answers(replace(sky, centred=True), model, images, seed), labels
        )
    return {
        "size": len(labels),
        "data": f"{source} test",
        "scores": scores,
        "constant": {"accuracy": constant_accuracy(labels)},
    }


def _compare(found: Tensor, labels: Tensor) -> dict[str, Any]:
    right = accuracy(found, labels)
    low, high = wilson_interval(right, len(labels), z=1.96)
    per_class = confusion_matrix(found, labels, classes=10).double()
    recall = (per_class.diagonal() / per_class.sum(1).clamp(min=1)).tolist()
    return {"accuracy": right, "interval95": [low, high], "recall": [round(r, 4) for r in recall]}


def _recipe(
    name: str,
    summary: str,
    sky: Sky,
    build,
    schedule: Schedule,
    *,
    small: Schedule,
    limit: int,
    published,
    smoothing=0.0,
    tested: Sky | None = None,
):
    """The full study needs MNIST; "cpu" and "smoke" take what is here. `tested`: the sky of the test, if another."""

    def task(profile: Profile) -> DigitsTask:
        source = profile.pick(smoke="auto", cpu="auto", gpu="mnist")
        return DigitsTask(
            sky,
            source=source,
            limit=profile.pick(smoke=limit // 4, cpu=limit, gpu=None),
            smoothing=smoothing,
        )

    return Recipe(
        name=name,
        chapter=1,
        summary=summary,
        build=build,
        task=task,
        published=published,
        schedules={"smoke": replace(small, epochs=2), "cpu": small, "gpu": schedule},
        score=lambda model, seed, size, source=None: score(
            tested or sky, model, seed, size, source
        ),
    )


FIXED = Sky(nside=8, bend=0.08, shift=0.04, turn_deg=7.0)
# Large, so that Nside 16 resolves it. Training images are not shifted: their centre is part of what
# the map shows.
ROTATED = Sky(nside=16, rotated=True, size_deg=300.0, bend=0.1, ripple=0.03)
UPRIGHT = replace(ROTATED, rotated=False)
AS_PUBLISHED = Sky(nside=8, scatter=True)
MENDED = Sky(nside=8)

_CONV1D = {"jibanCat 2018, PyTorch": 0.9733, "jibanCat 2018, Keras": 0.9807}
# Published: 100 epochs, the rate divided by ten every ten. After 40 it is 1e-7 and nothing moves
# any more.
_STEPS = Schedule(epochs=40, batch_size=32, lr=1e-3, optimizer="adam", rate="steps", step_epochs=10)
_BRIEF = Schedule(epochs=10, batch_size=64, lr=2e-3, optimizer="adam", rate="one-cycle")


def _published(name: str, summary: str, sky: Sky, softmax: bool) -> Recipe:
    return _recipe(
        name,
        summary,
        sky,
        lambda: PublishedConv1d(softmax=softmax),
        _STEPS,
        small=_BRIEF,
        limit=16384,
        published=_CONV1D,
    )


def fixed_network() -> HaloNet:
    """The network of `digits-fixed`: nside 8, two levels above it, read pixel by pixel."""
    return HaloNet(8, stem=32, widths=(64, 128), depths=(1, 1), head="flat", dropout=0.3)


def rotated_network() -> RingNet:
    """The network of `digits-rotated`: each map at nside 16 seen in rings around its own centre."""
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
    """The network of `digits-invariant`: weights on l alone, four blocks in harmonic space."""
    levels = ((8, 16, 24, 8), (8, 16, 48, 8), (4, 8, 96, 16), (4, 8, 96, 16))
    return InvariantNet(16, levels=levels, last=128, dropout=0.3)


_ANY_POSE = {"Krachmalnicoff & Tomasi 2019": 0.95, "Cobb et al. 2021, higher resolution": 0.993}

DIGITS = (
    _published(
        "digits-published",
        "The published Conv1D network, as it was: holes, softmax in the loss",
        AS_PUBLISHED,
        True,
    ),
    _published(
        "digits-logits",
        "The published network with the softmax taken out of the loss",
        AS_PUBLISHED,
        False,
    ),
    _published(
        "digits-mended",
        "The published network, logits, and digits projected without holes",
        MENDED,
        False,
    ),
    _recipe(
        "digits-fixed",
        "MNIST at fixed pose, Nside 8: a residual network that sees across borders",
        FIXED,
        fixed_network,
        Schedule(epochs=12, batch_size=64, lr=3e-3, weight_decay=0.02, average=0.999),
        small=Schedule(epochs=6, batch_size=64, lr=3e-3, weight_decay=0.02, average=0.98),
        limit=8192,
        smoothing=0.05,
        published=_CONV1D,
    ),
    _recipe(
        "digits-rotated",
        "MNIST at Haar-random rotations, Nside 16, in training and in test",
        ROTATED,
        rotated_network,
        Schedule(
            epochs=24, batch_size=64, lr=3e-3, weight_decay=0.05, average=0.999, autocast=True
        ),
        small=Schedule(epochs=4, batch_size=64, lr=3e-3, weight_decay=0.02, average=0.98),
        limit=8192,
        smoothing=0.05,
        published=_ANY_POSE,
    ),
    _recipe(
        "digits-invariant",
        "MNIST upright in training, at Haar-random rotations in test: convolutions in harmonics",
        UPRIGHT,
        invariant_network,
        Schedule(epochs=10, batch_size=64, lr=4e-3, weight_decay=0.02, average=0.999),
        small=Schedule(epochs=3, batch_size=64, lr=4e-3, weight_decay=0.02, average=0.98),
        limit=8192,
        smoothing=0.05,
        published=_ANY_POSE,
        tested=ROTATED,
    ),
)
