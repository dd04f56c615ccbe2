"""Leaks from E into B under the mask: pseudo-C_l's, the exact fill, draws, any fill at all."""

import math

import pytest
import torch

from skytutor.chapters.inpainting.polarisation import (
    NOISE,
    NSIDE,
    exact_fill,
    leakage,
    polarisation_filter,
    polarisation_spectra,
    pure_e_skies,
    sampled_fill,
    zero_fill,
)
from skytutor.data.sky_masks import sky_mask


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_filling_keeps_e_out_of_b():
    sky = polarisation_filter()
    fills = {
        "zero": zero_fill,
        "exact": exact_fill(filter=sky),
        "sample": sampled_fill(filter=sky, generator=rng(1)),
    }
    found = leakage(fills, size=60, generator=rng())
    for name, leak in found.items():
        print(f"{name}: {leak.power:.2e} muK^2, {leak.over_pseudo:.4f} +- {leak.error:.4f}")
    # Zeros are the masked map: only the divisor, the seen fraction, differs, and three iterations.
    seen = float(sky_mask(NSIDE, order="ring").double().mean())
    assert found["zero"].over_pseudo == pytest.approx(seen, rel=0.1)
    assert found["pseudo-C_l"].over_pseudo == 1
    assert found["complete sky"].over_pseudo < 1e-3
    assert found["exact"].over_pseudo < 0.5
    assert found["exact"].power < found["sample"].power < 0.2 * found["zero"].power


def test_draws_miss_twice_the_square_that_the_mean_misses():
    mask = sky_mask(NSIDE, order="ring")
    maps = pure_e_skies(60, generator=rng(4))
    data = maps + NOISE * torch.randn(maps.shape, generator=rng(5), dtype=torch.float64)
    sky = polarisation_filter()
    powers = []
    for fill in (exact_fill(filter=sky), sampled_fill(filter=sky, generator=rng(6))):
        error = torch.where(mask, 0, fill(data, mask) - maps)
        powers.append(error.square().mean())
    print(f"{powers[1] / powers[0]:.3f}")
    assert powers[1] / powers[0] == pytest.approx(2, abs=0.1)


def test_the_exact_fill_is_the_best():
    """Fills off the exact one, in spectrum or in size, are further from the truth."""
    mask = sky_mask(NSIDE, order="ring")
    maps = pure_e_skies(20, generator=rng(2))
    hidden = ~mask
    exact = exact_fill()(maps, mask)[..., hidden]
    truth = maps[..., hidden]
    error = (exact - truth).square().mean()
    assert (0.8 * exact - truth).square().mean() > error
    assert truth.square().mean() > 2 * error
    swapped = polarisation_spectra()
    swapped = {"EE": swapped["BB"] + 1e-9, "BB": swapped["EE"] + 1e-9}
    wrong = exact_fill(spectra=swapped)(maps, mask)[..., hidden]
    assert (wrong - truth).square().mean() > 1.2 * error


def test_skies_have_the_spectrum_and_no_b():
    maps = pure_e_skies(40, generator=rng(3))
    spectra = polarisation_spectra()
    l = torch.arange(len(spectra["EE"]))
    # Q and U share the power of E.
    wanted = ((2 * l + 1) * spectra["EE"]).sum() / (4 * math.pi) / 2
    assert maps.square().mean() == pytest.approx(float(wanted), rel=0.05)
    assert float(wanted) ** 0.5 > NOISE


@pytest.mark.parametrize(
    "fill",
    [
        lambda maps, mask: maps[:1],
        lambda maps, mask: maps + 1,
        lambda maps, mask: torch.where(mask > 0, maps, math.nan),
    ],
)
def test_a_fill_that_is_none_is_refused(fill):
    with pytest.raises(ValueError, match="fill 'bad'"):
        leakage({"bad": fill}, size=2, generator=rng())


def test_one_sky_has_no_standard_error():
    with pytest.raises(ValueError, match="size must be at least 2"):
        leakage({}, size=1, generator=rng())
