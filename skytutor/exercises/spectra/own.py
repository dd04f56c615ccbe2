"""A galaxy of the reader's own, in five bands, and what the reader says of it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from skytutor.data.spectral_templates import BANDS

__all__ = ["own_galaxy"]

_PIXEL = 0.25  # arcsec
_FIBRE = 1.5  # arcsec, the radius of the fibre
_OUTER = 4.0  # arcsec, where the ring around the fibre ends
_STATED = {"r": 0.1, "g-r": 0.06, "gradient": 0.1}  # magnitudes by which each may be off
_HINTS = {
    "r": "Which pixels lie within 1.5 arcsec, and which magnitude has one nanomaggie?",
    "g-r": "Is it the colour of the circle, and not that of the whole galaxy?",
    "gradient": "Which sign has it when the middle is redder, and where does the ring end?",
}
_BRIGHTEST, _FAINTEST = 11.0, 21.5  # magnitudes in r
# Colours of neighbouring bands that galaxies of redshift 0 to 0.4 have, with room.
_PLAUSIBLE = {"g-r": (0.0, 2.2), "r-i": (-0.15, 1.1), "i-z": (-0.2, 0.8), "z-y": (-0.25, 0.6)}


def own_galaxy(images: Any, bands: Any, pixel_arcsec: Any, statement: Any) -> bool:
    """Test images of a galaxy of your own in five bands, and what you measured on them.

    Arguments:
        images: ``(5, H, H)``, nanomaggies a pixel, the sky taken off, the galaxy in the middle.
        bands: the letters of the first axis.
        pixel_arcsec: side of a pixel.
        statement: a dict with "r" and "g-r", magnitude and colour in a circle of 1.5 arcsec radius,
            and "gradient", that colour less the colour in the ring from there to 4 arcsec.

    Returns:
        True if order, scale and unit are those of the chapter, the galaxy is one, its colours are
        those of galaxies, and the statement is what the images say.
    """
    label = "own_galaxy"
    try:
        given = np.asarray(images, dtype=float)
        fault = _frame_fault(given, bands, pixel_arcsec)
        fault = fault or _unit_fault(given) or _colour_fault(given) or _picture_fault(given)
        fault = fault or _statement_fault(given, statement)
    except Exception as error:  # a class of the reader's own may raise what it likes
        fault = f"images, letters, a number and a dict are wanted ({type(error).__name__})"
    if fault:
        print(f"not yet: {label}: {fault}")
        return False
    found = _measured(given)
    print(
        f"right: {label}: r = {found['r']:.2f} and g - r = {found['g-r']:.2f} in the fibre, which "
        f"is {abs(found['gradient']):.2f} {_direction(found['gradient'])} than the ring around it"
    )
    return True


def _direction(gradient: float) -> str:
    return "redder" if gradient >= 0 else "bluer"


def _frame_fault(images: np.ndarray, bands: Any, pixel_arcsec: Any) -> str | None:
    """Return what is wrong with shape, order and scale as they are given, or None."""
    square = images.ndim == 3 and images.shape[1] == images.shape[2]
    if not square or images.shape[0] != len(BANDS) or not 32 <= images.shape[1] <= 512:
        return f"images (5, H, H) with H from 32 to 512 are wanted, not {images.shape}"
    if not np.isfinite(images).all():
        return "the images hold what is not finite"
    if not isinstance(bands, str | tuple | list) or sorted(map(str, bands)) != sorted(BANDS):
        return f"the bands must be the letters {', '.join(BANDS)}"
    if tuple(bands) != BANDS:
        return "the bands are the right ones in another order. Which order has the chapter?"
    scale = float(pixel_arcsec)
    if isinstance(pixel_arcsec, bool) or not abs(scale - _PIXEL) < 0.02 * _PIXEL:
        return (
            f"pixels of {scale:.3g} arcsec; the chapter's are {_PIXEL}. `stack_bands` of "
            "skytutor.data.cutout_stack brings images to other pixels"
        )
    return None


def _distance(size: int) -> np.ndarray:
    """Return the distance of each pixel from the centre of the image, ``(H, H)``, arcsec."""
    place = (np.arange(size) - (size - 1) / 2) * _PIXEL
    return np.hypot(place[:, None], place)


def _flux(images: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """Return the light between two radii in every band, ``(5,)``."""
    distance = _distance(images.shape[-1])
    return images[:, (distance >= inner) & (distance < outer)].sum(1)


def _unit_fault(images: np.ndarray) -> str | None:
    """Return what shows that the values are no nanomaggies above the sky, or None."""
    edge = np.median(images[:, _distance(images.shape[-1]) > 0.5 * images.shape[-1] * _PIXEL], 1)
    centre = np.median(images[:, _distance(images.shape[-1]) < 0.75], 1)
    if (centre < edge).all() and edge.min() > 15:
        return "the values grow where the galaxy fades. Are these magnitudes?"
    light = _flux(images, 0.0, _FIBRE)
    if light.min() <= 0:
        return "some band has no light in the middle. Is the galaxy at the centre?"
    if (edge > 0.3 * centre).any():
        return (
            "the corners are nearly as bright as the middle. Is the sky taken off, and does the "
            "galaxy fit into the frame?"
        )
    magnitude = 22.5 - 2.5 * math.log10(light[1])
    if not _BRIGHTEST < magnitude < _FAINTEST:
        return (
            f"r is {magnitude:.1f} in the fibre, where the chapter's galaxies are between "
            f"{_BRIGHTEST:.0f} and {_FAINTEST:.1f}. In which unit are the values, and what is "
            "magnitude 22.5 in it?"
        )
    return None


def _colour_fault(images: np.ndarray) -> str | None:
    """Return what is wrong with the colours of the fibre, or None."""
    magnitudes = -2.5 * np.log10(_flux(images, 0.0, _FIBRE))
    if magnitudes[0] < magnitudes[4]:
        return (
            "it is brighter in g than in y. Hardly any galaxy is, on the AB scale. In which order "
            "are the images?"
        )
    for k, (name, (lowest, highest)) in enumerate(_PLAUSIBLE.items()):
        if not lowest < magnitudes[k] - magnitudes[k + 1] < highest:
            return (
                f"{name} is that of no galaxy of redshift 0 to 0.4. Are all bands in one unit, and "
                "in their order?"
            )
    return None


def _picture_fault(images: np.ndarray) -> str | None:
    """Return in what the images are no pictures of a galaxy through the air, or None."""
    size = images.shape[-1]
    distance = _distance(size)
    normed = images / _flux(images, 0.0, _FIBRE)[:, None, None]
    if np.abs(normed - normed[1]).max() < 1e-4 * np.abs(normed[1]).max():
        return "all bands are one picture times a number. Is the air equally sharp in g and in y?"
    noise = 1.4826 * np.median(np.abs(np.diff(images, axis=2)), axis=(1, 2)) / math.sqrt(2)
    if (
        _flux(images, 0.0, _FIBRE)[:4] < 8 * noise[:4] * math.sqrt((distance < _FIBRE).sum())
    ).any():
        return "the galaxy hardly rises above the noise. Choose a brighter one"
    # White noise beyond the galaxy: Pan-STARRS sees much less in y than in z.
    outside = images[:, distance > 0.4 * size * _PIXEL]
    scatter = np.median(np.abs(outside - np.median(outside, 1)[:, None]), 1)
    if scatter[3] > 1.5 * scatter[4] or scatter[2] > 1.5 * scatter[4]:
        return "the sky is noisier in i or z than in y. Are two bands exchanged?"
    core = _flux(images, 0.0, 0.4)[1]
    if core > 0.6 * _flux(images, 0.0, 2.0)[1]:
        return "it is sharper than a star through the air. Is a pixel 0.25 arcsec wide?"
    return None


def _measured(images: np.ndarray) -> dict[str, float]:
    """Return magnitude and colour in the fibre, and the colour's gradient."""
    fibre = 22.5 - 2.5 * np.log10(_flux(images, 0.0, _FIBRE))
    ring = _flux(images, _FIBRE, _OUTER)
    around = -2.5 * math.log10(ring[0] / ring[1]) if ring[:2].min() > 0 else math.nan
    colour = float(fibre[0] - fibre[1])
    return {"r": float(fibre[1]), "g-r": colour, "gradient": colour - around}


def _statement_fault(images: np.ndarray, statement: Any) -> str | None:
    """Return what the statement has wrong, without the right number, or None."""
    if not isinstance(statement, Mapping) or set(statement) != set(_STATED):
        return f"the statement must be a dict with {', '.join(_STATED)}"
    found = _measured(images)
    if not math.isfinite(found["gradient"]):
        return "no light is left in the ring around the fibre. Choose a larger galaxy"
    for name, near in _STATED.items():
        stated = float(statement[name])
        if isinstance(statement[name], bool) or not abs(stated - found[name]) < near:
            return f"{name} = {stated:.3g} is not what the images say. {_HINTS[name]}"
    return None
