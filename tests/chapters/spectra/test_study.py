"""Studies at the size of smoke: what they train, score and write."""

import copy
import json
from dataclasses import replace

import pytest
import torch

from skytutor.chapters.spectra import scores, separation_task, study, targets, weights
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.files import CheckpointError
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

SMOKE = Profile("smoke", torch.device("cpu"), 0)


@pytest.fixture(autouse=True)
def autoencoder(monkeypatch):
    """Put an untrained autoencoder in the place of the package's own."""
    torch.manual_seed(0)
    model = SpectrumAutoencoder().eval()
    monkeypatch.setattr(targets, "_autoencoder", lambda: model)
    return model


@pytest.fixture
def untrained(monkeypatch):
    """Start universes from untrained networks, small ones."""
    torch.manual_seed(1)
    limits = LimitNetworks()
    network = SpectrumNetwork(channels=(4, 4, 4, 4), width=8)
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
    with pytest.raises(CheckpointError, match=r"study of universes needs .* weights of spectra,"):
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


@pytest.mark.parametrize("cut_too", [False, True], ids=["cut kept", "cut trained on"])
def test_another_universe_trains_limits_and_inference_from_the_start(
    cut_too, untrained, monkeypatch
):
    if cut_too:
        plan = Schedule(epochs=1, batch_size=16, lr=1e-3)
        monkeypatch.setitem(study._CUT_PLANS, "smoke", plan)
        monkeypatch.setitem(study._CUT_SIZES, "smoke", (16, 16))
    else:
        monkeypatch.delitem(study._CUT_PLANS, "smoke", raising=False)
    steps = recorded(monkeypatch)
    study.study_universe("gradient 1", profile=SMOKE)
    assert steps == [], "where the weights of the package were trained nothing is"
    study.study_universe("null", profile=SMOKE)
    cuts = ["SeparationTask"] if cut_too else []
    kinds = [type(task).__name__ for _, task, *_ in steps]
    assert kinds == ["LimitsTask", *cuts, "SpectrumTask"]
    # Limits and inference see as many galaxies and know nothing before.
    limits, inference = steps[0], steps[-1]
    assert limits[1].size == inference[1].size
    assert not bool(limits[0].started) and not bool(inference[0].started)
    assert bool(limits[4].started) and bool(inference[4].started)
    # The table is what the cut measures, and the network keeps that cut.
    start = study.load_needed("spectra", needed_for="a test").measurement.state_dict()
    wanted = steps[1][4].state_dict() if cut_too else start
    kept = inference[4].measurement.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in wanted.items())
    assert cut_too == any(not torch.equal(value, kept[name]) for name, value in start.items())


def test_a_seed_trains_measurement_and_inference_from_the_start(untrained, monkeypatch):
    build = separation_task.MeasurementNetwork
    small = {"channels": (4, 4, 4, 4)}
    recipe = replace(separation_task.make_recipe(), build=lambda: build(**small))
    monkeypatch.setattr(study.separation_task, "make_recipe", lambda: recipe)
    monkeypatch.setattr(study, "SpectrumNetwork", lambda: SpectrumNetwork(**small, width=8))
    steps = recorded(monkeypatch)
    first = study.study_seed(1, profile=SMOKE)
    cut, inference = steps
    assert isinstance(cut[1], study.SeparationTask) and isinstance(inference[1], study.SpectrumTask)
    assert cut[3].seed == inference[3].seed == 1
    # It started from nothing, and adopted the measurement of its own seed.
    assert not bool(inference[0].started) and bool(inference[4].started)
    kept = inference[4].measurement.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in cut[4].state_dict().items())
    again = study.study_seed(1, profile=SMOKE)
    other = study.study_seed(2, profile=SMOKE)
    assert again == first
    # Other weights and another table, on the same galaxies.
    assert other["rmse"] != first["rmse"] and other["rmse_oracle"] == first["rmse_oracle"]
    tables = [task.table for _, task, *_ in steps if isinstance(task, study.SpectrumTask)]
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_seed_0_is_that_of_the_weights_that_come_with_the_package(untrained, monkeypatch):
    steps = recorded(monkeypatch)
    assert study.study_seed(0, profile=SMOKE) == study.study_universe("gradient 1", profile=SMOKE)
    assert steps == []


def test_the_card_of_the_seeds_has_a_row_each(tmp_path, monkeypatch):
    asked = []

    def fake(seed, *, profile):
        asked.append(seed)
        return {"rmse": float(seed)}

    monkeypatch.setattr(study, "study_seed", fake)
    path = study.make_seeds(tmp_path, command="a command", profile=SMOKE)
    card = json.loads(path.read_text())
    assert path == tmp_path / f"{study.SEEDS_CARD}.json"
    assert asked == [0, 1, 2] and card["seeds"] == {str(k): {"rmse": float(k)} for k in asked}
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
