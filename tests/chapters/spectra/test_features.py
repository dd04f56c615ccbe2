"""Features of a catalogue: magnitudes as they are, colours that noise does not break."""

import math
from dataclasses import replace

import pytest
import torch

from skytutor.chapters.spectra.features import (
    SOFTENING,
    asinh_magnitudes,
    catalogue_features,
    colour_features,
)
from skytutor.data.galaxies import SKY_NOISE
from skytutor.data.galaxy_catalogue import Catalogue


def table(n=50, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(shape, generator=generator)

    total = 20 + 300 * uniform(n, 5)
    return Catalogue(
        total=total,
        aperture=total * (0.2 + 0.5 * uniform(n, 5)),
        radius=1 + uniform(n),
        axis_ratio=0.2 + 0.8 * uniform(n),
        concentration=2 + uniform(n),
    )


def test_bright_galaxies_have_their_usual_magnitudes():
    flux = torch.tensor([3.0, 100.0, 1e4], dtype=torch.float64)
    usual = 22.5 - 2.5 * flux.log10()
    softening = torch.tensor(0.1, dtype=torch.float64)
    # The difference is b^2 / f^2 in relative flux.
    assert torch.allclose(asinh_magnitudes(flux, softening), usual, atol=1.2e-3)
    assert float(asinh_magnitudes(flux, softening)[2]) == pytest.approx(float(usual[2]), abs=1e-9)


def test_noise_at_zero_flux_moves_a_magnitude_by_a_bounded_amount():
    """The slope at no flux is 2.5 / ln 10 / (2 b): noise of b moves it by half a magnitude."""
    softening = torch.tensor(0.1, dtype=torch.float64)
    flux = torch.tensor([-0.1, 0.0, 0.1], dtype=torch.float64)
    found = asinh_magnitudes(flux, softening)
    assert (found.diff() < 0).all()
    assert float(found[0] - found[2]) == pytest.approx(2 * 2.5 / math.log(10) * math.asinh(0.5))
    assert float(found[1]) == pytest.approx(22.5 - 2.5 * math.log10(0.1))


def test_a_negative_flux_does_no_harm():
    galaxies = table()
    galaxies.total[0] = -1.0
    galaxies.aperture[1] = 0.0
    assert bool(catalogue_features(galaxies).isfinite().all())


def test_colours_do_not_depend_on_brightness_and_magnitudes_do():
    galaxies = table()
    brighter = replace(galaxies, total=galaxies.total * 2, aperture=galaxies.aperture * 2)
    change = catalogue_features(brighter) - catalogue_features(galaxies)
    assert torch.allclose(change[:, 0], torch.tensor(-2.5 * math.log10(2)), atol=1e-3)
    # The softening of y, 0.6, is a seventh of the faintest flux here.
    assert (change[:, 1:].abs() < 0.02).all()


def test_every_number_of_the_catalogue_changes_some_feature():
    galaxies = table()
    before = catalogue_features(galaxies)
    for name in ("total", "aperture", "radius", "axis_ratio", "concentration"):
        column = getattr(galaxies, name)
        for band in range(column.shape[1] if column.dim() == 2 else 1):
            changed = column.clone()
            changed.view(len(column), -1)[:, band] *= 1.1
            after = catalogue_features(replace(galaxies, **{name: changed}))
            assert (after - before).abs().max() > 0.01, (name, band)


def test_total_colours_know_neither_aperture_nor_shape():
    galaxies = table()
    other = table(seed=1)
    same = replace(other, total=galaxies.total)
    assert torch.equal(colour_features(same), colour_features(galaxies))
    assert torch.equal(catalogue_features(galaxies)[:, :5], colour_features(galaxies))


def test_the_softening_is_the_noise_of_a_point_source():
    """The sky's noise through a PSF that covers 4 pi sigma^2: within the PSF's own shape."""
    for softening, noise, fwhm in zip(
        SOFTENING, SKY_NOISE, (1.31, 1.19, 1.11, 1.07, 1.02), strict=True
    ):
        pixels = 4 * math.pi * (fwhm / 2.3548 / 0.25) ** 2
        assert softening == pytest.approx(noise * math.sqrt(pixels), rel=0.4)


@pytest.mark.parametrize("name", ["total", "aperture"])
def test_bad_fluxes_are_named(name):
    galaxies = table()
    with pytest.raises(ValueError, match=rf"{name} must be \(N, 5\).*got shape \(50, 4\)"):
        catalogue_features(replace(galaxies, **{name: torch.ones(50, 4)}))
    with pytest.raises(ValueError, match=f"{name} holds NaN"):
        catalogue_features(replace(galaxies, **{name: torch.full((50, 5), math.nan)}))


def test_an_empty_catalogue_is_refused():
    with pytest.raises(ValueError, match="one galaxy or more"):
        colour_features(table(0))


@pytest.mark.parametrize("name", ["radius", "axis_ratio", "concentration"])
def test_bad_shapes_are_named(name):
    galaxies = table()
    for column in (torch.ones(49), torch.full((50,), math.nan)):
        with pytest.raises(ValueError, match=f"{name} must be finite, one for each of 50"):
            catalogue_features(replace(galaxies, **{name: column}))
    with pytest.raises(ValueError, match=r"radius must be positive, got 0\.0"):
        catalogue_features(replace(galaxies, radius=torch.zeros(50)))
