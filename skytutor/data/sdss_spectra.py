"""Spectra of SDSS, read from its files and brought to the grid of `spectral_grid`.

A file is of the kind ``spec-PLATE-MJD-FIBRE.fits``, "lite" or full: the table COADD holds the
spectrum, vacuum wavelengths in the observed frame, and the table SPECOBJ the redshift. Flux is in
1e-17 erg/s/cm^2/angstrom. Dust of our own galaxy is not corrected for.

Shapes: B galaxies, M bins of an instrument.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor
from skytutor.data.spectral_grid import (
    OBSERVED_WINDOW,
    air_to_vacuum,
    bin_edges,
    normalise_spectra,
    rebin,
)
from skytutor.io._fits import opened
from skytutor.validate import check_axes

__all__ = [
    "MAX_REDSHIFT",
    "ObservedSpectrum",
    "RestSpectrum",
    "load_spectrum",
    "noise_table",
    "read_spectrum",
    "resample_to_observed",
    "to_rest_frame",
]

MAX_REDSHIFT = 0.36  # of the published sample
MIN_OBSERVED = 0.5  # fraction of the bins of the grid
# Bits of SDSS's pixel masks (set in every exposure) after which a pixel is left out: rejected in
# full, sky unknown, bright sky line badly subtracted, no data, rejected in the combination, flux
# calibration off, night-sky monster.
_BAD_BITS = (18, 22, 23, 24, 25, 26, 28)
_BAD = sum(2**bit for bit in _BAD_BITS)


@dataclass(frozen=True)
class ObservedSpectrum:
    """What a file holds, in the observed frame.

    Attributes:
        name: of the file.
        edges: ``(L + 1,)`` of the pixels, angstrom in vacuum, float64.
        flux: ``(L,)`` in 1e-17 erg/s/cm^2/angstrom, float64.
        ivar: ``(L,)`` inverse variance, 0 where not observed or masked.
        redshift: of the pipeline.
        z_warning: its flag, 0 for none; -1 if the file has none.
        kind: "GALAXY", "QSO" or "STAR"; "" if the file has none.
        fibre_magnitudes: ugriz of the light in the fibre, AB, integrated by the pipeline over the
            spectrum; NaN where negative or not given.
    """

    name: str
    edges: Tensor
    flux: Tensor
    ivar: Tensor
    redshift: float
    z_warning: int
    kind: str
    fibre_magnitudes: Tensor


@dataclass(frozen=True)
class RestSpectrum:
    """A spectrum in the rest frame, on the grid of `spectral_grid`, with mean 1.

    Attributes:
        name: of the file.
        flux: ``(1000,)`` float32, divided by `mean`; 0 where not observed.
        ivar: ``(1000,)`` inverse variance of `flux`, 0 where not observed.
        mask: bool ``(1000,)``, True where observed.
        redshift: as given or as the file has it.
        mean: over 4500 to 6500 angstrom of the rest frame, 1e-17 erg/s/cm^2/angstrom.
        fibre_r: r magnitude of the light in the fibre; NaN if the file does not give it.
    """

    name: str
    flux: Tensor
    ivar: Tensor
    mask: Tensor
    redshift: float
    mean: float
    fibre_r: float


def read_spectrum(path: str | Path) -> ObservedSpectrum:
    """Read a spectrum as the file has it.

    Arguments:
        path: of a FITS file of SDSS with the tables COADD and SPECOBJ, in this order behind the
            first header.

    Raises:
        OSError: no FITS file, such as a page of HTML, or one that is cut short.
        ValueError: a table or a column is missing, wavelengths do not rise in equal steps, an
            inverse variance is negative, or no pixel was observed.
    """
    with opened(path) as file:
        tables = [part.data for part in file if getattr(part, "columns", None) is not None]
        vacuum = file[0].header.get("VACUUM", True)
    if len(tables) < 2 or len(tables[0]) < 2:
        raise ValueError(f"{path} must hold the tables COADD and SPECOBJ, found {len(tables)}")
    spectrum, about = tables[:2]
    flux = _column(spectrum, "flux", path=path)
    ivar = _inverse_variance(spectrum, flux, path=path)
    try:
        edges = bin_edges(_column(spectrum, "loglam", path=path))
    except ValueError as error:
        raise ValueError(f"{path}: loglam: {error}") from error
    return ObservedSpectrum(
        name=Path(path).name,
        edges=edges if vacuum else air_to_vacuum(edges),
        flux=flux,
        ivar=ivar,
        redshift=float(_column(about, "Z", path=path)[0]),
        z_warning=int(_first(about, "ZWARNING", default=-1)),
        kind=str(_first(about, "CLASS", default="")).strip(),
        fibre_magnitudes=_magnitudes(_first(about, "SPECTROFLUX", default=[np.nan] * 5)),
    )


def to_rest_frame(
    spectrum: ObservedSpectrum,
    *,
    redshift: float | None = None,
    max_redshift: float = MAX_REDSHIFT,
    min_observed: float = MIN_OBSERVED,
) -> RestSpectrum:
    """Shift a spectrum to the rest frame, bring it to the grid and divide it by its mean.

    Arguments:
        spectrum: as `read_spectrum` returns it.
        redshift: None for that of the file.
        max_redshift: beyond which, and below 0, a spectrum is refused.
        min_observed: fraction of the bins of the grid that must have been observed.

    Raises:
        ValueError: a redshift outside these bounds, too few bins observed, or no positive mean.
    """
    z = spectrum.redshift if redshift is None else float(redshift)
    if not 0 <= z <= max_redshift:
        raise ValueError(
            f"{spectrum.name}: redshift must lie in 0 to {max_redshift:g}, where the grid is "
            f"observed, got {z:g}"
        )
    low, high = OBSERVED_WINDOW
    inside = (spectrum.edges[:-1] >= low) & (spectrum.edges[1:] <= high)
    # The flux within any two edges stays: f_lambda grows as wavelengths shrink.
    flux, ivar, mask = rebin(
        spectrum.flux * (1 + z),
        spectrum.edges / (1 + z),
        new_edges=bin_edges(),
        ivar=spectrum.ivar / (1 + z) ** 2,
        mask=inside,
    )
    assert ivar is not None
    try:
        _check_observed(mask, min_observed)
        flux, ivar, mean = normalise_spectra(flux, ivar, mask=mask)
    except ValueError as error:
        raise ValueError(f"{spectrum.name}: {error}") from error
    return RestSpectrum(
        name=spectrum.name,
        flux=flux.float(),
        ivar=ivar.float(),
        mask=mask,
        redshift=z,
        mean=float(mean),
        fibre_r=float(spectrum.fibre_magnitudes[2]),
    )


def _check_observed(mask: Tensor, min_observed: float) -> None:
    """Refuse a spectrum of which too little was observed."""
    found = float(mask.double().mean())
    if found < min_observed:
        raise ValueError(
            f"at least {min_observed:.0%} of the bins must have been observed, got {found:.0%}"
        )


def load_spectrum(path: str | Path, *, redshift: float | None = None) -> RestSpectrum:
    """Read a spectrum of SDSS and bring it to the grid.

    Arguments:
        path: of the file.
        redshift: None for that of the file.

    Raises:
        OSError: no FITS file, or one that is cut short.
        ValueError: what `read_spectrum` and `to_rest_frame` refuse.
    """
    return to_rest_frame(read_spectrum(path), redshift=redshift)


def resample_to_observed(
    flux: Tensor, redshift: Tensor, *, edges: Tensor, rest_edges: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Shift models to redshifts and bring them to the pixels of an instrument.

    A model that is compared with a spectrum where it was measured needs no resampled data, whose
    noise is correlated; as in spender [1]_. Differentiable in flux and in redshift.

    Arguments:
        flux: ``(B, L)`` rest-frame models.
        redshift: ``(B,)``.
        edges: ``(M + 1,)`` of the instrument's pixels, angstrom, observed frame.
        rest_edges: ``(L + 1,)`` of the model's bins; None for those of the grid.

    Returns:
        models ``(B, M)`` in the observed frame, and bool ``(B, M)``: where the whole pixel is
        covered by the model.

    Raises:
        ValueError: shapes that do not fit, or a redshift of -1 or less, or NaN.

    Example:
        >>> edges = torch.linspace(3900.0, 9000.0, 501)
        >>> model, covered = resample_to_observed(
        ...     torch.ones(1, 1000), torch.tensor([0.1]), edges=edges
        ... )
        >>> round(float(model[0, 0]), 4), bool(covered.all())
        (0.9091, True)

    .. [1] Melchior et al. 2023, arXiv:2211.07890.
    """
    (flux,) = as_floats(flux=flux)
    redshift = as_tensor("redshift", redshift, dtype=torch.float64, like=flux)
    edges = as_tensor("edges", edges, dtype=torch.float64)
    check_axes("B L, B", flux=flux, redshift=redshift)
    if not bool((redshift > -1).all()):
        raise ValueError("redshift must be greater than -1 everywhere")
    stretch = 1 + redshift[:, None]
    rest = (
        bin_edges()
        if rest_edges is None
        else as_tensor("rest_edges", rest_edges, dtype=torch.float64)
    )
    rest = rest.to(flux.device)
    check_axes("N, M", edges=edges, rest_edges=rest)
    if len(rest) != flux.shape[1] + 1:
        raise ValueError(
            f"rest_edges must be one more than the {flux.shape[1]} bins of flux, got {len(rest)}"
        )
    for name, values in (("edges", edges), ("rest_edges", rest)):
        if values.shape[-1:] < (2,) or not bool((values.detach().diff(dim=-1) > 0).all()):
            raise ValueError(f"{name} must rise, and be at least two")
    # Light that is spread over a wider range of wavelengths is fainter in each.
    shifted = flux / stretch.to(flux.dtype)
    # Rounding of the edges must not cost the pixels at the ends.
    model, _, covered = rebin(
        shifted, rest * stretch, new_edges=edges.to(flux.device), min_fraction=1 - 1e-6
    )
    return model, covered


