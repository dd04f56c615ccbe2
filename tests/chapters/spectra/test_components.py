"""Weighted principal components: exact where the answer is known, and blind to missing bins."""

import numpy as np
import pytest
import torch

from skytutor.chapters.spectra.components import (
    SpectralComponents,
    check_spectra,
    fit_components,
)

N, P, K = 300, 40, 3


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def low_rank(rng):
    """Return spectra ``(N, P)`` float64 that three components make exactly."""
    basis = torch.linalg.qr(torch.randn(P, K, generator=rng, dtype=torch.float64))[0].T
    coefficients = torch.randn(N, K, generator=rng, dtype=torch.float64)
    return 1 + coefficients * torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64) @ basis


def windows(rng):
    """Return inverse variances ``(N, P)`` that are 0 in the first and the last bins."""
    first = torch.randint(0, 8, (N, 1), generator=rng)
    last = torch.randint(32, 40, (N, 1), generator=rng)
    bins = torch.arange(P)
    ivar = 1 + torch.rand(N, P, generator=rng, dtype=torch.float64)
    return ivar * ((bins >= first) & (bins <= last))


def test_missing_bins_of_spectra_of_low_rank_are_given_back(rng):
    flux = low_rank(rng)
    ivar = windows(rng)
    hidden = torch.where(ivar > 0, flux, 1e4)
    fitted = fit_components(hidden, ivar, n_components=K, iterations=300)
    found = fitted.reconstruct(fitted.project(hidden, ivar))
    # The ridge of 1e-6 is what keeps it from being exact.
    assert torch.allclose(found, flux, atol=3e-4)


def test_components_are_orthonormal_and_in_the_order_of_variance(rng):
    flux = low_rank(rng)
    fitted = fit_components(flux, windows(rng), n_components=K)
    eye = torch.eye(K, dtype=torch.float64)
    assert torch.allclose(fitted.vectors @ fitted.vectors.T, eye, atol=1e-12)
    assert bool((fitted.variances.diff() < 0).all())


def test_equal_weights_give_the_singular_vectors(rng):
    flux = low_rank(rng) + 0.1 * torch.randn(N, P, generator=rng, dtype=torch.float64)
    plain = fit_components(flux, n_components=K)
    weighted = fit_components(flux, torch.full_like(flux, 7.0), n_components=K, iterations=200)
    _, values, vectors = np.linalg.svd((flux - flux.mean(0)).numpy(), full_matrices=False)
    assert np.allclose(plain.variances, values[:K] ** 2 / N)
    for found, tolerance in ((plain, 1e-10), (weighted, 1e-4)):
        overlap = np.abs((found.vectors.numpy() * vectors[:K]).sum(1))
        assert np.allclose(overlap, 1, atol=tolerance)


def test_each_projection_is_a_weighted_least_squares_fit(rng):
    flux = low_rank(rng)
    ivar = windows(rng)
    fitted = fit_components(flux, ivar, n_components=2)
    found = fitted.project(flux, ivar)
    for n in (0, 17):
        root = ivar[n].sqrt().numpy()
        design = fitted.vectors.T.numpy() * root[:, None]
        answer = np.linalg.lstsq(design, (flux[n] - fitted.mean).numpy() * root, rcond=None)[0]
        assert np.allclose(found[n], answer, rtol=1e-4)


def test_chi_square_never_rises(rng):
    flux = low_rank(rng) + 0.5 * torch.randn(N, P, generator=rng, dtype=torch.float64)
    ivar = windows(rng)
    before = float("inf")
    for iterations in (0, 1, 2, 5, 20):
        fitted = fit_components(flux, ivar, n_components=2, iterations=iterations)
        found = fitted.reconstruct(fitted.project(flux, ivar))
        chi_square = float((ivar * (flux - found).square()).sum())
        assert chi_square < before * (1 + 1e-9)
        before = chi_square


def test_noisy_bins_count_less(rng):
    flux = low_rank(rng)
    ivar = windows(rng) * 100
    ivar[:, 10:20] /= 1e4
    noise = torch.randn(N, P, generator=rng, dtype=torch.float64)
    noisy = torch.where(ivar > 0, flux + noise / ivar.clamp(min=1e-9).sqrt(), 0.0)
    errors = []
    for weights in (ivar, (ivar > 0).double()):
        fitted = fit_components(noisy, weights, n_components=K)
        errors.append(float((fitted.reconstruct(fitted.project(noisy, weights)) - flux).std()))
    assert errors[0] < 0.5 * errors[1]


def test_partial_sums_go_from_the_mean_to_the_reconstruction(rng):
    fitted = fit_components(low_rank(rng), n_components=K)
    coefficients = torch.randn(5, K, generator=rng, dtype=torch.float64)
    sums = fitted.partial_sums(coefficients)
    assert torch.allclose(sums[:, 0], fitted.mean.expand(5, -1))
    assert torch.allclose(sums[:, 2], fitted.reconstruct(coefficients[:, :2]))
    assert torch.allclose(sums[:, -1], fitted.reconstruct(coefficients))


def test_without_weights_orthonormal_rows_are_enough(rng):
    components = SpectralComponents(torch.ones(4), torch.eye(4)[:2], torch.ones(2))
    flux = torch.randn(3, 4, generator=rng)
    found = components.project(flux, torch.ones(3, 4))
    assert torch.allclose(found, components.project(flux), atol=1e-5)


@pytest.mark.parametrize(
    ("flux", "ivar", "message"),
    [
        (torch.ones(3, 4), torch.ones(3, 5), "must both be"),
        (torch.ones(4), torch.ones(4), "must both be"),
        (torch.full((3, 4), torch.nan), torch.ones(3, 4), "flux must hold finite"),
        (torch.ones(3, 4), torch.full((3, 4), torch.inf), "ivar must hold finite"),
        (torch.ones(3, 4), -torch.ones(3, 4), "must not be negative, got -1"),
        (torch.ones(3, 4), torch.zeros(3, 4), "is 0 in all of 3"),
        (torch.ones(0, 4), torch.ones(0, 4), "nothing"),
    ],
)
def test_spectra_that_say_nothing_are_refused(flux, ivar, message):
    with pytest.raises(ValueError, match=message):
        check_spectra(flux, ivar)


def test_whole_numbers_are_no_spectra():
    with pytest.raises(TypeError, match="flux must be a tensor of floating"):
        check_spectra(torch.ones(3, 4, dtype=torch.long), torch.ones(3, 4))
    with pytest.raises(TypeError, match="ivar must be a tensor of floating-point numbers, got nd"):
        check_spectra(torch.ones(3, 4), np.ones((3, 4)))


def test_as_many_components_as_bins_are_refused():
    with pytest.raises(ValueError, match="n_components must be below 4"):
        fit_components(torch.rand(9, 4), n_components=4)
