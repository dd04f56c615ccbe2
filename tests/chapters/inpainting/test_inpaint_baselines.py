"""Simple fills by hand, and four ways to one exact fill."""

import pytest
import torch

from skytutor.chapters.inpainting.baselines import (
    SIMPLE,
    biharmonic_fill,
    compare_fills,
    exact_fills_of,
    harmonic_fill,
    nearest_fill,
    zero_fill,
)
from skytutor.data.patches import discs_mask, flat_sky


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sky():
    return flat_sky("B", 32)


@pytest.fixture(scope="module")
def mask(sky):
    return discs_mask(32, 20.0, pixel_arcmin=sky.pixel_arcmin, generator=rng(1))


def test_the_exact_fills_agree_and_the_simple_ones_are_worse(sky, mask):
    table = compare_fills(sky, mask, skies=20, generator=rng())
    assert set(table) == {*SIMPLE, *exact_fills_of(sky)}
    for name, row in table.items():
        if name in SIMPLE:
            assert row["ratio"] > 1.02, name
        else:
            # The filter of the whole patch stops by a residual that counts seen pixels too.
            assert row["ratio"] == pytest.approx(1, abs=1e-5), name
    # The smoother the surface is that is laid over the hole, the better.
    order = [table[name]["ratio"] for name in ("zero", "harmonic", "biharmonic")]
    assert order == sorted(order, reverse=True)


def test_another_fill_stands_in_the_table(sky, mask):
    others = {"nothing": zero_fill}
    table = compare_fills(sky, mask, skies=4, generator=rng(), others=others)
    assert table["nothing"] == table["zero"]


def test_one_hidden_pixel_by_hand():
    """Row 1 of the map, 4 to 7, with pixel 5 hidden: its neighbours are 1, 4, 6 and 9."""
    data = torch.arange(16.0, dtype=torch.float64).view(4, 4)
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1, 1] = False
    assert float(zero_fill(data, mask)[1, 1]) == 0
    assert float(harmonic_fill(data, mask)[1, 1]) == pytest.approx((1 + 4 + 6 + 9) / 4)
    assert float(nearest_fill(data, mask)[1, 1]) in (1, 4, 6, 9)


def test_a_thin_plate_goes_on_with_a_slope_and_a_membrane_with_a_saddle():
    """A plate keeps to what has a constant Laplacian; a membrane to what has none."""
    y, x = torch.meshgrid(torch.arange(24.0) - 12, torch.arange(24.0) - 12, indexing="ij")
    mask = torch.ones(24, 24, dtype=torch.bool)
    mask[10:15, 10:15] = False
    saddle = (x * y).double()
    bowl = (x.square() + y.square()).double()
    for fill, maps in ((harmonic_fill, saddle), (biharmonic_fill, saddle), (biharmonic_fill, bowl)):
        torch.testing.assert_close(fill(maps, mask), maps, rtol=0, atol=1e-8)
    assert float((harmonic_fill(bowl, mask) - bowl).max()) > 5


def test_the_nearest_pixel_may_lie_across_the_edge():
    data = torch.arange(36.0).view(6, 6)
    mask = torch.ones(6, 6, dtype=torch.bool)
    mask[0, :] = False
    mask[1, :] = False
    filled = nearest_fill(data, mask)
    assert torch.equal(filled[0], data[5]), "the patch is periodic"
    assert torch.equal(filled[1], data[2])


@pytest.mark.parametrize("fill", SIMPLE.values(), ids=SIMPLE)
def test_simple_fills_refuse_what_is_no_mask(fill):
    data = torch.zeros(4, 4)
    for mask in (torch.ones(4, 4), torch.zeros(4, 4), torch.full((4, 4), 0.5)):
        with pytest.raises(ValueError, match="mask"):
            fill(data, mask)
