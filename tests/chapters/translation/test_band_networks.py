"""skytutor.chapters.translation.networks: known optics, and any subset of bands."""

import pytest
import torch

from skytutor.chapters.translation.networks import BandTranslator, Optics
from skytutor.chapters.translation.stretch import softenings, stretched, unstretched
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.surveys import BANDS

NAMES = ("g", "r", "K", "red")
SIZE = 32


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = BandTranslator(NAMES, size=SIZE, channels=(8, 12, 16, 16))
    # As after some training: before it, nothing is answered at all.
    for weights in (made.answers, made.offsets):
        torch.nn.init.normal_(weights, std=0.05)
    return made.eval()


@pytest.fixture
def seen():
    rng = torch.Generator().manual_seed(1)
    images = 3 * torch.randn(3, 4, SIZE, SIZE, generator=rng)
    return images, torch.ones_like(images)


def test_what_stands_in_bands_that_are_not_given_does_not_count(network, seen):
    images, ivar = seen
    given = torch.tensor([[True, False, True, False]]).expand(3, -1)
    wanted = network(images, ivar, given)
    for junk in (torch.nan, torch.inf, 1e9):
        other = images.clone()
        other[:, [1, 3]] = junk
        assert torch.equal(network(other, ivar, given), wanted)
    assert not torch.equal(network(images + 1, ivar, given), wanted)


def test_a_band_that_is_not_given_is_not_a_band_of_zeros(network, seen):
    images, ivar = seen
    images = images.clone()
    images[:, 1] = 0
    without = torch.tensor([[True, False, True, True]]).expand(3, -1)
    assert not torch.allclose(
        network(images, ivar, without), network(images, ivar, torch.ones_like(without))
    )


def test_pixels_without_a_measurement_are_told_from_dark_ones(network, seen):
    images, ivar = seen
    given = torch.ones(3, 4, dtype=torch.bool)
    holes = ivar.clone()
    holes[:, 3, 10:14, 10:14] = 0
    assert not torch.allclose(network(images, holes, given), network(images, ivar, given))


@pytest.mark.filterwarnings("ignore:.*are these counts")  # of images of one noise in all bands
def test_asked_for_alone_a_band_is_the_same_as_among_all(network, seen):
    given = torch.tensor([[True, True, False, False]]).expand(3, -1)
    every = network(*seen, given)
    assert torch.allclose(network(*seen, given, targets=[3, 2]), every[:, [3, 2]], atol=1e-6)
    flux = network.predict(*seen, given, targets=[2])
    assert torch.allclose(flux, unstretched(every[:, 2:3], softenings(["K"])), rtol=1e-4, atol=1e-4)


def test_fluxes_survive_the_stretch():
    softening = softenings(NAMES)
    rng = torch.Generator().manual_seed(2)
    flux = 10 ** (8 * torch.rand(2, 4, 5, 5, generator=rng) - 3)
    back = unstretched(stretched(flux, softening), softening)
    assert torch.allclose(back, flux, rtol=1e-5, atol=1e-5)


def star(size, place, bands):
    renderer = SceneRenderer(size, psf_fwhm=[BANDS[name].fwhm for name in bands])
    where = torch.tensor([place])
    plane = renderer.moved(renderer.points(1), where, where)[None]
    return renderer.scenes(plane, torch.ones(1, 1, len(bands)))


def test_sharpened_and_blurred_again_a_band_is_itself():
    optics = Optics(NAMES, size=64)
    image = star(64, 0.3, NAMES)
    bold = optics.sharpened(image)[:, : len(NAMES)]
    again = optics.blurred(bold, range(len(NAMES)))
    peak = image.amax((-2, -1), keepdim=True)
    # The regularised deconvolution leaves out a tenth of the peak of a star on a plate.
    assert float(((again - image) / peak).abs().max()) < 0.12


def test_a_star_of_one_band_is_blurred_to_a_star_of_another():
    optics = Optics(("r", "K"), size=64)
    image = star(64, 0.3, ("r", "K"))
    sharp = optics.sharpened(image)[:, :1]  # of r, boldly
    made = optics.blurred(sharp, [1])
    assert float((made - image[:, 1:]).abs().max()) < 0.01 * float(image[:, 1].max())


def test_optics_keep_the_flux_and_the_place():
    optics = Optics(NAMES, size=64)
    image = star(64, 4.1, NAMES)
    sharp = optics.sharpened(image)
    total = image.sum((-2, -1)).repeat(1, 2)
    ratio = sharp.sum((-2, -1)) / total
    assert bool(((ratio > 0.93) & (ratio < 1.03)).all())
    assert bool((sharp.flatten(2).argmax(-1) == image[:, 1].argmax()).all())


def test_weights_are_not_more_than_five_megabytes_as_float16():
    made = BandTranslator()
    assert 2 * sum(value.numel() for value in made.state_dict().values()) < 5_000_000


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"images": torch.zeros(3, 5, SIZE, SIZE)}, "images must be"),
        ({"images": torch.zeros(4, SIZE, SIZE)}, "images must be"),
        ({"images": torch.zeros(3, 4, SIZE, SIZE + 8)}, "images must be"),
        ({"ivar": torch.zeros(3, 4, SIZE, 1)}, "ivar must have the shape of images"),
        ({"given": torch.ones(4, dtype=torch.bool)}, "given must be bool"),
        ({"given": torch.ones(3, 4)}, "given must be bool"),
    ],
)
def test_shapes_that_do_not_fit_are_named(network, seen, change, word):
    images, ivar = seen
    arguments = {"images": images, "ivar": ivar, "given": torch.ones(3, 4, dtype=torch.bool)}
    with pytest.raises(ValueError, match=word):
        network(**{**arguments, **change})
