"""skytutor.chapters.translation.task: what a step is made of."""

import pytest
import torch

from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.stretch import stretched
from skytutor.chapters.translation.task import BandsTask, dihedral
from skytutor.data.bands import SceneSimulator


@pytest.fixture(scope="module")
def task():
    return BandsTask(SceneSimulator(size=16), size=6, n_validation=2)


def test_eight_ways_to_turn_an_image_are_eight():
    image = torch.arange(9).reshape(3, 3)
    assert len({tuple(dihedral(image, k).flatten().tolist()) for k in range(8)}) == 8


def test_a_scene_is_the_same_in_whichever_batch_it_stands(task):
    drawn = task.draw(4, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([3, 1, 4, 0])
    together = task.batch(rows, drawn)
    alone = task.batch(rows[2:], [drawn[0][2:]])
    for whole, part in zip(together[:4], alone[:4], strict=True):
        assert torch.equal(whole[2:], part)


def test_every_step_has_another_noise_and_the_same_truth(task):
    rows = torch.zeros(2, dtype=torch.long)
    drawn = task.draw(2, generator=torch.Generator().manual_seed(1))
    drawn[0][:, 1] = 0.0  # not turned
    images, _, truth, _, _ = task.batch(rows, drawn)
    assert torch.equal(truth[0], truth[1]) and torch.equal(truth[0], task.truth[0])
    assert not torch.equal(images[0], images[1])


def test_four_bands_are_asked_for_and_in_half_of_the_steps_the_published_are_among_them(task):
    rng = torch.Generator().manual_seed(2)
    published = 0
    for _ in range(200):
        _, _, _, given, targets = task.batch(torch.zeros(1).long(), task.draw(1, generator=rng))
        assert len(set(targets.tolist())) == 4 and given.shape == (1, 10)
        published += {2, 3, 4} <= set(targets.tolist())
    assert 80 < published < 140


def test_the_loss_is_that_of_bands_that_are_not_given(task):
    network = BandTranslator(size=16)  # answers nothing before it is trained
    drawn = task.draw(3, generator=torch.Generator().manual_seed(3))
    images, ivar, truth, _, targets = task.batch(torch.arange(3), drawn)
    given = torch.ones(3, 10, dtype=torch.bool)
    given[0, targets[1]] = False
    loss = task.loss(network, (images, ivar, truth, given, targets))
    band = int(targets[1])
    wanted = stretched(truth[:1, [band]], network.softening[[band]]).abs().mean()
    assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-5)
    nothing = task.loss(network, (images, ivar, truth, torch.ones_like(given), targets))
    assert float(nothing.detach()) == 0


def test_validation_scores_both_ends_of_the_published_choices(task):
    network = BandTranslator(size=16).eval()
    with torch.no_grad():
        found = task.validate(network)
    assert found["psnr"] == found["psnr_plates"] == pytest.approx(found["psnr_all"])
