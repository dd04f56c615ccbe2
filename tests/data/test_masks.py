"""skytutor.data.masks: what is hidden, how much of it, and what cannot be asked for."""

import math

import pytest
import torch

from skytutor.data.masks import RADII, blob_mask, check_hidden, disc_mask, discs_mask, mixed_mask

PIXEL = 6.871


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("radius", "n"), [(5, 1), (15, 13), (30, 61), (60, 241), (180, 2161)])
def test_a_disc_hides_the_centres_within_its_radius(radius, n):
    mask = disc_mask(64, radius, pixel_arcmin=PIXEL)
    y, x = torch.meshgrid(torch.arange(64) - 32, torch.arange(64) - 32, indexing="ij")
    inside = (y**2 + x**2).double().sqrt() * PIXEL <= radius
    assert torch.equal(~mask, inside) and int(inside.sum()) == n


def test_a_disc_goes_on_behind_the_edge():
    whole = disc_mask(32, 40, pixel_arcmin=PIXEL)
    at_corner = disc_mask(32, 40, pixel_arcmin=PIXEL, centre=(0, 31))
    assert torch.equal(at_corner, whole.roll((-16, 15), (0, 1)))


def test_a_centre_may_lie_between_pixels():
    mask = disc_mask(8, 10.0, pixel_arcmin=10.0, centre=(3.5, 3.5))
    assert (~mask).nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
    with pytest.raises(ValueError, match=r"lies between pixels.*7\.071' always hides"):
        disc_mask(8, 6.0, pixel_arcmin=10.0, centre=(3.5, 3.5))


@pytest.mark.parametrize("radius", [3.4, 0.0, -1.0, 230.0, float("nan")])
def test_a_radius_that_cannot_be_is_refused_with_what_can(radius):
    for make in (disc_mask, discs_mask):
        options = {} if make is disc_mask else {"generator": rng()}
        with pytest.raises(ValueError, match=r"radius_arcmin must lie in 3\.43\d\.\.208\.9"):
            make(64, radius, pixel_arcmin=PIXEL, **options)


@pytest.mark.parametrize("radius", RADII[:-1])
def test_discs_hide_the_fraction_asked_for(radius):
    hidden = [
        float((~discs_mask(64, radius, pixel_arcmin=PIXEL, generator=rng(k))).double().mean())
        for k in range(30)
    ]
    disc = float((~disc_mask(64, radius, pixel_arcmin=PIXEL)).double().mean())
    assert abs(sum(hidden) / 30 - 0.15) < 0.15 * 0.15
    assert max(abs(one - 0.15) for one in hidden) <= disc / 2 + 1e-9


def test_one_disc_is_hidden_whatever_the_fraction():
    mask = discs_mask(64, 180, pixel_arcmin=PIXEL, hidden=0.01, generator=rng())
    assert int((~mask).sum()) == 2161


def test_every_hidden_pixel_lies_in_a_disc():
    mask = discs_mask(64, 30, pixel_arcmin=PIXEL, generator=rng(3))
    disc = (~disc_mask(64, 30, pixel_arcmin=PIXEL)).nonzero() - 32
    centres = []
    for row, column in (~mask).nonzero().tolist():
        y, x = ((torch.tensor([row, column]) + disc) % 64).unbind(-1)
        if not bool(mask[y, x].any()):
            centres.append((y, x))
    covered = torch.ones(64, 64, dtype=torch.bool)
    for y, x in centres:
        covered[y, x] = False
    assert torch.equal(covered, mask)


def test_blobs_hide_the_number_of_pixels_and_hang_together():
    mask = blob_mask(64, pixel_arcmin=PIXEL, hidden=0.2, width_arcmin=60.0, generator=rng())
    assert int((~mask).sum()) == round(0.2 * 64**2)
    fine = blob_mask(64, pixel_arcmin=PIXEL, hidden=0.2, width_arcmin=PIXEL, generator=rng())

    def edges(mask):
        return int((mask != mask.roll(1, 0)).sum() + (mask != mask.roll(1, 1)).sum())

    assert edges(mask) < edges(fine) / 3


@pytest.mark.parametrize("hidden", [0, 1, -0.1, 1.5, "some"])
def test_a_fraction_that_cannot_be(hidden):
    with pytest.raises(ValueError, match="hidden must lie between 0 and 1"):
        discs_mask(64, 30, pixel_arcmin=PIXEL, hidden=hidden, generator=rng())
    with pytest.raises(ValueError, match="hidden must lie between 0 and 1"):
        blob_mask(64, pixel_arcmin=PIXEL, hidden=hidden, generator=rng())


def test_a_fraction_of_less_than_a_pixel_hides_nothing_and_says_so():
    with pytest.raises(ValueError, match="nothing is hidden"):
        blob_mask(8, pixel_arcmin=PIXEL, hidden=0.001, generator=rng())


@pytest.mark.parametrize(("size", "pixel"), [(64, PIXEL), (32, PIXEL), (64, 13.74), (128, 3.435)])
def test_masks_of_training_vary(size, pixel):
    masks = [mixed_mask(size, pixel_arcmin=pixel, generator=rng(k)) for k in range(60)]
    hidden = torch.stack([(~mask).double().mean() for mask in masks])
    assert 0.01 < float(hidden.min()) < 0.06 and 0.25 < float(hidden.max()) < 0.6
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 60


def test_a_generator_decides_all():
    for make in (discs_mask, blob_mask, mixed_mask):
        arguments = (64, 30) if make is discs_mask else (64,)
        one = make(*arguments, pixel_arcmin=PIXEL, generator=rng(1))
        assert torch.equal(one, make(*arguments, pixel_arcmin=PIXEL, generator=rng(1)))
        assert not torch.equal(one, make(*arguments, pixel_arcmin=PIXEL, generator=rng(2)))


def test_all_or_nothing_and_soft_masks_are_refused():
    with pytest.raises(ValueError, match="nothing is hidden"):
        check_hidden(torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="nothing is seen"):
        check_hidden(torch.zeros(4, 4, dtype=torch.bool))
    with pytest.raises(TypeError, match="mask must be bool"):
        check_hidden(torch.rand(4, 4))


@pytest.mark.parametrize("centre", [8, "ab", (1, 2, 3), (math.nan, 8), (None, 3)])
def test_a_centre_is_a_row_and_a_column(centre):
    with pytest.raises(ValueError, match="centre must be a row and a column, finite"):
        disc_mask(16, 30.0, pixel_arcmin=PIXEL, centre=centre)


def test_a_patch_too_small_for_discs_of_training_is_named():
    for size, pixel in ((1, PIXEL), (2, PIXEL), (16, 0.01)):
        with pytest.raises(ValueError, match="size must be larger"):
            mixed_mask(size, pixel_arcmin=pixel, generator=rng())
    with pytest.raises(ValueError, match="pixel_arcmin must be finite and positive"):
        blob_mask(16, pixel_arcmin=-3.0, generator=rng())
