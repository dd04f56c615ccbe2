"""Decoupled spectra: unbiased on simulated skies, E-to-B leakage and beams taken out."""

import math

import healpy as hp
import numpy as np
import pytest
import torch
from complaints import complaint

from skytutor.fields.binning import Binning
from skytutor.fields.master import ModeCoupling
from skytutor.fields.pseudo import cross_pseudo_cl
from skytutor.fields.spectra import gaussian_maps, pseudo_cl
from skytutor.fields.windows import gaussian_beam
from skytutor.healpix import UNSEEN, pixel_to_angle, reorder
from skytutor.sht import RealHarmonics, map2alm, real_degrees, to_real

NSIDE = 16
LMAX = 32
SKIES = 500
WHERE = {"nside": NSIDE, "lmax": LMAX, "order": "ring"}
L = torch.arange(LMAX + 1, dtype=torch.float64)
BINS = Binning([2, 7, 12, 17, 22, 27, 33])


def cut(width_deg, soft_deg=0.0, tilt=0.0):
    """Return a mask: a band along a great circle, with an edge that rises over some degrees."""
    theta, phi = pixel_to_angle(torch.arange(12 * NSIDE**2), nside=NSIDE, order="ring")
    z = theta.cos() * math.cos(tilt) + theta.sin() * phi.cos() * math.sin(tilt)
    height = torch.asin(z).abs().rad2deg()
    if not soft_deg:
        return (height > width_deg).double()
    return ((height - width_deg) / soft_deg).clamp(0, 1)


FIRST = cut(15, soft_deg=10)
SECOND = cut(10, soft_deg=15, tilt=0.6)


def spectra():
    """Falling T and E, correlated, and B a hundredth of E, so that leakage would show."""
    tt = 1e3 / (L + 5) ** 2
    ee = 30 / (L + 5) ** 2
    return {"TT": tt, "EE": ee, "BB": 0.01 * ee, "TE": 0.5 * (tt * ee).sqrt() * torch.cos(L / 9)}


@pytest.fixture(scope="module")
def skies():
    g = torch.Generator().manual_seed(3)
    return gaussian_maps(
        spectra(), nside=NSIDE, lmax=LMAX, order="ring", size=(SKIES,), generator=g
    )


@pytest.fixture(scope="module")
def truth():
    drawn = spectra()
    for name in ("EE", "BB", "TE"):
        drawn[name] = torch.where(L < 2, 0, drawn[name])
    zero = torch.zeros_like(L)
    return drawn | {"TB": zero, "EB": zero, "BE": zero, "ET": drawn["TE"], "BT": zero}


def measured(skies, second=None):
    """Return all pseudo-spectra of T, Q and U behind one mask, or behind two."""
    fields = (("T", 0), ("QU", 2))
    out = {}
    for first, spin in fields:
        for other, other_spin in fields:
            out |= cross_pseudo_cl(
                skies[first],
                skies[other],
                mask=FIRST,
                other_mask=FIRST if second is None else second,
                spin=spin,
                other_spin=other_spin,
                **WHERE,
            )
    return out


def pulls(found, wanted):
    """Return how many standard deviations of the mean each mean is off."""
    return (found.mean(0) - wanted) / (found.std(0) / len(found) ** 0.5)


@pytest.mark.parametrize("second", [None, SECOND], ids=["one mask", "two masks"])
def test_bands_are_unbiased_over_500_skies(skies, truth, second):
    coupling = ModeCoupling(FIRST, second, **WHERE)
    pseudo = measured(skies, second)
    bands = coupling.decouple(pseudo, binning=BINS)
    assert set(bands) == set(truth)
    for group in (("TT",), ("TE",), ("TB",), ("ET",), ("BT",), ("EE", "BB"), ("EB", "BE")):
        window = coupling.band_windows(group, BINS)
        theory = torch.stack([truth[name] for name in group])
        wanted = torch.einsum("ibjl,jl->ib", window, theory)
        for name, row in zip(group, wanted, strict=True):
            off = pulls(bands[name], row)
            print(f"{name}: {', '.join(f'{float(x):.1f}' for x in off)} sigma")
            assert float(off.abs().max()) < 4, name
    # Without decoupling, what leaks from E shows.
    assert float(pulls(BINS.bin(pseudo["BB"]), BINS.bin(truth["BB"])).max()) > 20


