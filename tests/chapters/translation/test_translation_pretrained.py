"""The weights of chapter 5 that come with the package: as good as their cards, and no better."""

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.translation.answers import answers_on
from skytutor.chapters.translation.bridge import BandBridge
from skytutor.chapters.translation.scores import decibels
from skytutor.chapters.translation.source_scores import flux_errors
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS
from skytutor.chapters.translation.translations import by_network, by_oracle, pretrained_oracle
from skytutor.data.bands import SceneSimulator

N = 30  # scenes: enough for two decibels


@pytest.fixture(scope="module")
def answers():
    """Fluxes (N,) in r and answers of all networks, on scenes of their own."""
    simulator = SceneSimulator()
    plates = PUBLISHED["plates"]
    bridge = chapters.load_pretrained("bands-flow")
    pair = chapters.load_pretrained("bands-pix2pix")
    assert isinstance(bridge, BandBridge)
    translations = {
        "bands": by_network(chapters.load_pretrained("bands"), plates, TARGETS),
        "bands-flux": by_network(chapters.load_pretrained("bands-flux"), plates, TARGETS),
        "bands-sources": by_network(chapters.load_pretrained("bands-sources"), plates, TARGETS),
        "bands-flow": lambda batch: bridge.predict(batch.seen.images, batch.seen.ivar, n_samples=4),
        "bands-pix2pix": lambda batch: pair.predict(batch.seen.images, batch.seen.ivar),
        "oracle": by_oracle(simulator, pretrained_oracle(), plates, TARGETS),
    }
    seed = SEEDS.test_seed(7)
    sources, found = answers_on(simulator, translations, targets=TARGETS, n=N, seed=seed)
    return sources.flux[:, simulator.bands.index("r")], found


NAMES = ["bands", "bands-flux", "bands-sources", "bands-flow", "bands-pix2pix"]


@pytest.mark.parametrize("name", NAMES)
def test_a_translation_is_as_good_as_its_card_says_and_no_better_than_the_oracle(answers, name):
    _, found = answers
    card = chapters.card(chapters.get(name))["test"]["scores"]
    psnr = decibels(found[name].squares)
    assert psnr == pytest.approx(card["psnr"], abs=2.0)
    assert psnr < decibels(found["oracle"].squares) - 5


def test_the_loss_on_sources_gives_stars_their_light_back(answers):
    truth, found = answers
    biases = {name: flux_errors(found[name].flux[:, 1], truth).bias for name in found}
    assert biases["bands"] < -0.1
    assert abs(biases["bands-flux"]) < 0.1
    assert abs(biases["oracle"]) < 0.02


def test_sources_that_are_measured_have_nearly_the_fluxes_of_the_oracle(answers):
    truth, found = answers
    bright = truth > truth.median()
    one, best, before = (
        flux_errors(found[name].flux[bright, 1], truth[bright])
        for name in ("bands-sources", "oracle", "bands-flux")
    )
    assert abs(one.bias) < 0.02
    assert best.scatter < one.scatter < 3 * best.scatter
    assert one.scatter < 0.8 * before.scatter


def test_nothing_is_invented_but_by_the_published_pair(answers):
    _, found = answers
    made_up = {name: sum(len(one) for one in found[name].invented.values()) for name in found}
    there = sum(len(one) for one in found["oracle"].there.values())
    assert made_up["oracle"] == 0
    ours = [name for name in NAMES if name != "bands-pix2pix"]
    assert max(made_up[name] for name in ours) < 0.02 * there


@pytest.mark.parametrize("name", sorted(n for n in chapters.ENTRIES if n.startswith("bands")))
def test_checkpoints_stay_small(name):
    recipe = chapters.get(name)
    if recipe.has_weights:
        assert chapters.card(recipe)["bytes"] <= 5_000_000


def test_a_network_of_eight_bands_runs():
    network = chapters.load_pretrained("bands")
    simulator = SceneSimulator()
    rng = torch.Generator().manual_seed(0)
    seen = simulator.observe(simulator.draw(1, generator=rng), generator=rng)
    for count in range(1, 9):
        given = torch.zeros(1, 10, dtype=torch.bool)
        given[0, :count] = True
        with torch.no_grad():
            answer = network.predict(seen.images, seen.ivar, given, targets=[9])
        assert answer.shape == (1, 1, 64, 64) and torch.isfinite(answer).all()
