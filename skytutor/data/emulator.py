"""CAMB's spectra of polarisation as functions of tau and r, interpolated between runs of CAMB.

Gravitational waves add a spectrum that is almost in proportion to r:
``C_l(tau, r) = S_l(tau) + r (A_l(tau) + r B_l(tau))``. S, A and B are cubic splines in tau through
15 runs of CAMB each, at r = 0, 0.005 and 0.01. The nodes come with the package.
``python -m skytutor.data.emulator`` computes them again (some minutes) and prints the error at
points between.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import skytutor
from skytutor import checkpoint
from skytutor.smoothing import camb_spectra

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


def make(folder: Path) -> Path:
    """Compute the nodes, write them with a card into `folder`, and return the path of the nodes.

    Arguments:
        folder: where to write.
    """
    import camb

    card = checkpoint.provenance(
        device="cpu", seed=0, profile="gpu", command="python -m skytutor.data.emulator"
    )
    card["versions"]["camb"] = camb.__version__
    return checkpoint.save_checkpoint(folder, NAME, {"nodes": nodes()}, card)


@lru_cache(maxsize=1)
def _splines() -> Callable[[np.ndarray], np.ndarray]:
    """Return the splines in tau of S, A and B: tau ``(N,)`` to ``(3, N, field, lmax + 1)``."""
    from scipy.interpolate import CubicSpline

    tensors, _ = checkpoint.load_checkpoint(Path(skytutor.__file__).parent / "checkpoints", NAME)
    none, middle, full = tensors["nodes"].numpy().swapaxes(0, 1)  # one for each r
    r_middle, r_full = RS[1:]
    # Two equations for A and B: (C(r) - C(0)) / r = A + r B.
    quotient_middle = (middle - none) / r_middle
    quotient_full = (full - none) / r_full
    second = (quotient_full - quotient_middle) / (r_full - r_middle)  # B
    first = quotient_middle - r_middle * second  # A
    coefficients = np.stack([none, first, second])  # (3, tau, field, l)
    return CubicSpline(np.array(TAUS), coefficients, axis=1)


def cmb_spectra(tau: Tensor, r: Tensor, *, lmax: int) -> dict[str, Tensor]:
    """Return lensed EE and BB in muK**2; the other parameters are those of `camb_spectra`.

    Arguments:
        tau: optical depths ``(N,)``, 0.02 to 0.09.
        r: tensor-to-scalar ratios ``(N,)``, 0 to 0.01.
        lmax: at most 200.

    Returns:
        "EE" and "BB", ``(N, lmax + 1)`` float64.

    Raises:
        ValueError: values outside those ranges.

    Example:
        >>> cmb_spectra(torch.tensor([0.05]), torch.tensor([0.0]), lmax=47)["EE"].shape
        torch.Size([1, 48])
    """
    for name, values, low, high in (("tau", tau, TAUS[0], TAUS[-1]), ("r", r, RS[0], RS[-1])):
        if values.dim() != 1 or not bool(((values >= low) & (values <= high)).all()):
            raise ValueError(
                f"{name} must be (N,) in {low}..{high}, got shape {tuple(values.shape)}, "
                f"values {values[:3].tolist()}"
            )
    if not 0 <= lmax <= LMAX:
        raise ValueError(f"lmax must lie in 0..{LMAX}, got {lmax}")
    coefficients = torch.from_numpy(_splines()(tau.double().numpy()))[..., : lmax + 1]
    base, first, second = coefficients  # (N, field, l) each
    weight = r.double()[:, None, None]
    found = base + weight * (first + weight * second)
    return dict(zip(FIELDS, found.unbind(1), strict=True))


def worst_error(points: int = 6, *, seed: int = 0) -> float:
    """Return the largest relative difference from CAMB between the nodes, over l = 2..lmax.

    Arguments:
        points: at how many random pairs of tau and r.
        seed: of the pairs.
    """
    rng = np.random.default_rng(seed)
    taus = rng.uniform(0.025, 0.085, points)
    rs = rng.uniform(0, 0.01, points)
    worst = 0.0
    for tau, r in zip(taus, rs, strict=True):
        wanted = camb_spectra(lmax=LMAX, tau=float(tau), r=float(r))
        found = cmb_spectra(torch.tensor([tau]), torch.tensor([r]), lmax=LMAX)
        for field in FIELDS:
            ratio = found[field][0, 2:] / wanted[field][2:]
            worst = max(worst, float((ratio - 1).abs().max()))
    return worst


if __name__ == "__main__":
    print(make(Path(skytutor.__file__).parent / "checkpoints"))
    print(f"largest relative error between nodes: {worst_error():.1e}")