def test_every_multipole_is_unbiased_over_500_skies(skies, truth):
    coupling = ModeCoupling(FIRST, **WHERE)
    decoupled = coupling.decouple(measured(skies))
    for name, wanted in truth.items():
        first = 0 if name == "TT" else 2
        off = pulls(decoupled[name], wanted)[first:]
        print(f"{name}: largest {float(off.abs().max()):.2f} sigma")
        assert float(off.abs().max()) < 4, name
        assert not decoupled[name][:, :first].any()


@pytest.mark.parametrize("second", [None, SECOND], ids=["one mask", "two masks"])
@pytest.mark.parametrize("first", [FIRST, cut(15, tilt=0.4)], ids=["soft", "hard"])
def test_couplings_are_those_of_pixel_sums(first, second):
    """The exact mean: every harmonic is masked and analysed, and the squares are summed."""
    nside = 8
    lmax = 11
    where = {"nside": nside, "lmax": lmax, "order": "ring"}
    # The means over the pixels' children, nested, are masks of nside 8.
    masks = [first, first if second is None else second]
    nested = [reorder(mask, source="ring", target="nested").view(-1, 4).mean(1) for mask in masks]
    masks = [reorder(mask, source="nested", target="ring") for mask in nested]
    coupling = ModeCoupling(*masks, **where)
    count = (lmax + 1) ** 2
    one = torch.eye(count, dtype=torch.float64)
    zero = torch.zeros_like(one)
    skies = {"E": torch.stack([one, zero], 1), "B": torch.stack([zero, one], 1)}
    made = []
    for mask in masks:
        maps = RealHarmonics(nside, lmax, order="ring", dtype=torch.float64).synthesis(one)
        of_one = {"TT": to_real(map2alm(maps * mask, **where), lmax=lmax)}
        spin = RealHarmonics(nside, lmax, spin=2, order="ring", dtype=torch.float64)
        for field, coefs in skies.items():
            maps = spin.synthesis(coefs)
            found = to_real(map2alm(maps * mask, spin=2, **where), lmax=lmax)
            of_one[field + "E"] = found[:, 0]
            of_one[field + "B"] = found[:, 1]
        made.append(of_one)
    degree = torch.nn.functional.one_hot(real_degrees(lmax)[0]).double()
    norm = float((masks[0] * masks[1]).mean()) * (2 * torch.arange(lmax + 1) + 1).double()[:, None]
    for kernel, a, b, sign in (
        ("TT", "TT", "TT", 1),
        ("TE", "TT", "EE", 1),
        ("TE", "TT", "BB", 1),
        ("+", "EE", "EE", 1),
        ("+", "EE", "BB", 1),
        ("-", "EB", "EB", 1),
        ("-", "BE", "BE", 1),
        ("-", "BE", "EB", -1),
    ):
        wanted = degree.T @ (made[0][a] * made[1][b]).T @ degree / norm
        found = sign * coupling.kernels[kernel]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_couplings_are_those_of_simulated_skies():
    """Monte Carlo: skies with power at one multipole alone give one column of the matrix."""
    mask = cut(25, tilt=0.4)  # hard
    mask[:300] = 0  # not the same at opposite places, which would leave half of the couplings 0
    coupling = ModeCoupling(mask, nside=NSIDE, lmax=24, order="ring")
    delta = torch.zeros(25, dtype=torch.float64)
    delta[9] = 1
    drawn = {"TT": delta, "EE": delta, "TE": 0.9 * delta}
    g = torch.Generator().manual_seed(1)
    how = {"nside": NSIDE, "lmax": 24, "order": "ring"}
    maps = gaussian_maps(drawn, size=(400,), generator=g, **how)
    spin = pseudo_cl(maps["QU"], mask, spin=2, **how)
    cross = cross_pseudo_cl(maps["T"], maps["QU"], mask=mask, other_mask=mask, other_spin=2, **how)
    scalar = pseudo_cl(maps["T"], mask, **how)
    found = {"TT": scalar, "TE": cross["TE"], "EE": spin["EE"], "BB": spin["BB"]}
    wanted = {
        "TT": coupling.kernels["TT"][:, 9],
        "TE": 0.9 * coupling.kernels["TE"][:, 9],
        "EE": coupling.kernels["+"][:, 9],
        "BB": coupling.kernels["-"][:, 9],
    }
    for name, values in found.items():
        off = pulls(values, wanted[name])[2:]
        assert float(off.abs().max()) < 4, name


