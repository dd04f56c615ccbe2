"""What the training loop is told: a task (data, loss, score) and a schedule (how long, how fast)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

OPTIMIZERS = ("adamw", "adam", "sgd")
RATES = ("one-cycle", "steps", "constant")


class Task(Protocol):
    """What the loop asks of a recipe: samples, a loss, and a validation score.

    A task of networks that play against each other has ``turns`` as well: the names of the model's
    children that move one after another on each batch, and each one's learning rate over the
    schedule's. `loss` then gets the name of the one to move as a third argument, and gives what
    that one is to make small.
    """

    size: int  # number of training samples
    score: str  # key of `validate`'s result that chooses the best weights; larger is better

    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw what is random about a batch of n samples (rotations, noise): tensors of n rows."""

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make the samples `indices` with those draws."""

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Mean loss of the batch, a scalar."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Scores on the validation split; `model` is in evaluation mode."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        rate: "one-cycle" rises over `warmup` of the run and falls as a cosine to 0; "steps" falls
            by `step_factor` every `step_epochs`; "constant".
        beta1: decay of Adam's average of the slope; beta2: of the squared slope. "sgd" has neither.
        average: decay of the exponential average of the weights, which is what is validated; 0 for
            none.
        autocast: compute forward pass and loss in bfloat16 where torch holds that to be safe;
            weights stay float32.
        save_every_s: seconds between saved states; the end of an epoch is always saved.
    """

    epochs: int
    batch_size: int
    lr: float
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    rate: str = "one-cycle"
    warmup: float = 0.15
    step_epochs: int = 10
    step_factor: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    average: float = 0.0
    autocast: bool = False
    save_every_s: float = 120.0

    def __post_init__(self) -> None:
        for name, allowed in (("optimizer", OPTIMIZERS), ("rate", RATES)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}"
                )
        for name in ("epochs", "batch_size", "step_epochs"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a positive integer, got {getattr(self, name)!r}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be positive, got {self.lr}")
        for name in ("average", "warmup", "beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        total = self.epochs * steps_per_epoch
        if self.rate == "constant":
            return self.lr
        if self.rate == "steps":
            return self.lr * self.step_factor ** (step // steps_per_epoch // self.step_epochs)
        rise = max(1, round(self.warmup * total))
        if step < rise:
            return self.lr * (step + 1) / rise
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
