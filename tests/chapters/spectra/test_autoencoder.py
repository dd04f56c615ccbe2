"""The autoencoder of spectra: blind to what was not observed, ordered, better than components."""

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder, latent_walk
from skytutor.chapters.spectra.autoencoder_task import (
    AutoencoderTask,
    draw_spectra,
    mmd,
    reconstruction_errors,
)
from skytutor.chapters.spectra.components import fit_components
from skytutor.chapters.spectra.principal_axes import principal_axes
from skytutor.data.galaxies import GalaxySimulator
from skytutor.training.checkpoint import to_float16
from skytutor.training.loop import train
from skytutor.training.schedule import Schedule

LATENTS = 10


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(3)


@pytest.fixture(scope="module")
def spectra():
    return draw_spectra(GalaxySimulator(), 500, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def components(spectra):
    return fit_components(spectra.flux, spectra.inverse_variance, n_components=LATENTS)


@pytest.fixture
def model(components):
    """Return an autoencoder that starts from the components, its perceptrons far from zero."""
    torch.manual_seed(0)
    model = SpectrumAutoencoder(hidden=(24, 16))
    model.start_from(components)
    with torch.no_grad():
        for layer in (model.encoder[-1], model.decoder[-1]):
            layer.weight.mul_(10)
    return model.eval()


@pytest.fixture(scope="module")
def task():
    return AutoencoderTask(
        GalaxySimulator(), size=1500, n_validation=300, alpha=1.0, weight=100.0, windows=0.5
    )


@pytest.fixture(scope="module")
def trained(task, tmp_path_factory):
    """Return a small autoencoder after some seconds of training."""
    torch.manual_seed(0)
    model = SpectrumAutoencoder(hidden=(48, 24))
    schedule = Schedule(epochs=8, batch_size=64, lr=2e-3, weight_decay=1e-4, warmup=0.1)
    folder = tmp_path_factory.mktemp("autoencoder")
    result = train(model, task, schedule=schedule, folder=folder, progress=False)
    model.load_state_dict(result.best)
    return model.eval()


# --- what goes in ---------------------------------------------------------------------------------
def test_without_perceptrons_it_begins_as_the_components(model, components, spectra):
    with torch.no_grad():
        for network in (model.encoder, model.decoder):
            network[-1].weight.zero_()
            network[-1].bias.zero_()
        whole = torch.ones_like(spectra.truth)
        found = model.reconstruct(model.posterior(spectra.truth, whole)[0])
    expected = components.reconstruct(components.project(spectra.truth))
    assert torch.allclose(found, expected, atol=1e-5)


def test_what_was_not_observed_has_no_say(model, spectra):
    wrong = torch.where(spectra.mask, spectra.flux, 1e5)
    found = model.encode(wrong, spectra.inverse_variance)
    assert torch.equal(found, model.encode(spectra.flux, spectra.inverse_variance))


def test_the_window_itself_says_nothing(model, components, spectra):
    # A spectrum that the components make exactly is filled exactly: no window changes its latents.
    flux = components.reconstruct(components.project(spectra.truth))
    sharp = torch.full_like(flux, 1e10)
    whole = model.double().encode(flux.double(), sharp.double())
    seen = model.encode((flux * spectra.mask).double(), (sharp * spectra.mask).double())
    assert not spectra.mask.all()
    assert torch.allclose(seen, whole, atol=1e-4)


def test_before_it_is_started_missing_bins_are_the_mean_spectrum():
    model = SpectrumAutoencoder(hidden=(8,), n_latents=2, n_bins=4, n_kept=1)
    flux = torch.tensor([[3.0, 5.0, 7.0, 9.0]])
    ivar = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    assert torch.equal(model.fill(flux, ivar), torch.tensor([[2.0, 0.0, 6.0, 8.0]]))


def test_one_spectrum_does_not_look_at_another(model, spectra):
    flux, ivar = spectra.flux, spectra.inverse_variance
    alone = model.encode(flux[:1], ivar[:1])
    assert torch.allclose(alone, model.encode(flux, ivar)[:1], rtol=1e-4, atol=1e-4)


# --- latents --------------------------------------------------------------------------------------
@pytest.mark.parametrize("axes", ["spectra", "latents"])
def test_latents_of_the_training_spectra_are_standardised(model, spectra, axes):
    flux, ivar = spectra.flux, spectra.inverse_variance
    model.fit_rotation(flux, ivar, axes=axes)
    latents = model.encode(flux, ivar, n=LATENTS).double()
    assert latents.mean(0).abs().max() < 1e-4
    covariance = latents.T @ latents / len(latents)
    assert (covariance - torch.eye(LATENTS)).abs().max() < 2e-3


def test_the_rest_of_the_latents_is_zero(model, spectra):
    flux, ivar = spectra.flux, spectra.inverse_variance
    model.fit_rotation(flux, ivar)
    latents = model.encode(flux, ivar, n=LATENTS)
    found = model.decode(latents[:, :4])
    latents[:, 4:] = 0
    assert torch.allclose(found, model.decode(latents), atol=1e-5)


def test_rotation_and_its_inverse_leave_the_spectra_alone(model, spectra):
    flux, ivar = spectra.flux, spectra.inverse_variance
    before = model.reconstruct(model.posterior(flux, ivar)[0])
    model.fit_rotation(flux, ivar)
    after = model.decode(model.encode(flux, ivar, n=LATENTS))
    assert torch.allclose(after, before, atol=2e-4)


def test_axes_do_not_depend_on_the_basis_of_the_latents(rng):
    latents = torch.randn(400, 3, generator=rng, dtype=torch.float64)
    spectra = latents @ torch.randn(3, 9, generator=rng, dtype=torch.float64)
    mixing = torch.randn(3, 3, generator=rng, dtype=torch.float64)
    found = []
    for basis in (latents, latents @ mixing + 5):
        centre, rotation, inverse = principal_axes(basis, spectra)
        turned = (basis - centre) @ rotation.T
        assert torch.allclose(turned @ inverse.T + centre, basis, atol=1e-9)
        found.append(turned)
    assert torch.allclose(found[0], found[1], atol=1e-3)


def test_axes_are_in_the_order_of_what_they_change(rng):
    latents = torch.randn(400, 3, generator=rng, dtype=torch.float64)
    response = torch.diag(torch.tensor([0.1, 5.0, -1.0], dtype=torch.float64))
    _, rotation, _ = principal_axes(latents, latents @ response)
    largest = rotation.abs().argmax(1)
    assert largest.tolist() == [1, 2, 0]
    # What changes most increases: the latent with the response -1 is turned over.
    assert rotation[1, 2] < 0 < rotation[0, 1]


def test_a_walk_passes_the_mean_and_changes_one_latent(model, spectra):
    model.fit_rotation(spectra.flux, spectra.inverse_variance)
    values = torch.tensor([-1.0, 0.0, 2.0])
    walk = latent_walk(model, 2, values)
    assert torch.allclose(walk[1], model.decode(torch.zeros(1, 1))[0], atol=1e-5)
    assert torch.allclose(walk[2], model.decode(torch.tensor([[0.0, 0.0, 2.0]]))[0], atol=1e-5)


# --- loss -----------------------------------------------------------------------------------------
def test_mmd_is_the_mean_over_pairs(rng):
    left = torch.randn(4, 2, generator=rng)
    right = torch.randn(5, 2, generator=rng)

    def kernel(a, b):
        squared = float((a - b).square().sum()) / 2
        return sum(s / (s + squared) for s in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)) / 6

    expected = -2 * sum(kernel(a, b) for a in left for b in right) / 20
    for points in (left, right):
        n = len(points)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        expected += sum(kernel(points[i], points[j]) for i, j in pairs) / len(pairs)
    assert float(mmd(left, right)) == pytest.approx(expected, abs=1e-5)


