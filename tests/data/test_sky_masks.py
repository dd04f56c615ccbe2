"""skytutor.data.sky_masks: the made mask and Planck's, at every nside and in every order."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from skytutor.data import registry, sky_masks
from skytutor.data.patches import galactic_cut, mask_source, sky_mask
from skytutor.healpix import nside_to_npix, pixel_to_angle, reorder

REAL = registry.have("planck-smica-2013")


def hidden(mask):
    return float((~mask).double().mean())


def test_the_made_mask_is_like_plancks():
    mask = sky_masks.made_mask()
    assert len(mask) == nside_to_npix(512) and 0.026 < hidden(mask) < 0.030
    theta, phi = pixel_to_angle(torch.arange(len(mask)), nside=512, order="nested")
    lat = (90 - theta.rad2deg()).abs()
    away = torch.minimum(phi, 2 * math.pi - phi).rad2deg()
    # A fifth to a quarter of what Planck hides lies more than 10 degrees from the plane.
    outside = float((~mask[lat > 10]).sum() / (~mask).sum())
    assert 0.15 < outside < 0.3
    assert hidden(mask[(lat < 1) & (away < 60)]) > 0.9
    assert hidden(mask[(lat < 1) & (away > 100)]) < 0.5
    assert torch.equal(mask, sky_masks.made_mask())


def test_what_is_handed_out_can_be_changed():
    sky_mask(16, order="nested").fill_(False)
    assert 0.9 < float(sky_mask(16, order="nested").double().mean()) < 1


@pytest.mark.parametrize("nside", [8, 64, 256])
def test_degraded_by_the_majority(nside):
    fine = sky_mask(512, order="nested")
    coarse = sky_mask(nside, order="nested")
    parts = fine.view(len(coarse), -1).double().mean(1)
    assert torch.equal(coarse, parts > 0.5)


def test_finer_masks_hide_the_same_sky():
    assert torch.equal(
        sky_mask(1024, order="nested").view(-1, 4)[:, 2], sky_mask(512, order="nested")
    )


def test_orders_are_one_mask():
    nested = sky_mask(32, order="nested")
    assert torch.equal(reorder(nested, source="nested", target="ring"), sky_mask(32, order="ring"))
    for make in (sky_mask, lambda nside, order: galactic_cut(nside, 5.0, order=order)):
        with pytest.raises(ValueError, match="order must be one of 'ring', 'nested', got 'face'"):
            make(32, order="face")


def test_the_source_is_said():
    assert mask_source().startswith("valid region of Planck's" if REAL else "made:")


@pytest.mark.data
@pytest.mark.skipif(not REAL, reason="Planck's SMICA map of 2013 is not in the data folder")
def test_plancks_mask_is_the_column_of_the_file():
    from astropy.io import fits

    with fits.open(registry.path(sky_masks.SMICA_2013)) as file:
        valid = np.asarray(file[1].data["VALID"]) > 0
    assert np.array_equal(sky_mask(512, order="ring").numpy(), valid)


@pytest.mark.parametrize("width", [5.0, 20.0, 45.0])
def test_a_cut_hides_a_band(width):
    mask = galactic_cut(64, width, order="nested")
    theta, _ = pixel_to_angle(torch.arange(len(mask)), nside=64, order="nested")
    lat = (90 - theta.rad2deg()).abs()
    assert float(lat[mask].min()) >= width - 1e-9 and float(lat[~mask].max()) < width
    assert abs(hidden(mask) - math.sin(math.radians(width))) < 0.01


@pytest.mark.parametrize("width", [0, 90, -3.0, "20"])
def test_a_cut_of_no_width(width):
    with pytest.raises(ValueError, match="half_width_deg must lie between 0 and 90"):
        galactic_cut(64, width, order="ring")


def test_a_cut_that_hides_everything():
    with pytest.raises(ValueError, match="hides every pixel of nside 1"):
        galactic_cut(1, 60.0, order="ring")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_the_made_mask_needs_little_memory():
    # Maps of all pixels of nside 512 in float64, and what they are made from, took 850 MiB.
    code = (
        "from pathlib import Path\n"
        "from skytutor.data.sky_masks import _nested_mask\n"
        "def peak():\n"
        "    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "before = peak()\n"
        "_nested_mask(128, False)\n"
        "print(peak() - before)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10 < int(out.stdout) / 1024 < 200  # MiB
