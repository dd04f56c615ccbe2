"""skytutor.io.read_map against healpy.read_map, on files of healpy and of astropy."""

import gzip
import itertools

import healpy
import numpy as np
import pytest
import torch
from astropy.io import fits

from skytutor.healpix import UNSEEN
from skytutor.io import SkyMap, read_map

NSIDE = 16
NPIX = 12 * NSIDE**2


@pytest.fixture
def values():
    """Return three maps, two pixels of the first of them missing."""
    maps = np.random.default_rng(0).normal(size=(3, NPIX))
    maps[0, [3, 700]] = healpy.UNSEEN
    return maps


def write_table(place, columns, *, primary=(), **cards):
    """Write a table with these columns and cards as the first extension."""
    table = fits.BinTableHDU.from_columns(columns)
    for key, value in {"PIXTYPE": "HEALPIX", "ORDERING": "RING", "NSIDE": NSIDE, **cards}.items():
        if value is not None:
            table.header[key] = value
    fits.HDUList([fits.PrimaryHDU(), *primary, table]).writeto(place)
    return place


def one_column(array, form="E", **more):
    return [fits.Column(name="TEMPERATURE", format=form, array=array, **more)]


@pytest.mark.parametrize(
    ("nside", "dtype", "nest", "partial"),
    list(itertools.product((4, 16, 64), (np.float32, np.float64), (False, True), (False, True))),
)
def test_files_of_healpy_are_read_equal(tmp_path, nside, dtype, nest, partial):
    """Rows of 1024 and of one, both orders, full and partial."""
    sky = np.random.default_rng(nside).normal(size=12 * nside**2).astype(dtype)
    sky[5:20] = healpy.UNSEEN
    path = tmp_path / "a.fits"
    healpy.write_map(path, sky, nest=nest, partial=partial, dtype=dtype, coord="G")
    for order, wanted in ((None, None), ("ring", False), ("nested", True)):
        found = read_map(path, order=order)
        theirs = healpy.read_map(path, nest=wanted)
        assert isinstance(found, SkyMap) and found.nside == nside
        assert found.values.numpy().dtype == dtype
        assert np.array_equal(found.values.numpy(), theirs)
        assert np.array_equal(found.mask.numpy(), theirs != healpy.UNSEEN)
        assert found.order == (order or ("nested" if nest else "ring"))
        assert found.coordinates == "galactic"


@pytest.mark.parametrize("partial", [False, True])
def test_three_fields_are_read_equal(tmp_path, values, partial):
    path = tmp_path / "iqu.fits"
    healpy.write_map(path, values, partial=partial, dtype=np.float64, column_units="uK")
    theirs = healpy.read_map(path, field=None)
    ours = read_map(path, field=None)
    assert np.array_equal(ours.values.numpy(), theirs)
    assert ours.units == ("uK",) * 3 and ours.unit == "uK"
    assert np.array_equal(ours.mask[0].numpy(), values[0] != healpy.UNSEEN)
    # In the order that they are asked for, by number and by name.
    pair = read_map(path, field=(2, ours.fields[1].lower()))
    assert pair.fields == (ours.fields[2], ours.fields[1])
    assert torch.equal(pair.values, ours.values[[2, 1]])
    assert read_map(path, field=[1]).values.shape == (1, NPIX)


@pytest.mark.parametrize("per_row", [1, 1024])
def test_integers_with_a_scale_are_read_equal(tmp_path, per_row):
    stored = np.random.default_rng(1).integers(-30000, 30000, NPIX).astype(np.int16)
    scale, zero = 2.0**-7, 11.25
    rows = stored if per_row == 1 else stored.reshape(-1, per_row)
    columns = one_column(rows, form=f"{per_row}I")
    path = write_table(tmp_path / "a.fits", columns, TSCAL1=scale, TZERO1=zero)
    with fits.open(path) as file:
        assert file[1].header["TFORM1"].endswith("I") and file[1].header["TSCAL1"] == scale
    found = read_map(path).values
    assert found.dtype == torch.float64
    assert np.array_equal(found.numpy(), healpy.read_map(path, dtype=None))
    assert np.array_equal(found.numpy(), stored * scale + zero)


