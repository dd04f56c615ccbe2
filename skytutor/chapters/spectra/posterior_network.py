"""Posterior mean and covariance of the targets from a table of numbers.

The limits use it on what a catalogue or an oracle knows, and the chapter's own network on what it
has measured: they differ in their numbers, not in what infers from them.
"""

import torch
from torch import Tensor, nn

from skytutor.chapters.spectra.targets import N_TARGETS
from skytutor.layers.gaussian_head import GaussianHead
from skytutor.values import all_finite

__all__ = ["BETA", "PosteriorNetwork"]

# Of `gaussian_loss`. A target that is known ten times as well counts ten times as much as by its
# squared error alone: trainings on a finite table end lower on all of them.
BETA = 0.5
_FARTHEST = 6.0  # standard deviations; numbers beyond are set to this
_FARTHEST_WHITE = 10.0  # the same of whitened numbers, whose tails are longer
_LEAST_VARIANCE = 1e-5  # of a direction, where each number has 1: below, rounding is all there is
_COVARIANCE_UNITS = 128
_RIDGE = 1e-3  # of a regression, where each number has a variance of 1


class PosteriorNetwork(nn.Module):
    """Posterior mean and covariance of the targets from a table of numbers: a perceptron.

    The numbers of one galaxy are nearly one number many times: magnitudes in five bands and in
    several circles. What tells of a spectrum is how they differ. So they are whitened first, that
    is, rotated and scaled to uncorrelated numbers of variance 1, which are learned from as easily
    as their sum. The covariance is learned from the features of the mean and does not bend them.

    Arguments:
        n_features: F.
        width: units of each of the three hidden layers.
    """

    centre: Tensor
    scale: Tensor
    middle: Tensor
    rotation: Tensor

    def __init__(self, n_features: int, width: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        # Mean of the numbers in these units once they are held in, and what whitens them.
        self.register_buffer("middle", torch.zeros(n_features))
        self.register_buffer("rotation", torch.eye(n_features))
        layers: list[nn.Module] = []
        size = n_features
        for _ in range(3):
            layers += [nn.Linear(size, width), nn.SiLU()]
            size = width
        self.body = nn.Sequential(*layers)
        self.head = GaussianHead(width, N_TARGETS, hidden=_COVARIANCE_UNITS, detach=True)

    def standardise(self, table: Tensor) -> None:
        """Take the unit of each number, and what whitens them all, from a table.

        Arguments:
            table: ``(N, F)``, two rows or more.

        Raises:
            ValueError: of another shape, or not finite.
        """
        n_features = len(self.centre)
        if table.ndim != 2 or len(table) < 2 or table.shape[1] != n_features:
            raise ValueError(
                f"table must be (N, {n_features}) with two rows or more, got {tuple(table.shape)}"
            )
        if not all_finite(table):
            raise ValueError("table must be finite, got NaN or infinite values")
        self.centre.copy_(table.mean(0))
        self.scale.copy_(table.std(0).clamp(min=1e-6))
        held = self._held_in(table).double()
        self.middle.copy_(held.mean(0))
        variances, directions = torch.linalg.eigh(torch.cov(held.T))
        self.rotation.copy_(directions / variances.clamp(min=_LEAST_VARIANCE).sqrt())

    def start_as(self, teacher: "PosteriorNetwork", own: Tensor, other: Tensor) -> None:
        """Begin with the weights of a network that knows more of the same galaxies.

        The teacher's numbers are predicted from this network's by linear regression, which its
        first layer takes up; the layers above are copied.

        Arguments:
            teacher: of the same width, standardised as this network is.
            own: ``(N, F)``, numbers of this network.
            other: ``(N, F')``, numbers of the teacher for the same galaxies.

        Raises:
            ValueError: tables of different lengths; a teacher of another width.
        """
        if len(own) != len(other):
            raise ValueError(
                f"own and other must be of the same galaxies, got {len(own)} and {len(other)}"
            )
        first, taught = self.body[0], teacher.body[0]
        assert isinstance(first, nn.Linear) and isinstance(taught, nn.Linear)
        if first.out_features != taught.out_features:
            raise ValueError(
                f"teacher must have the width {first.out_features}, got {taught.out_features}"
            )
        with torch.no_grad():
            known, wanted = self.whitened(own).double(), teacher.whitened(other).double()
            middle = wanted.mean(0)
            gram = known.T @ known + _RIDGE * len(known) * torch.eye(known.shape[1]).to(known)
            slope = torch.linalg.solve(gram, known.T @ (wanted - middle))  # (F, F')
            first.weight.copy_(taught.weight.double() @ slope.T)
            first.bias.copy_(taught.bias + taught.weight @ middle.float())
        self.body[1:].load_state_dict(teacher.body[1:].state_dict())
        self.head.load_state_dict(teacher.head.state_dict())

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
        return self.body(self.whitened(table))

    def whitened(self, table: Tensor) -> Tensor:
        """Return uncorrelated numbers of variance 1 over the galaxies of the training, ``(B, F)``.

        Arguments:
            table: ``(B, F)``.
        """
        white = (self._held_in(table) - self.middle) @ self.rotation
        return white.clamp(-_FARTHEST_WHITE, _FARTHEST_WHITE)

    def _held_in(self, table: Tensor) -> Tensor:
        """Return the numbers in their units, none farther out than any galaxy of the training."""
        # What lies farther out must not rule the answer.
        return self.in_units(table).clamp(-_FARTHEST, _FARTHEST)

    def in_units(self, table: Tensor) -> Tensor:
        """Return the numbers of a table in standard deviations from the mean of the training's.

        Arguments:
            table: ``(B, F)``.
        """
        return (table - self.centre) / self.scale
