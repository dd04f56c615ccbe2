"""skytutor.layers.hierarchy: against sums over children written by hand, and healpy."""

import healpy as hp
import numpy as np
import pytest
import torch
from orders import CLOSE, ORDERS, as_nested, as_order, random_maps

from skytutor.layers import hierarchy
from skytutor.layers.hierarchy import to_children, to_parents


def children_by_hand(nested, weight, bias):
    """Sum ``weight[o, c, k] nested[b, c, p 4**levels + k]`` over channels c and children k."""
    children = nested.reshape(*nested.shape[:2], -1, weight.shape[-1])  # (B, C, P / K, K)
    return torch.einsum("bcpk,ock->bop", children, weight) + bias[:, None]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("nside", "levels"), [(2, 1), (8, 1), (16, 1), (4, 2), (8, 3), (32, 2)])
def test_hierarchical_convolution_is_a_sum_over_children(nside, levels, order):
    layer = hierarchy.HierarchicalConv(3, 5, levels=levels, order=order).double()
    nested = random_maps(nside)
    assert layer.weight.shape == (5, 3, 4**levels)
    out = layer(as_order(nested, order, nside))
    expected = children_by_hand(nested, layer.weight, layer.bias)
    torch.testing.assert_close(
        as_nested(out, order, nside >> levels), expected, **CLOSE[torch.float64]
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("nside", "levels"), [(2, 1), (16, 1), (8, 2), (8, 3)])
def test_transpose_is_the_adjoint(nside, levels, order):
    """<conv(x), y> = <x, transpose(y)> with the same weights and no bias."""
    down = hierarchy.HierarchicalConv(3, 5, levels=levels, order=order, bias=False).double()
    up = hierarchy.HierarchicalConvTranspose(5, 3, levels=levels, order=order, bias=False).double()
    up.load_state_dict(down.state_dict())
    x = as_order(random_maps(nside, 2, 3), order, nside)
    y = as_order(random_maps(nside >> levels, 2, 5, seed=1), order, nside >> levels)
    assert up(y).shape == x.shape
    left = (down(x) * y).sum()
    right = (x * up(y)).sum()
    assert abs(left - right) <= 1e-12 * x.norm() * y.norm() and abs(left) > 1e-3


@pytest.mark.parametrize("order", ORDERS)
def test_transpose_gives_each_child_its_own_weight(order):
    """A single coarse pixel set to 1 paints the weights on its children and the bias elsewhere."""
    up = hierarchy.HierarchicalConvTranspose(1, 2, order=order).double()
    nested = torch.zeros(1, 1, 48, dtype=torch.float64)
    nested[0, 0, 10] = 1
    out = as_nested(up(as_order(nested, order, 2)), order, 4)
    expected = up.bias[None, :, None].expand(1, 2, 192).clone()
    expected[0, :, 40:44] += up.weight[0]
    torch.testing.assert_close(out, expected, **CLOSE[torch.float64])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("nside", "levels"), [(2, 1), (16, 1), (16, 2), (32, 5)])
def test_pooling(nside, levels, order):
    nested = random_maps(nside)
    small = nside >> levels
    x = as_order(nested, order, nside)
    mean = as_nested(
        hierarchy.HierarchicalPool("mean", levels=levels, order=order)(x), order, small
    )
    for got, m in zip(mean.flatten(0, 1), nested.flatten(0, 1), strict=True):
        expected = hp.ud_grade(m.numpy(), small, order_in="NESTED", order_out="NESTED")
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-14)
    largest = as_nested(
        hierarchy.HierarchicalPool("max", levels=levels, order=order)(x), order, small
    )
    assert torch.equal(largest, nested.reshape(2, 3, -1, 4**levels).amax(-1))
    assert torch.equal(
        hierarchy.HierarchicalPool(levels=levels, order=order)(x), as_order(largest, order, small)
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("nside", "levels"), [(1, 1), (8, 1), (4, 3)])
def test_unpooling(nside, levels, order):
    nested = random_maps(nside)
    large = nside << levels
    x = as_order(nested, order, nside)
    up = hierarchy.HierarchicalUnpool(levels=levels, order=order)(x)
    assert torch.equal(as_nested(up, order, large), nested.repeat_interleave(4**levels, -1))
    back = hierarchy.HierarchicalPool("mean", levels=levels, order=order)(up)
    torch.testing.assert_close(back, x, **CLOSE[torch.float64])


@pytest.mark.parametrize("nside", [1, 2, 8])
def test_four_channels_become_the_four_children_in_nested_order(nside):
    """Channel 4 c + k of pixel p goes to channel c of pixel 4 p + k, and back."""
    nested = random_maps(nside, channels=8)
    children = to_children(as_order(nested, "face", nside))
    expected = nested.unflatten(1, (2, 4)).transpose(2, 3).flatten(2)  # (B, 2, 4 P)
    assert torch.equal(as_nested(children, "face", 2 * nside), expected)
    assert torch.equal(as_nested(to_parents(children), "face", nside), nested)


def test_a_regrouping_that_does_not_come_out_even_is_refused():
    with pytest.raises(ValueError, match=r"4 C, F, n, n.*\(1, 6, 12, 2, 2\)"):
        to_children(torch.zeros(1, 6, 12, 2, 2))
    with pytest.raises(ValueError, match=r"2 n, 2 n.*\(1, 4, 12, 1, 1\)"):
        to_parents(torch.zeros(1, 4, 12, 1, 1))
