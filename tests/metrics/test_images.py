"""skytutor.metrics.images against scikit-image, and on frauds."""

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from skytutor.metrics.images import psnr, residual_spectrum, ssim


@pytest.fixture
def pair():
    rng = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 24, 20, generator=rng)
    return truth + 0.1 * torch.randn(truth.shape, generator=rng), truth


def test_psnr_is_that_of_scikit_image(pair):
    image, truth = pair
    wanted = peak_signal_noise_ratio(truth.numpy(), image.numpy(), data_range=3.0)
    assert float(psnr(image, truth, data_range=3.0)) == pytest.approx(wanted, abs=1e-4)


def test_ssim_is_that_of_scikit_image_for_each_image(pair):
    image, truth = pair
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    found = ssim(image, truth, data_range=1.0)
    assert found.shape == (2,)
    for k in range(2):
        wanted = structural_similarity(
            truth[k].double().numpy(), image[k].double().numpy(), data_range=1.0, **options
        )
        assert float(found[k]) == pytest.approx(wanted, abs=1e-6)


def test_equal_images_have_no_error(pair):
    _, truth = pair
    assert float(psnr(truth, truth, data_range=1.0)) == float("inf")
    assert torch.allclose(ssim(truth, truth, data_range=1.0), torch.ones(2))


def test_noise_in_the_truth_bounds_the_score_of_a_perfect_answer():
    rng = torch.Generator().manual_seed(1)
    truth = torch.zeros(200, 200)
    noisy = truth + 0.1 * torch.randn(truth.shape, generator=rng)
    assert float(psnr(truth, noisy, data_range=1.0)) == pytest.approx(20, abs=0.1)


def test_a_copy_moved_by_a_pixel_and_a_blur_cost_structure(pair):
    _, truth = pair
    moved = truth.roll(1, -1)
    blurred = torch.nn.functional.avg_pool2d(truth[:, None], 3, 1, 1)[:, 0]
    for fraud in (moved, blurred):
        assert float(ssim(fraud, truth, data_range=1.0).max()) < 0.7


@pytest.mark.parametrize("score", [psnr, ssim])
@pytest.mark.parametrize(
    ("image", "truth", "scale", "word"),
    [
        (torch.zeros(12, 12), torch.zeros(12, 13), 1.0, "image must have the shape of truth"),
        (torch.zeros(0, 12, 12), torch.zeros(0, 12, 12), 1.0, "with a pixel or more"),
        (torch.full((12, 12), torch.nan), torch.zeros(12, 12), 1.0, "image must be finite"),
        (torch.zeros(12, 12), torch.full((12, 12), torch.inf), 1.0, "truth must be finite"),
        (torch.zeros(12, 12), torch.zeros(12, 12), 0.0, "data_range must be finite and positive"),
    ],
)
def test_bad_input_is_named(score, image, truth, scale, word):
    with pytest.raises(ValueError, match=word):
        score(image, truth, data_range=scale)


def test_images_below_the_window_have_no_structure():
    with pytest.raises(ValueError, match="11 pixels a side or more, got"):
        ssim(torch.zeros(10, 20), torch.zeros(10, 20), data_range=1.0)


@pytest.fixture
def sky():
    return torch.randn(8, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_truth_has_no_residual_and_an_empty_image_all(sky):
    _, none = residual_spectrum(sky, sky, n_bins=5)
    _, all_of_it = residual_spectrum(torch.zeros_like(sky), sky, n_bins=5)
    assert (none == 0).all() and torch.allclose(all_of_it, torch.ones(5))


def test_a_fainter_copy_has_the_same_residual_at_all_scales(sky):
    _, ratio = residual_spectrum(0.7 * sky, sky, n_bins=6)
    assert torch.allclose(ratio, torch.full((6,), 0.09), atol=1e-5)


def test_a_blurred_copy_is_right_at_large_scales_alone(sky):
    blurred = torch.nn.functional.avg_pool2d(sky, 3, 1, 1, count_include_pad=True)
    k, ratio = residual_spectrum(blurred, sky, n_bins=6)
    assert ratio[0] < 0.1 and ratio[-1] > 0.6 and (ratio.diff() > 0).all()
    assert float(k[0]) == pytest.approx(1 / 24) and float(k[-1]) == pytest.approx(11 / 24)


def test_texture_that_is_made_up_has_more_than_an_empty_image(sky):
    smooth = torch.nn.functional.avg_pool2d(sky, 5, 1, 2)
    rng = torch.Generator().manual_seed(2)
    made_up = smooth + 0.2 * torch.randn(smooth.shape, generator=rng)
    _, ratio = residual_spectrum(made_up, smooth, n_bins=6)
    assert ratio[0] < 1 < ratio[-1]


def test_a_residual_in_one_wave_is_in_its_ring():
    along = torch.arange(64.0)
    truth = torch.randn(64, 64, generator=torch.Generator().manual_seed(3))
    wave = 3 * torch.cos(2 * torch.pi * along * 20 / 64).expand(64, 64)
    _, ratio = residual_spectrum(truth + wave, truth, n_bins=8)
    assert int(ratio.argmax()) == int(20 / 64 * 16) and ratio[0] < 1e-3 * ratio.max()


@pytest.mark.parametrize(
    ("image", "truth", "n_bins", "words"),
    [
        (torch.zeros(4, 4), torch.zeros(4, 5), 3, "image must have the shape"),
        (torch.zeros(4, 5), torch.zeros(4, 5), 3, "image must be"),
        (torch.full((4, 4), torch.nan), torch.zeros(4, 4), 3, "image must be finite"),
        (torch.zeros(4, 4), torch.zeros(4, 4), 0, "n_bins"),
    ],
)
def test_a_residual_spectrum_of_nonsense_is_refused(image, truth, n_bins, words):
    with pytest.raises(ValueError, match=words):
        residual_spectrum(image, truth, n_bins=n_bins)
