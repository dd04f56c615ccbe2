"""Files of a folder of pairs: what is recorded of them, and how the missing ones are fetched."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from skytutor.data._requests import Missing, Polite
from skytutor.data.cutouts import load_cutout
from skytutor.data.download import hash_of
from skytutor.data.registry import DataError
from skytutor.data.sdss_catalogue import Galaxy
from skytutor.data.sdss_spectra import load_spectrum
from skytutor.data.spectral_templates import BANDS
from skytutor.files import parse_json, strict_json, write_atomic

__all__ = ["Fetcher", "Manifest", "file_names"]

_NAME = "manifest.json"


def file_names(galaxy: Galaxy) -> list[str]:
    """Return the names of a galaxy's files below the folder: the spectrum, then a band each.

    Arguments:
        galaxy: of the catalogue.
    """
    images = [f"{galaxy.name}/ps1-{band}.fits" for band in BANDS]
    return [f"{galaxy.name}/spec-{galaxy.name}.fits", *images]


@dataclass
class Manifest:
    """What is recorded of a folder.

    Attributes:
        files: by name, its `url`, `size` and `sha256`.
        left_out: by the name of a galaxy, why it cannot be used.
    """

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a folder; an empty one if there is none.

        Arguments:
            folder: of the pairs.

        Raises:
            DataError: a damaged one.
        """
        path = folder / _NAME
        try:
            found = parse_json(path.read_text())
            return cls(dict(found["files"]), dict(found["left_out"]))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} is damaged: {error}. Remove it and fetch again") from error

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all.

        Arguments:
            folder: of the pairs.
        """
        record = {"files": self.files, "left_out": self.left_out}
        write_atomic(folder / _NAME, strict_json(record, what="the manifest", indent=1).encode())

    def holds(self, folder: Path, name: str) -> bool:
        """Tell whether a file is there and the one that was fetched.

        Arguments:
            folder: of the pairs.
            name: below it.
        """
        record = self.files.get(name)
        path = folder / name
        if record is None or not path.is_file() or path.stat().st_size != record["size"]:
            return False
        return hash_of(path) == record["sha256"]


@dataclass
class Fetcher:
    """Fetch what a folder lacks of a galaxy.

    Attributes:
        folder: of the pairs.
        manifest: of the folder; it is written after each file.
        polite: what sends the requests.
        sdss: address of the spectra.
        ps1: address of the images.
        pixels: a side of the images.
    """

    folder: Path
    manifest: Manifest
    polite: Polite
    sdss: str
    ps1: str
    pixels: int

    def fetch(self, galaxy: Galaxy) -> str | None:
        """Fetch what is missing; return why the galaxy cannot be used, or None.

        Arguments:
            galaxy: of the catalogue.

        Raises:
            DataError: the network or a service failed.
        """
        spectrum, *images = file_names(galaxy)
        position = (galaxy.ra, galaxy.dec)
        try:
            if not self.manifest.holds(self.folder, spectrum):
                self._keep(
                    spectrum,
                    f"{self.sdss}/{quote(galaxy.run2d)}/spectra/lite/{galaxy.plate:04d}/"
                    f"spec-{galaxy.name}.fits",
                    parse=lambda path: load_spectrum(path, redshift=galaxy.redshift),
                )
            missing = [name for name in images if not self.manifest.holds(self.folder, name)]
            if not missing:
                return None
            stacks = self._stacks(galaxy)
            for band, name in zip(BANDS, images, strict=True):
                if name in missing:
                    self._keep(
                        name,
                        self._cutout_url(galaxy, stacks[band]),
                        parse=partial(_check_image, band=band, position=position),
                    )
        except Missing as error:
            return str(error)
        return None

    def _stacks(self, galaxy: Galaxy) -> dict[str, str]:
        """Ask Pan-STARRS for the names of the stacks at a position, by band."""
        query = {"ra": galaxy.ra, "dec": galaxy.dec, "filters": "".join(BANDS), "type": "stack"}
        url = f"{self.ps1}/cgi-bin/ps1filenames.py?{urlencode(query)}"
        for _ in range(2):  # nothing tells that half a listing is not all of it: ask again
            found = _parse_listing(self.polite.get(url, check=_parse_listing))
            lacking = [band for band in BANDS if band not in found]
            if not lacking:
                return found
        raise Missing(f"Pan-STARRS has no image in {', '.join(lacking)} there")

    def _cutout_url(self, galaxy: Galaxy, stack: str) -> str:
        query = {
            "red": stack,
            "format": "fits",
            "ra": galaxy.ra,
            "dec": galaxy.dec,
            "size": self.pixels,
        }
        return f"{self.ps1}/cgi-bin/fitscut.cgi?{urlencode(query)}"

    def _keep(self, name: str, url: str, *, parse: Callable[[Path], object]) -> None:
        """Fetch one file, have its parser read it, write it and record it."""

        def check(data: bytes) -> None:
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / Path(name).name
                path.write_bytes(data)
                parse(path)

        data = self.polite.get(url, check=check)
        write_atomic(self.folder / name, data)
        record = {"url": url, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        self.manifest.files[name] = record
        self.manifest.write(self.folder)


def _check_image(path: Path, *, band: str, position: tuple[float, float]) -> None:
    """Refuse an image of another band or of another place."""
    found = load_cutout(path, position=position).band
    if found != band:
        raise ValueError(f"{path.name}: band {found} came where {band} was asked for")


def _parse_listing(data: bytes) -> dict[str, str]:
    """Return the file of each band from the table that ps1filenames.py answers with.

    Raises:
        OSError: no such table, such as a page of HTML.
    """
    lines = data.decode("utf-8", errors="replace").splitlines()
    columns = lines[0].split() if lines else []
    if "filter" not in columns or "filename" not in columns:
        raise OSError("no table of file names; it begins with " + repr(" ".join(columns)[:60]))
    found: dict[str, str] = {}
    for line in lines[1:]:
        row = dict(zip(columns, line.split(), strict=False))
        if "filename" in row:
            found.setdefault(row["filter"], row["filename"])
    return found
