"""The chapter's network: a measurement that it adopts, and answers inferred from it."""

import pytest
import torch

from skytutor.chapters.pretrained import load_pretrained
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.data.galaxies import GalaxySimulator

SMALL = {"channels": (4, 4, 8, 8)}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    simulator = GalaxySimulator()
    return simulator.images(simulator.draw(12, generator=rng()), generator=rng(1))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SpectrumNetwork(**SMALL, width=16).eval()


@pytest.fixture
def speaking(network):
    """Return a network with answers of its own: an untrained head gives the prior."""
    for parameter in network.inference.head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def profile(flux=100.0):
    """Return an image with the same Gaussian profile in every band, 1.5 arcsec wide."""
    place = (torch.arange(64) - 31.5) * 0.25
    shape = torch.exp(-(place**2 + place[:, None] ** 2) / 2 / 1.5**2)
    return (flux * shape / shape.sum()).expand(1, 5, -1, -1).clone()


def test_adoption_copies_the_measurement_and_takes_its_units(images, network):
    torch.manual_seed(7)
    other = MeasurementNetwork(**SMALL)
    with torch.no_grad():
        other(images)  # in training mode: batch statistics of its own
    other.eval()
    table = other(images).detach()
    assert not bool(network.started)
    assert not torch.allclose(network.measurement(images), table, atol=1e-2)
    inferred = {name: p.clone() for name, p in network.inference.named_parameters()}
    network.adopt(other, table)
    assert bool(network.started)
    assert torch.equal(network.measurement(images), table)
    assert torch.equal(network.inference.centre, table.mean(0))
    assert torch.allclose(network.inference.scale, table.std(0).clamp(min=1e-6))
    # Nothing else is touched.
    assert all(torch.equal(p, inferred[name]) for name, p in network.inference.named_parameters())


def test_what_is_adopted_is_a_copy(images, network):
    other = MeasurementNetwork(**SMALL).eval()
    network.adopt(other, other(images).detach())
    before = network.measurement(images)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(network.measurement(images), before)


def test_a_measurement_of_another_size_is_not_adopted(network):
    with pytest.raises(RuntimeError, match="size mismatch"):
        network.adopt(MeasurementNetwork(channels=(4, 4, 4, 4)), torch.zeros(2, 129))


def test_whether_it_has_started_is_kept_with_the_weights(images, network):
    network.adopt(network.measurement, network.measurement(images).detach())
    other = SpectrumNetwork(**SMALL, width=16).eval()
    other.load_state_dict(network.state_dict())
    assert bool(other.started) and torch.equal(other(images)[0], network(images)[0])


def test_the_answer_to_images_is_that_to_what_is_measured_in_them(images, speaking):
    table = speaking.measurement(images)
    for one, other in zip(speaking(images), speaking(table), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(speaking.features(images), speaking.inference.features(table))
    mean, factor = speaking.inference.head(speaking.features(images))
    assert torch.equal(mean, speaking(images)[0]) and torch.equal(factor, speaking(images)[1])


def test_the_trained_network_has_the_trained_measurement():
    ours = load_pretrained("spectra")
    below = load_pretrained("spectra-separation").state_dict()
    assert bool(ours.started)
    assert all(torch.equal(v, below[name]) for name, v in ours.measurement.state_dict().items())


def test_an_untrained_network_answers_with_the_prior(images, network):
    _, factor = network(images)
    # About standardised targets nothing is known: standard deviations of 1, no correlations.
    assert torch.allclose(factor, torch.eye(9).expand_as(factor), atol=1e-5)


def test_each_galaxy_is_answered_by_itself(images, speaking):
    mean, factor = speaking(images)
    alone, _ = speaking(images[3:4])
    assert torch.allclose(mean[3:4], alone, atol=1e-4)
    other, _ = speaking(images.flip(0))
    assert torch.allclose(other.flip(0), mean, atol=1e-4)
    assert torch.equal(factor, factor.tril()) and (factor.diagonal(dim1=1, dim2=2) > 0).all()


def test_every_weight_of_the_inference_learns_from_a_table_and_none_of_the_measurement(
    images, network
):
    table = network.measurement(images).detach()
    network.adopt(network.measurement, table)
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    # The covariance starts at zero: what lies below waits for a step.
    for _ in range(3):
        optimiser.zero_grad()
        mean, factor = network(table)
        (mean.square().mean() + (factor - 0.5).square().mean()).backward()
        optimiser.step()
    assert [name for name, p in network.inference.named_parameters() if not p.grad.any()] == []
    assert all(parameter.grad is None for parameter in network.measurement.parameters())


def test_the_answer_depends_on_every_pixel_and_through_the_cut_too(images, speaking):
    cuts = []
    speaking.measurement.separation.register_forward_hook(
        lambda module, inputs, output: cuts.extend(output)
    )
    pixels = images[:2].clone().requires_grad_()
    answer = speaking(pixels)[0].sum()
    of_pixels, of_fractions, of_light = torch.autograd.grad(answer, [pixels, *cuts])
    for gradient in (of_pixels, of_fractions, of_light):
        assert gradient.isfinite().all() and (gradient != 0).float().mean() > 0.9


def test_extreme_images_have_finite_answers(speaking):
    for flux in (0.0, -100.0, 1e7):
        mean, factor = speaking(profile(flux))
        assert bool(mean.isfinite().all()) and bool(factor.isfinite().all())


def test_half_precision_leaves_the_answer_nearly_as_it_is(images, network):
    with torch.no_grad():
        full, _ = network(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, factor = network(images)
    assert half.dtype == torch.float32 and factor.dtype == torch.float32
    assert (half - full).abs().max() < 0.05 * max(1.0, float(full.abs().max()))


@pytest.mark.parametrize("shape", [(2, 4, 64, 64), (2, 5, 62, 62), (2, 5, 64, 62), (5, 64, 64)])
def test_images_of_another_shape_are_refused(network, shape):
    with pytest.raises(ValueError, match=r"images must be \(B, 5, 64, 64\), got"):
        network(torch.zeros(shape))


def test_no_measured_number_rules_the_answer(images, network):
    """However far out an image lies, what it measures enters as ten deviations at most."""
    seen = []
    network.adopt(network.measurement, network.measurement(images).detach())
    network.inference.body.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0])
    )
    # Of colours alone: 15 magnitudes between bands
    network(profile(1e8) * torch.tensor([1e-6, 1, 1, 1, 1])[:, None, None])
    network(images)
    assert 6 < seen[0].abs().max() <= 10
    ordinary = seen[1].abs().max()
    assert 1 < ordinary < 6
