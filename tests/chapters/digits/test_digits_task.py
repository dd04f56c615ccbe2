"""Chapter 1's tasks and scores: what is drawn for training, validation and test."""

import math
from dataclasses import replace

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.digits.recipes import RECIPES, ROTATED, UPRIGHT
from skytutor.chapters.digits.scores import predict_digits
from skytutor.chapters.digits.task import DigitsTask
from skytutor.data import digits, projection
from skytutor.data.projection import SphereProjection
from skytutor.training.profile import Profile

SMOKE = Profile("smoke", torch.device("cpu"), 0)


real_load = digits.load


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_its_task_and_its_network_fit(recipe, asked):
    """One step on the smoke data: finite loss, gradients everywhere, no look at the test split."""
    task = recipe.task(SMOKE)
    model = chapters.network(recipe)
    g = torch.Generator().manual_seed(0)
    batch = task.batch(torch.arange(4), task.draw(4, generator=g))
    loss = task.loss(model.train(), batch)
    loss.backward()
    assert math.isfinite(loss.detach())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert set(asked) == {"train", "validation"}


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
    chapters.get(name).score(model, seed=seed, size=size, source=None)
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
    rotations = [projection.random_rotations(20, generator=torch.Generator().manual_seed(1))]
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bar"),
    [("digits-fixed", 0.985), ("digits-rotated", 0.98), ("digits-invariant", 0.975)],
)
def test_the_pretrained_weights_score_what_they_should(mnist, name, bar):
    """2,000 test digits, drawn anew: within the noise of the card's score."""
    found = chapters.evaluate(chapters.get(name), seed=11, size=2000)
    assert found["scores"]["accuracy"] >= bar and found["constant"]["accuracy"] < 0.13


@pytest.mark.slow
def test_the_invariant_network_gives_turned_digits_the_answers_it_gives_upright_ones(mnist):
    """Trained upright; of 1,000 test digits, those named alike upright and in two random poses."""
    model = chapters.load_pretrained(chapters.get("digits-invariant"))
    images = digits.load("mnist").part("test")[0][:1000]
    upright, turned, again = (
        predict_digits(sky, model, images, seed=seed)
        for sky, seed in ((UPRIGHT, 0), (ROTATED, 1), (ROTATED, 2))
    )
    same = ((upright == turned) & (turned == again)).float().mean()
    print(f"same answer: {same:.4f}")
    assert same >= 0.98
