"""Low multipoles behind a cut: the published figures, simulations, and smoothing before the cut."""

import pytest
import torch

from skytutor.chapters.inpainting.low_multipoles import (
    CUTS_DEG,
    contaminant,
    exact_correlations,
    simulated_correlations,
    smoothing_trap,
)
from skytutor.data.sky_masks import galactic_cut


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_correlations_under_cuts():
    found = {cut: exact_correlations(cut) for cut in CUTS_DEG}
    print(found)
    assert abs(found[20][2] - 0.983) <= 0.005 and abs(found[20][3] - 0.975) <= 0.005
    assert abs(found[10][2] - 0.998) <= 0.002 and abs(found[10][3] - 0.997) <= 0.002
    # The octopole loses more than the quadrupole, and both lose as the cut grows.
    for cut in CUTS_DEG:
        assert found[cut][3] < found[cut][2]
    assert found[10][2] > found[20][2] > found[30][2] > 0.93


def test_simulations_agree_with_the_posterior():
    exact = exact_correlations(20.0)
    found = simulated_correlations(20.0, size=2000, generator=rng())
    for l, (value, error, sampled) in found.items():
        print(f"l = {l}: {value:.4f} +- {error:.4f}, exact {exact[l]:.4f}, a draw {sampled:.4f}")
        assert error < 0.001
        assert abs(value - exact[l]) <= 4 * error
        # A draw has the prior's variance, so it correlates as the square.
        assert abs(sampled - exact[l] ** 2) <= 8 * error


def test_more_noise_says_less():
    assert exact_correlations(20.0, noise=20.0)[2] < exact_correlations(20.0)[2] - 0.002


def test_a_map_smoothed_before_the_cut_is_spoiled():
    emission = contaminant()
    assert bool((emission[galactic_cut(16, 20.0, order="ring")] == 0).all())
    trap = smoothing_trap()
    for l, (cut_first, smoothed_first, uncertainty) in trap.items():
        print(f"l = {l}: {cut_first:.3f}, {smoothed_first:.3f}, uncertainty {uncertainty:.3f}")
        assert cut_first == 0
        assert smoothed_first > uncertainty
    # What is added is in proportion to the emission, and less where the cut leaves more room.
    double = smoothing_trap(emission=2 * emission)
    wide = smoothing_trap(30.0)
    for l, found in trap.items():
        assert double[l].smoothed_first == pytest.approx(2 * found.smoothed_first)
        assert wide[l].smoothed_first < found.smoothed_first


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: exact_correlations(0.0), "half_width_deg"),
        (lambda: simulated_correlations(20.0, size=3, generator=rng()), "size must be at least 20"),
        (lambda: smoothing_trap(emission=torch.zeros(5)), "emission"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says):
        call()
