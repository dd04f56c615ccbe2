"""CAMB's spectra of polarisation over tau and r, without running CAMB: splines through its answers at some values.

Gravitational waves add a spectrum that is almost in proportion to r:
``C_l(tau, r) = S_l(tau) + r (A_l(tau) + r B_l(tau))``. S, A and B are cubic splines in tau through
13 runs of CAMB each, at r = 0, 0.005 and 0.01. The nodes come with the package.
``python -m skytutor.data.emulator`` computes them again (some minutes) and prints the error at
points between.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import skytutor
from skytutor import checkpoint
from skytutor.smoothing import camb_spectra

NAME = "cmb-emulator"
LMAX = 200
TAUS = tuple(round(0.02 + 0.005 * k, 3) for k in range(15))  # 0.02 to 0.09
RS = (0.0, 0.005, 0.01)
FIELDS = ("EE", "BB")


def nodes() -> Tensor:
    """CAMB's C_l in muK**2 at all nodes: ``(tau, r, field, lmax + 1)`` float64."""
    found = [[camb_spectra(lmax=LMAX, tau=tau, r=r) for r in RS] for tau in TAUS]
    return torch.stack(
        [torch.stack([torch.stack([s[f] for f in FIELDS]) for s in row]) for row in found]
    )


def make(folder: Path) -> Path:
    """Compute the nodes and write them, with a card, into `folder`."""
    import camb

    told = checkpoint.provenance(
        device="cpu", seed=0, profile="gpu", command="python -m skytutor.data.emulator"
    )
    told["versions"]["camb"] = camb.__version__
    return checkpoint.publish(folder, NAME, {"nodes": nodes()}, told)


@lru_cache(maxsize=1)
def _splines():
    """One spline in tau of log(S), A and B."""
    from scipy.interpolate import CubicSpline

    tensors, _ = checkpoint.read_published(Path(skytutor.__file__).parent / "checkpoints", NAME)
    none, half, full = tensors["nodes"].numpy().swapaxes(0, 1)
    low, high = RS[1:]
    # Two equations for A and B: (C(r) - C(0)) / r = A + r B.
    one = (half - none) / low
    two = (full - none) / high
    slope = (two - one) / (high - low)
    parts = np.stack([none, one - low * slope, slope])  # (3, tau, field, l)
    return CubicSpline(np.array(TAUS), parts, axis=1)


def cmb_spectra(tau: Tensor, r: Tensor, *, lmax: int) -> dict[str, Tensor]:
    """EE and BB in muK**2, lensed, of optical depths and tensor-to-scalar ratios ``(N,)``; the rest as in `camb_spectra`.

    Arguments:
        tau: ``(N,)``, 0.02 to 0.09.
        r: ``(N,)``, 0 to 0.01.
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
                f"{name} must be (N,) in {low}..{high}, got shape {tuple(values.shape)}, values {values[:3].tolist()}"
            )
    if not 0 <= lmax <= LMAX:
        raise ValueError(f"lmax must lie in 0..{LMAX}, got {lmax}")
    base, first, second = torch.from_numpy(_splines()(tau.double().numpy()))[
        ..., : lmax + 1
    ]  # (N, field, l) each
    weight = r.double()[:, None, None]
    found = base + weight * (first + weight * second)
    return dict(zip(FIELDS, found.unbind(1), strict=True))


def worst_error(points: int = 6, *, seed: int = 0) -> float:
    """The largest relative difference from CAMB at random places between the nodes, l = 2..lmax."""
    draw = np.random.default_rng(seed)
    worst = 0.0
    for tau, r in zip(
        draw.uniform(0.025, 0.085, points), draw.uniform(0, 0.01, points), strict=True
    ):
        wanted = camb_spectra(lmax=LMAX, tau=float(tau), r=float(r))
        found = cmb_spectra(torch.tensor([tau]), torch.tensor([r]), lmax=LMAX)
        worst = max(
            worst, *(float((found[f][0, 2:] / wanted[f][2:] - 1).abs().max()) for f in FIELDS)
        )
    return worst


if __name__ == "__main__":
    print(make(Path(skytutor.__file__).parent / "checkpoints"))
    print(f"largest relative error between nodes: {worst_error():.1e}")
