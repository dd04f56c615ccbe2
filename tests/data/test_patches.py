"""skytutor.data.patches: the spectrum, the set-ups, and units."""

import os
import warnings

import numpy as np
import pytest
import torch

from skytutor.data import registry
from skytutor.data.patches import (
    LMAX,
    RADII,
    SETUPS,
    best_fit_spectrum,
    check_units,
    disc_mask,
    flat_sky,
)
from skytutor.fields.flat import FlatSky
from skytutor.fields.holes import DenseHole


def sky_of(setup, size):
    """Make a set-up's sky with a spectrum made up here: CAMB takes seconds."""
    l = torch.arange(LMAX + 1, dtype=torch.float64)
    cl = (
        5500 * 2 * torch.pi / (l.clamp(min=2) * (l.clamp(min=2) + 1)) * torch.exp(-((l / 900) ** 2))
    )
    chosen = SETUPS[setup]
    return FlatSky(
        size,
        pixel_arcmin=chosen.pixel_arcmin,
        cl=cl,
        beam_arcmin=chosen.beam_arcmin,
        noise=chosen.noise,
    )


def test_best_fit_has_the_acoustic_peaks():
    cl = best_fit_spectrum()
    l = torch.arange(len(cl))
    d = cl * l * (l + 1) / (2 * torch.pi)
    assert len(cl) == LMAX + 1 and float(cl[:2].abs().max()) == 0
    assert 215 < int(d[:400].argmax()) < 226 and 5600 < float(d.max()) < 5850
    assert 530 < 400 + int(d[400:700].argmax()) < 545
    assert torch.equal(best_fit_spectrum(100), cl[:101])


def test_best_fit_cannot_be_changed_by_who_asks():
    best_fit_spectrum(10)[5] = 0
    assert float(best_fit_spectrum(10)[5]) > 0


@pytest.mark.data
def test_best_fit_is_plancks():
    if not registry.have("planck-theory"):
        missing = pytest.fail if os.environ.get("SKYTUTOR_NEED_DATA") else pytest.skip
        missing(f"Planck's theory spectrum is not in {registry.folder()}")
    (entry,) = registry.groups()["planck-theory"]
    l, d = np.loadtxt(registry.path(entry.name), usecols=(0, 1), unpack=True)
    ours = best_fit_spectrum(2508)[2:].numpy() * l * (l + 1) / (2 * np.pi)
    ratio = (ours / d)[(l >= 30) & (l <= 2000)]
    assert abs(ratio - 1).max() < 0.005
    assert abs(ratio.mean() - 1).max() < 0.001


def test_lmax_beyond_the_table():
    with pytest.raises(ValueError, match="lmax must be at most 4500, got 4501"):
        best_fit_spectrum(4501)


def test_setup_b_is_the_one_of_the_limits():
    setup = SETUPS["B"]
    assert (setup.pixel_arcmin, setup.beam_arcmin, setup.noise) == (6.871, 8.3, 5.0)
    sky = flat_sky("B", 32)
    assert sky.pixel_arcmin == 6.871 and sky.noise == 5.0


def test_limits_of_setup_b():
    sky = flat_sky("B", 128)
    limits = {5: 8.44, 15: 20.9, 30: 41.5, 60: 64.1}
    for radius, limit in limits.items():
        hole = DenseHole(sky.precision, disc_mask(128, radius, pixel_arcmin=6.871))
        rmse = float((hole.variance.mean() - sky.noise**2).sqrt())
        assert abs(rmse / limit - 1) < 0.01, radius
    assert RADII == (5, 15, 30, 60, 180)


def test_setups_differ_in_scale():
    pixels = [SETUPS[name].pixel_arcmin for name in "ABC"]
    beams = [SETUPS[name].beam_arcmin for name in "ABC"]
    assert pixels == sorted(pixels) and beams == sorted(beams)
    # A beam of less than a pixel and a half is not sampled.
    assert all(setup.beam_arcmin > 1.2 * setup.pixel_arcmin for setup in SETUPS.values())
    with pytest.raises(ValueError, match="setup must be one of 'A', 'B', 'C'"):
        flat_sky("D")


@pytest.mark.parametrize("setup", ["A", "B", "C"])
def test_units_that_are_right_bring_no_warning(setup):
    sky = sky_of(setup, 64)
    _, data = sky.draw(20, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0.8 < check_units(data, sky) < 1.2


@pytest.mark.parametrize(("factor", "unit"), [(1e-6, "K"), (1e-3, "mK"), (1e3, "nK")])
def test_another_unit_is_named(factor, unit):
    sky = sky_of("B", 64)
    _, data = sky.draw(4, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=f"they may be in {unit}: convert them to muK"):
        ratio = check_units(data * factor, sky)
    assert 0.5 < ratio / factor**2 < 2


def test_a_variance_of_no_known_unit_warns_too():
    sky = sky_of("B", 64)
    _, data = sky.draw(4, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="look at their unit"):
        check_units(data * 3e-5, sky)


def test_hidden_pixels_and_the_mean_do_not_count():
    sky = sky_of("B", 64)
    _, data = sky.draw(4, generator=torch.Generator().manual_seed(0))
    mask = disc_mask(64, 60, pixel_arcmin=6.871)
    spoiled = torch.where(mask, data + 1e4, torch.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0.8 < check_units(spoiled, sky, mask=mask) < 1.2


def test_units_are_looked_up_in_good_pixels_alone():
    sky = FlatSky(16, pixel_arcmin=7.0, cl=torch.ones(3000), noise=1.0)
    _, data = sky.draw(50, generator=torch.Generator().manual_seed(0))
    half = torch.arange(16)[:, None] < 8
    for bad in (torch.nan, -1.6375e30):
        assert abs(check_units(torch.where(half, data, bad), sky) - 1) < 0.2
    with pytest.raises(ValueError, match="NaN, infinite or UNSEEN values alone"):
        check_units(data * torch.nan, sky)
    with pytest.raises(ValueError, match=r"maps must be \(..., 16, 16\) as the sky"):
        check_units(data[..., :8], sky)
