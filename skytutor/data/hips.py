"""Images of any position in any band, from the service hips2fits of the CDS in Strasbourg.

A HiPS is a survey resampled to the pixels of HEALPix; hips2fits samples it on a grid. Asked for are
the science bands, at the pixel that the survey itself has.

A folder holds ``manifest.json`` (address, size and SHA-256 of each file, and why a band is missing)
and a folder for each position with one FITS file a band. Each is looked at before it is kept. What
is there and has the recorded hash is not fetched again: a broken run goes on where it stopped.
"""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.data._directions import near, unit_vectors
from skytutor.data._pair_files import Fetcher, Manifest
from skytutor.data._requests import _BUSY, TIMEOUT_S, Missing, Polite, _asked, _body
from skytutor.data.cutouts import _coordinates
from skytutor.data.pairs import _held
from skytutor.data.registry import DataError
from skytutor.data.surveys import band_names
from skytutor.healpix import angle_to_pixel, nside_to_npix
from skytutor.io._fits import opened
from skytutor.validate import as_integer, as_length, as_seed

__all__ = ["HIPS", "SETS", "Hips", "fetch_bands", "hips_of", "split"]

SETS = ("train", "validation", "test")
# What the service says of a position that a survey did not observe.
_OUTSIDE = ("outside", "out of the", "no coverage", "not covered", "no data")
_MAX_PIXELS = 2048  # a side: larger ones are no field of one object


@dataclass(frozen=True)
class Hips:
    """One band of a survey, as a HiPS.

    Attributes:
        name: that hips2fits is asked for.
        others: names that older releases of it have.
        pixel_arcsec: side of the survey's own pixels: a value is the light in such a pixel.
        zero_point: AB magnitude of one unit of the HiPS; NaN where it holds densities of a plate.
    """

    name: str
    others: tuple[str, ...]
    pixel_arcsec: float
    zero_point: float


# SDSS's are nanomaggies, GALEX's photons a second. 2MASS's are counts of frames whose zero points
# differ by 0.1 to 0.3 mag: these (Vega, turned into AB) are of the frames at 121.60 +1.04, where
# archive and HiPS agree to 2 %. Calibrate them elsewhere.
HIPS: Mapping[str, Hips] = MappingProxyType(
    {
        "FUV": Hips("CDS/P/GALEXGR6_7/FUV", ("CDS/P/GALEXGR6/AIS/FUV",), 1.5, 18.82),
        "NUV": Hips("CDS/P/GALEXGR6_7/NUV", ("CDS/P/GALEXGR6/AIS/NUV",), 1.5, 20.08),
        **{band: Hips(f"CDS/P/SDSS9/{band}", (), 0.396, 22.5) for band in "gri"},
        "J": Hips("CDS/P/2MASS/J", (), 1.0, 20.81 + 0.91),
        "H": Hips("CDS/P/2MASS/H", (), 1.0, 20.42 + 1.39),
        "K": Hips("CDS/P/2MASS/K", (), 1.0, 19.90 + 1.85),
        "blue": Hips("CDS/P/DSS2/blue", (), 1.0, math.nan),
        "red": Hips("CDS/P/DSS2/red", (), 1.0, math.nan),
    }
)


def hips_of(header: Any) -> tuple[str, Hips] | None:
    """Tell of which band's HiPS an image is, from the HISTORY that hips2fits wrote.

    Arguments:
        header: of the FITS file.

    Returns:
        name of the band and its HiPS; None if no HiPS is named. One of no band raises ValueError.

    Example:
        >>> hips_of({"HISTORY": ["From HiPS CDS/P/2MASS/J (2MASS J (1.23um))"]})[0]
        'J'
    """
    history = "".join(str(line) for line in header.get("HISTORY", ()))
    named = re.search(r"From HiPS (\S+)", history)
    if named is None:
        return None
    for band, hips in HIPS.items():
        if named[1] in (hips.name, *hips.others):
            return band, hips
    raise ValueError(
        f"HISTORY must name one of {', '.join(hips.name for hips in HIPS.values())}, "
        f"got {named[1]!r}"
    )


