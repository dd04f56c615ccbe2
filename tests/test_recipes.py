"""skytutor.recipes: train small, save, evaluate; the test split is touched by the score alone."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from skytutor import checkpoint, recipes
from skytutor.data import digits
from skytutor.files import CheckpointError
from skytutor.metrics import constant_accuracy
from skytutor.profile import Profile
from skytutor.recipes.digits import (
    DIGITS,
    ROTATED,
    UPRIGHT,
    DigitsTask,
    SphereProjection,
    predict_digits,
)

SMOKE = Profile("smoke", torch.device("cpu"), 0)
KEYS = {"recipe", "checkpoint", "seed", "size", "scores", "constant", "published", "limit"}
every_recipe = pytest.mark.parametrize("recipe", recipes.RECIPES.values(), ids=recipes.RECIPES)
real_load = digits.load


@pytest.fixture
def no_mnist(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path_factory.mktemp("empty")))


@pytest.fixture
def asked(monkeypatch):
    """Put the embedded digits in MNIST's place, and list the parts that were asked for."""
    parts = []

    class Watched(digits.Digits):
        def part(self, name):
            parts.append(name)
            return super().part(name)

    def load(source="auto"):
        found = real_load("embedded")
        return Watched(**{k: getattr(found, k) for k in found.__dataclass_fields__})

    monkeypatch.setattr(digits, "load", load)
    return parts


@every_recipe
def test_a_recipe_is_complete(recipe):
    assert recipe.name.replace("-", "").isalnum() and recipe.summary
    if recipe.chapter == 1:
        assert recipe.published
        assert all(0.5 < v <= 1 for v in recipe.published.values()), "fractions"
    assert set(recipe.schedules) == {"smoke", "cpu", "gpu"}
    sizes = [recipe.schedules[k].epochs for k in ("smoke", "cpu", "gpu")]
    assert sizes == sorted(sizes)
    one, two, three = (recipes.network(recipe, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], three[k]) for k in one)
    json.dumps(dict(recipe.published) | {"limit": recipe.limit})


@pytest.mark.parametrize("recipe", DIGITS, ids=lambda recipe: recipe.name)
def test_its_task_and_its_network_fit(recipe, asked):
    """One step on the smoke data: finite loss, gradients everywhere, no look at the test split."""
    task = recipe.task(SMOKE)
    model = recipes.network(recipe)
    g = torch.Generator().manual_seed(0)
    batch = task.batch(torch.arange(4), task.draw(4, generator=g))
    loss = task.loss(model.train(), batch)
    loss.backward()
    assert math.isfinite(loss.detach())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert set(asked) == {"train", "validation"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train `digits-mended` at the smoke profile, on the embedded digits: a few seconds."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "load", lambda source="auto": real_load("embedded"))
        made = recipes.run(
            recipes.get("digits-mended"),
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
    found = recipes.evaluate(recipes.get("digits-mended"), folder=folder)
    assert set(found) >= KEYS and json.loads(json.dumps(found)) == found
    assert found["scores"] == card["test"]["scores"] and set(asked) == {"test"}
    low, high = found["scores"]["interval95"]
    assert low < found["scores"]["accuracy"] < high and found["size"] == 400
    labels = real_load("embedded").part("test")[1]
    assert found["constant"]["accuracy"] == constant_accuracy(labels)
    assert found["published"] == recipes.get("digits-mended").published
    assert recipes.evaluate(recipes.get("digits-mended"), folder=folder, size=50)["size"] == 50


FOUND = {
    "size": 7,
    "data": "seven numbers",
    "scores": {"error": [0.5, 0.25], "worst": {"error": 1.0}},
    "constant": {"error": 2.0},
}


@pytest.mark.parametrize("limit", [None, 0.125, {"error": 0.125}])
def test_scores_reach_card_and_json_with_the_same_keys_in_the_same_order(trained, limit):
    given = FOUND if limit is None else {**FOUND, "limit": limit}
    scores = recipes.Scores(**given)
    assert json.dumps(scores.for_card()) == json.dumps(given)
    asked = []

    def score(model, *, seed, size, source):
        asked.append((model.training, seed, size, source))
        return scores

    recipe = replace(recipes.get("digits-mended"), score=score, limit=0.75)
    found = recipes.evaluate(recipe, folder=trained[0], seed=3, size=7)
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
    scores = recipes.Scores(**FOUND)
    with pytest.raises(FrozenInstanceError):
        scores.size = 8


def test_the_networks_of_a_folder_and_of_the_package(trained):
    recipe = recipes.get("digits-mended")
    mine = recipes.load_pretrained(recipe, trained[0])
    weights, card = checkpoint.load_checkpoint(trained[0], "digits-mended")
    assert not mine.training
    assert all(torch.equal(value, weights[k].float()) for k, value in mine.state_dict().items())
    assert recipes.card(recipe, trained[0]) == card
    theirs = recipes.load_pretrained(recipe).state_dict()
    assert any(not torch.equal(value, theirs[k]) for k, value in mine.state_dict().items())


@pytest.mark.parametrize("size", [0, -1, 401])
def test_a_wrong_size(trained, asked, size):
    with pytest.raises(ValueError, match=rf"size.*1\.\.400.*{size}"):
        recipes.evaluate(recipes.get("digits-mended"), folder=trained[0], size=size)


def test_a_card_without_its_entries(trained, asked, tmp_path):
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"digits-mended{suffix}").write_bytes(
            (trained[0] / f"digits-mended{suffix}").read_bytes()
        )
    card = tmp_path / "digits-mended.json"
    card.write_text(json.dumps({"sha256": json.loads(card.read_text())["sha256"]}))
    with pytest.raises(CheckpointError, match="card"):
        recipes.evaluate(recipes.get("digits-mended"), folder=tmp_path)


def test_another_recipes_checkpoint(trained, tmp_path):
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"digits-fixed{suffix}").write_bytes(
            (trained[0] / f"digits-mended{suffix}").read_bytes()
        )
    with pytest.raises(CheckpointError, match="'digits-mended', not to 'digits-fixed'"):
        recipes.evaluate(recipes.get("digits-fixed"), folder=tmp_path)


