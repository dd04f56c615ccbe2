"""Chapter 3's own network: a small perceptron on summary statistics of a map.

It answers with the mean and the standard deviation of each parameter. The summary statistics hold
all, or nearly all, that a Gaussian sky says about its spectrum, so the perceptron learns only how
they depend on the parameters.

Shapes: B batch, n parameters, F summary statistics.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["Estimator", "RunningNorm"]


class RunningNorm(nn.Module):
    """Subtract the mean and divide by the standard deviation of all that was seen in training.

    Batch normalisation takes those of the batch instead, a noise of some per cent: too much where
    0.5 % is asked for.

    Arguments:
        size: F, number of features.

    Example:
        >>> norm = RunningNorm(3)
        >>> norm(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))[:, 0]
        tensor([-1.,  1.])
    """

    # Named as in the pretrained files: samples seen, their mean, and their variance (square).
    seen: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("square", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Return x ``(B, F)`` normalised, ``(B, F)``; in training mode, take it into account first.

        Arguments:
            x: features.
        """
        if self.training:
            # Mean and variance of two sets together: within each, plus that between their means.
            fraction = len(x) / (self.seen + len(x))
            variance = x.var(0, correction=0)
            shift = x.mean(0) - self.mean
            self.square = (
                (1 - fraction) * self.square
                + fraction * variance
                + fraction * (1 - fraction) * shift.square()
            )
            self.mean = self.mean + fraction * shift
            self.seen = self.seen + len(x)
        return (x - self.mean) / self.square.sqrt().clamp(min=1e-6)


class Estimator(nn.Module):
    """Perceptron on summary statistics: mean and standard deviation of each parameter.

    Arguments:
        size: F, number of summary statistics of a map.
        outputs: n, number of parameters.
        width: of the two hidden layers.
        summary: maps to summary statistics ``(B, F)``, on the CPU. It has no weights and is no
            part of this module, so that one serves many networks and stays where it is.

    Example:
        >>> from skytutor.chapters.cmb.summaries import LogPowerSpectrum
        >>> spectrum = LogPowerSpectrum(4, 11, spin=0)
        >>> model = Estimator(spectrum.size, outputs=1, summary=spectrum.forward)
        >>> model(torch.randn(3, 192)).shape
        torch.Size([3, 1, 2])
    """

    stretch: Tensor  # scale of the intervals; named as in the pretrained files

    def __init__(
        self,
        size: int,
        *,
        outputs: int,
        width: int = 128,
        summary: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.summary = summary
        self.outputs = outputs
        self.norm = RunningNorm(size)
        self.register_buffer("stretch", torch.ones(outputs))
        layers: list[nn.Module] = []
        for inputs, neurons in pairwise((size, width, width)):
            layers.append(nn.Linear(inputs, neurons))
            layers.append(nn.GELU())
        self.head = nn.Sequential(*layers, nn.Linear(width, 2 * outputs))

    def forward(self, x: Tensor, *, precomputed: bool = False) -> Tensor:
        """Return means and logarithms of standard deviations, ``(B, n, 2)``.

        They are on the scale of `skytutor.data.cmb.GaussianSkySimulator.normalise`. In evaluation
        mode standard deviations are multiplied by the interval scale that `calibrate` sets.

        Arguments:
            x: maps ``(B, [2,] P)``, or their summary statistics ``(B, F)``.
            precomputed: whether x holds summary statistics.

        Raises:
            ValueError: maps, to an estimator that was made without a `summary`.
        """
        if precomputed:
            summaries = x
        elif self.summary is None:
            raise ValueError(
                "x must be summary statistics (precomputed=True): this estimator was made "
                "without a summary"
            )
        else:
            summaries = self.summary(x.cpu()).to(self.stretch.device)
        out = self.head(self.norm(summaries)).unflatten(1, (self.outputs, 2))  # (B, n, 2)
        if self.training:
            return out
        return torch.stack([out[..., 0], out[..., 1] + self.stretch.log()], -1)

    @torch.no_grad()
    def calibrate(self, answers: Tensor, true: Tensor) -> None:
        """Scale the intervals so that those of a validation set hold 68.27 % of the truths.

        Without this they need not, for posteriors at an end of the prior are not Gaussian.

        Arguments:
            answers: what `forward` gave in evaluation mode, ``(B, n, 2)``.
            true: parameters on the same scale, ``(B, n)``.
        """
        deviations = (answers[..., 0] - true).abs() / answers[..., 1].exp()  # (B, n)
        interval_scale = deviations.quantile(0.6827, 0)  # (n,)
        self.stretch *= interval_scale.to(self.stretch)
