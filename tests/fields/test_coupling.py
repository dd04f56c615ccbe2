"""How masks couple multipoles: kernels against 3j symbols and against dense harmonic algebra."""

import math

import numpy as np
import pytest
import torch
from complaints import complaint
from sympy.physics.wigner import wigner_3j

from skytutor.fields.coupling import coupling_kernels, gauss_legendre, wigner_d
from skytutor.fields.spectra import alm2cl, gaussian_alms
from skytutor.sht import RealHarmonics, alm2map, map2alm, real_degrees, to_real


@pytest.mark.parametrize("n", [1, 2, 7, 200])
def test_gauss_points_are_numpys(n):
    x, weight = gauss_legendre(n)
    theirs = np.polynomial.legendre.leggauss(n)
    np.testing.assert_allclose(x.flip(0).numpy(), theirs[0], atol=1e-15)
    np.testing.assert_allclose(weight.flip(0).numpy(), theirs[1], rtol=1e-10)
    assert float(weight.sum()) == pytest.approx(2, rel=1e-13)


@pytest.mark.parametrize("top", range(9))
def test_one_degree_of_the_mask_gives_products_of_3j_symbols(top):
    """A mask with power at one L alone: each entry is a product of two symbols, from sympy."""
    mask_cl = torch.zeros(top + 1, dtype=torch.float64)
    mask_cl[top] = 4 * math.pi / (2 * top + 1)
    kernels = coupling_kernels(mask_cl, lmax=5)
    for l in range(6):
        for other in range(6):
            scalar = float(wigner_3j(l, other, top, 0, 0, 0))
            spin = float(wigner_3j(l, other, top, 2, -2, 0)) if min(l, other) > 1 else 0.0
            sign = (-1) ** (l + other + top)
            wanted = {
                "TT": scalar**2,
                "TE": scalar * spin,
                "+": spin**2 * (1 + sign) / 2,
                "-": spin**2 * (1 - sign) / 2,
            }
            for name, value in wanted.items():
                found = float(kernels[name][l, other]) / (2 * other + 1)
                assert found == pytest.approx(value, abs=1e-14), (name, l, other)


def test_symbols_of_high_degree_have_their_closed_form():
    """``(l l 0; s -s 0)**2 = 1 / (2 l + 1)`` and ``(l l+1 1; 0 0 0)**2 = (l+1)/((2l+1)(2l+3))``."""
    lmax = 500
    l = torch.arange(lmax + 1, dtype=torch.float64)
    monopole = coupling_kernels(torch.tensor([4 * math.pi], dtype=torch.float64), lmax=lmax)
    for name, first in (("TT", 0), ("TE", 2), ("+", 2)):
        wanted = torch.diag((l >= first).double())
        torch.testing.assert_close(monopole[name], wanted, rtol=0, atol=1e-11)
    torch.testing.assert_close(monopole["-"], torch.zeros_like(monopole["-"]), rtol=0, atol=1e-11)
    dipole = coupling_kernels(torch.tensor([0.0, 4 * math.pi / 3], dtype=torch.float64), lmax=lmax)[
        "TT"
    ]
    wanted = (l + 1) / ((2 * l + 1) * (2 * l + 3)) * (2 * l + 3)
    torch.testing.assert_close(dipole.diagonal(1), wanted[:-1], rtol=0, atol=1e-12)


def test_rows_sum_to_the_mean_square_of_the_mask():
    """Of degrees that the mask does not carry beyond lmax, no power is lost."""
    mask_cl = 1 / (1 + torch.arange(9, dtype=torch.float64)) ** 2
    kernels = coupling_kernels(mask_cl, lmax=30)
    degree = torch.arange(9, dtype=torch.float64)
    square = float(((2 * degree + 1) * mask_cl).sum() / (4 * math.pi))
    rows = kernels["TT"].sum(1)[:23]
    torch.testing.assert_close(rows, torch.full_like(rows, square), rtol=1e-12, atol=0)
    both = (kernels["+"] + kernels["-"]).sum(1)[10:23]
    torch.testing.assert_close(both, torch.full_like(both, square), rtol=1e-12, atol=0)
    # M_ll' / (2 l' + 1) does not know which of its two degrees is the sky's.
    columns = 2 * torch.arange(31, dtype=torch.float64) + 1
    for kernel in kernels.values():
        torch.testing.assert_close(kernel / columns, (kernel / columns).T, rtol=0, atol=1e-14)


