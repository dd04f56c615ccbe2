"""Rotations of Q and U by `layers.Rotate`: exact where pixels meet pixels, healpy's elsewhere."""

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor import healpix
from skytutor.layers.rotate import Rotate, Sample

TURN = hp.rotator.Rotator(rot=(40, 70, -30))
MATRIX = torch.from_numpy(TURN.mat)
QUARTER = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def sky(nside, lmax, *, b_modes=True):
    """Return T, Q, U of a Gaussian sky, ``(3, P)`` RING order, the same at every nside."""
    np.random.seed(3)
    cl = np.zeros(lmax + 1)
    cl[2:] = 1.0
    alms = [hp.synalm(cl, lmax=lmax) for _ in range(3)]
    alms[2] *= b_modes
    return np.array(hp.alm2map(alms, nside, lmax=lmax))


def rotated(maps, **arguments):
    """Return one pair or one scalar ``(C, P)``, rotated by TURN."""
    nside = hp.npix2nside(maps.shape[-1])
    layer = Rotate(nside, order="ring", **arguments)
    return layer(torch.from_numpy(maps)[None], MATRIX[None])[0].numpy()


def quarters(maps, nside, order):
    """Return maps turned by a quarter about the poles, by pixel numbers alone."""
    nested = healpix.reorder(maps, source=order, target="nested")
    faces = nested.unflatten(-1, (3, 4, nside**2)).roll(1, -2).flatten(-3)
    return healpix.reorder(faces, source="nested", target=order)


@pytest.mark.parametrize("order", ["ring", "nested"])
@pytest.mark.parametrize("nside", [1, 8])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_about_the_poles_are_exact(order, nside, turns):
    maps = torch.randn(1, 4, 12 * nside**2, dtype=torch.float64)
    wanted = maps
    for _ in range(turns):
        wanted = quarters(wanted, nside, order)
    matrix = torch.linalg.matrix_power(QUARTER, turns)[None]
    exact = Rotate(nside, order=order, spin=2, interpolation="bilinear")
    assert float((exact(maps, matrix) - wanted).abs().max()) < 1e-12
    # The Gaussian smooths, but a turned map as it smooths the map.
    smoothing = Rotate(nside, order=order, spin=2)
    still = torch.eye(3, dtype=torch.float64)[None]
    error = smoothing(maps, matrix) - smoothing(wanted, still)
    assert float(error.abs().max()) < 1e-12


def test_scalars_by_bilinear_interpolation_are_healpys():
    maps = sky(16, 20)
    wanted = TURN.rotate_map_pixel(maps[0])
    assert np.abs(rotated(maps[:1], interpolation="bilinear")[0] - wanted).max() < 1e-12


def test_q_and_u_are_healpys_where_its_interpolation_holds():
    """Its Q and U are interpolated along axes that differ, most of all near the poles.

    The two differ by less than 4 % of the field more than 37 degrees from the poles of the old sky.
    """
    maps = sky(64, 8)
    theirs = TURN.rotate_map_pixel(maps)[1:]
    ours = rotated(maps[1:], spin=2, interpolation="bilinear")
    vectors = np.array(hp.pix2vec(64, np.arange(12 * 64**2)))
    away = np.abs((TURN.mat.T @ vectors)[2]) < 0.8
    assert np.abs(ours - theirs)[:, away].max() < 0.04 * maps[1:].std()


@pytest.mark.parametrize("interpolation", ["gaussian", "bilinear"])
def test_rotated_skies_converge_to_healpys_exact_ones_everywhere(interpolation):
    """Against ``rotate_map_alms``: a wrong angle would not shrink with the pixels."""
    errors = []
    for nside in (16, 32, 64):
        maps = sky(nside, 8)
        wanted = TURN.rotate_map_alms(maps, lmax=8, use_pixel_weights=False)[1:]
        ours = rotated(maps[1:], spin=2, interpolation=interpolation)
        errors.append(np.abs(ours - wanted).max() / maps[1:].std())
    print(interpolation, [f"{error:.1e}" for error in errors])
    assert errors[1] < 0.06
    assert errors[2] < 0.03
    assert errors[0] > 1.7 * errors[1]
    assert errors[1] > 1.7 * errors[2]


def test_e_modes_stay_e_modes():
    maps = sky(32, 10, b_modes=False)
    ours = rotated(maps[1:], spin=2)
    _, e, b = hp.anafast([maps[0], *ours], lmax=10, pol=True)[:3]
    assert b.sum() < 1e-4 * e.sum()
    # As two scalars they come out with more B than E: what the layer must not do.
    _, e, b = hp.anafast([maps[0], *rotated(maps[1:])], lmax=10, pol=True)[:3]
    assert b.sum() > 0.3 * e.sum()


def test_iau_turns_the_sign_of_u():
    q, u = sky(8, 10)[1:]
    ours = rotated(np.stack([q, u]), spin=2)
    iau = rotated(np.stack([q, -u]), spin=2, convention="IAU")
    np.testing.assert_allclose(iau, ours * [[1], [-1]], atol=1e-14)


def test_pairs_are_rotated_one_by_one():
    maps = torch.randn(3, 6, 192)
    turns = torch.linalg.qr(torch.randn(3, 3, 3)).Q
    turns = turns * torch.linalg.det(turns)[:, None, None]
    layer = Rotate(4, order="nested", spin=2)
    alone = torch.cat([layer(pair, turns) for pair in maps.split(2, dim=1)], 1)
    assert torch.allclose(layer(maps, turns), alone, atol=1e-6)
    wide = layer(maps.double(), turns.double())
    assert float((wide - alone).abs().max()) < 1e-5


def test_gradients_and_directions_at_a_pole():
    poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    layer = Sample(poles, nside=4, order="ring", spin=2)
    maps = torch.randn(1, 2, 192, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: layer(m, MATRIX[None]), (maps,))
    # At a pole, south is taken along the meridian of longitude 0: a field that is the same
    # everywhere in the plane is Q there, and turns along the ring as exp(-2 i phi).
    theta, phi = healpix.pixel_to_angle(torch.arange(192), nside=4, order="ring")
    north = (theta < 0.6).double()
    plane = torch.stack([north * (2 * phi).cos(), -north * (2 * phi).sin()])[None]
    value = layer(plane, torch.eye(3)[None])[0, :, 0]
    assert torch.allclose(value, torch.tensor([1.0, 0.0]).double(), atol=1e-6)


def test_bad_input_is_named():
    layer = Rotate(4, order="ring", spin=2)
    with pytest.raises(ValueError, match=r"even number of channels, Q and U.*got 3"):
        layer(torch.zeros(1, 3, 192), torch.eye(3)[None])
    with pytest.raises(ValueError, match="rotations must be rotations"):
        layer(torch.zeros(1, 2, 192), -torch.eye(3)[None])
    with pytest.raises(ValueError, match="rotations must be rotations"):
        layer(torch.zeros(1, 2, 192), torch.full((1, 3, 3), torch.nan))
    with pytest.raises(ValueError, match="spin must be 0 or 2, got 1"):
        Rotate(4, order="ring", spin=1)
    with pytest.raises(ValueError, match="convention must be one of 'COSMO', 'IAU', got 'iau'"):
        Rotate(4, order="ring", spin=2, convention="iau")
    with pytest.raises(ValueError, match=r"interpolation must be one of .*got 'cubic'"):
        Rotate(4, order="ring", interpolation="cubic")
    with pytest.raises(ValueError, match="width must be finite and positive, got 0"):
        Rotate(4, order="ring", width=0.0)
    assert "spin=2, convention='COSMO'" in repr(layer)
