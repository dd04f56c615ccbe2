"""Muon for matrices, AdamW for everything else, as one optimizer.

Muon [1]_ turns the averaged gradient of a weight matrix into the nearest orthogonal matrix before
it steps, so that all directions are learned equally fast. That helps where Adam is slow:
perceptrons whose inputs are strongly correlated, such as magnitudes of one galaxy. Vectors have no
directions of this kind; biases and the like are left to AdamW.

torch's Muon orthogonalises in bfloat16. A processor without it imitates it, which takes forty times
as long as float32: 3.4 s a step for the networks of chapter 4's limits, on an AMD EPYC of 2021. So
the step is ours, in float32; settings, state and the size of the steps are torch's.

.. [1] K. Jordan et al., 2024, kellerjordan.github.io/posts/muon.
"""

import math
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


def _orthogonalised(matrix: Tensor, *, coefficients: Iterable[float], steps: int) -> Tensor:
    """Return a matrix with the same singular vectors and all singular values near 1.

    Each step maps every singular value s to ``a s + b s^3 + c s^5``.

    Arguments:
        matrix: of any shape.
        coefficients: a, b and c.
        steps: of this iteration, of Newton and Schulz.
    """
    a, b, c = coefficients
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix
    # Singular values must begin between 0 and 1: none is larger than the Frobenius norm.
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        square = wide @ wide.T
        wide = a * wide + torch.addmm(square, square, square, beta=b, alpha=c) @ wide
    return wide.T if len(matrix) > matrix.shape[1] else wide


class _Muon(torch.optim.Muon):
    """torch's Muon, with its step in float32."""

    # torch leaves the closure to each optimizer; its own are typed as loosely.
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; a closure is left to `MuonAdamW`."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._step_one(matrix, matrix.grad, group)

    def _step_one(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"]
        average.lerp_(gradient, 1 - group["momentum"])
        # Nesterov: the average as it will be after one more gradient like this one.
        ahead = gradient.lerp(average, group["momentum"])
        update = _orthogonalised(
            ahead, coefficients=group["ns_coefficients"], steps=group["ns_steps"]
        )
        # Entries of the root mean square that AdamW's steps have.
        size = 0.2 * math.sqrt(max(matrix.shape))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-group["lr"] * size)


class MuonAdamW(torch.optim.Optimizer):
    """Step matrices as `torch.optim.Muon` does and all others with `torch.optim.AdamW`.

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
            _Muon(matrices, lr=lr, weight_decay=weight_decay),
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
