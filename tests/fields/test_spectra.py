"""skytutor.fields.spectra: against healpy, measured back from draws, bad input."""

import healpy as hp
import numpy as np
import pytest
import torch
from scipy.stats import chi2

from skytutor.fields.spectra import (
    alm2cl,
    check_mask,
    check_spectra,
    gaussian_alms,
    gaussian_maps,
    maps_from_white_noise,
    pseudo_cl,
)
from skytutor.sht import (
    RealHarmonics,
    alm2map,
    alm_lm,
    alm_size,
    map2alm,
    real_degrees,
    to_complex,
)

NSIDE = 16
LMAX = 40


def draw(*lead, lmax=LMAX, seed=0, dtype=torch.complex128):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, alm_size(lmax), generator=g, dtype=torch.complex128).to(dtype)


def test_spectra_of_coefficients_are_healpys():
    a = draw(2, 3)
    b = draw(2, 3, seed=1)
    auto = alm2cl(a, lmax=LMAX)
    cross = alm2cl(a, b, lmax=LMAX)
    assert auto.shape == cross.shape == (2, 3, LMAX + 1)
    np.testing.assert_allclose(auto[1, 2].numpy(), hp.alm2cl(a[1, 2].numpy()), rtol=1e-13)
    np.testing.assert_allclose(
        cross[1, 2].numpy(), hp.alm2cl(a[1, 2].numpy(), b[1, 2].numpy()), rtol=1e-11, atol=1e-14
    )
    torch.testing.assert_close(alm2cl(a, b[0, 0], lmax=LMAX)[0, 0], cross[0, 0])
    single = alm2cl(a.to(torch.complex64), lmax=LMAX)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), auto, rtol=1e-6, atol=0)


def test_spectra_have_gradients():
    a = draw(2, lmax=4).requires_grad_()
    b = draw(2, lmax=4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: alm2cl(x, y, lmax=4), (a, b))
    maps = torch.randn(2, 48, dtype=torch.float64, requires_grad=True)
    mask = torch.linspace(0, 1, 48, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: pseudo_cl(x, mask, nside=2, lmax=4, spin=2, order="ring")["EB"], (maps,)
    )


def cap():
    """Return a mask, RING: a cap with a soft edge."""
    z = torch.from_numpy(hp.pix2vec(NSIDE, np.arange(12 * NSIDE**2))[2])
    return ((z + 0.2) * 5).clamp(0, 1)


def test_masked_maps_give_healpys_spectra():
    mask = cap()
    maps = torch.randn(
        2, 12 * NSIDE**2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    wanted = hp.anafast((maps[0] * mask).numpy(), lmax=LMAX, iter=0, use_weights=True) / float(
        (mask**2).mean()
    )
    found = pseudo_cl(maps, mask, nside=NSIDE, lmax=LMAX, order="ring")
    assert found.shape == (2, LMAX + 1)
    np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-11)
    hidden = torch.where(mask > 0, maps, torch.nan)
    assert torch.equal(pseudo_cl(hidden, mask, nside=NSIDE, lmax=LMAX, order="ring"), found)
    order = torch.from_numpy(hp.nest2ring(NSIDE, np.arange(12 * NSIDE**2)))
    nested = pseudo_cl(maps[:, order], mask[order], nside=NSIDE, lmax=LMAX, order="nested")
    torch.testing.assert_close(
        nested, found, rtol=1e-13, atol=0
    )  # the mean of mask**2 sums in another order


