"""Scores of fills and samples: right for what is right, and wrong for what is wrong."""

import math

import pytest
import torch

from skytutor.chapters import load_pretrained
from skytutor.chapters.inpainting import samples, scores, skies
from skytutor.chapters.inpainting.samples import edge_jump, score_many_holes, spread_ratio
from skytutor.chapters.inpainting.scores import LimitError, score_fill
from skytutor.chapters.inpainting.skies import check_size, crowded_tests, disc_test
from skytutor.fields.holes import DenseHole

# Set-up B, one disc: RMSE of the exact fill in muK.
LIMITS = {5: 8.44, 15: 20.9, 30: 41.5, 60: 64.1, 180: 84.2}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def test_of_30():
    return disc_test(30, skies=200, generator=rng())


def exact(data, mask):
    """Fill exactly, as set-up B allows."""
    sky = scores.flat_sky("B", mask.shape[-1])
    return DenseHole(sky.precision, mask).fill(data)


# --- fills ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", LIMITS)
def test_the_limit_of_a_disc(radius):
    test = disc_test(radius, skies=1, generator=rng())
    assert float(test.variance.mean().sqrt()) == pytest.approx(LIMITS[radius], rel=0.01)


def test_the_exact_fill_scores_one(test_of_30):
    row = score_fill(exact, [test_of_30])
    assert row["ratio"] == 1
    assert abs(row["measured"] - 1) < 4 * row["standard_error"]


def test_the_standard_error_is_the_scatter_of_many_skies(test_of_30):
    test = disc_test(30, skies=2000, generator=rng(5))
    away = test.hidden(test.exact - test.signal).square().sum(-1) / test.variance.sum()
    assert float(away.var()) == pytest.approx(test.scatter, rel=0.15)


def test_an_offset_adds_its_square(test_of_30):
    row = score_fill(lambda data, mask: exact(data, mask) + 30, [test_of_30])
    expected = math.sqrt(1 + 30**2 / float(test_of_30.variance.mean()))
    assert row["ratio"] == pytest.approx(expected, rel=1e-9)
    assert row["rmse"] == pytest.approx(expected * row["wiener_rmse"])


def test_who_looks_at_the_truth_is_found_out(test_of_30):
    """A tenth of the way from the exact fill to the truth is enough."""
    truth = iter(test_of_30.signal.split(64))

    def cheat(data, mask):
        return 0.8 * exact(data, mask) + 0.2 * next(truth)

    with pytest.raises(LimitError, match="no fill can do that"):
        score_fill(cheat, [test_of_30])


def test_simple_fills_stand_above_the_limit(monkeypatch):
    monkeypatch.setattr(scores, "RADII", (15, 60))
    found = scores.score_radii(exact, seed=3, size=40)
    assert set(found) == {"15", "60"}
    for row in found.values():
        for name in ("zero", "nearest", "harmonic", "biharmonic"):
            assert row[f"{name}_ratio"] > 1.03, name
    again = scores.score_radii(exact, seed=3, size=40)
    assert found == again, "a seed gives the same skies"


def test_a_size_out_of_range_is_refused():
    assert check_size(None) == skies.SKIES
    for size in (0, 19, 10_001):
        with pytest.raises(ValueError, match=r"size must lie in 20\.\.10000 skies"):
            check_size(size)


# --- samples --------------------------------------------------------------------------------------


def test_samples_of_the_exact_fill_are_as_they_should_be(monkeypatch):
    """Within four standard errors, of which the scatter of a few hundred skies gives the size."""
    test = disc_test(60, skies=100, generator=rng())
    spread = spread_ratio(exact, test, repeats=2, generator=rng(1))
    assert spread == pytest.approx(math.sqrt(2), rel=0.05)
    monkeypatch.setattr(skies, "_CROWDED", 2)
    found = score_many_holes(exact, quick=exact, radius=60, skies=400, generator=rng(2))
    for power in found["hole_power"]:
        assert power == pytest.approx(1, abs=0.08)
    for power in found["patch_power"]:
        assert power == pytest.approx(1, abs=0.03)
    assert found["jump_ratio"] == pytest.approx(1, abs=0.03)
    assert found["coverage68_pixels"] == pytest.approx(0.6827, abs=0.04)
    assert found["chi2"] == pytest.approx(1, abs=0.02)


def test_a_wrong_fill_gives_wrong_samples(monkeypatch):
    """Zero in place of the mean: the hole does not know its surroundings, and there is a seam."""
    monkeypatch.setattr(skies, "_CROWDED", 1)

    def zero(data, mask):
        return torch.where(mask, data, 0)

    found = score_many_holes(zero, quick=zero, radius=60, skies=64, generator=rng(2))
    assert found["jump_ratio"] > 3
    assert found["chi2"] > 2
    test = disc_test(60, skies=64, generator=rng())
    assert spread_ratio(zero, test, repeats=1, generator=rng(1)) > 1.6


def test_band_coverage_of_exact_samples_and_of_none(test_of_30):
    """Samples that are all the mean are too narrow: the truth lies outside."""
    right = samples.band_coverage(exact, test_of_30, generator=rng(4))
    # 200 skies of five bands that are nearly independent.
    assert right == pytest.approx(13 / 19, abs=4 * math.sqrt(0.22 / 1000))

    def without(fill, data, mask, *_, generator):
        mean = fill(data, mask)
        return mean, mean

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "realisation", without)
        assert samples.band_coverage(exact, test_of_30, generator=rng(4)) < 0.1


def test_the_jump_counts_the_pairs_over_the_edge_alone():
    maps = torch.zeros(4, 4)
    maps[1, 1] = 3
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1, 1] = False
    assert edge_jump(maps, mask) == 9
    assert edge_jump(maps) == pytest.approx(9 * 4 / 32)


def test_masks_of_many_discs_differ():
    tests = crowded_tests(30, skies=16, generator=rng())
    for test in tests:
        assert 0.12 < float((~test.mask).double().mean()) < 0.18
    assert not torch.equal(tests[0].mask, tests[1].mask)


# --- the trained network --------------------------------------------------------------------------


def test_the_trained_network_keeps_the_bars():
    model = load_pretrained("inpaint")
    for radius, bar in ((5, 1.05), (15, 1.01), (30, 1.01), (60, 1.01)):
        tests = crowded_tests(radius, skies=40, generator=rng(11))
        with torch.no_grad():
            row = score_fill(model, tests)
        assert 1 < row["ratio"] <= bar, radius


def test_it_needs_a_third_of_the_steps_and_runs_on_to_the_exact_fill():
    with torch.no_grad():
        found = scores.score_steps(
            load_pretrained("inpaint"), generator=rng(12), masks_of={64: 8, 128: 1}
        )
    for size, most in (("64", 15), ("128", 20)):
        assert 3 * found["ours"][size] <= found["covariance"][size]
        assert found["exact"][size] <= most
        assert found["relative_error"][size] < 0.01
