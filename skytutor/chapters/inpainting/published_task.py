"""Training, fill and scores of the published network, on Gaussian skies of set-up B.

Shapes: B batch, H side of the patch. Masks are True where the sky is seen.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.pictures import to_picture
from skytutor.chapters.inpainting.published import (
    CHANNELS,
    LATENTS,
    Inpainted,
    PublishedVAE,
    latent_prior,
)
from skytutor.chapters.inpainting.published_loss import PublishedLoss, gaussian_kl
from skytutor.chapters.inpainting.question import patch_question
from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import INPAINTING as SEEDS
from skytutor.data.patches import RADII, SETUPS, best_fit_spectrum, disc_mask, flat_sky, mixed_mask
from skytutor.fields.flat import FlatSky, laplacian
from skytutor.fields.holes import DenseHole, check_hard_mask, seen_only
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task
from skytutor.validate import one_of, positive

__all__ = ["PublishedTask", "fill", "make_recipe", "published_network", "score"]

SIZE = 64
PIXEL = SETUPS["B"].pixel_arcmin
AUGMENTATIONS = ("none", "both", "image")
# muK that stand behind the mask of the input: the sky's mean, or white, hotter than any pixel.
FILLINGS = {"zero": 0.0, "white": 600.0}
SKIES = 512  # of a test


def published_network(*, units: str = "muK", scaling: str = "exact") -> PublishedVAE:
    """Return the published network for patches of 64 x 64 pixels of set-up B, 7.3 degrees wide.

    Its 128 latents stand for multipoles from 2 to the last that the pixels hold, 1571.

    Arguments:
        units: "muK" or "colour".
        scaling: of the partial convolutions, "exact" or "published".
    """
    last = 180 * 60 / PIXEL  # multipole of a wave of two pixels
    _, variance = latent_prior(best_fit_spectrum(), LATENTS, lmax=last)
    return PublishedVAE(variance, size=SIZE, units=units, scaling=scaling)


def draw_masks(n: int, *, generator: torch.Generator, side: int = SIZE) -> Tensor:
    """Draw masks of training, ``(n, 1, side, side)`` bool."""
    masks = [mixed_mask(side, pixel_arcmin=PIXEL, generator=generator) for _ in range(n)]
    return torch.stack(masks)[:, None]


def shift_and_flip(maps: Tensor, *, shifts: Tensor, flips: Tensor) -> Tensor:
    """Shift each picture of a scalar around the patch and flip some of them left to right.

    Of Q and U a mirror would turn U's sign, which this does not do.

    Arguments:
        maps: ``(B, C, H, H)``.
        shifts: rows and columns, ``(B, 2)``, whole pixels.
        flips: ``(B,)`` bool.
    """
    moved = [
        picture.roll(tuple(shift), (1, 2))
        for picture, shift in zip(maps, shifts.tolist(), strict=True)
    ]
    stacked = torch.stack(moved)
    return torch.where(flips[:, None, None, None], stacked.flip(3), stacked)


class PublishedTask(Task):
    """Training and validation on skies that are drawn anew in every step.

    The published faults of data and loss are switches, so that each has a price.

    Arguments:
        units: "muK", or "colour": pictures scaled each by itself, in 8 bits a colour.
        kl: "batch" sums the divergence over the batch, as published; for "sample" and "pixel" see
            `skytutor.chapters.inpainting.published_loss.PublishedLoss`.
        augment: "none"; "both" shifts and flips sky and mask together; "image" leaves the mask
            where it was, as published, so that it hides what is seen and shows the filling.
        filling: what stands behind the mask of the input: "white", as published, or "zero". A mask
            that lies where the hole does lets no layer see it.
        samples: skies that count as an epoch.
        n_validation: skies of the validation.
        side: of a patch, pixels.

    Raises:
        ValueError: an unknown choice.
    """

    size: int
    score = "minus_error"

    def __init__(
        self,
        *,
        units: str = "muK",
        kl: str = "batch",
        augment: str = "none",
        filling: str = "white",
        samples: int = 2000,
        n_validation: int = 128,
        side: int = SIZE,
    ):
        self.units = one_of("units", units, allowed=CHANNELS)
        self.augment = one_of("augment", augment, allowed=AUGMENTATIONS)
        self.filling = FILLINGS[one_of("filling", filling, allowed=FILLINGS)]
        (self.size,) = positive(samples=samples)
        self.criterion = PublishedLoss(side, kl=kl)
        self.sky = flat_sky("B", side)
        generator = torch.Generator().manual_seed(SEEDS.validation[0])
        _, self.validation_data = self.sky.draw(
            n_validation, generator=generator, dtype=torch.float32
        )
        self.validation_masks = draw_masks(n_validation, generator=generator, side=side)

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw skies with noise, masks, shifts and flips."""
        _, data = self.sky.draw(n, generator=generator, dtype=torch.float32)
        masks = draw_masks(n, generator=generator, side=self.sky.size)
        shifts = torch.randint(self.sky.size, (n, 2), generator=generator)
        flips = torch.rand(n, generator=generator) < 0.5
        return [data, masks, shifts, flips]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the network is given, what it should answer, and the mask.

        Returns:
            input and truth ``(B, C, H, H)``, mask ``(B, 1, H, H)`` bool.
        """
        data, mask, shifts, flips = draws
        truth = as_input(data, self.units)
        given = torch.where(mask, truth, self._filling())
        if self.augment != "none":
            truth = shift_and_flip(truth, shifts=shifts, flips=flips)
            given = shift_and_flip(given, shifts=shifts, flips=flips)
        if self.augment == "both":
            mask = shift_and_flip(mask, shifts=shifts, flips=flips)
        return given, truth, mask

    def _filling(self) -> float:
        """Return what stands behind the mask, in the unit of the input."""
        return self.filling if self.units == "muK" else float(self.filling > 0)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the published loss, a scalar."""
        given, truth, mask = batch
        criterion = self.criterion.to(given.device)
        prior = unwrap(model).prior_variance
        return criterion(model(given, mask), truth, mask, prior)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the rms error over the holes, muK or colours of 0 to 1, and the divergence."""
        truth = as_input(self.validation_data, self.units)
        mask = self.validation_masks
        found = predict(model, truth, mask)
        hidden = ~mask.expand_as(truth)
        error = (found.maps - truth)[hidden].square().mean().sqrt()
        prior = unwrap(model).prior_variance.cpu()
        divergence = gaussian_kl(found.mean, found.log_variance, prior).sum(1).mean()
        return {"minus_error": -float(error), "kl_nats": float(divergence)}


def unwrap(model: nn.Module) -> PublishedVAE:
    """Return the network itself where the training loop has wrapped it."""
    found = getattr(model, "module", model)
    assert isinstance(found, PublishedVAE), type(found)
    return found


def as_input(data: Tensor, units: str) -> Tensor:
    """Return maps ``(B, H, H)`` as the network takes them: ``(B, C, H, H)``."""
    return data[:, None] if units == "muK" else to_picture(data).float() / 255


@torch.no_grad()
def predict(
    model: nn.Module, maps: Tensor, mask: Tensor, z: Tensor | None = None, *, size: int = 32
) -> Inpainted:
    """Run the network a few pictures at a time, on its device.

    Arguments:
        model: a `PublishedVAE`.
        maps: ``(N, C, H, H)``, as `as_input` gives them.
        mask: ``(N, 1, H, H)`` bool.
        z: latents ``(N, Z)`` in the place of the encoder's; None for those.
        size: pictures at a time.
    """
    device = next(model.parameters()).device
    parts = []
    for k in range(0, len(maps), size):
        rows = slice(k, k + size)
        latents = None if z is None else z[rows].to(device)
        parts.append(model(maps[rows].to(device), mask[rows].to(device), latents))
    return Inpainted(*[torch.cat(one).cpu() for one in zip(*parts, strict=True)])


def fill(model: nn.Module, data: Tensor, mask: Tensor, z: Tensor | None = None) -> Tensor:
    """Fill the holes of maps in muK; seen pixels stay as they are.

    Arguments:
        model: a `PublishedVAE` for muK, in evaluation mode.
        data: ``(N, H, H)``; anything where hidden.
        mask: ``(H, H)`` or ``(N, H, H)``.
        z: latents ``(N, Z)`` in the place of the encoder's; None for those.

    Returns:
        ``(N, H, H)``, in the precision of `data`.

    Raises:
        TypeError, ValueError: a mask that is soft, of another shape, or hides all or nothing; NaN,
            infinite or UNSEEN values in seen pixels.
    """
    seen = check_hard_mask(mask, size=data.shape[-1]).expand(data.shape)
    known = seen_only(data, seen).float()[:, None]
    found = predict(model, known, seen[:, None], z)
    return torch.where(seen, data, found.maps[:, 0].to(data))


def score(
    model: nn.Module, *, seed: int = 0, size: int | None = None, source: str | None = None
) -> Scores:
    """Score a network on test skies with one disc of each radius hidden, beside the exact fill.

    Arguments:
        model: a `PublishedVAE` for muK, in evaluation mode.
        seed: of the test.
        size: skies, 512 for None.
        source: not used: there is one kind of data.

    Raises:
        ValueError: a size below 1, or a seed that draws no test.
    """
    (n,) = positive(size=SKIES if size is None else size)
    generator = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    sky = flat_sky("B", SIZE)
    signal, data = sky.draw(n, generator=generator)
    z = unwrap(model).draw_latents(n, generator=generator)
    by_radius = {}
    limit = {}
    constant = {}
    for radius in RADII:
        mask = disc_mask(SIZE, radius, pixel_arcmin=PIXEL)
        row, exact, mean_ratio = _score_disc(model, sky, signal, data, mask=mask, z=z)
        by_radius[str(radius)] = row
        limit[f"rmse_{radius}"] = exact
        constant[f"ratio_{radius}"] = mean_ratio
    return Scores(
        scores={"by_radius": by_radius},
        constant=constant,
        size=n,
        data="Gaussian skies of set-up B, 64 x 64, a disc hidden",
        limit=limit,
    )


def _score_disc(
    model: nn.Module, sky: FlatSky, signal: Tensor, data: Tensor, *, mask: Tensor, z: Tensor
) -> tuple[dict[str, float], float, float]:
    """Return the scores of one mask, the exact limit, and the ratio of the seen pixels' mean."""
    hole = DenseHole(sky.precision, mask)
    hidden = ~mask
    truth = signal[:, hidden]
    wiener = hole.fill(data)[:, hidden]
    noise = (wiener - truth).square().mean()

    def ratio(filled: Tensor) -> float:
        # What a fill has more than the exact one does not depend on what no fill can know: far
        # less scatter than a ratio of two errors.
        excess = (filled - wiener).square().mean()
        return float((1 + excess / noise).sqrt())

    fills = {
        "ratio": fill(model, data, mask)[:, hidden],
        "sample_ratio": fill(model, data, mask, z)[:, hidden],
        "harmonic_ratio": DenseHole(laplacian(SIZE, 1), mask).fill(data)[:, hidden],
        "biharmonic_ratio": DenseHole(laplacian(SIZE, 2), mask).fill(data)[:, hidden],
    }
    row = {name: ratio(filled) for name, filled in fills.items()}
    row["rmse"] = float((fills["ratio"] - truth).square().mean().sqrt())
    row["wiener_rmse"] = float(noise.sqrt())
    # How far the answer moves when the latents are drawn from the prior instead, muK.
    row["latent_rms"] = float((fills["ratio"] - fills["sample_ratio"]).square().mean().sqrt())
    exact = float((hole.variance - sky.noise**2).mean().sqrt())
    mean = data[:, mask].mean(1, keepdim=True).expand(-1, int(hidden.sum()))
    return row, exact, ratio(mean)


def _answer(model: nn.Module, data: Tensor, mask: Tensor) -> tuple[Tensor, None]:
    return fill(model, data, mask), None


def make_recipe() -> Recipe:
    """Return the recipe `inpaint-published`: in muK, with the published loss."""

    def task(profile: Profile) -> PublishedTask:
        samples = profile.pick(smoke=32, cpu=400, gpu=2000)
        return PublishedTask(samples=samples, n_validation=profile.pick(smoke=16, cpu=64, gpu=256))

    # Published: Adam at a constant 2e-4, batches of 4.
    full = Schedule(epochs=8, batch_size=4, lr=2e-4, optimizer="adam", rate="constant")
    return Recipe(
        name="inpaint-published",
        build=published_network,
        task=task,
        schedules={"smoke": replace(full, epochs=1), "cpu": replace(full, epochs=2), "gpu": full},
        seeds=SEEDS,
        score=score,
        published={},
        question=patch_question(_answer),
    )
