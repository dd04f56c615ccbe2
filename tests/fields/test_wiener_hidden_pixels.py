"""The Wiener filter behind the mask, against a dense solution of healpy's harmonics alone."""

import math
from functools import lru_cache

import healpy
import numpy as np
import pytest
import torch

from skytutor.fields.wiener import WienerFilter
from skytutor.healpix import UNSEEN

NSIDE = 16
LMAX = 32
PIXELS = 12 * NSIDE**2
BARS = {torch.float32: 1e-2, torch.float64: 1e-3}
each_dtype = pytest.mark.parametrize("dtype", BARS)


@lru_cache
def harmonics():
    """Return the real harmonics of healpy, ``(K, P)``, and the degree of each, ``(K,)``."""
    l, m = healpy.Alm.getlm(LMAX)
    rows = []
    degrees = []
    for index in range(len(l)):
        for phase in (1.0, 1j) if m[index] else (1.0,):
            alms = np.zeros(len(l), dtype=complex)
            # A coefficient of m > 0 stands for that of -m too.
            alms[index] = phase / (math.sqrt(2) if m[index] else 1)
            rows.append(healpy.alm2map(alms, NSIDE, lmax=LMAX))
            degrees.append(l[index])
    return np.stack(rows), np.array(degrees)


def red_spectrum():
    l = np.arange(LMAX + 1)
    cl = 1000 / np.maximum(l * (l + 1), 1)
    cl[0] = 0
    return cl


def dense_mean(data, cl, variance, weight):
    """Return the exact posterior mean of maps ``(..., P)``, and its deviation in every pixel."""
    rows, l = harmonics()
    rows = rows * np.sqrt(cl[l])[:, None]
    matrix = np.eye(len(rows)) + (rows * (weight / variance)) @ rows.T
    x = np.linalg.solve(matrix, rows @ (weight / variance * data).T)
    spread = np.sqrt((rows * np.linalg.solve(matrix, rows)).sum(0))
    return x.T @ rows, spread


@lru_cache
def band(noise):
    """Return a sky, its mask ``|z| > 0.2``, and the exact answer."""
    rng = np.random.default_rng(0)
    rows, l = harmonics()
    cl = red_spectrum()
    z = healpy.pix2vec(NSIDE, np.arange(PIXELS))[2]
    mask = np.abs(z) > 0.2
    data = (np.sqrt(cl[l]) * rng.normal(size=len(l))) @ rows + noise * rng.normal(size=PIXELS)
    return data, mask, *dense_mean(data, cl, noise**2, mask)


def error_of(found, sky, wanted, hidden, data):
    """Return the largest error in hidden pixels over the map's deviation."""
    maps = sky.harmonics.synthesis(found.coefs).double().numpy()
    return np.abs(maps - wanted)[hidden].max() / data.std()


@each_dtype
@pytest.mark.parametrize("preconditioner", [None, "coarse", "hole"])
@pytest.mark.parametrize("noise", [5, 1, 0.5, 0.1])
def test_converged_means_right_where_nothing_is_seen(noise, preconditioner, dtype):
    data, mask, wanted, _ = band(noise)
    sky = WienerFilter(NSIDE, LMAX, order="ring", dtype=dtype, preconditioner=preconditioner)
    found = sky(
        torch.from_numpy(data).to(dtype),
        {"TT": torch.from_numpy(red_spectrum())},
        variance=noise**2,
        mask=torch.from_numpy(mask),
    )
    error = error_of(found, sky, wanted, ~mask, data)
    print(f"{noise}, {preconditioner}, {dtype}: {found.steps} steps, {error:.1e}", end="")
    print(f" where the bound is {found.residual:.1e}")
    assert error <= BARS[dtype] and found.residual <= sky.tolerance
    # The bound is over the root mean square of the filtered map, not over the data's deviation;
    # and the rounding of float32 data is not the solution's fault.
    assert error <= 3 * found.residual + (2e-5 if dtype == torch.float32 else 0)
    assert found.steps <= (1000 if preconditioner == "coarse" else 12)


