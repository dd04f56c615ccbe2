"""Limits on part of a Gaussian sky, from the covariance of its pixels.

The posterior of the two peaks of study T2 is computed at those points of a grid that are near
enough to the truth to matter, with splines between them.
"""

import math

import torch
from torch import Tensor

from skytutor.chapters.cmb.limits import relative_median
from skytutor.data.cmb import FLOOR, STUDIES, WIDTH, GaussianSkySimulator, peaked_spectrum
from skytutor.fields.covariance import PixelCovariance

__all__ = ["pixel_covariance", "pixel_errors", "pixel_fisher_percent"]

# Steps in l of the grid of peaks on which the likelihood of the pixels is computed, and of the
# splines between its points.
_GRID_STEP = 0.5
_SPLINE_STEP = 0.01
# Added to the variance in a pixel of part of a sky. Its 3,072 values at half the sky hold some
# 2,300 modes: without noise the covariance has eigenvalues below what a double can tell from 0.
# This is 1e-6 of the faintest power, l by l.
_RIDGE = 1e-9


def pixel_covariance(simulator: GaussianSkySimulator) -> PixelCovariance:
    """Return the covariance of the pixels that a study sees.

    Arguments:
        simulator: of the study; its spin, mask and noise count.
    """
    return PixelCovariance(
        simulator.nside,
        simulator.lmax,
        spin=simulator.spin,
        mask=simulator.mask,
        variance=simulator.noise**2 + _RIDGE,
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
    covariance = pixel_covariance(simulator)
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
    covariance = pixel_covariance(simulator)
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
