"""skytutor.sht: the real packing, a matrix product or transforms, and the least-squares inverse."""

import math

import numpy as np
import pytest
import torch

from skytutor.sht import (
    ConvergenceWarning,
    Harmonics,
    RealHarmonics,
    alm_lm,
    alm_size,
    least_squares,
    map2alm,
    real_degrees,
    to_complex,
    to_real,
)
from skytutor.sht.symmetry import SymmetryBlocks, block_bytes

each_spin = pytest.mark.parametrize("spin", [0, 2])


def draw(lmax, *lead, spin=0, seed=0):
    """Coefficients of real maps, none below l = spin."""
    g = torch.Generator().manual_seed(seed)
    parts = (*lead, 2) if spin else lead
    a = torch.randn(*parts, alm_size(lmax), generator=g, dtype=torch.complex128)
    l, m = alm_lm(lmax)
    return torch.where(m == 0, a.real + 0j, a) * (l >= spin)


def rms(found, wanted):
    return float(
        (found - wanted).abs().square().mean().sqrt() / wanted.abs().square().mean().sqrt()
    )


def test_the_real_packing_keeps_scalar_products_and_comes_back():
    a = draw(7, 3, seed=1)
    b = draw(7, 3, seed=2)
    m_multiplicity = 2.0 - (alm_lm(7)[1] == 0).double()
    product = ((a.real * b.real + a.imag * b.imag) * m_multiplicity).sum(-1)
    torch.testing.assert_close(
        (to_real(a, lmax=7) * to_real(b, lmax=7)).sum(-1), product, rtol=1e-14, atol=1e-13
    )
    torch.testing.assert_close(to_complex(to_real(a, lmax=7)), a, rtol=0, atol=1e-15)
    l, m = real_degrees(7)
    assert torch.equal(l * (l + 1) + m, torch.arange(64)) and int(m.abs().max()) == 7


@each_spin
@pytest.mark.parametrize("order", ["ring", "nested"])
@pytest.mark.parametrize("max_bytes", [0, 2**24])
def test_matrix_and_transform_agree(max_bytes, order, spin):
    sky, oracle = (
        kind(4, 8, spin=spin, order=order, dtype=torch.float64, **more)
        for kind, more in ((RealHarmonics, {"max_bytes": max_bytes}), (Harmonics, {}))
    )
    assert (sky.transform is None) == bool(max_bytes)
    a = draw(8, 2, 3, spin=spin)
    maps = oracle.alm2map(a)
    torch.testing.assert_close(sky.synthesis(to_real(a, lmax=8)), maps, rtol=0, atol=1e-13)
    torch.testing.assert_close(
        sky.analysis(maps), to_real(oracle.map2alm(maps), lmax=8), rtol=0, atol=1e-13
    )
    low = to_real(a, lmax=8)[..., :25]
    padded = torch.nn.functional.pad(low, (0, 56))
    torch.testing.assert_close(sky.synthesis(low), sky.synthesis(padded), rtol=0, atol=1e-13)


def test_real_harmonics_compile_whole():
    sky = RealHarmonics(2, 4, spin=2, order="nested")

    def there_and_back(coefs):
        return sky.analysis(sky.synthesis(coefs))

    coefs = torch.randn(3, 2, 25)
    torch.testing.assert_close(
        torch.compile(there_and_back, fullgraph=True, backend="aot_eager")(coefs),
        there_and_back(coefs),
    )


@each_spin
def test_least_squares_gives_back_what_made_the_map(spin):
    """At lmax = 3 nside - 1, where quadrature and Jacobi iteration fail."""
    nside = 16
    lmax = 47
    a = draw(lmax, spin=spin)
    sky = Harmonics(nside, lmax, spin=spin, dtype=torch.float64, order="ring")
    solution = least_squares(sky.alm2map(a), sky)
    print(f"nside {nside}, spin {spin}: {solution.steps} steps, rms {rms(solution.alms, a):.1e}")
    assert rms(solution.alms, a) <= 1e-12 and solution.steps < 100 and solution.residual <= 1e-14
    assert rms(sky.map2alm(sky.alm2map(a), iterations=10), a) > 1e-3
    by_function = map2alm(
        sky.alm2map(a), nside=nside, lmax=lmax, spin=spin, method="lsq", order="ring"
    )
    assert torch.equal(by_function, solution.alms)


