"""One training loop for every chapter: progress, history, best by validation, resume, many processes.

Everything random in step s is drawn from generators seeded with (seed, s) alone. So the state to save is small,
a killed run that resumes gives the weights it would have given, bit for bit on the CPU, and a run on several
processes sees the samples a single one would see, each process its share of the batch.

A game of two networks is trained by the same loop: `turns` of the task names the model's children that move one after
another on each batch, each with an optimizer of its own.
"""

import copy
import ctypes
import hashlib
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from skytutor.checkpoint import CheckpointError, load_into, load_tensors, save_tensors
from skytutor.interrupt import CtrlC, Interrupted
from skytutor.schedule import Schedule, Task

__all__ = ["Interrupted", "Result", "keep_memory", "train"]


@dataclass
class Result:
    """History (a row an epoch), the weights best by validation, and where the state lies."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = -1
    seconds: float = 0.0


def _seed(*parts: int | str) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def _generator(*parts: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(*parts))


def keep_memory() -> None:
    """Ask glibc to keep freed memory: large activations otherwise cost a page fault a page at every step."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            for option, value in ((-4, 0), (-1, 2**31 - 1)):  # M_MMAP_MAX, M_TRIM_THRESHOLD
                libc.mallopt(option, value)


class _Run:
    """The state of one training run and what it does to it."""

    def __init__(self, model: nn.Module, task: Task, schedule: Schedule, fabric: Fabric, folder: Path, key: dict[str, Any]):
        self.task, self.schedule, self.fabric, self.key = task, schedule, fabric, key
        self.path, self.raw = Path(folder) / "state.safetensors", model
        self.average = copy.deepcopy(model).to(fabric.device) if schedule.average else None
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        options = {"weight_decay": schedule.weight_decay, **({} if schedule.optimizer == "sgd" else {"betas": (schedule.beta1, schedule.beta2)})}
        self.turns = dict(getattr(task, "turns", {"": 1.0}))  # who moves, and how fast: "" is the whole model
        players = [model.get_submodule(name).parameters() for name in self.turns]
        self.model, *self.optimizers = fabric.setup(model, *(kinds[schedule.optimizer](p, lr=schedule.lr, **options) for p in players))
        self.steps_per_epoch = max(1, task.size // schedule.batch_size)
        self.step, self.loss_sum, self.result = 0, 0.0, Result()

    # One step ------------------------------------------------------------------------------------------------
    def advance(self, order: Tensor) -> float:
        """Take one step; `order` is this epoch's permutation of the samples."""
        schedule, fabric, seed = self.schedule, self.fabric, self.key["seed"]
        at = self.step % self.steps_per_epoch * schedule.batch_size
        indices = order[at : at + schedule.batch_size]
        draws = self.task.draw(len(indices), generator=_generator(seed, "draw", self.step))
        mine = slice(fabric.global_rank, None, fabric.world_size)
        batch = self.task.batch(indices[mine], [d[mine] for d in draws])
        torch.manual_seed(_seed(seed, "dropout", self.step, fabric.global_rank))
        batch = tuple(fabric.to_device(b) for b in batch)
        losses = [self._move(name, pace, optimizer, batch) for (name, pace), optimizer in zip(self.turns.items(), self.optimizers, strict=True)]
        self.step += 1
        self._follow()
        return sum(losses)

    def _move(self, name: str, pace: float, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, ...]) -> float:
        """One player's step; returns its loss."""
        for group in optimizer.param_groups:
            group["lr"] = pace * self.schedule.rate_at(self.step, self.steps_per_epoch)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=self.schedule.autocast):
            loss = self.task.loss(self.model, batch, *([name] if name else []))
        self.fabric.backward(loss)
        optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights; early on they follow faster, so that the start is forgotten."""
        if self.average is None:
            return
        keep = min(self.schedule.average, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.average.state_dict().values(), self.raw.state_dict().values(), strict=True):
            mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)

    # One epoch -----------------------------------------------------------------------------------------------
    def finish_epoch(self, seconds: float) -> dict[str, float]:
        """Validate, append to the history, keep the weights if they are the best so far."""
        epoch = self.step // self.steps_per_epoch
        # Every process saw its share of each batch: the epoch's loss is their mean.
        total = float(self.fabric.all_reduce(torch.tensor(self.loss_sum, dtype=torch.float64), reduce_op="mean"))
        loss = total / self.steps_per_epoch
        self._check_finite(epoch, {"train_loss": loss})
        judged = self.average if self.average is not None else self.raw
        judged.eval()
        with torch.no_grad():
            scores = self.task.validate(judged)
        judged.train()
        row = {"epoch": epoch, "train_loss": loss, **scores, "seconds": seconds}
        self._check_finite(epoch, row)
        result = self.result
        if result.best_epoch < 0 or scores[self.task.score] > result.history[result.best_epoch - 1][self.task.score]:
            result.best_epoch = epoch
            result.best = {k: v.detach().cpu().clone() for k, v in judged.state_dict().items()}
        result.history.append(row)
        self.loss_sum = 0.0
        return row

    @staticmethod
    def _check_finite(epoch: int, row: dict[str, float]) -> None:
        if not all(math.isfinite(v) for v in row.values()):
            raise FloatingPointError(f"training diverged in epoch {epoch}: {row}; try a lower lr")

    # State ---------------------------------------------------------------------------------------------------
    def save(self) -> None:
        """Write everything a resumed run needs into one file, atomically; rank 0 alone."""
        if self.fabric.global_rank:
            return
        tensors = {f"model.{k}": v for k, v in self.raw.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.result.best.items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for p, optimizer in enumerate(self.optimizers):
            for i, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{p}.{i}.{k}": torch.as_tensor(v) for k, v in slots.items()}
        card = {"recipe": self.key["recipe"], "key": self.key, "step": self.step, "loss_sum": self.loss_sum}
        card |= {"history": self.result.history, "best_epoch": self.result.best_epoch, "seconds": self.result.seconds}
        save_tensors(self.path, tensors, card=card)

    def restore(self) -> None:
        """Go on from the saved state; it must come from the same recipe, seed and schedule."""
        tensors, card = load_tensors(self.path, recipe=self.key["recipe"])
        differ = [k for k in self.key if card.get("key", {}).get(k) != self.key[k]]
        if differ:
            raise CheckpointError(f"{self.path} was made with another {', '.join(differ)}; remove it or train elsewhere")
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "average": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        load_into(self.raw, groups["model"], path=self.path)
        if self.average is not None:
            load_into(self.average, groups["average"], path=self.path)
        slots: list[dict[int, dict[str, Tensor]]] = [{} for _ in self.optimizers]
        for name, tensor in groups["optimizer"].items():
            p, i, slot = name.split(".", 2)
            slots[int(p)].setdefault(int(i), {})[slot] = tensor
        for optimizer, state in zip(self.optimizers, slots, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self.step, self.loss_sum = card["step"], card["loss_sum"]
        self.result = Result(card["history"], groups["best"], card["best_epoch"], card["seconds"])


def train(
    model: nn.Module, task: Task, *, schedule: Schedule, folder: Path, seed: int = 0, recipe: str = "",
    fabric: Fabric | None = None, resume: bool = False, progress: bool = True,
) -> Result:  # fmt: skip
    """Train `model` on `task` and return the history and the weights best by validation.

    Arguments:
        folder: where ``state.safetensors`` is kept; it is overwritten unless `resume`.
        fabric: devices and processes; default one process on the CPU.
        resume: go on from the state in `folder` if there is one, else start.

    Raises:
        ValueError: fewer samples than one batch.
        CheckpointError: the state cannot be written, or is not this run's.
        FloatingPointError: loss or score is no longer finite.
        Interrupted: Ctrl-C; the state was saved first.
    """
    if task.size < schedule.batch_size:
        raise ValueError(f"batch_size {schedule.batch_size} is larger than the training set of {task.size}")
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    if schedule.batch_size % fabric.world_size:
        raise ValueError(f"batch_size {schedule.batch_size} must be divisible by the {fabric.world_size} processes")
    if len(getattr(task, "turns", ())) > 1 and fabric.world_size > 1:
        raise ValueError(f"devices must be 1: networks that play against each other are trained by one process, got {fabric.world_size}")
    keep_memory()
    key = {"recipe": recipe, "seed": seed, "world_size": fabric.world_size, "schedule": asdict(schedule)}
    run = _Run(model, task, schedule, fabric, Path(folder), key)
    if resume and run.path.exists():
        run.restore()
    else:
        run.save()  # a folder that cannot be written to is better known before the first epoch than after it
    with CtrlC() as stop:
        _loop(run, stop, progress=progress and fabric.global_rank == 0)
    return run.result


def _stop(run: _Run) -> None:
    run.save()
    raise Interrupted(
        f"stopped after step {run.step} of {run.schedule.epochs * run.steps_per_epoch}; the state is in {run.path}, "
        "the same command with --resume goes on"
    )


def _loop(run: _Run, stop: CtrlC, *, progress: bool) -> None:
    steps, schedule, saved = run.steps_per_epoch, run.schedule, time.monotonic()
    start, before = time.monotonic(), run.result.seconds
    bar = tqdm(total=schedule.epochs * steps, initial=run.step, disable=not progress, unit="step", mininterval=1.0)
    with bar:
        while run.step < schedule.epochs * steps:
            epoch, began = run.step // steps, time.monotonic()
            order = torch.randperm(run.task.size, generator=_generator(run.key["seed"], "order", epoch))
            run.model.train()
            while run.step < (epoch + 1) * steps:
                run.loss_sum += run.advance(order)
                bar.update()
                if run.step % steps and stop.agreed(run.fabric):
                    _stop(run)
                if time.monotonic() - saved > schedule.save_every_s and run.step % steps:
                    run.result.seconds, saved = before + time.monotonic() - start, time.monotonic()
                    run.save()
            row = run.finish_epoch(time.monotonic() - began)
            run.result.seconds = before + time.monotonic() - start
            run.save()
            if run.step < schedule.epochs * steps and stop.agreed(run.fabric):
                _stop(run)
            bar.set_postfix({k: f"{v:.4f}" for k, v in row.items() if k not in ("epoch", "seconds")})
