"""Training of the bridge from photographic plates to g, r and i, its scores and its recipe."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation.bridge import BandBridge
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.question import Names, band_question
from skytutor.chapters.translation.scored_scenes import SceneBatch, draw_batches
from skytutor.chapters.translation.scores import decibels, on_device, score_plates
from skytutor.chapters.translation.source_scores import measured_flux
from skytutor.chapters.translation.stretch import stretched, unstretched
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS
from skytutor.chapters.translation.task import BandsTask
from skytutor.chapters.weights import load_needed
from skytutor.data.bands import EMPTY, SceneSimulator
from skytutor.data.surveys import BANDS, faint_error
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

__all__ = ["BridgeTask", "central_interval", "make_flow_recipe", "score_coverage"]

_PLATES = PUBLISHED["plates"]
_LEVEL = 0.68
_SAMPLES = 16
_COVERAGE_SCENES = 100
_SIGNIFICANT = 5.0  # of a source in the best of the plates
_LATE = 0.1  # keeps the weight of late times finite
_FLOOR = 0.05  # stretched: pixels known better than this do not count more for it
_VALIDATION_CHUNK = 25


class BridgeTask(BandsTask):
    """Scenes of `BandsTask` with a time and a noise for each.

    Arguments:
        simulator: to draw from, on the device of the training.
        size: scenes in the table.
        n_validation: scenes to validate on.
        seed: number of the training set.
    """

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return images, ivar, truth ``(B, F, H, H)``, noise ``(B, T, H, H)``, time ``(B,)``.

        Arguments:
            indices: of the scenes.
            draws: what `draw` gave.
        """
        images, ivar, truth, *_ = super().batch(indices, draws)
        # The columns that choose bands in `BandsTask` are free here: the plates are always given.
        rows = draws[0]
        time = rows[:, 3].float().to(images.device)
        noise = []
        for number in rows[:, 4].tolist():
            rng = torch.Generator(images.device).manual_seed(int(number * 2**53))
            shape = (len(TARGETS), *images.shape[-2:])
            noise.append(torch.randn(shape, generator=rng, device=images.device))
        return images, ivar, truth, torch.stack(noise), time

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the mean squared error of where the way leads, late times the heavier.

        Added to it is how unlikely the translator's errors are by the deviations that the model
        says of them. Pixels of which much is known count more than others.

        Arguments:
            model: a `BandBridge`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        images, ivar, truth, noise, time = batch
        own = getattr(model, "module", model)  # as Fabric wraps it
        assert isinstance(own, BandBridge)
        wanted = stretched(truth[:, own.rows], self.softening[own.rows])
        condition = own.condition(images, ivar)
        t = time[:, None, None, None]
        way = (1 - t) * own.start(condition, noise) + t * wanted
        found = model(way, time, condition)
        spread = own.deviation(condition)
        answer = condition[:, len(own.rows) : 2 * len(own.rows)]
        unlikely = spread.log() + ((answer - wanted) / spread).square() / 2
        weight = 1 / (spread.detach().square() + _FLOOR**2)
        # Relative: the loss keeps its size while deviations are still being learned.
        error: Tensor = (weight / weight.mean() * (found - wanted).square()).mean((1, 2, 3))
        # The error of the velocity is that of the end over what is left of the way.
        return (error / (1 - time + _LATE)).mean() + unlikely.mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the PSNR of the mean of four samples.

        Arguments:
            model: a `BandBridge`, in evaluation mode.
        """
        assert isinstance(model, BandBridge)
        squares = []
        seen = self.validation
        softening = self.softening[model.rows]
        for first in range(0, len(seen.images), _VALIDATION_CHUNK):
            part = slice(first, first + _VALIDATION_CHUNK)
            flux = model.predict(seen.images[part], seen.ivar[part], n_samples=4)
            error = stretched(flux, softening) - stretched(seen.truth[part, model.rows], softening)
            squares.append(error.square().mean((1, 2, 3)))
        return {"psnr": decibels(torch.cat(squares))}


def central_interval(samples: Tensor, *, level: float) -> tuple[Tensor, Tensor]:
    """Return the ends of the interval that holds one more sample with a probability of `level`.

    Of S samples and one more, any order is as likely: below the k-th smallest the other lies with a
    probability of ``k / (S + 1)``. Between the samples the ends are interpolated.

    Arguments:
        samples: ``(S, ...)``.
        level: between 0 and 1.

    Raises:
        ValueError: a level outside 0..1, or too few samples for it.

    Example:
        >>> low, high = central_interval(torch.arange(1.0, 10.0), level=0.6)
        >>> float(low), float(high)
        (2.0, 8.0)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}")
    n = len(samples)
    rank = (1 - level) / 2 * (n + 1)  # from 1 on
    if n < 2 or rank < 1:
        raise ValueError(f"samples must be more than {n} for an interval of level {level:g}")
    part = (rank - 1) / (n - 1)
    ends = torch.tensor([part, 1 - part], dtype=samples.dtype, device=samples.device)
    low, high = samples.quantile(ends, dim=0)
    return low, high


