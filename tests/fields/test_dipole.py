"""Monopole and dipole: healpy's fit on full and cut skies, weights against a dense solve."""

import math

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor.fields.dipole import fit_dipole, fit_monopole, remove_dipole, remove_monopole
from skytutor.healpix import UNSEEN, pixel_to_vector

ORDERS = pytest.mark.parametrize("order", ["ring", "nested"])


def sky(nside, order, seed=0):
    """Return two noisy maps with a monopole and a dipole, and the pixels' directions."""
    v = pixel_to_vector(torch.arange(12 * nside**2), nside=nside, order=order)
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, len(v), generator=rng, dtype=torch.float64)
    return noise + 5 + v @ torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64), v


@ORDERS
@pytest.mark.parametrize("gal_cut", [0, 20, 60])
@pytest.mark.parametrize("nside", [2, 16])
def test_fits_are_healpys(nside, gal_cut, order):
    maps, v = sky(nside, order)
    mask = v[:, 2].abs() >= math.sin(math.radians(gal_cut))
    arguments = {"nside": nside, "order": order, "weights": mask}
    monopole, dipole = fit_dipole(maps, **arguments)
    mean = fit_monopole(maps, **arguments)
    flat = remove_dipole(maps, **arguments)
    level = remove_monopole(maps, **arguments)
    for k, one in enumerate(maps.numpy()):
        healpys = {"nest": order == "nested", "gal_cut": gal_cut}
        wanted = hp.fit_dipole(one, **healpys)
        np.testing.assert_allclose(monopole[k], wanted[0], rtol=1e-11)
        np.testing.assert_allclose(dipole[k], wanted[1], rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(mean[k], hp.fit_monopole(one, **healpys), rtol=1e-12)
        np.testing.assert_allclose(flat[k], hp.remove_dipole(one, **healpys), atol=1e-10)
        np.testing.assert_allclose(level[k], hp.remove_monopole(one, **healpys), atol=1e-12)


def test_hidden_pixels_do_not_count_and_stay():
    maps, _ = sky(8, "ring")
    holed = maps.clone()
    holed[:, :100] = UNSEEN
    mask = torch.ones(768)
    mask[:100] = 0
    found = remove_dipole(holed, nside=8, order="ring", weights=mask)
    wanted = np.stack([hp.remove_dipole(one) for one in holed.numpy()])
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-10)
    assert bool((found[:, :100] == UNSEEN).all())
    holed[:, :100] = torch.nan
    again = remove_dipole(holed, nside=8, order="ring", weights=mask)
    assert torch.equal(again[:, 100:], found[:, 100:])
    assert bool(again[:, :100].isnan().all())
    # What is finite behind the mask loses the dipole too, as in healpy.
    whole = remove_dipole(maps, nside=8, order="ring", weights=mask)
    assert torch.equal(whole[:, 100:], found[:, 100:])
    assert float(whole[:, :100].mean().abs()) < 0.5


def test_weights_are_those_of_least_squares():
    maps, v = sky(4, "nested")
    weights = torch.rand(2, 192, generator=torch.Generator().manual_seed(1)).double()
    monopole, dipole = fit_dipole(maps, nside=4, order="nested", weights=weights)
    columns = np.concatenate([np.ones((192, 1)), v.numpy()], 1)
    for k in range(2):
        root = weights[k].sqrt().numpy()
        wanted = np.linalg.lstsq(columns * root[:, None], maps[k].numpy() * root, rcond=None)[0]
        np.testing.assert_allclose([monopole[k], *dipole[k]], wanted, rtol=1e-10)


def test_an_exact_dipole_is_found_in_single_precision_and_behind_a_small_disc():
    _, v = sky(32, "ring")
    exact = 2.7e6 + v @ torch.tensor([10.0, 3000.0, -500.0], dtype=torch.float64)
    monopole, dipole = fit_dipole(exact.float(), nside=32, order="ring")
    assert monopole.dtype == torch.float32
    assert float(monopole) == pytest.approx(2.7e6, rel=1e-7)
    assert dipole.tolist() == pytest.approx([10.0, 3000.0, -500.0], abs=0.02)
    disc = v[:, 0] > math.cos(math.radians(6))
    _, dipole = fit_dipole(exact, nside=32, order="ring", weights=disc)
    assert dipole.tolist() == pytest.approx([10.0, 3000.0, -500.0], abs=1e-3)


def test_gradients():
    maps, _ = sky(1, "ring")
    weights = torch.rand(12, dtype=torch.float64) + 0.5
    maps.requires_grad_()
    weights.requires_grad_()

    def everything(maps, weights):
        arguments = {"nside": 1, "order": "ring", "weights": weights}
        return (
            *fit_dipole(maps, **arguments),
            fit_monopole(maps, **arguments),
            remove_dipole(maps, **arguments),
            remove_monopole(maps, **arguments),
        )

    assert torch.autograd.gradcheck(everything, (maps, weights))


MAPS = torch.zeros(48)
RING = {"nside": 2, "order": "ring"}


@pytest.mark.parametrize("function", [fit_dipole, remove_dipole, fit_monopole, remove_monopole])
@pytest.mark.parametrize(
    ("maps", "arguments", "error", "says"),
    [
        (MAPS + UNSEEN, {}, ValueError, "maps.*48 UNSEEN"),
        (MAPS * torch.nan, {"weights": torch.ones(48)}, ValueError, "maps.*48 NaN"),
        (MAPS, {"weights": torch.zeros(48)}, ValueError, "weights must leave"),
        (MAPS, {"weights": -torch.ones(48)}, ValueError, "weights.*not negative"),
        (MAPS, {"weights": torch.ones(12)}, ValueError, r"weights.*48.*\(12,\)"),
        (MAPS, {"weights": ["a"] * 48}, TypeError, "weights"),
        (MAPS.int(), {}, TypeError, "maps.*int32"),
        (MAPS[:12], {}, ValueError, r"maps.*\(48,\).*\(12,\)"),
        (MAPS, {"order": "face"}, ValueError, "order.*face"),
    ],
)
def test_bad_input(function, maps, arguments, error, says):
    with pytest.raises(error, match=says):
        function(maps, **(RING | arguments))


@pytest.mark.parametrize("pixels", [[0], [0, 1, 2], [0, 1, 2, 3], list(range(4, 12))])
def test_pixels_that_leave_the_fit_open_are_refused(pixels):
    """One pixel, three, and one or another ring: a constant looks like a dipole there."""
    weights = torch.zeros(48)
    weights[pixels] = 1.0
    for function in (fit_dipole, remove_dipole):
        with pytest.raises(ValueError, match="tell monopole and dipole apart"):
            function(MAPS, weights=weights, **RING)
    assert float(fit_monopole(MAPS + 2, weights=weights, **RING)) == 2
