"""Summary statistics of chapter 3: log C_l of full skies, likelihoods on a grid of masked ones.

Shapes: B batch, P = 12 nside**2 pixels in RING order, L = lmax + 1, K = L**2 real harmonic
coefficients, F summary statistics.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from skytutor.chapters.cmb.pixel_limits import pixel_covariance
from skytutor.chunks import in_chunks
from skytutor.data.cmb import GaussianSkySimulator
from skytutor.fields.covariance import PixelCovariance
from skytutor.memo import cached_object
from skytutor.sht import Harmonics, real_degrees, to_real
from skytutor.sht.symmetry import SymmetryBlocks
from skytutor.validate import as_integer

__all__ = ["LikelihoodGrid", "LogPowerSpectrum"]

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
        return in_chunks(self._log_power, maps, size=500)

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


BATCH = 5000  # skies drawn at a time, at nside 16
KNOTS = 6  # values of each parameter in a grid of spectra


@cached_object(maxsize=4)
def _log_power_spectrum(nside: int, lmax: int, spin: int, fields: int) -> LogPowerSpectrum:
    """Return the one of this size: studies that differ in noise alone share its large tables."""
    return LogPowerSpectrum(nside, lmax, spin=spin, fields=fields)


@cached_object(maxsize=4)
def summary_statistics(simulator: GaussianSkySimulator) -> LogPowerSpectrum | LikelihoodGrid:
    """Return what reduces maps of this study to numbers: ``(N, [2,] P)`` to ``(N, F)``.

    On a full sky these are the logarithms of C_l, on part of one the likelihoods of spectra on a
    grid of parameters.

    Arguments:
        simulator: of the study.
    """
    if simulator.f_sky == 1:
        fields = 1 if simulator.study in ("T1", "T3") else 2
        return _log_power_spectrum(simulator.nside, simulator.lmax, simulator.spin, fields)
    # A grid of KNOTS values of each parameter, evenly spaced under the prior: (KNOTS**n, n).
    axis = torch.linspace(0, 1, KNOTS, dtype=torch.float64)
    n_parameters = len(simulator.names)
    unit = torch.cartesian_prod(*[axis] * n_parameters).view(-1, n_parameters)
    spectra = simulator.spectra(simulator.prior_transform(unit))
    return LikelihoodGrid(pixel_covariance(simulator), spectra)


def batch_size(simulator: GaussianSkySimulator) -> int:
    """Return how many skies to draw at a time: their memory is that of 5,000 at nside 16.

    Arguments:
        simulator: whose nside counts.
    """
    return BATCH * 16**2 // max(simulator.nside, 16) ** 2


def draw_summaries(
    simulator: GaussianSkySimulator, size: int, *, seed: int
) -> tuple[Tensor, Tensor]:
    """Draw skies; return their parameters ``(size, n)`` and summary statistics ``(size, F)``.

    Arguments:
        simulator: of the study.
        size: number of skies, at least 1.
        seed: of the first batch; later batches use the seeds after it.

    Raises:
        ValueError: size below 1.
    """
    if as_integer("size", size) < 1:
        raise ValueError(f"size must be positive, got {size}")
    parameters = []
    summaries = []
    step = batch_size(simulator)
    for start in range(0, size, step):
        n = min(step, size - start)
        drawn, maps = simulator.sample(n, seed=seed + start // step)
        parameters.append(drawn)
        summaries.append(summary_statistics(simulator)(maps))
    return torch.cat(parameters), torch.cat(summaries)
