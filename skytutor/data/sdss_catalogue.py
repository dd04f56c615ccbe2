"""Which galaxies SDSS has spectra of: asked for through astroquery, kept as a file.

astroquery is no dependency of the package; it is imported when a catalogue is asked for, and not
before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skytutor.data.registry import DataError
from skytutor.files import parse_json, strict_json, write_atomic
from skytutor.validate import positive

__all__ = ["QUERY", "Galaxy", "read_catalogue", "sdss_catalogue", "write_catalogue"]

# The main galaxy sample: spectra without a warning, redshifts that the grid can carry, positions
# that Pan-STARRS saw. The remainder of the division shuffles them, the same way each time.
QUERY = """
SELECT TOP {n} s.plate, s.mjd, s.fiberID, s.run2d, s.ra, s.dec, s.z
FROM SpecObj AS s JOIN PhotoObj AS p ON s.bestObjID = p.objID
WHERE s.class = 'GALAXY' AND s.zWarning = 0 AND s.sciencePrimary = 1 AND s.survey = 'sdss'
  AND s.z BETWEEN 0.01 AND 0.36 AND p.petroMag_r < 17.77 AND s.dec > -29
ORDER BY s.specObjID % 9973, s.specObjID
"""
RELEASE = 17
_COLUMNS = ("plate", "mjd", "fiberid", "run2d", "ra", "dec", "z")


@dataclass(frozen=True)
class Galaxy:
    """A galaxy of the catalogue.

    Attributes:
        plate: number of the plate; with `mjd` and `fibre` it says which spectrum it is.
        mjd: day of the observation.
        fibre: number of the fibre.
        run2d: version of the reduction, part of the spectrum's address.
        ra: right ascension, degrees.
        dec: declination, degrees.
        redshift: of SDSS's pipeline.
    """

    plate: int
    mjd: int
    fibre: int
    run2d: str
    ra: float
    dec: float
    redshift: float

    @property
    def name(self) -> str:
        """Return plate, day and fibre as SDSS writes them in file names."""
        return f"{self.plate:04d}-{self.mjd}-{self.fibre:04d}"


def sdss_catalogue(n: int, query: str | None = None) -> list[Galaxy]:
    """Ask SDSS for galaxies that have a spectrum.

    Arguments:
        n: how many.
        query: SQL with ``{n}`` in it, which returns the columns plate, mjd, fiberID, run2d, ra, dec
            and z; None for `QUERY`.

    Raises:
        skytutor.data.registry.DataError: astroquery is not installed (it says how to install it),
            the service cannot be reached, or it returns no galaxy.
        ValueError: a query without ``{n}``, or an answer without one of the columns.
    """
    positive(n=n)
    text = QUERY if query is None else query
    if "{n}" not in text:
        raise ValueError("query must hold {n}, the number of galaxies")
    try:
        from astroquery.sdss import SDSS
    except ImportError as error:
        raise DataError(
            "the catalogue of SDSS is asked for through astroquery, which is not installed: "
            "run `pip install astroquery`, or install skytutor with its extra `surveys`"
        ) from error
    try:
        table = SDSS.query_sql(text.replace("{n}", str(n)), data_release=RELEASE)
    except Exception as error:  # of astroquery, of what it sends requests with, of its parser
        raise DataError(f"cannot ask SDSS for galaxies: {error}. Wait a while") from error
    if table is None or len(table) == 0:
        raise DataError("SDSS returned an empty catalogue: change the query")
    return [_galaxy(dict(zip(table.colnames, row, strict=True))) for row in table]


def write_catalogue(path: Path, galaxies: Sequence[Galaxy]) -> None:
    """Write a catalogue as JSON, whole or not at all.

    Arguments:
        path: of the file.
        galaxies: in the order in which they are to be taken.

    Raises:
        skytutor.data.registry.DataError: no galaxy.
        ValueError: a position or a redshift that is not finite.
        skytutor.files.CheckpointError: it cannot be written.
    """
    if not galaxies:
        raise DataError(f"{path}: the catalogue is empty: change the query")
    rows = [asdict(galaxy) for galaxy in galaxies]
    write_atomic(path, strict_json(rows, what="the catalogue", indent=1).encode())


def read_catalogue(path: Path) -> list[Galaxy]:
    """Read what `write_catalogue` wrote.

    Arguments:
        path: of the file.

    Raises:
        skytutor.data.registry.DataError: no such file, a damaged one, or one without a galaxy.
    """
    try:
        rows = parse_json(path.read_text())
        galaxies = [Galaxy(**row) for row in rows]
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there. Fetch pairs into its folder first") from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no catalogue: {error}. Remove it and fetch again") from error
    if not galaxies:
        raise DataError(f"{path} is empty. Remove it and fetch again with another query")
    return galaxies


def _galaxy(row: Mapping[str, Any]) -> Galaxy:
    """Return a row of SDSS's answer; names of columns come in any case."""
    values = {name.lower(): value for name, value in row.items()}
    missing = [name for name in _COLUMNS if name not in values]
    if missing:
        raise ValueError(f"query must return the columns {', '.join(_COLUMNS)}, missing {missing}")
    return Galaxy(
        plate=int(values["plate"]),
        mjd=int(values["mjd"]),
        fibre=int(values["fiberid"]),
        run2d=str(values["run2d"]).strip(),
        ra=float(values["ra"]),
        dec=float(values["dec"]),
        redshift=float(values["z"]),
    )
