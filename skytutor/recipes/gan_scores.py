"""Scores of generated digits, in the feature space of chapter 1's classifier.

Shapes: N samples, H pixels along the side of an image, P = 12 nside**2 pixels in NESTED order.
"""

import time
from collections.abc import Mapping
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
from skytutor.models.game import AdversarialPair, latent_size
from skytutor.recipes.base import Recipe, load_pretrained, pretrained_folder
from skytutor.recipes.digits import DIGITS, SphereProjection

NSIDE = 16
CLASSIFIER_NSIDE = 8
CONFIDENCE = 0.9


@lru_cache(maxsize=4)
def _projection(nside: int) -> SphereProjection:
    return SphereProjection(nside=nside)


def digit_maps(images: Tensor, *, nside: int = NSIDE) -> Tensor:
    """Project upright digits to the sphere: what the generators are to imitate.

    Arguments:
        images: ``(N, H, H)``.
        nside: of the maps.

    Returns:
        maps ``(N, 1, P)``, NESTED, in 0..1.
    """
    projection = _projection(nside)
    return torch.cat([projection.project(part) for part in images.split(500)]).clamp(0, 1)


def degrade(maps: Tensor) -> Tensor:
    """Average maps over the pixels of nside 8, at which the classifier works.

    Arguments:
        maps: ``(N, 1, P)``, NESTED, nside 8 or more.

    Returns:
        maps ``(N, 1, 768)``, NESTED.

    Raises:
        ValueError: maps of a smaller nside.
    """
    nside = npix_to_nside(maps.shape[-1])
    if nside < CLASSIFIER_NSIDE:
        raise ValueError(f"maps must have nside {CLASSIFIER_NSIDE} or more, got {nside}")
    # In NESTED order the pixels within one of nside 8 follow each other: (N, 1, 768, P / 768).
    return maps.unflatten(2, (12 * CLASSIFIER_NSIDE**2, -1)).mean(3)


