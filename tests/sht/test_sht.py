"""skytutor.sht: against scipy's harmonics, healpy's and ducc0's transforms, and exact relations."""

import importlib.util
import math
import os

import healpy as hp
import numpy as np
import pytest
import torch
from astropy.io import fits
from scipy.special import sph_harm_y

from skytutor.healpix import pixel_to_angle, reorder
from skytutor.healpix.rings import colatitudes
from skytutor.sht import BACKENDS, Harmonics, alm2map, alm_lm, alm_size, map2alm, ring_weights
from skytutor.sht import packing as pack
from skytutor.sht.dense import Dense
from skytutor.sht.fourier import RingFourier
from skytutor.sht.legendre import tables

each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_spin = pytest.mark.parametrize("spin", [0, 2])


def draw(lmax, *lead, spin=0, seed=0, dtype=torch.complex128):
    """Fill every a_lm from l = spin on, the imaginary parts of m = 0 too, which must not count."""
    g = torch.Generator().manual_seed(seed)
    parts = (*lead, 2) if spin else lead
    a = torch.randn(*parts, alm_size(lmax), generator=g, dtype=torch.complex128)
    return (a * (alm_lm(lmax)[0] >= spin)).to(dtype)


def real_m0(alms, lmax):
    return torch.where(alm_lm(lmax)[1] == 0, alms.real + 0j, alms)


def rms(found, wanted):
    found, wanted = (np.asarray(x) for x in (found, wanted))
    return np.sqrt((np.abs(found - wanted) ** 2).mean() / (np.abs(wanted) ** 2).mean())


def test_the_packing_is_healpys():
    for lmax in (0, 1, 5, 40):
        l, m = alm_lm(lmax)
        wanted = hp.Alm.getlm(lmax)
        assert torch.equal(l, torch.from_numpy(wanted[0]).long()) and torch.equal(
            m, torch.from_numpy(wanted[1]).long()
        )
        assert alm_size(lmax) == hp.Alm.getsize(lmax)
        assert torch.equal(pack.alm_index(l, m, lmax=lmax), torch.arange(alm_size(lmax)))


@each_backend
def test_every_harmonic_is_scipys(backend):
    nside = 4
    lmax = 11
    theta, phi = (t.numpy() for t in pixel_to_angle(torch.arange(192), nside=nside, order="ring"))
    maps = alm2map(
        torch.eye(alm_size(lmax), dtype=torch.complex128),
        nside=nside,
        lmax=lmax,
        backend=backend,
        order="ring",
    )
    for k, (l, m) in enumerate(zip(*alm_lm(lmax), strict=True)):
        wanted = sph_harm_y(int(l), int(m), theta, phi).real * (1 if m == 0 else 2)
        np.testing.assert_allclose(maps[k].numpy(), wanted, rtol=0, atol=1e-13)


