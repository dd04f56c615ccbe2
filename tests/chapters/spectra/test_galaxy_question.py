"""Networks of chapter 4 asked about images of one's own: answered, warned of, or refused."""

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.prediction import InputRangeWarning, outside, predict
from skytutor.chapters.pretrained import load_pretrained
from skytutor.chapters.spectra.predictions import predict as predict_latents
from skytutor.data.galaxies import SKY_NOISE
from skytutor.training import checkpoint

ASKED = ["spectra", "spectra-flow", "spectra-separation"]
GRIZY = ("g", "r", "i", "z", "y")


@pytest.fixture(scope="module")
def galaxies():
    """Return redshifts and images of galaxies that no training saw."""
    recipe = chapters.get("spectra")
    return recipe.question.sample(60, seed=recipe.seeds.test_seed(3))


@pytest.mark.parametrize("name", ASKED)
def test_the_card_says_inputs_and_outputs(name):
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{name}.json")
    described = chapters.get(name).question.for_card()
    assert {key: card.get(key) for key in described} == described, "run compute card-descriptions"
    assert described["inputs"]["bands"] == list(GRIZY)
    assert len(described["outputs"]["names"]) == len(described["outputs"]["units"])


def test_own_galaxies_are_not_warned_of_and_redshifts_lie_within_errors(galaxies):
    redshift, images = galaxies
    found = predict("spectra", images, unit="nanomaggies", bands=GRIZY)
    assert int(found.outside.sum()) <= 1
    assert found.names[-1] == "redshift" and found.values.shape == found.errors.shape == (60, 9)
    off = ((found.values[:, -1] - redshift) / found.errors[:, -1]).abs()
    # Of 60, within three standard deviations of 68 %. A few lie far off, as on larger samples.
    assert 0.5 < float((off < 1).double().mean()) < 0.86
    assert float(off.square().mean()) < 2.5
    # The first six are those of the network itself.
    mean, deviation = predict_latents(load_pretrained("spectra"), images).latents
    torch.testing.assert_close(found.values[:, :6].float(), mean)
    torch.testing.assert_close(found.errors[:, :6].float(), deviation)


def test_samples_agree_with_the_gaussian_posterior(galaxies):
    _, images = galaxies
    plain = predict("spectra", images[:10], unit="nanomaggies", bands=GRIZY)
    found = predict("spectra-flow", images[:10], unit="nanomaggies", bands=GRIZY)
    assert float(((found.values - plain.values) / plain.errors).abs().max()) < 1
    again = predict("spectra-flow", images[:10], unit="nanomaggies", bands=GRIZY)
    assert torch.equal(again.values, found.values)


def test_components_add_up_to_the_light_of_the_galaxy(galaxies):
    _, images = galaxies
    found = predict("spectra-separation", images[:10], unit="nanomaggies", bands=GRIZY)
    assert found.names == ("bulge", "disc", "clumps") and found.errors is None
    noise = (found.values.sum(1) - images[:10, 1]).std()
    assert abs(float(noise) / SKY_NOISE[1] - 1) < 0.1


def test_bands_and_units_are_converted(galaxies):
    _, images = galaxies
    plain = predict("spectra", images[:3], unit="nanomaggies", bands=GRIZY)
    for found in (
        predict("spectra", images[:3].flip(1), unit="nanomaggies", bands=GRIZY[::-1]),
        predict("spectra", (3.631 * images[:3]).numpy(), unit="muJy", bands=GRIZY),
    ):
        torch.testing.assert_close(found.values, plain.values, rtol=1e-4, atol=1e-4)


def test_another_noise_unit_or_order_is_warned_of(galaxies):
    name = "spectra"  # the others compare in the same way
    _, images = galaxies
    sigma = torch.tensor(SKY_NOISE)[:, None, None]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(9)) * sigma
    assert outside(name, images + 1.75 * noise).all(), "twice the noise"
    assert outside(name, noise).all(), "no galaxy"
    assert outside(name, 3.631 * images).all(), "microjansky"
    assert outside(name, images.flip(1)).all(), "yzirg"
    with pytest.warns(InputRangeWarning, match="2 of 2 .*noise.*order of bands"):
        predict(name, images[:2] / 10, unit="nanomaggies", bands=GRIZY)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (
            lambda x: x[:, :3],
            {},
            r"images in 5 bands of 64 x 64 pixels.*got shape \(2, 3, 64, 64\)",
        ),
        (lambda x: x[..., :32, :32], {}, r"got shape \(2, 5, 32, 32\)"),
        (lambda x: x, {"unit": "counts"}, "unit must be .*nanomaggies.*got 'counts'"),
        (lambda x: x, {"bands": ("u", "g", "r", "i", "z")}, "bands must be g, r, i, z, y in any"),
        (lambda x: x, {"bands": GRIZY[:4]}, "bands must be g, r, i, z, y in any"),
        (lambda x: 22.5 - 2.5 * x.abs().log10(), {}, "are these magnitudes"),
        (lambda x: x * torch.nan, {}, "images must be finite"),
        (lambda x: x * torch.tensor([1, 1, 1, 0, 1])[:, None, None], {}, "equal in band z"),
    ],
)
def test_what_can_be_checked_is_refused(galaxies, change, options, words):
    _, images = galaxies
    with pytest.raises(ValueError, match=words):
        predict("spectra", change(images[:2]), **{"unit": "nanomaggies", "bands": GRIZY, **options})


def test_options_that_are_missing_or_mean_nothing_are_refused(galaxies):
    _, images = galaxies
    with pytest.raises(TypeError, match="bands must be a sequence of texts, got 'grizy'"):
        predict("spectra", images, unit="nanomaggies", bands="grizy")
    with pytest.raises(TypeError, match="must be given bands for spectra, got none"):
        predict("spectra", images, unit="nanomaggies")
    with pytest.raises(TypeError, match="only unit, bands for spectra, got order"):
        predict("spectra", images, unit="nanomaggies", bands=GRIZY, order="ring")
