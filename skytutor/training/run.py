"""One training run: networks, optimizers and progress, steps and epochs, the state on disk."""

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

from skytutor.training import state
from skytutor.training.checkpoint import load_into
from skytutor.training.muon import MuonAdamW
from skytutor.training.schedule import Schedule, Task
from skytutor.validate import as_integer

__all__ = ["STATE", "Result", "Run", "seeded_generator"]

STATE = "state.safetensors"  # in the run's folder


@dataclass
class Result:
    """What came of a training.

    Attributes:
        history: a row for each epoch: ``epoch``, ``train_loss``, the scores, ``seconds``.
        best: the weights best by validation, on the CPU.
        best_epoch: the epoch they are of, counted from 1; -1 before the first.
        seconds: that training took, over all interruptions.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = -1
    seconds: float = 0.0


def _seed(*parts: int | str) -> int:
    """Return a number of 63 bits that depends on `parts` alone, on every machine."""
    # NumPy's integers are written otherwise than Python's, and stand for the same seed.
    parts = tuple(p if isinstance(p, str) else as_integer("parts", p) for p in parts)
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def seeded_generator(*parts: int | str) -> torch.Generator:
    """Return a generator whose numbers depend on `parts` alone."""
    return torch.Generator().manual_seed(_seed(*parts))


def _optimizer(module: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return the optimizer that the schedule names, for the weights of `module`."""
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(
            module.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay
        )
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "muon": MuonAdamW}
    return kinds[schedule.optimizer](
        module.parameters(),
        lr=schedule.lr,
        weight_decay=schedule.weight_decay,
        betas=(schedule.beta1, schedule.beta2),
    )


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the parameters of an optimizer, in the order of its state."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


