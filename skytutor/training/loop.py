"""One training loop for every chapter: progress, history, best by validation, resume, processes.

Everything random in step s is drawn from generators seeded with (seed, s) alone. So the state to
save is small, a killed run that resumes gives the weights it would have given, bit for bit on the
CPU, and a run on several processes sees the samples a single one would see, each process its part
of the batch.

Adversarial training is done by the same loop: `lr_factors` of the task names the networks that are
trained one after another on each batch, each with an optimizer of its own.
"""

import ctypes
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from tqdm import tqdm

import skytutor
from skytutor.files import CheckpointError, remove_parts
from skytutor.training.interrupt import Interrupted, StopRequest, WorkerLost
from skytutor.training.run import STATE, Result, Run, seeded_generator
from skytutor.training.runfolder import hold, refuse_leftovers
from skytutor.training.schedule import Schedule, Task
from skytutor.validate import as_seed

__all__ = ["check_options", "train", "tune_malloc"]


def tune_malloc() -> None:
    """Ask glibc to keep freed memory.

    Otherwise it gives large activations back to the system, and every step of a training pays for
    them anew, a page fault for each page. On other systems nothing is done.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            for option, value in ((-4, 0), (-1, 2**31 - 1)):  # M_MMAP_MAX, M_TRIM_THRESHOLD
                libc.mallopt(option, value)


def train(
    model: nn.Module,
    task: Task,
    *,
    schedule: Schedule,
    folder: Path,
    seed: int = 0,
    recipe: str = "",
    profile: str = "",
    fabric: Fabric | None = None,
    resume: bool = False,
    overwrite: bool = False,
    supervisor: int | None = None,
    progress: bool = True,
) -> Result:
    """Train `model` on `task` and return the history and the weights best by validation.

    Arguments:
        model: its weights are changed in place, and end as those of the last step.
        task: data, loss and validation score.
        schedule: how long and how fast to train.
        folder: where ``state.safetensors`` is kept. No other process may train there at the same
            time.
        seed: of the order of samples, of what `task` draws for a batch, and of dropout.
        recipe: part of what the state is filed under, besides schedule, data and versions.
        profile: part of it as well.
        fabric: devices and processes; default one process on the CPU.
        resume: go on from the state in `folder` if there is one, else start.
        overwrite: start again where a state lies.
        supervisor: number of the parent process; when that is gone, stop as if asked to.
        progress: draw a progress bar on standard error.

    Raises:
        ValueError: fewer samples than one batch, or both `resume` and `overwrite`.
        CheckpointError: there is a state, and neither `resume` nor `overwrite`; another process
            trains in `folder`; the state cannot be written, is damaged, or is not this run's.
        FloatingPointError: loss or score is no longer finite.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; the state was saved first.
        WorkerLost: another process of this training is gone.
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    seed = as_seed("seed", seed)
    _check_task(task, schedule, fabric, resume=resume, overwrite=overwrite)
    tune_malloc()
    with hold(folder, rank=fabric.global_rank):
        if fabric.global_rank == 0:
            remove_parts(folder, STATE.partition(".")[0])
            if not (resume or overwrite):
                refuse_leftovers([Path(folder) / STATE], what="the state of an earlier training")
        key = _key(task, schedule, fabric, recipe=recipe, profile=profile, seed=seed)
        run = Run(model, task, schedule, fabric, Path(folder), key)
        if resume and run.path.exists():
            run.restore()
        else:
            # a folder that cannot be written to is better known now than after the first epoch
            run.save()
        with StopRequest(supervisor=supervisor) as stop:
            _watched_loop(run, stop, progress=progress and fabric.global_rank == 0)
    return run.result


def _check_task(
    task: Task, schedule: Schedule, fabric: Fabric, *, resume: bool, overwrite: bool
) -> None:
    """Refuse a training set smaller than a batch, and what `check_options` refuses."""
    if task.size < schedule.batch_size:
        raise ValueError(
            f"batch_size {schedule.batch_size} is larger than the training set of {task.size}"
        )
    check_options(
        schedule,
        devices=fabric.world_size,
        adversarial=len(task.lr_factors) > 1,
        resume=resume,
        overwrite=overwrite,
    )


