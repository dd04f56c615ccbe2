"""skytutor.data.galaxy_sets: made once, made again when damaged, the same whatever happened."""

import json
import os
import time

import pytest
import torch
from complaints import complaint

from skytutor import files
from skytutor.data import galaxy_sets
from skytutor.data.galaxies import SKY_NOISE
from skytutor.data.galaxy_sets import GalaxySet, galaxy_set

N = 23
COLUMNS = ["image", "flux", "inverse_variance", "log_widths", "redshift", "r_magnitude"]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Put 10 galaxies into a file and render 4 at a time: three files, several batches."""
    monkeypatch.setattr(galaxy_sets, "_CHUNK", 10)
    monkeypatch.setattr(galaxy_sets, "_PIXELS", 4 * 16**2)


def make(folder, n=N, **arguments):
    return galaxy_set(n, **{"size": 16, **arguments}, folder=folder)


def no_simulator(*args, **kwargs):
    raise AssertionError("nothing is to be made")


def test_a_set_holds_what_the_simulator_makes(tmp_path):
    found = make(tmp_path)
    assert found.n == N
    assert list(found) == COLUMNS
    assert len(found) == len(COLUMNS)
    assert found["image"].shape == (N, 5, 16, 16)
    assert found["flux"].shape == (N, 1000)
    assert found["redshift"].unique().numel() == N, "no file repeats another's galaxies"
    seen = found["inverse_variance"] > 0
    assert (found["flux"][~seen] == 0).all()
    observed = 10**galaxy_sets.LOG_WAVELENGTH * (1 + found["redshift"][:, None].double())
    inside = (observed > 3801) & (observed < 9199)
    assert seen[inside].all()
    # Images and magnitudes are of the same galaxies.
    light = 22.5 - 2.5 * found["image"][:, 1].sum((1, 2)).clamp(min=1).log10()
    assert torch.corrcoef(torch.stack([light, found["r_magnitude"]]))[0, 1] > 0.8


def test_halved_precision_is_below_the_noise(tmp_path):
    found = make(tmp_path)
    parameters = found.parameters
    # The same galaxies, as the simulator gives them.
    simulator = galaxy_sets.GalaxySimulator(size=16)
    wide = []

    def keep(images):
        wide.append(images)
        return images

    original = simulator.images
    simulator.images = lambda *args, **kwargs: keep(original(*args, **kwargs))
    galaxy_sets._chunk(simulator, parameters, number=0, size=10)
    exact = torch.cat(wide)
    lost = (found.rows(slice(0, 10))["image"] - exact).abs()
    assert (lost <= 5e-4 * exact.abs() + 1e-6).all()
    # A pixel of less than 10 nanomaggies loses less than a third of the sky's noise.
    faint = exact[:, 0].abs() < 8
    assert lost[:, 0][faint].max() < SKY_NOISE[0] / 3


def test_an_old_set_is_opened_and_not_made(tmp_path, monkeypatch):
    first = make(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    monkeypatch.setattr(galaxy_sets, "GalaxySimulator", no_simulator)
    again = make(tmp_path)
    assert torch.equal(first["image"], again["image"])
    assert before == {path: path.stat().st_mtime_ns for path in again.folder.iterdir()}


@pytest.mark.parametrize(
    "changed",
    [{"n": 22}, {"size": 8}, {"gradient": 0.5}, {"null": True}, {"seed": 1}],
)
def test_other_parameters_make_another_set(tmp_path, changed):
    first = make(tmp_path, n=4)
    other = make(tmp_path, **{"n": 4, **changed})
    assert first.folder != other.folder
    assert first.folder.parent == other.folder.parent == tmp_path
    if "seed" in changed:
        assert not torch.equal(first["redshift"], other["redshift"])


def test_another_version_of_the_simulator_makes_another_set(tmp_path, monkeypatch):
    first = make(tmp_path, n=2)
    record = json.loads((first.folder / "parameters.json").read_text())
    expected = {"n": 2, "size": 16, "gradient": 1.0, "null": False, "seed": 0, "version": 1}
    assert record == expected
    monkeypatch.setattr(galaxy_sets, "_VERSION", 2)
    assert make(tmp_path, n=2).folder != first.folder


def test_equal_parameters_of_other_types_are_one_set(tmp_path):
    assert make(tmp_path, n=2).folder == make(tmp_path, n=2, gradient=1).folder


def test_a_killed_process_is_taken_up_where_it_stopped(tmp_path, monkeypatch):
    whole = make(tmp_path / "whole")
    written = []

    def killed(path, data):
        if len(written) == 3:  # the parameters and two files
            raise KeyboardInterrupt
        written.append(path.name)
        files.write_atomic(path, data)

    monkeypatch.setattr(galaxy_sets, "write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "torn")
    folder = tmp_path / "torn" / whole.folder.name
    assert sorted(path.name for path in folder.glob("*.npy")) == ["0000000.npy", "0000010.npy"]
    with pytest.raises(FileNotFoundError, match=r"0000020\.npy is missing"):
        GalaxySet(folder, whole.parameters)
    kept = (folder / "0000000.npy").stat().st_mtime_ns
    monkeypatch.setattr(galaxy_sets, "write_atomic", files.write_atomic)
    again = make(tmp_path / "torn")
    assert (folder / "0000000.npy").stat().st_mtime_ns == kept
    for name in COLUMNS:
        assert torch.equal(again[name], whole[name])


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "rows"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    whole = make(tmp_path)
    before = whole.rows(torch.arange(N))
    path = whole.folder / "0000010.npy"
    data = path.read_bytes()
    del whole
    other = path.with_name("0000020.npy").read_bytes()  # of three galaxies instead of ten
    damaged = {"truncated": data[:-1], "empty": b"", "text": b"<html>", "rows": other}
    path.unlink()
    if damage in damaged:
        path.write_bytes(damaged[damage])
    after = make(tmp_path).rows(torch.arange(N))
    for name in COLUMNS:
        assert torch.equal(before[name], after[name])
    assert path.read_bytes() == data


def test_rows_are_read_across_files(tmp_path):
    found = make(tmp_path)
    columns = dict(found)
    for which in (
        slice(None),
        slice(5, 25, 3),
        torch.tensor([22, 0, 10, 10, 9]),
        torch.tensor([-1, -N]),
        torch.arange(N) % 7 == 2,
    ):
        rows = found.rows(which)
        for name, column in columns.items():
            assert torch.equal(rows[name], column[torch.arange(N)[which]]), name
            assert rows[name].dtype == torch.float32
    one = found.rows(12)
    assert one["image"].shape == (5, 16, 16)
    assert float(one["redshift"]) == float(columns["redshift"][12])


def test_a_file_is_mapped_and_not_read(tmp_path):
    found = make(tmp_path)
    assert all(type(chunk).__name__ == "memmap" for chunk in found._chunks)
    assert not any(chunk.flags.writeable for chunk in found._chunks)


def test_old_parts_of_killed_writers_are_removed_and_new_ones_left(tmp_path):
    folder = make(tmp_path).folder
    (folder / "0000020.npy").unlink()
    old, new = folder / ".0000020.npy.1.part", folder / ".0000020.npy.2.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    make(tmp_path)
    assert not old.exists()
    assert new.exists()


def test_batches_do_not_depend_on_what_is_missing(tmp_path):
    """Each file has random numbers of its own."""
    found = make(tmp_path)
    first = (found.folder / "0000020.npy").read_bytes()
    for path in found.folder.glob("*.npy"):
        path.unlink()
    assert (make(tmp_path).folder / "0000020.npy").read_bytes() == first


def test_sets_lie_in_the_users_cache_by_default(tmp_path, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    assert make(None, n=2).folder.parent == tmp_path / "skytutor" / "galaxies"


@pytest.mark.parametrize(
    ("error", "arguments", "words"),
    [
        (ValueError, {"n": 0}, ("n must", 0)),
        (TypeError, {"n": 2.5}, ("n must", 2.5)),
        (ValueError, {"size": -4}, ("size", -4)),
        (TypeError, {"size": "64"}, ("size", "64")),
        (ValueError, {"gradient": 1.1}, ("gradient", "0..1", 1.1)),
        (TypeError, {"gradient": None}, ("gradient", "None")),
        (TypeError, {"null": "yes"}, ("null", "yes")),
        (ValueError, {"seed": -1}, ("seed", -1)),
        (TypeError, {"seed": 0.5}, ("seed", 0.5)),
    ],
)
def test_unfit_arguments_are_refused(tmp_path, error, arguments, words):
    complaint(error, galaxy_set, *words, **{"n": 3, "folder": tmp_path, **arguments})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(galaxy_sets, "GalaxySimulator", no_simulator)
    place = tmp_path / "file"
    place.write_text("")
    complaint(files.CheckpointError, galaxy_set, "cannot write", place, n=3, folder=place)


def test_what_is_not_there_is_refused(tmp_path):
    found = make(tmp_path)
    complaint(KeyError, found.__getitem__, "column", "redshift", "magnitude", column="magnitude")
    with pytest.raises(IndexError, match="23"):
        found.rows(N)
