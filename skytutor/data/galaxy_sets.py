"""Sets of simulated galaxies on disk: images and spectra, made once and read from there.

A set is a folder of files of 250 galaxies each, named after all that decides what is in them. What
a killed process leaves is taken up again; a file that is not whole is made anew. Files are mapped
into memory, so a set may be larger than it.
"""

import contextlib
import hashlib
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skytutor.data.galaxies import GalaxySimulator
from skytutor.data.galaxy_population import Population
from skytutor.data.spectral_templates import BANDS, LOG_WAVELENGTH
from skytutor.files import check_writable, strict_json, write_atomic
from skytutor.validate import as_integer, positive

__all__ = ["GalaxySet", "SetParameters", "galaxy_set"]

# To be raised with every change of the simulator that moves its numbers: old sets are then left
# alone and new ones made. `tests/data/test_galaxies.py` pins the numbers.
_VERSION = 1
_CHUNK = 250  # galaxies in a file
_PIXELS = 250 * 64**2  # pixels of a band rendered at a time: 500 MiB with all that they need
_STALE = 3600  # seconds after which the part of a file belongs to no living writer


@dataclass(frozen=True)
class SetParameters:
    """All that decides what is in a set.

    Attributes:
        n: galaxies.
        size: pixels along the side of an image.
        gradient: of `skytutor.data.galaxies.GalaxySimulator`.
        null: of the same.
        seed: of the random numbers.
    """

    n: int
    size: int
    gradient: float
    null: bool
    seed: int

    def json(self) -> str:
        """Return the parameters and the version of the simulator as JSON."""
        record = {**asdict(self), "version": _VERSION}
        return strict_json(record, what="the parameters", indent=1, sort_keys=True)

    def name(self) -> str:
        """Return the name of the folder, which no other set has."""
        digest = hashlib.sha256(self.json().encode()).hexdigest()
        return f"galaxies-{self.n}-{self.size}-{digest[:16]}"

    def row(self) -> np.dtype:
        """Return what is kept of a galaxy."""
        bins = (len(LOG_WAVELENGTH),)
        return np.dtype(
            [
                ("image", "<f2", (len(BANDS), self.size, self.size)),
                ("flux", "<f4", bins),
                ("inverse_variance", "<f4", bins),
                ("log_widths", "<f4", (2,)),
                ("redshift", "<f4"),
                ("r_magnitude", "<f4"),
            ]
        )

    def files(self) -> list[tuple[str, int]]:
        """Return the name of each file and how many galaxies it holds."""
        starts = range(0, self.n, _CHUNK)
        return [(f"{start:07d}.npy", min(_CHUNK, self.n - start)) for start in starts]


