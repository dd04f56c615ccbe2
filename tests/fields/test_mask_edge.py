"""Maps that were smoothed before they were masked are found, others are left in peace."""

import math
import warnings

import pytest
import torch

from skytutor.data.patches import best_fit_spectrum
from skytutor.data.sky_masks import galactic_cut
from skytutor.fields.mask_edge import check_mask_edge, edge_excess
from skytutor.fields.spectra import gaussian_maps
from skytutor.fields.windows import gaussian_beam, smooth
from skytutor.healpix import pixel_to_angle, reorder
from skytutor.sht import alm2map, map2alm

NSIDE = 16
LMAX = 32
CUT = galactic_cut(NSIDE, 20.0, order="ring")


def sky(seed):
    cl = best_fit_spectrum(LMAX) * gaussian_beam(math.radians(5), LMAX) ** 2
    cl[:2] = 0
    rng = torch.Generator().manual_seed(seed)
    return gaussian_maps({"TT": cl}, nside=NSIDE, lmax=LMAX, order="ring", generator=rng)["T"]


def smoothed(maps):
    how = {"nside": NSIDE, "lmax": LMAX, "order": "ring"}
    window = gaussian_beam(math.radians(10), LMAX)
    return alm2map(smooth(map2alm(maps, **how), window, lmax=LMAX), **how)


def plane():
    theta, _ = pixel_to_angle(torch.arange(12 * NSIDE**2), nside=NSIDE, order="ring")
    latitude = (90 - theta.rad2deg()).abs()
    return 2e4 * torch.exp(-latitude / 5) * (latitude < 20)


def test_smoothed_before_masked_is_found():
    dirty = smoothed(sky(0) + plane())
    with pytest.warns(UserWarning, match="smoothed or degraded before it was masked"):
        found = check_mask_edge(dirty, CUT, nside=NSIDE, order="ring")
    assert found > 3


def test_masked_before_smoothed_is_left_in_peace():
    clean = smoothed(torch.where(CUT, sky(0) + plane(), 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_mask_edge(clean, CUT, nside=NSIDE, order="ring")


def test_forty_clean_skies_draw_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [check_mask_edge(sky(k), CUT, nside=NSIDE, order="ring") for k in range(40)]
    assert sum(found) / 40 == pytest.approx(1, abs=0.15)


def test_orders_agree_and_hidden_pixels_do_not_count():
    maps = sky(1)
    ring = edge_excess(maps, CUT, nside=NSIDE, order="ring")
    nested = [reorder(x, source="ring", target="nested") for x in (maps, CUT)]
    assert edge_excess(*nested, nside=NSIDE, order="nested") == pytest.approx(float(ring))
    spoilt = torch.where(CUT, maps, torch.nan)
    assert edge_excess(spoilt, CUT, nside=NSIDE, order="ring") == ring
    assert edge_excess(maps, torch.ones_like(CUT), nside=NSIDE, order="ring") == 1