@each_backend
@each_spin
@pytest.mark.parametrize("nside", [1, 2, 8, 32, 64])
def test_both_ways_equal_healpys(nside, spin, backend):
    for lmax in sorted({nside, 3 * nside // 2, 2 * nside, 3 * nside - 1} - set(range(spin))):
        a = draw(lmax, 2, spin=spin)
        wanted = np.array([healpy_synthesis(x, nside, lmax) for x in real_m0(a, lmax).numpy()])
        found = alm2map(a, nside=nside, lmax=lmax, spin=spin, backend=backend, order="ring")
        assert rms(found, wanted) <= 1e-12
        back = map2alm(
            torch.from_numpy(wanted),
            nside=nside,
            lmax=lmax,
            spin=spin,
            weights=None,
            backend=backend,
            order="ring",
        )
        assert rms(back, np.array([healpy_analysis(x, lmax) for x in wanted])) <= 1e-12


def healpy_synthesis(alms, nside, lmax):
    return (
        hp.alm2map_spin(list(alms), nside, 2, lmax)
        if alms.ndim == 2
        else hp.alm2map(alms, nside, lmax=lmax)
    )


def healpy_analysis(maps, lmax):
    return (
        hp.map2alm_spin(list(maps), 2, lmax)
        if maps.ndim == 2
        else hp.map2alm(maps, lmax=lmax, iter=0)
    )


@pytest.mark.slow
def test_both_ways_equal_healpys_at_high_resolution():
    """Tables made anew, chunk by chunk: at nside 256 and lmax 767 they would take 1.2 GB."""
    nside = 256
    lmax = 767
    a = draw(lmax)
    wanted = hp.alm2map(real_m0(a, lmax).numpy(), nside, lmax=lmax)
    sky = Harmonics(
        nside, lmax, dtype=torch.float64, backend="torch", max_bytes=2**28, order="ring"
    )
    assert sky.dense.kept is None and rms(sky.alm2map(a), wanted) <= 1e-12
    found = sky.map2alm(torch.from_numpy(wanted), weights=None)
    assert rms(found, hp.map2alm(wanted, lmax=lmax, iter=0)) <= 1e-12


@each_backend
@each_spin
def test_single_precision(spin, backend):
    nside = 64
    lmax = 128
    a = draw(lmax, spin=spin)
    exact = alm2map(a, nside=nside, lmax=lmax, spin=spin, backend=backend, order="ring")
    found = alm2map(
        a.to(torch.complex64), nside=nside, lmax=lmax, spin=spin, backend=backend, order="ring"
    )
    assert found.dtype == torch.float32 and rms(found, exact) <= 1e-6
    assert float((found - exact).abs().max() / exact.square().mean().sqrt()) <= 1e-4
    back = map2alm(found, nside=nside, lmax=lmax, spin=spin, backend=backend, order="ring")
    wanted = map2alm(exact, nside=nside, lmax=lmax, spin=spin, backend=backend, order="ring")
    assert back.dtype == torch.complex64 and rms(back, wanted) <= 1e-6


@each_spin
def test_far_orders_do_not_underflow(spin):
    """At nside 512 the seeds of high m lie hundreds of decades below the smallest double."""
    nside = 512
    lmax = 1535
    for m in (0, 3, 900, 1500):
        l = min(lmax, m + 301)
        table = tables(nside, lmax, first=m, last=m + 1, spin=spin)[(l - m) % 2][0, (l - m) // 2]
        alm = np.zeros((1, alm_size(lmax)), complex)
        alm[0, pack.alm_index(torch.tensor(l), torch.tensor(m), lmax=lmax)] = 1
        from ducc0 import sht

        theta = colatitudes(nside)[: 2 * nside].numpy()
        geometry = {
            "lmax": lmax,
            "nthreads": 1,
            "theta": theta,
            "phi0": np.zeros(len(theta)),
            "nphi": np.ones(len(theta), "uint64"),
            "ringstart": np.arange(len(theta), dtype="uint64"),
        }
        if spin:
            both = tables(nside, lmax, first=m, last=m + 1, spin=-spin)[(l - m) % 2][
                0, (l - m) // 2
            ]
            alm = np.concatenate([alm, 0 * alm])  # E alone: Q is its even part
            table = -(table + both) / 2
        wanted = sht.synthesis(alm=alm, spin=spin, **geometry)[0] / (1 if m == 0 else 2)
        assert rms(table, wanted) <= 3e-12, (
            "one function at 1,024 rings; each code is off by 1e-12 from long doubles"
        )


@each_backend
@each_spin
def test_adjoints(spin, backend):
    """<synthesis(a), f> over the pixels is <a, sums(f)> over all m, positive and negative."""
    nside = 8
    lmax = 23
    sky = Harmonics(nside, lmax, spin=spin, dtype=torch.float64, backend=backend, order="ring")
    a = draw(lmax, 3, spin=spin)
    f = sky.alm2map(draw(lmax, 3, spin=spin, seed=1)) + 1
    sums = sky.map2alm(f, weights=None) * 768 / (4 * math.pi)
    left = (sky.alm2map(a) * f).sum()
    parts = torch.view_as_real(real_m0(a, lmax)) * torch.view_as_real(sums)
    right = (parts * sky.m_multiplicity[:, None]).sum()
    assert float((left - right).abs()) <= 1e-12 * float(left.abs())


@each_backend
@each_spin
def test_gradients(spin, backend):
    sky = Harmonics(2, 4, spin=spin, dtype=torch.float64, backend=backend, order="ring")
    a = draw(4, spin=spin).requires_grad_()
    f = torch.randn(*((2, 48) if spin else (48,)), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sky.alm2map, (a,))
    assert torch.autograd.gradcheck(lambda x: sky.map2alm(x, iterations=1), (f,))
    # Along random directions: they see any wrong number.
    assert torch.autograd.gradgradcheck(sky.alm2map, (a,), fast_mode=True)


@each_backend
def test_orders_axes_and_tables_made_anew(backend):
    nside = 8
    lmax = 20
    a = draw(lmax, 2, 3)
    ring = alm2map(a, nside=nside, lmax=lmax, backend=backend, order="ring")
    nested = alm2map(a, nside=nside, lmax=lmax, order="nested", backend=backend)
    assert ring.shape == (2, 3, 768) and torch.equal(
        reorder(nested, source="nested", target="ring"), ring
    )
    for kind, maps in (("ring", ring), ("nested", nested)):
        back = map2alm(maps, nside=nside, lmax=lmax, order=kind, backend=backend)
        assert (
            torch.equal(back, map2alm(ring, nside=nside, lmax=lmax, backend=backend, order="ring"))
            and back.shape == a.shape
        )
    assert (
        rms(alm2map(a[1, 2], nside=nside, lmax=lmax, backend=backend, order="ring"), ring[1, 2])
        < 1e-14
    )
    small = Harmonics(
        nside, lmax, dtype=torch.float64, backend=backend, max_bytes=10_000, order="ring"
    )
    assert (
        rms(small.alm2map(a), ring) < 1e-14
        and rms(small.map2alm(ring), map2alm(ring, nside=nside, lmax=lmax, order="ring")) < 1e-13
    )
    assert not small.state_dict(), "tables are made, not saved"


@each_backend
def test_a_quarter_turn_about_the_poles(backend):
    """Pixels go to pixels: rings shift by a quarter, and a_lm turns by exp(-i m pi / 2)."""
    nside = 8
    lmax = 23
    a = draw(lmax)
    turned = a * torch.tensor([1, -1j, -1, 1j], dtype=torch.complex128)[alm_lm(lmax)[1] % 4]
    faces = alm2map(a, nside=nside, lmax=lmax, order="nested", backend=backend).view(3, 4, -1)
    found = alm2map(turned, nside=nside, lmax=lmax, order="nested", backend=backend).view(3, 4, -1)
    torch.testing.assert_close(found, faces.roll(1, 1), rtol=0, atol=1e-12)


@each_backend
def test_iterations_and_ring_weights_equal_healpys(backend):
    nside = 16
    lmax = 32
    maps = torch.randn(3072, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = map2alm(
        maps, nside=nside, lmax=lmax, iterations=3, weights=None, backend=backend, order="ring"
    )
    assert rms(found, hp.map2alm(maps.numpy(), lmax=lmax, iter=3)) < 1e-12
    found = map2alm(maps, nside=nside, lmax=lmax, backend=backend, order="ring")
    assert rms(found, hp.map2alm(maps.numpy(), lmax=lmax, iter=0, use_weights=True)) < 1e-12
    pair = torch.randn(2, 3072, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mine = map2alm(
        pair,
        nside=nside,
        lmax=lmax,
        spin=2,
        iterations=3,
        weights=None,
        backend=backend,
        order="ring",
    )
    _, e, b = hp.map2alm([pair[0].numpy() * 0, *pair.numpy()], lmax=lmax, iter=3, pol=True)
    assert rms(mine, np.array([e, b])) < 1e-12


@pytest.mark.parametrize("nside", [8, 16])
def test_ring_weights_are_those_of_healpixs_files(nside):
    file = os.path.join(os.path.dirname(hp.__file__), "data", f"weight_ring_n{nside:05d}.fits")
    with fits.open(file) as units:
        wanted = 1 + np.array(units[1].data.field(0), float).ravel()[: 2 * nside]
    np.testing.assert_allclose(ring_weights(nside)[: 2 * nside].numpy(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("nside", [1, 2, 4, 32, 128])
def test_ring_weights_make_zonal_quadrature_exact(nside):
    theta, _ = pixel_to_angle(torch.arange(12 * nside**2), nside=nside, order="ring")
    weight = torch.repeat_interleave(ring_weights(nside), hp_rings(nside))
    for l in sorted({0, 2, nside, 2 * nside, 3 * nside}):
        zonal = torch.from_numpy(sph_harm_y(l, 0, theta.numpy(), 0.0).real)
        wanted = math.sqrt(4 * math.pi) if l == 0 else 0
        assert float((weight * zonal).mean() * 4 * math.pi) == pytest.approx(wanted, abs=1e-11)


def hp_rings(nside):
    return torch.from_numpy(hp.ringinfo(nside, np.arange(1, 4 * nside))[1]).long()


def test_without_ducc0_torch_does_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ducc0" else find(name, *a)
    )
    sky = Harmonics(2, 4, order="ring")
    assert sky.ducc is None and sky.alm2map(draw(4, dtype=torch.complex64)).shape == (48,)
    with pytest.raises(ImportError, match=r"skytutor\[fast\]"):
        Harmonics(2, 4, backend="ducc0", order="ring")


GOOD = {"nside": 2, "lmax": 4, "order": "ring"}
MAPS = torch.zeros(48)
ALMS = torch.zeros(15, dtype=torch.complex64)
UNSEEN = torch.where(torch.arange(48) == 3, -1.6375e30, 0.0)
NAN = torch.where(torch.arange(48) == 3, torch.nan, 0.0)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"lmax": -1}, ValueError, r"lmax.*0\.\.5.*-1"),
        ({"lmax": 6}, ValueError, r"lmax.*0\.\.5.*6"),
        ({"lmax": 3.0}, TypeError, "lmax.*integer.*3.0"),
        ({"lmax": 5}, ValueError, r"alms.*\(21,\).*\(15,\)"),
        ({"nside": 3}, ValueError, "nside.*power of two.*3"),
        ({"spin": 1}, ValueError, "spin.*0 or 2.*1"),
        ({"spin": 2}, ValueError, r"alms.*E and B.*\(15,\)"),
        ({"order": "nest"}, ValueError, "order.*'nest'"),
        ({"backend": "healpy"}, ValueError, "backend.*'healpy'"),
        ({"alms": torch.zeros(15)}, TypeError, "alms.*complex.*float32"),
        ({"alms": torch.zeros(0, 15, dtype=torch.complex64)}, ValueError, "alms is empty"),
        ({"alms": ALMS * torch.nan}, ValueError, "alms.*NaN"),
        (
            {"spin": 2, "alms": torch.zeros(3, 15, dtype=torch.complex64)},
            ValueError,
            r"alms.*E and B.*\(3, 15\)",
        ),
    ],
)
def test_bad_coefficients(change, error, says):
    with pytest.raises(error, match=says):
        alm2map(**{"alms": ALMS, **GOOD, **change})


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"maps": torch.zeros(47)}, ValueError, r"maps.*\(48,\).*\(47,\)"),
        ({"maps": torch.zeros(48).long()}, TypeError, "maps.*floating.*int64"),
        ({"maps": MAPS.to(torch.float8_e5m2)}, TypeError, r"dtype.*torch\.float64.*float8"),
        ({"maps": UNSEEN}, ValueError, "1 UNSEEN"),
        ({"maps": NAN}, ValueError, "1 NaN"),
        ({"spin": 2}, ValueError, r"maps.*2, P.*\(48,\)"),
        ({"spin": 2, "maps": torch.zeros(3, 48)}, ValueError, r"maps.*2, P.*\(3, 48\)"),
        ({"iterations": -1}, ValueError, "iterations.*-1"),
        ({"iterations": 1.5}, TypeError, "iterations.*1.5"),
        ({"weights": "pixel"}, ValueError, "weights.*'pixel'"),
    ],
)
def test_bad_maps(change, error, says):
    with pytest.raises(error, match=says):
        map2alm(**{"maps": MAPS, **GOOD, **change})