def test_mmd_of_one_distribution_is_zero_and_of_two_is_not(rng):
    same = []
    for _ in range(50):
        pair = torch.randn(2, 128, 10, generator=rng)
        same.append(float(mmd(pair[0], pair[1])))
    same = torch.tensor(same)
    assert same.mean().abs() < 4 * same.std() / 50**0.5
    pair = torch.randn(2, 128, 10, generator=rng)
    assert mmd(pair[0] * 1.3, pair[1]) > 4 * same.std()
    assert mmd(pair[0] + 0.3, pair[1]) > 4 * same.std()


def test_the_loss_looks_at_observed_bins_alone(task, model, rng):
    indices = torch.arange(32)
    batch = task.batch(indices, task.draw(32, generator=rng))
    before = task.loss(model, batch)
    flux = torch.where(batch[2] > 0, batch[0], 1e4)
    assert torch.equal(task.loss(model, (flux, *batch[1:])), before)
    # A window hides bins from the encoder that the decoder has to say all the same.
    assert bool(((batch[1] == 0) & (batch[2] > 0)).any())
    assert not bool(((batch[1] > 0) & (batch[2] == 0)).any())


def test_latents_are_drawn_with_alpha_0_alone(task, model, rng):
    batch = task.batch(torch.arange(32), task.draw(32, generator=rng))
    other = list(batch)
    other[3] = -batch[3]
    assert torch.equal(task.loss(model, batch), task.loss(model, tuple(other)))
    published = AutoencoderTask(GalaxySimulator(), size=32, n_validation=2)
    assert published.alpha == 0
    assert not torch.equal(published.loss(model, batch), published.loss(model, tuple(other)))