@each_spin
@pytest.mark.parametrize("nside", [2, 8, 16])
def test_symmetry_blocks_solve_the_normal_equations(nside, spin):
    lmax = 3 * nside - 1
    sky = RealHarmonics(nside, lmax, spin=spin, dtype=torch.float64, order="ring")
    blocks = SymmetryBlocks(nside, lmax, spin=spin)
    coefs = torch.randn(5, *((2,) if spin else ()), (lmax + 1) ** 2, dtype=torch.float64)
    coefs = coefs * (real_degrees(lmax)[0] >= spin)
    found = blocks(sky.adjoint(sky.synthesis(coefs)) * 4 * math.pi / (12 * nside**2))
    torch.testing.assert_close(found, coefs, rtol=0, atol=1e-12)
    size = sum(p.numel() * 8 for n, p in blocks.named_buffers() if "factor" in n)
    assert size < 2 * block_bytes(lmax, spin) + 8192


@each_spin
def test_solving_by_blocks_takes_two_steps_at_most(spin):
    a = draw(47, spin=spin)
    sky = Harmonics(16, 47, spin=spin, dtype=torch.float64, order="ring")
    solution = least_squares(sky.alm2map(a), sky, blocks=True)
    assert solution.steps <= 2 and rms(solution.alms, a) <= 1e-13


@pytest.mark.slow
def test_least_squares_at_nside_64():
    """Conjugate gradients alone would need more than 10,000 steps. Half a minute, 1.6 GB."""
    a = draw(191)
    sky = Harmonics(64, 191, dtype=torch.float64, order="ring")
    solution = least_squares(sky.alm2map(a), sky)
    print(f"nside 64: {solution.steps} steps, rms {rms(solution.alms, a):.1e}")
    assert solution.steps <= 5 and rms(solution.alms, a) <= 1e-10


@each_spin
def test_least_squares_has_a_gradient(spin):
    sky = Harmonics(2, 4, spin=spin, dtype=torch.float64, order="ring")
    maps = torch.randn(*((3, 2, 48) if spin else (3, 48)), dtype=torch.float64, requires_grad=True)
    # fast_mode: along random directions, which sees any wrong number of the Jacobian.
    assert torch.autograd.gradcheck(lambda f: least_squares(f, sky).alms, (maps,), fast_mode=True)
    few = maps[:1].detach().requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda f: least_squares(f, sky).alms, (few,), fast_mode=True
    )


@each_spin
def test_least_squares_says_that_it_has_not_converged(spin):
    sky = Harmonics(8, 23, spin=spin, dtype=torch.float64, order="ring")
    maps = sky.alm2map(draw(23, 3, spin=spin))
    with pytest.warns(ConvergenceWarning, match="max_iter = 4 steps"):
        solution = least_squares(maps, sky, max_iter=4)
    assert solution.steps == 4 and solution.residual > 1e-14


def test_least_squares_of_any_map_leaves_a_residual_without_harmonics():
    sky = Harmonics(8, 16, dtype=torch.float64, order="ring")
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 768)))
    left = maps - sky.alm2map(least_squares(maps, sky).alms)
    assert sky.map2alm(left, weights=None).abs().max() < 1e-13 < left.abs().max()


@pytest.mark.parametrize("change", [{"tolerance": 0}, {"tolerance": 1.0}, {"max_iter": 0}])
def test_bad_limits_of_least_squares(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        least_squares(torch.zeros(48), Harmonics(2, 4, order="ring"), **change)


def test_bad_input_of_the_real_kind():
    sky = RealHarmonics(2, 4, order="ring")
    field = RealHarmonics(2, 4, spin=2, order="ring")
    for bad, says in ((torch.zeros(1, 24), "lmax"), (torch.zeros(1, 36), "25")):
        with pytest.raises(ValueError, match=says):
            sky.synthesis(bad)
    with pytest.raises(ValueError, match="48 pixels"):
        sky.analysis(torch.zeros(1, 12))
    with pytest.raises(ValueError, match="two components"):
        field.synthesis(torch.zeros(3, 25))
    with pytest.raises(ValueError, match=r"method.*'exact'"):
        map2alm(torch.zeros(48), nside=2, lmax=4, method="exact", order="ring")
