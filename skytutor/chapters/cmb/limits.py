"""How well parameters of a Gaussian sky can be known: Bayes and Fisher limits of chapter 3.

The error of a study of `skytutor.data.cmb` is the mean of ``|estimate - true| / true``. The
estimate that makes it smallest is the median of the posterior after each value is weighted by its
inverse.

On a full sky the measured C_l hold everything there is to know:
``(2 l + 1) measured C_l / (C_l + N_l)`` is chi-square with 2 l + 1 degrees of freedom, and the
posterior is a product over l. Part of a sky has limits of its own,
`skytutor.chapters.cmb.pixel_limits`.

The limits that come with the package are those of ``skytutor compute limits``.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from skytutor.chunks import in_chunks
from skytutor.data.cmb import STUDIES, GaussianSkySimulator
from skytutor.healpix import nside_to_npix
from skytutor.training import checkpoint

__all__ = [
    "FIDUCIAL",
    "NAME",
    "fisher_full_sky",
    "full_sky_errors",
    "full_sky_estimates",
    "load_limits",
    "noise_power",
    "relative_median",
]

NAME = "cmb-limits"
FIDUCIAL = {"r": 0.003, "tau": 0.054}


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
    n_parameters = len(simulator.names)
    n_orders = _n_orders(simulator)
    chi2 = torch.distributions.Chi2(n_orders)
    torch.manual_seed(seed)
    measured = []
    # One parameter a field. T1: T. T2: E, then B. T3: E.
    for k in range(n_parameters):
        expected = simulator.spectra(true)[:, k, simulator.spin :] + noise_power(simulator)
        measured.append(expected * chi2.sample((size,)) / n_orders)  # (size, L)
    found = full_sky_estimates(simulator, torch.stack(measured, 1))
    return (found - true).abs() / true


def full_sky_estimates(simulator: GaussianSkySimulator, measured: Tensor) -> Tensor:
    """Return the best estimates ``(N, n)`` of T1, T2 or T3 that measured C_l allow.

    They are medians of the exact posterior after each value is weighted by its inverse; the prior
    is uniform.

    Arguments:
        simulator: of T1, T2 or T3, full sky.
        measured: C_l of N skies, ``(N, n, L)``: a field for each parameter, from l = 0 for T1,
            from l = 2 for T2 and T3.

    Raises:
        ValueError: part of a sky, T4, or another shape.
    """
    _check_full_sky(simulator, ("T1", "T2", "T3"))
    n_parameters = len(simulator.names)
    n_orders = _n_orders(simulator)
    if measured.dim() != 3 or measured.shape[1:] != (n_parameters, len(n_orders)):
        raise ValueError(
            f"measured must be (N, {n_parameters}, {len(n_orders)}), got {tuple(measured.shape)}"
        )
    low, high = STUDIES[simulator.study][0][1:]
    values = torch.linspace(low, high, 3001, dtype=torch.float64)
    # C_l + N_l at every value: (3001, fields, L)
    model = simulator.spectra(values[:, None].expand(-1, n_parameters))[..., simulator.spin :]
    model = model + noise_power(simulator)
    out = []
    for k in range(n_parameters):
        # 20 skies at a time, for a table of (20, 3001, L) takes memory.
        of_some = partial(_log_likelihood, model=model[:, k], n_orders=n_orders)
        out.append(relative_median(values, in_chunks(of_some, measured[:, k], size=20)))
    return torch.stack(out, 1)


def _log_likelihood(measured: Tensor, *, model: Tensor, n_orders: Tensor) -> Tensor:
    """Return the log-likelihood ``(N, G)`` of models ``(G, L)`` given measured C_l ``(N, L)``."""
    terms = measured[:, None] / model + model.log()
    return -0.5 * (n_orders * terms).sum(2)


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


def load_limits() -> dict[str, dict[str, Any]]:
    """Return the limits that come with the package, by recipe."""
    return checkpoint.read_card(checkpoint.pretrained_folder() / f"{NAME}.json")["limits"]
