"""Studies at the size of smoke: what they train, score and write."""

import copy
import json

import pytest
import torch

from skytutor.chapters.spectra import study, targets
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.files import CheckpointError
from skytutor.training.profile import Profile

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
    network = SpectrumNetwork(channels=(4, 4, 4, 4), hidden=8)
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


def test_a_universe_says_which_weights_are_needed():
    with pytest.raises(CheckpointError, match="needs the trained weights of spectra"):
        study.study_universe("null", profile=SMOKE)


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
