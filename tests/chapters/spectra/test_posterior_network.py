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


def correlated(n=4000, seed=3):
    """Return four numbers of which two are nearly the same, as magnitudes of two bands are."""
    rows = table(n, seed)
    rows[:, 3] = 2 * rows[:, 2] + rows[:, 3]
    return rows


def test_what_is_learned_from_has_no_correlations(network):
    rows = correlated()
    assert torch.corrcoef(rows.T)[2, 3] > 0.999
    seen = []
    network.body.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network.standardise(rows)
    network(rows)
    assert seen[0].mean(0).abs().max() < 0.01
    assert torch.allclose(torch.cov(seen[0].T), torch.eye(4), atol=0.02)
    # Of other galaxies too, nearly.
    other = network.whitened(correlated(seed=4))
    assert torch.allclose(torch.cov(other.T), torch.eye(4), atol=0.1)


def test_a_direction_of_rounding_errors_is_not_blown_up(network):
    rows = correlated()
    rows[:, 3] = 2 * rows[:, 2]
    network.standardise(rows)
    found = network.whitened(rows)
    assert bool(found.isfinite().all())
    # Three directions are there, and the fourth is next to nothing.
    spread = found.std(0).sort().values
    assert float(spread[0]) < 0.1 and torch.allclose(spread[1:], torch.ones(3), atol=0.02)


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


def test_it_can_begin_as_a_network_that_knows_more():
    """The teacher's numbers follow from its own: then the answers are the teacher's."""
    torch.manual_seed(2)
    teacher, pupil = PosteriorNetwork(3, 16), PosteriorNetwork(4, 16)
    for parameter in teacher.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    own = table(2000)
    other = own[:, :3] * torch.tensor([1.0, -2.0, 0.1]) + own[:, 3:]
    teacher.standardise(other)
    pupil.standardise(own)
    pupil.start_as(teacher, own, other)
    for one, two in zip(pupil(own), teacher(other), strict=True):
        assert torch.allclose(one, two, atol=2e-3)
        assert one.std(0).max() > 0.02, "answers differ between galaxies"
    # Its weights are its own: the teacher does not learn with it.
    pupil.body[2].weight.data.zero_()
    assert bool(teacher.body[2].weight.any())


def test_a_teacher_of_other_galaxies_or_of_another_width_is_refused():
    pupil = PosteriorNetwork(4, 16)
    with pytest.raises(ValueError, match="own and other must be of the same galaxies, got 5 and 4"):
        pupil.start_as(PosteriorNetwork(4, 16), table(5), table(4))
    with pytest.raises(ValueError, match="teacher must have the width 16, got 8"):
        pupil.start_as(PosteriorNetwork(4, 8), table(5), table(5))


def test_the_covariance_does_not_bend_the_features(network):
    network.standardise(table())
    _, factor = network(table())
    factor.square().sum().backward()
    assert all(p.grad is None or not bool(p.grad.any()) for p in network.body.parameters())
    assert all(bool(p.grad.any()) for p in network.head.covariance.parameters())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.zeros(5, 3), r"table must be \(N, 4\) with two rows or more, got \(5, 3\)"),
        (torch.zeros(1, 4), r"two rows or more, got \(1, 4\)"),
        (torch.full((5, 4), torch.nan), "table must be finite"),
    ],
)
def test_a_table_that_has_no_units_is_refused(network, rows, message):
    with pytest.raises(ValueError, match=message):
        network.standardise(rows)
