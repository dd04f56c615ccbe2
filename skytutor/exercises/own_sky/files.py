"""One function for any file: files that differ in order, unit, holes and dipole."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake
from skytutor.fields.binning import Binning
from skytutor.fields.dipole import remove_dipole
from skytutor.fields.master import ModeCoupling
from skytutor.fields.pseudo import cross_pseudo_cl
from skytutor.fields.spectra import gaussian_maps
from skytutor.healpix import pixel_to_vector
from skytutor.io import read_map, write_map

__all__ = ["measure"]

EDGES = (2, 8, 14, 20)
_NSIDE = 16  # of the files
_LMAX = 24  # of their skies
# In the order of the cases: order of the pixels, unit, height of the hidden belt, dipole in muK.
_FILES = (
    ("nested", "K", 0.3, 3000.0),
    ("ring", "muK", 0.5, 0.0),
    ("ring", "mK", 0.2, 3000.0),
)


def _write(folder: Path) -> list[tuple[str]]:
    """Write the files, and return their paths."""
    rng = torch.Generator().manual_seed(20)
    degree = torch.arange(_LMAX + 1, dtype=torch.float64)
    spectra = {"TT": torch.where(degree > 1, 6000 / (degree * (degree + 1)).clamp(min=1), 0)}
    cases = []
    for k, (order, unit, height, amplitude) in enumerate(_FILES):
        sky = gaussian_maps(spectra, nside=_NSIDE, lmax=_LMAX, generator=rng, order=order)["T"]
        vector = pixel_to_vector(torch.arange(len(sky)), nside=_NSIDE, order=order)
        arrow = torch.tensor([0.5, -0.6, 0.62], dtype=torch.float64)
        sky = sky.double() + amplitude * (vector.double() @ arrow + 0.3)
        scale = {"K": 1e-6, "mK": 1e-3, "muK": 1.0}[unit]
        path = folder / f"sky{k}.fits"
        mask = vector[:, 2].abs() > height
        write_map(path, sky * scale, nside=_NSIDE, order=order, unit=unit, mask=mask)
        cases.append((str(path),))
    return cases


def _measured(
    path: str,
    *,
    unit: str | None = "muK",
    whole_order: str | None = None,
    with_dipole: bool = False,
    coupled: bool = False,
) -> Tensor:
    """Return the bands of a file, right unless an argument asks for a mistake."""
    sky = read_map(path, unit=unit, dtype=torch.float64)
    size: dict[str, Any] = {"nside": sky.nside, "order": whole_order or sky.order}
    mask = sky.mask.double()
    values = sky.values
    if not with_dipole:
        values = remove_dipole(values, weights=mask, **size)
    pseudo = cross_pseudo_cl(values, values, mask=mask, other_mask=mask, lmax=_LMAX, **size)
    bins = Binning(EDGES)
    if coupled:
        return bins.bin(pseudo["TT"])
    # The last bin takes what lies above the bands: its power leaks into them.
    longer = Binning([*EDGES, _LMAX + 1])
    coupling = ModeCoupling(mask, lmax=_LMAX, **size)
    return coupling.decouple(pseudo, binning=longer)["TT"][: len(EDGES) - 1]


def measure(attempt: Callable[[str], Tensor]) -> bool:
    """Test your `measure(path)`: the band powers of any file.

    Arguments:
        attempt: takes the path of a FITS file with one HEALPix map, whatever its order, unit, holes
            and dipole, without beam and noise; returns the mean C_l in muK**2 of the degrees 2 to
            7, 8 to 13 and 14 to 19, three numbers, with the coupling by the holes undone.

    Returns:
        True if each band of three files is within 10 % of what our own pipeline measures.
    """
    with tempfile.TemporaryDirectory() as folder:
        return grading.function(
            "measure",
            attempt,
            _measured,
            cases=_write(Path(folder)),
            mistakes=[
                Mistake(
                    lambda path: _measured(path, unit=None),
                    "In which unit is each file, and in which unit is the answer?",
                ),
                Mistake(
                    lambda path: _measured(path, whole_order="ring"),
                    "Do all files number their pixels alike?",
                ),
                Mistake(
                    lambda path: _measured(path, with_dipole=True),
                    "Look at one of the files before you measure it. What is the brightest thing?",
                ),
                Mistake(
                    lambda path: _measured(path, coupled=True),
                    "That is the spectrum of the sky times its mask. Which matrix undoes that?",
                ),
            ],
            rtol=0.1,
        )
