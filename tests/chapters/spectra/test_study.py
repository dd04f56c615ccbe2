"""Studies at the size of smoke: what they train, score and write."""

import copy
import json

import pytest
import torch

from skytutor.chapters import weights
from skytutor.chapters.spectra import scores, study
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.data.galaxies import GalaxySimulator
from skytutor.files import CheckpointError
from skytutor.training.profile import Profile

SMOKE = Profile("smoke", torch.device("cpu"), 0)
pytestmark = pytest.mark.usefixtures("untrained_autoencoder")


@pytest.fixture
def untrained(monkeypatch):
    """Start universes from untrained networks, small ones."""
    torch.manual_seed(1)
    limits = LimitNetworks()
    network = SpectrumNetwork(channels=(4, 4, 4, 4))
    network.started.fill_(True)
    monkeypatch.setattr(study, "pretrained_limits", lambda: limits)
    monkeypatch.setattr(study, "load_needed", lambda name, needed_for: copy.deepcopy(network))


def test_a_universe_is_scored_on_its_own_galaxies(untrained):
    null = study.study_universe("null", profile=SMOKE)
    other = study.study_universe("gradient 1", profile=SMOKE)
    assert null["rmse_constant"] != other["rmse_constant"]
    for found in (null, other):
        gap = found["rmse_catalogue"] - found["rmse_oracle"]
        wanted = (found["rmse_catalogue"] - found["rmse"]) / gap
        # Untrained limits: the oracle may be no better than the catalogue.
        closed = found["gap_closed"]
        assert closed is None if gap < 0 else closed in (None, pytest.approx(wanted))
        below = 1 - found["rmse_oracle"] / found["rmse_catalogue"]
        assert found["oracle_below_catalogue"] == pytest.approx(below, abs=1e-6)
        assert found["below_catalogue_error"] > 0
        assert found["oracle_below_catalogue_error"] > 0
    assert null["above_oracle"] == pytest.approx(null["rmse"] - null["rmse_oracle"])
    assert null["above_oracle_error"] > 0


def test_the_knob_has_four_settings_and_the_null_universe_stands_beside():
    assert set(study.UNIVERSES) == {
        "null",
        "gradient 0",
        "gradient 1/3",
        "gradient 2/3",
        "gradient 1",
    }
    found = [options["gradient"] for options in study.UNIVERSES.values() if "gradient" in options]
    assert found == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_card_of_the_universes_says_what_made_it(tmp_path, monkeypatch):
    asked = []

    def fake(name, *, profile):
        asked.append(name)
        return {"rmse": float(len(asked))}

    monkeypatch.setattr(study, "study_universe", fake)
    path = study.make_universes(tmp_path, command="a command", profile=SMOKE)
    card = json.loads(path.read_text())
    assert path == tmp_path / f"{study.UNIVERSES_CARD}.json"
    assert asked == list(study.UNIVERSES) == list(card["universes"])
    assert (card["command"], card["profile"], card["seed"]) == ("a command", "smoke", 0)


def test_a_universe_says_which_weights_are_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "pretrained_folder", lambda: tmp_path)
    scores.pretrained_limits.cache_clear()
    with pytest.raises(
        CheckpointError, match=r"a study of the network needs .* weights of spectra,"
    ):
        study.study_universe("null", profile=SMOKE)
    monkeypatch.setattr(study, "load_needed", lambda name, needed_for: SpectrumNetwork())
    with pytest.raises(CheckpointError, match=r"needs the trained weights of spectra-limits,"):
        study.study_universe("null", profile=SMOKE)


def recorded(monkeypatch):
    """Return a list of what is trained, in order: copies of the network, task, schedule, seed."""
    found = []
    own = study.trained

    def trained(model, task, schedule, *, profile):
        start = copy.deepcopy(model)
        result = own(model, task, schedule, profile=profile)
        found.append((start, task, schedule, profile, copy.deepcopy(result)))
        return result

    monkeypatch.setattr(study, "trained", trained)
    return found


