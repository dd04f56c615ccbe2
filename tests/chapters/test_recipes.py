"""skytutor.chapters: train small, save, evaluate; the test split is touched by the score alone."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from skytutor import chapters
from skytutor.data import digits
from skytutor.files import CheckpointError
from skytutor.metrics.classification import constant_accuracy
from skytutor.training import checkpoint
from skytutor.training.profile import Profile

SMOKE = Profile("smoke", torch.device("cpu"), 0)


KEYS = {"recipe", "checkpoint", "seed", "size", "scores", "constant", "published", "limit"}


every_recipe = pytest.mark.parametrize("recipe", chapters.RECIPES.values(), ids=chapters.RECIPES)


real_load = digits.load


@pytest.fixture
def no_mnist(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path_factory.mktemp("empty")))


# Networks that are curves of the multipole, which begin flat, and one that goes on from the weights
# of another recipe: nothing of them is drawn.
FIXED_START = {"inpaint-decoder", "inpaint-mixture", "bands-flux"}


@every_recipe
def test_a_recipe_is_complete(recipe):
    entry = chapters.ENTRIES[recipe.name]
    assert recipe.name.replace("-", "").isalnum() and entry.summary
    if entry.chapter == 1:
        assert recipe.published
        assert all(0.5 < v <= 1 for v in recipe.published.values()), "fractions"
    assert set(recipe.schedules) == {"smoke", "cpu", "gpu"}
    sizes = [recipe.schedules[k].epochs for k in ("smoke", "cpu", "gpu")]
    assert sizes == sorted(sizes)
    one, two, three = (chapters.network(recipe, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    changed = any(not torch.equal(one[k], three[k]) for k in one)
    assert changed != (recipe.name in FIXED_START)
    json.dumps(dict(recipe.published) | {"limit": recipe.limit})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train `digits-mended` at the smoke profile, on the embedded digits: a few seconds."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "load", lambda source="auto": real_load("embedded"))
        made = chapters.train_recipe(
            chapters.get("digits-mended"),
            profile=SMOKE,
            folder=folder,
            command="skytutor train digits-mended",
            progress=False,
        )
    return folder, *made


def test_training_writes_weights_and_a_card(trained):
    folder, path, card, result = trained
    written = checkpoint.read_card(path.with_suffix(".json"))
    assert path == folder / "digits-mended.safetensors"
    assert written == card | {key: written[key] for key in ("recipe", "bytes", "sha256")}
    assert written["source"] == "embedded"
    assert card["parameters"] == 403_050
    assert card["profile"] == "smoke" and card["best_epoch"] == result.best_epoch
    weights, _ = checkpoint.load_checkpoint(folder, "digits-mended")
    assert all(torch.equal(weights[k], result.best[k].half()) for k in result.best)
    assert path.stat().st_size <= 5e6
    assert card["test"]["scores"]["accuracy"] > 0.3, "a tenth is what guessing gives"


def test_evaluate_repeats_the_cards_score(trained, asked):
    folder, _, card, _ = trained
    found = chapters.evaluate(chapters.get("digits-mended"), folder=folder)
    assert set(found) >= KEYS and json.loads(json.dumps(found)) == found
    assert found["scores"] == card["test"]["scores"] and set(asked) == {"test"}
    low, high = found["scores"]["interval95"]
    assert low < found["scores"]["accuracy"] < high and found["size"] == 400
    labels = real_load("embedded").part("test")[1]
    assert found["constant"]["accuracy"] == constant_accuracy(labels)
    assert found["published"] == chapters.get("digits-mended").published
    assert chapters.evaluate(chapters.get("digits-mended"), folder=folder, size=50)["size"] == 50


FOUND = {
    "size": 7,
    "data": "seven numbers",
    "scores": {"error": [0.5, 0.25], "worst": {"error": 1.0}},
    "constant": {"error": 2.0},
}


@pytest.mark.parametrize("limit", [None, 0.125, {"error": 0.125}])
def test_scores_reach_card_and_json_with_the_same_keys_in_the_same_order(trained, limit):
    given = FOUND if limit is None else {**FOUND, "limit": limit}
    scores = chapters.Scores(**given)
    assert json.dumps(scores.for_card()) == json.dumps(given)
    asked = []

    def score(model, *, seed, size, source):
        asked.append((model.training, seed, size, source))
        return scores

    recipe = replace(chapters.get("digits-mended"), score=score, limit=0.75)
    found = chapters.evaluate(recipe, folder=trained[0], seed=3, size=7)
    assert asked == [(False, 3, 7, "embedded")]
    assert list(found) == [
        "recipe",
        "checkpoint",
        "seed",
        "size",
        "limit",
        "data",
        "scores",
        "constant",
        "published",
    ]
    assert found["limit"] == (0.75 if limit is None else limit), "the scores' own goes first"
    assert {key: found[key] for key in FOUND} == FOUND


def test_scores_cannot_be_changed():
    scores = chapters.Scores(**FOUND)
    with pytest.raises(FrozenInstanceError):
        scores.size = 8


def test_the_networks_of_a_folder_and_of_the_package(trained):
    recipe = chapters.get("digits-mended")
    mine = chapters.load_pretrained(recipe, trained[0])
    weights, card = checkpoint.load_checkpoint(trained[0], "digits-mended")
    assert not mine.training
    assert all(torch.equal(value, weights[k].float()) for k, value in mine.state_dict().items())
    assert chapters.card(recipe, trained[0]) == card
    theirs = chapters.load_pretrained(recipe).state_dict()
    assert any(not torch.equal(value, theirs[k]) for k, value in mine.state_dict().items())


@pytest.mark.parametrize("size", [0, -1, 401])
def test_a_wrong_size(trained, asked, size):
    with pytest.raises(ValueError, match=rf"size.*1\.\.400.*{size}"):
        chapters.evaluate(chapters.get("digits-mended"), folder=trained[0], size=size)


def test_a_card_without_its_entries(trained, asked, tmp_path):
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"digits-mended{suffix}").write_bytes(
            (trained[0] / f"digits-mended{suffix}").read_bytes()
        )
    card = tmp_path / "digits-mended.json"
    card.write_text(json.dumps({"sha256": json.loads(card.read_text())["sha256"]}))
    with pytest.raises(CheckpointError, match="card"):
        chapters.evaluate(chapters.get("digits-mended"), folder=tmp_path)


def test_another_recipes_checkpoint(trained, tmp_path):
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"digits-fixed{suffix}").write_bytes(
            (trained[0] / f"digits-mended{suffix}").read_bytes()
        )
    with pytest.raises(CheckpointError, match="'digits-mended', not to 'digits-fixed'"):
        chapters.evaluate(chapters.get("digits-fixed"), folder=tmp_path)


def test_no_mnist_no_problem(no_mnist, tmp_path):
    """Without the public data a run uses the embedded digits, and its card says so."""
    _, card, _ = chapters.train_recipe(
        chapters.get("digits-mended"), profile=SMOKE, folder=tmp_path, command="", progress=False
    )
    assert "embedded" in card["test"]["data"] and card["test"]["size"] == 400


BARS = {"digits-fixed": 0.994, "digits-rotated": 0.99, "digits-invariant": 0.97}


@pytest.mark.parametrize("name", chapters.RECIPES)
def test_what_comes_with_the_package(name):
    recipe = chapters.get(name)
    path = checkpoint.pretrained_folder() / f"{name}.safetensors"
    if not recipe.has_weights:
        assert not path.exists(), "what lies there comes with the package"
        return
    model = chapters.load_pretrained(recipe)
    card = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size == card["bytes"] <= 5_000_000
    assert card["profile"] == "gpu" and not model.training
    made = {"command", "seed", "device", "date", "versions", "schedule", "history", "test"}
    assert made <= set(card)
    if chapters.ENTRIES[name].chapter == 1:
        assert card["test"]["scores"]["accuracy"] >= BARS.get(name, 0.97)
        assert card["test"]["size"] == 10_000
