"""Ablations: each takes one thing out of an image and keeps the rest."""

import math

import pytest
import torch

from skytutor.chapters.spectra import ablation_scores
from skytutor.chapters.spectra.ablation_scores import score_ablations
from skytutor.chapters.spectra.ablations import (
    ABLATIONS,
    add_noise,
    blur,
    mask_centre,
    mask_outskirts,
    monochrome,
    permute_in_annuli,
    pixel_radius,
    sky,
)
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator
from skytutor.data.rendering import GalaxyRenderer, Shapes

NOISE = torch.tensor(SKY_NOISE)[:, None, None]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def simulator():
    return GalaxySimulator()


@pytest.fixture(scope="module")
def images(simulator):
    """Return 20 galaxies with noise, of which none is faint."""
    return simulator.images(simulator.draw(20, generator=rng()), generator=rng(1))


def point_sources(fwhm):
    one = torch.ones(1)
    spot = torch.zeros(1, 1)
    shapes = Shapes(one, one, one, one, one, one, spot, spot, spot, spot + 1)
    renderer = GalaxyRenderer(64, psf_fwhm=fwhm, padding=4)
    fluxes = torch.zeros(1, 3, 5)
    fluxes[:, 2] = 100
    return renderer.images(renderer.planes(shapes), fluxes)


def moments(images):
    """Return axis ratio and angle of the r band from its second moments."""
    place = (torch.arange(64) - 31.5) * 0.25
    red = images[:, 1].double()
    xx = (red * place**2).sum((1, 2))
    yy = (red * place[:, None] ** 2).sum((1, 2))
    xy = (red * place * place[:, None]).sum((1, 2))
    spread = torch.hypot((xx - yy) / 2, xy)
    mean = (xx + yy) / 2
    return ((mean - spread) / (mean + spread)).sqrt(), torch.atan2(2 * xy, xx - yy) / 2


def elongated(axis_ratio, angle):
    place = (torch.arange(64) - 31.5) * 0.25
    x, y = place, place[:, None]
    along = math.cos(angle) * x + math.sin(angle) * y
    across = (math.cos(angle) * y - math.sin(angle) * x) / axis_ratio
    return torch.exp(-(along**2 + across**2) / 2 / 1.5**2).expand(1, 5, -1, -1).clone()


def test_shuffling_keeps_every_ring_and_the_colours_of_every_pixel(images):
    shuffled = permute_in_annuli(images, width_arcsec=0.5, generator=rng())
    ring = (pixel_radius(images) / 0.5).floor()
    for k in (0, 3, 9, 20):
        inside = ring == k
        assert torch.allclose(
            shuffled[..., inside].double().sum(2), images[..., inside].double().sum(2), rtol=1e-5
        )
        # The same five numbers in each pixel, in another order: sorted by r they agree.
        before = images[0][:, inside]
        after = shuffled[0][:, inside]
        assert torch.equal(after[:, after[1].argsort()], before[:, before[1].argsort()])
    assert not torch.equal(shuffled, images)


def test_shuffling_leaves_an_image_that_is_round_as_it_is():
    round_image = torch.exp(-pixel_radius(torch.zeros(1, 5, 64, 64))).expand(2, 5, -1, -1)
    found = permute_in_annuli(round_image, width_arcsec=1e-4, generator=rng())
    assert torch.allclose(found, round_image, atol=1e-6)


def test_shuffling_makes_a_flat_galaxy_round_and_elliptical_rings_keep_it_flat():
    flat = elongated(0.4, 0.7)
    ratio, _ = moments(permute_in_annuli(flat, width_arcsec=0.25, generator=rng()))
    assert float(ratio) > 0.9
    kept = permute_in_annuli(
        flat,
        width_arcsec=0.25,
        generator=rng(),
        axis_ratio=torch.tensor([0.4]),
        angle=torch.tensor([0.7]),
    )
    ratio, angle = moments(kept)
    assert abs(float(ratio) - 0.4) < 0.02 and abs(float(angle) - 0.7) < 0.02


def test_every_galaxy_is_shuffled_in_its_own_way_and_again_alike():
    one = torch.arange(64.0 * 64).reshape(1, 1, 64, 64).expand(2, 5, -1, -1)
    found = permute_in_annuli(one, width_arcsec=1.0, generator=rng(3))
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[:, 0], found[:, 4])
    assert torch.equal(permute_in_annuli(one, width_arcsec=1.0, generator=rng(3)), found)


def test_blurring_gives_the_wanted_psf_and_keeps_the_flux():
    sharp = point_sources((1.31, 1.19, 1.11, 1.07, 1.02))
    blurred = blur(sharp, 2.0)
    wanted = point_sources((2.0,) * 5)
    # The frames differ in size, and so in what comes back over the edge.
    assert (blurred - wanted).abs().max() < 2e-3 * wanted.max()
    assert torch.allclose(blurred.sum((2, 3)), sharp.sum((2, 3)), rtol=1e-5)


