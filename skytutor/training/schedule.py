"""What the training loop needs: a task (data, loss, score) and a schedule (how long, how fast)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

OPTIMIZERS = ("adamw", "adam", "sgd", "muon")
RATES = ("one-cycle", "steps", "constant")


class Task(ABC):
    """What is trained on: samples, a loss, and a validation score.

    A subclass sets `size` and `score`, and has `draw`, `batch`, `loss` and `validate`. What else
    stands here has a default.

    Attributes:
        size: number of training samples.
        score: key of the result of `validate` that chooses the best weights; larger is better.
        lr_factors: the children of the model that are trained one after another on each batch, each
            by an optimizer of its own, with the factor on the schedule's learning rate. ``""`` is
            the whole model.
        source: name of the data set, part of what a saved state is filed under; None where there is
            no choice of data.

    Example:
        >>> class Doubling(Task):
        ...     size = 8
        ...     score = "minus_error"
        ...
        ...     def draw(self, n, *, generator):
        ...         return [torch.randn(n, 1, generator=generator)]
        ...
        ...     def batch(self, indices, draws):
        ...         return draws[0], 2 * draws[0]
        ...
        ...     def loss(self, model, batch):
        ...         return (model(batch[0]) - batch[1]).square().mean()
        ...
        ...     def validate(self, model):
        ...         return {"minus_error": -float((model(torch.ones(1, 1)) - 2).abs())}
        >>> task = Doubling()
        >>> batch = task.batch(torch.arange(4), task.draw(4, generator=torch.Generator()))
        >>> task.loss(nn.Linear(1, 1), batch).shape, task.source
        (torch.Size([]), None)
    """

    size: int
    score: str
    lr_factors: Mapping[str, float] = {"": 1.0}
    source: str | None = None

    @abstractmethod
    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw what is random about a batch, such as rotations or noise.

        Arguments:
            n: samples in the batch.
            generator: the only source of random numbers here.

        Returns:
            any number of tensors, each with n rows.
        """

    @abstractmethod
    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make a batch of training samples.

        Arguments:
            indices: ``(B,)``, numbers of the samples, each from 0 to ``size - 1``.
            draws: the rows of what `draw` returned that belong to these samples.

        Returns:
            the tensors that `loss` takes.
        """

    # *args: a task that trains several networks takes one argument more than any other.
    @abstractmethod
    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the mean loss of a batch, a scalar.

        Arguments:
            model: in training mode.
            batch: of `batch`, on the model's device.
            args: where `lr_factors` names children of the model, the name of the one whose step it
                is: the loss is then the one that this child minimises. Else nothing.
            kwargs: none.
        """

    def finalise(self, model: nn.Module) -> None:
        """Complete the model before it is validated: a calibration, or the batch statistics.

        It may change the model, and is called at the end of every epoch, without gradients. What it
        changes is part of the weights that are kept.

        Arguments:
            model: the one to be validated, in evaluation mode, in which it is left.
        """
        return  # most models have nothing to complete

    @abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return scores on the validation split; never change the model.

        Arguments:
            model: in evaluation mode, completed by `finalise`; called without gradients.

        Returns:
            numbers by name, `score` among them.
        """


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: passes over the training set.
        batch_size: samples a step, over all processes.
        lr: largest learning rate.
        optimizer: "adamw", "adam", "sgd", or "muon": Muon for matrices and AdamW for the rest.
        weight_decay: as the optimizer of torch takes it.
        rate: "one-cycle" rises over `warmup` of the run and falls as a cosine to 0; "steps" falls
            by `step_factor` every `step_epochs`; "constant".
        warmup: fraction of the steps over which "one-cycle" rises.
        step_epochs: epochs between the falls of "steps".
        step_factor: factor on the rate at each of them.
        beta1: decay of Adam's average of the gradient; "sgd" has none.
        beta2: decay of Adam's average of the squared gradient; "sgd" has none.
        average: decay of the exponential moving average of the weights, which is what is validated;
            0 for none.
        autocast: compute forward pass and loss in bfloat16 where torch holds that to be safe;
            weights stay float32.
        save_every_s: seconds between saved states; the end of an epoch is always saved.

    Raises:
        ValueError: an unknown optimizer or rate, a count that is not a positive integer, a learning
            rate that is not positive, or another number outside 0..1.
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
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}"
                )
        for name in ("epochs", "batch_size", "step_epochs"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be positive, got {self.lr}")
        for name in ("average", "warmup", "beta1", "beta2"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"{name} must lie in 0..1, got {value}")

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of step `step`, counted from 0.

        Arguments:
            step: from the start of the run.
            steps_per_epoch: of the run.

        Example:
            >>> plan = Schedule(epochs=4, batch_size=32, lr=0.1, rate="steps", step_epochs=2)
            >>> [round(plan.rate_at(step, 10), 3) for step in (0, 19, 20, 39)]
            [0.1, 0.1, 0.01, 0.01]
        """
        total = self.epochs * steps_per_epoch
        if self.rate == "constant":
            return self.lr
        if self.rate == "steps":
            falls = step // steps_per_epoch // self.step_epochs
            return self.lr * self.step_factor**falls
        # One cycle: a line up to the peak, then half a cosine down to 0.
        rise = max(1, round(self.warmup * total))
        if step < rise:
            return self.lr * (step + 1) / rise
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
