"""CAMB's spectra of polarisation as functions of tau and r, interpolated between runs of CAMB.

Gravitational waves add a spectrum that is almost in proportion to r:
``C_l(tau, r) = S_l(tau) + r (A_l(tau) + r B_l(tau))``. S, A and B are cubic splines in tau through
15 runs of CAMB each, at r = 0, 0.005 and 0.01. The nodes come with the package.
``skytutor compute emulator`` computes them again (some minutes) and prints the error at points
between.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.fields.camb import camb_spectra
from skytutor.memo import cached_object
from skytutor.training import checkpoint
from skytutor.validate import as_seed

__all__ = ["FIELDS", "LMAX", "RS", "TAUS", "cmb_spectra", "make", "nodes", "worst_error"]

NAME = "cmb-emulator"
LMAX = 200
TAUS = tuple(round(0.02 + 0.005 * k, 3) for k in range(15))  # 0.02 to 0.09
RS = (0.0, 0.005, 0.01)
FIELDS = ("EE", "BB")


def nodes() -> Tensor:
    """Return CAMB's C_l in muK**2 at all nodes, ``(tau, r, field, lmax + 1)`` float64."""
    rows = []
    for tau in TAUS:
        columns = []
        for r in RS:
            spectra = camb_spectra(lmax=LMAX, tau=tau, r=r)
            columns.append(torch.stack([spectra[field] for field in FIELDS]))
        rows.append(torch.stack(columns))  # (r, field, l)
    return torch.stack(rows)


def make(folder: Path, *, command: str) -> Path:
    """Compute the nodes and write them with a card.

    Arguments:
        folder: where both go.
        command: that repeats this, for the card.

    Returns:
        path of the nodes.
    """
    import camb

    card = checkpoint.provenance(device="cpu", seed=0, profile="gpu", command=command)
    card["versions"]["camb"] = camb.__version__
    path = checkpoint.save_checkpoint(folder, NAME, {"nodes": nodes()}, card)
    _splines.cache_clear()  # those of an earlier table in this folder
    return path


@cached_object(maxsize=2)
def _splines(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return the splines in tau of S, A and B: tau ``(N,)`` to ``(3, N, field, lmax + 1)``."""
    from scipy.interpolate import CubicSpline

    tensors, _ = checkpoint.load_checkpoint(folder, NAME)
    none, middle, full = tensors["nodes"].numpy().swapaxes(0, 1)  # one for each r
    r_middle, r_full = RS[1:]
    # Two equations for A and B: (C(r) - C(0)) / r = A + r B.
    quotient_middle = (middle - none) / r_middle
    quotient_full = (full - none) / r_full
    second = (quotient_full - quotient_middle) / (r_full - r_middle)  # B
    first = quotient_middle - r_middle * second  # A
    coefficients = np.stack([none, first, second])  # (3, tau, field, l)
    return CubicSpline(np.array(TAUS), coefficients, axis=1)


def cmb_spectra(
    tau: Tensor, r: Tensor, *, lmax: int, folder: Path | None = None
) -> dict[str, Tensor]:
    """Return lensed EE and BB in muK**2; the other parameters are those of `camb_spectra`.

    Arguments:
        tau: optical depths ``(N,)``, 0.02 to 0.09.
        r: tensor-to-scalar ratios ``(N,)``, 0 to 0.01.
        lmax: at most 200.
        folder: where the nodes lie; None for those that come with the package.

    Returns:
        "EE" and "BB", ``(N, lmax + 1)`` float64.

    Raises:
        ValueError: values outside those ranges.

    Example:
        >>> cmb_spectra(torch.tensor([0.05]), torch.tensor([0.0]), lmax=47)["EE"].shape
        torch.Size([1, 48])
    """
    # Each in its own precision: the end of the range is rounded in float32.
    (tau,) = as_floats(tau=tau)
    (r,) = as_floats(r=r)
    for name, values, low, high in (("tau", tau, TAUS[0], TAUS[-1]), ("r", r, RS[0], RS[-1])):
        if values.dim() != 1 or not bool(((values >= low) & (values <= high)).all()):
            raise ValueError(
                f"{name} must be (N,) in {low}..{high}, got shape {tuple(values.shape)}, "
                f"values {values.reshape(-1)[:3].tolist()}"
            )
    if tau.shape != r.shape:
        raise ValueError(f"r must be {tuple(tau.shape)} as tau, got {tuple(r.shape)}")
    if not 0 <= lmax <= LMAX:
        raise ValueError(f"lmax must lie in 0..{LMAX}, got {lmax}")
    folder = checkpoint.pretrained_folder() if folder is None else folder
    coefficients = torch.from_numpy(_splines(folder)(tau.double().numpy()))[..., : lmax + 1]
    base, first, second = coefficients  # (N, field, l) each
    weight = r.double()[:, None, None]
    found = base + weight * (first + weight * second)
    return dict(zip(FIELDS, found.unbind(1), strict=True))


def worst_error(points: int = 6, *, seed: int = 0, folder: Path | None = None) -> float:
    """Return the largest relative difference from CAMB between the nodes, over l = 2..lmax.

    Arguments:
        points: at how many random pairs of tau and r.
        seed: of the pairs.
        folder: where the nodes lie; None for those that come with the package.
    """
    rng = np.random.default_rng(as_seed("seed", seed))
    taus = rng.uniform(0.025, 0.085, points)
    rs = rng.uniform(0, 0.01, points)
    worst = 0.0
    for tau, r in zip(taus, rs, strict=True):
        wanted = camb_spectra(lmax=LMAX, tau=float(tau), r=float(r))
        found = cmb_spectra(torch.tensor([tau]), torch.tensor([r]), lmax=LMAX, folder=folder)
        for field in FIELDS:
            ratio = found[field][0, 2:] / wanted[field][2:]
            worst = max(worst, float((ratio - 1).abs().max()))
    return worst
