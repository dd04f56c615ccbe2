"""The transforms as functions: what they need is made at the first call and kept."""

from functools import lru_cache

import torch
from torch import Tensor

from skytutor.healpix import check_maps, check_order
from skytutor.sht.inverse import least_squares
from skytutor.sht.packing import check_alms, check_lmax
from skytutor.sht.transforms import Harmonics, check_spin


@lru_cache(maxsize=8)
def _kept(
    nside: int,
    lmax: int,
    spin: int,
    order: str,
    dtype: torch.dtype,
    backend: str | None,
    device: torch.device,
):
    return Harmonics(nside, lmax, spin=spin, order=order, dtype=dtype, backend=backend).to(device)


def alm2map(
    alms: Tensor,
    *,
    nside: int,
    lmax: int,
    spin: int = 0,
    order: str = "ring",
    backend: str | None = None,
) -> Tensor:
    """Maps ``(..., [2,] P)`` of coefficients ``(..., [2,] A)``: `Harmonics.alm2map`, tables kept for the last eight settings.

    Example:
        >>> alm2map(torch.ones(6, dtype=torch.complex128), nside=1, lmax=2).shape
        torch.Size([12])
    """
    check_alms(alms, lmax=check_lmax(lmax, nside), spin=check_spin(spin))
    real = torch.float64 if alms.dtype == torch.complex128 else torch.float32
    return _kept(nside, lmax, spin, order, real, backend, alms.device).alm2map(alms)


def map2alm(
    maps: Tensor,
    *,
    nside: int,
    lmax: int,
    spin: int = 0,
    order: str = "ring",
    iterations: int = 0,
    weights: str | None = "ring",
    method: str = "quadrature",
    backend: str | None = None,
) -> Tensor:
    """Coefficients ``(..., [2,] A)`` of maps ``(..., [2,] P)``, tables kept likewise.

    Arguments:
        iterations: how often to analyse what is still missing from the map and add it (Jacobi).
        weights: "ring", or None for equal weights.
        method: "quadrature" is `Harmonics.map2alm`; "lsq" is `least_squares`, exact for
            band-limited maps at every lmax, and uses neither iterations nor weights.

    Example:
        >>> map2alm(torch.ones(12), nside=1, lmax=2)[0]
        tensor(3.5449+0.j)
    """
    check_maps(maps, nside=nside, order=check_order(order, allowed=("ring", "nested")))
    found = _kept(
        nside, check_lmax(lmax, nside), check_spin(spin), order, maps.dtype, backend, maps.device
    )
    if method not in ("quadrature", "lsq"):
        raise ValueError(f"method must be 'quadrature' or 'lsq', got {method!r}")
    return (
        least_squares(maps, found).alms
        if method == "lsq"
        else found.map2alm(maps, iterations=iterations, weights=weights)
    )
