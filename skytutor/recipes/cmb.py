"""Chapter 3: parameters of a Gaussian sky.

On a full sky they are estimated from C_l, on part of one from likelihoods.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from skytutor import limits
from skytutor.covariance import PixelCovariance
from skytutor.data.cmb import GaussianSkySimulator, noise_per_pixel
from skytutor.models.cmb import Estimator, LikelihoodGrid, LogPowerSpectrum
from skytutor.profile import Profile
from skytutor.recipes.base import Recipe, Scores
from skytutor.schedule import Schedule, Task
from skytutor.validate import as_integer

# Seeds of drawn skies. A batch of skies (see `batch_size`) uses one seed and the next batch the
# next. `evaluate --seed N` draws its own, below all of these.
TEST_SEEDS = 1_000_000
VALIDATION_SEED = 1_900_000
TRAIN_SEED = 2_000_000
BATCH = 5000  # skies drawn at a time, at nside 16
MIN_COVERAGE_MAPS = 4000  # coverage is measured over as many maps at least
KNOTS = 6  # values of each parameter in a grid of spectra


@lru_cache(maxsize=4)
def summary_statistics(simulator: GaussianSkySimulator) -> LogPowerSpectrum | LikelihoodGrid:
    """Return what reduces maps of this study to numbers: ``(N, [2,] P)`` to ``(N, F)``.

    On a full sky these are the logarithms of C_l, on part of one the likelihoods of spectra on a
    grid of parameters.

    Arguments:
        simulator: of the study.
    """
    if simulator.f_sky == 1:
        fields = 1 if simulator.study in ("T1", "T3") else 2
        return LogPowerSpectrum(simulator.nside, simulator.lmax, spin=simulator.spin, fields=fields)
    # A grid of KNOTS values of each parameter, evenly spaced under the prior: (KNOTS**n, n).
    axis = torch.linspace(0, 1, KNOTS, dtype=torch.float64)
    n_parameters = len(simulator.names)
    unit = torch.cartesian_prod(*[axis] * n_parameters).view(-1, n_parameters)
    covariance = PixelCovariance(
        simulator.nside,
        simulator.lmax,
        spin=simulator.spin,
        mask=simulator.mask,
        variance=simulator.noise**2 + limits.RIDGE,
    )
    return LikelihoodGrid(covariance, simulator.spectra(simulator.prior_transform(unit)))


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


class CmbTask(Task):
    """Training and validation of an `Estimator` on drawn skies.

    Arguments:
        simulators: of the studies to train on, in equal shares; the prior is that of the first.
        size: skies in an epoch.
        n_validation: skies to validate on.
        resample: draw a new sky, of the first simulator, for each sample of each epoch. Otherwise
            each sky is drawn once, and its summary statistics are kept.
    """

    score = "log_likelihood"

    def __init__(
        self,
        simulators: Sequence[GaussianSkySimulator],
        *,
        size: int,
        n_validation: int,
        resample: bool = False,
    ):
        self.simulators = tuple(simulators)
        self.size = size
        self.resample = resample
        self.validation_set = self._draw_set(n_validation, VALIDATION_SEED)
        self.training_set = None if resample else self._draw_set(size, TRAIN_SEED)

    def _draw_set(self, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return summary statistics ``(size, F)`` and normalised parameters ``(size, n)``."""
        parameters = []
        summaries = []
        each = size // len(self.simulators)
        for k, simulator in enumerate(self.simulators):
            # Seeds 1000 apart, so that no two simulators share one.
            drawn, summary = draw_summaries(simulator, each, seed=seed + 1000 * k)
            parameters.append(drawn)
            summaries.append(summary)
        target = self.simulators[0].normalise(torch.cat(parameters)).float()
        return torch.cat(summaries), target

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw parameters and white noise of n new skies; nothing if the skies are fixed.

        Arguments:
            n: samples in the batch.
            generator: of the random numbers.
        """
        if self.training_set is not None:
            return []
        simulator = self.simulators[0]
        parameters = simulator.draw_parameters(n, generator=generator)
        return [parameters, *simulator.draw_noise(n, generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return summary statistics ``(B, F)`` and normalised parameters ``(B, n)``.

        Arguments:
            indices: ``(B,)``, numbers of fixed skies.
            draws: what `draw` gave.
        """
        if self.training_set is not None:
            summaries, target = self.training_set
            return summaries[indices], target[indices]
        simulator = self.simulators[0]
        parameters = draws[0]
        maps = simulator.maps(parameters, draws[1:])
        return summary_statistics(simulator)(maps), simulator.normalise(parameters).float()

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the mean negative log-likelihood of the parameters, a scalar.

        Arguments:
            model: an `Estimator`.
            batch: what `batch` gave.
        """
        summaries, target = batch
        return -_log_likelihood(model(summaries, precomputed=True), target)

    def finalise(self, model: nn.Module) -> None:
        """Calibrate the standard deviations on the validation skies.

        Arguments:
            model: an `Estimator`, in evaluation mode.
        """
        assert isinstance(model, Estimator)
        summaries, target = self._validation_on(model)
        model.calibrate(model(summaries, precomputed=True), target)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the log-likelihood, and the largest mean relative error of a parameter.

        Arguments:
            model: an `Estimator`, in evaluation mode.
        """
        summaries, target = self._validation_on(model)
        answers = model(summaries, precomputed=True).cpu()
        found = self.simulators[0].unnormalise(answers[..., 0])
        true = self.simulators[0].unnormalise(target.cpu())
        # r may be 0: its error is then relative to 1e-6.
        relative = ((found - true).abs() / true.clamp(min=1e-6)).mean(0)
        return {
            "log_likelihood": float(_log_likelihood(answers, target.cpu())),
            "relative_error": float(relative.max()),
        }

    def _validation_on(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the validation set on the device of the model."""
        device = next(model.parameters()).device
        summaries, target = self.validation_set
        return summaries.to(device), target.to(device)


def _log_likelihood(answers: Tensor, true: Tensor) -> Tensor:
    """Return the mean log-density of a Gaussian at `true` ``(B, n)``, the constant left out.

    Arguments:
        answers: means and logarithms of standard deviations, ``(B, n, 2)``.
        true: the parameters.
    """
    mean, log_sd = answers.unbind(-1)
    return -(log_sd + 0.5 * ((true - mean) / log_sd.exp()).square()).mean()


def estimate(
    simulator: GaussianSkySimulator, model: nn.Module, size: int, *, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw skies and estimate their parameters.

    Arguments:
        simulator: of the study.
        model: an `Estimator`, in evaluation mode.
        size: number of skies.
        seed: of the skies.

    Returns:
        true parameters and estimates ``(size, n)`` float64, and whether the truth lies within one
        standard deviation, ``(size, n)`` bool.
    """
    true, summaries = draw_summaries(simulator, size, seed=seed)
    found, inside = _estimate_from(simulator, model, true, summaries)
    return true, found, inside


@torch.no_grad()
def _estimate_from(
    simulator: GaussianSkySimulator, model: nn.Module, true: Tensor, summaries: Tensor
) -> tuple[Tensor, Tensor]:
    """Return estimates from summary statistics, and whether the truth lies within one sd."""
    device = next(model.parameters()).device
    answers = model(summaries.to(device), precomputed=True).cpu().double()
    mean = answers[..., 0]
    sd = answers[..., 1].exp()
    inside = (simulator.normalise(true) - mean).abs() <= sd
    return simulator.unnormalise(mean), inside


def _check_size(size: int | None, seed: int) -> int:
    """Return the number of test skies, 1,000 unless it is given, once size and seed are checked."""
    if not 0 <= seed < TEST_SEEDS:
        raise ValueError(
            f"seed must lie in 0..{TEST_SEEDS - 1}, got {seed}: later ones drew the skies of "
            "training and validation"
        )
    if size is not None and not 20 <= size <= 100_000:
        raise ValueError(f"size must lie in 20..100000 skies, got {size}")
    return size or 1000


def constant_percent(simulator: GaussianSkySimulator, k: int) -> float:
    """Return the mean relative error, in %, of the best answer that ignores the map.

    Arguments:
        simulator: whose prior counts.
        k: number of the parameter.
    """
    unit = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    values = simulator.prior_transform(unit.expand(-1, len(simulator.names)))[:, k]
    flat = torch.zeros(1, len(values), dtype=torch.float64)
    best = limits.relative_median(values, flat)
    return float(100 * ((best - values).abs() / values).mean())


def score_errors(
    name: str,
    simulator: GaussianSkySimulator,
    model: nn.Module,
    seed: int,
    size: int | None,
    source: str | None = None,
) -> Scores:
    """Score T1 to T3: the mean relative error in %, its standard error, and coverage.

    Arguments:
        name: of the recipe, under which its limit stands.
        simulator: of the study.
        model: an `Estimator`, in evaluation mode.
        seed: of the test skies.
        size: number of skies for the error, default 1,000; coverage takes 4,000 or more.
        source: has no meaning here.
    """
    size = _check_size(size, seed)
    true, found, inside = estimate(simulator, model, max(size, MIN_COVERAGE_MAPS), seed=seed)
    errors = (100 * (found - true).abs() / true)[:size]
    keys = ["error_percent"]
    if len(simulator.names) == 2:
        keys = ["error_e_percent", "error_b_percent"]
    scores: dict[str, Any] = dict(zip(keys, errors.mean(0).tolist(), strict=True))
    scores["standard_error"] = (errors.std(0) / size**0.5).tolist()
    scores |= _coverage(inside)
    limit = limits.load_limits().get(name)
    return Scores(
        scores=scores,
        constant={key: constant_percent(simulator, k) for k, key in enumerate(keys)},
        size=size,
        data=f"{simulator.study}, drawn",
        limit=dict(zip(keys, limit["error_percent"], strict=True)) if limit else None,
    )


def _coverage(inside: Tensor) -> dict[str, Any]:
    """Return how many truths lie within one standard deviation.

    Of several parameters, "coverage68" is the fraction that is farthest from 68.27 %.
    """
    each = inside.double().mean(0).tolist()
    return {"coverage68": _farthest(each), "coverage68_each": each, "coverage_maps": len(inside)}


def _farthest(fractions: Sequence[float]) -> float:
    """Return the fraction that is farthest from 68.27 %."""
    return max(fractions, key=lambda fraction: abs(fraction - 0.6827))


def score_r_tau(
    simulators: Sequence[GaussianSkySimulator],
    model: nn.Module,
    seed: int,
    size: int | None,
    source: str | None = None,
) -> Scores:
    """Score T4 around r = 0.003, without noise and with it; each score is the worse of the two.

    "slope_r" is that of the mean estimate of r over the true r, 1 for an unbiased estimate.
    "rmse_over_fisher_r" and "_tau" are errors at the fiducial parameters over those that the
    Fisher matrix allows.

    Arguments:
        simulators: of the study, without noise and with 6 muK arcmin.
        model: an `Estimator`, in evaluation mode.
        seed: of the test skies.
        size: number of skies at each true value, default 1,000; coverage takes 4,000 or more.
        source: has no meaning here.
    """
    size = _check_size(size, seed)
    rows = {}
    for simulator, level in zip(simulators, ("noise0", "noise6"), strict=True):
        rows[level] = _score_around_fiducial(simulator, model, size=size, seed=seed)
    slopes = [row["slope_r"] for row in rows.values()]
    scores = {"slope_r": max(slopes, key=lambda slope: abs(slope - 1))}
    for key in ("rmse_over_fisher_r", "rmse_over_fisher_tau"):
        scores[key] = max(row[key] for row in rows.values())
    scores["coverage68"] = _farthest([row["coverage68"] for row in rows.values()])
    return Scores(
        scores=scores | rows,
        constant={"slope_r": 0.0},
        size=size,
        data="T4, drawn",
        limit={"slope_r": 1.0, "rmse_over_fisher_r": 1.0, "rmse_over_fisher_tau": 1.0},
    )


def _score_around_fiducial(
    simulator: GaussianSkySimulator, model: nn.Module, *, size: int, seed: int
) -> dict[str, Any]:
    """Return slope, errors over Fisher's and coverage for one level of noise."""
    # Coverage: over the whole prior.
    inside = estimate(simulator, model, max(size, MIN_COVERAGE_MAPS), seed=seed)[2]
    # Errors: at the fiducial parameters.
    fiducial = torch.tensor([limits.FIDUCIAL["r"], limits.FIDUCIAL["tau"]], dtype=torch.float64)
    found = _estimates_at(simulator, model, fiducial, size=size, seed=seed)
    rmse = (found - fiducial).square().mean(0).sqrt()
    over_fisher = (rmse / limits.fisher_full_sky(simulator, fiducial)).tolist()
    # Slope: r is shifted, tau held; a straight line is fitted to the mean estimates of r.
    shifts = torch.tensor([-0.001, -0.0005, 0.0005, 0.001], dtype=torch.float64)
    means = []
    for shift in shifts:
        shifted = fiducial + torch.stack([shift, torch.zeros_like(shift)])
        found = _estimates_at(simulator, model, shifted, size=size, seed=seed)
        means.append(found[:, 0].mean())
    response = torch.stack(means)
    slope = (shifts * (response - response.mean())).sum() / shifts.square().sum()
    return {
        "slope_r": float(slope),
        "rmse_over_fisher_r": over_fisher[0],
        "rmse_over_fisher_tau": over_fisher[1],
        **_coverage(inside),
    }


def _estimates_at(
    simulator: GaussianSkySimulator, model: nn.Module, parameters: Tensor, *, size: int, seed: int
) -> Tensor:
    """Return estimates ``(size, n)`` from skies that all have the same parameters ``(n,)``.

    A seed gives the same random numbers whatever the parameters, so that estimates at two values
    differ by what the parameters do alone.
    """
    rng = torch.Generator().manual_seed(seed + 77_777)
    out = []
    step = batch_size(simulator)
    for start in range(0, size, step):
        true = parameters.expand(min(step, size - start), -1)
        maps = simulator.maps(true, simulator.draw_noise(len(true), generator=rng))
        summaries = summary_statistics(simulator)(maps)
        found, _ = _estimate_from(simulator, model, true, summaries)
        out.append(found)
    return torch.cat(out)


def _extract(simulator: GaussianSkySimulator, maps: Tensor) -> Tensor:
    """Return the summary statistics of maps; made when first called, for its tables take time."""
    return summary_statistics(simulator)(maps)


def _build(simulator: GaussianSkySimulator, width: int) -> Estimator:
    return Estimator(
        summary_statistics(simulator).size,
        outputs=len(simulator.names),
        width=width,
        summary=partial(_extract, simulator),
    )


_FULL = Schedule(epochs=20, batch_size=256, lr=2e-3, weight_decay=0.1, average=0.999, warmup=0.1)
# Likelihoods on a grid are far apart: there is more to learn between them.
_PATCH = replace(_FULL, epochs=60, weight_decay=0.01)


def _recipe(
    name: str,
    summary: str,
    simulators: Sequence[GaussianSkySimulator],
    published: dict[str, float],
    *,
    size: int,
    n_validation: int = 8000,
) -> Recipe:
    full_sky = simulators[0].f_sky == 1
    schedule = _FULL if full_sky else _PATCH
    width = 64 if full_sky else 256

    def task(profile: Profile) -> CmbTask:
        return CmbTask(
            simulators,
            size=profile.pick(smoke=2000, cpu=20_000, gpu=size),
            n_validation=profile.pick(smoke=400, cpu=2000, gpu=n_validation),
        )

    if simulators[0].study == "T4":
        score = partial(score_r_tau, simulators)
    else:
        score = partial(score_errors, name, simulators[0])
    return Recipe(
        name=name,
        chapter=3,
        summary=summary,
        build=partial(_build, simulators[0], width),
        task=task,
        schedules={
            "smoke": replace(schedule, batch_size=64, average=0.98),
            "cpu": replace(schedule, batch_size=64, average=0.995),
            "gpu": schedule,
        },
        score=score,
        published=published,
        float16=False,
    )


def _t1(noise: int, pixel: float, spectral: float, fit: float) -> Recipe:
    published = {
        "Krachmalnicoff & Tomasi 2019": pixel,
        "spectral CNN, corrected": spectral,
        "spectrum fit, MCMC": fit,
    }
    return _recipe(
        f"cmb-t1-noise{noise}",
        f"Peak of a temperature spectrum, noise {noise}",
        [GaussianSkySimulator("T1", noise=float(noise))],
        published,
        size=200_000,
    )


def _t2(sky_percent: int, pixel: float, spectral: float) -> Recipe:
    published = {"Krachmalnicoff & Tomasi 2019": pixel, "spectral CNN, corrected": spectral}
    return _recipe(
        f"cmb-t2-sky{sky_percent}",
        f"Peaks of the E and B spectra, {sky_percent} % of the sky",
        [GaussianSkySimulator("T2", f_sky=sky_percent / 100)],
        published,
        size=200_000 if sky_percent == 100 else 60_000,
    )


def _t3() -> Recipe:
    published = {
        "Krachmalnicoff & Tomasi 2019": 4.0,
        "spectral CNN, corrected": 3.73,
        "spectrum fit, MCMC": 3.07,
    }
    return _recipe(
        "cmb-t3",
        "Optical depth tau from E, full sky",
        [GaussianSkySimulator("T3")],
        published,
        size=200_000,
    )


def _t4(nside: int) -> Recipe:
    simulators = []
    for noise in (0.0, 6.0):
        pixel = noise_per_pixel(noise, nside)
        simulators.append(GaussianSkySimulator("T4", nside=nside, noise=pixel))
    return _recipe(
        f"cmb-t4-nside{nside}",
        f"r and tau, full sky, Nside {nside}, noise 0 and 6 muK arcmin",
        simulators,
        {},
        size=120_000,
        n_validation=8000 if nside == 16 else 20_000,
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
    _t3(),
    _t4(16),
    _t4(32),
)
