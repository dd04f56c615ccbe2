"""Files as many programs write them: read equal to healpy where it reads them, else refused."""

import bz2
import gzip
import itertools

import healpy
import numpy as np
import pytest
import torch
from astropy.io import fits

from skytutor.healpix import UNSEEN
from skytutor.io import read_map
from skytutor.io._together import check_alike, check_stokes
from skytutor.io.units import microkelvin_of

NSIDE = 16
NPIX = 12 * NSIDE**2
VALUES = np.random.default_rng(5).normal(size=NPIX).astype(np.float32)
PIXELS = np.random.default_rng(6).permutation(NPIX)[:400]


def write_columns(path, columns, *, without=(), **cards):
    """Write a table with these columns and the header of a HEALPix map."""
    table = fits.BinTableHDU.from_columns(columns)
    for key, value in {"PIXTYPE": "HEALPIX", "ORDERING": "RING", "NSIDE": NSIDE, **cards}.items():
        table.header[key] = value
    for key in without:
        del table.header[key]
    table.writeto(path)
    return path


def signal(array=VALUES, form="E", **more):
    return fits.Column(name="SIGNAL", format=form, array=array, **more)


def equal_to_healpy(path, **theirs):
    """In the order of the file and in both others."""
    for order, nest in ((None, None), ("ring", False), ("nested", True)):
        found = read_map(path, field=None, order=order).values.numpy()
        wanted = np.atleast_2d(healpy.read_map(path, field=None, nest=nest, dtype=None, **theirs))
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize(
    "cards",
    [
        {"NSIDE": 16.0},
        {"NSIDE": "16"},
        {"FIRSTPIX": 0, "LASTPIX": NPIX - 1, "INDXSCHM": "IMPLICIT"},
        {"FIRSTPIX": 1, "LASTPIX": NPIX, "OBJECT": "FULLSKY"},
        {"ORDERING": "NESTED", "OBJECT": "M 31", "COORDSYS": "unknown"},
        {"BAD_DATA": fits.card.Undefined(), "POLCCONV": "COSMO", "POLAR": True},
    ],
)
@pytest.mark.parametrize("form", ["E", "1024E", "3072E", "D"])
def test_headers_that_say_the_same_in_other_words(tmp_path, cards, form):
    """One value a row, rows of 1024, and the whole map in a row."""
    per_row = int(form[:-1] or 1)
    rows = VALUES if per_row == 1 else VALUES.reshape(-1, per_row)
    equal_to_healpy(write_columns(tmp_path / "a.fits", [signal(rows, form)], **cards))


@pytest.mark.parametrize("nside", [16.5, True, "16.5", "", "sixteen", fits.card.Undefined()])
def test_an_nside_that_is_no_number(tmp_path, nside):
    path = write_columns(tmp_path / "a.fits", [signal()], NSIDE=nside)
    with pytest.raises(ValueError, match=r"a\.fits: NSIDE must be an integer, got "):
        read_map(path)


def test_rows_that_are_squares(tmp_path):
    rows = VALUES.reshape(3, 32, 32)
    path = write_columns(tmp_path / "a.fits", [signal(rows, "1024E", dim="(32,32)")])
    assert np.array_equal(read_map(path).values, VALUES)


@pytest.mark.parametrize(
    ("form", "per_row", "ordering"),
    list(itertools.product("JK", (1, 4), ("RING", "NESTED"))),
)
def test_pixels_in_any_order(tmp_path, form, per_row, ordering):
    """A partial sky with two fields, its pixel numbers unsorted, alone or several a row."""
    count = "" if per_row == 1 else str(per_row)
    parts = {"PIXEL": (PIXELS, form), "A": (VALUES[:400], "E"), "B": (VALUES[400:800], "E")}
    columns = [
        fits.Column(
            name=name,
            format=count + letter,
            array=array if per_row == 1 else array.reshape(-1, per_row),
        )
        for name, (array, letter) in parts.items()
    ]
    cards = {"ORDERING": ordering, "INDXSCHM": "EXPLICIT", "OBS_NPIX": 400}
    path = write_columns(tmp_path / "a.fits", columns, **cards)
    equal_to_healpy(path)
    found = read_map(path, field="B")
    wanted = np.full(NPIX, UNSEEN, np.float32)
    wanted[PIXELS] = VALUES[400:800]
    assert np.array_equal(found.values, wanted) and int(found.mask.sum()) == 400


def test_a_partial_sky_that_no_memory_holds(tmp_path):
    columns = [fits.Column(name="PIXEL", format="K", array=PIXELS), signal(VALUES[:400])]
    path = write_columns(tmp_path / "a.fits", columns, NSIDE=2**20, INDXSCHM="EXPLICIT")
    with pytest.raises(MemoryError, match=r"a\.fits is of NSIDE 1048576: .* 61440 GiB"):
        read_map(path)


