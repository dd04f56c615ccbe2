"""The two-player game in the training loop, chapter 2's tasks, and its scores on forgers whose skill is known."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from skytutor import recipes
from skytutor.checkpoint import load_tensors
from skytutor.data import digits
from skytutor.models.game import TURNS, Game
from skytutor.profile import Profile
from skytutor.recipes import gan_scores, gan_skies, gan_suspects
from skytutor.schedule import Schedule
from skytutor.train import train

SMOKE = Profile("smoke", torch.device("cpu"), 0)


@pytest.fixture(autouse=True)
def _one_thread(request, monkeypatch, tmp_path_factory):
    """One thread, and, but for tests that ask for MNIST, the embedded digits whatever lies on this machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if "mnist" not in request.fixturenames:
        monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path_factory.mktemp("empty")))
    yield
    torch.set_num_threads(before)


class Told(nn.Sequential):
    """A small network that takes labels and does not look at them."""

    latent = 4
    classes = 0

    def forward(self, x, labels=None):
        return super().forward(x).squeeze(1) if self[-1].out_features == 1 else super().forward(x)


def mlp(inside, outside):
    return Told(
        nn.Linear(inside, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, outside)
    )


class Ring:
    """Eight spots on a ring; a task of two players."""

    score = "hit"
    size = 2048

    def __init__(self, paces=(1.0, 1.0), stop_at=None):
        self.turns = dict(zip(TURNS, paces, strict=True))
        self.stop_at = stop_at
        self.calls = 0
        angle = 2 * math.pi * torch.arange(8) / 8
        self.places = torch.stack([angle.cos(), angle.sin()], 1)

    def draw(self, n, *, generator):
        return [
            0.05 * torch.randn(n, 2, generator=generator),
            torch.randn(n, 4, generator=generator),
        ]

    def batch(self, indices, draws):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyError("killed")
        return self.places[indices % 8] + draws[0], draws[1]

    def loss(self, model, batch, turn):
        return model(turn, batch[0], None, batch[1], None)

    def validate(self, model):
        with torch.no_grad():
            drawn = model.generator(
                torch.randn(1000, 4, generator=torch.Generator().manual_seed(1))
            )
        near = torch.cdist(drawn, self.places).min(1)
        return {"hit": float((near.indices[near.values < 0.25].bincount(minlength=8) > 10).sum())}


PLAN = Schedule(
    epochs=4,
    batch_size=64,
    lr=2e-3,
    optimizer="adam",
    beta1=0.0,
    beta2=0.99,
    rate="constant",
    average=0.9,
    save_every_s=0.0,
)


def ring_game():
    torch.manual_seed(3)
    return Game(mlp(4, 2), mlp(2, 1), kind="logistic", r1=0.3)


def play(folder, task, *, resume=False, plan=PLAN):
    game = ring_game()
    return game, train(
        game,
        task,
        schedule=plan,
        folder=folder,
        seed=5,
        recipe="ring",
        resume=resume,
        progress=False,
    )


def test_the_game_finds_all_eight_spots(tmp_path):
    _, found = play(tmp_path, Ring(), plan=replace(PLAN, epochs=25))
    assert found.history[-1]["hit"] == 8, [row["hit"] for row in found.history]


@pytest.mark.parametrize("stop_at", [1, 33, 47])
def test_a_killed_game_ends_where_it_would_have_ended(tmp_path, stop_at):
    """Both players' weights, both optimisers, the average, the history: bit for bit."""
    play(tmp_path / "whole", Ring())
    with pytest.raises(KeyError, match="killed"):
        play(tmp_path / "cut", Ring(stop_at=stop_at))
    play(tmp_path / "cut", Ring(), resume=True)
    (one, card), (two, other) = (
        load_tensors(tmp_path / name / "state.safetensors") for name in ("whole", "cut")
    )
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    assert [row["hit"] for row in card["history"]] == [
        row["hit"] for row in other["history"]
    ] and card["step"] == other["step"]
    assert {name.split(".")[1] for name in one if name.startswith("optimizer.")} == {"0", "1"}


