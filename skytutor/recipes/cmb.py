"""Chapter 3: parameters of a Gaussian sky, from band powers on full skies and from likelihoods on masked ones."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from skytutor import limits
from skytutor.covariance import PixelCovariance
from skytutor.data.cmb import Skies, noise_per_pixel
from skytutor.healpix.checks import as_integer
from skytutor.models.cmb import BandPowers, Estimator, LikelihoodBank
from skytutor.profile import Profile
from skytutor.recipes.base import Recipe
from skytutor.schedule import Schedule

# Seeds of drawn skies; 5,000 skies (fewer above nside 16) use one, then comes the next. `evaluate
# --seed N` draws its own, below all of these.
TEST_SEEDS = 1_000_000
VALIDATION_SEED = 1_900_000
TRAIN_SEED = 2_000_000
AT_ONCE = 5000
CERTAIN = 4000  # maps for coverage, at least
KNOTS = 6  # values of each parameter in a bank of spectra


@lru_cache(maxsize=4)
def front(skies: Skies) -> nn.Module:
    """What a network of this study reads: band powers on a full sky, likelihoods on part of one."""
    if skies.f_sky == 1:
        return BandPowers(
            skies.nside, skies.lmax, spin=skies.spin, fields=1 if skies.study in ("T1", "T3") else 2
        )
    axis = torch.linspace(0, 1, KNOTS, dtype=torch.float64)
    many = len(skies.names)
    grid = skies.from_unit(torch.cartesian_prod(*[axis] * many).view(-1, many))
    variance = skies.noise**2 + limits.RIDGE
    sky = PixelCovariance(
        skies.nside, skies.lmax, spin=skies.spin, mask=skies.mask, variance=variance
    )
    return LikelihoodBank(sky, skies.spectra(grid))


def at_once(skies: Skies) -> int:
    """Skies to draw at a time: their memory is that of 5,000 at nside 16."""
    return AT_ONCE * 16**2 // max(skies.nside, 16) ** 2


def readings(skies: Skies, size: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Parameters ``(size, n)`` of drawn skies, and what the front reads in them."""
    if as_integer("size", size) < 1:
        raise ValueError(f"size must be positive, got {size}")
    parameters = []
    read = []
    step = at_once(skies)
    for k in range(0, size, step):
        some, maps = skies.sample(min(step, size - k), seed=seed + k // step)
        parameters.append(some)
        read.append(front(skies)(maps))
    return torch.cat(parameters), torch.cat(read)


class CmbTask:
    """Training and validation on drawn skies; a `skytutor.train.Task`.

    A fixed set: each sky is drawn once, and what the front reads in it is kept. `fresh`: a new sky
    for each sample of each epoch, of the first of `kinds`.
    """

    score = "log_likelihood"

    def __init__(self, kinds: Sequence[Skies], *, size: int, held: int, fresh: bool = False):
        self.kinds = tuple(kinds)
        self.size = size
        self.fresh = fresh
        self.held = self._draw(held, VALIDATION_SEED)
        if not fresh:
            self.set = self._draw(size, TRAIN_SEED)

    def _draw(self, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Readings and scaled parameters, the kinds in equal shares."""
        some = [
            readings(skies, size // len(self.kinds), seed=seed + 1000 * k)
            for k, skies in enumerate(self.kinds)
        ]
        parameters, read = (torch.cat(part) for part in zip(*some, strict=True))
        return read, self.kinds[0].to_scale(parameters).float()

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        if not self.fresh:
            return []
        skies = self.kinds[0]
        return [
            skies.draw_parameters(n, generator=generator),
            *skies.draw_noise(n, generator=generator),
        ]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        if not self.fresh:
            return tuple(part[indices] for part in self.set)
        skies = self.kinds[0]
        return front(skies)(skies.maps(draws[0], draws[1:])), skies.to_scale(draws[0]).float()

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return -_log_likelihood(model(batch[0], ready=True), batch[1])

    def validate(self, model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        read, true = (part.to(device) for part in self.held)
        model.calibrate(model(read, ready=True), true)
        found = model(read, ready=True)
        estimate, true = (self.kinds[0].from_scale(x.cpu()) for x in (found[..., 0], true))
        worst = float(((estimate - true).abs() / true.clamp(min=1e-6)).mean(0).max())
        return {
            "log_likelihood": float(_log_likelihood(found.cpu(), self.held[1])),
            "relative_error": worst,
        }


def _log_likelihood(found: Tensor, true: Tensor) -> Tensor:
    """Mean log-density of a Gaussian with those means and deviations, the constant left out."""
    mean, log_sd = found.unbind(-1)
    return -(log_sd + 0.5 * ((true - mean) / log_sd.exp()).square()).mean()


def estimate(
    skies: Skies, model: nn.Module, size: int, *, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """True parameters and estimates ``(size, n)``, and whether the truth lies within one standard deviation."""
    true, read = readings(skies, size, seed=seed)
    return true, *_read(skies, model, true, read)


@torch.no_grad()
def _read(skies: Skies, model: nn.Module, true: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
    found = model(read.to(next(model.parameters()).device), ready=True).cpu().double()
    inside = (skies.to_scale(true) - found[..., 0]).abs() <= found[..., 1].exp()
    return skies.from_scale(found[..., 0]), inside


def _size(size: int | None, seed: int) -> int:
    if not 0 <= seed < TEST_SEEDS:
        raise ValueError(
            f"seed must lie in 0..{TEST_SEEDS - 1}, got {seed}: later ones drew the skies of training and validation"
        )
    if size is not None and not 20 <= size <= 100_000:
        raise ValueError(f"size must lie in 20..100000 skies, got {size}")
    return size or 1000


def constant_percent(skies: Skies, k: int) -> float:
    """Mean relative error, in %, of the best answer that ignores the map."""
    values = skies.from_unit(
        torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None].expand(-1, len(skies.names))
    )[:, k]
    best = limits.relative_median(values, torch.zeros(1, len(values), dtype=torch.float64))
    return float(100 * ((best - values).abs() / values).mean())


def score_errors(
    name: str,
    skies: Skies,
    model: nn.Module,
    seed: int,
    size: int | None,
    source: str | None = None,
) -> dict[str, Any]:
    """T1 to T3: mean relative error in % over `size` drawn skies, its standard error, and coverage over 4,000 or more."""
    size = _size(size, seed)
    true, found, inside = estimate(skies, model, max(size, CERTAIN), seed=seed)
    errors = (100 * (found - true).abs() / true)[:size]
    keys = ("error_percent",) if len(skies.names) == 1 else ("error_e_percent", "error_b_percent")
    scores = dict(zip(keys, errors.mean(0).tolist(), strict=True))
    scores["standard_error"] = (errors.std(0) / size**0.5).tolist()
    scores |= _coverage(inside)
    constant = {key: constant_percent(skies, k) for k, key in enumerate(keys)}
    told = {"size": size, "data": f"{skies.study}, drawn", "scores": scores, "constant": constant}
    known = limits.known().get(name)
    return told | ({"limit": dict(zip(keys, known["error_percent"], strict=True))} if known else {})


def _coverage(inside: Tensor) -> dict[str, Any]:
    """Shares of the truths within one standard deviation; of several parameters, the one farthest from 68.27 %."""
    each = inside.double().mean(0).tolist()
    return {"coverage68": _farthest(each), "coverage68_each": each, "coverage_maps": len(inside)}


def _farthest(shares: Iterable[float]) -> float:
    return max(shares, key=lambda share: abs(share - 0.6827))


def score_r_tau(
    kinds: Sequence[Skies], model: nn.Module, seed: int, size: int | None, source: str | None = None
) -> dict[str, Any]:
    """T4: how the mean estimate of r answers to the true r around 0.003, and errors there over Fisher's; the worst of all noises."""
    size = _size(size, seed)
    rows = {}
    place = torch.tensor([limits.FIDUCIAL["r"], limits.FIDUCIAL["tau"]], dtype=torch.float64)
    for skies, level in zip(kinds, ("noise0", "noise6"), strict=True):
        inside = estimate(skies, model, max(size, CERTAIN), seed=seed)[2]
        at = partial(_at, skies, model, size, seed)
        errors = (at(place) - place).square().mean(0).sqrt()
        over = (errors / limits.fisher_full_sky(skies, place)).tolist()
        shifts = torch.tensor([-0.001, -0.0005, 0.0005, 0.001], dtype=torch.float64)
        means = torch.stack([at(place + torch.stack([s, 0 * s]))[:, 0].mean() for s in shifts])
        slope = float((shifts * (means - means.mean())).sum() / shifts.square().sum())
        rows[level] = {
            "slope_r": slope,
            "rmse_over_fisher_r": over[0],
            "rmse_over_fisher_tau": over[1],
            **_coverage(inside),
        }
    scores = {"slope_r": max((row["slope_r"] for row in rows.values()), key=lambda s: abs(s - 1))}
    scores |= {
        key: max(row[key] for row in rows.values())
        for key in ("rmse_over_fisher_r", "rmse_over_fisher_tau")
    }
    scores["coverage68"] = _farthest(row["coverage68"] for row in rows.values())
    return {
        "size": size,
        "data": "T4, drawn",
        "scores": scores | rows,
        "constant": {"slope_r": 0.0},
        "limit": {"slope_r": 1.0, "rmse_over_fisher_r": 1.0, "rmse_over_fisher_tau": 1.0},
    }


def _at(skies: Skies, model: nn.Module, size: int, seed: int, place: Tensor) -> Tensor:
    """Estimates ``(size, n)`` of skies that all have the same parameters; the same seed gives the same dice."""
    draw = torch.Generator().manual_seed(seed + 77_777)
    out = []
    for k in range(0, size, at_once(skies)):
        true = place.expand(min(at_once(skies), size - k), -1)
        maps = skies.maps(true, skies.draw_noise(len(true), generator=draw))
        out.append(_read(skies, model, true, front(skies)(maps))[0])
    return torch.cat(out)


def _look(skies: Skies, maps: Tensor) -> Tensor:
    return front(skies)(maps)


def _build(skies: Skies, width: int) -> Estimator:
    return Estimator(
        front(skies).size, outputs=len(skies.names), width=width, front=partial(_look, skies)
    )


_FULL = Schedule(epochs=20, batch_size=256, lr=2e-3, weight_decay=0.1, average=0.999, warmup=0.1)
_PATCH = replace(
    _FULL, epochs=60, weight_decay=0.01
)  # likelihoods far apart: more to learn between them


def _recipe(
    name: str,
    summary: str,
    kinds: Sequence[Skies],
    published: dict[str, float],
    *,
    size: int,
    held: int = 8000,
) -> Recipe:
    plan, width = (_FULL, 64) if kinds[0].f_sky == 1 else (_PATCH, 256)

    def task(profile: Profile) -> CmbTask:
        many = profile.pick(smoke=2000, cpu=20_000, gpu=size)
        return CmbTask(kinds, size=many, held=profile.pick(smoke=400, cpu=2000, gpu=held))

    score = (
        partial(score_r_tau, kinds)
        if kinds[0].study == "T4"
        else partial(score_errors, name, kinds[0])
    )
    small = {
        "smoke": replace(plan, batch_size=64, average=0.98),
        "cpu": replace(plan, batch_size=64, average=0.995),
    }
    return Recipe(
        name=name,
        chapter=3,
        summary=summary,
        build=partial(_build, kinds[0], width),
        task=task,
        schedules={**small, "gpu": plan},
        score=score,
        published=published,
        half=False,
    )


def _t1(noise: int, *published: float) -> Recipe:
    told = dict(
        zip(
            ("Krachmalnicoff & Tomasi 2019", "spectral CNN, corrected", "spectrum fit, MCMC"),
            published,
            strict=True,
        )
    )
    return _recipe(
        f"cmb-t1-noise{noise}",
        f"Peak of a temperature spectrum, noise {noise}",
        [Skies("T1", noise=float(noise))],
        told,
        size=200_000,
    )


def _t2(share: int, pixel: float, spectral: float) -> Recipe:
    told = {"Krachmalnicoff & Tomasi 2019": pixel, "spectral CNN, corrected": spectral}
    return _recipe(
        f"cmb-t2-sky{share}",
        f"Peaks of the E and B spectra, {share} % of the sky",
        [Skies("T2", f_sky=share / 100)],
        told,
        size=200_000 if share == 100 else 60_000,
    )


def _t4(nside: int) -> Recipe:
    kinds = [Skies("T4", nside=nside, noise=noise_per_pixel(noise, nside)) for noise in (0.0, 6.0)]
    return _recipe(
        f"cmb-t4-nside{nside}",
        f"r and tau, full sky, Nside {nside}, noise 0 and 6 muK arcmin",
        kinds,
        {},
        size=120_000,
        held=8000 if nside == 16 else 20_000,
    )


CMB = (
    _t1(0, 1.3, 1.27, 0.66),
    _t1(5, 2.9, 3.58, 2.43),
    _t1(10, 5.2, 6.81, 4.41),
    _t1(15, 8.4, 11.98, 7.20),
    _t2(100, 2.7, 2.61),
    _t2(50, 3.9, 2.93),
    _t2(20, 5.3, 4.07),
    _t2(10, 6.4, 5.02),
    _t2(5, 8.4, 5.83),
    _recipe(
        "cmb-t3",
        "Optical depth tau from E, full sky",
        [Skies("T3")],
        {
            "Krachmalnicoff & Tomasi 2019": 4.0,
            "spectral CNN, corrected": 3.73,
            "spectrum fit, MCMC": 3.07,
        },
        size=200_000,
    ),
    _t4(16),
    _t4(32),
)
