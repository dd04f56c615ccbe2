"""Weights that one recipe needs of another: what is said where they are not."""

import pytest
import torch

from skytutor import chapters
from skytutor.chapters import weights
from skytutor.chapters.spectra import flow_task, recipes, scores
from skytutor.chapters.spectra.flow_task import SpectrumFlow
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.files import CheckpointError
from skytutor.training.checkpoint import pretrained_folder
from skytutor.training.profile import Profile

SMOKE = Profile("smoke", torch.device("cpu"), 0)


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """Put an empty folder in the place of the package's checkpoints."""
    monkeypatch.setattr(weights, "pretrained_folder", lambda: tmp_path)
    scores.pretrained_limits.cache_clear()
    yield tmp_path
    scores.pretrained_limits.cache_clear()


def test_what_is_not_here_is_named_with_the_command_that_trains_it(empty):
    with pytest.raises(CheckpointError) as caught:
        weights.load_needed("spectra", needed_for="a test")
    said = str(caught.value)
    assert said.startswith("a test needs the trained weights of spectra")
    assert f"which are not in {empty}. Train them first" in said
    assert "`skytutor train spectra --profile gpu`" in said


@pytest.mark.parametrize(
    "name", ["spectrum-autoencoder", "spectra-limits", "spectra-separation", "spectra"]
)
def test_what_is_here_is_loaded(name):
    found = weights.load_needed(name, needed_for="a test")
    wanted = chapters.load_pretrained(name).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in found.state_dict().items())
    assert not found.training


def test_the_flow_asks_for_the_network_below_it(empty):
    with pytest.raises(CheckpointError, match=r"recipe spectra-flow needs .* weights of spectra,"):
        chapters.network(chapters.get("spectra-flow"))


def test_the_flow_starts_from_the_network_below_it(monkeypatch):
    below = SpectrumNetwork(channels=(4, 4, 4, 4), width=8)
    monkeypatch.setattr(flow_task, "load_needed", lambda name, needed_for: below)
    model = chapters.network(chapters.get("spectra-flow"))
    assert isinstance(model, SpectrumFlow)
    wanted = below.inference.head.state_dict()
    found = model.flow.base.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def without(name, folder):
    """Put the package's checkpoints but one in a folder."""
    for path in pretrained_folder().glob("spectr*"):
        if path.stem != name:
            (folder / path.name).symlink_to(path)


@pytest.mark.parametrize(
    ("task", "recipe", "missing"),
    [
        (recipes._task, "spectra", "spectra-separation"),
        (flow_task._task, "spectra-flow", "spectra"),
    ],
)
def test_a_training_asks_for_what_it_measures_with(task, recipe, missing, empty):
    without(missing, empty)
    with pytest.raises(CheckpointError, match=rf"recipe {recipe} needs .* weights of {missing},"):
        task(SMOKE)


@pytest.mark.parametrize("task", [recipes._task, flow_task._task])
def test_a_training_that_could_not_be_scored_is_not_begun(task, empty):
    with pytest.raises(CheckpointError, match=r"score beside the limits needs .* spectra-limits,"):
        task(SMOKE)
