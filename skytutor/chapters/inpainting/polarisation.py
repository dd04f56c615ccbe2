r"""Polarisation behind a mask: how much E leaks into B, and what filling the holes does about it.

A mask breaks the orthogonality of E and B. The pseudo-C_l's of a sky of pure E show power in B, and
that of the cosmic B is far smaller [1]_. If the holes are filled first there is no mask any more:
what leaks is what the fill misses. The best fill there is, in the mean square, is the Wiener
filter's; a constrained realisation misses twice that square, for it has the power that the mean
lacks.

The sky is that of the best fit under a beam of two pixels at nside 32, with noise of 0.1 muK a
pixel (11 muK arcmin). The mean is linear in the data, so its leak is measured on skies without
noise, by a filter that expects it. A draw still has the power that the noise leaves uncertain.

Shapes: maps Q and U ``(N, 2, P)``, RING order, float64, muK; masks ``(P,)``, 1 where seen.

.. [1] E. F. Bunn, M. Zaldarriaga, M. Tegmark & A. de Oliveira-Costa, 2003, Phys. Rev. D 67, 023501.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.data.sky_masks import sky_mask
from skytutor.fields.best_fit import best_fit_spectra
from skytutor.fields.realisations import constrained_realisation
from skytutor.fields.spectra import alm2cl, pseudo_cl
from skytutor.fields.wiener import WienerFilter
from skytutor.fields.windows import gaussian_beam
from skytutor.healpix import check_maps, resolution
from skytutor.sht import RealHarmonics, map2alm, real_degrees

__all__ = [
    "LMAX",
    "NOISE",
    "NSIDE",
    "Fill",
    "Leak",
    "exact_fill",
    "leakage",
    "polarisation_filter",
    "polarisation_spectra",
    "pure_e_skies",
    "sampled_fill",
    "zero_fill",
]

NSIDE = 32
LMAX = 64
NOISE = 0.1  # muK a pixel
Fill = Callable[[Tensor, Tensor], Tensor]  # maps and mask to maps that are whole


class Leak(NamedTuple):
    """B power of skies that have none.

    Attributes:
        power: variance of a pixel that the B modes carry, in muK**2.
        over_pseudo: the same over that of the pseudo-C_l's.
        over_e: the same over the power of E.
        error: standard error of `over_pseudo`.
    """

    power: float
    over_pseudo: float
    over_e: float
    error: float


def polarisation_spectra(lmax: int = LMAX) -> dict[str, Tensor]:
    """Return the spectra of the sky's E and B under the beam, as the fills know them.

    B is that of lensing. The beam is Gaussian, two pixels wide (3.7 degrees) at half maximum.

    Arguments:
        lmax: last degree.

    Returns:
        "EE" and "BB" in muK**2, ``(lmax + 1,)`` float64, 0 below l = 2.
    """
    window = gaussian_beam(2 * resolution(NSIDE), lmax, spin=2).square()
    window[:2] = 0
    found = best_fit_spectra(lmax)
    return {name: found[name] * window for name in ("EE", "BB")}


def pure_e_skies(size: int, *, generator: torch.Generator) -> Tensor:
    """Draw Q and U of Gaussian skies whose B is 0, without noise.

    Arguments:
        size: how many.
        generator: of the random numbers, on the CPU.

    Returns:
        ``(size, 2, P)`` float64 in muK, RING order.

    Example:
        >>> pure_e_skies(3, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([3, 2, 12288])
    """
    sky = RealHarmonics(NSIDE, LMAX, spin=2, order="ring", dtype=torch.float64)
    root = polarisation_spectra()["EE"].sqrt()[real_degrees(LMAX)[0]]
    e = root * torch.randn(size, len(root), generator=generator, dtype=torch.float64)
    return sky.synthesis(torch.stack([e, torch.zeros_like(e)], -2))


def polarisation_filter() -> WienerFilter:
    """Return the filter of these maps, with the preconditioner of the hole."""
    return WienerFilter(
        NSIDE, LMAX, spin=2, order="ring", dtype=torch.float64, preconditioner="hole"
    )


def zero_fill(maps: Tensor, mask: Tensor) -> Tensor:
    """Fill with zeros.

    Arguments:
        maps: ``(N, 2, P)``.
        mask: ``(P,)``.

    Returns:
        ``(N, 2, P)``.
    """
    return torch.where(mask > 0, maps, 0)


def exact_fill(
    *, filter: WienerFilter | None = None, spectra: Mapping[str, Tensor] | None = None
) -> Fill:
    """Return the fill by the Wiener mean; seen pixels stay as they are.

    Arguments:
        filter: None is `polarisation_filter`; it keeps what it made for a mask.
        spectra: None is `polarisation_spectra`.

    Returns:
        A function of maps and mask.
    """
    sky = polarisation_filter() if filter is None else filter
    prior = polarisation_spectra() if spectra is None else spectra

    def fill(maps: Tensor, mask: Tensor) -> Tensor:
        found = sky(maps, prior, variance=NOISE**2, mask=mask)
        return torch.where(mask > 0, maps, sky.harmonics.synthesis(found.coefs))

    return fill


def sampled_fill(
    *,
    generator: torch.Generator,
    filter: WienerFilter | None = None,
    spectra: Mapping[str, Tensor] | None = None,
) -> Fill:
    """Return the fill by constrained realisations; seen pixels stay as they are.

    Arguments:
        generator: of the random numbers.
        filter: as in `exact_fill`.
        spectra: likewise.

    Returns:
        A function of maps and mask.
    """
    sky = polarisation_filter() if filter is None else filter
    prior = polarisation_spectra() if spectra is None else spectra

    def fill(maps: Tensor, mask: Tensor) -> Tensor:
        drawn = constrained_realisation(
            maps, prior, filter=sky, variance=NOISE**2, mask=mask, generator=generator
        )
        return torch.where(mask > 0, maps, drawn.maps)

    return fill


def _power(cl: Tensor) -> Tensor:
    """Return the variance of a pixel that spectra ``(N, lmax + 1)`` make, ``(N,)``."""
    l = torch.arange(cl.shape[-1])
    return ((2 * l + 1) * cl).sum(-1) / (4 * math.pi)


def _full_sky_power(maps: Tensor) -> Tensor:
    """Return the power of E and B of whole maps, ``(2, N)``."""
    alms = map2alm(maps, nside=NSIDE, lmax=LMAX, spin=2, order="ring", iterations=3)
    return torch.stack([_power(alm2cl(part, lmax=LMAX)) for part in alms.unbind(-2)])


def leakage(
    fills: Mapping[str, Fill],
    *,
    size: int,
    generator: torch.Generator,
    mask: Tensor | None = None,
) -> dict[str, Leak]:
    """Measure the B power that each fill leaves in skies of pure E.

    Arguments:
        fills: by name, such as ``{"Wiener mean": exact_fill()}``; a network's takes maps
            ``(N, 2, P)`` and the mask, and returns whole maps.
        size: how many skies, 2 at least.
        generator: of the skies.
        mask: ``(P,)`` bool or 0 and 1, RING order; None is `skytutor.data.sky_masks.sky_mask`.

    Returns:
        First "complete sky", what the transform itself leaves, and "pseudo-C_l", of the masked
        maps; then the fills.

    Raises:
        ValueError: fewer than 2 skies; a fill that returns another shape, NaN, or other values in
            seen pixels.
    """
    if size < 2:
        raise ValueError(f"size must be at least 2, for a standard error, got {size}")
    seen = sky_mask(NSIDE, order="ring") if mask is None else mask
    seen = seen.double()
    maps = pure_e_skies(size, generator=generator)
    e, complete = _full_sky_power(maps)
    masked = pseudo_cl(maps, seen, nside=NSIDE, lmax=LMAX, spin=2, order="ring")
    assert isinstance(masked, dict)  # with spin 2
    pseudo = _power(masked["BB"])
    powers = {"complete sky": complete, "pseudo-C_l": pseudo}
    for name, fill in fills.items():
        filled = check_maps(fill(maps, seen), nside=NSIDE, order="ring", name=f"fill {name!r}")
        if filled.shape != maps.shape or not bool(((filled - maps) * seen == 0).all()):
            raise ValueError(f"fill {name!r} must return {tuple(maps.shape)}, equal where seen")
        powers[name] = _full_sky_power(filled)[1]
    return {name: _leak(power, pseudo, e) for name, power in powers.items()}


def _leak(power: Tensor, pseudo: Tensor, e: Tensor) -> Leak:
    ratio = power.mean() / pseudo.mean()
    # To the first order the ratio of means scatters as this difference does.
    error = (power - ratio * pseudo).std() / pseudo.mean() / math.sqrt(len(power))
    return Leak(float(power.mean()), float(ratio), float(power.mean() / e.mean()), float(error))