def test_masked_polarisation_gives_healpys_spectra():
    mask = cap()
    maps = torch.randn(
        2, 12 * NSIDE**2, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    weighed = np.array([np.zeros(12 * NSIDE**2), *(maps * mask).numpy()])
    wanted = hp.anafast(weighed, lmax=LMAX, iter=0, use_weights=True, pol=True) / float(
        (mask**2).mean()
    )
    found = pseudo_cl(maps, mask, nside=NSIDE, lmax=LMAX, spin=2, order="ring")
    assert list(found) == ["EE", "BB", "EB"]
    for name, row in (("EE", 1), ("BB", 2), ("EB", 4)):
        np.testing.assert_allclose(found[name].numpy(), wanted[row], rtol=1e-10, atol=1e-13)


def test_a_full_sky_gives_the_plain_spectrum():
    maps = alm2map(draw(3, lmax=16), nside=NSIDE, lmax=16, order="ring")
    found = pseudo_cl(
        maps, torch.ones(12 * NSIDE**2, dtype=torch.bool), nside=NSIDE, lmax=16, order="ring"
    )
    torch.testing.assert_close(
        found,
        alm2cl(map2alm(maps, nside=NSIDE, lmax=16, order="ring"), lmax=16),
        rtol=1e-14,
        atol=0,
    )


def six(lmax):
    """All six, EB and TB too; EE nearly as large as TE allows at some l."""
    l = torch.arange(lmax + 1, dtype=torch.float64)
    tt = 1e3 / (l + 1) ** 2
    ee = 1 / (l + 1)
    bb = 0.3 + 0 * l
    te, eb, tb = (
        x * (p * q).sqrt()
        for x, p, q in ((0.85 * torch.cos(l / 5), tt, ee), (0.2, ee, bb), (-0.3, tt, bb))
    )
    return {"TT": tt, "EE": ee, "BB": bb, "TE": te, "EB": eb, "TB": tb}


def test_gaussian_fields_have_the_spectra_they_were_drawn_from():
    """Simulate, measure the spectrum back, compare: each of the six, at every l."""
    n = 200
    lmax = 47
    spectra = six(47)
    alms = gaussian_alms(spectra, lmax=lmax, size=(n,), generator=torch.Generator().manual_seed(5))
    assert list(alms) == ["T", "E", "B"] and alms["T"].shape == (n, alm_size(lmax))
    l, m = alm_lm(lmax)
    assert not bool(alms["E"][:, l < 2].any() or alms["B"][:, l < 2].any()) and not bool(
        alms["T"][:, m == 0].imag.any()
    )
    spectra = check_spectra(spectra, lmax=lmax)
    for name, wanted in spectra.items():
        first = 0 if name == "TT" else 2
        a, b = name
        found = alm2cl(alms[a], alms[b], lmax=lmax).mean(0)
        variance = (
            (spectra[2 * a] * spectra[2 * b] + wanted**2)
            / (2 * torch.arange(lmax + 1) + 1.0).double()
            / n
        )
        pull = ((found - wanted) / variance.sqrt())[first:]
        p = chi2.sf(float(pull.square().sum()), len(pull))
        print(
            f"{name}: largest deviation {float(pull.abs().max()):.2f} sigma, chi-square p = {p:.3f}"
        )
        assert float(pull.abs().max()) < 4 and 0.01 < p < 0.99, name


def test_gaussian_maps_hold_the_coefficients():
    spectra = six(LMAX)
    how = {"lmax": LMAX, "size": (2,), "dtype": torch.float32}
    alms = gaussian_alms(spectra, generator=torch.Generator().manual_seed(0), **how)
    maps = gaussian_maps(
        spectra, nside=NSIDE, generator=torch.Generator().manual_seed(0), order="nested", **how
    )
    assert maps["T"].dtype == torch.float32 and maps["QU"].shape == (2, 2, 12 * NSIDE**2)
    wanted = hp.alm2map(
        [alms[x][1].numpy().astype(complex) for x in "TEB"], NSIDE, lmax=LMAX, pol=True
    )
    wanted = hp.reorder(wanted, r2n=True)
    np.testing.assert_allclose(maps["T"][1].numpy(), wanted[0], atol=1e-4)
    np.testing.assert_allclose(maps["QU"][1].numpy(), wanted[1:], atol=1e-4)
    assert list(gaussian_maps({"TT": spectra["TT"]}, nside=NSIDE, lmax=8, order="ring")) == ["T"]
    only_b = gaussian_maps({"BB": spectra["BB"]}, nside=NSIDE, lmax=8, order="ring")
    assert list(only_b) == ["QU"]
    assert (
        float(
            pseudo_cl(only_b["QU"], torch.ones(3072), nside=NSIDE, lmax=8, spin=2, order="ring")[
                "EE"
            ].max()
        )
        < 1e-4
    )


@pytest.mark.parametrize("spin", [0, 2])
def test_white_noise_is_coloured_by_the_root_of_a_spectrum(spin):
    """A map for each sky and spectrum; the same numbers as coefficients and a transform."""
    harmonics = RealHarmonics(4, 8, spin=spin, order="nested", dtype=torch.float64)
    parts = (2,) if spin else ()
    g = torch.Generator().manual_seed(0)
    white_noise = torch.randn(3, *parts, 81, generator=g, dtype=torch.float64)
    cl = torch.rand(3, *parts, 9, generator=g, dtype=torch.float64)
    maps = maps_from_white_noise(white_noise, cl, harmonics=harmonics)
    alms = to_complex(white_noise * cl.sqrt()[..., real_degrees(8)[0]])
    wanted = alm2map(alms, nside=4, lmax=8, spin=spin, order="nested")
    torch.testing.assert_close(maps, wanted, rtol=0, atol=1e-12)
    one = maps_from_white_noise(white_noise, cl[0], harmonics=harmonics)
    assert torch.equal(one[0], maps[0]) and one.shape == maps.shape
    single = maps_from_white_noise(
        white_noise.float(),
        cl,
        harmonics=RealHarmonics(4, 8, spin=spin, order="nested"),
    )
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), wanted, rtol=0, atol=1e-5)