def score_coverage(model: BandBridge, *, seed: int, size: int) -> dict[str, float]:
    """Return for which part of the sources 68 % of the samples' fluxes hold the true one, by band.

    Arguments:
        model: in evaluation mode.
        seed: of the generator that draws scenes and noise.
        size: scenes.
    """
    device = model.given.device
    simulator = SceneSimulator(device=device)
    softening = model.translator.softening[model.rows]
    # Scenes are drawn on the CPU, whichever device they are shown on.
    rng = torch.Generator().manual_seed(seed)
    noise = rng if device.type == "cpu" else torch.Generator(device).manual_seed(seed)
    plates = [simulator.bands.index(name) for name in _PLATES]
    errors = torch.tensor([faint_error(BANDS[name]) for name in _PLATES], device=device)
    held = []
    for batch in draw_batches(simulator, size, generator=rng):
        seen = batch.seen
        samples = model.sample(seen.images, seen.ivar, _SAMPLES, generator=noise)
        fluxes = [
            measured_flux(simulator, batch, unstretched(one, softening), model.rows)
            for one in samples
        ]
        truth = batch.scenes.source_flux()[batch.scenes.kind != EMPTY]
        clear = (truth[:, plates] / errors).amax(1) > _SIGNIFICANT
        low, high = central_interval(torch.stack(fluxes), level=_LEVEL)
        wanted = truth[:, model.rows]
        held.append(((wanted > low) & (wanted < high))[clear])
    parts = torch.cat(held).double().mean(0).tolist()
    return dict(zip(TARGETS, parts, strict=True))


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Scenes are drawn: there is no source to choose.
    number = SEEDS.test_seed(seed)
    scenes = _COVERAGE_SCENES if size is None else min(size, _COVERAGE_SCENES)
    with on_device(model) as own:
        assert isinstance(own, BandBridge)
        predict = own.predict

        def translate(batch: SceneBatch) -> Tensor:
            return predict(batch.seen.images, batch.seen.ivar)

        found = score_plates(translate, seed=number, size=size, device=own.given.device)
        found.scores["coverage"] = score_coverage(own, seed=number, size=scenes)
    return found


def _translate(
    model: nn.Module, images: Tensor, ivar: Tensor, bands: Names, targets: Names
) -> tuple[Tensor, Tensor]:
    assert isinstance(model, BandBridge)
    rows = [TARGETS.index(name) for name in targets]
    softening = model.translator.softening
    shown = (images.to(softening.device), ivar.to(softening.device))
    # Always the same noise: who asks twice gets the same answer.
    rng = torch.Generator(softening.device).manual_seed(0)
    samples = unstretched(model.sample(*shown, _SAMPLES, generator=rng), softening[model.rows])
    return model.predict(*shown)[:, rows], samples.std(0)[:, rows]


def _build() -> BandBridge:
    translator = load_needed("bands-flux", needed_for="the recipe bands-flow")
    assert isinstance(translator, BandTranslator)
    return BandBridge(_PLATES, TARGETS, translator=translator)


def _task(profile: Profile) -> BridgeTask:
    size, n_validation = profile.pick(smoke=(8, 4), cpu=(2000, 50), gpu=(32_000, 200))
    simulator = SceneSimulator(device=profile.device)
    return BridgeTask(simulator, size=size, n_validation=n_validation)


def make_flow_recipe() -> Recipe:
    """Return the recipe of the bridge."""
    return Recipe(
        name="bands-flow",
        build=_build,
        task=_task,
        schedules={
            "smoke": Schedule(epochs=1, batch_size=4, lr=2e-3),
            "cpu": Schedule(epochs=1, batch_size=16, lr=2e-3),
            "gpu": Schedule(epochs=8, batch_size=32, lr=2e-3),
        },
        seeds=SEEDS,
        score=_score,
        published={},
        question=band_question(
            _translate,
            bands=_PLATES,
            targets=TARGETS,
            fixed=True,
            values="mean of samples, without noise, of stretched values",
            errors=f"standard deviations of {_SAMPLES} samples",
        ),
    )
