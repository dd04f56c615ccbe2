"""Adversaries of a translation: what each network sees, and what its loss is made of."""

import math

import pytest
import torch
from torch import nn

from skytutor.chapters.translation.adversaries import NoiseMatched, Published, displayed
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.pair_task import PairTask
from skytutor.chapters.translation.patch_gan import PatchDiscriminator, Pix2pixGenerator
from skytutor.chapters.translation.stretch import softenings, stretched
from skytutor.data.bands import SceneSimulator
from skytutor.data.exposures import true_variance
from skytutor.data.surveys import BANDS

INPUTS, TARGETS = ["blue", "red"], ["g", "r", "i"]


@pytest.fixture(scope="module")
def seen():
    simulator = SceneSimulator()
    rng = torch.Generator().manual_seed(0)
    return simulator, simulator.observe(simulator.draw(2, generator=rng), generator=rng)


@pytest.fixture
def matched():
    torch.manual_seed(0)
    return NoiseMatched(INPUTS, TARGETS, generator=BandTranslator(channels=(4, 6, 8, 8)), width=4)


def published():
    torch.manual_seed(0)
    return Published(INPUTS, TARGETS, width=4)


def noise_like(images, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(len(images), 3, 64, 64, generator=rng)


def test_a_patch_is_seventy_pixels_wide():
    network = PatchDiscriminator(1, width=2)
    for part in network.modules():  # what one pixel reaches, whatever the weights
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 1.0)
    convolutions = nn.Sequential(*(m for m in network.layers if isinstance(m, nn.Conv2d)))
    image = torch.zeros(1, 1, 256, 256, requires_grad=True)
    convolutions(image)[0, 0, 15, 15].backward()
    columns = image.grad[0, 0].abs().sum(0).nonzero()
    assert int(columns.max() - columns.min()) + 1 == 70


def test_the_published_generator_halves_to_one_pixel_and_looks_at_the_whole_image():
    torch.manual_seed(0)
    network = Pix2pixGenerator(2, 3, size=32, width=4).eval()
    image = torch.randn(1, 2, 32, 32, requires_grad=True)
    network(image)[0, 0, 0, 0].backward()
    assert bool((image.grad.abs().sum((0, 1)) > 0)[[0, 15, 31]][:, [0, 15, 31]].all())
    assert len(network.down) == 5 and float(network(image).detach().abs().max()) <= 1


@pytest.mark.parametrize("size", [4, 24, 63])
def test_sizes_that_cannot_be_halved_to_one_are_refused(size):
    with pytest.raises(ValueError, match=f"size must be a power of 2, of 8 or more, got {size}"):
        Pix2pixGenerator(2, 3, size=size)


def test_a_picture_has_256_levels_and_nothing_below_black(seen):
    _, observation = seen
    made = displayed(observation.images, softenings())
    assert len(made.unique()) <= 256 and float(made.min()) == -1
    assert bool((made[observation.images < 0] == -1).all()), "half of the noise is lost"


def test_the_published_discriminator_sees_the_prediction_as_it_is(seen):
    _, observation = seen
    pair = published()
    one = pair.made(observation.images, observation.ivar, noise_like(observation.images))
    pair.eval()
    assert torch.equal(*one)


def test_the_matched_discriminator_sees_it_under_the_noise_of_the_survey(seen, matched):
    simulator, observation = seen
    truth = observation.truth[:, 2:5]
    matched.predict = lambda images, ivar: truth
    found = []
    softening = softenings(TARGETS)
    for seed in range(300):
        answer, shown = matched.made(
            observation.images, observation.ivar, noise_like(truth, seed=seed)
        )
        found.append(torch.sinh(shown) * softening[:, None, None] - truth)
    assert torch.allclose(answer, stretched(truth, softening))
    spread = torch.stack(found).var(0).mean((0, 2, 3))
    for t, name in enumerate(TARGETS):
        psf = simulator.renderer.psf_image(simulator.bands.index(name))
        wanted = true_variance(truth[:, t], BANDS[name], psf=psf, pixel_arcsec=0.8).mean()
        assert float(spread[t] / wanted) == pytest.approx(1, abs=0.05)


def test_noise_on_a_plate_is_no_gaussian():
    with pytest.raises(ValueError, match="targets must be bands of CCDs, got red"):
        NoiseMatched(["g"], ["red"])


@pytest.mark.parametrize("kind", ["published", "matched"])
def test_each_step_moves_its_own_network_alone(seen, matched, kind):
    _, observation = seen
    pair = matched if kind == "matched" else published()
    noise = noise_like(observation.images)
    pair("discriminator", observation.images, observation.ivar, noise)["total"].backward()
    assert all(p.grad is None for p in pair.generator.parameters())
    assert any(p.grad is not None for p in pair.discriminator.parameters())
    losses = pair("generator", observation.images, observation.ivar, noise)
    parts = losses["adversarial"] + 100 * losses["error"]
    assert float(losses["total"].detach()) == pytest.approx(float(parts.detach()), rel=1e-5)


def test_a_blind_discriminator_costs_the_logarithm_of_two(seen):
    _, observation = seen
    pair = published()
    for value in pair.discriminator.parameters():
        nn.init.zeros_(value)
    noise = noise_like(observation.images)
    found = pair("discriminator", observation.images, observation.ivar, noise)["total"]
    assert float(found.detach()) == pytest.approx(math.log(2), rel=1e-5)


def test_epochs_tell_the_losses_on_scenes_of_the_training():
    task = PairTask(SceneSimulator(), size=3, n_validation=2)
    pair = published().eval()
    with torch.no_grad():
        found, again = task.validate(pair), task.validate(pair)
    assert found == again, "nothing about it is random, and it changes nothing"
    assert set(found) == {"psnr", "discriminator_loss", "adversarial_loss"}
    drawn = task.draw(2, generator=torch.Generator().manual_seed(0))
    images, ivar, noise = task.batch(torch.tensor([0, 2]), drawn)
    assert images.shape == ivar.shape == (2, 10, 64, 64) and noise.shape == (2, 3, 64, 64)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