def test_cross_spectra_are_healpys(skies):
    a = skies["T"][0]
    b = skies["T"][1]
    found = measured({"T": a, "QU": skies["QU"][0]}, SECOND)
    one = cross_pseudo_cl(a, b, mask=FIRST, other_mask=SECOND, **WHERE)["TT"]
    norm = float((FIRST * SECOND).mean())
    how = {"lmax": LMAX, "iter": 0, "use_weights": True}
    theirs = hp.anafast((a * FIRST).numpy(), (b * SECOND).numpy(), pol=False, **how) / norm
    np.testing.assert_allclose(one.numpy(), theirs, rtol=1e-9, atol=1e-12)
    first = [x.numpy() for x in (a * FIRST, *(skies["QU"][0] * FIRST))]
    second = [x.numpy() for x in (a * SECOND, *(skies["QU"][0] * SECOND))]
    theirs = hp.anafast(first, second, pol=True, **how) / norm
    for row, name in enumerate(("TT", "EE", "BB", "TE", "EB", "TB")):
        np.testing.assert_allclose(found[name].numpy(), theirs[row], rtol=1e-8, atol=1e-11)
    # The other three are those of the maps in the other order.
    swapped = cross_pseudo_cl(
        skies["QU"][0],
        skies["QU"][0],
        mask=SECOND,
        other_mask=FIRST,
        spin=2,
        other_spin=2,
        **WHERE,
    )
    torch.testing.assert_close(swapped["BE"], found["EB"], rtol=1e-12, atol=1e-14)
    nested = {name: reorder(x, source="ring", target="nested") for name, x in (("a", a), ("b", b))}
    again = cross_pseudo_cl(
        nested["a"],
        nested["b"],
        mask=reorder(FIRST, source="ring", target="nested"),
        other_mask=reorder(SECOND, source="ring", target="nested"),
        **(WHERE | {"order": "nested"}),
    )
    torch.testing.assert_close(again["TT"], one, rtol=1e-11, atol=1e-13)


def test_a_map_with_itself_gives_pseudo_cl(skies):
    maps = skies["QU"][:2]
    found = cross_pseudo_cl(maps, maps, mask=FIRST, other_mask=FIRST, spin=2, other_spin=2, **WHERE)
    wanted = pseudo_cl(maps, FIRST, spin=2, **WHERE)
    for name, row in wanted.items():
        torch.testing.assert_close(found[name], row, rtol=1e-12, atol=1e-15)


def test_a_full_sky_couples_nothing():
    ones = torch.ones(12 * NSIDE**2, dtype=torch.bool)
    coupling = ModeCoupling(ones, nside=NSIDE, lmax=NSIDE, order="ring")
    for name, first in (("TT", 0), ("TE", 2), ("+", 2)):
        wanted = torch.diag((torch.arange(NSIDE + 1) >= first).double())
        torch.testing.assert_close(coupling.kernels[name], wanted, rtol=0, atol=1e-6)
    assert float(coupling.kernels["-"].abs().max()) < 1e-6
    pseudo = {name: torch.rand(3, NSIDE + 1) for name in ("TT", "TE", "EE", "BB", "EB", "BE")}
    for name, row in coupling.decouple(pseudo).items():
        first = 0 if name == "TT" else 2
        torch.testing.assert_close(
            row[:, first:], pseudo[name][:, first:].double(), atol=1e-5, rtol=0
        )


