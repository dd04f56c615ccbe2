"""Chapter 2's scores, on generators that give out what they are made with."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from skytutor.chapters.gan import classifier, real_maps
from skytutor.chapters.gan import recipes as gan_recipes
from skytutor.chapters.gan import scores as gan_scores
from skytutor.data import digits


class FixedGenerator(nn.Module):
    """Gives out the maps it is made with, in order."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps
        self.given = 0
        self.latent = 1
        self.classes = 0
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, z, labels=None):
        self.given += len(z)
        return self.maps[self.given - len(z) : self.given]


def score(maps, size=200):
    pair = SimpleNamespace(generator=FixedGenerator(maps))
    found = gan_scores.score_digits(
        pair,
        digits.load("embedded"),
        seed=0,
        size=size,
        classifier=classifier.load_classifier("embedded"),
        baselines={},
    )
    return found.scores


def test_scores_of_generators_whose_quality_is_known():
    """Unseen real digits, training digits given out as samples, one of them repeated, and noise."""
    data = digits.load("embedded")
    train_maps = real_maps.digit_maps(data.part("train")[0])
    test_maps = real_maps.digit_maps(data.part("test")[0][200:])
    real = score(test_maps)
    memorised = score(train_maps[:200])
    collapsed = score(train_maps[:1].expand(200, -1, -1))
    noise = score(torch.rand(200, 1, 3072, generator=torch.Generator().manual_seed(0)))
    assert real["memorised_fraction"] < 0.1 < 0.9 < memorised["memorised_fraction"]
    assert real["frechet"] < 0.2 * collapsed["frechet"]
    assert real["frechet"] < 0.1 * noise["frechet"]
    assert real["recall"] > 0.7 and collapsed["recall"] < 0.1 and noise["recall"] < 0.1
    assert real["smallest_class_fraction"] > 0.05 and collapsed["smallest_class_fraction"] == 0
    assert 0.9 < real["seam_ratio"] < 1.1 and abs(noise["seam_ratio"] - 1) > 0.05


def test_the_temperature_makes_the_classifier_as_confident_as_it_is_accurate():
    data = digits.load("embedded")
    images, labels = data.part("test")
    calibrated = classifier.load_classifier("embedded")
    features, probabilities = calibrated(real_maps.digit_maps(images))
    assert features.shape == (400, 128) and calibrated.temperature != 1
    accuracy = float((probabilities.argmax(1) == labels).double().mean())
    assert abs(float(probabilities.amax(1).mean()) - accuracy) < 0.03


@pytest.mark.parametrize("size", [1, 401])
def test_a_size_outside_the_test_split_is_refused(size):
    with pytest.raises(ValueError, match=f"size must lie in 100..400 .*got {size}"):
        score(torch.rand(1, 1, 3072), size)


BAD = {
    "pixels": (lambda: classifier.degrade(torch.rand(2, 1, 100)), "npix must be"),
    "too coarse": (
        lambda: classifier.degrade(torch.rand(2, 1, 48)),
        "maps must have nside 8 or more, got 2",
    ),
    "white numbers": (
        lambda: real_maps.sky_maps(torch.zeros(2, 100)),
        r"white must be \(N, 2304\) .*got shape \(2, 100\)",
    ),
    "no skies": (
        lambda: real_maps.true_skies(0, generator=torch.Generator()),
        "size must be a positive integer, got 0",
    ),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_of_scores_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_sizes_of_skies():
    with pytest.raises(ValueError, match=r"size must lie in 100..100000 skies, got 5"):
        gan_scores.score_skies(gan_recipes.cmb_gan(), seed=0, size=5)
