"""skytutor.healpix against healpy: every map, every table, Nside 1 to 512.

healpy is the oracle. Integers must be equal, floats equal to a few units in the last place.
Whole spheres are compared up to Nside 128; above that hypothesis draws the pixels.
"""

import math

import healpy as hp
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skytutor import healpix

NSIDES = [2**k for k in range(10)]  # 1 to 512
WHOLE = [2**k for k in range(8)]  # 1 to 128: every pixel is looked at
ORDERS = ["ring", "nested"]
FLOAT = {"rtol": 0.0, "atol": 2e-15}  # radians, or a component of a unit vector
quick = settings(max_examples=150, deadline=None, derandomize=True)


@st.composite
def pixels(draw, max_size=40):
    """Draw an nside and some of its pixels, the first and the last among them now and then."""
    nside = draw(st.sampled_from(NSIDES))
    last = 12 * nside**2 - 1
    pix = draw(
        st.lists(st.integers(0, last) | st.sampled_from([0, last]), min_size=1, max_size=max_size)
    )
    return nside, torch.tensor(pix)


def every(nside):
    return torch.arange(12 * nside**2)


def same(got, expected):
    """Integers: equal, and int64."""
    assert got.dtype == torch.int64
    np.testing.assert_array_equal(got.numpy(), np.asarray(expected))


def near(got, expected, **tolerance):
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.numpy(), np.asarray(expected), **(tolerance or FLOAT))


def compare_numbering(nside, pix):
    n = pix.numpy()
    same(healpix.ring_to_nested(pix, nside=nside), hp.ring2nest(nside, n))
    same(healpix.nested_to_ring(pix, nside=nside), hp.nest2ring(nside, n))
    for nest, to_face, from_face in (
        (True, healpix.nested_to_face, healpix.face_to_nested),
        (False, healpix.ring_to_face, healpix.face_to_ring),
    ):
        x, y, f = hp.pix2xyf(nside, n, nest=nest)
        got = to_face(pix, nside=nside)
        for ours, theirs in zip(got, (f, y, x), strict=True):
            same(ours, theirs)
        same(from_face(*got, nside=nside), hp.xyf2pix(nside, x, y, f, nest=nest))


def compare_places(nside, pix, order):
    nest = order == "nested"
    theta, phi = healpix.pixel_to_angle(pix, nside=nside, order=order)
    vec = healpix.pixel_to_vector(pix, nside=nside, order=order)
    for got, expected in zip((theta, phi), hp.pix2ang(nside, pix.numpy(), nest=nest), strict=True):
        near(got, expected)
    near(vec, np.stack(hp.pix2vec(nside, pix.numpy(), nest=nest), -1))
    near(vec.norm(dim=-1), np.ones(pix.shape))
    same(healpix.angle_to_pixel(theta, phi, nside=nside, order=order), pix)
    same(healpix.vector_to_pixel(vec, nside=nside, order=order), pix)


def compare_neighbours(nside, pix, order):
    expected = hp.get_all_neighbours(nside, pix.numpy(), nest=order == "nested")
    same(healpix.neighbours(pix, nside=nside, order=order), np.moveaxis(expected, 0, -1))


@quick
@given(pixels())
def test_numbering_equals_healpy(drawn):
    compare_numbering(*drawn)


@quick
@given(pixels(), st.sampled_from(ORDERS))
def test_places_equal_healpy_and_come_back(drawn, order):
    compare_places(*drawn, order)


@quick
@given(pixels(), st.sampled_from(ORDERS))
def test_neighbours_equal_healpy(drawn, order):
    compare_neighbours(*drawn, order)


@pytest.mark.parametrize("nside", WHOLE)
def test_whole_sphere_equals_healpy(nside):
    compare_numbering(nside, every(nside))
    for order in ORDERS:
        compare_places(nside, every(nside), order)
        compare_neighbours(nside, every(nside), order)


@pytest.mark.parametrize("nside", NSIDES)
def test_numberings_are_permutations(nside):
    """No pixel lost, none twice, and there and back again is the identity."""
    pix = every(nside)
    nested = healpix.ring_to_nested(pix, nside=nside)
    coordinates = healpix.nested_to_face(pix, nside=nside)
    assert nested.bincount(minlength=len(pix)).eq(1).all()
    same(healpix.nested_to_ring(nested, nside=nside), pix)
    same(healpix.face_to_nested(*coordinates, nside=nside), pix)