def test_blurring_with_a_generator_leaves_the_sky_white_and_as_deep():
    empty = sky(torch.zeros(20, 5, 64, 64), rng())

    def neighbours(images):
        return (images * images.roll(1, 3)).mean((0, 2, 3)) / images.square().mean((0, 2, 3))

    white = blur(empty, 3.0, generator=rng(1))
    assert torch.allclose(white.std((0, 2, 3)), NOISE.flatten(), rtol=0.015)
    assert neighbours(white).abs().max() < 0.02
    smooth = blur(empty, 3.0)
    assert neighbours(smooth).min() > 0.5 and (smooth.std((0, 2, 3)) < 0.5 * NOISE.flatten()).all()


def test_masks_touch_what_they_name_and_put_sky_there(images):
    inside = pixel_radius(images) < 1.5
    centre = mask_centre(images, 1.5, generator=rng())
    assert torch.equal(centre[..., ~inside], images[..., ~inside])
    hidden = centre[..., inside] / torch.tensor(SKY_NOISE)[:, None]
    assert abs(float(hidden.std()) - 1) < 0.03 and abs(float(hidden.mean())) < 0.03
    outskirts = mask_outskirts(images, 1.5, generator=rng())
    assert torch.equal(outskirts[..., inside], images[..., inside])
    assert not (outskirts[..., ~inside] == images[..., ~inside]).any()
    assert torch.equal(mask_centre(images, 0, generator=rng()), images)


def test_noise_grows_by_the_factor():
    empty = sky(torch.zeros(20, 5, 64, 64), rng())
    noisy = add_noise(empty, 2.0, generator=rng(1))
    assert torch.allclose(noisy.std((0, 2, 3)), 2 * NOISE.flatten(), rtol=0.015)
    assert torch.equal(add_noise(empty, 1.0, generator=rng(1)), empty)


def test_one_profile_keeps_total_colours_and_the_r_band_and_takes_the_gradients(simulator, images):
    grey = monochrome(images, generator=rng())
    inside = pixel_radius(images) < 6.4
    assert torch.allclose(grey[:, 1], images[:, 1], atol=1e-5)
    total = images[..., inside].sum(2)
    assert torch.allclose(grey[..., inside].sum(2), total, rtol=1e-3, atol=1e-2)
    # The fraction of the light in the middle differs between bands before, and not after.
    middle = pixel_radius(images) < 1.0
    fraction = grey[..., middle].sum(2) / total
    error = NOISE.flatten() * math.sqrt(int(middle.sum())) / total
    assert ((fraction - fraction[:, 1:2]).abs() < 5 * error).all()
    clean = images[..., middle].sum(2) / total
    assert ((clean - clean[:, 1:2]).abs() > 5 * error)[:, 0].any()


def test_one_profile_has_the_noise_of_each_band(images):
    grey = monochrome(images, generator=rng())
    corner = grey[..., :8, :8] / NOISE
    # Bands fainter than r in their own noise get it made up; none has less.
    assert (corner.std((0, 2, 3)) > 0.95).all()


def test_bad_arguments_are_named(images):
    with pytest.raises(ValueError, match="width_arcsec must be finite and positive"):
        permute_in_annuli(images, width_arcsec=0, generator=rng())
    with pytest.raises(ValueError, match=r"fwhm_arcsec must be at least 1\.31"):
        blur(images, 1.2)
    with pytest.raises(ValueError, match="factor must be at least 1"):
        add_noise(images, 0.9, generator=rng())


def test_a_linear_step_finds_a_linear_relation():
    features = torch.randn(4000, 10, generator=rng())
    matrix = torch.randn(10, 9, generator=rng(1))
    fit = ablation_scores._linear_fit(features, features @ matrix + 3)
    new = torch.randn(50, 10, generator=rng(2))
    assert (fit(new) - new @ matrix - 3).abs().max() < 0.2


def test_scores_compare_each_ablation_with_whole_images_and_the_catalogue(simulator):
    network = SpectrumNetwork(channels=(4, 4, 4, 4), width=8).eval()
    found = score_ablations(
        network,
        size=12,
        refit=20,
        simulator=simulator,
        autoencoder=SpectrumAutoencoder(),
        limits=LimitNetworks(),
    )
    assert list(found["ablations"]) == list(ABLATIONS)
    whole = found["ablations"]["whole image"]
    assert whole["above_whole"] == 0 and whole["above_whole_error"] == 0
    for row in found["ablations"].values():
        assert row["below_catalogue"] == pytest.approx(1 - row["rmse"] / found["rmse_catalogue"])
        assert row["rmse"] == pytest.approx(whole["rmse"] + row["above_whole"])
    # The same network and other numbers: the fit has had its say.
    assert found["refitted"]["whole image"]["rmse"] != whole["rmse"]
