"""The real sky against simulations: what the fit finds, and that a simulated sky passes."""

import os

import pytest
import torch

from skytutor.chapters.inpainting import map_model, real_sky
from skytutor.chapters.inpainting.map_model import MapModel, apodised, fit_map_model
from skytutor.data import registry
from skytutor.data.patches import galactic_cut
from skytutor.data.skymaps import SkyMap, simulated_sky, sky_map
from skytutor.healpix import nside_to_npix
from skytutor.sht import ducc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ducc.installed(), reason="transforms of nside 512 take ducc0"),
]
NPIX = nside_to_npix(512)


@pytest.fixture(scope="module")
def cut():
    return galactic_cut(512, 20.0, order="ring")


def test_the_fit_finds_what_a_sky_was_made_with(cut):
    maps = simulated_sky(
        generator=torch.Generator().manual_seed(4), amplitude=0.97, beam_arcmin=9.0, noise=6.0
    )
    found = fit_map_model(maps, cut)
    # One sky: l up to 1500 on two thirds of it know the amplitude to about 0.4 %.
    assert abs(found.amplitude - 0.97) < 0.015
    assert abs(found.beam_arcmin - 9.0) < 0.1
    assert abs(found.noise - 6.0) < 0.3


def test_what_is_not_seen_has_no_part_in_the_fit(cut, monkeypatch):
    monkeypatch.setattr(map_model, "_TRANSFER", 1)
    maps = simulated_sky(generator=torch.Generator().manual_seed(5))
    spoiled = torch.where(cut, maps, torch.nan)
    assert fit_map_model(spoiled, cut) == fit_map_model(maps, cut)


def test_a_map_in_kelvin_cannot_be_fitted(cut, monkeypatch):
    monkeypatch.setattr(map_model, "_TRANSFER", 1)
    maps = simulated_sky(generator=torch.Generator().manual_seed(5))
    with pytest.raises(ValueError, match="cannot be fitted to the spectrum; is it"):
        fit_map_model(maps * 1e-6, cut)


def test_a_mask_with_soft_edges_stays_within(cut):
    soft = apodised(cut)
    assert float(soft.min()) >= 0 and float(soft.max()) <= 1
    assert float(soft[~cut].abs().max()) == 0
    assert 0.6 < float(soft.mean()) < float(cut.double().mean())


def test_places_are_evenly_spread():
    places = real_sky._spread(2000)
    lon, lat = places.deg2rad().unbind(-1)
    vectors = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], -1)
    distance = torch.cdist(vectors, vectors).fill_diagonal_(9).min(1).values
    assert float(distance.min()) > 0.7 * float(distance.mean())


def _model_of(monkeypatch, model):
    monkeypatch.setattr(real_sky, "fit_map_model", lambda maps, seen: model)


def test_a_simulated_sky_is_filled_as_simulations_are(monkeypatch):
    _model_of(monkeypatch, MapModel(amplitude=1.0, beam_arcmin=8.3, noise=5.0))
    sky = SkyMap(
        simulated_sky(generator=torch.Generator().manual_seed(77)),
        torch.ones(NPIX, dtype=torch.bool),
        "simulated",
    )
    found = real_sky.real_over_simulated(400, (15, 30), n_simulations=1, sky=sky)
    for radius, ratio in found.ratio.items():
        assert abs(ratio - 1) < 4 * found.error[radius] and found.error[radius] < 0.05
    assert min(found.discs.values()) >= 400 and "simulated" in real_sky.table(found)


def test_a_sky_of_another_beam_is_found_out(monkeypatch):
    _model_of(monkeypatch, MapModel(amplitude=1.0, beam_arcmin=8.3, noise=5.0))
    sky = SkyMap(
        simulated_sky(generator=torch.Generator().manual_seed(78), beam_arcmin=12.0),
        torch.ones(NPIX, dtype=torch.bool),
        "simulated",
    )
    found = real_sky.real_over_simulated(300, (15,), n_simulations=1, sky=sky)
    assert found.ratio["15"] < 1 - 4 * found.error["15"]


def test_discs_keep_away_from_what_is_not_valid(monkeypatch):
    _model_of(monkeypatch, MapModel(amplitude=1.0, beam_arcmin=8.3, noise=5.0))
    maps = simulated_sky(generator=torch.Generator().manual_seed(79))
    valid = torch.rand(NPIX, generator=torch.Generator().manual_seed(0)) > 1e-4
    # What is not valid is far off: one such pixel in a patch would show.
    sky = SkyMap(torch.where(valid, maps, 1e6), valid, "simulated")
    found = real_sky.real_over_simulated(100, (5,), n_simulations=1, sky=sky)
    assert found.rmse["5"] < 12


def test_more_discs_than_there_is_room(monkeypatch):
    _model_of(monkeypatch, MapModel(amplitude=1.0, beam_arcmin=8.3, noise=5.0))
    valid = torch.zeros(NPIX, dtype=torch.bool)
    sky = SkyMap(torch.zeros(NPIX), valid, "nothing")
    with pytest.raises(ValueError, match="no room for 2 valid patches"):
        real_sky.real_over_simulated(2, (5,), n_simulations=1, sky=sky)


@pytest.mark.data
def test_the_real_sky_is_filled_as_simulations_are():
    if not registry.have("planck-smica-2013"):
        missing = pytest.fail if os.environ.get("SKYTUTOR_NEED_DATA") else pytest.skip
        missing(f"Planck's SMICA map of 2013 is not in {registry.folder()}")
    found = real_sky.real_over_simulated(1500, sky=sky_map("smica-2013"))
    assert min(found.discs.values()) >= 1500
    for radius in ("15", "30", "60"):
        assert abs(found.ratio[radius] - 1) < 0.02, found
    assert abs(found.ratio["5"] - 1) < 0.1, found
