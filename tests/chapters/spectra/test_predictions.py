"""Images of a reader's own: what is refused, and answers in natural units."""

import numpy as np
import pytest
import torch

from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.predictions import Prediction, check_images, predict
from skytutor.chapters.spectra.targets import N_TARGETS, natural
from skytutor.data.galaxies import GalaxySimulator


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    simulator = GalaxySimulator()
    return simulator.images(simulator.draw(7, generator=rng()), generator=rng(1))


@pytest.fixture
def network():
    """Return a network whose answers depend on the image: one that is untrained gives the prior."""
    torch.manual_seed(0)
    model = SpectrumNetwork(channels=(4, 4, 8, 8), width=16)
    for parameter in model.inference.head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def changed(images, band, value):
    images = images.clone()
    images[2, band] = value
    return images


def one_pixel(images, value):
    images = images.clone()
    images[3, 4, 10, 10] = value
    return images


def magnitudes(images):
    return 22.5 - 2.5 * images.clamp(min=1e-3).log10()


BAD = {
    "an array": (TypeError, "must be a tensor, got ndarray", lambda x: x.numpy()),
    "a list": (TypeError, "must be a tensor, got list", lambda x: x.tolist()),
    "integers": (TypeError, "floating-point numbers, got torch.int64", lambda x: x.long()),
    "complex numbers": (TypeError, "got torch.complex64", lambda x: x + 0j),
    "one image without a batch": (
        ValueError,
        r"\(B, 5, 64, 64\).*got \(5, 64, 64\)",
        lambda x: x[0],
    ),
    "four bands": (ValueError, r"the bands grizy in this order; got \(7, 4", lambda x: x[:, :4]),
    "bands last": (ValueError, r"got \(7, 64, 64, 5\)", lambda x: x.permute(0, 2, 3, 1)),
    "smaller frames": (ValueError, r"got \(7, 5, 48, 48\)", lambda x: x[..., 8:56, 8:56]),
    "no square": (ValueError, r"got \(7, 5, 64, 48\)", lambda x: x[..., 8:56]),
    "no image": (ValueError, "one image or more, got none", lambda x: x[:0]),
    "one NaN": (ValueError, "fill masked pixels with 0", lambda x: one_pixel(x, float("nan"))),
    "infinity": (ValueError, "fill masked pixels with 0", lambda x: one_pixel(x, float("inf"))),
    "a band without data": (
        ValueError,
        "image 2 are equal in band z",
        lambda x: changed(x, 3, 0.0),
    ),
    "magnitudes": (ValueError, "are these magnitudes", magnitudes),
    "magnitudes of one": (
        ValueError,
        "are these magnitudes",
        lambda x: torch.cat([x[:6], magnitudes(x[6:])]),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_batch_of_images_is_refused(name, images, network):
    kind, message, spoil = BAD[name]
    with pytest.raises(kind, match=message):
        check_images(spoil(images))
    with pytest.raises(kind, match=message):
        predict(network, spoil(images))


def test_images_as_they_should_be_pass(images):
    check_images(images)
    check_images(images.double())
    # Brighter than any galaxy, and fainter: no business of a check.
    check_images(100 * images)
    check_images(images - images.mean((2, 3), keepdim=True))


def test_a_batch_must_be_one_image_or_more(images, network):
    with pytest.raises(ValueError, match="batch"):
        predict(network, images, batch=0)


def test_an_answer_is_that_of_the_network_however_many_at_a_time(images, network):
    network.train()
    found = predict(network, images, batch=3)
    assert network.training, "left as it was"
    network.eval()
    with torch.no_grad():
        mean, factor = network(images)
    assert torch.allclose(found.mean, mean, atol=1e-5)
    assert torch.allclose(found.scale_tril, factor, atol=1e-5)
    assert not found.mean.requires_grad
    other = predict(network, images.double())
    assert torch.allclose(other.mean, mean, atol=1e-4)


def test_natural_units_are_those_of_samples_of_the_posterior():
    """The standard deviation of a redshift, by 40,000 draws of the standardised posterior."""
    lower = torch.randn(N_TARGETS, N_TARGETS, generator=rng(2)).tril(-1) * 0.3 + torch.eye(9) * 0.5
    mean = torch.randn(1, N_TARGETS, generator=rng(3))
    found = Prediction(mean, lower[None])
    torch.manual_seed(0)
    drawn = found.posterior.sample((40_000,))[:, 0]
    middle, deviation = found.natural
    assert torch.allclose(natural(drawn).mean(0), middle[0], atol=0.02)
    assert torch.allclose(natural(drawn).std(0), deviation[0], rtol=0.02)
    latents, error = found.latents
    assert torch.equal(latents, mean[:, :6])
    assert torch.allclose(drawn[:, :6].std(0), error[0], rtol=0.02)


def test_a_check_of_numpy_says_what_it_got():
    with pytest.raises(TypeError, match="ndarray"):
        check_images(np.zeros((1, 5, 64, 64)))