def test_another_precision_than_the_tables():
    with pytest.raises(TypeError, match=r"alms must be torch\.complex64.*complex128"):
        Harmonics(2, 4, order="ring").alm2map(ALMS.to(torch.complex128))
    with pytest.raises(TypeError, match=r"maps must be torch\.float64.*float32"):
        Harmonics(2, 4, dtype=torch.float64, order="ring").map2alm(MAPS)


def test_another_device_than_the_tables():
    sky = Harmonics(2, 4, order="ring")
    with pytest.raises(ValueError, match="maps are on meta, the tables on cpu"):
        sky.map2alm(torch.zeros(48, device="meta"))
    with pytest.raises(ValueError, match="alms are on meta"):
        sky.alm2map(torch.zeros(15, dtype=torch.complex64, device="meta"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("nside", "orders"), [(2, 6), (4, 3), (8, 24), (16, 33), (64, 192)])
def test_all_rings_of_the_caps_at_once_equal_ring_by_ring(nside, orders, dtype):
    """What a GPU does, on the CPU."""
    g = torch.Generator().manual_seed(2)
    maps = torch.randn(3, 12 * nside**2, generator=g, dtype=torch.float64)
    modes = torch.randn(3, 4 * nside - 1, orders, generator=g, dtype=torch.complex128)
    one, all_ = (RingFourier(nside, orders, loop=loop) for loop in (True, False))
    bound = 1e-13 if dtype == torch.float64 else 1e-6
    kind = torch.complex128 if dtype == torch.float64 else torch.complex64
    assert rms(all_.to_pixels(modes.to(kind)), one.to_pixels(modes)) <= bound
    assert rms(all_.to_orders(maps.to(dtype)), one.to_orders(maps)) <= bound


@each_spin
def test_what_a_gpu_does_takes_few_operations(spin):
    """One chunk, all rings of the caps at once: operations that would be launched, and the result.

    Views and changes of shape launch nothing.
    """
    nside = 16
    lmax = 32
    parts = 2 if spin else 1
    made = [Dense(nside, lmax, spin=spin, dtype=torch.float64, chunks=chunks) for chunks in (1, 8)]
    made[0].fourier = RingFourier(nside, lmax + 1, loop=False)
    alms = draw(lmax, 4, spin=2 if spin else 0).reshape(4, parts, -1)
    (one, all_) = (d.synthesis(alms) for d in made)
    maps = torch.randn(4, parts, 12 * nside**2, dtype=torch.float64)
    assert rms(one, all_) <= 1e-13 and rms(made[0].analysis(maps), made[1].analysis(maps)) <= 1e-13
    work = {
        "bmm",
        "mm",
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "cat",
        "copy_",
        "flip",
        "index",
        "index_select",
        "index_copy_",
        "fill_",
        "zero_",
        "_fft_c2c",
        "_fft_r2c",
        "_fft_c2r",
        "conj_physical",
        "sort",
        "constant_pad_nd",
        "add_",
        "mul_",
    }
    for name, run in (
        ("synthesis", lambda: made[0].synthesis(alms)),
        ("analysis", lambda: made[0].analysis(maps)),
    ):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            run()
        launched = sum(
            e.count for e in profile.key_averages() if e.key.removeprefix("aten::") in work
        )
        print(f"spin {spin}, {name}: {launched} operations")
        assert launched <= (60 if spin else 40)


@pytest.mark.parametrize("backend", ["torch", None])
def test_no_memory_is_refused(backend):
    with pytest.raises(ValueError, match="max_bytes must be a positive integer, got 0"):
        Harmonics(4, 8, order="ring", backend=backend, max_bytes=0)