@pytest.mark.parametrize("max_iter", [20, 60, 200])
def test_the_bound_holds_where_it_has_not_converged(max_iter):
    data, mask, wanted, _ = band(0.1)
    sky = WienerFilter(
        NSIDE,
        LMAX,
        order="ring",
        dtype=torch.float64,
        preconditioner="coarse",
        max_iter=max_iter,
        on_failure="warn",
    )
    with pytest.warns(RuntimeWarning, match=f"max_iter = {max_iter} steps pixels may be off by"):
        found = sky(
            torch.from_numpy(data),
            {"TT": torch.from_numpy(red_spectrum())},
            variance=0.01,
            mask=torch.from_numpy(mask),
        )
    error = error_of(found, sky, wanted, ~mask, data)
    print(f"{max_iter} steps: {error:.1e} where the bound is {found.residual:.1e}")
    assert 1e-3 < error <= 3 * found.residual


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_tolerance_is_relative_to_the_map(scale):
    data, mask, wanted, _ = band(1)
    sky = WienerFilter(NSIDE, LMAX, order="ring", dtype=torch.float64)
    found = sky(
        torch.from_numpy(scale * data),
        {"TT": torch.from_numpy(scale**2 * red_spectrum())},
        variance=scale**2,
        mask=torch.from_numpy(mask),
    )
    assert error_of(found, sky, scale * wanted, ~mask, scale * data) <= 1e-5


@each_dtype
@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("preconditioner", ["coarse", "hole"])
def test_masks_of_every_kind_hide_whatever_stands_there(preconditioner, kind, dtype):
    """UNSEEN and NaN in the map and in the noise reach neither the answer nor its gradient."""
    data, mask, wanted, _ = band(5)
    maps = torch.from_numpy(data.copy()).to(dtype)
    variance = torch.full((PIXELS,), 25.0, dtype=dtype)
    hidden = torch.from_numpy(~mask)
    maps[hidden] = UNSEEN
    maps[hidden.nonzero()[0]] = math.nan
    variance[hidden] = UNSEEN
    variance[hidden.nonzero()[1]] = math.nan
    variance[hidden.nonzero()[2]] = 0
    maps.requires_grad_()
    variance.requires_grad_()
    sky = WienerFilter(NSIDE, LMAX, order="ring", dtype=dtype, preconditioner=preconditioner)
    found = sky(
        maps,
        {"TT": torch.from_numpy(red_spectrum())},
        variance=variance,
        mask=torch.from_numpy(mask).to(kind),
    )
    found.coefs.square().sum().backward()
    assert error_of(found._replace(coefs=found.coefs.detach()), sky, wanted, ~mask, data) <= 1e-3
    for gradient in (maps.grad, variance.grad):
        assert bool(torch.isfinite(gradient).all()) and bool(gradient[~hidden].any())
        assert not bool(gradient[hidden].any())


def test_uneven_noise_and_soft_edges_equal_the_dense_solution():
    data, mask, _, _ = band(1)
    rng = np.random.default_rng(1)
    weight = mask * rng.uniform(0.1, 1, PIXELS)
    variance = rng.uniform(0.5, 20, PIXELS)
    wanted, _ = dense_mean(data, red_spectrum(), variance, weight)
    sky = WienerFilter(NSIDE, LMAX, order="ring", dtype=torch.float64)
    found = sky(
        torch.from_numpy(data),
        {"TT": torch.from_numpy(red_spectrum())},
        variance=torch.from_numpy(variance),
        mask=torch.from_numpy(weight),
    )
    error = error_of(found, sky, wanted, ~mask, data)
    print(f"{found.steps} steps, {error:.1e} where the bound is {found.residual:.1e}")
    assert error <= 1e-5 and found.steps <= 150


def test_few_hidden_values_are_solved_for_together():
    """Beyond, the matrix would not fit; where all is solved exactly, nothing is left for it."""
    sky = WienerFilter(8, 16, order="ring", dtype=torch.float64)
    spectra = {"TT": torch.ones(17).double()}
    mask = torch.ones(768)
    kinds = []
    for hidden in (0, 1, 700):
        mask[:hidden] = 0
        kinds.append(type(sky.prepare(spectra, variance=1.0, mask=mask)).__name__)
    assert kinds == ["CoarsePreconditioner", "HolePreconditioner", "HolePreconditioner"]
    whole = WienerFilter(8, 16, order="ring", dtype=torch.float64, coarse=16)
    assert type(whole.prepare(spectra, variance=1.0, mask=mask)).__name__ == "CoarsePreconditioner"
    large = WienerFilter(16, 4, order="ring", dtype=torch.float64, coarse=2)
    mask = torch.ones(3072)
    mask[:2049] = 0
    made = large.prepare({"TT": torch.ones(5).double()}, variance=1.0, mask=mask)
    assert type(made).__name__ == "CoarsePreconditioner"


