"""Small files such as Pan-STARRS, SDSS and DES publish, with everything in them known."""

import numpy as np
from astropy.io import fits

POSITION = (150.0, 2.0)
SCALES = {"PS1": 0.25, "SDSS": 0.396, "DES": 0.263}
HTML = b"<!DOCTYPE html>\n<html><body>The service is down for maintenance.</body></html>"
LIGHT = 2.99792458e5


def star(size, *, scale, magnitude=18.0, fwhm=1.3, offset=(0.0, 0.0)):
    """Return an image in nanomaggies a pixel of a Gaussian star near its centre."""
    sigma = fwhm / 2.3548 / scale
    y, x = np.indices((size, size)) - (size - 1) / 2
    shape = np.exp(-((x - offset[0]) ** 2 + (y - offset[1]) ** 2) / (2 * sigma**2))
    return 10 ** ((22.5 - magnitude) / 2.5) * shape / shape.sum()


def sky_header(size, scale, *, rotated=False):
    """Return keywords of coordinates whose centre is POSITION."""
    side = scale / 3600
    matrix = [[0.0, side], [side, 0.0]] if rotated else [[-side, 0.0], [0.0, side]]
    header = fits.Header()
    for axis, word in ((1, "RA---TAN"), (2, "DEC--TAN")):
        header[f"CTYPE{axis}"] = word
        header[f"CRPIX{axis}"] = (size + 1) / 2
        header[f"CRVAL{axis}"] = POSITION[axis - 1]
        header[f"CUNIT{axis}"] = "deg"
        for other in (1, 2):
            header[f"CD{axis}_{other}"] = matrix[axis - 1][other - 1]
    return header


def write_image(path, image, *, survey="PS1", band="r", asinh=False, weight=None, **extra):
    """Write an image given in nanomaggies a pixel in a survey's own units; return the path."""
    scale = SCALES[survey]
    header = sky_header(image.shape[0], scale, rotated=survey == "SDSS")
    zero_point = 22.5
    if survey == "PS1":
        zero_point = 25 + 2.5 * np.log10(720.0)
        header["PSCAMERA"] = "GPC1"
        header["EXPTIME"] = 720.0
        header["HIERARCH FPA.FILTERID"] = f"{band}.00000"
        for i in (1, 2):
            header[f"CDELT{i}"] = scale / 3600
            for j in (1, 2):
                header[f"PC00{i}00{j}"] = header.pop(f"CD{i}_{j}") / (scale / 3600)
    elif survey == "SDSS":
        header["ORIGIN"] = "SDSS"
        header["BUNIT"] = "nanomaggy"
        header["FILTER"] = band
    else:
        zero_point = 30.0
        header["FILTER"] = f"{band} DECam SDSS c0002 6415.0 1480.0"
        header["MAGZERO"] = 30.0
    factor = 10 ** ((zero_point - 22.5) / 2.5)
    values = image * factor
    if asinh:
        header["BSOFTEN"], header["BOFFSET"] = 50.0, 3.0
        values = 2.5 / np.log(10) * np.arcsinh((values - 3.0) / 100.0)
    for key, value in extra.items():
        header.pop(key, None)
        if value is not None:
            header[key] = value
    parts = [fits.PrimaryHDU(values.astype(np.float32), header)]
    if weight is not None:
        parts.append(fits.ImageHDU((weight / factor**2).astype(np.float32), name="WGT"))
    fits.HDUList(parts).writeto(path, overwrite=True)
    return path


def noisy(image, sigma=0.02, seed=0):
    return image + np.random.default_rng(seed).normal(0, sigma, image.shape)


def write_spectrum(path, *, redshift=0.1, flux=None, ivar=None, drop=(), **about):
    """Write a spectrum like SDSS's; `flux` is a function of the observed wavelength."""
    loglam = 3.58 + 1e-4 * np.arange(3900)
    wavelength = 10**loglam
    values = np.ones(3900) * 10 if flux is None else flux(wavelength)
    columns = {
        "flux": ("E", values),
        "loglam": ("E", loglam),
        "ivar": ("E", np.full(3900, 4.0) if ivar is None else ivar),
        "and_mask": ("J", np.zeros(3900, dtype=np.int32)),
    }
    about = {"Z": redshift, "ZWARNING": 0, "CLASS": "GALAXY"} | about
    kinds = {"Z": "E", "ZWARNING": "J", "CLASS": "6A", "SPECTROFLUX": "5E"}
    tables = [
        fits.BinTableHDU.from_columns(
            [fits.Column(n, k, array=a) for n, (k, a) in columns.items() if n not in drop],
            name="COADD",
        ),
        fits.BinTableHDU.from_columns(
            [fits.Column(n, kinds[n], array=np.array([v])) for n, v in about.items()],
            name="SPECOBJ",
        ),
    ]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path, overwrite=True)
    return path
