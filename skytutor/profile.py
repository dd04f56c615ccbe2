"""Profiles: the same code at three sizes.

``smoke`` is what CI runs, ``cpu`` a laptop or Binder, ``gpu`` the full study. The environment
variable SKYTUTOR_PROFILE chooses; without it a machine with a CUDA device runs ``gpu``, any other
``cpu``.
"""

import os
from dataclasses import dataclass
from typing import TypeVar

import torch

NAMES = ("smoke", "cpu", "gpu")
T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """A profile's name, the device its tensors live on, and the seed of everything random."""

    name: str
    device: torch.device
    seed: int = 0

    def pick(self, *, smoke: T, cpu: T, gpu: T) -> T:
        """Return the value meant for this profile.

        Example:
            >>> Profile("smoke", torch.device("cpu")).pick(smoke=1, cpu=5, gpu=50)
            1
        """
        return {"smoke": smoke, "cpu": cpu, "gpu": gpu}[self.name]

    def __str__(self) -> str:
        return f"profile {self.name}, device {self.device}, seed {self.seed}, torch {torch.__version__}"


def current(name: str | None = None, *, seed: int = 0) -> Profile:
    """The profile called `name`, or the one SKYTUTOR_PROFILE names, or the one that fits this machine.

    "gpu" runs on the CPU where there is no CUDA device: the full study, slowly. "smoke" and "cpu"
    stay on the CPU.

    Raises:
        ValueError: unknown name; lists the known ones.
    """
    cuda = torch.cuda.is_available()
    source = "profile" if name else "SKYTUTOR_PROFILE"
    name = name or os.environ.get("SKYTUTOR_PROFILE") or ("gpu" if cuda else "cpu")
    if name not in NAMES:
        raise ValueError(f"{source} must be one of {', '.join(map(repr, NAMES))}, got {name!r}")
    return Profile(name, torch.device("cuda" if cuda and name == "gpu" else "cpu"), seed)
