"""skytutor.data.bands: scenes hold what they say, and surveys see what is in them."""

import math

import pytest
import torch

from skytutor.data.bands import EMPTY, GALAXY, STAR, SceneSimulator
from skytutor.data.stars import StarTable
from skytutor.data.surveys import BANDS


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def simulator():
    return SceneSimulator()


@pytest.fixture(scope="module")
def scenes(simulator):
    return simulator.draw(60, generator=generator())


def test_scenes_hold_two_to_six_sources_of_both_kinds(scenes):
    filled = scenes.kind != EMPTY
    count = filled.sum(1)
    assert (int(count.min()), int(count.max())) == (2, 6)
    stars = int((scenes.kind == STAR).sum()) / int(filled.sum())
    assert stars == pytest.approx(0.5, abs=0.15)
    assert bool((scenes.flux[~filled] == 0).all())
    assert bool((scenes.source_flux()[filled] > 0).all())
    assert bool(scenes.temperature.isfinite().eq(scenes.kind == STAR).all())
    assert bool(scenes.redshift.isfinite().eq(scenes.kind == GALAXY).all())


def test_magnitudes_in_r_are_those_that_were_asked_for(scenes):
    red = scenes.source_flux()[..., scenes.bands.index("r")]
    magnitude = 22.5 - 2.5 * red[scenes.kind != EMPTY].log10()
    assert 14 <= float(magnitude.min()) < 15
    assert 19.5 < float(magnitude.max()) <= 20.5
    assert float(magnitude.mean()) == pytest.approx(17.25, abs=0.5)


def test_stars_are_points_with_the_colours_of_their_temperature(scenes):
    star = scenes.kind == STAR
    flux = scenes.flux[star]
    assert bool((flux[:, 1:] == 0).all())
    table = StarTable([BANDS[name].filter for name in scenes.bands])
    wanted = table.fluxes(scenes.temperature[star])
    r = scenes.bands.index("r")
    assert torch.allclose(flux[:, 0] / flux[:, 0, r, None], wanted / wanted[:, r, None], rtol=1e-4)


def test_galaxies_fade_and_shrink_together():
    """A galaxy that gets a hundredth of the light keeps its colours and a third of its size."""
    simulator = SceneSimulator(["r", "K"])
    galaxies = simulator._population.draw(2, generator=generator(4))
    flux, shapes = simulator._scaled(galaxies, torch.tensor([100.0, 100.0]))
    faint, small = simulator._scaled(galaxies, torch.tensor([1.0, 1.0]))
    assert torch.allclose(faint * 100, flux, rtol=1e-4)
    ratio = (shapes.disc_radius / small.disc_radius).tolist()
    assert ratio == pytest.approx([10**0.5] * 2, rel=1e-3)
    assert torch.allclose(shapes.clump_x / 10**0.5, small.clump_x, rtol=1e-3)
    assert torch.equal(shapes.disc_axis_ratio, small.disc_axis_ratio)


def test_an_image_holds_the_light_of_its_sources_where_they_are(simulator, scenes):
    truth = simulator.truth(scenes)
    inside = (scenes.x.abs() < 12) & (scenes.y.abs() < 12)
    whole = (inside | (scenes.kind == EMPTY)).all(1)
    total = scenes.source_flux().sum(1)
    for f, name in enumerate(scenes.bands):
        ratio = truth[:, f].sum((1, 2)) / total[:, f]
        if bool(whole.any()) and BANDS[name].fwhm < 3:
            assert float(ratio[whole].min()) > 0.9
        assert float(ratio.max()) < 1.01
    # The brightest pixel of r lies on a source.
    r = scenes.bands.index("r")
    for k in range(len(scenes)):
        row, column = divmod(int(truth[k, r].argmax()), 64)
        x, y = (column - 31.5) * 0.8, (row - 31.5) * 0.8
        away = torch.hypot(scenes.x[k] - x, scenes.y[k] - y)[scenes.kind[k] != EMPTY]
        assert float(away.min()) < 2