def test_a_packed_file_is_read_equal(tmp_path, values):
    path = tmp_path / "a.fits.gz"
    healpy.write_map(path, values, dtype=np.float32)
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    found = read_map(path, field=None, dtype=torch.float64)
    assert found.values.dtype == torch.float64
    theirs = healpy.read_map(path, field=None)
    assert theirs.dtype == np.float32 and np.array_equal(found.values.float().numpy(), theirs)


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("K", 1e6),
        ("K_CMB", 1e6),
        ("Kelvin", 1e6),
        ("mK", 1e3),
        ("MK", 1e3),
        ("mK,thermodynamic", 1e3),
        ("uK", 1.0),
        ("muK", 1.0),
        ("UK_CMB", 1.0),
        ("microK", 1.0),
    ],
)
def test_units_are_converted_and_unseen_has_none(tmp_path, values, text, factor):
    path = tmp_path / "a.fits"
    healpy.write_map(path, values[0], dtype=np.float64, column_units=text)
    kept = read_map(path)
    assert kept.unit == text and kept.values[0] == values[0, 0]
    found = read_map(path, unit="muK")
    seen = values[0] != healpy.UNSEEN
    assert found.unit == "muK" and np.allclose(found.values[seen], factor * values[0, seen])
    assert (found.values[~seen] == UNSEEN).all() and np.array_equal(found.mask, seen)
    back = read_map(path, unit="K").values
    assert np.allclose(back[seen], 1e-6 * factor * values[0, seen], rtol=1e-12)


def test_an_antenna_temperature_stays_one(tmp_path, values):
    healpy.write_map(tmp_path / "a.fits", values[0], column_units="mK_RJ")
    assert read_map(tmp_path / "a.fits", unit="K").unit == "K_RJ"


def test_missing_values_of_every_kind_go_to_the_mask(tmp_path):
    """Each of the markers hides its own pixel, and nothing else."""
    array = np.arange(NPIX, dtype=np.float32)
    array[:4] = [np.nan, UNSEEN, np.inf, -9999.0]
    path = write_table(tmp_path / "a.fits", one_column(array), BAD_DATA=-9999.0)
    found = read_map(path)
    assert found.mask.tolist() == [False] * 4 + [True] * (NPIX - 4)
    assert (found.values[:4] == np.float32(UNSEEN)).all() and found.values[5] == 5
    # Without the card, -9999 is a value.
    path = write_table(tmp_path / "b.fits", one_column(array))
    assert read_map(path).values[3] == -9999 and not read_map(path).mask[:3].any()


def test_tnull_counts_before_the_scaling(tmp_path):
    stored = np.arange(NPIX, dtype=np.int16)
    path = write_table(tmp_path / "a.fits", one_column(stored, form="I", null=7), TSCAL1=7.0)
    found = read_map(path)
    assert found.mask.logical_not().nonzero().flatten().tolist() == [7]
    assert found.values[1] == 7 and found.values[8] == 56 and found.values[7] == UNSEEN


def test_columns_of_truth_values_and_bytes(tmp_path):
    true = np.arange(NPIX) % 3 == 0
    path = write_table(tmp_path / "a.fits", one_column(true, form="L"))
    assert np.array_equal(read_map(path).values, true) and read_map(path).mask.all()
    path = write_table(tmp_path / "b.fits", one_column((np.arange(NPIX) % 256), form="B"))
    assert np.array_equal(read_map(path).values, np.arange(NPIX) % 256)


@pytest.mark.parametrize("kind", ["B", "I", "J", "K", "unsigned"])
def test_pixel_numbers_of_any_integer_type(tmp_path, kind):
    pixels = np.array([200, 3, 17, 42])
    more = {"bzero": 2**31} if kind == "unsigned" else {}
    columns = [
        fits.Column(name="PIXEL", format="J" if more else kind, array=pixels, **more),
        fits.Column(name="SIGNAL", format="E", array=np.array([1.0, 2.0, np.nan, 4.0])),
    ]
    path = write_table(
        tmp_path / "a.fits", columns, INDXSCHM="EXPLICIT", OBJECT="PARTIAL", ORDERING="NESTED"
    )
    found = read_map(path)
    assert found.fields == ("SIGNAL",) and found.order == "nested"
    wanted = np.full(NPIX, UNSEEN, dtype=np.float32)
    wanted[[200, 3, 42]] = [1, 2, 4]
    assert np.array_equal(found.values.numpy(), wanted)
    assert found.mask.nonzero().flatten().tolist() == [3, 42, 200]


