"""`skytutor view` and `skytutor spectrum`: files of healpy in, a page, a table and a plot out."""

import csv
import gzip
import json
import os
import re
import sys

import healpy
import numpy as np
import pytest
import torch
from astropy.io import fits

from skytutor import cli, map_commands
from skytutor.healpix import UNSEEN
from skytutor.io import SkyMap
from skytutor.io._together import averaged

NSIDE = 16
NPIX = 12 * NSIDE**2


def refused(capsys, *argv, words=()):
    """Exit status 2 and one line on standard error, nothing on standard output."""
    assert cli.main([str(word) for word in argv]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("skytutor: error: ") and captured.err.count("\n") == 1, (
        captured.err
    )
    assert captured.out == ""
    for word in words:
        assert word in captured.err, f"{word!r} is not in: {captured.err}"


def run(*argv):
    assert cli.main([str(word) for word in argv]) == 0


@pytest.fixture
def files(tmp_path):
    """Write files of T, Q and U in mK, of a mask, and of a coarser map; return their folder."""
    np.random.seed(0)
    l = np.arange(2 * NSIDE + 1)
    cl = np.where(l > 1, 1 / np.maximum(l * (l + 1.0), 1), 0)
    maps = healpy.synfast([cl, 0.1 * cl, 0.02 * cl, 0.2 * cl], NSIDE, new=True, lmax=2 * NSIDE)
    maps[0, 7] = healpy.UNSEEN
    healpy.write_map(tmp_path / "sky.fits", maps, dtype=np.float64, column_units="mK")
    mask = np.abs(healpy.pix2vec(NSIDE, np.arange(NPIX))[2]) > 0.2
    healpy.write_map(tmp_path / "mask.fits", mask * 0.5, dtype=np.float32)
    healpy.write_map(tmp_path / "coarse.fits", np.arange(192.0), column_units="mK")
    return tmp_path


def spec(path):
    """Return what the script of a page reads."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', text)[1])


def test_view_writes_a_page_with_the_map(files, capsys):
    run("view", files / "sky.fits", "-o", files / "sky.html", "--unit", "muK", "--cmap", "magma")
    assert capsys.readouterr().out == f"{files / 'sky.html'}\n"
    text = (files / "sky.html").read_text(encoding="utf-8")
    assert text.startswith('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">')
    about = spec(files / "sky.html")
    values = 1e3 * np.delete(healpy.read_map(files / "sky.fits"), 7)
    assert about["nside"] == NSIDE and about["unit"] == "\N{MICRO SIGN}K"
    assert np.allclose(
        (about["state"]["low"], about["state"]["high"]), (values.min(), values.max())
    )
    assert about["state"]["cmap"] == "magma" and about["maps"][0]["title"] == "sky.fits"
    assert "0.0326 % of the pixels have no value" in about["summary"]


def test_view_of_several_files_and_fields_with_a_mask_and_a_title(files):
    (files / "b.fits").write_bytes((files / "sky.fits").read_bytes())
    out = files / "two.html"
    words = ("--mask", files / "mask.fits", "--title", "Both skies")
    run("view", files / "sky.fits", files / "b.fits", "-o", out, *words)
    about = spec(out)
    assert about["title"] == "Both skies"
    assert [one.get("role", one.get("title")) for one in about["maps"]] == [
        "sky.fits",
        "b.fits",
        "mask",
    ]
    run("view", files / "sky.fits", "--field", "Q_POLARISATION,2", "-o", out, "--overwrite")
    names = [one["title"] for one in spec(out)["maps"]]
    assert names == ["Q_POLARISATION", "U_POLARISATION"]


def test_files_of_one_name_from_several_folders(files):
    """As two runs of one program write them."""
    data = (files / "sky.fits").read_bytes()
    paths = [files / folder / "sky.fits" for folder in ("first", "second")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(data)
    (files / "other.fits").write_bytes(data)
    run("view", *paths, files / "other.fits", "-o", files / "three.html")
    titles = [one["title"] for one in spec(files / "three.html")["maps"]]
    assert titles == [*map(str, paths), "other.fits"]


def test_a_fine_map_is_averaged_over_the_pixels_seen(files, capsys, monkeypatch):
    monkeypatch.setattr(map_commands, "_LARGEST", 4)
    run("view", files / "sky.fits", "-o", files / "sky.html")
    assert "nside 16, averaged to nside 4 over the pixels seen" in capsys.readouterr().out
    coarse = healpy.ud_grade(healpy.read_map(files / "sky.fits"), 4)
    about = spec(files / "sky.html")
    assert about["nside"] == 4
    assert np.allclose(
        (about["state"]["low"], about["state"]["high"]), (coarse.min(), coarse.max())
    )


def test_averages_are_those_of_healpy():
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(2, 3072, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 3072, generator=generator) > 0.6
    mask[0, :64] = False  # whole larger pixels without a value
    sky = SkyMap(torch.where(mask, values, UNSEEN), mask, 16, "nested", ("A", "B"), ("", ""))
    found, nside = averaged(sky, nside=8)
    theirs = healpy.ud_grade(sky.values.numpy(), 8, order_in="NESTED", order_out="NESTED")
    theirs = np.where(np.equal(theirs, healpy.UNSEEN), np.nan, theirs)
    assert nside == 8 and np.isnan(theirs).any()
    assert np.allclose(found.numpy(), theirs, rtol=0, atol=1e-13, equal_nan=True)
    same, nside = averaged(sky, nside=16)
    assert nside == 16 and torch.equal(same.isnan(), ~mask)


def table(path):
    """Return the comments of a table by key, and its columns."""
    lines = path.read_text().splitlines()
    said = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return said, {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def test_spectra_are_those_of_healpy(files):
    """T, Q and U of a masked sky, against anafast over the mean of the squared mask."""
    out = files / "cl.csv"
    words = ("--mask", files / "mask.fits", "--field", "0,1,2", "--unit", "muK", "-o", out)
    run("spectrum", files / "sky.fits", *words)
    said, cl = table(out)
    maps = 1e3 * healpy.read_map(files / "sky.fits", field=None)
    mask = healpy.read_map(files / "mask.fits")
    mask[7] = 0
    theirs = healpy.anafast(maps * mask, lmax=2 * NSIDE, iter=10, pol=True) / np.mean(mask**2)
    assert list(cl) == ["l", "TT", "EE", "BB", "TE"] and np.array_equal(cl["l"], np.arange(33))
    for name, row in zip(("TT", "EE", "BB", "TE"), theirs, strict=False):
        error = np.abs(cl[name] - row)[2:25]
        assert (error < 2e-3 * np.abs(row)[2:25].max()).all(), name
    assert said["unit"] == "muK^2" and said["lmax"] == "32" and said["mask"] == "mask.fits"
    assert float(said["fsky"].split(",")[0]) == pytest.approx(np.mean(mask > 0), rel=1e-5)
    assert float(said["divisor"].split(",")[0]) == pytest.approx(np.mean(mask**2), rel=1e-5)


def test_a_spectrum_of_one_field_without_a_mask(files):
    run("spectrum", files / "coarse.fits", "-o", files / "cl.csv", "--lmax", "5")
    said, cl = table(files / "cl.csv")
    theirs = healpy.anafast(np.arange(192.0), lmax=5, iter=10)
    assert list(cl) == ["l", "TT"] and np.allclose(cl["TT"], theirs, rtol=0.02)
    assert said["mask"] == "none" and said["fsky"].startswith("1,") and said["unit"] == "mK^2"


def test_the_order_of_the_file_is_heeded(files):
    """The same sky in NESTED order has the same spectrum and the same page."""
    sky = healpy.read_map(files / "sky.fits")
    healpy.write_map(
        files / "nested.fits",
        healpy.reorder(sky, r2n=True),
        nest=True,
        dtype=np.float64,
        column_units="mK",
    )
    found = []
    for name in ("sky", "nested"):
        run("spectrum", files / f"{name}.fits", "-o", files / f"{name}.csv")
        found.append(table(files / f"{name}.csv")[1]["TT"])
    assert np.array_equal(*found) and found[0].max() > 0


def test_a_plot_of_the_spectrum(files):
    out = files / "cl.png"
    run("spectrum", files / "sky.fits", "--field", "0,1,2", "-o", out)
    from matplotlib.image import imread

    picture = imread(out)
    assert picture.shape[0] > picture.shape[1]  # four panels
    assert picture[..., :3].std() > 0.02 and len(np.unique(picture[..., 0])) > 10


def test_nothing_is_replaced_unasked(files, capsys):
    for command, name in (("view", "a.html"), ("spectrum", "a.csv")):
        out = files / name
        out.write_text("mine")
        refused(capsys, command, files / "sky.fits", "-o", out, words=[name, "there already"])
        assert out.read_text() == "mine"
        run(command, files / "sky.fits", "-o", out, "--overwrite")
        assert out.read_text(encoding="utf-8") != "mine"
        capsys.readouterr()


BAD = {
    "no file": (["view", "none.fits"], ["none.fits", "No such file"]),
    "no FITS": (["view", "notes.txt"], ["notes.txt", "does not begin with SIMPLE"]),
    "field": (["view", "sky.fits", "--field", "3"], ["field must be one of 0..2", "got 3"]),
    "name": (["view", "sky.fits", "--field", "HITS"], ["got 'HITS'"]),
    "unit": (["view", "sky.fits", "--unit", "Jy"], ["unit must be one of 'K', 'mK', 'muK'"]),
    "no unit": (["view", "mask.fits", "--unit", "K"], ["in no unit"]),
    "cmap": (["view", "sky.fits", "--cmap", "jetty"], ["cmap must be one of", "jetty"]),
    "two nsides": (["view", "sky.fits", "coarse.fits"], ["one nside", "16 and 4"]),
    "two units": (["view", "sky.fits", "mask.fits"], ["one unit", "mK and none"]),
    "twice": (["view", "sky.fits", "sky.fits"], ["maps must differ", "sky.fits twice"]),
    "mask too coarse": (["view", "sky.fits", "--mask", "coarse.fits"], ["nside 16 or more", "4"]),
    "mask of values": (["view", "sky.fits", "--mask", "sky.fits"], ["--mask must lie in 0..1"]),
    "empty mask": (["view", "sky.fits", "--mask", "zero.fits"], ["--mask hides every pixel"]),
    "ending": (["view", "sky.fits", "-o", "sky.pdf"], ["--output must end in .html or .htm"]),
    "spectrum's ending": (["spectrum", "sky.fits", "-o", "a.html"], ["must end in .csv or .png"]),
    "folder": (["view", "sky.fits", "-o", "folder.html"], ["folder.html is a folder"]),
    "file in the way": (["view", "sky.fits", "-o", "notes.txt/a.html"], ["cannot write"]),
    "lmax": (["spectrum", "sky.fits", "--lmax", "48"], ["--lmax must be at most 47", "got 48"]),
    "two fields": (["spectrum", "sky.fits", "--field", "1,2"], ["got 2 fields"]),
    "nothing seen": (["spectrum", "unseen.fits"], ["unseen.fits", "no pixel with a value"]),
    "nothing to see": (["view", "unseen.fits"], ["unseen.fits", "no pixel with a value"]),
    "one field empty": (["view", "part.fits", "--field", "0,1"], ["part.fits", "value in Q_POL"]),
    "no table": (["view", "picture.fits"], ["picture.fits holds no table"]),
    "cut and packed": (["view", "cut.fits.gz"], ["cut.fits.gz is cut short"]),
    "beyond all memory": (["view", "endless.fits"], ["endless.fits is of NSIDE 1048576", "GiB"]),
    "two coordinates": (
        ["view", "e.fits", "g.fits"],
        ["one coordinate system", "ecliptic and gal"],
    ),
    "mask elsewhere": (["view", "g.fits", "--mask", "e.fits"], ["--mask", "galactic", "e.fits"]),
    "spectrum's mask": (["spectrum", "g.fits", "--mask", "e.fits"], ["--mask", "got ecliptic"]),
    "units of fields": (["view", "hits.fits", "--field", "0,1"], ["one unit", "counts and mK"]),
    "spectrum's units": (["spectrum", "hits.fits", "--field", "0,1,2"], ["one unit, got counts"]),
    "field twice": (["spectrum", "sky.fits", "--field", "0,1,1"], ["--field must be T, Q and U"]),
    "field order": (["spectrum", "sky.fits", "--field", "1,2,0"], ["--field must be T, Q and U"]),
}


def write_odd_files(folder):
    """Write what strangers may have: parts of files, several coordinates, other columns."""
    ones = np.ones(NPIX)
    for letter in "EG":
        healpy.write_map(f"{letter.lower()}.fits", ones, coord=letter, column_units="mK")
    healpy.write_map("part.fits", [ones, healpy.UNSEEN * ones, ones])
    healpy.write_map("hits.fits", [ones] * 3, column_units=["mK", "counts", "mK"])
    fits.PrimaryHDU(ones).writeto("picture.fits")
    whole = (folder / "sky.fits").read_bytes()
    (folder / "cut.fits.gz").write_bytes(gzip.compress(whole)[:-100])
    healpy.write_map("endless.fits", np.where(np.arange(NPIX), healpy.UNSEEN, 1.0), partial=True)
    fits.setval("endless.fits", "NSIDE", value=2**20, ext=1)


def test_names_of_any_bytes(files):
    """Of a folder that an older system wrote: the name is no UTF-8, nor can it be in a page."""
    odd = os.fsdecode(os.fsencode(files) + b"/caf\xe9.fits")
    (files / "sky.fits").rename(odd)
    run("view", odd, "-o", files / "sky.html")
    assert spec(files / "sky.html")["maps"][0]["title"] == "caf\\udce9.fits"
    run("spectrum", odd, "-o", files / "cl.csv")
    assert table(files / "cl.csv")[0]["map"] == "caf\\udce9.fits"
    run("spectrum", odd, "-o", files / "cl.png")
    assert (files / "cl.png").stat().st_size > 1000


def test_bad_input_leaves_no_folder_behind(files, capsys):
    new = files / "new" / "folder"
    refused(capsys, "view", files / "none.fits", "-o", new / "a.html", words=["none.fits"])
    assert not new.parent.exists()
    run("spectrum", files / "sky.fits", "-o", new / "cl.csv")
    assert (new / "cl.csv").is_file()


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_one_line(files, capsys, monkeypatch, name):
    argv, words = BAD[name]
    monkeypatch.chdir(files)
    (files / "notes.txt").write_text("no map")
    (files / "folder.html").mkdir()
    healpy.write_map("zero.fits", np.zeros(NPIX))
    healpy.write_map("unseen.fits", np.full(NPIX, healpy.UNSEEN))
    write_odd_files(files)
    before = sorted(files.iterdir())
    refused(capsys, *argv, words=words)
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(
    "words", [["--field", "0,,1"], ["--lmax", "-3"], ["--lmax", "2.5"], ["--mask", ""], ["-o", " "]]
)
def test_words_that_no_argument_has(files, capsys, words):
    with pytest.raises(SystemExit) as ended:
        cli.main(["spectrum", str(files / "sky.fits"), *words])
    assert ended.value.code == 2 and "needed" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_extra(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "astropy.io", None)
    monkeypatch.chdir(files)
    refused(
        capsys,
        "spectrum",
        "sky.fits",
        words=["astropy", '"skytutor[maps] @ git+https://github.com/skytutor/skytutor"'],
    )
    monkeypatch.setitem(sys.modules, "skytutor.widgets", None)
    refused(
        capsys,
        "view",
        "sky.fits",
        words=['"skytutor[maps] @ git+https://github.com/skytutor/skytutor"'],
    )
