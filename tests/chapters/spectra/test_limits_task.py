"""Training of the limits: who learns from spectra, who from whose answers."""

import pytest
import torch

from skytutor.chapters.spectra.limits import KNOWLEDGE, LimitNetworks
from skytutor.chapters.spectra.limits_task import LimitsTask, limit_sizes
from skytutor.data.galaxies import GalaxySimulator
from skytutor.layers.gaussian_head import gaussian_loss
from skytutor.training.profile import Profile

PUPILS = [name for name in KNOWLEDGE if name != "noiseless"]


@pytest.fixture(scope="module")
def task(untrained_autoencoder):
    """Return a task whose targets are latents of an untrained autoencoder."""
    return LimitsTask(GalaxySimulator(), size=60, n_validation=30)


@pytest.fixture
def networks():
    """Return networks with answers of their own: an untrained head gives the prior."""
    torch.manual_seed(1)
    found = LimitNetworks()
    for network in found.networks.values():
        for parameter in network.head.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return found


def gradients(networks, loss):
    networks.zero_grad()
    loss.backward()
    return {
        name: torch.cat([p.grad.flatten() for p in network.parameters()])
        for name, network in networks.networks.items()
    }


def test_a_batch_has_targets_and_the_numbers_of_the_same_galaxies(task):
    rows = torch.tensor([7, 3])
    wanted, *columns = task.batch(rows, task.draw(2, generator=torch.Generator()))
    assert torch.equal(wanted, task.targets[rows])
    for name, column in zip(KNOWLEDGE, columns, strict=True):
        assert torch.equal(column, task.by_knowledge[name][rows])


def test_units_are_taken_from_the_whole_table_at_the_first_loss(task, networks):
    assert not bool(networks.started)
    task.loss(networks, task.batch(torch.arange(8), []))
    assert bool(networks.started)
    oracle = networks.networks["oracle"]
    assert torch.equal(oracle.centre, task.by_knowledge["oracle"].mean(0))


def test_spectra_teach_the_teacher_alone(task, networks):
    """Other targets change the gradient of the noiseless network and no other."""
    batch = task.batch(torch.arange(20), [])
    first = gradients(networks, task.loss(networks, batch))
    second = gradients(networks, task.loss(networks, (batch[0] + 1, *batch[1:])))
    assert not torch.allclose(first["noiseless"], second["noiseless"])
    for name in PUPILS:
        assert torch.equal(first[name], second[name])
        assert bool(first[name].any()), f"{name} learns"


def test_pupils_do_not_move_their_teacher(task, networks):
    batch = task.batch(torch.arange(20), [])
    found = gradients(networks, task.loss(networks, batch))["noiseless"]
    answer = networks.networks["noiseless"](batch[-1])
    alone = gaussian_loss(batch[0], *answer, beta=0.5).mean() / len(KNOWLEDGE)
    wanted = gradients(networks, alone + 0 * sum(p.sum() for p in networks.parameters()))
    assert torch.allclose(found, wanted["noiseless"], atol=1e-6)


def test_a_pupil_that_answers_as_its_teacher_has_no_more_to_learn(task, networks):
    """The gradient of the means vanishes where the answers agree."""
    batch = task.batch(torch.arange(20), [])
    task.loss(networks, batch)
    mean, factor = (x.detach() for x in networks.networks["noiseless"](batch[-1]))
    own = mean.clone().requires_grad_()
    gaussian_loss(mean, own, factor, target_scale_tril=factor, beta=0.5).sum().backward()
    assert float(own.grad.abs().max()) == 0


def test_validation_scores_all_on_galaxies_that_are_not_trained_on(task, networks):
    task.loss(networks, task.batch(torch.arange(8), []))
    with torch.no_grad():
        found = task.validate(networks.eval())
    assert set(found) == {f"rmse_{name}" for name in KNOWLEDGE} | {"minus_oracle_rmse"}
    assert found["minus_oracle_rmse"] == -found["rmse_oracle"]
    assert not torch.isclose(task.validation[1], task.targets[:30]).all(1).any()


def test_a_larger_profile_has_a_larger_table():
    profiles = (Profile(name, torch.device("cpu"), 0) for name in ("smoke", "cpu", "gpu"))
    sizes = [limit_sizes(profile) for profile in profiles]
    assert sizes == sorted(sizes) and sizes[-1][0] >= 1_000_000
