"""Adversarial training in the training loop, chapter 2's tasks, and its scores.

The scores are tested on generators that give out what they are made with.
"""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from skytutor import recipes
from skytutor.checkpoint import load_tensors
from skytutor.data import digits
from skytutor.models.game import NETWORKS, AdversarialPair
from skytutor.profile import Profile
from skytutor.recipes import gan_scores, gan_skies, gan_suspects
from skytutor.schedule import Schedule, Task
from skytutor.train import train

SMOKE = Profile("smoke", torch.device("cpu"), 0)


@pytest.fixture(autouse=True)
def _one_thread(request, monkeypatch, tmp_path_factory):
    """Use one thread, and the embedded digits, but for tests that ask for MNIST."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if "mnist" not in request.fixturenames:
        monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path_factory.mktemp("empty")))
    yield
    torch.set_num_threads(before)


class SmallNetwork(nn.Sequential):
    """Takes labels and ignores them."""

    latent = 4
    classes = 0

    def forward(self, x, labels=None):
        out = super().forward(x)
        return out.squeeze(1) if self[-1].out_features == 1 else out


def mlp(n_in, n_out):
    return SmallNetwork(
        nn.Linear(n_in, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, n_out)
    )


class Ring(Task):
    """Eight spots on a ring; a task for a generator and a discriminator."""

    score = "hit"
    size = 2048

    def __init__(self, lr_factors=(1.0, 1.0), stop_at=None):
        self.lr_factors = dict(zip(NETWORKS, lr_factors, strict=True))
        self.stop_at = stop_at
        self.calls = 0
        angle = 2 * math.pi * torch.arange(8) / 8
        self.spots = torch.stack([angle.cos(), angle.sin()], 1)  # (8, 2)

    def draw(self, n, *, generator):
        return [
            0.05 * torch.randn(n, 2, generator=generator),
            torch.randn(n, 4, generator=generator),
        ]

    def batch(self, indices, draws):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyError("killed")
        noise, z = draws
        return self.spots[indices % 8] + noise, z

    def loss(self, model, batch, network):
        points, z = batch
        return model(network, points, labels=None, z=z, fake_labels=None)

    def validate(self, model):
        z = torch.randn(1000, 4, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            samples = model.generator(z)
        nearest = torch.cdist(samples, self.spots).min(1)
        counts = nearest.indices[nearest.values < 0.25].bincount(minlength=8)
        return {"hit": float((counts > 10).sum())}


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


def ring_gan():
    torch.manual_seed(3)
    return AdversarialPair(mlp(4, 2), mlp(2, 1), kind="logistic", r1=0.3)


def train_ring(folder, task, *, resume=False, plan=PLAN):
    """Return the trained pair, and the result."""
    pair = ring_gan()
    found = train(
        pair,
        task,
        schedule=plan,
        folder=folder,
        seed=5,
        recipe="ring",
        resume=resume,
        progress=False,
    )
    return pair, found


def test_adversarial_training_finds_all_eight_spots(tmp_path):
    _, found = train_ring(tmp_path, Ring(), plan=replace(PLAN, epochs=25))
    assert found.history[-1]["hit"] == 8, [row["hit"] for row in found.history]


@pytest.mark.parametrize("stop_at", [1, 33, 47])
def test_a_killed_training_of_two_networks_ends_where_it_would_have_ended(tmp_path, stop_at):
    """Both networks' weights, both optimizers, the average, the history: bit for bit."""
    train_ring(tmp_path / "whole", Ring())
    with pytest.raises(KeyError, match="killed"):
        train_ring(tmp_path / "cut", Ring(stop_at=stop_at))
    train_ring(tmp_path / "cut", Ring(), resume=True)
    whole, whole_card = load_tensors(tmp_path / "whole" / "state.safetensors")
    cut, cut_card = load_tensors(tmp_path / "cut" / "state.safetensors")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    hits = [row["hit"] for row in whole_card["history"]]
    assert hits == [row["hit"] for row in cut_card["history"]]
    assert whole_card["step"] == cut_card["step"]
    optimizers = {name.split(".")[1] for name in whole if name.startswith("optimizer.")}
    assert optimizers == {"0", "1"}


@pytest.mark.parametrize(
    "lr_factors, fixed", [((1.0, 0.0), "generator"), ((0.0, 1.0), "discriminator")]
)
def test_each_network_has_its_own_learning_rate_factor(tmp_path, lr_factors, fixed):
    before = ring_gan().state_dict()
    pair, _ = train_ring(tmp_path, Ring(lr_factors), plan=replace(PLAN, epochs=1))
    after = pair.state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith(fixed), name


def test_several_processes_are_refused(tmp_path):
    fabric = SimpleNamespace(world_size=2, global_rank=0)
    message = r"devices must be 1: networks that are trained against each other .* got 2"
    with pytest.raises(ValueError, match=message):
        train(ring_gan(), Ring(), schedule=PLAN, folder=tmp_path, fabric=fabric)


