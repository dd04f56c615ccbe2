"""Posterior mean and covariance of the targets from a table of numbers.

The limits use it on what a catalogue or an oracle knows, and the chapter's own network on what it
has measured: they differ in their numbers, not in what infers from them.
"""

import torch
from torch import Tensor, nn

from skytutor.chapters.spectra.targets import N_TARGETS
from skytutor.layers.gaussian_head import GaussianHead

__all__ = ["PosteriorNetwork"]

_FARTHEST = 6.0  # standard deviations; numbers beyond are set to this


class PosteriorNetwork(nn.Module):
    """Posterior mean and covariance of the targets from a table of numbers: a perceptron.

    Arguments:
        n_features: F.
        width: units of each of the three hidden layers.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, n_features: int, width: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        layers: list[nn.Module] = []
        size = n_features
        for _ in range(3):
            layers += [nn.Linear(size, width), nn.SiLU()]
            size = width
        self.body = nn.Sequential(*layers)
        self.head = GaussianHead(width, N_TARGETS)

    def standardise(self, table: Tensor) -> None:
        """Take the unit of each number from a table.

        Arguments:
            table: ``(N, F)``.
        """
        self.centre.copy_(table.mean(0))
        self.scale.copy_(table.std(0).clamp(min=1e-6))

    def forward(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean ``(B, 9)`` and Cholesky factor ``(B, 9, 9)`` of the posterior.

        Arguments:
            table: ``(B, F)``.
        """
        return self.head(self.features(table))

    def features(self, table: Tensor) -> Tensor:
        """Return what the head sees, ``(B, width)``.

        Arguments:
            table: ``(B, F)``.
        """
        # What lies farther out than any galaxy of the training must not rule the answer.
        return self.body(self.in_units(table).clamp(-_FARTHEST, _FARTHEST))

    def in_units(self, table: Tensor) -> Tensor:
        """Return the numbers of a table in standard deviations from the mean of the training's.

        Arguments:
            table: ``(B, F)``.
        """
        return (table - self.centre) / self.scale
