"""Fills of the real sky against fills of simulated skies that went through the same pixels.

Theory says how large the error of a fill is on a Gaussian sky whose spectrum, beam and noise are
known, in the pixels of the patch. A patch of the real sky is interpolated from a map with pixels of
its own, so its error is compared with that on simulations that are cut, interpolated and filled in
the same way, at the same places. Only where both agree is the real sky as Gaussian, and as well
known, as the fill takes it to be.

Amplitude, beam and noise of the simulations are fitted to the power spectrum of the whole map, in
`skytutor.chapters.inpainting.map_model`. The discs have no part in that.

``python -m skytutor.chapters.inpainting.real_sky`` prints the table.

Shapes: N discs, H pixels along a side of a patch, P pixels of the map, RING.
"""

import argparse
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.chapters.inpainting.map_model import FIT, MapModel, fit_map_model
from skytutor.chapters.seeds import INPAINTING
from skytutor.chunks import in_chunks
from skytutor.data.masks import disc_mask
from skytutor.data.patches import SETUPS, best_fit_spectrum, galactic_cut
from skytutor.data.sky_patches import gnomonic_patch
from skytutor.data.skymaps import NSIDE, SkyMap, simulated_sky, sky_map
from skytutor.fields.gnomonic import GnomonicHole, PatchCovariance
from skytutor.validate import positive

__all__ = ["RADII", "RealSky", "real_over_simulated", "table"]

RADII = (5, 15, 30, 60)
SETUP = SETUPS["B"]
# Pixels around a disc on each side. The next two degrees know what there is to know.
BORDER = 12
_BOOTSTRAPS = 400


class RealSky(NamedTuple):
    """What `real_over_simulated` finds.

    Attributes:
        ratio: error on the real sky over that on simulated ones, by radius in arcmin.
        error: standard error of the ratio, from a bootstrap over the discs.
        rmse: on the real sky, in muK.
        simulated_rmse: on the simulated ones.
        discs: how many, by radius.
        model: of the simulations.
        source: of the map, in words.
    """

    ratio: dict[str, float]
    error: dict[str, float]
    rmse: dict[str, float]
    simulated_rmse: dict[str, float]
    discs: dict[str, int]
    model: MapModel
    source: str


def real_over_simulated(
    n_discs: int = 1500,
    radii: Sequence[float] = RADII,
    *,
    n_simulations: int = 3,
    cut_deg: float = 20.0,
    seed: int = 0,
    sky: SkyMap | None = None,
) -> RealSky:
    """Fill discs of the real sky and of simulations at the same places, and compare the errors.

    Arguments:
        n_discs: how many of each radius, at least; evenly spread over the sky that is valid.
        radii: in arcmin.
        n_simulations: skies to compare with.
        cut_deg: discs lie further than this from the Galactic plane, in degrees.
        seed: of the simulations.
        sky: the map; None for `skytutor.data.skymaps.sky_map`, which is simulated where no file is.

    Returns:
        ratios and errors by radius. The truth is the map itself at the hidden pixels, so both
        errors have the noise of these pixels in them.

    Raises:
        ValueError: bad arguments, or fewer places than discs.
    """
    positive(n_discs=n_discs, n_simulations=n_simulations)
    sky = sky_map() if sky is None else sky
    model = fit_map_model(sky.maps, sky.valid & galactic_cut(NSIDE, cut_deg, order="ring"))
    rng = torch.Generator().manual_seed(INPAINTING.test_seed(seed))
    skies = [
        simulated_sky(
            generator=rng,
            beam_arcmin=model.beam_arcmin,
            noise=model.noise,
            amplitude=model.amplitude,
        )
        for _ in range(n_simulations)
    ]
    # What may not be believed is NaN, and so is every patch that it enters.
    real = torch.where(sky.valid, sky.maps, torch.nan)
    found: dict[str, dict[str, float]] = {}
    for radius in radii:
        found[f"{radius:g}"] = _compare(real, skies, radius, n_discs=n_discs, cut_deg=cut_deg)
    columns = {
        name: {radius: row[name] for radius, row in found.items()}
        for name in ("ratio", "error", "rmse", "simulated_rmse")
    }
    discs = {radius: int(row["discs"]) for radius, row in found.items()}
    return RealSky(**columns, discs=discs, model=model, source=sky.source)


