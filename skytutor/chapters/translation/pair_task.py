"""Adversarial training of translations from photographic plates, and its recipes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation.adversaries import NoiseMatched, Published, TranslationPair
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.question import Names, band_question
from skytutor.chapters.translation.scored_scenes import SceneBatch
from skytutor.chapters.translation.scores import decibels, on_device, score_plates
from skytutor.chapters.translation.stretch import stretched
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS
from skytutor.chapters.translation.task import BandsTask
from skytutor.chapters.weights import load_needed
from skytutor.data.bands import SceneSimulator
from skytutor.training.adversarial import NETWORKS
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

__all__ = ["PairTask", "make_gan_recipe", "make_pix2pix_recipe"]

_PLATES = PUBLISHED["plates"]
_WIDTH = 16  # channels of the finest scale of the published pair: a quarter of the published
_WATCHED = 40  # scenes of the training whose losses are written down at every epoch


class PairTask(BandsTask):
    """Scenes as surveys see them, with the noise that is added to a prediction.

    Both networks learn from images with noise, as one would from a real survey.

    Arguments:
        simulator: to draw from, on the device of the training.
        size: scenes in the table.
        n_validation: scenes to validate on.
        seed: number of the training set.
    """

    def __init__(self, simulator: SceneSimulator, *, size: int, n_validation: int, seed: int = 0):
        super().__init__(simulator, size=size, n_validation=n_validation, seed=seed)
        self.lr_factors = dict.fromkeys(NETWORKS, 1.0)
        rng = torch.Generator(simulator.device).manual_seed(SEEDS.validation[3])
        self.watched = simulator.expose(self.truth[:_WATCHED], generator=rng)
        self.watched_noise = self._white(self.watched.images, rng)

    @staticmethod
    def _white(images: Tensor, generator: torch.Generator) -> Tensor:
        shape = (len(images), len(TARGETS), *images.shape[-2:])
        return torch.randn(shape, generator=generator, device=images.device)

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return images and ivar ``(B, F, H, H)``, and noise ``(B, T, H, H)``.

        Arguments:
            indices: of the scenes.
            draws: what `draw` gave.
        """
        images, ivar, *_ = super().batch(indices, draws)
        # Seeds of 53 bits: those of the scenes' own noise are drawn from another column.
        seed = int(float(draws[0][0, 3]) * 2**53)
        rng = torch.Generator(images.device).manual_seed(seed)
        return images, ivar, self._white(images, rng)

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the loss that a network minimises.

        Arguments:
            model: a `TranslationPair`.
            batch: of `batch`.
            args: the network, "discriminator" or "generator".
            kwargs: none.
        """
        (network,) = args
        total: Tensor = model(network, *batch)["total"]
        return total

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the PSNR on validation scenes, and both losses on scenes of the training.

        Arguments:
            model: a `TranslationPair`, in evaluation mode.
        """
        assert isinstance(model, TranslationPair)
        squares = []
        softening = model.softening[model.rows]
        truth = self.validation.truth[:, model.rows]
        for k in range(len(truth)):
            part = slice(k, k + 1)
            flux = model.predict(self.validation.images[part], self.validation.ivar[part])
            error = stretched(flux, softening) - stretched(truth[part], softening)
            squares.append(error.square().mean())
        losses: dict[str, list[float]] = {"discriminator": [], "adversarial": []}
        for k in range(len(self.watched.images)):
            part = slice(k, k + 1)
            seen = (self.watched.images[part], self.watched.ivar[part], self.watched_noise[part])
            losses["discriminator"].append(float(model("discriminator", *seen)["total"]))
            losses["adversarial"].append(float(model("generator", *seen)["adversarial"]))
        means = {f"{name}_loss": sum(values) / len(values) for name, values in losses.items()}
        return {"psnr": decibels(torch.stack(squares)), **means}


def _build_published() -> Published:
    return Published(_PLATES, TARGETS, width=_WIDTH)


def _build_matched() -> NoiseMatched:
    # It begins as the network that was trained without an adversary.
    generator = load_needed("bands", needed_for="the recipe bands-gan")
    assert isinstance(generator, BandTranslator)
    return NoiseMatched(_PLATES, TARGETS, generator=generator)


def _task(**sizes: tuple[int, int]) -> Callable[[Profile], PairTask]:
    def make(profile: Profile) -> PairTask:
        size, n_validation = profile.pick(**sizes)
        simulator = SceneSimulator(device=profile.device)
        return PairTask(simulator, size=size, n_validation=n_validation)

    return make


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Scenes are drawn: there is no source to choose.
    number = SEEDS.test_seed(seed)
    with on_device(model) as own:
        assert isinstance(own, TranslationPair)
        predict = own.predict

        def translate(batch: SceneBatch) -> Tensor:
            return predict(batch.seen.images, batch.seen.ivar)

        return score_plates(translate, seed=number, size=size, device=own.softening.device)


def _schedule(epochs: int, batch_size: int, *, lr: float) -> Schedule:
    """Return the published optimizer: Adam with averages over two gradients."""
    return Schedule(
        epochs=epochs, batch_size=batch_size, lr=lr, optimizer="adam", rate="constant", beta1=0.5
    )


def _translate(
    model: nn.Module, images: Tensor, ivar: Tensor, bands: Names, targets: Names
) -> tuple[Tensor, None]:
    assert isinstance(model, TranslationPair)
    # The network answers with its own order of targets.
    rows = [TARGETS.index(name) for name in targets]
    place = model.softening.device
    return model.predict(images.to(place), ivar.to(place))[:, rows], None


def make_pix2pix_recipe() -> Recipe:
    """Return the recipe of the published pair, at a quarter of its width."""
    return Recipe(
        name="bands-pix2pix",
        build=_build_published,
        task=_task(smoke=(4, 2), cpu=(200, 20), gpu=(800, 50)),
        schedules={
            "smoke": _schedule(1, 1, lr=2e-4),
            "cpu": _schedule(10, 1, lr=2e-4),
            "gpu": _schedule(30, 1, lr=2e-4),
        },
        seeds=SEEDS,
        score=_score,
        published={},
        adversarial=True,
        question=band_question(
            _translate,
            bands=_PLATES,
            targets=TARGETS,
            fixed=True,
            values="what a picture of 8 bits shows, its stretch undone",
        ),
    )


def make_gan_recipe() -> Recipe:
    """Return the recipe of the noise-matched adversary."""
    return Recipe(
        name="bands-gan",
        build=_build_matched,
        task=_task(smoke=(4, 2), cpu=(400, 20), gpu=(1000, 50)),
        schedules={
            "smoke": _schedule(1, 2, lr=2e-4),
            "cpu": _schedule(2, 8, lr=2e-4),
            "gpu": _schedule(8, 8, lr=2e-4),
        },
        seeds=SEEDS,
        score=_score,
        published={},
        has_weights=False,
        adversarial=True,
    )