def test_rows_of_a_mask_sum_to_one():
    """Far from both ends no power is lost, once it is divided by the mean square of the mask."""
    smooth = cut(10, soft_deg=40)
    coupling = ModeCoupling(smooth, **WHERE)
    both = coupling.kernels["+"] + coupling.kernels["-"]
    for kernel in (coupling.kernels["TT"], both):
        assert (kernel.sum(1)[14:18] - 1).abs().max() < 2e-3


def test_masks_in_the_other_order_are_the_same_masks():
    nested = [reorder(mask, source="ring", target="nested") for mask in (FIRST, SECOND)]
    ours = ModeCoupling(*nested, nside=NSIDE, lmax=LMAX, order="nested")
    for name, kernel in ModeCoupling(FIRST, SECOND, **WHERE).kernels.items():
        torch.testing.assert_close(ours.kernels[name], kernel, rtol=0, atol=1e-13)


def test_beams_are_divided_out(skies, truth):
    """Smoothed skies, decoupled, have the spectra that they had before."""
    coupling = ModeCoupling(FIRST, **WHERE)
    beam = gaussian_beam(math.radians(12), LMAX).square()
    spin_beam = gaussian_beam(math.radians(12), LMAX, spin=2).square()
    transfer = {"TT": beam, "EE": spin_beam, "BB": spin_beam}
    chosen = {name: truth[name] for name in transfer}
    seen = coupling.couple({name: chosen[name] * transfer[name] for name in transfer})
    torch.testing.assert_close(seen, coupling.couple(chosen, transfer=transfer))
    back = coupling.decouple(seen, transfer=transfer)
    for name, wanted in chosen.items():
        torch.testing.assert_close(back[name], wanted, rtol=1e-6, atol=1e-8)
    bands = coupling.decouple(seen, binning=BINS, transfer=transfer)
    window = coupling.band_windows(("EE", "BB"), BINS, transfer=transfer)
    theory = torch.stack([chosen["EE"], chosen["BB"]])
    wanted = torch.einsum("ibjl,jl->ib", window, theory)
    torch.testing.assert_close(bands["EE"], wanted[0], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(bands["BB"], wanted[1], rtol=1e-8, atol=1e-10)


def test_white_noise_has_the_pseudo_spectrum_that_is_to_be_taken_off():
    g = torch.Generator().manual_seed(0)
    noise = 3 * torch.randn(200, 2, 12 * NSIDE**2, generator=g, dtype=torch.float64)
    level = 4 * math.pi * 9 / (12 * NSIDE**2)
    pseudo = pseudo_cl(noise, FIRST, spin=2, **WHERE)
    pseudo["TT"] = pseudo_cl(noise[:, 0], FIRST, **WHERE)
    flat = torch.full((LMAX + 1,), level, dtype=torch.float64)
    coupling = ModeCoupling(FIRST, **WHERE)
    left = coupling.decouple(
        {name: pseudo[name] - flat for name in ("TT", "EE", "BB")}, binning=BINS
    )
    for name, bands in left.items():
        assert float(pulls(bands, torch.zeros(6)).abs().max()) < 4, name
        assert float(bands.mean(0).abs().max()) < 0.05 * level, name


def test_spectra_constant_in_their_bins_come_back_exactly():
    coupling = ModeCoupling(cut(20), **WHERE)
    bins = Binning([0, 2, 9, 20, 33])
    bands = torch.tensor([[3.0, 2.0, 5.0, 1.0], [0.0, 1.0, 1.0, 4.0]], dtype=torch.float64)
    pseudo = coupling.couple({"TT": bins.unbin(bands)})
    found = coupling.decouple(pseudo, binning=bins)["TT"]
    torch.testing.assert_close(found, bands, rtol=1e-10, atol=1e-10)


def test_decoupling_is_differentiable(skies):
    coupling = ModeCoupling(FIRST, **WHERE)
    pseudo = torch.rand(2, LMAX + 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: coupling.decouple({"EE": x, "BB": 2 * x}, binning=BINS)["BB"], (pseudo,)
    )
    maps = skies["T"][0].clone()
    maps[FIRST == 0] = torch.nan
    maps.requires_grad_()
    cross_pseudo_cl(maps, maps, mask=FIRST, other_mask=FIRST, **WHERE)["TT"].sum().backward()
    assert bool(maps.grad.isfinite().all()) and not maps.grad[FIRST == 0].any()


def unseen(where):
    maps = torch.zeros(12 * NSIDE**2, dtype=torch.float64)
    maps[int(where.nonzero()[0])] = 1e-3 * UNSEEN
    return maps


ONES = torch.ones(12 * NSIDE**2)
CL = torch.ones(LMAX + 1)
GOOD = ModeCoupling(FIRST, **WHERE)
CAP = (torch.arange(12 * NSIDE**2) < 400).double()
ISLAND = (torch.arange(12 * NSIDE**2) < 4).double()


@pytest.mark.parametrize(
    ("error", "call", "words"),
    [
        (
            ValueError,
            lambda: cross_pseudo_cl(
                ONES, unseen(SECOND > 0), mask=FIRST, other_mask=SECOND, **WHERE
            ),
            ("other, where seen, holds 1 UNSEEN", f"pixel {int((SECOND > 0).nonzero()[0])}"),
        ),
        (
            ValueError,
            lambda: cross_pseudo_cl(ONES, ONES, mask=ISLAND, other_mask=1 - ISLAND, **WHERE),
            ("no pixel in common",),
        ),
        (ValueError, lambda: ModeCoupling(ISLAND, 1 - ISLAND, **WHERE), ("no pixel in common",)),
        (ValueError, lambda: ModeCoupling(ONES[:12], **WHERE), ("mask", "(12,)")),
        (TypeError, lambda: GOOD.decouple(CL), ("pseudo", "dict", "Tensor")),
        (ValueError, lambda: GOOD.decouple({"XX": CL}), ("pseudo", "TT", "XX")),
        (ValueError, lambda: GOOD.decouple({}), ("pseudo", "none")),
        (ValueError, lambda: GOOD.decouple({"EE": CL}), ("EE mixes with BB", "missing")),
        (ValueError, lambda: GOOD.couple({"BE": CL}), ("spectra", "BE mixes with EB")),
        (ValueError, lambda: GOOD.decouple({"TT": CL[:9]}), ("TT", "33", "(9,)")),
        (TypeError, lambda: GOOD.decouple({"TT": CL}, binning=5), ("binning", "int")),
        (
            ValueError,
            lambda: GOOD.decouple({"TE": CL}, binning=Binning([1, 9])),
            ("binning", "2..32", "TE", "1..8"),
        ),
        (
            ValueError,
            lambda: GOOD.decouple({"TT": CL}, binning=Binning([1, 40])),
            ("binning", "0..32", "1..39"),
        ),
        (
            ValueError,
            lambda: GOOD.couple({"TT": CL}, transfer={"EE": CL}),
            ("transfer has none for TT", "EE"),
        ),
        (ValueError, lambda: GOOD.couple({"TT": CL}, transfer=-CL), ("transfer of TT", "negative")),
        (
            ValueError,
            lambda: ModeCoupling(FIRST, nside=NSIDE, lmax=1, order="ring").decouple(
                {"TE": ONES[:2]}
            ),
            ("lmax must be at least 2", "TE", "got 1"),
        ),
        (ValueError, lambda: GOOD.windows(("BB", "EE")), ("names", "BB")),
        (
            ValueError,
            lambda: ModeCoupling(CAP, **WHERE).decouple({"TT": CL}),
            ("mask hides too much", "condition number", "wider bins"),
        ),
    ],
)
def test_bad_input(error, call, words):
    complaint(error, call, *words)
