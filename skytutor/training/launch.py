"""Training on several devices of this machine: one process for each, watched by their parent.

They find each other through a file, and speak over the loopback interface: no other machine can
listen or join.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from skytutor.training.interrupt import answer_signals

if TYPE_CHECKING:  # torch takes a second: who only asks whether he is a worker need not wait for it
    import torch
    from lightning_fabric import Fabric

__all__ = [
    "LOST",
    "check_number",
    "is_worker",
    "make_fabric",
    "started_by_others",
    "supervise",
    "supervisor",
]

# Set for the workers: the file in which they find each other, and the process that watches them.
MEETING = "SKYTUTOR_MEETING"
SUPERVISOR = "SKYTUTOR_SUPERVISOR"
LOST = 75  # exit status of a worker that lost another one; EX_TEMPFAIL of sysexits.h
_GRACE_S = 10.0  # for the others to end by themselves when one has


def is_worker() -> bool:
    """Tell whether this process was started by `supervise`."""
    return MEETING in os.environ


def started_by_others() -> bool:
    """Tell whether `supervise` or ``fabric run`` (torchrun) started this as one of several."""
    return is_worker() or "TORCHELASTIC_RUN_ID" in os.environ


def check_number(devices: int, device: "torch.device") -> None:
    """Refuse a number of devices that this machine does not have.

    Arguments:
        devices: processes that are to train.
        device: on the CPU each takes a core, else a graphics card.

    Raises:
        ValueError: says how many there are.
    """
    import torch

    cuda = device.type == "cuda"
    cores = os.cpu_count() or 1
    there = torch.cuda.device_count() if cuda else cores
    if not 1 <= devices <= there:
        kind = "CUDA devices" if cuda else "cores"
        raise ValueError(
            f"devices must lie in 1..{there}, the {kind} of this machine, got {devices}"
        )


def supervisor() -> int | None:
    """Return the number of the process that watches this worker; None for a training of its own."""
    return int(os.environ[SUPERVISOR]) if is_worker() else None


def make_fabric(device: "torch.device", *, devices: int) -> "Fabric":
    """Return Fabric for this process: one of `devices` workers, or a training of its own.

    A plain run asks neither Slurm nor another launcher what it is: a variable such as SLURM_NTASKS
    in the environment changes nothing. Processes that ``fabric run`` (torchrun) started stay what
    it made of them.

    Arguments:
        device: its type is that of all processes.
        devices: processes in all.
    """
    import torch
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    strategy = "ddp" if devices > 1 else "auto"
    if not is_worker() and started_by_others():
        return Fabric(accelerator=device.type, devices=devices, strategy=strategy)
    if is_worker():
        # Before Fabric does it: Fabric's own store would listen on every interface.
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=Path(os.environ[MEETING]).as_uri(),
            rank=int(os.environ["LOCAL_RANK"]),
            world_size=devices,
        )
    return Fabric(
        accelerator=device.type,
        devices=devices,
        strategy=strategy,
        plugins=LightningEnvironment(),
    )


def supervise(arguments: Sequence[str], *, devices: int) -> int:
    """Run ``skytutor ARGUMENTS`` in one process a device and return the exit status of the whole.

    When one process is gone, the others cannot go on: they are ended, and one sentence says so.
    Signals that ask for a stop are passed on.

    Arguments:
        arguments: of the command, which is the same for all.
        devices: processes to start.

    Returns:
        0 if all of them ended well, else the status of the first that failed; 1 where it could not
        say itself what went wrong.
    """
    with tempfile.TemporaryDirectory(prefix="skytutor-") as folder:
        workers = [
            _start(arguments, rank=rank, devices=devices, meeting=Path(folder) / "meeting")
            for rank in range(devices)
        ]

        def pass_on(signum: int, frame: FrameType | None) -> None:
            for worker in workers:
                if worker.poll() is None:
                    worker.send_signal(signum)

        with answer_signals(pass_on):
            return _watch(workers)


def _start(arguments: Sequence[str], *, rank: int, devices: int, meeting: Path) -> subprocess.Popen:
    """Start one worker; `meeting` is the file in which all of them find each other."""
    environment = {
        **os.environ,
        MEETING: str(meeting),
        SUPERVISOR: str(os.getpid()),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(devices),
        "NODE_RANK": "0",
    }
    # Gloo would listen on the interface that the machine's name stands for.
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment.setdefault("GLOO_SOCKET_IFNAME", loopback)
    return subprocess.Popen([sys.executable, "-m", "skytutor", *arguments], env=environment)


def _watch(workers: Sequence[subprocess.Popen]) -> int:
    """Wait for all workers; end the rest when one has failed. Return the status of the whole."""
    failed: list[int] = []  # ranks, in the order in which they ended
    deadline = float("inf")
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.1)
        new = [k for k, worker in enumerate(workers) if worker.poll() and k not in failed]
        if new and not failed:
            deadline = time.monotonic() + _GRACE_S
        failed += new
        if time.monotonic() > deadline:
            for worker in workers:
                worker.kill()
    failed += [k for k, worker in enumerate(workers) if worker.returncode and k not in failed]
    return _report(workers, failed) if failed else 0


def _report(workers: Sequence[subprocess.Popen], failed: Sequence[int]) -> int:
    """Say which worker failed first, unless it has done so itself; return its status, or else 1."""
    # A worker that lost another one is not what went wrong.
    first = next((k for k in failed if workers[k].returncode != LOST), failed[0])
    status = workers[first].returncode
    if status in (2, 130, 143, 129):  # it has said why itself
        return status
    how = f"ended with status {status}"
    if status < 0:
        how = f"was killed by {signal.Signals(-status).name}"
    print(
        f"\nskytutor: error: process {first} of {len(workers)} {how}, "
        "so the others were ended too; "
        "the same command with --resume goes on from the last saved state",
        file=sys.stderr,
    )
    return 1
