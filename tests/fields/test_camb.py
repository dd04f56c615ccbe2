"""skytutor.fields.camb: against CAMB itself; what is kept on disk, damaged or cannot be written."""

import math
import os
import sys
import time

import numpy as np
import pytest
import torch

from skytutor.fields.camb import camb_spectra
from skytutor.fields.spectra import (
    check_spectra,
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    pytest.importorskip("camb")
    folder = tmp_path_factory.mktemp("camb") / "deep"
    return folder, camb_spectra(lmax=47, tau=0.06, r=0.01, cache=folder)


def test_camb_spectra_are_cambs(kept):
    import camb

    found = kept[1]
    setting = camb.set_params(
        H0=67.4,
        ombh2=0.0224,
        omch2=0.120,
        As=2.1e-9,
        ns=0.965,
        tau=0.06,
        r=0.01,
        WantTensors=True,
        lmax=500,
    )
    wanted = camb.get_results(setting).get_cmb_power_spectra(setting, CMB_unit="muK", raw_cl=True)[
        "total"
    ]
    for k, name in enumerate(("TT", "EE", "BB", "TE")):
        assert found[name].dtype == torch.float64 and found[name].shape == (48,)
        np.testing.assert_allclose(found[name].numpy(), wanted[:48, k], rtol=1e-6)
    assert float(found["TT"][2]) == pytest.approx(1080, rel=0.05), "C_l in muK**2, not D_l"
    assert set(check_spectra(found, lmax=47)) == {"TT", "EE", "BB", "TE"}


@pytest.fixture
def counted(monkeypatch):
    """Stand in for CAMB's run, and count."""
    pytest.importorskip("camb")
    runs = []

    def run(parameters, lensed):
        runs.append({**parameters, "lensed": lensed})
        return np.random.default_rng(0).random((parameters["lmax"] + 1, 4))

    monkeypatch.setattr("skytutor.fields.camb._run_camb", run)
    return runs


def test_kept_spectra_are_read_again(kept, counted):
    start = time.perf_counter()
    again = camb_spectra(lmax=47, tau=0.06, r=0.01, cache=kept[0])
    assert time.perf_counter() - start < 0.5 and not counted
    assert all(torch.equal(again[name], kept[1][name]) for name in kept[1])
    assert (
        camb_spectra(lmax=100, tau=0.06, r=0.01, cache=kept[0])["TT"].shape == (101,)
        and not counted
    )
    assert [f.suffix for f in kept[0].iterdir()] == [".npz"], "nothing but the file"


def test_other_parameters_are_another_file(counted, tmp_path):
    for change in ({}, {"tau": 0.07}, {"lensed": False}, {"lmax": 501}, {"r": 0.1}, {"H0": 70}):
        camb_spectra(**{"lmax": 8, "tau": 0.06, "cache": tmp_path, **change})
    assert len(counted) == len(list(tmp_path.iterdir())) == 6
    assert [run["lmax"] for run in counted] == [500, 500, 500, 501, 500, 500]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", "half", "flip"])
def test_a_damaged_file_is_made_anew(counted, tmp_path, damage):
    first = camb_spectra(lmax=8, tau=0.06, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    file.write_bytes({"half": whole[: len(whole) // 2], "flip": flipped}.get(damage, damage))
    again = camb_spectra(lmax=8, tau=0.06, cache=tmp_path)
    assert len(counted) == 2 and torch.equal(again["TT"], first["TT"])
    assert camb_spectra(lmax=8, tau=0.06, cache=tmp_path) and len(counted) == 2, "repaired"


def test_a_folder_that_cannot_be_written(counted, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    assert camb_spectra(lmax=8, tau=0.06, cache=tmp_path / "file" / "deep")["TT"].shape == (9,)
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    assert camb_spectra(lmax=8, tau=0.06, cache=closed)["TT"].shape == (9,)
    monkeypatch.setenv("SKYTUTOR_CACHE", str(tmp_path / "own"))
    camb_spectra(lmax=8, tau=0.06)
    assert len(list((tmp_path / "own").iterdir())) == 1


def test_a_write_that_fails_leaves_nothing(counted, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert camb_spectra(lmax=8, tau=0.06, cache=tmp_path)["TT"].shape == (9,)
    assert not list(tmp_path.iterdir())


def test_without_camb(monkeypatch):
    monkeypatch.setitem(sys.modules, "camb", None)
    with pytest.raises(ImportError, match="pip install camb"):
        camb_spectra(lmax=8, tau=0.06)


@pytest.mark.parametrize("name", ["tau", "r", "H0", "ombh2", "omch2", "As", "ns"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_bad_parameters(name, value):
    with pytest.raises(ValueError, match=f"{name} must be.*{value}"):
        camb_spectra(**{"lmax": 8, "tau": 0.06, name: value})


def test_a_negative_lmax():
    with pytest.raises(ValueError, match=r"lmax.*-1"):
        camb_spectra(lmax=-1, tau=0.06)
