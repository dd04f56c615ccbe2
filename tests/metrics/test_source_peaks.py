"""skytutor.metrics.sources on skies whose sources are known, and on frauds."""

import math

import pytest
import torch

from skytutor.metrics.sources import find_peaks, point_source_flux, unmatched

SIZE = 48
NOISE = 0.1


@pytest.fixture
def psf():
    place = torch.arange(SIZE) - SIZE // 2
    image = torch.exp(-(place.square() + place[:, None].square()) / (2 * 1.5**2))
    return image / image.sum()


def sky(psf, *sources):
    """Return an image of stars (row, column, flux) without noise, ``(1, H, H)``."""
    image = torch.zeros(SIZE, SIZE)
    for row, column, flux in sources:
        image += flux * psf.roll((row - SIZE // 2, column - SIZE // 2), (0, 1))
    return image[None]


def peaks_of(image, psf):
    flux, error = point_source_flux(image, psf)
    return find_peaks(flux, least=5 * NOISE * error), flux


def test_a_star_comes_out_at_its_place_with_its_flux(psf):
    peaks, _ = peaks_of(sky(psf, (12, 30, 50.0)), psf)
    assert (int(peaks.row), int(peaks.column), len(peaks)) == (12, 30, 1)
    assert float(peaks.flux) == pytest.approx(50, rel=1e-4)


def test_the_error_is_that_of_the_noise(psf):
    rng = torch.Generator().manual_seed(0)
    flux, error = point_source_flux(NOISE * torch.randn(200, SIZE, SIZE, generator=rng), psf)
    inside = flux[:, 10:-10, 10:-10]
    assert float(inside.std()) == pytest.approx(NOISE * error, rel=0.04)
    assert abs(float(inside.mean())) < 0.05 * NOISE * error


def test_nothing_comes_back_over_an_edge(psf):
    flux, _ = point_source_flux(sky(psf, (SIZE // 2, SIZE // 2, 1.0)), psf)
    corner = torch.zeros(1, SIZE, SIZE)
    corner[0, 0, 0] = 1
    flux, _ = point_source_flux(corner, psf)
    assert float(flux[0, -3:].abs().max()) < 1e-6


def test_noise_alone_makes_as_many_peaks_as_a_gaussian_says(psf):
    rng = torch.Generator().manual_seed(1)
    flux, error = point_source_flux(torch.randn(300, SIZE, SIZE, generator=rng), psf)
    few = len(find_peaks(flux, least=3.5 * error))
    many = len(find_peaks(flux, least=2.5 * error))
    # Peaks above u deviations are as u exp(-u^2 / 2), where u is large.
    assert many > 100 and few / many == pytest.approx(math.exp(-3) * 3.5 / 2.5, rel=0.4)


def test_a_copy_invents_and_loses_nothing(psf):
    truth = sky(psf, (12, 30, 50.0), (30, 10, 8.0))
    peaks, flux = peaks_of(truth, psf)
    assert len(peaks) == 2 and not unmatched(peaks, flux).any()


def test_a_source_too_many_is_invented_and_one_too_few_is_lost(psf):
    truth = sky(psf, (12, 30, 50.0), (30, 10, 8.0))
    fraud = sky(psf, (12, 30, 50.0), (40, 40, 8.0))
    there, in_truth = peaks_of(truth, psf)
    claimed, in_fraud = peaks_of(fraud, psf)
    invented, lost = unmatched(claimed, in_truth), unmatched(there, in_fraud)
    assert claimed.row[invented].tolist() == [40] and there.row[lost].tolist() == [30]


def test_a_source_of_a_third_of_its_flux_is_lost_and_one_moved_by_a_pixel_is_not(psf):
    truth = sky(psf, (20, 20, 40.0))
    there, _ = peaks_of(truth, psf)
    for fraud, wanted in ((truth / 3, True), (truth.roll(1, -1), False), (truth.roll(6, -1), True)):
        _, flux = peaks_of(fraud, psf)
        assert bool(unmatched(there, flux)) is wanted


def test_noise_that_is_added_is_counted_as_inventions(psf):
    rng = torch.Generator().manual_seed(2)
    truth = sky(psf, (12, 30, 50.0)).expand(50, -1, -1)
    noisy = truth + 3 * NOISE * torch.randn(truth.shape, generator=rng)
    claimed, _ = peaks_of(noisy, psf)
    _, in_truth = peaks_of(truth, psf)
    assert int(unmatched(claimed, in_truth).sum()) > 50


def test_an_empty_sky_has_no_peaks(psf):
    peaks, flux = peaks_of(torch.zeros(2, SIZE, SIZE), psf)
    assert len(peaks) == 0 and len(unmatched(peaks, flux)) == 0


@pytest.mark.parametrize(
    ("images", "word"),
    [
        (torch.zeros(SIZE, SIZE), "images must be"),
        (torch.zeros(1, SIZE, SIZE + 1), "with the H of psf"),
        (torch.full((1, SIZE, SIZE), torch.nan), "finite"),
    ],
)
def test_images_that_do_not_fit_are_named(psf, images, word):
    with pytest.raises(ValueError, match=word):
        point_source_flux(images, psf)


@pytest.mark.parametrize(
    ("flux", "least", "box", "word"),
    [
        (torch.zeros(4, 4), 1.0, 3, "flux must be"),
        (torch.full((1, 4, 4), torch.nan), 1.0, 3, "finite"),
        (torch.zeros(1, 4, 4), -1.0, 3, "least must be"),
        (torch.zeros(1, 4, 4), 1.0, 0, "box must be"),
    ],
)
def test_peaks_of_nothing_sensible_are_refused(flux, least, box, word):
    with pytest.raises(ValueError, match=word):
        find_peaks(flux, least=least, box=box)