@pytest.mark.parametrize("paces, still", [((1.0, 0.0), "generator"), ((0.0, 1.0), "discriminator")])
def test_paces_are_the_players_own(tmp_path, paces, still):
    before = ring_game().state_dict()
    after = play(tmp_path, Ring(paces), plan=replace(PLAN, epochs=1))[0].state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith(still), name


def test_several_processes_are_refused(tmp_path):
    fabric = SimpleNamespace(world_size=2, global_rank=0)
    with pytest.raises(
        ValueError, match="devices must be 1: networks that are trained against each other .* got 2"
    ):
        train(ring_game(), Ring(), schedule=PLAN, folder=tmp_path, fabric=fabric)


@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_a_beta_of_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must lie in 0..1, got 1.0"):
        replace(PLAN, **{name: 1.0})


# --- the recipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["sphere-gan-published", "sphere-gan-planar", "sphere-gan", "sphere-gan-nside32"]
)
def test_a_digit_game_deals_what_its_networks_take(name):
    recipe = recipes.get(name)
    task = recipe.task(SMOKE)
    draws = task.draw(8, generator=torch.Generator().manual_seed(0))
    batch = task.batch(torch.arange(8), draws)
    maps, z, *told = batch
    pixels = 12288 if "32" in name else 3072
    assert (
        maps.shape[2:] == ((56, 56) if "planar" in name else (pixels,))
        and float(maps.min()) >= 0
        and float(maps.max()) <= 1
    )
    assert z.shape == (8, 64) and len(told) == (2 if task.classes else 0)
    assert not told or (
        torch.equal(told[0], task.labels[:8]) and set(told[1].tolist()) <= set(range(10))
    )
    game = recipes.network(recipe)
    losses = [task.loss(game, batch, turn) for turn in task.turns]
    assert all(bool(loss.isfinite()) for loss in losses)
    found = task.validate(game.eval())
    assert found["closeness"] == -found["frechet"] < 0


def test_the_sky_game_deals_skies_of_the_right_spectrum():
    task = recipes.get("sphere-gan-cmb").task(SMOKE)
    draws = task.draw(200, generator=torch.Generator().manual_seed(0))
    maps, z = task.batch(torch.arange(200), draws)
    assert maps.shape == (200, 1, 3072) and z.shape[1] == gan_skies.sky_game().generator.latent
    assert float(maps.var()) == pytest.approx(1, abs=0.03)
    ratios = gan_skies.band_ratios(gan_skies.band_powers(maps), gan_skies.sky_spectrum()[None, :33])
    assert len(ratios) == 6 and float((ratios - 1).abs().max()) < 0.06


def test_a_validated_sky_game_has_measured_itself():
    """Stale statistics and singular vectors, as averaging leaves them, are measured anew."""
    torch.manual_seed(0)
    game = gan_skies.sky_game()
    for name, state in game.named_buffers():
        if name.endswith("running_var"):
            state *= 9
        elif name.endswith(("_u", "_v")):
            state.copy_(nn.functional.normalize(torch.randn_like(state), dim=0))
    task = gan_skies.SkyGame(latent=game.generator.latent, size=64, held=100)
    with torch.no_grad():
        task.validate(game.eval())
        z = torch.randn(100, game.generator.latent)
        judged = game.generator(z).std()
        own = game.generator.train()(z).std()
    assert float(judged / own) == pytest.approx(1, abs=0.05)
    for layer in [
        *(part for step in game.discriminator.steps for part in step),
        game.discriminator.judge,
    ]:
        assert float(
            torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        ) == pytest.approx(1, abs=0.05)
    assert not game.discriminator.training


