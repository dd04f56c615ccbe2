"""Cards of studies: what was found, and what made it."""

from pathlib import Path
from typing import Any

from skytutor.training import checkpoint
from skytutor.training.profile import Profile

__all__ = ["write_study"]


def write_study(
    folder: Path, name: str, found: dict[str, Any], *, command: str, profile: Profile
) -> Path:
    """Write a card of what a study found and of what made it; return its path.

    Arguments:
        folder: where the card goes.
        name: of the card.
        found: what JSON can hold.
        command: that repeats the study.
        profile: size, device and seed.
    """
    card = checkpoint.provenance(
        device=profile.device, seed=profile.seed, profile=profile.name, command=command
    )
    path = Path(folder) / f"{name}.json"
    checkpoint.write_card(path, card | found)
    return path
