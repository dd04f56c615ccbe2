"""Rotated and resized coefficients: against healpy, and by what rotations must obey."""

import math

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor.sht import alm2map, alm_index, alm_lm, alm_size, map2alm, resize_alms, rotate_alms


def matrix(psi, theta, phi):
    """Return the rotation by psi about z, then theta about y, then phi about z."""

    def about(angle, first, second):
        turn = np.eye(3)
        turn[[first, second], [first, second]] = math.cos(angle)
        turn[second, first] = math.sin(angle)
        turn[first, second] = -math.sin(angle)
        return turn

    return torch.from_numpy(about(phi, 0, 1) @ about(theta, 2, 0) @ about(psi, 0, 1))


def coefficients(*lead, lmax, seed=0):
    rng = torch.Generator().manual_seed(seed)
    alms = torch.randn(*lead, alm_size(lmax), generator=rng, dtype=torch.complex128)
    alms[..., : lmax + 1] = alms[..., : lmax + 1].real.to(alms)
    return alms


def healpys(alms, *angles):
    wanted = alms.numpy().copy()
    hp.rotate_alm(wanted, *angles)
    return wanted


# Turns about z alone, upside down, hardly at all; nearly pi; and any.
ANGLES = [
    (0.3, 1.1, -2.0),
    (0.7, 0.0, 0.4),
    (1.0, math.pi, 2.0),
    (0.2, 1e-9, 0.4),
    (2.0, 3.14, 1.0),
    (-1.0, -0.8, 5.0),
]


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize("lmax", [0, 1, 2, 3, 40])
def test_rotated_coefficients_are_healpys(lmax, angles):
    alms = coefficients(lmax=lmax)
    ours = rotate_alms(alms, matrix(*angles), lmax=lmax)
    assert np.abs(ours.numpy() - healpys(alms, *angles)).max() < 1e-12


def test_coefficients_of_high_degree_are_healpys():
    """Above l = 200 the first values of the recurrence carry a scale."""
    alms = coefficients(lmax=300)
    ours = rotate_alms(alms, matrix(*ANGLES[0]), lmax=300)
    assert np.abs(ours.numpy() - healpys(alms, *ANGLES[0])).max() < 1e-11


def test_a_rotation_for_each_entry_and_one_for_all():
    alms = coefficients(3, 2, lmax=12)
    turns = torch.stack([matrix(*angles) for angles in ANGLES[:3]])
    ours = rotate_alms(alms, turns, lmax=12)
    for entry, angles, turn, found in zip(alms, ANGLES[:3], turns, ours, strict=True):
        wanted = np.stack([healpys(row, *angles) for row in entry])
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
        np.testing.assert_allclose(rotate_alms(entry, turn, lmax=12).numpy(), wanted, atol=1e-12)
    single = rotate_alms(alms.to(torch.complex64), turns.float(), lmax=12)
    assert single.dtype == torch.complex64
    assert float((single - ours).abs().max()) < 1e-5


def test_e_and_b_of_a_rotated_sky():
    """The map of rotated E and B is the sky at the rotated places: no axis, no pixel is special."""
    alms = coefficients(2, lmax=10)
    alms[:, alm_lm(10)[0] < 2] = 0
    quarter = matrix(math.pi / 2, 0.0, 0.0)
    arguments = {"nside": 8, "lmax": 10, "order": "nested", "spin": 2}
    maps = alm2map(alms, **arguments)
    wanted = maps.unflatten(-1, (3, 4, 64)).roll(1, -2).flatten(-3)
    found = alm2map(rotate_alms(alms, quarter, lmax=10), **arguments)
    assert float((found - wanted).abs().max()) < 1e-12


def test_rotations_are_a_group_that_keeps_power():
    alms = coefficients(lmax=30)
    one = matrix(*ANGLES[0])
    two = matrix(*ANGLES[4])
    both = rotate_alms(rotate_alms(alms, one, lmax=30), two, lmax=30)
    assert torch.allclose(both, rotate_alms(alms, two @ one, lmax=30), atol=1e-12)
    back = rotate_alms(rotate_alms(alms, one, lmax=30), one.T, lmax=30)
    assert torch.allclose(back, alms, atol=1e-12)
    wanted = hp.alm2cl(alms.numpy())
    np.testing.assert_allclose(hp.alm2cl(both.numpy()), wanted, rtol=1e-12)


