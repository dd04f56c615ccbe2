"""Posterior mean of a source's flux in every band, from its fluxes in any others.

What a scene-known oracle (`skytutor.chapters.translation.limits`) makes of its measurements. One
perceptron serves all subsets of bands: it is told which are given, and what it sees of the others
is zero.

Shapes: N sources, F bands, three components.
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.chapters.translation.limits import COMPONENTS
from skytutor.validate import positive

__all__ = ["SourceOracle", "SourceTable"]

_SHAPES = 6  # star or not, and five numbers of the shape
_PER_BAND = 2 + 2 * COMPONENTS
_FRACTION = 0.02  # of the reference flux: below, ratios are told linearly
_FARTHEST = 8.0  # standard deviations; numbers beyond are set to this


@dataclass(frozen=True)
class SourceTable:
    """N sources, as an oracle measures them and as they are.

    Attributes:
        flux: ``(N, F, 3)``, measured, of each component, nanomaggies.
        error: ``(N, F, 3)``, standard deviations; 0 for components that are not there.
        total: ``(N, F)``, measured, of all components together.
        total_error: ``(N, F)``.
        shape: ``(N, 6)``, of `skytutor.chapters.translation.scored_scenes.shape_numbers`.
        there: bool ``(N, 3)``, which components are there.
        truth: ``(N, F, 3)``.
    """

    flux: Tensor
    error: Tensor
    total: Tensor
    total_error: Tensor
    shape: Tensor
    there: Tensor
    truth: Tensor

    def __len__(self) -> int:
        return len(self.flux)

    def __getitem__(self, rows: Tensor | slice) -> "SourceTable":
        return SourceTable(*(getattr(self, entry.name)[rows] for entry in fields(self)))


class SourceOracle(nn.Module):
    """Predict the flux of a source's components in all bands.

    Fluxes are told as ratios to that of the band in which the source is seen best, so that what is
    learned is colours.

    Arguments:
        softening: ``(F,)``, nanomaggies, near the error of a faint star in each band.
        width: units of each hidden layer.
    """

    softening: Tensor
    centre: Tensor
    scale: Tensor
    started: Tensor

    def __init__(self, softening: Tensor, *, width: int = 256):
        super().__init__()
        positive(width=width)
        self.n_bands = len(softening)
        self.register_buffer("softening", softening.clone())
        n_features = self.n_bands * _PER_BAND
        self.register_buffer("centre", torch.zeros(n_features + _SHAPES))
        self.register_buffer("scale", torch.ones(n_features + _SHAPES))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        layers: list[nn.Module] = []
        # The numbers, which bands are given, and which of them the ratios are to.
        size = n_features + _SHAPES + 2 * self.n_bands + 1
        for _ in range(3):
            layers += [nn.Linear(size, width), nn.SiLU()]
            size = width
        self.body = nn.Sequential(*layers)
        self.answers = nn.Linear(size, self.n_bands * (1 + COMPONENTS))

    def standardise(self, table: SourceTable) -> None:
        """Take the unit of each number from sources of which all bands are given.

        Arguments:
            table: of the training.
        """
        given = torch.ones(len(table), self.n_bands, dtype=torch.bool, device=table.flux.device)
        numbers, _, _ = self._numbers(table, given)
        self.centre.copy_(numbers.mean(0))
        self.scale.copy_(numbers.std(0).clamp(min=1e-3))
        self.started.fill_(True)

    def _numbers(self, table: SourceTable, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return numbers ``(N, D)``, the reference flux ``(N,)`` and its band ``(N,)``."""
        error = table.total_error.clamp(min=1e-6)
        quality = torch.where(given, table.total / error, -torch.inf)
        best = quality.argmax(1)
        reference = table.total.gather(1, best[:, None])
        # A source that no band shows: its error stands for its flux.
        reference = torch.maximum(reference, error.gather(1, best[:, None])).clamp(max=1e9)
        ratio = table.total / reference
        columns = [
            torch.asinh(ratio / _FRACTION)[..., None],
            torch.log(error / reference + 1e-5)[..., None],
            torch.asinh(table.flux / reference[..., None] / _FRACTION),
            torch.log(table.error / reference[..., None] + 1e-5),
        ]
        seen = torch.cat(columns, dim=-1) * given[..., None]
        numbers = torch.cat([seen.flatten(1), table.shape], dim=1)
        return numbers, reference[:, 0], best

    def forward(self, table: SourceTable, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stretched flux ``(N, F)`` and the components' fractions ``(N, F, 3)``.

        Arguments:
            table: N sources; of bands that are not given nothing counts.
            given: bool ``(N, F)``.
        """
        numbers, reference, best = self._numbers(table, given)
        units = ((numbers - self.centre) / self.scale).clamp(-_FARTHEST, _FARTHEST)
        units = torch.cat(
            [
                units[:, :-_SHAPES] * given.repeat_interleave(_PER_BAND, dim=1),
                units[:, -_SHAPES:],
                given.to(units),
                F.one_hot(best, self.n_bands).to(units),
                reference.log()[:, None] / 4,
            ],
            dim=1,
        )
        answer = self.answers(self.body(units)).unflatten(1, (self.n_bands, 1 + COMPONENTS))
        flux = reference[:, None] * answer[..., 0].clamp(-20, 20).exp()
        scores = answer[..., 1:].masked_fill(~table.there[:, None], -torch.inf)
        return torch.asinh(flux / self.softening), scores.softmax(-1)

    def predict(self, table: SourceTable, given: Tensor) -> Tensor:
        """Return the flux of each component, ``(N, F, 3)``, nanomaggies.

        Arguments:
            table: as `forward` takes it.
            given: likewise.
        """
        value, fraction = self(table, given)
        return (torch.sinh(value) * self.softening)[..., None] * fraction
