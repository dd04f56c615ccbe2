"""Training of what measures: a U-Net that cuts pictures into components, on galaxies drawn anew."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.question import Answer
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.observations import draw_components
from skytutor.chapters.spectra.question import GalaxyOutputs, galaxy_question
from skytutor.chapters.spectra.separation import light_loss, separation_loss
from skytutor.chapters.spectra.targets import pretrained_autoencoder
from skytutor.chunks import in_chunks
from skytutor.data.galaxies import GalaxySimulator
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["NAME", "SeparationTask", "make_recipe", "separation_scores"]

NAME = "spectra-separation"
_LIGHT = 0.1  # nats that the variance of the sky's noise counts for in the r band's light
_ROWS = 50  # images at a time, for the memory's sake


def separation_scores(
    model: MeasurementNetwork, images: Tensor, components: Tensor
) -> dict[str, float]:
    """Return the mean of `separation_loss` and of `light_loss`.

    Arguments:
        model: in evaluation mode.
        images: ``(n, 5, H, H)``, nanomaggies a pixel.
        components: true r-band light of each component, ``(n, 3, H, H)``.
    """

    def losses(rows: Tensor, light: Tensor) -> Tensor:
        cut = model.separate(rows)
        return torch.stack([separation_loss(cut.fractions, light), light_loss(cut.light, light)], 1)

    apart, wrong = in_chunks(losses, images, components, size=_ROWS).mean(0).tolist()
    return {"separation": apart, "light": wrong}


class SeparationTask(Task):
    """Training of a `MeasurementNetwork`; no galaxy is seen twice.

    Arguments:
        simulator: to draw from, on the device of the training.
        size: galaxies in an epoch.
        n_validation: galaxies to validate on.
    """

    score = "minus_loss"

    def __init__(self, simulator: GalaxySimulator, *, size: int, n_validation: int):
        self.size = size
        self.simulator = simulator
        self.autoencoder = pretrained_autoencoder(simulator.device)
        rng = torch.Generator(simulator.device).manual_seed(SEEDS.validation[0])
        images, _, components = draw_components(
            simulator, n_validation, autoencoder=self.autoencoder, generator=rng
        )
        self.validation = (images, components)

    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw the seed of each galaxy ``(n,)``, of which a batch uses the first.

        Arguments:
            n: galaxies in the batch.
            generator: of the random numbers.
        """
        return [torch.randint(2**62, (n,), generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return images ``(B, 5, H, H)`` and components ``(B, 3, H, H)``.

        Arguments:
            indices: not used beyond their number, for every galaxy is new.
            draws: of `draw`.
        """
        rng = torch.Generator(self.simulator.device).manual_seed(int(draws[0][0]))
        images, _, components = draw_components(
            self.simulator, len(indices), autoencoder=self.autoencoder, generator=rng
        )
        return images, components

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the loss of the fractions plus that of the light.

        Arguments:
            model: a `MeasurementNetwork`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        images, components = batch
        fractions, light = model(images, cut_only=True)
        apart = separation_loss(fractions, components).mean()
        return apart + _LIGHT * light_loss(light, components).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return both losses and their sum.

        Arguments:
            model: a `MeasurementNetwork`, in evaluation mode.
        """
        assert isinstance(model, MeasurementNetwork)
        found = separation_scores(model, *self.validation)
        total = found["separation"] + _LIGHT * found["light"]
        return {**found, "minus_loss": -total}


def _task(profile: Profile) -> SeparationTask:
    return SeparationTask(
        GalaxySimulator(device=profile.device),
        size=profile.pick(smoke=64, cpu=2000, gpu=200_000),
        n_validation=profile.pick(smoke=64, cpu=500, gpu=4000),
    )


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Galaxies are drawn: there is no source to choose.
    rng = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    assert isinstance(model, MeasurementNetwork)
    n = 1000 if size is None else size
    images, _, components = draw_components(
        GalaxySimulator(), n, autoencoder=pretrained_autoencoder(), generator=rng
    )
    with torch.no_grad():
        found = separation_scores(model, images, components)
    # What does not look: the mean galaxy's fractions in every pixel, the picture as it is.
    mean = components.clamp(min=0).mean(0, keepdim=True)
    fractions = (mean / mean.sum(1, keepdim=True).clamp(min=1e-9)).expand(n, -1, -1, -1)
    constant = {
        "separation": float(separation_loss(fractions, components).mean()),
        "light": float(light_loss(images[:, 1], components).mean()),
    }
    return Scores(scores=found, constant=constant, size=n, data="simulated galaxies, 64 pixels")


_OUTPUTS = GalaxyOutputs(
    names=("bulge", "disc", "clumps"),
    units=("nanomaggies",) * 3,
    scale="light of each component in the r band, a pixel, without the sky's noise",
    errors="none: the network gives images alone",
)


def _ask(model: nn.Module, images: Tensor) -> Answer:
    assert isinstance(model, MeasurementNetwork)
    place = next(model.parameters()).device
    parts = [model.separate(rows.to(place)).components.cpu() for rows in images.split(_ROWS)]
    return Answer(_OUTPUTS.names, torch.cat(parts).double(), None, _OUTPUTS.units)


def make_recipe() -> Recipe:
    """Return the recipe of the network that cuts pictures into components."""
    return Recipe(
        name=NAME,
        build=MeasurementNetwork,
        task=_task,
        schedules={
            "smoke": Schedule(epochs=1, batch_size=32, lr=2e-3),
            "cpu": Schedule(epochs=6, batch_size=64, lr=2e-3),
            "gpu": Schedule(epochs=12, batch_size=500, lr=3e-3, weight_decay=1e-3, autocast=True),
        },
        seeds=SEEDS,
        score=_score,
        published={},
        question=galaxy_question(_ask, outputs=_OUTPUTS),
    )
