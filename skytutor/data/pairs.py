"""Pairs of a galaxy's image and its spectrum, fetched from the archives of Pan-STARRS and SDSS.

A folder holds ``catalogue.json`` (the galaxies), ``manifest.json`` (address, size and SHA-256 of
each file, and why a galaxy was left out), and a folder for each galaxy with its spectrum and one
image a band. Each file is read by its parser before it is kept. What is there and has the recorded
hash is not fetched again, so that a broken run goes on where it stopped.

The archives are shared by many: one request at a time, with a pause between two.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.data._pair_files import Fetcher, Manifest, file_names
from skytutor.data._requests import Polite
from skytutor.data.cutout_stack import stack_bands
from skytutor.data.cutouts import load_cutout
from skytutor.data.registry import DataError
from skytutor.data.sdss_catalogue import Galaxy, read_catalogue, sdss_catalogue, write_catalogue
from skytutor.data.sdss_spectra import load_spectrum
from skytutor.data.spectral_templates import BANDS
from skytutor.files import check_writable
from skytutor.validate import as_integer, as_length, positive

__all__ = ["ARCHIVES", "Pairs", "fetch_pairs", "load_pairs"]

# Where spectra lie by version, plate, day and fibre; Pan-STARRS's service of images.
ARCHIVES = {
    "sdss": "https://data.sdss.org/sas/dr17/sdss/spectro/redux",
    "ps1": "https://ps1images.stsci.edu",
}
_CATALOGUE = "catalogue.json"
_SPARE = 1.3  # galaxies asked for, for each that is wanted: some lack a band
_MARGIN = 16  # pixels on each side of a cutout beyond what is stacked


class Pairs(NamedTuple):
    """Images and spectra of N galaxies.

    Attributes:
        images: ``(N, 5, S, S)`` float32, nanomaggies a pixel, bands grizy.
        image_ivar: the same shape, inverse variance; 0 where masked.
        flux: ``(N, 1000)`` on the grid of `skytutor.data.spectral_grid`, mean 1.
        ivar: ``(N, 1000)``, 0 where not observed.
        mask: bool ``(N, 1000)``, True where observed.
        redshift: ``(N,)``.
        names: of the galaxies.
    """

    images: Tensor
    image_ivar: Tensor
    flux: Tensor
    ivar: Tensor
    mask: Tensor
    redshift: Tensor
    names: tuple[str, ...]


def fetch_pairs(
    n: int,
    *,
    folder: str | Path,
    query: str | None = None,
    size: int = 64,
    pause_s: float = 1.0,
    retries: int = 3,
    catalogue: Callable[[int, str | None], Sequence[Galaxy]] = sdss_catalogue,
    archives: dict[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[str]:
    """Fetch images and spectra of N galaxies into a folder; call it again to go on.

    A galaxy that lacks a band, or whose files cannot be used, is left out and the next one taken;
    the manifest says why.

    Arguments:
        n: how many galaxies.
        folder: is made if it is not there.
        query: which galaxies; see `skytutor.data.sdss_catalogue`. A catalogue that is in the folder
            and long enough is kept.
        size: pixels of 0.25 arcsec a side that the images are for; a margin is added.
        pause_s: seconds between two requests.
        retries: further attempts after a broken connection, or a page of HTML instead of a file.
        catalogue: what returns at least so many galaxies.
        archives: addresses of "sdss" and "ps1"; None for `ARCHIVES`.
        progress: called with a line for each galaxy.

    Returns:
        names of the N galaxies.

    Raises:
        skytutor.data.registry.DataError: no network, a service that does not answer with files, an
            empty catalogue, or one that has too few galaxies with all files; astroquery is not
            installed and no catalogue is in the folder.
        skytutor.files.CheckpointError: the folder cannot be written to.
        ValueError: arguments out of range.
    """
    positive(n=n, size=size)
    if as_integer("retries", retries) < 0:
        raise ValueError(f"retries must be 0 or more, got {retries}")
    place = Path(folder).expanduser()
    say = progress or (lambda line: None)
    polite = Polite(pause_s=as_length("pause_s", pause_s, zero=True), retries=retries)
    with _held(place):
        galaxies = _catalogue(place / _CATALOGUE, n, query=query, catalogue=catalogue)
        manifest = Manifest.read(place)
        pixels = size + 2 * _MARGIN
        fetcher = Fetcher(place, manifest, polite, pixels=pixels, **(archives or ARCHIVES))
        done: list[str] = []
        for galaxy in galaxies:
            if len(done) == n:
                break
            why = manifest.left_out.get(galaxy.name) or fetcher.fetch(galaxy)
            if why is None:
                done.append(galaxy.name)
            else:
                manifest.left_out[galaxy.name] = why
                manifest.write(place)
            say(f"{galaxy.name} {'here' if why is None else f'left out: {why}'}")
    if len(done) < n:
        raise DataError(
            f"{place}: the catalogue of {len(galaxies)} galaxies has {len(done)} with all files, "
            f"{n} are wanted. Remove catalogue.json to ask for more"
        )
    return done


def load_pairs(folder: str | Path, *, size: int = 64) -> Pairs:
    """Read the pairs of a folder that `fetch_pairs` filled.

    Arguments:
        folder: of the pairs.
        size: pixels of 0.25 arcsec a side.

    Raises:
        skytutor.data.registry.DataError: no manifest, no galaxy, or a file that is not there or not
            the one that was fetched.
        OSError, ValueError: a file that its parser refuses.
    """
    place = Path(folder).expanduser()
    galaxies = read_catalogue(place / _CATALOGUE)
    manifest = Manifest.read(place)
    stacks = []
    spectra = []
    for galaxy in galaxies:
        names = file_names(galaxy)
        if galaxy.name in manifest.left_out or any(name not in manifest.files for name in names):
            continue
        for name in names:
            if not manifest.holds(place, name):
                raise DataError(f"{place / name} is missing or altered. Fetch the pairs again")
        spectrum, *images = (place / name for name in names)
        spectra.append(load_spectrum(spectrum, redshift=galaxy.redshift))
        stack = stack_bands(
            [load_cutout(path) for path in images],
            position=(galaxy.ra, galaxy.dec),
            bands=BANDS,
            size=size,
            require_all=True,
        )
        stacks.append(stack)
    if not spectra:
        raise DataError(f"{place} holds no pair. Run `skytutor data pairs N --folder {place}`")
    return Pairs(
        images=torch.stack([stack.images for stack in stacks]),
        image_ivar=torch.stack([stack.ivar for stack in stacks]),
        flux=torch.stack([spectrum.flux for spectrum in spectra]),
        ivar=torch.stack([spectrum.ivar for spectrum in spectra]),
        mask=torch.stack([spectrum.mask for spectrum in spectra]),
        redshift=torch.tensor([spectrum.redshift for spectrum in spectra]),
        names=tuple(spectrum.name for spectrum in spectra),
    )


def _catalogue(
    path: Path,
    n: int,
    *,
    query: str | None,
    catalogue: Callable[[int, str | None], Sequence[Galaxy]],
) -> list[Galaxy]:
    """Return the catalogue of the folder; ask for one if there is none, or one too short."""
    if path.exists():
        galaxies = read_catalogue(path)
        if len(galaxies) >= n:
            return galaxies
    wanted = int(_SPARE * n) + 5
    found = list(catalogue(wanted, query))
    write_catalogue(path, found)
    return found


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep a folder for one process: two would write over each other's manifest."""
    import filelock

    check_writable(folder)
    try:
        with filelock.FileLock(folder / ".lock").acquire(timeout=0):
            yield
    except filelock.Timeout as error:
        raise DataError(f"{folder}: another process fetches pairs into it. Wait for it") from error