def test_no_mnist_no_problem(no_mnist, tmp_path):
    """Without the public data a run uses the embedded digits, and its card says so."""
    _, card, _ = recipes.run(
        recipes.get("digits-mended"), profile=SMOKE, folder=tmp_path, command="", progress=False
    )
    assert "embedded" in card["test"]["data"] and card["test"]["size"] == 400


class Remembers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, maps):
        self.seen.append(maps)
        return torch.zeros(len(maps), 10)


def seen_by_score(name, seed, size=20):
    model = Remembers()
    recipes.get(name).score(model, seed=seed, size=size, source=None)
    return torch.cat(model.seen)


def test_the_seed_draws_the_test_rotations(asked):
    one, two, three = (seen_by_score("digits-rotated", s) for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.allclose(one, three, atol=0.1)
    assert torch.equal(seen_by_score("digits-fixed", 1), seen_by_score("digits-fixed", 2))
    alone = seen_by_score("digits-rotated", 1, size=5)
    assert not torch.allclose(one[0], one[1], atol=0.1)
    twice = "each digit as it comes and once more by its centre of mass"
    assert len(one) == 40 and len(alone) == 10, twice


def test_the_second_score_is_on_the_same_digits_at_the_same_rotations(asked):
    images = real_load("embedded").part("test")[0][:20]
    rotations = [digits.random_rotations(20, generator=torch.Generator().manual_seed(1))]
    as_it_comes, centred = seen_by_score("digits-rotated", 1).split(20)
    assert torch.equal(as_it_comes, ROTATED.project(images, rotations))
    assert torch.equal(centred, replace(ROTATED, centred=True).project(images, rotations))
    assert not torch.allclose(centred, as_it_comes, atol=0.1)


def test_validation_rotations_stay_between_epochs(asked):
    rotated = SphereProjection(nside=4, rotated=True)
    first, again = (DigitsTask(rotated, max_images=30).validation_maps for _ in range(2))
    assert torch.equal(first, again)
    images = real_load("embedded").part("validation")[0][:30]
    upright = SphereProjection(nside=4).project(images)
    assert not torch.allclose(first, upright, atol=0.1)


def test_affine_maps_stay_near_the_identity():
    projection = SphereProjection(
        nside=8, affine_std=0.08, shift_std=0.04, in_plane_rotation_std_deg=7
    )
    affine = projection.draw_affine(5000, generator=torch.Generator().manual_seed(0))
    assert affine.shape == (5000, 2, 3)
    torch.testing.assert_close(affine.mean(0), torch.eye(2, 3), rtol=0, atol=0.02)
    angle = torch.atan2(affine[:, 1, 0] - affine[:, 0, 1], affine[:, 0, 0] + affine[:, 1, 1])
    assert 5 < float(angle.std().rad2deg()) < 9
    assert float(affine[:, :, 2].std()) == pytest.approx(0.04, rel=0.2)
    still = SphereProjection(nside=8).draw_affine(3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(still, torch.eye(2, 3).expand(3, 2, 3))


def test_a_centred_projection_does_not_care_where_in_its_image_a_digit_lies():
    images = real_load("embedded").part("validation")[0][:10]
    moved = images.roll((2, -1), (1, 2))  # the margin is two wide
    centred = SphereProjection(nside=8, centred=True)
    maps = centred.project(images)
    torch.testing.assert_close(centred.project(moved), maps, rtol=0, atol=1e-5)
    as_it_comes = SphereProjection(nside=8)
    assert not torch.allclose(as_it_comes.project(moved), as_it_comes.project(images), atol=0.1)
    affine = centred.draw_affine(10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(centred.project(images, affine=affine), maps, rtol=0, atol=1e-6)


def test_elastic_shifts_are_drawn_only_where_a_projection_has_them():
    g = torch.Generator().manual_seed(0)
    assert SphereProjection(nside=8).draw_elastic(3, generator=g) == []
    (elastic,) = SphereProjection(nside=8, elastic_std=0.05).draw_elastic(4000, generator=g)
    assert elastic.shape == (4000, 2, 5, 5) and float(elastic.abs().max()) < 0.1001
    assert float(elastic.std()) == pytest.approx(0.05, rel=0.15)
    assert abs(float(elastic.mean())) < 0.001


def test_a_training_map_is_projected_with_all_that_was_drawn(asked):
    projection = SphereProjection(nside=4, rotated=True, affine_std=0.1, elastic_std=0.1)
    task = DigitsTask(projection, max_images=30)
    indices = torch.arange(5)
    rotations, affine, elastic = task.draw(5, generator=torch.Generator().manual_seed(1))
    maps, _ = task.batch(indices, [rotations, affine, elastic])
    images = task.images[indices]
    wanted = projection.projector(images, rotations=rotations, affine=affine, elastic=elastic)
    assert torch.equal(maps, wanted)
    for k, other in enumerate(task.draw(5, generator=torch.Generator().manual_seed(2))):
        draws = [rotations, affine, elastic]
        draws[k] = other
        assert not torch.allclose(task.batch(indices, draws)[0], maps, atol=0.01)


def test_an_unknown_recipe():
    with pytest.raises(ValueError) as caught:
        recipes.get("digits")
    assert "'digits'" in str(caught.value)
    assert all(name in str(caught.value) for name in recipes.RECIPES)


BARS = {"digits-fixed": 0.994, "digits-rotated": 0.99, "digits-invariant": 0.97}


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_what_comes_with_the_package(name):
    recipe = recipes.get(name)
    path = recipes.pretrained_folder() / f"{name}.safetensors"
    if not recipe.has_weights:
        assert not path.exists(), "what lies there comes with the package"
        return
    model = recipes.load_pretrained(recipe)
    card = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size == card["bytes"] <= 5_000_000
    assert card["profile"] == "gpu" and not model.training
    made = {"command", "seed", "device", "date", "versions", "schedule", "history", "test"}
    assert made <= set(card)
    if recipe.chapter == 1:
        assert card["test"]["scores"]["accuracy"] >= BARS.get(name, 0.97)
        assert card["test"]["size"] == 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bar"),
    [("digits-fixed", 0.985), ("digits-rotated", 0.98), ("digits-invariant", 0.975)],
)
def test_the_pretrained_weights_score_what_they_should(mnist, name, bar):
    """2,000 test digits, drawn anew: within the noise of the card's score."""
    found = recipes.evaluate(recipes.get(name), seed=11, size=2000)
    assert found["scores"]["accuracy"] >= bar and found["constant"]["accuracy"] < 0.13


@pytest.mark.slow
def test_the_invariant_network_gives_turned_digits_the_answers_it_gives_upright_ones(mnist):
    """Trained upright; of 1,000 test digits, those named alike upright and in two random poses."""
    model = recipes.load_pretrained(recipes.get("digits-invariant"))
    images = digits.load("mnist").part("test")[0][:1000]
    upright, turned, again = (
        predict_digits(sky, model, images, seed)
        for sky, seed in ((UPRIGHT, 0), (ROTATED, 1), (ROTATED, 2))
    )
    same = ((upright == turned) & (turned == again)).float().mean()
    print(f"same answer: {same:.4f}")
    assert same >= 0.98
