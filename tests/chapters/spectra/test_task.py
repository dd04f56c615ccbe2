"""Training of the inference on a kept table: what it adopts, what it leaves, how it is scored."""

import copy

import pytest
import torch

from skytutor.chapters.spectra.limits import KNOWLEDGE, LimitNetworks
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.targets import N_LATENTS
from skytutor.chapters.spectra.task import SpectrumTask, in_batches, spectrum_sizes
from skytutor.data.galaxies import GalaxySimulator
from skytutor.layers.gaussian_head import gaussian_nll
from skytutor.training.loop import train
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule

SMALL = {"channels": (4, 4, 4, 4)}
PLAN = Schedule(epochs=2, batch_size=8, lr=1e-2, weight_decay=0.1)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def simulator():
    return GalaxySimulator()


@pytest.fixture(scope="module")
def measurement():
    torch.manual_seed(3)
    return MeasurementNetwork(**SMALL)


@pytest.fixture(scope="module")
def limits():
    """Return networks whose oracle has answers of its own: an untrained head gives the prior."""
    torch.manual_seed(4)
    networks = LimitNetworks().eval()
    networks.standardise({name: torch.randn(50, size) for name, size in KNOWLEDGE.items()})
    for parameter in networks.networks["oracle"].head.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return networks


@pytest.fixture(scope="module")
def task(untrained_autoencoder, simulator, measurement, limits):
    """Return a task whose targets are latents of an untrained autoencoder."""
    return SpectrumTask(simulator, measurement, limits, size=24, n_validation=20)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SpectrumNetwork(**SMALL)


def measured(network):
    return {name: value.clone() for name, value in network.measurement.state_dict().items()}


def step(task, network, optimiser, rows):
    optimiser.zero_grad()
    loss = task.loss(network, task.batch(rows, []))
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def test_batches_are_rows_of_the_kept_table_and_of_what_the_oracle_says(task, limits):
    assert task.draw(4, generator=rng()) == []
    rows = torch.tensor([5, 2])
    table, mean, factor = task.batch(rows, [])
    assert torch.equal(table, task.table[rows])
    with torch.no_grad():
        wanted = limits.networks["oracle"](task.oracle_table)
    assert torch.allclose(mean, wanted[0][rows], atol=1e-5)
    assert torch.allclose(factor, wanted[1][rows], atol=1e-5)
    assert mean.std(0).min() > 0, "the oracle tells galaxies apart"


def test_nothing_is_learned_from_spectra(task, network):
    """Targets choose the best epoch and score; the loss does not know them."""
    before = float(task.loss(network, task.batch(torch.arange(8), [])).detach())
    kept = task.targets.clone()
    try:
        task.targets.mul_(-3)
        after = float(task.loss(network, task.batch(torch.arange(8), [])).detach())
    finally:
        task.targets.copy_(kept)
    assert before == after


def test_it_begins_as_the_oracle_on_numbers_predicted_from_its_own(task, network):
    task.loss(network, task.batch(torch.arange(8), []))
    oracle = task.oracle.body[2].state_dict()
    assert all(
        torch.equal(v, oracle[name]) for name, v in network.inference.body[2].state_dict().items()
    )
    with torch.no_grad():
        mean, _ = network.eval()(task.table)
    # 24 galaxies and more numbers than that: the regression is all but exact.
    assert (mean - task.taught[0]).abs().mean() < 0.3 * task.taught[0].std(0).mean()


def test_training_and_validation_are_other_galaxies_and_so_is_another_set(task, simulator, limits):
    assert len(task.table) == len(task.targets) == task.size == 24
    assert len(task.validation[0]) == len(task.validation[1]) == 20
    assert not torch.isclose(task.table[:20], task.validation[0]).all(1).any()
    other = SpectrumTask(simulator, task.measurement, limits, size=24, n_validation=20, seed=2)
    assert not torch.isclose(task.table, other.table).all(1).any()
    assert torch.equal(task.validation[0], other.validation[0])
    same = SpectrumTask(simulator, task.measurement, limits, size=24, n_validation=20, seed=2)
    assert torch.equal(same.table, other.table)


