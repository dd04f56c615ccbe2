"""What each fault of the published work costs, in numbers, on skies of set-up B.

Each function measures one of them in seconds, and `faults` all but `short_training`, which trains a
small network with and without a fault. The numbers are what a table of the chapter shows beside
what they should be.
"""

import torch
from torch import Tensor, nn

from skytutor.chapters.inpainting.pictures import from_picture, to_picture
from skytutor.chapters.inpainting.published import PublishedVAE, latent_prior
from skytutor.chapters.inpainting.published_loss import gaussian_kl
from skytutor.chapters.inpainting.published_split import split_price
from skytutor.chapters.inpainting.published_task import (
    FILLINGS,
    PIXEL,
    SIZE,
    PublishedTask,
    draw_masks,
    fill,
    predict,
    shift_and_flip,
    unwrap,
)
from skytutor.chapters.inpainting.samples import BANDS
from skytutor.chapters.seeds import INPAINTING as SEEDS
from skytutor.chunks import in_chunks
from skytutor.data.patches import best_fit_spectrum, disc_mask, flat_sky
from skytutor.fields.flat import band_powers
from skytutor.fields.holes import DenseHole
from skytutor.layers.partial import PartialConv2d

__all__ = [
    "BANDS",
    "augmentation_price",
    "colour_price",
    "faults",
    "filling_price",
    "latent_price",
    "scaling_price",
    "short_training",
]

_ACTIVE = 0.01  # nats from which on a latent counts as used


def _skies(n: int, *, seed: int) -> Tensor:
    """Draw test data ``(n, 64, 64)`` float32, muK."""
    generator = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    return flat_sky("B", SIZE).draw(n, generator=generator, dtype=torch.float32)[1]


def colour_price(*, skies: int = 256, seed: int = 0) -> dict[str, float]:
    """Measure the power of pictures turned back into maps, over the maps' own.

    Two cases: the ends of each picture's scale are known, so that only the rounding to 8 bits is
    lost; or they are not, as published, and the mean of all ends stands for each.

    Arguments:
        skies: how many.
        seed: of the test.

    Returns:
        ``known_lowest`` and ``known_highest``, the extreme ratios of mean powers in five bands;
        ``unknown_scatter``, the standard deviation of a picture's power over its map's, averaged
        over the bands; ``unknown_mean_rms``, the rms error of a patch's mean, muK.
    """
    maps = _skies(skies, seed=seed)
    pictures = to_picture(maps)
    low = maps.amin((1, 2))
    high = maps.amax((1, 2))
    # Measured as everywhere in double precision: (N, bands).
    truth = band_powers(maps.double(), BANDS, pixel_arcmin=PIXEL)
    known = from_picture(pictures, low=low, high=high)
    known_ratio = band_powers(known.double(), BANDS, pixel_arcmin=PIXEL).mean(0) / truth.mean(0)
    unknown = from_picture(pictures, low=low.mean(), high=high.mean())
    ratio = band_powers(unknown.double(), BANDS, pixel_arcmin=PIXEL) / truth
    mean_error = unknown.mean((1, 2)) - maps.mean((1, 2))
    return {
        "known_lowest": float(known_ratio.min()),
        "known_highest": float(known_ratio.max()),
        "unknown_scatter": float(ratio.std(0).mean()),
        "unknown_mean_rms": float(mean_error.square().mean().sqrt()),
    }