def fetch_bands(
    positions: Sequence[tuple[float, float]],
    bands: Sequence[str],
    *,
    folder: str | Path,
    size_arcsec: float = 96.0,
    pause_s: float = 1.0,
    retries: int = 3,
    progress: Callable[[str], None] | None = None,
) -> dict[str, dict[str, Path]]:
    """Fetch images around positions in several bands into a folder; call it again to go on.

    A band that did not observe a position is missing: no file is written, the manifest says why.

    Arguments:
        positions: right ascension and declination of each object, degrees.
        bands: names, of `skytutor.data.surveys.BANDS`.
        folder: is made if it is not there.
        size_arcsec: a side of each image; its pixels are those of the survey.
        pause_s: seconds between two requests.
        retries: further attempts after a broken connection, or a page of HTML instead of a file.
        progress: called with a line for each object.

    Returns:
        for each object, by a name made of its position, the files that are there by their band.

    Raises:
        skytutor.data.registry.DataError: no network, no astroquery, a service that refuses or sends
            something else; at the end, when all else is there, objects that no band observed.
        skytutor.files.CheckpointError: the folder cannot be written to.
        ValueError: arguments out of range, a position twice, an unknown band.
    """
    if as_integer("retries", retries) < 0:
        raise ValueError(f"retries must be 0 or more, got {retries}")
    names = band_names(bands)
    objects = _objects(positions)
    pixels = {band: _pixels_of(band, as_length("size_arcsec", size_arcsec)) for band in names}
    place = Path(folder).expanduser()
    polite = _Service(pause_s=as_length("pause_s", pause_s, zero=True), retries=retries)
    found: dict[str, dict[str, Path]] = {}
    with _held(place):
        manifest = Manifest.read(place)
        fetcher = Fetcher(place, manifest, polite, sdss="", ps1="", pixels=0)
        for name, position in objects.items():
            files = {band: f"{name}/{band}-{side}.fits" for band, side in pixels.items()}
            for band, file in files.items():
                _fetch(fetcher, file, band=band, position=position, pixels=pixels[band])
            found[name] = {b: place / f for b, f in files.items() if f not in manifest.left_out}
            if progress is not None:
                progress(f"{name} {', '.join(found[name]) or 'in no band'}")
    empty = [name for name, have in found.items() if not have]
    if empty:
        raise DataError(
            f"positions must lie where one of {', '.join(names)} observed, got {', '.join(empty)} "
            f"outside every footprint; what the others have is in {place}. Leave these out"
        )
    return found