def test_spectra_on_the_edge_of_what_is_possible():
    """E a multiple of T, and nothing at all: a Cholesky root would fail."""
    one = torch.full((9,), 4.0)
    alms = gaussian_alms({"TT": one, "EE": one / 4, "TE": one / 2, "BB": 0 * one}, lmax=8)
    l = alm_lm(8)[0]
    torch.testing.assert_close(alms["E"][l > 1], alms["T"][l > 1] / 2, rtol=1e-7, atol=1e-7)
    assert not bool(alms["B"].any())
    assert not bool(gaussian_alms({"TT": [0.0], "EE": [1.0]}, lmax=0)["E"].any())
    checked = check_spectra({"TT": one, "EE": one, "TE": one}, lmax=4)
    assert checked["TE"].tolist() == [0, 0, 4, 4, 4] and checked["TT"].dtype == torch.float64


ONE = torch.ones(5)
ALMS = torch.zeros(15, dtype=torch.complex64)
BENT = torch.tensor([1.0, 1.0, 1.0, 1.1, 1.2])
THREE = {"TT": ONE, "EE": ONE, "BB": ONE}


@pytest.mark.parametrize(
    ("spectra", "error", "says"),
    [
        (torch.ones(4, 5), TypeError, "spectra must be a dict.*got Tensor.*order can be mistaken"),
        ([ONE, ONE], TypeError, "spectra must be a dict.*got list"),
        ({}, ValueError, "names out of TT.*none"),
        ({"TT": ONE, "ET": ONE}, ValueError, "names out of TT.*ET"),
        ({"TT": -ONE}, ValueError, "TT is negative.*l = 0: -1"),
        ({"EE": 1.05 - BENT}, ValueError, "EE is negative.*l = 3: -0.05"),
        ({"TT": ONE, "BB": ONE * torch.nan}, ValueError, "BB is NaN.*l = 0"),
        ({"TT": ONE / 0}, ValueError, "TT is NaN or infinite.*l = 0: inf"),
        ({"TT": ONE[:4]}, ValueError, r"TT must be \(L,\).*5 .*\(4,\)"),
        ({"TT": torch.ones(2, 5)}, ValueError, r"TT must be \(L,\).*\(2, 5\)"),
        ({"TT": ONE, "TE": ONE}, ValueError, "TE needs.*EE missing"),
        ({"EB": ONE}, ValueError, "EB needs.*EE and BB missing"),
        ({"TT": ONE, "EE": ONE, "TE": BENT}, ValueError, "TE is larger.*l = 3"),
        ({"TT": ONE, "BB": 0 * ONE, "TB": ONE / 9}, ValueError, "TB is larger.*l = 2"),
        (
            {**THREE, "TE": 0.9 * ONE, "EB": 0.9 * ONE, "TB": -0.9 * ONE},
            ValueError,
            "TE, EB, TB contradict.*l = 2",
        ),
    ],
)
def test_bad_spectra(spectra, error, says):
    for call in (check_spectra, gaussian_alms):
        with pytest.raises(error, match=says):
            call(spectra, lmax=4)