def noise_table(spectra: Iterable[RestSpectrum]) -> list[dict[str, Any]]:
    """List how noisy spectra are against how bright they are, one row each, brightest first.

    Arguments:
        spectra: as `load_spectrum` returns them.

    Returns:
        rows with the name, `redshift`, `fibre_r` (magnitude), `ivar` (median inverse variance of
        the flux divided by its mean), `signal_to_noise` (median in a bin of the grid) and
        `observed` (fraction of the bins); medians are over the observed bins.
    """
    rows = []
    for spectrum in spectra:
        seen = spectrum.mask
        ratio = spectrum.flux * spectrum.ivar.sqrt()
        row = {
            "name": spectrum.name,
            "redshift": spectrum.redshift,
            "fibre_r": spectrum.fibre_r,
            "ivar": float(spectrum.ivar[seen].median()),
            "signal_to_noise": float(ratio[seen].median()),
            "observed": float(seen.double().mean()),
        }
        rows.append(row)
    return sorted(rows, key=lambda row: row["fibre_r"])


def _inverse_variance(table: Any, flux: Tensor, *, path: str | Path) -> Tensor:
    """Return the inverse variance, 0 where SDSS marks a pixel bad or its flux is not finite."""
    ivar = _column(table, "ivar", path=path)
    wrong = int((~(ivar >= 0)).sum())
    if wrong:
        raise ValueError(f"{path}: ivar must be 0 or more, {wrong} values are negative or NaN")
    masked = (_column(table, "and_mask", path=path).long() & _BAD) != 0
    ivar = torch.where(masked | ~torch.isfinite(flux), torch.zeros_like(ivar), ivar)
    if not bool((ivar > 0).any()):
        raise ValueError(f"{path}: no pixel was observed: ivar is 0 or masked everywhere")
    return ivar


def _column(table: Any, name: str, *, path: str | Path) -> Tensor:
    """Return a column as float64, or integers as they are; names are read in any case."""
    names = [column.lower() for column in table.names]
    if name.lower() not in names:
        raise ValueError(f"{path} must have the column {name}, found {', '.join(table.names)}")
    values = np.asarray(table[table.names[names.index(name.lower())]])
    # FITS is big-endian, torch is not.
    kind = np.int64 if values.dtype.kind in "iu" else np.float64
    return torch.from_numpy(values.astype(kind))


def _first(table: Any, name: str, *, default: Any) -> Any:
    """Return the first entry of a column, or the default where there is none."""
    return table[name][0] if name in table.names else default


def _magnitudes(nanomaggies: Any) -> Tensor:
    """Return AB magnitudes of fluxes in nanomaggies."""
    flux = torch.tensor(np.asarray(nanomaggies, dtype=float))
    return torch.where(flux > 0, 22.5 - 2.5 * flux.clamp_min(1e-30).log10(), torch.nan)