@dataclass(frozen=True)
class CalibratedClassifier:
    """Chapter 1's classifier of upright digits, with the temperature that calibrates it.

    The network was trained with label smoothing, so it is less confident than it is accurate. One
    number, fitted to digits it was not trained on, divides the logits before the softmax [1]_.

    Attributes:
        network: the classifier, at nside 8.
        temperature: divides the logits.

    .. [1] C. Guo, G. Pleiss, Y. Sun & K. Weinberger, 2017, ICML 34.
    """

    network: HaloNet
    temperature: float

    @torch.no_grad()
    def __call__(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and class probabilities.

        Arguments:
            maps: ``(N, 1, P)``, NESTED, nside 8 or more.

        Returns:
            features ``(N, 128)``, the mean of the last level over the sphere, and probabilities
            ``(N, 10)``.
        """
        features = []
        logits = []
        for part in degrade(maps).split(64):  # few at a time: the finest features are large
            last = self.network.features(part)[-1]  # (64, 128, 12, 2, 2)
            features.append(last.mean((2, 3, 4)))
            logits.append(self.network.read(last.flatten(1)))
        return torch.cat(features), (torch.cat(logits) / self.temperature).softmax(1)


@lru_cache(maxsize=4)
def load_classifier(source: str) -> CalibratedClassifier:
    """Load the classifier and fit its temperature to validation digits.

    Arguments:
        source: of the digits, "mnist" or "embedded".
    """
    recipe = next(recipe for recipe in DIGITS if recipe.name == "digits-fixed")
    network = load_pretrained(recipe)
    assert isinstance(network, HaloNet)
    uncalibrated = CalibratedClassifier(network, temperature=1.0)
    images, labels = digits.load(source).part("validation")
    probabilities = [uncalibrated(digit_maps(part))[1] for part in images.split(1000)]
    # The logarithm of a softmax differs from the logits by a constant, which a softmax ignores.
    logits = torch.cat(probabilities).log()
    temperatures = torch.linspace(0.2, 2.0, 181)
    losses = torch.stack([F.cross_entropy(logits / t, labels) for t in temperatures])
    return CalibratedClassifier(network, temperature=float(temperatures[losses.argmin()]))


def seam_over(maps: Tensor, real: Tensor) -> float:
    """Return the seam ratio of `maps` over that of `real` ones.

    Arguments:
        maps: ``(N, 1, P)``, NESTED.
        real: ``(M, 1, P)``, NESTED.
    """
    return seam_ratio(maps[:, 0], order="nested") / seam_ratio(real[:, 0], order="nested")


def confident_fraction(probabilities: Tensor) -> float:
    """Return the fraction of samples whose most probable class has a probability above 0.9.

    Arguments:
        probabilities: of the classes, ``(N, 10)``.
    """
    return float((probabilities.amax(1) > CONFIDENCE).double().mean())


@torch.no_grad()
def draw(generator: nn.Module, labels: Tensor, *, seed: int, batch_size: int = 64) -> Tensor:
    """Generate one sample for each label.

    Arguments:
        generator: called as ``generator(z, labels)``; its attribute ``latent`` says how many
            numbers it takes, and ``classes`` is 0 if it takes no labels.
        labels: ``(N,)``; of a generator without classes only their number counts.
        seed: of the latents.
        batch_size: samples at a time.

    Returns:
        samples ``(N, ...)``, on the CPU.
    """
    device = next(generator.parameters()).device
    rng = torch.Generator().manual_seed(seed)
    latents = torch.randn(len(labels), latent_size(generator), generator=rng)
    samples = []
    for z, wanted in zip(latents.split(batch_size), labels.split(batch_size), strict=True):
        classes = wanted.to(device) if generator.classes else None
        samples.append(generator(z.to(device), classes).cpu())
    return torch.cat(samples)


def on_sphere(samples: Tensor) -> Tensor:
    """Return samples as maps: pictures ``(N, 1, H, H)`` are projected as the digits were."""
    return samples if samples.dim() == 3 else digit_maps(samples[:, 0])


def compare(
    maps: Tensor, labels: Tensor, features: Tensor, classifier: CalibratedClassifier
) -> dict[str, float]:
    """Score samples beside real digits.

    Arguments:
        maps: samples ``(N, 1, P)``, NESTED.
        labels: classes ``(N,)`` that the samples were to show.
        features: of as many real digits, ``(N, 128)``.
        classifier: gives the features and probabilities of the samples.

    Returns:
        ``frechet``, the Frechet distance of the features; ``confident_share``, see
        `confident_fraction`; ``smallest_class_share``, the fraction of samples in the rarest class;
        ``agreement``, the fraction classified as their label; and those of
        `skytutor.metrics.manifold_scores`.
    """
    generated, probabilities = classifier(maps)
    classes = probabilities.argmax(1)
    fractions = classes.bincount(minlength=10).double() / len(classes)
    return {
        "frechet": frechet_distance(generated, features),
        "confident_share": confident_fraction(probabilities),
        "smallest_class_share": float(fractions.min()),
        "agreement": float((classes == labels).double().mean()),
        **manifold_scores(features, generated),
    }


def memorised_fraction(maps: Tensor, test: Tensor, images: Tensor) -> dict[str, float]:
    """Return the fraction of samples that lie as close to a training digit as a copy would.

    A sample counts if its distance to the nearest training digit is below that of 99 in 100 test
    digits, which the generator has never seen. Distances are between maps at nside 8.

    Arguments:
        maps: samples ``(N, 1, P)``, NESTED.
        test: maps of test digits ``(M, 1, P)``, NESTED.
        images: training digits ``(K, H, H)``.

    Returns:
        ``copy_share``, the fraction, and ``copy_distance``, the distance below which one counts.
    """
    both = degrade(torch.cat([maps, test]))[:, 0]  # (N + M, 768)
    nearest = torch.full((len(both),), float("inf"), dtype=torch.float64)
    for part in images.split(2000):  # a few at a time: all of them would be maps of 700 MB
        distances = nearest_distances(both, degrade(digit_maps(part))[:, 0])
        nearest = torch.minimum(nearest, distances)
    threshold = nearest[len(maps) :].quantile(0.01)
    return {
        "copy_share": float((nearest[: len(maps)] < threshold).double().mean()),
        "copy_distance": float(threshold),
    }


def score_digits(
    pair: AdversarialPair,
    *,
    seed: int,
    size: int | None,
    source: str | None = None,
    baselines: Mapping[str, Recipe],
) -> dict[str, Any]:
    """Score generated digits beside the test split.

    What a perfect generator would score comes from two halves of the test split: the keys that end
    in ``_real``.

    Arguments:
        pair: the networks; only the generator is used.
        seed: of the latents.
        size: number of test digits, and of samples; None for all.
        source: of the digits; None for MNIST.
        baselines: recipes whose Frechet distances are reported beside, by the key of the score.
            Those without a checkpoint are left out.

    Returns:
        ``size``, ``data``, ``scores`` and ``constant``, as `skytutor.recipes.base.Recipe` says.

    Raises:
        ValueError: a size below 100, or above that of the test split.
    """
    source = source or "mnist"
    data = digits.load(source)
    images, labels = data.part("test")
    if size is not None and not 100 <= size <= len(labels):
        raise ValueError(f"size must lie in 100..{len(labels)} (the test split), got {size}")
    labels = labels[:size]
    # A generator of pictures has no nside: its samples are projected to NSIDE.
    test = digit_maps(images[:size], nside=getattr(pair.generator, "nside", NSIDE))
    classifier = load_classifier(source)
    features, probabilities = classifier(test)
    began = time.perf_counter()
    maps = on_sphere(draw(pair.generator, labels, seed=seed))
    rate = len(maps) / (time.perf_counter() - began)
    scores = {
        **compare(maps, labels, features, classifier),
        "frechet_real": frechet_distance(features[::2], features[1::2]),
    }
    for key, recipe in baselines.items():
        # The baselines are trained first; without them the rest can be scored.
        if (pretrained_folder() / f"{recipe.name}.safetensors").exists():
            scores[key] = _baseline_frechet(recipe, labels, features, classifier, seed=seed)
    scores["confident_real"] = confident_fraction(probabilities)
    scores["recall_real"] = manifold_scores(features[::2], features[1::2])["recall"]
    scores["seam_ratio"] = seam_over(maps, test)
    scores |= memorised_fraction(maps, test, data.part("train")[0])
    scores["temperature"] = classifier.temperature
    scores["samples_per_second"] = rate
    return {"size": len(test), "data": f"{source} test", "scores": scores, "constant": {}}


def _baseline_frechet(
    recipe: Recipe,
    labels: Tensor,
    features: Tensor,
    classifier: CalibratedClassifier,
    *,
    seed: int,
) -> float:
    """Return the Frechet distance of the samples of another recipe from real features."""
    pair = load_pretrained(recipe)
    assert isinstance(pair, AdversarialPair)
    samples = on_sphere(draw(pair.generator, labels, seed=seed))
    return frechet_distance(classifier(samples)[0], features)