@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_a_beta_of_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must lie in 0..1, got 1.0"):
        replace(PLAN, **{name: 1.0})


# --- the recipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["sphere-gan-published", "sphere-gan-planar", "sphere-gan", "sphere-gan-nside32"]
)
def test_a_batch_of_digits_is_what_the_networks_take(name):
    recipe = recipes.get(name)
    task = recipe.task(SMOKE)
    rng = torch.Generator().manual_seed(0)
    draws = task.draw(8, generator=rng)
    batch = task.batch(torch.arange(8), draws)
    maps, z, *given = batch
    n_pixels = 12288 if "32" in name else 3072
    assert maps.shape[2:] == ((56, 56) if "planar" in name else (n_pixels,))
    assert float(maps.min()) >= 0 and float(maps.max()) <= 1
    assert z.shape == (8, 64) and len(given) == (2 if task.classes else 0)
    if given:
        labels, fake_labels = given
        assert torch.equal(labels, task.labels[:8])
        assert set(fake_labels.tolist()) <= set(range(10))
    pair = recipes.network(recipe)
    losses = [task.loss(pair, batch, network) for network in task.lr_factors]
    assert all(bool(loss.isfinite()) for loss in losses)
    scores = task.validate(pair.eval())
    assert scores["closeness"] == -scores["frechet"] < 0


def test_a_batch_of_skies_has_the_right_spectrum():
    task = recipes.get("sphere-gan-cmb").task(SMOKE)
    rng = torch.Generator().manual_seed(0)
    draws = task.draw(200, generator=rng)
    maps, z = task.batch(torch.arange(200), draws)
    assert maps.shape == (200, 1, 3072) and z.shape[1] == gan_skies.cmb_gan().generator.latent
    assert float(maps.var()) == pytest.approx(1, abs=0.03)
    spectrum = gan_skies.sky_spectrum()[None, :33]
    ratios = gan_skies.band_ratios(gan_skies.power_spectra(maps), spectrum)
    assert len(ratios) == 6 and float((ratios - 1).abs().max()) < 0.06


def test_finalised_networks_of_skies_have_their_own_statistics():
    """Stale statistics and singular vectors, as averaging leaves them, are measured anew."""
    torch.manual_seed(0)
    pair = gan_skies.cmb_gan()
    for name, state in pair.named_buffers():
        if name.endswith("running_var"):
            state *= 9
        elif name.endswith(("_u", "_v")):
            state.copy_(nn.functional.normalize(torch.randn_like(state), dim=0))
    task = gan_skies.CmbGanTask(latent=pair.generator.latent, size=64, n_validation=100)
    with torch.no_grad():
        task.finalise(pair.eval())
        task.validate(pair)
        z = torch.randn(100, pair.generator.latent)
        std_evaluation = pair.generator(z).std()
        std_training = pair.generator.train()(z).std()
    assert float(std_evaluation / std_training) == pytest.approx(1, abs=0.05)
    layers = [layer for step in pair.discriminator.steps for layer in step]
    for layer in [*layers, pair.discriminator.judge]:
        norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(norm) == pytest.approx(1, abs=0.05)
    assert not pair.discriminator.training


def test_validation_of_skies_changes_nothing():
    torch.manual_seed(0)
    pair = gan_skies.cmb_gan().eval()
    before = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    task = gan_skies.CmbGanTask(latent=pair.generator.latent, size=64, n_validation=20)
    with torch.no_grad():
        task.validate(pair)
    after = pair.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


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
    found = gan_scores.score_digits(pair, seed=0, size=size, source="embedded", baselines={})
    return found["scores"]


def test_scores_of_generators_whose_quality_is_known():
    """Unseen real digits, training digits given out as samples, one of them repeated, and noise."""
    data = digits.load("embedded")
    train_maps = gan_scores.digit_maps(data.part("train")[0])
    test_maps = gan_scores.digit_maps(data.part("test")[0][200:])
    real = score(test_maps)
    memorised = score(train_maps[:200])
    collapsed = score(train_maps[:1].expand(200, -1, -1))
    noise = score(torch.rand(200, 1, 3072, generator=torch.Generator().manual_seed(0)))
    assert real["copy_share"] < 0.1 < 0.9 < memorised["copy_share"]
    assert real["frechet"] < 0.2 * collapsed["frechet"]
    assert real["frechet"] < 0.1 * noise["frechet"]
    assert real["recall"] > 0.7 and collapsed["recall"] < 0.1 and noise["recall"] < 0.1
    assert real["smallest_class_share"] > 0.05 and collapsed["smallest_class_share"] == 0
    assert 0.9 < real["seam_ratio"] < 1.1 and abs(noise["seam_ratio"] - 1) > 0.05