def test_u_of_the_iau_changes_its_sign_and_nothing_else(tmp_path, values):
    names = ("I_STOKES", "Q_STOKES", "U_STOKES")
    columns = [
        fits.Column(name=name, format="D", array=one)
        for name, one in zip(names, values, strict=True)
    ]
    for word, sign in (("IAU", -1), ("COSMO", 1), (None, 1)):
        path = write_table(tmp_path / f"{word}.fits", columns, POLCCONV=word)
        found = read_map(path, field=None).values.numpy()
        assert np.array_equal(found[:2], values[:2])
        assert np.array_equal(found[2], sign * values[2]), word


def test_another_part_of_the_file_by_number_and_by_name(tmp_path):
    first = fits.BinTableHDU.from_columns(one_column(np.zeros(NPIX)), name="OTHER")
    path = write_table(
        tmp_path / "a.fits", one_column(np.arange(NPIX)), primary=[first], EXTNAME="SKY"
    )
    assert read_map(path, hdu=2).values[9] == 9
    assert torch.equal(read_map(path, hdu="sky").values, read_map(path, hdu=2).values)


def test_different_units_are_kept_apart(tmp_path):
    columns = [
        fits.Column(name="T", format="E", array=np.ones(NPIX), unit="K"),
        fits.Column(name="HITS", format="J", array=np.arange(NPIX), unit="counts"),
    ]
    sky = read_map(write_table(tmp_path / "a.fits", columns), field=None)
    assert sky.units == ("K", "counts")
    with pytest.raises(ValueError, match="T in K, HITS in counts"):
        _ = sky.unit


PARTIAL = {"INDXSCHM": "EXPLICIT", "OBJECT": "PARTIAL"}
FULL = np.zeros(NPIX)


def partial_columns(pixels, form="J"):
    return [
        fits.Column(name="PIXEL", format=form, array=np.asarray(pixels)),
        fits.Column(name="SIGNAL", format="E", array=np.ones(len(pixels))),
    ]


