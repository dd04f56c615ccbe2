"""The transforms as functions: what they need is made at the first call and kept."""

from typing import Any, cast

import torch
from torch import Tensor

from skytutor.arrays import split_masked
from skytutor.healpix import check_maps, check_order
from skytutor.memo import cached_object
from skytutor.sht.inverse import least_squares
from skytutor.sht.packing import HALF, check_alms, check_lmax
from skytutor.sht.transforms import Harmonics
from skytutor.validate import check_spin


@cached_object(maxsize=8)
def _harmonics(
    nside: int,
    lmax: int,
    spin: int,
    order: str,
    dtype: torch.dtype,
    backend: str | None,
    device: torch.device,
) -> Harmonics:
    return Harmonics(nside, lmax, spin=spin, order=order, dtype=dtype, backend=backend).to(device)


class _Kept:
    """Transforms that compiled graphs use, as attributes: a graph finds a module by its name."""


_KEPT = _Kept()


def _keep(name: str, *settings: Any) -> bool:
    setattr(_KEPT, name, _harmonics(*settings))
    return True


# What `torch.compiler.assume_constant_result` sets, without the import of the compiler.
cast(Any, _keep)._dynamo_marked_constant = True


def _transforms(*settings: Any) -> Harmonics:
    """Return what is kept for these settings, in a graph that is being compiled too."""
    if not torch.compiler.is_compiling():
        return _harmonics(*settings)
    name = "_".join(str(setting) for setting in settings).replace(".", "_")
    _keep(name, *settings)
    found: Harmonics = getattr(_KEPT, name)
    return found


def alm2map(
    alms: Tensor,
    *,
    nside: int,
    lmax: int,
    spin: int = 0,
    order: str,
    backend: str | None = None,
) -> Tensor:
    """Return the maps of coefficients by `Harmonics.alm2map`.

    Tables are kept for the last eight settings.

    Arguments:
        alms: ``(..., A)`` complex, or ``(..., 2, A)``, E and B, with spin 2, in healpy's packing.
        nside: of the maps.
        lmax: of the coefficients, at most 3 nside - 1.
        spin: 0 or 2.
        order: of the maps' pixels, "ring" or "nested".
        backend: "ducc0", "torch" or None, as in `Harmonics`.

    Returns:
        ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2, in the precision of `alms`;
        float32 for complex32.

    Raises:
        TypeError: bad arguments, named.
        ValueError: bad arguments, named.

    Example:
        >>> alm2map(torch.ones(6, dtype=torch.complex128), nside=1, lmax=2, order="ring").shape
        torch.Size([12])
    """
    lmax = check_lmax(lmax, nside)
    # Here to name what is wrong; the values are looked at by the transform.
    alms = check_alms(alms, lmax=lmax, spin=check_spin(spin), finite=False)
    dtype = torch.float64 if alms.dtype == torch.complex128 else torch.float32
    sky = _transforms(nside, lmax, spin, order, dtype, backend, alms.device)
    return sky.alm2map(alms)


def map2alm(
    maps: Tensor,
    *,
    nside: int,
    lmax: int,
    spin: int = 0,
    order: str,
    iterations: int = 0,
    weights: str | None = "ring",
    method: str = "quadrature",
    mask: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Return the coefficients of maps by `Harmonics.map2alm` or `least_squares`.

    Tables are kept for the last eight settings.

    Arguments:
        maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2.
        nside: of the maps.
        lmax: of the coefficients, at most 3 nside - 1.
        spin: 0 or 2.
        order: of the maps' pixels, "ring" or "nested".
        iterations: how often to analyse what is still missing from the map and add it (Jacobi).
        weights: "ring", or None for equal weights.
        method: "quadrature" is `Harmonics.map2alm`; "lsq" is `least_squares`, exact for
            band-limited maps at every lmax, and uses neither iterations nor weights.
        mask: of the pixels with the method "lsq", ``(P,)``, as in `least_squares`: 0 for one that
            is not looked at, as are the pixels that a masked array hides.
        backend: "ducc0", "torch" or None, as in `Harmonics`.

    Returns:
        ``(..., A)`` complex, or ``(..., 2, A)``, E and B, with spin 2, in the precision of `maps`;
        complex64 for float16 and bfloat16.

    Raises:
        TypeError: bad arguments, named.
        ValueError: bad arguments, named.
        ConvergenceError: a mask that hides too much for this lmax.

    Example:
        >>> map2alm(torch.ones(12), nside=1, lmax=2, order="ring")[0]
        tensor(3.5449+0.j)
    """
    if method not in ("quadrature", "lsq"):
        raise ValueError(f"method must be 'quadrature' or 'lsq', got {method!r}")
    if mask is not None and method != "lsq":
        raise ValueError(
            "mask is for method='lsq'; quadrature takes maps that are multiplied by it"
        )
    check_order(order, allowed=("ring", "nested"))
    if method == "lsq":
        maps, mask = split_masked("maps", maps, mask, axes=1)
    # Here to name what is wrong; the values are looked at by the transform.
    maps = check_maps(maps, nside=nside, order=order, finite=False)
    lmax = check_lmax(lmax, nside)
    spin = check_spin(spin)
    dtype = HALF.get(maps.dtype, maps.dtype)
    sky = _transforms(nside, lmax, spin, order, dtype, backend, maps.device)
    if method == "lsq":
        return least_squares(maps, sky, mask=mask).alms
    return sky.map2alm(maps, iterations=iterations, weights=weights)
