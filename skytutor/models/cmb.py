"""Chapter 3's own network: a small perceptron on summary statistics of a map.

It answers with the mean and the standard deviation of each parameter. The summary statistics hold
all, or nearly all, that a Gaussian sky says about its spectrum, so the perceptron learns only how
they depend on the parameters.

Shapes: B batch, P = 12 nside**2 pixels in RING order, n parameters, L = lmax + 1, K = L**2 real
harmonic coefficients, F summary statistics.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from skytutor.covariance import PixelCovariance
from skytutor.sht import Harmonics, real_degrees, to_real
from skytutor.sht.symmetry import SymmetryBlocks

__all__ = ["Estimator", "LikelihoodGrid", "LogPowerSpectrum", "RunningNorm"]

_MAX_BYTES = 2**28  # that the Cholesky factors of a `LikelihoodGrid` may take to be kept


class LogPowerSpectrum(nn.Module):
    """Logarithm of the measured C_l of full-sky maps: ``log(sum_m b_lm**2 / (2 l + 1))``.

    This is all that a Gaussian sky says about its spectrum. The coefficients are those of least
    squares, exact for a band-limited map: quadrature would be off by 0.8 % at nside 16 and bury a
    spectrum that falls by five decades.

    Arguments:
        nside: of the maps, RING.
        lmax: highest degree, at most 3 nside - 1.
        spin: 0 for T, 2 for Q and U, whose degrees begin at l = 2.
        fields: 1, or 2 for E and B with spin 2 (1 keeps E alone).

    Example:
        >>> LogPowerSpectrum(4, 11, spin=2)(torch.randn(3, 2, 192)).shape
        torch.Size([3, 20])
    """

    l: Tensor

    def __init__(self, nside: int, lmax: int, *, spin: int, fields: int | None = None):
        super().__init__()
        self.lmax = lmax
        self.spin = spin
        self.fields = fields or (2 if spin else 1)
        if self.fields not in ((1, 2) if spin else (1,)):
            allowed = "1 or 2" if spin else "1"
            raise ValueError(f"fields must be {allowed} for spin {spin}, got {fields}")
        self.harmonics = Harmonics(nside, lmax, spin=spin, order="ring")
        self.solve = SymmetryBlocks(nside, lmax, spin=spin)
        self.register_buffer("l", real_degrees(lmax)[0], persistent=False)
        self.size = self.fields * (lmax + 1 - spin)

    def extra_repr(self) -> str:
        """Return what `repr` shows."""
        return f"lmax={self.lmax}, spin={self.spin}, fields={self.fields}"

    @torch.no_grad()
    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(B, fields * (L - spin))`` float32 of maps ``(B, [2,] P)``: E, then B.

        Arguments:
            maps: float32; with spin 2, Q and U.
        """
        # 500 at a time, for the coefficients of many maps in float64 take memory.
        return torch.cat([self._log_power(some) for some in maps.split(500)])

    def _log_power(self, maps: Tensor) -> Tensor:
        # Least squares: the sums over pixels, without weights, are the right-hand side.
        sums = to_real(self.harmonics.map2alm(maps, weights=None), lmax=self.lmax)
        coefs = self.solve(sums)  # (B, [2,] K)
        squares = coefs.double().square()
        squares = squares.unflatten(1, (2 if self.spin else 1, -1)).flatten(2)  # (B, 1 or 2, K)
        squares = squares[:, : self.fields]
        power = squares.new_zeros(*squares.shape[:2], self.lmax + 1)
        power = power.index_add(2, self.l, squares)  # sums over m, (B, fields, L)
        n_orders = 2 * torch.arange(self.lmax + 1, device=power.device) + 1
        mean = (power / n_orders)[..., self.spin :]
        return mean.clamp(min=1e-30).log().flatten(1).float()


class LikelihoodGrid(nn.Module):
    """Exact Gaussian log-likelihoods of a masked map under each of G spectra.

    Each costs one product with an inverse covariance, ``d C^-1 d``, with E, B and the mask's edge
    treated exactly. A network that reads them learns from maps how the likelihood behaves between
    the spectra; it never sees a covariance.

    Arguments:
        covariance: with the mask and the noise.
        powers: ``(G, fields, lmax + 1)``, the spectra.

    Example:
        >>> mask = torch.arange(192) < 72
        >>> covariance = PixelCovariance(4, 11, spin=2, mask=mask, variance=0.1)
        >>> powers = torch.rand(5, 2, 12).double()
        >>> LikelihoodGrid(covariance, powers)(torch.randn(3, 2, 192)).shape
        torch.Size([3, 5])
    """

    def __init__(self, covariance: PixelCovariance, powers: Tensor):
        super().__init__()
        self.covariance = covariance
        self.powers = powers
        self.size = len(powers)
        bytes_each = 0  # of the factors of one spectrum: D**2 entries a block
        for block in covariance.blocks:
            itemsize = 16 if block.modes.is_complex() else 8
            bytes_each += block.modes.shape[1] ** 2 * itemsize
        self.keeps_factors = bytes_each * len(powers) <= _MAX_BYTES
        self._kept: list[list[Tensor]] = []

    def extra_repr(self) -> str:
        """Return what `repr` shows."""
        return f"size={self.size}"

    def _factors(self) -> Iterator[list[Tensor]]:
        """Yield the Cholesky factors of each spectrum, made once if they are small enough."""
        if not self.keeps_factors:
            for power in self.powers:
                yield self.covariance.factors(power)
            return
        if not self._kept:
            self._kept = [self.covariance.factors(power) for power in self.powers]
        yield from self._kept

    @torch.no_grad()
    def forward(self, maps: Tensor) -> Tensor:
        """Return ``asinh((log L - max log L) / 10)``, ``(B, G)`` float32, of maps ``(B, [2,] P)``.

        Arguments:
            maps: RING; with spin 2, Q and U.
        """
        data_blocks = self.covariance.split(maps.cpu())
        logs = []
        for factors in self._factors():
            logs.append(self.covariance.block_log_likelihood(data_blocks, factors))
        log_likelihood = torch.stack(logs, 1)  # (B, G)
        # Only differences carry information. They run from 0.1 to thousands: the scale is linear
        # below 10 and logarithmic beyond.
        difference = log_likelihood - log_likelihood.amax(1, keepdim=True)
        return torch.asinh(difference / 10).float().to(maps.device)


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