class Forger(nn.Module):
    """Gives out the maps it is made with, in order: a forger whose skill is known."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps
        self.at = 0
        self.latent = 1
        self.classes = 0
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, z, labels=None):
        self.at += len(z)
        return self.maps[self.at - len(z) : self.at]


def score(maps, size=200):
    game = SimpleNamespace(generator=Forger(maps))
    return gan_scores.score_digits({}, game, 0, size, "embedded")["scores"]


def test_scores_of_forgers_whose_skill_is_known():
    """Unseen real digits, training digits given out as drawings, one of them again and again, and noise."""
    data = digits.load("embedded")
    own, unseen = (
        gan_scores.digit_maps(part) for part in (data.part("train")[0], data.part("test")[0][200:])
    )
    honest = score(unseen)
    thief = score(own[:200])
    parrot = score(own[:1].expand(200, -1, -1))
    noise = score(torch.rand(200, 1, 3072, generator=torch.Generator().manual_seed(0)))
    assert honest["copy_share"] < 0.1 < 0.9 < thief["copy_share"]
    assert (
        honest["frechet"] < 0.2 * parrot["frechet"] and honest["frechet"] < 0.1 * noise["frechet"]
    )
    assert honest["recall"] > 0.7 and parrot["recall"] < 0.1 and noise["recall"] < 0.1
    assert honest["smallest_class_share"] > 0.05 and parrot["smallest_class_share"] == 0
    assert 0.9 < honest["seam_ratio"] < 1.1 and abs(noise["seam_ratio"] - 1) > 0.05


def test_the_temperature_makes_the_judge_as_sure_as_it_is_right():
    data = digits.load("embedded")
    images, labels = data.part("test")
    judge = gan_scores.judge("embedded")
    features, named = judge(gan_scores.digit_maps(images))
    assert features.shape == (400, 128) and judge.temperature != 1
    right = float((named.argmax(1) == labels).double().mean())
    assert abs(float(named.amax(1).mean()) - right) < 0.03


def test_kolmogorov_smirnov_against_scipy():
    from scipy.stats import ks_2samp

    a = torch.randn(500, generator=torch.Generator().manual_seed(1))
    b = torch.randn(300, generator=torch.Generator().manual_seed(2)) + 0.2
    assert gan_skies.ks_distance(a, b) == pytest.approx(
        ks_2samp(a.numpy(), b.numpy()).statistic, abs=1e-12
    )


def test_bands_of_five_and_what_is_left_over():
    flat = torch.ones(1, 33)
    assert gan_skies.band_ratios(1.1 * flat, flat).tolist() == pytest.approx([1.1] * 6)
    last = flat.clone()
    last[0, 32] = 2
    assert (
        gan_skies.band_ratios(last, flat)[-1] > 1.1
        and gan_skies.band_ratios(last, flat)[:-1].tolist() == [1] * 5
    )


@pytest.mark.parametrize("size", [1, 401])
def test_a_size_outside_the_test_split_is_refused(size):
    with pytest.raises(ValueError, match=f"size must lie in 100..400 .*got {size}"):
        score(torch.rand(1, 1, 3072), size)


BAD = {
    "nothing to compare": (
        lambda: gan_skies.ks_distance(torch.tensor([]), torch.ones(1)),
        r"a must hold finite numbers, .*\(0,\)",
    ),
    "NaN to compare": (
        lambda: gan_skies.ks_distance(torch.ones(1), torch.tensor([torch.nan])),
        "b must hold finite numbers",
    ),
    "few multipoles": (
        lambda: gan_skies.band_ratios(torch.ones(1, 4), torch.ones(1, 4)),
        "lmax of 6 or more, got 3 and 3",
    ),
    "pixels": (lambda: gan_scores.coarse(torch.rand(2, 1, 100)), "npix must be"),
    "too coarse": (
        lambda: gan_scores.coarse(torch.rand(2, 1, 48)),
        "maps must have nside 8 or more, got 2",
    ),
    "white numbers": (
        lambda: gan_skies.sky_maps(torch.zeros(2, 100)),
        r"white must be \(N, 2304\) .*got shape \(2, 100\)",
    ),
    "no skies": (
        lambda: gan_skies.true_skies(0, generator=torch.Generator()),
        "size must be a positive integer, got 0",
    ),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_of_scores_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_sizes_of_skies():
    with pytest.raises(ValueError, match=r"size must lie in 100..100000 skies, got 5"):
        gan_skies.score_skies(gan_skies.sky_game(), 0, 5)


def test_each_suspect_is_one_change(tmp_path):
    """From line to line one thing differs; the lines with "..." differ from the calm game."""
    first, second, calm, *rest = gan_suspects.SUSPECTS
    both, wild = rest[2:4]
    assert replace(both, words=wild.words, cured=False) == wild
    rest.remove(wild)
    assert (
        replace(first, words="", paint=second.paint) == replace(second, words="")
        and first.paint is not second.paint
    )
    assert replace(second, words="", cured=True) == replace(calm, words="")
    assert all(s.cured and s.paint is calm.paint for s in rest)
    row = gan_suspects.run(calm, SMOKE, folder=tmp_path, steps=2, size=100, progress=False)
    assert math.isfinite(row["frechet"]) and row["words"] == calm.words
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        gan_suspects.run(calm, SMOKE, folder=tmp_path, steps=0)


# --- what is shipped ------------------------------------------------------------------------------


def test_the_shipped_digits_are_as_good_as_the_card_must_say():
    card = recipes.card(recipes.get("sphere-gan"))
    row = card["test"]["scores"]
    assert card["test"]["size"] == 10_000 and card["test"]["data"] == "mnist test"
    assert (
        row["frechet_real"] < row["frechet"] <= row["frechet_published"] / 5
        and row["frechet"] <= 2 * row["frechet_planar"]
    )
    assert (
        row["confident_share"] >= 0.95
        and row["smallest_class_share"] >= 0.05
        and row["recall"] >= 0.6
    )
    assert 0.95 <= row["seam_ratio"] <= 1.05 and row["copy_share"] <= 0.01
    assert row["recall"] <= row["recall_real"] + 0.02, "better than real digits: hunt it"


def test_the_shipped_skies_are_as_good_as_the_card_must_say():
    test = recipes.card(recipes.get("sphere-gan-cmb"))["test"]
    assert test["size"] == 10_000 and len(test["scores"]["cl_ratios"]) == 6
    assert test["scores"]["cl_deviation"] <= 0.05 and test["scores"]["ks_distance"] <= 0.02
    true = max(abs(ratio - 1) for ratio in test["scores"]["cl_ratios_true"])
    assert true < 0.01, "the measurement itself: true skies come out true"


def test_the_shipped_skies_drawn_anew():
    """400 skies of another seed: within cosmic variance of the card's bands."""
    recipe = recipes.get("sphere-gan-cmb")
    game = recipes.shipped(recipe)
    found = gan_skies.compare_skies(game, 400, seed=123)
    told = recipes.card(recipe)["test"]["scores"]["cl_ratios"]
    assert (
        max(abs(a - b) for a, b in zip(found["cl_ratios"], told, strict=True)) < 0.05
        and found["ks_distance"] < 0.03
    )
    with torch.no_grad():
        judged = game.discriminator(
            gan_skies.true_skies(32, generator=torch.Generator().manual_seed(5))
        )
    assert float(judged.abs().max()) < 5, "a hinge judge speaks in numbers about one"


def test_the_suspects_were_heard():
    """The shipped table has every suspect, and the game is what matters most."""
    rows = {row["words"]: row["frechet"] for row in gan_suspects.known()["rows"]}
    assert list(rows) == [suspect.words for suspect in gan_suspects.SUSPECTS]
    assert (
        min(rows["as published, holes and all"], rows["no holes"])
        > 10 * rows["both, calm game, classes: ours"]
    )


@pytest.mark.slow
def test_the_shipped_digits_score_what_they_should(mnist):
    found = recipes.evaluate(recipes.get("sphere-gan"), seed=11, size=1000)["scores"]
    assert (
        found["confident_share"] > 0.95
        and found["recall"] > 0.7
        and 0.93 < found["seam_ratio"] < 1.05
        and found["copy_share"] < 0.01
    )
    assert found["frechet"] < 0.2 * found["frechet_published"]
