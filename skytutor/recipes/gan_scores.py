"""How chapter 2 judges drawn digits: through the eyes of chapter 1's classifier."""

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.data import digits
from skytutor.healpix import npix_to_nside
from skytutor.metrics import frechet_distance, manifold_scores, nearest_distances, seam_ratio
from skytutor.models.digits import HaloNet
from skytutor.recipes.base import shipped, shipped_folder
from skytutor.recipes.digits import DIGITS, Sky

NSIDE = 16
JUDGED = 8
SURE = 0.9


@lru_cache(maxsize=4)
def _upright(nside: int) -> Sky:
    return Sky(nside=nside)


def digit_maps(images: Tensor, *, nside: int = NSIDE) -> Tensor:
    """Upright digits ``(N, H, H)`` as maps ``(N, 1, P)``, NESTED, in 0..1: what the networks are to imitate."""
    return torch.cat([_upright(nside).paint(part) for part in images.split(500)]).clamp(0, 1)


def coarse(maps: Tensor) -> Tensor:
    """Maps ``(N, 1, P)``, NESTED, as means over the pixels of nside 8, ``(N, 1, 768)``: where the classifier reads."""
    nside = npix_to_nside(maps.shape[-1])
    if nside < JUDGED:
        raise ValueError(f"maps must have nside {JUDGED} or more, got {nside}")
    return maps.unflatten(2, (12 * JUDGED**2, -1)).mean(3)


@dataclass(frozen=True)
class Judge:
    """Chapter 1's classifier at fixed pose, and the temperature that makes its probabilities true.

    It was trained with label smoothing, so it is never quite certain. One number, fitted to digits
    it was not trained on, divides its answers before the softmax [1]_.

    .. [1] C. Guo, G. Pleiss, Y. Sun & K. Weinberger, 2017, ICML 34.
    """

    network: HaloNet
    temperature: float

    @torch.no_grad()
    def __call__(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(N, 128)``, the last level's mean over the sphere, and class probabilities ``(N, 10)``, of maps at nside 8 or finer."""
        features = []
        logits = []
        for part in coarse(maps).split(64):  # few at a time: the finest features are large
            seen = self.network.features(part)[-1]  # (64, 128, 12, 2, 2)
            features.append(seen.mean((2, 3, 4)))
            logits.append(self.network.read(seen.flatten(1)))
        return torch.cat(features), (torch.cat(logits) / self.temperature).softmax(1)


@lru_cache(maxsize=4)
def judge(source: str) -> Judge:
    """The judge, its temperature fitted on the validation digits of "mnist" or "embedded"."""
    network = shipped(next(recipe for recipe in DIGITS if recipe.name == "digits-fixed"))
    images, labels = digits.load(source).part("validation")
    logits = torch.cat(
        [Judge(network, 1.0)(digit_maps(part))[1] for part in images.split(1000)]
    ).log()
    grid = torch.linspace(0.2, 2.0, 181)
    losses = torch.stack([F.cross_entropy(logits / t, labels) for t in grid])
    return Judge(network, float(grid[losses.argmin()]))


def seam_over(maps: Tensor, real: Tensor) -> float:
    """Seam ratio of maps ``(N, 1, P)``, NESTED, over that of real ones."""
    return seam_ratio(maps[:, 0], order="nested") / seam_ratio(real[:, 0], order="nested")


def sure(probabilities: Tensor) -> float:
    """Share of samples that the judge names with a probability above 0.9."""
    return float((probabilities.amax(1) > SURE).double().mean())


@torch.no_grad()
def draw(generator: nn.Module, labels: Tensor, *, seed: int, batch_size: int = 64) -> Tensor:
    """One sample for each label, on the CPU, from latents of the seed; labels are passed on if the generator knows classes."""
    device = next(generator.parameters()).device
    dice = torch.Generator().manual_seed(seed)
    latents = torch.randn(len(labels), generator.latent, generator=dice).split(batch_size)
    told = labels.split(batch_size) if getattr(generator, "classes", 0) else [None] * len(latents)
    return torch.cat(
        [
            generator(z.to(device), y if y is None else y.to(device)).cpu()
            for z, y in zip(latents, told, strict=True)
        ]
    )


def on_sphere(samples: Tensor) -> Tensor:
    """Samples as maps: pictures ``(N, 1, H, H)`` are laid on the sky as the digits were."""
    return samples if samples.dim() == 3 else digit_maps(samples[:, 0])


def compare(maps: Tensor, labels: Tensor, features: Tensor, judge: Judge) -> dict[str, float]:
    """Scores of samples beside the features of as many real digits; `labels` are what the samples were to show."""
    seen, named = judge(maps)
    share = named.argmax(1).bincount(minlength=10).double() / len(named)
    return {
        "frechet": frechet_distance(seen, features),
        "confident_share": sure(named),
        "smallest_class_share": float(share.min()),
        "agreement": float((named.argmax(1) == labels).double().mean()),
        **manifold_scores(features, seen),
    }


def copy_share(maps: Tensor, test: Tensor, images: Tensor) -> dict[str, float]:
    """Share of samples nearer to a training image than the nearest hundredth of test digits is; all laid down at nside 8."""
    both = coarse(torch.cat([maps, test]))[:, 0]
    near = None
    for part in images.split(2000):  # a few at a time: all of them would be maps of 700 MB
        found = nearest_distances(both, coarse(digit_maps(part))[:, 0])
        near = found if near is None else torch.minimum(near, found)
    cut = near[len(maps) :].quantile(0.01)
    return {
        "copy_share": float((near[: len(maps)] < cut).double().mean()),
        "copy_distance": float(cut),
    }


def score_digits(
    rivals: dict[str, Any], game: nn.Module, seed: int, size: int | None, source: str | None = None
) -> dict[str, Any]:
    """All scores of drawn digits beside the test split, the rivals' Frechet distances, and the floor: two halves of the test split."""
    source = source or "mnist"
    data = digits.load(source)
    images, labels = data.part("test")
    if size is not None and not 100 <= size <= len(labels):
        raise ValueError(f"size must lie in 100..{len(labels)} (the test split), got {size}")
    nside = getattr(game.generator, "nside", NSIDE)
    test = digit_maps(images[:size], nside=nside)
    labels = labels[:size]
    judging = judge(source)
    features, named = judging(test)
    began = time.perf_counter()
    maps = on_sphere(draw(game.generator, labels, seed=seed))
    rate = len(maps) / (time.perf_counter() - began)
    scores = compare(maps, labels, features, judging) | {
        "frechet_real": frechet_distance(features[::2], features[1::2])
    }
    for key, rival in rivals.items():
        if not (shipped_folder() / f"{rival.name}.safetensors").exists():
            continue  # the rivals are trained first; without them the rest can be scored
        rival = on_sphere(draw(shipped(rival).generator, labels, seed=seed))
        scores[key] = frechet_distance(judging(rival)[0], features)
    scores |= {
        "confident_real": sure(named),
        "recall_real": manifold_scores(features[::2], features[1::2])["recall"],
    }
    scores["seam_ratio"] = seam_over(maps, test)
    scores |= copy_share(maps, test, data.part("train")[0]) | {
        "temperature": judging.temperature,
        "samples_per_second": rate,
    }
    return {"size": len(test), "data": f"{source} test", "scores": scores, "constant": {}}
