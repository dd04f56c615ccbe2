"""skytutor.chapters.translation.study: gains on pairs, choices of bands, adversaries."""

import itertools
import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skytutor.chapters import weights
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation import study
from skytutor.chapters.translation.adversaries import NoiseMatched, TranslationPair
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.scores import decibels
from skytutor.chapters.translation.study import CHOICES, paired_gain
from skytutor.chapters.translation.subsets import TARGETS
from skytutor.chapters.weights import load_needed
from skytutor.data.surveys import BANDS
from skytutor.files import CheckpointError
from skytutor.training import checkpoint
from skytutor.training.profile import Profile

SMOKE = Profile("smoke", torch.device("cpu"), 0)
KINDS = (("blue", "red"), ("J", "H", "K"), ("FUV", "NUV"))


def scenes(n, *, gain=1.2, seed=0):
    """Return squared errors of n scenes, hard and easy ones, and the same with less error."""
    rng = torch.Generator().manual_seed(seed)
    difficulty = torch.randn(n, 1, generator=rng).exp()
    first, second = (
        difficulty * (1 + 0.1 * torch.randn(n, 3, generator=rng)).abs() for _ in range(2)
    )
    return first, second / gain


# --- gains ----------------------------------------------------------------------------------------


def test_what_is_the_same_gains_nothing():
    first, _ = scenes(20)
    assert paired_gain(first, first) == (0, 0, 0)


def test_a_gain_is_the_difference_of_the_scores():
    first, second = scenes(50)
    gain, low, high = paired_gain(first, second)
    assert gain == pytest.approx(decibels(second) - decibels(first))
    assert low < gain < high
    back = paired_gain(second, first)
    assert back == pytest.approx((-gain, -high, -low))


def test_a_factor_of_ten_in_every_scene_is_ten_decibels_without_doubt():
    first, _ = scenes(20)
    assert paired_gain(first, first / 10) == pytest.approx((10, 10, 10))


def test_pairs_narrow_the_interval():
    first, second = scenes(100)
    _, low, high = paired_gain(first, second)
    mixed = second[torch.randperm(100, generator=torch.Generator().manual_seed(1))]
    _, mixed_low, mixed_high = paired_gain(first, mixed)
    assert high - low < 0.3 * (mixed_high - mixed_low)
    # So the same gain is certain in pairs alone.
    assert mixed_low < 0 < low


def test_the_interval_holds_the_truth_in_about_95_per_cent():
    n, repeats = 80, 300
    covered = 0
    for seed in range(repeats):
        _, low, high = paired_gain(*scenes(n, seed=seed), resamples=300, seed=seed)
        covered += low <= 10 * math.log10(1.2) <= high
    assert 0.90 < covered / repeats < 0.98


def test_a_bootstrap_repeats_itself_and_another_seed_changes_the_ends_alone():
    first, second = scenes(30)
    assert paired_gain(first, second, seed=3) == paired_gain(first, second, seed=3)
    other = paired_gain(first, second, seed=4)
    same = paired_gain(first, second, seed=3)
    assert other[0] == same[0] and other[1:] != same[1:]


def test_networks_that_differ_widen_the_interval_and_equal_ones_do_not():
    first, second = scenes(60)
    alone = paired_gain(first, second)
    equal = [torch.stack([squares] * 5) for squares in (first, second)]
    assert paired_gain(*equal, networks=True) == pytest.approx(alone, abs=1e-9)
    # Each network gains another part of a decibel.
    factors = 10 ** (0.1 * torch.tensor([-0.4, -0.2, 0.0, 0.2, 0.4]))[:, None, None]
    gain, low, high = paired_gain(equal[0], equal[1] / factors, networks=True)
    assert gain == pytest.approx(alone[0], abs=0.05)
    assert high - low > 1.5 * (alone[2] - alone[1]) or high - low > 0.4


def test_networks_are_drawn_again_in_pairs():
    first = torch.ones(4, 30) * torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None]
    # However good a network is, infrared halves its error: nothing is uncertain.
    assert paired_gain(first, first / 2, networks=True) == pytest.approx((10 * math.log10(2),) * 3)