BAD_FILES = {
    "two NSIDE of header and size": ({"NSIDE": 8}, one_column(FULL), "NSIDE 8, got 3072 .*16"),
    "no map's size": ({"NSIDE": None}, one_column(np.zeros(100)), "npix must be 12"),
    "NSIDE no power of two": ({"NSIDE": 15}, one_column(FULL), "power of two"),
    "NSIDE no number": ({"NSIDE": "many"}, one_column(FULL), "NSIDE must be an integer"),
    "no header of HEALPix": ({"PIXTYPE": None, "ORDERING": None}, one_column(FULL), "PIXTYPE"),
    "another pixelisation": ({"PIXTYPE": "HPX2D"}, one_column(FULL), "no HEALPix header"),
    "no order": ({"ORDERING": None}, one_column(FULL), "RING or NESTED, got ''"),
    "another order": ({"ORDERING": "NUNIQ"}, one_column(FULL), "got 'NUNIQ'"),
    "another scheme": ({"INDXSCHM": "SPARSE"}, one_column(FULL), "IMPLICIT or EXPLICIT"),
    "contradiction": ({"INDXSCHM": "IMPLICIT", "OBJECT": "PARTIAL"}, one_column(FULL), "contra"),
    "no NSIDE": (PARTIAL | {"NSIDE": None}, partial_columns([1, 2]), "without NSIDE"),
    "pixel too large": (PARTIAL, partial_columns([1, NPIX]), r"0\.\.3071 .*first 3072"),
    "pixel below 0": (PARTIAL, partial_columns([1, -5]), r"1 outside, the first -5"),
    "pixel twice": (PARTIAL, partial_columns([4, 9, 4]), "pixel 4 more than once"),
    "pixels no integers": (PARTIAL, partial_columns([4.0, 9.0], form="E"), "hold integers"),
    "pixels alone": (PARTIAL, partial_columns([4, 9])[:1], "no column but PIXEL"),
    "text": ({}, one_column(np.array(["a"] * NPIX), form="1A"), "format 1A"),
    "complex": ({}, one_column(np.zeros(NPIX, complex), form="M"), "one real number"),
    "POLCCONV": ({"POLCCONV": "UPSIDE"}, one_column(FULL), "COSMO or IAU"),
    "BAD_DATA": ({"BAD_DATA": "none"}, one_column(FULL), "BAD_DATA must be a number"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_are_no_map_are_named(tmp_path, name):
    cards, columns, message = BAD_FILES[name]
    path = write_table(tmp_path / "bad.fits", columns, **cards)
    with pytest.raises(ValueError, match=message) as caught:
        read_map(path)
    assert "bad.fits" in str(caught.value)


def test_two_cards_of_nside(tmp_path):
    table = fits.BinTableHDU.from_columns(one_column(FULL))
    for nside in (NSIDE, 8):
        table.header.append(("NSIDE", nside))
    table.header["ORDERING"] = "RING"
    table.writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"a\.fits has two NSIDE, 8 and 16"):
        read_map(tmp_path / "a.fits")


BAD_ARGUMENTS = {
    "field": ({"field": 1}, ValueError, r"field must be one of 0\.\.0 or TEMPERATURE in"),
    "negative field": ({"field": -1}, ValueError, "got -1"),
    "name": ({"field": "U_STOKES"}, ValueError, "got 'U_STOKES'"),
    "none": ({"field": []}, ValueError, "field is empty"),
    "half a field": ({"field": 0.5}, TypeError, "field must be a number"),
    "true": ({"field": True}, TypeError, "field must be a number"),
    "unit": ({"unit": "Jy"}, ValueError, "unit must be one of 'K', 'mK', 'muK', got 'Jy'"),
    "no unit": ({"unit": "K"}, ValueError, "TEMPERATURE, which the file has in no unit"),
    "order": ({"order": "face"}, ValueError, "order must be one of"),
    "hdu": ({"hdu": 2}, ValueError, r"hdu must be one of 0 PRIMARY, 1.*got 2"),
    "name of hdu": ({"hdu": "SKY"}, ValueError, "got 'SKY'"),
    "no table": ({"hdu": 0}, ValueError, "holds no table"),
    "dtype": ({"dtype": torch.float16}, ValueError, "dtype must be None"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_are_named(tmp_path, name):
    arguments, kind, message = BAD_ARGUMENTS[name]
    path = write_table(tmp_path / "a.fits", one_column(FULL))
    with pytest.raises(kind, match=message):
        read_map(path, **arguments)


def test_a_unit_that_is_no_temperature_is_named(tmp_path):
    path = write_table(tmp_path / "a.fits", one_column(FULL, unit="MJy/sr"))
    with pytest.raises(ValueError, match="in 'MJy/sr': only K, mK and muK"):
        read_map(path, unit="K")


def test_values_that_do_not_fit_are_refused(tmp_path):
    path = write_table(tmp_path / "a.fits", one_column(np.full(NPIX, 1e200), form="D"))
    with pytest.raises(ValueError, match="3072 values are too large for float32"):
        read_map(path, dtype=torch.float32)


def test_files_that_are_cut_short_or_no_fits(tmp_path):
    path = write_table(tmp_path / "a.fits", one_column(FULL))
    data = path.read_bytes()
    for name, piece in {
        "half.fits": data[: len(data) // 2],
        "header.fits": data[:2880],
        "half.fits.gz": gzip.compress(data)[:-40],
        "inner.fits.gz": gzip.compress(data[: len(data) // 2]),
        "empty.fits": b"",
        "page.fits": b"<!doctype html><html>",
        "text.fits": b"l,TT\n",
    }.items():
        bad = tmp_path / name
        bad.write_bytes(piece)
        with pytest.raises((OSError, ValueError), match=name):
            read_map(bad)
    with pytest.raises(FileNotFoundError):
        read_map(tmp_path / "none.fits")
    for path, kind in ((3, TypeError), ("", ValueError), (None, TypeError)):
        with pytest.raises(kind, match="path must be the name of a file"):
            read_map(path)


def test_without_astropy_the_extra_is_named(monkeypatch, tmp_path):
    path = write_table(tmp_path / "a.fits", one_column(FULL))
    monkeypatch.setitem(__import__("sys").modules, "astropy.io", None)
    with pytest.raises(ImportError, match=r'"skytutor\[maps\] @ git\+https://github.com/skytutor'):
        read_map(path)
