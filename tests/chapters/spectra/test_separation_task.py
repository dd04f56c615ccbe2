"""Training of the cut into components: galaxies drawn anew, repeatable, scored as it says."""

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.spectra import separation_task
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.separation import RED, light_loss, separation_loss
from skytutor.chapters.spectra.separation_task import SeparationTask, separation_scores
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def task(untrained_autoencoder):
    return SeparationTask(GalaxySimulator(), size=8, n_validation=20)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MeasurementNetwork(channels=(4, 4, 8, 8))


def test_a_batch_follows_from_its_draws_and_no_two_batches_are_alike(task):
    generator = rng()
    draws = task.draw(4, generator=generator)
    images, components = task.batch(torch.arange(4), draws)
    again, parts = task.batch(torch.arange(4, 8), draws)
    assert torch.equal(images, again) and torch.equal(components, parts)
    # The components are the r band without its noise.
    away = components.sum(1) - images[:, RED]
    assert float(away.std()) == pytest.approx(SKY_NOISE[RED], rel=0.05)
    new, _ = task.batch(torch.arange(4), task.draw(4, generator=generator))
    assert not torch.equal(images, new)
    # Nor is it the validation set's.
    assert not torch.equal(images[0], task.validation[0][0])


def test_the_loss_adds_what_is_wrong_with_the_fractions_and_with_the_light(task, network):
    network.eval()
    images, components = task.validation
    with torch.no_grad():
        loss = float(task.loss(network, (images, components)))
        cut = network.separate(images)
    apart = float(separation_loss(cut.fractions, components).mean())
    wrong = float(light_loss(cut.light, components).mean())
    assert loss == pytest.approx(apart + 0.1 * wrong, rel=1e-4)


def test_the_loss_falls_on_a_batch_that_is_learned_by_heart(task, network):
    batch = task.batch(torch.arange(8), task.draw(8, generator=rng()))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = task.loss(network, batch)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_validation_scores_what_the_loss_trains(task, network):
    network.eval()
    with torch.no_grad():
        found = task.validate(network)
        loss = float(task.loss(network, task.validation))
    assert found["minus_loss"] == pytest.approx(-loss, rel=1e-4) and task.score == "minus_loss"


def test_scores_are_means_over_galaxies_whatever_the_chunks(task, network, monkeypatch):
    network.eval()
    images, components = task.validation
    with torch.no_grad():
        cut = network.separate(images)
        whole = separation_scores(network, images, components)
        monkeypatch.setattr(separation_task, "_ROWS", 7)
        parts = separation_scores(network, images, components)
    wanted = {
        "separation": float(separation_loss(cut.fractions, components).mean()),
        "light": float(light_loss(cut.light, components).mean()),
    }
    assert whole == pytest.approx(wanted, rel=1e-4) and parts == pytest.approx(wanted, rel=1e-4)


def test_the_recipe_scores_beside_what_does_not_look(task):
    recipe = chapters.get("spectra-separation")
    found = recipe.score(chapters.load_pretrained(recipe), seed=3, size=40)
    assert found.size == 40 and set(found.scores) == set(found.constant)
    # The picture as it is, and the mean galaxy's fractions in every pixel.
    assert found.constant["light"] == pytest.approx(1, abs=0.05)
    assert 0.05 < found.constant["separation"] < 1
    for name, value in found.scores.items():
        assert value < 0.1 * found.constant[name]
    # Galaxies are drawn from the number of the test.
    again = recipe.score(chapters.load_pretrained(recipe), seed=3, size=40)
    other = recipe.score(chapters.load_pretrained(recipe), seed=4, size=40)
    assert again.scores == found.scores != other.scores
