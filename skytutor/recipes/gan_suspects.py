"""Why the published GAN fails: one suspect at a time is taken out, everything else stays, and the result is scored.

``python -m skytutor.recipes.gan_suspects`` trains each for 400 steps (about twenty minutes on one
core), and writes what it found to ``sphere-gan-suspects.json`` among the checkpoints.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skytutor import checkpoint
from skytutor.data import digits
from skytutor.models.game import Game
from skytutor.models.gan import HaloDiscriminator, HaloGenerator
from skytutor.models.gan_published import PublishedDiscriminator, PublishedGenerator
from skytutor.profile import Profile
from skytutor.recipes.base import shipped_folder
from skytutor.recipes.gan import OURS, PUBLISHED, digit_game, halo_game
from skytutor.recipes.gan_scores import NSIDE, compare, digit_maps, draw, judge, seam_over
from skytutor.train import train

NAME = "sphere-gan-suspects"
STEPS = 400


def with_holes(images: Tensor, *, nside: int = NSIDE) -> Tensor:
    """Digits ``(N, H, H)`` written into the pixels they meet, as published: maps ``(N, 1, P)`` with holes."""
    return torch.cat([digits.project_scatter(part, nside=nside) for part in images.split(500)])


@dataclass(frozen=True)
class Suspect:
    """One line of the table: what is changed in words, the networks, whether the game is ours, and how digits are laid down."""

    words: str
    generator: Callable[[], nn.Module] = PublishedGenerator
    discriminator: Callable[[], nn.Module] = PublishedDiscriminator
    cured: bool = True
    paint: Callable[..., Tensor] = digit_maps
    classes: bool = False

    def game(self) -> Game:
        """Both networks, with the original game or with ours."""
        if self.classes:
            return halo_game()
        return digit_game(self.generator(), self.discriminator(), calm=self.cured)


def _ours() -> nn.Module:
    return HaloGenerator(NSIDE)


def _moves() -> nn.Module:
    return HaloDiscriminator(NSIDE, group=8)


SUSPECTS = (
    Suspect("as published, holes and all", cured=False, paint=with_holes),
    Suspect("no holes", cured=False),
    Suspect("no holes, calm game"),
    Suspect("... and base pixels meet", generator=_ours),
    Suspect("... or filters move by a pixel", discriminator=_moves),
    Suspect("... or both", generator=_ours, discriminator=_moves),
    Suspect("both, in the first game", generator=_ours, discriminator=_moves, cured=False),
    Suspect("both, calm game, classes: ours", classes=True),
)


def run(
    suspect: Suspect,
    profile: Profile,
    *,
    folder: Path,
    steps: int = STEPS,
    size: int = 2000,
    progress: bool = True,
) -> dict[str, Any]:
    """Train for `steps` steps and score `size` samples beside as many test digits, laid down the same way.

    Raises:
        ValueError: steps that are not positive.
    """
    if steps < 1:
        raise ValueError(f"steps must be positive, got {steps}")
    torch.manual_seed(profile.seed)
    game = suspect.game()
    rules = OURS if suspect.cured else PUBLISHED
    plan = replace(
        rules.schedules["gpu"], epochs=1, average=0.99, autocast=False, rate="constant", warmup=0.0
    )
    task = rules.task(
        profile,
        classes=suspect.classes,
        paint=suspect.paint,
        limit=steps * plan.batch_size,
        held=500,
    )
    plan = replace(plan, batch_size=min(plan.batch_size, task.size))
    found = train(
        game,
        task,
        schedule=plan,
        folder=folder,
        seed=profile.seed,
        recipe=NAME,
        profile=profile.name,
        resume=True,
        progress=progress,
    )
    checkpoint.load_into(game, found.best)
    images, labels = (part[:size] for part in digits.load(task.source).part("test"))
    true = suspect.paint(images)
    maps = draw(game.eval().generator, labels, seed=profile.seed)
    scores = compare(maps, labels, judge(task.source)(true)[0], judge(task.source))
    scores["seam_ratio"] = seam_over(maps, true)
    return {
        "words": suspect.words,
        **scores,
        "losses": found.history[-1]["train_loss"],
        "seconds": round(found.seconds, 1),
    }


def known() -> dict[str, Any]:
    """What the full study found: the card that comes with the package."""
    return checkpoint.read_card(shipped_folder() / f"{NAME}.json")


def main(folder: Path) -> Path:
    """Run all suspects and write their card."""
    profile = Profile("gpu", torch.device("cpu"), 0)
    rows = []
    for k, suspect in enumerate(SUSPECTS):
        rows.append(run(suspect, profile, folder=Path("runs") / f"{NAME}-{k}"))
        print(json.dumps(rows[-1]), flush=True)
    told = checkpoint.provenance(
        device="cpu", seed=0, profile="gpu", command="python -m skytutor.recipes.gan_suspects"
    )
    path = Path(folder) / f"{NAME}.json"
    checkpoint.write_card(path, {"name": NAME, **told, "steps": STEPS, "rows": rows})
    return path


if __name__ == "__main__":
    print(main(shipped_folder()))
