"""Training on galaxies that are drawn and imaged anew for every batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits_task import rmse
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.separation import RED, separation_loss
from skytutor.chapters.spectra.targets import make_targets, pretrained_autoencoder
from skytutor.chunks import in_chunks
from skytutor.data.galaxies import GalaxySimulator
from skytutor.layers.gaussian_head import gaussian_loss, gaussian_nll
from skytutor.training.schedule import Task

__all__ = ["SpectrumTask", "draw_components", "draw_images", "in_batches"]

# What a nat of the separation counts for beside the loss of nine targets.
_SEPARATION = 30.0
_ROWS = 250  # images at a time, for the memory's sake


def draw_images(
    simulator: GalaxySimulator,
    n: int,
    *,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return images ``(n, 5, H, H)`` and targets ``(n, 9)``.

    Arguments:
        simulator: to draw from.
        n: galaxies.
        autoencoder: trained, on the simulator's device.
        generator: of the random numbers, on the same device.
    """
    options: dict[str, Any] = {"autoencoder": autoencoder, "generator": generator}
    images = []
    targets = []
    for size in _sizes(n, simulator):
        seen, wanted, _ = _observe(simulator, size, components=False, **options)
        images.append(seen)
        targets.append(wanted)
    return torch.cat(images), torch.cat(targets)


def draw_components(
    simulator: GalaxySimulator,
    n: int,
    *,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images and targets as `draw_images`, and the r-band light of each component.

    Arguments:
        simulator: to draw from.
        n: galaxies.
        autoencoder: trained, on the simulator's device.
        generator: of the random numbers, on the same device.

    Returns:
        images ``(n, 5, H, H)``, targets ``(n, 9)``, components without noise ``(n, 3, H, H)``.
    """
    options: dict[str, Any] = {"autoencoder": autoencoder, "generator": generator}
    parts = [_observe(simulator, size, components=True, **options) for size in _sizes(n, simulator)]
    images, targets, components = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(targets), torch.cat(components)


def _sizes(n: int, simulator: GalaxySimulator) -> list[int]:
    """Return how many galaxies to draw at a time, for the memory's sake."""
    batch = 1000 if simulator.device.type == "cuda" else 125
    return [min(batch, n - start) for start in range(0, n, batch)]


def _observe(
    simulator: GalaxySimulator,
    n: int,
    *,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
    components: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, targets, and components or an empty tensor."""
    galaxies = simulator.draw(n, generator=generator)
    planes = simulator.renderer.planes(galaxies.shapes)
    fibre = simulator.renderer.fibre(planes)
    spectra = simulator.spectra(galaxies, fibre, generator=generator)
    images = simulator.images(galaxies, planes=planes, generator=generator)
    light = images.new_empty(0)
    if components:
        red = simulator.fluxes(galaxies)[..., RED]
        light = simulator.renderer.component_images(planes, band=RED) * red[..., None, None]
    return images, make_targets(autoencoder, spectra, galaxies.redshift), light


def in_batches(model: nn.Module, images: Tensor, *, batch: int = _ROWS) -> tuple[Tensor, Tensor]:
    """Return mean ``(n, 9)`` and Cholesky factor ``(n, 9, 9)`` for many images.

    Arguments:
        model: a `SpectrumNetwork`.
        images: ``(n, 5, H, H)``.
        batch: images at a time.
    """
    parts = [model(images[start : start + batch]) for start in range(0, len(images), batch)]
    means, factors = zip(*parts, strict=True)
    return torch.cat(means), torch.cat(factors)


class SpectrumTask(Task):
    """Training of a `SpectrumNetwork`; no galaxy is seen twice.

    Arguments:
        simulator: to draw from, on the device of the training.
        size: galaxies in an epoch.
        n_validation: galaxies to validate on.
    """

    score = "minus_rmse"

    def __init__(self, simulator: GalaxySimulator, *, size: int, n_validation: int):
        self.size = size
        self.simulator = simulator
        self.autoencoder = pretrained_autoencoder(simulator.device)
        rng = torch.Generator(simulator.device).manual_seed(SEEDS.validation[0])
        self.validation = draw_components(
            simulator, n_validation, autoencoder=self.autoencoder, generator=rng
        )

    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw the seed of each galaxy ``(n,)``, of which a batch uses the first.

        Arguments:
            n: galaxies in the batch.
            generator: of the random numbers.
        """
        return [torch.randint(2**62, (n,), generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return images ``(B, 5, H, H)``, targets ``(B, 9)`` and components ``(B, 3, H, H)``.

        Arguments:
            indices: not used beyond their number, for every galaxy is new.
            draws: of `draw`.
        """
        rng = torch.Generator(self.simulator.device).manual_seed(int(draws[0][0]))
        return draw_components(
            self.simulator, len(indices), autoencoder=self.autoencoder, generator=rng
        )

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the loss of the targets plus that of the separation into components.

        That of the targets is the squared error of the means plus the likelihood of the covariance.

        Arguments:
            model: a `SpectrumNetwork`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        images, targets, components = batch
        mean, factor, fractions = model(images, True)
        apart = separation_loss(fractions, components).mean()
        return gaussian_loss(targets, mean, factor).mean() + _SEPARATION * apart

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the RMSE over the six latents, the likelihood's, and that of the separation.

        Arguments:
            model: in evaluation mode.
        """
        assert isinstance(model, SpectrumNetwork)
        images, targets, components = self.validation
        mean, factor = in_batches(model, images)
        found = rmse(mean - targets)
        nll = float(gaussian_nll(targets, mean, factor).mean())

        def apart(rows: Tensor, light: Tensor) -> Tensor:
            return separation_loss(model.fractions(rows), light)

        separation = float(in_chunks(apart, images, components, size=_ROWS).mean())
        return {"rmse": found, "nll": nll, "separation": separation, "minus_rmse": -found}
