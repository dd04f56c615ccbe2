"""Scores of predicted spectra, in the windows of the lines and in the continuum apart.

A spectrum is mostly continuum, which colours fix well. One number over all bins would say little of
the lines, in which the physics stands. All scores are against spectra without noise.

Shapes: B galaxies, M bins of a spectrum.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.chapters.spectra.generate import SpectrumBands, check_finite
from skytutor.data.spectral_templates import LINES, LOG_WAVELENGTH

__all__ = ["WINDOWS", "PartScore", "score_bands", "spectrum_parts"]

# Lines that stand in one window; those of LINES that no window names are "other lines".
WINDOWS = {
    "H-alpha + [NII]": ("[NII] 6548", "H-alpha", "[NII] 6584"),
    "[OIII]": ("[OIII] 4959", "[OIII] 5007"),
    "H-beta": ("H-beta",),
    "[OII]": ("[OII] 3728",),
}
_HALF_WIDTH = 0.003  # of a line's window over its wavelength: 900 km/s on either side


@dataclass(frozen=True)
class PartScore:
    """How good predicted spectra are in one part of the wavelengths.

    Attributes:
        bins: number of bins of the part.
        rms: root mean square of mean minus truth, in units of the galaxy's mean flux in the part.
        rms_error: its standard error, from the scatter between galaxies.
        coverage: fraction of bins whose truth lies in the band.
        coverage_error: its standard error, from the scatter between galaxies.
        half_width: mean half width of the band, in the unit of `rms`.
    """

    bins: int
    rms: float
    rms_error: float
    coverage: float
    coverage_error: float
    half_width: float


def spectrum_parts(log_wavelength: Tensor = LOG_WAVELENGTH) -> dict[str, Tensor]:
    """Return the windows of the lines, and the continuum, as masks.

    A window reaches 0.3 % (900 km/s) to either side of its lines.

    Arguments:
        log_wavelength: ``(M,)``, log10 of the rest-frame wavelength in vacuum in angstrom.

    Returns:
        bool ``(M,)`` by name: the windows of `WINDOWS`; "lines", all of these together; "other
        lines", weaker ones; "continuum", what is in no window. Every bin is in exactly one of
        "lines", "other lines" and "continuum".

    Example:
        >>> int(spectrum_parts()["H-beta"].sum())
        7
    """
    wavelength = 10 ** log_wavelength.double()

    def near(name: str) -> Tensor:
        return (wavelength / LINES[name] - 1).abs() < _HALF_WIDTH

    parts = {}
    for title, names in WINDOWS.items():
        parts[title] = torch.stack([near(name) for name in names]).any(0)
    lines = torch.stack(list(parts.values())).any(0)
    any_line = torch.stack([near(name) for name in LINES]).any(0)
    return parts | {"lines": lines, "other lines": any_line & ~lines, "continuum": ~any_line}


def score_bands(
    bands: SpectrumBands, truth: Tensor, *, parts: Mapping[str, Tensor] | None = None
) -> dict[str, PartScore]:
    """Score predicted spectra against spectra without noise, lines and continuum apart.

    Arguments:
        bands: of B galaxies, or of one row that is the answer for all.
        truth: ``(B, M)``, without noise.
        parts: bool ``(M,)`` by name; default: `spectrum_parts`, for the grid of `LOG_WAVELENGTH`.

    Returns:
        the scores by the names of the parts.

    Raises:
        ValueError: shapes that do not fit together, fewer than two galaxies, NaN or infinite
            values, an empty part, or a part in which a galaxy's mean flux is not positive.
    """
    if truth.ndim != 2 or len(truth) < 2:
        raise ValueError(f"truth must be (B, M) with B of 2 or more, got {tuple(truth.shape)}")
    if bands.mean.shape not in (truth.shape, (1, truth.shape[1])):
        raise ValueError(
            f"bands must be (B, M) of the truth, {tuple(truth.shape)}, or (1, M); "
            f"got {tuple(bands.mean.shape)}"
        )
    check_finite(truth=truth, mean=bands.mean, low=bands.low, high=bands.high)
    if parts is None:
        parts = spectrum_parts()
    return {name: _score_part(name, part, bands=bands, truth=truth) for name, part in parts.items()}


def _score_part(name: str, part: Tensor, *, bands: SpectrumBands, truth: Tensor) -> PartScore:
    """Score the bins of one part."""
    if part.shape != truth.shape[1:] or not bool(part.any()):
        raise ValueError(f"part {name!r} must be a mask of {truth.shape[1]} bins with one in it")
    part = part.to(truth.device)
    truth = truth[:, part].double()
    flux = truth.mean(1)  # (B,)
    if not bool((flux > 0).all()):
        raise ValueError(f"truth must have a positive mean flux in the part {name!r}")
    mean, low, high = (x[:, part].double() for x in (bands.mean, bands.low, bands.high))
    # Each galaxy counts alike, whatever its flux in the part.
    squared = (mean - truth).square().mean(1) / flux**2  # (B,)
    inside = ((truth >= low) & (truth <= high)).double().mean(1)  # (B,)
    rms = float(squared.mean().sqrt())
    root_n = len(truth) ** 0.5
    return PartScore(
        bins=int(part.sum()),
        rms=rms,
        # The error of a root is that of the square over twice the root.
        rms_error=float(squared.std()) / root_n / max(2 * rms, 1e-300),
        coverage=float(inside.mean()),
        coverage_error=float(inside.std()) / root_n,
        half_width=float(((high - low).mean(1) / 2 / flux).mean()),
    )
