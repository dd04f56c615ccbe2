"""Small patches of the microwave background: the spectrum, three set-ups, and masks.

Temperatures are in muK. The sky of every set-up has the spectrum of the best fit to Planck's data
of 2018 [1]_, from a table that comes with the package. A set-up adds the pixels, the beam and the
noise. Masks are in `skytutor.data.masks` and
`skytutor.data.sky_masks`, and can be imported from here.

.. [1] Planck Collaboration VI, 2020, A&A 641, A6, table 1.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.arrays import as_tensor, split_masked
from skytutor.data.masks import RADII, blob_mask, check_hidden, disc_mask, discs_mask, mixed_mask
from skytutor.data.sky_masks import galactic_cut, mask_source, sky_mask
from skytutor.fields.best_fit import BEST_FIT, LMAX, best_fit_spectra
from skytutor.fields.flat import FlatSky
from skytutor.healpix import is_unseen
from skytutor.validate import check_broadcast, hard_mask, one_of

__all__ = [
    "BEST_FIT",
    "LMAX",
    "RADII",
    "SETUPS",
    "Setup",
    "best_fit_spectrum",
    "blob_mask",
    "check_hidden",
    "check_units",
    "disc_mask",
    "discs_mask",
    "flat_sky",
    "galactic_cut",
    "mask_source",
    "mixed_mask",
    "sky_mask",
]


def best_fit_spectrum(lmax: int = LMAX) -> Tensor:
    """Return the lensed temperature spectrum of the best fit to Planck's data of 2018.

    Arguments:
        lmax: last degree, at most 4500.

    Returns:
        C_l in muK**2, ``(lmax + 1,)`` float64. Monopole and dipole are 0.

    Raises:
        ValueError: lmax beyond the table.
    """
    return best_fit_spectra(lmax)["TT"]


@dataclass(frozen=True)
class Setup:
    """What a patch is seen with.

    Attributes:
        pixel_arcmin: side of a pixel in arcmin.
        beam_arcmin: full width at half maximum of the Gaussian beam in arcmin.
        noise: standard deviation of the white noise in a pixel, in muK.
        words: what it stands for.
    """

    pixel_arcmin: float
    beam_arcmin: float
    noise: float
    words: str


SETUPS = {
    "A": Setup(3.435, 5.0, 10.0, "pixels as of nside 1024, Planck's sharpest channels"),
    "B": Setup(6.871, 8.3, 5.0, "pixels as of nside 512, a map like SMICA's at 8 arcmin"),
    "C": Setup(13.74, 20.0, 2.0, "pixels as of nside 256, a smoothed map"),
}


def flat_sky(setup: str = "B", size: int = 64) -> FlatSky:
    """Return the Gaussian sky of a set-up on a periodic patch.

    Arguments:
        setup: "A", "B" or "C".
        size: H, pixels along a side.

    Raises:
        ValueError: another set-up or size.
    """
    chosen = SETUPS[one_of("setup", setup, allowed=SETUPS)]
    return FlatSky(
        size,
        pixel_arcmin=chosen.pixel_arcmin,
        cl=best_fit_spectrum(),
        beam_arcmin=chosen.beam_arcmin,
        noise=chosen.noise,
    )


def check_units(maps: Tensor, sky: FlatSky, *, mask: Tensor | None = None) -> float:
    """Warn of maps whose variance is not nearly that of the sky, as of K taken for muK.

    Arguments:
        maps: data ``(..., H, H)``, thought to be in muK. What a masked array hides does not count.
        sky: whose variance they should have.
        mask: bool, broadcasts with `maps`: only where it is True do pixels count, and of those only
            the ones that are finite and not UNSEEN.

    Returns:
        variance of the maps about their mean over that of the sky's modes but the constant one. A
        warning (`UserWarning`) comes with a ratio outside 0.01..100, and names the unit that would
        explain it.

    Raises:
        ValueError: maps of another size, or nothing to look at.

    Example:
        >>> sky = FlatSky(16, pixel_arcmin=7.0, cl=torch.ones(3000))
        >>> signal, _ = sky.draw(8, generator=torch.Generator().manual_seed(0))
        >>> bool(0.8 < check_units(signal, sky) < 1.2)
        True
    """
    maps, mask = split_masked("maps", maps, mask)
    pixels = as_tensor("maps", maps, dtype=torch.float64)
    if pixels.shape[-2:] != (sky.size, sky.size):
        raise ValueError(
            f"maps must be (..., {sky.size}, {sky.size}) as the sky, got {tuple(pixels.shape)}"
        )
    known = pixels.isfinite() & ~is_unseen(pixels)
    if mask is not None:
        mask = hard_mask(mask)
        check_broadcast(maps=pixels, mask=mask)
        known = known & mask
    seen = known.double().sum((-2, -1), keepdim=True)
    if not bool((seen > 0).all()):
        raise ValueError("maps hold NaN, infinite or UNSEEN values alone where the mask is True")
    # The mean of a patch is of no use here: one mode decides it, and many maps have none.
    mean = torch.where(known, pixels, 0).sum((-2, -1), keepdim=True) / seen
    square = torch.where(known, pixels - mean, 0).square().sum() / seen.sum()
    expected = _pixel_variance(sky)
    ratio = float(square) / expected
    if not 1e-2 <= ratio <= 1e2:
        units = {"K": 1e-12, "mK": 1e-6, "nK": 1e6}
        # The unit whose factor lies within 100 of the ratio, if one does.
        near = [name for name, factor in units.items() if 1e-2 <= ratio / factor <= 1e2]
        why = f"they may be in {near[0]}: convert them to muK" if near else "look at their unit"
        warnings.warn(
            f"maps have {ratio:.2g} of the variance that the sky has in muK**2 "
            f"({expected:.4g}); {why}",
            stacklevel=2,
        )
    return ratio


def _pixel_variance(sky: FlatSky) -> float:
    """Return the variance of a pixel about the mean of its patch."""
    total = sky.total.clone()
    total[0, 0] = 0
    # rfft2 leaves out half of the modes: those between kx = 0 and the last stand for two.
    twice = torch.full(total.shape[-1:], 2.0, dtype=total.dtype)
    twice[0] = 1.0
    if sky.size % 2 == 0:
        twice[-1] = 1.0
    return float((total * twice).sum()) / sky.size**2
