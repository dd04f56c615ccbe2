r"""Training of a `SourceTranslator`: sources of scenes that its translator never saw, drawn once.

A source's flux in a corrected image is measured as it will be scored, by least squares of all true
sources of the scene. That is linear in the image, so in the corrections too: the flux that each
true source j has in the light of each found source s, and in a point in its place, is worked out
once for each scene, and no image is needed in training,

.. math:: F_{jt} = \sum_s \bigl[ a_{st}\, P_{jst} + b_{st}\, Y_{jst} \bigr] + R_{jt} .

Shapes: B scenes, J true sources, S places for those found, F bands, T that are asked for.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.chapters.parts import TableTask, draw_parts
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation.limits import flux_in_images
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.source_finding import PLACES
from skytutor.chapters.translation.source_fits import point_images
from skytutor.chapters.translation.source_network import (
    MeasuredScenes,
    SourceAnswer,
    SourceTranslator,
)
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS, draw_given, given_bands
from skytutor.chapters.weights import load_needed
from skytutor.data.bands import EMPTY, STAR, Observation, Scenes, SceneSimulator
from skytutor.data.surveys import BANDS, faint_error
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

__all__ = ["SCHEDULES", "SourcesTask", "build_sources", "source_sizes"]

SCHEDULES = {
    "smoke": Schedule(epochs=2, batch_size=8, lr=3e-3, optimizer="muon"),
    "cpu": Schedule(epochs=40, batch_size=64, lr=3e-3, optimizer="muon"),
    "gpu": Schedule(epochs=40, batch_size=128, lr=3e-3, optimizer="muon"),
}
_BASE = "bands-flux"  # recipe whose answers are corrected
_TABLE = 20  # number of the training set: not that of the translator, nor that of the oracle
_PART = 500  # scenes drawn from one seed
_NEAR = 3.0  # pixels between a source and where it was found
_KIND = 0.1  # weight of telling stars from galaxies
_PLATES = 0.5  # of the scenes that are given plates alone


def source_sizes(profile: Profile) -> tuple[int, int]:
    """Return how many scenes the network is trained and validated on.

    Arguments:
        profile: of the training.
    """
    sizes: tuple[int, int] = profile.pick(smoke=(16, 8), cpu=(1000, 100), gpu=(12_000, 500))
    return sizes


def build_sources() -> SourceTranslator:
    """Return the network over the translator that was trained on the light of sources.

    Raises:
        CheckpointError: its weights are not there; it says what to train.
    """
    translator = load_needed(_BASE, needed_for="the recipe bands-sources")
    assert isinstance(translator, BandTranslator)
    return SourceTranslator(translator)


def fluxes(answer: SourceAnswer, table: dict[str, Tensor]) -> Tensor:
    """Return the flux of each true source in corrected images, ``(B, J, T)``, nanomaggies.

    Arguments:
        answer: of the network to the ``numbers`` of the table.
        table: rows of `SourcesTask`.
    """
    flux, factor = answer.amounts(table["reference"], table["there"])
    points = torch.einsum("bjst,bst->bjt", table["points"], flux)
    kept = torch.einsum("bjst,bst->bjt", table["profiles"], factor)
    return points + kept + table["rest"]


def _padded(values: Tensor, axis: int) -> Tensor:
    """Return values with as many places along an axis as there may be, 0 in those not needed."""
    shape = list(values.shape)
    shape[axis] = PLACES - shape[axis]
    return torch.cat([values, values.new_zeros(shape)], axis)


class SourcesTask(TableTask):
    """Scenes drawn, exposed, translated and measured once; bands are hidden scene by scene.

    Arguments:
        simulator: to draw from, on the device of the training.
        network: whose translator answers; its other weights do not count.
        size: scenes in the table.
        n_validation: scenes to validate on, from plates.
        seed: number of the training set.
    """

    score = "minus_error"

    def __init__(
        self,
        simulator: SceneSimulator,
        network: SourceTranslator,
        *,
        size: int,
        n_validation: int,
        seed: int = _TABLE,
    ):
        self.simulator = simulator
        self.size = size
        device = simulator.device
        own = network.to(device).eval()
        make = partial(self._drawn, own)
        self.table = draw_parts(make, size, seeds=SEEDS, seed=seed, device=device, part=_PART)
        rng = torch.Generator(device).manual_seed(SEEDS.validation[2])
        plates = given_bands(PUBLISHED["plates"], bands=simulator.bands)
        self.validation = self._drawn(own, n_validation, rng, given=plates)
        errors = [faint_error(BANDS[name]) for name in TARGETS]
        self.softening = 2 * torch.tensor(errors, device=device)

    def _drawn(
        self,
        network: SourceTranslator,
        n: int,
        generator: torch.Generator,
        *,
        given: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return rows of the table, of n scenes."""
        simulator = self.simulator
        made = []
        # Scenes of a chunk are given the same bands.
        for start in range(0, n, simulator.chunk):
            count = min(simulator.chunk, n - start)
            scenes = simulator.draw(count, generator=generator)
            planes = simulator.planes(scenes)
            seen = simulator.expose(simulator.truth(scenes, planes=planes), generator=generator)
            chosen = self._given(generator) if given is None else given
            made.append(self._rows(network, scenes, planes, seen, chosen.to(simulator.device)))
        return {name: torch.cat([rows[name] for rows in made]) for name in made[0]}

    def _given(self, generator: torch.Generator) -> Tensor:
        """Return which bands are given, bool ``(F,)``: plates, or others that are not asked for."""
        bands = self.simulator.bands
        others = [name for name in bands if name not in TARGETS]
        drawn = torch.rand(3 + len(others), generator=generator, device=generator.device).cpu()
        if float(drawn[0]) < _PLATES:
            return given_bands(PUBLISHED["plates"], bands=bands)
        chosen = draw_given(drawn[None, 1:], bands=others)[0].tolist()
        names = [name for name, there in zip(others, chosen, strict=True) if there]
        return given_bands(names, bands=bands)

    def _rows(
        self,
        network: SourceTranslator,
        scenes: Scenes,
        planes: Tensor,
        seen: Observation,
        given: Tensor,
    ) -> dict[str, Tensor]:
        """Return what the loss takes of B scenes."""
        each = given.expand(len(scenes), -1)
        base = network.translated(seen.images, seen.ivar, each)
        measured = network.measure(seen.images, seen.ivar, each, base)
        places = measured.reference.shape[1]
        held = []
        for t, row in enumerate(network.rows):
            light = base[:, None, t]
            left = light * (1 - measured.parts.sum(1, keepdim=True))
            stars = point_images(network.renderer(), measured.found, row)
            images = torch.cat([light * measured.parts, stars, left], 1)
            held.append(
                flux_in_images(
                    self.simulator, scenes, images, truth=seen.truth, planes=planes, band=row
                )
            )
        together = torch.stack(held, -1)  # (B, J, 2 S + 1, T)
        return {
            "numbers": _padded(measured.numbers, 1),
            "reference": _padded(measured.reference, 1).clamp(min=1e-3),
            "there": _padded(measured.found.there, 1),
            "kind": _padded(self._kinds(measured, scenes), 1),
            "profiles": _padded(together[:, :, :places], 2),
            "points": _padded(together[:, :, places:-1], 2),
            "rest": together[:, :, -1],
            "truth": scenes.source_flux()[..., network.rows],
            "true": scenes.kind != EMPTY,
        }

    def _kinds(self, measured: MeasuredScenes, scenes: Scenes) -> Tensor:
        """Return of which kind the true source is that is nearest to each found, ``(B, S)``.

        `EMPTY` where there is none within reach.
        """
        renderer = self.simulator.renderer
        found = measured.found
        middle = (renderer.scene_size - 1) / 2
        across = found.column[..., None] - (scenes.x / renderer.scene_pixel + middle)[:, None]
        along = found.row[..., None] - (scenes.y / renderer.scene_pixel + middle)[:, None]
        away = torch.where((scenes.kind == EMPTY)[:, None], torch.inf, torch.hypot(across, along))
        gap, nearest = away.min(2)
        kind = scenes.kind.gather(1, nearest)
        return torch.where((gap < _NEAR) & found.there, kind, EMPTY)

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the rows' numbers in the table.

        Arguments:
            indices: of the scenes.
            draws: none.
        """
        return (indices.to(self.simulator.device),)

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the absolute error of stretched fluxes and of colours, and that of the kinds.

        Arguments:
            model: a `SourceTranslator`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        own = getattr(model, "module", model)  # as Fabric wraps it
        assert isinstance(own, SourceTranslator)
        if not bool(own.started):
            own.standardise(self.table["numbers"][self.table["there"]])
        (rows,) = batch
        table = {name: values[rows] for name, values in self.table.items()}
        answer = model(table["numbers"])
        clear = table["there"] & (table["kind"] != EMPTY)
        star = (table["kind"] == STAR).to(answer.logit)
        kinds = F.binary_cross_entropy_with_logits(answer.logit, star, reduction="none")
        kinds = (kinds * clear).sum() / clear.sum().clamp(min=1)
        flux, colour = self._errors(answer, table)
        return flux.mean() + colour.mean() + _KIND * kinds

    def _errors(self, answer: SourceAnswer, table: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return absolute errors ``(N, T)`` of stretched fluxes, and ``(N, T - 1)`` of colours."""
        found = torch.asinh(fluxes(answer, table) / self.softening)
        error = (found - torch.asinh(table["truth"] / self.softening))[table["true"]]
        # What two bands have wrong by one factor is no wrong colour.
        return error.abs(), error.diff(dim=-1).abs()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the mean absolute errors of fluxes and colours from plates, and minus their sum.

        Arguments:
            model: a `SourceTranslator`, in evaluation mode.
        """
        flux, colour = self._errors(model(self.validation["numbers"]), self.validation)
        found = {"error_flux": float(flux.mean()), "error_colour": float(colour.mean())}
        return {**found, "minus_error": -sum(found.values())}
