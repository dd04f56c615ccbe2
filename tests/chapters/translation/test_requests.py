"""skytutor.chapters.translation.requests: what networks refuse, mend or warn of."""

import warnings

import pytest
import torch

from skytutor.chapters.translation.adversaries import Published
from skytutor.chapters.translation.bridge import BandBridge
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.requests import checked_images, checked_targets
from skytutor.chapters.translation.stretch import softenings
from skytutor.data.bands import SceneSimulator

SIZE = 32
RED = 9


@pytest.fixture(scope="module")
def seen():
    simulator = SceneSimulator(size=SIZE)
    rng = torch.Generator().manual_seed(0)
    return simulator.observe(simulator.draw(2, generator=rng), generator=rng)


def plates(n=2):
    given = torch.zeros(n, 10, dtype=torch.bool)
    given[:, 8:] = True
    return given


def checked(images, ivar, given):
    names = BandTranslator(size=SIZE, channels=(4, 8)).bands
    return checked_images(images, ivar, given, bands=names, softening=softenings())


def entrances():
    """Yield every function that takes images from outside, called with images and ivar."""
    torch.manual_seed(0)
    translator = BandTranslator(size=SIZE, channels=(4, 8)).eval()
    bridge = BandBridge(["blue", "red"], ["r"], translator=translator, channels=(4, 8)).eval()
    pair = Published(["blue", "red"], ["r"], size=SIZE, width=4).eval()
    yield lambda images, ivar: translator.predict(images, ivar, plates())
    yield lambda images, ivar: bridge.sample(
        images, ivar, 1, generator=torch.Generator().manual_seed(1)
    )
    yield pair.predict


def test_a_simulated_survey_passes_as_it_is_without_a_warning(seen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything = torch.ones(2, 10, dtype=torch.bool)
        assert torch.equal(checked(seen.images, seen.ivar, everything), seen.images)


@pytest.mark.parametrize("number", range(3))
def test_a_stripe_that_was_not_measured_may_hold_nan_and_reaches_nobody(seen, number):
    entrance = list(entrances())[number]
    images, ivar = seen.images.clone(), seen.ivar.clone()
    ivar[:, RED, :, 5:9] = 0
    images[:, RED, :, 5:9] = 0
    with torch.no_grad():
        clean = entrance(images, ivar)
        images[:, RED, :, 5:9] = torch.nan
        assert torch.equal(entrance(images, ivar), clean)
    assert torch.isfinite(clean).all()


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_and_measured_are_refused(seen, number, value):
    images = seen.images.clone()
    images[1, RED, 3, 3] = value
    with pytest.raises(ValueError, match="images must be finite where ivar is above 0"):
        list(entrances())[number](images, seen.ivar)


@pytest.mark.parametrize("value", [-1.0, torch.nan, torch.inf])
def test_an_inverse_variance_that_is_none_is_refused(seen, value):
    ivar = seen.ivar.clone()
    ivar[0, RED, 0, 0] = value
    with pytest.raises(ValueError, match="ivar must be 0 or more and finite"):
        checked(seen.images, ivar, plates())


def test_what_stands_in_bands_that_are_not_given_does_not_count(seen):
    images, ivar = seen.images.clone(), seen.ivar.clone()
    images[:, :8] = torch.nan
    ivar[:, :8] = -1
    found = checked(images, ivar, plates())
    assert torch.equal(found[:, 8:], seen.images[:, 8:]) and (found[:, :8] == 0).all()


def test_a_scene_without_a_band_is_refused(seen):
    given = plates()
    given[1] = False
    with pytest.raises(ValueError, match="given must hold a band for each scene"):
        checked(seen.images, seen.ivar, given)


def test_counts_are_warned_of_by_their_noise(seen):
    for factor in (1000, 1e-3):
        with pytest.warns(UserWarning) as raised:
            checked(factor * seen.images, seen.ivar, plates())
        words = [str(one.message) for one in raised]
        assert [text.split(":")[0] for text in words] == ["blue", "red"]
        assert all(text.endswith("are these counts?") for text in words)


def test_zeros_for_not_observed_are_warned_of_unless_the_ivar_says_so(seen):
    images, ivar = seen.images.clone(), seen.ivar.clone()
    images[:, RED, :, :8] = 0
    with pytest.warns(UserWarning, match="red: 25 % of the pixels are exactly 0"):
        checked(images, ivar, plates())
    ivar[:, RED, :, :8] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked(images, ivar, plates())


def test_double_and_half_precision_are_answered(seen):
    network = BandTranslator(size=SIZE, channels=(4, 8)).eval()
    with torch.no_grad():
        single = network.predict(seen.images, seen.ivar, plates())
        double = network.predict(seen.images.double(), seen.ivar.double(), plates())
    assert torch.allclose(single, double, atol=1e-5)


@pytest.mark.parametrize("targets", [[10], [-1], []])
def test_bands_that_are_not_there_are_refused(seen, targets):
    with pytest.raises(ValueError, match="targets must be numbers of bands, 0 to 9"):
        checked_targets(targets, n_bands=10)
    network = BandTranslator(size=SIZE, channels=(4, 8)).eval()
    with pytest.raises(ValueError, match="targets must be numbers"):
        network.predict(seen.images, seen.ivar, plates(), targets=targets)