class Run:
    """One training run: what it has reached, and how it goes on from there.

    Arguments:
        model: to be trained, in place.
        task: data, loss and validation score.
        schedule: how long and how fast to train.
        fabric: devices and processes.
        folder: where the state is kept.
        key: what the state on disk is filed under; ``seed`` and ``recipe`` are among it.

    Attributes:
        module: the network as it was given; `model` is the same network as Fabric wraps it.
        average: exponential moving average of the weights, or None.
        optimizers: one for each network of the task's `lr_factors`.
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
        self.module = model
        self.average = copy.deepcopy(model).to(fabric.device) if schedule.average else None
        self.lr_factors = dict(task.lr_factors)
        optimizers = [_optimizer(model.get_submodule(name), schedule) for name in self.lr_factors]
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
        """Take one step of every network of the task, and return the sum of their losses.

        Arguments:
            order: ``(size,)``, this epoch's permutation of the samples.
        """
        fabric = self.fabric
        seed = self.key["seed"]
        batch_size = self.schedule.batch_size
        at = self.step % self.steps_per_epoch * batch_size
        indices = order[at : at + batch_size]
        draws = self.task.draw(len(indices), generator=seeded_generator(seed, "draw", self.step))
        # Of each batch every process takes its part: sample r, r + n, r + 2 n, ... of rank r of n.
        mine = slice(fabric.global_rank, None, fabric.world_size)
        batch = self.task.batch(indices[mine], [d[mine] for d in draws])
        # What the layers draw, dropout above all, depends on seed, step and rank alone.
        torch.manual_seed(_seed(seed, "dropout", self.step, fabric.global_rank))
        batch = tuple(fabric.to_device(b) for b in batch)
        losses = []
        for name, optimizer in zip(self.lr_factors, self.optimizers, strict=True):
            losses.append(self._step(name, optimizer, batch))
        self.step += 1
        self._update_ema()
        return sum(losses)

    def _step(
        self, name: str, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, ...]
    ) -> float:
        """Take one optimizer's step and return the loss before it.

        Arguments:
            name: of the child of the model that the optimizer changes; "" is the whole model.
            optimizer: of that child.
            batch: on the device.
        """
        rate = self.schedule.rate_at(self.step, self.steps_per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = self.lr_factors[name] * rate
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            self.fabric.device.type, torch.bfloat16, enabled=self.schedule.autocast
        ):
            # A task with one network need not know which one it is.
            network = [name] if name else []
            loss = self.task.loss(self.model, batch, *network)
        self.fabric.backward(loss)
        optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Update the moving average of the weights: ``mean = decay * mean + (1 - decay) * now``.

        The decay begins at 2/11 and rises to the schedule's, so that the random weights of the
        start do not stay in the average for long.
        """
        if self.average is None:
            return
        decay = min(self.schedule.average, (1 + self.step) / (10 + self.step))
        averaged = self.average.state_dict().values()
        current = self.module.state_dict().values()
        for mean, now in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)  # a counter has no mean

    # One epoch ------------------------------------------------------------------------------------
    def finish_epoch(self) -> dict[str, float]:
        """Complete and validate the model, and keep its weights if they are the best so far.

        Returns:
            the epoch's row, which is also appended to the history.

        Raises:
            FloatingPointError: loss or score is not finite.
        """
        self.tick()
        epoch = self.step // self.steps_per_epoch
        # Every process saw its part of each batch: the epoch's loss is their mean.
        total = torch.tensor(self.loss_sum, dtype=torch.float64)
        mean = self.fabric.all_reduce(total, reduce_op="mean")
        assert isinstance(mean, Tensor)  # of a tensor, all_reduce returns a tensor
        loss = float(mean) / self.steps_per_epoch
        self._check_finite(epoch, {"train_loss": loss})
        evaluated = self.average if self.average is not None else self.module
        evaluated.eval()
        with torch.no_grad():
            self.task.finalise(evaluated)
            scores = self.task.validate(evaluated)
        evaluated.train()
        row = {"epoch": epoch, "train_loss": loss, **scores, "seconds": self.epoch_seconds}
        self._check_finite(epoch, row)
        self._keep_best(evaluated, scores[self.task.score], epoch)
        self.result.history.append(row)
        self.loss_sum = 0.0
        self.tick()
        self.epoch_seconds = 0.0
        return row

    def _keep_best(self, evaluated: nn.Module, score: float, epoch: int) -> None:
        """Keep the weights of `evaluated` if its score is higher than every earlier one."""
        result = self.result
        if result.best_epoch > 0:
            highest = result.history[result.best_epoch - 1][self.task.score]
            if score <= highest:
                return
        result.best_epoch = epoch
        result.best = {k: v.detach().cpu().clone() for k, v in evaluated.state_dict().items()}

    @staticmethod
    def _check_finite(epoch: int, row: dict[str, float]) -> None:
        if not all(math.isfinite(v) for v in row.values()):
            raise FloatingPointError(f"training diverged in epoch {epoch}: {row}; try a lower lr")

    # State ----------------------------------------------------------------------------------------
    def save(self) -> None:
        """Write everything a resumed run needs into one file, atomically; rank 0 alone.

        Raises:
            FloatingPointError: the loss is not finite.
            CheckpointError: the file cannot be written.
        """
        self.tick()
        # A state that cannot lead to anything must not replace one that can.
        self._check_finite(self.step // self.steps_per_epoch + 1, {"train_loss": self.loss_sum})
        if self.fabric.global_rank:
            return
        tensors = {f"model.{k}": v for k, v in self.module.state_dict().items()}
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
            "threads": torch.get_num_threads(),
            "loss_sum": self.loss_sum,
            "epoch_seconds": self.epoch_seconds,
            "history": self.result.history,
            "best_epoch": self.result.best_epoch,
            "seconds": self.result.seconds,
        }
        state.save_state(self.path, tensors, card)

    def restore(self) -> None:
        """Go on from the saved state, if it is whole and this run's own.

        Raises:
            CheckpointError: it is damaged, or another run's; nothing of this run was changed.
        """
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
            self.path, groups, model=self.module, average=self.average, has_best=has_best
        )
        parameters = [_parameters(optimizer) for optimizer in self.optimizers]
        slots = state.check_optimizers(
            self.path,
            groups["optimizer"],
            parameters,
            kind=self.schedule.optimizer,
            step=card["step"],
        )
        # Nothing is changed before everything has been looked at.
        # Sums of floating-point numbers depend on how many threads share them: the run goes on with
        # as many as it began with, so that it ends with the same bytes.
        torch.set_num_threads(card["threads"])
        load_into(self.module, groups["model"], path=self.path)
        if self.average is not None:
            load_into(self.average, groups["average"], path=self.path)
        for optimizer, kept in zip(self.optimizers, slots, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": kept})
        self.step = card["step"]
        self.loss_sum = card["loss_sum"]
        self.epoch_seconds = card["epoch_seconds"]
        self.result = Result(card["history"], groups["best"], card["best_epoch"], card["seconds"])
        self._clock = time.monotonic()
