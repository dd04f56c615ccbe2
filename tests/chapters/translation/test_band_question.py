"""Networks of chapter 5 asked about images of one's own: answered, warned of, or refused."""

import numpy as np
import pytest
import torch

from skytutor import chapters
from skytutor.chapters.prediction import InputRangeWarning, outside, predict
from skytutor.chapters.translation.question import band_features
from skytutor.data.surveys import BANDS
from skytutor.training import checkpoint

ASKED = ["bands", "bands-flux", "bands-sources", "bands-pix2pix", "bands-flow"]
PLATES = ("blue", "red")
ALL = tuple(BANDS)
GRI = [ALL.index(name) for name in ("g", "r", "i")]


@pytest.fixture(scope="module")
def scenes():
    """Return scenes that no training saw, without and with noise, ``(40, 10, 64, 64)``."""
    recipe = chapters.get("bands")
    return recipe.question.sample(40, seed=recipe.seeds.test_seed(3))[:2]


def plates(images):
    return images[:, [ALL.index(name) for name in PLATES]]


def asked(name, images, **options):
    return predict(name, images, **{"unit": "nanomaggies", "bands": PLATES, **options})


@pytest.mark.parametrize("name", ASKED)
def test_the_card_says_inputs_and_outputs(name):
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{name}.json")
    described = chapters.get(name).question.for_card()
    assert {key: card.get(key) for key in described} == described, "run compute card-descriptions"
    inputs = described["inputs"]
    assert len(inputs["bands"]) == len(inputs["noise"]) == len(inputs["psf_fwhm"])


@pytest.mark.parametrize("name", ["bands", "bands-flux", "bands-sources", "bands-pix2pix"])
def test_own_plates_are_translated_better_than_by_nothing(name, scenes):
    truth, images = scenes
    found = asked(name, plates(images[:8]))
    assert found.names == ("g", "r", "i") and found.errors is None
    assert not bool(found.outside.any())
    wanted = truth[:8, GRI]
    assert (found.values - wanted).abs().mean() < 0.8 * wanted.abs().mean()
    # A target alone, and another order of the plates, say the same.
    alone = asked(name, plates(images[:2]).flip(1), bands=PLATES[::-1], targets=("i",))
    torch.testing.assert_close(alone.values, found.values[:2, 2:], rtol=1e-3, atol=1e-4)


def test_samples_give_errors_of_pixels(scenes):
    truth, images = scenes
    found = asked("bands-flow", plates(images[:1]))
    away = (found.values - truth[:1, GRI]).abs()
    assert float((away < 2 * found.errors).double().mean()) > 0.8
    assert float(found.errors.mean()) < 3 * float(away.mean())


def test_own_scenes_are_like_the_training_and_others_are_not(scenes):
    _, images = scenes
    sigma = torch.tensor(chapters.get("bands").question.inputs.noise)[:, None, None]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(9)) * sigma
    given = (PLATES, ("g",))
    assert int(outside("bands", images, *given).sum()) <= 1
    assert outside("bands", images + 1.75 * noise, *given).all(), "twice the noise"
    assert outside("bands", 3.631 * images, *given).all(), "microjansky"
    assert outside("bands", images + 5 * sigma, *given).all(), "the sky was left in"
    with pytest.warns(InputRangeWarning, match="2 of 2 .*noise, sky level, unit"):
        asked("bands", plates(images[:2]) / 8, targets=("g",))


def test_a_masked_array_hides_pixels_of_single_images(scenes):
    _, images = scenes
    images = plates(images[:2]).nan_to_num(nan=0.0)
    mask = torch.ones(2, 2, 64, 64, dtype=torch.bool)
    mask[0, 1, 3:6, 40:50] = False
    plain = asked("bands", images, mask=mask, targets=("g",))
    own = np.ma.array(np.where(mask, images, 1e6), mask=~mask.numpy())
    assert torch.equal(asked("bands", own, targets=("g",)).values, plain.values)
    assert not torch.equal(asked("bands", images, targets=("g",)).values, plain.values)


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_another_unit_of_photons_shows_in_the_smallest_step(factor, scenes):
    _, images = scenes
    # Of scenes with many photons.
    bright = images[images[:, 1].flatten(1).std(1).argsort(descending=True)[:10]]
    plain = band_features(bright, ("NUV",), ("g",))
    other = band_features(factor * bright, ("NUV",), ("g",))
    assert bool(((other - plain)[:, 0].abs() > 3).all())


def test_units_and_pixels_that_were_not_measured_are_converted(scenes):
    _, images = scenes
    images = plates(images[:2]).nan_to_num(nan=0.0)
    mask = torch.ones(64, 64, dtype=torch.bool)
    mask[3:6, 40:50] = False
    plain = asked("bands", images, mask=mask)
    spoilt = torch.where(mask, images, torch.nan)
    for found in (
        asked("bands", spoilt),
        asked("bands", spoilt, mask=mask.expand(2, 2, 64, 64)),
        asked("bands", (3.631e-6 * spoilt.double()).numpy(), unit="Jy"),
    ):
        torch.testing.assert_close(found.values, plain.values, rtol=1e-3, atol=1e-4)
    assert not torch.equal(asked("bands", images).values, plain.values)


FULL = torch.zeros(1, 2, 64, 64)


@pytest.mark.parametrize(
    ("name", "images", "options", "words"),
    [
        ("bands", FULL, {"bands": ("g", "u")}, "bands must be one of .*'FUV'.*got 'u'"),
        ("bands", FULL, {"targets": ("y",)}, "bands must be one of .*got 'y'"),
        ("bands", FULL, {"bands": ("g", "red")}, "targets must not be among the inputs, got g"),
        ("bands", FULL, {"bands": ("red", "red")}, "each band once, got red"),
        ("bands", FULL, {"bands": ("red",)}, r"images in 1 bands of 64 x 64 .*\(1, 2, 64, 64\)"),
        ("bands", FULL[..., :32, :32], {}, r"got shape \(1, 2, 32, 32\)"),
        ("bands", FULL, {"unit": "counts"}, "unit must be .*nanomaggies.*got 'counts'"),
        ("bands", FULL + torch.inf, {}, "NaN, infinite or UNSEEN"),
        ("bands", FULL + torch.nan, {}, "measured somewhere in each band"),
        ("bands", FULL, {"mask": torch.ones(32, 32)}, r"mask must be \(64, 64\), .*\(32, 32\)"),
        ("bands-flow", FULL, {"bands": ("J", "red")}, "bands must be blue, red in any order"),
        ("bands-pix2pix", FULL, {"targets": ("K",)}, "targets must be one of 'g', 'r', 'i'"),
    ],
)
def test_what_can_be_checked_is_refused(name, images, options, words):
    with pytest.raises(ValueError, match=words):
        asked(name, images, **options)
