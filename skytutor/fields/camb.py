"""Spectra of the cosmic microwave background from CAMB [1]_, kept on disk once they are computed.

.. [1] A. Lewis, A. Challinor & A. Lasenby, 2000, ApJ 538, 473.
"""

import contextlib
import hashlib
import io
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skytutor.files import CheckpointError, write_atomic
from skytutor.sht import check_lmax

_NAMES = ("TT", "EE", "BB", "TE")  # CAMB's columns
_LEAST = 500  # asked for a lower lmax, CAMB is less accurate


def camb_spectra(
    *,
    lmax: int,
    tau: float,
    r: float = 0.0,
    H0: float = 67.4,
    ombh2: float = 0.0224,
    omch2: float = 0.120,
    As: float = 2.1e-9,
    ns: float = 0.965,
    lensed: bool = True,
    cache: Path | None = None,
) -> dict[str, Tensor]:
    """Compute spectra of the cosmic microwave background with CAMB [1]_, and keep them on disk.

    CAMB runs up to l = 500 at least (some seconds), and its spectra are cut.

    Arguments:
        lmax: last degree of the spectra.
        tau: optical depth of reionisation.
        r: tensor-to-scalar ratio.
        H0: Hubble constant in km/s/Mpc.
        ombh2: density of baryons, Omega_b h**2.
        omch2: density of cold dark matter, Omega_c h**2.
        As: amplitude of the primordial spectrum at 0.05 / Mpc.
        ns: its slope.
        lensed: with gravitational lensing.
        cache: folder; None is `SKYTUTOR_CACHE` or ``spectra`` in the user's cache folder. One that
            cannot be written is not used.

    Returns:
        "TT", "EE", "BB", "TE": ``(lmax + 1,)`` float64, C_l in muK**2.

    Raises:
        ValueError: a negative or not finite parameter, named. ImportError: no CAMB.

    Example:
        >>> camb_spectra(lmax=47, tau=-0.05)
        Traceback (most recent call last):
        ValueError: tau must be a finite number from 0 on, got -0.05

    .. [1] A. Lewis, A. Challinor & A. Lasenby, 2000, ApJ 538, 473. https://camb.info
    """
    parameters = {"tau": tau, "r": r, "H0": H0, "ombh2": ombh2, "omch2": omch2, "As": As, "ns": ns}
    for name, value in parameters.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number from 0 on, got {value}")
    try:
        import camb
    except ImportError as error:
        raise ImportError("camb_spectra needs CAMB: pip install camb") from error
    table_lmax = max(_LEAST, check_lmax(lmax))
    parameters = {k: float(v) for k, v in parameters.items()} | {"lmax": table_lmax}
    key = json.dumps(
        {**parameters, "lensed": bool(lensed), "camb": camb.__version__}, sort_keys=True
    )
    file = _cache_folder(cache) / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"
    table = _read(file, table_lmax)
    if table is None:
        table = _run_camb(parameters, bool(lensed))
        _write(file, table)
    return {name: torch.from_numpy(table[: lmax + 1, k].copy()) for k, name in enumerate(_NAMES)}


def _cache_folder(cache: str | Path | None) -> Path:
    """Return the folder that is asked for, or SKYTUTOR_CACHE, or one in the user's cache folder.

    The data lie there too.
    """
    import pooch

    named = cache or os.environ.get("SKYTUTOR_CACHE")
    try:
        return Path(named).expanduser() if named else Path(pooch.os_cache("skytutor")) / "spectra"
    except RuntimeError as error:  # ~somebody, whom this machine does not know
        raise ValueError(
            f"cache must be a folder, got {str(named)!r}: no such user's home is known"
        ) from error


def _run_camb(parameters: dict[str, float], lensed: bool) -> np.ndarray:
    """Return C_l ``(lmax + 1, 4)`` in muK**2, TT, EE, BB and TE."""
    import camb

    setting = camb.set_params(**parameters, WantTensors=parameters["r"] > 0)
    setting.max_l_tensor = max(setting.max_l_tensor, parameters["lmax"])
    kind = "total" if lensed else "unlensed_total"
    spectra = camb.get_results(setting).get_cmb_power_spectra(
        setting, spectra=(kind,), CMB_unit="muK", raw_cl=True
    )
    return spectra[kind][: parameters["lmax"] + 1]


def _read(file: Path, lmax: int) -> np.ndarray | None:
    """Return the table in a file, or None if there is none that is whole."""
    try:
        table = np.load(io.BytesIO(file.read_bytes()))["cl"]
    except Exception:  # whatever a damaged archive makes of zipfile and NumPy; it is made anew
        return None
    return table if table.shape == (lmax + 1, 4) and np.isfinite(table).all() else None


def _write(file: Path, table: np.ndarray) -> None:
    """Keep a table for the next call; a folder that cannot be written only costs some seconds."""
    archive = io.BytesIO()
    np.savez(archive, cl=table)
    with contextlib.suppress(CheckpointError):
        write_atomic(file, archive.getvalue())
