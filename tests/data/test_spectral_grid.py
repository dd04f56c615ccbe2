"""skytutor.data.spectral_grid: flux conserved, noise right, masks kept, differentiable."""

import pytest
import torch

from skytutor.data.spectral_grid import (
    air_to_vacuum,
    bin_edges,
    normalise_spectra,
    observed_bins,
    rebin,
)
from skytutor.data.spectral_templates import LOG_WAVELENGTH


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(4)


def random_edges(n, generator, low=0.0, high=10.0):
    inner = torch.rand(n - 1, generator=generator, dtype=torch.float64) * (high - low) + low
    ends = torch.tensor([low, high], dtype=torch.float64)
    return torch.cat([ends, inner]).sort().values


@pytest.mark.parametrize("new", [7, 60, 1000])
def test_the_flux_under_a_spectrum_stays(generator, new):
    edges = random_edges(60, generator)
    after = random_edges(new, generator)
    flux = torch.rand(3, 60, generator=generator, dtype=torch.float64)
    found = rebin(flux, edges, new_edges=after)
    assert torch.allclose((found.flux * after.diff()).sum(1), (flux * edges.diff()).sum(1))
    assert bool(found.mask.all())


def test_the_same_bins_change_nothing(generator):
    flux = torch.rand(2, 1000, generator=generator)
    ivar = torch.rand(2, 1000, generator=generator)
    found = rebin(flux, bin_edges(), new_edges=bin_edges(), ivar=ivar)
    assert torch.allclose(found.flux, flux, rtol=1e-5)
    assert torch.allclose(found.ivar, ivar, rtol=1e-5)


def test_edges_lie_halfway_between_centres_and_are_read_from_tables_in_float32():
    edges = bin_edges()
    assert torch.allclose((edges[1:].log10() + edges[:-1].log10()) / 2, LOG_WAVELENGTH)
    rounded = bin_edges(LOG_WAVELENGTH.float())
    assert float((rounded / edges - 1).abs().max()) < 1e-6
    bent = LOG_WAVELENGTH.clone()
    bent[500:] += 1e-4
    for wrong in (bent, LOG_WAVELENGTH.flip(0), LOG_WAVELENGTH[:1]):
        with pytest.raises(ValueError, match="log_wavelength must"):
            bin_edges(wrong)


@pytest.mark.parametrize("new", [13, 450], ids=["wider", "narrower"])
def test_the_error_of_a_mean_over_many_bins_is_right(generator, new):
    edges = torch.linspace(0, 10, 301, dtype=torch.float64)
    ivar = 1 + 3 * torch.rand(300, generator=generator, dtype=torch.float64)
    noise = torch.randn(4000, 300, generator=generator, dtype=torch.float64) / ivar.sqrt()
    after = torch.linspace(0, 10, new + 1, dtype=torch.float64)
    found = rebin(noise, edges, new_edges=after, ivar=ivar.expand(4000, -1))
    mean = (found.flux * after.diff()).sum(1) / 10
    said = ((after.diff() / 10) ** 2 / found.ivar[0]).sum()
    assert abs(float(mean.var() / said) - 1) < 0.08  # 4000 draws: 2 %


def test_variance_of_whole_pixels_is_that_of_their_mean(generator):
    edges = torch.arange(9.0)
    ivar = torch.rand(8, generator=generator) + 0.5
    found = rebin(torch.zeros(8), edges, new_edges=torch.tensor([0.0, 4.0, 8.0]), ivar=ivar)
    assert torch.allclose(1 / found.ivar, (1 / ivar).view(2, 4).sum(1) / 16)


def test_what_is_masked_has_no_say():
    edges = torch.arange(9.0)
    flux = torch.tensor([1.0, 1, 1, 1e9, 2, float("nan"), float("inf"), 7])
    ivar = torch.tensor([1.0, 1, 1, 0, 1, 1, 1, 1])
    mask = torch.tensor([True] * 7 + [False])
    found = rebin(flux, edges, new_edges=torch.tensor([0.0, 4.0, 8.0]), ivar=ivar, mask=mask)
    assert found.flux.tolist() == [1, 0], "of the second bin a quarter was observed"
    assert found.mask.tolist() == [True, False] and float(found.ivar[1]) == 0
    assert float(found.ivar[0]) == pytest.approx(3)
    quarter = rebin(
        flux, edges, new_edges=torch.tensor([4.0, 8.0]), ivar=ivar, mask=mask, min_fraction=0.25
    )
    assert quarter.flux.tolist() == [2] and bool(quarter.mask.all())