def test_gradients():
    alms = coefficients(2, lmax=4).requires_grad_()
    turns = torch.stack([matrix(*ANGLES[0]), matrix(*ANGLES[5])])
    function = lambda a: torch.view_as_real(rotate_alms(a, turns, lmax=4))  # noqa: E731
    assert torch.autograd.gradcheck(function, (alms,))
    with pytest.raises(ValueError, match="rotations take no gradient"):
        rotate_alms(alms, turns.requires_grad_(), lmax=4)


@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (5, 0), (5, 3), (5, 5)])
def test_packings_with_fewer_orders_are_healpys(lmax, mmax):
    assert alm_size(lmax, mmax=mmax) == hp.Alm.getsize(lmax, mmax)
    l, m = alm_lm(lmax, mmax=mmax)
    wanted = hp.Alm.getlm(lmax, np.arange(hp.Alm.getsize(lmax, mmax)))
    assert l.tolist() == wanted[0].tolist()
    assert m.tolist() == wanted[1].tolist()
    assert alm_index(l, m, lmax=lmax, mmax=mmax).tolist() == list(range(len(l)))
    with pytest.raises(ValueError, match=rf"m must lie in 0\.\.{mmax} \(mmax\), got {mmax + 1}"):
        alm_index(torch.tensor(lmax), torch.tensor(mmax + 1), lmax=lmax, mmax=mmax)


@pytest.mark.parametrize("before", [(6, 6), (6, 2), (3, 0)])
@pytest.mark.parametrize("after", [(6, 6), (4, 1), (9, 9), (9, 3), (0, 0)])
def test_resized_coefficients_are_healpys(before, after):
    size = alm_size(before[0], mmax=before[1])
    alms = torch.randn(2, size, dtype=torch.complex128, requires_grad=True)
    ours = resize_alms(alms, lmax=before[0], mmax=before[1], lmax_out=after[0], mmax_out=after[1])
    wanted = hp.resize_alm(alms.detach().numpy(), *before, *after)
    np.testing.assert_array_equal(ours.detach().numpy(), np.array(wanted))
    ours.real.sum().backward()
    l, m = alm_lm(before[0], mmax=before[1])
    fits = (l <= after[0]) & (m <= after[1])
    assert torch.equal(alms.grad[0].real, fits.double())


def test_fewer_orders_are_refused_elsewhere_with_what_to_do():
    few = torch.ones(alm_size(5, mmax=2), dtype=torch.complex128)
    for call in (
        lambda: rotate_alms(few, torch.eye(3), lmax=5),
        lambda: alm2map(few, nside=4, lmax=5, order="ring"),
    ):
        with pytest.raises(ValueError, match=r"alms must end in \(21,\) \(lmax 5\).*resize_alms"):
            call()
    padded = resize_alms(few, lmax=5, mmax=2, lmax_out=5)
    sky = alm2map(padded, nside=4, lmax=5, order="ring")
    wanted = hp.alm2map(few.numpy(), 4, lmax=5, mmax=2)
    np.testing.assert_allclose(sky.numpy(), wanted, atol=1e-12)
    back = map2alm(sky, nside=4, lmax=5, order="ring", iterations=10)
    assert float((back - padded).abs().max()) < 1e-3


ALMS = torch.ones(3, dtype=torch.complex128)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: rotate_alms(ALMS.real, torch.eye(3), lmax=1), TypeError, "alms must be complex"),
        (lambda: rotate_alms(ALMS, -torch.eye(3), lmax=1), ValueError, "rotations must be rot"),
        (lambda: rotate_alms(ALMS, torch.eye(2), lmax=1), ValueError, r"rotations must be \(3, 3"),
        (lambda: rotate_alms(ALMS, ["a"], lmax=1), TypeError, "rotations"),
        (lambda: rotate_alms(ALMS, torch.eye(3)[None], lmax=1), ValueError, r"need alms \(B"),
        (lambda: rotate_alms(ALMS, torch.eye(3), lmax=-1), ValueError, "lmax must not be neg"),
        (lambda: alm_size(3, mmax=4), ValueError, r"mmax must lie in 0\.\.3 \(lmax\), got 4"),
        (lambda: alm_size(3, mmax=1.0), TypeError, "mmax must be an integer, got 1.0"),
        (lambda: alm_lm(3, mmax=-1), ValueError, "mmax must lie in"),
        (lambda: resize_alms(ALMS, lmax=2, lmax_out=1), ValueError, r"end in \(6,\).*mmax 2"),
        (lambda: resize_alms(ALMS, lmax=1, lmax_out=1, mmax_out=2), ValueError, "mmax_out must"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