def split(
    ra: Tensor,
    dec: Tensor,
    *,
    field_arcsec: float,
    nside: int = 64,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Tensor:
    """Part objects into sets for training, validation and test that share no sky.

    Every cell of the sky (a pixel of HEALPix) belongs to one set, whatever objects are there. Of
    two fields that overlap across the edge, the one of the set first in `SETS` is left out.

    Arguments:
        ra: ``(N,)`` right ascension, degrees.
        dec: ``(N,)`` declination, degrees.
        field_arcsec: a side of the square fields around the objects, whatever their orientation.
        nside: of the cells; 64 are 0.9 degrees a side.
        fractions: of the sky in each of `SETS`, of sum 1.
        seed: of the partition.

    Returns:
        ``(N,)`` int64: number of the set in `SETS`, or -1 for an object that is left out.

    Raises:
        ValueError: positions that are none, fractions that are no partition, or a set that is to
            have some of the sky and gets no object.
    """
    ra = as_tensor("ra", ra, dtype=torch.float64)
    dec = as_tensor("dec", dec, dtype=torch.float64)
    places = unit_vectors(ra, dec)
    edges = np.cumsum(fractions)
    if len(fractions) != len(SETS) or min(fractions) < 0 or abs(edges[-1] - 1) > 1e-9:
        raise ValueError(f"fractions must be 3 numbers from 0 to 1 of sum 1, got {fractions}")
    theta, phi = torch.deg2rad(90 - dec), torch.deg2rad(ra)
    cells = angle_to_pixel(theta, phi, nside=nside, order="nested").numpy()
    # One draw for each cell of the sky, with or without objects: it does not depend on them.
    draws = np.random.default_rng(as_seed("seed", seed)).random(nside_to_npix(nside))
    sets = np.searchsorted(edges[:-1], draws[cells], side="right")
    reach = math.sqrt(2.0) * as_length("field_arcsec", field_arcsec)
    for k in (1, 0):
        later = places[sets > k]
        sets[(sets == k) & near(places, later, arcsec=reach)] = -1
    for name, part, count in zip(
        SETS, fractions, np.bincount(sets + 1, minlength=4)[1:], strict=True
    ):
        if part > 0 and count == 0:
            raise ValueError(
                f"nside must make cells small enough for objects in each set, got {nside}: "
                f"none of the {len(sets)} is left for {name}"
            )
    return torch.from_numpy(sets.astype(np.int64))


class _Service(Polite):
    """Requests to hips2fits, which says in words why it has no image."""

    def _try(self, url: str, check: Callable[[bytes], object]) -> tuple[bytes | None, str, float]:
        """Return the bytes, or why there are none, and how long the server asks to wait."""
        import requests

        host = urlsplit(url).netloc
        try:
            with requests.get(url, stream=True, timeout=TIMEOUT_S) as response:
                status, delay, data = response.status_code, _asked(response), _body(response)
        except requests.RequestException:
            return None, f"no connection to {host}, or it broke off", 0.0
        finally:
            self._last = time.monotonic()
        said = " ".join(data[:300].decode("utf-8", errors="replace").split())
        if status != 200 and any(word in said.lower() for word in _OUTSIDE):
            raise Missing(f"outside the footprint: {host} answered {status}: {said}")
        if status in _BUSY:
            return None, f"{host} answered {status}", delay
        if status != 200:
            raise DataError(f"{host} answered {status} for {url}: {said}")
        try:
            check(data)
        except OSError as error:
            return None, f"{host} sent something else: {error}", 0.0
        except ValueError as error:
            raise DataError(f"{host} sent another image than asked for: {error}") from error
        return data, "", 0.0


def _objects(positions: Sequence[tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Return positions by their names, which name the folders; refuse what is no position."""
    found: dict[str, tuple[float, float]] = {}
    for ra, dec in positions:
        if not (0 <= ra < 360 and -90 <= dec <= 90):
            raise ValueError(
                "positions must be right ascensions from 0 to 360 and declinations from -90 to 90 "
                f"degrees, got {(ra, dec)}"
            )
        name = f"{ra:.5f}{dec:+.5f}"
        if name in found:
            raise ValueError(f"positions must name each position once, got {name} twice")
        found[name] = (ra, dec)
    if not found:
        raise ValueError("positions must hold one position or more, got none")
    return found


def _pixels_of(band: str, size_arcsec: float) -> int:
    """Return how many pixels of a band a side of a field has."""
    pixels = math.ceil(size_arcsec / HIPS[band].pixel_arcsec)
    if pixels > _MAX_PIXELS:
        raise ValueError(
            f"size_arcsec must be at most {_MAX_PIXELS} pixels, got {size_arcsec:g}, "
            f"which is {pixels} in {band}"
        )
    return pixels


def _fetch(
    fetcher: Fetcher, file: str, *, band: str, position: tuple[float, float], pixels: int
) -> None:
    """Fetch one band of one object, or record that it is missing."""
    manifest = fetcher.manifest
    if file in manifest.left_out or manifest.holds(fetcher.folder, file):
        return
    url = _address(HIPS[band], position=position, pixels=pixels)
    try:
        fetcher._keep(file, url, parse=partial(_check, band=band, position=position, side=pixels))
    except Missing as error:
        manifest.left_out[file] = str(error)
        manifest.write(fetcher.folder)


def _address(hips: Hips, *, position: tuple[float, float], pixels: int) -> str:
    """Return what astroquery would ask the service for: an image with north up."""
    from astropy.wcs import WCS

    try:
        from astroquery.hips2fits import hips2fits
    except ImportError as error:
        raise DataError(
            "images of hips2fits are asked for through astroquery, which is not installed: "
            "run `pip install astroquery`, or install skytutor with its extra `surveys`"
        ) from error
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = position
    wcs.wcs.crpix = [(pixels + 1) / 2, (pixels + 1) / 2]
    wcs.wcs.cdelt = [-hips.pixel_arcsec / 3600, hips.pixel_arcsec / 3600]
    wcs.pixel_shape = (pixels, pixels)
    query = hips2fits.query_with_wcs(hips=hips.name, wcs=wcs, format="fits", get_query_payload=True)
    return f"{hips2fits.server}?{urlencode(query)}"


def _check(path: Path, *, band: str, position: tuple[float, float], side: int) -> None:
    """Refuse an image that was not asked for, and one that holds nothing."""
    with opened(path) as file:
        header = file[0].header.copy()
        values = file[0].data
    if np.shape(values) != (side, side):
        raise ValueError(f"{side} by {side} pixels, got {np.shape(values)}")
    # Where a survey did not observe, the service sends one value everywhere, NaN or another.
    if len(np.unique(values[np.isfinite(values)])) < 2:
        raise Missing("outside the footprint: the image holds one value alone, or none")
    named = hips_of(header)
    if named is None or named[0] != band:
        raise ValueError(f"HiPS of band {band}, got {None if named is None else named[1].name}")
    _, pixel_arcsec, _ = _coordinates(header, "HiPS", position=position, name=path.name)
    wanted = HIPS[band].pixel_arcsec
    if abs(pixel_arcsec - wanted) > 0.01 * wanted:
        raise ValueError(f"pixels of {wanted:g} arcsec, got {pixel_arcsec:.3f}")
