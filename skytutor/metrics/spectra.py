"""Scores of power spectra: power in bands against what is wanted, and its scatter between maps."""

from itertools import pairwise

import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor
from skytutor.chunks import in_chunks
from skytutor.fields.spectra import alm2cl
from skytutor.healpix import npix_to_nside
from skytutor.sht import Harmonics

BAND = 5


def power_spectra(maps: Tensor, *, order: str, lmax: int) -> Tensor:
    """Return the C_l of each map, from coefficients up to l = 3 nside - 1 with three iterations.

    Arguments:
        maps: ``(N, 1, P)``.
        order: of their pixels, "ring" or "nested".
        lmax: last multipole returned, at most 3 nside - 1.

    Returns:
        ``(N, lmax + 1)``, float64.

    Raises:
        TypeError, ValueError: maps of another shape, or no floating-point numbers.
    """
    (maps,) = as_floats(maps=maps)
    if maps.dim() != 3 or maps.shape[1] != 1:
        raise ValueError(f"maps must be (N, 1, P), got shape {tuple(maps.shape)}")
    nside = npix_to_nside(maps.shape[-1], name="the pixels of maps")
    harmonics = Harmonics(nside, 3 * nside - 1, order=order)

    def spectra(part: Tensor) -> Tensor:
        alms = harmonics.map2alm(part[:, 0].float(), iterations=3)
        return alm2cl(alms, lmax=harmonics.lmax)

    return in_chunks(spectra, maps, size=500)[:, : lmax + 1].double()


def band_ratios(found: Tensor, wanted: Tensor) -> Tensor:
    """Return mean band powers of one set of spectra over those of another.

    Bands are of five multipoles from l = 2 on; what is left over joins the last.

    Arguments:
        found: C_l ``(N, lmax + 1)``.
        wanted: C_l ``(M, lmax + 1)``.

    Returns:
        ``(bands,)``.

    Raises:
        ValueError: different lmax, or no whole band.
    """
    found = _checked("found", found)
    wanted = _checked("wanted", wanted)
    if found.shape[1] != wanted.shape[1] or found.shape[1] < 2 + BAND:
        raise ValueError(
            f"found and wanted must both reach one lmax of {1 + BAND} or more, "
            f"got {found.shape[1] - 1} and {wanted.shape[1] - 1}"
        )
    return _band_powers(found).mean(0) / _band_powers(wanted).mean(0)


def _checked(name: str, cl: Tensor) -> Tensor:
    """Return spectra ``(N, lmax + 1)`` in float64."""
    cl = as_tensor(name, cl, dtype=torch.float64)
    if cl.dim() != 2:
        raise ValueError(f"{name} must be (N, lmax + 1), got shape {tuple(cl.shape)}")
    return cl


def _band_powers(cl: Tensor) -> Tensor:
    """Return ``sum_l (2 l + 1) C_l`` over each band: ``(N, lmax + 1)`` to ``(N, bands)``."""
    power = (2 * torch.arange(cl.shape[1]) + 1) * cl
    power = power[:, 2:]  # neither monopole nor dipole
    n_bands = power.shape[1] // BAND
    edges = [*range(0, n_bands * BAND, BAND), power.shape[1]]
    return torch.stack([power[:, start:stop].sum(1) for start, stop in pairwise(edges)], 1)


def relative_scatter(cl: Tensor) -> Tensor:
    """Return the standard deviation of band powers between skies, over their mean: ``(bands,)``.

    Arguments:
        cl: C_l ``(N, lmax + 1)`` of two skies or more.

    Raises:
        ValueError: another shape, one sky alone, or no whole band.
    """
    cl = _checked("cl", cl)
    if len(cl) < 2 or cl.shape[1] < 2 + BAND:
        raise ValueError(
            f"cl must hold two skies or more up to an lmax of {1 + BAND} or more, "
            f"got shape {tuple(cl.shape)}"
        )
    powers = _band_powers(cl)
    return powers.std(0) / powers.mean(0)
