"""Why the published GAN fails: an ablation study that changes one part at a time.

``skytutor compute ablations`` trains each for 400 steps (about twenty minutes on one core), and
writes what it found to ``sphere-gan-ablations.json``.

Shapes: N images, H pixels along the side of an image, P = 12 nside**2 pixels in NESTED order.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.gan.networks import HaloDiscriminator, HaloGenerator
from skytutor.chapters.gan.published import PublishedDiscriminator, PublishedGenerator
from skytutor.chapters.gan.real_maps import NSIDE, digit_maps
from skytutor.chapters.gan.recipes import OURS, PUBLISHED, digit_gan, halo_gan
from skytutor.chapters.gan.scores import compare, draw, seam_over
from skytutor.chapters.gan.task import EQUAL_RATES, LATENT, TWO_RATES, DigitGanTask
from skytutor.chunks import in_chunks
from skytutor.data import digits
from skytutor.data.projection import project_scatter
from skytutor.training import checkpoint
from skytutor.training.adversarial import AdversarialPair
from skytutor.training.loop import train
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

NAME = "sphere-gan-ablations"
STEPS = 400


def with_holes(images: Tensor, *, nside: int = NSIDE) -> Tensor:
    """Project digits as published: each image pixel is written into the sky pixel that it meets.

    Arguments:
        images: ``(N, H, H)``.
        nside: of the maps.

    Returns:
        maps ``(N, 1, P)``, NESTED, with empty pixels in between.
    """
    return in_chunks(lambda part: project_scatter(part, nside=nside), images, size=500)


@dataclass(frozen=True)
class Ablation:
    """One row of the study.

    Attributes:
        description: what is changed, in words.
        generator: makes the generator.
        discriminator: makes the discriminator.
        regularised: train with R1 and our learning rates, else as published.
        project: projects digits to the sphere.
        classes: train our networks with classes; `generator` and `discriminator` are then not used.
    """

    description: str
    generator: Callable[[], nn.Module] = PublishedGenerator
    discriminator: Callable[[], nn.Module] = PublishedDiscriminator
    regularised: bool = True
    project: Callable[..., Tensor] = digit_maps
    classes: bool = False

    def build(self) -> AdversarialPair:
        """Return both networks, with weights from torch's global generator."""
        if self.classes:
            return halo_gan()
        return digit_gan(self.generator(), self.discriminator(), with_r1=self.regularised)

    def schedule(self) -> Schedule:
        """Return the schedule: a single epoch at a constant learning rate."""
        recipe = OURS if self.regularised else PUBLISHED
        return replace(
            recipe.schedules["gpu"],
            epochs=1,
            average=0.99,
            autocast=False,
            rate="constant",
            warmup=0.0,
        )

    def task(self, *, max_images: int) -> DigitGanTask:
        """Return the data to train on.

        Arguments:
            max_images: use at most so many training digits.
        """
        return DigitGanTask(
            latent=LATENT,
            classes=self.classes,
            lr_factors=TWO_RATES if self.regularised else EQUAL_RATES,
            project=self.project,
            max_images=max_images,
            n_validation=500,
        )


def _halo_generator() -> nn.Module:
    return HaloGenerator(NSIDE)


def _halo_discriminator() -> nn.Module:
    return HaloDiscriminator(NSIDE, group=8)


ABLATIONS = (
    Ablation("as published, holes and all", regularised=False, project=with_holes),
    Ablation("no holes", regularised=False),
    Ablation("no holes, with R1"),
    Ablation("... and base pixels meet", generator=_halo_generator),
    Ablation("... or filters move by a pixel", discriminator=_halo_discriminator),
    Ablation("... or both", generator=_halo_generator, discriminator=_halo_discriminator),
    Ablation(
        "both, unregularised",
        generator=_halo_generator,
        discriminator=_halo_discriminator,
        regularised=False,
    ),
    Ablation("both, with R1 and classes: ours", classes=True),
)


def run(
    ablation: Ablation,
    profile: Profile,
    *,
    folder: Path,
    steps: int = STEPS,
    size: int = 2000,
    progress: bool = True,
) -> dict[str, Any]:
    """Train one ablation and score its samples beside test digits, projected as those of training.

    Arguments:
        ablation: the row of the study.
        profile: seed and name of the run.
        folder: where the state of the training is kept.
        steps: training steps.
        size: number of samples, and of test digits.
        progress: whether to show a progress bar.

    Returns:
        the row: ``description``; the scores of `compare` and the ``seam_ratio``;
        ``losses``, both networks' together; and ``seconds`` of training.

    Raises:
        ValueError: steps that are not positive.
    """
    if steps < 1:
        raise ValueError(f"steps must be positive, got {steps}")
    torch.manual_seed(profile.seed)
    pair = ablation.build()
    schedule = ablation.schedule()
    # As many digits as one epoch of `steps` batches needs, or all there are.
    task = ablation.task(max_images=steps * schedule.batch_size)
    found = train(
        pair,
        task,
        schedule=replace(schedule, batch_size=min(schedule.batch_size, task.size)),
        folder=folder,
        seed=profile.seed,
        recipe=NAME,
        profile=profile.name,
        resume=True,
        progress=progress,
    )
    checkpoint.load_into(pair, found.best)
    scores = _score(pair.eval(), ablation, task, seed=profile.seed, size=size)
    return {
        "description": ablation.description,
        **scores,
        "losses": found.history[-1]["train_loss"],
        "seconds": round(found.seconds, 1),
    }


def _score(
    pair: AdversarialPair, ablation: Ablation, task: DigitGanTask, *, seed: int, size: int
) -> dict[str, float]:
    """Return the scores of `size` samples beside as many test digits."""
    images, labels = (part[:size] for part in digits.load(task.source).part("test"))
    real = ablation.project(images)
    samples = draw(pair.generator, labels, seed=seed)
    features, _ = task.classifier(real)
    scores = compare(samples, labels, features=features, classifier=task.classifier)
    scores["seam_ratio"] = seam_over(samples, real)
    return scores


def load_ablations() -> dict[str, Any]:
    """Return the card of the full study, which comes with the package."""
    return checkpoint.read_card(checkpoint.pretrained_folder() / f"{NAME}.json")


def make(folder: Path, *, command: str) -> Path:
    """Run all ablations and write what they found as a card.

    Arguments:
        folder: where the card goes, and the state of each training.
        command: that repeats this, for the card.

    Returns:
        path of the card.
    """
    profile = Profile("gpu", torch.device("cpu"), 0)
    rows = []
    for k, ablation in enumerate(ABLATIONS):
        row = run(ablation, profile, folder=Path(folder) / f"{NAME}-{k}")
        print(json.dumps(row), flush=True)
        rows.append(row)
    provenance = checkpoint.provenance(device="cpu", seed=0, profile="gpu", command=command)
    path = Path(folder) / f"{NAME}.json"
    checkpoint.write_card(path, {"name": NAME, **provenance, "steps": STEPS, "rows": rows})
    return path