@pytest.mark.parametrize(
    ("without", "with_more"),
    [((5, 3), (4, 3)), ((5, 3), (5, 2)), ((1, 3), (1, 3)), ((5,), (5, 1)), ((0,), (0,))],
)
def test_scenes_that_are_no_pairs_are_refused(without, with_more):
    with pytest.raises(ValueError, match=r"without and with_more must be of the same scenes"):
        paired_gain(torch.ones(without), torch.ones(with_more))


def test_no_resample_is_refused():
    with pytest.raises(ValueError, match="resamples must"):
        paired_gain(torch.ones(3), torch.ones(3), resamples=0)


# --- choices of bands -----------------------------------------------------------------------------


def test_every_choice_of_the_three_kinds_is_there_and_none_holds_a_target():
    wanted = {
        frozenset(itertools.chain(*kinds))
        for many in (1, 2, 3)
        for kinds in itertools.combinations(KINDS, many)
    }
    assert len(CHOICES) == len(wanted) == 7
    assert {frozenset(names) for names in CHOICES.values()} == wanted
    for names in CHOICES.values():
        assert len(set(names)) == len(names) and set(names) <= set(BANDS)
        assert not set(names) & set(TARGETS)


@pytest.fixture(scope="module")
def found():
    network = load_needed("bands", needed_for="a test")
    return study.study_subsets([network, network], n=2, seed=1)


