"""Training of the five published networks: six latents, squared error, a fixed set of galaxies."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.observations import draw_images
from skytutor.chapters.spectra.published import NAMES, PUBLISHED, build_published
from skytutor.chapters.spectra.targets import N_LATENTS, pretrained_autoencoder
from skytutor.chunks import in_chunks
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["LatentTask", "latent_rmse", "make_recipes", "scaled_bands"]


def scaled_bands(images: Tensor) -> Tensor:
    """Return images of order one: asinh of the signal-to-noise of each pixel.

    Arguments:
        images: ``(B, 5, H, H)``, nanomaggies a pixel.
    """
    noise = torch.tensor(SKY_NOISE).to(images)
    return torch.asinh(images / (3 * noise[:, None, None])) / 2


class LatentTask(Task):
    """Training on a fixed set of images, as the paper's, to predict six latents.

    Arguments:
        simulator: to draw from, on the device of the training.
        size: galaxies in the training set.
        n_validation: galaxies to validate on.
        seed: number of the training set.
    """

    score = "minus_rmse"

    def __init__(self, simulator: GalaxySimulator, *, size: int, n_validation: int, seed: int = 2):
        self.size = size
        autoencoder = pretrained_autoencoder(simulator.device)
        sets = []
        for number, n in ((SEEDS.train[seed], size), (SEEDS.validation[0], n_validation)):
            rng = torch.Generator(simulator.device).manual_seed(number)
            images, targets = draw_images(simulator, n, autoencoder=autoencoder, generator=rng)
            # Half precision: 20,000 images are 800 MB.
            sets.append((scaled_bands(images).half(), targets[:, :N_LATENTS]))
        self.images, self.targets = sets[0]
        self.validation = sets[1]

    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw whether and how to mirror each image ``(n,)``: 0 to 7.

        Arguments:
            n: galaxies in the batch.
            generator: of the random numbers.
        """
        return [torch.randint(8, (n,), generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return images ``(B, 5, H, H)`` in one of eight orientations, and latents ``(B, 6)``.

        Arguments:
            indices: of the galaxies.
            draws: of `draw`.
        """
        rows = indices.to(self.images.device)
        images = self.images[rows].float()
        # One orientation for the batch: galaxies lie at random, so any will do.
        turn = int(draws[0][0])
        images = torch.rot90(images, turn % 4, dims=(2, 3))
        return images.flip(3) if turn > 3 else images, self.targets[rows]

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the mean squared error of the latents.

        Arguments:
            model: a published network.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        images, targets = batch
        return (model(images) - targets).square().mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the RMSE over the six latents.

        Arguments:
            model: in evaluation mode.
        """
        images, targets = self.validation
        found = latent_rmse(model, images, targets)
        return {"rmse": found, "minus_rmse": -found}


def latent_rmse(model: nn.Module, images: Tensor, targets: Tensor) -> float:
    """Return the RMSE over six latents.

    Arguments:
        model: a published network.
        images: of `scaled_bands`, ``(n, 5, H, H)``.
        targets: ``(n, 6)``.
    """

    def squares(rows: Tensor, wanted: Tensor) -> Tensor:
        return (model(rows.float()) - wanted).square()

    return float(in_chunks(squares, images, targets, size=250).mean().sqrt())


def _task(profile: Profile) -> LatentTask:
    return LatentTask(
        GalaxySimulator(device=profile.device),
        size=profile.pick(smoke=64, cpu=2000, gpu=20_000),
        n_validation=profile.pick(smoke=64, cpu=500, gpu=2000),
    )


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Galaxies are drawn: there is no source to choose.
    n = 2000 if size is None else size
    rng = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    autoencoder = pretrained_autoencoder()
    images, targets = draw_images(GalaxySimulator(), n, autoencoder=autoencoder, generator=rng)
    latents = targets[:, :N_LATENTS]
    with torch.no_grad():
        found = latent_rmse(model, scaled_bands(images), latents)
    constant = float(latents.square().mean().sqrt())
    return Scores(
        scores={"rmse": found}, constant={"rmse": constant}, size=n, data="simulated galaxies"
    )


def make_recipes() -> list[Recipe]:
    """Return the recipes of the five networks, full width; none comes with weights."""
    recipes = []
    for name in NAMES:

        def build(name: str = name) -> nn.Module:
            return build_published(name)

        recipes.append(
            Recipe(
                name=f"spectrum-{name}",
                build=build,
                task=_task,
                schedules={
                    "smoke": Schedule(epochs=1, batch_size=32, lr=3e-3),
                    "cpu": Schedule(epochs=5, batch_size=64, lr=3e-3),
                    "gpu": Schedule(epochs=10, batch_size=64, lr=3e-3, weight_decay=0.01),
                },
                seeds=SEEDS,
                score=_score,
                published={
                    f"rmse, {figure.epochs} epochs": figure.rmse
                    for figure in PUBLISHED.values()
                    if figure.network == name
                },
                has_weights=False,  # none in the package: a training takes a GPU
            )
        )
    return recipes
