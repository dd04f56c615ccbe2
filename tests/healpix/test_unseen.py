"""Pixels that hold no value: found in any unit, refused by number, or not looked at."""

import numpy as np
import pytest
import torch
from complaints import complaint

from skytutor import healpix
from skytutor.fields.mask_edge import edge_excess
from skytutor.fields.spectra import pseudo_cl
from skytutor.healpix import UNSEEN, check_maps, check_values, is_unseen, seen_maps
from skytutor.layers.partial import PartialConv2d
from skytutor.metrics.maps import seam_ratio

KINDS = (torch.bfloat16, torch.float32, torch.float64)
FACTORS = (1.0, -1.0, 1e-3, -1e-3, 1e3, 1e-6, -1e6)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("factor", FACTORS)
def test_unseen_is_found_in_another_unit_and_with_its_sign_turned(kind, factor):
    maps = torch.ones(2, 48, dtype=kind)
    maps[1, 7] = UNSEEN
    maps = maps * factor
    assert is_unseen(maps).nonzero().tolist() == [[1, 7]]
    # Read from bfloat16 into a wider type, it has kept its three digits.
    assert is_unseen(maps.double()).nonzero().tolist() == [[1, 7]]
    complaint(
        ValueError,
        lambda: check_maps(maps, nside=2, order="ring", name="sky"),
        "sky holds 1 UNSEEN",
        "first at pixel 7;",
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
def test_large_numbers_are_values(kind):
    """Column densities of hydrogen, and numbers that only look like UNSEEN."""
    column = torch.logspace(19, 23.9, 192, dtype=torch.float64).to(kind)
    assert check_maps(column, nside=4, order="ring") is column
    near = torch.tensor([1.6e27, -1.65e24, 1.63e27, -1.6e30, 1.5e30], dtype=kind)
    assert not is_unseen(near).any()


def test_no_value_at_all_is_not_unseen():
    values = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0])
    assert not is_unseen(values).any()
    assert not is_unseen(values.half()).any()


def test_pixels_are_named_by_number_and_counted():
    maps = torch.zeros(2, 3, 192)
    maps[0, 1, [9, 5, 30, 31, 32, 40]] = torch.nan
    maps[1, 2, 5] = torch.inf
    complaint(
        ValueError,
        lambda: check_maps(maps, nside=4, order="nested"),
        "maps holds 7 NaN or infinite pixels, first at pixels 5, 9, 30, 31, 32 ...;",
    )
    faces = torch.zeros(1, 12, 2, 2)
    faces[0, 3, 1, 0] = UNSEEN
    complaint(ValueError, lambda: check_maps(faces, nside=2, order="face"), "pixel (3, 1, 0);")
    patch = torch.zeros(4, 4)
    patch[2, 3] = -torch.inf
    complaint(ValueError, lambda: check_values(patch, name="patch", axes=2), "patch", "(2, 3)")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, UNSEEN, -1e-3 * UNSEEN], ids=str)
def test_what_has_weight_zero_may_be_anything_and_has_no_gradient(bad):
    maps = torch.ones(2, 48, dtype=torch.float64)
    maps[:, 3] = bad
    maps.requires_grad_()
    weights = torch.linspace(0, 1, 48).double().roll(3)  # 0 at pixel 3
    kept = seen_maps(maps, weights, nside=2, order="ring")
    (kept * weights).square().sum().backward()
    torch.testing.assert_close(maps.grad, 2 * weights.square().expand(2, -1) * kept.detach())
    assert not maps.grad[:, 3].any()
    complaint(
        ValueError,
        lambda: seen_maps(maps, weights.roll(1), nside=2, order="ring", name="sky"),
        "sky, where seen, holds 2",
        "first at pixel 3;",
    )


def test_weights_must_fit_the_maps():
    complaint(
        ValueError,
        lambda: seen_maps(torch.ones(48), torch.ones(12), nside=2, order="ring"),
        "weights",
        "(48,)",
        "(12,)",
    )


MAPS = torch.randn(48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
WEIGHTS = torch.ones(48, dtype=torch.float64)
WEIGHTS[3] = 0
WEIGHTS[9] = 0.5
LOOKS = {
    "pseudo_cl": lambda maps: pseudo_cl(maps, WEIGHTS, nside=2, lmax=4, order="ring"),
    "edge_excess": lambda maps: edge_excess(maps, WEIGHTS, nside=2, order="ring"),
    "partial": lambda maps: PartialConv2d(1, 1, 3, padding="zero").double()(
        maps.view(1, 1, 6, 8), (WEIGHTS > 0).view(1, 1, 6, 8)
    )[0],
}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, UNSEEN, 1e3 * UNSEEN, -UNSEEN], ids=str)
@pytest.mark.parametrize("name", LOOKS)
def test_functions_look_where_the_weight_is_not_zero(name, bad):
    hidden = MAPS.clone()
    hidden[3] = bad
    half = MAPS.clone()
    half[9] = bad
    torch.manual_seed(0)
    wanted = LOOKS[name](MAPS)
    torch.manual_seed(0)
    assert torch.equal(LOOKS[name](hidden), wanted)
    pixel = "pixel (1, 1)" if name == "partial" else "pixel 9"
    complaint(ValueError, lambda: LOOKS[name](half), "maps, where seen, holds 1", pixel)


def test_layers_go_through_transforms_of_functions():
    """Under vmap there are no numbers to look at."""
    conv = PartialConv2d(1, 1, 3, padding="zero")
    maps = torch.randn(3, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    seen = torch.rand(1, 1, 6, 8) > 0.2
    each = torch.func.vmap(lambda one: conv(one[None], seen)[0][0])(maps.detach())
    torch.testing.assert_close(each, conv(maps, seen)[0])
    square = torch.func.grad(
        lambda one: seen_maps(one, torch.arange(12) > 2, nside=1, order="ring").square().sum()
    )(torch.full((12,), 3.0))
    assert square.tolist() == 3 * [0.0] + 9 * [6.0]


def test_scores_of_maps_refuse_what_is_no_value():
    maps = torch.rand(2, 48)
    maps[0, 11] = UNSEEN
    complaint(ValueError, lambda: seam_ratio(maps, order="ring"), "maps holds 1 UNSEEN", "pixel 11")


def test_healpys_own_files_say_unseen_the_same_way():
    import healpy as hp

    assert hp.UNSEEN == UNSEEN
    cut = hp.ma(np.array([hp.UNSEEN, 1.0]))
    assert is_unseen(torch.from_numpy(cut.data)).tolist() == cut.mask.tolist()
    assert healpix.is_unseen is is_unseen