@torch.no_grad()
def latent_price(
    model: nn.Module, *, skies: int = 128, radius: float = 60.0, batch_size: int = 4, seed: int = 0
) -> dict[str, float]:
    """Measure what the latents hold, and what of it the answer depends on.

    Arguments:
        model: a `PublishedVAE` for muK, in evaluation mode.
        skies: how many, with one disc hidden.
        radius: of the disc, arcmin.
        batch_size: of the training.
        seed: of the test.

    Returns:
        ``kl_weight``, the weight of the divergence over the one that it has in the evidence bound,
        where errors are summed over pixels; ``kl_nats`` of all latents; ``active``, the number of
        latents above 0.01 nat; ``redraw_rms``, how far the fill moves when the latents are drawn
        from the prior, muK; ``wanted_rms``, how far two true samples of the hole lie apart, muK;
        ``alone_correlation`` of the truth with what the latents draw without skip connections.
    """
    data = _skies(skies, seed=seed)
    mask = disc_mask(SIZE, radius, pixel_arcmin=PIXEL)
    network = unwrap(model)
    seen = mask.expand(data.shape)[:, None]
    found = predict(network, data[:, None], seen)
    divergence = gaussian_kl(found.mean, found.log_variance, network.prior_variance).mean(0)
    generator = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    z = network.draw_latents(skies, generator=generator)
    moved = (fill(network, data, mask) - fill(network, data, mask, z))[:, ~mask]
    sky = flat_sky("B", SIZE)
    spread = DenseHole(sky.precision, mask).variance - sky.noise**2
    return {
        "kl_weight": float(batch_size * SIZE**2),
        "kl_nats": float(divergence.sum()),
        "active": float((divergence > _ACTIVE).sum()),
        "redraw_rms": float(moved.square().mean().sqrt()),
        "wanted_rms": float((2 * spread.mean()).sqrt()),
        "alone_correlation": _alone(network, data, found.mean),
    }


def _alone(network: PublishedVAE, data: Tensor, z: Tensor) -> float:
    """Return the correlation of maps with what latents draw when every skip connection is cut."""

    def draw(latents: Tensor) -> Tensor:
        # Nothing is seen at any resolution: the decoder has the latents and nothing else.
        empty = torch.zeros(len(latents), 1, SIZE, SIZE)
        return network.decode(latents, network.encode(empty, empty.bool()))[:, 0]

    drawn = in_chunks(draw, z, size=32)
    pairs = torch.stack([drawn, data])  # (2, N, H, H)
    # The mean of a patch goes round everything: it is not the latents' work.
    pairs = pairs - pairs.mean((2, 3), keepdim=True)
    norms = pairs.square().sum((1, 2, 3)).sqrt().clamp(min=1e-20)
    return float((pairs[0] * pairs[1]).sum() / norms.prod())


def scaling_price(*, channels: tuple[int, ...] = (1, 3, 64)) -> dict[str, float]:
    """Send a picture of ones through an averaging partial convolution, scaled as published.

    Arguments:
        channels: numbers of channels, of picture and of mask.

    Returns:
        ``exact``, what comes back of the last with exact scaling, and ``channels_C`` for each C
        with the published one.
    """
    found = {}
    for scaling in ("exact", "published"):
        for c in channels:
            conv = PartialConv2d(c, 1, 3, padding="periodic", scaling=scaling, bias=False)
            nn.init.constant_(conv.weight, 1 / (9 * c))
            ones = torch.ones(1, c, 8, 8)
            mask = ones.bool()
            mask[..., 2:4, 2:4] = False
            out, seen = conv(ones, mask)
            name = "exact" if scaling == "exact" else f"channels_{c}"
            found[name] = float(out[seen].detach().mean())
    return found


def augmentation_price(*, skies: int = 256, seed: int = 0) -> dict[str, float]:
    """Measure what a shift and flip of the picture alone does to a mask that stays.

    Arguments:
        skies: how many pairs of picture and mask.
        seed: of the test.

    Returns:
        ``white_in_seen``, the fraction of pixels called seen that hold the filling, and
        ``sky_in_hidden``, the fraction of pixels called hidden that show the sky; both are 0 where
        sky and mask move together.
    """
    generator = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    mask = draw_masks(skies, generator=generator)
    shifts = torch.randint(SIZE, (skies, 2), generator=generator)
    flips = torch.rand(skies, generator=generator) < 0.5
    moved = shift_and_flip(mask, shifts=shifts, flips=flips)  # where the picture shows the sky
    return {
        "white_in_seen": float((mask & ~moved).sum() / mask.sum()),
        "sky_in_hidden": float((~mask & moved).sum() / (~mask).sum()),
    }