def same_weights(one, other):
    left, right = one.state_dict(), other.state_dict()
    return all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize("name", ["null", "gradient 1"])
def test_every_universe_trains_limits_and_inference_alike(name, untrained, monkeypatch):
    steps = recorded(monkeypatch)
    study.study_universe(name, profile=SMOKE)
    assert [type(task).__name__ for _, task, *_ in steps] == ["LimitsTask", "SpectrumTask"]
    limits, inference = steps
    # The limits go on from the package's, and their oracle is who teaches the network.
    assert same_weights(limits[0], study.pretrained_limits())
    assert not same_weights(limits[4], limits[0])
    assert same_weights(inference[1].oracle, limits[4].networks["oracle"])
    # What infers begins anew, as that oracle, and the cut stays as it is.
    package = study.load_needed("spectra", needed_for="a test")
    assert not bool(inference[0].started) and bool(inference[4].started)
    found = inference[4].inference.whitened(inference[1].table).double()
    assert torch.allclose(found.mean(0), torch.zeros(found.shape[1]).double(), atol=0.2)
    assert same_weights(inference[4].measurement, package.measurement)


def test_universes_draw_other_galaxies_than_the_package_was_trained_on(untrained, monkeypatch):
    steps = recorded(monkeypatch)
    study.study_universe("gradient 1", profile=SMOKE)
    home = study.LimitsTask(GalaxySimulator(), size=64, n_validation=8)
    assert not torch.isclose(steps[0][1].targets, home.targets).all(1).any()


def test_seeds_train_what_infers_on_one_table(untrained, monkeypatch):
    steps = recorded(monkeypatch)
    found = study.study_seeds(3, profile=SMOKE)
    assert list(found) == ["0", "1", "2"]
    # The first is the package's, which is not trained again.
    assert [profile.seed for *_, profile, _ in steps] == [1, 2]
    assert not any(bool(start.started) for start, *_ in steps), "trained from the start"
    assert steps[0][1] is steps[1][1]
    assert found["1"]["rmse"] != found["2"]["rmse"]
    assert len({scores["rmse_oracle"] for scores in found.values()}) == 1
    again = study.study_seeds(2, profile=SMOKE)
    assert again == {seed: found[seed] for seed in ("0", "1")}


def test_no_seed_is_refused():
    with pytest.raises(ValueError, match="n must be"):
        study.study_seeds(0, profile=SMOKE)


def test_the_card_of_the_seeds_has_a_row_each(tmp_path, monkeypatch):
    monkeypatch.setattr(
        study, "study_seeds", lambda n, *, profile: {str(k): {"rmse": float(k)} for k in range(n)}
    )
    path = study.make_seeds(tmp_path, command="a command", profile=SMOKE)
    card = json.loads(path.read_text())
    assert path == tmp_path / f"{study.SEEDS_CARD}.json"
    assert card["seeds"] == {str(k): {"rmse": float(k)} for k in range(3)}
    assert (card["command"], card["profile"]) == ("a command", "smoke")


def test_published_networks_are_compared_on_the_same_galaxies():
    found = study.compare_published(("simple",), seeds=(0, 1), profile=SMOKE)["simple"]
    again = study.compare_published(("simple",), seeds=(1,), profile=SMOKE)["simple"]
    first, second = found["rmse"]
    assert first != second
    # A seed gives what it gives, whichever other seeds are asked for.
    assert again["rmse"] == [second]
    assert again["constant"] == found["constant"] > 0
    assert found["seeds"] == [0, 1]


def test_the_card_of_the_published_networks_has_a_row_each(tmp_path, monkeypatch):
    rows = {"simple": {"rmse": [0.9], "constant": 1.0, "seeds": [0]}}
    monkeypatch.setattr(study, "compare_published", lambda *, profile: rows)
    path = study.make_published(tmp_path, command="a command", profile=SMOKE)
    assert json.loads(path.read_text())["networks"] == rows


def test_a_universe_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of null, .* got 'gradient 2'"):
        study.study_universe("gradient 2", profile=SMOKE)
