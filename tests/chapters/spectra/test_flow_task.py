"""The flow on top of a trained network: what it trains, what it leaves, what it samples."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from skytutor import chapters
from skytutor.chapters.spectra import flow_task, scores
from skytutor.chapters.spectra.flow_task import FlowTask, SpectrumFlow, sampler
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.targets import N_TARGETS
from skytutor.data.galaxies import GalaxySimulator


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    simulator = GalaxySimulator()
    return simulator.images(simulator.draw(6, generator=rng()), generator=rng(1))


@pytest.fixture
def trunk():
    """Return a network with answers of its own: an untrained head gives the prior."""
    torch.manual_seed(0)
    network = SpectrumNetwork(channels=(4, 4, 4, 4), width=8)
    for parameter in network.inference.head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture
def task(untrained_autoencoder, trunk):
    return FlowTask(GalaxySimulator(), trunk.measurement, size=8, n_validation=12, seed=3)


def test_the_network_below_is_neither_trained_nor_saved(trunk, task):
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    model = SpectrumFlow(trunk)
    own = sum(value.numel() for value in model.state_dict().values())
    alone = sum(value.numel() for value in model.flow.state_dict().values())
    assert own == alone, "the trunk's weights are not saved again"
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    head = {name: value.clone() for name, value in model.flow.base.state_dict().items()}
    task.loss(model, task.batch(torch.arange(4), task.draw(4, generator=rng()))).backward()
    optimiser.step()
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    assert all(torch.equal(value, head[name]) for name, value in model.flow.base.named_parameters())
    assert any(bool(p.grad.any()) for p in model.flow.velocity.parameters() if p.grad is not None)


def test_an_untrained_flow_samples_the_gaussian_it_starts_from(trunk, images):
    """Its last layer is zero: what is drawn is the posterior of the head below."""
    model = SpectrumFlow(trunk).eval()
    drawn = model.sample(images, 4000, generator=rng(2))
    with torch.no_grad():
        mean, factor = trunk.eval()(images)
    wanted = MultivariateNormal(mean, scale_tril=factor)
    spread = wanted.stddev
    assert ((drawn.mean(1) - mean).abs() < 5 * spread / 4000**0.5).all()
    assert torch.allclose(drawn.std(1), spread, rtol=0.06)
    again = model.sample(images, 4000, generator=rng(2))
    assert torch.equal(drawn, again)


def test_the_loss_is_given_what_the_network_below_makes_of_a_table(trunk, task, images):
    model = SpectrumFlow(trunk).eval()
    table, wanted = task.batch(torch.arange(8), [])
    with torch.no_grad():
        features = trunk.inference.features(table)
        direct = model.flow.loss(wanted, features, draws=8, generator=rng(3))
        assert torch.equal(model(table, wanted, rng(3)), direct)
        # Images and what is measured in them give the same features.
        measured = trunk.measurement(images)
        assert torch.equal(model.features(images), trunk.inference.features(measured))


def test_validation_repeats_itself(trunk, task):
    model = SpectrumFlow(trunk).eval()
    with torch.no_grad():
        first, again = task.validate(model), task.validate(model)
    assert first == again and first["minus_loss"] == -first["loss"]
    assert first["loss"] > 0 and task.score == "minus_loss"


def test_a_flow_is_scored_by_its_samples(trunk, task, monkeypatch):
    torch.manual_seed(1)
    limits = LimitNetworks().eval()
    monkeypatch.setattr(scores, "pretrained_limits", lambda: limits)
    monkeypatch.setattr(flow_task, "_SAMPLES", 20)
    model = SpectrumFlow(trunk).eval()
    found = chapters.get("spectra-flow").score(model, seed=0, size=30)
    assert found.size == 30 and found.limit["rmse"] == found.scores["rmse_oracle"]
    mean, samples = sampler(model, seed=3)(torch.zeros(2, 5, 64, 64))
    assert samples.shape == (2, 20, N_TARGETS) and torch.equal(mean, samples.mean(1))
