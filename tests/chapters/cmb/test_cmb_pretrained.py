"""Chapter 3's pretrained networks: what their cards say, and that they do it again."""

import math

import pytest

from skytutor import chapters
from skytutor.chapters.cmb import limits
from skytutor.chapters.cmb import recipes as cmb_recipes

CMB = [recipe.name for recipe in cmb_recipes.RECIPES]


@pytest.mark.parametrize("name", CMB)
def test_the_pretrained_networks_meet_the_bar(name):
    """On the card: scored once, on skies that training never saw.

    Errors are near the limit, and none is below it by 3 standard errors.
    """
    card = chapters.card(chapters.get(name))
    scores = card["test"]["scores"]
    assert 0.65 <= scores["coverage68"] <= 0.71
    if "t4" in name:
        assert abs(scores["slope_r"] - 1) <= 0.1
        assert 0.9 < scores["rmse_over_fisher_r"] <= 1.3
        assert 0.9 < scores["rmse_over_fisher_tau"] <= 1.3
        return
    bars = {
        "cmb-t1-noise0": 0.60,
        "cmb-t1-noise5": 2.55,
        "cmb-t1-noise10": 4.6,
        "cmb-t1-noise15": 7.4,
        "cmb-t2-sky100": 0.60,
        "cmb-t2-sky50": 0.95,
        "cmb-t2-sky20": 1.5,
        "cmb-t2-sky10": 2.1,
        "cmb-t2-sky5": 2.9,
        "cmb-t3": 3.45,
    }
    limit = limits.load_limits()[name]
    for k, key in enumerate(card["test"]["limit"]):
        assert scores[key] <= bars[name]
        error = math.hypot(scores["standard_error"][k], limit["standard_error"][k])
        assert scores[key] > limit["error_percent"][k] - 3 * error


def test_evaluating_again_gives_the_card_within_errors():
    recipe = chapters.get("cmb-t3")
    scores = chapters.evaluate(recipe, seed=21, size=400)["scores"]
    on_card = chapters.card(recipe)["test"]["scores"]
    error = math.hypot(scores["standard_error"][0], on_card["standard_error"][0])
    assert abs(scores["error_percent"] - on_card["error_percent"]) < 4 * error


def test_bad_sizes():
    with pytest.raises(ValueError, match=r"size.*20..100000.*3"):
        chapters.evaluate(chapters.get("cmb-t3"), size=3)
