"""How real are simulated galaxies? Their colours beside those of real ones kept for the test."""

import numpy as np
import torch
from torch import Tensor

from skytutor.data.galaxies import GalaxySimulator
from skytutor.data.galaxy_photometry import sdss_magnitudes
from skytutor.data.galaxy_table import RealGalaxies, real_galaxies
from skytutor.metrics.distances import two_sample_auc, wasserstein
from skytutor.validate import as_integer, positive

__all__ = ["compare_with_real"]

_COLOURS = ("g-r", "r-i", "i-z")


def compare_with_real(n: int | None = None, *, seed: int, repeats: int = 3) -> dict[str, float]:
    """Compare simulated galaxies with the half of the real ones that the simulator never saw.

    Two halves of the real galaxies are compared in the same way: they show how close two sets of
    this size can be.

    Arguments:
        n: galaxies to simulate; None for as many as the half holds.
        seed: of the simulated galaxies and of the classifier.
        repeats: sets of galaxies and of trees over which everything is averaged: what trees find in
            one set scatters by 0.007.

    Returns:
        Wasserstein-1 distances of `g-r`, `r-i` and `i-z` in magnitudes; `auc`, the area under the
        curve of boosted trees that are to tell simulated from real galaxies by three colours, r
        magnitude and redshift, and its standard error `auc_error`; the same of the two real halves,
        with ``"halves "`` before the name.

    Raises:
        TypeError: n or repeats is no integer.
        ValueError: n below 10, repeats below 1.
    """
    positive(repeats=repeats)
    held = _real_rows(real_galaxies().split("held"))
    n = len(held) if n is None else as_integer("n", n)
    if n < 10:
        raise ValueError(f"n must be 10 or more, for trees to learn from, got {n}")
    generator = torch.Generator().manual_seed(seed)
    simulator = GalaxySimulator(size=16)
    pairs = []
    for _ in range(repeats):
        galaxies = simulator.draw(n, generator=generator)
        pairs.append((_rows(sdss_magnitudes(galaxies), galaxies.redshift), held))
    halves = [(_real_rows(real_galaxies().split("drawn")), held)] * repeats
    between_halves = _distances(halves, seed)
    return {
        **_distances(pairs, seed),
        **{f"halves {name}": value for name, value in between_halves.items()},
    }


def _distances(pairs: list[tuple[Tensor, Tensor]], seed: int) -> dict[str, float]:
    """Return the distances of two sets of rows, averaged over pairs of sets."""
    scores = {
        name: float(np.mean([wasserstein(a[:, k], b[:, k]) for a, b in pairs]))
        for k, name in enumerate(_COLOURS)
    }
    found = [two_sample_auc(a, b, seed=seed + k) for k, (a, b) in enumerate(pairs)]
    # The sets share the real galaxies, so repeating does not make the error of one set smaller.
    auc, error = np.mean(found, axis=0)
    return {**scores, "auc": float(auc), "auc_error": float(error)}


def _real_rows(galaxies: RealGalaxies) -> Tensor:
    magnitudes = 22.5 - 2.5 * np.log10(galaxies.flux[:, 1:])
    return _rows(torch.from_numpy(magnitudes).float(), torch.from_numpy(galaxies.redshift).float())


def _rows(magnitudes: Tensor, redshift: Tensor) -> Tensor:
    """Return g - r, r - i, i - z, r and redshift of magnitudes ``(B, 4)``: ``(B, 5)``."""
    colours = magnitudes[:, :-1] - magnitudes[:, 1:]
    return torch.cat([colours, magnitudes[:, 1:2], redshift[:, None]], dim=1)
