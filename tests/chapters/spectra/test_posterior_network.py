"""A perceptron on a table of numbers: units taken from a table, far numbers held in."""

import pytest
import torch

from skytutor.chapters.spectra.posterior_network import PosteriorNetwork


@pytest.fixture
def network():
    """Return a network with answers of its own: an untrained head gives the prior."""
    torch.manual_seed(0)
    model = PosteriorNetwork(4, 16)
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def table(n=400, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=rng) * torch.tensor([1e-3, 1, 30, 1]) + 5


def test_each_number_is_brought_to_mean_0_and_deviation_1(network):
    seen = []
    network.body.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network.standardise(table())
    network(table())
    assert seen[0].mean(0).abs().max() < 2e-3
    assert torch.allclose(seen[0].std(0), torch.ones(4), atol=2e-3)


def test_the_answer_does_not_depend_on_the_units_of_the_table(network):
    rows = table()
    network.standardise(rows)
    mean, factor = network(rows)
    network.standardise(rows * 100 + 7)
    again, same = network(rows * 100 + 7)
    assert mean.std(0).min() > 1e-3, "answers differ between galaxies"
    assert torch.allclose(mean, again, atol=1e-2) and torch.allclose(factor, same, atol=1e-2)


def test_a_number_that_never_changes_does_no_harm(network):
    rows = table()
    rows[:, 1] = 3
    network.standardise(rows)
    mean, factor = network(rows)
    assert mean.isfinite().all() and factor.isfinite().all()
    # What leaves the constant later is far out, and no farther than anything else.
    other = rows.clone()
    other[:, 1] = 4
    farther = rows.clone()
    farther[:, 1] = 1e6
    assert torch.equal(network(other)[0], network(farther)[0])


def test_a_number_far_out_is_taken_for_six_standard_deviations(network):
    rows = torch.zeros(4, 4)
    rows[:, 0] = torch.tensor([6.0, 1e9, -6.0, 5.0])
    mean, _ = network(rows)
    assert torch.equal(mean[0], mean[1])
    assert not torch.allclose(mean[0], mean[3])
    assert not torch.allclose(mean[0], mean[2])


def test_units_are_those_of_the_table_however_far_out_a_number_lies(network):
    rows = table()
    network.standardise(rows)
    found = network.in_units(rows)
    assert torch.allclose(found, (rows - rows.mean(0)) / rows.std(0), atol=1e-4)
    # Held in for the answer alone: what is unusual can still be seen.
    far = rows[:1] + 50 * rows.std(0)
    assert torch.allclose(network.in_units(far) - found[:1], torch.full((1, 4), 50.0), rtol=1e-3)


def test_the_head_answers_from_the_features(network):
    rows = table()
    network.standardise(rows)
    features = network.features(rows)
    assert features.shape == (400, 16)
    for one, other in zip(network(rows), network.head(features), strict=True):
        assert torch.equal(one, other)


def test_units_are_kept_with_the_weights(network):
    network.standardise(table())
    other = PosteriorNetwork(4, 16)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(table(seed=1))[0], network(table(seed=1))[0])


def test_an_untrained_network_answers_with_the_prior():
    mean, factor = PosteriorNetwork(4, 16)(table())
    # About standardised targets nothing is known: standard deviations of 1, no correlations.
    assert torch.allclose(factor, torch.eye(9).expand_as(factor), atol=1e-5)
    assert mean.abs().max() < 5
