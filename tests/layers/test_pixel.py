"""skytutor.layers.pixel: what the layers compute, against healpy and sums written by hand."""

import healpy as hp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from orders import CLOSE, ORDERS, as_nested, as_order, random_maps

from skytutor import healpix
from skytutor.layers import pixel

SIZES = [1, 2, 4, 8, 16, 32]
# healpy's neighbour order SW, W, NW, N, NE, E, SE, S as (dy, dx): x grows to the north-east, y to
# the north-west.
STEPS = [(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)]
some = settings(max_examples=60, deadline=None, derandomize=True)


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
