"""Chapter 2's pretrained networks: what their cards say, and that they do it again."""

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.gan import real_maps
from skytutor.chapters.gan import scores as gan_scores


def test_the_pretrained_digits_are_as_good_as_the_card_must_say():
    card = chapters.card(chapters.get("sphere-gan"))
    scores = card["test"]["scores"]
    assert card["test"]["size"] == 10_000 and card["test"]["data"] == "mnist test"
    assert scores["frechet_real"] < scores["frechet"] <= scores["frechet_published"] / 5
    assert scores["frechet"] <= 2 * scores["frechet_planar"]
    assert scores["confident_fraction"] >= 0.95 and scores["smallest_class_fraction"] >= 0.05
    assert scores["recall"] >= 0.6
    assert 0.95 <= scores["seam_ratio"] <= 1.05 and scores["memorised_fraction"] <= 0.01
    assert scores["recall"] <= scores["recall_real"] + 0.02, "better than real digits: hunt it"


def test_the_pretrained_skies_are_as_good_as_the_card_must_say():
    test = chapters.card(chapters.get("sphere-gan-cmb"))["test"]
    assert test["size"] == 10_000 and len(test["scores"]["cl_ratios"]) == 6
    assert test["scores"]["cl_deviation"] <= 0.05 and test["scores"]["ks_distance"] <= 0.02
    deviation = max(abs(ratio - 1) for ratio in test["scores"]["cl_ratios_true"])
    assert deviation < 0.01, "the measurement itself: true skies come out true"


def test_new_skies_of_the_pretrained_generator_score_as_the_card_says():
    """400 skies of another seed: within cosmic variance of the card's bands."""
    recipe = chapters.get("sphere-gan-cmb")
    pair = chapters.load_pretrained(recipe)
    scores = gan_scores.compare_skies(pair, 400, seed=123)
    expected = chapters.card(recipe)["test"]["scores"]["cl_ratios"]
    differences = [abs(a - b) for a, b in zip(scores["cl_ratios"], expected, strict=True)]
    assert max(differences) < 0.05 and scores["ks_distance"] < 0.03
    maps = real_maps.true_skies(32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        outputs = pair.discriminator(maps)
    assert float(outputs.abs().max()) < 5, "with the hinge loss, outputs are numbers about one"


@pytest.mark.slow
def test_the_pretrained_digits_score_what_they_should(mnist):
    scores = chapters.evaluate(chapters.get("sphere-gan"), seed=11, size=1000)["scores"]
    assert scores["confident_fraction"] > 0.95 and scores["recall"] > 0.7
    assert 0.93 < scores["seam_ratio"] < 1.05 and scores["memorised_fraction"] < 0.01
    assert scores["frechet"] < 0.2 * scores["frechet_published"]
