"""Chapter 2's tasks: what a batch is, and what validation measures and leaves alone."""

import pytest
import torch
from torch import nn

from skytutor import chapters
from skytutor.chapters.gan import real_maps
from skytutor.chapters.gan import recipes as gan_recipes
from skytutor.chapters.gan import task as gan_task
from skytutor.metrics import spectra
from skytutor.training.profile import Profile

SMOKE = Profile("smoke", torch.device("cpu"), 0)


@pytest.mark.parametrize(
    "name", ["sphere-gan-published", "sphere-gan-planar", "sphere-gan", "sphere-gan-nside32"]
)
def test_a_batch_of_digits_is_what_the_networks_take(name):
    recipe = chapters.get(name)
    task = recipe.task(SMOKE)
    rng = torch.Generator().manual_seed(0)
    draws = task.draw(8, generator=rng)
    batch = task.batch(torch.arange(8), draws)
    maps, z, *given = batch
    n_pixels = 12288 if "32" in name else 3072
    assert maps.shape[2:] == ((56, 56) if "planar" in name else (n_pixels,))
    assert float(maps.min()) >= 0 and float(maps.max()) <= 1
    assert z.shape == (8, 64) and len(given) == (2 if task.classes else 0)
    if given:
        labels, fake_labels = given
        assert torch.equal(labels, task.labels[:8])
        assert set(fake_labels.tolist()) <= set(range(10))
    pair = chapters.network(recipe)
    losses = [task.loss(pair, batch, network) for network in task.lr_factors]
    assert all(bool(loss.isfinite()) for loss in losses)
    scores = task.validate(pair.eval())
    assert scores["negative_frechet"] == -scores["frechet"] < 0


def test_a_batch_of_skies_has_the_right_spectrum():
    task = chapters.get("sphere-gan-cmb").task(SMOKE)
    rng = torch.Generator().manual_seed(0)
    draws = task.draw(200, generator=rng)
    maps, z = task.batch(torch.arange(200), draws)
    assert maps.shape == (200, 1, 3072) and z.shape[1] == gan_recipes.cmb_gan().generator.latent
    assert float(maps.var()) == pytest.approx(1, abs=0.03)
    spectrum = real_maps.sky_spectrum()[None, :33]
    cl = spectra.power_spectra(maps, order="nested", lmax=32)
    ratios = spectra.band_ratios(cl, spectrum)
    assert len(ratios) == 6 and float((ratios - 1).abs().max()) < 0.06


def test_finalised_networks_of_skies_have_their_own_statistics():
    """Stale statistics and singular vectors, as averaging leaves them, are measured anew."""
    torch.manual_seed(0)
    pair = gan_recipes.cmb_gan()
    for name, state in pair.named_buffers():
        if name.endswith("running_var"):
            state *= 9
        elif name.endswith(("_u", "_v")):
            state.copy_(nn.functional.normalize(torch.randn_like(state), dim=0))
    task = gan_task.CmbGanTask(latent=pair.generator.latent, size=64, n_validation=100)
    with torch.no_grad():
        task.finalise(pair.eval())
        task.validate(pair)
        z = torch.randn(100, pair.generator.latent)
        std_evaluation = pair.generator(z).std()
        std_training = pair.generator.train()(z).std()
    assert float(std_evaluation / std_training) == pytest.approx(1, abs=0.05)
    layers = [layer for step in pair.discriminator.steps for layer in step]
    for layer in [*layers, pair.discriminator.judge]:
        norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(norm) == pytest.approx(1, abs=0.05)
    assert not pair.discriminator.training


def test_validation_of_skies_changes_nothing():
    torch.manual_seed(0)
    pair = gan_recipes.cmb_gan().eval()
    before = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    task = gan_task.CmbGanTask(latent=pair.generator.latent, size=64, n_validation=20)
    with torch.no_grad():
        task.validate(pair)
    after = pair.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