@pytest.mark.parametrize("nside", [256, 512])
def test_a_large_sphere_sampled(nside):
    rng = torch.Generator().manual_seed(nside)
    pix = torch.randint(12 * nside**2, (30_000,), generator=rng)
    compare_numbering(nside, pix)
    for order in ORDERS:
        compare_places(nside, pix, order)
        compare_neighbours(nside, pix, order)


def test_any_shape_goes_in_and_comes_out():
    """A (2, 3, 4) block of pixels gives the same numbers as the flat list."""
    pix = torch.arange(24).reshape(2, 3, 4)
    vec = healpix.pixel_to_vector(pix, nside=4, order="ring")
    near(vec, np.stack(hp.pix2vec(4, pix.numpy()), -1))
    same(healpix.vector_to_pixel(vec, nside=4, order="ring"), pix)
    expected = np.moveaxis(hp.get_all_neighbours(4, pix.numpy().ravel()), 0, -1).reshape(2, 3, 4, 8)
    same(healpix.neighbours(pix, nside=4, order="ring"), expected)
    same(healpix.ring_to_nested(torch.tensor(5), nside=2), hp.ring2nest(2, 5))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("nside", NSIDES)
def test_any_place_finds_healpys_pixel(nside, order):
    """40,000 directions evenly over the sphere, and a crowd around the poles and the equator."""
    rng = np.random.default_rng(nside)
    everywhere = rng.uniform(-1, 1, 40_000)
    poles = 1 - 10 ** rng.uniform(-15, 0, 4000)
    equator = rng.normal(0, 1e-3, 4000)
    z = np.concatenate([everywhere, poles, equator])
    z = np.clip(np.where(rng.random(z.size) < 0.5, z, -z), -1, 1)
    theta = np.arccos(z)
    phi = rng.uniform(0, 2 * np.pi, z.size)
    got = healpix.angle_to_pixel(torch.tensor(theta), torch.tensor(phi), nside=nside, order=order)
    same(got, hp.ang2pix(nside, theta, phi, nest=order == "nested"))
    vec = hp.ang2vec(theta, phi) * rng.uniform(0.1, 10, (z.size, 1))  # the length must not matter
    got = healpix.vector_to_pixel(torch.tensor(vec), nside=nside, order=order)
    same(got, hp.vec2pix(nside, *vec.T, nest=order == "nested"))


@quick
@given(
    st.sampled_from(NSIDES),
    st.floats(0, math.pi) | st.sampled_from([0.0, 5e-324, math.acos(2 / 3), math.pi / 2, math.pi]),
    st.floats(0, 2 * math.pi) | st.integers(0, 16).map(lambda k: k * math.pi / 8),
    st.sampled_from(ORDERS),
)
@example(1, 0.0, 0.0, "ring")
@example(512, math.pi, 2 * math.pi, "nested")
def test_poles_seam_and_equator(nside, theta, phi, order):
    """On a border two pixels are right; the one we name must be healpy's within 1e-12 rad."""
    angle = torch.tensor([theta], dtype=torch.float64), torch.tensor([phi], dtype=torch.float64)
    got = healpix.angle_to_pixel(*angle, nside=nside, order=order).item()
    steps = [-1e-12, 0.0, 1e-12]
    allowed = {
        int(hp.ang2pix(nside, min(max(theta + a, 0), math.pi), phi + b, nest=order == "nested"))
        for a in steps
        for b in steps
    }
    assert got in allowed


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("nside", NSIDES)
def test_exact_poles_and_full_turns(nside, order):
    nest = order == "nested"
    quarter = torch.arange(4, dtype=torch.float64) * math.pi / 2 + 0.1
    for theta in (0.0, math.pi):
        got = healpix.angle_to_pixel(
            torch.full((4,), theta, dtype=torch.float64), quarter, nside=nside, order=order
        )
        same(got, hp.ang2pix(nside, np.full(4, theta), quarter.numpy(), nest=nest))
        z = 1.0 if theta == 0 else -1.0
        axis = torch.tensor([[0.0, 0.0, z]], dtype=torch.float64)
        same(
            healpix.vector_to_pixel(axis, nside=nside, order=order),
            hp.vec2pix(nside, *axis.numpy().T, nest=nest),
        )
    theta = torch.linspace(0.01, 3.13, 200, dtype=torch.float64)
    at = {
        p: healpix.angle_to_pixel(theta, torch.full_like(theta, p), nside=nside, order=order)
        for p in (0.0, 2 * math.pi)
    }
    same(at[2 * math.pi], at[0.0])  # the seam: 2 pi is 0
    same(at[0.0], hp.ang2pix(nside, theta.numpy(), 0.0, nest=nest))
    for turn in (-2 * math.pi, 2 * math.pi):  # longitude may be given on any turn
        got = healpix.angle_to_pixel(
            theta, torch.full_like(theta, 1.234 + turn), nside=nside, order=order
        )
        same(got, hp.ang2pix(nside, theta.numpy(), 1.234, nest=nest))


