"""Pixels of discs and strips: the same sets as healpy's, and an inclusive query misses none."""

import math

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor.healpix import (
    nside_to_npix,
    pixel_radius,
    pixel_to_angle,
    query_disc,
    query_strip,
    vector_to_pixel,
)

NSIDES = [1, 2, 4, 8, 16, 32, 64]


def discs(nside, n=60):
    """Yield centres and radii: all over the sphere, about the poles, small ones and huge ones."""
    rng = np.random.default_rng(nside)
    for k in range(n):
        vector = rng.standard_normal(3)
        if k % 4 == 0:
            vector[:2] *= 10.0 ** rng.uniform(-9, 0)
        if k % 12 == 0:
            vector[:2] = 0.0
        largest = math.pi if k % 2 else min(math.pi, 4 / nside)
        yield vector, rng.uniform(0, largest)


@pytest.mark.parametrize("nside", NSIDES)
@pytest.mark.parametrize("order", ["ring", "nested"])
def test_discs_are_healpys(nside, order):
    for vector, radius in discs(nside):
        wanted = np.sort(hp.query_disc(nside, vector, radius, nest=order == "nested"))
        found = query_disc(torch.from_numpy(vector), radius, nside=nside, order=order)
        np.testing.assert_array_equal(found.numpy(), wanted, err_msg=f"{vector} {radius}")
        theta, phi = hp.vec2ang(vector)
        angles = torch.tensor([theta[0], phi[0]])
        if abs(vector[2]) / np.linalg.norm(vector) < 0.999:
            again = query_disc(angles, radius, nside=nside, order=order)
            np.testing.assert_array_equal(again.numpy(), wanted)


def test_discs_of_small_pixels_are_healpys():
    """A disc of a dozen pixels on a map of a hundred thousand million is found all the same."""
    nside = 2**14
    for vector, _ in discs(nside, 12):
        radius = 2.5 * hp.nside2resol(nside)
        wanted = np.sort(hp.query_disc(nside, vector, radius))
        found = query_disc(torch.from_numpy(vector), radius, nside=nside, order="ring")
        np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("nside", NSIDES)
def test_inclusive_discs_miss_no_pixel(nside):
    rng = torch.Generator().manual_seed(nside)
    reach = 2 * pixel_radius(4 * nside)
    for order in ("ring", "nested"):
        for vector, radius in discs(nside, 30):
            vector = torch.from_numpy(vector)
            found = query_disc(vector, radius, nside=nside, order=order, inclusive=True)
            assert bool((found.diff() > 0).all())
            # Points of the disc: near the centre is not enough, they must come near its edge.
            axis = vector / vector.norm()
            points = torch.randn(2000, 3, generator=rng, dtype=torch.float64)
            points = points - (points @ axis)[:, None] * axis
            away = radius * torch.rand(2000, 1, generator=rng, dtype=torch.float64).sqrt()
            points = away.cos() * axis + away.sin() * points / points.norm(dim=1, keepdim=True)
            hit = vector_to_pixel(points, nside=nside, order=order).unique()
            assert bool(torch.isin(hit, found).all())
            # Nothing far from the disc: no more than healpy lists of a disc larger by that much.
            most = hp.query_disc(
                nside,
                vector.numpy(),
                min(radius + reach, math.pi),
                inclusive=True,
                fact=64,
                nest=order == "nested",
            )
            assert set(found.tolist()) <= set(most.tolist())


def test_radius_0_and_pi():
    up = torch.tensor([0.0, 0.0, 1.0])
    assert query_disc(up, 0.0, nside=4, order="ring").tolist() == []
    assert query_disc(up, 0.0, nside=4, order="ring", inclusive=True).tolist() == [0, 1, 2, 3]
    for direction in (up, -up, torch.randn(3)):
        for inclusive in (False, True):
            found = query_disc(direction, math.pi, nside=4, order="nested", inclusive=inclusive)
            assert found.tolist() == list(range(192))


@pytest.mark.parametrize("nside", [1, 4, 32])
@pytest.mark.parametrize("order", ["ring", "nested"])
def test_strips_are_healpys(nside, order):
    rng = np.random.default_rng(0)
    for north, south in [*np.sort(rng.uniform(0, math.pi, (20, 2)), 1), (0.0, math.pi)]:
        found = query_strip(north, south, nside=nside, order=order)
        wanted = np.sort(hp.query_strip(nside, north, south, nest=order == "nested"))
        np.testing.assert_array_equal(found.numpy(), wanted)
    theta, _ = pixel_to_angle(torch.tensor(0), nside=nside, order="ring")
    ring = query_strip(float(theta) - 1e-9, float(theta) + 1e-9, nside=nside, order="ring")
    assert ring.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("nside", [1, 2, 8, 1024])
def test_the_largest_pixel_radius_is_healpys(nside):
    assert pixel_radius(nside) == pytest.approx(hp.max_pixrad(nside), rel=1e-12)
    assert nside_to_npix(nside) == hp.nside2npix(nside)


UP = torch.tensor([0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: query_disc([0, 0, 1], 1.0, nside=1, order="ring"), TypeError, "centre.*int64"),
        (lambda: query_disc(UP.long(), 1.0, nside=1, order="ring"), TypeError, "centre.*int64"),
        (lambda: query_disc(UP[None], 1.0, nside=1, order="ring"), ValueError, r"centre.*\(1, 3\)"),
        (lambda: query_disc(0 * UP, 1.0, nside=1, order="ring"), ValueError, "centre.*zero"),
        (lambda: query_disc(UP / 0, 1.0, nside=1, order="ring"), ValueError, "centre.*finite"),
        (
            lambda: query_disc(4 * UP[1:].flip(0), 1.0, nside=1, order="ring"),
            ValueError,
            "theta.*4",
        ),
        (lambda: query_disc(UP, 4.0, nside=1, order="ring"), ValueError, r"radius.*0\.\.pi.*4"),
        (lambda: query_disc(UP, -1.0, nside=1, order="ring"), ValueError, "radius.*-1"),
        (lambda: query_disc(UP, "1", nside=1, order="ring"), TypeError, "radius.*'1'"),
        (lambda: query_disc(UP, 1.0, nside=1, order="face"), ValueError, "order.*face"),
        (lambda: query_disc(UP, 1.0, nside=3, order="ring"), ValueError, "nside.*3"),
        (lambda: query_strip(1.0, 0.5, nside=1, order="ring"), ValueError, "theta_north.*rise"),
        (lambda: query_strip(0.0, 4.0, nside=1, order="ring"), ValueError, "theta_south.*4"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
