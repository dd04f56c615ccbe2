"""Profiles: the same code at three sizes.

``smoke`` is what CI runs, ``cpu`` a laptop or Binder, ``gpu`` the full study. The environment
variable SKYTUTOR_PROFILE chooses; without it a machine with a CUDA device runs ``gpu``, any other
``cpu``.
"""

import os
from dataclasses import dataclass
from typing import TypeVar

import torch

__all__ = ["NAMES", "Profile", "current"]

NAMES = ("smoke", "cpu", "gpu")
T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """A size of study, where it is computed, and with which random numbers.

    Attributes:
        name: "smoke", "cpu" or "gpu".
        device: on which its tensors live.
        seed: of everything random.
    """

    name: str
    device: torch.device
    seed: int = 0

    def pick(self, *, smoke: T, cpu: T, gpu: T) -> T:
        """Return the value meant for this profile.

        Arguments:
            smoke: value for "smoke".
            cpu: value for "cpu".
            gpu: value for "gpu".

        Example:
            >>> Profile("smoke", torch.device("cpu")).pick(smoke=1, cpu=5, gpu=50)
            1
        """
        return {"smoke": smoke, "cpu": cpu, "gpu": gpu}[self.name]

    def __str__(self) -> str:
        place = f"device {self.device}, seed {self.seed}, torch {torch.__version__}"
        return f"profile {self.name}, {place}"


def current(name: str | None = None, *, seed: int = 0) -> Profile:
    """Return the profile that is asked for, or the one that fits this machine.

    "gpu" runs on the CPU where there is no CUDA device: the full study, slowly. "smoke" and "cpu"
    stay on the CPU.

    Arguments:
        name: of the profile; else the environment variable SKYTUTOR_PROFILE names it; else it is
            "gpu" on a machine with a CUDA device and "cpu" on any other.
        seed: of everything random.

    Raises:
        ValueError: unknown name; lists those there are.
    """
    cuda = torch.cuda.is_available()
    source = "profile" if name else "SKYTUTOR_PROFILE"
    fitting = "gpu" if cuda else "cpu"
    name = name or os.environ.get("SKYTUTOR_PROFILE") or fitting
    if name not in NAMES:
        raise ValueError(f"{source} must be one of {', '.join(map(repr, NAMES))}, got {name!r}")
    device = torch.device("cuda" if cuda and name == "gpu" else "cpu")
    return Profile(name, device, seed)