@pytest.mark.parametrize("nside", NSIDES)
def test_sizes(nside):
    assert healpix.nside_to_npix(nside) == hp.nside2npix(nside)
    assert healpix.npix_to_nside(12 * nside**2) == nside
    assert float(healpix.pixel_area(nside)) == pytest.approx(hp.nside2pixarea(nside), rel=1e-15)
    assert float(healpix.resolution(nside)) == pytest.approx(hp.nside2resol(nside), rel=1e-15)


# healpy's neighbour order SW, W, NW, N, NE, E, SE, S as steps on a face: x grows to NE, y to NW
STEPS = [(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)]  # (dy, dx)


@pytest.mark.parametrize("nside", [2**k for k in range(9)])
def test_halo_holds_healpys_neighbours(nside):
    """From every pixel every one of the eight steps lands on healpy's neighbour, or on -1."""
    halo = healpix.halo_indices(nside)
    assert halo.shape == (12, nside + 2, nside + 2)
    pix = np.arange(12 * nside**2)
    x, y, f = hp.pix2xyf(nside, pix, nest=True)
    same(halo[:, 1:-1, 1:-1].reshape(-1), pix)
    theirs = hp.get_all_neighbours(nside, pix, nest=True)
    for (dy, dx), near_by in zip(STEPS, theirs, strict=True):
        nx, ny, nf = hp.pix2xyf(nside, np.maximum(near_by, 0), nest=True)
        flat = np.where(near_by < 0, -1, (nf * nside + ny) * nside + nx)
        same(halo[f, y + 1 + dy, x + 1 + dx], flat)


@pytest.mark.parametrize("nside", NSIDES)
def test_halo_lacks_exactly_24_corners(nside):
    """Eight vertices are shared by three faces, not four: each takes a corner cell from all."""
    halo = healpix.halo_indices(nside)
    missing = (halo == -1).nonzero()
    assert len(missing) == 24
    assert halo.min() == -1 and halo.max() == 12 * nside**2 - 1
    # corners of the padded square only
    assert set(missing[:, 1:].flatten().tolist()) <= {0, nside + 1}
    for face in range(12):
        of_face = missing[missing[:, 0] == face][:, 1:]  # (2, 2) as (y, x)
        corners = {tuple(row) for row in (of_face > 0).int().tolist()}
        # (y, x): polar faces lack their west and east corner, the equatorial ones north and south
        assert corners == ({(0, 0), (1, 1)} if 4 <= face < 8 else {(1, 0), (0, 1)})


@settings(quick, max_examples=40)
@given(st.sampled_from(WHOLE), st.integers(1, 3), st.integers(0, 2**31))
def test_reorder_equals_healpy(nside, batch, seed):
    rng = torch.Generator().manual_seed(seed)
    maps = torch.randn(batch, 2, 12 * nside**2, generator=rng, dtype=torch.float64)
    nested = healpix.reorder(maps, source="ring", target="nested")
    expected = [[hp.reorder(m, r2n=True) for m in row] for row in maps.numpy()]
    np.testing.assert_array_equal(nested.numpy(), expected)
    assert torch.equal(healpix.reorder(nested, source="nested", target="ring"), maps)
    assert torch.equal(healpix.reorder(maps, source="ring", target="ring"), maps)
    single = healpix.reorder(maps.float(), source="ring", target="nested")
    assert torch.equal(single, nested.float()) and single.dtype == torch.float32


def test_reorder_passes_gradients():
    maps = torch.randn(1, 48, dtype=torch.float64, requires_grad=True)
    weight = torch.arange(48, dtype=torch.float64)
    (healpix.reorder(maps, source="nested", target="ring") * weight).sum().backward()
    np.testing.assert_array_equal(maps.grad[0].numpy(), hp.reorder(weight.numpy(), r2n=True))
