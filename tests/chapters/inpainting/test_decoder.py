"""Conditional autoencoders of a hole, against the matrices of `DenseHole`."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributions import MultivariateNormal

from skytutor.chapters.inpainting.decoder import (
    ExactDecoder,
    FreeDecoder,
    LogSpline,
    hidden_block,
)
from skytutor.chapters.inpainting.decoder_task import DecoderTask, score_power
from skytutor.chapters.inpainting.samples import spread_ratio
from skytutor.chapters.inpainting.skies import disc_test
from skytutor.chapters.pretrained import load_pretrained
from skytutor.data.patches import disc_mask, flat_sky
from skytutor.fields.flat import filter_maps
from skytutor.fields.holes import DenseHole
from skytutor.training.loop import train
from skytutor.training.schedule import Schedule

SIZE = 16


@pytest.fixture(scope="module")
def sky():
    return flat_sky("B", SIZE)


@pytest.fixture(scope="module")
def mask(sky):
    return disc_mask(SIZE, 15.0, pixel_arcmin=sky.pixel_arcmin)


@pytest.fixture
def free():
    """Return a decoder whose two curves have nothing to do with each other."""
    model = FreeDecoder(pixel_arcmin=6.871, noise=5.0, knots=6)
    rng = torch.Generator().manual_seed(4)
    with torch.no_grad():
        model.signal.log += torch.randn(6, generator=rng)
        model.inverse.log += torch.randn(6, generator=rng)
    return model


def test_the_block_of_hidden_pixels(sky, mask):
    unit = torch.eye(SIZE**2, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    whole = filter_maps(unit, sky.total).flatten(1)
    hidden = (~mask).flatten()
    assert torch.allclose(hidden_block(sky.total, mask), whole[hidden][:, hidden])


def test_a_spline_goes_straight_between_knots_in_the_logarithm():
    spline = LogSpline(torch.tensor([0.0, 2.0, -4.0]).exp(), first=100.0, last=300.0)
    found = spline(torch.tensor([0.0, 100.0, 150.0, 250.0, 300.0, 900.0])).log()
    expected = torch.tensor([0.0, 0.0, 1.0, -1.0, -4.0, -4.0], dtype=torch.float64)
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_exact_decoder_has_the_exact_covariance_and_likelihood(sky, mask):
    model = ExactDecoder(sky)
    hole = DenseHole(sky.precision, mask)
    assert torch.allclose(model.covariance(mask), hole.covariance(), rtol=1e-8)
    _, data = sky.draw(5, generator=torch.Generator().manual_seed(0))
    away = (data - hole.fill(data))[:, ~mask]
    n = away.shape[-1]
    expected = -(hole.chi_square(away) - hole.log_det + n * math.log(2 * math.pi)) / 2
    assert torch.allclose(model(data, mask), expected, rtol=1e-8)


def test_the_exact_decoder_draws_the_exact_posterior(sky, mask):
    n = 8000
    rng = torch.Generator().manual_seed(1)
    _, data = sky.draw(1, generator=rng)
    hole = DenseHole(sky.precision, mask)
    signal, noisy = ExactDecoder(sky).sample(data.expand(n, -1, -1), mask, generator=rng)
    assert torch.equal(noisy[:, mask], data.expand(n, -1, -1)[:, mask])
    away = (noisy - hole.fill(data))[:, ~mask]
    sd = hole.variance.sqrt()
    assert (away.mean(0) / sd).abs().max() < 5 / n**0.5
    found = away.T @ away / n / (sd[:, None] * sd)
    expected = hole.covariance() / (sd[:, None] * sd)
    assert (found - expected).abs().max() < 5 / n**0.5
    chi_square = hole.chi_square(away)
    pixels = len(hole.index)
    assert float(chi_square.mean()) == pytest.approx(pixels, abs=5 * (2 * pixels / n) ** 0.5)
    assert float(chi_square.var()) == pytest.approx(2 * pixels, rel=0.1)
    # Without noise the variance is smaller by that of the noise, pixel by pixel.
    least = hole.variance - sky.noise**2
    assert torch.allclose((signal - hole.fill(data))[:, ~mask].var(0), least, rtol=0.1)


def test_what_is_encoded_decodes_to_the_truth(sky, mask, free):
    rng = torch.Generator().manual_seed(2)
    _, data = sky.draw(4, generator=rng)
    for model in (ExactDecoder(sky), free):
        latent = model.encode(data, mask, generator=rng)
        hidden = torch.where(mask, data, -1e3)
        assert torch.allclose(model.decode(hidden, mask, latent), data, atol=1e-7)
        other = model.encode(data, mask, generator=rng)
        assert (other - latent).abs().mean() > 1


def test_latents_of_many_truths_together_are_the_prior(sky, mask):
    n = 6000
    rng = torch.Generator().manual_seed(3)
    _, data = sky.draw(n, generator=rng)
    latent = ExactDecoder(sky).encode(data, mask, generator=rng)
    modes = torch.fft.rfft2(latent, norm="ortho")
    found = modes.abs().square().mean(0) / sky.total
    assert (found - 1).abs().max() < 6 * (2 / n) ** 0.5
    # Given one truth, seen pixels of the latent are still drawn from the prior.
    one = ExactDecoder(sky).encode(data[:1].expand(n, -1, -1), mask, generator=rng)
    corner = one[:, 0, 0]
    assert float(corner.mean()) == pytest.approx(0, abs=5 * float(corner.std()) / n**0.5)


def test_any_two_curves_have_the_covariance_of_their_samples(free, mask):
    # x = f + fill(d - f) in hidden pixels is a matrix times f: its covariance, exactly.
    unit = torch.eye(SIZE**2, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    zero = torch.zeros_like(unit)
    decoded = free.decode(zero, mask, unit)[:, ~mask].T  # (n, H * H)
    covariance = filter_maps(unit, free.power(SIZE).detach()).flatten(1)
    expected = decoded @ covariance @ decoded.T
    assert torch.allclose(free.covariance(mask), expected, rtol=1e-6, atol=1e-6)


def test_the_likelihood_of_any_two_curves(free, sky, mask):
    _, data = sky.draw(3, generator=torch.Generator().manual_seed(5))
    mean = free.fill(data, mask)[:, ~mask]
    normal = MultivariateNormal(mean, free.covariance(mask).detach())
    assert torch.allclose(free(data, mask), normal.log_prob(data[:, ~mask]))


def test_the_learned_prior_is_a_sky_of_the_same_spectrum(free):
    expected = free.power(64)
    assert torch.allclose(free.sky(64).total, expected, rtol=0.02)
    assert free.sky(64).noise == free.noise


def test_a_decoder_finds_the_spectrum_that_it_was_not_told(sky, mask, tmp_path):
    torch.manual_seed(0)
    sky = flat_sky("B", 32)
    task = DecoderTask(sky, size=80, n_validation=4)
    model = FreeDecoder(pixel_arcmin=sky.pixel_arcmin, noise=sky.noise, knots=12)
    with torch.no_grad():
        before = task.validate(model)
    schedule = Schedule(epochs=2, batch_size=2, lr=0.3)
    result = train(model, task, schedule=schedule, folder=Path(tmp_path), progress=False)
    model.load_state_dict(result.best)
    with torch.no_grad():
        after = task.validate(model)
        ratio = model.power(32) / sky.total
        tied = model.power(32) * model.precision(32)
    assert before["below_exact"] > 0.1
    assert -0.01 < after["below_exact"] < 0.05, "nothing beats the exact likelihood on average"
    middle = (sky.l > 300) & (sky.l < 1500)
    assert (ratio[middle].log().abs().mean()) < 0.25
    # No tie was built in: what is learned is that one curve is the inverse of the other.
    assert (tied[middle].log() - tied[middle].log().mean()).abs().mean() < 0.25


def test_the_score_of_the_exact_decoder_is_right():
    rng = torch.Generator().manual_seed(6)
    found = score_power(ExactDecoder(flat_sky("B", 64)), radius=60, skies=160, generator=rng)
    assert all(0.9 < ratio < 1.1 for ratio in found["hole_power"])
    assert 0.65 < found["coverage68_pixels"] < 0.72
    assert found["chi2"] == pytest.approx(1, abs=0.02)


@torch.no_grad()
def test_the_pretrained_decoder_is_within_five_per_cent_of_the_exact_one():
    model = load_pretrained("inpaint-decoder")
    rng = torch.Generator().manual_seed(7)
    sky = flat_sky("B", 64)
    assert DecoderTask(sky, size=8, n_validation=8).validate(model)["below_exact"] < 0.003
    found = score_power(model, radius=60, skies=400, generator=rng)
    assert all(0.93 < ratio < 1.07 for ratio in found["hole_power"])
    test = disc_test(30, skies=100, generator=rng)
    test = replace(test, sky=model.sky(64))
    spread = spread_ratio(model.fill, test, repeats=4, generator=rng)
    assert spread == pytest.approx(math.sqrt(2), rel=0.03)