@torch.no_grad()
def filling_price(model: nn.Module, *, skies: int = 32, seed: int = 0) -> dict[str, float]:
    """Measure how far the answer moves when white stands behind the mask, or beside it.

    Arguments:
        model: a `PublishedVAE` for muK, in evaluation mode.
        skies: how many.
        seed: of the test.

    Returns:
        rms change of the fill against a hole filled with 0, muK: ``same_mask``, where the mask
        covers the white; ``shifted_mask``, where it lies eight pixels aside.
    """
    data = _skies(skies, seed=seed)
    mask = disc_mask(SIZE, 60.0, pixel_arcmin=PIXEL)
    found = {}
    for name, shift in (("same_mask", 0), ("shifted_mask", 8)):
        called = mask.roll(shift, 1)
        maps = [torch.where(mask, data, value) for value in FILLINGS.values()]
        fills = [predict(model, one[:, None], called.expand(data.shape)[:, None]) for one in maps]
        change = (fills[0].maps - fills[1].maps)[:, 0, ~called]
        found[name] = float(change.square().mean().sqrt())
    return found


def short_training(
    *,
    steps: int = 300,
    seed: int = 0,
    scaling: str = "exact",
    kl: str = "batch",
    augment: str = "none",
    filling: str = "white",
) -> dict[str, float]:
    """Train a small network with some faults: 32 x 32 pixels, 32 latents, batches of 4.

    Arguments:
        steps: of Adam at 1e-3, about 20 ms each.
        seed: of weights and skies; the same skies whatever the faults.
        scaling: of the partial convolutions, "exact" or "published".
        kl: as of `skytutor.chapters.inpainting.published_task.PublishedTask`.
        augment: likewise.
        filling: likewise.

    Returns:
        ``ratio``, its rms error in a disc of 30 arcmin over the exact fill's; ``kl_nats``, the
        divergence of all latents; ``active``, the number of latents above 0.01 nat;
        ``redraw_rms``, how far the fill moves when latents are drawn from the prior, muK.
    """
    side = 32
    torch.manual_seed(seed)
    _, variance = latent_prior(best_fit_spectrum(), 32, lmax=180 * 60 / PIXEL)
    network = PublishedVAE(variance, size=side, widths=(16, 32, 32, 32), scaling=scaling)
    task = PublishedTask(side=side, n_validation=256, kl=kl, augment=augment, filling=filling)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()
    for _ in range(steps):
        batch = task.batch(torch.arange(4), task.draw(4, generator=generator))
        optimizer.zero_grad()
        task.loss(network, batch).backward()
        optimizer.step()
    return _hole_scores(network.eval(), task, generator=generator)


def _hole_scores(
    network: PublishedVAE, task: PublishedTask, *, generator: torch.Generator
) -> dict[str, float]:
    """Return what `short_training` does, on the task's validation skies."""
    data = task.validation_data
    mask = disc_mask(task.sky.size, 30.0, pixel_arcmin=PIXEL)
    hole = DenseHole(task.sky.precision, mask)
    filled = fill(network, data, mask)
    z = network.draw_latents(len(data), generator=generator)
    moved = filled - fill(network, data, mask, z)
    excess = (filled - hole.fill(data))[:, ~mask].square().mean()
    exact = (hole.variance - task.sky.noise**2).mean()
    found = predict(network, data[:, None], mask.expand(data.shape)[:, None])
    divergence = gaussian_kl(found.mean, found.log_variance, network.prior_variance).mean(0)
    return {
        "ratio": float((1 + excess / exact).sqrt()),
        "kl_nats": float(divergence.sum()),
        "active": float((divergence > _ACTIVE).sum()),
        "redraw_rms": float(moved[:, ~mask].square().mean().sqrt()),
    }


def faults(model: nn.Module, *, skies: int = 128, seed: int = 0) -> dict[str, dict[str, float]]:
    """Measure all of them but `short_training`, in half a minute.

    Arguments:
        model: a `PublishedVAE` for muK, in evaluation mode.
        skies: for each that needs some.
        seed: of the test.

    Returns:
        the numbers of the other functions by the name of the fault: "colour", "split", "latents",
        "scaling", "augmentation", "filling".
    """
    return {
        "colour": colour_price(skies=skies, seed=seed),
        "split": split_price(seed=seed),
        "latents": latent_price(model, skies=skies, seed=seed),
        "scaling": scaling_price(),
        "augmentation": augmentation_price(skies=skies, seed=seed),
        "filling": filling_price(model, skies=min(32, skies), seed=seed),
    }
