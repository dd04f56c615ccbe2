"""skytutor.chapters.inpainting.pictures: what a colour picture keeps of a map, and loses."""

import pytest
import torch

from skytutor.chapters.inpainting.pictures import (
    COLOURS,
    colour_table,
    from_picture,
    to_picture,
)


def maps(n=4, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 100 * torch.randn(n, size, size, generator=generator)


def ends(maps):
    return {"low": maps.amin((1, 2)), "high": maps.amax((1, 2))}


def test_no_two_colours_are_equal_and_the_scale_runs_from_blue_to_red():
    table = colour_table()
    assert len(table.unique(dim=0)) == COLOURS
    assert table[0].argmax() == 2 and table[-1].argmax() == 0
    table[:] = 0  # a copy: the next has its colours
    assert colour_table()[0, 2] == 110


def test_with_its_ends_a_picture_gives_the_map_back_to_half_a_level():
    given = maps()
    back = from_picture(to_picture(given), **ends(given))
    level = (given.amax((1, 2)) - given.amin((1, 2))) / (COLOURS - 1)
    worst = (back - given).abs().amax((1, 2))
    assert (worst <= 0.5 * level * 1.001).all()
    # a rounding error, even over a level: level / sqrt(12)
    rms = (back - given).square().mean((1, 2)).sqrt()
    torch.testing.assert_close(rms, level / 12**0.5, rtol=0.1, atol=0)


def test_maps_in_another_unit_and_with_another_mean_make_the_same_picture():
    given = maps().double()
    assert torch.equal(to_picture(given), to_picture(3e-6 * given + 2.7))
    assert torch.equal(to_picture(given), to_picture(given[:1].repeat(4, 1, 1))) is False


def test_extremes_take_the_ends_and_a_constant_the_first():
    given = maps(1)
    picture = to_picture(given)[0].flatten(1)
    table = colour_table()
    assert torch.equal(picture[:, given.flatten().argmin()], table[0])
    assert torch.equal(picture[:, given.flatten().argmax()], table[-1])
    constant = to_picture(torch.full((1, 2, 2), 5.0))
    assert torch.equal(constant, table[0].reshape(1, 3, 1, 1).expand(1, 3, 2, 2))


def test_a_colour_off_the_scale_goes_to_the_nearest():
    table = colour_table().float()
    picture = (table[100] + 0.4).reshape(1, 3, 1, 1)
    assert float(from_picture(picture, low=0.0, high=255.0)) == pytest.approx(100.0, abs=1e-3)


def test_bad_maps_and_pictures_are_named():
    with pytest.raises(ValueError, match=r"maps must be \(B, H, H\), got \(4, 4\)"):
        to_picture(torch.zeros(4, 4))
    with pytest.raises(ValueError, match="maps must be finite"):
        to_picture(torch.full((1, 4, 4), float("nan")))
    with pytest.raises(ValueError, match=r"pictures must be \(B, 3, H, H\), got \(1, 4, 4, 3\)"):
        from_picture(torch.zeros(1, 4, 4, 3), low=0.0, high=1.0)