MAPS = torch.zeros(48)
NAN = torch.where(torch.arange(48) == 3, torch.nan, 1.0)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: alm2cl(ALMS, lmax=-1), ValueError, "lmax.*-1"),
        (lambda: alm2cl(ALMS, lmax=5), ValueError, r"alms.*\(21,\).*\(15,\)"),
        (lambda: alm2cl(ALMS, ALMS[:6], lmax=4), ValueError, r"other.*\(15,\).*\(6,\)"),
        (lambda: alm2cl(ALMS.real, lmax=4), TypeError, "alms.*complex.*float32"),
        (lambda: check_mask(np.ones(48), nside=2), TypeError, "mask.*ndarray"),
        (lambda: check_mask(ALMS, nside=2), TypeError, "mask.*complex64"),
        (lambda: check_mask(torch.ones(47), nside=2), ValueError, r"mask.*\(48,\).*\(47,\)"),
        (lambda: check_mask(torch.ones(2, 48), nside=2), ValueError, r"mask.*\(48,\).*\(2, 48\)"),
        (lambda: check_mask(MAPS, nside=2), ValueError, "mask is 0 everywhere"),
        (lambda: check_mask(NAN, nside=2), ValueError, "mask holds NaN"),
        (lambda: check_mask(MAPS - 0.5, nside=2), ValueError, r"mask must lie in 0\.\.1.*-0.5"),
        (lambda: check_mask(MAPS + 2, nside=2), ValueError, r"mask must lie in 0\.\.1.*2.0"),
        (lambda: pseudo_cl(MAPS, MAPS, nside=2, lmax=4, order="ring"), ValueError, "mask is 0"),
        (
            lambda: pseudo_cl(NAN, MAPS + 1, nside=2, lmax=4, order="ring"),
            ValueError,
            "maps.*1 NaN",
        ),
        (
            lambda: pseudo_cl(MAPS[:9], MAPS + 1, nside=2, lmax=4, order="ring"),
            ValueError,
            r"maps.*\(48,\).*\(9,\)",
        ),
        (
            lambda: pseudo_cl(MAPS, MAPS + 1, nside=2, lmax=4, spin=1, order="ring"),
            ValueError,
            "spin.*1",
        ),
        (
            lambda: pseudo_cl(MAPS, MAPS + 1, nside=2, lmax=4, spin=2, order="ring"),
            ValueError,
            r"maps.*2, P",
        ),
        (
            lambda: pseudo_cl(MAPS, MAPS + 1, nside=2, lmax=6, order="ring"),
            ValueError,
            r"lmax.*0\.\.5.*6",
        ),
        (
            lambda: pseudo_cl(MAPS, MAPS + 1, nside=2, lmax=4, order="nest"),
            ValueError,
            "order.*'nest'",
        ),
        (lambda: gaussian_alms({"TT": ONE}, lmax=4, size=(0,)), ValueError, r"size.*\(0,\)"),
        (lambda: gaussian_alms({"TT": ONE}, lmax=4, size=3), ValueError, "size.*3"),
        (
            lambda: gaussian_alms({"TT": ONE}, lmax=4, dtype=torch.float16),
            TypeError,
            "dtype.*float16",
        ),
        (
            lambda: gaussian_maps({"TT": ONE}, nside=1, lmax=4, order="ring"),
            ValueError,
            r"lmax.*0\.\.2.*4",
        ),
        (
            lambda: gaussian_maps({"TT": ONE}, nside=2, lmax=4, order="face"),
            ValueError,
            "order.*'face'",
        ),
        (
            lambda: maps_from_white_noise(
                torch.zeros(25), ONE[:4], harmonics=RealHarmonics(2, 4, order="ring")
            ),
            ValueError,
            r"cl must end in 5 values, got \(4,\)",
        ),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


def drawn(names, spectra, *, lmax=5):
    """Coefficients and maps of a fixed generator, all numbers of both in one real vector."""
    given = dict(zip(names, spectra, strict=True))
    alms = gaussian_alms(given, lmax=lmax, generator=torch.Generator().manual_seed(1))
    maps = gaussian_maps(
        given, nside=2, lmax=lmax, order="nested", generator=torch.Generator().manual_seed(1)
    )
    flat = [torch.view_as_real(a).flatten() for a in alms.values()]
    return torch.cat([*flat, *(m.flatten() for m in maps.values())])


