"""Training on galaxies drawn anew: repeatable, never the same twice, scored as it says."""

import pytest
import torch

from skytutor.chapters.spectra import task as task_module
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.targets import N_LATENTS, make_targets, natural
from skytutor.chapters.spectra.task import SpectrumTask, draw_images, in_batches
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator
from skytutor.layers.gaussian_head import gaussian_nll


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def simulator():
    return GalaxySimulator()


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return SpectrumAutoencoder()


@pytest.fixture
def task(simulator, autoencoder, monkeypatch):
    """Return a task whose targets are latents of an untrained autoencoder."""
    monkeypatch.setattr(task_module, "pretrained_autoencoder", lambda device: autoencoder)
    return SpectrumTask(simulator, size=8, n_validation=20)


@pytest.fixture
def network():
    return SpectrumNetwork(channels=(4, 4, 4, 4), hidden=8)


def test_images_and_targets_are_of_the_same_galaxies(simulator, autoencoder):
    images, targets = draw_images(simulator, 200, autoencoder=autoencoder, generator=rng())
    assert len(images) == len(targets) == 200
    # Redshift in the targets goes with colour in the images, as for no other galaxy.
    inside = images[..., 24:40, 24:40].sum((2, 3))
    colour = (inside[:, 0] / inside[:, 1]).log()
    redshift = natural(targets)[:, 2]
    assert (redshift >= 0.0099).all() and (redshift <= 0.3601).all()
    seen = torch.stack([colour, redshift])
    assert torch.corrcoef(seen)[0, 1] < -0.4
    assert abs(torch.corrcoef(torch.stack([colour.roll(1), redshift]))[0, 1]) < 0.3


def test_images_hold_the_survey_noise(simulator, autoencoder):
    images, _ = draw_images(simulator, 30, autoencoder=autoencoder, generator=rng())
    corner = images[..., :6, :6]
    # Of faint outskirts little reaches the corner: the median galaxy shows the sky alone.
    spread = corner.flatten(2).std(2).median(0).values
    assert torch.allclose(spread, torch.tensor(SKY_NOISE), rtol=0.1)


def test_one_generator_one_set(simulator, autoencoder):
    options = {"autoencoder": autoencoder}
    one, first = draw_images(simulator, 3, generator=rng(1), **options)
    same, again = draw_images(simulator, 3, generator=rng(1), **options)
    other, _ = draw_images(simulator, 3, generator=rng(2), **options)
    assert torch.equal(one, same) and torch.equal(first, again)
    assert not torch.equal(one, other)


def test_a_batch_follows_from_its_draws_and_no_two_batches_are_alike(task):
    generator = rng()
    draws = task.draw(4, generator=generator)
    images, targets, components = task.batch(torch.arange(4), draws)
    again, *_ = task.batch(torch.arange(4, 8), draws)
    assert torch.equal(images, again) and len(targets) == 4
    # The components are the r band without its noise.
    away = components.sum(1) - images[:, 1]
    assert away.std() < 1.2 * SKY_NOISE[1]
    new, *_ = task.batch(torch.arange(4), task.draw(4, generator=generator))
    assert not torch.equal(images, new)
    # Nor is it the validation set's.
    assert not torch.equal(images[0], task.validation[0][0])


def test_batches_join_to_the_whole(network, simulator):
    network.eval()
    images = simulator.images(simulator.draw(7, generator=rng()), generator=rng(1))
    with torch.no_grad():
        mean, factor = in_batches(network, images, batch=3)
        whole = network(images)
    assert torch.allclose(mean, whole[0], atol=1e-5) and torch.allclose(factor, whole[1], atol=1e-5)


def test_validation_scores_the_latents_and_the_likelihood_of_all(task, network):
    network.eval()
    with torch.no_grad():
        found = task.validate(network)
        images, targets, _ = task.validation
        mean, factor = network(images)
    error = (mean - targets)[:, :N_LATENTS]
    assert found["rmse"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-5)
    assert found["minus_rmse"] == -found["rmse"] and task.score == "minus_rmse"
    nll = float(gaussian_nll(targets, mean, factor).mean())
    assert found["nll"] == pytest.approx(nll, rel=1e-5)


def test_the_loss_falls_on_a_batch_that_is_learned_by_heart(task, network):
    batch = task.batch(torch.arange(8), task.draw(8, generator=rng()))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = task.loss(network, batch)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_targets_of_the_last_three_go_back_to_their_units(simulator, autoencoder):
    galaxies = simulator.draw(20, generator=rng())
    fibre = simulator.renderer.fibre(simulator.renderer.planes(galaxies.shapes))
    spectra = simulator.spectra(galaxies, fibre, generator=rng(1))
    back = natural(make_targets(autoencoder, spectra, galaxies.redshift))
    assert torch.allclose(back[:, 2], galaxies.redshift, atol=1e-6)
    assert torch.allclose(back[:, :2], spectra.log_widths, atol=1e-5)
