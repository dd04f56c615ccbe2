"""The table of chapter 3's limits, which ``skytutor compute limits`` makes.

It takes a quarter of an hour, and writes every limit with a card.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skytutor.chapters.cmb.limits import FIDUCIAL, NAME, fisher_full_sky, full_sky_errors
from skytutor.chapters.cmb.pixel_limits import pixel_errors, pixel_fisher_percent
from skytutor.data.cmb import GaussianSkySimulator, noise_per_pixel
from skytutor.training import checkpoint

__all__ = ["compute", "make"]


def _percent(errors: Tensor) -> dict[str, Any]:
    """Return mean and standard error, in %, of relative errors ``(maps, n)``."""
    standard_error = errors.std(0) / len(errors) ** 0.5
    return {
        "error_percent": (100 * errors.mean(0)).tolist(),
        "standard_error": (100 * standard_error).tolist(),
        "maps": len(errors),
    }


def compute(*, size: int = 2000, seed: int = 12345) -> dict[str, dict[str, Any]]:
    """Return every limit of chapter 3, by recipe.

    Arguments:
        size: number of skies for each.
        seed: of the skies.
    """
    out: dict[str, dict[str, Any]] = {}
    full_sky = {
        f"cmb-t1-noise{n}": GaussianSkySimulator("T1", noise=float(n)) for n in (0, 5, 10, 15)
    }
    full_sky["cmb-t2-sky100"] = GaussianSkySimulator("T2")
    full_sky["cmb-t3"] = GaussianSkySimulator("T3")
    for name, simulator in full_sky.items():
        out[name] = _percent(full_sky_errors(simulator, size=size, seed=seed))
    for sky_percent, reach in ((5, 5.0), (10, 4.0), (20, 3.0), (50, 2.5)):
        simulator = GaussianSkySimulator("T2", f_sky=sky_percent / 100)
        fisher = pixel_fisher_percent(simulator, size=40, seed=seed)
        limit = _percent(pixel_errors(simulator, size=size, seed=seed, reach=reach))
        out[f"cmb-t2-sky{sky_percent}"] = limit | {"fisher_percent": fisher.tolist()}
    fiducial = torch.tensor([FIDUCIAL["r"], FIDUCIAL["tau"]], dtype=torch.float64)
    for nside in (16, 32):
        for noise in (0.0, 6.0):
            pixel = noise_per_pixel(noise, nside)
            simulator = GaussianSkySimulator("T4", nside=nside, noise=pixel)
            sigma = fisher_full_sky(simulator, fiducial)
            name = f"cmb-t4-nside{nside}-noise{noise:.0f}"
            out[name] = {"sigma_percent": (100 * sigma / fiducial).tolist()}
    return out


def make(folder: Path, *, command: str) -> Path:
    """Compute every limit and write them as a card.

    Arguments:
        folder: where the card goes.
        command: that repeats this, for the card.

    Returns:
        path of the card.
    """
    seed = 12345
    card = checkpoint.provenance(device="cpu", seed=seed, profile="gpu", command=command)
    path = Path(folder) / f"{NAME}.json"
    checkpoint.write_card(path, card | {"limits": compute(seed=seed)})
    return path
