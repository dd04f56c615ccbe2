"""skytutor.data.skymaps: files read by pixel, what is wrong with a file, and which map is used."""

import dataclasses
import hashlib
import os
import tracemalloc

import numpy as np
import pytest
import torch
from astropy.io import fits

from skytutor.data import registry, sky_masks, skymaps
from skytutor.data.sky_patches import gnomonic_patch
from skytutor.data.skymaps import FitsMap, simulated_sky, sky_map
from skytutor.healpix import UNSEEN, nside_to_npix, reorder

NSIDE = 32
PATCH = {"lon_deg": 40.0, "lat_deg": -30.0, "size": 9, "pixel_arcmin": 60.0}


def write(place, values, *, order="NESTED", unit="K_CMB", name="I_STOKES", form="E", **options):
    """Write a HEALPix file with a second column before the one in question."""
    other = fits.Column(name="Q_STOKES", format=form, array=np.zeros_like(values), unit=unit)
    column = fits.Column(name=name, format=form, array=values, unit=unit, **options)
    table = fits.BinTableHDU.from_columns([other, column])
    table.header["ORDERING"] = order
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(place)
    return place


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    return (1e-4 * rng.standard_normal(nside_to_npix(NSIDE))).astype(np.float32)


def test_kelvin_become_microkelvin_and_unseen_nan(tmp_path, values):
    values[7] = UNSEEN
    file = FitsMap(write(tmp_path / "a.fits", values), "i_stokes")
    assert (file.nside, file.order, file.unit) == (NSIDE, "nested", "K_CMB")
    index = torch.tensor([[5, 7], [12287, 5]])
    found = file.pixels(index)
    assert found.shape == (2, 2) and bool(found[0, 1].isnan())
    wanted = 1e6 * values[[5, 12287, 5]]
    assert np.allclose(found.flatten()[[0, 2, 3]], wanted, rtol=1e-6)


def test_scaled_integers_as_in_the_map_of_2013(tmp_path, values):
    muk = (values * 1e6).clip(-300, 300)
    steps = (100 * muk).round().astype(np.int16)
    path = write(tmp_path / "a.fits", steps, unit="uK_CMB", form="I")
    fits.setval(path, "TSCAL2", value=0.01, ext=1)
    with fits.open(path) as file:
        theirs = np.asarray(file[1].data["I_STOKES"])
    ours = FitsMap(path, "I_STOKES").pixels(torch.arange(len(muk)))
    assert np.allclose(ours, theirs, atol=1e-4) and np.allclose(ours, muk, atol=0.006)


def test_rows_of_many_pixels(tmp_path, values):
    path = write(tmp_path / "a.fits", values.reshape(-1, 1024), form="1024E")
    file = FitsMap(path, "I_STOKES")
    found = file.pixels(torch.tensor([0, 1023, 1024, 5000]))
    assert file.nside == NSIDE and np.allclose(found, 1e6 * values[[0, 1023, 1024, 5000]])


@pytest.mark.parametrize("order", ["NESTED", "RING"])
def test_a_patch_is_that_of_the_whole_map(tmp_path, values, order):
    file = FitsMap(write(tmp_path / "a.fits", values, order=order), "I_STOKES")
    whole = torch.from_numpy(1e6 * values)
    wanted = gnomonic_patch(whole, nside=NSIDE, order=order.lower(), **PATCH)
    assert torch.allclose(file.patch(**PATCH), wanted, rtol=1e-4, atol=1e-3)


def test_a_patch_does_not_read_the_map(tmp_path):
    big = np.zeros(nside_to_npix(256), dtype=np.float32)
    file = FitsMap(write(tmp_path / "a.fits", big), "I_STOKES")
    tracemalloc.start()
    file.patch(**PATCH)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000, "the column has 3 MB"


def test_degraded_means_leave_out_what_is_unseen(tmp_path, values, monkeypatch):
    monkeypatch.setattr(skymaps, "_ROWS", 1000)  # several pieces, the last one shorter
    values[:16] = UNSEEN
    values[16:19] = UNSEEN, np.inf, -1e3 * UNSEEN
    found = FitsMap(write(tmp_path / "a.fits", values), "I_STOKES").degraded(8)
    assert found.shape == (768,) and bool(found[0].isnan())
    parts = 1e6 * values.reshape(768, 16).astype(float)
    assert abs(float(found[1]) - parts[1, 3:].mean()) < 1e-3
    assert np.allclose(found[2:], parts[2:].mean(1), atol=1e-3)


def test_a_ring_file_comes_in_nested_order(tmp_path, values):
    file = FitsMap(write(tmp_path / "a.fits", values, order="RING"), "I_STOKES")
    wanted = reorder(torch.from_numpy(values), source="ring", target="nested") * 1e6
    assert torch.allclose(file.degraded(NSIDE), wanted, rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="RING order is not degraded"):
        file.degraded(8)
    with pytest.raises(ValueError, match="nside must be at most 32"):
        file.degraded(64)


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path, values):
    path = write(tmp_path / "a.fits", values)
    with pytest.raises(ValueError, match=r"one of Q_STOKES, I_STOKES in .*a\.fits, got 'T_RAW'"):
        FitsMap(path, "T_RAW")


