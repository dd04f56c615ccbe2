"""Scores of chapter 2: generated digits in a classifier's features, skies by their spectrum.

Shapes: N samples, H pixels along the side of an image, P = 12 nside**2 pixels in NESTED order.
"""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.gan.classifier import CalibratedClassifier, degrade
from skytutor.chapters.gan.real_maps import NSIDE, digit_maps, sky_spectrum, true_skies
from skytutor.chapters.recipe import Scores
from skytutor.chunks import in_chunks
from skytutor.data.digits import Digits
from skytutor.healpix import npix_to_nside
from skytutor.metrics.maps import seam_ratio
from skytutor.metrics.samples import (
    frechet_distance,
    ks_distance,
    manifold_scores,
    nearest_distances,
)
from skytutor.metrics.spectra import band_ratios, power_spectra, relative_scatter
from skytutor.training.adversarial import AdversarialPair, latent_size

CONFIDENCE = 0.9


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

    def sample(z: Tensor, wanted: Tensor) -> Tensor:
        classes = wanted.to(device) if generator.classes else None
        return generator(z.to(device), classes).cpu()

    return in_chunks(sample, latents, labels, size=batch_size)


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
        ``frechet``, the Frechet distance of the features; ``confident_fraction``, see
        `confident_fraction`; ``smallest_class_fraction``, of samples in the rarest class;
        ``agreement``, the fraction classified as their label; and those of
        `skytutor.metrics.samples.manifold_scores`.
    """
    generated, probabilities = classifier(maps)
    classes = probabilities.argmax(1)
    fractions = classes.bincount(minlength=10).double() / len(classes)
    return {
        "frechet": frechet_distance(generated, features),
        "confident_fraction": confident_fraction(probabilities),
        "smallest_class_fraction": float(fractions.min()),
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
        ``memorised_fraction``, and ``memorised_distance``, the distance below which one counts.
    """
    both = degrade(torch.cat([maps, test]))[:, 0]  # (N + M, 768)
    nearest = torch.full((len(both),), float("inf"), dtype=torch.float64)
    for part in images.split(2000):  # a few at a time: all of them would be maps of 700 MB
        distances = nearest_distances(both, degrade(digit_maps(part))[:, 0])
        nearest = torch.minimum(nearest, distances)
    threshold = nearest[len(maps) :].quantile(0.01)
    return {
        "memorised_fraction": float((nearest[: len(maps)] < threshold).double().mean()),
        "memorised_distance": float(threshold),
    }


def score_digits(
    pair: AdversarialPair,
    data: Digits,
    *,
    seed: int,
    size: int | None,
    classifier: CalibratedClassifier,
    baselines: Mapping[str, nn.Module],
) -> Scores:
    """Score generated digits beside the test split.

    What a perfect generator would score comes from two halves of the test split: the keys that end
    in ``_real``.

    Arguments:
        pair: the networks; only the generator is used.
        data: the digits, with the test and the training split.
        seed: of the latents.
        size: number of test digits, and of samples; None for all.
        classifier: gives features and probabilities.
        baselines: generators whose Frechet distances are reported beside, by the key of the score.

    Raises:
        ValueError: a size below 100, or above that of the test split.
    """
    images, labels = data.part("test")
    if size is not None and not 100 <= size <= len(labels):
        raise ValueError(f"size must lie in 100..{len(labels)} (the test split), got {size}")
    labels = labels[:size]
    began = time.perf_counter()
    maps = on_sphere(draw(pair.generator, labels, seed=seed))
    rate = len(maps) / (time.perf_counter() - began)
    test = digit_maps(images[:size], nside=npix_to_nside(maps.shape[-1]))
    features, probabilities = classifier(test)
    scores = {
        **compare(maps, labels, features, classifier),
        "frechet_real": frechet_distance(features[::2], features[1::2]),
    }
    for key, generator in baselines.items():
        samples = on_sphere(draw(generator, labels, seed=seed))
        scores[key] = frechet_distance(classifier(samples)[0], features)
    scores["confident_real"] = confident_fraction(probabilities)
    scores["recall_real"] = manifold_scores(features[::2], features[1::2])["recall"]
    scores["seam_ratio"] = seam_over(maps, test)
    scores |= memorised_fraction(maps, test, data.part("train")[0])
    scores["temperature"] = classifier.temperature
    scores["samples_per_second"] = rate
    return Scores(scores=scores, constant={}, size=len(test), data=f"{data.source} test")


def compare_skies(pair: AdversarialPair, size: int, *, seed: int) -> dict[str, Any]:
    """Compare generated skies with the spectrum, and with as many true skies.

    Arguments:
        pair: the networks; only the generator is used.
        size: number of generated skies, and of true ones.
        seed: of the latents; the true skies are drawn with the next.

    Returns:
        ``cl_ratios``, mean band powers over the spectrum's, and ``cl_deviation``, the largest
        distance of one from 1; ``cl_scatter``, the relative scatter of band powers between skies,
        over that of true skies: 0 for a generator whose skies are all the same; ``ks_distance`` of
        up to a million pixels' values from as many true ones. The keys that end in ``_true`` say
        the same of true skies.
    """
    generated = draw(pair.generator, torch.zeros(size), seed=seed)
    rng = torch.Generator().manual_seed(seed + 1)
    true = true_skies(size, generator=rng)
    some = torch.randperm(generated.numel(), generator=rng)[:1_000_000]  # pixels of any sky
    others = true_skies(size, generator=rng)
    wanted = sky_spectrum()[None, : 2 * NSIDE + 1]
    cl = power_spectra(generated, order="nested", lmax=2 * NSIDE)
    cl_true = power_spectra(true, order="nested", lmax=2 * NSIDE)
    ratios = band_ratios(cl, wanted)
    values = generated.flatten()[some]
    values_true = true.flatten()[some]
    return {
        "cl_deviation": float((ratios - 1).abs().max()),
        "ks_distance": ks_distance(values, values_true),
        "cl_ratios": ratios.tolist(),
        "cl_scatter": (relative_scatter(cl) / relative_scatter(cl_true)).tolist(),
        "cl_ratios_true": band_ratios(cl_true, wanted).tolist(),
        "ks_true": ks_distance(values_true, others.flatten()[some]),
    }


def score_skies(pair: AdversarialPair, *, seed: int, size: int | None) -> Scores:
    """Score generated skies by `compare_skies`.

    Arguments:
        pair: the networks; only the generator is used.
        seed: of the latents.
        size: number of skies; None for 10,000.

    Raises:
        ValueError: a size outside 100 to 100,000.
    """
    if size is not None and not 100 <= size <= 100_000:
        raise ValueError(f"size must lie in 100..100000 skies, got {size}")
    size = size or 10_000
    scores = compare_skies(pair, size, seed=seed)
    return Scores(scores=scores, constant={}, size=size, data="CMB temperature, drawn")
