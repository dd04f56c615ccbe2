"""The flow-matching head on top of the trained network, whose features it is given."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.question import Answer
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.question import galaxy_question, posterior_answer, target_outputs
from skytutor.chapters.spectra.scores import pretrained_limits, score_posterior
from skytutor.chapters.spectra.targets import N_TARGETS
from skytutor.chapters.spectra.task import MeasuredTask
from skytutor.chapters.weights import load_needed
from skytutor.chunks import in_chunks
from skytutor.data.galaxies import GalaxySimulator
from skytutor.layers.flow_matching import FlowMatching
from skytutor.metrics.posterior import Posterior
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

__all__ = ["FlowTask", "SpectrumFlow", "make_recipe", "sampler"]

_DRAWS = 8  # times and noises for each galaxy of a batch
_SAMPLES = 200  # of a posterior, where it is scored
_ROWS = 50  # images at a time, for the memory's sake


class SpectrumFlow(nn.Module):
    """Sample spectra's latents given an image: the trained network, and a flow after its head.

    Arguments:
        trunk: a trained `SpectrumNetwork`. Its weights are not part of this module's.
    """

    def __init__(self, trunk: SpectrumNetwork):
        super().__init__()
        head = copy.deepcopy(trunk.inference.head)
        for parameter in head.parameters():
            parameter.requires_grad_(False)
        self.flow = FlowMatching(head.in_features, N_TARGETS, base=head)
        # In a list, so that its weights are neither trained nor saved again.
        self._trunk = [trunk.eval()]

    def forward(
        self, table: Tensor, targets: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the flow-matching loss of each galaxy ``(B,)``.

        Arguments:
            table: ``(B, F)``, what the network's `measurement` makes of images.
            targets: ``(B, 9)``.
            generator: of times and noise; None for torch's own.
        """
        with torch.no_grad():
            features = self._trunk[0].to(table.device).inference.features(table)
        return self.flow.loss(targets, features, draws=_DRAWS, generator=generator)

    def features(self, images: Tensor) -> Tensor:
        """Return what the trained network makes of images, ``(B, F)``, without gradient.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
        """
        trunk = self._trunk[0].to(images.device)
        with torch.no_grad():
            return trunk.features(images)

    def sample(self, images: Tensor, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw from the posterior of each image, ``(B, n, 9)``.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel.
            n: samples of each.
            generator: of the noise, on the CPU.
        """
        return self.flow.sample(self.features(images), n, generator=generator)


class FlowTask(MeasuredTask):
    """Training of the flow; the network below it stays as it is."""

    score = "minus_loss"

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the flow-matching loss.

        Arguments:
            model: a `SpectrumFlow`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        table, targets = batch
        return model(table, targets).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the mean loss on the validation galaxies, with the same noise every time.

        Arguments:
            model: a `SpectrumFlow`, in evaluation mode.
        """
        table, targets = self.validation
        rng = torch.Generator().manual_seed(SEEDS.validation[1])

        def losses(rows: Tensor, wanted: Tensor) -> Tensor:
            return model(rows, wanted, rng)

        loss = float(in_chunks(losses, table, targets, size=2000).mean())
        return {"loss": loss, "minus_loss": -loss}


def _build() -> SpectrumFlow:
    trunk = load_needed("spectra", needed_for="the recipe spectra-flow")
    assert isinstance(trunk, SpectrumNetwork)
    return SpectrumFlow(trunk)


def _task(profile: Profile) -> FlowTask:
    pretrained_limits()  # what its score stands beside: missed before a training, not after it
    trunk = load_needed("spectra", needed_for="the recipe spectra-flow")
    assert isinstance(trunk, SpectrumNetwork)
    return FlowTask(
        GalaxySimulator(device=profile.device),
        trunk.measurement,
        seed=3,  # galaxies that the network below was not trained on
        size=profile.pick(smoke=64, cpu=2000, gpu=20_000),
        n_validation=profile.pick(smoke=64, cpu=500, gpu=4000),
    )


def sampler(model: SpectrumFlow, *, seed: int) -> Any:
    """Return what asks a flow for mean and samples.

    Arguments:
        model: trained.
        seed: of the samples' noise.
    """
    rng = torch.Generator().manual_seed(seed)

    def predict(images: Tensor) -> tuple[Tensor, Posterior]:
        samples = model.sample(images, _SAMPLES, generator=rng)
        return samples.mean(1), samples

    return predict


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Galaxies are drawn: there is no source to choose. 2,000 by default: each has its samples.
    n = 2000 if size is None else size
    SEEDS.test_seed(seed)  # refused before anything is done with the network
    assert isinstance(model, SpectrumFlow)
    return score_posterior(sampler(model, seed=seed), seed=seed, size=n)


def _ask(model: nn.Module, images: Tensor) -> Answer:
    assert isinstance(model, SpectrumFlow)
    # Always the same noise: who asks twice gets the same answer.
    rng = torch.Generator().manual_seed(0)
    place = next(model.parameters()).device
    parts = []
    for rows in images.split(_ROWS):
        parts.append(model.sample(rows.to(place), _SAMPLES, generator=rng).cpu())
    samples = torch.cat(parts)
    return posterior_answer(samples.mean(1), samples.std(1))


def make_recipe() -> Recipe:
    """Return the recipe of the flow."""
    return Recipe(
        name="spectra-flow",
        build=_build,
        task=_task,
        schedules={
            "smoke": Schedule(epochs=1, batch_size=32, lr=1e-3),
            "cpu": Schedule(epochs=4, batch_size=100, lr=1e-3),
            "gpu": Schedule(epochs=12, batch_size=500, lr=1e-3),
        },
        seeds=SEEDS,
        score=_score,
        published={},
        question=galaxy_question(
            _ask,
            outputs=target_outputs(
                f"standard deviations of {_SAMPLES} samples of a posterior of any shape"
            ),
        ),
    )
