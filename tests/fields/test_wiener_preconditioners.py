"""skytutor.fields.preconditioners: covariances by transforms, Woodbury's inverse."""

import pytest
import torch

from skytutor.fields.preconditioners import (
    CoarsePreconditioner,
    HolePreconditioner,
    isotropic_covariance,
)
from skytutor.sht import RealHarmonics, real_degrees

double = {"dtype": torch.float64}
each_spin = pytest.mark.parametrize("spin", [0, 2])


def unit_rows(sky):
    """Return the maps of unit coefficients, ``([2] K, [2] P)``."""
    size = (sky.lmax + 1) ** 2 * (2 if sky.spin else 1)
    unit = torch.eye(size, **double)
    return sky.synthesis(unit.unflatten(1, (2, -1)) if sky.spin else unit).flatten(1)


def some_spectra(spin, lmax, seed=0):
    parts = (2,) if spin else ()
    cl = torch.rand(*parts, lmax + 1, generator=torch.Generator().manual_seed(seed), **double)
    cl[..., :spin] = 0
    return cl


@each_spin
@pytest.mark.parametrize("order", ["ring", "nested"])
@pytest.mark.parametrize("lmax", [2, 16, 23])
def test_covariances_are_those_of_transforms(spin, order, lmax):
    """All pairs of pixels, each with itself and its antipode among them."""
    nside = 8
    sky = RealHarmonics(nside, lmax, spin=spin, order=order, **double)
    cl = some_spectra(spin, lmax)
    rows = unit_rows(sky)
    prior = cl[..., real_degrees(lmax)[0]].flatten()
    wanted = (rows.T * prior) @ rows
    found = isotropic_covariance(cl, torch.arange(768), nside=nside, order=order, spin=spin)
    # The table's interpolation, not rounding, is what is left.
    assert (found - wanted).abs().max() <= 1e-10 * wanted.abs().max()
    some = torch.tensor([5, 700, 33])
    few = isotropic_covariance(cl, some, nside=nside, order=order, spin=spin)
    index = torch.cat([some, some + 768]) if spin else some
    torch.testing.assert_close(few, found[index][:, index])


def equations(spin, mask, variance=0.1, nside=8, lmax=8):
    """Return the harmonics, the spectra's roots, the weights and the dense matrix."""
    sky = RealHarmonics(nside, lmax, spin=spin, order="ring", **double)
    root = some_spectra(spin, lmax)[..., real_degrees(lmax)[0]].sqrt()
    weight = mask / variance
    rows = root.flatten()[:, None] * unit_rows(sky)
    matrix = torch.eye(len(rows), **double)
    matrix += (rows * weight.repeat(2 if spin else 1)) @ rows.T
    return sky, root, weight, matrix


def applied(preconditioner, matrix, root):
    """Return the preconditioner times the matrix, ``([2] K, [2] K)``."""
    columns = matrix.T.reshape(-1, *root.shape)
    return preconditioner(columns).flatten(1).T


def ragged_mask(pixels=768):
    mask = torch.ones(pixels, **double)
    mask[300:420] = 0
    mask[torch.randperm(pixels, generator=torch.Generator().manual_seed(1))[:40]] = 0
    return mask


@each_spin
def test_the_hole_is_nearly_the_inverse(spin):
    """Exact but for the quadrature: 0.4 % at lmax = nside, ten times that in the hole."""
    sky, root, weight, matrix = equations(spin, ragged_mask())
    hole = HolePreconditioner(root, weight, harmonics=sky)
    product = applied(hole, matrix, root)
    values = torch.linalg.eigvals(product).real
    print(f"spin {spin}: eigenvalues {values.min():.4f}..{values.max():.4f}")
    assert values.min() >= 0.95 and values.max() <= 1.01
    assert hole.jitter == 0
    # Noise taken as uniform over the whole sky is far from it.
    coarse = CoarsePreconditioner(root, weight, harmonics=sky, lmax=0)
    values = torch.linalg.eigvals(applied(coarse, matrix, root)).real
    assert values.max() / values.min() > 4


@each_spin
@pytest.mark.parametrize("kind", ["coarse", "hole"])
def test_preconditioners_are_symmetric_and_positive(spin, kind):
    sky, root, weight, matrix = equations(spin, ragged_mask())
    preconditioner = (
        HolePreconditioner(root, weight, harmonics=sky)
        if kind == "hole"
        else CoarsePreconditioner(root, weight, harmonics=sky, lmax=4)
    )
    inverse = applied(preconditioner, torch.eye(len(matrix), **double), root)
    torch.testing.assert_close(inverse, inverse.T, rtol=0, atol=1e-12)
    assert torch.linalg.eigvalsh(inverse).min() > 0


@each_spin
def test_all_degrees_solved_exactly_are_the_inverse(spin):
    sky, root, weight, matrix = equations(spin, ragged_mask())
    coarse = CoarsePreconditioner(root, weight, harmonics=sky, lmax=8)
    product = applied(coarse, matrix, root)
    torch.testing.assert_close(product, torch.eye(len(matrix), **double), rtol=0, atol=1e-11)


def test_a_mask_that_hides_nothing_has_no_hole():
    sky, root, weight, _ = equations(0, torch.ones(768, **double))
    with pytest.raises(ValueError, match="mask hides no pixel"):
        HolePreconditioner(root, weight, harmonics=sky)


def test_what_rounding_makes_negative_is_lifted():
    """At lmax = 3 nside - 1 and no noise to speak of the quadrature's error is above the noise."""
    mask = torch.ones(768, **double)
    mask[200:560] = 0
    sky, root, weight, _ = equations(0, mask, variance=1e-9, lmax=23)
    hole = HolePreconditioner(root, weight, harmonics=sky)
    print(f"added {hole.jitter:g}")
    assert bool(torch.isfinite(hole.cholesky).all())