class GalaxySet(Mapping[str, Tensor]):
    """Galaxies on disk, by column or by row.

    A column is read whole: ``galaxies["redshift"]``. Rows are read one or many at a time:
    ``galaxies.rows(slice(0, 32))``.

    - `image`: ``(5, size, size)`` a galaxy, bands grizy, nanomaggies a pixel, with noise. They are
      kept in float16, which is exact to 0.05 %, and come back as float32.
    - `flux`, `inverse_variance`: ``(1000,)`` a galaxy, of
      `skytutor.data.galaxies.FibreSpectra`.
    - `log_widths`: ``(2,)`` a galaxy, of the same.
    - `redshift`, `r_magnitude`: a number a galaxy; the magnitude is that of all its light, without
      noise.

    Arguments:
        folder: that holds the files.
        parameters: of the set.

    Raises:
        FileNotFoundError: a file is missing or not whole; `galaxy_set` makes it.
    """

    def __init__(self, folder: Path, parameters: SetParameters):
        self.folder = Path(folder)
        self.parameters = parameters
        self._chunks = []
        for name, size in parameters.files():
            chunk = _opened(self.folder / name, parameters.row(), size=size)
            if chunk is None:
                raise FileNotFoundError(f"{self.folder / name} is missing or not whole")
            self._chunks.append(chunk)

    @property
    def n(self) -> int:
        """Number of galaxies."""
        return self.parameters.n

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the columns."""
        return iter(self.parameters.row().names or ())

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.parameters.row().names or ())

    def __getitem__(self, column: str) -> Tensor:
        """Return a column of all galaxies, ``(n, ...)`` float32.

        Arguments:
            column: its name.

        Raises:
            KeyError: no such column.
        """
        if column not in list(self):
            raise KeyError(f"column must be one of {', '.join(self)}, got {column!r}")
        found = np.concatenate([chunk[column] for chunk in self._chunks])
        return torch.from_numpy(found.astype(np.float32))

    def rows(self, which: int | slice | Tensor) -> dict[str, Tensor]:
        """Return all columns of some galaxies, float32.

        Arguments:
            which: a number, a slice, numbers ``(B,)`` or a mask ``(n,)``; negative numbers count
                from the end.

        Returns:
            each column by its name, ``(B, ...)``; of one number without the first axis.

        Raises:
            IndexError: beyond the set.
        """
        rows = torch.arange(self.n)[which].numpy()
        flat = rows.reshape(-1)
        found = np.empty(len(flat), dtype=self.parameters.row())
        for k in np.unique(flat // _CHUNK):
            here = flat // _CHUNK == k
            found[here] = self._chunks[k][flat[here] % _CHUNK]
        found = found.reshape(rows.shape)
        return {name: torch.from_numpy(np.asarray(found[name], dtype=np.float32)) for name in self}


def galaxy_set(
    n: int,
    *,
    size: int = 64,
    gradient: float = 1.0,
    null: bool = False,
    seed: int = 0,
    folder: Path | str | None = None,
) -> GalaxySet:
    """Return a set of galaxies; make what is not on disk yet.

    About 3 ms a galaxy of 64 pixels on one core, and 49 kB on disk.

    Arguments:
        n: galaxies.
        size: pixels along the side of an image.
        gradient: how far components differ in colour, 0 to 1.
        null: whether all components have one spectrum, and shapes belong to other galaxies.
        seed: of the random numbers, not negative.
        folder: holds one folder a set; None for the user's cache.

    Raises:
        TypeError: n, size or seed is no integer, gradient no number, null no bool.
        ValueError: n or size below 1, gradient outside 0..1, seed below 0.
        skytutor.files.CheckpointError: the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     galaxies = galaxy_set(3, size=16, folder=folder)
        ...     galaxies.rows(slice(0, 2))["image"].shape
        torch.Size([2, 5, 16, 16])
    """
    positive(n=n, size=size)
    if as_integer("seed", seed) < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    gradient = Population(gradient=gradient, null=null).gradient
    parameters = SetParameters(int(n), int(size), gradient=gradient, null=null, seed=int(seed))
    place = _cache() if folder is None else Path(folder)
    place = place / parameters.name()
    _complete(place, parameters)
    return GalaxySet(place, parameters)


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("skytutor")) / "galaxies"


def _opened(path: Path, row: np.dtype, *, size: int) -> np.ndarray | None:
    """Return a file's galaxies mapped into memory, or None if it is missing or not whole."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == row and found.shape == (size,) else None


def _complete(folder: Path, parameters: SetParameters) -> None:
    """Make the files that are missing or not whole."""
    row = parameters.row()
    missing = [
        number
        for number, (name, size) in enumerate(parameters.files())
        if _opened(folder / name, row, size=size) is None
    ]
    if not missing:
        return
    check_writable(folder)
    _remove_stale_parts(folder)
    write_atomic(folder / "parameters.json", parameters.json().encode())
    simulator = GalaxySimulator(
        gradient=parameters.gradient, null=parameters.null, size=parameters.size
    )
    for number in missing:
        name, size = parameters.files()[number]
        stream = io.BytesIO()
        np.save(stream, _chunk(simulator, parameters, number=number, size=size))
        write_atomic(folder / name, stream.getvalue())


def _remove_stale_parts(folder: Path) -> None:
    """Delete what killed writers left; another writer may live, so only what is old."""
    for part in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE:
                part.unlink()


def _chunk(
    simulator: GalaxySimulator, parameters: SetParameters, *, number: int, size: int
) -> np.ndarray:
    """Return the galaxies of a file; its random numbers are its own, so any order makes the same.

    Arguments:
        simulator: of the parameters.
        parameters: of the set.
        number: of the file.
        size: galaxies in it.
    """
    words = np.random.SeedSequence([parameters.seed, number]).generate_state(1, np.uint64)
    rng = torch.Generator().manual_seed(int(words[0] >> 1))  # torch takes 63 bits
    found = np.empty(size, dtype=parameters.row())
    batch = max(1, _PIXELS // parameters.size**2)
    for start in range(0, size, batch):
        part = found[start : start + batch]
        galaxies = simulator.draw(len(part), generator=rng)
        planes = simulator.renderer.planes(galaxies.shapes)
        fibre = simulator.renderer.fibre(planes)
        spectra = simulator.spectra(galaxies, fibre, generator=rng)
        red = simulator.fluxes(galaxies)[:, :, BANDS.index("r")].sum(1)
        part["image"] = simulator.images(galaxies, planes=planes, generator=rng)
        part["flux"] = spectra.flux
        part["inverse_variance"] = spectra.inverse_variance
        part["log_widths"] = spectra.log_widths
        part["redshift"] = galaxies.redshift
        part["r_magnitude"] = 22.5 - 2.5 * red.log10()
    return found
