"""skytutor.data.projection: each projection and rotation against another computation."""

import math

import healpy as hp
import numpy as np
import pytest
import torch
from complaints import complaint
from scipy import ndimage, stats

from skytutor.data import digits, projection

SIZES = [1, 2, 4, 8, 16, 32, 64]


def directions(nside, order="nested"):
    return np.array(hp.pix2vec(nside, np.arange(12 * nside**2), nest=order == "nested")).T


def image_plane(vectors, size_deg, centre_deg=(0.0, 0.0)):
    """Column and row of directions, -1..1 in the image, by the textbook's formulas.

    Lambert's azimuthal equal-area projection, Snyder 1987, eq. 22-4, 24-2, 24-13 and 24-14; east is
    left and north is up.
    """
    lon = np.arctan2(vectors[:, 1], vectors[:, 0])
    lat = np.arcsin(np.clip(vectors[:, 2], -1, 1))
    lon0, lat0 = np.radians(centre_deg)
    cosine = np.sin(lat0) * np.sin(lat) + np.cos(lat0) * np.cos(lat) * np.cos(lon - lon0)
    k = np.sqrt(2 / np.maximum(1 + cosine, 1e-30))
    east = k * np.cos(lat) * np.sin(lon - lon0)
    north = k * (np.cos(lat0) * np.sin(lat) - np.sin(lat0) * np.cos(lat) * np.cos(lon - lon0))
    edge = 2 * np.sin(np.radians(size_deg) / 4)
    antipode = cosine < 1e-6 - 1  # lies at radius 2 in every direction at once, never at the centre
    return np.where(antipode, 2.0, -east) / edge, np.where(antipode, 2.0, -north) / edge


def by_hand(image, vectors, size_deg, centre_deg=(0.0, 0.0)):
    """Interpolate bilinearly with scipy, zero outside; H pixels span -1..1 from edge to edge."""
    column, row = image_plane(vectors, size_deg, centre_deg)
    h = image.shape[-1]
    at = [(row + 1) * h / 2 - 0.5, (column + 1) * h / 2 - 0.5]
    return ndimage.map_coordinates(
        np.asarray(image, float), at, order=1, mode="grid-constant", cval=0.0
    )


@pytest.fixture(scope="module")
def some():
    return digits.load("embedded").images[:6].float() / 255


