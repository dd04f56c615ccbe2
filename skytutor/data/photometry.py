"""Magnitudes in apertures, and the colour terms between Pan-STARRS and SDSS.

Two surveys that saw the same galaxy must agree on how bright it is. That checks zero points, units
and coordinates of a loader at once.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skytutor.data.cutouts import Cutout, clipped_scatter, load_cutout
from skytutor.validate import as_length

__all__ = ["PS1_TO_SDSS", "Aperture", "aperture_flux", "compare_surveys", "ps1_to_sdss"]

# m_SDSS - m_PS1 = a0 + a1 x + a2 x^2 with x = (g - r) of Pan-STARRS: Tonry et al. 2012, table 6.
PS1_TO_SDSS = {
    "g": (0.013, 0.145, 0.019),
    "r": (-0.001, 0.004, 0.007),
    "i": (-0.005, 0.011, 0.010),
    "z": (0.013, -0.039, -0.012),
}
# Centre of the images that `compare_surveys` was made for: the host of SN 2006bh's field.
_POSITION = (27.952, 0.2635)
_SUBPIXELS = 10  # in each direction: the edge of a circle crosses pixels


class Aperture(NamedTuple):
    """Light in a circle.

    Attributes:
        flux: in nanomaggies, the sky subtracted.
        error: standard deviation of `flux`, of the pixels' noise and of the sky's.
        magnitude: AB; NaN if the flux is not positive.
        sky: in nanomaggies a pixel.
    """

    flux: float
    error: float
    magnitude: float
    sky: float


def aperture_flux(
    cutout: Cutout,
    position: tuple[float, float],
    *,
    radius_arcsec: float,
    annulus_arcsec: tuple[float, float],
) -> Aperture:
    """Measure the light in a circle above the sky in a ring around it.

    The sky is the median of the ring's pixels after objects in it were clipped away.

    Arguments:
        cutout: as `skytutor.data.cutouts.load_cutout` returns it.
        position: right ascension and declination of the centre, degrees.
        radius_arcsec: of the circle.
        annulus_arcsec: inner and outer radius of the ring.

    Raises:
        ValueError: a circle that reaches beyond the image or holds masked pixels, a ring that is
            none, or one of fewer than 20 pixels.
    """
    radius = as_length("radius_arcsec", radius_arcsec) / cutout.pixel_arcsec
    inner, outer = (float(edge) / cutout.pixel_arcsec for edge in annulus_arcsec)
    if not radius <= inner < outer:
        raise ValueError(
            f"annulus_arcsec must rise and lie outside the circle of {radius_arcsec:g}, "
            f"got {annulus_arcsec}"
        )
    x, y = (float(value) for value in cutout.wcs.world_to_pixel_values(*position))
    rows, columns = cutout.image.shape
    if min(x, y, columns - 1 - x, rows - 1 - y) < radius - 0.5:
        raise ValueError(f"{cutout.name}: a circle of {radius_arcsec:g} arcsec leaves the image")
    covered = _circle(cutout.image.shape, (x, y), radius=radius)
    good = cutout.mask.numpy()
    if not good[covered > 0].all():
        raise ValueError(f"{cutout.name}: masked pixels lie in the circle")
    image = cutout.image.numpy()
    distance = np.hypot(np.arange(columns)[None] - x, np.arange(rows)[:, None] - y)
    ring = image[(distance >= inner) & (distance < outer) & good]
    if len(ring) < 20:
        raise ValueError(f"{cutout.name}: the ring holds {len(ring)} pixels, 20 are needed")
    spread = clipped_scatter(ring)
    kept = ring[np.abs(ring - np.median(ring)) <= 3 * spread]
    sky = float(np.median(kept))
    area = float(covered.sum())
    flux = float((covered * (image - sky)).sum())
    variance = (covered[covered > 0] ** 2 / cutout.ivar.numpy()[covered > 0]).sum()
    # A median scatters by sqrt(pi / 2) more than a mean.
    variance += (area * spread) ** 2 * math.pi / 2 / len(kept)
    magnitude = 22.5 - 2.5 * math.log10(flux) if flux > 0 else math.nan
    return Aperture(flux, float(variance) ** 0.5, magnitude, sky)


def _circle(shape: tuple[int, ...], centre: tuple[float, float], *, radius: float) -> np.ndarray:
    """Return what fraction of each pixel lies in a circle, by counting its parts."""
    offsets = (np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5
    x = (np.arange(shape[1])[:, None] + offsets).ravel() - centre[0]
    y = (np.arange(shape[0])[:, None] + offsets).ravel() - centre[1]
    inside = x[None] ** 2 + y[:, None] ** 2 < radius**2
    return inside.reshape(shape[0], _SUBPIXELS, shape[1], _SUBPIXELS).mean(axis=(1, 3))


def ps1_to_sdss(magnitudes: dict[str, float]) -> dict[str, float]:
    """Turn magnitudes of Pan-STARRS into those that SDSS would measure [1]_.

    Arguments:
        magnitudes: by band; g and r are needed for the colour, and what is not g, r, i or z is left
            out.

    Raises:
        ValueError: g or r is missing.

    Example:
        >>> sdss = ps1_to_sdss({"g": 18.0, "r": 17.2})
        >>> print(f"{sdss['g']:.3f} {sdss['r']:.3f}")
        18.141 17.207

    .. [1] Tonry et al. 2012, Astrophysical Journal 750, 99, table 6.
    """
    missing = {"g", "r"} - set(magnitudes)
    if missing:
        raise ValueError(f"magnitudes must have g and r, missing {', '.join(sorted(missing))}")
    colour = magnitudes["g"] - magnitudes["r"]
    found = {}
    for band, (a0, a1, a2) in PS1_TO_SDSS.items():
        if band in magnitudes:
            found[band] = magnitudes[band] + a0 + a1 * colour + a2 * colour**2
    return found


def compare_surveys(
    folder: str | Path,
    *,
    position: tuple[float, float] = _POSITION,
    radius_arcsec: float = 15.0,
    annulus_arcsec: tuple[float, float] = (25.0, 29.0),
) -> dict[str, dict[str, float]]:
    """Compare magnitudes of Pan-STARRS, turned into SDSS's, with those of SDSS and of DES.

    Arguments:
        folder: with the files PS1_g.fits ... PS1_z.fits, SDSS_g.fits ... and, if they are there,
            DES_g.fits ... of one field.
        position: right ascension and declination of the galaxy and of the images' centre, degrees.
        radius_arcsec: of the circle in which light is measured.
        annulus_arcsec: ring in which the sky is.

    Returns:
        for each of g, r, i, z the magnitudes `ps1`, `ps1_as_sdss`, `sdss`, `des` (without a colour
        term; absent without a file) and `difference`, SDSS less Pan-STARRS after the colour term.
    """

    def magnitudes(survey: str) -> dict[str, float]:
        found = {}
        for band in PS1_TO_SDSS:
            path = Path(folder) / f"{survey}_{band}.fits"
            if survey == "DES" and not path.exists():
                continue
            cutout = load_cutout(path, position=position)
            light = aperture_flux(
                cutout, position, radius_arcsec=radius_arcsec, annulus_arcsec=annulus_arcsec
            )
            found[band] = light.magnitude
        return found

    ps1, sdss, des = (magnitudes(survey) for survey in ("PS1", "SDSS", "DES"))
    turned = ps1_to_sdss(ps1)
    table = {}
    for band in PS1_TO_SDSS:
        row = {"ps1": ps1[band], "ps1_as_sdss": turned[band], "sdss": sdss[band]}
        if band in des:
            row["des"] = des[band]
        row["difference"] = sdss[band] - turned[band]
        table[band] = row
    return table
