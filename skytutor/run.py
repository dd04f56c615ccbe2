"""One training run: its networks, optimizers and progress; one step, one epoch, and its state on disk."""

import copy
import hashlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from skytutor import state
from skytutor.checkpoint import load_into
from skytutor.schedule import Schedule, Task

__all__ = ["STATE", "Result", "Run", "seeded_generator"]

STATE = "state.safetensors"  # in the run's folder


@dataclass
class Result:
    """History (a row an epoch), the weights best by validation with their epoch, and the seconds that training took."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = -1
    seconds: float = 0.0


def _seed(*parts: int | str) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def seeded_generator(*parts: int | str) -> torch.Generator:
    """Return a generator whose numbers depend on `parts` alone."""
    return torch.Generator().manual_seed(_seed(*parts))


def _optimizer(module: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return the optimizer that the schedule names, for the weights of `module`."""
    options = {"lr": schedule.lr, "weight_decay": schedule.weight_decay}
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(module.parameters(), **options)
    options["betas"] = (schedule.beta1, schedule.beta2)
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return kinds[schedule.optimizer](module.parameters(), **options)


class Run:
    """The state of one training run and what it does to it.

    Arguments:
        key: what the state on disk is filed under; ``seed`` and ``recipe`` are among it.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        schedule: Schedule,
        fabric: Fabric,
        folder: Path,
        key: dict[str, Any],
    ):
        self.task = task
        self.schedule = schedule
        self.fabric = fabric
        self.key = key
        self.path = Path(folder) / STATE
        self.raw = model
        self.average = copy.deepcopy(model).to(fabric.device) if schedule.average else None
        self.turns = dict(
            getattr(task, "turns", {"": 1.0})
        )  # who moves, and how fast: "" is the whole model
        optimizers = [_optimizer(model.get_submodule(name), schedule) for name in self.turns]
        self.model, *self.optimizers = fabric.setup(model, *optimizers)
        self.steps_per_epoch = max(1, task.size // schedule.batch_size)
        self.step = 0
        self.loss_sum = 0.0
        self.epoch_seconds = 0.0  # since the epoch began, over all interruptions
        self.result = Result()
        self._clock = time.monotonic()

    def tick(self) -> None:
        """Add the time since the last tick to that of the run and of the epoch."""
        now = time.monotonic()
        self.result.seconds += now - self._clock
        self.epoch_seconds += now - self._clock
        self._clock = now

    # One step -------------------------------------------------------------------------------------
    def advance(self, order: Tensor) -> float:
        """Take one step; `order` is this epoch's permutation of the samples."""
        fabric = self.fabric
        seed = self.key["seed"]
        batch_size = self.schedule.batch_size
        at = self.step % self.steps_per_epoch * batch_size
        indices = order[at : at + batch_size]
        draws = self.task.draw(len(indices), generator=seeded_generator(seed, "draw", self.step))
        # Of each batch every process takes its share: sample r, r + n, r + 2 n, ... of rank r of n.
        mine = slice(fabric.global_rank, None, fabric.world_size)
        batch = self.task.batch(indices[mine], [d[mine] for d in draws])
        # What the layers draw, dropout above all, depends on seed, step and rank alone.
        torch.manual_seed(_seed(seed, "dropout", self.step, fabric.global_rank))
        batch = tuple(fabric.to_device(b) for b in batch)
        losses = []
        for (name, pace), optimizer in zip(self.turns.items(), self.optimizers, strict=True):
            losses.append(self._move(name, pace, optimizer, batch))
        self.step += 1
        self._follow()
        return sum(losses)

    def _move(
        self, name: str, pace: float, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, ...]
    ) -> float:
        """One player's step; returns its loss."""
        for group in optimizer.param_groups:
            group["lr"] = pace * self.schedule.rate_at(self.step, self.steps_per_epoch)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            self.fabric.device.type, torch.bfloat16, enabled=self.schedule.autocast
        ):
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
        for mean, now in zip(
            self.average.state_dict().values(), self.raw.state_dict().values(), strict=True
        ):
            mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)

    # One epoch ------------------------------------------------------------------------------------
    def finish_epoch(self) -> dict[str, float]:
        """Validate, append to the history, keep the weights if they are the best so far."""
        self.tick()
        epoch = self.step // self.steps_per_epoch
        # Every process saw its share of each batch: the epoch's loss is their mean.
        total = torch.tensor(self.loss_sum, dtype=torch.float64)
        loss = float(self.fabric.all_reduce(total, reduce_op="mean")) / self.steps_per_epoch
        self._check_finite(epoch, {"train_loss": loss})
        judged = self.average if self.average is not None else self.raw
        judged.eval()
        with torch.no_grad():
            scores = self.task.validate(judged)
        judged.train()
        row = {"epoch": epoch, "train_loss": loss, **scores, "seconds": self.epoch_seconds}
        self._check_finite(epoch, row)
        self._keep_best(judged, scores[self.task.score], epoch)
        self.result.history.append(row)
        self.loss_sum = 0.0
        self.tick()
        self.epoch_seconds = 0.0
        return row

    def _keep_best(self, judged: nn.Module, score: float, epoch: int) -> None:
        result = self.result
        if (
            result.best_epoch > 0
            and score <= result.history[result.best_epoch - 1][self.task.score]
        ):
            return
        result.best_epoch = epoch
        result.best = {k: v.detach().cpu().clone() for k, v in judged.state_dict().items()}

    @staticmethod
    def _check_finite(epoch: int, row: dict[str, float]) -> None:
        if not all(math.isfinite(v) for v in row.values()):
            raise FloatingPointError(f"training diverged in epoch {epoch}: {row}; try a lower lr")

    # State ----------------------------------------------------------------------------------------
    def save(self) -> None:
        """Write everything a resumed run needs into one file, atomically; rank 0 alone."""
        self.tick()
        # A state that cannot lead to anything must not replace one that can.
        self._check_finite(self.step // self.steps_per_epoch + 1, {"train_loss": self.loss_sum})
        if self.fabric.global_rank:
            return
        tensors = {f"model.{k}": v for k, v in self.raw.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.result.best.items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for p, optimizer in enumerate(self.optimizers):
            for i, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{p}.{i}.{k}": torch.as_tensor(v) for k, v in slots.items()}
        card = {
            "recipe": self.key["recipe"],
            "key": self.key,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "epoch_seconds": self.epoch_seconds,
            "history": self.result.history,
            "best_epoch": self.result.best_epoch,
            "seconds": self.result.seconds,
        }
        state.save_state(self.path, tensors, card)

    def restore(self) -> None:
        """Go on from the saved state, if it is whole and this run's own."""
        groups, card = state.load_state(self.path, recipe=self.key["recipe"])
        state.check_key(self.path, card.get("key"), self.key)
        state.check_progress(
            self.path,
            card,
            epochs=self.schedule.epochs,
            per_epoch=self.steps_per_epoch,
            score=self.task.score,
        )
        has_best = card["best_epoch"] > 0
        state.check_tensors(
            self.path, groups, model=self.raw, average=self.average, has_best=has_best
        )
        parameters = [
            [p for group in o.param_groups for p in group["params"]] for o in self.optimizers
        ]
        slots = state.check_optimizers(
            self.path,
            groups["optimizer"],
            parameters,
            kind=self.schedule.optimizer,
            step=card["step"],
        )
        # Nothing is changed before everything has been looked at.
        load_into(self.raw, groups["model"], path=self.path)
        if self.average is not None:
            load_into(self.average, groups["average"], path=self.path)
        for optimizer, kept in zip(self.optimizers, slots, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": kept})
        self.step = card["step"]
        self.loss_sum = card["loss_sum"]
        self.epoch_seconds = card["epoch_seconds"]
        self.result = Result(card["history"], groups["best"], card["best_epoch"], card["seconds"])
        self._clock = time.monotonic()
