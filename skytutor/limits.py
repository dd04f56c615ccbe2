"""How well parameters of a Gaussian sky can be known at all: Bayes and Fisher, computed, for the studies of `skytutor.data.cmb`.

The error of a study is the mean of ``|estimate - true| / true``. The estimate that makes it
smallest is the median of the posterior after each value is weighted by its inverse. On a full sky
the band powers hold everything there is to know, ``(2 l + 1) C^_l / (C_l + N_l)`` is chi-square
with 2 l + 1 degrees of freedom, and the posterior is a product over l. On part of a sky it comes
from the covariance of the pixels (`skytutor.covariance`), at the points of a grid that are near
enough to the truth to matter, with splines between them.

``python -m skytutor.limits`` computes every limit of chapter 3 (a quarter of an hour) and writes
them with a card.
"""

import math
from pathlib import Path

import torch
from torch import Tensor

import skytutor
from skytutor import checkpoint
from skytutor.covariance import PixelCovariance
from skytutor.data.cmb import FLOOR, STUDIES, WIDTH, Skies, noise_per_pixel, peaked_spectrum
from skytutor.healpix import nside_to_npix

FILE = Path(skytutor.__file__).parent / "checkpoints" / "cmb-limits.json"
FIDUCIAL = {"r": 0.003, "tau": 0.054}
# of the grid of peaks, and between its points
_STEP = 0.5
_FINE = 0.01
# Added to the variance in a pixel of part of a sky. Its 3,072 values at half the sky hold some
# 2,300 waves: without noise the covariance has eigenvalues below what a double can tell from 0.
# This is 1e-6 of the faintest power, l by l.
RIDGE = 1e-9