@pytest.mark.parametrize("centre", [(0.0, 0.0), (123.0, 45.0), (-10.0, -80.0), (200.0, 90.0)])
@pytest.mark.parametrize(("nside", "size"), [(4, 180.0), (8, 90.0), (16, 60.0), (32, 250.0)])
def test_projection_equals_scipys_interpolation(some, nside, size, centre):
    for order in ("nested", "ring"):
        got = projection.project(some, nside=nside, size_deg=size, centre_deg=centre, order=order)
        expected = [by_hand(image, directions(nside, order), size, centre) for image in some]
        assert got.shape == (6, 1, 12 * nside**2) and got.dtype == torch.float32
        np.testing.assert_allclose(got[:, 0].numpy(), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("size", [40.0, 90.0, 180.0, 300.0])
@pytest.mark.parametrize("nside", SIZES)
def test_no_holes_at_any_nside(nside, size):
    """A white image is white up to half an image pixel from its edge.

    It is nowhere empty inside, and empty outside.
    """
    h = 28
    column, row = image_plane(directions(nside), size)
    reach = np.maximum(abs(column), abs(row))
    white = torch.ones(1, h, h)
    maps = projection.project(white, nside=nside, size_deg=size, order="nested")
    got = maps[0, 0].numpy()
    np.testing.assert_allclose(got[reach < 1 - 1 / h - 1e-5], 1.0, rtol=0, atol=1e-5)
    assert (got[reach < 1] > 0).all()
    assert (got[reach > 1 + 1 / h + 1e-5] == 0).all()
    assert got.min() >= 0 and got.max() <= 1 + 1e-5


def test_area_is_kept():
    """Equal-area: the fraction of the sphere under a white image is its plane area over 4 pi."""
    for size in (30.0, 60.0, 90.0, 180.0):
        white = torch.ones(1, 64, 64)
        fraction = projection.project(white, nside=64, size_deg=size, order="nested").mean().item()
        expected = (4 * math.sin(math.radians(size) / 4)) ** 2 / (4 * math.pi)
        assert fraction == pytest.approx(expected, rel=0.02)


def test_the_digit_reads_right_from_inside():
    """A dot at the top left of the image lies north-east of the centre: east is left on the sky."""
    image = torch.zeros(1, 12, 12)
    image[0, 2, 3] = 1
    maps = projection.project(image, nside=32, size_deg=90, centre_deg=(30.0, 0.0), order="nested")
    lon, lat = hp.pix2ang(32, int(maps[0, 0].argmax()), nest=True, lonlat=True)
    assert 30 < lon < 75 and 0 < lat < 45


@pytest.mark.parametrize("nside", [1, 2, 8])
def test_nothing_is_projected_to_the_antipode(nside):
    """The centre of the image must not show up on the other side, whichever pixel lies there."""
    image = torch.ones(1, 12, 12)
    for pixel in range(0, 12 * nside**2, max(1, nside**2 // 4)):
        lon, lat = hp.pix2ang(nside, pixel, nest=True, lonlat=True)
        sky = projection.project(
            image, nside=nside, size_deg=90, centre_deg=(lon + 180, -lat), order="nested"
        )
        assert sky[0, 0, pixel] == 0, f"pixel {pixel}"


def test_rotating_the_digit_is_rotating_the_positions(some):
    """The value at p after a rotation R is the value at R^-1 p before it."""
    rotations = projection.random_rotations(6, generator=torch.Generator().manual_seed(4))
    got = projection.project(
        some, nside=16, size_deg=100, centre_deg=(20.0, 30.0), rotations=rotations, order="nested"
    )
    for image, rotation, sky in zip(some, rotations.numpy(), got[:, 0].numpy(), strict=True):
        before = directions(16) @ rotation  # rows p R = (R^T p)^T
        np.testing.assert_allclose(
            sky, by_hand(image, before, 100, (20.0, 30.0)), rtol=0, atol=2e-4
        )


def test_a_quarter_turn_about_the_poles_permutes_the_map(some):
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    plain = projection.project(some, nside=16, size_deg=100, order="ring")
    turned = projection.project(
        some, nside=16, size_deg=100, order="ring", rotations=turn.expand(6, 3, 3)
    )
    theta, phi = hp.pix2ang(16, np.arange(3072))
    moved = plain[..., hp.ang2pix(16, theta, phi - np.pi / 2)]
    torch.testing.assert_close(turned, moved, rtol=0, atol=2e-4)
    assert not torch.allclose(turned, plain, atol=0.1)


def test_a_batch_is_its_images_one_by_one(some):
    project = projection.Projector(8, size_deg=120, order="nested")
    together = project(some)
    alone = torch.cat([project(image[None]) for image in some])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    bytes_ = (some * 255).round().to(torch.uint8)
    torch.testing.assert_close(project(bytes_), together, rtol=0, atol=1e-6)


def test_centre_of_mass_equals_scipys(some):
    expected = [
        ndimage.center_of_mass(image.numpy()) for image in some
    ]  # row, column, counted from the first pixel
    got = projection.centre_of_mass(some).flip(1) * 6 + 5.5
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-4)
    assert torch.equal(projection.centre_of_mass(torch.zeros(1, 4, 4)), torch.zeros(1, 2)), (
        "no ink: the middle"
    )


def test_mnist_is_centred_half_a_pixel_off(mnist):
    """What tells up from down at any rotation: mass lies right of the middle and below it.

    The offset is what rounding to whole pixels leaves.
    """
    away = 14 * projection.centre_of_mass(digits.load("mnist").images)
    torch.testing.assert_close(away.mean(0), torch.tensor([0.5, 0.5]), rtol=0, atol=0.02)
    assert float((away - 0.5).abs().quantile(0.99)) < 0.55


def test_affine_maps(some):
    project = projection.Projector(16, size_deg=120, order="nested")
    same = torch.eye(2, 3).expand(6, 2, 3)
    torch.testing.assert_close(project(some, affine=same), project(some), rtol=0, atol=1e-5)
    shift = same.clone()
    # Two columns of twelve: the map at x shows the image at x + 2 columns.
    shift[:, 0, 2] = 2 * 2 / 12
    moved = torch.nn.functional.pad(some, (0, 2))[..., 2:]
    torch.testing.assert_close(project(some, affine=shift), project(moved), rtol=0, atol=1e-4)


def test_elastic_shifts(some):
    """No shift changes nothing; the same shift at every node is an affine map that shifts.

    One node moves its surroundings alone.
    """
    project = projection.Projector(16, size_deg=120, order="nested")
    none = torch.zeros(len(some), 2, 5, 5)
    torch.testing.assert_close(project(some, elastic=none), project(some), rtol=0, atol=1e-5)
    shift = torch.eye(2, 3).repeat(len(some), 1, 1)
    shift[:, :, 2] = torch.tensor([0.3, -0.1])
    even = torch.tensor([0.3, -0.1])[:, None, None].expand(2, 5, 5)
    even = even.repeat(len(some), 1, 1, 1)
    torch.testing.assert_close(
        project(some, elastic=even), project(some, affine=shift), rtol=0, atol=1e-5
    )
    corner = none.clone()
    corner[:, :, 0, 0] = 0.3
    near = (project.plane()[0] < 0).all(1)
    changed = (project(some, elastic=corner) != project(some)).squeeze(1)
    assert changed[:, near].any() and not changed[:, ~near].any()


def test_the_published_projection_and_its_holes():
    """Last writer wins on a 28 x 56 canvas.

    34 of 768 pixels stay empty at Nside 8, 1,808 of 3,072 at Nside 16.
    The canvas is walked eastwards, so the mirror image of the digit stands on it: east is left.
    """
    image = torch.arange(1.0, 785.0).view(1, 28, 28) / 784
    canvas = np.zeros((28, 56))
    canvas[:, 14:42] = image[0].flip(1)
    theta, phi = np.meshgrid(
        np.linspace(0, np.pi, 28), np.linspace(-np.pi, np.pi, 56), indexing="ij"
    )
    for nside, holes in ((8, 34), (16, 1808)):
        expected = np.zeros(12 * nside**2, np.float32)
        met = np.zeros(12 * nside**2, bool)
        for pixel, value in zip(
            hp.ang2pix(nside, theta, phi, nest=True).ravel(), canvas.ravel(), strict=True
        ):
            expected[pixel] = value
            met[pixel] = True
        np.testing.assert_array_equal(
            projection.project_scatter(image, nside=nside)[0, 0].numpy(), expected
        )
        assert (~met).sum() == holes


def test_rotations_are_rotations():
    r = projection.random_rotations(2000, generator=torch.Generator().manual_seed(0))
    assert r.shape == (2000, 3, 3) and r.dtype == torch.float64
    torch.testing.assert_close(
        r @ r.mT, torch.eye(3, dtype=torch.float64).expand_as(r), rtol=0, atol=1e-13
    )
    torch.testing.assert_close(
        torch.linalg.det(r), torch.ones(2000, dtype=torch.float64), rtol=0, atol=1e-13
    )


def test_rotations_follow_haar_measure():
    """The angle has density (1 - cos a) / pi on 0..pi; an axis goes to any direction alike."""
    r = projection.random_rotations(20_000, generator=torch.Generator().manual_seed(1)).numpy()
    angle = np.arccos(np.clip((np.trace(r, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert stats.kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > 0.01
    for i in range(3):
        for j in range(3):  # a component of a uniform direction is uniform on -1..1
            assert stats.kstest(r[:, i, j], stats.uniform(-1, 2).cdf).pvalue > 1e-3
    longitude = np.arctan2(r[:, 1, 2], r[:, 0, 2])
    assert stats.kstest(longitude, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01
    products = np.einsum("nij,nkl->ijkl", r, r) / len(r)  # E[R_ij R_kl] = delta_ik delta_jl / 3
    np.testing.assert_allclose(
        products, np.einsum("ik,jl->ijkl", np.eye(3), np.eye(3)) / 3, atol=0.015
    )
    fixed = projection.random_rotations(1, generator=torch.Generator().manual_seed(2))[0].numpy()
    # Haar measure is invariant: R times a fixed rotation follows it as well.
    trace = np.einsum("ij,nji->n", fixed, r)
    angle = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    assert stats.kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > 0.01


def test_rotations_follow_their_generator():
    one, two, three = (
        projection.random_rotations(4, generator=torch.Generator().manual_seed(s))
        for s in (7, 7, 8)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


ONE = torch.ones(1, 12, 12)


def projecting(images=ONE, **changes):
    """Return a call of `projection.project` that is right but for `images` or `changes`."""
    arguments = {"nside": 4, "size_deg": 90, "order": "nested"} | changes
    return lambda: projection.project(images, **arguments)


BAD = [
    (projecting(torch.ones(1, 12, 10)), ValueError, ["images", "square", "12, 10"]),
    (projecting(torch.ones(12, 12)), ValueError, ["images", "(12, 12)"]),
    (projecting(torch.ones(0, 12, 12)), ValueError, ["images", "empty"]),
    (projecting(ONE.long()), TypeError, ["images", "int64", "uint8"]),
    (projecting("one"), TypeError, ["images", "str"]),
    (projecting(ONE * math.nan), ValueError, ["images", "NaN"]),
    (projecting(ONE * math.inf), ValueError, ["images", "infinite"]),
    (projecting(nside=3), ValueError, ["nside", "3", "power of two"]),
    (projecting(nside=4.0), TypeError, ["nside", "4.0"]),
    (projecting(order="nest"), ValueError, ["order", "'nest'", "'nested'"]),
    (projecting(order="face"), ValueError, ["order", "'face'", "'nested'"]),
    (projecting(size_deg=0), ValueError, ["size_deg", "0", "360"]),
    (projecting(size_deg=-10), ValueError, ["size_deg", "-10", "360"]),
    (projecting(size_deg=360), ValueError, ["size_deg", "360"]),
    (projecting(size_deg=math.nan), ValueError, ["size_deg", "nan", "360"]),
    (projecting(size_deg=math.inf), ValueError, ["size_deg", "inf", "360"]),
    (projecting(centre_deg=(0, 91)), ValueError, ["centre_deg", "91", "90"]),
    (projecting(centre_deg=(math.nan, 0)), ValueError, ["centre_deg", "nan"]),
    (projecting(rotations=torch.eye(3)), ValueError, ["rotations", "(1, 3, 3)"]),
    (lambda: projection.random_rotations(0), ValueError, ["n ", "0", "positive"]),
    (lambda: projection.random_rotations(2.0), TypeError, ["n ", "2.0"]),
    (
        lambda: projection.project_scatter(torch.ones(1, 12, 10), nside=4),
        ValueError,
        ["images", "square"],
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "words"), BAD, ids=[f"{i}-{b[2][0]}" for i, b in enumerate(BAD)]
)
def test_bad_input(call, error, words):
    complaint(error, call, *words)
