"""Saliency against networks whose gradient is known, and a check that random weights change it."""

import pytest
import torch
from torch import nn

from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.saliency import (
    PARTS,
    cascade,
    input_gradient,
    occlusion,
    ring_sums,
    shuffle_weights,
    smooth_gradient,
)
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """A network that is linear in the pixels, with error bars of 2."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(9, 5, 64, 64, generator=rng(5)))

    def forward(self, images):
        answer = torch.einsum("bfyx,tfyx->bt", images, self.weights)
        return answer, 2 * torch.eye(9).repeat(len(images), 1, 1)


@pytest.fixture(scope="module")
def images():
    simulator = GalaxySimulator()
    return simulator.images(simulator.draw(4, generator=rng()), generator=rng(1))


@pytest.fixture
def network():
    return SpectrumNetwork(channels=(4, 4, 8, 8), width=16).eval()


def test_of_a_linear_network_the_gradient_is_its_weights(images):
    model = Linear()
    wanted = model.weights[6] * torch.tensor(SKY_NOISE)[:, None, None]
    assert torch.allclose(input_gradient(model, images, target=6), wanted.expand(4, -1, -1, -1))
    smooth = smooth_gradient(model, images, target=6, generator=rng(), n=3)
    assert torch.allclose(smooth, wanted.expand(4, -1, -1, -1), rtol=1e-5)


def test_the_gradient_foretells_a_small_change(images, network):
    gradient = input_gradient(network, images, target=2)
    length = gradient.flatten(1).norm(dim=1)[:, None, None, None]
    # A step uphill by a fifth of a sigma of sky in all, in the image's own unit.
    step = 0.1 * gradient / length * torch.tensor(SKY_NOISE)[:, None, None]
    with torch.no_grad():
        after = network(images + step)[0][:, 2]
        before = network(images - step)[0][:, 2]
    # Least squares in single precision and a step that is not quite small: to a fifth.
    assert torch.allclose(after - before, 0.2 * length.flatten(), rtol=0.2)


def test_ring_sums_add_up_to_the_whole(images):
    maps = torch.randn(2, 5, 64, 64, generator=rng())
    rings = ring_sums(maps, [0, 0.7, 2, 5, 100])
    assert torch.allclose(rings.square().sum(2), maps.square().sum((2, 3)), rtol=1e-5)
    narrow = ring_sums(torch.ones(1, 5, 64, 64), [0, 1, 2])
    # Pixels of 0.25 arcsec: 16 pi of them within one arcsec, three times as many in the next.
    assert float(narrow[0, 0, 0] ** 2) == pytest.approx(16 * torch.pi, rel=0.05)
    assert float(narrow[0, 0, 1] ** 2) == pytest.approx(48 * torch.pi, rel=0.05)


def test_of_a_linear_network_occluded_rings_add_up(images):
    model = Linear()
    empty = torch.zeros_like(images)
    found = occlusion(model, images, replacement=empty, edges=[0, 1, 3, 100])
    assert torch.allclose(found.sum(1), -model(images)[0] / 2, rtol=1e-3, atol=1e-2)
    same = occlusion(model, images, replacement=images, edges=[0, 1, 3])
    assert same.abs().max() == 0


def test_shuffled_weights_are_the_same_numbers_elsewhere(network):
    before = [parameter.clone() for parameter in network.measurement.separation.down.parameters()]
    shuffle_weights(network.measurement.separation.down, rng())
    moved = 0
    for old, new in zip(before, network.measurement.separation.down.parameters(), strict=True):
        assert torch.equal(old.flatten().sort().values, new.flatten().sort().values)
        moved += int(not torch.equal(old, new))
    assert moved


def test_random_weights_change_the_map_and_the_model_stays(images, network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = cascade(network, images[:2], target=6, generator=rng(), n=3)
    assert list(found) == ["none", *PARTS]
    # Other noise alone leaves the map; other weights do not.
    assert found["none"]["signed"] > 0.5
    for part in PARTS:
        assert found[part]["signed"] < 0.5 * found["none"]["signed"]
    assert found["measurement.separation.down"]["size"] < found["none"]["size"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_bad_arguments_are_named(images, network):
    with pytest.raises(ValueError, match=r"target must lie in 0\.\.8, got 9"):
        input_gradient(network, images, target=9)
    with pytest.raises(TypeError, match="target must be an integer"):
        input_gradient(network, images, target="redshift")
    with pytest.raises(ValueError, match="edges must be two or more increasing radii"):
        ring_sums(images, [1, 0.5])
    with pytest.raises(ValueError, match="replacement must have the shape of images"):
        occlusion(network, images, replacement=images[:1], edges=[0, 1])
