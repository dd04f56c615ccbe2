"""skytutor.data.gaussian_bands: spectra as drawn, and a filter that nothing beats."""

import itertools

import pytest
import torch

from skytutor.data.gaussian_bands import GaussianBands

RHO = torch.tensor([[1.0, 0.9, 0.5], [0.9, 1.0, 0.7], [0.5, 0.7, 1.0]])
OPTIONS = {"correlation": RHO, "fwhm": [0.0, 3.0, 2.0], "noise": [0.3, 0.1, 0.2]}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def bands():
    return GaussianBands(32, slopes=[1.5, 1.5, 2.0], **OPTIONS)


@pytest.fixture(scope="module")
def drawn(bands):
    return bands.draw(3000, generator=rng())


def test_structure_has_the_variance_and_the_correlation_that_were_asked_for():
    bands = GaussianBands(32, correlation=RHO, fwhm=[0.0] * 3, noise=[0.1, 0.2, 0.3])
    images, truth = bands.draw(2000, generator=rng(1))
    flat = truth.movedim(1, 0).flatten(1)
    assert torch.allclose(torch.cov(flat), RHO, atol=0.03)
    off = (images - truth).movedim(1, 0).flatten(1)
    assert torch.allclose(off.std(1), torch.tensor([0.1, 0.2, 0.3]), rtol=0.01)


def test_the_power_of_each_wave_is_that_of_the_covariance(bands, drawn):
    waves = torch.fft.rfft2(drawn[1], norm="ortho")
    for f, g in ((0, 0), (1, 1), (0, 2)):
        power = (waves[:, f] * waves[:, g].conj()).real.mean(0).double()
        wanted = bands.covariance[..., f, g]
        strong = wanted > 1e-4 * wanted.max()  # fainter ones drown in rounding
        assert float((power / wanted)[strong].mean()) == pytest.approx(1, abs=0.02)
        assert float((power - wanted).abs().max() / wanted.max()) < 0.1


SUBSETS = [s for r in range(3) for s in itertools.combinations((0, 1), r)]


@pytest.mark.parametrize("inputs", SUBSETS)
def test_the_error_of_the_filter_is_the_expected_one(bands, drawn, inputs):
    images, truth = drawn
    off = bands.wiener(images, inputs=inputs, target=2) - truth[:, 2]
    expected = bands.expected_rmse(inputs=inputs, target=2)
    assert float(off.square().mean().sqrt()) == pytest.approx(expected, rel=0.01)


def test_no_other_filter_is_better(bands, drawn):
    """Ten per cent more or less of any input, everywhere or at large waves, is worse."""
    images, truth = drawn

    def error(changed):
        answer = bands.wiener(changed, inputs=[0, 1], target=2)
        return float((answer - truth[:, 2]).square().mean())

    best = error(images)
    for band in (0, 1):
        for factor in (0.9, 1.1):
            changed = images.clone()
            changed[:, band] *= factor
            assert error(changed) > best
            smooth = torch.fft.rfft2(images[:, band])
            smooth[:, :4, :4] *= factor
            changed[:, band] = torch.fft.irfft2(smooth, s=(32, 32))
            assert error(changed) > best


def test_a_band_more_never_hurts(bands):
    alone = bands.expected_rmse(inputs=[0], target=2)
    both = bands.expected_rmse(inputs=[0, 1], target=2)
    nothing = bands.expected_rmse(inputs=[], target=2)
    assert both < alone < nothing


def test_what_the_filter_leaves_is_not_correlated_with_what_it_saw(bands, drawn):
    images, truth = drawn
    off = bands.wiener(images, inputs=[0, 1], target=2) - truth[:, 2]
    for band in (0, 1):
        likeness = (off * images[:, band]).mean() / (off.std() * images[:, band].std())
        assert abs(float(likeness)) < 0.01


def test_a_perfect_copy_without_noise_leaves_nothing():
    same = GaussianBands(16, correlation=torch.ones(2, 2), fwhm=[0.0, 2.0], noise=[1e-6, 1.0])
    images, truth = same.draw(4, generator=rng(2))
    assert same.expected_rmse(inputs=[0], target=1) < 1e-5
    off = same.wiener(images, inputs=[0], target=1) - truth[:, 1]
    assert float(off.abs().max()) < 1e-3


def test_without_inputs_the_answer_is_nothing(bands, drawn):
    assert not bool(bands.wiener(drawn[0][:2], inputs=[], target=0).any())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 31}, ValueError, "size must be even, got 31"),
        ({"size": 32.0}, TypeError, "size must be a positive integer"),
        ({"correlation": torch.ones(2, 3)}, ValueError, r"correlation must be \(F, F\)"),
        ({"correlation": 2 * RHO}, ValueError, "correlation must be symmetric"),
        ({"correlation": RHO.triu()}, ValueError, "correlation must be symmetric"),
        ({"correlation": RHO * torch.nan}, ValueError, "correlation must be symmetric"),
        ({"correlation": 3 * RHO - 2 * torch.eye(3)}, ValueError, "correlation must be symmetric"),
        ({"fwhm": [1.0, 2.0]}, ValueError, "fwhm must hold 3 numbers, got 2"),
        ({"fwhm": [1.0, 2.0, -1.0]}, ValueError, "fwhm must be finite and not negative"),
        ({"noise": [0.0, 1.0, 1.0]}, ValueError, "noise must be finite and positive"),
        ({"slopes": [1.0]}, ValueError, "slopes must hold 3 numbers, got 1"),
        ({"scale": 0.0}, ValueError, "scale must be finite and positive"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        GaussianBands(**({"size": 32} | OPTIONS | options))


def test_wrong_bands_are_named(bands, drawn):
    images = drawn[0][:1]
    with pytest.raises(ValueError, match=r"inputs must lie in 0\.\.2, got 3"):
        bands.wiener(images, inputs=[3], target=0)
    with pytest.raises(ValueError, match=r"target must lie in 0\.\.2, got -1"):
        bands.wiener(images, inputs=[0], target=-1)
    with pytest.raises(ValueError, match="the target 0 not among them, got"):
        bands.expected_rmse(inputs=[0, 1], target=0)
    with pytest.raises(ValueError, match="inputs must be different bands"):
        bands.expected_rmse(inputs=[1, 1], target=0)
    with pytest.raises(TypeError, match="inputs must be an integer"):
        bands.expected_rmse(inputs=[0.5], target=1)
    with pytest.raises(ValueError, match="images must be"):
        bands.wiener(images[:, :2], inputs=[0], target=1)
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        bands.draw(1, generator=None)
