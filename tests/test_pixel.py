"""skytutor.layers.pixel: what the layers compute, against healpy and sums written by hand."""

import healpy as hp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skytutor import healpix
from skytutor.layers import pixel
from skytutor.layers.hierarchy import to_children, to_parents

ORDERS = ["ring", "nested", "face"]
SIZES = [1, 2, 4, 8, 16, 32]
CLOSE = {torch.float32: {"rtol": 0.0, "atol": 1e-6}, torch.float64: {"rtol": 0.0, "atol": 1e-12}}
# healpy's neighbour order SW, W, NW, N, NE, E, SE, S as (dy, dx): x grows to the north-east, y to
# the north-west.
STEPS = [(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)]
some = settings(max_examples=60, deadline=None, derandomize=True)


def random_maps(nside, batch=2, channels=3, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, 12 * nside**2, generator=rng, dtype=dtype)


def as_order(nested, order, nside):
    """NESTED maps (B, C, P) as the input that a layer of this order takes. healpy does the work."""
    if order == "nested":
        return nested
    if order == "ring":
        return nested[..., torch.from_numpy(hp.ring2nest(nside, np.arange(12 * nside**2)))]
    y, x = np.mgrid[:nside, :nside]
    pix = hp.xyf2pix(nside, x[None], y[None], np.arange(12)[:, None, None], nest=True)
    return nested[..., torch.from_numpy(pix)]


def as_nested(out, order, nside):
    if order == "nested":
        return out
    if order == "ring":
        return out[..., torch.from_numpy(hp.nest2ring(nside, np.arange(12 * nside**2)))]
    x, y, f = (torch.from_numpy(a) for a in hp.pix2xyf(nside, np.arange(12 * nside**2), nest=True))
    return out[..., f, y, x]


def nine_by_hand(nested, weight, bias, nside):
    """Sum over healpy's list of neighbours; one that is not there counts as 0."""
    maps, weight, bias = (t.detach().double().numpy() for t in (nested, weight, bias))
    out = np.einsum("bcp,oc->bop", maps, weight[:, :, 1, 1]) + bias[:, None]
    for (dy, dx), near in zip(
        STEPS, hp.get_all_neighbours(nside, np.arange(12 * nside**2), nest=True), strict=True
    ):
        seen = np.where(near < 0, 0.0, maps[..., near])
        out += np.einsum("bcp,oc->bop", seen, weight[:, :, dy + 1, dx + 1])
    return torch.from_numpy(out)


def children_by_hand(nested, weight, bias):
    """Sum ``weight[o, c, k] nested[b, c, p 4**levels + k]`` over channels c and children k."""
    children = nested.reshape(*nested.shape[:2], -1, weight.shape[-1])  # (B, C, P / K, K)
    return torch.einsum("bcpk,ock->bop", children, weight) + bias[:, None]


def halo_and_gather(nside, order, dtype, channels=(3, 5)):
    """Return the two layers with the same weights."""
    torch.manual_seed(nside)
    halo = pixel.HaloConv(*channels, nside=nside, order=order).to(dtype)
    gather = pixel.GatherConv(*channels, nside=nside, order=order).to(dtype)
    gather.load_state_dict(halo.state_dict())
    return halo, gather


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("nside", SIZES)
def test_faces_and_back(nside, order):
    nested = random_maps(nside)
    given_ = as_order(nested, order, nside)
    faces = as_order(nested, "face", nside)
    if order != "face":
        assert torch.equal(pixel.to_faces(given_, nside=nside, order=order), faces)
        assert torch.equal(pixel.from_faces(faces, order=order), given_)


@pytest.mark.parametrize("nside", SIZES)
def test_halo_is_filled_from_healpys_neighbours(nside):
    nested = random_maps(nside)
    padded = pixel.pad_halo(as_order(nested, "face", nside))
    pix = np.arange(12 * nside**2)
    x, y, f = hp.pix2xyf(nside, pix, nest=True)
    assert torch.equal(padded[..., f, y + 1, x + 1], nested)
    for (dy, dx), near in zip(STEPS, hp.get_all_neighbours(nside, pix, nest=True), strict=True):
        expected = torch.where(torch.from_numpy(near < 0), 0.0, nested[..., np.maximum(near, 0)])
        assert torch.equal(padded[..., f, y + 1 + dy, x + 1 + dx], expected)


@pytest.mark.parametrize("nside", [8, 32])
@pytest.mark.parametrize("component", [0, 1, 2])
def test_a_smooth_map_stays_smooth_across_borders(nside, component):
    """The step from a face into its halo is no larger than the largest step inside a face."""
    vec = torch.from_numpy(np.array(hp.pix2vec(nside, np.arange(12 * nside**2), nest=True)))
    faces = as_order(vec[component][None, None], "face", nside)
    padded = pixel.pad_halo(faces)
    # The 24 empty corners are not asked.
    padded[:, :, healpix.halo_indices(nside) < 0] = float("nan")
    for axis in (-1, -2):
        inside = faces.diff(dim=axis).abs().max()
        all_ = padded.diff(dim=axis).abs()
        assert all_[all_.isfinite()].max() <= 1.25 * inside
        assert all_.isfinite().sum() > faces.numel()  # the borders were looked at


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("nside", SIZES)
def test_three_ways_to_the_same_convolution(nside, order, dtype):
    halo, gather = halo_and_gather(nside, order, dtype)
    nested = random_maps(nside, dtype=dtype)
    x = as_order(nested, order, nside)
    first = halo(x)
    second = gather(x)
    assert first.dtype == dtype and first.shape == second.shape
    torch.testing.assert_close(first, second, **CLOSE[dtype])
    expected = nine_by_hand(nested, halo.weight, halo.bias, nside)
    torch.testing.assert_close(as_nested(first, order, nside).double(), expected, **CLOSE[dtype])