@pytest.mark.parametrize(
    "names", [["TT"], ["EE", "BB"], ["TT", "EE", "TE"], ["TT", "EE", "BB", "TE", "EB", "TB"]]
)
def test_draws_have_gradients_in_the_spectra(names):
    """Against finite differences, first and second; E = B = 0 below l = 2, and no T at l = 3."""
    spectra = [six(5)[name] * (torch.arange(6) != 3) for name in names]
    change = torch.zeros(len(names), 6, dtype=torch.float64, requires_grad=True)

    def run(change):
        # Relative, so that what is 0 stays 0.
        return drawn(names, [s * (1 + c) for s, c in zip(spectra, change, strict=True)])

    assert torch.autograd.gradcheck(run, (change,), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (change,), fast_mode=True)
    (slope,) = torch.autograd.grad(run(change).square().sum(), change)
    assert bool(slope[:, 4].any()) and bool(torch.isfinite(slope).all())
    assert not bool(slope[:, 3].any()) and not bool(slope[1:, :2].any())


def test_a_spectrum_of_a_single_field_scales_its_draws():
    """The derivative of a_lm = sqrt(C_l) n_lm in C_l is a_lm / (2 C_l)."""
    cl = six(8)["TT"].requires_grad_()
    alms = gaussian_alms({"TT": cl}, lmax=8, generator=torch.Generator().manual_seed(0))["T"]
    (slope,) = torch.autograd.grad(alms.real.sum(), cl)
    by_l = torch.zeros(9, dtype=torch.float64).index_add(0, alm_lm(8)[0], alms.real.detach())
    torch.testing.assert_close(slope, by_l / (2 * cl.detach()))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_draws_in_torch_func():
    """Mapped over amplitudes, and differentiated forward; bad spectra are refused there too."""
    names = ["TT", "EE", "TE"]
    spectra = [six(5)[name] for name in names]

    def run(a):
        return drawn(names, [a * s for s in spectra])

    several = torch.tensor([1.0, 4.0, 0.25], dtype=torch.float64)
    found = torch.func.vmap(run, randomness="same")(several)
    torch.testing.assert_close(found, several.sqrt()[:, None] * run(1.0))
    one = torch.ones((), dtype=torch.float64)
    value, slope = torch.func.jvp(run, (one,), (one,))
    torch.testing.assert_close(slope, value / 2)
    with pytest.raises(ValueError, match=r"TT is negative.*l = 0: -1000, -4000, -250"):
        torch.func.vmap(run, randomness="same")(-several)


def test_a_root_is_that_of_numpy_and_keeps_its_derivatives_where_eigenvalues_meet():
    from skytutor.fields._roots import symmetric_root

    g = torch.Generator().manual_seed(0)
    a = torch.randn(4, 3, 3, generator=g, dtype=torch.float64)
    matrix = a @ a.mT
    matrix[0] = 2 * torch.eye(3)
    values, vectors = np.linalg.eigh(matrix.numpy())
    wanted = (vectors * np.sqrt(values)[:, None]) @ vectors.transpose(0, 2, 1)
    np.testing.assert_allclose(symmetric_root(matrix).numpy(), wanted, atol=1e-13)
    matrix.requires_grad_()
    assert torch.autograd.gradcheck(lambda m: symmetric_root((m + m.mT) / 2), (matrix,))
    assert torch.autograd.gradgradcheck(lambda m: symmetric_root((m + m.mT) / 2), (matrix,))


@pytest.mark.parametrize("spin", [0, 2])
def test_coloured_noise_has_no_gradient_where_there_is_no_power(spin):
    harmonics = RealHarmonics(2, 4, spin=spin, order="ring", dtype=torch.float64)
    parts = (2,) if spin else ()
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(*parts, 25, generator=g, dtype=torch.float64)
    cl = torch.rand(*parts, 5, generator=g, dtype=torch.float64)
    cl[..., :2] = 0
    cl.requires_grad_()
    maps = maps_from_white_noise(noise, cl, harmonics=harmonics)
    (slope,) = torch.autograd.grad(maps.square().sum(), cl)
    assert not bool(slope[..., :2].any()) and bool((slope[..., 2:] > 0).all())
