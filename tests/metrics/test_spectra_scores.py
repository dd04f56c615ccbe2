"""Scores of spectra and of values: bands, scatter, Kolmogorov and Smirnov's distance."""

import pytest
import torch

from skytutor.metrics import samples, spectra


def test_kolmogorov_smirnov_against_scipy():
    from scipy.stats import ks_2samp

    a = torch.randn(500, generator=torch.Generator().manual_seed(1))
    b = torch.randn(300, generator=torch.Generator().manual_seed(2)) + 0.2
    assert samples.ks_distance(a, b) == pytest.approx(
        ks_2samp(a.numpy(), b.numpy()).statistic, abs=1e-12
    )


def test_bands_of_five_and_what_is_left_over():
    flat = torch.ones(1, 33)
    assert spectra.band_ratios(1.1 * flat, flat).tolist() == pytest.approx([1.1] * 6)
    last = flat.clone()
    last[0, 32] = 2
    ratios = spectra.band_ratios(last, flat)
    assert ratios[-1] > 1.1 and ratios[:-1].tolist() == [1] * 5


BAD = {
    "nothing to compare": (
        lambda: samples.ks_distance(torch.tensor([]), torch.ones(1)),
        r"a must hold finite numbers, .*\(0,\)",
    ),
    "NaN to compare": (
        lambda: samples.ks_distance(torch.ones(1), torch.tensor([torch.nan])),
        "b must hold finite numbers",
    ),
    "few multipoles": (
        lambda: spectra.band_ratios(torch.ones(1, 4), torch.ones(1, 4)),
        "lmax of 6 or more, got 3 and 3",
    ),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_of_scores_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