def numbers(value):
    """Yield all numbers in nested dicts and sequences."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, (int, float)):
        yield value


def check_study(found):
    """Check what holds for a study of any size."""
    assert set(found["choices"]) == set(CHOICES)
    assert all(math.isfinite(number) for number in numbers([found["choices"], found["gains"]]))
    pairs = [(gain["from"], gain["to"]) for gain in found["gains"]]
    assert len(set(pairs)) == len(pairs) > 0
    counts = set()
    for choice in found["choices"].values():
        for who in ("network", "oracle"):
            assert set(choice[who]["flux"]) == set(TARGETS)
            for band in choice[who]["flux"].values():
                counts.add(tuple((group, row["n"]) for group, row in sorted(band.items())))
    assert len(counts) == 1, "the same sources for all"
    for gain in found["gains"]:
        less, more = gain["from"], gain["to"]
        assert set(CHOICES[less]) < set(CHOICES[more])
        for who in ("network", "oracle"):
            value, low, high = gain[who]
            scores = [found["choices"][name][who]["psnr"] for name in (less, more)]
            assert value == pytest.approx(scores[1] - scores[0], abs=1e-4)
            assert low <= high


def test_a_study_of_two_scenes_has_all_choices_and_gains(found):
    assert found["scenes"] == 2 and found["networks"] == 2
    for choice in found["choices"].values():
        one, other = choice["network"]["by_network"]
        assert one == other == pytest.approx(choice["network"]["psnr"])
    check_study(found)
    json.dumps(found)


def test_plates_help_more_than_anything(found):
    gains = {(gain["from"], gain["to"]): gain for gain in found["gains"]}
    for less in ("infrared", "ultraviolet"):
        for who in ("network", "oracle"):
            assert gains[less, f"plates + {less}"][who][0] > 3


# --- cards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 2])
def test_the_card_of_the_choices_says_what_made_it(tmp_path, monkeypatch, seed):
    network, other = BandTranslator(size=16), BandTranslator(size=16)
    asked, trained = [], []

    def fake(models, *, n, seed, device):
        asked.append((models, n, seed))
        return {"scenes": n, "choices": {}, "gains": []}

    def fake_trained(recipe, folder, *, profile, seed):
        trained.append((recipe.name, seed))
        return folder / f"bands-seed{seed}", {}

    monkeypatch.setattr(study, "load_needed", lambda name, needed_for: network)
    monkeypatch.setattr(study, "_trained", fake_trained)
    monkeypatch.setattr(study, "load_pretrained", lambda recipe, folder: other)
    monkeypatch.setattr(study, "study_subsets", fake)
    profile = Profile("smoke", torch.device("cpu"), seed)
    path = study.make_subsets(tmp_path, command="a command", profile=profile)
    card = checkpoint.read_card(path)
    assert path == tmp_path / f"{study.SUBSETS_CARD}.json"
    assert (card["command"], card["profile"], card["seed"]) == ("a command", "smoke", seed)
    ((models, n, drawn),) = asked
    assert models == [network, other] and n == card["scenes"] > 1
    assert trained == [("bands", 1)]
    # The scenes on which the weights' own card is scored are others.
    assert drawn != SEEDS.test_seed(seed)


def test_the_study_says_which_weights_are_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "pretrained_folder", lambda: tmp_path)
    with pytest.raises(CheckpointError, match=r"which bands help needs the trained weights of"):
        study.make_subsets(tmp_path, command="a command", profile=SMOKE)


# --- adversaries ----------------------------------------------------------------------------------


def small_pair(discriminator=None):
    pair = NoiseMatched(KINDS[0], TARGETS, generator=BandTranslator(channels=(4, 6, 8, 8)), width=4)
    if discriminator is not None:
        pair.discriminator = discriminator
    return pair.eval()


class Looks(nn.Module):
    """A discriminator that gives each patch a number computed from some of the channels."""

    def __init__(self, function, channels):
        super().__init__()
        self.function = function
        self.channels = channels

    def forward(self, shown):
        return self.function(shown[:, self.channels])


def roughness(image):
    """Return how much neighbours differ, for each patch of eight pixels."""
    return F.avg_pool2d(image.diff(dim=-1).square().mean(1, keepdim=True), 8)


def test_noise_tells_a_survey_from_the_truth_and_not_from_a_second_exposure():
    found = study.separation(small_pair(Looks(roughness, slice(-3, None))), n=4, seed=0)
    assert found["truth"] > 0.9
    assert found["second exposure"] == pytest.approx(0.5, abs=0.15)
    other = study.separation(
        small_pair(Looks(lambda image: -roughness(image), slice(-3, None))), n=4, seed=0
    )
    assert other["truth"] == pytest.approx(1 - found["truth"])


def test_the_question_is_the_same_for_every_answer():
    found = study.separation(small_pair(Looks(roughness, slice(0, -3))), n=2, seed=0)
    assert found == {"truth": 0.5, "second exposure": 0.5}, "no answer is more real than another"


def test_the_separation_of_a_pair_repeats_itself():
    torch.manual_seed(0)
    pair = small_pair()
    found = study.separation(pair, n=2, seed=3)
    assert found == study.separation(pair, n=2, seed=3)
    assert all(0 <= value <= 1 for value in found.values())


def stub_recipe(name):
    """Return what stands in for a recipe: its score tells who is scored with which seed."""

    def score(model, *, seed):
        return SimpleNamespace(for_card=lambda: {"scored": model.folder, "seed": seed})

    return SimpleNamespace(name=name, score=score)


@pytest.fixture
def stubs(monkeypatch):
    """Replace what takes long; return lists of what is trained, and of what is told apart."""
    trained, separated = [], []

    def train(recipe, *, profile, folder, command, resume):
        assert resume, "a second call goes on"
        trained.append((recipe.name, profile.name, profile.seed, folder, command))
        card = {
            "command": command,
            "seconds": 1.0,
            "history": [{"epoch": 0}],
            "test": {"scored": "as it was trained", "seed": profile.seed},
            "parameters": 1,
        }
        return folder / f"{recipe.name}.safetensors", card, None

    def load(recipe, folder):
        pair = small_pair()
        pair.folder = folder.name
        return pair

    def separation(pair, *, n, seed):
        assert isinstance(pair, TranslationPair) and n > 0
        separated.append((pair.folder, seed))
        return {"truth": 1.0, "second exposure": 0.5}

    monkeypatch.setattr(study, "train_recipe", train)
    monkeypatch.setattr(study, "make_gan_recipe", lambda: stub_recipe("bands-gan"))
    monkeypatch.setattr(study, "make_pix2pix_recipe", lambda: stub_recipe("bands-pix2pix"))
    monkeypatch.setattr(study, "load_pretrained", load)
    monkeypatch.setattr(study, "separation", separation)
    return trained, separated


def test_adversaries_are_trained_from_three_seeds_each_in_a_folder_of_its_own(stubs, tmp_path):
    trained, separated = stubs
    study.make_adversaries(tmp_path, command="a command", profile=SMOKE)
    wanted = [*(("bands-gan", seed) for seed in range(3)), ("bands-pix2pix", 0)]
    assert [(name, seed) for name, _, seed, _, _ in trained] == wanted
    for name, profile, seed, folder, command in trained:
        assert profile == "smoke" and folder == tmp_path / f"{name}-seed{seed}"
        assert command == f"skytutor train {name} --profile smoke --seed {seed}"
    # All are asked about the same scenes.
    assert [folder for folder, _ in separated] == [folder.name for *_, folder, _ in trained]
    assert len({seed for _, seed in separated}) == 1


def test_a_training_that_is_done_is_not_done_again(stubs, tmp_path, monkeypatch):
    trained, _ = stubs
    done = {"command": "earlier", "seconds": 2.0, "history": [], "test": {"seed": 0}}
    monkeypatch.setattr(study, "read_card", lambda recipe, folder: done)
    own = tmp_path / "bands-pix2pix-seed0"
    own.mkdir()
    (own / "bands-pix2pix.json").write_text("{}")
    card = checkpoint.read_card(
        study.make_adversaries(tmp_path, command="a command", profile=SMOKE)
    )
    assert [name for name, *_ in trained] == ["bands-gan"] * 3
    assert card["published"]["0"]["command"] == "earlier"


def test_the_card_of_the_adversaries_says_what_made_it(stubs, tmp_path):
    path = study.make_adversaries(tmp_path, command="a command", profile=SMOKE)
    card = checkpoint.read_card(path)
    assert path == tmp_path / f"{study.ADVERSARIES_CARD}.json"
    assert (card["command"], card["profile"], card["seed"]) == ("a command", "smoke", 0)
    rows = card["noise-matched"]
    assert list(rows) == ["0", "1", "2"] and list(card["published"]) == ["0"]
    for row in (*rows.values(), *card["published"].values()):
        assert {"command", "seconds", "history", "test", "separation"} <= set(row)
        # All answer on the same scenes, whatever they began with.
        assert row["test"]["seed"] == 0
    assert rows["0"]["test"]["scored"] == "as it was trained"
    assert [rows[k]["test"]["scored"] for k in "12"] == ["bands-gan-seed1", "bands-gan-seed2"]


# --- what the package holds -----------------------------------------------------------------------


def test_the_packaged_card_holds_the_full_study():
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{study.SUBSETS_CARD}.json")
    assert card["scenes"] == 1000 and card["profile"] == "gpu"
    assert card["command"] == f"skytutor compute {study.SUBSETS_CARD}"
    assert {"seed", "device", "date", "versions"} <= set(card)
    check_study(card)
    for name, choice in card["choices"].items():
        assert choice["network"]["psnr"] < choice["oracle"]["psnr"], name
    for gain in card["gains"]:
        pair = f"{gain['from']} to {gain['to']}"
        value, low, high = gain["network"]
        # More bands help the network, beyond doubt, and the oracle does not contradict.
        assert 0 < low < value < high, pair
        best, best_low, best_high = gain["oracle"]
        assert best > 0 and best_low < best < best_high, pair


def test_on_the_packaged_card_other_bands_add_little_to_plates_and_plates_much_to_them():
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{study.SUBSETS_CARD}.json")
    for gain in card["gains"]:
        for who in ("network", "oracle"):
            if gain["from"].startswith("plates"):
                assert gain[who][0] < 1
            elif "plates" in gain["to"]:
                assert gain[who][0] > 10