def relative_median(values: Tensor, log_posterior: Tensor) -> Tensor:
    """The estimates ``(N,)`` that make the expected ``|estimate - true| / true`` smallest.

    Arguments:
        values: ``(G,)``, rising, positive, evenly spaced.
        log_posterior: ``(N, G)``, up to a constant for each row.

    Example:
        >>> relative_median(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[0.0, 5.0, 0.0]]))
        tensor([1.9...])
    """
    if not float(values.min()) > 0:
        raise ValueError(
            f"values must be positive, got {float(values.min())}: the error is relative to them"
        )
    mass = torch.softmax(log_posterior, 1) / values
    below = mass.cumsum(1) / mass.sum(1, keepdim=True)
    above = (below < 0.5).sum(1).clamp(1, len(values) - 1)  # first whose mass below is half
    low, high = (below.gather(1, (above - k)[:, None])[:, 0] for k in (1, 0))
    share = ((0.5 - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    step = values[1] - values[0]
    return values[above] + step * (share - 0.5)  # each value stands for the cell around it


def _check_whole(skies: Skies, studies: tuple[str, ...]) -> None:
    if skies.f_sky < 1 or skies.study not in studies:
        raise ValueError(
            f"skies must be a full sky of {', '.join(studies)}, got {skies.study} with f_sky {skies.f_sky:g}"
        )


def noise_power(skies: Skies) -> float:
    """N_l of the noise in the pixels, ``4 pi sigma**2 / P``."""
    return 4 * math.pi * skies.noise**2 / nside_to_npix(skies.nside)


def full_sky_errors(skies: Skies, *, size: int, seed: int) -> Tensor:
    """Relative errors ``(size, fields)`` of the best estimates of T1, T2 or T3, from drawn band powers, prior uniform."""
    _check_whole(skies, ("T1", "T2", "T3"))
    true = skies.draw_parameters(size, generator=torch.Generator().manual_seed(seed))
    low, high = STUDIES[skies.study][0][1:]
    values = torch.linspace(low, high, 3001, dtype=torch.float64)
    model = skies.spectra(values[:, None].expand(-1, len(skies.names)))[
        ..., skies.spin :
    ] + noise_power(skies)
    many = 2.0 * torch.arange(skies.spin, skies.lmax + 1).double() + 1  # degrees of freedom
    chi = torch.distributions.Chi2(many)
    torch.manual_seed(seed)
    out = []
    for k in range(len(skies.names)):  # T1: T. T2: E, then B. T3: E.
        here = skies.spectra(true)[:, k, skies.spin :] + noise_power(skies)
        power = here * chi.sample((size,)) / many
        logs = torch.cat(
            [
                -0.5 * (many * (p[:, None] / model[:, k] + model[:, k].log())).sum(2)
                for p in power.split(20)
            ]
        )
        out.append((relative_median(values, logs) - true[:, k]).abs() / true[:, k])
    return torch.stack(out, 1)


def fisher_full_sky(skies: Skies, parameters: Tensor) -> Tensor:
    """Standard deviations ``(n,)`` at parameters ``(n,)``: root of the diagonal of the inverse Fisher matrix, all others free.

    ``F_ij = sum_l (2 l + 1) / 2 d log(C_l + N_l) / d theta_i d log(C_l + N_l) / d theta_j``, over
    both fields.
    """
    _check_whole(skies, tuple(STUDIES))
    low, high = (
        torch.tensor([entry[k] for entry in STUDIES[skies.study]]).double() for k in (1, 2)
    )
    steps = 1e-3 * (high - low)
    if not bool(((parameters >= low + steps) & (parameters <= high - steps)).all()):
        raise ValueError(
            f"parameters must lie inside the prior, {low.tolist()} to {high.tolist()}, not at its ends; got {parameters.tolist()}"
        )
    slopes = []
    for k in range(len(parameters)):
        ends = [
            skies.spectra((parameters + sign * steps * (torch.arange(len(steps)) == k))[None])[0]
            for sign in (1, -1)
        ]
        up, down = ((end[:, skies.spin :] + noise_power(skies)).log() for end in ends)
        slopes.append((up - down) / (2 * steps[k]))
    seen = torch.isfinite(slopes[0])  # a field without power, T3's B, tells nothing
    many = (2.0 * torch.arange(skies.spin, skies.lmax + 1).double() + 1).expand_as(slopes[0])
    rows = torch.stack([torch.where(seen, s, 0) * (many / 2).sqrt() for s in slopes]).flatten(1)
    return torch.linalg.inv(rows @ rows.T).diagonal().sqrt()


def pixel_errors(skies: Skies, *, size: int, seed: int, reach: float) -> Tensor:
    """Relative errors ``(size, 2)`` of the best estimates of T2 on part of the sky, from the exact likelihood of the pixels.

    Arguments:
        reach: how far from the truth the likelihood is computed, in l: many standard deviations.
    """
    true, maps = skies.sample(size, seed=seed)
    sky = PixelCovariance(
        skies.nside, skies.lmax, spin=2, mask=skies.mask, variance=skies.noise**2 + RIDGE
    )
    parts = sky.split(maps)
    low, high = STUDIES["T2"][0][1:]
    grid = torch.arange(low, high + _STEP / 2, _STEP, dtype=torch.float64)
    logs = torch.full((size, len(grid), len(grid)), torch.nan, dtype=torch.float64)
    peaks = peaked_spectrum(grid, lmax=skies.lmax)
    peaks[:, :2] = 0
    none = torch.zeros_like(peaks[0])
    of_e, of_b = (
        [sky.matrices(torch.stack(pair)) for pair in pairs]
        for pairs in ([(p, none) for p in peaks], [(none, p) for p in peaks])
    )
    for i, j in torch.cartesian_prod(torch.arange(len(grid)), torch.arange(len(grid))).tolist():
        near = ((true - torch.stack([grid[i], grid[j]])).abs() <= reach).all(1).nonzero()[:, 0]
        if len(near):
            factors = sky.factored([a + b for a, b in zip(of_e[i], of_b[j], strict=True)])
            logs[near, i, j] = sky.likelihood_of([part[near] for part in parts], factors)
    return torch.stack(
        [_errors_of_one(grid, found, t) for found, t in zip(logs, true, strict=True)]
    )


def _errors_of_one(grid: Tensor, logs: Tensor, true: Tensor) -> Tensor:
    """Relative errors of one map's two medians, from its log-likelihoods ``(G, G)`` on the grid, NaN where not computed."""
    from scipy.interpolate import RectBivariateSpline

    seen = torch.isfinite(logs)
    rows = seen.any(1)
    columns = seen.any(0)
    spline = RectBivariateSpline(
        grid[rows].numpy(), grid[columns].numpy(), logs[rows][:, columns].numpy()
    )
    out = []
    axes = [
        torch.arange(float(grid[s][0]), float(grid[s][-1]) + _FINE / 2, _FINE, dtype=torch.float64)
        for s in (rows, columns)
    ]
    fine = torch.from_numpy(spline(axes[0].numpy(), axes[1].numpy()))
    for k in range(2):
        one = torch.logsumexp(fine, 1 - k)
        out.append((relative_median(axes[k], one[None])[0] - true[k]).abs() / true[k])
    return torch.stack(out)


def pixel_fisher_percent(skies: Skies, *, size: int, seed: int) -> Tensor:
    """Mean relative errors ``(2,)`` in %, of T2 on part of the sky, if posteriors were Gaussian: ``sqrt(2 / pi)`` of Fisher's.

    The Fisher matrix is that of the pixels, at `size` draws of the prior, both parameters free.
    """
    sky = PixelCovariance(
        skies.nside, skies.lmax, spin=2, mask=skies.mask, variance=skies.noise**2 + RIDGE
    )
    places = skies.draw_parameters(size, generator=torch.Generator().manual_seed(seed))
    out = []
    l = torch.arange(skies.lmax + 1).double()
    for place in places:
        powers = skies.spectra(place[None])[0]  # (2, L)
        slope = (powers - FLOOR).clamp(min=0) * (l - place[:, None]) / WIDTH**2
        slopes = torch.stack(
            [slope * torch.tensor([[1.0], [0.0]]), slope * torch.tensor([[0.0], [1.0]])]
        )
        matrix = sky.fisher(dict(zip(("EE", "BB"), powers, strict=True)), slopes)
        out.append(torch.linalg.inv(matrix).diagonal().sqrt() / place)
    return 100 * math.sqrt(2 / math.pi) * torch.stack(out).mean(0)


def _percent(errors: Tensor) -> dict[str, list[float]]:
    spread = errors.std(0) / len(errors) ** 0.5
    return {
        "error_percent": (100 * errors.mean(0)).tolist(),
        "standard_error": (100 * spread).tolist(),
        "maps": len(errors),
    }


def compute(*, size: int = 2000, seed: int = 12345) -> dict[str, dict]:
    """Every limit of chapter 3, by recipe."""
    out = {
        f"cmb-t1-noise{n}": _percent(
            full_sky_errors(Skies("T1", noise=float(n)), size=size, seed=seed)
        )
        for n in (0, 5, 10, 15)
    }
    out["cmb-t2-sky100"] = _percent(full_sky_errors(Skies("T2"), size=size, seed=seed))
    out["cmb-t3"] = _percent(full_sky_errors(Skies("T3"), size=size, seed=seed))
    for share, reach in ((5, 5.0), (10, 4.0), (20, 3.0), (50, 2.5)):
        skies = Skies("T2", f_sky=share / 100)
        fisher = {"fisher_percent": pixel_fisher_percent(skies, size=40, seed=seed).tolist()}
        out[f"cmb-t2-sky{share}"] = (
            _percent(pixel_errors(skies, size=size, seed=seed, reach=reach)) | fisher
        )
    for nside in (16, 32):
        place = torch.tensor([FIDUCIAL["r"], FIDUCIAL["tau"]], dtype=torch.float64)
        for noise in (0.0, 6.0):
            sigma = fisher_full_sky(
                Skies("T4", nside=nside, noise=noise_per_pixel(noise, nside)), place
            )
            out[f"cmb-t4-nside{nside}-noise{noise:.0f}"] = {
                "sigma_percent": (100 * sigma / place).tolist()
            }
    return out


def known() -> dict[str, dict]:
    """The limits that come with the package."""
    return checkpoint.read_card(FILE)["limits"]


if __name__ == "__main__":
    how = checkpoint.provenance(
        device="cpu", seed=12345, profile="gpu", command="python -m skytutor.limits"
    )
    checkpoint.write_card(FILE, how | {"limits": compute()})
    print(FILE)