def test_columns_without_names_and_with_the_same(tmp_path):
    columns = [signal(), signal(2 * VALUES)]
    path = write_columns(tmp_path / "a.fits", columns[:1], without=["TTYPE1"])
    assert np.array_equal(read_map(path).values, VALUES)
    table = fits.BinTableHDU.from_columns(
        [signal(), fits.Column(name="B", format="E", array=2 * VALUES)]
    )
    table.header.update(PIXTYPE="HEALPIX", ORDERING="RING", NSIDE=NSIDE, TTYPE2="SIGNAL")
    table.writeto(tmp_path / "b.fits")
    assert np.array_equal(read_map(tmp_path / "b.fits", field=1).values, 2 * VALUES)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("G", "galactic"),
        ("Galactic", "galactic"),
        ("C", "celestial"),
        ("ICRS", "celestial"),
        ("E", "ecliptic"),
        ("H", "h"),
        ("unknown", ""),
        (" ", ""),
    ],
)
def test_coordinates_in_many_words(tmp_path, word, wanted):
    path = write_columns(tmp_path / "a.fits", [signal()], COORDSYS=word)
    assert read_map(path).coordinates == wanted


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("1e-6 K", 1),
        ("1.0E-06 K_CMB", 1),
        ("10**-6 K", 1),
        ("10**(-3)K", 1e3),
        ("10^-3 K", 1e3),
        ("10-3 mK", 1),
        ("1e3 uK", 1e3),
        ("Kcmb", 1e6),
        ("mKCMB", 1e3),
        ("uK CMB", 1),
        ("K (CMB)", 1e6),
        ("kelvins", 1e6),
        ("10 K", None),
        ("106 K", None),
        ("1e-6", None),
        ("ks", None),
        ("K^2", None),
        ("K/sr", None),
        ("Jy", None),
    ],
)
def test_units_in_many_words(tmp_path, unit, wanted):
    found = microkelvin_of(unit)
    assert found == wanted if wanted is None else found == pytest.approx(wanted, rel=1e-15)
    path = write_columns(tmp_path / "a.fits", [signal(VALUES.astype(float), "D")], TUNIT1=unit)
    if wanted is None:
        with pytest.raises(ValueError, match="only K, mK and muK"):
            read_map(path, unit="muK")
    else:
        sky = read_map(path, unit="muK").values.numpy()
        assert np.allclose(sky, wanted * VALUES.astype(float), rtol=1e-14, atol=0)


def test_an_unknown_unit_is_none(tmp_path):
    """HEALPix' own Fortran programs write "unknown" where they know none."""
    path = write_columns(tmp_path / "a.fits", [signal()], TUNIT1="unknown")
    assert read_map(path).units == ("",)
    with pytest.raises(ValueError, match="in no unit"):
        read_map(path, unit="K")


@pytest.mark.parametrize(("pack", "ending"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
def test_a_packed_file_whole_and_cut(tmp_path, pack, ending):
    """What is left of a file that was cut may be a FITS file of fewer parts."""
    whole = write_columns(tmp_path / "a.fits", [signal()]).read_bytes()
    path = tmp_path / f"b.fits{ending}"
    path.write_bytes(pack(whole))
    assert np.array_equal(read_map(path).values, VALUES)
    for piece in (pack(whole)[:-100], pack(whole[: len(whole) // 2])):
        path.write_bytes(piece)
        with pytest.raises(OSError, match=rf"b\.fits\{ending} is cut short"):
            read_map(path)


@pytest.mark.parametrize("parts", [[], [fits.ImageHDU(VALUES)]])
def test_a_file_without_a_table(tmp_path, parts):
    fits.HDUList([fits.PrimaryHDU(VALUES), *parts]).writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"a\.fits holds no table"):
        read_map(tmp_path / "a.fits")


def test_a_table_of_no_rows(tmp_path):
    path = write_columns(tmp_path / "a.fits", [signal(np.zeros(0))])
    with pytest.raises(ValueError, match=r"must have 3072 pixels for NSIDE 16, got 0$"):
        read_map(path)


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ("T Q U", True),
        ("I_STOKES Q_STOKES U_STOKES", True),
        ("TEMPERATURE Q-POLARISATION U-POLARISATION", True),
        ("unknown1 unknown2 unknown3", True),
        ("TOTAL QUIET UPPER", True),
        ("Q U T", False),
        ("i_stokes u_stokes q_stokes", False),
        ("T Q Q", False),
        ("unknown1 unknown2 unknown2", False),
    ],
)
def test_three_fields_that_are_stokes_parameters(fields, right):
    if right:
        check_stokes(fields.split())
    else:
        with pytest.raises(ValueError, match=r"--field must be T, Q and U in this order, got "):
            check_stokes(fields.split())


def test_what_maps_must_have_in_common():
    check_alike("unit", ["K", "K"])
    check_alike("unit", [])
    with pytest.raises(ValueError, match="maps must have one unit, got K and none"):
        check_alike("unit", ["K", "", "K"])


def test_a_table_of_a_whole_order_is_made_in_parts():
    """Beyond 65,536 pixels a table is joined from several: it is healpy's all the same."""
    from skytutor.healpix import face_table, order_table

    nside = 128
    pix = np.arange(12 * nside**2)
    x, y, face = healpy.pix2xyf(nside, pix, nest=True)
    cells = (face * nside + y) * nside + x
    nested = np.empty_like(pix)
    nested[cells] = pix
    assert np.array_equal(face_table(nside, order="nested"), nested)
    ring = healpy.nest2ring(nside, nested)
    assert np.array_equal(face_table(nside, order="ring"), ring)
    tables = {
        ("ring", "nested"): healpy.nest2ring(nside, pix),
        ("nested", "ring"): healpy.ring2nest(nside, pix),
        ("face", "nested"): cells,
        ("face", "ring"): cells[healpy.ring2nest(nside, pix)],
    }
    for (source, target), wanted in tables.items():
        found = order_table(nside, source=source, target=target)
        assert found.dtype == torch.int64 and np.array_equal(found, wanted), (source, target)