def test_the_published_network_is_trained_by_the_same_task(task, rng):
    model = SpectrumAutoencoder(hidden=(549, 110), linear=False)
    assert model.linear_encoder is None
    loss = task.loss(model, task.batch(torch.arange(32), task.draw(32, generator=rng)))
    loss.backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in model.parameters())


@pytest.mark.parametrize(
    "options", [{"alpha": 1.5}, {"windows": -0.1}, {"alpha": 0.0, "weight": 0.5}]
)
def test_options_of_the_loss_are_checked(options):
    with pytest.raises(ValueError, match="must"):
        AutoencoderTask(GalaxySimulator(), size=2, n_validation=2, **options)


# --- training -------------------------------------------------------------------------------------
def test_training_makes_six_latents_better_than_six_components(trained, task):
    test = draw_spectra(GalaxySimulator(), 500, generator=torch.Generator().manual_seed(9))
    found = reconstruction_errors(trained, task.spectra, test)
    assert found["over_pca"] < 1
    assert found["over_pca_observed"] < 1
    assert found["over_floor"] < 1.3
    assert found["error"] < 0.2 * found["error_constant"]


def test_after_training_a_window_hardly_moves_the_latents(trained, task):
    truth = task.validation.truth
    sharp = torch.full_like(truth, 1e4)
    whole = trained.encode(truth, sharp)
    seen = trained.encode(truth, sharp * task.validation.mask)
    assert (seen - whole).std(0).max() < 0.3


def test_rounded_to_float16_it_says_the_same(trained, task):
    rounded = SpectrumAutoencoder(hidden=(48, 24))
    state = {name: t.float() for name, t in to_float16(trained.state_dict()).items()}
    state["started"] = trained.started
    rounded.load_state_dict(state)
    flux, ivar = task.validation.flux, task.validation.inverse_variance
    with torch.no_grad():
        error = rounded.eval()(flux, ivar) - trained(flux, ivar)
    assert float(error.square().mean().sqrt()) < 2e-3


def test_the_pretrained_one_meets_its_bars():
    recipe = chapters.get("spectrum-autoencoder")
    found = chapters.evaluate(recipe, seed=3, size=1000)["scores"]
    assert found["over_pca"] < 1
    assert found["over_floor"] < 1.3


# --- nonsense -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda flux, ivar: (flux[:, :999], ivar[:, :999]), "1000 bins, got 999"),
        (lambda flux, ivar: (flux * torch.nan, ivar), "flux must hold finite"),
        (lambda flux, ivar: (flux, -ivar), "must not be negative"),
        (lambda flux, ivar: (flux, ivar * (torch.arange(1000) < 400)), "at least half of the 1000"),
    ],
)
def test_spectra_that_cannot_be_encoded_are_refused(model, spectra, change, message):
    with pytest.raises(ValueError, match=message):
        model.encode(*change(spectra.flux, spectra.inverse_variance))


@pytest.mark.parametrize("shape", [(3, 11), (3, 0), (4,)])
def test_too_many_latents_are_refused(model, shape):
    with pytest.raises(ValueError, match=r"latents must be \(B, k\) with k in 1..10"):
        model.decode(torch.zeros(shape))


def test_sizes_and_walks_are_checked(model, components):
    with pytest.raises(ValueError, match="n_kept must be at most n_latents = 3, got 6"):
        SpectrumAutoencoder(n_latents=3)
    with pytest.raises(TypeError, match="hidden must be positive integers"):
        SpectrumAutoencoder(hidden=(3.5,))
    with pytest.raises(ValueError, match="at least 12"):
        SpectrumAutoencoder(n_latents=12).start_from(components)
    with pytest.raises(ValueError, match="axes must be one of"):
        model.fit_rotation(torch.ones(50, 1000), torch.ones(50, 1000), axes="bins")
    with pytest.raises(ValueError, match="at least 20 spectra"):
        model.fit_rotation(torch.ones(5, 1000), torch.ones(5, 1000))
    with pytest.raises(ValueError, match=r"latent must lie in 0..9, got 10"):
        latent_walk(model, 10, torch.zeros(3))
    with pytest.raises(ValueError, match=r"values must be \(V,\)"):
        latent_walk(model, 0, torch.zeros(3, 2))
