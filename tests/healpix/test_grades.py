"""Maps at another nside: healpy's ud_grade, holes and all, and weights."""

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor.healpix import UNSEEN, degrade, upgrade


def holed(nside, dtype, order="nested"):
    """Return two maps with UNSEEN pixels: single ones, whole parents, and every pixel of one."""
    rng = torch.Generator().manual_seed(nside)
    maps = torch.randn(2, 12 * nside**2, generator=rng, dtype=dtype)
    maps[torch.rand(maps.shape, generator=rng) < 0.4] = UNSEEN
    maps[1] = UNSEEN
    return maps


@pytest.mark.parametrize("order", ["ring", "nested"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pessimistic", [False, True])
@pytest.mark.parametrize(("nside", "nside_out"), [(8, 4), (8, 1), (2, 1), (1, 1), (8, 8)])
def test_degraded_maps_are_healpys(order, dtype, pessimistic, nside, nside_out):
    maps = holed(nside, dtype)
    found = degrade(maps, nside_out, nside=nside, order=order, pessimistic=pessimistic)
    assert found.dtype == dtype
    for one, ours in zip(maps.numpy(), found.numpy(), strict=True):
        wanted = hp.ud_grade(one, nside_out, order_in=order.upper(), pess=pessimistic)
        if nside == nside_out:
            wanted = one
        np.testing.assert_allclose(ours, wanted, rtol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("order", ["ring", "nested"])
def test_upgraded_maps_are_healpys(order):
    maps = holed(2, torch.float64)
    found = upgrade(maps, 8, nside=2, order=order)
    for one, ours in zip(maps.numpy(), found.numpy(), strict=True):
        np.testing.assert_array_equal(ours, hp.ud_grade(one, 8, order_in=order.upper()))
    back = degrade(found, 2, nside=8, order=order)
    assert torch.allclose(back, maps, rtol=1e-12)


def test_weights_are_those_of_a_mean():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 2, 768, generator=rng, dtype=torch.float64)
    weights = torch.rand(768, generator=rng, dtype=torch.float64)
    weights[weights < 0.5] = 0.0
    weights[:16] = 0.0  # a whole pixel of nside 2
    hidden = torch.where(weights > 0, maps, torch.nan)
    found = degrade(hidden, 2, nside=8, order="nested", weights=weights)
    w = weights.unflatten(0, (48, 16)).numpy()
    values = maps.unflatten(-1, (48, 16)).numpy()
    wanted = np.average(
        values[..., 1:, :], axis=-1, weights=np.broadcast_to(w, values.shape)[..., 1:, :]
    )
    np.testing.assert_allclose(found[..., 1:].numpy(), wanted, rtol=1e-12)
    assert bool((found[..., 0] == UNSEEN).all())
    mask = (weights > 0).double()
    fraction = degrade(mask, 2, nside=8, order="nested")
    np.testing.assert_allclose(fraction.numpy(), (w > 0).mean(1))
    assert torch.equal(
        degrade(hidden, 2, nside=8, order="nested", weights=weights > 0),
        degrade(torch.where(weights > 0, maps, UNSEEN), 2, nside=8, order="nested"),
    )


def test_gradients_reach_the_pixels_that_are_seen_alone():
    maps = torch.randn(48, dtype=torch.float64)
    maps[:6] = UNSEEN
    maps.requires_grad_()
    out = degrade(maps, 1, nside=2, order="nested")
    out[1:].sum().backward()
    wanted = torch.full((48,), 0.25, dtype=torch.float64)
    wanted[:6] = 0.0
    wanted[6:8] = 0.5
    assert torch.equal(maps.grad, wanted)


MAPS = torch.zeros(48)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: degrade(MAPS * torch.nan, 1, nside=2, order="ring"), ValueError, "maps.*48 NaN"),
        (lambda: degrade(MAPS, 4, nside=2, order="ring"), ValueError, "nside_out.*2, got 4"),
        (lambda: upgrade(MAPS, 1, nside=2, order="ring"), ValueError, "nside_out.*2, got 1"),
        (lambda: degrade(MAPS, 3, nside=2, order="ring"), ValueError, "power of two.*3"),
        (lambda: degrade(MAPS, 1, nside=4, order="ring"), ValueError, r"maps.*\(192,\)"),
        (lambda: degrade(MAPS, 1, nside=2, order="face"), ValueError, "order.*face"),
        (lambda: degrade(MAPS.half(), 1, nside=2, order="ring"), TypeError, "float16"),
        (lambda: degrade(MAPS.long(), 1, nside=2, order="ring"), TypeError, "maps.*int64"),
        (
            lambda: degrade(MAPS, 1, nside=2, order="ring", weights=MAPS - 1),
            ValueError,
            "weights.*not negative",
        ),
        (
            lambda: degrade(MAPS, 1, nside=2, order="ring", weights=torch.ones(12)),
            ValueError,
            r"weights.*48.*\(12,\)",
        ),
        (
            lambda: degrade(MAPS, 1, nside=2, order="ring", weights=["a"] * 48),
            TypeError,
            "weights",
        ),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