def test_the_network_adopts_the_measurement_and_its_units_at_the_first_loss(task, network):
    assert not bool(network.started)
    task.loss(network, task.batch(torch.arange(8), []))
    assert bool(network.started)
    wanted = task.measurement.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in measured(network).items())
    # Of the whole table, not of a batch.
    assert torch.equal(network.inference.centre, task.table.mean(0))


def test_the_network_adopts_once(task, network, monkeypatch):
    adopted = []
    own = network.adopt
    monkeypatch.setattr(network, "adopt", lambda *parts: (adopted.append(1), own(*parts)))
    for rows in (torch.arange(8), torch.arange(8, 16)):
        task.loss(network, task.batch(rows, []))
    assert adopted == [1]


def test_a_state_that_has_started_is_not_adopted_over(task, network, measurement):
    """As of a run that goes on, or of trained weights that are trained on."""
    table = task.table * 2
    torch.manual_seed(9)
    network.adopt(MeasurementNetwork(**SMALL), table)
    state = copy.deepcopy(network.state_dict())
    resumed = SpectrumNetwork(**SMALL)
    resumed.load_state_dict(state)
    task.loss(resumed, task.batch(torch.arange(8), []))
    assert all(torch.equal(value, state[name]) for name, value in resumed.state_dict().items())
    first = next(iter(measurement.parameters()))
    assert not torch.equal(next(iter(resumed.measurement.parameters())), first)


def test_a_step_trains_the_inference_and_leaves_the_measurement_bit_for_bit(task, network):
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    step(task, network, optimiser, torch.arange(8))
    before = measured(network)
    units = (network.inference.centre.clone(), network.inference.scale.clone())
    inferred = [parameter.clone() for parameter in network.inference.parameters()]
    for _ in range(3):
        step(task, network, optimiser, torch.arange(8))
    # Weights, and batch statistics too: all of the state.
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, before[name]) for name, value in measured(network).items())
    assert torch.equal(network.inference.centre, units[0])
    assert torch.equal(network.inference.scale, units[1])
    after = network.inference.parameters()
    assert all(not torch.equal(one, other) for one, other in zip(inferred, after, strict=True))


def test_a_training_in_the_loop_of_every_chapter_keeps_the_measurement(task, network, tmp_path):
    """With decay of weights, and an evaluation after each epoch."""
    options = {"folder": tmp_path / "run", "seed": 0, "progress": False}
    train(network, task, schedule=PLAN, **options)
    assert bool(network.started)
    wanted = task.measurement.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in measured(network).items())
    with torch.no_grad():
        for images in (torch.zeros(1, 5, 64, 64), torch.ones(1, 5, 64, 64)):
            assert torch.equal(network.eval().measurement(images), task.measurement(images))


def test_batches_join_to_the_whole(network, simulator):
    network.eval()
    images = simulator.images(simulator.draw(7, generator=rng()), generator=rng(1))
    with torch.no_grad():
        mean, factor = in_batches(network, images, batch=3)
        whole = network(images)
    assert torch.allclose(mean, whole[0], atol=1e-5) and torch.allclose(factor, whole[1], atol=1e-5)


def test_validation_scores_the_latents_and_the_likelihood_of_all(task, network):
    task.loss(network, task.batch(torch.arange(8), []))
    network.eval()
    with torch.no_grad():
        found = task.validate(network)
        table, wanted = task.validation
        mean, factor = network(table)
    error = (mean - wanted)[:, :N_LATENTS]
    assert found["rmse"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-5)
    assert found["minus_rmse"] == -found["rmse"] and task.score == "minus_rmse"
    nll = float(gaussian_nll(wanted, mean, factor).mean())
    assert found["nll"] == pytest.approx(nll, rel=1e-5)


def test_the_loss_falls_on_a_batch_that_is_learned_by_heart(task, network):
    task.loss(network, task.batch(torch.arange(8), []))
    # It began as the oracle, which leaves little to learn here.
    torch.nn.init.normal_(network.inference.head.mean.weight, std=1.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = [step(task, network, optimiser, torch.arange(8)) for _ in range(60)]
    assert losses[-1] < losses[0] - 1, "a nat at least"


def test_a_larger_profile_has_a_larger_table():
    profiles = (Profile(name, torch.device("cpu"), 0) for name in ("smoke", "cpu", "gpu"))
    sizes = [spectrum_sizes(profile) for profile in profiles]
    assert sizes == sorted(sizes) and sizes[-1][0] >= 50_000
