"""skytutor.io.write_map: healpy and astropy read back what was written; bad input is refused."""

import gzip
import itertools
import os

import healpy
import numpy as np
import pytest
import torch
from astropy.io import fits

from skytutor.files import CheckpointError
from skytutor.healpix import UNSEEN
from skytutor.io import read_map, write_map


def three(nside, dtype=torch.float32):
    generator = torch.Generator().manual_seed(nside)
    maps = torch.randn(3, 12 * nside**2, generator=generator, dtype=dtype)
    maps[0, 5] = torch.nan
    maps[:, 7] = UNSEEN
    return maps


@pytest.mark.parametrize(
    ("nside", "order", "dtype", "partial"),
    list(
        itertools.product(
            (1, 8, 16), ("ring", "nested"), (torch.float32, torch.float64), (False, True)
        )
    ),
)
def test_healpy_reads_back_equal(tmp_path, nside, order, dtype, partial):
    """Full and partial, with rows of one value and of 1024."""
    maps = three(nside, dtype)
    path = tmp_path / "a.fits"
    write_map(path, maps, nside=nside, order=order, unit="muK", partial=partial)
    theirs = healpy.read_map(path, field=None, nest=None)
    wanted = maps.nan_to_num(nan=UNSEEN).numpy()
    assert theirs.dtype == wanted.dtype and np.array_equal(theirs, wanted)
    other = healpy.read_map(path, field=0, nest=order == "ring")
    turned = healpy.reorder(wanted[0], r2n=order == "ring", n2r=order == "nested")
    assert np.array_equal(other, turned)
    ours = read_map(path, field=None)
    assert np.array_equal(ours.values.numpy(), wanted) and ours.order == order
    assert ours.unit == "muK" and ours.fields[1] == "Q_POLARISATION"


def test_what_the_header_says(tmp_path):
    maps = three(16)
    path = tmp_path / "a.fits"
    write_map(path, maps[0], nside=16, order="nested", unit="K", coordinates="ecliptic")
    with fits.open(path) as file:
        header = file[1].header
        file.verify("exception")
    wanted = {
        "PIXTYPE": "HEALPIX",
        "ORDERING": "NESTED",
        "NSIDE": 16,
        "INDXSCHM": "IMPLICIT",
        "OBJECT": "FULLSKY",
        "COORDSYS": "E",
        "POLCCONV": "COSMO",
        "TUNIT1": "K",
        "TFORM1": "1024E",
        "LASTPIX": 3071,
    }
    assert {key: header[key] for key in wanted} == wanted
    assert read_map(path).coordinates == "ecliptic"


@pytest.mark.parametrize("partial", [False, True])
def test_a_mask_hides_pixels(tmp_path, partial):
    maps = three(4)
    mask = torch.arange(192) % 3 == 0
    path = tmp_path / "a.fits"
    write_map(path, maps[1:], nside=4, order="ring", mask=mask, partial=partial)
    found = read_map(path, field=None)
    seen = mask & (torch.arange(192) != 7)
    assert torch.equal(found.mask, seen.expand(2, -1))
    assert torch.equal(found.values[:, seen], maps[1:, seen])
    with fits.open(path) as file:
        assert len(file[1].data) == (int(seen.sum()) if partial else 192)
    # Of two fields with a mask each, a partial sky has the pixels that either sees.
    both = torch.stack([mask, ~mask])
    write_map(path, maps[1:], nside=4, order="ring", mask=both, partial=partial, overwrite=True)
    found = read_map(path, field=None)
    assert torch.equal(found.mask, both & (torch.arange(192) != 7))


def test_a_name_that_ends_in_gz_is_packed(tmp_path):
    maps = three(8)[1]
    path = tmp_path / "a.fits.gz"
    write_map(path, maps, nside=8, order="ring")
    assert gzip.decompress(path.read_bytes()).startswith(b"SIMPLE  =")
    assert np.array_equal(healpy.read_map(path), maps.nan_to_num(nan=UNSEEN).numpy())


def test_maps_that_ask_for_gradients_and_are_not_contiguous(tmp_path):
    maps = torch.randn(192, 2, requires_grad=True)
    write_map(tmp_path / "a.fits", maps.T, nside=4, order="ring")
    assert torch.equal(read_map(tmp_path / "a.fits", field=None).values, maps.detach().T)


def test_nothing_is_replaced_unasked(tmp_path):
    path = tmp_path / "a.fits"
    write_map(path, torch.ones(12), nside=1, order="ring")
    with pytest.raises(FileExistsError, match=r"a\.fits is there already"):
        write_map(path, torch.zeros(12), nside=1, order="ring")
    assert read_map(path).values.sum() == 12
    write_map(path, torch.zeros(12), nside=1, order="ring", overwrite=True)
    assert read_map(path).values.sum() == 0
    assert os.listdir(tmp_path) == ["a.fits"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.fits"
    write_map(path, torch.ones(12), nside=1, order="ring")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CheckpointError, match="the disk is full; the earlier file is whole"):
        write_map(path, torch.zeros(12), nside=1, order="ring", overwrite=True)
    monkeypatch.undo()
    assert read_map(path).values.sum() == 12 and os.listdir(tmp_path) == ["a.fits"]


ONES = torch.ones(12)
BAD = {
    "no numbers": ({"maps": ["a"] * 12}, TypeError, "maps"),
    "integers": ({"maps": torch.ones(12).int()}, TypeError, "maps must be"),
    "half": ({"maps": ONES.half()}, TypeError, "float32 or float64"),
    "pixels": ({"maps": torch.ones(13)}, ValueError, r"maps must end in \(12,\)"),
    "axes": ({"maps": torch.ones(1, 2, 12)}, ValueError, r"\(P,\) or \(F, P\)"),
    "infinite": ({"maps": ONES / 0}, ValueError, "maps holds 12 infinite pixels"),
    "nside": ({"nside": 3}, ValueError, "nside must be a power of two"),
    "order": ({"order": "face"}, ValueError, "order must be"),
    "mask": ({"mask": ONES / 2}, ValueError, "mask must be hard"),
    "size of mask": ({"mask": torch.ones(3) > 0}, ValueError, r"mask must be \(12,\)"),
    "Greek unit": ({"unit": "\N{MICRO SIGN}K"}, ValueError, "letters of ASCII"),
    "units": ({"unit": ["K", "K"]}, ValueError, "unit must be 1, one for each map"),
    "kind of unit": ({"unit": [3]}, TypeError, "unit must be text"),
    "fields": ({"fields": ["A", "B"]}, ValueError, "fields must be 1"),
    "one text": ({"fields": "A"}, ValueError, "fields must be 1"),
    "PIXEL": ({"fields": ["pixel"]}, ValueError, "none of them PIXEL"),
    "coordinates": ({"coordinates": "G"}, ValueError, "coordinates must be one of"),
    "nothing": ({"maps": ONES * UNSEEN, "partial": True}, ValueError, "a pixel with a value"),
    "path": ({"path": ""}, ValueError, "path must be the name"),
    "kind of path": ({"path": 7}, TypeError, "path must be the name"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(tmp_path, name):
    arguments, kind, message = BAD[name]
    good = {"path": tmp_path / "a.fits", "maps": ONES, "nside": 1, "order": "ring"}
    with pytest.raises(kind, match=message):
        write_map(**(good | arguments))
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        write_map(tmp_path, ONES, nside=1, order="ring", overwrite=True)
