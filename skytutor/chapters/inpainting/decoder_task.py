"""Training of `FreeDecoder` on skies behind drawn masks, its scores, and its recipe."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.decoder import ExactDecoder, FreeDecoder, LinearDecoder
from skytutor.chapters.inpainting.question import patch_question
from skytutor.chapters.inpainting.samples import BANDS, REPEATS, spread_ratio
from skytutor.chapters.inpainting.scores import score_fill
from skytutor.chapters.inpainting.skies import HoleTest, check_size, crowded_tests, disc_test
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import INPAINTING as SEEDS
from skytutor.data.masks import size_between
from skytutor.data.patches import RADII, SETUPS, discs_mask, flat_sky
from skytutor.fields.flat import FlatSky, band_powers
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["DecoderTask", "make_recipe", "score_decoder", "score_power"]

# Radii of discs in arcmin, and the fraction that they hide: the likelihood takes a matrix of the
# hidden pixels and its gradient, so holes of training are kept to a few hundred pixels.
_RADII = (5.0, 60.0)
_HIDDEN = 0.05


def _discs(sky: FlatSky, part: float, *, generator: torch.Generator) -> Tensor:
    """Draw a mask of training; `part` from 0 to 1 says how large its discs are."""
    radius = size_between(part, _RADII)
    pixel = sky.pixel_arcmin
    return discs_mask(sky.size, radius, pixel_arcmin=pixel, hidden=_HIDDEN, generator=generator)


class DecoderTask(Task):
    """Skies and masks, drawn anew for every batch.

    Arguments:
        sky: to draw from.
        size: masks in an epoch.
        n_validation: masks to validate on.
        skies: S, skies behind each mask.
    """

    score = "log_likelihood"

    def __init__(self, sky: FlatSky, *, size: int, n_validation: int, skies: int = 16):
        self.sky = sky
        self.size = size
        self.skies = skies
        rng = torch.Generator().manual_seed(SEEDS.validation[0])
        self.validation_set = self.draw(n_validation, generator=rng)

    def draw(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw masks ``(n, H, H)`` bool and data ``(n, S, H, H)``.

        Arguments:
            n: masks in the batch.
            generator: of the random numbers.
        """
        parts = torch.rand(n, generator=generator, dtype=torch.float64).tolist()
        masks = [_discs(self.sky, part, generator=generator) for part in parts]
        _, data = self.sky.draw(n * self.skies, generator=generator)
        return torch.stack(masks), data.unflatten(0, (n, self.skies))

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return what `draw` gave: every batch is new.

        Arguments:
            indices: not used.
            draws: masks and data.
        """
        return tuple(draws)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return minus the log-likelihood of a hidden pixel, a scalar.

        Arguments:
            model: a `LinearDecoder`.
            batch: what `batch` gave.
        """
        found = []
        for mask, data in zip(*batch, strict=True):
            found.append(model(data, mask).mean() / (~mask).sum())
        return -torch.stack(found).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the log-likelihood of a hidden pixel, and how far it lies below the exact one.

        Arguments:
            model: a `LinearDecoder`, in evaluation mode.
        """
        device = next(model.parameters()).device
        batch = tuple(part.to(device) for part in self.validation_set)
        found = -float(self.loss(model, batch))
        exact = -float(self.loss(ExactDecoder(self.sky), self.validation_set))
        return {"log_likelihood": found, "below_exact": exact - found}


def _learned(test: HoleTest, model: LinearDecoder) -> HoleTest:
    """Return a test whose samples will be drawn from the prior of the model."""
    return replace(test, sky=model.sky(test.sky.size))


def score_power(
    model: LinearDecoder, *, radius: int, skies: int, generator: torch.Generator
) -> dict[str, Any]:
    """Score samples behind masks with many discs.

    Arguments:
        model: a decoder.
        radius: of the discs in arcmin, at most 60.
        skies: in all.
        generator: of the random numbers.

    Returns:
        ``hole_power`` of samples over that of the truth, through the holes alone, in the bands of
        `BANDS`; ``coverage68_pixels``, how many hidden pixels lie within one standard deviation
        that the model states; ``chi2`` of the truth for a degree of freedom, by its covariance.
    """
    powers = []
    inside = []
    chi_square = []
    for test in crowded_tests(radius, skies=skies, generator=generator):
        _, sample = model.sample(test.data, test.mask, generator=generator)
        window = (~test.mask).double()
        pair = torch.stack([sample, test.data])
        found = band_powers(pair, BANDS, pixel_arcmin=test.sky.pixel_arcmin, window=window)
        powers.append(found.mean(1))
        covariance = model.covariance(test.mask).detach()
        mean = test.hidden(model.fill(test.data, test.mask))
        # The covariance is that of the data; the noise of hidden pixels is no part of the signal.
        sd = (covariance.diagonal() - test.sky.noise**2).clamp(min=0).sqrt()
        inside.append(((test.hidden(test.signal) - mean).abs() <= sd).double().mean())
        away = test.hidden(test.data) - mean  # (n, n_hidden)
        white = torch.linalg.solve(covariance, away.T).T
        chi_square.append((away * white).sum(-1).mean() / away.shape[-1])
    sampled, true = torch.stack(powers).mean(0)
    return {
        "hole_power": (sampled / true).tolist(),
        "coverage68_pixels": float(torch.stack(inside).mean()),
        "chi2": float(torch.stack(chi_square).mean()),
    }


@torch.no_grad()
def score_decoder(model: nn.Module, *, seed: int, size: int | None = None) -> Scores:
    """Score the free decoder, and the exact one beside it on the same skies.

    Arguments:
        model: a `FreeDecoder`, in evaluation mode.
        seed: of the test skies.
        size: skies of each radius; None for 512.
    """
    assert isinstance(model, LinearDecoder)
    size = check_size(size)
    rng = torch.Generator().manual_seed(seed)
    by_radius = {}
    constant = {}
    for radius in RADII:
        test = disc_test(radius, skies=size, generator=rng)
        row = score_fill(model.fill, [test])
        row["sample_ratio"] = spread_ratio(
            model.fill, _learned(test, model), repeats=REPEATS[radius], generator=rng
        )
        by_radius[str(radius)] = row
        # A sample that does not look at the data is a sky of its own.
        square = 2 * test.signal.square().mean() / test.variance.mean()
        constant[str(radius)] = float(square.sqrt())
    found = score_power(model, radius=60, skies=4 * size, generator=rng)
    rng = torch.Generator().manual_seed(seed)
    exact = score_power(ExactDecoder(flat_sky("B", 64)), radius=60, skies=4 * size, generator=rng)
    return Scores(
        scores={"by_radius": by_radius, **found, "exact": exact},
        constant=constant,
        size=size,
        data="Gaussian skies of set-up B, drawn",
        limit={radius: row["wiener_rmse"] for radius, row in by_radius.items()},
    )


def _build() -> FreeDecoder:
    setup = SETUPS["B"]
    return FreeDecoder(pixel_arcmin=setup.pixel_arcmin, noise=setup.noise)


def _task(profile: Profile) -> DecoderTask:
    return DecoderTask(
        flat_sky("B", profile.pick(smoke=32, cpu=64, gpu=64)),
        size=profile.pick(smoke=32, cpu=200, gpu=400),
        n_validation=profile.pick(smoke=4, cpu=12, gpu=12),
    )


def _score(model: nn.Module, *, seed: int, size: int | None, source: str | None = None) -> Scores:
    # Skies are drawn: there is no source to choose.
    return score_decoder(model, seed=SEEDS.test_seed(seed), size=size)


def _fill(model: nn.Module, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    assert isinstance(model, FreeDecoder)
    errors = torch.full(mask.shape, model.noise, dtype=torch.float64)
    # The covariance is that of the data; the noise of hidden pixels is no part of the signal.
    variance = model.covariance(mask).diagonal() - model.noise**2
    errors[~mask] = variance.clamp(min=0).sqrt()
    return model.fill(data, mask), errors


def _draw_mask(generator: torch.Generator) -> Tensor:
    part = float(torch.rand(1, generator=generator))
    return _discs(flat_sky("B", 64), part, generator=generator)


def make_recipe() -> Recipe:
    """Return the recipe of the free decoder."""
    full = Schedule(epochs=12, batch_size=8, lr=0.1, average=0.95)
    return Recipe(
        name="inpaint-decoder",
        build=_build,
        task=_task,
        schedules={
            "smoke": replace(full, epochs=2, average=0.8),
            "cpu": replace(full, epochs=4),
            "gpu": full,
        },
        seeds=SEEDS,
        score=_score,
        published={},
        float16=False,
        question=patch_question(
            _fill,
            draw_mask=_draw_mask,
            hidden=0.2,
            mask="discs of 5 to 60 arcmin",
            errors="standard deviation of the signal given the data, by the curves that the "
            "network has learned; the noise where seen",
        ),
    )
