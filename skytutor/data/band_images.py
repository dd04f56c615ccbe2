"""Images of one band from the archives of GALEX, SDSS, 2MASS, DES, Pan-STARRS and hips2fits.

All come out alike: nanomaggies a pixel above the sky, with an inverse variance that is 0 where
nothing was measured. What the pixels mean is read from the header; what it lacks is an error. One
thing no header tells: the zero point of an image of hips2fits. It is nominal, and `calibrate`
finds by how much it is off.

Shapes: H rows, W columns, as the file has them.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from skytutor.data._band_readers import OPTICAL, READERS, Read, sdss_ivar, survey_of
from skytutor.data.cutouts import (
    _NANOMAGGY,
    Cutout,
    _coordinates,
    _pixels,
    _zero_point,
    load_cutout,
)
from skytutor.data.photometry import aperture_flux
from skytutor.data.surveys import BANDS
from skytutor.io._fits import opened
from skytutor.validate import as_length, one_of, positive

__all__ = ["BandImage", "Calibration", "calibrate", "load_band_image", "load_band_images"]

_OPTICAL = tuple(f"{survey}-{band}" for survey in ("PS1", "DES") for band in "grizy")
_NAMES = (*BANDS, "u", "z", *_OPTICAL)


@dataclass(frozen=True)
class BandImage(Cutout):
    """One image of one band; what takes a `skytutor.data.cutouts.Cutout` takes it too.

    Attributes:
        image: ``(H, W)`` float32 in nanomaggies a pixel above the sky; of a plate, densities above
            the sky's. 0 where nothing was measured.
        ivar: ``(H, W)`` float32, inverse variance of each pixel by itself, 0 where nothing was
            measured: resampled images (2MASS, HiPS) have correlated noise.
        band: of `skytutor.data.surveys.BANDS`, else SDSS's "u" or "z", or such as "DES-g", "PS1-g".
        survey: "GALEX", "SDSS", "2MASS", "DES", "PS1", or "HiPS" for hips2fits.
        noise_source: where `ivar` is from: "exposure" (photons), "counts" (of SDSS's frame),
            "weight", "variance", or "scatter" of the image itself.
        zero_point: AB magnitude of one unit of the file in one pixel; NaN for a plate.
        sky: that was subtracted here, in units of the file a pixel.
    """

    zero_point: float
    sky: float


class Calibration(NamedTuple):
    """By how much the fluxes of an image are off.

    Attributes:
        factor: that multiplies them: median over stars.
        error: standard deviation of `factor`.
        scatter: of one star about it, relative: 1.48 times the median deviation.
        fluxes: ``(N, 2)`` of the stars, nanomaggies, in the image (not yet multiplied) and in the
            reference.
    """

    factor: float
    error: float
    scatter: float
    fluxes: np.ndarray


def load_band_image(
    path: str | Path,
    *,
    band: str | None = None,
    position: tuple[float, float] | None = None,
    pixel_arcsec: float | None = None,
) -> BandImage:
    """Read an image of one band into nanomaggies a pixel.

    What is not finite, and what is exactly 0 (how archives write "not observed"), gets an inverse
    variance of 0. GALEX's photons are few, and most pixels are 0 because none came: there, only a
    square that chance would not leave empty counts as not observed.

    Arguments:
        path: of the FITS file: a frame of SDSS, an image of 2MASS's atlas, an intensity map of
            GALEX, a coadd of DES, a stack of Pan-STARRS, or what hips2fits made.
        band: that the file must be of; None for any.
        position: right ascension and declination, degrees, that the image must cover; the centre
            of an image that kept the coordinates of the frame of SDSS that it was cut from.
        pixel_arcsec: that a side of its pixels must have, to 1 %; None for any.

    Raises:
        OSError: no FITS file, such as a JPEG or a page of HTML, or one that is cut short.
        ValueError: an unknown survey or band, or another than asked for; no MAGZP, SKYVAL, EXPTIME
            or what else the unit needs; a position outside; other pixels; nothing observed.
    """
    name = Path(path).name
    wanted = None if band is None else one_of("band", band, allowed=_NAMES)
    with opened(path) as file:
        header, values = file[0].header.copy(), _pixels(file[0], name=name)
        extensions = [part.data for part in file[1:3]]
    survey = survey_of(header, name=name)
    if survey in OPTICAL:
        found = _optical(load_cutout(path, position=position), header, extensions)
    else:
        wcs, side, _ = _coordinates(header, survey, position=position, name=name)
        read = READERS[survey](values, header, name, side)
        found = _in_nanomaggies(values, read, survey=survey, wcs=wcs, side=side, name=name)
    if wanted not in (None, found.band):
        raise ValueError(f"band must be that of {name}, {found.band!r}, got {wanted!r}")
    if pixel_arcsec is not None:
        said = as_length("pixel_arcsec", pixel_arcsec)
        if abs(found.pixel_arcsec - said) > 0.01 * said:
            raise ValueError(
                f"pixel_arcsec must be that of {name}, {found.pixel_arcsec:.3f}, got {said:g}"
            )
    if not bool(found.mask.any()):
        raise ValueError(f"{name} has no pixel that was observed")
    return found


def load_band_images(
    paths: Sequence[str | Path], *, position: tuple[float, float] | None = None
) -> dict[str, BandImage]:
    """Read images of one field, one file a band.

    Arguments:
        paths: of the files, in any order.
        position: as for `load_band_image`.

    Returns:
        the images by their band.

    Raises:
        OSError, ValueError: as `load_band_image`; no file, or two files for one band.
    """
    found: dict[str, BandImage] = {}
    for path in paths:
        image = load_band_image(path, position=position)
        if image.band in found:
            first = found[image.band].name
            raise ValueError(
                f"paths must hold one file a band, got {first} and {image.name}, both "
                f"of {image.band}"
            )
        found[image.band] = image
    if not found:
        raise ValueError("paths must hold one file or more, got none")
    return found


def calibrate(
    image: BandImage,
    reference: BandImage,
    *,
    fwhm_arcsec: float,
    radius_arcsec: float | None = None,
    positions: Sequence[tuple[float, float]] | None = None,
    n: int = 10,
    threshold: float = 5.0,
) -> Calibration:
    """Find the factor that brings the fluxes of an image to those of another of the same sky.

    Stars are found in both and matched within half of `fwhm_arcsec`; the brightest ones whose
    circles lie inside both images count.

    Arguments:
        image: whose fluxes are off.
        reference: whose fluxes are right.
        fwhm_arcsec: of the point-spread function, the wider one of the two.
        radius_arcsec: of the circle in which light is measured; None for 1.5 times `fwhm_arcsec`.
            A small one does not see the light that the wider function spreads beyond it.
        positions: right ascension and declination of the stars, degrees; None to find them.
        n: stars at most.
        threshold: of a star's peak, in standard deviations of a pixel.

    Raises:
        ValueError: a plate, whose densities are no fluxes; fewer than three stars in both.
    """
    fwhm = as_length("fwhm_arcsec", fwhm_arcsec)
    radius = 1.5 * fwhm if radius_arcsec is None else as_length("radius_arcsec", radius_arcsec)
    positive(n=n)
    for name, one in (("image", image), ("reference", reference)):
        if math.isnan(one.zero_point):
            raise ValueError(f"{name} must hold fluxes, got densities of a plate: {one.name}")
    if positions is None:
        theirs = _stars(reference, fwhm=fwhm, threshold=as_length("threshold", threshold))
        mine = _stars(image, fwhm=fwhm, threshold=threshold)
        matched = _matched(mine, theirs, within=fwhm / 2)
    else:
        matched = [(np.asarray(star), np.asarray(star)) for star in positions]
    measured = ((_flux(image, a, radius), _flux(reference, b, radius)) for a, b in matched)
    pairs = [pair for pair in measured if all(flux > 0 for flux in pair)][:n]  # NaN is not
    if len(pairs) < 3:
        raise ValueError(
            f"image and reference must share three stars or more, got {len(pairs)}: lower threshold"
        )
    fluxes = np.array(pairs)
    ratios = fluxes[:, 1] / fluxes[:, 0]
    # Medians: a variable star, or one with a neighbour, must not count.
    factor = float(np.median(ratios))
    scatter = 1.4826 * float(np.median(np.abs(ratios - factor)))
    # A median scatters by sqrt(pi / 2) more than a mean.
    error = scatter * math.sqrt(math.pi / 2 / len(ratios))
    return Calibration(factor, error, scatter / factor, fluxes)


def _matched(
    mine: np.ndarray, theirs: np.ndarray, *, within: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of positions that are nearer than so many arcsec, in the order of `theirs`."""
    found = []
    for star in theirs:
        # On the sphere, right ascensions lie closer together by the cosine of the declination.
        apart = (mine - star) * [math.cos(math.radians(star[1])), 1.0]
        distance = np.hypot(apart[:, 0], apart[:, 1]) * 3600
        if len(distance) and distance.min() < within:
            found.append((mine[distance.argmin()], star))
    return found


def _stars(image: BandImage, *, fwhm: float, threshold: float) -> np.ndarray:
    """Return where point sources are on the sky, (N, 2) in degrees, the brightest first."""
    from photutils.detection import DAOStarFinder

    noise = float(image.ivar[image.mask].median()) ** -0.5
    finder = DAOStarFinder(threshold * noise, fwhm / image.pixel_arcsec, exclude_border=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # photutils warns where there is none
        table = finder(image.image.numpy(), mask=~image.mask.numpy())
    if table is None:
        return np.zeros((0, 2))
    table.sort("flux", reverse=True)
    # photutils 3 renamed its columns.
    x, y = (
        table[next(c for c in table.colnames if c in (k + "centroid", k + "_centroid"))]
        for k in "xy"
    )
    return np.stack(image.wcs.pixel_to_world_values(np.asarray(x), np.asarray(y)), axis=1)


def _flux(image: BandImage, position: np.ndarray, radius: float) -> float:
    """Return the light in a circle, nanomaggies; NaN where it cannot be measured."""
    from photutils.aperture import CircularAperture

    ra, dec = (float(value) for value in position)
    if image.band in BANDS and BANDS[image.band].kind == "photons":
        # A ring holds a few photons: the sky of the whole image is the better known one.
        place = [float(value) for value in image.wcs.world_to_pixel_values(ra, dec)]
        circle = CircularAperture(place, radius / image.pixel_arcsec)
        return float(circle.do_photometry(image.image.numpy(), mask=~image.mask.numpy())[0][0])
    try:
        ring = (2 * radius, 3.5 * radius)
        return aperture_flux(image, (ra, dec), radius_arcsec=radius, annulus_arcsec=ring).flux
    except ValueError:  # at the edge, or pixels that were not measured
        return math.nan


def _optical(cutout: Cutout, header: Any, extensions: Sequence[Any]) -> BandImage:
    """Return an image of a survey that has subtracted the sky itself, its noise from its counts."""
    counted = sdss_ivar(cutout, header, extensions) if cutout.survey == "SDSS" else None
    ivar = cutout.ivar.numpy() if counted is None else counted
    image = cutout.image.numpy()
    good = cutout.mask.numpy() & (image != 0)
    return BandImage(
        image=torch.from_numpy(np.where(good, image, 0.0).astype(np.float32)),
        ivar=torch.from_numpy(np.where(good, ivar, 0.0).astype(np.float32)),
        mask=torch.from_numpy(good),
        band=cutout.band if cutout.survey == "SDSS" else f"{cutout.survey}-{cutout.band}",
        survey=cutout.survey,
        wcs=cutout.wcs,
        pixel_arcsec=cutout.pixel_arcsec,
        wcs_source=cutout.wcs_source,
        noise_source=cutout.noise_source if counted is None else "counts",
        name=cutout.name,
        zero_point=_zero_point(header, cutout.survey, name=cutout.name),
        sky=0.0,
    )


def _in_nanomaggies(
    values: np.ndarray, read: Read, *, survey: str, wcs: Any, side: float, name: str
) -> BandImage:
    """Return what a reader told of an image in the common units."""
    # A density has no zero point: it stays what it is.
    plate = math.isnan(read.zero_point)
    scale = 1.0 if plate else 10 ** ((_NANOMAGGY - read.zero_point) / 2.5)
    good = np.isfinite(values) & (read.ivar > 0)
    image = np.where(good, (values - read.sky) * scale, 0.0)
    ivar = np.where(good, read.ivar / scale**2, 0.0)
    return BandImage(
        image=torch.from_numpy(image.astype(np.float32)),
        ivar=torch.from_numpy(ivar.astype(np.float32)),
        mask=torch.from_numpy(good),
        band=read.band,
        survey=survey,
        wcs=wcs,
        pixel_arcsec=side,
        wcs_source="header",
        noise_source=read.noise_source,
        name=name,
        zero_point=read.zero_point,
        sky=read.sky,
    )