def check_options(
    schedule: Schedule, *, devices: int, adversarial: bool, resume: bool, overwrite: bool
) -> None:
    """Refuse a training that cannot be done with these options, before anything is done for it.

    Arguments:
        schedule: of the training.
        devices: processes that are to share each batch.
        adversarial: whether several networks are trained against each other.
        resume: go on from an earlier state.
        overwrite: start again where an earlier state lies.

    Raises:
        ValueError: both `resume` and `overwrite`, or a number of processes that cannot share a
            batch, or more than one of them for adversarial training.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite exclude each other, got both")
    if schedule.batch_size % devices:
        raise ValueError(
            f"devices must divide the batch_size of {schedule.batch_size}, got {devices}"
        )
    if adversarial and devices > 1:
        raise ValueError(
            "devices must be 1: networks that are trained against each other share one process, "
            f"got {devices}"
        )


def _key(
    task: Task, schedule: Schedule, fabric: Fabric, *, recipe: str, profile: str, seed: int
) -> dict[str, Any]:
    """Return all that decides what the weights will be: a state of another key is refused."""
    return {
        "recipe": recipe,
        "profile": profile,
        "seed": seed,
        "data": task.source,
        "size": task.size,
        "schedule": asdict(schedule),
        "devices": fabric.world_size,
        "device": fabric.device.type,
        "versions": {"skytutor": skytutor.__version__, "torch": torch.__version__},
    }


def _watched_loop(run: Run, stop: StopRequest, *, progress: bool) -> None:
    """Train, and say in one sentence if another process of the training is gone.

    Where processes share the work, the failure of a message between them means just that.
    """
    try:
        _loop(run, stop, progress=progress)
    except RuntimeError as error:
        own = isinstance(error, Interrupted | CheckpointError)
        if own or run.fabric.world_size == 1:
            raise
        raise WorkerLost(
            "a process of this training is gone, or did not answer "
            f"({str(error).splitlines()[0]}); the last state is in {run.path}, "
            "the same command with --resume goes on"
        ) from error


def _loop(run: Run, stop: StopRequest, *, progress: bool) -> None:
    """Take all steps that are left, validate after each epoch, and save from time to time."""
    schedule = run.schedule
    per_epoch = run.steps_per_epoch
    total = schedule.epochs * per_epoch
    saved = time.monotonic()
    bar = tqdm(total=total, initial=run.step, disable=not progress, unit="step", mininterval=1.0)
    with bar:
        while run.step < total:
            epoch = run.step // per_epoch
            # A run that is taken up in mid-epoch finds the same order again.
            rng = seeded_generator(run.key["seed"], "order", epoch)
            order = torch.randperm(run.task.size, generator=rng)
            run.model.train()
            while run.step < (epoch + 1) * per_epoch:
                run.loss_sum += run.advance(order)
                bar.update()
                if run.step % per_epoch == 0:
                    break  # the epoch is validated before anything is saved
                if stop.stop_requested(run.fabric):
                    _stop(run, stop)
                if time.monotonic() - saved > schedule.save_every_s:
                    run.save()
                    saved = time.monotonic()
            row = run.finish_epoch()
            run.save()
            saved = time.monotonic()
            if run.step < total and stop.stop_requested(run.fabric):
                _stop(run, stop)
            shown = {k: f"{v:.4f}" for k, v in row.items() if k not in ("epoch", "seconds")}
            bar.set_postfix(shown)


def _stop(run: Run, stop: StopRequest) -> None:
    """Save the state and leave the loop."""
    run.save()
    total = run.schedule.epochs * run.steps_per_epoch
    # How to go on is said by who called: a command line has an option for it, or always goes on.
    raise Interrupted(
        f"stopped after step {run.step} of {total}; the state is in {run.path}", signum=stop.signum
    )
