"""Muon for matrices, AdamW for everything else, as one optimizer.

Muon [1]_ turns the averaged gradient of a weight matrix into the nearest orthogonal matrix before
it steps, so that all directions are learned equally fast. That helps where Adam is slow:
perceptrons whose inputs are strongly correlated, such as magnitudes of one galaxy. Vectors have no
directions of this kind; biases and the like are left to AdamW. Both are torch's own.

.. [1] K. Jordan et al., 2024, kellerjordan.github.io/posts/muon.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["MuonAdamW", "is_matrix"]


def is_matrix(parameter: Tensor) -> bool:
    """Return whether Muon takes care of a parameter: one of two dimensions.

    Arguments:
        parameter: of a network.
    """
    return parameter.ndim == 2


class MuonAdamW(torch.optim.Optimizer):
    """Step matrices with `torch.optim.Muon` and all other parameters with `torch.optim.AdamW`.

    Muon's steps are scaled to the size of AdamW's, so that both take the same learning rate.

    Arguments:
        parameters: of a network.
        lr: learning rate.
        weight_decay: of both.
        betas: of AdamW.

    Raises:
        ValueError: no matrix among the parameters, or nothing but matrices.

    Example:
        >>> layer = torch.nn.Linear(3, 2)
        >>> optimizer = MuonAdamW(layer.parameters(), lr=1e-3)
        >>> [len(group["params"]) for group in optimizer.param_groups]
        [1, 1]
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        parameters = list(parameters)
        matrices = [parameter for parameter in parameters if is_matrix(parameter)]
        rest = [parameter for parameter in parameters if not is_matrix(parameter)]
        if not matrices or not rest:
            raise ValueError(
                "parameters must hold matrices for Muon and others for AdamW, "
                f"got {len(matrices)} matrices and {len(rest)} others"
            )
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(
                matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest, lr=lr, weight_decay=weight_decay, betas=betas),
        )
        groups = [group for part in self._parts for group in part.param_groups]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    # torch leaves the closure to each optimizer; its own are typed as loosely.
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Arguments:
            closure: computes the loss anew, with its gradients; None if that is done.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part, group in zip(self._parts, self.param_groups, strict=True):
            # What was loaded, and the learning rate of a schedule, are this object's.
            part.param_groups = [group]
            part.state = self.state
            part.step()
        return loss