def test_a_subset_of_bands_sees_the_same_scenes(scenes):
    few = SceneSimulator(["K", "g"]).draw(60, generator=generator())
    both = [scenes.bands.index(name) for name in ("K", "g")]
    assert torch.equal(few.kind, scenes.kind)
    assert torch.allclose(few.flux, scenes.flux[..., both], rtol=1e-4)


def test_noise_is_that_of_the_inverse_variance(simulator, scenes):
    seen = simulator.observe(scenes, generator=generator(1))
    pull = (seen.images - seen.truth) * seen.ivar.sqrt()
    for f, name in enumerate(scenes.bands):
        if BANDS[name].kind != "photons":
            used = seen.ivar[:, f] > 0
            assert float(pull[:, f][used].std()) == pytest.approx(1, abs=0.06), name
    assert bool((seen.ivar >= 0).all())
    assert seen.images.isfinite().all() and seen.ivar.isfinite().all()


def test_the_same_seed_gives_the_same_sky(simulator):
    first = simulator.observe(simulator.draw(3, generator=generator(5)), generator=generator(6))
    again = simulator.observe(simulator.draw(3, generator=generator(5)), generator=generator(6))
    other = simulator.observe(simulator.draw(3, generator=generator(5)), generator=generator(7))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.truth, other.truth)
    assert not torch.equal(first.images, other.images)


def test_plates_blacken_where_stars_are_bright(simulator):
    scenes = simulator.draw(60, generator=generator(8))
    seen = simulator.observe(scenes, generator=generator(9))
    red = seen.ivar[:, scenes.bands.index("red")]
    assert bool((red == 0).any())
    assert float((red == 0).double().mean()) < 0.02
    assert not bool((seen.ivar[:, scenes.bands.index("r")] == 0).any())


def test_the_ultraviolet_sees_few_and_hot_sources(simulator, scenes):
    seen = simulator.observe(scenes, generator=generator(2))
    f = scenes.bands.index("FUV")
    images = seen.images[:, f]
    without_photons = images == images.amin((1, 2), keepdim=True)
    assert float(without_photons.double().mean()) > 0.8
    star = scenes.kind == STAR
    hot = scenes.temperature > 9000
    flux = scenes.source_flux()[..., f]
    assert float(flux[star & hot].min()) > float(flux[star & (scenes.temperature < 5000)].max())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bands": "g"}, TypeError, "bands must be a sequence of names"),
        ({"bands": []}, ValueError, "bands must hold one of"),
        ({"bands": ["g", "W1"]}, ValueError, "bands must be one of .* got 'W1'"),
        ({"bands": ["g", "g"]}, ValueError, "bands must name each band once"),
        ({"size": 0}, ValueError, "size must"),
        ({"size": 8.0}, TypeError, "size must be a positive integer, got 8.0"),
        ({"pixel_arcsec": -1.0}, ValueError, "pixel_arcsec must be finite and positive"),
        ({"pixel_arcsec": math.nan}, ValueError, "pixel_arcsec must be finite and positive"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        SceneSimulator(**options)


def test_no_scenes_cannot_be_drawn(simulator):
    with pytest.raises(ValueError, match="n must"):
        simulator.draw(0, generator=generator())


def test_random_numbers_come_from_a_generator_that_is_given(simulator, scenes):
    for call in (
        lambda: simulator.draw(1, generator=None),
        lambda: simulator.observe(scenes, generator=7),
    ):
        with pytest.raises(TypeError, match=r"generator must be a torch\.Generator, got"):
            call()


def test_scenes_of_other_bands_are_refused(scenes):
    """Also those of as many bands: fluxes would be taken for those of another filter."""
    for bands in (["g"], list(scenes.bands)[::-1]):
        other = SceneSimulator(bands, size=64)
        with pytest.raises(
            ValueError, match=f"scenes must be of the bands {', '.join(bands)}, got"
        ):
            other.observe(scenes, generator=generator())