def dense(nside=8, lmax=6, top=4):
    """Return what multiplying by a mask does to real coefficients: matrices by pairs of fields.

    The product of two band-limited fields is band-limited, and comes back exactly by least squares.
    """
    g = torch.Generator().manual_seed(0)
    flat = {"TT": torch.ones(top + 1)}
    weights_alm = gaussian_alms(flat, lmax=top, generator=g)["T"]
    weights = alm2map(weights_alm, nside=nside, lmax=top, order="ring")
    count = (lmax + 1) ** 2
    one = torch.eye(count, dtype=torch.float64)
    wide = lmax + top
    how = {"nside": nside, "lmax": wide, "order": "ring", "method": "lsq"}
    scalar = RealHarmonics(nside, lmax, order="ring", dtype=torch.float64)
    found = map2alm(scalar.synthesis(one) * weights, **how)
    out = {"TT": to_real(found, lmax=wide)[:, :count]}
    spin = RealHarmonics(nside, lmax, spin=2, order="ring", dtype=torch.float64)
    for index, field in enumerate("EB"):
        pair = torch.zeros(count, 2, count, dtype=torch.float64)
        pair[:, index] = one
        found = map2alm(spin.synthesis(pair) * weights, spin=2, **how)
        found = to_real(found, lmax=wide)[..., :count]
        out[field + "E"] = found[:, 0]
        out[field + "B"] = found[:, 1]
    return out, alm2cl(weights_alm, lmax=top)


def test_kernels_are_those_of_dense_harmonic_algebra():
    lmax = 6
    maps, mask_cl = dense(lmax=lmax)
    kernels = coupling_kernels(mask_cl, lmax=lmax)
    l = real_degrees(lmax)[0]
    degree = torch.nn.functional.one_hot(l).double()  # (K, lmax + 1)

    def mean(first, second):
        """Sum products of matrices over m and m', for unit power at each l' of the sky."""
        product = (maps[first] * maps[second]).T  # rows are what is measured
        return (degree.T @ product @ degree) / (2 * torch.arange(lmax + 1) + 1.0)[:, None]

    close = {"rtol": 0, "atol": 1e-5 * float(kernels["TT"].abs().max())}
    torch.testing.assert_close(mean("TT", "TT"), kernels["TT"], **close)
    torch.testing.assert_close(mean("TT", "EE"), kernels["TE"], **close)
    torch.testing.assert_close(mean("EE", "EE"), kernels["+"], **close)
    torch.testing.assert_close(mean("BE", "BE"), kernels["-"], **close)
    torch.testing.assert_close(mean("EB", "EB"), kernels["-"], **close)
    # E of one map with B of another: BE of the sky comes in with a minus.
    torch.testing.assert_close(mean("EE", "BB"), kernels["+"], **close)
    torch.testing.assert_close(mean("BE", "EB"), -kernels["-"], **close)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: coupling_kernels(torch.ones(3), lmax=-1), ("lmax", "-1")),
        (lambda: coupling_kernels(torch.ones(2, 3), lmax=3), ("mask_cl", "(2, 3)")),
        (lambda: coupling_kernels(torch.tensor([torch.nan]), lmax=3), ("mask_cl", "finite")),
        (lambda: wigner_d(1, 0, torch.zeros(1), lmax=3), ("m and n", "(1, 0)")),
    ],
)
def test_bad_input(call, words):
    complaint(ValueError, call, *words)