def _compare(
    real: Tensor, skies: list[Tensor], radius: float, *, n_discs: int, cut_deg: float
) -> dict[str, float]:
    """Return the figures of one radius."""
    size = 2 * math.ceil(radius / SETUP.pixel_arcmin) + 2 * BORDER + 1
    covariance = PatchCovariance(
        size,
        pixel_arcmin=SETUP.pixel_arcmin,
        cl=best_fit_spectrum(),
        beam_arcmin=SETUP.beam_arcmin,
        noise=SETUP.noise,
    )
    hole = covariance.hole(disc_mask(size, radius, pixel_arcmin=SETUP.pixel_arcmin))
    places, errors = _errors_where_valid(real, hole, size=size, n_discs=n_discs, cut_deg=cut_deg)
    simulated = torch.stack([_square_errors(sky, places, hole, size) for sky in skies]).mean(0)
    # Discs drawn with repetition: their spread is that of the ratio.
    rng = torch.Generator().manual_seed(0)
    draws = torch.randint(len(errors), (_BOOTSTRAPS, len(errors)), generator=rng)
    ratios = (errors[draws].mean(1) / simulated[draws].mean(1)).sqrt()
    return {
        "ratio": float((errors.mean() / simulated.mean()).sqrt()),
        "error": float(ratios.std()),
        "rmse": float(errors.mean().sqrt()),
        "simulated_rmse": float(simulated.mean().sqrt()),
        "discs": float(len(errors)),
    }


def _errors_where_valid(
    real: Tensor, hole: GnomonicHole, *, size: int, n_discs: int, cut_deg: float
) -> tuple[Tensor, Tensor]:
    """Return places ``(N, 2)`` in degrees, N at least `n_discs`, and the errors on the real sky."""
    n = int(n_discs / (1 - math.sin(math.radians(cut_deg))))
    while n < 200 * n_discs:
        places = _spread(n)
        places = places[places[:, 1].abs() > cut_deg]
        errors = _square_errors(real, places, hole, size)
        whole = ~errors.isnan()
        if int(whole.sum()) >= n_discs:
            return places[whole], errors[whole]
        # More places, closer together: as many more as were missing.
        n = int(n * max(1.02, 1.01 * n_discs / max(1, int(whole.sum()))))
    raise ValueError(f"n_discs: there is no room for {n_discs} valid patches of {size} pixels")


def _square_errors(sky: Tensor, places: Tensor, hole: GnomonicHole, size: int) -> Tensor:
    """Return the mean square error over the hole, ``(N,)``; NaN where a patch holds a NaN."""

    def errors(some: Tensor) -> Tensor:
        patches = gnomonic_patch(
            sky,
            nside=NSIDE,
            order="ring",
            lon_deg=some[:, 0],
            lat_deg=some[:, 1],
            size=size,
            pixel_arcmin=SETUP.pixel_arcmin,
        )
        spoiled = patches.isnan().flatten(1).any(1)
        known = patches.nan_to_num().double()
        difference = (hole.fill(known) - known).flatten(1)[:, hole.index]
        return torch.where(spoiled, torch.nan, difference.square().mean(1))

    return in_chunks(errors, places, size=250)


def _spread(n: int) -> Tensor:
    """Return places spread evenly over the sphere, a spiral of golden angles: ``(n, 2)`` degrees.

    Neighbours are about as far apart everywhere, so patches overlap as little as they can.
    """
    i = torch.arange(n, dtype=torch.float64) + 0.5
    lon = (i * math.pi * (1 + math.sqrt(5))).rad2deg() % 360
    lat = (1 - 2 * i / n).asin().rad2deg()
    return torch.stack([lon, lat], -1)


def table(found: RealSky) -> str:
    """Return the result as lines to print.

    Arguments:
        found: what `real_over_simulated` returned.
    """
    model = found.model
    lines = [
        f"map: {found.source}",
        f"simulations: best-fit spectrum times {model.amplitude:.3f}, beam "
        f"{model.beam_arcmin:.2f} arcmin, noise {model.noise:.2f} muK, fitted to the map's "
        f"spectrum at l {FIT[0]} to {FIT[1]}",
        "radius  discs  real muK  simulated muK  ratio",
    ]
    for radius, ratio in found.ratio.items():
        lines.append(
            f"{radius:>5}'  {found.discs[radius]:5d}  {found.rmse[radius]:8.2f}  "
            f"{found.simulated_rmse[radius]:13.2f}  {ratio:.4f} +- {found.error[radius]:.4f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table; ``--json`` for machines."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--discs", type=int, default=1500, help="of each radius")
    parser.add_argument("--seed", type=int, default=0, help="of the simulations")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = real_over_simulated(args.discs, seed=args.seed)
    if args.json:
        print(json.dumps({**found._asdict(), "model": found.model._asdict()}))
    else:
        print(table(found))


if __name__ == "__main__":
    main()
