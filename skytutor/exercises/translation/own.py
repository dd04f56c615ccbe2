"""Images of the reader's own in several bands, and whether their noise is what they promise."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from skytutor.chapters.translation.stretch import softenings
from skytutor.data.surveys import BANDS

__all__ = ["own_image"]

_SIZES = (32, 1024)  # pixels a side
_PIXEL = 0.8  # arcsec
_NOISE = (
    0.4,
    2.5,
)  # scatter over what ivar promises, resampled noise and faint sources reckoned in
_SURVEY = 10.0  # factor by which the noise may differ from the survey's
_ZEROS = 0.02  # part of the observed pixels that may be exactly 0
_SOURCE = 8.0  # deviations of a pixel in some band
_LAG = 3  # pixels: noise of neighbours may be correlated
_BLOCK = 8  # pixels: single photons are added up over such squares
_CLIP = 3.0  # deviations of such a sum that count: beyond are sources

Image = tuple[np.ndarray, np.ndarray]


def own_image(images: Any) -> bool:
    """Test a field of your own: images of two bands or more, with their inverse variances.

    Arguments:
        images: a dict from names of `skytutor.data.surveys.BANDS` to pairs of image and inverse
            variance, ``(H, W)`` each, nanomaggies a pixel of 0.8 arcsec above the sky. What was not
            observed has inverse variance 0.

    Returns:
        True if shapes and names are right, all is finite, the noise is what the inverse variances
        promise and about the survey's, and there is a source.
    """
    label = "own_image"
    try:
        field = _field(images)
        fault = field if isinstance(field, str) else _field_fault(field)
    except Exception as error:  # a class of the reader's own may raise what it likes
        field, fault = {}, f"a dict of pairs of arrays is wanted ({type(error).__name__})"
    if fault:
        print(f"not yet: {label}: {fault}")
        return False
    assert isinstance(field, dict)
    scatters = ", ".join(f"{name} {_scatter(name, *pair):.2f}" for name, pair in field.items())
    print(f"right: {label}: scatter of pixels over what their ivar promises: {scatters}")
    return True


def _field(images: Any) -> dict[str, Image] | str:
    """Return the images and inverse variances by band, or what is wrong with their form."""
    if not isinstance(images, Mapping) or len(images) < 2:
        return "a dict of two bands or more is wanted"
    for name in images:
        if not isinstance(name, str) or name not in BANDS:
            return f"{name!s:.20} is no band of the chapter; it has {', '.join(BANDS)}"
    field = {}
    for name, pair in images.items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            return f"{name} must be a pair of image and inverse variance"
        image, ivar = (np.asarray(values, dtype=float) for values in pair)
        field[str(name)] = (image, ivar)
    shapes = {values.shape for pair in field.values() for values in pair}
    if len(shapes) > 1:
        listed = ", ".join(map(str, sorted(shapes)))
        return f"all images and inverse variances must have one shape, and here are {listed}"
    shape = shapes.pop()
    if len(shape) != 2 or not all(_SIZES[0] <= side <= _SIZES[1] for side in shape):
        return f"images (H, W) with sides from {_SIZES[0]} to {_SIZES[1]} are wanted, not {shape}"
    return field


def _field_fault(field: dict[str, Image]) -> str | None:
    """Return what is wrong with the values of one band, or with all, or None."""
    for name, (image, ivar) in field.items():
        fault = _value_fault(image, ivar) or _noise_fault(name, image, ivar)
        if fault:
            return f"{name}: {fault}"
    pairs = list(field.items())
    for k, (name, (image, _)) in enumerate(pairs):
        for other, (again, _) in pairs[:k]:
            if abs(float(np.corrcoef(image.ravel(), again.ravel())[0, 1])) > 1 - 1e-9:
                return f"{other} and {name} are one image. Which noise has each of two bands?"
    brightest = max(float((image * np.sqrt(ivar)).max()) for image, ivar in field.values())
    if brightest < _SOURCE:
        return "no pixel rises above the noise. Choose a field with a source in it"
    return None


def _value_fault(image: np.ndarray, ivar: np.ndarray) -> str | None:
    """Return which values cannot be, or None."""
    if not np.isfinite(ivar).all() or ivar.min() < 0:
        return "an inverse variance is negative or not finite. How certain is a pixel unseen?"
    seen = ivar > 0
    if not np.isfinite(image[seen]).all():
        return "the image is not finite where its ivar says it was observed"
    if not np.isfinite(image).all():
        return "the image is not finite in places. A network cannot skip them; write 0 there"
    if seen.mean() < 0.5:
        return "less than half of it was observed. Choose another field"
    if (image[seen] == 0).mean() > _ZEROS:
        return "many pixels are exactly 0 and have an ivar all the same. Were they observed?"
    return None


def _noise_fault(name: str, image: np.ndarray, ivar: np.ndarray) -> str | None:
    """Return in what the noise is not what was promised, or None."""
    scaled = (image * np.sqrt(ivar))[ivar > 0]
    low, high = np.quantile(scaled, [0.1, 0.9])
    if low > 1 or high < -1:
        return "hardly a pixel is near 0. Is the sky taken off?"
    scatter = _scatter(name, image, ivar)
    if not _NOISE[0] < scatter < _NOISE[1]:
        return f"the pixels scatter by {scatter:.2g} times what ivar promises. " + _reason(
            name, image, ivar
        )
    deviation = float(np.median(ivar[ivar > 0])) ** -0.5
    usual = float(softenings([name], pixel_arcsec=_PIXEL)) / 2
    if not 1 / _SURVEY < deviation / usual < _SURVEY:
        return (
            f"the noise of a pixel is {deviation / usual:.2g} times that of the survey. In which "
            "unit are the values, and how large are the pixels?"
        )
    return None


def _reason(name: str, image: np.ndarray, ivar: np.ndarray) -> str:
    """Return words on why the scatter is not what was promised."""
    seen = ivar > 0
    inverted = np.where(seen, 1 / np.where(seen, ivar, 1), 0)
    kinds = {"a variance": inverted, "a deviation": inverted**2, "one over a deviation": ivar**2}
    for kind, other in kinds.items():
        if _NOISE[0] < _scatter(name, image, other) < _NOISE[1]:
            return f"Is it {kind}, or is one of the two in counts?"
    return "Is one of the two in counts?"


def _scatter(name: str, image: np.ndarray, ivar: np.ndarray) -> float:
    """Return the scatter of an image over that which its inverse variances promise."""
    if BANDS[name].kind == "photons":
        values = np.array(list(_blocks(image, ivar)))
        # Few photons make most sums alike: a median of distances may be 0.
        away = np.clip(values - np.median(values), -_CLIP, _CLIP)
        return float(np.sqrt(np.square(away).mean()))
    # What is smooth over a few pixels drops out of differences.
    seen = (ivar[:, _LAG:] > 0) & (ivar[:, :-_LAG] > 0)
    variance = 1 / ivar[:, _LAG:][seen] + 1 / ivar[:, :-_LAG][seen]
    away = (image[:, _LAG:] - image[:, :-_LAG])[seen]
    return 1.4826 * float(np.median(np.abs(away) / np.sqrt(variance)))


def _blocks(image: np.ndarray, ivar: np.ndarray) -> Iterator[float]:
    """Yield the sums of squares of pixels over the deviations that are promised for them."""
    rows, columns = (side // _BLOCK for side in image.shape)
    for row in range(rows):
        for column in range(columns):
            place = np.s_[
                _BLOCK * row : _BLOCK * (row + 1), _BLOCK * column : _BLOCK * (column + 1)
            ]
            seen = ivar[place] > 0
            if seen.any():
                variance = float((1 / ivar[place][seen]).sum())
                yield float(image[place][seen].sum()) / math.sqrt(variance)
