"""Training of a `BandTranslator`: scenes drawn once, noise and bands drawn anew at every step."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.parts import each_part
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.stretch import STRETCHED_RANGE, softenings, stretched
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS, draw_given, given_bands
from skytutor.chunks import in_chunks
from skytutor.data.bands import SceneSimulator
from skytutor.metrics.images import psnr
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["SCHEDULES", "BandsTask", "dihedral", "draw_truths", "scene_sizes"]

SCHEDULES = {
    "smoke": Schedule(epochs=1, batch_size=4, lr=2e-3),
    "cpu": Schedule(epochs=2, batch_size=16, lr=2e-3),
    "gpu": Schedule(epochs=12, batch_size=32, lr=3e-3),
}
_PART = 500  # scenes drawn from one seed
_CHUNK = 25  # scenes at a time, for the memory's sake
_TARGETS_PER_STEP = 4  # bands asked for in one step
_SEEDS = 2**53  # every whole number below is a number of float64


def scene_sizes(profile: Profile) -> tuple[int, int]:
    """Return how many scenes the network is trained and validated on.

    Arguments:
        profile: of the training.
    """
    sizes: tuple[int, int] = profile.pick(smoke=(8, 4), cpu=(2000, 100), gpu=(32_000, 400))
    return sizes


def draw_truths(simulator: SceneSimulator, n: int, generator: torch.Generator) -> Tensor:
    """Return images of n scenes without noise, ``(n, F, H, H)``.

    Arguments:
        simulator: to draw from.
        n: scenes.
        generator: of the random numbers.
    """
    made = []
    for start in range(0, n, simulator.chunk):
        scenes = simulator.draw(min(simulator.chunk, n - start), generator=generator)
        made.append(simulator.truth(scenes))
    return torch.cat(made)


def dihedral(images: Tensor, number: int) -> Tensor:
    """Return images turned by quarter turns and mirrored, in one of eight ways.

    Arguments:
        images: ``(..., H, H)``.
        number: 0 to 7; 0 leaves them as they are.

    Example:
        >>> dihedral(torch.tensor([[1, 2], [3, 4]]), 4)
        tensor([[2, 1],
                [4, 3]])
    """
    mirrored = images.flip(-1) if number >= 4 else images
    return mirrored.rot90(number % 4, (-2, -1))


def _turned(images: Tensor, numbers: Tensor) -> Tensor:
    """Return images ``(B, F, H, H)``, each turned in its way of `dihedral`."""
    side = images.shape[-1]
    pixels = torch.arange(side * side, device=images.device).reshape(side, side)
    # Which pixel of the image stands where, for each of the eight ways.
    ways = torch.stack([dihedral(pixels, number) for number in range(8)]).flatten(1)
    source = ways[numbers][:, None].expand(-1, images.shape[1], -1)
    return images.flatten(-2).gather(-1, source).unflatten(-1, (side, side))


class BandsTask(Task):
    """Scenes drawn once; at every step they are turned, exposed and some of their bands hidden.

    The network learns from images without noise. The L1 distance asks for the median of what is
    possible.

    Arguments:
        simulator: to draw from, on the device of the training.
        size: scenes in the table.
        n_validation: scenes to validate on.
        seed: number of the training set.
    """

    score = "psnr"

    def __init__(self, simulator: SceneSimulator, *, size: int, n_validation: int, seed: int = 0):
        self.simulator = simulator
        self.size = size
        scale = softenings(simulator.bands, pixel_arcsec=simulator.renderer.scene_pixel)
        self.softening = scale.to(simulator.device)
        device = simulator.device
        side = simulator.renderer.scene_size
        # Gigabytes on a GPU: written where they stay.
        self.truth = torch.empty(size, len(simulator.bands), side, side, device=device)
        for rows, rng in each_part(size, seeds=SEEDS, seed=seed, device=device, part=_PART):
            self.truth[rows] = draw_truths(simulator, rows.stop - rows.start, rng)
        rng = torch.Generator(device).manual_seed(SEEDS.validation[0])
        truth = draw_truths(simulator, n_validation, rng)
        self.validation = simulator.expose(truth, generator=rng)

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw seeds of the noise, how scenes are turned, and which bands are given.

        Arguments:
            n: samples in the batch.
            generator: of the random numbers.
        """
        columns = 5 + len(self.simulator.bands)
        return [torch.rand(n, columns, generator=generator, dtype=torch.float64)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return images, ivar, truth ``(B, F, H, H)``, given ``(B, F)``, and the targets ``(T,)``.

        Arguments:
            indices: of the scenes.
            draws: what `draw` gave.
        """
        rows = draws[0]
        device = self.simulator.device
        numbers = (rows[:, :2] * torch.tensor([_SEEDS, 8.0], dtype=torch.float64)).long()
        truth = _turned(self.truth[indices.to(device)], numbers[:, 1].to(device))
        # A generator for each scene: its noise is the same in whichever batch it stands.
        generators = [torch.Generator(device).manual_seed(seed) for seed in numbers[:, 0].tolist()]
        seen = self.simulator.expose_each(truth, generators=generators)
        given = draw_given(rows[:, 3:].float(), bands=self.simulator.bands)
        targets = self._targets(float(rows[0, 2]), rows[0, 5:])
        return seen.images, seen.ivar, seen.truth, given.to(device), targets

    def _targets(self, number: float, order: Tensor) -> Tensor:
        """Return which bands a step asks for: in half of the steps the published among them."""
        bands = self.simulator.bands
        first = [bands.index(name) for name in TARGETS if number < 0.5 and name in bands]
        others = [int(band) for band in order.argsort() if int(band) not in first]
        return torch.tensor([*first, *others][: min(_TARGETS_PER_STEP, len(bands))])

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the mean absolute error of stretched fluxes in the bands that are not given.

        Arguments:
            model: a `BandTranslator`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        images, ivar, truth, given, targets = batch
        rows = targets.tolist()
        answer = model(images, ivar, given, targets=rows)
        hidden = ~given[:, rows]
        return self.error(answer, truth[:, rows], hidden, rows=rows)

    def error(self, answer: Tensor, truth: Tensor, hidden: Tensor, *, rows: list[int]) -> Tensor:
        """Return the error of T bands that is minimised, a scalar.

        Arguments:
            answer: stretched, ``(B, T, H, H)``.
            truth: ``(B, T, H, H)``, nanomaggies a pixel.
            hidden: bool ``(B, T)``, the bands that count: those that were not given.
            rows: numbers of the T bands.
        """
        wanted = stretched(truth, self.softening[rows])
        error = (answer - wanted).abs().mean((-2, -1))
        weight = hidden.to(error)
        return (error * weight).sum() / weight.sum().clamp(min=1)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the PSNR of the published targets, from plates alone and from all other bands.

        Arguments:
            model: a `BandTranslator`, in evaluation mode.
        """
        return self._scored({name: self._translated(model, name) for name in ("plates", "all")})

    def _scored(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the PSNR of answers to published choices, that to plates among them."""
        rows = self._published_rows()
        wanted = stretched(self.validation.truth[:, rows], self.softening[rows])
        found = {
            f"psnr_{name}": float(psnr(answer, wanted, data_range=STRETCHED_RANGE))
            for name, answer in answers.items()
        }
        return {**found, "psnr": found["psnr_plates"]}

    def _published_rows(self) -> list[int]:
        return [self.simulator.bands.index(name) for name in TARGETS]

    def _translated(self, model: nn.Module, name: str) -> Tensor:
        """Return the published targets of the validation scenes from a published choice."""
        assert isinstance(model, BandTranslator)
        seen = self.validation
        given = given_bands(PUBLISHED[name], bands=self.simulator.bands).to(self.simulator.device)
        each = given.expand(len(seen.images), -1)
        translate = partial(model, targets=self._published_rows())
        return in_chunks(translate, seen.images, seen.ivar, each, size=_CHUNK)