def test_files_that_are_no_temperature_map(tmp_path, values):
    with pytest.raises(ValueError, match="the unit of I_STOKES must be a temperature, got MJy/sr"):
        FitsMap(write(tmp_path / "a.fits", values, unit="MJy/sr"), "I_STOKES")
    with pytest.raises(ValueError, match="ORDERING must be RING or NESTED, got 'face'"):
        FitsMap(write(tmp_path / "b.fits", values, order="FACE"), "I_STOKES")
    with pytest.raises(ValueError, match="12"):
        FitsMap(write(tmp_path / "c.fits", values[:100]), "I_STOKES")
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "d.fits")
    with pytest.raises(ValueError, match="holds no table"):
        FitsMap(tmp_path / "d.fits", "I_STOKES")


def test_without_files_the_sky_is_simulated(monkeypatch, tmp_path):
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path))
    monkeypatch.setattr(skymaps, "NSIDE", 64)
    monkeypatch.setattr(
        skymaps, "simulated_sky", lambda generator: simulated_sky(nside=64, generator=generator)
    )
    sky = sky_map()
    assert sky.source.startswith("simulated sky") and "made" in sky.source
    assert len(sky.maps) == len(sky.valid) == nside_to_npix(64)
    assert torch.equal(sky.maps, sky_map("simulated").maps)
    for source in ("smica-2013", "smica-2018"):
        with pytest.raises(registry.DataError, match="skytutor data fetch planck-smica-2018"):
            sky_map(source)
    with pytest.raises(ValueError, match="source must be one of"):
        sky_map("wmap")


def test_a_simulated_sky_has_the_spectrum_asked_for():
    options = {"nside": 64, "beam_arcmin": 60.0, "noise": 3.0}
    sky = simulated_sky(generator=torch.Generator().manual_seed(0), **options)
    loud = simulated_sky(generator=torch.Generator().manual_seed(0), **options, amplitude=4.0)
    noise = simulated_sky(generator=torch.Generator().manual_seed(0), **options, amplitude=0.0)
    assert abs(float(noise.std()) - 3.0) < 0.05
    assert torch.allclose(loud - noise, 2 * (sky - noise), atol=1e-3)


def test_maps_of_2018_are_read_with_their_mask(monkeypatch, tmp_path, values):
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path))
    monkeypatch.setattr(skymaps, "NSIDE", 8)
    seen = np.ones(nside_to_npix(NSIDE), dtype=np.float32)
    seen[:17] = 0  # pixel 0 of nside 8, and one of the sixteen of pixel 1
    entries = {}
    for group, column, data, unit in (
        ("planck-smica-2018", "I_STOKES", values, "K_CMB"),
        ("planck-mask-2018", "TMASK", seen, None),
    ):
        (entry,) = registry.groups()[group]
        place = tmp_path / entry.name
        place.parent.mkdir(exist_ok=True)
        write(place, data, name=column, unit=unit)
        sha256 = hashlib.sha256(place.read_bytes()).hexdigest()
        entries[entry.name] = dataclasses.replace(entry, sha256=sha256, size=place.stat().st_size)
    monkeypatch.setattr(
        registry, "ENTRIES", entries | {"planck/smica_2013_nside512.fits": _absent()}
    )
    sky = sky_map()
    assert "SMICA" in sky.source and "2018" in sky.source
    valid = reorder(sky.valid, source="ring", target="nested")
    assert (~valid).nonzero().flatten().tolist() == [0, 1]
    maps = reorder(sky.maps, source="ring", target="nested")
    assert np.allclose(maps[2:], 1e6 * values.reshape(768, 16).mean(1)[2:], atol=1e-2)


def _absent():
    return next(iter(registry.groups()["planck-smica-2013"]))


@pytest.mark.data
def test_the_map_of_2013():
    if not registry.have("planck-smica-2013"):
        missing = pytest.fail if os.environ.get("SKYTUTOR_NEED_DATA") else pytest.skip
        missing(f"Planck's SMICA map of 2013 is not in {registry.folder()}")
    sky = sky_map("smica-2013")
    assert sky.source == "Planck's SMICA map of 2013, nside 512"
    with fits.open(registry.path(sky_masks.SMICA_2013)) as file:
        theirs = np.asarray(file[1].data["T_RAW"])
    assert np.allclose(sky.maps, theirs, atol=1e-3)
    assert 95 < float(sky.maps[sky.valid].std()) < 110
    assert abs(float(sky.valid.double().mean()) - 0.972) < 0.001


def test_a_file_that_is_cut_short_is_named(tmp_path):
    whole = tmp_path / "whole.fits"
    values = np.arange(12 * 64**2, dtype=np.float32)
    column = fits.Column("T_RAW", "E", unit="K_CMB", array=values)
    table = fits.BinTableHDU.from_columns([column])
    table.header["ORDERING"] = "NESTED"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(whole)
    assert FitsMap(whole, "T_RAW").nside == 64
    cut = tmp_path / "cut.fits"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(OSError, match=r"cut.fits is cut short: \d+ of \d+ bytes"):
        FitsMap(cut, "T_RAW")
    for pixel in (-1, 12 * 64**2):
        with pytest.raises(ValueError, match=r"pix must lie in 0\.\.49151"):
            FitsMap(whole, "T_RAW").pixels(torch.tensor([pixel]))