def test_the_temperature_makes_the_classifier_as_confident_as_it_is_accurate():
    data = digits.load("embedded")
    images, labels = data.part("test")
    classifier = gan_scores.load_classifier("embedded")
    features, probabilities = classifier(gan_scores.digit_maps(images))
    assert features.shape == (400, 128) and classifier.temperature != 1
    accuracy = float((probabilities.argmax(1) == labels).double().mean())
    assert abs(float(probabilities.amax(1).mean()) - accuracy) < 0.03


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
    ratios = gan_skies.band_ratios(last, flat)
    assert ratios[-1] > 1.1 and ratios[:-1].tolist() == [1] * 5


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
    "pixels": (lambda: gan_scores.degrade(torch.rand(2, 1, 100)), "npix must be"),
    "too coarse": (
        lambda: gan_scores.degrade(torch.rand(2, 1, 48)),
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
        gan_skies.score_skies(gan_skies.cmb_gan(), 0, 5)


def test_each_ablation_is_one_change(tmp_path):
    """From row to row one thing differs; the rows with "..." differ from that with R1."""
    first, unregularised, with_r1, *rest = gan_suspects.ABLATIONS
    both, both_unregularised = rest[2:4]
    description = both_unregularised.description
    assert replace(both, description=description, regularised=False) == both_unregularised
    rest.remove(both_unregularised)
    filled = replace(first, description="", project=unregularised.project)
    assert filled == replace(unregularised, description="")
    assert first.project is not unregularised.project
    changed = replace(unregularised, description="", regularised=True)
    assert changed == replace(with_r1, description="")
    assert all(ablation.regularised for ablation in rest)
    assert all(ablation.project is with_r1.project for ablation in rest)
    row = gan_suspects.run(with_r1, SMOKE, folder=tmp_path, steps=2, size=100, progress=False)
    assert math.isfinite(row["frechet"]) and row["words"] == with_r1.description
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        gan_suspects.run(with_r1, SMOKE, folder=tmp_path, steps=0)


# --- the pretrained networks ----------------------------------------------------------------------


def test_the_pretrained_digits_are_as_good_as_the_card_must_say():
    card = recipes.card(recipes.get("sphere-gan"))
    scores = card["test"]["scores"]
    assert card["test"]["size"] == 10_000 and card["test"]["data"] == "mnist test"
    assert scores["frechet_real"] < scores["frechet"] <= scores["frechet_published"] / 5
    assert scores["frechet"] <= 2 * scores["frechet_planar"]
    assert scores["confident_share"] >= 0.95 and scores["smallest_class_share"] >= 0.05
    assert scores["recall"] >= 0.6
    assert 0.95 <= scores["seam_ratio"] <= 1.05 and scores["copy_share"] <= 0.01
    assert scores["recall"] <= scores["recall_real"] + 0.02, "better than real digits: hunt it"


def test_the_pretrained_skies_are_as_good_as_the_card_must_say():
    test = recipes.card(recipes.get("sphere-gan-cmb"))["test"]
    assert test["size"] == 10_000 and len(test["scores"]["cl_ratios"]) == 6
    assert test["scores"]["cl_deviation"] <= 0.05 and test["scores"]["ks_distance"] <= 0.02
    deviation = max(abs(ratio - 1) for ratio in test["scores"]["cl_ratios_true"])
    assert deviation < 0.01, "the measurement itself: true skies come out true"


def test_new_skies_of_the_pretrained_generator_score_as_the_card_says():
    """400 skies of another seed: within cosmic variance of the card's bands."""
    recipe = recipes.get("sphere-gan-cmb")
    pair = recipes.load_pretrained(recipe)
    scores = gan_skies.compare_skies(pair, 400, seed=123)
    expected = recipes.card(recipe)["test"]["scores"]["cl_ratios"]
    differences = [abs(a - b) for a, b in zip(scores["cl_ratios"], expected, strict=True)]
    assert max(differences) < 0.05 and scores["ks_distance"] < 0.03
    maps = gan_skies.true_skies(32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        outputs = pair.discriminator(maps)
    assert float(outputs.abs().max()) < 5, "with the hinge loss, outputs are numbers about one"


def test_the_ablation_study_is_complete():
    """The card has a row for every ablation, and the networks and R1 together matter most."""
    frechet = {row["words"]: row["frechet"] for row in gan_suspects.load_ablations()["rows"]}
    assert list(frechet) == [ablation.description for ablation in gan_suspects.ABLATIONS]
    published = min(frechet["as published, holes and all"], frechet["no holes"])
    assert published > 10 * frechet["both, calm game, classes: ours"]


@pytest.mark.slow
def test_the_pretrained_digits_score_what_they_should(mnist):
    scores = recipes.evaluate(recipes.get("sphere-gan"), seed=11, size=1000)["scores"]
    assert scores["confident_share"] > 0.95 and scores["recall"] > 0.7
    assert 0.93 < scores["seam_ratio"] < 1.05 and scores["copy_share"] < 0.01
    assert scores["frechet"] < 0.2 * scores["frechet_published"]
