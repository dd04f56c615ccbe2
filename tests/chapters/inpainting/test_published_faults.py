"""skytutor.chapters.inpainting.published_faults: each price against what it must be."""

import math

import pytest
import torch

from skytutor.chapters.inpainting import published_faults as prices
from skytutor.chapters.inpainting.published_split import _overlap, split_price
from skytutor.chapters.inpainting.published_task import published_network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return published_network().eval()


def test_colour_keeps_power_if_the_ends_are_known_and_loses_it_if_not():
    found = prices.colour_price(skies=64)
    # rounding to a level of about 2.4 muK adds 0.5 muK^2 a pixel to the 25 of the noise
    assert 0.999 < found["known_lowest"] <= found["known_highest"] < 1.02
    assert 0.1 < found["unknown_scatter"] < 0.5
    assert found["unknown_mean_rms"] > 10


def test_random_patches_have_their_sky_in_common_and_disjoint_ones_none():
    found = split_price(training=400, validation=60)
    # 400 patches of 200 square degrees at random leave exp(-400 * 200 / 41253) of the sky free
    area = math.degrees(2 * math.radians(10) * 2 * math.sin(math.radians(5))) * 180 / math.pi
    assert found["published_sky"] == pytest.approx(1 - math.exp(-400 * area / 41253), abs=0.05)
    assert found["published_patches"] > 0.99
    assert found["disjoint_sky"] == found["disjoint_patches"] == 0


def test_a_patch_has_all_its_sky_in_common_with_itself_and_half_with_one_ten_degrees_east():
    centre = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    east = torch.tensor([[math.cos(math.radians(10)), math.sin(math.radians(10)), 0.0]]).double()
    assert float(_overlap(centre, centre)) == 1.0
    assert float(_overlap(east, centre)) == pytest.approx(0.5, abs=0.01)
    assert float(_overlap(-centre, centre)) == 0.0


def test_scaling_as_published_divides_by_the_channels():
    found = prices.scaling_price(channels=(1, 3, 64))
    assert found == pytest.approx(
        {"exact": 1.0, "channels_1": 1.0, "channels_3": 1 / 3, "channels_64": 1 / 64}, rel=1e-5
    )


def test_a_mask_that_stays_behind_hides_sky_and_shows_white():
    found = prices.augmentation_price(skies=128)
    # masks that have nothing to do with their holes: what is hidden shows sky as often as any pixel
    hidden = found["white_in_seen"]
    assert 0.1 < hidden < 0.25
    assert found["sky_in_hidden"] == pytest.approx(1 - hidden, abs=0.1)


def test_white_behind_the_mask_costs_nothing_and_beside_it_much(network):
    found = prices.filling_price(network, skies=4)
    assert found["same_mask"] == 0
    assert found["shifted_mask"] > 1


def test_what_the_latents_of_an_untrained_network_hold(network):
    found = prices.latent_price(network, skies=16)
    assert found["kl_weight"] == 4 * 64 * 64
    assert found["kl_nats"] > 0 and 0 < found["active"] <= 128
    assert found["wanted_rms"] == pytest.approx(2**0.5 * 64.0, rel=0.01)
    assert abs(found["alone_correlation"]) < 0.2


def test_all_of_them(network):
    found = prices.faults(network, skies=16)
    assert set(found) == {"colour", "split", "latents", "scaling", "augmentation", "filling"}
    assert all(math.isfinite(value) for row in found.values() for value in row.values())


def test_a_short_training_with_the_mask_left_behind_is_worse_than_without():
    right = prices.short_training(steps=60, augment="both")
    wrong = prices.short_training(steps=60, augment="image")
    assert 1 < right["ratio"] < wrong["ratio"]
    assert 0 <= right["active"] <= 32 and right["redraw_rms"] > 0
