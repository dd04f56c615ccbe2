"""Profiles: the same code at three sizes.

``smoke`` is what CI runs, ``cpu`` a laptop or Binder, ``gpu`` the full study. The environment
variable SKYTUTOR_PROFILE chooses; without it a machine with a CUDA device runs ``gpu``, any other
``cpu``.

Who asks for the profile also has torch's threads set: see `threads`.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from skytutor.validate import as_seed

__all__ = ["NAMES", "Profile", "cores", "current", "device", "set_threads", "threads"]

NAMES = ("smoke", "cpu", "gpu")
_MANY_CORES = 8  # from here on a second thread is unlikely to wait for a core
_MOST_THREADS = 4  # of use to networks of this size
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
        device = str(self.device)
        if self.device.type == "cpu":
            number = torch.get_num_threads()
            device += f" ({number} thread{'s' if number != 1 else ''})"
        return f"profile {self.name}, device {device}, seed {self.seed}, torch {torch.__version__}"


def current(name: str | None = None, *, seed: int = 0) -> Profile:
    """Return the profile that is asked for, or the one that fits this machine.

    "gpu" runs on the CPU where there is no CUDA device: the full study, slowly. "smoke" and "cpu"
    stay on the CPU. Torch's threads are set as `set_threads` does: call ``torch.set_num_threads``
    afterwards for another number.

    Arguments:
        name: of the profile; else the environment variable SKYTUTOR_PROFILE names it; else it is
            "gpu" on a machine with a CUDA device and "cpu" on any other.
        seed: of everything random.

    Raises:
        ValueError: unknown name; lists those there are. Or a SKYTUTOR_THREADS that is no number.
    """
    chosen = _chosen(name)
    set_threads()
    return Profile(chosen, device(chosen), as_seed("seed", seed))


def _chosen(name: str | None) -> str:
    """Return the name of the profile that is asked for, or of the one that fits this machine."""
    source = "profile" if name else "SKYTUTOR_PROFILE"
    fitting = "gpu" if torch.cuda.is_available() else "cpu"
    name = name or os.environ.get("SKYTUTOR_PROFILE") or fitting
    if name not in NAMES:
        raise ValueError(f"{source} must be one of {', '.join(map(repr, NAMES))}, got {name!r}")
    return name


def device(name: str | None = None) -> torch.device:
    """Return the device of the profile that `current` would return.

    Arguments:
        name: of the profile, as `current` takes it.

    Raises:
        ValueError: unknown name; lists those there are.

    Example:
        >>> device("smoke")
        device(type='cpu')
    """
    cuda = torch.cuda.is_available() and _chosen(name) == "gpu"
    return torch.device("cuda" if cuda else "cpu")


def threads() -> int:
    """Return how many threads torch is to compute with on the CPU.

    Most operations of a network of this size take less than a millisecond. A second thread saves a
    tenth of that on an idle machine of two cores. On a busy one a step takes twenty times as long
    with it, since threads that wait for each other keep their cores from everybody else. So it is
    one thread; on a machine with at least 8 cores half of those that are idle, 4 at most.

    The environment variable SKYTUTOR_THREADS decides where it is set, then OMP_NUM_THREADS;
    ``SKYTUTOR_THREADS=auto`` asks the machine all the same. A training that goes on does so with
    the number it began with.

    Returns:
        the number, at least 1.

    Raises:
        ValueError: SKYTUTOR_THREADS is neither "auto" nor a whole number of at least 1.

    Example:
        >>> 1 <= threads()
        True
    """
    named = os.environ.get("SKYTUTOR_THREADS", "")
    if named not in ("", "auto"):
        if not named.isdecimal() or int(named) < 1:
            raise ValueError(
                f"SKYTUTOR_THREADS must be 'auto' or a whole number of at least 1, got {named!r}"
            )
        return int(named)
    # OpenMP takes a list, one number for each level of nesting, and ignores what it cannot read.
    openmp = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if not named and openmp.isdecimal() and int(openmp) > 0:
        return int(openmp)
    ours = cores()
    if ours < _MANY_CORES or not hasattr(os, "getloadavg"):
        return 1
    # The load is the whole machine's; of the cores that are ours, the same share is taken.
    taken = os.getloadavg()[0] / (os.cpu_count() or ours)
    idle = ours * max(0.0, 1.0 - taken)
    return max(1, min(_MOST_THREADS, int(idle / 2)))


def set_threads() -> int:
    """Let torch compute with as many threads as `threads` says.

    Not done at import: who uses a layer in a program of his own keeps his number.

    Returns:
        the number.
    """
    number = threads()
    torch.set_num_threads(number)
    return number


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may keep busy.

    That is as many as it may run on, or fewer: a container may see all cores of its machine and yet
    be given the time of a few.

    Arguments:
        cgroup: folder in which Linux says how much time that is.

    Returns:
        the number, at least 1; a part of a core does not count.

    Example:
        >>> 1 <= cores() <= os.cpu_count()
        True
    """
    seen = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        seen = len(os.sched_getaffinity(0))
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((cgroup / file).read_text() for file in files).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # no such file, or "max": no limit
            continue
        if quota > 0 and period > 0:
            return max(1, min(seen, quota // period))
    return seen
