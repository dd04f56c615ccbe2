"""What chapter 3 trains: one network for each published test, and the figures beside it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from skytutor.chapters.cmb.limits import load_limits
from skytutor.chapters.cmb.networks import Estimator
from skytutor.chapters.cmb.question import make_question
from skytutor.chapters.cmb.scores import score_errors, score_r_tau
from skytutor.chapters.cmb.summaries import summary_statistics
from skytutor.chapters.cmb.task import CmbTask
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import CMB as SEEDS
from skytutor.data.cmb import GaussianSkySimulator, noise_per_pixel
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule


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


def _schedules(full: Schedule) -> dict[str, Schedule]:
    """Return the schedules of a recipe by profile name: the full one, and its short versions."""
    return {
        "smoke": replace(full, batch_size=64, average=0.98),
        "cpu": replace(full, batch_size=64, average=0.995),
        "gpu": full,
    }


def _recipe(
    name: str,
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

    def score(
        model: nn.Module, *, seed: int, size: int | None, source: str | None = None
    ) -> Scores:
        # Skies are drawn: there is no source to choose.
        seed = SEEDS.test_seed(seed)
        if simulators[0].study == "T4":
            return score_r_tau(simulators, model, seed=seed, size=size)
        limit = load_limits().get(name, {}).get("error_percent")
        return score_errors(simulators[0], model, seed=seed, size=size, limit_percent=limit)

    return Recipe(
        name=name,
        build=partial(_build, simulators[0], width),
        task=task,
        schedules=_schedules(schedule),
        seeds=SEEDS,
        score=score,
        published=published,
        float16=False,
        question=make_question(simulators),
    )


def _t1(noise: int, pixel: float, spectral: float, fit: float) -> Recipe:
    published = {
        "Krachmalnicoff & Tomasi 2019": pixel,
        "spectral CNN, corrected": spectral,
        "spectrum fit, MCMC": fit,
    }
    return _recipe(
        f"cmb-t1-noise{noise}",
        [GaussianSkySimulator("T1", noise=float(noise))],
        published,
        size=200_000,
    )


def _t2(sky_percent: int, pixel: float, spectral: float) -> Recipe:
    published = {"Krachmalnicoff & Tomasi 2019": pixel, "spectral CNN, corrected": spectral}
    return _recipe(
        f"cmb-t2-sky{sky_percent}",
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
        simulators,
        {},
        size=120_000,
        n_validation=8000 if nside == 16 else 20_000,
    )


RECIPES = (
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
