"""How well parameters of a Gaussian sky can be known: Bayes and Fisher limits of chapter 3.

The error of a study of `skytutor.data.cmb` is the mean of ``|estimate - true| / true``. The
estimate that makes it smallest is the median of the posterior after each value is weighted by its
inverse.

On a full sky the measured C_l hold everything there is to know:
``(2 l + 1) measured C_l / (C_l + N_l)`` is chi-square with 2 l + 1 degrees of freedom, and the
posterior is a product over l. On part of a sky the posterior comes from the covariance of the
pixels (`skytutor.covariance`). It is computed at those points of a grid that are near enough to
the truth to matter, with splines between them.

``python -m skytutor.limits`` computes every limit of chapter 3 (a quarter of an hour) and writes
them with a card.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import skytutor
from skytutor import checkpoint
from skytutor.covariance import PixelCovariance
from skytutor.data.cmb import (
    FLOOR,
    STUDIES,
    WIDTH,
    GaussianSkySimulator,
    noise_per_pixel,
    peaked_spectrum,
)
from skytutor.healpix import nside_to_npix

__all__ = [
    "FIDUCIAL",
    "FILE",
    "RIDGE",
    "compute",
    "fisher_full_sky",
    "full_sky_errors",
    "load_limits",
    "noise_power",
    "pixel_errors",
    "pixel_fisher_percent",
    "relative_median",
]

FILE = Path(skytutor.__file__).parent / "checkpoints" / "cmb-limits.json"
FIDUCIAL = {"r": 0.003, "tau": 0.054}
# Steps in l of the grid of peaks on which the likelihood of the pixels is computed, and of the
# splines between its points.
_GRID_STEP = 0.5
_SPLINE_STEP = 0.01
# Added to the variance in a pixel of part of a sky. Its 3,072 values at half the sky hold some
# 2,300 modes: without noise the covariance has eigenvalues below what a double can tell from 0.
# This is 1e-6 of the faintest power, l by l.
RIDGE = 1e-9


def relative_median(values: Tensor, log_posterior: Tensor) -> Tensor:
    """Return the estimates ``(N,)`` of least mean relative error: medians of posterior / value.

    Arguments:
        values: ``(G,)``, rising, positive, evenly spaced.
        log_posterior: ``(N, G)``, up to a constant for each row.

    Raises:
        ValueError: a value that is not positive.

    Example:
        >>> relative_median(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[0.0, 5.0, 0.0]]))
        tensor([1.9...])
    """
    if not float(values.min()) > 0:
        raise ValueError(
            f"values must be positive, got {float(values.min())}: the error is relative to them"
        )
    mass = torch.softmax(log_posterior, 1) / values  # (N, G)
    cumulative = mass.cumsum(1) / mass.sum(1, keepdim=True)
    # The first value whose cumulative mass reaches a half, and the mass before and at it.
    index = (cumulative < 0.5).sum(1).clamp(1, len(values) - 1)  # (N,)
    before = cumulative.gather(1, (index - 1)[:, None])[:, 0]
    at = cumulative.gather(1, index[:, None])[:, 0]
    fraction = ((0.5 - before) / (at - before).clamp(min=1e-12)).clamp(0, 1)
    step = values[1] - values[0]
    # Each value stands for the cell around it, so that its mass begins half a step below.
    return values[index] + step * (fraction - 0.5)


def _check_full_sky(simulator: GaussianSkySimulator, studies: tuple[str, ...]) -> None:
    if simulator.f_sky < 1 or simulator.study not in studies:
        raise ValueError(
            f"simulator must be a full sky of {', '.join(studies)}, "
            f"got {simulator.study} with f_sky {simulator.f_sky:g}"
        )


def noise_power(simulator: GaussianSkySimulator) -> float:
    """Return N_l of the noise in the pixels, ``4 pi sigma**2 / P``, the same at every l.

    Arguments:
        simulator: whose noise and nside count.
    """
    return 4 * math.pi * simulator.noise**2 / nside_to_npix(simulator.nside)


def _n_orders(simulator: GaussianSkySimulator) -> Tensor:
    """Return 2 l + 1 for the degrees that the study has, float64: the degrees of freedom of C_l."""
    return 2.0 * torch.arange(simulator.spin, simulator.lmax + 1).double() + 1


def full_sky_errors(simulator: GaussianSkySimulator, *, size: int, seed: int) -> Tensor:
    """Return relative errors ``(size, n)`` of the best estimates of T1, T2 or T3 on a full sky.

    Measured C_l are drawn, not maps; the prior is uniform.

    Arguments:
        simulator: of T1, T2 or T3, full sky.
        size: number of skies.
        seed: of the skies.

    Raises:
        ValueError: part of a sky, or T4.
    """
    _check_full_sky(simulator, ("T1", "T2", "T3"))
    true = simulator.draw_parameters(size, generator=torch.Generator().manual_seed(seed))
    low, high = STUDIES[simulator.study][0][1:]
    values = torch.linspace(low, high, 3001, dtype=torch.float64)
    n_parameters = len(simulator.names)
    # C_l + N_l at every value: (3001, fields, L)
    model = simulator.spectra(values[:, None].expand(-1, n_parameters))[..., simulator.spin :]
    model = model + noise_power(simulator)
    n_orders = _n_orders(simulator)
    chi2 = torch.distributions.Chi2(n_orders)
    torch.manual_seed(seed)
    out = []
    # One parameter a field. T1: T. T2: E, then B. T3: E.
    for k in range(n_parameters):
        expected = simulator.spectra(true)[:, k, simulator.spin :] + noise_power(simulator)
        measured = expected * chi2.sample((size,)) / n_orders  # (size, L)
        logs = []
        # 20 skies at a time, for a table of (20, 3001, L) takes memory.
        for some in measured.split(20):
            terms = some[:, None] / model[:, k] + model[:, k].log()
            logs.append(-0.5 * (n_orders * terms).sum(2))
        found = relative_median(values, torch.cat(logs))
        out.append((found - true[:, k]).abs() / true[:, k])
    return torch.stack(out, 1)


def fisher_full_sky(simulator: GaussianSkySimulator, parameters: Tensor) -> Tensor:
    """Return the standard deviations ``(n,)`` that the Fisher matrix of a full sky allows.

    All other parameters are free: they are the roots of the diagonal of its inverse, with
    ``F_ij = sum_l (2 l + 1) / 2 d log(C_l + N_l) / d theta_i d log(C_l + N_l) / d theta_j``, over
    both fields.

    Arguments:
        simulator: full sky, any study.
        parameters: ``(n,)`` float64, where the matrix is taken, inside the prior.

    Raises:
        ValueError: part of a sky, or parameters at an end of the prior.
    """
    _check_full_sky(simulator, tuple(STUDIES))
    low = torch.tensor([entry[1] for entry in STUDIES[simulator.study]]).double()
    high = torch.tensor([entry[2] for entry in STUDIES[simulator.study]]).double()
    steps = 1e-3 * (high - low)
    if not bool(((parameters >= low + steps) & (parameters <= high - steps)).all()):
        raise ValueError(
            f"parameters must lie inside the prior, {low.tolist()} to {high.tolist()}, "
            f"not at its ends; got {parameters.tolist()}"
        )
    slopes = []
    for k in range(len(parameters)):
        # Central differences of log(C_l + N_l) in the k-th parameter: (fields, L).
        step = steps * (torch.arange(len(steps)) == k)
        up = _log_spectra(simulator, parameters + step)
        down = _log_spectra(simulator, parameters - step)
        slopes.append((up - down) / (2 * steps[k]))
    # A field without power, T3's B, has a logarithm of -inf and no information.
    informative = torch.isfinite(slopes[0])
    weight = (_n_orders(simulator).expand_as(slopes[0]) / 2).sqrt()
    rows = torch.stack([torch.where(informative, slope, 0) * weight for slope in slopes])
    rows = rows.flatten(1)  # (n, fields L): F is the product of these with themselves
    return torch.linalg.inv(rows @ rows.T).diagonal().sqrt()


def _log_spectra(simulator: GaussianSkySimulator, parameters: Tensor) -> Tensor:
    """Return ``log(C_l + N_l)``, ``(fields, L)``, of one set of parameters ``(n,)``."""
    spectra = simulator.spectra(parameters[None])[0]
    return (spectra[:, simulator.spin :] + noise_power(simulator)).log()


def _pixel_covariance(simulator: GaussianSkySimulator) -> PixelCovariance:
    return PixelCovariance(
        simulator.nside,
        simulator.lmax,
        spin=2,
        mask=simulator.mask,
        variance=simulator.noise**2 + RIDGE,
    )


def pixel_errors(simulator: GaussianSkySimulator, *, size: int, seed: int, reach: float) -> Tensor:
    """Return relative errors ``(size, 2)`` of the best estimates of T2, from all pixels seen.

    Arguments:
        simulator: of T2.
        size: number of maps.
        seed: of the maps.
        reach: how far from the truth the likelihood is computed, in l: many standard deviations.
    """
    true, maps = simulator.sample(size, seed=seed)
    covariance = _pixel_covariance(simulator)
    data_blocks = covariance.split(maps)
    low, high = STUDIES["T2"][0][1:]
    grid = torch.arange(low, high + _GRID_STEP / 2, _GRID_STEP, dtype=torch.float64)
    peaks = peaked_spectrum(grid, lmax=simulator.lmax)  # (G, L)
    peaks[:, :2] = 0
    # The covariance is a sum of one of E and one of B: one of each for every peak, then all pairs.
    none = torch.zeros_like(peaks[0])
    of_e = [covariance.matrices(torch.stack([peak, none])) for peak in peaks]
    of_b = [covariance.matrices(torch.stack([none, peak])) for peak in peaks]
    logs = torch.full((size, len(grid), len(grid)), torch.nan, dtype=torch.float64)
    for i in range(len(grid)):
        for j in range(len(grid)):
            point = torch.stack([grid[i], grid[j]])
            near = ((true - point).abs() <= reach).all(1).nonzero()[:, 0]
            if len(near) == 0:
                continue
            factors = covariance.cholesky([e + b for e, b in zip(of_e[i], of_b[j], strict=True)])
            chosen = [data[near] for data in data_blocks]
            logs[near, i, j] = covariance.block_log_likelihood(chosen, factors)
    errors = [_errors_of_one(grid, one, truth) for one, truth in zip(logs, true, strict=True)]
    return torch.stack(errors)


def _errors_of_one(grid: Tensor, logs: Tensor, true: Tensor) -> Tensor:
    """Return relative errors ``(2,)`` of the estimates from one map.

    Arguments:
        grid: ``(G,)``, the peaks.
        logs: ``(G, G)``, log-likelihoods of a peak of E and one of B, NaN where not computed.
        true: ``(2,)``, the truth.
    """
    from scipy.interpolate import RectBivariateSpline

    # What was computed is a rectangle of the grid.
    computed = torch.isfinite(logs)
    sides = (computed.any(1), computed.any(0))
    spline = RectBivariateSpline(
        grid[sides[0]].numpy(), grid[sides[1]].numpy(), logs[sides[0]][:, sides[1]].numpy()
    )
    axes = []
    for side in sides:
        first, last = grid[side][[0, -1]].tolist()
        axes.append(torch.arange(first, last + _SPLINE_STEP / 2, _SPLINE_STEP, dtype=torch.float64))
    log_posterior = torch.from_numpy(spline(axes[0].numpy(), axes[1].numpy()))
    out = []
    for k in range(2):
        marginal = torch.logsumexp(log_posterior, 1 - k)  # over the other parameter
        found = relative_median(axes[k], marginal[None])[0]
        out.append((found - true[k]).abs() / true[k])
    return torch.stack(out)


def pixel_fisher_percent(simulator: GaussianSkySimulator, *, size: int, seed: int) -> Tensor:
    """Return the mean relative errors ``(2,)`` of T2, in %, that Gaussian posteriors would have.

    They are ``sqrt(2 / pi)`` of the relative standard deviations that the Fisher matrix of the
    pixels allows, both parameters free.

    Arguments:
        simulator: of T2.
        size: number of draws of the prior at which the matrix is taken.
        seed: of the draws.
    """
    covariance = _pixel_covariance(simulator)
    rng = torch.Generator().manual_seed(seed)
    l = torch.arange(simulator.lmax + 1).double()
    out = []
    for parameters in simulator.draw_parameters(size, generator=rng):
        powers = simulator.spectra(parameters[None])[0]  # (2, L)
        # Derivative of each peak: one parameter moves E alone, the other B.
        slope = (powers - FLOOR).clamp(min=0) * (l - parameters[:, None]) / WIDTH**2
        of_e = slope * torch.tensor([[1.0], [0.0]])
        of_b = slope * torch.tensor([[0.0], [1.0]])
        spectra = dict(zip(("EE", "BB"), powers, strict=True))
        matrix = covariance.fisher(spectra, torch.stack([of_e, of_b]))
        out.append(torch.linalg.inv(matrix).diagonal().sqrt() / parameters)
    return 100 * math.sqrt(2 / math.pi) * torch.stack(out).mean(0)


def _percent(errors: Tensor) -> dict[str, Any]:
    """Return mean and standard error, in %, of relative errors ``(maps, n)``."""
    standard_error = errors.std(0) / len(errors) ** 0.5
    return {
        "error_percent": (100 * errors.mean(0)).tolist(),
        "standard_error": (100 * standard_error).tolist(),
        "maps": len(errors),
    }


def compute(*, size: int = 2000, seed: int = 12345) -> dict[str, dict[str, Any]]:
    """Return every limit of chapter 3, by recipe.

    Arguments:
        size: number of skies for each.
        seed: of the skies.
    """
    out: dict[str, dict[str, Any]] = {}
    full_sky = {
        f"cmb-t1-noise{n}": GaussianSkySimulator("T1", noise=float(n)) for n in (0, 5, 10, 15)
    }
    full_sky["cmb-t2-sky100"] = GaussianSkySimulator("T2")
    full_sky["cmb-t3"] = GaussianSkySimulator("T3")
    for name, simulator in full_sky.items():
        out[name] = _percent(full_sky_errors(simulator, size=size, seed=seed))
    for sky_percent, reach in ((5, 5.0), (10, 4.0), (20, 3.0), (50, 2.5)):
        simulator = GaussianSkySimulator("T2", f_sky=sky_percent / 100)
        fisher = pixel_fisher_percent(simulator, size=40, seed=seed)
        limit = _percent(pixel_errors(simulator, size=size, seed=seed, reach=reach))
        out[f"cmb-t2-sky{sky_percent}"] = limit | {"fisher_percent": fisher.tolist()}
    fiducial = torch.tensor([FIDUCIAL["r"], FIDUCIAL["tau"]], dtype=torch.float64)
    for nside in (16, 32):
        for noise in (0.0, 6.0):
            pixel = noise_per_pixel(noise, nside)
            simulator = GaussianSkySimulator("T4", nside=nside, noise=pixel)
            sigma = fisher_full_sky(simulator, fiducial)
            name = f"cmb-t4-nside{nside}-noise{noise:.0f}"
            out[name] = {"sigma_percent": (100 * sigma / fiducial).tolist()}
    return out


def load_limits() -> dict[str, dict[str, Any]]:
    """Return the limits that come with the package, by recipe."""
    return checkpoint.read_card(FILE)["limits"]


if __name__ == "__main__":
    card = checkpoint.provenance(
        device="cpu", seed=12345, profile="gpu", command="python -m skytutor.limits"
    )
    checkpoint.write_card(FILE, card | {"limits": compute()})
    print(FILE)
