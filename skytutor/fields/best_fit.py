"""The spectra that fit Planck's data of 2018 best: a table that comes with the package.

``skytutor compute best-fit`` runs CAMB at the parameters of the best fit [1]_ and writes the table
again (some seconds).

.. [1] Planck Collaboration VI, 2020, A&A 641, A6, table 1.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from skytutor.fields.camb import camb_spectra
from skytutor.memo import cached_table
from skytutor.sht import check_lmax
from skytutor.training import checkpoint

__all__ = ["BEST_FIT", "LMAX", "best_fit_spectra", "make"]

NAME = "planck-best-fit"
# TT, TE, EE + lowE + lensing, best fit of the Plik likelihood; As is exp(3.0448) 1e-10.
BEST_FIT: dict[str, Any] = {
    "tau": 0.0543,
    "H0": 67.32,
    "ombh2": 0.022383,
    "omch2": 0.12011,
    "As": 2.1005e-9,
    "ns": 0.96605,
}
# Last degree of the table. The corner of the Fourier plane of pixels of 3.4 arcmin lies at 4446.
LMAX = 4500
_FIELDS = ("TT", "EE", "BB")


def make(folder: Path, *, command: str) -> Path:
    """Run CAMB and write the table with a card.

    Arguments:
        folder: where both go.
        command: that repeats this, for the card.

    Returns:
        path of the table.
    """
    import camb

    spectra = camb_spectra(lmax=LMAX, **BEST_FIT)
    card = checkpoint.provenance(device="cpu", seed=0, profile="gpu", command=command)
    card["versions"]["camb"] = camb.__version__
    tensors = {name: spectra[name] for name in _FIELDS}
    path = checkpoint.save_checkpoint(folder, NAME, tensors, card)
    _table.cache_clear()  # that of an earlier table in this folder
    return path


@cached_table(maxsize=2)
def _table(folder: Path) -> dict[str, Tensor]:
    return checkpoint.load_checkpoint(folder, NAME)[0]


def best_fit_spectra(lmax: int = LMAX, *, folder: Path | None = None) -> dict[str, Tensor]:
    """Return the lensed spectra of the best fit to Planck's data of 2018.

    Arguments:
        lmax: last degree, at most 4500.
        folder: where the table lies; None for the one that comes with the package.

    Returns:
        "TT", "EE" and "BB" (of lensing): C_l in muK**2, ``(lmax + 1,)`` float64. Monopole and
        dipole are 0.

    Raises:
        ValueError: lmax beyond the table.

    Example:
        >>> best_fit_spectra(2)["TT"].shape
        torch.Size([3])
    """
    if check_lmax(lmax) > LMAX:
        raise ValueError(f"lmax must be at most {LMAX}, got {lmax}")
    table = _table(checkpoint.pretrained_folder() if folder is None else folder)
    return {name: table[name][: lmax + 1] for name in _FIELDS}