def test_beyond_the_spectrum_nothing_was_observed():
    edges = torch.arange(5.0)
    found = rebin(torch.ones(4), edges, new_edges=torch.tensor([-2.0, -1.0, 1.0, 3.5, 9.0]))
    assert found.mask.tolist() == [False, True, True, False]
    assert found.flux.tolist() == [0, 1, 1, 0]


def test_each_galaxy_may_have_its_own_bins(generator):
    flux = torch.rand(3, 20, generator=generator, dtype=torch.float64)
    edges = torch.stack([random_edges(20, generator) for _ in range(3)])
    after = torch.stack([random_edges(6, generator) for _ in range(3)])
    together = rebin(flux, edges, new_edges=after).flux
    for k in range(3):
        assert torch.allclose(together[k], rebin(flux[k], edges[k], new_edges=after[k]).flux)
    shared = rebin(flux, edges[0], new_edges=after).flux
    assert torch.allclose(shared[2], rebin(flux[2], edges[0], new_edges=after[2]).flux)


def test_gradients(generator):
    flux = torch.rand(2, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    edges = random_edges(6, generator).requires_grad_()
    after = random_edges(4, generator, low=1.0, high=9.0)
    assert torch.autograd.gradcheck(lambda f, e: rebin(f, e, new_edges=after).flux, (flux, edges))


def test_how_many_bins_are_observed_at_a_redshift():
    found = observed_bins(torch.tensor([0.01, 0.1, 0.2, 0.36])).sum(1).tolist()
    # science: 883, 978, 909, 770 centres of bins lie inside
    assert all(abs(a - b) <= 1 for a, b in zip(found, (883, 978, 909, 770), strict=True))


def test_a_normalised_spectrum_has_mean_one(generator):
    flux = 5 + torch.rand(4, 1000, generator=generator)
    ivar = torch.full((4, 1000), 2.0)
    mask = torch.rand(4, 1000, generator=generator) < 0.8
    found, weight, mean = normalise_spectra(flux, ivar, mask=mask)
    wavelength = 10**LOG_WAVELENGTH
    inside = mask & (wavelength >= 4500) & (wavelength <= 6500)
    assert torch.allclose((found * inside).sum(1) / inside.sum(1), torch.ones(4))
    # signal-to-noise is left alone
    assert torch.allclose(found * weight.sqrt(), flux * ivar.sqrt())
    assert torch.allclose(found * mean[:, None], flux)
    for wrong, seen in ((-flux, mask), (flux, torch.zeros_like(mask))):
        with pytest.raises(ValueError, match=r"positive mean over .* 4500 to 6500 .* 4 spectra"):
            normalise_spectra(wrong, ivar, mask=seen)


@pytest.mark.parametrize(
    ("air", "vacuum"), [(5006.843, 5008.240), (4861.325, 4862.683), (3726.032, 3727.09)]
)
def test_lines_in_air_and_in_vacuum(air, vacuum):
    assert abs(float(air_to_vacuum(torch.tensor(air).double())) - vacuum) < 0.01


def test_bad_input():
    edges = torch.arange(5.0)
    flux = torch.ones(4)
    with pytest.raises(ValueError, match="edges must be one more"):
        rebin(flux, edges[:4], new_edges=edges)
    with pytest.raises(ValueError, match="new_edges must rise"):
        rebin(flux, edges, new_edges=edges.flip(0))
    with pytest.raises(ValueError, match=r"ivar must be \(4,\)"):
        rebin(flux, edges, new_edges=edges, ivar=torch.ones(3))
    for bad in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=r"ivar must be 0 or more .* got 1 values"):
            rebin(flux, edges, new_edges=edges, ivar=torch.tensor([1, bad, 1, 1]))
    with pytest.raises(ValueError, match="wavelength must be finite and at least 2000"):
        air_to_vacuum(torch.tensor([1000.0]))