@some
@given(
    st.sampled_from(SIZES[:5]),
    st.sampled_from(ORDERS),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_any_batch_and_channels(nside, order, batch, inward, outward, bias, seed):
    torch.manual_seed(seed)
    halo = pixel.HaloConv(inward, outward, nside=nside, order=order, bias=bias).double()
    gather = pixel.GatherConv(inward, outward, nside=nside, order=order, bias=bias).double()
    gather.load_state_dict(halo.state_dict())
    nested = random_maps(nside, batch, inward, seed=seed)
    x = as_order(nested, order, nside)
    zero = torch.zeros(outward) if not bias else halo.bias
    assert (halo.bias is None) == (not bias)
    expected = nine_by_hand(nested, halo.weight, zero, nside)
    torch.testing.assert_close(as_nested(halo(x), order, nside), expected, **CLOSE[torch.float64])
    torch.testing.assert_close(as_nested(gather(x), order, nside), expected, **CLOSE[torch.float64])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("nside", SIZES[:5])
def test_gradients_agree(nside, order):
    halo, gather = halo_and_gather(nside, order, torch.float64)
    x = as_order(random_maps(nside), order, nside)
    found = []
    for layer in (halo, gather):
        leaf = x.clone().requires_grad_()
        (layer(leaf) ** 2).sum().backward()
        found.append((leaf.grad, layer.weight.grad, layer.bias.grad))
        assert all(g.abs().max() > 0 for g in found[-1])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "kind", ["HaloConv", "GatherConv", "HierarchicalConv", "HierarchicalConvTranspose"]
)
def test_gradcheck(kind, order):
    nside = 2
    where = {"nside": 2} if kind in ("HaloConv", "GatherConv") else {}
    layer = getattr(pixel, kind)(1, 2, order=order, **where).double()
    x = as_order(random_maps(nside, 1, 1), order, nside).requires_grad_()
    parameters = [p.detach().clone().requires_grad_() for p in (layer.weight, layer.bias)]

    def call(maps, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (maps,))

    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=False)


@pytest.mark.parametrize("order", ["ring", "nested"])
@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("kind", ["HaloConv", "GatherConv"])
def test_a_quarter_turn_about_z_only_moves_the_output(kind, quarters, order):
    """HEALPix maps onto itself under 90 degrees about z, so the layer commutes with it.

    The halo convolution does so to the last bit. The gather's matrix product may sum in an order
    that depends on the column, on some processors.
    """
    nside = 8
    pix = np.arange(768)
    theta, phi = hp.pix2ang(nside, pix, nest=order == "nested")
    turned = torch.from_numpy(
        hp.ang2pix(nside, theta, phi + quarters * np.pi / 2, nest=order == "nested")
    )
    assert sorted(turned.tolist()) == list(range(768))
    assert not torch.equal(turned, torch.arange(768))
    layer = getattr(pixel, kind)(3, 4, nside=nside, order=order)
    x = random_maps(nside, dtype=torch.float32)
    with torch.no_grad():
        atol = 0 if kind == "HaloConv" else 2e-6
        torch.testing.assert_close(layer(x[..., turned]), layer(x)[..., turned], rtol=0, atol=atol)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("nside", "levels"), [(2, 1), (8, 1), (16, 1), (4, 2), (8, 3), (32, 2)])
def test_hierarchical_convolution_is_a_sum_over_children(nside, levels, order):
    layer = pixel.HierarchicalConv(3, 5, levels=levels, order=order).double()
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
    down = pixel.HierarchicalConv(3, 5, levels=levels, order=order, bias=False).double()
    up = pixel.HierarchicalConvTranspose(5, 3, levels=levels, order=order, bias=False).double()
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
    up = pixel.HierarchicalConvTranspose(1, 2, order=order).double()
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
    mean = as_nested(pixel.HierarchicalPool("mean", levels=levels, order=order)(x), order, small)
    for got, m in zip(mean.flatten(0, 1), nested.flatten(0, 1), strict=True):
        expected = hp.ud_grade(m.numpy(), small, order_in="NESTED", order_out="NESTED")
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-14)
    largest = as_nested(pixel.HierarchicalPool("max", levels=levels, order=order)(x), order, small)
    assert torch.equal(largest, nested.reshape(2, 3, -1, 4**levels).amax(-1))
    assert torch.equal(
        pixel.HierarchicalPool(levels=levels, order=order)(x), as_order(largest, order, small)
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("nside", "levels"), [(1, 1), (8, 1), (4, 3)])
def test_unpooling(nside, levels, order):
    nested = random_maps(nside)
    large = nside << levels
    x = as_order(nested, order, nside)
    up = pixel.HierarchicalUnpool(levels=levels, order=order)(x)
    assert torch.equal(as_nested(up, order, large), nested.repeat_interleave(4**levels, -1))
    back = pixel.HierarchicalPool("mean", levels=levels, order=order)(up)
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
