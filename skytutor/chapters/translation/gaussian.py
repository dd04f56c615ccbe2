"""The warm-up: Gaussian skies in four bands, one network for every subset of three of them.

Here the best answer is known exactly, the Wiener filter (`skytutor.data.gaussian_bands`). A network
that is told which bands are given must come near it for all seven subsets at once.

Shapes: B skies, F bands of which the last is asked for, I = F - 1 that may be given, H pixels.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chunks import in_chunks
from skytutor.data.gaussian_bands import GaussianBands
from skytutor.layers.resnet import ConvUnit
from skytutor.layers.unet import UNet
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["GaussianTask", "GaussianTranslator", "gaussian_bands", "make_recipe", "subsets"]

_SIZE = 32
_MARGIN = 8  # pixels of the sky that are continued over each edge
_BATCH = 50  # skies at a time, for the memory's sake
_TEST = 400  # skies


def gaussian_bands(*, device: torch.device | str = "cpu") -> GaussianBands:
    """Return the skies: a sharp noisy band, a blurred quiet one, one that is little alike.

    Arguments:
        device: where they are drawn.
    """
    correlation = torch.tensor(
        [
            [1.00, 0.90, 0.60, 0.95],
            [0.90, 1.00, 0.50, 0.90],
            [0.60, 0.50, 1.00, 0.70],
            [0.95, 0.90, 0.70, 1.00],
        ]
    )
    return GaussianBands(
        _SIZE,
        correlation=correlation,
        fwhm=[2.5, 5.0, 3.0, 2.0],
        noise=[0.5, 0.1, 0.2, 0.1],
        device=device,
    )


def subsets(n: int = 3) -> list[tuple[int, ...]]:
    """Return all choices of one or more of n bands, the smallest first.

    Arguments:
        n: bands that may be given.

    Example:
        >>> subsets(2)
        [(0,), (1,), (0, 1)]
    """
    return [chosen for k in range(1, n + 1) for chosen in combinations(range(n), k)]


class GaussianTranslator(nn.Module):
    """A U-Net that is told which bands it is given.

    Arguments:
        n_inputs: I.
        channels: of its scales.

    Example:
        >>> network = GaussianTranslator().eval()
        >>> network(torch.zeros(2, 3, 32, 32), torch.ones(2, 3, dtype=torch.bool)).shape
        torch.Size([2, 32, 32])
    """

    def __init__(self, n_inputs: int = 3, *, channels: Sequence[int] = (24, 32, 48)):
        super().__init__()
        unit = ConvUnit("batch", activation=nn.ReLU)
        self.unet = UNet(2 * n_inputs, 1, channels=channels, unit=unit)

    def forward(self, images: Tensor, given: Tensor) -> Tensor:
        """Return the last band without noise, ``(B, H, H)``.

        Arguments:
            images: ``(B, I, H, H)``; what stands in bands that are not given does not count.
            given: bool ``(B, I)``.
        """
        there = given[..., None, None]
        mask = there.expand_as(images).to(images)
        shown = torch.cat([torch.where(there, images, 0), mask], dim=1)
        # The sky goes on over its edges.
        answer = self.unet(F.pad(shown, (_MARGIN,) * 4, mode="circular"))
        return answer[:, 0, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


class GaussianTask(Task):
    """Skies drawn anew at every step, of which some bands are given.

    Arguments:
        bands: to draw from.
        size: skies in an epoch.
        n_validation: skies to validate on.
    """

    score = "minus_ratio"

    def __init__(self, bands: GaussianBands, *, size: int, n_validation: int):
        self.bands = bands
        self.size = size
        rng = torch.Generator(bands.device).manual_seed(SEEDS.validation[2])
        self.validation = bands.draw(n_validation, generator=rng)
        target = bands.n_bands - 1
        self.choices = torch.tensor([[k in chosen for k in range(target)] for chosen in subsets()])
        # Of each choice, once: every step would else solve for the filters of all its skies.
        least = [bands.expected_rmse(inputs=chosen, target=target) ** 2 for chosen in subsets()]
        self.least = torch.tensor(least)

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw skies with noise, without, and the number of the choice of bands.

        Arguments:
            n: samples in the batch.
            generator: of the random numbers.
        """
        images, truth = self.bands.draw(n, generator=generator)
        which = torch.randint(len(self.choices), (n,), generator=generator)
        return [images, truth, which]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return input bands ``(B, I, H, H)``, the last ``(B, H, H)``, and choices ``(B,)``.

        Arguments:
            indices: not used: no sky is seen twice.
            draws: what `draw` gave.
        """
        images, truth, which = draws
        return images[:, :-1], truth[:, -1], which

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the mean squared error, each subset's over its least possible one.

        Arguments:
            model: a `GaussianTranslator`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        images, truth, which = batch
        given = self.choices.to(images.device)[which]
        error = (model(images, given) - truth).square().mean((-2, -1))
        return (error / self.least.to(error)[which]).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the largest ratio of the error to the Wiener filter's over all subsets.

        Arguments:
            model: a `GaussianTranslator`, in evaluation mode.
        """
        ratios = _ratios(model, self.bands, *self.validation)
        worst = max(row["ratio"] for row in ratios.values())
        return {"worst_ratio": worst, "minus_ratio": -worst}


def _ratios(
    model: nn.Module, bands: GaussianBands, images: Tensor, truth: Tensor
) -> dict[str, dict[str, float]]:
    """Return errors of a network and of the Wiener filter by subset, on the same skies."""
    target = bands.n_bands - 1
    found = {}
    for chosen in subsets():
        given = torch.tensor([k in chosen for k in range(target)], device=images.device)
        answers = in_chunks(model, images[:, :-1], given.expand(len(images), -1), size=_BATCH)
        error = (answers - truth[:, -1]).double().square().mean()
        exact = bands.wiener(images, inputs=chosen, target=target)
        least = (exact - truth[:, -1]).double().square().mean()
        found["+".join(map(str, chosen))] = {
            "rmse": float(error.sqrt()),
            "wiener_rmse": float(least.sqrt()),
            "expected_rmse": bands.expected_rmse(inputs=chosen, target=target),
            "ratio": float((error / least).sqrt()),
        }
    return found


def _task(profile: Profile) -> GaussianTask:
    bands = gaussian_bands(device=profile.device)
    size = profile.pick(smoke=8, cpu=3200, gpu=16_000)
    return GaussianTask(bands, size=size, n_validation=profile.pick(smoke=4, cpu=50, gpu=100))


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Skies are drawn: there is no source to choose.
    n = _TEST if size is None else size
    bands = gaussian_bands()
    rng = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    images, truth = bands.draw(n, generator=rng)
    with torch.no_grad():
        found = _ratios(model, bands, images, truth)
    return Scores(
        scores={"subsets": found, "worst_ratio": max(row["ratio"] for row in found.values())},
        constant={"rmse": float(truth[:, -1].square().mean().sqrt())},
        size=n,
        data="Gaussian skies",
        limit={"worst_ratio": 1.0},
    )


def make_recipe() -> Recipe:
    """Return the recipe of the warm-up."""
    return Recipe(
        name="bands-gaussian",
        build=GaussianTranslator,
        task=_task,
        schedules={
            "smoke": Schedule(epochs=1, batch_size=4, lr=3e-3),
            "cpu": Schedule(epochs=2, batch_size=16, lr=3e-3),
            "gpu": Schedule(epochs=3, batch_size=16, lr=3e-3),
        },
        seeds=SEEDS,
        score=_score,
        published={},
    )