def test_second_derivatives_are_those_of_the_dense_solution():
    """The Hessian of a loss in noise and amplitude of the spectrum; 2.000 for 2.4997 once."""
    rows, l = (torch.from_numpy(a) for a in harmonics())
    few = l <= 6
    rows = rows[few]
    l = l[few]
    data = torch.from_numpy(band(5)[0])
    mask = torch.from_numpy(band(5)[1]).double()
    cl = torch.from_numpy(red_spectrum())[:7]
    sky = WienerFilter(NSIDE, 6, order="ring", dtype=torch.float64, coarse=1, tolerance=1e-10)

    def by_filter(parameters):
        amplitude, variance, scale = parameters
        found = sky(scale * data, {"TT": amplitude * cl}, variance=variance, mask=mask)
        return found.coefs.square().sum().log()

    def by_elimination(parameters):
        amplitude, variance, scale = parameters
        root = (amplitude * cl[l]).clamp(min=1e-30).sqrt()[:, None]
        matrix = torch.eye(len(l)).double() + (root * rows * mask / variance) @ (root * rows).T
        x = torch.linalg.solve(matrix, root[:, 0] * (rows @ (mask / variance * scale * data)))
        return (root[:, 0] * x).square().sum().log()

    start = torch.tensor([1.0, 25.0, 1.3]).double()
    found = torch.autograd.functional.hessian(by_filter, start)
    wanted = torch.autograd.functional.hessian(by_elimination, start)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-10)


def gradient_of_a_hidden_pixel(sky, noise):
    """Return the derivative of one filtered pixel on the equator in the data, ``(P,)``."""
    data, mask, _, _ = band(noise)
    maps = torch.from_numpy(data).requires_grad_()
    spectra = {"TT": torch.from_numpy(red_spectrum())}
    found = sky(maps, spectra, variance=noise**2, mask=torch.from_numpy(mask))
    sky.harmonics.synthesis(found.coefs)[PIXELS // 2].backward()
    return maps.grad.numpy()


@pytest.mark.parametrize("preconditioner", ["coarse", "hole"])
def test_gradients_of_hidden_pixels_are_right(preconditioner):
    noise = 0.1
    sky = WienerFilter(
        NSIDE, LMAX, order="ring", dtype=torch.float64, preconditioner=preconditioner
    )
    found = gradient_of_a_hidden_pixel(sky, noise)
    rows, l = harmonics()
    rows = rows * np.sqrt(red_spectrum()[l])[:, None]
    weight = band(noise)[1] / noise**2
    matrix = np.eye(len(rows)) + (rows * weight) @ rows.T
    wanted = weight * (np.linalg.solve(matrix, rows[:, PIXELS // 2]) @ rows)
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    print(f"{preconditioner}: off by {error:.1e}")
    assert error <= 1e-4


def test_a_gradient_that_has_not_converged_is_refused():
    sky = WienerFilter(NSIDE, LMAX, order="ring", dtype=torch.float64, preconditioner="coarse")
    sky.max_iter = 30
    sky.on_failure = "warn"
    with pytest.warns(RuntimeWarning, match="has not converged") as warned:
        gradient_of_a_hidden_pixel(sky, 0.5)
    assert len(warned) == 2  # forward and backward
    # A map of zeros is filtered in one step, and its gradient is not.
    sky.on_failure = "raise"
    maps = torch.zeros(PIXELS).double().requires_grad_()
    spectra = {"TT": torch.from_numpy(red_spectrum())}
    found = sky(maps, spectra, variance=0.25, mask=torch.from_numpy(band(0.5)[1]))
    with pytest.raises(RuntimeError, match="has not converged"):
        sky.harmonics.synthesis(found.coefs)[PIXELS // 2].backward()
